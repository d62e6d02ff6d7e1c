//! What a request for a link says about itself, for the statistics. Both ways through HTTP read the same of it: the first
//! `User-Agent`, the first `Referer`, and every purpose.

use std::net::IpAddr;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use axum::http::{Method, Request};

use crate::http::serve::{Client, Plain};
use crate::statistics::{Visit, is_prefetch};

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");

/// A request through hyper.
pub(super) fn of<'a, B>(request: &'a Request<B>, client: Option<&Client>) -> Visit<'a> {
    let headers = request.headers();
    let first = |name| headers.get(name).map(HeaderValue::as_bytes);
    let purposes = [SEC_PURPOSE, PURPOSE];
    let is_prefetch = purposes.iter().any(|name| says_prefetch(headers, name));
    Visit::new(*request.method() == Method::HEAD, is_prefetch)
        .with_agent(first(USER_AGENT))
        .with_referer(first(REFERER))
        .with_address(client.map(address))
}

/// A plain request.
pub(super) fn of_plain<'a>(request: &Plain<'a>, client: &Client) -> Visit<'a> {
    Visit::new(false, request.is_prefetch)
        .with_agent(request.agent)
        .with_referer(request.referer)
        .with_address(Some(address(client)))
}

fn says_prefetch(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut values = headers.get_all(name).iter();
    values.any(|value| is_prefetch(value.as_bytes()))
}

/// The address that the request log has, too.
fn address(client: &Client) -> IpAddr {
    client.peer.ip()
}
