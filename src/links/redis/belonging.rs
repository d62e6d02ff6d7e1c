//! Of which store, and of which of its states, what Redis holds is.
//!
//! A Redis may outlive what it is the cache of: a backup of the store is put back while Redis runs on, or
//! another store gets the same prefix. What it then holds looks sound, and is of another past. So every
//! value, claim and change bears a *mark*, and what bears another one counts as nothing, in scripts as well,
//! whatever its version. Nobody has to clean up: values end by their time, or are written over.
//!
//! * A store that servers share has an identity that is another one after a restore (with DynamoDB the
//!   table's); its mark is made of that, so that all servers have the same. They write it into Redis under
//!   the store's place, so that a server that starts while the store is away can go by that until it is back.
//! * The store of one server is a file, which may be replaced by a copy of any age. Its mark is random, and
//!   passes from one run of the server to the next only if nothing was missed in between: a server that
//!   stops in order leaves in Redis under which *seal* it has left the file. The next one takes this note out
//!   of Redis, and goes on with the mark if the file still has that seal. After a kill, a restored backup,
//!   a change by another program, or a loss in Redis there is no such note, and a new mark begins. Redis is
//!   then filled anew, which with a store of its own costs little.
//!
//! Turned down: marks in the names of keys. A server that is killed again and again would leave a whole set
//! of links behind each time, until a Redis that may not evict is full.
//!
//! # Two stores with one prefix
//!
//! They write over each other's values, which is no more than an eviction to either. Each writes its mark
//! once a second where it tries whether Redis works, and sees that another one was there.

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

/// How long it counts that another store was seen: several times as long as between two tries.
const CONFLICT_COUNTS: Duration = Duration::from_secs(15);
/// How often the mark of a shared store is written under its place.
const PLACE_EVERY: Duration = Duration::from_secs(60);
/// How often the log tells of another store.
const CONFLICT_REPORT: Duration = Duration::from_secs(600);

/// The note that a server leaves in Redis.
#[derive(Deserialize)]
struct Note {
    seal: String,
    mark: String,
    /// When it was left, in seconds since the epoch.
    at: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Belonging {
    store: Arc<dyn Store>,
    prefix: Box<str>,
    mark: AtomicU64,
    /// The last one that there was.
    last: AtomicU64,
    /// Whether links may have changed while there was no mark, of which Redis was not told.
    missed: AtomicBool,
    /// When the mark of a shared store was last written under its place.
    placed: Mutex<Option<Instant>>,
    conflict: Mutex<Conflict>,
    /// Told when another mark has taken the place of one.
    pub(super) renewed: Notify,
}

#[derive(Debug, Default)]
struct Conflict {
    /// Whether our own mark was written before, so that what stands there was written after.
    written: Option<Mark>,
    seen: Option<Instant>,
    told: Option<Instant>,
}

impl Belonging {
    pub(super) fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self {
            store,
            prefix: prefix.into(),
            mark: AtomicU64::new(0),
            last: AtomicU64::new(0),
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

    /// A link is going to change.
    pub(super) fn note_change(&self) {
        if self.mark().is_none() {
            self.missed.store(true, Ordering::Release);
        }
    }

    /// Whether [`Self::settle`] has something to do: it is not known which store this is, or it is another
    /// one.
    pub(super) fn is_unsettled(&self) -> bool {
        let mark = self.mark();
        match self.store.identity() {
            Identity::Unknown => {
                // It was known, and is not any more: what comes next is another state.
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

    /// Finds out which mark counts. Fails only if Redis does.
    pub(super) async fn settle(
        &self,
        connection: &mut Connection,
        born: Option<u64>,
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
                self.put_at(connection, place, mark, keep).await?;
                mark
            }
            Identity::Own { id, found } => {
                let note = self.take_note(connection, id).await?;
                let missed = self.missed.load(Ordering::Acquire);
                match inherited(note.as_ref(), found.as_ref(), born).filter(|_| !missed) {
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
                "this is another link store than before: links that Redis holds are not used"
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

    /// The mark of the store that was in a place when servers last looked.
    async fn found_at(&self, connection: &mut Connection, place: u64) -> RedisResult<Option<Mark>> {
        let get = redis::cmd("GET").arg(self.place_key(place)).to_owned();
        let text: Option<Vec<u8>> = unless_refused(connection.command(&get).await)?.flatten();
        let mark = text.and_then(|text| Mark::parse(std::str::from_utf8(&text).ok()?));
        if mark.is_some() {
            tracing::info!(
                "the link store cannot be asked yet which one it is: links that Redis holds of the store \
                 that was there before are used until then"
            );
        }
        Ok(mark)
    }

    /// Writes down which store is in a place; where two are said to be there, none is.
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

    /// Takes the note out of Redis. What cannot be taken out is none: it would be believed once more.
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
                tracing::warn!(error, "Redis does not tell how the store was left");
                Ok(None)
            }
            Ok(note) => Ok(note),
        }
    }

    /// What a server puts into Redis that has left the store under this seal, and under which key; none
    /// where the next one could not go on.
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

    /// Takes down what stood where our mark was written.
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
            .told
            .is_none_or(|told| now - told > CONFLICT_REPORT)
        {
            conflict.told = Some(now);
            tracing::warn!(prefix = &*self.prefix, "{CONFLICT}");
        }
    }

    /// Whether another store was seen a moment ago.
    pub(super) fn has_conflict(&self) -> bool {
        let conflict = self.conflict.lock().unwrap_or_else(PoisonError::into_inner);
        conflict
            .seen
            .is_some_and(|seen| seen.elapsed() < CONFLICT_COUNTS)
    }
}

/// A result, or nothing where the server refuses the call.
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

/// What is wrong where two stores meet, and what to do.
pub(super) const CONFLICT: &str = "another link store uses this Redis with the same prefix: links of the \
    other are not answered, but each drops what the other has put; set another prefix in [redis] of one";

/// What is wrong where it is not known which store this is, and what to do.
pub(super) const NAMELESS: &str = "the link store does not tell which one it is, so that no link is read from \
    Redis: see why the store cannot be used";

/// The mark with which the note lets a server go on that has found the store so.
fn inherited(note: Option<&Note>, found: Option<&Seal>, born: Option<u64>) -> Option<Mark> {
    let (note, found, born) = (note?, found?, born?);
    (note.seal == found.to_string() && note.at >= born).then(|| Mark::parse(&note.mark))?
}

fn log_new(had_note: bool) {
    match had_note {
        true => tracing::warn!(
            "the link store is not as its server left it (a backup was put back, or another program has \
             written): links that Redis holds are not used"
        ),
        false => tracing::info!(
            "Redis does not tell how the link store was left: links that it may hold are not used"
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
    fn a_mark_passes_on_only_where_nothing_was_missed() {
        let mark = Mark::of(7);
        let left = note("s-1", &mark.to_string(), 100);
        let found = Seal::new("s-1");
        let check = |note: Option<&Note>, found: Option<&Seal>, born, expected| {
            assert_eq!(inherited(note, found, born), expected);
        };
        check(Some(&left), Some(&found), Some(100), Some(mark));
        check(Some(&left), Some(&found), Some(0), Some(mark));
        // Redis was started again, and has read the note from its file.
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
