//! The embedded store: one SQLite file, nothing to install.
//!
//! ```text
//!   callers ── bounded queue ──> writer thread ── one transaction a batch ──┐
//!           └─ bounded queue ──> reader threads ── read-only connections ───┴─> links.sqlite (WAL)
//! ```
//! **Committed means on disk.** The file is in WAL mode with `synchronous=FULL`, so a commit returns when the log
//! is synced. A sync costs some milliseconds on ordinary disks, whatever its size. So the writer takes all waiting
//! writes, up to a bound, into one transaction, and replies to their callers when it is committed. If the commit
//! fails, all of them fail, and none is half done.
//!
//! **Reads never wait for writes.** WAL lets the reader threads continue with the state of the last commit. They
//! have a queue of their own, so a stream of registrations cannot delay a query.
//!
//! **Versions after a deletion.** A deleted name must not come back with a version that a cache has seen, even if
//! the clock is set back. A tombstone for every name would grow without end. So the table `meta` holds one
//! *version floor* for the whole file: the highest version that any removed link or its absence had. A name
//! without a row gets a version above the floor. Writes that remove nothing leave the floor alone: a name with a
//! row continues from the version of that row.
//!
//! **One process owns the file**, because the sweep and the version floor assume a single writer. It holds an
//! advisory lock on a file beside it, `<file>.lock`. SQLite's own `locking_mode=EXCLUSIVE` would shut out the
//! readers and an operator's `sqlite3` shell, and a lock on the database itself would conflict with SQLite's locks
//! on it. The lock file is never removed: otherwise two processes could lock two different files of that name.
//!
//! **The file may be replaced**, or its content, while a server has it open: an operator restores a backup, or
//! mounts a volume over it. What the server acknowledges then would be gone after the next start. So the writer
//! checks the file before and after each transaction and every second (`guard`), and refuses writes. `condition`
//! has the messages for callers and `/readyz`, also for a full disk.
//!
//! **Other programs may write** all the same, such as an operator's `sqlite3` shell. The writer notices that
//! (`other_writers`): it looks every second and in each of its transactions, and the store's [`Watch`] reports it.
//!
//! **A row that does not parse** can only come from another program or a broken disk. `get`, `create`, `change`
//! and `delete` return [`StoreError::Corrupt`], so that DNS answers SERVFAIL and nothing builds upon the row.
//! `list` and `scan` log a warning that names the row and skip it: if they failed, one bad row would take down a
//! whole zone's list and the warm load. Skipping it loses nothing, because a look-up of that name still reports
//! it.
//!
//! Not chosen: an async SQLite crate (sqlx), whose pool hides which connection writes, and which commits each
//! write by itself; and a lock around one connection, which makes reads wait for syncs.

mod audit;
mod call;
mod change;
mod check;
mod condition;
mod documents;
mod feed;
mod guard;
mod idempotency;
mod indexing;
mod integrity;
mod migrations;
mod other_writers;
mod own;
mod queue;
mod read_only;
mod reader;
mod row;
mod schema;
mod search;
mod session;
mod statistics;
#[cfg(test)]
mod testing;
mod warden;
mod writer;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::audit::Log;
pub use self::check::check as check_file;
use self::condition::Condition;
use self::feed::Ring;
use self::other_writers::Lookout;
use self::own::Own;
use self::queue::{Calls, Queue, Queues, start_readers};
pub use self::schema::{OpenError, StoreUpdate};
use self::statistics::Statistics;
use self::warden::Warden;
use self::writer::Writer;
use super::audit::{Actor, AuditPage, AuditQuery, Entry, Event, Retention};
use super::feed::Feed;
use super::idempotency::{Claim, Claimed, KeyId};
use super::statistics::StatisticsStore;
use super::upkeep::Upkeep;
use super::watch::VALID_FOR;
use super::{
    Adopted, Change, Changed, Created, Deleted, Document, DocumentPut, Examined, Facts, Found,
    Identity, NamePlace, NameSink, NewLink, Page, Place, Query, Seal, Segment, Store, StoreError,
    Trouble, Watch, document,
};
use crate::base::clock::{Clock, UnixTime};
use crate::link::{Link, LinkName, Origin, Version};

