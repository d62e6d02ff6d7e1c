//! Pools for clients, from MaxMind's test databases and from explicit networks.

use std::fs;
use std::path::Path;

use super::*;

/// See `tests/countries/README.md`.
pub(super) fn test_file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/countries");
    folder.join(name)
}

pub(super) const CITIES: &str = "GeoIP2-City-Test.mmdb";

/// A pool that is for no client yet; its address ends with its place in the list.
pub(super) fn pool(name: &str) -> Pool {
    Pool {
        name: name.into(),
        ipv4: vec![[192, 0, 2, 1].into()],
        ipv6: Vec::new(),
        countries: Vec::new(),
        continents: Vec::new(),
        networks: Vec::new(),
        location: None,
        weight: 1,
        default: false,
        check: None,
    }
}

pub(super) fn letters(text: &str) -> Vec<Letters> {
    text.split(' ')
        .map(|text| Letters::parse(text).unwrap())
        .collect()
}

pub(super) fn networks(text: &str) -> Vec<Prefix> {
    text.split(' ').map(|text| text.parse().unwrap()).collect()
}

pub(super) fn owner() -> Owner {
    Owner::Links(ZoneName::parse("s.example.com").unwrap())
}

pub(super) fn config(pools: Vec<Pool>, database: Option<PathBuf>) -> RoutingConfig {
    let all = (0..pools.len() as u16).collect();
    let routes = vec![Route {
        owner: owner(),
        pools: all,
    }];
    RoutingConfig {
        pools,
        routes,
        database,
        ttl: DEFAULT_TTL,
        client_subnet: true,
        fail: Fail::Open,
    }
}

fn routing(pools: Vec<Pool>, database: Option<&str>) -> Routing {
    Routing::open(config(pools, database.map(test_file))).unwrap()
}

/// The name of the pool, why, and the network for which it holds.
fn explain(routing: &Routing, address: &str) -> (String, Why, String) {
    let address = address.parse().unwrap();
    let explained = routing.explain(&owner(), address, Family::Any).unwrap();
    let located = explained.located;
    let list = routing.of_links(b"\x01s\x07example\x03com\0").unwrap();
    assert_eq!(routing.locate(list, address, Family::Any), located);
    let pool = located
        .pool
        .map(|at| &routing.config.pools[usize::from(at)].name);
    let network = Prefix::of(address, located.scope, located.scope);
    (
        pool.map_or("none", |name| name).to_owned(),
        explained.why,
        network.to_string(),
    )
}

pub(super) fn world() -> Vec<Pool> {
    let at = |latitude, longitude| Location {
        latitude,
        longitude,
    };
    vec![
        Pool {
            networks: networks("89.160.20.112/28 2001:218::/48 10.0.0.0/8"),
            ..pool("own")
        },
        Pool {
            countries: letters("SE JP"),
            ..pool("countries")
        },
        Pool {
            continents: letters("EU"),
            ..pool("europe")
        },
        Pool {
            location: Some(at(47.6, -122.3)),
            ..pool("seattle")
        },
        Pool {
            location: Some(at(35.7, 139.7)),
            default: true,
            ..pool("tokyo")
        },
    ]
}

#[test]
fn the_order_of_reasons() {
    let routing = routing(world(), Some(CITIES));
    let check = |address: &str, pool: &str, why: Why| {
        let (found, because, _) = explain(&routing, address);
        assert_eq!((found.as_str(), because), (pool, why), "{address}");
    };
    let country = |text| Why::Country(Letters::parse(text).unwrap());
    let europe = Why::Continent(Letters::parse("EU").unwrap());
    check("89.160.20.112", "own", Why::Network);
    // Beside the explicit network: the same record of the database.
    check("89.160.20.128", "countries", country("SE"));
    check("2001:218::1", "own", Why::Network);
    check("2001:218:1::1", "countries", country("JP"));
    // London and Chelmsford.
    check("81.2.69.142", "europe", europe);
    check("2a02:cf40::1", "europe", europe);
    // Milton in the state of Washington, and Changchun.
    check("216.160.83.56", "seattle", Why::Nearest);
    check("175.16.199.1", "tokyo", Why::Nearest);
    // Not in the database.
    check("192.0.2.1", "tokyo", Why::Default);
    check("2001:db8::1", "tokyo", Why::Default);
    check("10.20.30.40", "own", Why::Network);
}

#[test]
fn forms_of_ipv4_addresses() {
    let routing = routing(world(), Some(CITIES));
    let located = |text: &str| routing.locate(ListId(0), text.parse().unwrap(), Family::Any);
    let (plain, mapped) = (located("81.2.69.142"), located("::ffff:81.2.69.142"));
    assert_eq!(mapped.pool, plain.pool);
    // RFC 4291 §2.5.5.2
    assert_eq!(mapped.scope, 96 + plain.scope);
    // 6to4 (RFC 3056) and Teredo (RFC 4380), as databases have them.
    let check = |address: &str, before: u8| {
        let inside = located(address);
        assert_eq!(
            (inside.pool, inside.scope),
            (plain.pool, before + plain.scope)
        );
    };
    check("2002:5102:458e::1", 16);
    check("2001:0:5102:458e::1", 32);
}

