//! Whether the UDP workers and the signing threads make progress.
//!
//! A worker in an endless loop or a deadlock reports nothing; only its share of the clients gets no replies any
//! more. So each worker sets its mark in each pass of its loop, several times a second even without queries, and the
//! watchdog clears the marks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The marks of all workers.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Vec<Weak<AtomicBool>>>>);

/// The mark of one worker.
#[derive(Debug)]
pub(crate) struct Mark(Arc<AtomicBool>);

impl Pulse {
    /// The mark of a new worker. The worker drops it when it ends; then the watchdog expects it no more.
    pub(crate) fn mark(&self) -> Mark {
        let mark = Arc::new(AtomicBool::new(true));
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.push(Arc::downgrade(&mark));
        Mark(mark)
    }

    /// Whether every worker has set its mark since the last call. Call it at most a few times a second, since an
    /// idle worker sets its mark only that often.
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
    /// Says that the worker has made another pass.
    pub(crate) fn leave(&self) {
        // Mostly the mark is still set; not storing again leaves its cache line shared.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_worker_is_noticed_until_it_ends() {
        let pulse = Pulse::default();
        assert!(pulse.is_there());
        let (one, two) = (pulse.mark(), pulse.mark());
        assert!(pulse.is_there(), "new workers have their marks");
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
