//! The thread that writes the log.
//!
//! It wakes several times a second, takes the waiting records, encodes them and writes them. While the file or the
//! collector fails, the records stay in the queue, and the writer tries again at growing intervals. So a restart of
//! the collector loses only what the system's buffers held, as long as the queue has room. After a partial write,
//! writing goes on from the last whole frame.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::dnstap::Encoder;
use super::file::FileSink;
use super::frames::whole_data;
use super::socket::SocketSink;
use super::{Destination, QUEUE_BYTES, QueryLogConfig, QueryLogError, Queue, RECORD_BYTES, Record};
use crate::base::metrics::Metrics;

/// How often the writer checks the queue.
const LOOK: Duration = Duration::from_millis(200);
/// How many bytes are encoded before they are written, give or take one record.
const CHUNK: usize = 64 << 10;
/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the writer goes on writing after the order to stop.
const LAST_WRITES: Duration = Duration::from_secs(2);
/// How long the server waits for the writer: longer than that by the time for the collector's FINISH.
const END_PATIENCE: Duration = Duration::from_secs(4);

/// Starts the thread.
pub(super) fn start(
    config: &QueryLogConfig,
    metrics: Arc<Metrics>,
) -> Result<(Arc<Queue>, QueryLogKeeper), QueryLogError> {
    let sink = Sink::new(&config.to)?;
    // Every record weighs at least this much, so the weight bounds the queue before its capacity does.
    let (sender, records) = sync_channel(QUEUE_BYTES / RECORD_BYTES);
    let queue = Arc::new(Queue {
        records: sender,
        weight: AtomicUsize::new(0),
        sample: config.sample.get(),
        messages: config.messages,
        is_up: AtomicBool::new(false),
        writer: OnceLock::new(),
        reopen: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        metrics,
    });
    let identity = config.identity.clone().unwrap_or_else(host_name);
    let writer = Writer {
        queue: Arc::clone(&queue),
        records,
        encoder: Encoder::new(config.messages, config.anonymise, &identity),
        pending: Pending::default(),
        sink,
        health: Health::Unknown,
        pause: FIRST_PAUSE,
        retry_at: Instant::now(),
    };
    let (done, ended) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("query-log".into())
        .spawn(move || {
            writer.run();
            // The server may no longer wait for the answer.
            let _ = done.send(());
        })
        .map_err(QueryLogError::Thread)?;
    // The channel was just created, so it is empty.
    let _ = queue.writer.set(thread.thread().clone());
    let keeper = QueryLogKeeper {
        queue: Arc::clone(&queue),
        ended,
    };
    Ok((queue, keeper))
}

/// The name of this machine; empty where the system has none that is text.
fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

/// Sends orders to the writer.
#[derive(Debug)]
pub struct QueryLogKeeper {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<()>,
}

impl QueryLogKeeper {
    /// Makes the writer reopen the file by its name, for it may have been renamed, or connect to the collector
    /// again.
    pub fn reopen(&self) {
        self.queue.reopen.store(true, Ordering::Release);
        self.queue.wake();
    }

    /// Makes the writer write the remaining records and end, and waits for it within a bound. Call it after the last
    /// query.
    pub async fn end(self) {
        self.queue.stop.store(true, Ordering::Release);
        self.queue.wake();
        // An error means that the writer has ended.
        if tokio::time::timeout(END_PATIENCE, self.ended)
            .await
            .is_err()
        {
            tracing::warn!(
                "query log: the writer did not end in time; the last queries may be missing"
            );
        }
    }
}

/// The destination of frames.
#[derive(Debug)]
enum Sink {
    File(FileSink),
    Socket(SocketSink),
}

impl Sink {
    fn new(to: &Destination) -> Result<Self, QueryLogError> {
        Ok(match to {
            Destination::File { path, max_bytes } => {
                let sink = FileSink::new(path.clone(), *max_bytes);
                Self::File(sink.map_err(|source| QueryLogError::File {
                    path: path.clone(),
                    source,
                })?)
            }
            Destination::Socket(path) => Self::Socket(SocketSink::new(path.clone())),
        })
    }

    /// Whether the open file still has the configured name.
    fn is_in_place(&self) -> bool {
        match self {
            Self::File(file) => file.is_in_place(),
            // Another collector may listen there now.
            Self::Socket(_) => false,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Socket(socket) => socket.path(),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.open(),
            Self::Socket(socket) => socket.open(),
        }
    }

    /// Writes some of these frames. Returns the number of bytes.
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(frames),
            Self::Socket(socket) => socket.write(frames),
        }
    }

    fn close(&mut self, is_whole: bool) {
        match self {
            Self::File(file) => file.close(),
            Self::Socket(socket) => socket.close(is_whole),
        }
    }
}

