//! What each request of the page passes first, and the headers of all its responses.
//!
//! **Hosts.** The page answers only for hosts that no other site can have (`hosts`).
//!
//! **Origins.** Browsers say which site a change comes from (`Origin`, RFC 6454 §7, and `Sec-Fetch-Site`). A change that
//! comes from another site, or does not say where it comes from, is refused. Scheme and port count, except that a proxy
//! in front of this server may have the certificate, so that the scheme of this server is not that of the browser.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;

use super::hosts::{FETCH_SITE, Transport, origin};
use super::render;
use super::state::Shared;
use crate::http::host;

/// The content security policy of all pages. Nothing inline, nothing from elsewhere, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The middleware.
pub(super) async fn guard(
    State(state): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let host = match host::requested(request.version(), uri, headers) {
        Ok(host) if state.hosts.include(host) => host,
        Ok(host) => return with_headers(&state, render::foreign_host(host)),
        Err(error) => return with_headers(&state, render::bad_host(&error.to_string())),
    };
    let transport = Transport::of(state.is_tls, host, headers);
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    if is_change {
        let authority = uri.authority().map(|authority| authority.as_str());
        let header = || headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = authority.or_else(header).unwrap_or_default();
        if !is_from_here(headers, authority) {
            return with_headers(&state, render::other_origin(origin(headers), authority));
        }
    }
    request.extensions_mut().insert(transport);
    with_headers(&state, next.run(request).await)
}

/// Whether a request comes from a page of this host and port.
fn is_from_here(headers: &HeaderMap, authority: &str) -> bool {
    let is_alone = |name: &HeaderName| headers.get_all(name).iter().count() == 1;
    let by_origin = headers.contains_key(ORIGIN).then(|| {
        let origin = origin(headers).unwrap_or_default();
        is_alone(&ORIGIN) && is_origin_of(origin, authority)
    });
    let by_site = headers
        .contains_key(FETCH_SITE)
        .then(|| is_alone(&FETCH_SITE) && headers[&FETCH_SITE] == "same-origin");
    match (by_origin, by_site) {
        (None, None) => false,
        (by_origin, by_site) => by_origin.unwrap_or(true) && by_site.unwrap_or(true),
    }
}

fn is_origin_of(origin: &str, authority: &str) -> bool {
    let (rest, default) = match origin.split_once("://") {
        Some(("https", rest)) => (rest, ":443"),
        Some(("http", rest)) => (rest, ":80"),
        // `null`, and schemes that are no web site's.
        _ => return false,
    };
    let plain = |text: &str| {
        let text = text.strip_suffix(default).unwrap_or(text);
        text.to_ascii_lowercase()
    };
    !rest.is_empty() && plain(rest) == plain(authority)
}

fn with_headers(state: &Shared, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Some(hsts) = &state.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    let mut set = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_FRAME_OPTIONS, "DENY");
    // Not no-referrer: then browsers send `Origin: null` with forms.
    set(REFERRER_POLICY, "same-origin");
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn origins() {
        let check = |pairs: &[(HeaderName, &str)], authority: &str, expected: bool| {
            let found = is_from_here(&headers(pairs), authority);
            assert_eq!(found, expected, "{pairs:?} {authority}");
        };
        let origin = |text| (ORIGIN, text);
        let site = |text| (FETCH_SITE, text);
        check(&[origin("http://127.0.0.1:8053")], "127.0.0.1:8053", true);
        check(&[origin("https://a.example")], "A.example:443", true);
        check(
            &[origin("https://a.example"), site("same-origin")],
            "a.example",
            true,
        );
        check(&[site("same-origin")], "a.example", true);
        check(&[], "a.example", false);
        check(&[origin("null")], "a.example", false);
        check(&[origin("")], "", false);
        check(&[origin("http://")], "", false);
        check(&[origin("https://a.example:444")], "a.example", false);
        check(&[origin("https://a.example:80")], "a.example", false);
        check(&[origin("https://b.example")], "a.example", false);
        check(&[origin("https://a.example.evil")], "a.example", false);
        check(
            &[origin("https://a.example"), origin("https://a.example")],
            "a.example",
            false,
        );
        for other in ["same-site", "cross-site", "none", ""] {
            check(&[site(other)], "a.example", false);
            check(
                &[origin("https://a.example"), site(other)],
                "a.example",
                false,
            );
        }
        check(
            &[origin("https://b.example"), site("same-origin")],
            "a.example",
            false,
        );
    }
}
