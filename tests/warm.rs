//! The warm load: at the start, all links of the table go into Redis, while the servers serve.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};

use crate::dynamo::{Emulator, Fate, Gate, Proxy, TABLE, once, s};
use crate::harness::{Answer, PATIENCE, Server, Setup, eventually};
use crate::redis::{Fleet, LINES, LONG_MEMORY, RedisServer, key, setup};

/// How long a load of a few thousand links may take on a busy machine.
const LOADING: Duration = Duration::from_secs(30);
/// How many items DynamoDB takes in one request.
const BATCH: usize = 25;

/// `[redis]` of a server that loads as fast as it can.
const FAST: &str = "timeout_ms = 500\nwarm_load_rate = 0\n";

fn name(number: usize) -> String {
    format!("w{number}.s.example.com")
}

fn url(number: usize) -> String {
    format!("https://example.net/w/{number}")
}

/// A table with this many links, and a Redis with nothing in it.
fn full(links: usize) -> Fleet {
    let fleet = Fleet::start();
    drop(without_load(&fleet)); // It has made the table.
    once(fill(&fleet.emulator, links));
    fleet.redis.cli(&["flushall"]);
    fleet
}

fn without_load(fleet: &Fleet) -> Server {
    let server = fleet.setup(LINES).start();
    eventually("it is connected", PATIENCE, || {
        server.metric("tinyns_redis_breakers_open", &[]) == 0.0
    });
    server
}

async fn fill(emulator: &Emulator, links: usize) {
    let client = emulator.foreign().await;
    let numbers: Vec<usize> = (0..links).collect();
    for batch in numbers.chunks(BATCH) {
        let request = |number: &usize| {
            let put = PutRequest::builder()
                .item("miniUrl", s(&name(*number)))
                .item("fullUrl", s(&url(*number)))
                .build();
            WriteRequest::builder().put_request(put.unwrap()).build()
        };
        let requests: Vec<_> = batch.iter().map(request).collect();
        let write = client.batch_write_item().request_items(TABLE, requests);
        write.send().await.unwrap();
    }
}

/// How many links Redis holds.
fn held(fleet: &Fleet) -> usize {
    let keys = fleet.redis.keys();
    keys.iter()
        .filter(|key| key.starts_with("tinyns:link:"))
        .count()
}

fn loaded(server: &Server) -> usize {
    server.metric("tinyns_warm_load_links_total", &[]) as usize
}

fn is_loading(server: &Server) -> bool {
    server.metric("tinyns_warm_load_running", &[]) == 1.0
}

/// Starts two servers at the same time.
fn both(one: Setup, two: Setup) -> [Server; 2] {
    std::thread::scope(|scope| {
        let two = scope.spawn(|| two.start());
        [one.start(), two.join().unwrap()]
    })
}

#[test]
fn all_links_are_soon_in_redis_and_one_server_alone_loads_them() {
    const LINKS: usize = 3_000;
    let fleet = full(LINKS);
    let servers = both(fleet.setup(FAST), fleet.setup(FAST));
    eventually("all links are in Redis", LOADING, || held(&fleet) == LINKS);
    eventually("nobody loads any more", LOADING, || {
        !servers.iter().any(is_loading)
    });
    let counts = servers.each_ref().map(loaded);
    assert_eq!(counts.iter().sum::<usize>(), LINKS, "{counts:?}");
    assert!(counts.contains(&0), "{counts:?}");
    // Nothing is left to be read from the table.
    let fresh = without_load(&fleet);
    for number in (0..LINKS).step_by(100) {
        assert_eq!(fresh.answer(&name(number)), Answer::Url(url(number)));
    }
    assert_eq!(
        fresh.metric("tinyns_link_lookups_total", &[("tier", "Store")]),
        0.0
    );
    // A server that starts soon after another has loaded does not do it again.
    let late = fleet.setup(FAST).start();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(loaded(&late), 0);
}

