//! The tokens in the store, which all its servers share.
//!
//! One document has the list of all tokens, with the digests of their secrets. A server reads the list when a call
//! needs it and its copy is older than [`FRESH_FOR`], so a token that another server has revoked is refused within a
//! second, and a server without calls reads nothing. If the store does not answer, calls with such tokens get 503: the
//! server cannot know whether a token is still valid. The root token needs no store.
//!
//! A second document has the times of last use. Each server adds its own once a minute.

mod list;
mod uses;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::list::MAX_TOKENS;
pub use self::list::{KEY as TOKEN_LIST, NewToken, Token, TokenRule};
pub use self::uses::KEY as TOKEN_USES;
use self::uses::Uses;
use super::caller::{Caller, ROOT_NAME};
use super::secret::{self, SecretDigest};
use crate::base::clock::{Clock, UnixTime};
use crate::store::audit::{Action, Actor, Event, Object};
use crate::store::{DocumentPut, Store, StoreError};

/// How old the copy of the list may be that decides about a call.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// How long a call waits for the list.
const READ_TIME: Duration = Duration::from_secs(3);
/// How often a change is tried again that met a change by another server.
const MAX_TRIES: usize = 8;

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum TokenChangeError {
    /// The token breaks a rule.
    #[error(transparent)]
    Rule(#[from] TokenRule),
    /// There is a token of that name.
    #[error("there is a token {0:?} already; choose another name, or revoke that token first")]
    Exists(String),
    /// There are as many tokens as there may be.
    #[error(
        "there are {MAX_TOKENS} tokens, and no more are possible; revoke some that are not used"
    )]
    Full,
    /// There is no token of that name.
    #[error("there is no token {0:?}")]
    Absent(String),
    /// The system gives no random bytes.
    #[error("cannot make a secret: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tokens of a store.
pub struct Tokens {
    store: Arc<dyn Store>,
    clock: Clock,
    known: Mutex<Option<Known>>,
    /// Held while the list is read, so that calls at the same time share one read.
    reading: tokio::sync::Mutex<()>,
    uses: Uses,
}

/// A copy of the list.
#[derive(Clone)]
struct Known {
    /// When the read of it began.
    since: Instant,
    tokens: Arc<[Token]>,
}

impl Tokens {
    /// The tokens in this store. Reads nothing yet.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            uses: Uses::new(store.clone()),
            store,
            clock,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The tokens in the content of the document [`TOKEN_LIST`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is no list of tokens.
    pub fn in_document(content: &[u8]) -> Result<Vec<Token>, StoreError> {
        list::decode(content)
    }

    /// The caller with this secret, and the digest of the secret; none if no valid token has it.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(super) async fn with_secret(
        &self,
        presented: &[u8],
    ) -> Result<Option<(Caller, SecretDigest)>, StoreError> {
        match SecretDigest::of(presented) {
            Some(digest) => self.valid(|token| token.digest == digest).await,
            None => Ok(None),
        }
    }

