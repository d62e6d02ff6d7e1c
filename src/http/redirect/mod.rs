//! The redirect host: it sends a browser that opens the name of a link to the link's destination.
//!
//! ```text
//!   place: method, Host, path ──┬─ a page
//!                               └─ Links ── outcome ── a redirect or a page
//! ```
//!
//! The host name identifies the link, so there are no routes: [`Redirect::place`] decides by host and path which link is
//! asked for, if any, and one `match` writes the response. `/+` shows the destination of a link without going there. The
//! query is ignored. Paths below `/.well-known/` belong to the server itself (RFC 8615) and never lead anywhere.
//!
//! A link in memory is answered at once. Nearly all requests are for such links, and an answer costs few allocations:
//! there is no router, no task and no future, and most header values are static. The `direct` module answers the plain
//! ones of these requests without hyper.
//!
//! How long caches may keep a response (RFC 9111 §5.2.2.1): a redirect for [`MAX_AGE`], the TTL of the link's
//! records, or the rest of the link's life, whichever is shortest, so that a change of a link takes effect about as
//! soon as in DNS. One that was drawn among several destinations is not kept at all, so that each request is drawn anew
//! and no cache leads many clients to one of them. The status is 302 and not 301, which browsers keep for ever. Responses
//! about links that are withheld, absent, expired or unknown are not kept at all, because each may change in the next
//! second.
//!
//! The redirect has no content, so it needs no headers about content. It has no `Referrer-Policy`: that would change what
//! the destination learns about the page with the link. All pages have one, and send no referrer. All responses except
//! the page of the zone ask robots not to index them.

mod contact;
mod direct;
mod pages;
mod visit;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, LINK, LOCATION, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::ShortUrls;
use super::host;
use super::serve::request_log::{Line, Observer, RequestId, WaitingLine};
use super::serve::{Answer, Call, Client, Content, Plain, Site};
use crate::base::clock::UnixTime;
use crate::base::metrics::Metrics;
use crate::link::{Destination, Grounds, Link, LinkName, Origin};
use crate::links::{Host, Links, Resolution};
use crate::statistics::{Clicks, Visit};
use crate::store::StoreError;
pub use contact::AbuseContact;
use pages::{Page, Pages, Robots};

/// How long caches keep a redirect at most, in seconds: long enough for a page that is reloaded, short compared to
/// the usual TTL of a link's records.
const MAX_AGE: u32 = 60;
const MAX_AGE_CACHE: &str = "public, max-age=60";
/// The rule for caches of a redirect that was drawn among several destinations.
const NO_CACHE: &str = "no-store";
/// What search engines are asked of everything but the page of a zone.
const NOINDEX: &str = "noindex";
/// How long caches keep the page of a zone.
const ZONE_PAGE_CACHE: &str = "public, max-age=300";
/// How many headers a response has, with room for those that hyper adds.
const HEADERS: usize = 10;
const ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
/// When a client may try again after a failure of the store, in seconds.
const RETRY_AFTER_SECS: &str = "1";
/// The path of a link's preview.
const PREVIEW_PATH: &str = "/+";

/// The redirect host. Clones share it.
#[derive(Clone)]
pub struct RedirectHost(Arc<Redirect>);

struct Redirect {
    links: Arc<Links>,
    pages: Pages,
    /// `Strict-Transport-Security` of all responses (RFC 6797 §6.1).
    hsts: Option<HeaderValue>,
    clicks: Clicks,
    observer: Observer,
}

/// What a host and a path stand for.
#[derive(Debug)]
enum Place {
    /// A link, or its preview.
    Link { name: LinkName, preview: bool },
    /// Something else.
    Other(Decision),
}

/// What the response is.
#[derive(Debug)]
enum Decision {
    /// A redirect to the destination that this number draws.
    Go(Arc<Link>, u64),
    /// A page that shows the link's destination.
    Show(Arc<Link>),
    /// Nobody gets the link's destination.
    Withheld(Arc<Link>),
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
    Foreign(Box<str>),
    /// A name that is not in the certificate of the client's connection.
    OtherCertificate(Box<str>),
    /// The request names no host, or is not well-formed.
    BadHost(host::HostError),
    /// Neither GET nor HEAD.
    BadMethod,
    /// The store failed, so it is not known whether there is a link.
    Failed(StoreError),
}

impl RedirectHost {
    /// The redirect host. `contact` is for reports of abuse. By HTTPS, `hsts` is for how many seconds browsers are to use nothing else for a host; a
    /// response without TLS must not have that header (RFC 6797 §7.2).
    pub fn new(
        links: Arc<Links>,
        short_urls: ShortUrls,
        contact: Option<AbuseContact>,
        hsts: Option<u32>,
        clicks: Clicks,
        metrics: &Metrics,
    ) -> Self {
        let hsts = hsts.map(|seconds| HeaderValue::try_from(format!("max-age={seconds}")));
        Self(Arc::new(Redirect {
            links,
            pages: Pages {
                short_urls,
                contact,
            },
            hsts: hsts.and_then(Result::ok),
            clicks,
            observer: Observer::new("redirect", metrics.redirect_requests.clone()),
        }))
    }

