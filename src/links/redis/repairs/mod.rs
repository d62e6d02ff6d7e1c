//! Repairs: what remains to be done in Redis for a name after a call failed, or after Redis may have lost a
//! change.
//!
//! A change goes to Redis after the store has it. If that fails, the name is listed here until a repair succeeds:
//! the repair drops the value if it is older than the change, and announces the change. Until then this node does
//! not trust Redis about the name.
//!
//! Putting the value and announcing the change can fail independently: they may be on different shards of a
//! cluster, and the Redis user may have the right to one key and not to the other. So if only the value could not
//! be put, the change is announced as one that Redis lacks. Every node that reads such an entry lists the name
//! here as well, bypasses Redis for it, and tries to repair it. The first node that succeeds announces the change
//! without that field, and the others take the name off their lists.
//!
//! Repairs are taken from both ends of the list: the newest ones because their names are probably in use, the
//! oldest ones so that none waits for ever.
//!
//! When a Redis server fails over, the replica may lack the last writes; one that restarts may load a state of
//! some minutes ago. So the list of recent changes keeps what this node has put lately, and all of it is repaired
//! when Redis works again after an outage.

mod work;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::link::{LinkName, Version};

/// How many names may be pending. Further ones are given up, with an error in the log: Redis may hold their old
/// values until these expire.
pub(in crate::links::redis) const MAX_PENDING: usize = 65_536;
/// How many recent changes are kept, and for how long. Replicas lag by milliseconds, saved files by minutes.
const MAX_RECENT: usize = 16_384;
const RECENT: Duration = Duration::from_secs(300);

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::links::redis) struct Repairs {
    state: Mutex<State>,
    /// How many names are pending. Readers need no lock to see that there are none, as is usual.
    pending: AtomicUsize,
    /// Wakes the task that makes the repairs.
    pub(in crate::links::redis) work: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<LinkName, Pending>,
    /// The names by the time when their last repair was added.
    order: BTreeMap<u64, LinkName>,
    /// The place of the next repair in that order.
    next: u64,
    recent: VecDeque<(Instant, LinkName, Version)>,
    given_up: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    repair: Repair,
    place: u64,
    /// No attempt before this time.
    retry: Instant,
}

/// Whether a change was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::links::redis) enum Announced {
    /// It was not.
    No,
    /// It was, but Redis may have lost the entry.
    Earlier,
    /// It was, as a change that Redis lacks.
    Lacking,
}

/// The work that remains for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links::redis) struct Repair {
    /// Values older than this are dropped.
    pub(in crate::links::redis) version: Version,
    /// No attempt before this time: until then the store may still make the change.
    pub(in crate::links::redis) due: Instant,
    pub(in crate::links::redis) announced: Announced,
    /// Whether this node made the change, not another one.
    pub(in crate::links::redis) own: bool,
}

impl Repairs {
    /// Whether a repair of this name is pending.
    pub(in crate::links::redis) fn contains(&self, name: &LinkName) -> bool {
        self.pending() > 0 && self.lock().pending.contains_key(name)
    }

    /// Whether this node has changed the name and could not announce it.
    pub(in crate::links::redis) fn is_unannounced(&self, name: &LinkName) -> bool {
        let unannounced = |pending: &Pending| pending.repair.is_unannounced();
        self.pending() > 0 && self.lock().pending.get(name).is_some_and(unannounced)
    }

    /// Whether fewer than `limit` changes of this node are not announced. Looks at no more of them than that.
    pub(in crate::links::redis) fn has_fewer_unannounced(&self, limit: usize) -> bool {
        let state = self.lock();
        let is_unannounced = |name: &&LinkName| {
            let pending = state.pending.get(*name);
            pending.is_some_and(|pending| pending.repair.is_unannounced())
        };
        // The newest first: the older ones may be mostly changes of other nodes.
        let unannounced = state.order.values().rev().filter(is_unannounced);
        unannounced.take(limit).count() < limit
    }

