//! The page for people: a small web application, rendered by the server.
//!
//! ```text
//!   observe ── guard: Host, Origin, headers of all responses ── a handler ── InsideApi ── the routes of the API
//!                                                                  └─ a template ── HTML
//! ```
//!
//! A handler reads a form, calls the API as any other client would ([`InsideApi`]), and renders what comes back. So the
//! rules about links and tokens, and who may do what, are in one place, and are not repeated here. The templates are
//! compiled into the program (askama), which escapes every text that they show.
//!
//! # What protects it
//!
//! * A *session* ([`crate::access::Session`]) is a token, exchanged for a cookie that no script can read.
//! * Other sites cannot use it: the cookie is not sent with their requests (`SameSite`), the guard refuses changes with
//!   another `Origin`, and each form has a token of its session ([`form`]).
//! * Other names cannot stand for it: the guard answers for hosts that it knows, so a site cannot have its own name lead
//!   here (DNS rebinding). See [`hosts`].
//! * The content security policy allows the style sheet and the script of this program, nothing else, and no frame.
//!
//! Without JavaScript everything works except for copying to the clipboard and progress bars.

mod assets;
mod audit;
mod beside;
mod bulk;
mod bulk_input;
mod calls;
mod cookie;
mod extract;
mod files;
mod form;
mod frame;
mod guard;
mod health;
mod home;
mod hosts;
mod link_form;
mod list;
mod login;
mod multipart;
mod one_link;
mod pools;
mod render;
mod sessions;
mod state;
mod stats;
mod tokens;
mod values;
mod visible;
mod visitor;
mod when;
mod withhold;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::{ACCEPT, HeaderValue};
use axum::http::{Method, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;

pub use self::beside::BesidePage;
use self::extract::MaybeVisitor;
use self::guard::guard;
pub use self::hosts::PageHosts;
use self::state::{Shared, State};
use super::api::InsideApi;
use super::serve::request_log::{Observer, observe};
use super::serve::{Answer, Call, Site};
use crate::access::Gate;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;

/// The first parts of the paths of the page.
const FIRST_PARTS: [&str; 12] = [
    "", "assets", "audit", "bulk", "health", "links", "login", "logout", "pools", "sessions",
    "stats", "tokens",
];

/// The page. Clones share it.
#[derive(Clone)]
pub struct Page(Shared);

/// The settings of the page.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// Under which hosts browsers reach it.
    pub hosts: PageHosts,
    /// Where this server answers DNS, for the commands that the page shows.
    pub dns: Option<SocketAddr>,
    /// The clock of the server.
    pub clock: Clock,
    /// Whether addresses of any names depend on the client, so that the menu leads to the pools.
    pub has_pools: bool,
}

impl Page {
    /// The page.
    pub fn new(
        api: InsideApi,
        gate: Arc<Gate>,
        settings: PageSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let PageSettings {
            hosts,
            dns,
            clock,
            has_pools,
        } = settings;
        Self(Arc::new(State {
            api,
            gate,
            hosts,
            metrics,
            clock,
            dns,
            has_pools,
            is_tls: false,
            hsts: None,
        }))
    }

    /// The same page, for browsers that reach it by TLS of this server. `hsts` is for how many seconds they are to use
    /// nothing else for its host (RFC 6797).
    pub fn by_tls(&self, hsts: Option<u32>) -> Self {
        let hsts = hsts.map(|seconds| HeaderValue::try_from(format!("max-age={seconds}")));
        Self(Arc::new(State {
            is_tls: true,
            hsts: hsts.and_then(Result::ok),
            ..State::clone(&self.0)
        }))
    }

    /// The routes.
    pub fn router(&self) -> Router {
        let state = Arc::clone(&self.0);
        let observer = Observer::new("page", state.metrics.admin_requests.clone());
        Router::new()
            .route("/", get(home::show))
            .route("/login", get(login::show).post(login::log_in))
            .route("/logout", post(login::log_out))
            .route("/links", get(list::show).post(home::create))
            .route("/links/{code}", get(one_link::show))
            .route("/links/{code}/qr", get(one_link::qr))
            .route("/links/{code}/visible", get(visible::show))
            .route(
                "/links/{code}/edit",
                get(one_link::edit).post(one_link::change),
            )
            .route(
                "/links/{code}/delete",
                get(one_link::ask_delete).post(one_link::delete),
            )
            .route(
                "/links/{code}/withhold",
                get(withhold::show).post(withhold::change),
            )
            .route("/assets/{name}", get(files::serve))
            .route("/bulk", get(bulk::show).post(bulk::create))
            .route("/tokens", get(tokens::show).post(tokens::create))
            .route(
                "/tokens/{name}/revoke",
                get(tokens::ask_revoke).post(tokens::revoke),
            )
            .route(
                "/sessions/end",
                get(sessions::ask_end_all).post(sessions::end_all),
            )
            .route("/stats", get(stats::show))
            .route("/audit", get(audit::show))
            .route("/pools", get(pools::show))
            .route("/pools/{name}/drain", post(pools::drain))
            .route("/pools/{name}/restore", post(pools::restore))
            .route("/health", get(health::show))
            .fallback(no_such_page)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::clone(&state))
            .layer(from_fn_with_state(state, guard))
            .layer(from_fn_with_state(observer, observe))
    }
}

async fn no_such_page(MaybeVisitor(visitor): MaybeVisitor) -> Response {
    render::not_found(visitor.as_ref())
}

async fn wrong_method(MaybeVisitor(visitor): MaybeVisitor) -> Response {
    render::wrong_method(visitor.as_ref())
}

/// The admin listener: the API, and the page for browsers.
pub struct AdminSite {
    api: Router,
    page: Router,
}

impl AdminSite {
    /// A site of both.
    pub fn new(api: Router, page: &Page) -> Self {
        let page = page.router();
        Self { api, page }
    }
}

impl Site for AdminSite {
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer {
        match is_for_page(&request) {
            true => self.page.answer(request, call),
            false => self.api.answer(request, call),
        }
    }
}

/// Whether the page answers a request: for its own paths, and for what a person looks for in vain.
fn is_for_page<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let first = path.trim_start_matches('/').split('/').next();
    if FIRST_PARTS.iter().any(|part| first == Some(part)) {
        return true;
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    is_read && !super::api::has_path(path) && accepts_html(request)
}

fn accepts_html<B>(request: &Request<B>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.contains("text/html"))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn the_page_and_the_api_share_a_listener() {
        let check = |method: Method, path: &str, accept: &str, expected: bool| {
            let request = Request::builder().method(&method).uri(path);
            let request = request.header(ACCEPT, accept).body(Body::empty()).unwrap();
            assert_eq!(is_for_page(&request), expected, "{method} {path} {accept}");
        };
        const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
        check(Method::GET, "/", "*/*", true);
        check(Method::POST, "/login", "*/*", true);
        check(Method::GET, "/assets/style.css", "text/css", true);
        check(Method::GET, "/favicon.ico", BROWSER, true);
        check(Method::GET, "/favicon.ico", "*/*", false);
        check(Method::POST, "/nothing", BROWSER, false);
        for path in [
            "/v1/links",
            "/v1/nothing",
            "/v1",
            "/healthz",
            "/readyz/changes",
            "/metrics",
        ] {
            check(Method::GET, path, BROWSER, false);
        }
        check(Method::GET, "/openapi.json", BROWSER, false);
    }
}
