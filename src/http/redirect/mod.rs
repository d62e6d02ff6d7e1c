//! The redirect host: it sends a browser that opens the name of a link to the link's destination.
//!
//! ```text
//!   observe ── respond: method, Host ── decide ── Links ── pages
//! ```
//!
//! The host name identifies the link, so there are no routes: [`Redirect::decide`] decides by host and path, and one
//! `match` writes the response. `/+` shows the destination of a link without going there. The query is ignored.
//!
//! How long caches may keep a response (RFC 9111 §5.2.2.1): a redirect for [`MAX_AGE`], the TTL of the link's
//! records, or the rest of the link's life, whichever is shortest, so that a change of a link takes effect about as
//! soon as in DNS. The status is 302 and not 301, which browsers keep for ever. Responses about absent, expired and
//! unknown links are not kept at all, because each may change in the next second.
//!
//! The redirect itself has no `Referrer-Policy`: that would change what the destination learns about the page with
//! the link. All other pages have one, and send no referrer. All pages except that of the zone ask robots not to
//! index them.

mod pages;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, HeaderValue, LOCATION, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};

use super::ShortUrls;
use super::host;
use super::serve::request_log::{Observer, observe};
use crate::base::clock::UnixTime;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName, Origin};
use crate::links::{Host, Links, Resolution};
use crate::store::StoreError;
use pages::{Page, Robots};

/// How long caches keep a redirect at most, in seconds: long enough for a page that is reloaded, short compared to
/// the usual TTL of a link's records.
const MAX_AGE: u32 = 60;
/// How long caches keep the page of a zone, in seconds.
const ZONE_PAGE_AGE: u32 = 300;
/// When a client may try again after a failure of the store, in seconds.
const RETRY_AFTER_SECS: &str = "1";
/// The path of a link's preview.
const PREVIEW_PATH: &str = "/+";

/// The state of the handler.
struct Redirect {
    links: Arc<Links>,
    short_urls: ShortUrls,
    /// `Strict-Transport-Security` of all responses (RFC 6797 §6.1).
    hsts: Option<HeaderValue>,
}

/// What the response for a host and a path is.
#[derive(Debug)]
enum Decision {
    /// A redirect to the link's destination.
    Go(Arc<Link>),
    /// A page that shows the link's destination.
    Show(Arc<Link>),
    /// The link has expired.
    Ended(Arc<Link>),
    /// The link leads into a zone of this server.
    Loop(LinkName),
    /// There is no such link.
    NoLink(LinkName),
    /// The host of a link or zone has nothing at this path.
    NoPath,
    /// The bare name of a zone.
    Zone(Origin),
    /// A name in a zone of this server that no link can have.
    Inside,
    /// A name outside of the zones of this server.
    Foreign(String),
    /// The store failed, so it is not known whether there is a link.
    Failed(StoreError),
}

/// The redirect host. By HTTPS, `hsts` is for how many seconds browsers are to use nothing else for a host; a response
/// without TLS must not have that header (RFC 6797 §7.2).
pub fn redirect_router(
    links: Arc<Links>,
    short_urls: ShortUrls,
    hsts: Option<u32>,
    metrics: Arc<Metrics>,
) -> Router {
    let hsts = hsts.map(|seconds| HeaderValue::try_from(format!("max-age={seconds}")));
    let observer = Observer {
        part: "redirect",
        requests: metrics.redirect_requests.clone(),
    };
    Router::new()
        .fallback(respond)
        .layer(from_fn_with_state(observer, observe))
        .with_state(Arc::new(Redirect {
            links,
            short_urls,
            hsts: hsts.and_then(Result::ok),
        }))
}

