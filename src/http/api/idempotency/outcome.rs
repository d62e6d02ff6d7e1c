//! Outcomes of requests in the form in which the store keeps them.
//!
//! A byte that names the form, and then the outcome: a line of JSON with status and headers, and the body. A longer one is
//! deflated (RFC 1951), which makes the report of a batch about a tenth as long.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use axum::http::response::Response;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde::{Deserialize, Serialize};

use super::REPLAYED;
use crate::http::api::VISIBLE_ELSEWHERE;
use crate::http::problem::{MEDIA_TYPE, Problem};
use crate::http::serve::request_log::RequestId;
use crate::store::StoreError;

/// The first byte of an outcome that follows as it is.
const PLAIN: u8 = 1;
/// The first byte of a deflated outcome.
const DEFLATED: u8 = 2;
/// From this length on, in bytes, outcomes are deflated.
const DEFLATE_FROM: usize = 2_048;
/// The level of compression: the fastest one.
const LEVEL: u8 = 1;
/// The longest outcome, in bytes. A batch with a key has a thousand results, each with a link of some 13 KB at most.
const MAX_LEN: usize = 32 << 20;
/// The headers that are kept. All others are about the connection, or those of every response.
const KEPT: [HeaderName; 4] = [CONTENT_TYPE, ETAG, LOCATION, VISIBLE_ELSEWHERE];

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http::api) struct Outcome {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Deserialize, Serialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

/// A problem document, to put another request's id into it.
#[derive(Deserialize, Serialize)]
struct Document {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    request_id: String,
}

impl Outcome {
    pub(in crate::http::api) fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        Self {
            status,
            headers,
            body,
        }
    }

    /// The outcome of a request with this id, by its response, whose body is short.
    ///
    /// # Errors
    /// The body broke off.
    pub(super) async fn of(response: Response<Body>, id: &RequestId) -> Result<Self, axum::Error> {
        let (mut head, mut body) = response.into_parts();
        if let Some(problem) = head.extensions.remove::<Problem>() {
            body = problem.body(id.as_str());
        }
        let body = body.collect().await?.to_bytes();
        Ok(Self::new(head.status, head.headers, body))
    }

    /// The response to the request itself.
    pub(in crate::http::api) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The response to a later request with this id.
    pub(super) fn into_replay(mut self, id: &RequestId) -> Response<Body> {
        self.headers
            .insert(REPLAYED, HeaderValue::from_static("true"));
        // Whoever looks for the id in the log is to find this request.
        let is_problem = self
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|media| media == MEDIA_TYPE);
        if is_problem && let Ok(mut document) = serde_json::from_slice::<Document>(&self.body) {
            id.as_str().clone_into(&mut document.request_id);
            // Strings and numbers always serialise.
            self.body = serde_json::to_vec(&document).unwrap_or_default().into();
        }
        self.into_response()
    }

    /// The outcome as the store keeps it. Takes some 10 ms for each MB.
    pub(in crate::http::api) fn pack(&self) -> Vec<u8> {
        let kept = self.headers.iter().filter(|(name, _)| KEPT.contains(name));
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let head = Head {
            status: self.status.as_u16(),
            headers: kept.map(|(n, v)| (n.to_string(), text(v))).collect(),
        };
        // Strings and numbers always serialise.
        let mut plain = serde_json::to_vec(&head).unwrap_or_default();
        plain.push(b'\n');
        plain.extend_from_slice(&self.body);
        let (form, content) = match plain.len() {
            ..DEFLATE_FROM => (PLAIN, plain),
            _ => (DEFLATED, compress_to_vec(&plain, LEVEL)),
        };
        [&[form], &content[..]].concat()
    }

    /// The outcome that the store has kept.
    pub(in crate::http::api) fn unpack(kept: &[u8]) -> Result<Self, StoreError> {
        Self::read(kept).ok_or_else(|| {
            StoreError::Unavailable("the outcome of an earlier request is damaged".into())
        })
    }

    fn read(kept: &[u8]) -> Option<Self> {
        let plain = match kept.split_first()? {
            (&PLAIN, plain) => plain.to_vec(),
            (&DEFLATED, deflated) => decompress_to_vec_with_limit(deflated, MAX_LEN).ok()?,
            _ => return None,
        };
        let end = plain.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&plain[..end]).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in head.headers {
            headers.insert(
                HeaderName::try_from(name).ok()?,
                HeaderValue::try_from(value).ok()?,
            );
        }
        let body = Bytes::from(plain).slice(end + 1..);
        let status = StatusCode::from_u16(head.status).ok()?;
        Some(Self::new(status, headers, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str) -> Outcome {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ETAG, HeaderValue::from_static("\"7\"")),
        ];
        Outcome::new(
            StatusCode::CREATED,
            HeaderMap::from_iter(headers),
            body.to_owned(),
        )
    }

    #[test]
    fn an_outcome_comes_back_as_it_was() {
        for body in [
            "",
            "{\"a\":\n\"\u{e9}\"}\n",
            &"{\"code\":\"x\"}\n".repeat(9_000),
        ] {
            let outcome = outcome(body);
            let kept = outcome.pack();
            assert_eq!(Outcome::unpack(&kept).unwrap(), outcome);
            assert!(kept.len() < 2_100, "{} bytes", kept.len());
        }
    }

    #[test]
    fn only_headers_that_matter_are_kept() {
        let mut with_more = outcome("x");
        with_more
            .headers
            .insert("x-request-id", HeaderValue::from_static("1"));
        assert_eq!(Outcome::unpack(&with_more.pack()).unwrap(), outcome("x"));
    }

    #[test]
    fn damaged_outcomes_are_errors() {
        let long = outcome(&"x".repeat(DEFLATE_FROM)).pack();
        let short = outcome("x").pack();
        for damaged in [
            &b""[..],
            b"\x03{}\n",
            &short[..9],
            &long[..long.len() / 2],
            b"\x01{}\n",
        ] {
            assert!(Outcome::unpack(damaged).is_err(), "{damaged:?}");
        }
    }
}
