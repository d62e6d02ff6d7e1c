//! Whether the UDP workers, and what signs for them, still come round.
//!
//! A worker that is caught in a loop or a deadlock ends nothing and reports nothing; only its share of
//! the clients gets no answers any more. So each leaves a mark whenever it comes round, which it
//! does several times a second even without queries, and whoever watches takes the marks away again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The marks of all workers.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Vec<Weak<AtomicBool>>>>);

/// The mark of one worker.
#[derive(Debug)]
pub(crate) struct Mark(Arc<AtomicBool>);

impl Pulse {
    /// The mark of a worker that begins. When it is dropped, the worker has ended, and is missed no
    /// more.
    pub(crate) fn mark(&self) -> Mark {
        let mark = Arc::new(AtomicBool::new(true));
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.push(Arc::downgrade(&mark));
        Mark(mark)
    }

    /// Whether every worker has come round since this was asked last. To be asked a few times a second
    /// at the most.
    pub fn is_there(&self) -> bool {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = true;
        marks.retain(|mark| {
            let mark = mark.upgrade();
            all &= mark
                .as_ref()
                .is_none_or(|mark| mark.swap(false, Ordering::Relaxed));
            mark.is_some()
        });
        all
    }
}

impl Mark {
    /// The worker has come round.
    pub(crate) fn leave(&self) {
        // Most of the time it is there already, and nobody else's cache is to be disturbed.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_come_round_is_missed_until_it_ends() {
        let pulse = Pulse::default();
        assert!(pulse.is_there());
        let (one, two) = (pulse.mark(), pulse.mark());
        assert!(pulse.is_there(), "they have only begun");
        assert!(!pulse.is_there());
        one.leave();
        assert!(!pulse.is_there());
        one.leave();
        two.leave();
        two.leave();
        assert!(pulse.is_there());
        drop(two);
        one.leave();
        assert!(pulse.is_there());
        assert!(!pulse.is_there());
    }
}
