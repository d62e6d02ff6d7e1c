//! Tests of the whole file; each section has a file of its own.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::access::Rate;
use crate::base::admission::SeatLimits;
use crate::base::name::ZoneName;
use crate::dns::Settings;
use crate::dns::transport::tcp::TcpLimits;
use crate::http::{AbuseContact, ApiRules, Scheme, ShortUrls};
use crate::links::redis::{RedisMode, RedisUrl};
use crate::store::DynamoConfig;
use crate::store::servers::Label;
use crate::store::statistics::Keeping;
use crate::zone::Layout;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let features = Features {
        dynamodb: true,
        postgresql: true,
        redis: true,
    };
    Config::parse_for(features, text, Path::new("t.toml"))
}

fn ok(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// All faults of a text that is refused.
fn refused(text: &str) -> Vec<Fault> {
    match parse(text).unwrap_err() {
        ConfigError::Invalid(faults) => faults.shown,
        other => panic!("{text:?}: {other}"),
    }
}

/// Checks the message of a text that has one fault. Columns are left out; [`together`] checks them.
fn check(text: &str, expected: &str) {
    let faults = refused(text);
    let shown = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    let [fault] = &faults[..] else {
        panic!("{} faults of {text:?}: {shown:#?}", faults.len());
    };
    let place = format!(":{}:{}: ", fault.line, fault.column);
    let message = shown[0].replacen(&place, &format!(":{}: ", fault.line), 1);
    assert_eq!(message, expected, "for {text:?}");
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|a| a.parse().unwrap()).collect()
}

fn urls(list: &[&str]) -> Vec<RedisUrl> {
    list.iter().map(|u| RedisUrl::parse(u).unwrap()).collect()
}

