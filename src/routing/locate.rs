//! The pool of a client, from the tables of a list and the states of pools.
//!
//! While a candidate is up, one search of one table finds it. Otherwise the tiers that come after the candidates are gone
//! through, and the scope is the longest prefix of all tables that were looked at: all its addresses have the same
//! entries in them, so that all of them get the same outcome, and scopes never overlap.

use std::net::IpAddr;

use super::build::{IPV4_INSIDE, IPV4_INSIDE_AFTER, ListMap, Tables};
use super::choice::{Why, choose, number_of};
use super::state::{Family, PoolState, Served};
use super::table::Found;
use super::{Fail, Located, MAPPED_LEN, Routing, SPREAD, View};

/// An address by the table in which it is looked up.
pub(super) enum Address {
    /// An IPv4 address, and the bits before it in the address as it was given.
    V4(u32, u8),
    V6(u128),
}

impl Address {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits(), 0),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => Self::V4(address.to_bits(), MAPPED_LEN),
                None => Self::V6(address.to_bits()),
            },
        }
    }

    /// For clients with the same first bits, weights decide alike: how many bits, and a number for them.
    fn spread(&self) -> (u8, u64) {
        let (len, first) = match *self {
            Self::V4(bits, _) => (SPREAD.0, u128::from(bits & u32::MAX << (32 - SPREAD.0))),
            Self::V6(bits) => (SPREAD.1, bits & u128::MAX << (128 - SPREAD.1)),
        };
        (len, number_of(first, len))
    }

    /// The bits before an IPv4 address.
    fn before(&self) -> u8 {
        match self {
            Self::V4(_, before) => *before,
            Self::V6(_) => 0,
        }
    }
}

impl Tables {
    /// What they say of an address.
    pub(super) fn find(&self, address: &Address) -> Found {
        match *address {
            Address::V4(bits, _) => self.ipv4.find(bits),
            Address::V6(bits) => {
                let found = self.ipv6.find(bits);
                match found.value == IPV4_INSIDE {
                    true => self.find_inside(bits, found.len),
                    false => found,
                }
            }
        }
    }

    /// What they say of the IPv4 address inside an IPv6 address. `len` is that of the prefix whose addresses have one at the same
    /// place.
    fn find_inside(&self, bits: u128, len: u8) -> Found {
        let is_after = |(before, first): &(u8, u128)| (bits ^ first) >> (128 - before) == 0;
        let places = IPV4_INSIDE_AFTER.iter();
        let before = places
            .copied()
            .find(is_after)
            .map_or(0, |(before, _)| before);
        let found = self.ipv4.find((bits << before >> 96) as u32);
        Found {
            len: len.max(before + found.len),
            ..found
        }
    }
}

/// A choice and its reasons.
pub(super) struct Chosen {
    pub(super) located: Located,
    pub(super) why: Why,
    /// The pools among which weights decided.
    pub(super) candidates: Vec<u16>,
    /// The pools that come first and are down.
    pub(super) passed_over: Vec<u16>,
}

/// A query for the pool of a client.
pub(super) struct Search<'v> {
    pub(super) routing: &'v Routing,
    pub(super) view: &'v View,
    pub(super) list: &'v ListMap,
    pub(super) address: Address,
    pub(super) family: Family,
}