    /// The caller with the token of this name, and the digest of its secret; none if there is no valid one.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(super) async fn named(
        &self,
        name: &str,
    ) -> Result<Option<(Caller, SecretDigest)>, StoreError> {
        self.valid(|token| *token.name == *name).await
    }

    async fn valid(
        &self,
        is_it: impl Fn(&Token) -> bool,
    ) -> Result<Option<(Caller, SecretDigest)>, StoreError> {
        let now = self.clock.now();
        let tokens = self.current().await?;
        let token = tokens.iter().find(|token| is_it(token));
        let token = token.filter(|token| !token.is_expired(now));
        Ok(token.map(|token| (token.caller(), token.digest)))
    }

    /// Notes that this caller's token was used. The root token has no such time.
    pub(super) fn note_use(&self, caller: &Caller) {
        if caller.name() != ROOT_NAME {
            self.uses.note(caller.name(), self.clock.now());
        }
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// All tokens in the order in which they were made, each with the time of its last use as far as that is known,
    /// to the minute.
    ///
    /// # Errors
    /// The list or the times cannot be read.
    pub async fn list(&self) -> Result<Vec<(Token, Option<UnixTime>)>, StoreError> {
        let (_, tokens) = self.read().await?;
        let uses = self.uses.all().await?;
        let with_use = |token: &Token| (token.clone(), uses.get(&*token.name).copied());
        Ok(tokens.iter().map(with_use).collect())
    }

    /// Makes a token and returns it with its secret, which is kept nowhere.
    ///
    /// # Errors
    /// [`TokenChangeError`]; nothing was changed unless the store's error is uncertain.
    pub async fn create(
        &self,
        new: NewToken,
        by: &Caller,
    ) -> Result<(Token, String), TokenChangeError> {
        let now = self.clock.now();
        new.check(now)?;
        let (secret, digest) = secret::make().map_err(TokenChangeError::Random)?;
        let token = Token {
            name: new.name.into(),
            role: new.role,
            zones: new.zones,
            created_at: now,
            created_by: by.name().into(),
            expires_at: new.expires_at,
            rate: new.rate,
            digest,
        };
        self.update(|tokens| {
            // Names that differ in case only would be confused.
            let same = |other: &Token| other.name.eq_ignore_ascii_case(&token.name);
            if tokens.iter().any(same) {
                return Err(TokenChangeError::Exists(token.name.to_string()));
            }
            if tokens.len() >= MAX_TOKENS {
                return Err(TokenChangeError::Full);
            }
            tokens.push(token.clone());
            Ok(self.event(by.actor(), None, Some(&token)))
        })
        .await?;
        Ok((token, secret))
    }

    /// Revokes a token. When this returns, no server accepts the token after half a second.
    ///
    /// # Errors
    /// [`TokenChangeError`]; nothing was changed unless the store's error is uncertain.
    pub async fn revoke(&self, name: &str, by: &Caller) -> Result<(), TokenChangeError> {
        self.update(|tokens| {
            let place = tokens.iter().position(|token| *token.name == *name);
            let absent = || TokenChangeError::Absent(name.to_owned());
            let token = tokens.remove(place.ok_or_else(absent)?);
            Ok(self.event(by.actor(), Some(&token), None))
        })
        .await
    }

    /// The change of a token for the audit log.
    fn event(&self, actor: Actor, before: Option<&Token>, after: Option<&Token>) -> Event {
        let name = before.or(after).map_or("", |token| &*token.name);
        Event {
            at: self.clock.millis(),
            actor,
            action: match before {
                None => Action::TokenAdded,
                Some(_) => Action::TokenRevoked,
            },
            object: Object::Token(name.into()),
            before: before.map(list::facts),
            after: after.map(list::facts),
        }
    }

    /// Adds the times of last use to those in the store. To be called once a minute, and when the server stops. A
    /// failure is no loss: the next call tries again.
    pub async fn keep_uses(&self) {
        if self.uses.is_empty() {
            return;
        }
        let kept = async {
            let (_, tokens) = self.read().await?;
            let names = tokens.iter().map(|token| &*token.name);
            self.uses.keep(&names.collect()).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(%error, "cannot store when tokens were last used");
        }
    }

    /// Changes the list in the store, with an entry of the audit log.
    async fn update(
        &self,
        edit: impl Fn(&mut Vec<Token>) -> Result<Event, TokenChangeError>,
    ) -> Result<(), TokenChangeError> {
        for _ in 0..MAX_TRIES {
            let (revision, tokens) = self.read().await?;
            let mut tokens = tokens.to_vec();
            let event = Some(edit(&mut tokens)?);
            let content = list::encode(&tokens)?;
            let since = Instant::now();
            let put = self
                .store
                .put_document_noting(list::KEY, revision, content, event);
            if let DocumentPut::Written(_) = put.await? {
                self.keep(since, tokens.into());
                return Ok(());
            }
        }
        let reason = "other servers keep changing the list of tokens; try again";
        Err(StoreError::Refused(reason.into()).into())
    }

    /// A list that is fresh enough to decide about a call.
    async fn current(&self) -> Result<Arc<[Token]>, StoreError> {
        if let Some(tokens) = self.fresh() {
            return Ok(tokens);
        }
        let read = async {
            let _turn = self.reading.lock().await;
            match self.fresh() {
                Some(tokens) => Ok(tokens),
                None => Ok(self.read().await?.1),
            }
        };
        let read = tokio::time::timeout(READ_TIME, read).await;
        read.unwrap_or(Err(StoreError::DeadlineExceeded))
    }

    fn fresh(&self) -> Option<Arc<[Token]>> {
        let known = self.known()?;
        (known.since.elapsed() < FRESH_FOR).then_some(known.tokens)
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// The list in the store, and its revision.
    async fn read(&self) -> Result<(Option<u64>, Arc<[Token]>), StoreError> {
        let since = Instant::now();
        let document = self.store.document(list::KEY).await?;
        let tokens: Arc<[Token]> = match &document {
            Some(document) => list::decode(&document.content)?.into(),
            None => Arc::default(),
        };
        self.keep(since, tokens.clone());
        Ok((document.map(|document| document.revision), tokens))
    }

    /// Keeps a copy of the list, unless there is a later one.
    fn keep(&self, since: Instant, tokens: Arc<[Token]>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.since <= since) {
            *known = Some(Known { since, tokens });
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}
