//! Which pools are for a client, and the one of them that the client gets.
//!
//! An explicit network counts more than a country, a country more than a continent, a continent more than the distance,
//! and the distance more than the default. Each of these that fits is a [tier](Tier) of pools. The candidates are those of the
//! first tier that has a pool that is up; the others are what a client falls back to.
//!
//! Among several candidates the weights decide, by rendezvous hashing: each candidate has a number that depends on its name
//! and on the client's prefix, and the highest one wins. So a client keeps its pool for as long as that is a candidate,
//! whichever others come and go, and all servers choose the same without talking to each other.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::pool::{Letters, Location, Pool};

/// Why a client gets its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The pool has a network of the client.
    Network,
    /// The pool has the country of the client.
    Country(Letters),
    /// The pool has the continent of the client.
    Continent(Letters),
    /// No pool is nearer.
    Nearest,
    /// No other pool is for the client.
    Default,
    /// No pool is for the client, so the addresses of the zone file are.
    Nothing,
    /// All pools that are for the client are down; see [`Fail`](super::Fail).
    AllDown,
}

/// What a database says of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) country: Option<Letters>,
    pub(super) continent: Option<Letters>,
    pub(super) location: Option<Location>,
}

/// The places of pools in the list of a server.
pub(super) type Places = Box<[u16]>;

/// How many distances count: the nearest pools, and those that are next if they are down.
const MAX_DISTANCES: usize = 3;

/// Pools that are for a client by the same reason. A client gets one of the first tier that has a pool that is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tier {
    pub(super) why: Why,
    /// None for all pools of the list that have a location.
    pub(super) pools: Option<Places>,
}

/// All tiers for clients at a place, from the pools of a list, the best one first. No pool is in two of them, except in the
/// last but one, of all that have a location.
pub(super) fn tiers_at(pools: &[Pool], list: &[u16], place: &Place) -> Vec<Tier> {
    let mut tiers = Tiers {
        pools,
        list,
        seen: Vec::new(),
        all: Vec::new(),
    };
    if let Some(country) = place.country {
        let is_for = |pool: &Pool| pool.countries.contains(&country);
        tiers.add(Why::Country(country), is_for);
    }
    if let Some(continent) = place.continent {
        let is_for = |pool: &Pool| pool.continents.contains(&continent);
        tiers.add(Why::Continent(continent), is_for);
    }
    if let Some(location) = place.location {
        for level in tiers.nearest(location) {
            tiers.push(Why::Nearest, level);
        }
        let has_more = list
            .iter()
            .any(|at| pools[usize::from(*at)].location.is_some() && !tiers.seen.contains(at));
        if has_more {
            tiers.all.push(Tier {
                why: Why::Nearest,
                pools: None,
            });
        }
    }
    tiers.add(Why::Default, |pool| pool.default);
    tiers.all
}

/// Tiers in the making.
struct Tiers<'p> {
    pools: &'p [Pool],
    list: &'p [u16],
    /// The pools that are in a tier.
    seen: Vec<u16>,
    all: Vec<Tier>,
}

impl Tiers<'_> {
    fn add(&mut self, why: Why, is_for: impl Fn(&Pool) -> bool) {
        let found = self.list.iter().copied();
        let found = found.filter(|at| is_for(&self.pools[usize::from(*at)]));
        self.push(why, found.collect());
    }

    fn push(&mut self, why: Why, mut found: Vec<u16>) {
        found.retain(|at| !self.seen.contains(at));
        self.seen.extend(&found);
        let tiers = by_weight(self.pools, found).into_iter();
        self.all.extend(tiers.map(|pools| Tier {
            why,
            pools: Some(pools),
        }));
    }

    /// The pools by their distance to a place, the nearest ones first; those that are equally near together.
    fn nearest(&self, location: Location) -> Vec<Vec<u16>> {
        let here = location.direction();
        let mut levels: Vec<(f64, Vec<u16>)> = Vec::with_capacity(MAX_DISTANCES + 1);
        for at in self.list.iter().filter(|at| !self.seen.contains(at)) {
            let Some(location) = self.pools[usize::from(*at)].location else {
                continue;
            };
            let nearness = location.nearness(here);
            let place = levels.partition_point(|(level, _)| *level > nearness);
            match levels.get_mut(place) {
                Some((level, all)) if *level == nearness => all.push(*at),
                _ => levels.insert(place, (nearness, vec![*at])),
            }
            levels.truncate(MAX_DISTANCES);
        }
        levels.into_iter().map(|(_, all)| all).collect()
    }
}

