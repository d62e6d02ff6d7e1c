//! Who a request comes from, by its token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::HeaderMap;

use super::caller::Caller;
use super::guesses::Guesses;
use super::token::{AdminToken, bearer};
use super::tokens::Tokens;
use crate::store::StoreError;

/// Checks the tokens of requests.
#[derive(Debug)]
pub struct Gate {
    root: AdminToken,
    tokens: Arc<Tokens>,
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
            root,
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
        if let Some(ip) = ip {
            let checked = self.guesses.check(ip, Instant::now());
            checked.map_err(|spent| Refusal::TooManyGuesses {
                retry_after: spent.retry_after,
            })?;
        }
        if self.root.matches(presented) {
            return Ok(Caller::root());
        }
        let caller = self.tokens.caller(presented).await;
        if let Some(caller) = caller.map_err(Refusal::Unknown)? {
            return Ok(caller);
        }
        if let Some(ip) = ip {
            self.guesses.note(ip, presented, Instant::now());
        }
        Err(Refusal::WrongToken)
    }
}
