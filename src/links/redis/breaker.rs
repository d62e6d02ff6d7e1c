//! A circuit breaker: what has failed several times in a row is not asked again until it is known to
//! work, so that a dead Redis costs a query a look at one flag and not a time-out.
//!
//! There is one for each part of Redis that can fail by itself. With one server that is one. In a
//! cluster every shard has its own slots, in long ranges as a rule; so the 16,384 slots are divided
//! into [`CLUSTER_RANGES`] ranges with a breaker each, and a shard that fails over takes its own ranges
//! down and no others. Which shard has which slots need not be known for that.
//!
//! An open breaker lets nothing through, not even one query to try: the supervisor tries, with calls
//! of its own that nobody waits for.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many calls in a row must fail. Those that are under way at once fail together, so that few
/// queries more than this ever wait for a time-out.
const TRIP: u32 = 3;
/// Into how many ranges the slots of a cluster are divided.
pub(super) const CLUSTER_RANGES: usize = 16;
/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// One breaker; closed to begin with.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open: AtomicBool,
}

impl Breaker {
    /// Whether calls may be made.
    pub(super) fn is_closed(&self) -> bool {
        !self.open.load(Ordering::Acquire)
    }

    /// A call has worked. Does not close the breaker: a late reply says nothing of now.
    pub(super) fn worked(&self) {
        // Mostly it is zero, and a write by every core for every call would be dear.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A call has failed. True if this opened the breaker.
    pub(super) fn failed(&self) -> bool {
        let failures = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                Some(n.saturating_add(1))
            });
        failures.unwrap_or(u32::MAX).saturating_add(1) >= TRIP
            && !self.open.swap(true, Ordering::AcqRel)
    }

    /// Opens it at once. True if it was closed.
    pub(super) fn open(&self) -> bool {
        !self.open.swap(true, Ordering::AcqRel)
    }

    /// It works again.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
    }
}

/// The slot of a key (Redis Cluster specification, "Key distribution model"). The keys that we make
/// have no `{`, which would make a part of them count alone.
pub(super) fn slot(key: &str) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(key.as_bytes())) % SLOTS
}

/// The range that a slot is in.
pub(super) fn range(slot: usize) -> usize {
    slot * CLUSTER_RANGES / SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_when_told() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed());
            assert!(!breaker.failed());
            breaker.worked();
        }
        assert!(breaker.is_closed());
        assert!(!breaker.failed() && !breaker.failed());
        assert!(breaker.failed(), "the third in a row opens it");
        assert!(!breaker.failed(), "and only that one");
        breaker.worked();
        assert!(!breaker.is_closed(), "a late reply does not close it");
        breaker.close();
        assert!(breaker.is_closed());
        assert!(!breaker.failed());
        assert!(breaker.open() && !breaker.open() && !breaker.is_closed());
    }

    /// The specification's own example, and `CLUSTER KEYSLOT` of a server for the others.
    #[test]
    fn slots() {
        assert_eq!(slot("123456789"), 12_739);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("tinyns:link:a.s.example.com"), 11_131);
        assert_eq!(range(0), 0);
        assert_eq!(range(1_023), 0);
        assert_eq!(range(1_024), 1);
        assert_eq!(range(16_383), CLUSTER_RANGES - 1);
    }
}
