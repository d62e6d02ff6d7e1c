//! Spans of time on the command line.

use std::time::Duration;

use crate::link::Ttl;

/// Seconds in a day.
pub(super) const DAY: u64 = 86_400;

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanError {
    /// The text is not a number and a unit.
    Syntax,
    /// The span has more seconds than a `u64` holds.
    TooLong,
}

/// Reads a number followed by one of the units `s`, `m`, `h`, `d` and `w`.
///
/// # Errors
/// [`SpanError`] says why the text is not a span.
pub(super) fn parse(text: &str) -> Result<Duration, SpanError> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        _ => return Err(SpanError::Syntax),
    };
    // The unit is one byte.
    let seconds = number(&text[..text.len() - 1])?;
    let seconds = seconds.checked_mul(unit).ok_or(SpanError::TooLong)?;
    Ok(Duration::from_secs(seconds))
}

fn number(digits: &str) -> Result<u64, SpanError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SpanError::Syntax);
    }
    // All characters are digits, so parsing fails only for a number that is too large.
    digits.parse().map_err(|_| SpanError::TooLong)
}

/// Why a text is not a TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TtlError {
    #[error("neither seconds such as 300 nor a span such as 90s, 5m, 1h or 7d")]
    Syntax,
    #[error("a TTL is at most {max} seconds, which is 7d", max = Ttl::MAX)]
    TooLong,
}

/// Reads a TTL, in seconds or as a span.
///
/// # Errors
/// [`TtlError`], also for a TTL above [`Ttl::MAX`].
pub(super) fn ttl(text: &str) -> Result<u32, TtlError> {
    let seconds = match number(text) {
        Err(SpanError::Syntax) => parse(text).map(|span| span.as_secs()),
        seconds => seconds,
    };
    match seconds {
        Ok(seconds) => Ttl::from_secs(seconds)
            .map(Ttl::as_secs)
            .ok_or(TtlError::TooLong),
        Err(SpanError::Syntax) => Err(TtlError::Syntax),
        Err(SpanError::TooLong) => Err(TtlError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls() {
        let ok = |text: &str, seconds: u32| assert_eq!(ttl(text), Ok(seconds), "{text}");
        ok("0", 0);
        ok("300", 300);
        ok("604800", 604_800);
        ok("90s", 90);
        ok("5m", 300);
        ok("1h", 3_600);
        ok("7d", 604_800);
        ok("1w", 604_800);
        for text in [
            "604801",
            "8d",
            "2w",
            "99999999999999999999999",
            "999999999999999999w",
        ] {
            assert_eq!(ttl(text), Err(TtlError::TooLong), "{text}");
        }
        for text in [
            "", "m", "-1", "+5m", "5 m", "5M", "1.5h", "5min", "5m30s", "3€", "x",
        ] {
            assert_eq!(ttl(text), Err(TtlError::Syntax), "{text}");
        }
    }
}
