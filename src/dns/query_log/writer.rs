//! The thread that writes the log.
//!
//! It comes by itself several times a second, takes what waits, encodes it and writes it. While the file
//! or the collector takes nothing, it leaves what waits in the queue and tries again, at growing
//! intervals: a collector that is restarted misses only what the system held for it, as long as the queue
//! has room. Of a buffer that was written in part, the rest goes on from the last frame that was whole.

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

/// How often the writer looks whether something waits.
const LOOK: Duration = Duration::from_millis(200);
/// How much is encoded before it is written, in bytes; one record more may be.
const CHUNK: usize = 64 << 10;
/// How long it is before what failed is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the writer goes on writing once it is told to stop.
const LAST_WRITES: Duration = Duration::from_secs(2);
/// How long the server waits for it: longer by what a collector may take for its last word.
const END_PATIENCE: Duration = Duration::from_secs(4);

/// Starts the thread.
pub(super) fn start(
    config: &QueryLogConfig,
    metrics: Arc<Metrics>,
) -> Result<(Arc<Queue>, QueryLogKeeper), QueryLogError> {
    let sink = Sink::new(&config.to)?;
    // None weighs less, so that it is the weight alone that bounds the queue.
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
            // Nobody waits for it where the server has lost patience.
            let _ = done.send(());
        })
        .map_err(QueryLogError::Thread)?;
    // It was empty.
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

/// Commands the thread that writes.
#[derive(Debug)]
pub struct QueryLogKeeper {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<()>,
}

impl QueryLogKeeper {
    /// Has the file closed and opened again under its name, for it may have been renamed; or the
    /// collector called again.
    pub fn reopen(&self) {
        self.queue.reopen.store(true, Ordering::Release);
        self.queue.wake();
    }

    /// Has the rest written, and waits for that within a bound. To be called when nothing is logged any
    /// more.
    pub async fn end(self) {
        self.queue.stop.store(true, Ordering::Release);
        self.queue.wake();
        // An error here is a writer that is gone.
        if tokio::time::timeout(END_PATIENCE, self.ended)
            .await
            .is_err()
        {
            tracing::warn!("query log: it does not end, and its last part may be missing");
        }
    }
}

/// Where frames go.
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

    /// Whether to open it again would lead to what is open already.
    fn is_in_place(&self) -> bool {
        match self {
            Self::File(file) => file.is_in_place(),
            // Who listens there may be another one by now.
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

    /// Writes some of these frames; gives how many bytes.
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

/// Frames on their way.
#[derive(Default)]
struct Pending {
    frames: Vec<u8>,
    /// How many bytes of them are written.
    written: usize,
    /// How many queries they are about.
    queries: u64,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Goes back to the beginning of the frame that is written in part; tells whether there is none.
    fn rewind(&mut self) -> bool {
        let whole = whole_data(&self.frames, self.written);
        std::mem::replace(&mut self.written, whole) == whole
    }
}

/// Whether the sink works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It was not tried yet.
    Unknown,
    /// Since then.
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
    /// How long the next failure is waited for.
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut give_up = None;
        loop {
            // Before the queue is looked at: what came before the order is then seen.
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
                // What has just failed is tried once more; what failed before is not.
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

    /// Encodes what waits, unless there is something that was encoded before. Tells whether nothing waits
    /// any more.
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

    /// Writes what is encoded, unless the time for that has not come. Tells whether something was
    /// written.
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
        // Also without anything to write: whether it works is known before it is needed.
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
        // What works for a moment only is tried no more often, and told no more often, than what does
        // not work at all.
        if let Health::Up(since) = self.health
            && now.duration_since(since) > LONGEST_PAUSE
        {
            self.pause = FIRST_PAUSE;
        }
        // Who is told by the log may look at the metrics next.
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
