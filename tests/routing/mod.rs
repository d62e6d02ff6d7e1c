//! Addresses that depend on the client: real clients with `+subnet`, raw packets, the API, reloads of the database, and
//! Knot DNS and gdnsd beside it.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::command_line::on;
use crate::harness::{PATIENCE, Server, Setup, eventually, parse, run};

mod health;
mod others;
mod resolver;
mod targets;

const PLACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/countries/");
const CITIES: &str = "GeoIP2-City-Test.mmdb";

/// The name and the pools of the tests. 89.160.20.112/28 is in Sweden, 81.2.69.142 in London, 216.160.83.56 in the state of
/// Washington, and 175.16.199.0/24 in Changchun.
const ZONE: &str = "\
$TTL 300
@       3600 IN SOA ns1 hostmaster 1 3600 600 86400 60
@            IN NS  ns1
ns1          IN A    192.0.2.1
www          IN A    192.0.2.10
www          IN AAAA 2001:db8::10
plain        IN A    192.0.2.11
*.r          IN A    192.0.2.10
*.r          IN AAAA 2001:db8::10
";
const NAMES: &str = "redirect_host = \"r\"\npools = [\"europe\", \"sweden\", \"tokyo\", \"own\"]\n\
    [[zone.route]]\nname = \"www\"\npools = [\"europe\", \"sweden\", \"tokyo\", \"own\"]\n";
