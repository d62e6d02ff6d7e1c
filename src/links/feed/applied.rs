//! How far this server has followed the feed: the value that the follower publishes, and that others read.
//!
//! A *look* is a read of the feed that reached the end. All changes that were committed before the look began have been
//! applied when it is noted here. So the begin of the last look says up to when this server knows everything, by its own
//! monotonic clock, and the [position](Applied::position) says the same to other servers.
//!
//! If one server of a region reads the feed, the others follow it through the stream of changes in Redis. Their position is
//! then that of the stream, and a look is one of the reader, of which the stream has told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::store::Watch;
use crate::store::feed::Position;
use crate::store::watch::VALID_FOR;

/// How long the result of a look is good if each server reads the feed. What was derived from the feed, such as a denial
/// by the filter, is used only while the last look began at most so long ago.
pub const LOOK_VALID_FOR: Duration = Duration::from_secs(1);
/// The same if one server reads the feed for its region: its looks are rarer, and others hear of them later.
pub const REGION_LOOK_VALID_FOR: Duration = VALID_FOR;

/// Whether a server follows the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// There was no look yet.
    Starting,
    /// The last look is still good.
    Following,
    /// The last look is too old; the feed can be read.
    Behind,
    /// The same, and the last read failed.
    Failing,
}

/// How far this server has followed the feed of its store.
#[derive(Debug)]
pub struct Applied {
    /// Has the looks. Its generation increases with each gap.
    looks: Arc<Watch>,
    valid_for: Duration,
    position: watch::Sender<Option<Position>>,
    failing: AtomicBool,
}

impl Applied {
    /// Nothing has been applied yet. A look is good for `valid_for`.
    pub fn new(now: Instant, valid_for: Duration) -> Self {
        Self {
            looks: Arc::new(Watch::unlooked(now, valid_for)),
            valid_for,
            position: watch::channel(None).0,
            failing: AtomicBool::new(false),
        }
    }

    /// Notes that everything up to a position has been applied. `look`: when the read began, if it reached the end.
    pub fn note(&self, position: Position, look: Option<Instant>) {
        self.failing.store(false, Ordering::Release);
        // First: who hears of the position may depend on the look.
        if let Some(began) = look {
            self.looks.note_look(began, false);
        }
        self.position.send_if_modified(|held| {
            let is_new = held.as_ref() != Some(&position);
            *held = Some(position);
            is_new
        });
    }

    /// Notes that changes may be missing: what was derived from the feed before is no longer valid.
    pub fn note_gap(&self) {
        self.looks.note_others();
    }

    /// Notes that a read of the feed failed.
    pub fn note_failure(&self) {
        self.failing.store(true, Ordering::Release);
    }

    /// The position up to which this server has applied the feed; none before the first look.
    pub fn position(&self) -> Option<Position> {
        self.position.borrow().clone()
    }

    /// Tells of new positions.
    pub fn positions(&self) -> watch::Receiver<Option<Position>> {
        self.position.subscribe()
    }

    /// The looks, with a generation that increases with each gap.
    pub fn looks(&self) -> &Arc<Watch> {
        &self.looks
    }

    /// The time since the last look began; none before the first.
    pub fn lag(&self, now: Instant) -> Option<Duration> {
        let looked = self.looks.looked()?;
        Some(now.saturating_duration_since(looked))
    }

    /// Whether this server follows the feed.
    pub fn following(&self, now: Instant) -> Following {
        match (self.lag(now), self.failing.load(Ordering::Acquire)) {
            (Some(lag), _) if lag <= self.valid_for => Following::Following,
            (_, true) => Following::Failing,
            (Some(_), false) => Following::Behind,
            (None, false) => Following::Starting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        Position::new(text).unwrap()
    }

    #[test]
    fn only_looks_count_for_the_lag() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let applied = Applied::new(began, LOOK_VALID_FOR);
        assert_eq!(applied.following(at(0)), Following::Starting);
        assert_eq!((applied.lag(at(5_000)), applied.position()), (None, None));
        applied.note_failure();
        assert_eq!(applied.following(at(0)), Following::Failing);
        applied.note(position("1"), None);
        assert_eq!(applied.following(at(0)), Following::Starting);
        assert_eq!(applied.position(), Some(position("1")));
        applied.note(position("2"), Some(at(100)));
        assert_eq!(applied.lag(at(400)), Some(Duration::from_millis(300)));
        assert_eq!(applied.following(at(1_100)), Following::Following);
        assert_eq!(applied.following(at(1_101)), Following::Behind);
        applied.note(position("3"), None);
        assert_eq!(applied.following(at(1_101)), Following::Behind);
        applied.note_failure();
        assert_eq!(applied.following(at(1_101)), Following::Failing);
        assert_eq!(applied.following(at(1_100)), Following::Following);
    }

    #[test]
    fn a_gap_ends_what_was_derived_from_the_feed() {
        let now = Instant::now();
        let applied = Applied::new(now, LOOK_VALID_FOR);
        applied.note(position("1"), Some(now));
        let generation = applied.looks().generation();
        assert!(applied.looks().vouches_for(generation, now));
        applied.note_gap();
        applied.note(position("2"), Some(now));
        assert!(!applied.looks().vouches_for(generation, now));
    }

    #[test]
    fn waiters_are_woken_by_new_positions_only() {
        let applied = Applied::new(Instant::now(), LOOK_VALID_FOR);
        let mut positions = applied.positions();
        applied.note(position("1"), None);
        assert!(positions.has_changed().unwrap());
        assert_eq!(*positions.borrow_and_update(), Some(position("1")));
        applied.note(position("1"), Some(Instant::now()));
        assert!(!positions.has_changed().unwrap());
    }
}