/// Networks of IPv4 count for IPv4 addresses inside those of IPv6, and a network of IPv6 within these counts more.
#[test]
fn networks_of_ipv4_addresses_inside() {
    let with = |name: &str, networks_of: &str| Pool {
        networks: networks(networks_of),
        ..pool(name)
    };
    let pools = vec![
        with("inside", "10.1.0.0/16"),
        with("all", "2000::/3"),
        with("own", "2002:a01:200::/40"),
    ];
    let routing = routing(pools, None);
    let check = |address: &str, pool: &str, network: &str| {
        let (found, _, holds) = explain(&routing, address);
        let (expected, found) = ((pool, network), (found.as_str(), holds.as_str()));
        assert_eq!(found, expected, "{address}");
    };
    check("10.1.9.9", "inside", "10.1.0.0/16");
    check("2002:a01:909::1", "inside", "2002:a01:800::/37");
    check("2001:0:a01:909::1", "inside", "2001:0:a01::/48");
    check("2002:a01:203::1", "own", "2002:a01:200::/40");
    check("2002:b01:203::1", "none", "2002:b00::/24");
    // The prefix has no part of 6to4 or Teredo.
    check("2001:db8::1", "all", "2001:800::/21");
    check("2003::1", "all", "2003::/16");
    check("3000::1", "all", "3000::/4");
}

#[test]
fn no_pool_is_for_the_client() {
    let only = Pool {
        networks: networks("192.0.2.0/25"),
        ..pool("only")
    };
    let routing = routing(vec![only], None);
    let check = |address: &str, pool: &str, network: &str| {
        let (found, _, holds) = explain(&routing, address);
        assert_eq!(
            (found.as_str(), holds.as_str()),
            (pool, network),
            "{address}"
        );
    };
    check("192.0.2.127", "only", "192.0.2.0/25");
    check("192.0.2.128", "none", "192.0.2.128/25");
    check("192.0.3.1", "none", "192.0.3.0/24");
    check("1.2.3.4", "none", "0.0.0.0/1");
    check("2a00::1", "none", "2800::/5");
    assert_eq!(routing.source(), None);
}

/// Among candidates, weights decide for each /24 and /48, and the scope says so.
#[test]
fn several_candidates_share_the_clients() {
    let with = |name: &str, weight| Pool {
        weight,
        default: true,
        ..pool(name)
    };
    let routing = routing(vec![with("a", 3), with("b", 1), with("c", 0)], None);
    let mut counts = [0_u32; 3];
    let list = ListId(0);
    for client in 0..40_000_u32 {
        let address = |last: u32| IpAddr::V4((client << 8 | last).into());
        let located = routing.locate(list, address(1), Family::Any);
        assert_eq!(located.scope, 24);
        assert_eq!(routing.locate(list, address(255), Family::Any), located);
        counts[usize::from(located.pool.unwrap())] += 1;
    }
    assert!(
        counts[0].abs_diff(30_000) < 400 && counts[2] == 0,
        "{counts:?}"
    );
    let v6 = routing.locate(list, "2001:db8:1:2::3".parse().unwrap(), Family::Any);
    assert_eq!(v6.scope, 48);
    assert_eq!(
        routing.locate(list, "2001:db8:1:ffff::".parse().unwrap(), Family::Any),
        v6
    );
}

/// A network within a /24 takes its own clients and moves no other.
#[test]
fn a_network_moves_its_own_clients_only() {
    let default = |name: &str| Pool {
        default: true,
        ..pool(name)
    };
    let before = routing(vec![default("a"), default("b"), pool("c")], None);
    let c = Pool {
        networks: networks("0.0.1.64/26 0.0.9.1/32"),
        ..pool("c")
    };
    let after = routing(vec![default("a"), default("b"), c], None);
    for address in 0..20 << 8 {
        let pool = |routing: &Routing| {
            let located = routing.locate(ListId(0), IpAddr::V4(u32::into(address)), Family::Any);
            located.pool.unwrap()
        };
        let is_own = (0x140..0x180).contains(&address) || address == 0x901;
        let expected = if is_own { 2 } else { pool(&before) };
        assert_eq!(pool(&after), expected, "{address:x}");
    }
}

#[test]
fn pools_without_weight_are_used_if_there_is_nothing_else() {
    let with = |name: &str, networks_of: &str| Pool {
        weight: 0,
        networks: networks(networks_of),
        ..pool(name)
    };
    let routing = routing(vec![with("a", "10.0.0.0/8"), with("b", "11.0.0.0/8")], None);
    assert_eq!(explain(&routing, "10.1.1.1").0, "a");
}

