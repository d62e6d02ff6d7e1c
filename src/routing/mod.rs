//! Routing: which addresses a client gets at a name, by the place of the client.
//!
//! ```text
//!   pool     addresses, and for which clients they are
//!   choice   the pools that are for a place, and the one of them for a client
//!   build    pools and a database of places -> a table for each list of pools
//!   table    address -> value, and the prefix for which the value holds
//! ```
//!
//! A name with a *list* of pools has the addresses of one of them, and those of the zone file where no pool is for the
//! client. A list's pools are candidates for a client by networks, country, continent or distance; weights decide between
//! several. [`Routing::locate`] finds the pool of a client in a table in memory, and the length of the prefix for which
//! the same pool is right. Nothing here knows DNS. A reload of the database makes new tables beside the old ones and swaps
//! them in whole.

mod build;
mod choice;
mod error;
mod pool;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use arc_swap::ArcSwap;

pub use self::build::Source;
use self::build::{ListMap, Map};
pub use self::choice::Why;
use self::choice::{Places, choose, number_of, seed};
pub use self::error::RoutingError;
pub use self::pool::{Letters, Location, MAX_ADDRESSES, MAX_POOLS, MAX_WEIGHT, Pool};
use crate::base::name::ZoneName;
use crate::base::prefix::Prefix;

/// The most names that have a list.
pub const MAX_ROUTES: usize = 1_000;
/// The most different lists of pools. Each has tables of its own.
pub const MAX_LISTS: usize = 16;
/// The default for the highest TTL of addresses that depend on the client, in seconds.
pub const DEFAULT_TTL: u32 = 60;

/// Among several candidates, clients with the same first bits have the same pool, in bits of IPv4 and IPv6. Resolvers
/// send as many bits of a client's IPv4 address (RFC 7871 §11.1); a site has as many of an IPv6 address (RFC 6177).
const SPREAD: (u8, u8) = (24, 48);
/// The bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const MAPPED_LEN: u8 = 96;

/// Which pools there are, which names have them, and how the server finds the place of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingConfig {
    /// At most [`MAX_POOLS`].
    pub pools: Vec<Pool>,
    /// The names whose addresses depend on the client: at least one, at most [`MAX_ROUTES`].
    pub routes: Vec<Route>,
    /// A database of places in the format of MaxMind; none if pools have only networks.
    pub database: Option<PathBuf>,
    /// The highest TTL of addresses that depend on the client, in seconds.
    pub ttl: u32,
    /// Whether the place of a client is that of the subnet that the resolver sends (RFC 7871). Otherwise, or without a subnet,
    /// it is the place of the resolver.
    pub client_subnet: bool,
}

/// Names whose addresses depend on the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The names.
    pub owner: Owner,
    /// Pools by their places in [`RoutingConfig::pools`], each once, sorted.
    pub pools: Box<[u16]>,
}

/// Which names a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The links of a zone, and so their redirect host.
    Links(ZoneName),
    /// A name of the zone file.
    Name(ZoneName),
}

/// A list of pools that names have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(u16);

impl ListId {
    /// Its number.
    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// The list with this number.
    pub(crate) fn from_number(number: u16) -> Self {
        Self(number)
    }
}

/// The pool of a client, and for whom else it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The place of the pool in [`RoutingConfig::pools`]; none if the addresses of the zone file are for the client.
    pub pool: Option<u16>,
    /// The length of the prefix for which this pool is right, in bits of the address's family: the shortest one whose addresses
    /// all have the same candidates, and at least [`SPREAD`] where weights decide between several.
    pub scope: u8,
}

/// Why a client gets its pool; see [`Routing::explain`].
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The pool and the scope.
    pub located: Located,
    /// Why these pools are candidates.
    pub why: Why,
    /// The explicit network that decided.
    pub network: Option<Prefix>,
    /// The candidates among which weights decide.
    pub candidates: Vec<u16>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Routing {
    config: RoutingConfig,
    /// The seed and the weight of each pool.
    weights: Vec<(u64, u16)>,
    lists: Vec<Box<[u16]>>,
    /// The lists of links, by the wire form of their zones.
    of_links: HashMap<Box<[u8]>, ListId>,
    /// The lists of names of zone files, by their wire form.
    of_names: HashMap<Box<[u8]>, ListId>,
    map: ArcSwap<Map>,
}

impl Routing {
    /// Reads the database, if there is one, which takes seconds if it is large.
    ///
    /// # Errors
    /// [`RoutingError`] if the database cannot be used.
    pub fn open(config: RoutingConfig) -> Result<Self, RoutingError> {
        let mut lists: Vec<Box<[u16]>> = Vec::new();
        let (mut of_links, mut of_names) = (HashMap::new(), HashMap::new());
        for route in &config.routes {
            let known = lists.iter().position(|list| *list == route.pools);
            let place = known.unwrap_or_else(|| {
                lists.push(route.pools.clone());
                lists.len() - 1
            });
            let id = ListId(u16::try_from(place).unwrap_or(u16::MAX));
            match &route.owner {
                Owner::Links(zone) => of_links.insert(zone.wire().into(), id),
                Owner::Name(name) => of_names.insert(name.wire().into(), id),
            };
        }
        let map = build::map(&config.pools, &lists, config.database.as_deref())?;
        let weights = config.pools.iter();
        Ok(Self {
            weights: weights
                .map(|pool| (seed(&pool.name), pool.weight))
                .collect(),
            lists,
            of_links,
            of_names,
            map: ArcSwap::from_pointee(map),
            config,
        })
    }

