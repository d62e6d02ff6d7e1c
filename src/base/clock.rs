//! The one source of time.
//!
//! Links expire to the second and versions grow with the clock, so all parts use the same [`Clock`], and tests can
//! set it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// Reads a time in RFC 3339 form and drops fractions of a second; none for other texts and for times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self(time.unix_timestamp().try_into().ok()?))
    }

    /// The time in RFC 3339 form, in UTC. Times after [`UnixTime::MAX`] are shown as that.
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.min(Self::MAX).0).unwrap_or(0);
        // The year 9999 is the last of both RFC 3339 and `time`, so this does not fail.
        let time =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, (hour, minute, second)) = (time.date(), time.to_hms());
        format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// This many seconds later, at most [`UnixTime::MAX`].
    pub fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds)).min(Self::MAX)
    }

    /// Seconds from `self` to `later`; zero if `later` is not later.
    pub fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The millisecond of a time in microseconds.
    pub fn of_micros(micros: u64) -> Self {
        Self(micros / 1_000)
    }

    /// Reads a time in RFC 3339 form and drops what is below a millisecond; none for other texts and for times
    /// before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
        Some(Self(millis.try_into().ok()?))
    }

    /// The time in RFC 3339 form, in UTC, with three digits after the second. Times after [`UnixTime::MAX`] are
    /// shown as that.
    pub fn rfc3339(self) -> String {
        let mut text = UnixTime(self.0 / 1_000).rfc3339();
        text.pop();
        format!("{text}.{:03}Z", self.0 % 1_000)
    }
}

/// A clock: the system's, or in tests one that is set by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still at `start` until [`Clock::set`] moves it.
    pub fn manual(start: UnixTime) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(
            start.0 * 1_000_000,
        ))))
    }

    /// Sets a manual clock, and all its clones; does nothing to the system's.
    pub fn set(&self, now: UnixTime) {
        if let Source::Manual(micros) = &self.0 {
            micros.store(now.0 * 1_000_000, Ordering::SeqCst);
        }
    }

    /// Whole milliseconds since the epoch.
    pub fn millis(&self) -> UnixMillis {
        UnixMillis::of_micros(self.micros())
    }

    /// Whole seconds since the epoch.
    pub fn now(&self) -> UnixTime {
        UnixTime(self.micros() / 1_000_000)
    }

    /// Microseconds since the epoch. A system clock set before 1970 reads as zero.
    pub fn micros(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
            Source::Manual(micros) => micros.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_rfc_3339() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("9999-12-31T23:59:59Z", UnixTime::MAX.0),
        ] {
            assert_eq!(UnixTime(seconds).rfc3339(), text);
            assert_eq!(UnixTime::parse(text), Some(UnixTime(seconds)));
        }
        let other = ["2026-01-01T02:00:00.9+02:00", "2025-12-31t23:00:00-01:00"];
        for text in other {
            assert_eq!(UnixTime::parse(text), Some(UnixTime(1_767_225_600)));
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(UnixTime::parse(text), None, "{text}");
        }
        assert_eq!(UnixTime(u64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
        let (text, millis) = ("2026-01-01T00:00:00.045Z", UnixMillis(1_767_225_600_045));
        assert_eq!(millis.rfc3339(), text);
        for text in [text, "2026-01-01T02:00:00.0459+02:00"] {
            assert_eq!(UnixMillis::parse(text), Some(millis));
        }
        assert_eq!(UnixMillis::parse("1969-12-31T23:59:59.999Z"), None);
        assert_eq!(UnixMillis::of_micros(1_999), UnixMillis(1));
        assert_eq!(UnixTime(5).after(u64::MAX), UnixTime::MAX);
        assert_eq!(UnixTime(5).after(2), UnixTime(7));
    }
}
