//! The mark: how nodes recognise values in Redis that belong to another store, or to a past that was undone.
//!
//! Redis may outlive the store that it caches: an operator restores a backup of the store while Redis runs on, or
//! gives another store the same prefix. The values in Redis then look sound but are wrong. So every value, claim
//! and announced change carries a *mark*, a number that identifies the store and its history. Nodes and scripts
//! ignore everything with another mark, whatever its version. No clean-up is needed: such values expire or are
//! overwritten.
//!
//! * **A shared store** has an id that changes when it is restored from a backup (DynamoDB's table id). The mark
//!   is that id, so all nodes use the same one. Nodes also write it to Redis under a key for the store's place
//!   (account, region and table name). A node that starts while the store is away uses this mark until the store
//!   answers.
//! * **The store of a single server** is a file, which an operator may replace by a copy of any age. Its mark is
//!   random. It passes from one run of the server to the next only if nothing was missed in between: a server that
//!   stops in order leaves a *note* in Redis with the mark and the *seal* of the closed file. The next run removes
//!   the note and keeps the mark if the file still has that seal. After a kill, a restored backup, a change by
//!   another program, or a loss in Redis, no note matches. The server then draws a new mark and fills Redis again,
//!   which is cheap with a local file.
//!
//! Not chosen: a mark in the keys. A server that is killed again and again would leave a whole set of links behind
//! each time, until a Redis server that may not evict is full.
//!
//! # Two stores with one prefix
//!
//! They overwrite each other's values, which harms neither more than an eviction does. Each node writes its mark
//! once a second when it probes Redis, and reads the mark that was there: it warns when it finds that of another
//! store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisResult;
use serde::Deserialize;
use tokio::sync::Notify;

use super::connection::Connection;
use super::error::{is_outage, text};
use super::mark::Mark;
use super::scripts::millis;
use crate::base::clock::UnixTime;
use crate::store::{Identity, Seal, Store};

/// How long the sight of another store's mark counts: several probes.
const CONFLICT_COUNTS: Duration = Duration::from_secs(15);
/// How often the mark of a shared store is written under its place.
const PLACE_EVERY: Duration = Duration::from_secs(60);
/// How often the log warns of another store.
const CONFLICT_REPORT: Duration = Duration::from_secs(600);

/// The note that a server leaves in Redis when it stops.
#[derive(Deserialize)]
struct Note {
    seal: String,
    mark: String,
    /// When the server left it, in seconds since the epoch.
    at: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct StoreMark {
    store: Arc<dyn Store>,
    prefix: Box<str>,
    mark: AtomicU64,
    /// The last mark that was known.
    last: AtomicU64,
    /// Whether Redis may have values from before this server first connected.
    was_used: AtomicBool,
    /// Whether links may have changed while no mark was known, so that Redis did not get the changes.
    missed: AtomicBool,
    /// When the mark of a shared store was last written under its place.
    placed: Mutex<Option<Instant>>,
    conflict: Mutex<Conflict>,
    /// Notified when a new mark replaces a known one.
    pub(super) renewed: Notify,
}

#[derive(Debug, Default)]
struct Conflict {
    /// The mark that this node wrote last: a different one that it finds then was written later.
    written: Option<Mark>,
    seen: Option<Instant>,
    logged: Option<Instant>,
}

impl StoreMark {
    pub(super) fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self {
            store,
            prefix: prefix.into(),
            mark: AtomicU64::new(0),
            last: AtomicU64::new(0),
            was_used: AtomicBool::new(true),
            missed: AtomicBool::new(false),
            placed: Mutex::default(),
            renewed: Notify::new(),
            conflict: Mutex::default(),
        }
    }

    /// The mark of the store, once it is known.
    pub(super) fn mark(&self) -> Option<Mark> {
        Mark::from_number(self.mark.load(Ordering::Acquire))
    }

    /// Must be called before each change of a link.
    pub(super) fn note_change(&self) {
        if self.mark().is_none() {
            self.missed.store(true, Ordering::Release);
        }
    }

    /// Whether [`Self::determine`] has work to do: the store is not known, or it is another one than before.
    pub(super) fn must_determine(&self) -> bool {
        let mark = self.mark();
        match self.store.identity() {
            Identity::Unknown => {
                // The file was replaced while it was open: what comes next is another history.
                if mark.is_some() {
                    self.missed.store(true, Ordering::Release);
                    self.mark.store(0, Ordering::Release);
                }
                false
            }
            Identity::Shared { id: Some(id), .. } => {
                mark != Some(Mark::of(id)) || self.is_place_due()
            }
            Identity::Shared { id: None, .. } | Identity::Own { .. } => mark.is_none(),
        }
    }

