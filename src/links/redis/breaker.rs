//! A circuit breaker: after several failures in a row no more calls are sent until Redis works again. So while
//! Redis is down, a query pays for a look at one flag and not for a time-out.
//!
//! There is one breaker for each part of Redis that can fail on its own. A single server has one. In a cluster,
//! each shard has its own slots, usually in long ranges. So the 16,384 slots are divided into [`CLUSTER_RANGES`]
//! ranges with a breaker each: if a shard fails, the breakers of its own ranges open and no others. tinyns need
//! not know which shard has which slots.
//!
//! An open breaker lets no call through, not even a single trial. The supervisor probes with calls of its own, for
//! which no query waits.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many calls in a row must fail. Calls that are sent at the same time fail together, so hardly more queries
/// than this wait for a time-out.
const TRIP: u32 = 3;
/// The number of ranges into which the slots of a cluster are divided.
pub(super) const CLUSTER_RANGES: usize = 16;
/// The number of slots of a cluster.
const SLOTS: usize = 16_384;

/// One breaker. It starts closed.
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

    /// A call has succeeded. This does not close the breaker: the reply may be an old one.
    pub(super) fn worked(&self) {
        // The count is nearly always 0, and a write by every core at every call would be slow.
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

    /// Opens the breaker at once. True if it was closed.
    pub(super) fn open(&self) -> bool {
        !self.open.swap(true, Ordering::AcqRel)
    }

    /// Redis works again.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
    }
}

/// The slot of a key (Redis Cluster specification, "Key distribution model"). tinyns's keys have no `{`, so the
/// whole key counts.
pub(super) fn slot(key: &str) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(key.as_bytes())) % SLOTS
}

/// The range of a slot.
pub(super) fn range(slot: usize) -> usize {
    slot * CLUSTER_RANGES / SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_only_by_close() {
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

    /// The first is the example of the specification; the others are from `CLUSTER KEYSLOT`.
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
