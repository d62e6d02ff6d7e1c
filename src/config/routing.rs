//! `[[pool]]`, `[routing]`, and the pools of zones: which addresses depend on the client.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::health;
use super::prefixes::prefixes;
use super::problem::ConfigProblem;
use super::section::{Section, is_word};
use crate::base::name::{MAX_LABEL_LEN, ZoneName};
use crate::routing::{
    DEFAULT_TTL, Fail, Letters, Location, MAX_ADDRESSES, MAX_LISTS, MAX_POOLS, MAX_ROUTES,
    MAX_TARGETS, MAX_WEIGHT, Owner, Pool, Route, RoutingConfig,
};

const NAME: &str = "name";
const POOLS: &str = "pools";
const COUNTRIES: &str = "countries";
const CONTINENTS: &str = "continents";
const LATITUDE: &str = "latitude";
const LONGITUDE: &str = "longitude";

/// The most countries of a pool: all that there are.
const MAX_COUNTRIES: usize = 250;
/// In seconds.
const MAX_TTL: u32 = 86_400;
/// The highest latitude and longitude, in degrees.
const MAX_LATITUDE: u32 = 90;
const MAX_LONGITUDE: u32 = 180;
/// Codes that look like countries. That of the United Kingdom is GB, and the European Union is none.
const NO_COUNTRIES: [&str; 2] = ["UK", "EU"];

/// The words of `fail`.
const FAIL: [(&str, Fail); 2] = [("open", Fail::Open), ("closed", Fail::Closed)];

/// The pools of the file.
pub(super) struct Pools {
    /// Those without a fault.
    pools: Vec<Pool>,
    /// The names of all of them, also of those with a fault, and their lines.
    lines: HashMap<String, usize>,
    /// The first key that needs a database of places.
    needs_database: Option<(Range<usize>, String)>,
}

/// Reads all pools.
pub(super) fn pools(file: &Section<'_>) -> Pools {
    let mut read = Pools {
        pools: Vec::new(),
        lines: HashMap::new(),
        needs_database: None,
    };
    let pools = file.each("pool", |section| pool(section, &mut read));
    let pools: Vec<_> = pools.unwrap_or_default().into_iter().flatten().collect();
    if pools.len() > MAX_POOLS {
        file.note(
            "pool",
            ConfigProblem::too_many(pools.len(), "pools", MAX_POOLS),
        );
    }
    read.pools = pools.into_iter().flatten().take(MAX_POOLS).collect();
    read
}

fn pool(section: &Section<'_>, read: &mut Pools) -> Option<Pool> {
    let name = section.parsed(NAME, |text| {
        let is_name = !text.is_empty() && text.len() <= MAX_LABEL_LEN && is_word(text, "-_");
        match is_name {
            true => Ok(text.to_owned()),
            false => Err(ConfigProblem::PoolName(text.into())),
        }
    });
    match &name {
        None => section.note_missing(NAME),
        Some(name) => {
            if let Some(line) = read.lines.insert(name.clone(), section.line_of(NAME)) {
                let name = name.clone();
                section.note(NAME, ConfigProblem::DuplicatePool { name, line });
            }
        }
    }
    let (ipv4, ipv6) = addresses(section);
    let is_country = |text: &str| {
        let letters = Letters::parse(text)?;
        (!NO_COUNTRIES.contains(&letters.to_string().as_str())).then_some(letters)
    };
    let countries = letters(section, COUNTRIES, is_country, ConfigProblem::Country);
    let is_continent = |text: &str| {
        let letters = Letters::parse(text)?;
        Letters::CONTINENTS.contains(&letters).then_some(letters)
    };
    let continents = letters(section, CONTINENTS, is_continent, ConfigProblem::Continent);
    let networks = prefixes(section, "networks");
    let location = location(section);
    for key in [COUNTRIES, CONTINENTS, LATITUDE] {
        if section.has(key) && read.needs_database.is_none() {
            read.needs_database = Some((section.span_of(key), section.full(key)));
        }
    }
    let check = section.optional("check", health::check).flatten();
    let weight = section.number("weight", 0..=MAX_WEIGHT, "", 1);
    let keys = [COUNTRIES, CONTINENTS, "networks", LATITUDE, LONGITUDE];
    let is_for_some = keys.into_iter().any(|key| section.has(key));
    let default = section.flag("default", !is_for_some);
    if !is_for_some && !default {
        section.note("default", ConfigProblem::NeverChosen);
    }
    Some(Pool {
        name: name?.into(),
        ipv4,
        ipv6,
        countries,
        continents,
        networks,
        location,
        weight,
        default,
        check: check.map(Box::new),
    })
}

