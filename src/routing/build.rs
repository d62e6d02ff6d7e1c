//! From pools and a database of places to the tables of a list.
//!
//! The database is read once, network by network, in the order of addresses. Each list of pools has tables of its own, in
//! which networks with the same candidates are one range: a name's scopes depend on its own pools only.
//!
//! The first table of a list has the candidates while all pools are up, and nearly all queries need no other. The two others
//! have what comes after them: the pools of networks that contain the client, and those that are for its place. They have
//! more and smaller ranges, which would make scopes longer than needed. No table depends on which pools are up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::path::Path;

use foldhash::fast::RandomState;
use maxminddb::MaxMindDbError;

use super::choice::{Place, Places, Tier, by_weight, tiers_at};
use super::pool::{Letters, Location, Pool};
use super::table::{Builder, Table};
use super::{RoutingError, error::Reason};
use crate::base::clock::UnixTime;
use crate::base::mmdb::{self, Database, DatabaseError, Record};
use crate::base::prefix::Prefix;

/// The most different sets of candidates of a list, and of tiers.
const MAX_VALUES: usize = u16::MAX as usize;
/// From so many different tiers on, a place has no more than so many, and so fewer pools to fall back to. The last tier alone
/// takes no more numbers than the candidates.
const FEWER_TIERS: [(usize, usize); 2] = [(40_000, 3), (55_000, 1)];

/// The value of IPv6 addresses that have the IPv4 address inside by which they are located. No set and no reason has this number.
pub(super) const IPV4_INSIDE: u16 = u16::MAX;
/// The prefixes before such an IPv4 address, by their lengths in bits: 6to4 (RFC 3056 §2), and Teredo, which has the address of
/// its server there (RFC 4380 §4). Databases have both as aliases of IPv4; tables of them would be three times as large.
pub(super) const IPV4_INSIDE_AFTER: [(u8, u128); 2] = [(16, 0x2002 << 112), (32, 0x2001 << 112)];

/// What is known of all addresses at a time.
#[derive(Debug)]
pub(super) struct Map {
    /// The tables of each list.
    pub(super) lists: Vec<ListMap>,
    /// The database, if there is one.
    pub(super) source: Option<Source>,
}

/// A database that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// When its maker made it.
    pub built: UnixTime,
    /// How many networks with a record it has; those of IPv4 once.
    pub networks: u64,
}

/// The tables of a list.
#[derive(Debug)]
pub(super) struct ListMap {
    pub(super) candidates: Tables,
    /// The candidates by the values of that table.
    pub(super) regions: Vec<Places>,
    pub(super) networks: Tables,
    /// The pools of the networks that contain an address, by the values of that table; the smallest network first.
    pub(super) nested: Vec<Box<[Places]>>,
    pub(super) places: Tables,
    /// The tiers for a place, by the values of that table.
    pub(super) tiers: Vec<Box<[Tier]>>,
    /// All pools that have a location.
    pub(super) located: Places,
}

/// A table for each family.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) ipv4: Table<u32>,
    pub(super) ipv6: Table<u128>,
}

/// Numbers for different values, in the order in which they come up.
struct Numbered<T> {
    numbers: HashMap<T, u16>,
    all: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            all: Vec::new(),
        }
    }

    fn number(&mut self, value: &T) -> Result<u16, Reason> {
        if let Some(number) = self.numbers.get(value) {
            return Ok(*number);
        }
        if self.all.len() == MAX_VALUES {
            return Err(Reason::TooMany(MAX_VALUES));
        }
        let number = self.all.len() as u16;
        self.numbers.insert(value.clone(), number);
        self.all.push(value.clone());
        Ok(number)
    }
}

/// The builders of one kind of values.
struct Builders {
    ipv4: Builder<u32>,
    ipv6: Builder<u128>,
}

impl Builders {
    /// `looks_inside`: whether the IPv4 address inside an IPv6 address counts.
    fn new(rest: u16, explicit: &[(Prefix, u16)], looks_inside: bool) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (before, first) in IPV4_INSIDE_AFTER.iter().filter(|_| looks_inside) {
            let behind = u128::MAX >> before;
            ipv6.push((*first, first | behind, IPV4_INSIDE));
        }
        for (prefix, value) in explicit {
            match prefix.ipv4() {
                Some((first, last)) => ipv4.push((first, last, *value)),
                None => ipv6.push((prefix.bits(), prefix.last(), *value)),
            }
        }
        Self {
            ipv4: Builder::new(rest, &ipv4),
            ipv6: Builder::new(rest, &ipv6),
        }
    }

    fn push(&mut self, network: &Network, value: u16, rest: u16) {
        match *network {
            Network::V4(first, last) => self.ipv4.push(first, last, value, rest),
            Network::V6(first, last) => self.ipv6.push(first, last, value, rest),
        }
    }

    fn finish(self, rest: u16) -> Tables {
        Tables {
            ipv4: self.ipv4.finish(rest),
            ipv6: self.ipv6.finish(rest),
        }
    }
}

