//! Knot DNS with its module geoip, and gdnsd, on the same map.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::Path;

use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::{CITIES, PLACES, ZONE, packet};
use crate::differential::servers::Other;
use crate::harness::{Setup, parse};

/// How many subnets are asked for.
const SUBNETS: usize = 10_000;
const SEED: u64 = 7_871;

/// The contents of the option, and the subnet for messages.
fn option(random: &mut fastrand::Rng) -> (Vec<u8>, String) {
    // Near the networks of the tests, so that they are met.
    let v4 = [
        0x59A0_1470_u32,
        0x5102_4580,
        0xAF10_C700,
        0x0A00_0000,
        0xC633_6400,
        0xD8A0_5300,
    ];
    let (bytes, most, family): (Vec<u8>, u8, u8) = match random.u8(..4) {
        0 => {
            let near = [0x2001_0218_u128 << 96, 0x2a02_cf40 << 96, 0x2001_0db8 << 96];
            let bits = random.choice(near).unwrap() ^ random.u128(..) >> random.u32(20..128);
            (bits.to_be_bytes().into(), 128, 2)
        }
        1 => (random.u32(..).to_be_bytes().into(), 32, 1),
        _ => {
            let bits = random.choice(v4).unwrap() ^ random.u32(..) >> random.u32(4..32);
            (bits.to_be_bytes().into(), 32, 1)
        }
    };
    let len = random.u8(1..=most);
    let mut kept = bytes[..usize::from(len).div_ceil(8)].to_vec();
    if let Some(last) = kept.last_mut() {
        *last &= 0xFF << ((8 - len % 8) % 8);
    }
    let mut contents = vec![0, family, len, 0];
    contents.extend(&kept);
    let shown = format!("{kept:?}/{len}");
    (contents, shown)
}

/// Compares the addresses of both servers for many subnets. Returns how many had others than those of the zone file.
fn compare(setup: Setup, module: &str, map: &str) -> usize {
    let knot = Other::knot_by_place(&[("s.example.com", ZONE.to_owned())], module, map);
    compare_with(setup, &knot, |_, _, _| {})
}

/// The same, with `also` for both replies to each query.
fn compare_with(setup: Setup, other: &Other, also: impl Fn(&[u8], &[u8], &str)) -> usize {
    let server = setup.start();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut routed = 0;
    for _ in 0..SUBNETS {
        let (contents, shown) = option(&mut random);
        let query = packet(&contents);
        let of = |reply: &[u8]| {
            let answers = parse(reply).answers;
            let mut all: Vec<_> = answers
                .iter()
                .map(|record| record.data.to_string())
                .collect();
            all.sort_unstable();
            all
        };
        let replies = (server.udp(&query), other.client.udp(&query).unwrap());
        let (ours, theirs) = (of(&replies.0), of(&replies.1));
        assert_eq!(ours, theirs, "{shown}; DIFFERS");
        also(&replies.0, &replies.1, &shown);
        routed += usize::from(ours != ["192.0.2.10"]);
    }
    routed
}

/// Networks within networks: both choose the smallest one.
#[test]
fn networks_lead_to_the_same_pools_as_in_knot() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut pools, mut names, mut map) = (
        String::new(),
        String::new(),
        "www.s.example.com:\n".to_owned(),
    );
    for place in 0..40 {
        let (contents, _) = option(&mut random);
        let len = contents[2];
        let network = match contents[1] {
            1 => {
                let mut bytes = [0; 4];
                bytes[..contents.len() - 4].copy_from_slice(&contents[4..]);
                format!("{}/{len}", std::net::Ipv4Addr::from(bytes))
            }
            _ => {
                let mut bytes = [0; 16];
                bytes[..contents.len() - 4].copy_from_slice(&contents[4..]);
                format!("{}/{len}", Ipv6Addr::from(bytes))
            }
        };
        if map.contains(&format!("net: {network}\n")) {
            continue;
        }
        let address = format!("198.51.100.{place}");
        writeln!(map, "  - net: {network}\n    A: {address}").unwrap();
        writeln!(
            pools,
            "[[pool]]\nname = \"p{place}\"\naddresses = \"{address}\"\nnetworks = \"{network}\""
        )
        .unwrap();
        write!(names, "\"p{place}\", ").unwrap();
    }
    let zone =
        format!("redirect_host = \"r\"\n[[zone.route]]\nname = \"www\"\npools = [{names}]\n");
    let setup = Setup::empty()
        .zone("s.example.com", &zone, ZONE)
        .section(&pools);
    let routed = compare(setup, "    mode: subnet\n", &map);
    assert!(routed > SUBNETS / 4, "{routed}");
}

