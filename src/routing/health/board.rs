//! What is known of all targets and pools, and the states that follow from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::check::{Failure, Target};
use super::verdict::Verdict;
use crate::base::clock::UnixTime;
use crate::routing::pool::Pool;
use crate::routing::state::{Editions, Family, PoolState};

/// See the [module](self).
#[derive(Debug)]
pub(in crate::routing) struct Board {
    targets: Vec<Watched>,
    pools: Vec<Watch>,
}

/// A target and what its checks have shown.
#[derive(Debug)]
struct Watched {
    target: Arc<Target>,
    verdict: Verdict,
    /// Whether it counts as up. Before the first check it does.
    is_up: bool,
    /// When that last changed.
    since: Option<UnixTime>,
    last: Option<LastCheck>,
}

/// The last check of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended.
    pub at: UnixTime,
    /// Why it failed; none if it passed.
    pub failure: Option<Failure>,
}

/// A pool and its targets.
#[derive(Debug)]
struct Watch {
    /// The places of the targets of its addresses; empty without a check.
    targets: Vec<usize>,
    is_drained: bool,
    editions: Editions,
    state: PoolState,
    since: Option<UnixTime>,
}

/// What operators see of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its state.
    pub state: Condition,
    /// When the state last changed; none if it did not since the start.
    pub since: Option<UnixTime>,
    /// Its addresses, in the order of [`Pool::addresses`].
    pub addresses: Vec<AddressStatus>,
}

/// The state of a pool as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Clients get it.
    Up,
    /// All its addresses are down.
    Down,
    /// An operator has taken it out of service.
    Drained,
}

impl Condition {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Drained => "drained",
        }
    }
}

/// What operators see of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatus {
    /// Whether it is up. An address without a check always is.
    pub is_up: bool,
    /// When that last changed; none if it did not since the start.
    pub since: Option<UnixTime>,
    /// The last check by this server; none without one.
    pub last: Option<LastCheck>,
    /// How many passes in a row it needs to be up again; none while it is up for this server.
    pub passes_left: Option<u32>,
}

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A target, and the reason if it went down.
    Target {
        target: Arc<Target>,
        is_up: bool,
        failure: Option<Failure>,
    },
    /// The pool at this place.
    Pool { place: usize, state: Condition },
}

/// What follows from changes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Change>,
    /// Whether states differ from before.
    pub(super) is_new: bool,
    /// Whether all hot answers have to be dropped.
    pub(super) drops: bool,
}

impl Board {
    pub(in crate::routing) fn new(pools: &[Pool]) -> Self {
        let mut places: HashMap<Target, usize> = HashMap::new();
        let mut targets = Vec::new();
        let watch = |pool: &Pool| {
            let addresses = pool.check.as_ref().into_iter().flat_map(|check| {
                pool.addresses().map(|address| Target {
                    address,
                    check: (**check).clone(),
                })
            });
            let of_pool = addresses.map(|target| {
                *places.entry(target).or_insert_with_key(|target| {
                    targets.push(Watched::new(target.clone()));
                    targets.len() - 1
                })
            });
            Watch {
                targets: of_pool.collect(),
                is_drained: false,
                editions: Editions::default(),
                state: PoolState::UP,
                since: None,
            }
        };
        Self {
            pools: pools.iter().map(watch).collect(),
            targets,
        }
    }

    pub(super) fn targets(&self) -> impl ExactSizeIterator<Item = &Arc<Target>> {
        self.targets.iter().map(|watched| &watched.target)
    }

    /// How many targets have not been checked yet.
    pub(super) fn unchecked(&self) -> usize {
        let unchecked = self.targets.iter();
        unchecked.filter(|one| one.last.is_none()).count()
    }

