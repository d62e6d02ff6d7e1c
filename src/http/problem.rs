//! Errors as problem documents (RFC 9457). Only this module turns errors into HTTP statuses.
//!
//! The response of a [`Problem`] has a status and no body. The problem is in the response's extensions, from which
//! `observe`, which knows the request id, makes the document. So handlers need not pass the id to the places where
//! errors arise.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use super::failures::FAILURES;
use crate::link::Version;
use crate::links::LinkError;
use crate::store::StoreError;

/// The media type of problem documents (RFC 9457 §3).
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// The beginning of `type`.
const TYPE_PREFIX: &str = "urn:tinyns:problem:";
/// When a client may try again after a temporary failure, in seconds.
const RETRY_AFTER_SECS: &str = "1";

/// Every kind of problem in the admin API. Their names in `type` are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    InvalidHost,
    InvalidBody,
    InvalidQuery,
    InvalidCondition,
    InvalidIdempotencyKey,
    Unauthorized,
    TooManyGuesses,
    TooManyRequests,
    TooManyIdempotencyKeys,
    Forbidden,
    LinkWithheld,
    NoSuchPath,
    NoSuchZone,
    NoSuchLink,
    NoSuchToken,
    NoSuchPool,
    NoStatistics,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    CodeTaken,
    NoFreeCode,
    TokenExists,
    TooManyTokens,
    NoAcme,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    VersionConflict,
    PreconditionRequired,
    BodyTooLarge,
    KeyedBatchTooLarge,
    UnsupportedMediaType,
    UrlRefused,
    DestinationsRefused,
    OwnZone,
    CodeRefused,
    CodeReserved,
    WordReserved,
    ExpiryRefused,
    TtlRefused,
    TextRefused,
    WithheldRefused,
    SortRefused,
    PeriodRefused,
    TooManyZones,
    TokenRefused,
    CorruptLink,
    StoreUnavailable,
    StoreOverloaded,
    StoreThrottled,
    StoreTimeout,
    ShuttingDown,
}