/// Frames that are being written.
#[derive(Default)]
struct Pending {
    frames: Vec<u8>,
    /// How many bytes of them are written.
    written: usize,
    /// How many queries they have.
    queries: u64,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Goes back to the beginning of a partly written frame. Returns whether there was no such frame.
    fn rewind(&mut self) -> bool {
        let whole = whole_data(&self.frames, self.written);
        std::mem::replace(&mut self.written, whole) == whole
    }
}

/// Whether the sink works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Not tried yet.
    Unknown,
    /// Failed, since then.
    Up(Instant),
    Down,
}

struct Writer {
    queue: Arc<Queue>,
    records: Receiver<Box<Record>>,
    encoder: Encoder,
    pending: Pending,
    sink: Sink,
    health: Health,
    /// The pause after the next failure.
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut give_up = None;
        loop {
            // Orders first, so that all records from before an order are then in the queue.
            if self.queue.stop.load(Ordering::Acquire) {
                give_up.get_or_insert_with(|| Instant::now() + LAST_WRITES);
                self.retry_at = Instant::now();
            }
            if self.queue.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let was_down = self.health == Health::Down;
            let is_drained = self.gather();
            let has_written = self.write();
            if let Some(give_up) = give_up {
                let is_done = is_drained && self.pending.is_empty();
                // A write that fails only now is tried once more; an earlier failure is not.
                let is_down = was_down && self.health == Health::Down;
                if is_done || is_down || Instant::now() >= give_up {
                    break;
                }
            }
            if !has_written {
                thread::park_timeout(LOOK);
            }
        }
        self.end();
    }

    /// Encodes waiting records, unless encoded frames are left. Returns whether the queue is empty.
    fn gather(&mut self) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        while self.pending.frames.len() < CHUNK {
            let Ok(record) = self.records.try_recv() else {
                return true;
            };
            let weight = record.weight();
            self.queue.weight.fetch_sub(weight, Ordering::Relaxed);
            self.encoder.encode(&record, &mut self.pending.frames);
            self.pending.queries += 1;
        }
        false
    }

    /// Writes the encoded frames, unless the pause after a failure goes on. Returns whether anything was written.
    fn write(&mut self) -> bool {
        if self.health == Health::Down && Instant::now() < self.retry_at {
            return false;
        }
        match self.try_write() {
            Ok(written) => {
                self.is_up();
                written > 0
            }
            Err(error) => {
                self.is_down(&error);
                false
            }
        }
    }

    fn try_write(&mut self) -> io::Result<usize> {
        // Also without frames to write, so that failures show before the log is needed.
        self.sink.open()?;
        let pending = &mut self.pending;
        if pending.is_empty() {
            return Ok(0);
        }
        let written = self.sink.write(&pending.frames[pending.written..])?;
        let metrics = &self.queue.metrics;
        metrics.query_log_bytes.inc_by(written as u64);
        pending.written += written;
        if pending.written == pending.frames.len() {
            metrics.query_log_queries.inc_by(pending.queries);
            pending.frames.clear();
            (pending.written, pending.queries) = (0, 0);
        }
        Ok(written)
    }

    fn is_up(&mut self) {
        if matches!(self.health, Health::Up(_)) {
            return;
        }
        self.set_health(Health::Up(Instant::now()));
        tracing::info!(to = %self.sink.path().display(), "query log");
    }

    fn is_down(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_new = self.health != Health::Down;
        // A sink that works only for moments is tried and reported no more often than one that does not work at all.
        if let Health::Up(since) = self.health
            && now.duration_since(since) > LONGEST_PAUSE
        {
            self.pause = FIRST_PAUSE;
        }
        // The metric before the log line, for programs that react to the line by reading metrics.
        self.set_health(Health::Down);
        if is_new {
            let to = self.sink.path().display();
            tracing::warn!(%to, %error, "query log: nothing can be written; trying again");
        }
        self.pending.rewind();
        self.retry_at = now + self.pause;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
    }

    fn set_health(&mut self, health: Health) {
        let is_up = matches!(health, Health::Up(_));
        self.health = health;
        self.queue.is_up.store(is_up, Ordering::Relaxed);
        self.queue.metrics.query_log_up.set(is_up.into());
    }

    fn reopen(&mut self) {
        if self.sink.is_in_place() {
            return;
        }
        self.close();
        self.set_health(Health::Unknown);
        self.pause = FIRST_PAUSE;
    }

    fn close(&mut self) {
        let is_whole = self.pending.rewind();
        self.sink.close(is_whole);
    }

    fn end(mut self) {
        self.close();
        self.set_health(Health::Unknown);
        let waiting = self.records.try_iter().count() as u64;
        let queries = self.pending.queries + waiting;
        if queries > 0 {
            tracing::warn!(queries, "query log: some queries could not be written");
        }
    }
}