    /// Takes in the outcome of a check.
    pub(super) fn note(
        &mut self,
        place: usize,
        outcome: Result<(), Failure>,
        pools: &[Pool],
        now: UnixTime,
    ) -> Outcome {
        let Some(watched) = self.targets.get_mut(place) else {
            return Outcome::default();
        };
        let is_new = watched.verdict.note(outcome.is_ok(), &watched.target.check);
        let failure = outcome.err();
        watched.last = Some(LastCheck { at: now, failure });
        match is_new {
            true => self.decide(pools, now),
            false => Outcome::default(),
        }
    }

    /// Takes these pools out of service, and all others into it.
    pub(super) fn set_drained(
        &mut self,
        is_drained: impl Fn(&str) -> bool,
        pools: &[Pool],
        now: UnixTime,
    ) -> Outcome {
        for (watch, pool) in self.pools.iter_mut().zip(pools) {
            watch.is_drained = is_drained(&pool.name);
        }
        self.decide(pools, now)
    }

    /// Makes the states anew.
    fn decide(&mut self, pools: &[Pool], now: UnixTime) -> Outcome {
        let mut outcome = Outcome::default();
        for watched in &mut self.targets {
            outcome.changes.extend(watched.decide(now));
        }
        for (place, (watch, pool)) in self.pools.iter_mut().zip(pools).enumerate() {
            let is_up = |address: usize| {
                let target = watch.targets.get(address);
                target.is_none_or(|target| self.targets[*target].is_up)
            };
            let (state, drops) = watch.editions.state_of(pool, is_up, watch.is_drained);
            outcome.drops |= drops;
            outcome.is_new |= state != watch.state;
            let (before, after) = (condition(&watch.state), condition(&state));
            watch.state = state;
            if before != after {
                watch.since = Some(now);
                let state = after;
                outcome.changes.push(Change::Pool { place, state });
            }
        }
        outcome
    }

    /// The states for queries.
    pub(super) fn states(&self) -> Arc<[PoolState]> {
        self.pools.iter().map(|watch| watch.state).collect()
    }

    /// The states for operators.
    pub(super) fn statuses(&self, pools: &[Pool]) -> Vec<PoolStatus> {
        let all = self.pools.iter().zip(pools);
        let status = |(watch, pool): (&Watch, &Pool)| PoolStatus {
            state: condition(&watch.state),
            since: watch.since,
            addresses: (0..pool.addresses().count())
                .map(|address| match watch.targets.get(address) {
                    Some(target) => self.targets[*target].status(),
                    None => AddressStatus {
                        is_up: true,
                        since: None,
                        last: None,
                        passes_left: None,
                    },
                })
                .collect(),
        };
        all.map(status).collect()
    }

    /// The places of the pools that have a target.
    pub(super) fn pools_of<'b>(&'b self, target: &'b Target) -> impl Iterator<Item = usize> + 'b {
        let is_it = move |place: &usize| *self.targets[*place].target == *target;
        let pools = self.pools.iter().enumerate();
        let having = pools.filter(move |(_, watch)| watch.targets.iter().any(is_it));
        having.map(|(place, _)| place)
    }
}

impl Watched {
    fn new(target: Target) -> Self {
        Self {
            target: target.into(),
            verdict: Verdict::default(),
            is_up: true,
            since: None,
            last: None,
        }
    }

    fn decide(&mut self, now: UnixTime) -> Option<Change> {
        let is_up = self.verdict.up.unwrap_or(true);
        if std::mem::replace(&mut self.is_up, is_up) == is_up {
            return None;
        }
        self.since = Some(now);
        let last = self.last.as_ref().filter(|_| !is_up);
        Some(Change::Target {
            target: self.target.clone(),
            is_up,
            failure: last.and_then(|last| last.failure.clone()),
        })
    }

    fn status(&self) -> AddressStatus {
        AddressStatus {
            is_up: self.is_up,
            since: self.since,
            last: self.last.clone(),
            passes_left: self.verdict.passes_left(&self.target.check),
        }
    }
}

fn condition(state: &PoolState) -> Condition {
    match (state.is_drained, state.is_up(Family::Any)) {
        (true, _) => Condition::Drained,
        (false, true) => Condition::Up,
        (false, false) => Condition::Down,
    }
}
