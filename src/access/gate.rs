//! Who a request comes from, by its token.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::HeaderMap;

use super::caller::{Caller, ROOT_NAME};
use super::guesses::Guesses;
use super::secret::SecretDigest;
use super::sessions::{OpenError, Session, Sessions};
use super::token::{AdminToken, bearer};
use super::tokens::Tokens;
use crate::store::StoreError;

/// Checks the tokens of requests, and the sessions that were opened with them.
pub struct Gate {
    root: AdminToken,
    root_digest: SecretDigest,
    tokens: Arc<Tokens>,
    sessions: Sessions,
    guesses: Guesses,
}

/// Why a request has no access.
#[derive(Debug)]
pub enum Refusal {
    /// The request has no bearer token, or several such headers, none of which may count.
    NoToken,
    /// The token is not valid: it is wrong, was revoked, or has ended.
    WrongToken,
    /// Too many wrong tokens came from the client's network.
    TooManyGuesses {
        /// When the client may try again.
        retry_after: Duration,
    },
    /// The store does not say whether the token is valid.
    Unknown(StoreError),
}

impl Gate {
    /// A gate for the root token and the tokens of the store.
    pub fn new(root: AdminToken, tokens: Arc<Tokens>) -> Self {
        Self {
            root_digest: SecretDigest::compute(root.padded()),
            root,
            sessions: Sessions::new(tokens.store().clone(), tokens.clock().clone()),
            tokens,
            guesses: Guesses::default(),
        }
    }

    /// The tokens of the store.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The caller that sent these headers from this address. The limit on wrong tokens needs the address.
    ///
    /// # Errors
    /// [`Refusal`] says why there is no access.
    pub async fn admit(&self, headers: &HeaderMap, ip: Option<IpAddr>) -> Result<Caller, Refusal> {
        let presented = bearer(headers).ok_or(Refusal::NoToken)?;
        Ok(self.check(presented, ip).await?.0)
    }

    /// Opens a session for the caller with this token. Returns the value that the browser is to keep. A wrong token
    /// counts as one of the API.
    ///
    /// # Errors
    /// [`Refusal`] says why there is no access.
    pub async fn open_session(
        &self,
        presented: &[u8],
        ip: Option<IpAddr>,
    ) -> Result<(Caller, String), Refusal> {
        if presented.is_empty() {
            return Err(Refusal::NoToken);
        }
        let (caller, digest) = self.check(presented, ip).await?;
        let value = self.sessions.open(&caller, &digest).await;
        let value = value.map_err(|error| match error {
            OpenError::Random(error) => StoreError::Unavailable(error.to_string()),
            OpenError::Store(error) => error,
        });
        Ok((caller, value.map_err(Refusal::Unknown)?))
    }

    /// The session with this value; none if it is not valid: it has ended, its token is no longer valid, or no server of
    /// this store has made it.
    ///
    /// # Errors
    /// The store does not say whether the session is valid.
    pub async fn session(&self, value: &str) -> Result<Option<Session>, StoreError> {
        let Some(unverified) = self.sessions.read(value).await? else {
            return Ok(None);
        };
        let found = match &*unverified.name {
            ROOT_NAME => Some((Caller::root(), self.root_digest)),
            name => self.tokens.named(name).await?,
        };
        let session = found.and_then(|(caller, digest)| unverified.verify(caller, &digest));
        if let Some(session) = &session {
            self.tokens.note_use(&session.caller);
        }
        Ok(session)
    }

    /// Ends a session. When this returns, no server takes the session after half a second.
    ///
    /// # Errors
    /// The store does not note it, or does not say whether it did.
    pub async fn end_session(&self, session: &Session) -> Result<(), StoreError> {
        self.sessions.end(session).await
    }

    /// Ends all sessions of the page, in the same way, with an entry of the audit log.
    ///
    /// # Errors
    /// The store does not note it, or does not say whether it did.
    pub async fn end_all_sessions(&self, by: &Caller) -> Result<(), StoreError> {
        self.sessions.end_all(by).await
    }

    /// The caller with this token, and the digest of its secret.
    async fn check(
        &self,
        presented: &[u8],
        ip: Option<IpAddr>,
    ) -> Result<(Caller, SecretDigest), Refusal> {
        if let Some(ip) = ip {
            let checked = self.guesses.check(ip, Instant::now());
            checked.map_err(|spent| Refusal::TooManyGuesses {
                retry_after: spent.retry_after,
            })?;
        }
        if self.root.matches(presented) {
            return Ok((Caller::root(), self.root_digest));
        }
        let found = self.tokens.with_secret(presented).await;
        if let Some((caller, digest)) = found.map_err(Refusal::Unknown)? {
            self.tokens.note_use(&caller);
            return Ok((caller, digest));
        }
        if let Some(ip) = ip {
            self.guesses.note(ip, presented, Instant::now());
        }
        Err(Refusal::WrongToken)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
