//! Logs: events of `tracing` on standard error, as text for people on a terminal and as JSON elsewhere.
//!
//! Standard output is for the results of commands; logs never go there.
//!
//! ```text
//!   events ── Queue, bounded ── one thread ── standard error
//! ```
//!
//! * `queue` gathers lines into blocks, and has the thread that writes them.
//! * `requests` formats the lines about HTTP requests, of which there are as many as requests.
//!
//! A separate thread writes the lines. Standard error may be a pipe whose reader has stopped; then a write waits
//! until the reader goes on. If the threads that serve requests wrote the lines themselves, a few hundred requests
//! to the redirect host would block all threads that answer queries. So if the reader is too slow, lines are lost
//! and counted, and the server goes on answering.

mod queue;
mod requests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::queue::Queue;
pub(crate) use self::requests::TARGET as REQUESTS;
use self::requests::WithRequests;

/// The default filter.
pub const DEFAULT_FILTER: &str = "info";
/// Libraries that log only errors if the filter has `info` or `warn` for all targets and does not name them. Clients
/// can cause their lines without a bound, and so fill the disk. hickory logs every response at `info`, which takes
/// longer than the response itself, and at `warn` a line for each packet with source port zero or with broken EDNS
/// options. h2 logs at `warn` a line for each 17-byte frame that answers a PING which was never sent.
const QUIET: &str = "hickory_server=error,hickory_net=error,hickory_proto=error,h2=error";

/// How long the end of the process waits for the last lines to be written.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

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
    /// The filter chooses spans or fields.
    #[error("the log filter {0:?} has brackets; it can only choose levels and targets")]
    Spans(String),
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
        self.0.show_status(text);
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

/// The filter. It chooses by level and target only: `EnvFilter`, which also chooses by spans and their fields, would
/// bring a library for regular expressions.
fn parse(filter: &str) -> Result<Targets, LogError> {
    let words = filter.split(',').map(str::trim);
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| word.contains('[')) {
        return Err(LogError::Spans(filter.into()));
    }
    let is_usual = |word: &&str| {
        ["info", "warn"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w))
    };
    // The operator's directives come last, so they take precedence.
    let whole = match (words.iter().any(is_usual), words.join(",")) {
        (true, words) => format!("{QUIET},{words}"),
        (false, words) if words.is_empty() => "error".into(),
        (false, words) => words,
    };
    whole.parse().map_err(|source| LogError::Filter {
        filter: filter.into(),
        source,
    })
}

/// The subscriber. It does not report events that it cannot format: it would use `eprintln!`, which panics if
/// standard error is a closed pipe, and a server must outlive the reader of its log.
fn subscriber<W>(json: bool, ansi: bool, filter: Targets, writer: W) -> Box<Subscriber>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false);
    match json {
        true => {
            let builder = builder.json().flatten_event(true);
            Box::new(builder.map_event_format(WithRequests).finish().with(filter))
        }
        false => Box::new(builder.finish().with(filter)),
    }
}

type Subscriber = dyn tracing::Subscriber + Send + Sync;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

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
        assert_eq!(logged(false, "").lines().count(), 1, "errors only");
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
        let spans = parse("info,[request]=debug");
        assert!(matches!(spans, Err(LogError::Spans(_))));
    }
}
