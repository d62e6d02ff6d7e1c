//! Spans of time as people write them: `90s`, `5m`, `12h`, `30d`, `2w`.

use std::time::Duration;

/// Seconds in a day.
pub const DAY: u64 = 86_400;

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanError {
    /// The text is not a number and a unit.
    Syntax,
    /// The span has more seconds than a `u64` holds.
    TooLong,
}

/// Reads a number followed by one of the units `s`, `m`, `h`, `d` and `w`.
///
/// # Errors
/// [`SpanError`] says why the text is not a span.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
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

/// Reads a number in decimal digits, without a sign.
///
/// # Errors
/// [`SpanError`] says why the text is no number, or too large a one.
pub fn number(digits: &str) -> Result<u64, SpanError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SpanError::Syntax);
    }
    // All characters are digits, so parsing fails only for a number that is too large.
    digits.parse().map_err(|_| SpanError::TooLong)
}
