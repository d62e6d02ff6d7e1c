//! What a store tells of changes that are not made by its own calls.
//!
//! Whoever keeps a picture of all links, as [`crate::links`] does in its existence filter, has to know
//! when another program has changed the store behind its back. A [`Watch`] says it in one number, the
//! *generation*: it moves on with each look at which the store finds that others have written since the
//! look before. A picture that was begun at one generation is right for as long as that one lasts.
//!
//! A look tells what was before it and nothing of what comes after, so what it has found is good for
//! [`VALID_FOR`] and no longer. A store that hangs, or a process that was stopped for an hour, thus makes
//! nobody believe a picture that may be old: the age is judged by whoever relies on it, at that moment,
//! and needs no task that would have to run in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a store is to look for changes of others.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long a look is good: three of them, so that a slow commit in between does no harm.
pub const VALID_FOR: Duration = Duration::from_secs(3);

/// See the [module](self).
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    generation: AtomicU64,
    /// When the last look began that succeeded: nanoseconds from `began`.
    looked: AtomicU64,
    /// How many links the store's own calls have removed.
    removed: AtomicU64,
}

impl Watch {
    /// The watch of a store whose first look began at this time.
    pub fn new(first_look: Instant) -> Self {
        Self {
            began: first_look,
            generation: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }

    /// Takes down what a look has found that began at this time.
    pub fn note_look(&self, began: Instant, others_have_written: bool) {
        // Before the time: who sees that somebody has looked must also see what was found.
        if others_have_written {
            self.generation.fetch_add(1, Ordering::Release);
        }
        let nanos = began.saturating_duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.looked.fetch_max(nanos, Ordering::Release);
    }

    /// Takes down that the store's own calls have removed links.
    pub fn note_removed(&self, links: u64) {
        self.removed.fetch_add(links, Ordering::Relaxed);
    }

    /// The generation as of the last look.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many links have been removed, from the beginning on.
    pub fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Whether it is known that this generation lasted until at most [`VALID_FOR`] before `now`.
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
    fn a_generation_is_vouched_for_until_others_write_or_nobody_looks() {
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
        // One that took long and ends behind a later one does not turn the time back.
        watch.note_look(at(5), false);
        assert!(watch.vouches_for(1, at(14)));
    }
}