async fn respond(State(redirect): State<Arc<Redirect>>, request: Request) -> Response {
    let mut response = redirect.respond(request).await;
    if let Some(hsts) = &redirect.hsts {
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    response
}

impl Redirect {
    async fn respond(&self, request: Request) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = [(ALLOW, HeaderValue::from_static("GET, HEAD"))];
            return (allow, pages::method_not_allowed()).into_response();
        }
        let (version, uri) = (request.version(), request.uri());
        match host::requested(version, uri, request.headers()) {
            Ok(host) => {
                let decision = self.decide(&host, uri.path()).await;
                self.tell(decision)
            }
            Err(error) => pages::bad_host(&error.to_string()).into_response(),
        }
    }

    async fn decide(&self, host: &str, path: &str) -> Decision {
        let name = match self.links.namespace().classify_host(host) {
            Host::Link(name) => name,
            Host::Origin(origin) if path == "/" => return Decision::Zone(origin),
            Host::Origin(_) => return Decision::NoPath,
            Host::Inside => return Decision::Inside,
            Host::Foreign => return Decision::Foreign(host.to_owned()),
        };
        // Checked before the store is asked, which other paths need not load.
        if path != "/" && path != PREVIEW_PATH {
            return Decision::NoPath;
        }
        match self.links.resolve(&name).await {
            Ok(Resolution::Live(link)) if path == PREVIEW_PATH => Decision::Show(link),
            Ok(Resolution::Live(link)) if self.leads_to_us(&link) => Decision::Loop(name),
            Ok(Resolution::Live(link)) => Decision::Go(link),
            Ok(Resolution::Expired(link)) => Decision::Ended(link),
            Ok(Resolution::Absent) => Decision::NoLink(name),
            Err(error) => Decision::Failed(error),
        }
    }

    /// Whether a link leads into a zone of this server. The API refuses such links, but the zone may be newer than
    /// the link, and other programs may write to the store.
    fn leads_to_us(&self, link: &Link) -> bool {
        link.target
            .domain()
            .is_some_and(|domain| self.links.namespace().classify_host(&domain) != Host::Foreign)
    }

    fn tell(&self, decision: Decision) -> Response {
        match decision {
            Decision::Go(link) => {
                let ttl = self.links.namespace().link_ttl(&link.name);
                go(&link, ttl, self.links.now())
            }
            Decision::Show(link) => pages::preview(&link, self.short_urls).into_response(),
            Decision::Ended(link) => pages::ended(&link).into_response(),
            Decision::Loop(name) => pages::leads_to_us(&name).into_response(),
            Decision::NoLink(name) => pages::no_link(&name).into_response(),
            Decision::NoPath => pages::no_path().into_response(),
            Decision::Zone(origin) => {
                let age = [(CACHE_CONTROL, format!("public, max-age={ZONE_PAGE_AGE}"))];
                (age, pages::zone(&origin, self.short_urls)).into_response()
            }
            Decision::Inside => pages::inside().into_response(),
            Decision::Foreign(host) => {
                let origins = self.links.namespace().origins();
                pages::foreign(&host, &origins).into_response()
            }
            Decision::Failed(error) => failed(&error),
        }
    }
}

/// The redirect (RFC 9110 §15.4.3). `zone_ttl` is the TTL of links without a TTL of their own, in seconds.
fn go(link: &Link, zone_ttl: u32, now: UnixTime) -> Response {
    // A TargetUrl is visible ASCII, so this does not fail.
    let Ok(location) = HeaderValue::try_from(link.target.as_str()) else {
        tracing::error!(name = %link.name, "the target of a link does not fit a header");
        return pages::unreadable().into_response();
    };
    let age = link.cap_ttl(link.full_ttl(zone_ttl).min(MAX_AGE), now);
    let cache = format!("public, max-age={age}");
    (
        [(LOCATION, location)],
        [(CACHE_CONTROL, cache)],
        pages::going(link),
    )
        .into_response()
}

/// The page for a look-up that failed; [`Links::resolve`] has logged the failure.
fn failed(error: &StoreError) -> Response {
    match error {
        StoreError::Corrupt { .. } => pages::unreadable().into_response(),
        StoreError::Unreachable(_)
        | StoreError::Refused(_)
        | StoreError::Throttled(_)
        | StoreError::Unavailable(_)
        | StoreError::Overloaded
        | StoreError::DeadlineExceeded => {
            let retry = [(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS))];
            (retry, pages::unavailable()).into_response()
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.html).into_response();
        let headers = response.headers_mut();
        for (name, value) in pages::HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.robots == Robots::Unwelcome {
            headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
        }
        // On a redirect it would change what the destination learns about the page with the link.
        if self.status == StatusCode::FOUND {
            headers.remove("referrer-policy");
        }
        response
    }
}

#[cfg(test)]
mod tests;