fn addresses(section: &Section<'_>) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let key = "addresses";
    let texts = section.texts(key, "an address or a list of addresses, as strings");
    match &texts {
        None => section.note_missing(key),
        Some(texts) if texts.is_empty() && section.is_empty_list(key) => {
            section.note(key, ConfigProblem::NoAddress);
        }
        Some(texts) if texts.len() > MAX_ADDRESSES => {
            let problem = ConfigProblem::too_many(texts.len(), "addresses", MAX_ADDRESSES);
            section.note(key, problem);
        }
        Some(_) => {}
    }
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for text in texts.unwrap_or_default() {
        let address = text.get_ref().parse::<IpAddr>();
        let problem = match address.map(|address| address.to_canonical()) {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                ConfigProblem::NoHost(address)
            }
            // The records of a set are all different (RFC 2181 §5).
            Ok(IpAddr::V4(address)) => {
                if !ipv4.contains(&address) {
                    ipv4.push(address);
                }
                continue;
            }
            Ok(IpAddr::V6(address)) => {
                if !ipv6.contains(&address) {
                    ipv6.push(address);
                }
                continue;
            }
            Err(_) => ConfigProblem::PoolAddress((*text.get_ref()).into()),
        };
        section.note_at(text.span(), key, problem);
    }
    (ipv4, ipv6)
}

fn letters(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Option<Letters>,
    problem: fn(String) -> ConfigProblem,
) -> Vec<Letters> {
    let texts = section.texts(key, "two letters or a list of them, as strings");
    let texts = texts.unwrap_or_default();
    if texts.len() > MAX_COUNTRIES {
        section.note(
            key,
            ConfigProblem::too_many(texts.len(), key, MAX_COUNTRIES),
        );
        return Vec::new();
    }
    let mut all = Vec::with_capacity(texts.len());
    for text in texts {
        match read(text.get_ref()) {
            Some(letters) => all.push(letters),
            None => section.note_at(text.span(), key, problem((*text.get_ref()).into())),
        }
    }
    all
}

fn location(section: &Section<'_>) -> Option<Location> {
    let latitude = section.optional_decimal(LATITUDE, MAX_LATITUDE);
    let longitude = section.optional_decimal(LONGITUDE, MAX_LONGITUDE);
    section.note_half_a_pair("a location", LATITUDE, LONGITUDE);
    Some(Location {
        latitude: latitude?,
        longitude: longitude?,
    })
}

impl Pools {
    /// A list of pools by their names: their places, sorted. None if it is not there or has a fault.
    fn list(&self, section: &Section<'_>) -> Option<Box<[u16]>> {
        let texts = section.texts(POOLS, "the name of a pool or a list of names, as strings")?;
        if section.is_empty_list(POOLS) {
            section.note(POOLS, ConfigProblem::NoPool);
        }
        let mut list = Vec::with_capacity(texts.len());
        let mut is_good = true;
        for text in texts {
            let name = *text.get_ref();
            let place = self.pools.iter().position(|pool| &*pool.name == name);
            let place = place.and_then(|place| u16::try_from(place).ok());
            let problem = match place {
                Some(place) if list.contains(&place) => ConfigProblem::PoolTwice(name.into()),
                Some(place) => {
                    list.push(place);
                    continue;
                }
                None => {
                    is_good = false;
                    // The fault of the pool has been noted.
                    if self.lines.contains_key(name) {
                        continue;
                    }
                    self.unknown(name)
                }
            };
            section.note_at(text.span(), POOLS, problem);
        }
        list.sort_unstable();
        (is_good && !list.is_empty()).then(|| list.into())
    }

    fn unknown(&self, name: &str) -> ConfigProblem {
        let mut known: Vec<_> = self.lines.keys().map(|name| format!("{name:?}")).collect();
        known.sort_unstable();
        known.truncate(10);
        let known = match known.is_empty() {
            true => "there is none".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        let name = name.into();
        ConfigProblem::UnknownPool { name, known }
    }
}

/// The names of zones that have pools, in the order of the file.
pub(super) struct Routes<'p> {
    pools: &'p Pools,
    routes: Vec<Route>,
    lines: HashMap<ZoneName, usize>,
    /// Where the first list is that is too many.
    too_many: bool,
}

