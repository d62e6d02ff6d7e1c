//! The log's lines about calls of the API that the store has failed: one when it begins, then one every ten seconds
//! with the number of those in between. A batch makes a hundred thousand such calls while a disk is full.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::StoreError;

/// How often there is a line at most.
const EVERY: Duration = Duration::from_secs(10);

/// Of the whole process: there is one store. Look-ups for redirects are not among these; `links` logs their failures.
pub(super) static FAILURES: FailureLog = FailureLog(Mutex::new(State {
    told: None,
    untold: 0,
}));

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FailureLog(Mutex<State>);

#[derive(Debug)]
struct State {
    told: Option<Instant>,
    /// Failures since the last line.
    untold: u64,
}

impl FailureLog {
    /// A call has failed.
    pub(super) fn note(&self, error: &StoreError) {
        if let Some(failures) = self.due(Instant::now()) {
            tracing::warn!(%error, failures, "the link store failed");
        }
    }

    /// How many failures a line has to tell of, where one is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        let waits = |told: Instant| now.saturating_duration_since(told) < EVERY;
        if state.told.is_some_and(waits) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_failures_are_a_few_lines() {
        let log = FailureLog(Mutex::new(State {
            told: None,
            untold: 0,
        }));
        let began = Instant::now();
        let lines: Vec<u64> = (0..100_000)
            .filter_map(|n| log.due(began + Duration::from_micros(250 * n)))
            .collect();
        assert_eq!(lines, [1, 40_000, 40_000]);
    }
}
