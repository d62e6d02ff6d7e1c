//! Logs: events of `tracing` on standard error, as text for people on a terminal and as JSON elsewhere.
//!
//! Standard output is for the results of commands; logs never go there.
//!
//! ```text
//!   events ── Queue, bounded ── one thread ── standard error
//! ```
//!
//! A separate thread writes the lines. Standard error may be a pipe whose reader has stopped; then a write waits
//! until the reader goes on. If the threads that serve requests wrote the lines themselves, a few hundred requests
//! to the redirect host would block all threads that answer queries. So if the reader is too slow, lines are lost
//! and counted, and the server goes on answering.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The default filter.
pub const DEFAULT_FILTER: &str = "info";
/// Libraries that log only errors if the filter has `info` or `warn` for all targets and does not name them. Clients
/// can cause their lines without a bound, and so fill the disk. hickory logs every response at `info`, which takes
/// longer than the response itself, and at `warn` a line for each packet with source port zero or with broken EDNS
/// options. h2 logs at `warn` a line for each 17-byte frame that answers a PING which was never sent.
const QUIET: &str = "hickory_server=error,hickory_net=error,hickory_proto=error,h2=error";

/// How many lines may wait to be written. A line has some hundred bytes, rarely a few thousand.
const QUEUE_LINES: usize = 8_192;
/// How long the end of the process waits for the last lines to be written.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits between two attempts to put a mark into a full queue.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `human` on a terminal, `json` otherwise
    #[default]
    Auto,
    /// A line for people
    Human,
    /// A JSON object a line
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not valid.
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logging has started already.
    #[error("cannot start logging")]
    Init(#[from] TryInitError),
    /// The thread cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] io::Error),
}

/// The running log. When it is dropped, the waiting lines are written, within a time limit.
#[derive(Debug)]
#[must_use = "the last lines may be lost unless it is kept to the end"]
pub struct Logs {
    queue: Queue,
    terminal: bool,
}

/// The last line of a terminal, below the log, which can be replaced.
#[derive(Clone, Debug)]
pub struct StatusLine(Queue);

impl StatusLine {
    /// Shows this text, or nothing. The text must have no line break, and fit into one line.
    pub fn show(&self, text: Option<String>) {
        // If the queue is full, the text is skipped: the next one replaces it anyway.
        let _ = self.0.lines.try_send(Item::Status(text));
    }
}

impl Logs {
    /// A status line, if the log goes to a terminal.
    pub fn status_line(&self) -> Option<StatusLine> {
        self.terminal.then(|| StatusLine(self.queue.clone()))
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// [`LogError`], if the filter is not valid or logging has started before.
pub fn init(format: Format, filter: &str) -> Result<Logs, LogError> {
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    // https://no-color.org: set and not empty, whatever the value is.
    let plain = crate::base::environment::value("NO_COLOR").is_some();
    let filter = parse(filter)?;
    let queue = Queue::start(io::stderr())?;
    subscriber(json, terminal && !plain, filter, queue.clone()).try_init()?;
    Ok(Logs { queue, terminal })
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_PATIENCE);
    }
}

/// The queue of lines for the thread that writes them.
#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Item>,
    /// How many lines were lost because the queue was full, since the start.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// The new status line of the terminal.
    Status(Option<String>),
    /// Signals that everything before it is written.
    Mark(SyncSender<()>),
}

impl Queue {
    /// Starts the thread.
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(QUEUE_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&waiting, &counter, out))?;
        Ok(Self { lines, lost })
    }

    /// Waits until all lines that are in the queue now are written, at most for `patience`.
    fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let (mark, reached) = sync_channel(1);
        let mut item = Item::Mark(mark);
        while let Err(TrySendError::Full(back)) = self.lines.try_send(item) {
            if Instant::now() >= end {
                return;
            }
            thread::sleep(FLUSH_PAUSE);
            item = back;
        }
        let _ = reached.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// The work of the thread: it writes line after line. A line that cannot be written is dropped, because the failure
/// cannot be reported anywhere. The next line may succeed.
fn write_lines(waiting: &Receiver<Item>, lost: &AtomicU64, mut out: impl Write) {
    let mut reported = 0;
    let mut status = Status::default();
    for item in waiting {
        match item {
            Item::Line(line) => drop(status.write_above(&mut out, &line)),
            Item::Status(text) => drop(status.replace(&mut out, text)),
            Item::Mark(mark) => drop(mark.try_send(())),
        }
        let total = lost.load(Ordering::Relaxed);
        if total > reported {
            reported = total;
            tracing::warn!(total, "log lines were lost: their reader was too slow");
        }
    }
}

/// The status line that is on the terminal.
#[derive(Default)]
struct Status(Option<String>);

/// Goes to the first column and erases the line (ECMA-48, EL).
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

impl Status {
    /// Writes a line of the log in the place of the status, and the status below it.
    fn write_above(&self, out: &mut impl Write, line: &[u8]) -> io::Result<()> {
        let Some(status) = &self.0 else {
            return out.write_all(line);
        };
        out.write_all(&[CLEAR_LINE, line, status.as_bytes()].concat())?;
        out.flush()
    }

