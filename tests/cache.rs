//! Redis between memory and the table, without failures: its contents, and how the changes of one server reach the
//! others.
//!
//! The servers of these tests keep links in memory for ten minutes, so any change that is visible earlier came
//! through Redis.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::dynamo::{Emulator, Fate, Proxy};
use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, unhurried};
use crate::redis::{
    Fleet, LINES, LONG_MEMORY, MASTER, PASSWORD, RedisCluster, RedisServer, Sentinels, followed,
    key, setup,
};

/// How long a change may take to be seen by other servers. It takes milliseconds; this is for a
/// machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_new_link_is_seen_where_its_name_was_known_to_be_absent() {
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    let name = "fresh.s.example.com";
    for server in [&one, &two] {
        assert_eq!(server.answer(name), Answer::Absent);
    }
    assert_eq!(fleet.redis.held(name).unwrap()["absent"], true);
    let url = "https://example.net/fresh";
    one.register("fresh", url);
    assert_eq!(
        one.answer(name),
        Answer::url(url),
        "at once where it was made"
    );
    two.wait_for_answer(name, &Answer::url(url), SOON);
    let held = fleet.redis.held(name).unwrap();
    assert_eq!(held["url"], url, "{held}");
}

#[test]
fn changes_are_seen_by_servers_that_hold_the_link_in_memory() {
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    let name = one.register("c", "https://example.net/0");
    for round in 1..=5 {
        let url = format!("https://example.net/{round}");
        // Changed here and there in turn.
        let (here, there) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        there.answer(&name);
        assert_eq!(here.redirect_to("c", &url).status, 200);
        assert_eq!(
            here.answer(&name),
            Answer::url(&url),
            "at once where it was changed"
        );
        there.wait_for_answer(&name, &Answer::url(&url), SOON);
        assert_eq!(fleet.redis.held(&name).unwrap()["url"], url.as_str());
    }
    let version = fleet.redis.held(&name).unwrap()["version"].as_u64();
    assert_eq!(one.remove("c").status, 204);
    assert_eq!(one.answer(&name), Answer::Absent);
    two.wait_for_answer(&name, &Answer::Absent, SOON);
    let held = fleet.redis.held(&name).unwrap();
    assert_eq!(held["absent"], true, "{held}");
    assert!(held["version"].as_u64() > version, "{held}");
    // And once more from absent to there.
    two.register("c", "https://example.net/again");
    one.wait_for_answer(&name, &Answer::url("https://example.net/again"), SOON);
    assert!(two.metric("tinyns_changes_seen_total", &[]) >= 1.0);
}

/// A value without the time at which it was put, which was a moment ago, and without the mark of its store.
fn put_now(mut held: Value) -> Value {
    let at = held["at"].as_u64().unwrap();
    assert!((now() - 10..=now()).contains(&at), "{held}");
    let mark = held["of"].as_str().unwrap();
    assert!(
        mark.len() == 16 && mark.bytes().all(|b| b.is_ascii_hexdigit()),
        "{held}"
    );
    for field in ["at", "of"] {
        held.as_object_mut().unwrap().remove(field);
    }
    held
}

#[test]
fn entries_in_redis_are_readable_text() {
    let fleet = Fleet::start();
    let server = fleet.node();
    let name = "read.s.example.com";
    fleet.emulator.insert(name, "https://example.net/read");
    assert_eq!(server.answer(name), Answer::url("https://example.net/read"));
    let held = fleet.redis.held(name).unwrap();
    let item = json!({
        "version": 0, "url": "https://example.net/read", "created_at": 0, "created_by": "",
    });
    assert_eq!(put_now(held), item);
    let ttl = fleet.redis.pttl(&key(name));
    assert!((1..=86_400_000).contains(&ttl), "{ttl}");
    // With all that a link can have.
    let end = now() + 3_600;
    let request = json!({
        "url": "https://example.net/full", "code": "full", "ttl": 60, "expires_at": rfc3339(end),
    });
    let link = server.add_with(&request);
    let name = link["name"].as_str().unwrap();
    assert_eq!(server.answer(name), Answer::url("https://example.net/full"));
    let held = fleet.redis.held(name).unwrap();
    assert_eq!(held["version"], link["version"]);
    assert_eq!(held["expires_at"], end);
    assert_eq!(held["ttl"], 60);
}

