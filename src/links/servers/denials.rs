//! Which names this server denied lately.
//!
//! A resolver that got the answer that a name does not exist keeps it for the zone's negative TTL, also if a link of that
//! name is made meanwhile. To know whether this can be the case for a new link, each name that is denied goes into a
//! Bloom filter. There are two. After a period that is as long as the longest negative TTL of the zones, the older one is
//! emptied and becomes the newer one. So a name is remembered for one to two periods.
//!
//! A flood of random names fills a filter up. Then nothing more is inserted until the next period, so that a flood costs
//! a look at one number for each query; and every name may have been denied.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::FixedState;

use crate::link::LinkName;
use crate::links::bloom::{Bloom, hash};

/// How many names a filter holds: 192 KiB for each of the two.
const CAPACITY: u64 = 1 << 17;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links) struct Denials {
    state: FixedState,
    filters: [Bloom; 2],
    /// The place of the newer filter.
    newer: AtomicUsize,
    turned: Mutex<Instant>,
}

impl Denials {
    pub(super) fn new() -> Self {
        Self::with_room_for(CAPACITY)
    }

    fn with_room_for(names: u64) -> Self {
        // With a known key, attackers could only make names seem to have been denied, which they can do by queries.
        let seed = getrandom::u64().unwrap_or_default();
        Self {
            state: FixedState::with_seed(seed),
            filters: [Bloom::with_room_for(names), Bloom::with_room_for(names)],
            newer: AtomicUsize::new(0),
            turned: Mutex::new(Instant::now()),
        }
    }

    /// Remembers a name that is denied; the code is in lower case.
    pub(in crate::links) fn note(&self, code: &[u8], origin: &str) {
        let newer = &self.filters[self.newer.load(Ordering::Relaxed)];
        if newer.is_overfull() {
            return;
        }
        let hash = hash(&self.state, code, origin);
        // A name that is denied all the time is not to cost a write each time.
        if !newer.may_hold(hash) {
            newer.insert(hash);
        }
    }

    /// Whether a name may have been denied within the last period.
    pub(super) fn may_have_denied(&self, name: &LinkName) -> bool {
        let hash = hash(&self.state, name.code().as_bytes(), name.origin());
        let holds = |filter: &Bloom| filter.is_overfull() || filter.may_hold(hash);
        self.filters.iter().any(holds)
    }

    /// Forgets the older names if the last time was a period ago. Must be called once in a while.
    pub(super) fn turn(&self, period: Duration, now: Instant) {
        let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(*turned) < period {
            return;
        }
        *turned = now;
        let older = 1 - self.newer.load(Ordering::Relaxed);
        self.filters[older].clear();
        self.newer.store(older, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(code: &str) -> LinkName {
        LinkName::parse(&format!("{code}.s.example.com")).unwrap()
    }

    fn note(denials: &Denials, code: &str) {
        denials.note(code.as_bytes(), "s.example.com");
    }

    #[test]
    fn a_name_is_remembered_for_a_period_and_forgotten_after_two() {
        let denials = Denials::new();
        let (period, began) = (Duration::from_secs(300), Instant::now());
        note(&denials, "early");
        assert!(denials.may_have_denied(&name("early")));
        assert!(!denials.may_have_denied(&name("never")));
        denials.turn(period, began + period * 11 / 10);
        assert!(denials.may_have_denied(&name("early")));
        note(&denials, "late");
        denials.turn(period, began + period * 12 / 10);
        denials.turn(period, began + period * 22 / 10);
        assert!(!denials.may_have_denied(&name("early")));
        assert!(denials.may_have_denied(&name("late")));
    }

    #[test]
    fn a_flood_makes_every_name_possible_until_it_is_over() {
        let denials = Denials::with_room_for(100);
        for n in 0..1_000 {
            note(&denials, &format!("a{n}"));
        }
        assert!(denials.may_have_denied(&name("never")));
        let (period, now) = (Duration::ZERO, Instant::now());
        denials.turn(period, now);
        assert!(
            denials.may_have_denied(&name("never")),
            "the older one is full"
        );
        denials.turn(period, now);
        assert!(!denials.may_have_denied(&name("never")));
    }
}
