//! Redis stops, hangs, is slow, or comes back with an older state.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    BY_LOOKING, PROMPT, SETTLING, SHORT_MEMORY, SOON, STRICT, always, change_all, code, come_to,
    name, p99, register_all, url,
};
use crate::harness::{Answer, PATIENCE, Server, eventually};
use crate::redis::{Fault, Fleet, LONG_MEMORY, RedisServer, Wire, followed, key, setup};

/// Redis goes away in some way, links are changed meanwhile, and it comes back in some way.
fn redis_goes_and_comes(go: impl Fn(&mut RedisServer), come: impl Fn(&mut RedisServer)) {
    const LINKS: usize = 20;
    let mut fleet = Fleet::start();
    let strict = |memory| followed(fleet.setup(STRICT).section(memory).start());
    let (one, two) = (strict(LONG_MEMORY), strict(SHORT_MEMORY));
    // It will have nothing in memory when Redis comes back.
    let fresh = strict(LONG_MEMORY);
    register_all(&one, LINKS);
    come_to(&[&one, &two], LINKS, 0, SOON);
    fleet.redis.save();

    go(&mut fleet.redis);
    for server in [&one, &two] {
        let p99 = p99(server, LINKS, 300, 0);
        assert!(p99 < PROMPT, "{p99:?}");
        assert_eq!(server.api("GET", "/readyz", None).status, 200);
    }
    eventually("it is noticed", PATIENCE, || {
        one.answer("absent.s.example.com") == Answer::Absent
            && one.api("GET", "/readyz", None).json()["redis"] == "down"
    });
    change_all(&one, LINKS, 1);
    // At once on the server of the change; on others by looking again, since it cannot be announced.
    come_to(&[&one], LINKS, 1, Duration::ZERO);
    come_to(&[&two], LINKS, 1, BY_LOOKING);
    let late = two.register("late", "https://example.net/late");
    one.wait_for_answer(&late, &Answer::url("https://example.net/late"), BY_LOOKING);

    come(&mut fleet.redis);
    std::thread::sleep(SETTLING);
    always(&[&fresh, &one, &two], LINKS, 1, Duration::from_secs(2));
    let servers = [followed(one), followed(two), followed(fresh)];
    for server in &servers {
        assert_eq!(server.api("GET", "/readyz", None).json()["redis"], "up");
        assert_eq!(server.metric("tinyns_redis_breakers_open", &[]), 0.0);
    }
    let servers = servers.each_ref();
    change_all(servers[1], LINKS, 2);
    come_to(&servers, LINKS, 2, SOON);
    // And Redis holds the right data now.
    for number in 0..LINKS {
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, 2).as_str());
    }
}

#[test]
fn redis_stops_and_comes_back_empty() {
    redis_goes_and_comes(RedisServer::kill, RedisServer::restart_empty);
}

#[test]
fn redis_stops_and_comes_back_with_its_data() {
    redis_goes_and_comes(RedisServer::kill, RedisServer::restart_with_saved);
}

#[test]
fn redis_hangs_and_recovers() {
    redis_goes_and_comes(|redis| redis.pause(), |redis| redis.resume());
}

#[test]
fn redis_hangs_and_is_replaced() {
    redis_goes_and_comes(|redis| redis.pause(), RedisServer::restart_empty);
}

/// A fleet whose Redis has come back with the first state of all links. It had the change before, and all servers had
/// received it, so nothing was left to be repaired.
fn redis_has_lost_a_change(links: usize, between: impl Fn(&Server)) -> (Fleet, [Server; 2]) {
    let mut fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    register_all(&one, links);
    come_to(&[&one, &two], links, 0, SOON);
    fleet.redis.save();
    change_all(&one, links, 1);
    come_to(&[&one, &two], links, 1, SOON);
    between(&one);
    fleet.redis.restart_with_saved();
    (fleet, [one, two])
}

#[test]
fn redis_loses_its_last_minutes() {
    const LINKS: usize = 20;
    let (fleet, [one, two]) = redis_has_lost_a_change(LINKS, |_| {});
    std::thread::sleep(SETTLING);
    // A server without anything in memory comes first: it must not need what the others know.
    always(&[&fleet.node()], LINKS, 1, Duration::from_secs(1));
    always(&[&one, &two], LINKS, 1, Duration::from_secs(1));
    always(&[&fleet.node()], LINKS, 1, Duration::ZERO);
}

