//! Watches: how a store reports changes that are not made by its own calls.
//!
//! A cache of all links, such as the existence filter of [`crate::links`], must know when another program has
//! changed the store. A [`Watch`] has one number for that, the *generation*: it increases with each look at which
//! the store finds that other programs have written since the look before. A cache that was begun at one
//! generation is valid as long as that generation lasts.
//!
//! A look says what happened before it, and nothing about what comes after. So its result is good for
//! [`VALID_FOR`] and no longer. The user of the cache checks the age of the last look at the moment of use. So no
//! old cache is used if the store hangs or the process was stopped for an hour, and no task has to run in time for
//! that.

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
    generation: AtomicU64,
    /// When the last successful look began, in nanoseconds from `began`.
    looked: AtomicU64,
    /// How many links the store's own calls have removed.
    removed: AtomicU64,
}

impl Watch {
    /// A watch of a store whose first look began at this time.
    pub fn new(first_look: Instant) -> Self {
        Self {
            began: first_look,
            generation: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }

    /// Records the result of a look that began at this time.
    pub fn note_look(&self, began: Instant, others_have_written: bool) {
        // The generation first: a thread that sees the time of this look must also see its result.
        if others_have_written {
            self.generation.fetch_add(1, Ordering::Release);
        }
        let nanos = began.saturating_duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.looked.fetch_max(nanos, Ordering::Release);
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

    /// Whether this generation is known to have lasted until at most [`VALID_FOR`] before `now`.
    pub fn vouches_for(&self, generation: u64, now: Instant) -> bool {
        let looked = Duration::from_nanos(self.looked.load(Ordering::Acquire));
        now.saturating_duration_since(self.began + looked) <= VALID_FOR
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
    }
}
