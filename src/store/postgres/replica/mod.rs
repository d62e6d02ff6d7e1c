//! A read replica near this server, from which links and the feed are read.
//!
//! ```text
//!   monitor ── positions of the writer's log, and of the replica ──> progress: the replica shows everything up to a moment
//!   own changes, announcements by Redis, gaps ─── notes ────────> awaited: the replica may lack these
//!                                                                       │
//!   get, list, names, feed ── route (book) <────────────────────────────┘
//!                               ├── the replica lags little, and lacks nothing that is known ──> the replica, then the writer
//!                               ├── it lags too much, or changes were missed ──> the writer, then the replica
//!                               └── it lacks a change that was acknowledged ───> the writer alone
//! ```
//!
//! The *writer* is the server that takes changes. Documents, notices, idempotency keys, the audit log and announcements
//! always go there.
//!
//! # What a replica gives
//!
//! * A name that a change has returned is never shown in an older state by this server, nor by one that has heard of the
//!   change by Redis. If the writer cannot be reached, such a read fails.
//! * While the writer can be reached, nothing that is shown is older than the bound. While it cannot, reads of the replica go
//!   on, whatever its age.
//! * A *run* of a replica begins when its first process starts. Moments belong to one run: a replica may have been made anew
//!   from an older backup. A connection to another run than the observed one is not used. While the writer cannot be reached,
//!   a new run is used if it is at least as far as the former one was.
//! * A replica that has another history than the database, or that takes changes, is not used.
//!
//! Not chosen: asking the replica for its lag in seconds (`pg_last_xact_replay_timestamp`), which compares two clocks, and
//! says nothing while nothing is changed; and waiting at the replica for each change before it is acknowledged
//! (`synchronous_commit = remote_apply`), which would make the replica as necessary as the writer.

mod awaited;
mod book;
mod monitor;
mod progress;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};

use self::book::{Book, Unused};
pub(super) use self::book::{Need, Route, Seen};
use super::config::{PostgresConfig, ReplicaConfig};
use super::connect::Connector;
use super::pool::{Lane, Pool};
use crate::base::client_files::ClientFileError;
use crate::link::LinkName;
use crate::store::{Effect, ReplicaStatus, Trouble};

/// How many reads of the feed may be under way: there is one reader.
const FEED_CONNECTIONS: u32 = 1;
/// For how long the feed is read often after the writer has said that there is news: a replica that has not replayed it by
/// then is read at the usual times.
const PURSUIT: Duration = Duration::from_secs(1);
/// How often it is read then.
const PURSUIT_PAUSE: Duration = Duration::from_millis(10);

/// See the [module](self).
pub(super) struct Replica {
    /// The replica without the password, for messages.
    pub(super) place: String,
    pub(super) pool: Arc<Pool>,
    pub(super) reads: Lane,
    pub(super) pages: Lane,
    pub(super) feeds: Lane,
    book: Mutex<Book>,
    /// Up to when the replica shows everything.
    as_of: watch::Sender<Option<Instant>>,
    /// Whether the replica can be used.
    used: watch::Sender<bool>,
    /// How many callers wait for a later moment.
    waiting: AtomicUsize,
    /// Wakes the monitor.
    urgent: Notify,
    /// Until when the feed is read often.
    pursuit: Mutex<Option<Instant>>,
    from_replica: AtomicU64,
    from_writer: AtomicU64,
}

impl Replica {
    /// A replica that was not reached yet. Each lane has the time of the writer's.
    pub(super) fn new(
        config: &PostgresConfig,
        replica: &ReplicaConfig,
        [reads, pages, feeds]: [&Lane; 3],
    ) -> Result<Self, ClientFileError> {
        let connector = Connector::to_replica(&replica.url, config)?;
        let lane = |share: u32, of: &Lane| Lane {
            permits: Semaphore::new(usize::try_from(share).unwrap_or(1).max(1)),
            limit: of.limit,
        };
        let (for_reads, for_pages) = (config.pool / 2, config.pool / 4);
        let size = for_reads + for_pages + FEED_CONNECTIONS;
        Ok(Self {
            place: connector.place(),
            pool: Arc::new(Pool::new(connector, size)),
            reads: lane(for_reads, reads),
            pages: lane(for_pages, pages),
            feeds: lane(FEED_CONNECTIONS, feeds),
            book: Mutex::new(Book::new(replica.lag)),
            as_of: watch::Sender::new(None),
            used: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            urgent: Notify::new(),
            pursuit: Mutex::default(),
            from_replica: AtomicU64::new(0),
            from_writer: AtomicU64::new(0),
        })
    }

    /// Where a read goes.
    pub(super) fn route(&self, need: Need<'_>) -> Route {
        self.book().route(need, Instant::now())
    }

