//! What this server says about itself: how far it has applied the changes, and which names it denied before it had them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::denials::Denials;
use super::text::Denied;
use crate::link::LinkName;
use crate::store::feed::Position;
use crate::store::servers::LEASE;

/// How long an announcement names a change of a name that had been denied: longer than callers wait for servers.
const NAMED_FOR: Duration = LEASE;
/// How many of these names are kept; the oldest are dropped first, and the announcement says so.
const MAX_NAMED: usize = 1_024;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links) struct Own {
    /// The entry of the stream of changes up to which this server has applied it.
    followed: watch::Sender<Option<Position>>,
    pub(in crate::links) denials: Denials,
    lately: Mutex<Lately>,
}

/// The names that were changed lately and had been denied before.
#[derive(Debug, Default)]
struct Lately {
    names: VecDeque<(Instant, LinkName)>,
    /// When names were last dropped for want of room.
    dropped: Option<Instant>,
}

impl Own {
    pub(in crate::links) fn new() -> Self {
        Self {
            followed: watch::Sender::new(None),
            denials: Denials::new(),
            lately: Mutex::default(),
        }
    }

    /// Notes that answers have this change from now on. `was_flying`: a look-up was under way when memory dropped the
    /// name, so that some queries may still be answered as before.
    pub(in crate::links) fn note_change(&self, name: &LinkName, was_flying: bool) {
        if was_flying {
            self.denials.note(name.code().as_bytes(), name.origin());
        }
        if !self.denials.may_have_denied(name) {
            return;
        }
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        lately.names.push_back((now, name.clone()));
        if lately.names.len() > MAX_NAMED {
            lately.names.pop_front();
            lately.dropped = Some(now);
        }
    }

    /// Notes that answers have all changes up to this entry of the stream of changes from now on. The names of these
    /// changes must have been [noted](Own::note_change) before.
    pub(in crate::links) fn set_followed(&self, id: &str) {
        let position = Position::new(id);
        self.followed.send_if_modified(|followed| {
            let is_new = *followed != position;
            *followed = position;
            is_new
        });
    }

    /// Tells of the entry that was last set.
    pub(super) fn followed(&self) -> watch::Receiver<Option<Position>> {
        self.followed.subscribe()
    }

    /// Which of the names that were changed lately had been denied before. Must be read after the position: so it covers
    /// all changes up to there.
    pub(super) fn denied(&self, now: Instant) -> Denied {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |then: Instant| now.saturating_duration_since(then) > NAMED_FOR;
        while lately.names.front().is_some_and(|(then, _)| is_over(*then)) {
            lately.names.pop_front();
        }
        if lately.dropped.is_some_and(is_over) {
            lately.dropped = None;
        }
        match lately.dropped {
            Some(_) => Denied::Any,
            None => Denied::of(lately.names.iter().map(|(_, name)| name)),
        }
    }
}