/// How many writes may wait. With [`writer::WRITE_BATCH`] and [`schema::BUSY_TIMEOUT`] the last of them waits ten
/// seconds at worst, which is as long as an administrator's call does.
const WRITE_QUEUE: usize = 1_024;
/// How long a write may wait for a place in the queue: less than an administrator's call.
const WRITE_WAIT: Duration = Duration::from_secs(8);
/// The same for a read: as long as a query waits for its link.
const READ_WAIT: Duration = Duration::from_millis(1_500);
/// The most reader threads. Look-ups find their pages in the cache, so more threads than cores gain nothing.
const MAX_READERS: usize = 4;
/// The most links of one page: with the longest URLs and notes some 10 MiB, usually 200 KiB, and a few milliseconds of a
/// reader's time.
const MAX_PAGE: usize = 1_000;
/// How many searches may be under way. Each takes up to some 50 ms of a reader's time.
const MAX_SEARCHES: usize = 1;
/// The most names of one page: they are not copied, and each costs a reader about a microsecond.
const MAX_NAMES: usize = 4_000;
/// The most entries of one page of the audit log.
const MAX_ENTRIES: usize = 1_000;

/// The `kind` of the store in the configuration.
const SQLITE: &str = "sqlite";

/// A link store in one SQLite file; see the [module](self).
pub struct SqliteStore {
    calls: Arc<Calls>,
    watch: Arc<Watch>,
    changes: Arc<Ring>,
    own: Own,
    /// Whether the file was opened only to be read while a server had it open.
    in_use: bool,
    log: Log,
    searches: Semaphore,
    upkeep: Arc<Upkeep>,
    /// The threads behind `calls`; none once they have ended.
    threads: tokio::sync::Mutex<Option<Threads>>,
}