/// Pools that are for the same clients as tiers: those that have a weight, and then those that have none.
pub(super) fn by_weight(pools: &[Pool], all: Vec<u16>) -> Vec<Places> {
    let weighs = |at: &u16| pools[usize::from(*at)].weight > 0;
    let (with, without): (Vec<_>, Vec<_>) = all.into_iter().partition(weighs);
    let tiers = [with, without].into_iter();
    tiers
        .filter(|tier| !tier.is_empty())
        .map(Places::from)
        .collect()
}

/// The number of a pool's name, from which the numbers for clients are made. It is the same on all servers.
pub(super) fn seed(name: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// The number of a client's prefix.
pub(super) fn number_of(bits: u128, len: u8) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&bits.to_be_bytes());
    hasher.write(&[len]);
    hasher.finish()
}

/// The candidate that a client gets. Candidates are the place of a pool, its seed and its weight; weights of 0 count as 1.
pub(super) fn choose(
    candidates: impl Iterator<Item = (u16, u64, u16)>,
    number: u64,
) -> Option<u16> {
    let scored = candidates.map(|(at, seed, weight)| (at, score(seed ^ number, weight)));
    let best = scored.max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(at, _)| at)
}

/// A random number with an exponential distribution: the highest of several belongs to each candidate as often as its
/// weight says (weighted rendezvous hashing).
fn score(mixed: u64, weight: u16) -> f64 {
    let uniform = (scatter(mixed) >> 11) as f64 + 0.5;
    let uniform = uniform / (1_u64 << 53) as f64;
    -f64::from(weight.max(1)) / uniform.ln()
}

/// Spreads a change of one bit over all bits (the finaliser of SplitMix64).
fn scatter(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: u64 = 1_000_000;

    fn chosen(pools: &[(u16, &str, u16)], client: u64) -> u16 {
        let candidates = pools
            .iter()
            .map(|(at, name, weight)| (*at, seed(name), *weight));
        choose(candidates, number_of(u128::from(client) << 8, 24)).unwrap()
    }

    #[test]
    fn weights_are_right_within_one_per_cent() {
        let pools = [(0, "one", 1), (1, "three", 3), (2, "six", 6)];
        let mut counts = [0_u64; 3];
        for client in 0..CLIENTS {
            counts[usize::from(chosen(&pools, client))] += 1;
        }
        for (count, (_, name, weight)) in counts.iter().zip(pools) {
            let expected = CLIENTS / 10 * u64::from(weight);
            assert!(count.abs_diff(expected) < CLIENTS / 100, "{name}: {count}");
            // Relative to its own share, too.
            assert!(count.abs_diff(expected) < expected / 50, "{name}: {count}");
        }
    }

    #[test]
    fn the_loss_of_a_pool_moves_its_own_clients_only() {
        let all = [(0, "a", 2), (1, "b", 1), (2, "c", 1)];
        let without = [all[0], all[2]];
        let mut moved = [0_u32; 3];
        for client in 0..10_000 {
            let (before, after) = (chosen(&all, client), chosen(&without, client));
            match before {
                1 => moved[usize::from(after)] += 1,
                _ => assert_eq!(before, after),
            }
        }
        // They are spread by weight.
        assert!(moved[0] > 3 * moved[2] / 2 && moved[2] > 0, "{moved:?}");
    }

    #[test]
    fn the_choice_is_the_same_on_all_servers_and_versions() {
        let pools = [(0, "a", 1), (1, "b", 1)];
        let first: String = (0..24)
            .map(|client| chosen(&pools, client).to_string())
            .collect();
        assert_eq!(first, "011001111110000000101011");
    }
}