    /// Answers a request of this client, if it is known. `may_ask_for` says which hosts the client may ask for on its
    /// connection.
    pub(super) fn respond<B>(
        &self,
        request: &Request<B>,
        client: Option<&Client>,
        may_ask_for: impl Fn(&str) -> bool,
    ) -> Answer {
        let redirect = &*self.0;
        let id = RequestId::of(request.headers());
        let peer = client.map(|client| &*client.text);
        let line = Line::of(redirect.observer.part, request, peer);
        let visit = visit::of(request, client);
        let (name, preview) = match redirect.place(request, may_ask_for) {
            Place::Link { name, preview } => (name, preview),
            Place::Other(decision) => {
                return Answer::Now(redirect.finish(decision, &visit, id, &line));
            }
        };
        match redirect.links.resolve_now(&name) {
            Ok(resolved) => {
                let decision = redirect.decide(name, preview, resolved.outcome);
                Answer::Now(redirect.finish(decision, &visit, id, &line))
            }
            Err(mut unresolved) => {
                let (line, visit) = (line.into_owned(), visit.into_owned());
                let host = self.clone();
                Answer::Later(Box::pin(async move {
                    let redirect = &*host.0;
                    let mut waiting = WaitingLine {
                        line,
                        id: id.clone(),
                        status: None,
                    };
                    redirect.links.look_up([&mut unresolved]);
                    let resolved = redirect.links.resolve_later(unresolved).await;
                    let decision = redirect.decide(name, preview, resolved.outcome);
                    let mut response = redirect.tell(decision, &visit);
                    waiting.status = Some(response.status());
                    redirect.observer.finish(&mut response, id);
                    response
                }))
            }
        }
    }
}

impl Site for RedirectHost {
    fn answer(&self, request: Request<Incoming>, call: &Call<'_>) -> Answer {
        let client = call.client;
        let may_ask_for = |host: &str| client.may_ask_for(host);
        self.respond(&request, Some(client), may_ask_for)
    }

    fn answer_plain(&self, request: &Plain<'_>, client: &Client, out: &mut Vec<u8>) -> bool {
        self.0.go_directly(request, client, out).is_some()
    }
}