    /// Determines the mark. Fails only if Redis does.
    pub(super) async fn determine(
        &self,
        connection: &mut Connection,
        started: Option<u64>,
        keep: Duration,
        now: UnixTime,
    ) -> RedisResult<()> {
        let mark = match self.store.identity() {
            Identity::Unknown => return Ok(()),
            Identity::Shared { id: None, .. } | Identity::Own { .. } if self.mark().is_some() => {
                return Ok(());
            }
            Identity::Shared { id: None, place } => match self.found_at(connection, place).await? {
                Some(mark) => mark,
                None => return Ok(()),
            },
            Identity::Shared {
                id: Some(id),
                place,
            } => {
                let mark = Mark::of(id);
                if self.last.load(Ordering::Acquire) == 0 {
                    // Without a mark at the place, all values of this store have expired.
                    let is_used = self.mark_at(connection, place).await? == Some(mark);
                    self.was_used.store(is_used, Ordering::Release);
                }
                self.put_at(connection, place, mark, keep).await?;
                mark
            }
            Identity::Own { id, found } => {
                let note = self.take_note(connection, id).await?;
                let missed = self.missed.load(Ordering::Acquire);
                match inherited(note.as_ref(), found.as_ref(), started).filter(|_| !missed) {
                    Some(mark) => mark,
                    None => {
                        log_new(note.is_some());
                        Mark::draw(now)
                    }
                }
            }
        };
        self.mark.store(mark.number(), Ordering::Release);
        let last = self.last.swap(mark.number(), Ordering::AcqRel);
        if last != 0 && last != mark.number() {
            tracing::warn!(
                "the link store is another one than before; links of the old one in Redis are ignored"
            );
            self.renewed.notify_one();
        }
        Ok(())
    }

    fn is_place_due(&self) -> bool {
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.is_none_or(|placed| placed.elapsed() > PLACE_EVERY)
    }

    fn place_key(&self, place: u64) -> String {
        format!("{}:store:{place:016x}", self.prefix)
    }

    /// Whether Redis may have had values of this store when this server first connected.
    pub(super) fn was_used(&self) -> bool {
        self.was_used.load(Ordering::Acquire)
    }

    async fn mark_at(&self, connection: &mut Connection, place: u64) -> RedisResult<Option<Mark>> {
        let get = redis::cmd("GET").arg(self.place_key(place)).to_owned();
        let text: Option<Vec<u8>> = unless_refused(connection.command(&get).await)?.flatten();
        Ok(text.and_then(|text| Mark::parse(std::str::from_utf8(&text).ok()?)))
    }

    /// The mark that nodes last wrote for a place.
    async fn found_at(&self, connection: &mut Connection, place: u64) -> RedisResult<Option<Mark>> {
        let mark = self.mark_at(connection, place).await?;
        if mark.is_some() {
            tracing::info!(
                "the link store cannot be asked for its identity yet; until then, links that Redis holds for \
                     the store last seen at this place are used"
            );
        }
        Ok(mark)
    }

    /// Writes the mark for a place, or removes it if two stores claim the place.
    async fn put_at(
        &self,
        connection: &mut Connection,
        place: u64,
        mark: Mark,
        keep: Duration,
    ) -> RedisResult<()> {
        let command = if self.has_conflict() {
            redis::cmd("DEL").arg(self.place_key(place)).to_owned()
        } else {
            let mut set = redis::cmd("SET");
            set.arg(self.place_key(place)).arg(mark.to_string());
            set.arg("PX").arg(millis(keep)).to_owned()
        };
        unless_refused(connection.command::<()>(&command).await)?;
        *self.placed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    /// Removes the note from Redis and returns it. A note that cannot be removed is not used: it would be used
    /// again.
    async fn take_note(&self, connection: &mut Connection, id: u64) -> RedisResult<Option<Note>> {
        let key = self.note_key(id);
        let get = redis::cmd("GET").arg(&key).to_owned();
        let del = redis::cmd("DEL").arg(&key).to_owned();
        let taken = async {
            let text: Option<Vec<u8>> = connection.command(&get).await?;
            let Some(text) = text else { return Ok(None) };
            connection.command::<()>(&del).await?;
            Ok(serde_json::from_slice(&text).ok())
        };
        match taken.await {
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                let error = text(&error);
                tracing::warn!(error, "cannot take the note of the last stop out of Redis");
                Ok(None)
            }
            Ok(note) => Ok(note),
        }
    }

