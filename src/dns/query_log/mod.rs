//! The query log: some of the queries and what was replied, as dnstap, which Knot DNS, NSD, BIND and
//! Unbound write as well and tools such as `dnstap-read` read.
//!
//! ```text
//!   worker ── QueryLog::sample ── Sampled ─┬─ replied ──┬─ queue, bounded ── one thread ─┬─ file
//!                                          └─ dropped ──┘                                └─ Unix socket
//! ```
//!
//! Nobody who answers queries ever waits for the log. Off, it is one look at a pointer for a batch of
//! packets, or for a message by TCP. On, a query that is picked is copied, its reply is added when it is known, and both are
//! put into a queue; where that is full, they are lost and counted. The thread behind it encodes and
//! writes (`writer`), and a disk or a collector that stalls holds up this thread alone.
//!
//! What is picked is left to chance, each packet by itself. To take every thousandth would be cheaper by
//! a little, and wrong where queries come in patterns: of clients that ask for A and AAAA in turn, every
//! second one is always the same.
//!
//! Picked is a packet, whatever becomes of it: what is no query or is not answered is logged, too, as a
//! query without a reply.

mod dnstap;
mod file;
mod frames;
mod socket;
mod writer;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::SystemTime;

pub use self::writer::QueryLogKeeper;
use crate::base::metrics::{Metrics, QueryLogDrop, QueryLogDropReason, Transport};

/// How much may wait to be written, in bytes: some 40,000 queries with their replies.
const QUEUE_BYTES: usize = 16 << 20;
/// The writer is woken early where as much waits; else it comes by itself, several times a second.
const WAKE_BYTES: usize = QUEUE_BYTES / 4;
/// What a record counts for beside the messages in it, in bytes: what it takes in memory and in the
/// queue.
const RECORD_BYTES: usize = 256;

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLogConfig {
    /// Where to.
    pub to: Destination,
    /// One in so many queries is logged.
    pub sample: NonZeroU32,
    /// What of it.
    pub messages: Messages,
    /// What this server is called in it; without it, by the host's name.
    pub identity: Option<String>,
    /// Whether clients' addresses are cut to the networks that they are in.
    pub anonymise: bool,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into a file.
    File {
        /// Its path.
        path: PathBuf,
        /// How long it may become, in bytes, before it is put aside.
        max_bytes: u64,
    },
    /// To a collector that listens on a Unix socket.
    Socket(PathBuf),
}

/// What of a query is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// The query.
    Queries,
    /// The reply.
    Responses,
    /// A message for each of them.
    Both,
}

impl Messages {
    fn queries(self) -> bool {
        matches!(self, Self::Queries | Self::Both)
    }

    fn responses(self) -> bool {
        matches!(self, Self::Responses | Self::Both)
    }
}

/// Why there is no query log.
#[derive(Debug, thiserror::Error)]
pub enum QueryLogError {
    /// The file cannot be used.
    #[error("cannot write the query log {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("cannot start the thread that writes the query log: {0}")]
    Thread(#[source] io::Error),
}

/// Who has sent a query, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) client: SocketAddr,
    /// The address of ours that was asked; none where that is not known.
    pub(crate) server: Option<SocketAddr>,
    /// How.
    pub(crate) transport: Transport,
}

/// Where queries are logged, if they are.
#[derive(Clone, Debug, Default)]
pub struct QueryLog(Option<Arc<Queue>>);

impl QueryLog {
    /// No log.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the log and the thread that writes it.
    ///
    /// # Errors
    /// [`QueryLogError`]. A collector that is not there is none: it is waited for.
    pub fn start(
        config: &QueryLogConfig,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, QueryLogKeeper), QueryLogError> {
        let (queue, keeper) = writer::start(config, metrics)?;
        Ok((Self(Some(queue)), keeper))
    }