#[test]
fn a_link_does_not_outlive_its_end_in_redis() {
    let fleet = Fleet::start();
    let server = fleet.node();
    let name = unhurried(Duration::from_secs(3), |number| {
        let code = format!("ends{number}");
        let made = json!({
            "url": "https://example.net/", "code": code, "expires_at": rfc3339(now() + 4),
        });
        server.add_with(&made);
        let name = format!("{code}.s.example.com");
        assert_eq!(server.answer(&name), Answer::url("https://example.net/"));
        let ttl = fleet.redis.pttl(&key(&name));
        assert!((1..=4_000).contains(&ttl), "{ttl}");
        name
    });
    server.wait_for_answer(&name, &Answer::Absent, PATIENCE);
    // An end that is set later holds as well.
    server.register("later", "https://example.net/later");
    let change = json!({ "expires_at": rfc3339(now() + 60) });
    let changed = server.api("PATCH", "/v1/links/later", Some(&change));
    assert_eq!(changed.status, 200, "{changed:?}");
    server.answer("later.s.example.com");
    let ttl = fleet.redis.pttl(&key("later.s.example.com"));
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[test]
fn an_absent_name_is_marked_for_a_short_time() {
    let fleet = Fleet::start();
    let node = || followed(fleet.setup(LINES).start());
    let (one, two) = (node(), node());
    let name = "nothing.s.example.com";
    assert_eq!(one.answer(name), Answer::Absent);
    let held = fleet.redis.held(name).unwrap();
    assert_eq!(put_now(held), json!({ "version": 0, "absent": true }));
    let ttl = fleet.redis.pttl(&key(name));
    assert!((1..=5_000).contains(&ttl), "{ttl}");
    // It saves others the look-up.
    let reads = |server: &Server| server.metric("tinyns_link_lookups_total", &[("tier", "Store")]);
    assert_eq!(two.answer(name), Answer::Absent);
    assert_eq!((reads(&one), reads(&two)), (1.0, 0.0));
}

#[test]
fn a_server_with_nothing_in_memory_answers_from_redis_while_the_table_is_cut_off() {
    let fleet = Fleet::start();
    let first = fleet.node();
    let name = first.register("kept", "https://example.net/kept");
    assert_eq!(first.answer(&name), Answer::url("https://example.net/kept"));
    let proxy = Proxy::spawn(&fleet.emulator);
    let fresh = followed(setup(&proxy.url(), fleet.redis.url(), LINES).start());
    proxy.all(Fate::Cut);
    assert_eq!(fresh.answer(&name), Answer::url("https://example.net/kept"));
    let from_redis = [("tier", "Redis"), ("result", "Hit")];
    assert_eq!(fresh.metric("tinyns_link_lookups_total", &from_redis), 1.0);
}

/// Values of a link's key that no server writes.
const NONSENSE: &[&str] = &[
    "",
    " ",
    "nonsense",
    "\u{1}\u{fffd}",
    "null",
    "17",
    "[]",
    "{}",
    "{\"version\":5}",
    "{\"version\":5,\"url\":\"https://wrong.example/\"",
    "{\"version\":5,\"url\":17,\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":5,\"url\":\"\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":5,\"url\":\"ftp://wrong.example/\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":5,\"url\":\"javascript:0\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":-5,\"url\":\"https://wrong.example/\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":1e400,\"url\":\"https://wrong.example/\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":\"5\",\"url\":\"https://wrong.example/\",\"created_at\":0,\"created_by\":\"\"}",
    "{\"version\":99999999999999999999,\"absent\":true}",
    "{\"version\":5,\"absent\":false}",
    "{\"version\":5,\"absent\":\"yes\"}",
    "{\"version\":5,\"absent\":true,\"url\":\"https://wrong.example/\",\"created_at\":0,\
     \"created_by\":\"\"}",
    "{\"version\":18446744073709551615,\"absent\":true}",
    "{\"version\":18446744073709551615,\"url\":\"https://wrong.example/\",\"created_at\":0,\
     \"created_by\":\"\"}",
    "{\"version\":0,\"reads\":17}",
    "{\"version\":0,\"writes\":{}}",
    // Valid announcements without a TTL, of changes that no server will ever finish.
    "{\"version\":0,\"reads\":\"somebody\"}",
    "{\"version\":0,\"writes\":\"somebody\"}",
];

/// Values of other types.
const OTHER_TYPES: &[&[&str]] = &[
    &["rpush", "KEY", "a", "b"],
    &["hset", "KEY", "version", "5"],
    &["sadd", "KEY", "a"],
    &["zadd", "KEY", "1", "a"],
    &["xadd", "KEY", "*", "version", "5"],
];

#[test]
fn invalid_values_in_redis_are_never_used_and_do_no_harm() {
    let fleet = Fleet::start();
    let nodes = [&fleet.node(), &fleet.node()];
    let strings = NONSENSE.iter().map(|value| vec!["set", "KEY", value]);
    let others = OTHER_TYPES.iter().map(|command| command.to_vec());
    for (number, spoil) in strings.chain(others).enumerate() {
        spoilt_is_answered_all_the_same(&fleet, nodes, &format!("n{number}"), &spoil);
    }
}

/// A link in the table whose key in Redis is spoilt is answered from the table and can be changed,
/// and all see the change.
fn spoilt_is_answered_all_the_same(fleet: &Fleet, nodes: [&Server; 2], code: &str, spoil: &[&str]) {
    let name = format!("{code}.s.example.com");
    let spoil = || {
        fleet.redis.cli(&["del", &key(&name)]);
        let word = |word: &&str| {
            if *word == "KEY" {
                key(&name)
            } else {
                (*word).into()
            }
        };
        let words: Vec<String> = spoil.iter().map(word).collect();
        fleet
            .redis
            .cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
        words
    };
    fleet.emulator.insert(&name, "https://example.net/right");
    let spoilt = spoil();
    for server in nodes {
        assert_eq!(
            server.answer(&name),
            Answer::url("https://example.net/right"),
            "{spoilt:?}"
        );
    }
    spoil();
    let changed = nodes[0].redirect_to(code, "https://example.net/changed");
    assert_eq!(changed.status, 200, "{spoilt:?}: {changed:?}");
    for server in nodes {
        server.wait_for_answer(&name, &Answer::url("https://example.net/changed"), SOON);
    }
    spoil();
    assert_eq!(nodes[1].remove(code).status, 204, "{spoilt:?}");
    for server in nodes {
        server.wait_for_answer(&name, &Answer::Absent, SOON);
    }
}

#[test]
fn keys_of_other_types_in_place_of_the_servers_own_do_no_harm() {
    let fleet = Fleet::start();
    for key in [
        "changes",
        "warm-load",
        "warm-load:progress",
        "warm-load:done",
    ] {
        fleet
            .redis
            .cli(&["zadd", &format!("tinyns:{key}"), "1", "a"]);
    }
    let all = "timeout_ms = 500\nwarm_load = true\n";
    let (one, two) = (fleet.setup(all).start(), fleet.setup(all).start());
    let name = one.register("a", "https://example.net/a");
    for server in [&one, &two] {
        server.wait_for_answer(&name, &Answer::url("https://example.net/a"), SOON);
    }
    assert_eq!(one.redirect_to("a", "https://example.net/b").status, 200);
    for server in [&one, &two] {
        // The change cannot be announced, so memory may be used for a short time only.
        server.wait_for_answer(&name, &Answer::url("https://example.net/b"), PATIENCE);
    }
}

#[test]
fn servers_with_different_prefixes_do_not_share_links() {
    let redis = RedisServer::start();
    let tables = [Emulator::start(), Emulator::start()];
    let node = |number: usize| {
        let lines = format!("{LINES}prefix = \"fleet-{number}\"\n");
        followed(setup(&tables[number].url(), redis.url(), &lines).start())
    };
    let (one, two) = (node(0), node(1));
    let name = one.register("same", "https://example.net/one");
    assert_eq!(two.answer(&name), Answer::Absent);
    two.register("same", "https://example.net/two");
    for _ in 0..2 {
        assert_eq!(one.answer(&name), Answer::url("https://example.net/one"));
        assert_eq!(two.answer(&name), Answer::url("https://example.net/two"));
        // From Redis as well, not from memory alone.
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let keys = redis.keys();
    for prefix in ["fleet-0:link:", "fleet-1:link:"] {
        assert!(keys.contains(&format!("{prefix}{name}")), "{keys:?}");
    }
    let own = |key: &String| key.starts_with("fleet-0:") || key.starts_with("fleet-1:");
    assert!(keys.iter().all(own), "{keys:?}");
}

#[test]
fn all_keys_but_the_stream_expire() {
    let fleet = Fleet::start();
    let server = fleet.node();
    fleet
        .emulator
        .insert("table.s.example.com", "https://example.net/table");
    let loading = fleet.setup("timeout_ms = 500\nwarm_load = true\n").start();
    server.register("made", "https://example.net/made");
    server.register("gone", "https://example.net/gone");
    server.answer("made.s.example.com");
    server.answer("absent.s.example.com");
    assert_eq!(server.remove("gone").status, 204);
    loading.answer("gone.s.example.com");
    eventually("the table is loaded", PATIENCE, || {
        fleet.redis.held("table.s.example.com").is_some()
    });
    let keys = fleet.redis.keys();
    assert!(keys.len() >= 5, "{keys:?}");
    for key in keys.iter().filter(|key| *key != "tinyns:changes") {
        let ttl = fleet.redis.pttl(key);
        // A key may have ended since the list was made.
        assert!(ttl > 0 || ttl == -2, "{key}: {ttl}");
        assert!(ttl <= 7 * 86_400_000, "{key}: {ttl}");
    }
}

#[test]
fn tls_with_a_password() {
    let fleet = Fleet::with(RedisServer::secured());
    let ca = format!("{LINES}ca_file = \"{}\"\n", fleet.redis.ca_file());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    let lines = format!("{ca}password_file = {:?}\n", file.path());
    let by_file = followed(fleet.setup(&lines).start());
    let setup = fleet.setup(&ca).env("TINYNS_REDIS_PASSWORD", PASSWORD);
    let by_environment = followed(setup.start());
    let name = by_file.register("tls", "https://example.net/tls");
    by_environment.wait_for_answer(&name, &Answer::url("https://example.net/tls"), SOON);
    assert_eq!(
        fleet.redis.held(&name).unwrap()["url"],
        "https://example.net/tls"
    );
    assert_eq!(state(&by_file), "up");
    for server in [&by_file, &by_environment] {
        assert!(!server.log().text().contains(PASSWORD));
    }
}

/// A server that cannot use its Redis serves from the table, and logs the reason.
fn serves_without_redis(fleet: &Fleet, setup: Setup, complaint: &str) {
    let server = setup.start();
    let line = server.log().wait_for("cannot connect to Redis");
    assert!(line.contains("WARN") && line.contains(complaint), "{line}");
    assert!(!server.log().text().contains("wrong-password"));
    let name = server.register("plain", "https://example.net/plain");
    assert_eq!(
        server.answer(&name),
        Answer::url("https://example.net/plain")
    );
    assert_eq!(server.answer("absent.s.example.com"), Answer::Absent);
    assert_eq!(server.api("GET", "/readyz", None).status, 200);
    assert_eq!(state(&server), "down");
    assert_eq!(fleet.redis.keys(), Vec::<String>::new());
    server.remove("plain");
}

#[test]
fn a_wrong_password_or_authority_is_logged_and_the_table_answers() {
    let fleet = Fleet::with(RedisServer::secured());
    let ca = format!("{LINES}ca_file = \"{}\"\n", fleet.redis.ca_file());
    let wrong = fleet
        .setup(&ca)
        .env("TINYNS_REDIS_PASSWORD", "wrong-password");
    serves_without_redis(&fleet, wrong, "Password authentication failed");
    serves_without_redis(&fleet, fleet.setup(&ca), "uthentication");
    let no_ca = fleet.setup(LINES).env("TINYNS_REDIS_PASSWORD", PASSWORD);
    serves_without_redis(&fleet, no_ca, "certificate");
    let other = RedisServer::secured();
    let other_ca = format!("{LINES}ca_file = \"{}\"\n", other.ca_file());
    let wrong_ca = fleet
        .setup(&other_ca)
        .env("TINYNS_REDIS_PASSWORD", PASSWORD);
    serves_without_redis(&fleet, wrong_ca, "certificate");
}

/// What `/readyz` says of Redis.
fn state(server: &Server) -> String {
    let ready = server.api("GET", "/readyz", None).json();
    ready["redis"]
        .as_str()
        .unwrap_or_else(|| panic!("{ready}"))
        .into()
}

#[test]
fn a_server_that_starts_while_redis_is_down_serves_and_finds_it_later() {
    let mut fleet = Fleet::start();
    fleet.redis.kill();
    let setup = fleet.setup("warm_load = false\n").section(LONG_MEMORY);
    let one = setup.start();
    let name = one.register("early", "https://example.net/early");
    assert_eq!(one.answer(&name), Answer::url("https://example.net/early"));
    assert_eq!(one.answer("absent.s.example.com"), Answer::Absent);
    assert_eq!(one.api("GET", "/readyz", None).status, 200);
    assert_eq!(state(&one), "down");
    fleet.redis.restart_empty();
    let (one, two) = (followed(one), fleet.node());
    assert_eq!(state(&one), "up");
    assert_eq!(one.answer(&name), Answer::url("https://example.net/early"));
    assert_eq!(
        two.redirect_to("early", "https://example.net/late").status,
        200
    );
    one.wait_for_answer(&name, &Answer::url("https://example.net/late"), SOON);
}

/// With every kind of connection to Redis: the other server gets the links of one server from Redis.
fn links_are_shared(one: &Server, two: &Server, held: impl Fn(&str) -> Option<Value>) {
    for number in 0..20 {
        let code = format!("shared{number}");
        let name = format!("{code}.s.example.com");
        assert_eq!(two.answer(&name), Answer::Absent);
        let url = format!("https://example.net/{number}");
        one.register(&code, &url);
        two.wait_for_answer(&name, &Answer::url(&url), SOON);
        let url = format!("{url}/changed");
        assert_eq!(two.redirect_to(&code, &url).status, 200);
        one.wait_for_answer(&name, &Answer::url(&url), SOON);
        assert_eq!(held(&name).unwrap()["url"], url.as_str());
        assert_eq!(one.remove(&code).status, 204);
        two.wait_for_answer(&name, &Answer::Absent, SOON);
    }
}

#[test]
fn a_cluster_serves_as_one_node_does() {
    let emulator = Emulator::start();
    let cluster = RedisCluster::start();
    let lines = format!("mode = \"cluster\"\n{LINES}");
    let node = || {
        let setup = setup(&emulator.url(), cluster.urls(), &lines);
        followed(setup.section(LONG_MEMORY).start())
    };
    links_are_shared(&node(), &node(), |name| cluster.held(name));
    // Whatever shard they are on, the keys are those of the configuration.
    let keys = cluster.keys();
    assert!(keys.len() > 20, "{keys:?}");
    assert!(
        keys.iter().all(|key| key.starts_with("tinyns:")),
        "{keys:?}"
    );
}

#[test]
fn sentinels_lead_to_the_master() {
    let emulator = Emulator::start();
    let sentinels = Sentinels::start();
    let lines = format!("mode = \"sentinel\"\nsentinel_master = \"{MASTER}\"\n{LINES}");
    let node = || {
        let setup = setup(&emulator.url(), sentinels.urls(), &lines);
        followed(setup.section(LONG_MEMORY).start())
    };
    let (one, two) = (node(), node());
    links_are_shared(&one, &two, |name| sentinels.first.held(name));
}

/// Answers stay right whatever Redis throws away or refuses: it has room for a part of the links.
fn little_room(policy: &str) {
    const LINKS: usize = 180;
    // For something like half of them.
    const ROOM: u64 = 120_000;
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    let used = fleet.redis.cli(&["info", "memory"]);
    let used = used
        .lines()
        .find_map(|line| line.trim().strip_prefix("used_memory:"));
    let limit = used.unwrap().parse::<u64>().unwrap() + ROOM;
    let set = |what, to: &str| assert_eq!(fleet.redis.cli(&["config", "set", what, to]), "OK");
    set("maxmemory-policy", policy);
    set("maxmemory", &limit.to_string());
    let long = "x".repeat(900);
    let url = |number: usize, round: usize| format!("https://example.net/{number}/{round}/{long}");
    for round in 0..3 {
        for number in 0..LINKS {
            let code = format!("l{number}");
            let server = if number % 2 == 0 { &one } else { &two };
            if round == 0 {
                server.register(&code, &url(number, round));
            } else if number % 3 == 0 {
                assert_eq!(server.redirect_to(&code, &url(number, round)).status, 200);
            }
        }
        for number in 0..LINKS {
            let expected = Answer::Url(url(number, if number % 3 == 0 { round } else { 0 }));
            for server in [&one, &two] {
                server.wait_for_answer(&format!("l{number}.s.example.com"), &expected, SOON);
            }
        }
    }
    let (stats, refused) = (fleet.redis.cli(&["info", "stats"]), policy == "noeviction");
    assert_eq!(stats.contains("evicted_keys:0\r"), refused, "{stats}");
}

#[test]
fn answers_are_right_while_redis_evicts_any_key() {
    little_room("allkeys-random");
}

#[test]
fn answers_are_right_while_redis_evicts_what_ends_soon() {
    little_room("volatile-ttl");
}

#[test]
fn answers_are_right_while_redis_refuses_to_write() {
    little_room("noeviction");
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn rfc3339(seconds: u64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap();
    time.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}
