//! Waiting until other servers have applied a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::place::Place;
use super::{FILTER_LEASE, Seen, Servers};
use crate::links::LOOK_VALID_FOR;
use crate::store::feed::Position;
use crate::store::servers::LEASE;

/// How much longer than [`LOOK_VALID_FOR`] a caller waits for filters: the clocks of two servers may run at slightly
/// different speeds.
const SLACK: Duration = Duration::from_millis(250);

/// What a wait has found.
#[derive(Debug)]
pub(super) struct Waited {
    /// The announcements.
    pub(super) seen: Arc<Seen>,
    /// The position that servers have to apply; none if it is not known.
    pub(super) position: Option<Position>,
}

impl Servers {
    /// Whether servers may have filters that [`Servers::await_filters`] has to wait for: they follow the feed of the store.
    pub(in crate::links) fn may_have_filters(&self) -> bool {
        matches!(self.place, Place::Store(..))
    }

    /// Waits until no live server of this region has a filter that may deny a link which was made by a commit that was
    /// over at `committed`, and which was announced to the others since: until the servers whose filters deny have
    /// applied it, or until no filter without it counts any more. That is [`LOOK_VALID_FOR`] and a little more after the
    /// commit.
    pub(in crate::links) async fn await_filters(&self, committed: Instant) {
        let until = committed + LOOK_VALID_FOR + SLACK;
        self.wait(until, |seen, position| {
            let now = Instant::now();
            // The announcement is younger than the lease of the filter.
            let counts = |until: Instant| now + (LEASE - FILTER_LEASE) < until;
            let mut others = seen.others.iter();
            seen.unknown.is_none()
                && others.all(|other| {
                    let server = &other.announcement;
                    server.region != self.called.region
                        || !server.filter_denies
                        || !counts(other.until)
                        || self.has_applied(server, position)
                })
        })
        .await;
    }

    /// Waits until `is_done` says so of announcements that were read after the call, and of a position that covers all
    /// changes that were announced before it; until `until` at the latest.
    pub(super) async fn wait(
        &self,
        until: Instant,
        is_done: impl Fn(&Seen, &Position) -> bool,
    ) -> Waited {
        let mut seen = self.seen.subscribe();
        let mut waited = Waited {
            seen: seen.borrow_and_update().clone(),
            position: None,
        };
        if matches!(self.place, Place::Alone | Place::Unknown) {
            return waited;
        }
        let since = Instant::now();
        let _waiting = Waiting::begin(&self.waiting);
        self.read.notify_one();
        while let Ok(Ok(())) = tokio::time::timeout_at(until.into(), seen.changed()).await {
            waited.seen = seen.borrow_and_update().clone();
            if waited.seen.began < since {
                continue;
            }
            // The first one: it need not cover what is announced later.
            if waited.position.is_none() {
                waited.position = waited.seen.end.clone();
            }
            if let Some(position) = &waited.position
                && is_done(&waited.seen, position)
            {
                break;
            }
        }
        waited
    }
}

/// A caller that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
