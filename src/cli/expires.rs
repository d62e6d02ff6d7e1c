//! The expiry of a link on the command line.

use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

use crate::base::clock::UnixTime;
use crate::base::span::{self, DAY, SpanError};

/// The longest span from now: about a hundred years. No link needs more, and the calendar of RFC 3339 ends later.
const MAX_SPAN: Duration = Duration::from_secs(100 * 366 * DAY);

/// A point in time, or a span from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expires {
    At(OffsetDateTime),
    After(Duration),
}

/// Why a text is not an [`Expires`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpiresError {
    #[error("neither a time such as 2030-01-31T12:00:00Z nor a span such as 30d, 12h or 90m")]
    Syntax,
    #[error("a span has at most 100 years")]
    TooLong,
    #[error("the link would expire after the year 9999")]
    BeyondCalendar,
}

impl FromStr for Expires {
    type Err = ExpiresError;

    fn from_str(text: &str) -> Result<Self, ExpiresError> {
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(at));
        }
        match span::parse(text) {
            Ok(span) if span <= MAX_SPAN => Ok(Self::After(span)),
            Ok(_) | Err(SpanError::TooLong) => Err(ExpiresError::TooLong),
            Err(SpanError::Syntax) => Err(ExpiresError::Syntax),
        }
    }
}

impl Expires {
    /// The same, with a span that ends now.
    pub(super) fn before(self, now: UnixTime) -> Result<String, ExpiresError> {
        match self {
            Self::At(_) => self.rfc3339(now),
            Self::After(span) => Ok(UnixTime(now.0.saturating_sub(span.as_secs())).rfc3339()),
        }
    }

    /// The time in RFC 3339, in UTC and whole seconds.
    pub(super) fn rfc3339(self, now: UnixTime) -> Result<String, ExpiresError> {
        let at = match self {
            Self::At(at) => Some(at),
            Self::After(span) => i64::try_from(now.0.saturating_add(span.as_secs()))
                .ok()
                .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()),
        };
        at.and_then(|at| at.checked_to_offset(UtcOffset::UTC))
            .and_then(|at| at.replace_nanosecond(0).ok())
            .and_then(|at| at.format(&Rfc3339).ok())
            .ok_or(ExpiresError::BeyondCalendar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The current time is 2026-01-01T00:00:00Z.
    fn check(text: &str, expected: Result<&str, ExpiresError>) {
        let now = UnixTime(1_767_225_600);
        let found = text.parse::<Expires>().and_then(|e| e.rfc3339(now));
        assert_eq!(found, expected.map(String::from), "{text:?}");
    }

    #[test]
    fn spans() {
        check("0s", Ok("2026-01-01T00:00:00Z"));
        check("90s", Ok("2026-01-01T00:01:30Z"));
        check("90m", Ok("2026-01-01T01:30:00Z"));
        check("12h", Ok("2026-01-01T12:00:00Z"));
        check("30d", Ok("2026-01-31T00:00:00Z"));
        check("1w", Ok("2026-01-08T00:00:00Z"));
        check("36600d", Ok("2126-03-18T00:00:00Z"));
        check("36601d", Err(ExpiresError::TooLong));
        check("99999999999999999999999d", Err(ExpiresError::TooLong));
        check("18446744073709551615w", Err(ExpiresError::TooLong));
    }

    #[test]
    fn times() {
        check("2030-01-31T12:00:00Z", Ok("2030-01-31T12:00:00Z"));
        check("2030-01-31T12:00:00+02:00", Ok("2030-01-31T10:00:00Z"));
        check("2030-01-31T12:00:00.987Z", Ok("2030-01-31T12:00:00Z"));
        check("9999-12-31T23:59:59Z", Ok("9999-12-31T23:59:59Z"));
        check(
            "9999-12-31T23:59:59-01:00",
            Err(ExpiresError::BeyondCalendar),
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "d",
            "30",
            "-1d",
            "+1d",
            "1.5h",
            "30 d",
            "30D",
            "30y",
            "3€",
            "tomorrow",
            "2030-01-31",
            "2030-02-30T00:00:00Z",
            "2030-01-31T12:00:00",
        ] {
            check(text, Err(ExpiresError::Syntax));
        }
    }
}
