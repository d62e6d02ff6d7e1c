//! `[process]`.

use super::*;

#[test]
fn accounts_have_names_or_numbers() {
    let process = |text: &str| ok(&format!("[process]\n{text}\n")).process;
    assert_eq!(process(""), ProcessConfig::default());
    for name in ["tinyns", "65534", "_dns", "user@example.com", "grün"] {
        let expected = ProcessConfig {
            user: Some(name.into()),
            group: None,
        };
        assert_eq!(process(&format!("user = {name:?}")), expected);
        let expected = ProcessConfig {
            group: Some(name.into()),
            ..expected
        };
        assert_eq!(
            process(&format!("user = {name:?}\ngroup = {name:?}")),
            expected
        );
    }
    let longest = "x".repeat(255);
    assert_eq!(
        process(&format!("user = \"{longest}\"")).user,
        Some(longest)
    );
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let rule =
        "is not the name or number of a user or group: 1 to 255 bytes without blanks and colons";
    for bad in ["", "a b", "a:b", "\t", "a\nb"] {
        let text = format!("[process]\nuser = \"a\"\ngroup = {bad:?}\n");
        check(&text, &format!("t.toml:3: process.group: {bad:?} {rule}"));
    }
    let long = "x".repeat(256);
    let text = format!("[process]\nuser = {long:?}\n");
    check(&text, &format!("t.toml:2: process.user: {long:?} {rule}"));
    check(
        "[process]\nuser = 65534\n",
        "t.toml:2: process.user: invalid type: integer `65534`, expected a string",
    );
    check(
        "\n[process]\ngroup = \"daemon\"\n",
        "t.toml:3: process.group: missing; a group needs \"user\"",
    );
    check(
        "[process]\nusr = \"a\"\n",
        "t.toml:2: process.usr: unknown key; did you mean \"user\"? Known here: user, group",
    );
}

#[test]
fn the_example_for_the_open_internet_is_valid() {
    let config = ok(include_str!("../../../zones/server.toml"));
    let expected = Config {
        dns: DnsConfig {
            listen: addresses(&["0.0.0.0:53", "[::]:53"]),
            settings: Settings {
                rate_limit: ok("[rate_limit]").dns.settings.rate_limit,
                ..Settings::default()
            },
            ..Config::default().dns
        },
        zones: vec![ZoneConfig {
            file: "/etc/tinyns/s.example.com.zone".into(),
            ..Config::default().zones.remove(0)
        }],
        store: StoreConfig::Sqlite {
            path: "/var/lib/tinyns/links.sqlite".into(),
        },
        admin: AdminConfig {
            token_file: "/var/lib/tinyns/admin.token".into(),
            connections: connections::admin_default(),
            ..Config::default().admin
        },
        redirect: RedirectConfig {
            listen: addresses(&["0.0.0.0:80", "[::]:80"]),
            ..Config::default().redirect
        },
        ..Config::default()
    };
    assert_eq!(config, expected);
    assert!(config.dns.settings.rate_limit.is_some());
}

/// What is handed over has to be what the configuration lists.
#[test]
fn the_socket_unit_has_the_addresses_of_the_example() {
    let unit = include_str!("../../../zones/tinyns.socket");
    let config = ok(include_str!("../../../zones/server.toml"));
    for kind in ["ListenDatagram=", "ListenStream="] {
        let listed = unit.lines().filter_map(|line| line.strip_prefix(kind));
        let listed: Vec<SocketAddr> = listed.map(|address| address.parse().unwrap()).collect();
        assert_eq!(listed, config.dns.listen, "{kind}");
    }
}
