//! `[[pool]]`, `[routing]` and the pools of zones.

use super::*;
use crate::routing::{
    Check, CheckKind, Fail, Letters, Location, Owner, Pool, Request, Route, RoutingConfig,
};

/// A zone with these lines, which begin in line 5, and what follows.
fn with_zone(lines: &str, rest: &str) -> String {
    let zone = "[[zone]]\norigin = \"s.example.com\"\nfile = \"zone\"\nredirect_host = \"r\"\n";
    format!("{zone}{lines}\n{rest}")
}

const TWO: &str = "[[pool]]\nname = \"eu\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n\
    [[pool]]\nname = \"us\"\naddresses = \"192.0.2.2\"\n";

/// Checks the message for a pool with these lines, which begin in line 2.
fn check_pool(lines: &str, expected: &str) {
    check(&format!("[[pool]]\n{lines}\n"), expected);
}

/// The same for a good pool with these lines, which begin in line 4.
fn check_more(lines: &str, expected: &str) {
    check_pool(
        &format!("name = \"a\"\naddresses = \"192.0.2.1\"\n{lines}"),
        expected,
    );
}

#[test]
fn the_keys_have_an_effect() {
    let zone = "pools = [\"us\", \"eu\"]\n[[zone.route]]\nname = \"WWW\"\npools = \"eu\"\n\
        [[zone.route]]\nname = \"@\"\npools = \"eu\"\n";
    let rest = "[[pool]]\nname = \"eu\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\", \"192.0.2.1\"]\n\
        countries = [\"CH\", \"no\"]\ncontinents = \"EU\"\nnetworks = [\"10.0.0.0/8\"]\nlatitude = 50\n\
        longitude = -8.5\nweight = 1000\n\
        [[pool]]\nname = \"us\"\naddresses = \"192.0.2.2\"\n\
        [routing]\ndatabase = \"city.mmdb\"\nttl = 30\nclient_subnet = false\n";
    let letters = |text: &str| Letters::parse(text).unwrap();
    let name = |text: &str| ZoneName::parse(text).unwrap();
    let of_name = |text: &str| Route {
        owner: Owner::Name(name(text)),
        pools: [0].into(),
    };
    let expected = RoutingConfig {
        pools: vec![
            Pool {
                name: "eu".into(),
                ipv4: vec!["192.0.2.1".parse().unwrap()],
                ipv6: vec!["2001:db8::1".parse().unwrap()],
                countries: vec![letters("CH"), letters("NO")],
                continents: vec![letters("EU")],
                networks: vec!["10.0.0.0/8".parse().unwrap()],
                location: Some(Location {
                    latitude: 50.0,
                    longitude: -8.5,
                }),
                weight: 1_000,
                default: false,
                check: None,
            },
            Pool {
                name: "us".into(),
                ipv4: vec!["192.0.2.2".parse().unwrap()],
                ipv6: Vec::new(),
                countries: Vec::new(),
                continents: Vec::new(),
                networks: Vec::new(),
                location: None,
                weight: 1,
                default: true,
                check: None,
            },
        ],
        routes: vec![
            Route {
                owner: Owner::Links(name("s.example.com")),
                pools: [0, 1].into(),
            },
            of_name("www.s.example.com"),
            of_name("s.example.com"),
        ],
        database: Some("city.mmdb".into()),
        ttl: 30,
        client_subnet: false,
        fail: Fail::Open,
    };
    assert_eq!(ok(&with_zone(zone, rest)).routing, Some(expected));
}

#[test]
fn without_names_there_is_no_routing() {
    assert_eq!(ok(TWO).routing, None);
    assert_eq!(ok("[routing]\nttl = 1\n").routing, None);
    let routing = ok(&with_zone("pools = \"eu\"", TWO)).routing.unwrap();
    assert_eq!((routing.ttl, routing.client_subnet), (60, true));
}