    /// Whether a log could be started; nothing is opened for writing. Who listens at a socket is not asked.
    ///
    /// # Errors
    /// [`QueryLogError::File`].
    pub fn check(config: &QueryLogConfig) -> Result<(), QueryLogError> {
        match &config.to {
            Destination::Socket(_) => Ok(()),
            Destination::File { path, .. } => {
                file::check(path).map_err(|source| QueryLogError::File {
                    path: path.clone(),
                    source,
                })
            }
        }
    }

    /// Whether there is a log at all.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a query that has just come, if it is picked.
    #[inline]
    pub(crate) fn sample(&self, query: &[u8], ends: Ends) -> Option<Sampled> {
        let queue = self.0.as_ref()?;
        queue.picks().then(|| Sampled::new(queue, query, ends))
    }
}

/// A query that is to be logged once it is known what becomes of it. Where it is dropped, it is logged as
/// one that has got no reply.
#[derive(Debug)]
pub(crate) struct Sampled {
    queue: Arc<Queue>,
    record: Option<Box<Record>>,
}

impl Sampled {
    fn new(queue: &Arc<Queue>, query: &[u8], ends: Ends) -> Self {
        let record = Record {
            ends,
            asked_at: SystemTime::now(),
            replied_at: None,
            bytes: query.into(),
            query_len: query.len(),
        };
        Self {
            queue: Arc::clone(queue),
            record: Some(record.into()),
        }
    }

    /// Logs it with its reply, which is about to be sent.
    pub(crate) fn replied(mut self, reply: &[u8]) {
        let Some(record) = &mut self.record else {
            return;
        };
        record.replied_at = Some(SystemTime::now());
        if self.queue.messages.responses() {
            record.bytes.reserve_exact(reply.len());
            record.bytes.extend(reply);
        }
    }
}

impl Drop for Sampled {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.queue.push(record);
        }
    }
}

/// What is logged of a query.
struct Record {
    ends: Ends,
    asked_at: SystemTime,
    /// None where there is no reply.
    replied_at: Option<SystemTime>,
    /// The query, and behind it the reply.
    bytes: Vec<u8>,
    /// How many of the bytes are the query.
    query_len: usize,
}

impl Record {
    /// What it counts for in the queue, in bytes.
    fn weight(&self) -> usize {
        RECORD_BYTES + self.bytes.len()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes.
        f.debug_struct("Record")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Between those who answer and the thread that writes.
#[derive(Debug)]
struct Queue {
    /// Nobody ever waits at its other end, so that to put something in wakes nobody.
    records: SyncSender<Box<Record>>,
    /// What waits in it, in bytes.
    weight: AtomicUsize,
    sample: u32,
    messages: Messages,
    /// Whether the file or the collector takes what is written.
    is_up: AtomicBool,
    /// The thread that writes.
    writer: OnceLock<Thread>,
    /// Orders for it.
    reopen: AtomicBool,
    stop: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Whether the next query is to be logged.
    fn picks(&self) -> bool {
        fastrand::u32(..self.sample) == 0
    }

    /// Puts a record in if there is room, and never waits for that.
    fn push(&self, record: Box<Record>) {
        if record.replied_at.is_none() && !self.messages.queries() {
            return;
        }
        let weight = record.weight();
        let before = self.weight.fetch_add(weight, Ordering::Relaxed);
        if before + weight > QUEUE_BYTES || self.records.try_send(record).is_err() {
            self.weight.fetch_sub(weight, Ordering::Relaxed);
            return self.count_lost();
        }
        if before < WAKE_BYTES && before + weight >= WAKE_BYTES {
            self.wake();
        }
    }

    /// Counts a query that was picked and is not logged.
    fn count_lost(&self) {
        let reason = match self.is_up.load(Ordering::Relaxed) {
            true => QueryLogDropReason::TooSlow,
            false => QueryLogDropReason::Unavailable,
        };
        let lost = QueryLogDrop { reason };
        self.metrics.query_log_dropped.get_or_create(&lost).inc();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

#[cfg(test)]
mod tests;
