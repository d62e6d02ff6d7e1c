//! Redis refuses commands, as a whole or a part of it: changes reach the other servers all the same, and each server
//! logs the reason.

use std::time::{Duration, Instant};

use crate::dynamo::Emulator;
use crate::harness::{Answer, PATIENCE, Server, eventually, free_port};
use crate::redis::{Fleet, LINES, LONG_MEMORY, RedisCluster, RedisServer, followed, key, setup};

/// How long a change may take to be seen by others: they hear of it, and look in the table.
const SOON: Duration = Duration::from_secs(3);

fn url(number: usize, round: usize) -> Answer {
    Answer::Url(format!("https://example.net/{number}/{round}"))
}

fn text(number: usize, round: usize) -> String {
    format!("https://example.net/{number}/{round}")
}

fn code(number: usize) -> String {
    format!("k{number}")
}

fn name(number: usize) -> String {
    format!("k{number}.s.example.com")
}

/// Has a server change links of these numbers.
fn change(server: &Server, numbers: impl IntoIterator<Item = usize>, round: usize) {
    for number in numbers {
        let changed = server.redirect_to(&code(number), &text(number, round));
        assert_eq!(changed.status, 200, "{changed:?}");
    }
}

#[test]
fn changes_to_links_of_a_dead_shard_still_reach_other_servers() {
    let emulator = Emulator::start();
    let mut cluster = RedisCluster::start();
    cluster.set_all("cluster-require-full-coverage", "no");
    let urls = cluster.urls();
    let node = || {
        let lines = format!("mode = \"cluster\"\n{LINES}");
        let setup = setup(&emulator.url(), &urls, &lines);
        followed(setup.section(LONG_MEMORY).start())
    };
    let (one, two) = (node(), node());
    // Some links of a shard that does not hold the stream.
    let stream = cluster.master_of_key("tinyns:changes");
    let first = (0..100).find(|n| cluster.master_of_key(&key(&name(*n))) != stream);
    let dead = cluster.master_of_key(&key(&name(first.unwrap())));
    let of_dead = |n: &usize| cluster.master_of_key(&key(&name(*n))) == dead;
    let links: Vec<usize> = (0..100).filter(of_dead).take(10).collect();
    for number in &links {
        one.register(&code(*number), &text(*number, 0));
        for server in [&one, &two] {
            server.wait_for_answer(&name(*number), &url(*number, 0), SOON);
        }
    }
    let shard = cluster.stop_shard_of(&key(&name(links[0])));
    change(&one, links.iter().copied(), 1);
    for number in &links {
        two.wait_for_answer(&name(*number), &url(*number, 1), SOON);
    }
    assert_eq!(two.metric("tinyns_changes_following", &[]), 1.0);

    // It comes back with its old data, and no server uses that.
    cluster.start_shard(shard);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        for number in &links {
            assert_eq!(two.answer(&name(*number)), url(*number, 1));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    eventually("all is repaired", PATIENCE, || {
        [&one, &two]
            .iter()
            .all(|server| server.metric("tinyns_redis_repairs_pending", &[]) == 0.0)
    });
    let fresh = node();
    for number in &links {
        assert_eq!(fresh.answer(&name(*number)), url(*number, 1));
    }
}

/// Leaves a Redis no room for anything more, and forbids it to evict.
fn fill(redis: &RedisServer) {
    let set = |what, to: &str| assert_eq!(redis.cli(&["config", "set", what, to]), "OK");
    set("maxmemory-policy", "noeviction");
    redis.cli(&["set", "junk", &"x".repeat(100_000)]);
    let used = redis.cli(&["info", "memory"]);
    let used = used
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.unwrap().trim().parse().unwrap();
    // Far below its present size, so that a few freed bytes are not enough.
    set("maxmemory", &(used - 500_000).to_string());
    assert!(redis.refuses(&["set", "more", "x"]));
}

#[test]
fn a_full_redis_that_may_not_evict_hides_no_change_from_other_servers() {
    const LINKS: usize = 40;
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    for number in 0..LINKS {
        one.register(&code(number), &text(number, 0));
        for server in [&one, &two] {
            server.wait_for_answer(&name(number), &url(number, 0), SOON);
        }
    }
    fill(&fleet.redis);
    eventually("it is said", PATIENCE, || {
        one.log().text().contains("Redis is full and may not evict")
    });
    for round in 1..=3 {
        change(&one, 0..LINKS, round);
        for number in 0..LINKS {
            two.wait_for_answer(&name(number), &url(number, round), SOON);
        }
    }
    assert_eq!(two.metric("tinyns_changes_following", &[]), 1.0);
    assert_eq!(one.metric("tinyns_redis_repairs_pending", &[]), 0.0);
    // One that has nothing in memory finds nothing old in Redis.
    let fresh = fleet.node();
    for number in 0..LINKS {
        assert_eq!(fresh.answer(&name(number)), url(number, 3));
    }
    fleet.redis.cli(&["config", "set", "maxmemory", "0"]);
    eventually("it is taken back", PATIENCE, || {
        one.log().text().contains("Redis has free memory again")
    });
}

#[test]
fn while_redis_refuses_writes_changes_following_is_zero() {
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    one.register(&code(0), &text(0, 0));
    for server in [&one, &two] {
        server.wait_for_answer(&name(0), &url(0, 0), SOON);
    }
    fleet
        .redis
        .cli(&["config", "set", "min-replicas-to-write", "1"]);
    eventually("it is noticed", PATIENCE, || {
        two.metric("tinyns_changes_following", &[]) == 0.0
    });
    change(&one, [0], 1);
    two.wait_for_answer(&name(0), &url(0, 1), SOON);
    fleet
        .redis
        .cli(&["config", "set", "min-replicas-to-write", "0"]);
    followed(two).wait_for_answer(&name(0), &url(0, 1), SOON);
}

/// A user of a Redis with the rights that these words give.
fn user(redis: &RedisServer, words: &[&str]) -> String {
    let all = [&["acl", "setuser", "weak", "on", ">secret"], words].concat();
    assert_eq!(redis.cli(&all), "OK");
    format!("redis://weak:secret@{}", redis.address())
}

fn reasons(server: &Server) -> String {
    let ready = server.api("GET", "/readyz", None);
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["reasons"].to_string()
}

/// A server whose user lacks a right says so, and its changes reach the other servers all the same.
fn a_right_is_missing(taken: &str, named: &str) {
    let fleet = Fleet::start();
    let url_of_weak = user(&fleet.redis, &["~*", "&*", "+@all", taken]);
    let weak = setup(&fleet.emulator.url(), url_of_weak, LINES).section(LONG_MEMORY);
    let (one, weak) = (fleet.node(), weak.start());
    let line = weak.log().wait_for("Redis refuses what tinyns needs");
    assert!(line.contains("WARN") && line.contains(named), "{line}");
    assert!(reasons(&weak).contains(named), "{}", reasons(&weak));
    for number in 0..10 {
        one.register(&code(number), &text(number, 0));
        for server in [&one, &weak] {
            server.wait_for_answer(&name(number), &url(number, 0), PATIENCE);
        }
    }
    change(&weak, 0..10, 1);
    for number in 0..10 {
        // By the stream, or by a notice.
        one.wait_for_answer(&name(number), &url(number, 1), Duration::from_secs(10));
    }
    let fresh = fleet.node();
    for number in 0..10 {
        fresh.wait_for_answer(&name(number), &url(number, 1), SOON);
    }
    user(&fleet.redis, &["+@all"]);
    weak.log()
        .wait_for("Redis grants its user all rights that tinyns needs again");
    let weak = followed(weak);
    eventually("all is well", PATIENCE, || reasons(&weak) == "null");
    let lines = weak.log().text();
    let times = lines.matches("Redis refuses what tinyns needs").count();
    assert_eq!(times, 1, "a change of state is one line");
}

#[test]
fn a_user_without_scripts() {
    a_right_is_missing("-@scripting", "+evalsha");
}

#[test]
fn a_user_that_may_not_announce() {
    a_right_is_missing("-xadd", "+xadd");
}

/// The documented rights are enough for all that is done.
#[test]
fn the_documented_rights_are_enough() {
    let manual = include_str!("../docs/configuration.md");
    let line = manual
        .lines()
        .find(|line| line.starts_with("ACL SETUSER tinyns "))
        .unwrap();
    let fleet = Fleet::start();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(fleet.redis.cli(&words), "OK");
    let password = words
        .iter()
        .find_map(|word| word.strip_prefix('>'))
        .unwrap();
    let at = fleet.redis.address();
    let node = |url: String| {
        let lines = "timeout_ms = 500\nwarm_load = true\n";
        followed(
            setup(&fleet.emulator.url(), url, lines)
                .section(LONG_MEMORY)
                .start(),
        )
    };
    let one = node(format!("redis://tinyns:{password}@{at}"));
    for number in 0..10 {
        one.register(&code(number), &text(number, 0));
    }
    fleet.redis.cli(&["flushall"]);
    let two = node(format!("redis://tinyns:{password}@{at}"));
    eventually("it is loaded", PATIENCE, || {
        let ready = two.api("GET", "/readyz", None).json();
        ready["warm_load"]["state"] == "done"
    });
    change(&one, 0..10, 1);
    for number in 0..10 {
        two.wait_for_answer(&name(number), &url(number, 1), SOON);
        assert_eq!(one.remove(&code(number)).status, 204);
        two.wait_for_answer(&name(number), &Answer::Absent, SOON);
    }
    for server in [&one, &two] {
        assert_eq!(reasons(server), "null");
        let log = server.log().text();
        assert!(
            !log.contains("NOPERM") && !log.contains("Redis refuses"),
            "{log}"
        );
    }
}

#[test]
fn a_warm_load_that_waits_logs_the_reason() {
    let fleet = Fleet::start();
    let url_of_weak = user(&fleet.redis, &["~*", "&*", "+@all", "-set"]);
    let weak = setup(&fleet.emulator.url(), url_of_weak, "timeout_ms = 500\n").start();
    let line = weak.log().wait_for("the warm load waits for Redis");
    assert!(line.contains("WARN") && line.contains("+set"), "{line}");
}

#[test]
fn a_cluster_member_configured_as_a_single_node_is_not_used() {
    let bus = free_port();
    let member = RedisServer::with(&format!("cluster-enabled yes\ncluster-port {bus}\n"));
    let emulator = Emulator::start();
    let server = setup(&emulator.url(), member.url(), LINES).start();
    let line = server.log().wait_for("cannot connect to Redis");
    assert!(line.contains("set mode = \\\"cluster\\\""), "{line}");
    eventually("it is said", PATIENCE, || {
        reasons(&server).contains("member of a Redis Cluster")
    });
    let name = server.register("a", "https://example.net/a");
    assert_eq!(server.answer(&name), Answer::url("https://example.net/a"));
}
