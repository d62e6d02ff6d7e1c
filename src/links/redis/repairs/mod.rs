//! Changes that Redis has not been told of, and those that it may have lost.
//!
//! A change is told to Redis after the store has it. If that fails, the name is kept here until it is
//! done: its value is dropped where it is older, and the change goes to the stream once more. Until
//! then this node does not believe Redis about that name.
//!
//! The value and the stream fail apart: they may be on different shards of a cluster, and a user may
//! have the right to one and not to the other. So a change whose value could not be put is announced
//! all the same, as one that Redis lacks. Every node that hears of such a change keeps the name here as
//! well: it looks past Redis for it, and repairs it where it can. Whoever is first says so in the
//! stream, and the others are done.
//!
//! Repairs are made from both ends of the list at once: what has come up last is what somebody waits
//! for, and what has waited longest must have its turn as well.
//!
//! A server of Redis that fails over takes its replica's word for what was held, and the replica may
//! not yet have heard of the last writes; one that is restarted may come back with a state of some
//! minutes ago. So what this node has changed lately is kept for a while, and repaired once more when
//! Redis works again after an outage.

mod work;

use std::collections::{BTreeMap, HashMap, VecDeque};
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
pub(in crate::links::redis) struct Repairs {
    state: Mutex<State>,
    /// How many names wait: looked at without the lock, for it is nearly always none.
    pending: AtomicUsize,
    /// Wakes whoever does the repairs.
    pub(in crate::links::redis) work: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<LinkName, Pending>,
    /// The names in the order in which their last repair has come up.
    order: BTreeMap<u64, LinkName>,
    /// The place in that order of the next one.
    next: u64,
    recent: VecDeque<(Instant, LinkName, Version)>,
    given_up: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    repair: Repair,
    place: u64,
    /// Not to be tried again before this.
    retry: Instant,
}

/// What the other nodes know of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::links::redis) enum Others {
    /// Nothing.
    NotTold,
    /// It was announced, but Redis may have lost that.
    ToldBefore,
    /// It was announced as one that Redis lacks.
    Told,
}

/// What has to be done for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links::redis) struct Repair {
    /// What is older than this is wrong; anything, where nobody knows what was written.
    pub(in crate::links::redis) version: Version,
    /// Not before this: until then the change may still be made.
    pub(in crate::links::redis) due: Instant,
    pub(in crate::links::redis) others: Others,
    /// Whether this node has made the change; else it has heard of it.
    pub(in crate::links::redis) own: bool,
}

impl Repairs {
    /// Whether a name waits for its repair.
    pub(in crate::links::redis) fn contains(&self, name: &LinkName) -> bool {
        self.pending() > 0 && self.lock().pending.contains_key(name)
    }

    /// Whether this node has changed a name and could not tell the others.
    pub(in crate::links::redis) fn is_untold(&self, name: &LinkName) -> bool {
        let untold = |pending: &Pending| pending.repair.is_untold();
        self.pending() > 0 && self.lock().pending.get(name).is_some_and(untold)
    }

    /// How many names wait.
    pub(in crate::links::redis) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// How many names were given up because too many waited, since this was asked last.
    pub(in crate::links::redis) fn given_up(&self) -> u64 {
        std::mem::take(&mut self.lock().given_up)
    }