fn seats(connections: u32, connections_per_client: u32, exempt: &[&str]) -> SeatLimits {
    SeatLimits {
        connections,
        connections_per_client,
        exempt: exempt.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// The example of docs/configuration.md, which shows every default.
fn every_default() -> &'static str {
    let (_, rest) = include_str!("../../../docs/configuration.md")
        .split_once("```toml\n")
        .unwrap();
    rest.split_once("```").unwrap().0
}

/// A section that is commented out in the example, without its comment signs.
fn documented(section: &str) -> String {
    let header = format!("[{section}]");
    let (_, rest) = every_default().split_once(&format!("# {header}")).unwrap();
    let lines = rest.lines().map_while(|line| match line {
        "" => None,
        _ => Some(line.strip_prefix("# ").unwrap_or(line)),
    });
    // A comment follows the header in its line.
    std::iter::once(header.as_str())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let expected = Config {
        dns: DnsConfig {
            listen: addresses(&["127.0.0.1:5300"]),
            settings: Settings::default(),
            tcp: TcpLimits::default(),
            tls: None,
        },
        zones: vec![ZoneConfig {
            origin: ZoneName::parse("s.example.com").unwrap(),
            file: "zones/s.example.com.zone".into(),
            redirect_host: Some("r".into()),
            layout: Layout::Cname,
            link_ttl: 300,
            dnssec: None,
        }],
        store: StoreConfig::Sqlite {
            path: "data/links.sqlite".into(),
        },
        reserved_codes: ReservedCodes::default(),
        audit: Some(Retention {
            keep: 400 * 24 * 60 * 60,
            max_entries: 1_000_000,
        }),
        store_reads_per_second: None,
        redis: None,
        cache: MemoryLimits::default(),
        hot_answer_bytes: 64 << 20,
        filter: true,
        cookie_secrets: None,
        query_log: None,
        statistics: Some(StatisticsConfig {
            keeping: Keeping { deleted: false },
            country_database: None,
        }),
        routing: None,
        admin: AdminConfig {
            listen: addresses(&["127.0.0.1:8053"]),
            token_file: "data/admin.token".into(),
            connections: admin::default_connections(),
            rules: ApiRules::default(),
        },
        redirect: RedirectConfig {
            listen: addresses(&["127.0.0.1:8080"]),
            short_urls: ShortUrls {
                scheme: Scheme::Http,
                port: None,
            },
            abuse_contact: None,
            connections: redirect::default_connections(),
        },
        https: None,
        page: PageConfig::default(),
        process: ProcessConfig::default(),
        server: ServerConfig {
            name: None,
            region: Label::closest("default"),
        },
    };
    assert_eq!(Config::default(), expected);
    assert_eq!(ok(every_default()), expected);
    assert_eq!(ok(""), expected);
    assert_eq!(ok("\u{feff}# nothing\n"), expected);
    assert_eq!(ok("[dns]\n[store]\n[admin]\n[redirect]\n"), expected);
}

#[test]
fn every_key_has_an_effect() {
    let config = ok(r#"
[dns]
listen = ["[::1]:53", "192.0.2.1:53"]
[[zone]]
origin = "S.Example.ORG."
file = "/etc/tinyns/org"
redirect_host = "Go"
layout = "direct"
link_ttl = 604800
[[zone]]
origin = "0/25.2.0.192.in-addr.arpa."
file = "static"
link_ttl = 0
[store]
path = "/var/lib/tinyns/links"
[audit]
enabled = false
[statistics]
keep_deleted = true
country_database = "countries"
[cache]
memory_mib = 2
answers_mib = 3
refresh = 10
absent = 0
serve_stale = 604800
filter = true
[admin]
listen = []
token_file = "/run/token"
connections = 300
connections_per_client = 200
require_if_match = true
cors = { origins = ["https://page.example", "http://localhost:3000"] }
rate = { requests_per_second = 7 }
[redirect]
listen = ["[::]:80", "0.0.0.0:80"]
short_url_scheme = "https"
short_url_port = 8443
abuse_contact = "abuse@example.com"
connections = 5000
connections_per_client = 10
exempt = ["192.0.2.1", "2001:db8::/32"]
[page]
hosts = ["Links.example.com", "l.example.net."]
[process]
user = "tinyns"
group = "dns"
[server]
name = "ns 1"
region = "Zürich"
"#);
    let expected = Config {
        dns: DnsConfig {
            listen: addresses(&["[::1]:53", "192.0.2.1:53"]),
            ..Config::default().dns
        },
        zones: vec![
            ZoneConfig {
                origin: ZoneName::parse("s.example.org").unwrap(),
                file: "/etc/tinyns/org".into(),
                redirect_host: Some("go".into()),
                layout: Layout::Direct,
                link_ttl: 604_800,
                dnssec: None,
            },
            ZoneConfig {
                origin: ZoneName::parse("0/25.2.0.192.in-addr.arpa").unwrap(),
                file: "static".into(),
                redirect_host: None,
                layout: Layout::Cname,
                link_ttl: 0,
                dnssec: None,
            },
        ],
        store: StoreConfig::Sqlite {
            path: "/var/lib/tinyns/links".into(),
        },
        reserved_codes: ReservedCodes::default(),
        audit: None,
        store_reads_per_second: None,
        redis: None,
        hot_answer_bytes: 3 << 20,
        cache: MemoryLimits {
            links: 2 << 20,
            absent: 1 << 18,
            fresh_for: Duration::from_secs(10),
            absent_for: Duration::ZERO,
            stale_for: Duration::from_secs(604_800),
            unnotified: Duration::from_secs(10),
            ..MemoryLimits::default()
        },
        filter: true,
        cookie_secrets: None,
        query_log: None,
        statistics: Some(StatisticsConfig {
            keeping: Keeping { deleted: true },
            country_database: Some("countries".into()),
        }),
        routing: None,
        admin: AdminConfig {
            listen: vec![],
            token_file: "/run/token".into(),
            connections: seats(300, 200, &[]),
            rules: ApiRules {
                origins: vec![
                    "https://page.example".into(),
                    "http://localhost:3000".into(),
                ],
                require_if_match: true,
                rate: Some(Rate {
                    per_second: 7,
                    burst: 14,
                }),
                statistics_off: false,
            },
        },
        redirect: RedirectConfig {
            listen: addresses(&["[::]:80", "0.0.0.0:80"]),
            short_urls: ShortUrls {
                scheme: Scheme::Https,
                port: Some(8443),
            },
            abuse_contact: AbuseContact::parse("abuse@example.com"),
            connections: seats(5000, 10, &["192.0.2.1", "2001:db8::/32"]),
        },
        https: None,
        page: PageConfig {
            host: None,
            hosts: vec!["links.example.com".into(), "l.example.net".into()],
        },
        process: ProcessConfig {
            user: Some("tinyns".into()),
            group: Some("dns".into()),
        },
        server: ServerConfig {
            name: Label::new("ns 1"),
            region: Label::closest("Zürich"),
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn with_dynamodb_the_audit_log_has_a_table_of_its_own() {
    let kept = |text: &str| match ok(&format!("[store]\nkind = \"dynamodb\"\n{text}")).store {
        StoreConfig::DynamoDb(config) => config.audit,
        _ => unreachable!(),
    };
    let table = |keep| {
        let name = "log".into();
        Some(crate::store::AuditTable { name, keep })
    };
    let day = 24 * 60 * 60;
    assert_eq!(kept(""), None);
    assert_eq!(kept("[audit]\ntable = \"log\"\n"), table(400 * day));
    assert_eq!(
        kept("[audit]\ntable = \"log\"\nkeep_days = 7\n"),
        table(7 * day)
    );
    assert_eq!(kept("[audit]\ntable = \"log\"\nenabled = false\n"), None);
    check(
        "[audit]\ntable = \"log\"\n",
        "t.toml:2: audit.table: belongs to the \"dynamodb\" store, and kind is \"sqlite\"",
    );
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    for bad in [
        "https://page.example/",
        "https://Page.example",
        "https://page.example:443",
        "page.example",
        "*",
        "null",
    ] {
        check(
            &format!("[admin.cors]\norigins = [\"{bad}\"]\n"),
            &format!(
                "t.toml:2: admin.cors.origins: {bad:?} is not an origin: a scheme, a host in lower case, and a port \
                 unless it is the default, such as \"https://page.example\", without a path"
            ),
        );
    }
}

#[test]
fn with_dynamodb_statistics_have_a_table_of_their_own() {
    let sums = |lines: &str| match ok(&format!("[store]\nkind = \"dynamodb\"\n{lines}")).store {
        StoreConfig::DynamoDb(config) => config.statistics,
        other => panic!("{other:?}"),
    };
    let table = |writes_per_second, seconds| {
        Some(crate::store::StatisticsTable {
            name: "sums".into(),
            writes_per_second,
            flush_every: Duration::from_secs(seconds),
        })
    };
    assert_eq!(sums(""), None);
    assert_eq!(sums("[statistics]\ntable = \"sums\"\n"), table(100, 60));
    let all = "[statistics]\ntable = \"sums\"\nwrites_per_second = 7\nflush_every = 5\n";
    assert_eq!(sums(all), table(7, 5));
    assert_eq!(sums(&format!("{all}enabled = false\n")), None);
    check(
        "[statistics]\ntable = \"sums\"\n",
        "t.toml:2: statistics.table: belongs to the \"dynamodb\" store, and kind is \"sqlite\"",
    );
    check(
        "[store]\nkind = \"dynamodb\"\n[statistics]\nflush_every = 0\n",
        "t.toml:4: statistics.flush_every: 0 is not within 1 to 3600 seconds",
    );
}

#[test]
fn the_audit_log_has_bounds() {
    let kept = ok("[audit]\nkeep_days = 1\nmax_entries = 7\n").audit;
    let expected = Retention {
        keep: 24 * 60 * 60,
        max_entries: 7,
    };
    assert_eq!(kept, Some(expected));
    check(
        "[audit]\nkeep_days = 0\n",
        "t.toml:2: audit.keep_days: 0 is not within 1 to 36500 days",
    );
}

#[test]
fn misspelt_keys_are_named_with_the_known_ones() {
    check(
        "[dnss]\n",
        "t.toml:1: dnss: unknown key; did you mean \"dns\"? Known here: dns, pool, zone, routing, store, links, audit, redis, cache, \
         rate_limit, signatures, cookies, query_log, statistics, admin, https, redirect, page, process, server",
    );
    check(
        "\n[dns]\n# a comment\nlistn = \"127.0.0.1:53\"\n",
        "t.toml:4: dns.listn: unknown key; did you mean \"listen\"? Known here: listen, udp_payload, nsid, \
         version, identity, tcp, tls",
    );
    check(
        "[[zone]]\norigin = \"a\"\nfile = \"b\"\nredirect_host = \"r\"\n\
         [[zone]]\norigin = \"c\"\nfiel = \"d\"\n",
        "t.toml:7: zone.fiel: unknown key; did you mean \"file\"? Known here: origin, file, redirect_host, \
         layout, link_ttl, dnssec, pools, route",
    );
    check(
        "[admin]\nport = 1\n",
        "t.toml:2: admin.port: unknown key. Known here: listen, token_file, connections, \
         connections_per_client, exempt, \
         cors, require_if_match, rate",
    );
    check(
        "[redirect]\n\"a\\nb\" = 1\n",
        "t.toml:2: redirect.a\\nb: unknown key. Known here: listen, short_url_scheme, short_url_port, \
         abuse_contact, connections, connections_per_client, exempt",
    );
}

#[test]
fn syntax_errors_have_their_line() {
    check("[dns\n", "t.toml:1: unclosed table, expected `]`");
    check(
        "\n\n[dns]\nlisten =\n",
        "t.toml:4: string values must be quoted, expected literal string",
    );
    check(
        "[dns]\n[admin]\n[dns]\n",
        "t.toml:3: duplicate key dns; keep one of the two",
    );
    check(
        "[admin]\nlisten = []\nlisten = \"127.0.0.1:1\"\n",
        "t.toml:3: duplicate key listen; keep one of the two",
    );
    check(
        "[dns]\nlisten = [\"127.0.0.1:53\"\n",
        "t.toml:2: unclosed array, expected `]`",
    );
}

#[test]
fn types() {
    check(
        "dns = 5\n",
        "t.toml:1: dns: invalid type: integer `5`, expected a table, [dns]",
    );
    check(
        "[dns]\nlisten = 53\n",
        "t.toml:2: dns.listen: invalid type: integer `53`, expected an address or a list of \
         addresses, as strings",
    );
    check(
        "[dns]\nlisten = [\n\"127.0.0.1:53\",\n53]\n",
        "t.toml:4: dns.listen: invalid type: integer `53`, expected a string",
    );
    check(
        "\n[zone]\norigin = \"a\"\n",
        "t.toml:2: zone: invalid type: map, expected a list of tables: write [[zone]]",
    );
    check(
        "[redirect]\nshort_url_port = \"80\"\n",
        "t.toml:2: redirect.short_url_port: invalid type: string \"80\", expected a whole number",
    );
}

/// Loads a file with these bytes; the message is without the directory.
fn load(bytes: &[u8]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    File::create(&path).unwrap().write_all(bytes).unwrap();
    let dir = format!("{}/", dir.path().display());
    Config::load(&path).map_err(|e| format!("{:#}", anyhow::Error::new(e)).replace(&dir, ""))
}

#[test]
fn files() {
    assert_eq!(load(b""), Ok(Config::default()));
    assert_eq!(load(every_default().as_bytes()), Ok(Config::default()));
    assert_eq!(
        load(b"[dns]\n# caf\xe9\n"),
        Err("t.toml:2:6: not UTF-8 text".into())
    );
    let just_fits = vec![b'\n'; MAX_FILE_LEN as usize];
    assert_eq!(load(&just_fits), Ok(Config::default()));
    let too_long = vec![b'\n'; MAX_FILE_LEN as usize + 1];
    assert_eq!(
        load(&too_long),
        Err("t.toml: larger than 262144 bytes".into())
    );

    let missing = Config::load(Path::new("/nonexistent/t.toml")).unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::new(missing)),
        "cannot read the configuration file /nonexistent/t.toml: No such file or directory \
         (os error 2)"
    );
}

mod acme;
mod cache;
mod dns;
mod dnssec;
mod examples;
mod http;
mod links;
mod listen;
mod process;
mod query_log;
mod rate_limit;
mod redis;
mod routing;
mod server;
mod signatures;
mod store;
mod tcp;
mod tls;
mod together;
mod zone;