#[test]
fn an_older_redis_does_not_replace_links_in_memory() {
    const LINKS: usize = 20;
    // The server that made the changes can no longer repair them.
    let dies = |one: &Server| one.signal(Signal::SIGKILL);
    let (_fleet, [_, two]) = redis_has_lost_a_change(LINKS, dies);
    always(&[&two], LINKS, 1, SETTLING);
    assert_eq!(two.metric("tinyns_changes_gaps_total", &[]), 1.0);
}

#[test]
fn a_slow_redis_slows_no_answer_much() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let setup = setup(&fleet.emulator.url(), wire.url(), STRICT);
    let server = followed(setup.section(SHORT_MEMORY).start());
    register_all(&server, LINKS);
    for fault in [
        Fault::Delay(Duration::from_millis(50)),
        Fault::Delay(Duration::from_millis(300)),
        Fault::Hang,
        Fault::Cut,
    ] {
        wire.suffer(fault);
        let p99 = p99(&server, LINKS, 300, 0);
        assert!(p99 < PROMPT, "{fault:?}: {p99:?}");
    }
    wire.suffer(Fault::None);
    let server = followed(server);
    change_all(&server, LINKS, 1);
    come_to(&[&server], LINKS, 1, Duration::ZERO);
}

/// A server is cut off from Redis for some seconds, in which another changes links; `meanwhile`
/// happens to Redis before it is back.
fn is_cut_off(fault: Fault, meanwhile: impl Fn(&RedisServer)) -> Server {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let away = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let (one, away) = (fleet.node(), followed(away.start()));
    register_all(&one, LINKS);
    let gone = one.register("gone", "https://example.net/gone");
    let (new, url_of_new) = ("new.s.example.com", Answer::url("https://example.net/new"));
    come_to(&[&one, &away], LINKS, 0, SOON);
    assert_eq!(away.answer(&gone), Answer::url("https://example.net/gone"));
    assert_eq!(away.answer(new), Answer::Absent);

    wire.suffer(fault);
    // It does not know at once that nothing reaches it.
    eventually("it is noticed", PATIENCE, || {
        away.metric("tinyns_changes_following", &[]) == 0.0
    });
    change_all(&one, LINKS, 1);
    assert_eq!(one.remove("gone").status, 204);
    one.register("new", "https://example.net/new");
    // It looks up names that are asked for in the table; the others stay in memory.
    come_to(&[&away], LINKS / 2, 1, BY_LOOKING);
    meanwhile(&fleet.redis);
    wire.suffer(Fault::None);
    eventually("it follows again", PATIENCE, || {
        away.metric("tinyns_changes_following", &[]) == 1.0
    });
    always(&[&one, &away], LINKS, 1, Duration::from_secs(1));
    assert_eq!(away.answer(&gone), Answer::Absent);
    assert_eq!(away.answer(new), url_of_new);
    away
}

#[test]
fn a_server_cut_off_from_redis_drops_links_that_changed_meanwhile() {
    let away = is_cut_off(Fault::Cut, |_| {});
    assert_eq!(away.metric("tinyns_changes_gaps_total", &[]), 0.0);
}

#[test]
fn a_server_that_receives_no_changes_drops_links_that_changed_meanwhile() {
    is_cut_off(Fault::Hang, |_| {});
}

#[test]
fn a_server_drops_all_links_if_the_missed_changes_are_no_longer_listed() {
    let away = is_cut_off(Fault::Cut, |redis| {
        assert_eq!(redis.cli(&["del", "tinyns:changes"]), "1");
    });
    assert_eq!(away.metric("tinyns_changes_gaps_total", &[]), 1.0);
}

