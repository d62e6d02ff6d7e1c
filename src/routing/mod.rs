//! Routing: which addresses a client gets at a name, by the place of the client.
//!
//! ```text
//!   pool     addresses, and for which clients they are
//!   choice   the pools that are for a place, and the one of them for a client
//!   build    pools and a database of places -> tables for each list of pools
//!   table    address -> value, and the prefix for which the value holds
//!   health   checks -> which addresses are up
//!   drains   pools that operators have taken out of service, in the store
//!   state    which pools and addresses are up, as queries see it
//!   locate   a client, the tables and the states -> the pool of the client
//! ```
//!
//! A name with a *list* of pools has the addresses of one of them, and those of the zone file where no pool is for the
//! client. A list's pools are candidates for a client by networks, country, continent or distance; weights decide between
//! several. [`Routing::locate`] finds the pool of a client in a table in memory, and the length of the prefix for which
//! the same pool is right. Nothing here knows DNS. A reload of the database makes new tables beside the old ones and swaps
//! them in whole. The tables do not depend on which pools are up: they have the pools that come next as well, so a change of
//! a state replaces the states alone.

mod build;
mod choice;
mod drains;
mod error;
#[cfg(not(test))]
mod health;
#[cfg(test)]
pub(crate) mod health;
mod locate;
mod pool;
mod state;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arc_swap::ArcSwap;

use self::build::Map;
pub use self::build::Source;
pub use self::choice::Why;
use self::choice::seed;
pub use self::drains::{Drain, DrainError, Drains};
pub use self::error::RoutingError;
pub use self::health::{
    AddressStatus, Check, CheckKind, Condition, DEFAULT_FAILURES, DEFAULT_INTERVAL, DEFAULT_PASSES,
    DEFAULT_TIMEOUT, Effects, Failure, LastCheck, MAX_TARGETS, PoolStatus, Request,
};
use self::health::{Board, Journal, Tls};
use self::locate::{Address, Search};
pub use self::pool::{Letters, Location, MAX_ADDRESSES, MAX_POOLS, MAX_WEIGHT, Pool};
pub(crate) use self::state::EDITIONS;
use self::state::PoolState;
pub use self::state::{Family, Served};
use crate::base::lock::lock;
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
/// How many zones a name is searched in before it is known whether it has a list. In others it is found later.
const MOST_PROBABLE: usize = 4;
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
    /// What clients get while all pools that are for them are down.
    pub fail: Fail,
}

/// What clients get while all pools that are for them are down. Pools that an operator has drained are not used in either
/// case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fail {
    /// The pool that they would get if all were up: the checks may be wrong. If all are drained, the addresses of the zone
    /// file.
    #[default]
    Open,
    /// No addresses.
    Closed,
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
    /// The place of the pool in [`RoutingConfig::pools`]; none if the addresses of the zone file are for the client, or nothing
    /// is.
    pub pool: Option<u16>,
    /// Which addresses of the pool it gets.
    pub served: Served,
    /// Whether the client gets no addresses, because all its pools are down; see [`Fail::Closed`].
    pub closed: bool,
    /// The length of the prefix for which this pool is right, in bits of the address's family: the shortest one whose addresses
    /// all have the same candidates, and at least 24 bits of IPv4, or 48 of IPv6, where weights decide between several.
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
    /// The pools that come before these, and are down.
    pub passed_over: Vec<u16>,
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
    view: ArcSwap<View>,
    /// Held while the view is replaced.
    replacing: Mutex<()>,
    /// What is known of the health of all addresses. It is locked before `replacing`.
    board: Mutex<Board>,
    journal: Mutex<Journal>,
    tls: Tls,
    effects: OnceLock<Effects>,
}

/// What decides at a moment.
#[derive(Clone, Debug)]
struct View {
    map: Arc<Map>,
    /// The states of pools in the order of [`RoutingConfig::pools`].
    states: Arc<[PoolState]>,
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
            view: ArcSwap::from_pointee(View {
                map: map.into(),
                states: config.pools.iter().map(|_| PoolState::UP).collect(),
            }),
            replacing: Mutex::new(()),
            board: Mutex::new(Board::new(&config.pools)),
            journal: Mutex::default(),
            tls: health::tls_of(&config.pools)?,
            effects: OnceLock::new(),
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
        let _turn = self.turn();
        let states = self.view.load().states.clone();
        let map = map.into();
        self.view.store(View { map, states }.into());
        Ok(true)
    }

    /// Replaces the states of all pools.
    fn set_states(&self, states: Arc<[PoolState]>) {
        let _turn = self.turn();
        let map = self.view.load().map.clone();
        self.view.store(View { map, states }.into());
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.replacing)
    }

    /// The configuration.
    pub fn config(&self) -> &RoutingConfig {
        &self.config
    }

    /// The database in use, if there is one.
    pub fn source(&self) -> Option<Source> {
        self.view.load().map.source
    }

    /// How many ranges the tables have in which candidates are looked up.
    pub fn ranges(&self) -> usize {
        let view = self.view.load();
        let tables = view.map.lists.iter().map(|list| &list.candidates);
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

    /// The list of a name, in wire form in lower case, if it probably has one. The name may have no list, but it has no other
    /// one: this is none if there are different lists.
    pub(crate) fn probable_list(&self, name: &[u8]) -> Option<ListId> {
        let [_] = self.lists[..] else {
            return None;
        };
        let mut origins = self.of_links.keys().take(MOST_PROBABLE);
        let is_in = origins.any(|origin| name.ends_with(origin));
        is_in.then_some(ListId(0))
    }

    /// The list of the names of a route; none for names without pools.
    pub fn list_of(&self, owner: &Owner) -> Option<ListId> {
        match owner {
            Owner::Links(zone) => self.of_links(zone.wire()),
            Owner::Name(name) => self.of_name(name.wire()),
        }
    }

    /// The pool of a client that asks for this family, for names with this list, and the scope.
    pub fn locate(&self, list: ListId, address: IpAddr, family: Family) -> Located {
        let view = self.view.load();
        let nothing = Located {
            pool: None,
            served: Served::ALL,
            closed: false,
            scope: 0,
        };
        let list = view.map.lists.get(usize::from(list.0));
        list.map_or(nothing, |list| {
            let search = Search {
                routing: self,
                view: &view,
                list,
                address: Address::of(address),
                family,
            };
            search.locate()
        })
    }

    /// Which pool a client gets at the names of a route, and why; none for a route of another configuration.
    pub fn explain(&self, owner: &Owner, address: IpAddr, family: Family) -> Option<Explained> {
        let view = self.view.load();
        let place = usize::from(self.list_of(owner)?.0);
        let search = Search {
            routing: self,
            view: &view,
            list: view.map.lists.get(place)?,
            address: Address::of(address),
            family,
        };
        let chosen = search.walk();
        let of_pool = |at: u16| &self.config.pools[usize::from(at)].networks;
        let networks = chosen.candidates.iter().flat_map(|at| of_pool(*at));
        let within = networks.filter(|network| chosen.why == Why::Network && network.has(address));
        Some(Explained {
            located: chosen.located,
            why: chosen.why,
            network: within.max_by_key(|network| network.len()).copied(),
            candidates: chosen.candidates,
            passed_over: chosen.passed_over,
        })
    }
}

#[cfg(test)]
mod tests;
