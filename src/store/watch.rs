//! Watches: how a store reports changes that are not made by its own calls.
//!
//! A cache of all links, such as the existence filter of [`crate::links`], must know when another program has
//! changed the store. A [`Watch`] has one number for that, the *generation*: it increases with each look at which
//! the store finds that other programs have written since the look before. A cache that was begun at one
//! generation is valid as long as that generation lasts.
//!
//! A look says what happened before it, and nothing about what comes after. So its result is good for a time that the
//! watch knows, [`VALID_FOR`] for the looks of a store, and no longer. The user of the cache checks the age of the last
//! look at the moment of use. So no old cache is used if the store hangs or the process was stopped for an hour, and no
//! task has to run in time for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a store looks for changes of other programs.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the result of a look is good: three looks, so that one slow commit does no harm.
pub const VALID_FOR: Duration = Duration::from_secs(3);

/// See the [module](self).
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    valid_for: Duration,
    generation: AtomicU64,
    /// When the last successful look began, in nanoseconds from `began`, plus one; 0 before the first look.
    looked: AtomicU64,
    /// How many links the store's own calls have removed.
    removed: AtomicU64,
}

impl Watch {
    /// A watch of a store whose first look began at this time.
    pub fn new(first_look: Instant) -> Self {
        let watch = Self::unlooked(first_look, VALID_FOR);
        watch.note_look(first_look, false);
        watch
    }

    /// A watch without a look yet. The result of a look is good for `valid_for`.
    pub fn unlooked(now: Instant, valid_for: Duration) -> Self {
        Self {
            began: now,
            valid_for,
            generation: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }

    /// Records the result of a look that began at this time.
    pub fn note_look(&self, began: Instant, others_have_written: bool) {
        // The generation first: a thread that sees the time of this look must also see its result.
        if others_have_written {
            self.note_others();
        }
        let nanos = began.saturating_duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1);
        self.looked.fetch_max(nanos, Ordering::Release);
    }

    /// Begins a new generation without a look: others may have written.
    pub fn note_others(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// When the last look began; none before the first.
    pub fn looked(&self) -> Option<Instant> {
        let nanos = self.looked.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.began + Duration::from_nanos(nanos))
    }

    /// Records links that the store's own calls have removed.
    pub fn note_removed(&self, links: u64) {
        self.removed.fetch_add(links, Ordering::Relaxed);
    }

    /// The generation at the last look.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many links have been removed since the start.
    pub fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Whether this generation is known to have lasted until the last look, which is still good at `now`.
    pub fn vouches_for(&self, generation: u64, now: Instant) -> bool {
        self.looked()
            .is_some_and(|looked| now.saturating_duration_since(looked) <= self.valid_for)
            && self.generation() == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_vouched_for_until_others_write_or_the_last_look_is_old() {
        let began = Instant::now();
        let watch = Watch::new(began);
        let at = |secs| began + Duration::from_secs(secs);
        let just_after = |at: Instant| at + Duration::from_nanos(1);
        assert!(watch.vouches_for(0, at(3)));
        assert!(!watch.vouches_for(0, just_after(at(3))));
        watch.note_look(at(10), false);
        assert!(watch.vouches_for(0, at(13)));
        assert!(!watch.vouches_for(0, just_after(at(13))));
        watch.note_look(at(11), true);
        assert!(!watch.vouches_for(0, at(11)));
        assert_eq!(watch.generation(), 1);
        assert!(watch.vouches_for(1, at(14)));
        // A slow look that ends after a later one does not turn the time back.
        watch.note_look(at(5), false);
        assert!(watch.vouches_for(1, at(14)));
        watch.note_others();
        assert!(!watch.vouches_for(1, at(11)));
        assert_eq!(watch.looked(), Some(at(11)));
    }

    #[test]
    fn nothing_is_vouched_for_before_the_first_look() {
        let began = Instant::now();
        let watch = Watch::unlooked(began, Duration::from_secs(1));
        assert!(!watch.vouches_for(0, began));
        assert_eq!(watch.looked(), None);
        watch.note_look(began, false);
        assert!(watch.vouches_for(0, began + Duration::from_secs(1)));
        assert!(!watch.vouches_for(0, began + Duration::from_millis(1_001)));
    }
}