const POOLS: &str = "\
[[pool]]
name = \"europe\"
addresses = [\"192.0.2.21\", \"2001:db8::21\"]
continents = [\"EU\"]
[[pool]]
name = \"sweden\"
addresses = \"192.0.2.22\"
countries = [\"SE\"]
[[pool]]
name = \"tokyo\"
addresses = [\"192.0.2.23\", \"192.0.2.24\"]
latitude = 35.7
longitude = 139.7
[[pool]]
name = \"own\"
addresses = \"192.0.2.25\"
networks = [\"10.0.0.0/8\", \"81.2.69.160/27\"]
";

fn setup(database: &Path) -> Setup {
    let routing = format!("[routing]\ndatabase = \"{}\"\n", database.display());
    let setup = Setup::empty().zone("s.example.com", NAMES, ZONE);
    setup.section(POOLS).section(&routing)
}

fn started() -> Server {
    let server = setup(&Path::new(PLACES).join(CITIES)).start();
    server.register("sale", "https://example.net/sale");
    server
}

fn port(server: &Server) -> String {
    server.dns_addresses()[0].port().to_string()
}

/// What dig shows: the addresses, and the line of the client subnet.
fn dig(server: &Server, subnet: &str, name: &str, more: &[&str]) -> (Vec<String>, Option<String>) {
    dig_at(&port(server), subnet, name, more)
}

/// The same, from a server at this port.
fn dig_at(port: &str, subnet: &str, name: &str, more: &[&str]) -> (Vec<String>, Option<String>) {
    let subnet = format!("+subnet={subnet}");
    let mut args = vec!["@127.0.0.1", "-p", port, &subnet, name];
    args.extend(more);
    let text = run("dig", &args);
    let is_address = |line: &&str| {
        !line.starts_with(';') && (line.contains("\tA\t") || line.contains("\tAAAA\t"))
    };
    let addresses = text.lines().filter(is_address);
    let addresses = addresses.filter_map(|line| line.split_whitespace().last());
    let scope = text
        .lines()
        .find_map(|line| line.strip_prefix("; CLIENT-SUBNET: "));
    (
        addresses.map(str::to_owned).collect(),
        scope.map(str::to_owned),
    )
}

#[test]
fn clients_get_the_pool_of_their_subnet() {
    let server = started();
    let check = |subnet: &str, expected: &[&str], scope: &str| {
        for name in [
            "sale.s.example.com",
            "sale.r.s.example.com",
            "www.s.example.com",
        ] {
            // Anew and from a hot answer.
            for _ in 0..2 {
                let (mut addresses, shown) = dig(&server, subnet, name, &["A"]);
                addresses.sort_unstable();
                assert_eq!(addresses, expected, "{subnet} {name}");
                assert_eq!(shown.as_deref(), Some(scope), "{subnet} {name}");
            }
        }
    };
    check("89.160.20.112/28", &["192.0.2.22"], "89.160.20.112/28/28");
    check("81.2.69.142/32", &["192.0.2.21"], "81.2.69.142/32/31");
    check("81.2.69.160/32", &["192.0.2.25"], "81.2.69.160/32/27");
    check(
        "175.16.199.0/24",
        &["192.0.2.23", "192.0.2.24"],
        "175.16.199.0/24/24",
    );
    check("10.1.2.0/24", &["192.0.2.25"], "10.1.2.0/24/8");
    // SOURCE 0: by the address of the resolver, for all clients that want that.
    check("0", &["192.0.2.10"], "0.0.0.0/0/0");
    let (addresses, scope) = dig(&server, "81.2.69.0/24", "sale.s.example.com", &["AAAA"]);
    assert_eq!(
        addresses,
        ["2001:db8::10"],
        "the first address of the network decides"
    );
    assert!(scope.unwrap().starts_with("81.2.69.0/24/"));
    // By TCP.
    let (addresses, _) = dig(
        &server,
        "89.160.20.112/28",
        "sale.s.example.com",
        &["+tcp", "A"],
    );
    assert_eq!(addresses, ["192.0.2.22"]);
}

#[test]
fn what_does_not_depend_on_the_client_has_scope_0() {
    let server = started();
    for (name, qtype) in [
        ("sale.s.example.com", "TXT"),
        ("sale.s.example.com", "URI"),
        ("sale.s.example.com", "MX"),
        ("plain.s.example.com", "A"),
        ("nosuch.s.example.com", "A"),
        ("s.example.com", "NS"),
        ("example.org", "A"),
    ] {
        let (_, scope) = dig(&server, "89.160.20.112/28", name, &[qtype]);
        assert_eq!(
            scope.as_deref(),
            Some("89.160.20.112/28/0"),
            "{name} {qtype}"
        );
    }
    let text = run(
        "dig",
        &["@127.0.0.1", "-p", &port(&server), "A", "www.s.example.com"],
    );
    assert!(!text.contains("CLIENT-SUBNET"), "{text}");
}

#[test]
fn kdig_shows_the_same() {
    let server = started();
    let port = port(&server);
    let args = [
        "@127.0.0.1",
        "-p",
        &port,
        "+subnet=89.160.20.112/28",
        "A",
        "www.s.example.com",
    ];
    let text = run("kdig", &args);
    assert!(
        text.contains("192.0.2.22") && text.contains("89.160.20.112/28/28"),
        "{text}"
    );
}

/// A query for the A records of `www` with these contents of the option.
fn packet(subnet: &[u8]) -> Vec<u8> {
    let mut packet =
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03www\x01s\x07example\x03com\0\0\x01\0\x01".to_vec();
    let len = subnet.len() as u8;
    packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0");
    packet.extend([4 + len, 0, 8, 0, len]);
    packet.extend(subnet);
    packet
}

#[test]
fn rfc7871_7_1_2_malformed_subnets_are_refused() {
    let server = started();
    let bad: [&[u8]; 8] = [
        b"",
        &[0, 1, 24],
        &[0, 3, 24, 0, 192, 0, 2],
        &[0, 1, 33, 0, 192, 0, 2, 1, 0],
        &[0, 1, 24, 0, 192, 0],
        &[0, 1, 24, 0, 192, 0, 2, 0],
        &[0, 1, 23, 0, 192, 0, 3],
        &[0, 1, 24, 1, 192, 0, 2],
    ];
    for subnet in bad {
        for reply in [server.udp(&packet(subnet)), server.tcp(&packet(subnet))] {
            assert_eq!(reply[3] & 0x0F, 1, "{subnet:?}: FORMERR");
            assert_eq!(reply[2] & 0x80, 0x80);
        }
    }
    let good = server.udp(&packet(&[0, 1, 24, 0, 192, 0, 2]));
    assert_eq!(parse(&good).answers.len(), 1);
    // A server without pools ignores all of them.
    let plain = Setup::new().start();
    for subnet in bad {
        assert_eq!(plain.udp(&packet(subnet))[3] & 0x0F, 0, "{subnet:?}");
    }
}

#[test]
fn the_api_and_the_command_explain_what_dns_answers() {
    let server = started();
    for address in [
        "89.160.20.113",
        "81.2.69.142",
        "175.16.199.7",
        "10.0.0.1",
        "192.0.2.1",
        "2001:218::1",
    ] {
        let path = format!("/v1/pools/explain?address={address}");
        let explained = server.api("GET", &path, None).json();
        let route = &explained["routes"][1];
        assert_eq!(route["name"], "www.s.example.com");
        let len = if address.contains(':') { 128 } else { 32 };
        let (mut addresses, scope) = dig(
            &server,
            &format!("{address}/{len}"),
            "www.s.example.com",
            &["A"],
        );
        addresses.sort_unstable();
        let of_pool = route["addresses"].as_array().unwrap().iter();
        let of_pool = of_pool.filter_map(|text| text.as_str()?.parse().ok());
        let mut expected: Vec<_> = of_pool
            .filter(IpAddr::is_ipv4)
            .map(|ip| ip.to_string())
            .collect();
        if expected.is_empty() {
            expected.push("192.0.2.10".into());
        }
        assert_eq!(addresses, expected, "{address}: {route}");
        let shown = format!("{address}/{len}/{}", route["scope"]);
        assert_eq!(scope, Some(shown), "{route}");
    }
    let command = |args: &[&str]| {
        let said = on(&server, args);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out
    };
    let text = command(&["pools", "explain", "89.160.20.113"]);
    assert!(text.contains("links of s.example.com: sweden\n"), "{text}");
    assert!(
        text.contains("the database has 89.160.20.113 in the country SE\n"),
        "{text}"
    );
    assert!(text.contains("holds for  89.160.20.112/28\n"), "{text}");
    let text = command(&["pools", "list"]);
    assert!(
        text.contains("near 35.7,139.7") && text.contains("www.s.example.com: europe, sweden"),
        "{text}"
    );
}

#[test]
fn a_reload_takes_a_new_database_or_keeps_the_old_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("places.mmdb");
    let bytes = fs::read(Path::new(PLACES).join(CITIES)).unwrap();
    fs::write(&file, &bytes).unwrap();
    let server = setup(&file).start();
    let sweden = || dig(&server, "89.160.20.112/28", "www.s.example.com", &["A"]).0;
    assert_eq!(sweden(), ["192.0.2.22"]);
    let reloads = |outcome| server.metric("tinyns_place_reloads_total", &[("outcome", outcome)]);
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    server.signal(Signal::SIGHUP);
    server
        .log()
        .wait_for("database of places not reloaded; the old state stays in use");
    eventually("it is counted", PATIENCE, || reloads("Failure") == 1.0);
    assert_eq!(sweden(), ["192.0.2.22"]);
    // Sweden becomes a country that no pool has.
    let mut changed = bytes.clone();
    for at in 0..bytes.len() - 2 {
        if &bytes[at..at + 3] == b"BSE" {
            changed[at + 1..at + 3].copy_from_slice(b"YY");
        }
    }
    fs::write(&file, &changed).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("it is counted", PATIENCE, || reloads("Success") == 1.0);
    assert_eq!(sweden(), ["192.0.2.21"]);
    assert!(server.metric("tinyns_place_database_networks", &[]) > 100.0);
    let pool = |pool| server.metric("tinyns_dns_routed_responses_total", &[("pool", pool)]);
    eventually("replies are counted by pool", PATIENCE, || {
        (pool("sweden"), pool("europe")) == (2.0, 1.0)
    });
    assert_eq!(
        server.ask("www.s.example.com", RecordType::A).answers.len(),
        1
    );
}

/// What the start refuses, `tinyns check` refuses with the same words.
#[test]
fn bad_databases_and_zones_end_the_start() {
    setup(Path::new("/none.mmdb")).check_refused(&["routing.database: /none.mmdb", "No such file"]);
    let asn = Path::new(PLACES).join("GeoLite2-ASN-Test.mmdb");
    setup(&asn).check_refused(&["has no countries", "use a database of countries or cities"]);
    let cyclic = Path::new(PLACES).join("bad/cyclic-data-structure.mmdb");
    setup(&cyclic).check_refused(&["routing.database", "damaged"]);
    let without = |name: &str, pattern: &str| {
        let zone: String = ZONE
            .lines()
            .filter(|line| !line.starts_with(pattern))
            .map(|line| format!("{line}\n"))
            .collect();
        let zone = zone + "*.r IN MX 10 ns1\nwww IN TXT a\n";
        let setup = Setup::empty()
            .zone("s.example.com", NAMES, &zone)
            .section(POOLS);
        let database = Path::new(PLACES).join(CITIES);
        let routing = format!("[routing]\ndatabase = \"{}\"\n", database.display());
        setup.section(&routing).check_refused(&[name, "add"]);
    };
    without(
        "zone.route.name: the zone file has no A or AAAA records at www.s.example.com",
        "www",
    );
    without(
        "zone.pools: the zone file of s.example.com has no addresses",
        "*.r",
    );
}
