use std::fs::File;
use std::io::Write;

use super::*;
use crate::base::name::ZoneName;
use crate::links::redis::{RedisMode, RedisUrl};
use crate::store::DynamoConfig;
use crate::zone::Layout;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("t.toml"))
}

fn ok(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// All faults of a text that is refused, a line a fault.
fn refused(text: &str) -> Vec<Fault> {
    match parse(text).unwrap_err() {
        ConfigError::Invalid(faults) => faults.shown,
        other => panic!("{text:?}: {other}"),
    }
}

/// The whole message of a text that is refused for one fault. The column is left out, to which
/// [`columns_are_counted_in_characters`] and the tests of [`together`] look.
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
    // The rest of the first line is a comment.
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
        store_reads_per_second: None,
        redis: None,
        cache: MemoryLimits::default(),
        hot_answer_bytes: 64 << 20,
        filter: true,
        cookie_secrets: None,
        query_log: None,
        admin: AdminConfig {
            listen: addresses(&["127.0.0.1:8053"]),
            token_file: "data/admin.token".into(),
            connections: connections::admin_default(),
        },
        redirect: RedirectConfig {
            listen: addresses(&["127.0.0.1:8080"]),
            short_urls: ShortUrls {
                scheme: Scheme::Http,
                port: None,
            },
            connections: connections::redirect_default(),
        },
        process: ProcessConfig::default(),
    };
    assert_eq!(Config::default(), expected);
    assert_eq!(ok(every_default()), expected);
    assert_eq!(ok(""), expected);
    assert_eq!(ok("\u{feff}# nothing\n"), expected);
    assert_eq!(ok("[dns]\n[store]\n[admin]\n[redirect]\n"), expected);
}

