//! Logs: events of `tracing` on standard error, for people on a terminal and as JSON elsewhere.
//!
//! Standard output belongs to what a command was asked for; logs stay out of it.
//!
//! ```text
//!   events ── Queue, bounded ── one thread ── standard error
//! ```
//!
//! A thread of its own writes the lines. Standard error may be a pipe whose reader has stopped, and
//! a write to it then waits for as long as the reader does: were the events written where they
//! arise, a few hundred requests to the redirect host would leave no thread to answer queries. So
//! where the reader is too slow, lines are lost and counted, and the answers go on.

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

/// What is logged unless the operator says otherwise.
pub const DEFAULT_FILTER: &str = "info";
/// What is left out where a filter takes `info` or `warn` from everybody and says nothing else of these libraries:
/// lines that strangers cause, without a bound, who could fill the disk with them. hickory logs every response at
/// `info`, which costs more than answering, and at `warn` a line for each packet with a source port of zero or with
/// broken EDNS options; h2 logs at `warn` a line for each frame of 17 bytes that answers a PING which was never sent.
const QUIET: &str = "hickory_server=error,hickory_net=error,hickory_proto=error,h2=error";

/// How many lines may wait to be written. A line has some hundred bytes, a few of them a few
/// thousand.
const QUEUE_LINES: usize = 8_192;
/// How long the end of the process waits for the last lines to be written.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits before it looks again for room in a full queue.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// How log lines look.
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

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process logs already.
    #[error("cannot start logging")]
    Init(#[from] TryInitError),
    /// There is no thread for it.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] io::Error),
}

/// Logging at work. When it is dropped, the lines that wait are written, within a bound.
#[derive(Debug)]
#[must_use = "the last lines may be lost unless it is kept to the end"]
pub struct Logs {
    queue: Queue,
    terminal: bool,
}

/// The last line of a terminal, below the log, which is drawn again and again.
#[derive(Clone, Debug)]
pub struct StatusLine(Queue);

impl StatusLine {
    /// Shows this text, or nothing. It must have no line break, and fit.
    pub fn show(&self, text: Option<String>) {
        // Where the log has no room, the next text will do.
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
/// [`LogError`], where the filter is wrong or something has started logging before.
pub fn init(format: Format, filter: &str) -> Result<Logs, LogError> {
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    // https://no-color.org: set and not empty, whatever it says.
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

/// Lines on their way to the thread that writes them.
#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Item>,
    /// How many lines found no room, since the start.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// What the last line of the terminal is to be.
    Status(Option<String>),
    /// Tells that everything before it is written.
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

    /// Waits until all lines are written that wait now, but not for ever.
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

/// What the thread does: line after line. A line that cannot be written is dropped: nobody is left
/// to be told, and the next may find its reader again.
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

/// The status line as it stands on the terminal.
#[derive(Default)]
struct Status(Option<String>);

/// Back to the first column, and clear what is there (ECMA-48, EL).
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

impl Status {
    /// Writes a line of the log where the status is, and the status below it.
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
    // What the operator says of a library comes later, and so counts.
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

/// The subscriber. It does not report events that it could not format: it would do so with
/// `eprintln!`, which panics when standard error is a pipe that nobody reads any more, and a server
/// must outlive the reader of its logs.
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

    /// What is logged by a few events of several parts.
    fn logged(json: bool, filter: &str) -> String {
        // What another test hears of a place in the code at the same moment could be taken for what all hear.
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
        // What strangers cause is logged only where the filter asks for that.
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

    /// A writer that nobody reads from until its gate is opened.
    struct Gated(Sink, Receiver<()>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is an open gate: its other half is gone.
            let _ = self.1.recv();
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_up_nobody() {
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
        // The line that the thread holds leaves room for one more, if it was quick enough.
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
