//! Times as people type them into a form: a span from now, or a time in UTC.

use crate::base::clock::UnixTime;
use crate::base::span::{self, DAY, SpanError};

/// The longest span, in seconds: about a hundred years.
const MAX_SPAN: u64 = 100 * 366 * DAY;

/// The time in the form of RFC 3339, for the API.
///
/// # Errors
/// A sentence that says what to type.
pub(super) fn end(typed: &str, now: UnixTime) -> Result<String, String> {
    match span::parse(typed) {
        Ok(span) if span.as_secs() <= MAX_SPAN => return Ok(now.after(span.as_secs()).rfc3339()),
        Ok(_) | Err(SpanError::TooLong) => return Err("A span has at most 100 years.".into()),
        Err(SpanError::Syntax) => {}
    }
    let time = typed.replacen(' ', "T", 1).to_ascii_uppercase();
    let forms = [
        time.clone(),
        format!("{time}Z"),
        format!("{time}:00Z"),
        // A date means its whole day.
        format!("{time}T23:59:59Z"),
    ];
    let read = forms.iter().find_map(|form| UnixTime::parse(form));
    read.map(UnixTime::rfc3339).ok_or_else(|| {
        "Write a span such as 12h, 30d or 52w, or a time in UTC such as 2026-12-31 18:00.".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times() {
        // 2026-01-01T00:00:00Z
        let now = UnixTime(1_767_225_600);
        let check = |typed: &str, expected: Option<&str>| {
            assert_eq!(end(typed, now).ok().as_deref(), expected, "{typed:?}");
        };
        check("90s", Some("2026-01-01T00:01:30Z"));
        check("30d", Some("2026-01-31T00:00:00Z"));
        check("2026-12-31", Some("2026-12-31T23:59:59Z"));
        check("2026-12-31 18:00", Some("2026-12-31T18:00:00Z"));
        check("2026-12-31T18:00", Some("2026-12-31T18:00:00Z"));
        check("2026-12-31 18:00:01", Some("2026-12-31T18:00:01Z"));
        check("2026-12-31t18:00:01z", Some("2026-12-31T18:00:01Z"));
        check("2026-12-31T18:00:01+02:00", Some("2026-12-31T16:00:01Z"));
        for bad in ["", "tomorrow", "31.12.2026", "2026-02-30", "99999d", "é"] {
            check(bad, None);
        }
    }
}
