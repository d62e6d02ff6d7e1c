//! Requests with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), which clients can repeat safely.
//!
//! ```text
//!   request ─ checks ─ claim ─┬─ Ours ──── a task: the work, the outcome into the store ─ response
//!                             └─ Answered: the outcome of the first request, 409, 422 or 429
//! ```
//!
//! What a request can be refused for by itself (its token, zone, media type, body) comes before the claim, so a caller may
//! correct it and use the key again. From the claim on a task does the work, which goes on when the client disconnects: the
//! repeat then finds the outcome. The response is sent after the store has the outcome, so that a repeat which comes after
//! the response always finds it.
//!
//! Outcomes that a repeat could change are not kept: every 5xx. The key is given up, and the repeat is carried out. That
//! is also what happens when the server dies before the outcome is kept, once the lease is over, and when the outcome
//! cannot be kept although the change was made. It is safe, because the calls with keys are registrations: they find a link
//! that is there already, and do not make it again.
//!
//! The key is kept under a digest of the key and the digest of the caller's secret. So the token that gets the name of a
//! revoked one does not find its outcomes. There is one root token, whose secret is not in the store in any form.

mod header;
mod held;
mod outcome;

use std::sync::Arc;

use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::digest::{Context, SHA256};
use tokio::sync::OwnedSemaphorePermit;

pub(super) use self::header::Key;
use self::header::NAME;
pub(super) use self::held::Held;
pub(super) use self::outcome::Outcome;
use super::Admin;
use crate::access::Caller;
use crate::base::metrics::KeyUse;
use crate::http::problem::{Kind, Problem};
use crate::http::serve::request_log::RequestId;
use crate::link::Origin;
use crate::store::StoreError;
use crate::store::idempotency::{Claim, Claimed, DAY, KeyId, MAX_A_DAY};

/// How many requests with keys may be in work at once, besides batches.
pub(super) const MAX_IN_WORK: usize = 256;
/// The header of a response that was sent before. Its value is `true`.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// When a client may ask again for a request that is in work, in seconds.
const RETRY_AFTER_SECS: u64 = 1;

/// A request with a key.
pub(super) struct Keyed<'a> {
    pub(super) key: Key,
    pub(super) caller: &'a Caller,
    pub(super) id: &'a RequestId,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) origin: &'a Origin,
    pub(super) body: &'a [u8],
    /// How many links it may make.
    pub(super) links: u32,
}

/// Who carries a request out.
pub(super) enum Turn {
    /// This request does.
    Ours(Held),
    /// Another one has, does, or cannot. This is the response.
    Answered(Response),
}

impl Keyed<'_> {
    /// The claim of this request. `holder` is random.
    fn claim(&self, holder: u64) -> Claim {
        let caller = match self.caller.secret_digest() {
            Some(secret) => digest(&[b"token", secret]),
            None => digest(&[b"root"]),
        };
        let payload = [
            self.method.as_str().as_bytes(),
            self.path.as_bytes(),
            self.origin.as_str().as_bytes(),
            self.body,
        ];
        Claim {
            id: KeyId(digest(&[&caller, self.key.as_bytes()])),
            caller,
            fingerprint: digest(&payload),
            holder,
            weight: self.links,
        }
    }
}

/// The SHA-256 digest of some texts (FIPS 180-4). The length before each of them keeps them apart.
fn digest(texts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// A place for a request of one link.
pub(super) fn place(admin: &Admin) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(&admin.keyed).try_acquire_owned();
    Ok(place.map_err(|_| StoreError::Overloaded)?)
}