impl Kind {
    /// The status, the name in `type`, and the title.
    const fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidHost => (S::BAD_REQUEST, "invalid-host", "Invalid Host"),
            Self::InvalidBody => (S::BAD_REQUEST, "invalid-body", "Invalid body"),
            Self::InvalidQuery => (S::BAD_REQUEST, "invalid-query", "Invalid query"),
            Self::InvalidCondition => (S::BAD_REQUEST, "invalid-condition", "Invalid condition"),
            Self::InvalidIdempotencyKey => {
                let name = "invalid-idempotency-key";
                (S::BAD_REQUEST, name, "Invalid idempotency key")
            }
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::TooManyGuesses => {
                let status = S::TOO_MANY_REQUESTS;
                (status, "too-many-guesses", "Too many wrong tokens")
            }
            Self::TooManyRequests => {
                let status = S::TOO_MANY_REQUESTS;
                (status, "too-many-requests", "Too many requests")
            }
            Self::TooManyIdempotencyKeys => {
                let name = "too-many-idempotency-keys";
                (S::TOO_MANY_REQUESTS, name, "Too many idempotency keys")
            }
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "Forbidden"),
            Self::LinkWithheld => (S::FORBIDDEN, "link-withheld", "Link withheld"),
            Self::NoSuchPath => (S::NOT_FOUND, "no-such-path", "No such path"),
            Self::NoSuchZone => (S::NOT_FOUND, "no-such-zone", "No such zone"),
            Self::NoSuchLink => (S::NOT_FOUND, "no-such-link", "No such link"),
            Self::NoSuchToken => (S::NOT_FOUND, "no-such-token", "No such token"),
            Self::NoSuchPool => (S::NOT_FOUND, "no-such-pool", "No such pool"),
            Self::NoStatistics => (S::NOT_FOUND, "no-statistics", "No statistics"),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Self::MethodNotAllowed => {
                let status = S::METHOD_NOT_ALLOWED;
                (status, "method-not-allowed", "Method not allowed")
            }
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request-timeout", "Request too slow"),
            Self::CodeTaken => (S::CONFLICT, "code-taken", "Code taken"),
            Self::NoFreeCode => (S::CONFLICT, "no-free-code", "No free code"),
            Self::TokenExists => (S::CONFLICT, "token-exists", "Token exists"),
            Self::TooManyTokens => (S::CONFLICT, "too-many-tokens", "Too many tokens"),
            Self::NoAcme => (S::CONFLICT, "no-acme", "No ACME"),
            Self::IdempotencyKeyInUse => {
                let name = "idempotency-key-in-use";
                (S::CONFLICT, name, "Idempotency key in use")
            }
            Self::IdempotencyKeyReused => {
                let name = "idempotency-key-reused";
                (S::UNPROCESSABLE_ENTITY, name, "Idempotency key reused")
            }
            Self::VersionConflict => {
                let status = S::PRECONDITION_FAILED;
                (status, "version-conflict", "Version conflict")
            }
            Self::PreconditionRequired => {
                let status = S::PRECONDITION_REQUIRED;
                (status, "precondition-required", "Precondition required")
            }
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::KeyedBatchTooLarge => {
                let name = "keyed-batch-too-large";
                (S::PAYLOAD_TOO_LARGE, name, "Batch too large for a key")
            }
            Self::UnsupportedMediaType => {
                let status = S::UNSUPPORTED_MEDIA_TYPE;
                (status, "unsupported-media-type", "Unsupported media type")
            }
            Self::UrlRefused => (S::UNPROCESSABLE_ENTITY, "url-refused", "URL refused"),
            Self::DestinationsRefused => {
                let status = S::UNPROCESSABLE_ENTITY;
                (status, "destinations-refused", "Destinations refused")
            }
            Self::OwnZone => (S::UNPROCESSABLE_ENTITY, "own-zone", "URL in our own zone"),
            Self::CodeRefused => (S::UNPROCESSABLE_ENTITY, "code-refused", "Code refused"),
            Self::CodeReserved => (S::UNPROCESSABLE_ENTITY, "code-reserved", "Code reserved"),
            Self::WordReserved => (S::CONFLICT, "word-reserved", "Word reserved"),
            Self::ExpiryRefused => (S::UNPROCESSABLE_ENTITY, "expiry-refused", "Expiry refused"),
            Self::TtlRefused => (S::UNPROCESSABLE_ENTITY, "ttl-refused", "TTL refused"),
            Self::TextRefused => (S::UNPROCESSABLE_ENTITY, "text-refused", "Text refused"),
            Self::WithheldRefused => {
                let status = S::UNPROCESSABLE_ENTITY;
                (status, "withheld-refused", "Withholding refused")
            }
            Self::SortRefused => (S::UNPROCESSABLE_ENTITY, "sort-refused", "Sort refused"),
            Self::PeriodRefused => (S::UNPROCESSABLE_ENTITY, "period-refused", "Period refused"),
            Self::TooManyZones => (S::UNPROCESSABLE_ENTITY, "too-many-zones", "Too many zones"),
            Self::TokenRefused => (S::UNPROCESSABLE_ENTITY, "token-refused", "Token refused"),
            Self::CorruptLink => (S::INTERNAL_SERVER_ERROR, "corrupt-link", "Corrupt link"),
            Self::StoreUnavailable => {
                let status = S::SERVICE_UNAVAILABLE;
                (status, "store-unavailable", "Store unavailable")
            }
            Self::StoreOverloaded => {
                let status = S::SERVICE_UNAVAILABLE;
                (status, "store-overloaded", "Store overloaded")
            }
            Self::StoreThrottled => {
                let status = S::SERVICE_UNAVAILABLE;
                (status, "store-throttled", "Store throttles")
            }
            Self::StoreTimeout => (S::SERVICE_UNAVAILABLE, "store-timeout", "Store too slow"),
            Self::ShuttingDown => (S::SERVICE_UNAVAILABLE, "shutting-down", "Shutting down"),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    field: Option<&'static str>,
    /// The link's version, if that is the problem; sent as `ETag`.
    current: Option<Version>,
}