#[test]
fn items_that_are_no_live_links_do_not_stop_the_warm_load() {
    let fleet = full(200);
    once(async {
        let client = fleet.emulator.foreign().await;
        let one = crate::dynamo::n(1);
        let ended = [
            ("miniUrl", s("ended.s.example.com")),
            ("fullUrl", s("https://example.net/")),
            ("expiresAt", one.clone()),
        ];
        let deleted = [
            ("miniUrl", s("deleted.s.example.com")),
            ("version", crate::dynamo::n(7)),
            ("deletedAt", one),
        ];
        let nonsense = [
            ("miniUrl", s("nonsense.s.example.com")),
            ("fullUrl", s("nonsense")),
        ];
        for item in [&ended[..], &deleted[..], &nonsense[..]] {
            crate::dynamo::put(&client, item).await;
        }
    });
    let server = fleet.setup(FAST).start();
    eventually("all links are in Redis", LOADING, || {
        (0..200).all(|n| fleet.redis.cli(&["exists", &key(&name(n))]) == "1")
    });
    assert_eq!(server.answer("ended.s.example.com"), Answer::Absent);
    assert_eq!(server.answer("deleted.s.example.com"), Answer::Absent);
    assert!(matches!(
        server.answer("nonsense.s.example.com"),
        Answer::Unknown(Some(_))
    ));
}

#[test]
fn a_warm_load_continues_where_a_killed_server_left_it() {
    // Several pages of each of the parts that are read side by side.
    const LINKS: usize = 16_000;
    let fleet = full(LINKS);
    let slowly = "timeout_ms = 500\nwarm_load_rate = 4000\n";
    let mut first = fleet.setup(slowly).start();
    eventually("half of it is loaded", LOADING, || {
        loaded(&first) >= LINKS / 2
    });
    assert!(is_loading(&first));
    first.crash();
    let second = fleet.setup(FAST).start();
    // Not before the lease of the first has ended.
    eventually("all links are in Redis", LOADING + LOADING, || {
        held(&fleet) == LINKS
    });
    eventually("the load is over", LOADING, || !is_loading(&second));
    let rest = loaded(&second);
    // Links that were loaded just before the end may be loaded again.
    assert!(rest <= LINKS * 3 / 4, "the second has loaded {rest}");
}

#[test]
fn readiness_shows_the_load_and_does_not_wait_for_it() {
    const LINKS: usize = 8_000;
    let fleet = full(LINKS);
    let server = fleet.setup("warm_load_rate = 4000\n").start();
    let mut seen = Vec::new();
    let end = Instant::now() + LOADING;
    for number in 0.. {
        let ready = server.api("GET", "/readyz", None);
        assert_eq!(ready.status, 200);
        let load = &ready.json()["warm_load"];
        let state = load["state"].as_str().unwrap().to_owned();
        let links = load["links"].as_u64().unwrap();
        if state == "done" {
            assert_eq!(links, LINKS as u64);
            break;
        }
        seen.push((state, links));
        assert!(Instant::now() < end, "{load}");
        // Queries do not wait either.
        let number = number % LINKS;
        assert_eq!(server.answer(&name(number)), Answer::Url(url(number)));
        std::thread::sleep(Duration::from_millis(20));
    }
    seen.dedup();
    let loading = seen.iter().filter(|(state, _)| state == "loading");
    assert!(loading.count() > 1, "{seen:?}");
}

#[test]
fn a_warm_load_does_not_replace_newer_entries() {
    let fleet = full(20);
    let server = fleet.node();
    let proxy = Proxy::spawn(&fleet.emulator);
    // The pages have been read, but do not arrive.
    let gate = Gate::new();
    proxy.on("Scan", Fate::HoldReply(gate.clone()));
    let loading = setup(&proxy.url(), fleet.redis.url(), FAST).section(LONG_MEMORY);
    let loading = loading.start();
    gate.wait(1);
    // Changed, deleted, made anew: with and without having been in Redis before.
    for number in 0..10 {
        assert_eq!(server.answer(&name(number)), Answer::Url(url(number)));
    }
    for number in (0..20).step_by(2) {
        let changed = server.redirect_to(&format!("w{number}"), "https://example.net/new");
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(server.remove(&format!("w{}", number + 1)).status, 204);
    }
    gate.open();
    proxy.all(Fate::Pass);
    eventually("the load is over", LOADING, || {
        fleet.redis.cli(&["exists", "tinyns:warm-load:done"]) == "1"
    });
    let fresh = fleet.node();
    for number in (0..20).step_by(2) {
        for server in [&server, &loading, &fresh] {
            let answer = server.answer(&name(number));
            assert_eq!(answer, Answer::url("https://example.net/new"));
            assert_eq!(server.answer(&name(number + 1)), Answer::Absent);
        }
    }
}

