//! The JSON lines about HTTP requests.
//!
//! There are as many of these lines as requests, and the general format takes a third of the time of a redirect: it
//! formats the whole time of each line anew, and goes through a serialiser. This one writes the same line, and keeps the
//! text of the current second. It formats no other events.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::base::clock::UnixTime;

/// The target of these lines. Their fields are texts and numbers that are not negative.
pub(crate) const TARGET: &str = "tinyns::http::serve::request_log";

/// The given format, except for lines about requests.
pub(super) struct WithRequests<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithRequests<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Spans would be part of the line.
        if event.metadata().target() != TARGET || context.lookup_current().is_some() {
            return self.0.format_event(context, writer, event);
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            line.push_str("{\"timestamp\":\"");
            push_now(line);
            line.push_str("\",\"level\":\"");
            line.push_str(event.metadata().level().as_str());
            line.push('"');
            event.record(&mut Fields(line));
            line.push_str(",\"target\":\"");
            line.push_str(TARGET);
            line.push_str("\"}\n");
            writer.write_str(line)
        })
    }
}

thread_local! {
    /// The line that is being written.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// The last second and its text up to the seconds.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Adds the current time, as the general format does: in RFC 3339 form, in UTC, with microseconds.
fn push_now(line: &mut String) {
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            *text = UnixTime(*second).rfc3339();
            text.pop();
        }
        line.push_str(text);
    });
    line.push('.');
    push_number(line, now.subsec_micros().into(), 6);
    line.push('Z');
}

/// Adds a number with this many digits at least.
fn push_number(line: &mut String, mut number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < least {
        at -= 1;
        // A digit is less than 10.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Writes the fields of an event.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn push_name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_name(field);
        self.0.push('"');
        push_escaped(self.0, value);
        self.0.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_name(field);
        push_number(self.0, value, 1);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push_name(field);
        self.0.push('"');
        // Writing to a string does not fail.
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }
}

/// Adds text as a part of a JSON string (RFC 8259 §7).
fn push_escaped(line: &mut String, text: &str) {
    let is_special = |byte| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(is_special) {
        line.push_str(&rest[..at]);
        // Special characters have one byte.
        let special = char::from(rest.as_bytes()[at]);
        let _ = match special {
            '"' | '\\' => write!(line, "\\{special}"),
            control => write!(line, "\\u{:04x}", u32::from(control)),
        };
        rest = &rest[at + 1..];
    }
    line.push_str(rest);
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of one event in this format and in the general one.
    fn both(log: impl Fn()) -> [String; 2] {
        [true, false].map(|ours| {
            let sink = Sink::default();
            let writer = sink.clone();
            let builder = tracing_subscriber::fmt().with_writer(move || writer.clone());
            let builder = builder.json().flatten_event(true);
            let subscriber: Box<dyn Subscriber + Send + Sync> = match ours {
                true => Box::new(builder.map_event_format(WithRequests).finish()),
                false => Box::new(builder.finish()),
            };
            let _guard = tracing::subscriber::set_default(subscriber);
            // If another test registers the call site at the same moment, tracing may disable it here, too.
            for _ in 0..10 {
                log();
                if !sink.0.lock().unwrap().is_empty() {
                    break;
                }
                tracing::callsite::rebuild_interest_cache();
            }
            String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
        })
    }

    fn check(log: impl Fn()) {
        let [ours, general] = both(log);
        let order = |line: &str| {
            let keys = line.split("\":").filter_map(|part| part.rsplit('"').next());
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(
            ours.ends_with('\n') && ours.lines().count() == 1,
            "{ours:?}"
        );
        assert_eq!(order(&ours), order(&general), "{ours}\n{general}");
        let mut lines = [&ours, &general].map(|l| serde_json::from_str::<Value>(l).unwrap());
        for line in &mut lines {
            let time = line["timestamp"].take();
            let time = time.as_str().unwrap();
            assert_eq!(time.len(), "2026-01-01T00:00:00.123456Z".len(), "{time}");
            assert!(UnixTime::parse(time).is_some(), "{time}");
        }
        assert_eq!(lines[0], lines[1]);
    }

    #[test]
    fn lines_are_those_of_the_general_format() {
        let (none, peer) = (None::<u16>, Some("[::1]:5"));
        check(|| {
            let (status, text) = (Some(302_u16), "a \"quoted\\ \u{1}\n\tü path");
            tracing::info!(target: TARGET, part = "redirect", status, path = text, peer, "{}", "request");
        });
        check(|| tracing::info!(target: TARGET, status = none, micros = u64::MAX, "abandoned"));
        check(|| {
            let _span = tracing::info_span!("request", request_id = "x").entered();
            tracing::info!(target: TARGET, status = none, "within a span");
        });
        check(|| tracing::warn!(address = "x", "another event"));
    }
}