#[test]
fn every_key_is_heard() {
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
[redirect]
listen = ["[::]:80", "0.0.0.0:80"]
short_url_scheme = "https"
short_url_port = 8443
connections = 5000
connections_per_client = 10
exempt = ["192.0.2.1", "2001:db8::/32"]
[process]
user = "tinyns"
group = "dns"
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
        admin: AdminConfig {
            listen: vec![],
            token_file: "/run/token".into(),
            connections: seats(300, 200, &[]),
        },
        redirect: RedirectConfig {
            listen: addresses(&["[::]:80", "0.0.0.0:80"]),
            short_urls: ShortUrls {
                scheme: Scheme::Https,
                port: Some(8443),
            },
            connections: seats(5000, 10, &["192.0.2.1", "2001:db8::/32"]),
        },
        process: ProcessConfig {
            user: Some("tinyns".into()),
            group: Some("dns".into()),
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn http_has_so_many_connections_as_a_process_can_have() {
    for section in ["admin", "redirect"] {
        for (key, value) in [
            ("connections", 0),
            ("connections", 1_000_001),
            ("connections_per_client", 0),
        ] {
            check(
                &format!("[{section}]\n{key} = {value}\n"),
                &format!("t.toml:2: {section}.{key}: {value} is not within 1 to 1000000"),
            );
        }
        check(
            &format!("[{section}]\nexempt = \"192.0.2.1/24\"\n"),
            &format!(
                "t.toml:2: {section}.exempt: \"192.0.2.1/24\": the address has bits beyond the length of \
                 the prefix"
            ),
        );
    }
}

#[test]
fn misspelt_keys_are_named_with_the_known_ones() {
    check(
        "[dnss]\n",
        "t.toml:1: dnss: unknown key; did you mean \"dns\"? Known here: dns, zone, store, redis, cache, \
         rate_limit, signatures, cookies, query_log, admin, redirect, process",
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
         layout, link_ttl, dnssec",
    );
    check(
        "[admin]\nport = 1\n",
        "t.toml:2: admin.port: unknown key. Known here: listen, token_file, connections, \
         connections_per_client, exempt",
    );
    check(
        "[redirect]\n\"a\\nb\" = 1\n",
        "t.toml:2: redirect.a\\nb: unknown key. Known here: listen, short_url_scheme, short_url_port, \
         connections, connections_per_client, exempt",
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

#[test]
fn addresses_are_checked() {
    let refused = |text: &str, shown: &str| {
        check(
            &format!("[admin]\nlisten = {text}\n"),
            &format!(
                "t.toml:2: admin.listen: {shown} is not an IP address with a port, such as \
                 \"127.0.0.1:5300\" or \"[::1]:5300\""
            ),
        );
    };
    refused("\"localhost:8053\"", "\"localhost:8053\"");
    refused("\"127.0.0.1\"", "\"127.0.0.1\"");
    refused("\"127.0.0.1:65536\"", "\"127.0.0.1:65536\"");
    refused("[\"127.0.0.1:1\", \"::1:5\"]", "\"::1:5\"");
    refused("\"a\\nb\"", "\"a\\nb\"");
    check(
        "[dns]\nlisten = []\n",
        "t.toml:2: dns.listen: at least one address is needed",
    );
    let many = (1..=65).map(|port| format!("\"127.0.0.1:{port}\","));
    check(
        &format!("[dns]\nlisten = [{}]\n", many.collect::<String>()),
        "t.toml:2: dns.listen: 65 addresses; at most 64 are allowed",
    );
}

#[test]
fn an_address_is_used_once() {
    check(
        "[dns]\nlisten = [\n\"127.0.0.1:53\",\n\"127.0.0.1:53\"]\n",
        "t.toml:4: dns.listen: 127.0.0.1:53 is already in line 3",
    );
    check(
        "[dns]\nlisten = \"[::1]:8053\"\n[admin]\nlisten = [\"127.0.0.1:8053\", \"[::1]:8053\"]\n",
        "t.toml:4: admin.listen: [::1]:8053 is already in line 2",
    );
    let config = ok("[dns]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n\
                     [admin]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(config.dns.listen.len(), 2);
}

#[test]
fn a_default_address_counts_as_used() {
    check(
        "[redirect]\nlisten = \"127.0.0.1:5300\"\n",
        "t.toml:2: redirect.listen: 127.0.0.1:5300 is already the default of dns.listen; \
         give that another one",
    );
    check(
        "# no redirect\n[dns]\nlisten = \"127.0.0.1:8080\"\n",
        "t.toml:3: dns.listen: 127.0.0.1:8080 is already the default of \
         redirect.listen; give that another one",
    );
}

/// A zone with this text between a good start and a good end, the first line being line 2.
fn check_zone(lines: &str, expected: &str) {
    check(&format!("[[zone]]\n{lines}\n[store]\n"), expected);
}

#[test]
fn zones_are_checked() {
    check_zone(
        "file = \"a\"\nredirect_host = \"r\"",
        "t.toml:1: zone: missing; a [[zone]] needs \"origin\"",
    );
    check_zone(
        "origin = \"a\"\nredirect_host = \"r\"",
        "t.toml:1: zone: missing; a [[zone]] needs \"file\"",
    );
    check(
        "[[zone]]\norigin = \"a\"\nfile = \"a\"\nredirect_host = \"r\"\n[[zone]]\norigin = \"b\"\n",
        "t.toml:5: zone: missing; a [[zone]] needs \"file\"",
    );
    check_zone(
        "origin = \"a..b\"\nfile = \"a\"\nredirect_host = \"r\"",
        "t.toml:2: zone.origin: \"a..b\" is not a domain name: it has an empty label",
    );
    // RFC 2317 §4 has such names, and URLs have not.
    check_zone(
        "origin = \"0/25.a\"\nfile = \"a\"\nredirect_host = \"r\"",
        "t.toml:2: zone.origin: the origin \"0/25.a\" has the character '/'; with redirect_host the names of \
         the zone stand in URLs, so its origin has letters, digits, hyphens and underscores only; without it any \
         name will do",
    );
    check_zone(
        "origin = \"a\"\nfile = \"\"\nredirect_host = \"r\"",
        "t.toml:3: zone.file: a path must not be empty",
    );
    let host = |host: &str, expected: &str| {
        let lines = format!("origin = \"a\"\nfile = \"a\"\nredirect_host = \"{host}\"");
        check_zone(&lines, &format!("t.toml:4: zone.redirect_host: {expected}"));
    };
    host(
        "",
        "\"\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    host(
        "*",
        "\"*\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    host(
        "r.x",
        "\"r.x\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlayout = \"CNAME\"\nredirect_host = \"r\"",
        "t.toml:4: zone.layout: unknown value \"CNAME\", expected \"cname\" or \"direct\"",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlink_ttl = 604801\nredirect_host = \"r\"",
        "t.toml:4: zone.link_ttl: 604801 is not within 0 to 604800 seconds",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlink_ttl = -1\nredirect_host = \"r\"",
        "t.toml:4: zone.link_ttl: -1 is not within 0 to 604800 seconds",
    );
    check(
        "zone = []\n",
        "t.toml:1: zone: at least one zone is needed; leave the key out for the default zone",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"",
        "t.toml:1: zone: no zone has a redirect_host, so there is none to hold links",
    );
    check(
        "[[zone]]\norigin = \"a.b\"\nfile = \"a\"\nredirect_host = \"r\"\n[[zone]]\nfile = \"b\"\norigin = \"A.B.\"\n",
        "t.toml:7: zone.origin: a.b is already in line 2",
    );
}

/// RFC 1035 §2.3.4: a code of 63 bytes, the redirect host and the origin have to fit in 255.
#[test]
fn redirect_host_leaves_room_for_a_code() {
    let zone = |origin_len: usize| {
        let origin = format!("{0}.{0}.{1}", "a".repeat(61), "b".repeat(origin_len - 124));
        format!("[[zone]]\norigin = \"{origin}\"\nfile = \"a\"\nredirect_host = \"rr\"\n")
    };
    assert_eq!(64 + 2 + 1 + 186, 253);
    assert_eq!(ok(&zone(186)).zones[0].origin.as_str().len(), 186);
    check(
        &zone(187),
        "t.toml:4: zone.redirect_host: \"rr\" and the origin leave no room for a code of 63 \
         characters",
    );
}

#[test]
fn stores() {
    let check_dynamodb = |lines: &str, expected: DynamoConfig| {
        let config = ok(&format!("[store]\nkind = \"dynamodb\"\n{lines}"));
        assert_eq!(config.store, StoreConfig::DynamoDb(expected), "{lines}");
        // Others may write to the table, and nobody tells.
        assert_eq!(config.cache, MemoryLimits::for_shared_store());
        assert_eq!(config.store_reads_per_second, NonZeroU32::new(1_000));
    };
    let default = DynamoConfig {
        table: "tinyUrl".into(),
        region: None,
        endpoint_url: None,
        create_table: false,
    };
    check_dynamodb("", default);
    check_dynamodb(
        "table = \"a-b_c.D9\"\nregion = \"eu-central-1\"\n\
         endpoint_url = \"http://127.0.0.1:8000\"\ncreate_table = true\n",
        DynamoConfig {
            table: "a-b_c.D9".into(),
            region: Some("eu-central-1".into()),
            endpoint_url: Some("http://127.0.0.1:8000".into()),
            create_table: true,
        },
    );
    check(
        "[store]\nkind = \"mysql\"\n",
        "t.toml:2: store.kind: unknown value \"mysql\", expected \"sqlite\" or \"dynamodb\"",
    );
    check(
        "[store]\npath = \"\"\n",
        "t.toml:2: store.path: a path must not be empty",
    );
}

#[test]
fn reads_of_the_store_have_a_bound_or_none() {
    let reads = |value: &str| format!("[store]\nkind = \"dynamodb\"\nreads_per_second = {value}\n");
    for (text, expected) in [("0", 0), ("1", 1), ("1000000", 1_000_000)] {
        let config = ok(&reads(text));
        assert_eq!(config.store_reads_per_second, NonZeroU32::new(expected));
    }
    for text in ["-1", "1000001"] {
        check(
            &reads(text),
            &format!(
                "t.toml:3: store.reads_per_second: {text} is not within 0 to 1000000 look-ups a \
                 second"
            ),
        );
    }
}

#[test]
fn keys_of_the_other_store_are_refused() {
    check(
        "[store]\nkind = \"dynamodb\"\npath = \"data/links.sqlite\"\n",
        "t.toml:3: store.path: belongs to the \"sqlite\" store, and kind is \"dynamodb\"",
    );
    for line in [
        "table = \"tinyUrl\"",
        "region = \"eu-central-1\"",
        "endpoint_url = \"http://127.0.0.1:8000\"",
        "create_table = false",
        "reads_per_second = 1000",
    ] {
        let (key, _) = line.split_once(' ').unwrap();
        check(
            &format!("[store]\n{line}\n"),
            &format!(
                "t.toml:2: store.{key}: belongs to the \"dynamodb\" store, and kind is \"sqlite\""
            ),
        );
    }
}

#[test]
fn places_of_a_table_are_checked() {
    let bad = |line: &str, problem: &str| {
        let (key, _) = line.split_once(' ').unwrap();
        check(
            &format!("[store]\nkind = \"dynamodb\"\n{line}\n"),
            &format!("t.toml:3: store.{key}: {problem}"),
        );
    };
    let rule = "is not a table's name: 3 to 255 letters, digits, and any of \"_-.\"";
    for table in ["", "ab", "a b", "a/b", "grün"] {
        bad(&format!("table = {table:?}"), &format!("{table:?} {rule}"));
    }
    let rule = "is not the name of a region, such as \"eu-central-1\"";
    for region in ["", "eu central", "eu.example.com"] {
        bad(
            &format!("region = {region:?}"),
            &format!("{region:?} {rule}"),
        );
    }
    let rule = "is not an http or https URL, such as \"http://127.0.0.1:8000\"";
    for url in ["", "127.0.0.1:8000", "localhost:8000", "ftp://127.0.0.1/"] {
        bad(
            &format!("endpoint_url = {url:?}"),
            &format!("{url:?} {rule}"),
        );
    }
    let text = "[store]\nkind = \"dynamodb\"\ncreate_table = \"yes\"\n";
    let message = parse(text).unwrap_err().to_string();
    assert!(
        message.starts_with("t.toml:3:16: store.create_table: "),
        "{message}"
    );
}

#[test]
fn short_urls_are_checked() {
    check(
        "[redirect]\nshort_url_scheme = \"ftp\"\n",
        "t.toml:2: redirect.short_url_scheme: unknown value \"ftp\", expected \"http\" or \"https\"",
    );
    for port in ["0", "65536", "-80"] {
        check(
            &format!("[redirect]\nshort_url_port = {port}\n"),
            &format!("t.toml:2: redirect.short_url_port: {port} is not within 1 to 65535"),
        );
    }
}

/// The message for a file with these bytes, the directory left out.
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

#[test]
fn the_filter_is_there_where_its_promise_is_within_that_of_the_memory() {
    let filter = |text: &str| ok(text).filter;
    for (absent, expected) in [(0, false), (2, false), (3, true), (3_600, true)] {
        let text = format!("[cache]\nabsent = {absent}\n");
        assert_eq!(filter(&text), expected, "{absent}");
        assert!(filter(&format!("{text}filter = true\n")));
        assert!(!filter(&format!("{text}filter = false\n")));
    }
    let dynamodb = "[store]\nkind = \"dynamodb\"\n[cache]\nabsent = 5\n";
    assert!(!filter(dynamodb));
    assert!(!filter(&format!("{dynamodb}filter = false\n")));
    check(
        &format!("{dynamodb}filter = true\n"),
        "t.toml:5: cache.filter: only with kind = \"sqlite\"",
    );
    check(
        "[cache]\nfilter = 1\n",
        "t.toml:2: cache.filter: invalid type: integer `1`, expected a boolean",
    );
}

/// The defaults, but for listening on every address of a container.
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

mod dns;
mod dnssec;
mod process;
mod query_log;
mod rate_limit;
mod redis;
mod signatures;
mod tcp;
mod tls;
mod together;