/// A network by its first and last address.
enum Network {
    V4(u32, u32),
    V6(u128, u128),
}

/// A list in the making.
struct ListBuilder<'p> {
    pools: &'p [Pool],
    list: &'p [u16],
    regions: Numbered<Places>,
    nested: Numbered<Box<[Places]>>,
    tiers: Numbered<Box<[Tier]>>,
    candidates: Builders,
    networks: Builders,
    places: Builders,
    /// The values of addresses that the database has in no network.
    rest: (u16, u16),
    /// The values of places, by their numbers.
    of_places: Vec<(u16, u16)>,
}

impl<'p> ListBuilder<'p> {
    fn new(pools: &'p [Pool], list: &'p [u16], has_database: bool) -> Result<Self, Reason> {
        let (mut regions, mut nested) = (Numbered::new(), Numbered::new());
        let mut tiers = Numbered::new();
        let rest = values_of(
            &mut regions,
            &mut tiers,
            tiers_at(pools, list, &Place::default()),
        )?;
        let mut by_network: HashMap<Prefix, Vec<u16>> = HashMap::new();
        for at in list {
            for network in &pools[usize::from(*at)].networks {
                by_network.entry(*network).or_default().push(*at);
            }
        }
        nested.number(&Box::default())?;
        let mut of_networks = Vec::with_capacity(by_network.len());
        let mut around = Vec::with_capacity(by_network.len());
        for network in by_network.keys() {
            let containing = network.and_shorter().filter_map(|one| by_network.get(&one));
            let mut all = Vec::new();
            let mut seen = Vec::new();
            for found in containing {
                let mut found = found.clone();
                found.retain(|at| !seen.contains(at));
                found.dedup();
                seen.extend(&found);
                all.extend(by_weight(pools, found));
            }
            let first = all.first().cloned().unwrap_or_default();
            of_networks.push((*network, regions.number(&first)?));
            around.push((*network, nested.number(&all.into())?));
        }
        // Otherwise all IPv4 addresses are alike.
        let looks_inside =
            has_database || around.iter().any(|(network, _)| network.ipv4().is_some());
        Ok(Self {
            pools,
            list,
            regions,
            nested,
            tiers,
            candidates: Builders::new(rest.0, &of_networks, looks_inside),
            networks: Builders::new(0, &around, looks_inside),
            places: Builders::new(rest.1, &[], looks_inside),
            rest,
            of_places: Vec::new(),
        })
    }

    /// Takes in the next place.
    fn add_place(&mut self, place: &Place) -> Result<(), Reason> {
        let tiers = tiers_at(self.pools, self.list, place);
        let values = values_of(&mut self.regions, &mut self.tiers, tiers)?;
        self.of_places.push(values);
        Ok(())
    }

    fn push(&mut self, network: &Network, place: usize) {
        let (region, tiers) = self.of_places[place];
        self.candidates.push(network, region, self.rest.0);
        self.places.push(network, tiers, self.rest.1);
    }

    fn finish(self) -> ListMap {
        let located = self.list.iter().copied();
        let located = located.filter(|at| self.pools[usize::from(*at)].location.is_some());
        let located = by_weight(self.pools, located.collect());
        ListMap {
            candidates: self.candidates.finish(self.rest.0),
            regions: self.regions.all,
            networks: self.networks.finish(0),
            nested: self.nested.all,
            places: self.places.finish(self.rest.1),
            tiers: self.tiers.all,
            located: located.into_iter().next().unwrap_or_default(),
        }
    }
}

/// The numbers of the candidates and of the tiers of a place.
fn values_of(
    regions: &mut Numbered<Places>,
    tiers: &mut Numbered<Box<[Tier]>>,
    mut all: Vec<Tier>,
) -> Result<(u16, u16), Reason> {
    let first = all.first().and_then(|tier| tier.pools.clone());
    let region = regions.number(&first.unwrap_or_default())?;
    let fewer = FEWER_TIERS.iter().rev();
    let mut fewer = fewer.filter(|(numbers, _)| tiers.all.len() >= *numbers);
    if let Some((_, most)) = fewer.next() {
        all.truncate(*most);
    }
    Ok((region, tiers.number(&all.into())?))
}

