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
        writer.write_str("{\"timestamp\":\"")?;
        write_now(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(event.metadata().level().as_str())?;
        writer.write_char('"')?;
        let mut fields = Fields(&mut writer, Ok(()));
        event.record(&mut fields);
        fields.1?;
        writer.write_str(",\"target\":\"")?;
        writer.write_str(TARGET)?;
        writer.write_str("\"}\n")
    }
}

/// Writes the current time, as the general format does: in RFC 3339 form, in UTC, with microseconds.
fn write_now(writer: &mut Writer<'_>) -> fmt::Result {
    thread_local! {
        /// The last second and its text up to the seconds.
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            *text = UnixTime(*second).rfc3339();
            text.pop();
        }
        writer.write_str(text)
    })?;
    write!(writer, ".{:06}Z", now.subsec_micros())
}

/// Writes the fields of an event.
struct Fields<'a, 'w>(&'a mut Writer<'w>, fmt::Result);

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let Self(writer, result) = self;
        let write = || {
            writer.write_str(",\"")?;
            writer.write_str(field.name())?;
            writer.write_str("\":")?;
            value(writer)
        };
        if result.is_ok() {
            *result = write();
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |writer| {
            writer.write_char('"')?;
            Escaped(writer).write_str(value)?;
            writer.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

/// Writes text as a part of a JSON string (RFC 8259 §7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |c: char| matches!(c, '"' | '\\' | '\0'..='\x1f');
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            self.0.write_str(&rest[..at])?;
            // Special characters have one byte.
            match rest.as_bytes()[at] {
                special @ (b'"' | b'\\') => write!(self.0, "\\{}", char::from(special))?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
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