/// The threads. They end when the queues are dropped and all queued calls are done.
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Writer>>,
    /// The lock on the store; held until the threads have ended.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, with an audit log that has the default bounds; see
    /// [`SqliteStore::open_with`].
    ///
    /// # Errors
    /// [`OpenError`] if the file cannot be used; it was then not changed.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        Self::open_with(path, clock, Some(Retention::default()), &|_| {})
    }

    /// Opens the store in the file at `path`. Makes the file and its directories if they are missing. Blocks for
    /// as long as the disk takes. `clock` is used only for the sweep of links that have ended and of old entries of
    /// the audit log. Without `retention` no audit log is kept. `on_update` is called before a file of an earlier version is
    /// brought up to date, if that takes longer than a second.
    ///
    /// # Errors
    /// [`OpenError`] if the file cannot be used; it was then not changed.
    pub fn open_with(
        path: &Path,
        clock: Clock,
        retention: Option<Retention>,
        on_update: &dyn Fn(StoreUpdate),
    ) -> Result<Self, OpenError> {
        let opened = schema::open(path, reader_count(), on_update)?;
        Self::start(path, opened, clock, Log { retention }).map_err(|error| OpenError::Io {
            path: path.to_owned(),
            error,
        })
    }

    fn start(path: &Path, opened: schema::Opened, clock: Clock, log: Log) -> io::Result<Self> {
        let lookout = Lookout::new(&opened.writer).map_err(io::Error::other)?;
        let watch = lookout.watch();
        let changes = Arc::new(Ring::new(watch.clone()));
        let condition = Arc::new(Condition::new(path.to_owned()));
        let own = Own::of(path, &opened);
        let guard = Some(opened.guard);
        let session = (opened.session, opened.has_session);
        let warden = Warden::new(lookout, guard, condition.clone(), session);
        let (reads, readers) = start_readers(opened.readers)?;
        let (writes, waiting) = sync_channel(WRITE_QUEUE);
        let of_writer = Arc::clone(&changes);
        let writer = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                let writer = Writer {
                    conn: opened.writer,
                    warden,
                    log,
                    changes: of_writer,
                };
                writer.run(&waiting, &clock, writer::SWEEP_INTERVAL)
            })?;
        let queues = Queues {
            writes: Some(Queue::new(writes, WRITE_QUEUE, WRITE_WAIT)),
            reads,
        };
        Ok(Self {
            calls: Arc::new(Calls::new(queues, condition)),
            watch,
            changes,
            own,
            in_use: false,
            log,
            searches: Semaphore::new(MAX_SEARCHES),
            upkeep: Arc::default(),
            threads: tokio::sync::Mutex::new(Some(Threads {
                readers,
                writer: Some(writer),
                _lock: Some(opened.lock),
            })),
        })
    }

    /// Opens the store in the file at `path` to read it, also while a server has it open. Nothing is changed, and changes
    /// are refused. While no server has it open, none can open it until this store is dropped.
    ///
    /// # Errors
    /// [`OpenError`] if there is no file, or it is no store of this version.
    pub fn open_to_read(path: &Path) -> Result<Self, OpenError> {
        let opened = read_only::open(path, reader_count())?;
        let io_error = |error| OpenError::Io {
            path: path.to_owned(),
            error,
        };
        let (reads, readers) = start_readers(opened.readers).map_err(io_error)?;
        let watch = Arc::new(Watch::unlooked(Instant::now(), VALID_FOR));
        let queues = Queues {
            writes: None,
            reads,
        };
        let condition = Arc::new(Condition::new(path.to_owned()));
        Ok(Self {
            calls: Arc::new(Calls::new(queues, condition)),
            changes: Arc::new(Ring::new(watch.clone())),
            watch,
            own: Own::new(path, (opened.identity, opened.epoch), None),
            in_use: opened.in_use,
            log: Log { retention: None },
            searches: Semaphore::new(MAX_SEARCHES),
            upkeep: Arc::default(),
            threads: tokio::sync::Mutex::new(Some(Threads {
                readers,
                writer: None,
                _lock: opened.lock,
            })),
        })
    }

    /// Whether a server had the file open when it was [opened to be read](Self::open_to_read).
    pub fn is_in_use(&self) -> bool {
        self.in_use
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError> {
        let (log, changes, name) = (self.log, self.changes.clone(), new.name.clone());
        self.calls
            .write(move |conn| changes.noted(&name, change::create(conn, log, new, now_micros)))
            .await
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        let name = name.clone();
        self.calls.read(move |conn| reader::get(conn, &name)).await
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Changed, StoreError> {
        let (log, name, by) = (self.log, name.clone(), by.clone());
        let (wanted, changes) = ((expected, change), self.changes.clone());
        self.calls
            .write(move |conn| {
                let changed = change::change(conn, log, &name, wanted, (&by, now_micros));
                changes.noted(&name, changed)
            })
            .await
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Deleted, StoreError> {
        let (log, name, by) = (self.log, name.clone(), by.clone());
        let changes = self.changes.clone();
        let deleted = self.calls.write(move |conn| {
            let deleted = change::delete(conn, log, &name, expected, (&by, now_micros));
            changes.noted(&name, deleted)
        });
        let deleted = deleted.await?;
        if let Deleted::Deleted(_) = deleted {
            self.watch.note_removed(1);
        }
        Ok(deleted)
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let (origin, after) = (origin.clone(), after.cloned());
        let limit = limit.clamp(1, MAX_PAGE);
        self.calls
            .read(move |conn| reader::list(conn, &origin, after.as_ref(), limit))
            .await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let (query, after) = (query.clone(), after.cloned());
        let limit = limit.clamp(1, MAX_PAGE);
        // Searches wait for each other and not for a reader, so that most readers stay free for queries.
        let turn = tokio::time::timeout(READ_WAIT, self.searches.acquire()).await;
        let _turn = turn.map_err(|_| StoreError::Overloaded)?;
        self.calls
            .read(move |conn| search::find(conn, &query, after.as_ref(), limit))
            .await
    }

    fn sorts(&self) -> bool {
        true
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let after = after.cloned();
        let limit = limit.clamp(1, MAX_PAGE);
        self.calls
            .read(move |conn| reader::scan(conn, segment, after.as_ref(), limit))
            .await
    }

    async fn estimate(&self) -> Option<u64> {
        self.calls.read(reader::count).await.ok()
    }

    fn watch(&self) -> Option<Arc<Watch>> {
        Some(Arc::clone(&self.watch))
    }

    fn feed(&self) -> Option<Arc<dyn Feed>> {
        Some(self.changes.clone())
    }

    async fn names(
        &self,
        after: Option<NamePlace>,
        limit: usize,
        sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        let limit = limit.clamp(1, MAX_NAMES);
        self.calls
            .read(move |conn| reader::names(conn, after.as_ref(), limit, &*sink))
            .await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let key = key.to_owned();
        self.calls
            .read(move |conn| documents::get(conn, &key))
            .await
    }

    async fn put_document_noting(
        &self,
        key: &str,
        expected: Option<u64>,
        content: Vec<u8>,
        event: Option<Event>,
    ) -> Result<DocumentPut, StoreError> {
        if let Some(reason) = document::refusal(key, &content) {
            return Err(StoreError::Refused(reason));
        }
        let (entry, key) = ((self.log, event), key.to_owned());
        self.calls
            .write(move |conn| documents::put(conn, entry, &key, expected, &content))
            .await
    }

    async fn claim_key(&self, claim: &Claim, now: UnixTime) -> Result<Claimed, StoreError> {
        let claim = *claim;
        self.calls
            .write(move |conn| idempotency::claim(conn, &claim, now))
            .await
    }

    async fn extend_key(
        &self,
        id: KeyId,
        holder: u64,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        self.calls
            .write(move |conn| idempotency::extend(conn, id, holder, until))
            .await
    }

    async fn keep_outcome(
        &self,
        id: KeyId,
        holder: u64,
        outcome: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        if let Some(reason) = super::idempotency::refusal(&outcome) {
            return Err(StoreError::Refused(reason));
        }
        self.calls
            .write(move |conn| idempotency::keep(conn, id, holder, &outcome, now))
            .await
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        let limit = query.limit.clamp(1, MAX_ENTRIES);
        let query = AuditQuery { limit, ..query };
        self.calls.read(move |conn| audit::page(conn, &query)).await
    }

    fn statistics(&self) -> Option<Arc<dyn StatisticsStore>> {
        let (calls, upkeep) = (self.calls.clone(), self.upkeep.clone());
        Some(Arc::new(Statistics { calls, upkeep }))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.calls.read(reader::ping).await
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.calls.condition.troubles()
    }

    fn identity(&self) -> Identity {
        match self.calls.condition.check_reads() {
            Ok(()) => self.own.identity(),
            Err(_) => Identity::Unknown,
        }
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        Ok(self.own.facts())
    }

    async fn begin_epoch(&self) -> Result<u64, StoreError> {
        let epoch = self.calls.write(session::begin_epoch).await?;
        self.own.note_epoch(epoch);
        Ok(epoch)
    }

    async fn adopt(&self, link: &Link) -> Result<Adopted, StoreError> {
        let (link, changes) = (link.clone(), self.changes.clone());
        self.calls
            .write(move |conn| changes.adopted(&link, change::adopt(conn, &link)))
            .await
    }

    async fn adopt_entry(&self, entry: &Entry) -> Result<Adopted, StoreError> {
        let event = entry.event.clone();
        self.calls
            .write(move |conn| audit::adopt(conn, &event))
            .await
    }

    async fn examine(
        &self,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Examined, StoreError> {
        let (after, limit) = (after.cloned(), limit.clamp(1, MAX_PAGE));
        self.calls
            .read(move |conn| reader::examine(conn, after.as_ref(), limit))
            .await
    }

    async fn check_integrity(&self) -> Result<Vec<String>, StoreError> {
        self.calls.read(integrity::faults).await
    }

    async fn close(&self) -> Option<Seal> {
        self.calls.close();
        // Locked until the threads have ended, so that a second call returns no sooner than the first.
        let mut threads = self.threads.lock().await;
        let threads = threads.take()?;
        match tokio::task::spawn_blocking(move || threads.join()).await {
            Ok(seal) => seal,
            Err(error) => {
                tracing::error!(%error, "closing the link store failed");
                None
            }
        }
    }
}

impl Threads {
    /// Waits for the threads and moves the log into the database file. Returns the seal under which the file is
    /// left.
    fn join(self) -> Option<Seal> {
        for reader in self.readers {
            if reader.join().is_err() {
                tracing::error!("a reader thread of the link store panicked");
            }
        }
        let Ok(writer) = self.writer?.join() else {
            tracing::error!("the writer thread of the link store panicked");
            return None;
        };
        writer.end()
    }
}

/// Without [`Store::close`] the threads end here. No caller waits any more, so they skip queued calls, and this
/// takes no longer than the batch that is being written.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.calls.close();
        if let Some(threads) = self.threads.get_mut().take() {
            drop(threads.join());
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

fn reader_count() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_READERS))
}