/// Claims the key of a request, which has a place among those in work.
///
/// # Errors
/// The store does not say who has the key, so the request must not be carried out.
pub(super) async fn claim(
    admin: &Arc<Admin>,
    request: &Keyed<'_>,
    place: OwnedSemaphorePermit,
) -> Result<Turn, Problem> {
    // Nothing was sent to the store.
    let holder = getrandom::u64().map_err(|e| StoreError::Refused(e.to_string()))?;
    let claim = request.claim(holder);
    let claimed = match admin.links.claim_key(&claim).await {
        Ok(claimed) => claimed,
        Err(error) => {
            if !error.is_certain() {
                // The store may have the claim. A repeat should not have to wait for the end of its lease.
                Held::new(admin, &claim, place).give_up_in_background();
            }
            return Err(error.into());
        }
    };
    let count = |used| admin.metrics.count_key_use(used);
    Ok(match claimed {
        Claimed::Yours => {
            count(KeyUse::First);
            Turn::Ours(Held::new(admin, &claim, place))
        }
        Claimed::Done(kept) => {
            // A long one takes a while to inflate.
            let outcome = tokio::task::spawn_blocking(move || Outcome::unpack(&kept)).await;
            let outcome = outcome.map_err(|broken| StoreError::Unavailable(broken.to_string()));
            count(KeyUse::Replayed);
            Turn::Answered(outcome.flatten()?.into_replay(request.id))
        }
        Claimed::InWork => {
            count(KeyUse::InWork);
            let detail = "a request with this key is being carried out, or its server has stopped in the middle of it; \
                send the request again after the time in Retry-After";
            Turn::Answered(later(Kind::IdempotencyKeyInUse, detail, RETRY_AFTER_SECS))
        }
        Claimed::OtherPayload => {
            count(KeyUse::OtherPayload);
            let detail = "this key was used for a request with another body, path or zone; use a new key for each \
                request, and send a repeat exactly as the first time";
            let problem = Problem::new(Kind::IdempotencyKeyReused, detail).of(NAME);
            Turn::Answered(problem.into_response())
        }
        Claimed::TooMany => {
            count(KeyUse::TooMany);
            let detail = format!(
                "requests with keys may register {MAX_A_DAY} links a day (UTC) with one token; leave {NAME} out until the \
                 time in Retry-After"
            );
            let now = admin.links.now().0;
            Turn::Answered(later(Kind::TooManyIdempotencyKeys, detail, DAY - now % DAY))
        }
    })
}

/// A problem that passes after so many seconds.
fn later(kind: Kind, detail: impl Into<std::borrow::Cow<'static, str>>, seconds: u64) -> Response {
    let problem = Problem::new(kind, detail).of(NAME);
    ([(RETRY_AFTER, HeaderValue::from(seconds))], problem).into_response()
}

/// Whether an outcome is kept. A repeat may fare better than a request that failed for the server's reasons.
pub(super) fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    #[test]
    fn a_claim_has_its_caller_its_key_and_its_payload() {
        let (root, ann) = (Caller::root(), Caller::new("ann", Role::Editor, None));
        let (s, t) = ("s.example.com", "t.example.net");
        let claim =
            |caller: &Caller, key: &str, method: Method, path: &str, zone: &str, body: &str| {
                let header = axum::http::HeaderMap::from_iter([(
                    header::IDEMPOTENCY_KEY,
                    HeaderValue::from_str(key).unwrap(),
                )]);
                let keyed = Keyed {
                    key: Key::of(&header).unwrap().unwrap(),
                    caller,
                    id: &RequestId::choose(None),
                    method: &method,
                    path,
                    origin: &Origin::parse(zone).unwrap(),
                    body: body.as_bytes(),
                    links: 1,
                };
                keyed.claim(0)
            };
        let one = claim(&root, "k", Method::POST, "/p", s, "b");
        assert_eq!(one, claim(&root, "\"k\"", Method::POST, "/p", s, "b"));
        for (other, same_key) in [
            (claim(&root, "l", Method::POST, "/p", s, "b"), false),
            (claim(&root, "k", Method::PUT, "/p", s, "b"), true),
            (claim(&root, "k", Method::POST, "/q", s, "b"), true),
            (claim(&root, "k", Method::POST, "/p", t, "b"), true),
            (claim(&root, "k", Method::POST, "/p", s, "c"), true),
        ] {
            assert_eq!(other.id == one.id, same_key);
            assert_eq!(other.fingerprint == one.fingerprint, !same_key);
            assert_eq!(other.caller, one.caller);
        }
        let of_ann = claim(&ann, "k", Method::POST, "/p", s, "b");
        assert_eq!(of_ann.id, one.id, "a caller without a secret is the root");
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