    /// Has a name repaired. Of two repairs of one name the later holds, and the higher version.
    pub(in crate::links::redis) fn add(&self, name: LinkName, repair: Repair) {
        let mut state = self.lock();
        state.add(name, repair);
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// A change that Redis has been told of.
    pub(in crate::links::redis) fn told(&self, name: LinkName, version: Version, now: Instant) {
        let mut state = self.lock();
        state.forget_old(now);
        if state.recent.len() >= MAX_RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back((now, name, version));
    }

    /// Another node says that Redis holds nothing older than this version of a name any more.
    pub(in crate::links::redis) fn heard(&self, name: &LinkName, version: Version, now: Instant) {
        if self.pending() == 0 {
            return;
        }
        let mut state = self.lock();
        let pending = state.pending.get(name).map(|pending| pending.repair);
        // What is not due yet may still be written.
        if pending.is_some_and(|repair| repair.version <= version && repair.due <= now) {
            state.remove(name);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
    }

    /// Redis was away, and may not have all that it was told lately: that is repaired.
    pub(in crate::links::redis) fn doubt_recent(&self, now: Instant) {
        let mut state = self.lock();
        state.forget_old(now);
        for (_, name, version) in std::mem::take(&mut state.recent) {
            let repair = Repair {
                version,
                due: now,
                others: Others::ToldBefore,
                own: true,
            };
            state.add(name, repair);
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.work.notify_one();
    }

    /// At most `limit` names whose time has come, of those that can be repaired just now: half of them
    /// those that have come up last, half those that wait longest.
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

    /// The changes of this node that the others could not be told of and whose time has come, the last
    /// ones first: at most `limit`, and how many there are.
    pub(in crate::links::redis) fn untold(
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
            let Some(repair) = repair.filter(|r| r.is_untold() && r.due <= now) else {
                continue;
            };
            number += 1;
            if names.len() < limit {
                names.push((name.clone(), repair.version));
            }
        }
        (names, number)
    }

    /// The others have been told that Redis lacks a change, unless there is another one meanwhile.
    pub(in crate::links::redis) fn others_told(&self, name: &LinkName, repair: &Repair) {
        let mut state = self.lock();
        if let Some(pending) = state.pending_as(name, repair) {
            pending.repair.others = Others::Told;
        }
    }

    /// A repair has failed, and waits until `due`, unless another has come up meanwhile.
    pub(in crate::links::redis) fn put_off(&self, name: &LinkName, repair: &Repair, due: Instant) {
        let mut state = self.lock();
        if let Some(pending) = state.pending_as(name, repair) {
            pending.retry = due;
        }
    }

    /// A repair is done, unless another has come up meanwhile.
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
    /// Whether this node has made a change of which the others know nothing.
    fn is_untold(&self) -> bool {
        self.own && self.others == Others::NotTold
    }
}

impl State {
    fn add(&mut self, name: LinkName, repair: Repair) {
        let place = self.next;
        if let Some(old) = self.pending.get_mut(&name) {
            old.repair = Repair {
                version: old.repair.version.max(repair.version),
                due: old.repair.due.max(repair.due),
                others: old.repair.others.min(repair.others),
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

    /// What waits for a name, if it is still this repair.
    fn pending_as(&mut self, name: &LinkName, repair: &Repair) -> Option<&mut Pending> {
        let pending = self.pending.get_mut(name);
        pending.filter(|pending| pending.repair == *repair)
    }

    /// The repair of a name, if its time has come and it can be made.
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
            others: Others::NotTold,
            own: true,
        }
    }

    #[test]
    fn a_repair_waits_for_its_time_and_is_done_once() {
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
    fn a_change_while_a_repair_is_made_needs_another() {
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
    fn a_repair_that_fails_lets_the_others_have_their_turn() {
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
    fn what_has_come_up_last_and_what_waits_longest_come_first() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        for n in 0..10_000 {
            repairs.add(name(n), repair(1, now));
        }
        repairs.add(name(3), repair(2, now));
        let due = repairs.due(now, 6, |_, _| true);
        let names: Vec<LinkName> = due.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [3, 9_999, 9_998, 0, 1, 2].map(name));
        let (untold, number) = repairs.untold(now, 2);
        assert_eq!(untold, [(name(3), Version(2)), (name(9_999), Version(1))]);
        assert_eq!(number, 10_000);
    }

    #[test]
    fn what_another_node_has_repaired_is_done() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        repairs.add(name(1), repair(2, now));
        repairs.heard(&name(1), Version(1), now);
        repairs.heard(&name(2), Version(9), now);
        assert!(repairs.contains(&name(1)), "that was an older one");
        repairs.heard(&name(1), Version(2), now);
        assert_eq!(repairs.pending(), 0);
        repairs.add(name(1), repair(2, later));
        repairs.heard(&name(1), Version(2), now);
        assert!(repairs.contains(&name(1)), "it may still be written");
    }

    #[test]
    fn of_several_repairs_of_one_name_the_strictest_holds() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let heard = Repair {
            others: Others::Told,
            own: false,
            ..repair(5, now)
        };
        repairs.add(name(1), heard);
        assert!(!repairs.is_untold(&name(1)));
        repairs.add(name(1), repair(3, now));
        assert!(repairs.is_untold(&name(1)));
        let due = repairs.due(now, 10, |_, _| true);
        assert_eq!(due, [(name(1), repair(5, now))]);
        // One that is put off is as untold as before.
        repairs.put_off(&name(1), &due[0].1, now + RECENT);
        assert_eq!(repairs.untold(now, 10).1, 1);
        assert_eq!(repairs.due(now, 10, |_, _| true), []);
        repairs.others_told(&name(1), &due[0].1);
        assert!(repairs.contains(&name(1)) && !repairs.is_untold(&name(1)));
        assert_eq!(repairs.untold(now, 10), (Vec::new(), 0));
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
        let mut due = repairs.due(at, 10, |_, _| true);
        due.sort_by(|(a, _), (b, _)| a.cmp(b));
        let before = |version| Repair {
            others: Others::ToldBefore,
            ..repair(version, at)
        };
        assert_eq!(due, [(name(1), before(3)), (name(2), before(2))]);
        assert!(!repairs.is_untold(&name(1)), "the others knew once");
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
