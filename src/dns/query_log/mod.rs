//! The query log: a sample of queries and replies as dnstap, which Knot DNS, NSD, BIND and Unbound also write and
//! tools such as `dnstap-read` read.
//!
//! ```text
//!   worker ── QueryLog::sample ── Sampled ─┬─ replied ──┬─ queue, bounded ── one thread ─┬─ file
//!                                          └─ dropped ──┘                                └─ Unix socket
//! ```
//!
//! No worker ever waits for the log. While it is off, it costs the check of a pointer for each batch of packets, or
//! for each message by TCP. While it is on, a query that is picked is copied, its reply is added, and both go into a
//! queue; if the queue is full, they are dropped and counted. One thread encodes and writes them (`writer`), and
//! only this thread waits for a slow disk or collector.
//!
//! Each packet is picked at random. Picking every thousandth packet would be a little cheaper, but wrong where
//! queries come in patterns: of clients that ask for A and AAAA in turn, every second query has the same type.
//!
//! Packets are picked before they are read, so the log also has packets that are no queries or get no reply: as
//! queries without a reply.

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

/// The bound of the queue, in bytes: some 40,000 queries with their replies.
const QUEUE_BYTES: usize = 16 << 20;
/// The number of waiting bytes that wakes the writer early. Otherwise it wakes by itself several times a second.
const WAKE_BYTES: usize = QUEUE_BYTES / 4;
/// What a record counts for besides its messages, in bytes: its own memory and its place in the queue.
const RECORD_BYTES: usize = 256;

/// The settings of the query log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLogConfig {
    /// Where the log goes.
    pub to: Destination,
    /// One in so many queries is logged.
    pub sample: NonZeroU32,
    /// Which messages of it are logged.
    pub messages: Messages,
    /// The server's name in the log; by default the host's name.
    pub identity: Option<String>,
    /// Whether clients' addresses are cut to their networks.
    pub anonymise: bool,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its maximum length, in bytes, after which it is renamed.
        max_bytes: u64,
    },
    /// To a collector that listens on a Unix socket.
    Socket(PathBuf),
}

/// Which messages of a query are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// The query.
    Queries,
    /// The reply.
    Responses,
    /// Both.
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
    /// The file cannot be opened or is no log.
    #[error("cannot write the query log {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system starts no thread.
    #[error("cannot start the thread that writes the query log: {0}")]
    Thread(#[source] io::Error),
}

/// The addresses of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) client: SocketAddr,
    /// The server's address that was asked; none if it is not known.
    pub(crate) server: Option<SocketAddr>,
    /// The transport.
    pub(crate) transport: Transport,
}

/// The query log, if there is one.
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
    /// [`QueryLogError`]. A collector that cannot be reached is no error: the writer tries again.
    pub fn start(
        config: &QueryLogConfig,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, QueryLogKeeper), QueryLogError> {
        let (queue, keeper) = writer::start(config, metrics)?;
        Ok((Self(Some(queue)), keeper))
    }

    /// Checks that a log could be started, without writing to a file. A collector is not contacted.
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

    /// Picks a query that has just come, or not.
    #[inline]
    pub(crate) fn sample(&self, query: &[u8], ends: Ends) -> Option<Sampled> {
        let queue = self.0.as_ref()?;
        queue.picks().then(|| Sampled::new(queue, query, ends))
    }
}

/// A picked query whose reply is not known yet. Dropping it logs the query without a reply.
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

    /// Logs the query with its reply, which is about to be sent.
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

/// A record of the log: a query and its reply.
struct Record {
    ends: Ends,
    asked_at: SystemTime,
    /// When the reply was sent; none without a reply.
    replied_at: Option<SystemTime>,
    /// The query, followed by the reply.
    bytes: Vec<u8>,
    /// How many of the bytes are the query.
    query_len: usize,
}

impl Record {
    /// Its weight in the queue, in bytes.
    fn weight(&self) -> usize {
        RECORD_BYTES + self.bytes.len()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes are left out.
        f.debug_struct("Record")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// The queue between the workers and the writer.
#[derive(Debug)]
struct Queue {
    /// The writer never blocks on it, so adding a record wakes no thread.
    records: SyncSender<Box<Record>>,
    /// The bytes that wait in it.
    weight: AtomicUsize,
    sample: u32,
    messages: Messages,
    /// Whether the file or the collector accepts writes.
    is_up: AtomicBool,
    /// The writer thread.
    writer: OnceLock<Thread>,
    /// Orders for the writer.
    reopen: AtomicBool,
    stop: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Whether to pick the next query.
    fn picks(&self) -> bool {
        fastrand::u32(..self.sample) == 0
    }

    /// Adds a record if there is room, without waiting.
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

    /// Counts a picked query that is not logged.
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