    /// The key and text of the note for a store that was left under this seal; none if the next run could not use
    /// it.
    pub(super) fn note(&self, seal: &Seal, now: UnixTime) -> Option<(String, String)> {
        let Identity::Own { id, .. } = self.store.identity() else {
            return None;
        };
        let mark = self.mark()?;
        let text = format!("{{\"seal\":\"{seal}\",\"mark\":\"{mark}\",\"at\":{now}}}");
        Some((self.note_key(id), text))
    }

    fn note_key(&self, id: u64) -> String {
        format!("{}:left:{id:016x}", self.prefix)
    }

    /// Records which mark was there when this node wrote its own.
    pub(super) fn note_probe(&self, found: Option<&[u8]>, written: Mark) {
        let found = found.and_then(|text| Mark::parse(std::str::from_utf8(text).ok()?));
        let now = Instant::now();
        let mut conflict = self.conflict.lock().unwrap_or_else(PoisonError::into_inner);
        let before = conflict.written.replace(written);
        if before != Some(written) || found.is_none_or(|found| found == written) {
            return;
        }
        conflict.seen = Some(now);
        if conflict
            .logged
            .is_none_or(|logged| now - logged > CONFLICT_REPORT)
        {
            conflict.logged = Some(now);
            tracing::warn!(prefix = &*self.prefix, "{CONFLICT}");
        }
    }

    /// Whether the mark of another store was seen within [`CONFLICT_COUNTS`].
    pub(super) fn has_conflict(&self) -> bool {
        let conflict = self.conflict.lock().unwrap_or_else(PoisonError::into_inner);
        conflict
            .seen
            .is_some_and(|seen| seen.elapsed() < CONFLICT_COUNTS)
    }
}

/// The result, or none if the Redis server refuses the call.
fn unless_refused<T>(result: RedisResult<T>) -> RedisResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_outage(&error) => Err(error),
        Err(error) => {
            tracing::debug!(error = text(&error), "Redis refuses a call");
            Ok(None)
        }
    }
}

/// The warning about another store with the same prefix.
pub(super) const CONFLICT: &str = "another link store uses this Redis with the same prefix: each ignores and \
    overwrites the links of the other, so Redis saves little; set another prefix in [redis] of one of them";

/// The warning while it is not known which store this is.
pub(super) const STORE_UNKNOWN: &str = "the link store cannot be asked for its identity, so no link is read from \
    Redis: see why the store cannot be used";

/// The mark from the note, if the note fits the store as this run found it and is newer than the start of Redis.
fn inherited(note: Option<&Note>, found: Option<&Seal>, started: Option<u64>) -> Option<Mark> {
    let (note, found, started) = (note?, found?, started?);
    (note.seal == found.to_string() && note.at >= started).then(|| Mark::parse(&note.mark))?
}

fn log_new(had_note: bool) {
    match had_note {
        true => tracing::warn!(
            "the link store is not as its server left it (a backup was restored, or another program wrote to it): \
             links in Redis are ignored and loaded again"
        ),
        false => tracing::info!(
            "Redis has no note of how the link store was left: links in Redis are ignored and loaded again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(seal: &str, mark: &str, at: u64) -> Note {
        let (seal, mark) = (seal.into(), mark.into());
        Note { seal, mark, at }
    }

    #[test]
    fn a_mark_passes_on_only_if_nothing_was_missed() {
        let mark = Mark::of(7);
        let left = note("s-1", &mark.to_string(), 100);
        let found = Seal::new("s-1");
        let check = |note: Option<&Note>, found: Option<&Seal>, started, expected| {
            assert_eq!(inherited(note, found, started), expected);
        };
        check(Some(&left), Some(&found), Some(100), Some(mark));
        check(Some(&left), Some(&found), Some(0), Some(mark));
        // The Redis server has restarted and has loaded the note from its file.
        check(Some(&left), Some(&found), Some(101), None);
        check(Some(&left), Some(&found), None, None);
        check(Some(&left), Some(&Seal::new("s-2")), Some(0), None);
        check(Some(&left), None, Some(0), None);
        check(None, Some(&found), Some(0), None);
        check(
            Some(&note("s-1", "seven", 100)),
            Some(&found),
            Some(0),
            None,
        );
    }
}