/// The problem document.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    request_id: &'a str,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            current: None,
        }
    }

    /// The same, with the field, parameter or header at fault.
    pub(super) fn of(self, field: &'static str) -> Self {
        Self {
            field: Some(field),
            ..self
        }
    }

    /// The same with another detail.
    pub(super) fn because(self, detail: String) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind.facts().0
    }

    /// The title of all problems of this kind.
    pub(super) fn title(&self) -> &'static str {
        self.kind.facts().2
    }

    /// The field, parameter or header at fault.
    pub(super) fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// Whether the problem is of this kind.
    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// What is wrong.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        let (status, name, title) = self.kind.facts();
        Document {
            r#type: format!("{TYPE_PREFIX}{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            field: self.field,
            request_id,
        }
    }

    /// The document as a body.
    pub(super) fn body(&self, request_id: &str) -> Body {
        // Strings and numbers always serialise.
        serde_json::to_vec(&self.document(request_id)).map_or_else(|_| Body::empty(), Body::from)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS));
        }
        if let Some(tag) = self.current.and_then(etag) {
            headers.insert(ETAG, tag);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A version as a strong entity tag (RFC 9110 §8.8.3).
pub(super) fn etag(version: Version) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{version}\"")).ok()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Unreachable(_) | StoreError::Refused(_) | StoreError::Unavailable(_) => {
                Kind::StoreUnavailable
            }
            StoreError::Throttled(_) => Kind::StoreThrottled,
            StoreError::Overloaded => Kind::StoreOverloaded,
            StoreError::DeadlineExceeded => Kind::StoreTimeout,
            StoreError::Corrupt { .. } => Kind::CorruptLink,
        };
        FAILURES.note(&error);
        Self::new(kind, error.to_string())
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let detail = error.to_string();
        match error {
            LinkError::Taken(_) => Self::new(Kind::CodeTaken, detail).of("code"),
            LinkError::Reserved(_) => Self::new(Kind::CodeReserved, detail).of("code"),
            LinkError::ReservedWord(_) => Self::new(Kind::WordReserved, detail).of("code"),
            LinkError::OwnZone(_) => Self::new(Kind::OwnZone, detail).of("url"),
            LinkError::AlreadyExpired | LinkError::ExpiresTooLate => {
                Self::new(Kind::ExpiryRefused, detail).of("expires_at")
            }
            LinkError::NoFreeCode => Self::new(Kind::NoFreeCode, detail).of("code"),
            LinkError::NotFound(_) => Self::new(Kind::NoSuchLink, detail),
            LinkError::VersionConflict(link) => Self {
                current: Some(link.version),
                ..Self::new(Kind::VersionConflict, detail).of("If-Match")
            },
            LinkError::Withheld(_) => Self::new(Kind::LinkWithheld, detail),
            LinkError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All kinds; `facts` matches in full, so a new kind is missed here only by a test that
    /// compares with the OpenAPI document.
    pub(in crate::http) const ALL: [Kind; 52] = [
        Kind::InvalidHost,
        Kind::InvalidBody,
        Kind::InvalidQuery,
        Kind::InvalidCondition,
        Kind::InvalidIdempotencyKey,
        Kind::Unauthorized,
        Kind::TooManyGuesses,
        Kind::TooManyRequests,
        Kind::TooManyIdempotencyKeys,
        Kind::Forbidden,
        Kind::LinkWithheld,
        Kind::NoSuchPath,
        Kind::NoSuchZone,
        Kind::NoSuchLink,
        Kind::NoSuchToken,
        Kind::NoSuchPool,
        Kind::NoStatistics,
        Kind::MethodNotAllowed,
        Kind::NotAcceptable,
        Kind::RequestTimeout,
        Kind::CodeTaken,
        Kind::NoFreeCode,
        Kind::TokenExists,
        Kind::TooManyTokens,
        Kind::NoAcme,
        Kind::IdempotencyKeyInUse,
        Kind::IdempotencyKeyReused,
        Kind::VersionConflict,
        Kind::PreconditionRequired,
        Kind::BodyTooLarge,
        Kind::KeyedBatchTooLarge,
        Kind::UnsupportedMediaType,
        Kind::UrlRefused,
        Kind::DestinationsRefused,
        Kind::OwnZone,
        Kind::CodeRefused,
        Kind::CodeReserved,
        Kind::WordReserved,
        Kind::ExpiryRefused,
        Kind::TtlRefused,
        Kind::TextRefused,
        Kind::WithheldRefused,
        Kind::SortRefused,
        Kind::PeriodRefused,
        Kind::TooManyZones,
        Kind::TokenRefused,
        Kind::CorruptLink,
        Kind::StoreUnavailable,
        Kind::StoreOverloaded,
        Kind::StoreThrottled,
        Kind::StoreTimeout,
        Kind::ShuttingDown,
    ];

    #[test]
    fn types_are_distinct_and_listed_in_the_openapi_document() {
        let ours: BTreeSet<_> = ALL
            .iter()
            .map(|kind| format!("{TYPE_PREFIX}{}", kind.facts().1))
            .collect();
        assert_eq!(ours.len(), ALL.len());
        let document = crate::http::testing::openapi();
        let listed: BTreeSet<_> =
            document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
        assert_eq!(ours, listed);
    }

    #[test]
    fn store_errors_keep_their_meaning() {
        let check = |error: StoreError, kind: Kind, retry: bool| {
            let problem = Problem::from(error);
            assert_eq!(problem.kind, kind);
            let response = problem.into_response();
            assert_eq!(response.headers().contains_key(RETRY_AFTER), retry);
        };
        let gone = StoreError::Unavailable("gone".into());
        check(gone, Kind::StoreUnavailable, true);
        let away = StoreError::Unreachable("away".into());
        check(away, Kind::StoreUnavailable, true);
        let throttled = StoreError::Throttled("its capacity".into());
        check(throttled, Kind::StoreThrottled, true);
        check(StoreError::Overloaded, Kind::StoreOverloaded, true);
        check(StoreError::DeadlineExceeded, Kind::StoreTimeout, true);
        let (name, reason) = ("x".into(), "y".into());
        let corrupt = StoreError::Corrupt { name, reason };
        check(corrupt, Kind::CorruptLink, false);
    }
}
