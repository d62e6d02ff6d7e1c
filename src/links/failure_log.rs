//! The log line about names that cannot be resolved.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::clock::UnixTime;
use crate::link::LinkName;
use crate::store::StoreError;

/// Logs failures in at most one line a second: while a store is down every query fails, and the log must not fill
/// the disk.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    /// The second of the last line.
    last: AtomicU64,
    /// Failures since then.
    unlogged: AtomicU64,
}

impl FailureLog {
    pub(super) fn note(&self, name: &LinkName, error: &StoreError, now: UnixTime) {
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        // Only the thread that changes the second writes the line.
        if self.last.swap(now.0, Ordering::Relaxed) != now.0 {
            let failures = self.unlogged.swap(0, Ordering::Relaxed);
            tracing::warn!(%name, %error, failures, "links cannot be resolved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_failures_around_a_new_second_are_counted_once() {
        let log = FailureLog::default();
        let name = LinkName::parse("abc.s.example.com").unwrap();
        let error = StoreError::Overloaded;
        std::thread::scope(|scope| {
            for second in 0..4 {
                let (log, name, error) = (&log, &name, &error);
                scope.spawn(move || {
                    for _ in 0..300_000 {
                        log.note(name, error, UnixTime(second));
                    }
                });
            }
        });
        assert!(log.unlogged.into_inner() < 4 * 300_000);
    }
}
