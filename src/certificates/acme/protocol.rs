//! What all requests to a directory share: how errors become failures, and nonces that are refused.

use instant_acme::{Error, Problem};

use super::failure::{Cause, Failure, FailureKind};
use super::http::DirectoryClient;
use crate::base::text::{one_line, with_causes};

/// How often a request is made whose nonce the directory refuses. The library makes each of them three times.
pub(super) const NONCE_TRIES: usize = 5;
/// The longest text of a directory that is kept, in characters.
const MAX_TEXT: usize = 600;

/// Makes a request again while the directory refuses its nonce (RFC 8555 §6.5): such a request has had no effect.
macro_rules! patiently {
    ($request:expr) => {{
        let mut tries = 1;
        loop {
            match $request.await {
                Err(error)
                    if $crate::certificates::acme::protocol::is_bad_nonce(&error)
                        && tries < $crate::certificates::acme::protocol::NONCE_TRIES =>
                {
                    tries += 1;
                }
                result => break result,
            }
        }
    }};
}
pub(super) use patiently;

/// Whether the directory has refused the nonce of a request.
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if type_of(problem) == "badNonce")
}

/// The type of a problem without its prefix (RFC 8555 §6.7).
pub(super) fn type_of(problem: &Problem) -> &str {
    let full = problem.r#type.as_deref().unwrap_or_default();
    full.strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(full)
}

/// Whether a problem says nothing about what was asked for, so that the same request may succeed later.
pub(super) fn is_transient(problem: &Problem) -> bool {
    let kind = type_of(problem);
    matches!(kind, "badNonce" | "rateLimited" | "serverInternal")
        || problem
            .status
            .is_some_and(|status| status >= 500 || status == 429)
}

/// The failure of a step for which the directory is otherwise not to blame.
pub(super) fn failure(step: FailureKind, error: &Error, client: &DirectoryClient) -> Failure {
    let (kind, reason) = match error {
        Error::Api(problem) => (kind_of(step, problem), text_of(problem)),
        Error::Crypto | Error::KeyRejected | Error::Unsupported(_) => (step, with_causes(error)),
        error => (FailureKind::Directory, with_causes(error)),
    };
    let is_unknown = |problem: &Problem| type_of(problem) == "accountDoesNotExist";
    Failure {
        retry_after: client.retry_after(),
        cause: match error {
            Error::Api(problem) if is_unknown(problem) => Cause::UnknownAccount,
            _ => Cause::Other,
        },
        ..Failure::new(kind, bounded(&reason))
    }
}

fn kind_of(step: FailureKind, problem: &Problem) -> FailureKind {
    match type_of(problem) {
        "rateLimited" => FailureKind::RateLimit,
        "accountDoesNotExist"
        | "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact" => FailureKind::Account,
        _ if problem.status == Some(429) => FailureKind::RateLimit,
        _ if is_transient(problem) => FailureKind::Directory,
        _ => step,
    }
}

/// A problem in one line.
pub(super) fn text_of(problem: &Problem) -> String {
    let text = problem.to_string();
    let text = text.strip_prefix("API error: ").unwrap_or(&text);
    bounded(&format!("the directory answers: {text}"))
}

fn bounded(text: &str) -> String {
    let mut text = one_line(text);
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}
