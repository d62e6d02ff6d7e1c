//! The login: a token is exchanged for a session.

use std::net::SocketAddr;

use askama::Template;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{Request, StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::extract::MaybeVisitor;
use super::form::{self, Fields};
use super::frame::Frame;
use super::hosts::Transport;
use super::state::Shared;
use super::visitor::Visitor;
use super::{cookie, render};
use crate::access::Refusal;
use crate::base::metrics::AuthFailure;
use crate::http::problem::Problem;

#[derive(Template)]
#[template(path = "page/templates/login.html")]
struct LoginPage {
    frame: Frame,
    /// Where to go afterwards.
    next: String,
    /// What is wrong with the token.
    error: Option<String>,
    has_ended: bool,
    has_logged_out: bool,
    /// Whether the visitor has ended all sessions.
    has_ended_all: bool,
    /// Whether others can read along.
    is_plain: bool,
}

impl LoginPage {
    fn new(next: &str, transport: Transport) -> Self {
        Self {
            frame: Frame::open("Log in"),
            next: local(next).to_owned(),
            error: None,
            has_ended: false,
            has_logged_out: false,
            has_ended_all: false,
            is_plain: transport == Transport::Plain,
        }
    }
}

/// `GET /login`
pub(super) async fn show(
    MaybeVisitor(visitor): MaybeVisitor,
    Extension(transport): Extension<Transport>,
    uri: Uri,
) -> Response {
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let next = local(query.get("next"));
    if visitor.is_some() {
        return render::see_other(next);
    }
    let page = LoginPage {
        has_ended: !query.get("ended").is_empty(),
        has_logged_out: !query.get("bye").is_empty(),
        has_ended_all: !query.get("all").is_empty(),
        ..LoginPage::new(next, transport)
    };
    render::page(StatusCode::OK, &page)
}

/// `POST /login`
pub(super) async fn log_in(
    State(state): State<Shared>,
    Extension(transport): Extension<Transport>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    request: Request<Body>,
) -> Response {
    let fields = match form::read_open(request).await {
        Ok(fields) => fields,
        Err(page) => return page(None),
    };
    let ip = peer.map(|Extension(peer)| peer.0.ip());
    let next = local(fields.get("next"));
    let opened = state
        .gate
        .open_session(fields.get("token").as_bytes(), ip)
        .await;
    let refusal = match opened {
        Ok((caller, value)) => {
            tracing::info!(token = caller.name(), "session opened");
            let is_secure = transport == Transport::Secure;
            let cookie = cookie::set(&value, is_secure).map(|cookie| [(SET_COOKIE, cookie)]);
            return (cookie, render::see_other(next)).into_response();
        }
        Err(refusal) => refusal,
    };
    let count = |failure| state.metrics.count_auth_failure(failure);
    let page = |error: String| LoginPage {
        error: Some(error),
        ..LoginPage::new(next, transport)
    };
    match refusal {
        Refusal::NoToken => {
            let page = page("Enter your token.".into());
            render::page(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
        Refusal::WrongToken => {
            count(AuthFailure::WrongToken);
            let error = "This token is not valid: it is wrong, was revoked, or has ended.";
            render::page(StatusCode::FORBIDDEN, &page(error.into()))
        }
        Refusal::TooManyGuesses { retry_after } => {
            count(AuthFailure::TooManyGuesses);
            let seconds = retry_after.as_secs().saturating_add(1);
            let error = format!(
                "Too many wrong tokens came from your network. Try again in {seconds} seconds."
            );
            let page = render::page(StatusCode::TOO_MANY_REQUESTS, &page(error));
            ([(RETRY_AFTER, seconds.to_string())], page).into_response()
        }
        Refusal::Unknown(error) => render::problem(None, &error.into()),
    }
}

/// `POST /logout`
pub(super) async fn log_out(
    State(state): State<Shared>,
    visitor: Visitor,
    request: Request<Body>,
) -> Response {
    if let Err(page) = form::read(request, &visitor).await {
        return page;
    }
    let page = match state.gate.end_session(&visitor.session).await {
        Ok(()) => render::see_other("/login?bye=yes"),
        // This browser forgets the session all the same: its user may be about to leave it to others.
        Err(error) => {
            let problem = Problem::from(error);
            let detail = format!(
                "this browser has forgotten your session, but the server could not end it ({}): if others may have a copy \
                 of the cookie, revoke the token",
                problem.detail()
            );
            render::problem(None, &problem.because(detail))
        }
    };
    let removals = cookie::remove().into_iter().flatten();
    let removals = AppendHeaders(removals.map(|cookie| (SET_COOKIE, cookie)));
    (removals, page).into_response()
}

/// A path of this page; `/` for everything else. A browser would take `//host` and `/\host` for another site.
fn local(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !path[1..].starts_with(['/', '\\'])
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    match is_local {
        true => path,
        false => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_leads_to_no_other_site() {
        let check = |path, expected| assert_eq!(local(path), expected, "{path:?}");
        check("/links?q=a", "/links?q=a");
        check("/", "/");
        for bad in [
            "",
            "links",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\nb",
            "/\t/evil.example",
            "/é",
        ] {
            check(bad, "/");
        }
    }
}
