//! TTLs on the command line.

use crate::base::span::{SpanError, number, parse};
use crate::link::Ttl;

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