    /// Counts a read.
    pub(super) fn count(&self, is_of_replica: bool) {
        let count = match is_of_replica {
            true => &self.from_replica,
            false => &self.from_writer,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a read that should have gone to the writer went to the replica.
    pub(super) fn note_fallback(&self) {
        self.book().note_fallback();
    }

    /// See [`Book::takes_gap`].
    pub(super) fn takes_gap(&self) -> bool {
        self.book().takes_gap()
    }

    /// Which of these names have to be read from the writer.
    pub(super) fn awaited(&self, names: &[LinkName]) -> Vec<bool> {
        let book = self.book();
        names.iter().map(|name| book.awaits(name)).collect()
    }

    /// Notes changes of names that were committed before `at`: the replica is not read about them until it shows that moment.
    pub(super) fn note<'a>(&self, names: impl IntoIterator<Item = &'a LinkName>, at: Instant) {
        let mut book = self.book();
        for name in names {
            book.note(name, at);
        }
        drop(book);
        self.urgent.notify_waiters();
    }

    /// Notes that changes may have been committed before now of which this server does not know.
    pub(super) fn note_missed(&self) {
        self.book().note_missed(Instant::now());
        self.urgent.notify_waiters();
    }

    /// Waits until the replica shows everything that was committed before `moment`, for at most `limit`, and only while it can
    /// be used.
    pub(super) async fn caught_up(&self, moment: Instant, limit: Duration) {
        let mut as_of = self.as_of.subscribe();
        let mut used = self.used.subscribe();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        self.urgent.notify_waiters();
        let shown = async {
            tokio::select! {
                // Errors cannot be: the senders are in `self`.
                _ = as_of.wait_for(|as_of| as_of.is_some_and(|as_of| as_of > moment)) => {}
                _ = used.wait_for(|used| !used) => {}
            }
        };
        let _ = tokio::time::timeout(limit, shown).await;
    }

    /// Waits until the replica can be used.
    pub(super) async fn usable(&self) {
        let mut used = self.used.subscribe();
        // An error cannot be: the sender is in `self`.
        let _ = used.wait_for(|used| *used).await;
    }

    /// Notes that the writer cannot be reached.
    pub(super) fn lose_writer(&self) {
        self.book().lose_writer();
    }

    fn is_pursuing(&self) -> bool {
        let until = *self.pursuit();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the feed should be read because of news from the writer, which `notified` brings.
    pub(super) async fn pursue(&self, notified: impl Future<Output = ()>) {
        if self.is_pursuing() {
            tokio::select! {
                () = tokio::time::sleep(PURSUIT_PAUSE) => return,
                () = notified => {}
            }
        } else {
            notified.await;
        }
        *self.pursuit() = Some(Instant::now() + PURSUIT);
        self.urgent.notify_waiters();
    }

    /// Notes that a read of the feed shows everything up to this moment: older news has been read.
    pub(super) fn end_pursuit(&self, as_of: Instant) {
        let mut pursuit = self.pursuit();
        if pursuit.is_some_and(|until| until <= as_of + PURSUIT) {
            *pursuit = None;
        }
    }

    /// What `/metrics` shows.
    pub(super) fn status(&self) -> ReplicaStatus {
        let book = self.book();
        ReplicaStatus {
            is_used: book.unused().is_none(),
            lag: book.lag(Instant::now()),
            awaited: book.names(),
            from_replica: self.from_replica.load(Ordering::Relaxed),
            from_writer: self.from_writer.load(Ordering::Relaxed),
        }
    }

    /// What an operator should know.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let book = self.book();
        let bound = book.bound().as_secs();
        let lag = book.lag(Instant::now());
        let is_late = lag.is_none_or(|lag| lag > book.bound());
        let (effect, reason): (_, Cow<'static, str>) = match (book.unused(), book.writer_is_away()) {
            (Some(why), _) => (Effect::Degraded, why.brief().into()),
            (None, true) if is_late => (
                Effect::NoChanges,
                format!(
                    "the PostgreSQL server that takes changes cannot be reached: links come from the replica, and may be \
                     older than {bound} seconds"
                )
                .into(),
            ),
            (None, true) => (
                Effect::NoChanges,
                "the PostgreSQL server that takes changes cannot be reached: links come from the replica"
                    .into(),
            ),
            (None, false) if lag.is_none() => return None,
            (None, false) if is_late => (
                Effect::Degraded,
                format!(
                    "the PostgreSQL replica lags by more than {bound} seconds: links come from the server that takes changes"
                )
                .into(),
            ),
            (None, false) => return None,
        };
        Some(Trouble { effect, reason })
    }

    /// No code panics while it holds this lock, nor the next one.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pursuit(&self) -> MutexGuard<'_, Option<Instant>> {
        self.pursuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unused {
    /// In fixed words, for anybody.
    fn brief(&self) -> &'static str {
        match self {
            Self::Starting => "the PostgreSQL replica has not been reached yet",
            Self::Unreachable(_) => {
                "the PostgreSQL replica cannot be reached: links come from the server that takes changes"
            }
            Self::NoReplica => {
                "replica_url leads to a PostgreSQL server that is no replica: it is not used"
            }
            Self::OtherHistory => {
                "the PostgreSQL replica has another history than the database: it is not used"
            }
            Self::OldTables => {
                "the PostgreSQL replica does not have the tables of this version yet: it is not used"
            }
            Self::NewTables => {
                "a later version of tinyns has made the tables of the PostgreSQL replica: install that version"
            }
        }
    }
}

/// A caller that waits for a later moment.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
