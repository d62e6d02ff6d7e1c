//! Calls by scripts of web pages of other origins: the CORS protocol (WHATWG Fetch §3.3).
//!
//! Off without origins in the configuration. Then browsers keep scripts from reading responses, and from sending
//! anything that needs a preflight, such as a token. No cookie counts in the API, so credentials are never allowed, and
//! an origin that is allowed still needs a token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;

/// What scripts may send.
const METHODS: &str = "GET, POST, PATCH, DELETE";
const HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, X-Request-Id";
/// What scripts may read besides the headers that they always may.
const EXPOSED: &str =
    "ETag, Idempotent-Replayed, Location, Retry-After, Tinyns-Visible-Elsewhere, X-Request-Id";
/// For how long a browser may keep the response to a preflight, in seconds.
const MAX_AGE: &str = "600";

/// Answers preflights, and shows responses to scripts of the origins that are allowed.
pub(super) async fn cors(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let origins = &admin.rules.origins;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let origin = origin.filter(|origin| origins.iter().any(|known| origin == &**known));
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&origin, is_preflight) {
        (Some(_), true) => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    // Also without an origin: a cache must not answer one origin with the response to another.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
    response
}

/// The response to a preflight, which browsers send without a token.
fn preflight() -> Response {
    let header = HeaderValue::from_static;
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, header(METHODS)),
        (ACCESS_CONTROL_ALLOW_HEADERS, header(HEADERS)),
        (ACCESS_CONTROL_MAX_AGE, header(MAX_AGE)),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
