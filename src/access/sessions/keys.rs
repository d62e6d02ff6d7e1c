//! The keys that sign sessions: a document in the store, which all its servers share.
//!
//! The newest key signs. Once it is [`ROTATE_AFTER`] old, the server that opens the next session adds another one. A
//! key stays for as long as a session that it signed can last. A server reads the document again when it meets a key
//! that it does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::access::token::hex;
use crate::base::clock::{Clock, UnixTime};
use crate::store::{DocumentPut, Store, StoreError};

/// How long a session lasts, in seconds.
pub const SESSION_SECS: u64 = 12 * 60 * 60;

/// The key of the document.
const DOCUMENT: &str = "access:session-keys";
/// How old the newest key may get, in seconds.
const ROTATE_AFTER: u64 = 7 * 24 * 60 * 60;
/// How old a key may get: it signs for a week, and each of its sessions lasts half a day. The rest is for servers whose
/// clocks differ.
const KEEP_FOR: u64 = ROTATE_AFTER + 2 * SESSION_SECS;
/// How old the copy of the document may be in which a key is looked for in vain. It bounds how often values with a
/// made-up key have the document read.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// How long a request waits for the document.
const READ_TIME: Duration = Duration::from_secs(3);
/// How often a put is tried again that met a put by another server.
const MAX_TRIES: usize = 8;
/// The sizes of a key and of its id, in bytes; both are written in hex.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 6;

/// A key.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Key {
    /// Its name in the values that it signs.
    pub(super) id: Box<str>,
    secret: Box<str>,
    made_at: u64,
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct KeyList {
    /// The newest last.
    keys: Vec<Key>,
}

/// A copy of the document.
#[derive(Clone)]
struct Known {
    /// When the read of it began.
    since: Instant,
    revision: Option<u64>,
    list: Arc<KeyList>,
}

/// The keys of a store.
pub(super) struct Keys {
    store: Arc<dyn Store>,
    clock: Clock,
    known: Mutex<Option<Known>>,
    /// Held while the document is read, so that requests at the same time share one read.
    reading: tokio::sync::Mutex<()>,
}

impl Key {
    fn make(now: UnixTime) -> Result<Self, StoreError> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        let random = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret));
        random.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(Self {
            id: hex(&id).into(),
            secret: hex(&secret).into(),
            made_at: now.0,
        })
    }

    /// The key for HMAC. Its bytes are the hex digits: they have all of its 256 bits, and need no decoding that could
    /// fail.
    pub(super) fn signing(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }

    fn age(&self, now: UnixTime) -> u64 {
        now.0.saturating_sub(self.made_at)
    }
}

impl Keys {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The key with this id; none if there is none, or if it is too old.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Key>, StoreError> {
        let now = self.clock.now();
        let find = |known: &Known| {
            let mut keys = known.list.keys.iter();
            let key = keys.find(|key| *key.id == *id);
            key.filter(|key| key.age(now) < KEEP_FOR).cloned()
        };
        if let Some(known) = self.known() {
            let key = find(&known);
            if key.is_some() || known.since.elapsed() < FRESH_FOR {
                return Ok(key);
            }
        }
        Ok(find(&self.fresh().await?))
    }

    /// The key that signs. Adds one if there is none, or if the newest is old.
    pub(super) async fn newest(&self) -> Result<Key, StoreError> {
        let mut known = match self.known() {
            Some(known) => known,
            None => self.fresh().await?,
        };
        for _ in 0..MAX_TRIES {
            let now = self.clock.now();
            let newest = known.list.keys.last();
            if let Some(key) = newest.filter(|key| key.age(now) < ROTATE_AFTER) {
                return Ok(key.clone());
            }
            known = self.add(&known, now).await?;
        }
        let reason = "other servers keep changing the keys of sessions; try again";
        Err(StoreError::Refused(reason.into()))
    }

    /// Puts a list with one more key. Returns the document as it then is, by this server or by another one.
    async fn add(&self, known: &Known, now: UnixTime) -> Result<Known, StoreError> {
        let kept = known.list.keys.iter();
        let kept = kept.filter(|key| key.age(now) < KEEP_FOR).cloned();
        let mut keys: Vec<Key> = kept.collect();
        keys.push(Key::make(now)?);
        let list = KeyList { keys };
        let content = serde_json::to_vec(&list);
        let content = content.map_err(|e| StoreError::Refused(e.to_string()))?;
        let since = Instant::now();
        let put = self.store.put_document(DOCUMENT, known.revision, content);
        Ok(match put.await? {
            DocumentPut::Written(revision) => self.keep(Known {
                since,
                revision: Some(revision),
                list: Arc::new(list),
            }),
            DocumentPut::Conflict(_) => self.read().await?,
        })
    }

    /// The document, not older than [`FRESH_FOR`].
    async fn fresh(&self) -> Result<Known, StoreError> {
        let read = async {
            let _turn = self.reading.lock().await;
            match self.known() {
                Some(known) if known.since.elapsed() < FRESH_FOR => Ok(known),
                _ => self.read().await,
            }
        };
        let read = tokio::time::timeout(READ_TIME, read).await;
        read.unwrap_or(Err(StoreError::DeadlineExceeded))
    }

    async fn read(&self) -> Result<Known, StoreError> {
        let since = Instant::now();
        let document = self.store.document(DOCUMENT).await?;
        let (revision, list) = match document {
            None => (None, KeyList::default()),
            Some(document) => {
                let list = serde_json::from_slice(&document.content);
                let list = list.map_err(|error| StoreError::Corrupt {
                    name: DOCUMENT.into(),
                    reason: error.to_string(),
                })?;
                (Some(document.revision), list)
            }
        };
        let list = Arc::new(list);
        Ok(self.keep(Known {
            since,
            revision,
            list,
        }))
    }

    /// Keeps a copy, unless there is a later one.
    fn keep(&self, new: Known) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.since <= new.since) {
            *known = Some(new.clone());
        }
        new
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}