/// Each list has tables of its own, so that scopes do not depend on the pools of other names.
#[test]
fn scopes_depend_on_the_pools_of_the_name_alone() {
    let default = Pool {
        default: true,
        ..pool("default")
    };
    let near = Pool {
        networks: networks("192.0.2.0/24"),
        ..pool("near")
    };
    let mut config = config(vec![default, near], None);
    let name = Owner::Name(ZoneName::parse("www.s.example.com").unwrap());
    config.routes.push(Route {
        owner: name.clone(),
        pools: [0].into(),
    });
    let routing = Routing::open(config).unwrap();
    let scope = |owner: &Owner| {
        let explained = routing.explain(owner, "192.0.2.1".parse().unwrap(), Family::Any);
        explained.unwrap().located.scope
    };
    assert_eq!((scope(&owner()), scope(&name)), (24, 0));
    assert_eq!(
        routing.of_name(b"\x03www\x01s\x07example\x03com\0"),
        Some(ListId(1))
    );
    assert_eq!(routing.of_name(b"\x04www2\x01s\x07example\x03com\0"), None);
}

fn refused(pools: Vec<Pool>, file: &Path) -> String {
    Routing::open(config(pools, Some(file.to_owned())))
        .unwrap_err()
        .to_string()
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let check = |pool: Pool, file: &str, parts: [&str; 2]| {
        let file = test_file(file);
        let error = refused(vec![pool], &file);
        let start = format!("routing.database: {}: ", file.display());
        assert!(error.starts_with(&start), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let of_country = || Pool {
        countries: letters("SE"),
        ..pool("a")
    };
    let of_continent = || Pool {
        continents: letters("EU"),
        ..pool("a")
    };
    let at_a_place = || Pool {
        location: Some(Location {
            latitude: 1.0,
            longitude: 1.0,
        }),
        ..pool("a")
    };
    check(
        of_country(),
        "none.mmdb",
        ["No such file", "or remove the key"],
    );
    check(
        of_country(),
        "README.md",
        ["not in the format of MaxMind", "download it again"],
    );
    let asn = "GeoLite2-ASN-Test.mmdb";
    check(
        of_country(),
        asn,
        ["has no countries", "use a database of countries or cities"],
    );
    check(
        of_continent(),
        asn,
        ["has no continents", "\"continents\" of a [[pool]]"],
    );
    let countries = "GeoLite2-Country-Test.mmdb";
    check(
        at_a_place(),
        countries,
        ["has no locations", "use a database of cities"],
    );
}

/// All damaged files of MaxMind's test data are refused, or have nothing wrong with what is read.
#[test]
fn damaged_databases_are_refused() {
    let mut refused_files = Vec::new();
    for entry in fs::read_dir(test_file("bad")).unwrap() {
        let file = entry.unwrap().path();
        let world = Routing::open(config(world(), Some(file.clone())));
        if let Err(error) = world {
            let error = error.to_string();
            assert!(
                error.contains("damaged") || error.contains("has no"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
            refused_files.push(file);
        }
    }
    assert!(refused_files.len() > 15, "{refused_files:?}");
}

/// Damage anywhere is an error or harmless: no panic, no endless loop.
#[test]
fn damage_does_no_harm() {
    let bytes = fs::read(test_file(CITIES)).unwrap();
    let mut random = fastrand::Rng::with_seed(18);
    let list: [Box<[u16]>; 1] = [(0..5).collect()];
    let mut refused = 0;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
        }
        let Ok(database) = maxminddb::Reader::from_source(damaged) else {
            refused += 1;
            continue;
        };
        let Ok(map) = build::make(&world(), &list, Some(&database)) else {
            refused += 1;
            continue;
        };
        for _ in 0..100 {
            let found = map.lists[0].candidates.ipv6.find(random.u128(..));
            assert!(usize::from(found.value) < map.lists[0].regions.len());
            map.lists[0].candidates.ipv4.find(random.u32(..));
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_reload_takes_the_new_file_or_keeps_the_old_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("places.mmdb");
    let bytes = fs::read(test_file(CITIES)).unwrap();
    fs::write(&file, &bytes).unwrap();
    let routing = Routing::open(config(world(), Some(file.clone()))).unwrap();
    let sweden = || explain(&routing, "89.160.20.128").0;
    assert_eq!(sweden(), "countries");
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(routing.reload().is_err());
    assert_eq!(sweden(), "countries");
    // Sweden becomes the country YY, which no pool has.
    let mut changed = bytes.clone();
    for at in 0..bytes.len() - 2 {
        if &bytes[at..at + 3] == b"BSE" {
            changed[at + 1..at + 3].copy_from_slice(b"YY");
        }
    }
    assert_ne!(changed, bytes);
    fs::write(&file, &changed).unwrap();
    assert!(routing.reload().unwrap());
    assert_eq!(sweden(), "europe");
    assert!(routing.source().unwrap().built > crate::base::clock::UnixTime(1_500_000_000));
    assert!(
        !self::routing(world_without_database(), None)
            .reload()
            .unwrap()
    );
}

fn world_without_database() -> Vec<Pool> {
    vec![Pool {
        default: true,
        ..pool("a")
    }]
}
