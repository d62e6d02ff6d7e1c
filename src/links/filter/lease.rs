//! The lease of a filter: since when, and until when, other servers wait for it before they acknowledge a link.
//!
//! A server announces itself with a lease, and renews it. If it is renewed before it ends, other servers have waited for this
//! one all the time. If it ends before, they may have acknowledged links meanwhile without this server, so the filter needs
//! a look at the feed that began later.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the [module](self). Times are nanoseconds from `began`; 0 for none.
#[derive(Debug)]
pub(super) struct Lease {
    began: Instant,
    since: AtomicU64,
    until: AtomicU64,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            since: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }
}

impl Lease {
    /// Notes until when the announcement counts, as is known at `now`. One task calls this, often enough to see each
    /// renewal before the lease ends.
    pub(super) fn observe(&self, counts_until: Option<Instant>, now: Instant) {
        let until = counts_until.map_or(0, |until| self.nanos(until));
        let now = self.nanos(now);
        // If the lease has ended, it may have been renewed too late.
        if now >= self.until.load(Ordering::Acquire) {
            self.since.store(now, Ordering::Release);
        }
        self.until.store(until, Ordering::Release);
    }

    /// Ends the lease at once.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether the filter may deny at `now`, if the last look began at `looked`.
    pub(super) fn allows(&self, looked: Option<Instant>, now: Instant) -> bool {
        // The end first: who sees a renewed lease must see since when it counts.
        let until = self.until.load(Ordering::Acquire);
        let since = self.since.load(Ordering::Acquire);
        self.nanos(now) < until && looked.is_some_and(|looked| self.nanos(looked) >= since)
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since: Duration = at.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_denies_while_others_wait_for_it_and_after_a_later_look() {
        let lease = Lease::default();
        let at = |millis| lease.began + Duration::from_millis(millis);
        assert!(!lease.allows(Some(at(10)), at(10)), "never announced");
        lease.observe(None, at(100));
        assert!(!lease.allows(Some(at(100)), at(100)));
        lease.observe(Some(at(2_000)), at(200));
        assert!(!lease.allows(Some(at(199)), at(300)), "an earlier look");
        assert!(!lease.allows(None, at(300)));
        assert!(lease.allows(Some(at(200)), at(300)));
        assert!(lease.allows(Some(at(1_900)), at(1_999)));
        assert!(!lease.allows(Some(at(1_900)), at(2_000)), "over");
        // Renewed in time: earlier looks count on.
        lease.observe(Some(at(3_000)), at(1_000));
        assert!(lease.allows(Some(at(200)), at(2_500)));
        // Renewed too late.
        lease.observe(Some(at(5_000)), at(3_000));
        assert!(!lease.allows(Some(at(2_900)), at(3_100)));
        assert!(lease.allows(Some(at(3_000)), at(3_100)));
        // Given up, and announced again.
        lease.end();
        assert!(!lease.allows(Some(at(3_100)), at(3_200)));
        lease.observe(Some(at(6_000)), at(3_300));
        assert!(!lease.allows(Some(at(3_200)), at(3_400)));
        assert!(lease.allows(Some(at(3_300)), at(3_400)));
    }
}