impl<'p> Routes<'p> {
    pub(super) fn new(pools: &'p Pools) -> Self {
        Self {
            pools,
            routes: Vec::new(),
            lines: HashMap::new(),
            too_many: false,
        }
    }

    /// Reads the pools of a zone; `redirect_host` is the key without which it has no links.
    pub(super) fn read(
        &mut self,
        zone: &Section<'_>,
        origin: Option<&ZoneName>,
        redirect_host: &'static str,
    ) {
        let pools = self.pools.list(zone);
        if zone.has(POOLS) && !zone.mentions(redirect_host) {
            let part = "a zone with pools for its links".into();
            let key = redirect_host;
            zone.note(POOLS, ConfigProblem::Missing { part, key });
        }
        if let (Some(pools), Some(origin)) = (pools, origin) {
            self.add(zone, Owner::Links(origin.clone()), pools);
        }
        zone.each("route", |route| {
            let name = route.parsed(NAME, |text| named(text, origin));
            if name.is_none() {
                route.note_missing(NAME);
            }
            let pools = self.pools.list(route);
            if pools.is_none() {
                route.note_missing(POOLS);
            }
            let Some(name) = name.flatten() else {
                return;
            };
            if let Some(line) = self.lines.insert(name.clone(), route.line_of(NAME)) {
                let name = name.clone();
                route.note(NAME, ConfigProblem::DuplicateRoute { name, line });
            }
            if let Some(pools) = pools {
                self.add(route, Owner::Name(name), pools);
            }
        });
    }

    fn add(&mut self, section: &Section<'_>, owner: Owner, pools: Box<[u16]>) {
        let mut lists: Vec<_> = self.routes.iter().map(|route| &route.pools).collect();
        lists.push(&pools);
        lists.sort_unstable();
        lists.dedup();
        let problem = if lists.len() > MAX_LISTS {
            ConfigProblem::too_many(lists.len(), "different lists of pools", MAX_LISTS)
        } else if self.routes.len() == MAX_ROUTES {
            ConfigProblem::too_many(MAX_ROUTES + 1, "names with pools", MAX_ROUTES)
        } else {
            self.routes.push(Route { owner, pools });
            return;
        };
        if !self.too_many {
            section.note(POOLS, problem);
        }
        self.too_many = true;
    }

    pub(super) fn into_all(self) -> Vec<Route> {
        self.routes
    }
}

/// A name of a zone file; none inside if the origin of the zone is not known.
fn named(text: &str, origin: Option<&ZoneName>) -> Result<Option<ZoneName>, ConfigProblem> {
    let Some(origin) = origin else {
        return Ok(None);
    };
    if text == "@" {
        return Ok(Some(origin.clone()));
    }
    let refused = || ConfigProblem::RouteName(text.into());
    if text.is_empty() || text.ends_with('.') || text.contains('*') {
        return Err(refused());
    }
    let name = match origin.as_str() {
        "." => text.to_owned(),
        origin => format!("{text}.{origin}"),
    };
    ZoneName::parse(&name).map(Some).map_err(|_| refused())
}

/// Notes too many checks.
fn note_targets(section: &Section<'_>, pools: &[Pool]) {
    let checks = pools
        .iter()
        .filter_map(|pool| Some((pool, pool.check.as_ref()?)));
    let targets = checks.flat_map(|(pool, check)| pool.addresses().map(move |ip| (ip, check)));
    let targets = targets.collect::<HashSet<_>>().len();
    if targets > MAX_TARGETS {
        let problem = ConfigProblem::too_many(targets, "checks of addresses", MAX_TARGETS);
        section.note_whole(problem);
    }
}

/// The settings of routing; none if no name has pools.
pub(super) fn routing(
    section: &Section<'_>,
    pools: &Pools,
    routes: &[Route],
) -> Option<RoutingConfig> {
    let database = section.optional_file("database");
    let needs_database = pools.needs_database.clone();
    if let Some((span, key)) = needs_database.filter(|_| !section.mentions("database")) {
        section.note_elsewhere(span, &key, ConfigProblem::NeedsDatabase);
    }
    let config = RoutingConfig {
        pools: pools.pools.clone(),
        routes: routes.to_vec(),
        database,
        ttl: section.number("ttl", 0..=MAX_TTL, "seconds", DEFAULT_TTL),
        client_subnet: section.flag("client_subnet", true),
        fail: section.choice("fail", &FAIL).unwrap_or_default(),
    };
    note_targets(section, &config.pools);
    (!config.routes.is_empty()).then_some(config)
}
