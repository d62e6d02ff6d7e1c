//! The outcome of the last change, as a sign of what the next one may expect.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::StoreError;

/// How long the failure of a change counts. After that, the next change shows whether changes work again.
const FAILURE_COUNTS: Duration = Duration::from_secs(30);

/// Why the last change failed, and when; none if it succeeded.
#[derive(Debug, Default)]
pub(super) struct WriteHealth(Mutex<Option<(Instant, StoreError)>>);

impl WriteHealth {
    /// Records the outcome of a change. Failures that concern one link, or the server's own bounds, do not count.
    pub(super) fn note(&self, failure: Option<&StoreError>, now: Instant) {
        let failed = match failure {
            Some(StoreError::Overloaded | StoreError::Corrupt { .. }) => return,
            Some(error) => Some((now, error.clone())),
            None => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Why changes fail; none if they do not.
    pub(super) fn failure(&self, now: Instant) -> Option<StoreError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, error) = last.as_ref()?;
        let counts = now.saturating_duration_since(*when) < FAILURE_COUNTS;
        counts.then(|| error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_change_counts_until_one_succeeds_or_it_is_long_ago() {
        let (health, now) = (WriteHealth::default(), Instant::now());
        assert!(health.failure(now).is_none());
        health.note(Some(&StoreError::Overloaded), now);
        assert!(
            health.failure(now).is_none(),
            "that is this server's own bound"
        );
        health.note(Some(&StoreError::DeadlineExceeded), now);
        assert!(health.failure(now).is_some());
        assert!(health.failure(now + FAILURE_COUNTS).is_none());
        health.note(None, now);
        assert!(health.failure(now).is_none());
    }
}