    fn replace(&mut self, out: &mut impl Write, text: Option<String>) -> io::Result<()> {
        if self.0 == text {
            return Ok(());
        }
        let shown = text.as_deref().unwrap_or_default().as_bytes();
        let written = out.write_all(&[CLEAR_LINE, shown].concat());
        self.0 = text;
        written?;
        out.flush()
    }
}

/// The subscriber formats an event as a whole line and writes it in one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Item::Line(line.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let mut words = filter.split(',').map(str::trim);
    let is_usual = |word: &str| {
        ["info", "warn"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w))
    };
    // The operator's directives come last, so they take precedence.
    let whole = match words.any(is_usual) {
        true => format!("{QUIET},{filter}"),
        false => filter.to_owned(),
    };
    EnvFilter::builder()
        .parse(whole)
        .map_err(|source| LogError::Filter {
            filter: filter.into(),
            source,
        })
}

/// The subscriber. It does not report events that it cannot format: it would use `eprintln!`, which panics if
/// standard error is a closed pipe, and a server must outlive the reader of its log.
fn subscriber<W>(json: bool, ansi: bool, filter: EnvFilter, writer: W) -> Box<Subscriber>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false);
    match json {
        true => Box::new(builder.json().flatten_event(true).finish()),
        false => Box::new(builder.finish()),
    }
}

type Subscriber = dyn tracing::Subscriber + Send + Sync;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log of a few events of several targets.
    fn logged(json: bool, filter: &str) -> String {
        // tracing caches for each call site whether any subscriber wants it, so tests at the same moment disturb
        // each other.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock();
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(json, false, parse(filter).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "hickory_server::server", "a response");
            tracing::warn!(target: "hickory_proto::rr", "a hostile packet");
            tracing::warn!(target: "h2::proto::ping_pong", "a hostile frame");
            tracing::error!(target: "hickory_server::server", "trouble");
            tracing::info!(target: "tinyns::dns", zone = "s.example.com", "loaded");
            tracing::debug!(target: "tinyns::dns", "detail");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(true, DEFAULT_FILTER);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "trouble");
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[1]["message"], "loaded");
        assert_eq!(lines[1]["zone"], "s.example.com");
    }

    #[test]
    fn human_lines() {
        let text = logged(false, DEFAULT_FILTER);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.ends_with(" INFO tinyns::dns: loaded zone=\"s.example.com\"\n"),
            "{text}"
        );
    }

    #[test]
    fn the_filter_is_obeyed() {
        assert_eq!(logged(false, "off"), "");
        assert_eq!(logged(false, "tinyns=debug").lines().count(), 2);
        assert_eq!(logged(false, "trace").lines().count(), 6);
        assert_eq!(logged(false, "debug").lines().count(), 6);
        // Lines that clients can cause are logged only if the filter names the library.
        assert_eq!(logged(false, "warn").lines().count(), 1);
        assert_eq!(logged(false, "info,tinyns=debug").lines().count(), 3);
        assert_eq!(logged(false, "tinyns=debug,INFO").lines().count(), 3);
        assert_eq!(logged(false, "info,h2=warn").lines().count(), 3);
        let message = parse("info,tinyns=loud").unwrap_err().to_string();
        assert_eq!(message, "the log filter \"info,tinyns=loud\" is not valid");
    }

    #[test]
    fn the_status_stays_below_the_log() {
        let sink = Sink::default();
        let queue = Queue::start(sink.clone()).unwrap();
        let line = StatusLine(queue.clone());
        let log = |text: &str| (&queue).write_all(text.as_bytes()).unwrap();
        log("one\n");
        line.show(Some("10%".into()));
        line.show(Some("10%".into()));
        log("two\n");
        line.show(None);
        log("three\n");
        queue.flush(Duration::from_secs(5));
        let clear = "\r\u{1b}[K";
        let expected = format!("one\n{clear}10%{clear}two\n10%{clear}three\n");
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, expected);
    }

    /// A writer that blocks until its gate is opened.
    struct Gated(Sink, Receiver<()>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error means that the gate is open: its other half was dropped.
            let _ = self.1.recv();
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_blocks_no_caller() {
        let sink = Sink::default();
        let (gate, closed) = sync_channel(0);
        let queue = Queue::start(Gated(sink.clone(), closed)).unwrap();
        let begin = Instant::now();
        for number in 0..QUEUE_LINES + 100 {
            (&queue)
                .write_all(format!("{number}\n").as_bytes())
                .unwrap();
        }
        queue.flush(Duration::from_millis(50));
        assert!(
            begin.elapsed() < FLUSH_PATIENCE * 5,
            "{:?}",
            begin.elapsed()
        );
        // If the thread has already taken a line, there is room for one more.
        let lost = queue.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");

        drop(gate);
        queue.flush(FLUSH_PATIENCE * 20);
        let written = sink.0.lock().unwrap();
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines as u64 + lost, QUEUE_LINES as u64 + 100);
        assert!(written.starts_with(b"0\n1\n2\n"));
    }
}