/// A page of the load was read and is delayed. All its links are deleted, and Redis loses the entries that would
/// prevent the page's entries.
fn a_load_meets_a_loss(lose: impl Fn(&RedisServer)) {
    let fleet = full(20);
    let server = fleet.node();
    let proxy = Proxy::spawn(&fleet.emulator);
    let gate = Gate::new();
    proxy.on("Scan", Fate::HoldReply(gate.clone()));
    let loading = setup(&proxy.url(), fleet.redis.url(), FAST).section(LONG_MEMORY);
    let loading = loading.start();
    gate.wait(1);
    for number in 0..20 {
        assert_eq!(server.remove(&format!("w{number}")).status, 204);
    }
    lose(&fleet.redis);
    gate.open();
    proxy.all(Fate::Pass);
    eventually("the load is over", LOADING, || {
        fleet.redis.cli(&["exists", "tinyns:warm-load:done"]) == "1"
    });
    for server in [&server, &loading, &fleet.node()] {
        for number in 0..20 {
            assert_eq!(server.answer(&name(number)), Answer::Absent);
        }
    }
}

#[test]
fn a_warm_load_does_not_restore_evicted_entries() {
    a_load_meets_a_loss(|redis| {
        for number in 0..20 {
            redis.cli(&["del", &key(&name(number))]);
        }
    });
}

#[test]
fn a_warm_load_does_not_restore_flushed_entries() {
    a_load_meets_a_loss(|redis| assert_eq!(redis.cli(&["flushall"]), "OK"));
}

/// A server that loads at a rate at which something can happen meanwhile, and is half done.
fn half_loaded(fleet: &Fleet, table: &str, links: usize) -> Server {
    let lines = "timeout_ms = 500\nwarm_load_rate = 4000\n";
    let server = setup(table, fleet.redis.url(), lines).start();
    eventually("half of it is loaded", LOADING, || {
        loaded(&server) >= links / 2
    });
    assert!(is_loading(&server));
    server
}

#[test]
fn a_table_that_is_cut_off_only_delays_the_load() {
    const LINKS: usize = 12_000;
    let fleet = full(LINKS);
    let proxy = Proxy::spawn(&fleet.emulator);
    let server = half_loaded(&fleet, &proxy.url(), LINKS);
    proxy.all(Fate::Cut);
    std::thread::sleep(Duration::from_secs(1));
    proxy.all(Fate::Pass);
    eventually("all links are in Redis", LOADING, || held(&fleet) == LINKS);
    eventually("the load is over", LOADING, || !is_loading(&server));
    assert_eq!(loaded(&server), LINKS);
}

/// Redis loses all in the middle of the load; afterwards it holds all the same.
fn is_loaded_anew_after(lose: impl Fn(&mut RedisServer)) {
    const LINKS: usize = 12_000;
    let mut fleet = full(LINKS);
    let server = half_loaded(&fleet, &fleet.emulator.url(), LINKS);
    lose(&mut fleet.redis);
    eventually("all links are in Redis", LOADING, || held(&fleet) == LINKS);
    for number in (0..LINKS).step_by(100) {
        assert_eq!(server.answer(&name(number)), Answer::Url(url(number)));
    }
}

#[test]
fn a_redis_that_comes_back_empty_during_the_load_is_loaded_anew() {
    is_loaded_anew_after(RedisServer::restart_empty);
}

#[test]
fn a_redis_that_is_flushed_during_the_load_is_loaded_anew() {
    is_loaded_anew_after(|redis| assert_eq!(redis.cli(&["flushall"]), "OK"));
}

#[test]
fn a_redis_that_is_emptied_after_the_load_is_loaded_anew() {
    const LINKS: usize = 1_000;
    let mut fleet = full(LINKS);
    let _server = fleet.setup(FAST).start();
    let full_again = || {
        let done = || fleet.redis.cli(&["exists", "tinyns:warm-load:done"]) == "1";
        eventually("all is loaded", LOADING, || done() && held(&fleet) == LINKS);
    };
    full_again();
    assert_eq!(fleet.redis.cli(&["flushall"]), "OK");
    full_again();
    fleet.redis.restart_empty();
    eventually("all is loaded", LOADING, || held(&fleet) == LINKS);
}
