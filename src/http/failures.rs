//! Log lines about calls of the API that the store has failed: one for the first failure, then at most one every ten
//! seconds with the number of failures since the last line. While a disk is full, a batch can fail a hundred thousand
//! times.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::StoreError;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// One for the whole process, because there is one store. It does not log failed look-ups of redirects: `links` does.
pub(super) static FAILURES: FailureLog = FailureLog(Mutex::new(State {
    logged: None,
    failures: 0,
}));

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FailureLog(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the last line was logged.
    logged: Option<Instant>,
    /// Failures since then.
    failures: u64,
}

impl FailureLog {
    /// Counts a failed call, and logs a line if one is due.
    pub(super) fn note(&self, error: &StoreError) {
        if let Some(failures) = self.due(Instant::now()) {
            tracing::warn!(%error, failures, "the link store failed");
        }
    }

    /// The number of failures for the line, if a line is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures += 1;
        let is_recent = |logged: Instant| now.saturating_duration_since(logged) < EVERY;
        if state.logged.is_some_and(is_recent) {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_failures_are_logged_in_a_few_lines() {
        let log = FailureLog(Mutex::new(State {
            logged: None,
            failures: 0,
        }));
        let began = Instant::now();
        let lines: Vec<u64> = (0..100_000)
            .filter_map(|n| log.due(began + Duration::from_micros(250 * n)))
            .collect();
        assert_eq!(lines, [1, 40_000, 40_000]);
    }
}
