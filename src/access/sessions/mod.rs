//! Sessions of the page: a token, exchanged for a value that a browser keeps in a cookie.
//!
//! ```text
//!   <id of the key> . <content in base64url> . <signature in base64url>
//! ```
//!
//! The content has the name of the token and the end of the session. The signature (HMAC-SHA-256) covers the content and
//! the digest of the token's secret, and the value has neither of them. So servers keep nothing about sessions, and a
//! session ends with its token: once the token is revoked, has ended or has another secret, the signature is no longer
//! valid. The keys are in the store, so that each server takes the sessions of all others ([`keys`]).
//!
//! A session can be ended alone: the store then names it until its end, so that a copy of the value is of no use to anybody
//! ([`ended`]). All sessions together are ended by other keys.

mod ended;
mod keys;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

pub use self::keys::SESSION_SECS;
use self::keys::{Key, Keys};
use super::caller::Caller;
use super::secret::SecretDigest;
use super::token::hex;
use crate::base::clock::{Clock, UnixTime};
use crate::store::audit::{Action, Event, Object};
use crate::store::{Store, StoreError};

/// The longest value that is read, in bytes. A token's name has at most 64 characters.
const MAX_VALUE_LEN: usize = 512;
/// The random part of a value, in bytes.
const NONCE_BYTES: usize = 12;
/// The length of a form token, in bytes; it is written in hex.
const FORM_TOKEN_BYTES: usize = 16;
/// What the signatures are for, so that none of them can stand for another one.
const SESSION_LABEL: &[u8] = b"tinyns session 1\0";
const FORM_LABEL: &[u8] = b"tinyns form 1\0";

/// A session that is valid.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who the session acts for.
    pub caller: Caller,
    /// When it ends.
    pub ends_at: UnixTime,
    /// A secret for the forms of the session: a page of another site cannot know it.
    pub form_token: Box<str>,
    /// Distinguishes it from the other sessions of its token.
    id: Box<str>,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The signed content of a value.
#[derive(Deserialize, Serialize)]
struct Content<'a> {
    /// The name of the token.
    n: &'a str,
    /// The end of the session, in seconds since 1970.
    e: u64,
    /// Makes each session's value another one.
    r: &'a str,
}

/// A value whose signature is still to be checked.
pub(super) struct Unverified {
    key: Key,
    content: Vec<u8>,
    signature: Vec<u8>,
    /// The name of the token.
    pub(super) name: String,
    ends_at: UnixTime,
    id: Box<str>,
}

/// Opens and reads sessions.
pub(super) struct Sessions {
    keys: Keys,
    clock: Clock,
}

impl Sessions {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let keys = Keys::new(store, clock.clone());
        Self { keys, clock }
    }

    /// The value of a new session of this caller, whose token has a secret with this digest.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        digest: &SecretDigest,
    ) -> Result<String, OpenError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(OpenError::Random)?;
        let content = Content {
            n: caller.name(),
            e: self.clock.now().0.saturating_add(SESSION_SECS),
            r: &hex(&nonce),
        };
        let content = serde_json::to_vec(&content);
        let content = content.map_err(|e| StoreError::Refused(e.to_string()))?;
        let key = self.keys.newest().await?;
        let signature = hmac::sign(&key.signing(), &signed(&content, digest));
        let (content, signature) = (
            URL_SAFE_NO_PAD.encode(&content),
            URL_SAFE_NO_PAD.encode(signature.as_ref()),
        );
        Ok(format!("{}.{content}.{signature}", key.id))
    }

    /// Reads a value; none if it cannot be that of a session that goes on.
    pub(super) async fn read(&self, value: &str) -> Result<Option<Unverified>, StoreError> {
        let Some((id, content, signature)) = parts(value) else {
            return Ok(None);
        };
        let Ok(Content {
            n: name,
            e: end,
            r: nonce,
        }) = serde_json::from_slice(&content)
        else {
            return Ok(None);
        };
        let (now, ends_at) = (self.clock.now(), UnixTime(end));
        if ends_at <= now {
            return Ok(None);
        }
        let (name, nonce) = (name.to_owned(), Box::<str>::from(nonce));
        let list = self.keys.current().await?;
        let key = list.find(id, now).cloned();
        let key = key.filter(|_| !list.ended.has(&name, &nonce, ends_at));
        Ok(key.map(|key| Unverified {
            key,
            content,
            signature,
            name,
            ends_at,
            id: nonce,
        }))
    }

    /// Ends a session. When this returns, no server accepts its value after half a second.
    pub(super) async fn end(&self, session: &Session) -> Result<(), StoreError> {
        let Session {
            caller,
            ends_at,
            id,
            ..
        } = session;
        self.keys.end(caller.name(), id, *ends_at).await
    }

    /// Ends all sessions, in the same way.
    pub(super) async fn end_all(&self, by: &Caller) -> Result<(), StoreError> {
        let event = Event {
            at: self.clock.millis(),
            actor: by.actor(),
            action: Action::SessionsEnded,
            object: Object::Sessions,
            before: None,
            after: None,
        };
        self.keys.end_all(event).await
    }
}

impl Unverified {
    /// The session, if the value was made for this caller, whose token has a secret with this digest.
    pub(super) fn verify(self, caller: Caller, digest: &SecretDigest) -> Option<Session> {
        let key = self.key.signing();
        let signed = signed(&self.content, digest);
        hmac::verify(&key, &signed, &self.signature).ok()?;
        let form = hmac::sign(&key, &[FORM_LABEL, &*self.signature].concat());
        let form = form.as_ref().get(..FORM_TOKEN_BYTES)?;
        Some(Session {
            caller,
            ends_at: self.ends_at,
            form_token: hex(form).into(),
            id: self.id,
        })
    }
}

/// What a signature covers.
fn signed(content: &[u8], digest: &SecretDigest) -> Vec<u8> {
    // The digest has a fixed length, so where the content ends is clear.
    [SESSION_LABEL, digest.as_bytes(), content].concat()
}

fn parts(value: &str) -> Option<(&str, Vec<u8>, Vec<u8>)> {
    if value.len() > MAX_VALUE_LEN {
        return None;
    }
    let (id, rest) = value.split_once('.')?;
    let (content, signature) = rest.split_once('.')?;
    let read = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    Some((id, read(content)?, read(signature)?))
}

#[cfg(test)]
mod tests;