    /// Reads the database again. Meanwhile, and after an error, the old tables are in use. Returns whether there is a
    /// database.
    ///
    /// # Errors
    /// As [`Routing::open`].
    pub fn reload(&self) -> Result<bool, RoutingError> {
        let Some(file) = self.config.database.as_deref() else {
            return Ok(false);
        };
        let map = build::map(&self.config.pools, &self.lists, Some(file))?;
        self.map.store(map.into());
        Ok(true)
    }

    /// The configuration.
    pub fn config(&self) -> &RoutingConfig {
        &self.config
    }

    /// The database in use, if there is one.
    pub fn source(&self) -> Option<Source> {
        self.map.load().source
    }

    /// How many ranges the tables have in which candidates are looked up.
    pub fn ranges(&self) -> usize {
        let map = self.map.load();
        let tables = map.lists.iter().map(|list| &list.candidates);
        tables.map(|both| both.ipv4.len() + both.ipv6.len()).sum()
    }

    /// The list of the links of a zone, by the wire form of its origin in lower case.
    pub(crate) fn of_links(&self, origin: &[u8]) -> Option<ListId> {
        self.of_links.get(origin).copied()
    }

    /// The list of a name of a zone file, by its wire form in lower case.
    pub(crate) fn of_name(&self, name: &[u8]) -> Option<ListId> {
        self.of_names.get(name).copied()
    }

    /// The list of the names of a route; none for names without pools.
    pub fn list_of(&self, owner: &Owner) -> Option<ListId> {
        match owner {
            Owner::Links(zone) => self.of_links(zone.wire()),
            Owner::Name(name) => self.of_name(name.wire()),
        }
    }

    /// The pool of a client for names with this list, and the scope.
    pub fn locate(&self, list: ListId, address: IpAddr) -> Located {
        let map = self.map.load();
        let nothing = Located {
            pool: None,
            scope: 0,
        };
        let list = map.lists.get(usize::from(list.0));
        list.map_or(nothing, |list| self.in_list(list, address).0)
    }

    /// The pool, and the candidates.
    fn in_list<'m>(&self, list: &'m ListMap, address: IpAddr) -> (Located, &'m Places) {
        let tables = &list.candidates;
        match Address::of(address) {
            Address::V4(bits, before) => {
                let found = tables.ipv4.find(bits);
                let candidates = &list.regions[usize::from(found.value)];
                let kept = |len: u8| bits & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                let spread = (found.len, SPREAD.0);
                let mut located = self.among(candidates, spread, |len| kept(len).into());
                located.scope += before;
                (located, candidates)
            }
            Address::V6(bits) => {
                let found = tables.ipv6.find(bits);
                let candidates = &list.regions[usize::from(found.value)];
                let kept =
                    |len: u8| bits & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                let spread = (found.len, SPREAD.1);
                (self.among(candidates, spread, kept), candidates)
            }
        }
    }

    /// Chooses one of the candidates. `prefix` has the first bits of the client's address.
    fn among(
        &self,
        candidates: &[u16],
        (len, spread): (u8, u8),
        prefix: impl Fn(u8) -> u128,
    ) -> Located {
        match candidates {
            [] => Located {
                pool: None,
                scope: len,
            },
            [pool] => Located {
                pool: Some(*pool),
                scope: len,
            },
            several => {
                let scope = len.max(spread);
                let weighed = several.iter().map(|at| {
                    let (seed, weight) = self.weights[usize::from(*at)];
                    (*at, seed, weight)
                });
                Located {
                    // Not by the scope: a new network within the spread would move the clients around it.
                    pool: choose(weighed, number_of(prefix(spread), spread)),
                    scope,
                }
            }
        }
    }

    /// Which pool a client gets at the names of a route, and why; none for a route of another configuration.
    pub fn explain(&self, owner: &Owner, address: IpAddr) -> Option<Explained> {
        let map = self.map.load();
        let place = usize::from(self.list_of(owner)?.0);
        let list = map.lists.get(place)?;
        let (located, candidates) = self.in_list(list, address);
        let value = match Address::of(address) {
            Address::V4(bits, _) => list.why.ipv4.find(bits).value,
            Address::V6(bits) => list.why.ipv6.find(bits).value,
        };
        let why = *list.reasons.get(usize::from(value))?;
        let networks = self.lists.get(place)?.iter();
        let networks = networks.flat_map(|at| &self.config.pools[usize::from(*at)].networks);
        let within = networks.filter(|network| why == Why::Network && network.has(address));
        Some(Explained {
            located,
            why,
            network: within.max_by_key(|network| network.len()).copied(),
            candidates: candidates.to_vec(),
        })
    }
}

/// An address by the table in which it is looked up.
enum Address {
    /// An IPv4 address, and the bits before it in the address as it was given.
    V4(u32, u8),
    V6(u128),
}

impl Address {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits(), 0),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => Self::V4(address.to_bits(), MAPPED_LEN),
                None => Self::V6(address.to_bits()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