impl Search<'_> {
    /// The pool and the scope.
    pub(super) fn locate(&self) -> Located {
        let found = self.list.candidates.find(&self.address);
        let candidates = &self.list.regions[usize::from(found.value)];
        if candidates.is_empty() {
            return self.of_zone_file(found.len);
        }
        match self.among(candidates, found.len, |state| state.is_up(self.family)) {
            Some((pool, len)) => self.at(pool, self.state(pool).served, len),
            None => self.walk().located,
        }
    }

    /// Goes through all tiers. Its outcome is that of [`Search::locate`], with the reasons.
    #[cold]
    pub(super) fn walk(&self) -> Chosen {
        let list = self.list;
        let first = list.candidates.find(&self.address);
        let (around, place) = (
            list.networks.find(&self.address),
            list.places.find(&self.address),
        );
        let nested = list.nested[usize::from(around.value)].iter();
        let nested = nested.map(|pools| (Why::Network, pools, around.len));
        let behind = around.len.max(place.len);
        let tiers = list.tiers[usize::from(place.value)].iter();
        let tiers = tiers.map(|tier| {
            let pools = tier.pools.as_ref().unwrap_or(&list.located);
            (tier.why, pools, behind)
        });
        let all = || nested.clone().chain(tiers.clone());
        let mut passed_over = Vec::new();
        for (number, (why, pools, len)) in all().enumerate() {
            let is_up = |state: &PoolState| state.is_up(self.family);
            let len = if number == 0 { 0 } else { len };
            if let Some((pool, len)) = self.among(pools, first.len.max(len), is_up) {
                return Chosen {
                    located: self.at(pool, self.state(pool).served, len),
                    why,
                    candidates: self.usable(pools, is_up).collect(),
                    passed_over,
                };
            }
            let more = pools.iter().filter(|at| !passed_over.contains(*at));
            let more: Vec<_> = more.copied().collect();
            passed_over.extend(more);
        }
        if all().next().is_none() {
            return Chosen {
                located: self.of_zone_file(first.len),
                why: Why::Nothing,
                candidates: Vec::new(),
                passed_over,
            };
        }
        self.all_down(
            first.len.max(behind),
            all().map(|(_, pools, _)| &**pools),
            passed_over,
        )
    }

    /// The outcome while all pools for a client are down.
    fn all_down<'p>(
        &self,
        len: u8,
        tiers: impl Iterator<Item = &'p [u16]>,
        passed_over: Vec<u16>,
    ) -> Chosen {
        let mut chosen = Chosen {
            located: self.of_zone_file(len),
            why: Why::AllDown,
            candidates: Vec::new(),
            passed_over,
        };
        match self.routing.config.fail {
            Fail::Closed => chosen.located.closed = true,
            Fail::Open => {
                let is_usable = |state: &PoolState| !state.is_drained;
                for pools in tiers {
                    if let Some((pool, len)) = self.among(pools, len, is_usable) {
                        chosen.located = self.at(pool, Served::ALL, len);
                        chosen.candidates = self.usable(pools, is_usable).collect();
                        break;
                    }
                }
            }
        }
        chosen
    }

    /// The pool of a tier, among those that can be used, and the length of its scope. `len` is that of the prefix that has this
    /// tier.
    fn among(
        &self,
        pools: &[u16],
        len: u8,
        is_usable: impl Fn(&PoolState) -> bool + Copy,
    ) -> Option<(u16, u8)> {
        let mut usable = self.usable(pools, is_usable);
        let first = usable.next()?;
        if usable.next().is_none() {
            return Some((first, len));
        }
        let (spread, number) = self.address.spread();
        let weighed = self.usable(pools, is_usable).map(|at| {
            let (seed, weight) = self.routing.weights[usize::from(at)];
            (at, seed, weight)
        });
        // Not by the scope: a new network within the spread would move the clients around it.
        Some((choose(weighed, number)?, len.max(spread)))
    }

    fn usable<'p>(
        &'p self,
        pools: &'p [u16],
        is_usable: impl Fn(&PoolState) -> bool + 'p,
    ) -> impl Iterator<Item = u16> + 'p {
        let pools = pools.iter().copied();
        pools.filter(move |at| is_usable(self.state(*at)))
    }

    fn state(&self, pool: u16) -> &PoolState {
        &self.view.states[usize::from(pool)]
    }

    fn at(&self, pool: u16, served: Served, len: u8) -> Located {
        Located {
            pool: Some(pool),
            served,
            closed: false,
            scope: len + self.address.before(),
        }
    }

    fn of_zone_file(&self, len: u8) -> Located {
        Located {
            pool: None,
            served: Served::ALL,
            closed: false,
            scope: len + self.address.before(),
        }
    }
}