/// Countries and continents of a database of cities.
#[test]
fn places_lead_to_the_same_pools_as_in_knot() {
    let database = Path::new(PLACES).join(CITIES);
    let countries = [
        ("EU", "SE", 1),
        ("EU", "GB", 2),
        ("AS", "CN", 3),
        ("AS", "JP", 4),
        ("NA", "US", 5),
    ];
    let continents = [("EU", 6), ("AS", 7), ("NA", 8)];
    let (mut pools, mut names, mut map) = (
        String::new(),
        String::new(),
        "www.s.example.com:\n".to_owned(),
    );
    let mut add = |name: &str, key: &str, value: &str, geo: &str, last: u8| {
        let address = format!("198.51.100.{last}");
        writeln!(map, "  - geo: \"{geo}\"\n    A: {address}").unwrap();
        writeln!(
            pools,
            "[[pool]]\nname = \"{name}\"\naddresses = \"{address}\"\n{key} = \"{value}\""
        )
        .unwrap();
        write!(names, "\"{name}\", ").unwrap();
    };
    for (continent, country, last) in countries {
        add(
            country,
            "countries",
            country,
            &format!("{continent};{country}"),
            last,
        );
    }
    for (continent, last) in continents {
        add(
            &format!("all-{continent}"),
            "continents",
            continent,
            &format!("{continent};*"),
            last,
        );
    }
    let zone =
        format!("redirect_host = \"r\"\n[[zone.route]]\nname = \"www\"\npools = [{names}]\n");
    let routing = format!("[routing]\ndatabase = \"{}\"\n", database.display());
    let setup = Setup::empty().zone("s.example.com", &zone, ZONE);
    let setup = setup.section(&pools).section(&routing);
    let module = format!(
        "    mode: geodb\n    geodb-file: {}\n    geodb-key: [ continent/code, country/iso_code ]\n",
        database.display()
    );
    let routed = compare(setup, &module, &map);
    assert!(routed > SUBNETS / 20, "{routed}");
}

/// The scope of a reply.
fn scope(reply: &[u8]) -> u8 {
    let edns = parse(reply).edns.unwrap();
    match edns.option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => subnet.scope_prefix(),
        other => panic!("{other:?}"),
    }
}

/// Networks, a continent, distances and a default. gdnsd finds the smallest scopes; no scope of tinyns is longer.
#[test]
fn networks_continents_and_distances_lead_to_the_same_pools_as_in_gdnsd() {
    let database = Path::new(PLACES).join(CITIES);
    let pools = "\
        [[pool]]\nname = \"eu\"\naddresses = \"198.51.100.1\"\ncontinents = [\"EU\"]\ndefault = true\n\
        [[pool]]\nname = \"seattle\"\naddresses = \"198.51.100.2\"\nlatitude = 47.6\nlongitude = -122.3\n\
        [[pool]]\nname = \"tokyo\"\naddresses = \"198.51.100.3\"\nlatitude = 35.7\nlongitude = 139.7\n\
        [[pool]]\nname = \"own\"\naddresses = \"198.51.100.4\"\n\
        networks = [\"10.0.0.0/8\", \"89.160.20.112/29\", \"2001:218::/48\"]\n";
    let zone = "redirect_host = \"r\"\n[[zone.route]]\nname = \"www\"\n\
        pools = [\"eu\", \"seattle\", \"tokyo\", \"own\"]\n";
    let routing = format!("[routing]\ndatabase = \"{}\"\n", database.display());
    let setup = Setup::empty().zone("s.example.com", zone, ZONE);
    let setup = setup.section(pools).section(&routing);
    // Clients of whom the database knows no place get the first data centre.
    let map = format!(
        "geoip2_db => {}\n\
         datacenters => [eu, seattle, tokyo, own]\n\
         auto_dc_coords => {{ seattle => [47.6, -122.3], tokyo => [35.7, 139.7] }}\n\
         auto_dc_limit => 1\n\
         map => {{ EU => [eu], default => auto }}\n\
         nets => {{ 10.0.0.0/8 => [own], 89.160.20.112/29 => [own], 2001:218::/48 => [own] }}\n",
        database.display()
    );
    let centres = ["eu", "seattle", "tokyo", "own"].into_iter().zip(1..);
    let centres =
        centres.map(|(name, last)| format!("{name} => {{ addrs_v4 => [198.51.100.{last}] }}\n"));
    let gdnsd = Other::gdnsd_by_place("s.example.com", &map, &centres.collect::<String>());
    let routed = compare_with(setup, &gdnsd, |ours, theirs, shown| {
        assert!(scope(ours) <= scope(theirs), "{shown}");
    });
    assert_eq!(routed, SUBNETS);
}
