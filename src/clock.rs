//! The one source of time.
//!
//! Expiry is decided to the second and versions grow with the clock, so every part asks the same
//! [`Clock`], and a test can hold the hands of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// Seconds from `self` to `later`; zero where `later` is not later.
    pub fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells the time: the system's, or in tests one that is set by hand.
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