impl Redirect {
    /// Decides by method, host and path.
    fn place<B>(&self, request: &Request<B>, may_ask_for: impl Fn(&str) -> bool) -> Place {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Place::Other(Decision::BadMethod);
        }
        let (uri, headers) = (request.uri(), request.headers());
        let host = match host::requested(request.version(), uri, headers) {
            Ok(host) => host,
            Err(error) => return Place::Other(Decision::BadHost(error)),
        };
        let path = uri.path();
        Place::Other(match self.links.namespace().classify_host(host) {
            Host::Foreign => Decision::Foreign(host.into()),
            _ if !may_ask_for(host) => Decision::OtherCertificate(host.into()),
            Host::Inside => Decision::Inside,
            Host::Origin(origin) if path == "/" => Decision::Zone(origin),
            Host::Link(name) if path == "/" || path == PREVIEW_PATH => {
                let preview = path == PREVIEW_PATH;
                return Place::Link { name, preview };
            }
            // Known without the store, which other paths need not load.
            Host::Origin(_) | Host::Link(_) => Decision::NoPath,
        })
    }

    /// Decides by the state of the link.
    fn decide(
        &self,
        name: LinkName,
        preview: bool,
        outcome: Result<Resolution, StoreError>,
    ) -> Decision {
        match outcome {
            Ok(Resolution::Live(link)) if preview => Decision::Show(link),
            Ok(Resolution::Live(link)) => {
                let random = fastrand::u64(..);
                match self.leads_to_us(&link.drawn_destination(random)) {
                    true => Decision::Loop(name),
                    false => Decision::Go(link, random),
                }
            }
            Ok(Resolution::Withheld(link)) => Decision::Withheld(link),
            Ok(Resolution::Expired(link)) => Decision::Ended(link),
            Ok(Resolution::Absent) => Decision::NoLink(name),
            Err(error) => Decision::Failed(error),
        }
    }

    /// Makes the response, and logs the request.
    fn finish(
        &self,
        decision: Decision,
        visit: &Visit<'_>,
        id: RequestId,
        line: &Line<'_>,
    ) -> Response<Content> {
        let mut response = self.tell(decision, visit);
        line.log(&id, Some(response.status()));
        self.observer.finish(&mut response, id);
        response
    }

    /// Whether a link leads into a zone of this server. The API refuses such links, but the zone may be newer than
    /// the link, and other programs may write to the store.
    fn leads_to_us(&self, destination: &Destination<'_>) -> bool {
        destination
            .domain()
            .is_some_and(|domain| self.links.namespace().classify_host(domain) != Host::Foreign)
    }

    /// The response, without the headers of all responses. A redirect is counted as a click.
    fn tell(&self, decision: Decision, visit: &Visit<'_>) -> Response<Content> {
        let mut response = match decision {
            Decision::Go(link, random) => {
                let destination = link.drawn_destination(random);
                let age = self.age(&link.name, &destination, self.links.now());
                match go(&link.name, destination.url, age) {
                    Some(redirect) => {
                        self.clicks.add(&link.name, visit);
                        redirect
                    }
                    None => self.pages.unreadable().into_response(),
                }
            }
            other => self.page(other),
        };
        if visit.is_head {
            strip_body(&mut response);
        }
        if let Some(hsts) = &self.hsts {
            let headers = response.headers_mut();
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        response
    }

    /// How long caches may keep the redirect, in seconds; none if they may not.
    fn age(&self, name: &LinkName, destination: &Destination<'_>, now: UnixTime) -> Option<u32> {
        let zone_ttl = self.links.namespace().link_ttl(name);
        let age = destination.cap_ttl(destination.full_ttl(zone_ttl).min(MAX_AGE), now);
        (!destination.is_drawn).then_some(age)
    }

    /// The page of everything but a redirect.
    fn page(&self, decision: Decision) -> Response<Content> {
        let mut header = None;
        let pages = &self.pages;
        let page = match decision {
            Decision::Show(link) | Decision::Go(link, _) => pages.preview(&link),
            Decision::Withheld(link) => {
                let Some(withheld) = link.withheld.as_deref() else {
                    return pages.unreadable().into_response();
                };
                header = match withheld.grounds {
                    Grounds::Abuse => None,
                    Grounds::Legal(_) => blocked_by(&pages.blocked_by(link.name.origin())),
                };
                pages.withheld(&link.name, withheld)
            }
            Decision::Ended(link) => pages.ended(&link),
            Decision::Loop(name) => pages.leads_to_us(&name),
            Decision::NoLink(name) => pages.no_link(&name),
            Decision::NoPath => pages.no_path(),
            Decision::Zone(origin) => {
                header = Some((CACHE_CONTROL, HeaderValue::from_static(ZONE_PAGE_CACHE)));
                pages.zone(&origin)
            }
            Decision::Inside => pages.inside(),
            Decision::Foreign(host) => pages.foreign(&host, &self.links.namespace().origins()),
            Decision::OtherCertificate(host) => pages.other_certificate(&host),
            Decision::BadHost(error) => pages.bad_host(&error.to_string()),
            Decision::BadMethod => {
                header = Some((ALLOW, HeaderValue::from_static("GET, HEAD")));
                pages.method_not_allowed()
            }
            // `Links` has logged the failure.
            Decision::Failed(StoreError::Corrupt { .. }) => pages.unreadable(),
            Decision::Failed(
                StoreError::Unreachable(_)
                | StoreError::Refused(_)
                | StoreError::Throttled(_)
                | StoreError::Unavailable(_)
                | StoreError::Overloaded
                | StoreError::DeadlineExceeded,
            ) => {
                header = Some((RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS)));
                pages.unavailable()
            }
        };
        let mut response = page.into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The redirect (RFC 9110 §15.4.3), which caches may keep for `age` seconds, or not at all; none if the destination does not
/// fit a header.
fn go(name: &LinkName, target: &str, age: Option<u32>) -> Option<Response<Content>> {
    // A TargetUrl is visible ASCII, so this does not fail.
    let Ok(location) = HeaderValue::from_str(target) else {
        tracing::error!(%name, "the target of a link does not fit a header");
        return None;
    };
    let mut response = Response::new(Content::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(LOCATION, location);
    let cache = match age {
        None => HeaderValue::from_static(NO_CACHE),
        Some(MAX_AGE) => HeaderValue::from_static(MAX_AGE_CACHE),
        // Digits are always a valid value.
        Some(age) => HeaderValue::try_from(format!("public, max-age={age}"))
            .unwrap_or(HeaderValue::from_static(NO_CACHE)),
    };
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(ROBOTS_TAG, HeaderValue::from_static(NOINDEX));
    Some(response)
}

/// RFC 7725 §4: who has blocked the link, which is the operator of this server, and not who has demanded it.
fn blocked_by(url: &str) -> Option<(HeaderName, HeaderValue)> {
    // URLs are visible ASCII without angle brackets, so this does not fail.
    let value = HeaderValue::try_from(format!("<{url}>; rel=\"blocked-by\""));
    value.ok().map(|value| (LINK, value))
}

/// RFC 9110 §9.3.2: the response to HEAD has the headers of GET and no content.
fn strip_body(response: &mut Response<Content>) {
    if let Content::Whole(body) =
        std::mem::replace(response.body_mut(), Content::Whole(Bytes::new()))
    {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, body.len().into());
    }
}

impl Page {
    fn into_response(self) -> Response<Content> {
        let mut response = Response::new(Content::Whole(self.html.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(pages::CONTENT_TYPE));
        headers.insert(CONTENT_SECURITY_POLICY, pages::POLICY.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if self.robots == Robots::Unwelcome {
            headers.insert(ROBOTS_TAG, HeaderValue::from_static(NOINDEX));
        }
        response
    }
}

#[cfg(test)]
mod tests;
