//! Two tables that are replicated as those of a global table are: later, and the last writer of an item wins.
//!
//! The servers of these tests keep links and absent names in memory for ten minutes, and Redis keeps links for a day. Their
//! filters deny all names that they do not hear of.

use std::time::{Duration, Instant};

use serde_json::json;
use tinyns::base::clock::UnixTime;
use tinyns::link::{LinkName, Version};
use tinyns::store::{DynamoConfig, Notice, Store};

use super::replicator::{Replicator, Side};
use super::{never_goes_back, partition};
use crate::dynamo::{self, Emulator, TABLE, n, s};
use crate::harness::{Answer, PATIENCE, Server, eventually};
use crate::redis::{Fleet, LINES, LONG_MEMORY, followed};
use crate::tokens;

/// How long replication takes in tests that do not choose.
const DELAY: Duration = Duration::from_millis(200);
/// A version far in the future, such as a server whose clock is an hour fast gives to a link.
const HOUR: u64 = 3_600_000_000;

/// Two regions: two servers in A, one in B.
struct World {
    replicator: Replicator,
    a: Fleet,
    b: Fleet,
    in_a: [Server; 2],
    in_b: Server,
}

impl World {
    fn start(delay: Duration) -> Self {
        let (a, b) = (Fleet::start(), Fleet::start());
        for fleet in [&a, &b] {
            let config = dynamo::config(&fleet.emulator.url());
            dynamo::once(async { dynamo::open(&config).await.unwrap() });
        }
        let replicator = Replicator::start(&a.emulator, &b.emulator, delay);
        let in_a = ["a1", "a2"].map(|name| server(&a, name, "us-east-1"));
        let in_b = server(&b, "b1", "eu-west-1");
        Self {
            replicator,
            a,
            b,
            in_a,
            in_b,
        }
    }

    fn servers(&self) -> [&Server; 3] {
        [&self.in_a[0], &self.in_a[1], &self.in_b]
    }

    /// Waits until all servers give an answer, by DNS and in the API, and keep it.
    fn settles(&self, name: &str, answer: &Answer) {
        for server in self.servers() {
            server.wait_for_answer(name, answer, PATIENCE);
        }
        let code = name.split('.').next().unwrap();
        for server in self.servers() {
            let link = server.api("GET", &format!("/v1/links/{code}"), None);
            match answer {
                Answer::Url(url) => assert_eq!(link.json()["url"], json!(url)),
                _ => assert_eq!(link.status, 404, "{link:?}"),
            }
        }
        // The server that has read the feed answers before Redis is right.
        for fleet in [&self.a, &self.b] {
            eventually("Redis holds nothing else", PATIENCE, || {
                let held = fleet.redis.held(name).unwrap_or_default();
                let held = held["url"].as_str().map(|url| Answer::Url(url.into()));
                held.is_none_or(|held| held == *answer)
            });
        }
        for server in self.servers() {
            assert_eq!(server.answer(name), *answer);
        }
    }

    fn fleet(&self, side: Side) -> &Fleet {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Puts a link into a table as a server whose clock shows `version` does, and waits until its time is known.
    fn put(&self, side: Side, name: &str, url: &str, version: u64) {
        let item = [
            ("miniUrl", s(name)),
            ("fullUrl", s(url)),
            ("createdAt", n(version / 1_000_000)),
            ("createdBy", s("elsewhere")),
            ("version", n(version)),
        ];
        dynamo::once(async {
            dynamo::put(&self.fleet(side).emulator.foreign().await, &item).await;
        });
        self.replicator.observe(side, name, url);
    }
}

/// A server that reads the stream of its table.
fn server(fleet: &Fleet, name: &str, region: &str) -> Server {
    let setup = fleet
        .setup(LINES)
        .replace_in_store("feed = false", "feed = true")
        .store_line(&format!("region = \"{region}\""))
        .section(LONG_MEMORY)
        .section("filter = true\n")
        .section(&format!(
            "[server]\nname = \"{name}\"\nregion = \"{region}\"\n"
        ));
    let server = followed(setup.start());
    for metric in ["tinyns_feed_following", "tinyns_filter_complete"] {
        eventually(metric, PATIENCE, || server.metric(metric, &[]) == 1.0);
    }
    server
}

fn url(text: impl std::fmt::Display) -> String {
    format!("https://example.net/{text}")
}

fn shows(text: impl std::fmt::Display) -> Answer {
    Answer::Url(url(text))
}

fn now_micros() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_micros().try_into().unwrap()
}

