//! The keys that sign sessions, and the sessions that were ended: a document in the store, which all its servers share.
//!
//! The newest key signs. Once it is [`ROTATE_AFTER`] old, the server that opens the next session adds another one. A
//! key stays for as long as a session that it signed can last. To end all sessions at once, another key takes the place
//! of all others.
//!
//! A server trusts its copy of the document for [`FRESH_FOR`]. So a session that another server has ended is refused within
//! a second, and a server whose page nobody uses reads nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::ended::EndedSessions;
use crate::access::token::hex;
use crate::base::clock::{Clock, UnixTime};
use crate::store::audit::Event;
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
/// How old the copy of the document may be that decides about a session.
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

/// The content of the document.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct KeyList {
    /// The newest last.
    keys: Vec<Key>,
    #[serde(default, skip_serializing_if = "EndedSessions::is_empty")]
    pub(super) ended: EndedSessions,
}

impl KeyList {
    /// The key with this id; none if there is none, or if it is too old.
    pub(super) fn find(&self, id: &str, now: UnixTime) -> Option<&Key> {
        let key = self.keys.iter().find(|key| *key.id == *id);
        key.filter(|key| key.age(now) < KEEP_FOR)
    }

    /// The same without what is too old to matter.
    fn pruned(&self, now: UnixTime) -> Self {
        let kept = self.keys.iter().filter(|key| key.age(now) < KEEP_FOR);
        Self {
            keys: kept.cloned().collect(),
            ended: self.ended.pruned(now),
        }
    }
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

    /// The keys and the sessions that were ended, not older than [`FRESH_FOR`].
    pub(super) async fn current(&self) -> Result<Arc<KeyList>, StoreError> {
        Ok(self.fresh().await?.list)
    }

    /// The key that signs. Adds one if there is none, or if the newest is old.
    pub(super) async fn newest(&self) -> Result<Key, StoreError> {
        let is_young = |key: &&Key| key.age(self.clock.now()) < ROTATE_AFTER;
        let known = self.fresh().await?;
        if let Some(key) = known.list.keys.last().filter(is_young) {
            return Ok(key.clone());
        }
        let list = self.update(None, |list| {
            // Another server may have added it meanwhile.
            if list.keys.last().is_none_or(|key| !is_young(&key)) {
                list.keys.push(Key::make(self.clock.now())?);
            }
            Ok(())
        });
        let newest = list.await?.keys.last().cloned();
        newest.ok_or_else(|| StoreError::Unavailable("there is no key for sessions".into()))
    }

    /// Ends a session.
    pub(super) async fn end(
        &self,
        token: &str,
        id: &str,
        ends_at: UnixTime,
    ) -> Result<(), StoreError> {
        let ended = self.update(None, |list| {
            list.ended.add(token, id, ends_at);
            if list.ended.is_full() {
                *list = self.without_sessions()?;
            }
            Ok(())
        });
        ended.await.map(drop)
    }

    /// Ends all sessions, with an entry of the audit log.
    pub(super) async fn end_all(&self, event: Event) -> Result<(), StoreError> {
        let ended = self.update(Some(event), |list| {
            *list = self.without_sessions()?;
            Ok(())
        });
        ended.await.map(drop)
    }

    /// A list that no session of before is valid with.
    fn without_sessions(&self) -> Result<KeyList, StoreError> {
        Ok(KeyList {
            keys: vec![Key::make(self.clock.now())?],
            ended: EndedSessions::default(),
        })
    }

    /// Changes the document. Returns its content.
    async fn update(
        &self,
        event: Option<Event>,
        edit: impl Fn(&mut KeyList) -> Result<(), StoreError>,
    ) -> Result<Arc<KeyList>, StoreError> {
        for _ in 0..MAX_TRIES {
            let known = self.read().await?;
            let mut list = known.list.pruned(self.clock.now());
            edit(&mut list)?;
            let content = serde_json::to_vec(&list);
            let content = content.map_err(|e| StoreError::Refused(e.to_string()))?;
            let since = Instant::now();
            let put =
                self.store
                    .put_document_noting(DOCUMENT, known.revision, content, event.clone());
            if let DocumentPut::Written(revision) = put.await? {
                let kept = self.keep(Known {
                    since,
                    revision: Some(revision),
                    list: Arc::new(list),
                });
                return Ok(kept.list);
            }
        }
        let reason = "other servers keep changing the keys of sessions; try again";
        Err(StoreError::Refused(reason.into()))
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