#[test]
fn pools_are_checked() {
    check_pool(
        "addresses = \"192.0.2.1\"",
        "t.toml:1: pool: missing; a [[pool]] needs \"name\"",
    );
    check_pool(
        "name = \"a\"",
        "t.toml:1: pool: missing; a [[pool]] needs \"addresses\"",
    );
    check_pool(
        "addresses = \"192.0.2.1\"\nname = \"a b\"",
        "t.toml:3: pool.name: \"a b\" is not 1 to 63 letters, digits, hyphens and underscores",
    );
    check_pool(
        "name = \"a\"\naddresses = []",
        "t.toml:3: pool.addresses: at least one address is needed",
    );
    check_pool(
        "name = \"a\"\naddresses = \"localhost\"",
        "t.toml:3: pool.addresses: \"localhost\" is not an IP address, such as \"192.0.2.1\" or \"2001:db8::1\"",
    );
    check_pool(
        "name = \"a\"\naddresses = \"0.0.0.0\"",
        "t.toml:3: pool.addresses: 0.0.0.0 is no address of a host",
    );
    check_more(
        "countries = [\"UK\"]\n[routing]\ndatabase = \"a\"",
        "t.toml:4: pool.countries: \"UK\" is not the code of a country (ISO 3166-1), such as \"DE\" or \"GB\"",
    );
    check_more(
        "continents = [\"XX\"]\n[routing]\ndatabase = \"a\"",
        "t.toml:4: pool.continents: \"XX\" is not a continent: \"AF\", \"AN\", \"AS\", \"EU\", \"NA\", \"OC\" or \"SA\"",
    );
    check_more(
        "networks = [\"10.0.0.1/8\"]",
        "t.toml:4: pool.networks: \"10.0.0.1/8\": the address has bits beyond the length of the prefix",
    );
    check_more(
        "latitude = 90.5\nlongitude = 1\n[routing]\ndatabase = \"a\"",
        "t.toml:4: pool.latitude: not within -90 to 90 degrees",
    );
    check_more(
        "latitude = 9\n[routing]\ndatabase = \"a\"",
        "t.toml:4: pool.latitude: missing; a location needs \"longitude\"",
    );
    check_more(
        "weight = 1001",
        "t.toml:4: pool.weight: 1001 is not within 0 to 1000",
    );
    check_more(
        "default = false",
        "t.toml:4: pool.default: no client would get this pool; set \"countries\", \"continents\", \"networks\", or \
         \"latitude\" and \"longitude\", or remove default = false",
    );
    check_more(
        "continents = \"EU\"",
        "t.toml:4: pool.continents: needs a database of places; set \"database\" in [routing], or use \"networks\" instead",
    );
    check(
        &format!("{TWO}[[pool]]\nname = \"eu\"\naddresses = \"192.0.2.3\"\n"),
        "t.toml:8: pool.name: \"eu\" is already the name of the pool in line 2",
    );
}

#[test]
fn names_are_checked() {
    check(
        &with_zone("pools = [\"eu\", \"asia\"]", TWO),
        "t.toml:5: zone.pools: no [[pool]] has the name \"asia\"; there are \"eu\", \"us\"",
    );
    check(
        &with_zone("pools = \"eu\"", ""),
        "t.toml:5: zone.pools: no [[pool]] has the name \"eu\"; there is none",
    );
    check(
        &with_zone("pools = []", TWO),
        "t.toml:5: zone.pools: at least one pool is needed; remove the key if the addresses of the zone file are for all \
         clients",
    );
    check(
        &with_zone("pools = [\"eu\", \"eu\"]", TWO),
        "t.toml:5: zone.pools: \"eu\" is in the list twice",
    );
    check(
        &with_zone("[[zone.route]]\nname = \"www\"", TWO),
        "t.toml:5: zone.route: missing; a [[zone.route]] needs \"pools\"",
    );
    for name in ["*", "*.www", "", "www.s.example.com.", "a..b"] {
        check(
            &with_zone(
                &format!("[[zone.route]]\nname = \"{name}\"\npools = \"eu\""),
                TWO,
            ),
            &format!(
                "t.toml:6: zone.route.name: \"{name}\" is not a name of the zone file, such as \"www\", or \"@\" for the \
                 origin; wildcards cannot have pools"
            ),
        );
    }
    let twice = "[[zone.route]]\nname = \"www\"\npools = \"eu\"\n[[zone.route]]\nname = \"WWW\"\npools = \"us\"";
    check(
        &with_zone(twice, TWO),
        "t.toml:9: zone.route.name: www.s.example.com already has pools in line 6",
    );
    let without_links = "[[zone]]\norigin = \"a\"\nfile = \"a\"\nredirect_host = \"r\"\n\
        [[zone]]\norigin = \"b\"\nfile = \"b\"\npools = \"eu\"\n";
    check(
        &format!("{without_links}{TWO}"),
        "t.toml:8: zone.pools: missing; a zone with pools for its links needs \"redirect_host\"",
    );
    check(
        "[routing]\nttl = 86401\n",
        "t.toml:2: routing.ttl: 86401 is not within 0 to 86400 seconds",
    );
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let pool = documented("[pool]");
    let text = |routing: &str| with_zone("pools = \"eu\"", &format!("{pool}\n{routing}\n"));
    let documented = ok(&text(&documented("routing"))).routing.unwrap();
    let shortest = ok(&text("[routing]\ndatabase = \"city.mmdb\"")).routing;
    assert_eq!(Some(documented.clone()), shortest);
    // With its values left out, the pool has those that are shown.
    let pool = &documented.pools[0];
    assert_eq!((pool.weight, pool.default), (1, false));
}

