//! Changes that Redis has not been told of, and those that it may have lost.
//!
//! A change is told to Redis after the store has it. If that fails, the name is kept here until it is
//! done: its value is dropped where it is older, and the change goes to the stream once more. Until
//! then this node does not believe Redis about that name.
//!
//! A server of Redis that fails over takes its replica's word for what was held, and the replica may
//! not yet have heard of the last writes; one that is restarted may come back with a state of some
//! minutes ago. So what this node has changed lately is kept for a while, and repaired once more when
//! Redis works again after an outage.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::link::{LinkName, Version};

/// How many names may wait. Those beyond are given up, which is told: what Redis holds of them ends
/// by its own time.
const MAX_PENDING: usize = 65_536;
/// How many changes are remembered, and for how long. Replicas lag by milliseconds, a save by minutes.
const MAX_RECENT: usize = 16_384;
const RECENT: Duration = Duration::from_secs(300);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Repairs {
    state: Mutex<State>,
    /// How many names wait: looked at without the lock, for it is nearly always none.
    pending: AtomicUsize,
    /// Wakes whoever does the repairs.
    pub(super) work: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<LinkName, Repair>,
    recent: VecDeque<(Instant, LinkName, Version)>,
    given_up: u64,
}

/// What has to be done for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    /// What is older than this is wrong; anything, where nobody knows what was written.
    pub(super) version: Version,
    /// Not before this.
    pub(super) due: Instant,
}

impl Repairs {
    /// Whether a name waits for its repair.
    pub(super) fn contains(&self, name: &LinkName) -> bool {
        self.pending.load(Ordering::Acquire) > 0 && self.lock().pending.contains_key(name)
    }

    /// How many names wait.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// How many names were given up because too many waited, since this was asked last.
    pub(super) fn given_up(&self) -> u64 {
        std::mem::take(&mut self.lock().given_up)
    }

    /// Has a name repaired. Of two repairs of one name the later holds, and the higher version.
    pub(super) fn add(&self, name: LinkName, repair: Repair) {
        let mut state = self.lock();
        state.add(name, repair);
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// A change that Redis has been told of.
    pub(super) fn told(&self, name: LinkName, version: Version, now: Instant) {
        let mut state = self.lock();
        state.forget_old(now);
        if state.recent.len() >= MAX_RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back((now, name, version));
    }

    /// Redis was away, and may not have all that it was told lately: that is repaired.
    pub(super) fn doubt_recent(&self, now: Instant) {
        let mut state = self.lock();
        state.forget_old(now);
        for (_, name, version) in std::mem::take(&mut state.recent) {
            state.add(name, Repair { version, due: now });
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// At most `limit` names whose time has come, of those that can be repaired just now.
    pub(super) fn due(
        &self,
        now: Instant,
        limit: usize,
        allowed: impl Fn(&LinkName) -> bool,
    ) -> Vec<(LinkName, Repair)> {
        let state = self.lock();
        let due = state
            .pending
            .iter()
            .filter(|(name, repair)| repair.due <= now && allowed(name));
        due.take(limit).map(|(n, r)| (n.clone(), *r)).collect()
    }

    /// A repair has failed, and waits until `due`, unless another has come up meanwhile.
    pub(super) fn put_off(&self, name: &LinkName, repair: &Repair, due: Instant) {
        let mut state = self.lock();
        if let Some(pending) = state.pending.get_mut(name).filter(|p| *p == repair) {
            pending.due = due;
        }
    }

    /// A repair is done, unless another has come up meanwhile.
    pub(super) fn done(&self, name: &LinkName, repair: &Repair) {
        let mut state = self.lock();
        if state.pending.get(name) == Some(repair) {
            state.pending.remove(name);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, name: LinkName, repair: Repair) {
        if let Some(old) = self.pending.get_mut(&name) {
            old.version = old.version.max(repair.version);
            old.due = old.due.max(repair.due);
        } else if self.pending.len() >= MAX_PENDING {
            self.given_up += 1;
        } else {
            self.pending.insert(name, repair);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let old = |when: &Instant| now.saturating_duration_since(*when) > RECENT;
        while self.recent.front().is_some_and(|(when, ..)| old(when)) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> LinkName {
        LinkName::parse(&format!("a{n}.s.example.com")).unwrap()
    }

    fn repair(version: u64, due: Instant) -> Repair {
        let version = Version(version);
        Repair { version, due }
    }

    #[test]
    fn a_repair_waits_for_its_time_and_is_done_once() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        assert!(!repairs.contains(&name(1)));
        repairs.add(name(1), repair(1, now));
        repairs.add(name(2), repair(1, later));
        assert!(repairs.contains(&name(1)) && repairs.contains(&name(2)));
        assert_eq!(repairs.due(now, 10, |_| true), [(name(1), repair(1, now))]);
        repairs.done(&name(1), &repair(1, now));
        assert_eq!(repairs.due(now, 10, |_| true), []);
        assert_eq!(
            repairs.due(later, 10, |_| true),
            [(name(2), repair(1, later))]
        );
        assert_eq!(repairs.pending(), 1);
    }

    #[test]
    fn a_change_while_a_repair_is_made_needs_another() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        repairs.add(name(1), repair(1, now));
        let begun = repairs.due(now, 10, |_| true).remove(0).1;
        repairs.add(name(1), repair(2, now));
        repairs.done(&name(1), &begun);
        assert_eq!(repairs.due(now, 10, |_| true), [(name(1), repair(2, now))]);
    }

    #[test]
    fn a_repair_that_fails_lets_the_others_have_their_turn() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..100 {
            repairs.add(name(n), repair(1, now));
        }
        let later = now + Duration::from_secs(1);
        let mut tried = 0;
        loop {
            let due = repairs.due(now, 10, |_| true);
            if due.is_empty() {
                break;
            }
            tried += due.len();
            for (name, repair) in &due {
                repairs.put_off(name, repair, later);
            }
        }
        assert_eq!(tried, 100);
        assert_eq!(repairs.due(later, 1_000, |_| true).len(), 100);
        assert_eq!(repairs.due(later, 1_000, |n| *n == name(7)).len(), 1);
    }

    #[test]
    fn what_was_told_lately_is_repaired_after_an_outage() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        repairs.told(name(1), Version(1), now);
        repairs.told(name(1), Version(3), now + RECENT);
        repairs.told(name(2), Version(2), now + RECENT);
        assert_eq!(repairs.pending(), 0);
        let at = now + RECENT + Duration::from_secs(1);
        repairs.doubt_recent(at);
        let mut due = repairs.due(at, 10, |_| true);
        due.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(due, [(name(1), repair(3, at)), (name(2), repair(2, at))]);
    }

    #[test]
    fn both_lists_are_bounded() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..MAX_PENDING + 10 {
            repairs.add(name(n), repair(1, now));
            repairs.told(name(n), Version(1), now);
        }
        assert_eq!(repairs.pending(), MAX_PENDING);
        assert_eq!(repairs.given_up(), 10);
        assert_eq!(repairs.given_up(), 0);
        assert_eq!(repairs.lock().recent.len(), MAX_RECENT);
    }
}
