//! The budget of reads of the store: a token bucket.
//!
//! Names that no tier knows are read from the store, and senders of random names decide how many there are. The
//! budget bounds their cost: DynamoDB charges each read, and throttles all reads if one part of a table gets too
//! many. A look-up beyond the budget is refused at once, which becomes SERVFAIL.
//!
//! A part of the budget is reserved for names of which memory holds a link: a flood of unknown names must not keep
//! links in use from being refreshed.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The reserve is the bucket's size divided by this.
const RESERVE: f64 = 5.0;

/// A budget of so many reads a second. After a pause of a second, as many may come at once.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let per_second = f64::from(per_second.get());
        Self {
            per_second,
            bucket: Mutex::new(Bucket {
                tokens: per_second,
                filled: now,
            }),
        }
    }

    /// Takes one read from the budget, if there is one left for a name that is `known` to memory, or is not.
    pub(super) fn take(&self, known: bool, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.per_second.max(1.0));
        bucket.filled = bucket.filled.max(now);
        // A budget below `RESERVE` has no reserve.
        let reserve = (self.per_second / RESERVE).floor();
        let least = if known { 1.0 } else { 1.0 + reserve };
        if bucket.tokens < least {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &Budget, known: bool, now: Instant) -> usize {
        (0..10_000).filter(|_| budget.take(known, now)).count()
    }

    #[test]
    fn unknown_names_get_the_budget_without_the_reserve() {
        let now = Instant::now();
        let budget = Budget::new(NonZeroU32::new(100).unwrap(), now);
        assert_eq!(taken(&budget, false, now), 80);
        assert_eq!(taken(&budget, true, now), 20);
        let later = now + Duration::from_millis(250);
        assert_eq!(taken(&budget, false, later), 5, "the reserve fills first");
        assert_eq!(taken(&budget, true, later), 20);
        // No more than a second's worth gathers, and nothing is added while the clock stands still.
        let much_later = now + Duration::from_secs(60);
        assert_eq!(taken(&budget, true, much_later), 100);
        assert_eq!(taken(&budget, true, now), 0);
    }

    #[test]
    fn in_the_long_run_unknown_names_get_all_that_known_names_leave() {
        let now = Instant::now();
        let budget = Budget::new(NonZeroU32::new(1_000).unwrap(), now);
        let all = (0..10_000_u64)
            .filter(|ms| budget.take(false, now + Duration::from_millis(*ms)))
            .count();
        assert!((9_990..=10_000).contains(&all), "{all}");
    }

    #[test]
    fn a_budget_of_one_read_works() {
        let now = Instant::now();
        let budget = Budget::new(NonZeroU32::MIN, now);
        assert_eq!(taken(&budget, false, now), 1);
        assert_eq!(taken(&budget, true, now), 0);
        assert_eq!(taken(&budget, false, now + Duration::from_secs(1)), 1);
    }
}