/// Makes the tables of these lists of pools. It takes seconds if the database is large.
pub(super) fn map(
    pools: &[Pool],
    lists: &[Box<[u16]>],
    file: Option<&Path>,
) -> Result<Map, RoutingError> {
    let in_file = |reason| RoutingError::new(file, reason);
    let database = file.map(mmdb::open).transpose();
    let database = database.map_err(|error| in_file(error.into()))?;
    let made = make(pools, lists, database.as_ref());
    made.map_err(in_file)
}

pub(super) fn make(
    pools: &[Pool],
    lists: &[Box<[u16]>],
    database: Option<&Database>,
) -> Result<Map, Reason> {
    let mut builders = Vec::with_capacity(lists.len());
    for list in lists {
        builders.push(ListBuilder::new(pools, list, database.is_some())?);
    }
    let source = match database {
        Some(database) => Some(fill(database, pools, &mut builders)?),
        None => None,
    };
    let lists = builders.into_iter().map(ListBuilder::finish).collect();
    Ok(Map { lists, source })
}

/// Takes in all networks of a database.
fn fill(
    database: &Database,
    pools: &[Pool],
    builders: &mut [ListBuilder<'_>],
) -> Result<Source, Reason> {
    let damaged = |error: MaxMindDbError| Reason::Database(DatabaseError::Damaged(error));
    // Places by the offsets of their records: many networks share a record.
    let mut places: HashMap<usize, usize, RandomState> = HashMap::default();
    let mut has = Has::default();
    let mut networks = 0;
    let walk = mmdb::networks(database).map_err(damaged)?;
    for record in walk {
        let record = record.map_err(damaged)?;
        let Some(offset) = record.offset() else {
            continue;
        };
        let count = places.len();
        let place = match places.entry(offset) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let place = place_of(&record).map_err(damaged)?;
                has.note(&place);
                for builder in &mut *builders {
                    builder.add_place(&place)?;
                }
                *vacant.insert(count)
            }
        };
        for network in ranges_of(&record).map_err(damaged)?.into_iter().flatten() {
            for builder in &mut *builders {
                builder.push(&network, place);
            }
        }
        networks += 1;
    }
    has.check(pools, &database.metadata().database_type)?;
    Ok(Source {
        built: UnixTime(database.metadata().build_epoch),
        networks,
    })
}

/// What the records of a database have.
#[derive(Default)]
struct Has {
    countries: bool,
    continents: bool,
    locations: bool,
}

impl Has {
    fn note(&mut self, place: &Place) {
        self.countries |= place.country.is_some();
        self.continents |= place.continent.is_some();
        self.locations |= place.location.is_some();
    }

    /// Whether the database has what pools are chosen by.
    fn check(&self, pools: &[Pool], database_type: &str) -> Result<(), Reason> {
        let missing = |what, key, remedy| Reason::Lacks {
            database_type: database_type.to_owned(),
            what,
            key,
            remedy,
        };
        let needs = |is: fn(&Pool) -> bool| pools.iter().any(is);
        if !self.countries && needs(|pool| !pool.countries.is_empty()) {
            return Err(missing("countries", "countries", "countries or cities"));
        }
        if !self.continents && needs(|pool| !pool.continents.is_empty()) {
            return Err(missing("continents", "continents", "countries or cities"));
        }
        if !self.locations && needs(|pool| pool.location.is_some()) {
            return Err(missing("locations", "latitude", "cities"));
        }
        Ok(())
    }
}

fn place_of(record: &Record<'_>) -> Result<Place, MaxMindDbError> {
    let location = mmdb::location_of(record)?;
    Ok(Place {
        country: mmdb::country_of(record)?.map(Letters),
        continent: mmdb::continent_of(record)?.map(Letters),
        location: location.map(|(latitude, longitude)| Location {
            latitude,
            longitude,
        }),
    })
}

/// The addresses of a network. One of IPv6 that contains `::/96`, where a database has IPv4, is for all of IPv4 as well.
fn ranges_of(record: &Record<'_>) -> Result<[Option<Network>; 2], MaxMindDbError> {
    let network = record.network()?;
    let len = network.prefix();
    Ok(match network.ip() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let behind = u32::MAX.checked_shr(len.into()).unwrap_or(0);
            [Some(Network::V4(first & !behind, first | behind)), None]
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let behind = u128::MAX.checked_shr(len.into()).unwrap_or(0);
            let is_all_ipv4 = first & !behind == 0 && len <= 96;
            [
                Some(Network::V6(first & !behind, first | behind)),
                is_all_ipv4.then_some(Network::V4(0, u32::MAX)),
            ]
        }
    })
}
