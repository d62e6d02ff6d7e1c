//! One PostgreSQL server that takes changes, in region A, and a streaming replica of it in region B. The network between the
//! regions is a wire: the replica follows through it, and the server in B sends its changes through it.

use std::time::Instant;

use serde_json::{Value, json};

use super::{never_goes_back, partition};
use crate::harness::{Answer, PATIENCE, Reply, Server, Setup, eventually, free_port};
use crate::postgres::Postgres;
use crate::redis::{Fault, LINES, LONG_MEMORY, RedisServer, Wire, followed};
use crate::servers::know_each_other;

/// Two servers in A, one in B.
struct World {
    network: Wire,
    in_a: [Server; 2],
    in_b: Server,
    _redis: [RedisServer; 2],
    _replica: Postgres,
    _writer: Postgres,
}

impl World {
    fn start() -> Self {
        let writer = Postgres::start();
        let network = Wire::to(writer.host().parse().unwrap());
        let replica = writer.replica_through(network.port());
        let redis = [RedisServer::start(), RedisServer::start()];
        let here = format!("url = \"{}\"\n", writer.url());
        let in_a = ["a1", "a2"].map(|name| server(&redis[0], name, "a", &here));
        let far = writer.url().replace(&writer.host(), &network.host());
        let near = format!("url = \"{far}\"\nreplica_url = \"{}\"\n", replica.url());
        let in_b = server(&redis[1], "b1", "b", &near);
        let world = Self {
            network,
            in_a,
            in_b,
            _redis: redis,
            _replica: replica,
            _writer: writer,
        };
        know_each_other(world.servers());
        world
    }

    fn servers(&self) -> [&Server; 3] {
        [&self.in_a[0], &self.in_a[1], &self.in_b]
    }

    fn settles(&self, name: &str, answer: &Answer) {
        for server in self.servers() {
            server.wait_for_answer(name, answer, PATIENCE);
        }
        for server in self.servers() {
            assert_eq!(server.answer(name), *answer);
        }
    }
}

fn server(redis: &RedisServer, name: &str, region: &str, store: &str) -> Server {
    let setup = Setup::new()
        .store(&format!("kind = \"postgresql\"\n{store}"))
        .section(&format!("[redis]\nurl = \"{}\"\n{LINES}", redis.url()))
        .section(LONG_MEMORY)
        .section(&format!(
            "[server]\nname = \"{name}\"\nregion = \"{region}\"\n"
        ));
    let server = followed(setup.start());
    eventually("it follows the feed", PATIENCE, || {
        server.metric("tinyns_feed_following", &[]) == 1.0
    });
    server
}

fn url(text: impl std::fmt::Display) -> String {
    format!("https://example.net/{text}")
}

fn shows(text: impl std::fmt::Display) -> Answer {
    Answer::Url(url(text))
}

fn make(server: &Server, code: &str, target: &str, query: &str) -> Reply {
    let body = json!({ "url": target, "code": code });
    server.api("POST", &format!("/v1/links{query}"), Some(&body))
}

#[test]
fn changes_of_one_region_show_in_the_other() {
    let world = World::start();
    let (one, two) = (&world.in_a[0], &world.in_b);
    for (number, (maker, other)) in [(one, two), (two, one)].into_iter().enumerate() {
        for round in 0..5 {
            let code = format!("k{number}-{round}");
            let name = format!("{code}.s.example.com");
            for server in world.servers() {
                assert_eq!(server.answer(&name), Answer::Absent);
            }
            // Who waits finds it everywhere, and who does not finds it where it was made.
            let wait = ["", "?wait=servers"][round % 2];
            let made = make(maker, &code, &url(0), wait);
            assert_eq!(made.status, 201, "{made:?}");
            assert_eq!(maker.answer(&name), shows(0));
            if !wait.is_empty() {
                assert_eq!(made.json()["visible"]["servers"], 3);
                assert_eq!(other.answer(&name), shows(0));
            }
            world.settles(&name, &shows(0));
            assert_eq!(other.redirect_to(&code, &url(1)).status, 200);
            assert_eq!(other.answer(&name), shows(1));
            world.settles(&name, &shows(1));
            assert_eq!(maker.remove(&code).status, 204);
            assert_eq!(maker.answer(&name), Answer::Absent);
            world.settles(&name, &Answer::Absent);
        }
    }
}

#[test]
fn one_of_two_regions_that_make_a_code_has_it() {
    let world = World::start();
    for number in 0..20 {
        let code = format!("k{number}");
        let makers = [(&world.in_a[number % 2], "a"), (&world.in_b, "b")];
        let replies = std::thread::scope(|scope| {
            let calls = makers.map(|(server, text)| {
                let code = &code;
                scope.spawn(move || make(server, code, &url(text), ""))
            });
            calls.map(|call| call.join().unwrap().status)
        });
        let winner = match replies {
            [201, 409] => "a",
            [409, 201] => "b",
            other => panic!("{other:?}"),
        };
        world.settles(&format!("{code}.s.example.com"), &shows(winner));
    }
}