/// The check of a pool with these lines, which begin in line 5.
fn check_of(lines: &str) -> Check {
    let pool =
        format!("[[pool]]\nname = \"eu\"\naddresses = \"192.0.2.1\"\n[pool.check]\n{lines}\n");
    let config = ok(&with_zone("pools = \"eu\"", &pool));
    *config.routing.unwrap().pools[0].check.clone().unwrap()
}

fn check_check(lines: &str, expected: &str) {
    check_more(&format!("[pool.check]\n{lines}"), expected);
}

#[test]
fn checks_of_the_documentation_and_without_any_key() {
    let text = documented("pool.check");
    let (_, lines) = text.split_once('\n').unwrap();
    let request = Request {
        path: "/".into(),
        host: Some("www.example.com".into()),
        status: Some(200),
    };
    let documented = Check {
        kind: CheckKind::Https {
            request,
            verify: true,
            ca_file: Some("ca.pem".into()),
        },
        port: 443,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        failures: 3,
        passes: 2,
    };
    assert_eq!(check_of(lines), documented);
    let request = Request {
        path: "/".into(),
        host: None,
        status: None,
    };
    let shortest = Check {
        kind: CheckKind::Http(request.clone()),
        port: 80,
        ..documented.clone()
    };
    assert_eq!(check_of(""), shortest);
    let kind = CheckKind::Https {
        request,
        verify: false,
        ca_file: None,
    };
    let https = Check {
        kind,
        ..documented.clone()
    };
    assert_eq!(check_of("kind = \"https\"\nverify = false"), https);
    let tcp = Check {
        kind: CheckKind::Tcp,
        port: 25,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(2_500),
        failures: 1,
        passes: 20,
    };
    let lines =
        "kind = \"tcp\"\nport = 25\ninterval = 0.1\ntimeout = 2.5\nfailures = 1\npasses = 20";
    assert_eq!(check_of(lines), tcp);
}

#[test]
fn bad_checks_have_good_messages() {
    let at = "pool.check.";
    for (line, message) in [
        (
            "kind = \"ftp\"",
            "kind: unknown value \"ftp\", expected \"http\", \"https\" or \"tcp\"",
        ),
        ("port = 0", "port: 0 is not within 1 to 65535"),
        ("path = \"a\"", "path: \"a\" is not a path"),
        ("path = \"/a b\"", "path: \"/a b\" is not a path"),
        (
            "host = \"a:80\"",
            "host: \"a:80\" is not a host name without a port",
        ),
        ("host = \"a..b\"", "host: \"a..b\" is not a host name"),
        ("status = 600", "status: 600 is not within 100 to 599"),
        ("verify = false", "verify: only for kind = \"https\""),
        ("ca_file = \"a\"", "ca_file: only for kind = \"https\""),
        (
            "interval = 0.09",
            "interval: not a number of seconds from 0.1 to 3600",
        ),
        (
            "timeout = 5.1",
            "timeout: not a number of seconds from 0.1 to 5",
        ),
        ("failures = 21", "failures: 21 is not within 1 to 20"),
        ("passes = 0", "passes: 0 is not within 1 to 20"),
        ("intervall = 1", "unknown"),
    ] {
        let text =
            format!("[[pool]]\nname = \"a\"\naddresses = \"192.0.2.1\"\n[pool.check]\n\n{line}\n");
        let error = parse(&text).unwrap_err().to_string();
        let is_good = match message {
            "unknown" => error.contains("pool.check.intervall") && error.contains("interval"),
            message => error.starts_with("t.toml:6") && error.contains(&format!("{at}{message}")),
        };
        assert!(is_good, "{line}: {error}");
    }
    check_check(
        "kind = \"tcp\"",
        "t.toml:4: pool.check: missing; [pool.check] needs \"port\"",
    );
    let of_tcp = "kind = \"tcp\"\nport = 1\npath = \"/\"";
    check_check(
        of_tcp,
        "t.toml:7: pool.check.path: only for kind = \"http\" or \"https\"",
    );
    let unverified = "kind = \"https\"\nverify = false\nca_file = \"a\"";
    check_check(
        unverified,
        "t.toml:7: pool.check.ca_file: with verify = false any certificate passes; remove one of the two keys",
    );
}

/// Each check of each address counts, but not twice.
#[test]
fn targets_have_a_bound() {
    let pools = |count: usize| -> String {
        (0..count)
            .map(|pool| {
                let addresses: Vec<_> = (0..32).map(|n| format!("10.0.{}.{n}", pool % 200)).collect();
                format!("[[pool]]\nname = \"p{pool}\"\naddresses = {addresses:?}\n[pool.check]\nport = 80\n")
            })
            .collect()
    };
    let text = |pools: &str| with_zone("pools = \"p0\"", &format!("{pools}[routing]\n"));
    ok(&text(&pools(128)));
    let error = parse(&text(&pools(129))).unwrap_err().to_string();
    assert!(error.contains("4128 checks of addresses"), "{error}");
}
