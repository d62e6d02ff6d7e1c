//! Logs: events of `tracing` on standard error, for people on a terminal and as JSON elsewhere.
//!
//! Standard output belongs to what a command was asked for; logs stay out of it.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What is logged unless the operator says otherwise. hickory logs every response at `info`, which
/// costs more than answering, and at `warn` a line for each packet with a source port of zero or
/// with broken EDNS options: whoever can send packets could fill the disk.
pub const DEFAULT_FILTER: &str = "info,hickory_server=error,hickory_net=error,hickory_proto=error";

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
}

/// Starts logging for the whole process.
///
/// # Errors
/// [`LogError`], where the filter is wrong or something has started logging before.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    // https://no-color.org: set and not empty, whatever it says.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let filter = parse(filter)?;
    Ok(subscriber(json, terminal && !plain, filter, io::stderr).try_init()?)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LogError::Filter {
            filter: filter.into(),
            source,
        })
}

/// The subscriber. It does not report events that it could not write: it would do so with
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

    /// What is logged by a few events of several parts.
    fn logged(json: bool, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(json, false, parse(filter).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "hickory_server::server", "a response");
            tracing::warn!(target: "hickory_proto::rr", "a hostile packet");
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
        assert_eq!(logged(false, "trace").lines().count(), 5);
        let message = parse("info,tinyns=loud").unwrap_err().to_string();
        assert_eq!(message, "the log filter \"info,tinyns=loud\" is not valid");
    }
}