#[test]
fn both_regions_answer_while_they_are_cut_off_from_each_other() {
    let world = World::start();
    let (one, two) = (&world.in_a[0], &world.in_b);
    let changed = one.register("changed", &url(0));
    let deleted = one.register("deleted", &url("deleted"));
    // Neither memory nor Redis of B has this one.
    let cold = one.register("cold", &url("cold"));
    world.settles(&changed, &shows(0));
    world.settles(&deleted, &shows("deleted"));
    two.wait_for_answer(&cold, &shows("cold"), PATIENCE);
    one.register("colder", &url("colder"));
    let receipt = one.api("GET", "/v1/links/colder/visible?wait=servers", None);
    assert_eq!(receipt.json()["complete"], true, "{receipt:?}");
    let made = Instant::now();
    // B knows that its replica has that link once the replica has shown a moment after the announcement in B.
    eventually("the replica is known to have it", PATIENCE, || {
        let lag = two.metric("tinyns_replica_lag_seconds", &[]);
        lag + 1.0 < made.elapsed().as_secs_f64()
    });

    world.network.suffer(Fault::Cut);
    let late = make(one, "first", &url("first"), "?wait=servers");
    assert_eq!(late.status, 202, "{late:?}");
    assert_eq!(late.json()["visible"]["missing"], json!(["b1"]));
    let end = Instant::now() + partition();
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        assert_eq!(one.redirect_to("changed", &url(number)).status, 200);
        one.register(&format!("a{number}"), &url(format!("a{number}")));
        for server in &world.in_a {
            server.wait_for_answer(&changed, &shows(number), PATIENCE);
        }
        assert_eq!(two.answer(&changed), shows(0));
        assert_eq!(two.answer(&deleted), shows("deleted"));
        // From the replica.
        assert_eq!(two.answer("colder.s.example.com"), shows("colder"));
        let refused = make(two, &format!("b{number}"), &url("b"), "");
        assert_eq!(refused.status, 503, "{refused:?}");
        let problem: Value = refused.json();
        assert!(
            problem["type"].as_str().unwrap().contains("store-"),
            "{problem}"
        );
    }
    assert_eq!(one.remove("deleted").status, 204);
    // The announcement of the server in B does not count any more.
    eventually("B is not waited for", PATIENCE, || {
        let made = make(one, "second", &url("second"), "?wait=servers");
        let visible = &made.json()["visible"];
        visible["complete"] == true && visible["servers"] == 2
    });

    never_goes_back(two, &changed, number, || {
        world.network.suffer(Fault::None);
        world.settles(&changed, &shows(number));
    });
    world.settles(&deleted, &Answer::Absent);
    for code in (1..=number).map(|number| format!("a{number}")) {
        world.settles(&format!("{code}.s.example.com"), &shows(code));
    }
    know_each_other(world.servers());
    let made = make(two, "after", &url("after"), "?wait=servers");
    assert_eq!(made.status, 201, "{made:?}");
    world.settles("after.s.example.com", &shows("after"));
}

/// The configurations of docs/regions.md, with other ports.
#[test]
fn the_two_regions_of_the_documentation_work() {
    let writer = Postgres::start();
    let replica = writer.replica();
    let redis = [RedisServer::start(), RedisServer::start()];
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let others = ["5300", "5301", "8053", "8054", "8080", "8081"];
    let mut ports: Vec<(&str, String)> = others
        .into_iter()
        .map(|port| (port, free_port().to_string()))
        .collect();
    ports.push(("5501", port(&writer.host())));
    ports.push(("5502", port(&replica.host())));
    ports.push(("6401", redis[0].address().port().to_string()));
    ports.push(("6402", redis[1].address().port().to_string()));
    let start = |text: &str| {
        // Ports stand after a colon, or alone.
        let mut text = text.to_owned();
        for (port, other) in &ports {
            text = text.replace(&format!(":{port}"), &format!(":{other}"));
            text = text.replace(&format!("= {port}"), &format!("= {other}"));
        }
        followed(Server::with_config(&text))
    };
    let one = start(include_str!("../../zones/region-a.toml"));
    let two = start(include_str!("../../zones/region-b.toml"));
    know_each_other([&one, &two]);
    for (number, (maker, other)) in [(&one, &two), (&two, &one)].into_iter().enumerate() {
        let code = format!("k{number}");
        let made = make(maker, &code, &url(&code), "?wait=servers");
        assert_eq!(made.status, 201, "{made:?}");
        let name = made.link()["name"].as_str().unwrap().to_owned();
        assert_eq!(other.answer(&name), shows(&code));
    }
}