    /// How many names are pending.
    pub(in crate::links::redis) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// How many names were given up since the last call.
    pub(in crate::links::redis) fn given_up(&self) -> u64 {
        std::mem::take(&mut self.lock().given_up)
    }

    /// Adds a repair. If the name has one already, the later time, the higher version and the more urgent rest
    /// hold.
    pub(in crate::links::redis) fn add(&self, name: LinkName, repair: Repair) {
        let mut state = self.lock();
        state.add(name, repair);
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// Adds a repair that is not attempted before `at`. Until then another node may announce that it is done.
    pub(in crate::links::redis) fn add_later(&self, name: LinkName, repair: Repair, at: Instant) {
        let mut state = self.lock();
        state.add(name.clone(), repair);
        if let Some(pending) = state.pending_as(&name, &repair) {
            pending.retry = at;
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// Notes a change that was put and announced.
    pub(in crate::links::redis) fn note_done(
        &self,
        name: LinkName,
        version: Version,
        now: Instant,
    ) {
        let mut state = self.lock();
        state.forget_old(now);
        if state.recent.len() >= MAX_RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back((now, name, version));
    }

    /// Another node has announced that Redis holds nothing older than this version of the name.
    pub(in crate::links::redis) fn done_elsewhere(
        &self,
        name: &LinkName,
        version: Version,
        now: Instant,
    ) {
        if self.pending() == 0 {
            return;
        }
        let mut state = self.lock();
        let pending = state.pending.get(name).map(|pending| pending.repair);
        // If the repair is not due yet, the store may still make the change.
        if pending.is_some_and(|repair| repair.version <= version && repair.due <= now) {
            state.remove(name);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
    }

    /// Redis was down and may have lost recent changes: adds repairs for all of them.
    pub(in crate::links::redis) fn recheck_recent(&self, now: Instant) {
        let mut state = self.lock();
        state.forget_old(now);
        for (_, name, version) in std::mem::take(&mut state.recent) {
            let repair = Repair {
                version,
                due: now,
                announced: Announced::Earlier,
                own: true,
            };
            state.add(name, repair);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// At most `limit` repairs that are due and `allowed`: half of them the newest, half the oldest.
    pub(in crate::links::redis) fn due(
        &self,
        now: Instant,
        limit: usize,
        allowed: impl Fn(&LinkName, &Repair) -> bool,
    ) -> Vec<(LinkName, Repair)> {
        let state = self.lock();
        let mut due = Vec::new();
        let mut oldest_of_new = u64::MAX;
        for (place, name) in state.order.iter().rev() {
            if due.len() >= limit.div_ceil(2) {
                break;
            }
            oldest_of_new = *place;
            due.extend(state.due(name, now, &allowed));
        }
        for (_, name) in state.order.range(..oldest_of_new) {
            if due.len() >= limit {
                break;
            }
            due.extend(state.due(name, now, &allowed));
        }
        due
    }

    /// Changes of this node that are due and not announced: at most `limit` of them, the newest first, and how
    /// many there are.
    pub(in crate::links::redis) fn unannounced(
        &self,
        now: Instant,
        limit: usize,
    ) -> (Vec<(LinkName, Version)>, usize) {
        if self.pending() == 0 {
            return (Vec::new(), 0);
        }
        let state = self.lock();
        let mut names = Vec::new();
        let mut number = 0;
        for name in state.order.values().rev() {
            let repair = state.pending.get(name).map(|pending| pending.repair);
            let Some(repair) = repair.filter(|r| r.is_unannounced() && r.due <= now) else {
                continue;
            };
            number += 1;
            if names.len() < limit {
                names.push((name.clone(), repair.version));
            }
        }
        (names, number)
    }

    /// The change was announced as one that Redis lacks. No effect if a new repair was added meanwhile.
    pub(in crate::links::redis) fn note_announced(&self, name: &LinkName, repair: &Repair) {
        let mut state = self.lock();
        if let Some(pending) = state.pending_as(name, repair) {
            pending.repair.announced = Announced::Lacking;
        }
    }

    /// The repair has failed; the next attempt is at `due`. No effect if a new repair was added meanwhile.
    pub(in crate::links::redis) fn put_off(&self, name: &LinkName, repair: &Repair, due: Instant) {
        let mut state = self.lock();
        if let Some(pending) = state.pending_as(name, repair) {
            pending.retry = due;
        }
    }

    /// The repair is done. No effect if a new repair was added meanwhile.
    pub(in crate::links::redis) fn done(&self, name: &LinkName, repair: &Repair) {
        let mut state = self.lock();
        if state.pending_as(name, repair).is_some() {
            state.remove(name);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repair {
    /// Whether this node made the change and could not announce it.
    fn is_unannounced(&self) -> bool {
        self.own && self.announced == Announced::No
    }
}

impl State {
    fn add(&mut self, name: LinkName, repair: Repair) {
        let place = self.next;
        if let Some(old) = self.pending.get_mut(&name) {
            old.repair = Repair {
                version: old.repair.version.max(repair.version),
                due: old.repair.due.max(repair.due),
                announced: old.repair.announced.min(repair.announced),
                own: old.repair.own || repair.own,
            };
            self.order.remove(&old.place);
            old.place = place;
            old.retry = repair.due;
        } else if self.pending.len() >= MAX_PENDING {
            self.given_up += 1;
            return;
        } else {
            let pending = Pending {
                repair,
                place,
                retry: repair.due,
            };
            self.pending.insert(name.clone(), pending);
        }
        self.order.insert(place, name);
        self.next += 1;
    }

    fn remove(&mut self, name: &LinkName) {
        if let Some(pending) = self.pending.remove(name) {
            self.order.remove(&pending.place);
        }
    }

    /// The pending state of a name, if its repair is still this one.
    fn pending_as(&mut self, name: &LinkName, repair: &Repair) -> Option<&mut Pending> {
        let pending = self.pending.get_mut(name);
        pending.filter(|pending| pending.repair == *repair)
    }

    /// The repair of a name, if it is due and allowed.
    fn due(
        &self,
        name: &LinkName,
        now: Instant,
        allowed: &impl Fn(&LinkName, &Repair) -> bool,
    ) -> Option<(LinkName, Repair)> {
        let Pending { repair, retry, .. } = *self.pending.get(name)?;
        let is_due = repair.due.max(retry) <= now && allowed(name, &repair);
        is_due.then(|| (name.clone(), repair))
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
        Repair {
            version: Version(version),
            due,
            announced: Announced::No,
            own: true,
        }
    }

    #[test]
    fn a_repair_waits_until_it_is_due_and_is_made_once() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        assert!(!repairs.contains(&name(1)));
        repairs.add(name(1), repair(1, now));
        repairs.add(name(2), repair(1, later));
        assert!(repairs.contains(&name(1)) && repairs.contains(&name(2)));
        assert_eq!(
            repairs.due(now, 10, |_, _| true),
            [(name(1), repair(1, now))]
        );
        repairs.done(&name(1), &repair(1, now));
        assert_eq!(repairs.due(now, 10, |_, _| true), []);
        assert_eq!(
            repairs.due(later, 10, |_, _| true),
            [(name(2), repair(1, later))]
        );
        assert_eq!(repairs.pending(), 1);
    }

    #[test]
    fn a_change_during_a_repair_needs_another_repair() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        repairs.add(name(1), repair(1, now));
        let begun = repairs.due(now, 10, |_, _| true).remove(0).1;
        repairs.add(name(1), repair(2, now));
        repairs.done(&name(1), &begun);
        assert_eq!(
            repairs.due(now, 10, |_, _| true),
            [(name(1), repair(2, now))]
        );
    }

    #[test]
    fn a_failed_repair_does_not_hold_up_the_others() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..100 {
            repairs.add(name(n), repair(1, now));
        }
        let later = now + Duration::from_secs(1);
        let mut tried = 0;
        loop {
            let due = repairs.due(now, 10, |_, _| true);
            if due.is_empty() {
                break;
            }
            tried += due.len();
            for (name, repair) in &due {
                repairs.put_off(name, repair, later);
            }
        }
        assert_eq!(tried, 100);
        assert_eq!(repairs.due(later, 1_000, |_, _| true).len(), 100);
        assert_eq!(repairs.due(later, 1_000, |n, _| *n == name(7)).len(), 1);
    }

    #[test]
    fn the_newest_and_the_oldest_repairs_come_first() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..10_000 {
            repairs.add(name(n), repair(1, now));
        }
        repairs.add(name(3), repair(2, now));
        let due = repairs.due(now, 6, |_, _| true);
        let names: Vec<LinkName> = due.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [3, 9_999, 9_998, 0, 1, 2].map(name));
        let (unannounced, number) = repairs.unannounced(now, 2);
        assert_eq!(
            unannounced,
            [(name(3), Version(2)), (name(9_999), Version(1))]
        );
        assert_eq!(number, 10_000);
    }

    #[test]
    fn a_repair_by_another_node_counts() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        repairs.add(name(1), repair(2, now));
        repairs.done_elsewhere(&name(1), Version(1), now);
        repairs.done_elsewhere(&name(2), Version(9), now);
        assert!(repairs.contains(&name(1)), "that was an older version");
        repairs.done_elsewhere(&name(1), Version(2), now);
        assert_eq!(repairs.pending(), 0);
        repairs.add(name(1), repair(2, later));
        repairs.done_elsewhere(&name(1), Version(2), now);
        assert!(
            repairs.contains(&name(1)),
            "the store may still make the change"
        );
    }

    #[test]
    fn two_repairs_of_one_name_become_the_stricter_one() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let heard = Repair {
            announced: Announced::Lacking,
            own: false,
            ..repair(5, now)
        };
        repairs.add(name(1), heard);
        assert!(!repairs.is_unannounced(&name(1)));
        repairs.add(name(1), repair(3, now));
        assert!(repairs.is_unannounced(&name(1)));
        let due = repairs.due(now, 10, |_, _| true);
        assert_eq!(due, [(name(1), repair(5, now))]);
        // A failed attempt does not announce the change.
        repairs.put_off(&name(1), &due[0].1, now + RECENT);
        assert_eq!(repairs.unannounced(now, 10).1, 1);
        assert_eq!(repairs.due(now, 10, |_, _| true), []);
        repairs.note_announced(&name(1), &due[0].1);
        assert!(repairs.contains(&name(1)) && !repairs.is_unannounced(&name(1)));
        assert_eq!(repairs.unannounced(now, 10), (Vec::new(), 0));
    }

    #[test]
    fn recent_changes_are_repaired_after_an_outage() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        repairs.note_done(name(1), Version(1), now);
        repairs.note_done(name(1), Version(3), now + RECENT);
        repairs.note_done(name(2), Version(2), now + RECENT);
        assert_eq!(repairs.pending(), 0);
        let at = now + RECENT + Duration::from_secs(1);
        repairs.recheck_recent(at);
        let mut due = repairs.due(at, 10, |_, _| true);
        due.sort_by(|(a, _), (b, _)| a.cmp(b));
        let before = |version| Repair {
            announced: Announced::Earlier,
            ..repair(version, at)
        };
        assert_eq!(due, [(name(1), before(3)), (name(2), before(2))]);
        assert!(!repairs.is_unannounced(&name(1)), "it was announced once");
    }

    #[test]
    fn both_lists_are_bounded() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..MAX_PENDING + 10 {
            repairs.add(name(n), repair(1, now));
            repairs.note_done(name(n), Version(1), now);
        }
        assert_eq!(repairs.pending(), MAX_PENDING);
        assert_eq!(repairs.given_up(), 10);
        assert_eq!(repairs.given_up(), 0);
        assert_eq!(repairs.lock().recent.len(), MAX_RECENT);
    }
}