#[test]
fn changes_made_while_cut_off_from_redis_are_announced_after_reconnection() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let away = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let (one, away) = (fleet.node(), followed(away.start()));
    register_all(&one, LINKS);
    come_to(&[&one, &away], LINKS, 0, SOON);
    wire.suffer(Fault::Cut);
    change_all(&away, LINKS, 1);
    come_to(&[&away], LINKS, 1, Duration::ZERO);
    assert!(away.metric("tinyns_redis_repairs_pending", &[]) >= 1.0);
    wire.suffer(Fault::None);
    come_to(&[&one], LINKS, 1, PATIENCE);
    eventually("all changes are announced", PATIENCE, || {
        away.metric("tinyns_redis_repairs_pending", &[]) == 0.0
    });
    always(
        &[&one, &away, &fleet.node()],
        LINKS,
        1,
        Duration::from_secs(1),
    );
    for number in 0..LINKS {
        // A repair after the last look-up leaves none.
        if let Some(held) = fleet.redis.held(&name(number)) {
            assert_eq!(held["url"], url(number, 1).as_str());
        }
    }
}

#[test]
fn a_flushed_redis_is_filled_again_by_reads() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    register_all(&one, LINKS);
    come_to(&[&one, &two], LINKS, 0, SOON);
    for round in 1..=3 {
        fleet.redis.cli(&["flushall"]);
        change_all(&one, LINKS / 2, round);
        for number in 0..LINKS {
            let round = if number < LINKS / 2 { round } else { 0 };
            for server in [&one, &two] {
                server.wait_for_answer(&name(number), &Answer::Url(url(number, round)), SOON);
            }
        }
    }
    fleet.redis.cli(&["flushall"]);
    let fresh = fleet.node();
    for number in 0..LINKS {
        let round = if number < LINKS / 2 { 3 } else { 0 };
        assert_eq!(fresh.answer(&name(number)), Answer::Url(url(number, round)));
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, round).as_str());
    }
    // Evicted one by one, and the stream as well.
    for key in fleet.redis.keys() {
        fleet.redis.cli(&["del", &key]);
    }
    change_all(&two, LINKS, 4);
    come_to(&[&one, &two, &fresh], LINKS, 4, SOON);
    fleet.redis.cli(&["del", "tinyns:changes"]);
    change_all(&one, LINKS, 5);
    come_to(&[&one, &two, &fresh], LINKS, 5, SOON);
    fleet.redis.cli(&["del", &key(&name(0))]);
    assert_eq!(fleet.node().answer(&name(0)), Answer::Url(url(0, 5)));
}

#[test]
fn servers_that_register_one_code_at_once_both_get_the_true_outcome_behind_redis() {
    let fleet = Fleet::start();
    let nodes = [&fleet.node(), &fleet.node()];
    let post = |server: &Server, body: &serde_json::Value| {
        let reply = server.api("POST", "/v1/links", Some(body));
        (reply.status, reply.json())
    };
    let at_once = |bodies: [&serde_json::Value; 2]| {
        std::thread::scope(|scope| {
            let a = scope.spawn(|| post(nodes[0], bodies[0]));
            let b = scope.spawn(|| post(nodes[1], bodies[1]));
            let mut both = [a.join().unwrap(), b.join().unwrap()];
            both.sort_by_key(|(status, _)| *status);
            both
        })
    };
    for number in 0..10 {
        // The same URL, without a chosen code.
        let same = json!({ "url": url(number, 0) });
        let [(found, first), (made, second)] = at_once([&same, &same]);
        assert_eq!((found, made), (200, 201));
        assert_eq!(first, second, "one link");
        // Different URLs with one code, whose absence both have in memory.
        for server in nodes {
            assert_eq!(server.answer(&name(number)), Answer::Absent);
        }
        let body = |round| json!({ "url": url(number, round), "code": code(number) });
        let [(made, link), (refused, _)] = at_once([&body(1), &body(2)]);
        assert_eq!((made, refused), (201, 409));
        let item = fleet.emulator.item(&name(number)).unwrap();
        let truth = item["fullUrl"].as_s().unwrap();
        assert_eq!(link["url"], truth.as_str());
        for server in nodes {
            server.wait_for_answer(&name(number), &Answer::url(truth), SOON);
        }
        // Two at once may have left a claim there that ends by itself.
        let held = fleet.redis.held(&name(number)).unwrap();
        let claimed = held["writes"].is_string();
        assert!(claimed || held["url"] == truth.as_str(), "{held}");
    }
}
