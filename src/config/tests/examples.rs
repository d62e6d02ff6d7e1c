//! The example files in `zones/`.

use super::*;

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
            connections: admin::default_connections(),
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

/// The sockets that systemd hands over have to be those that the configuration lists.
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

/// The defaults, except that all addresses of a container are listened on.
fn in_a_container() -> Config {
    Config {
        dns: DnsConfig {
            listen: addresses(&["0.0.0.0:5300"]),
            ..Config::default().dns
        },
        admin: AdminConfig {
            listen: addresses(&["0.0.0.0:8053"]),
            ..Config::default().admin
        },
        redirect: RedirectConfig {
            listen: addresses(&["0.0.0.0:8080"]),
            ..Config::default().redirect
        },
        ..Config::default()
    }
}

#[test]
fn the_container_image_listens_on_every_address() {
    let text = include_str!("../../../zones/container.toml");
    assert_eq!(ok(text), in_a_container());
}

#[test]
fn the_trial_has_short_urls_that_work_on_this_machine() {
    let expected = Config {
        zones: vec![ZoneConfig {
            origin: ZoneName::parse("s.localhost").unwrap(),
            file: "zones/s.localhost.zone".into(),
            ..Config::default().zones.remove(0)
        }],
        redirect: RedirectConfig {
            short_urls: ShortUrls {
                scheme: Scheme::Http,
                port: Some(8_080),
            },
            ..Config::default().redirect
        },
        ..Config::default()
    };
    assert_eq!(ok(include_str!("../../../zones/localhost.toml")), expected);
}

#[test]
fn the_fleet_of_containers_shares_a_table_and_a_redis() {
    let expected = Config {
        store: StoreConfig::DynamoDb(DynamoConfig {
            table: "tinyUrl".into(),
            region: None,
            endpoint_url: Some("http://dynamodb:8000".into()),
            create_table: true,
            feed: true,
            audit: None,
            statistics: Some(crate::store::StatisticsTable {
                name: "tinyns-statistics".into(),
                writes_per_second: 100,
                flush_every: Duration::from_secs(60),
            }),
        }),
        store_reads_per_second: NonZeroU32::new(1_000),
        redis: Some(RedisConfig {
            urls: urls(&["redis://redis:6379"]),
            ..redis::defaults()
        }),
        cache: MemoryLimits::for_shared_store_with_changes(),
        filter: false,
        ..in_a_container()
    };
    assert_eq!(ok(include_str!("../../../zones/fleet.toml")), expected);
}