#[test]
fn changes_of_one_region_show_in_the_other() {
    let world = World::start(DELAY);
    let (one, two) = (&world.in_a[0], &world.in_b);
    for (number, (maker, other)) in [(one, two), (two, one)].into_iter().enumerate() {
        let code = format!("k{number}");
        let name = format!("{code}.s.example.com");
        for server in world.servers() {
            assert_eq!(server.answer(&name), Answer::Absent);
        }
        maker.register(&code, &url(0));
        world.settles(&name, &shows(0));
        assert_eq!(other.redirect_to(&code, &url(1)).status, 200);
        world.settles(&name, &shows(1));
        assert_eq!(maker.remove(&code).status, 204);
        world.settles(&name, &Answer::Absent);
        other.register(&code, &url(2));
        world.settles(&name, &shows(2));
    }
    // The servers of one region know only each other, and say so.
    let list = two.api("GET", "/v1/servers", None).json();
    let names: Vec<&str> = list["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| {
            assert_eq!(server["region"], "eu-west-1");
            server["name"].as_str().unwrap()
        })
        .collect();
    assert_eq!(names, ["b1"]);
}

#[test]
fn both_regions_answer_while_they_are_cut_off_from_each_other() {
    let world = World::start(DELAY);
    let (one, two) = (&world.in_a[0], &world.in_b);
    let name = one.register("changed", &url(0));
    let deleted = one.register("deleted", &url("deleted"));
    world.settles(&name, &shows(0));
    world.settles(&deleted, &shows("deleted"));
    world.replicator.cut();
    let end = Instant::now() + partition();
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        assert_eq!(one.redirect_to("changed", &url(number)).status, 200);
        one.register(&format!("a{number}"), &url(format!("a{number}")));
        two.register(&format!("b{number}"), &url(format!("b{number}")));
        for server in &world.in_a {
            server.wait_for_answer(&name, &shows(number), PATIENCE);
        }
        // B does not know better, and never denies what it has.
        assert_eq!(two.answer(&name), shows(0));
        assert_eq!(two.answer(&deleted), shows("deleted"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(one.remove("deleted").status, 204);
    never_goes_back(two, &name, number, || {
        world.replicator.heal();
        world.settles(&name, &shows(number));
    });
    world.settles(&deleted, &Answer::Absent);
    world.replicator.converge();
    for number in 1..=number {
        for side in ["a", "b"] {
            let code = format!("{side}{number}");
            world.settles(&format!("{code}.s.example.com"), &shows(code));
        }
    }
}

#[test]
fn the_last_of_two_regions_that_make_a_code_has_it() {
    let world = World::start(DELAY);
    let (one, two) = (&world.in_a[0], &world.in_b);
    for (number, a_is_last) in [true, false, true, false].into_iter().enumerate() {
        let code = format!("k{number}");
        let name = format!("{code}.s.example.com");
        world.replicator.cut();
        let mut order = [(one, Side::A, "a"), (two, Side::B, "b")];
        if a_is_last {
            order.reverse();
        }
        for (server, side, text) in order {
            let reply = server.api(
                "POST",
                "/v1/links?wait=servers",
                Some(&json!({ "url": url(text), "code": code })),
            );
            assert_eq!(reply.status, 201, "{reply:?}");
            world.replicator.observe(side, &name, &url(text));
        }
        // Memory and Redis of each region hold what the region has made.
        for (server, text) in [(one, "a"), (&world.in_a[1], "a"), (two, "b")] {
            assert_eq!(server.answer(&name), shows(text));
        }
        world.replicator.heal();
        let [(_, _, loser), (_, _, winner)] = order;
        world.settles(&name, &shows(winner));
        // The creator in the other region finds out that the link is not theirs.
        let repeated = json!({ "url": url(loser), "code": code });
        for server in world.servers() {
            let reply = server.api("POST", "/v1/links", Some(&repeated));
            assert_eq!(reply.status, 409, "{reply:?}");
        }
    }
}

#[test]
fn the_last_writer_wins_although_its_clock_is_behind() {
    let world = World::start(DELAY);
    let (one, two) = (&world.in_a[0], &world.in_b);
    // The link of a server in B whose clock is an hour fast, and the later one of a server in A.
    let name = "fast.s.example.com";
    world.replicator.cut();
    world.put(Side::B, name, &url("fast"), now_micros() + HOUR);
    two.wait_for_answer(name, &shows("fast"), PATIENCE);
    one.register("fast", &url("late"));
    world.replicator.observe(Side::A, name, &url("late"));
    world.replicator.heal();
    world.settles(name, &shows("late"));
    // A server whose clock is behind the version changes the link all the same, in both regions.
    world.put(Side::B, name, &url("fast"), now_micros() + HOUR);
    world.settles(name, &shows("fast"));
    for (number, server) in world.servers().into_iter().enumerate() {
        assert_eq!(server.redirect_to("fast", &url(number)).status, 200);
        world.settles(name, &shows(number));
    }
    assert_eq!(one.remove("fast").status, 204);
    world.settles(name, &Answer::Absent);
    two.register("fast", &url("again"));
    world.settles(name, &shows("again"));
}

#[test]
fn changes_below_the_version_of_one_that_lost_are_seen() {
    let world = World::start(Duration::ZERO);
    let one = &world.in_a[0];
    let name = "slow.s.example.com";
    world.replicator.cut();
    one.register("slow", &url("own"));
    world.replicator.observe(Side::A, name, &url("own"));
    // The clock of a server in B is an hour behind. It makes the link later, and changes it twice.
    let behind = now_micros() - HOUR;
    world.put(Side::B, name, &url(1), behind);
    world.replicator.heal();
    world.settles(name, &shows(1));
    for number in 2..6 {
        world.put(Side::B, name, &url(number), behind + number);
        world.settles(name, &shows(number));
    }
    // A deletion leaves a tombstone whose version is below that of the lost link.
    dynamo::once(async {
        let client = world.b.emulator.foreign().await;
        let delete = client
            .update_item()
            .table_name(TABLE)
            .key("miniUrl", s(name));
        let delete =
            delete.update_expression("SET deletedAt = :now, version = :version REMOVE fullUrl");
        let delete = delete.expression_attribute_values(":now", n(behind / 1_000_000));
        let delete = delete.expression_attribute_values(":version", n(behind + 10));
        delete.send().await.unwrap();
    });
    world.settles(name, &Answer::Absent);
}

#[test]
fn tokens_and_idempotency_keys_reach_the_other_region() {
    let world = World::start(DELAY);
    let (one, two) = (&world.in_a[0], &world.in_b);
    let secret = tokens::make(one, &json!({ "name": "colleague", "role": "reader" }));
    let accepted = || tokens::status(two, "GET", "/v1/links", &secret) == 200;
    eventually("it is accepted in the other region", PATIENCE, accepted);
    let revoked = two.api("DELETE", "/v1/tokens/colleague", None);
    assert_eq!(revoked.status, 204, "{revoked:?}");
    let refused = || tokens::status(one, "GET", "/v1/links", &secret) == 401;
    eventually("it is refused in the first region", PATIENCE, refused);

    let body = json!({ "url": url("once") }).to_string();
    let post = |server: &Server| {
        let key = [("idempotency-key", "7f3a90c1-once")];
        let body = Some(("application/json", body.clone().into_bytes()));
        server.api_raw("POST", "/v1/links", &key, body)
    };
    let first = post(one);
    assert_eq!(first.status, 201, "{first:?}");
    world.replicator.converge();
    let repeat = post(two);
    assert_eq!(
        repeat.header("idempotent-replayed"),
        Some("true"),
        "{repeat:?}"
    );
    assert_eq!(repeat.link()["version"], first.link()["version"]);
}

#[test]
fn notices_of_two_regions_do_not_replace_each_other() {
    let (a, b) = (Emulator::start(), Emulator::start());
    dynamo::once(async {
        let open = async |emulator: &Emulator, region: &str| {
            let config = dynamo::config(&emulator.url());
            let region = Some(region.into());
            dynamo::open(&DynamoConfig { region, ..config })
                .await
                .unwrap()
        };
        let stores = [open(&a, "eu-west-1").await, open(&b, "us-east-1").await];
        let replicator = Replicator::start(&a, &b, Duration::ZERO);
        replicator.cut();
        for (store, node) in stores.iter().zip(["in-a", "in-b"]) {
            let changed = LinkName::parse("changed.s.example.com").unwrap();
            let notice = Notice {
                node: node.into(),
                number: 1,
                changes: Some(vec![(changed, Version(1))]),
                until: UnixTime(now_micros() / 1_000_000 + 600),
            };
            store.post_notice(&notice).await.unwrap();
        }
        replicator.heal();
        replicator.converge();
        for (store, node) in stores.iter().zip(["in-a", "in-b"]) {
            let notices = store.notices().await.unwrap();
            let nodes: Vec<&str> = notices.iter().map(|notice| &*notice.node).collect();
            assert_eq!(nodes, [node]);
        }
    });
}
