//! Servers that are cut off from Redis, or far away from it: the other servers see their changes within seconds, and
//! the response to a change says so if they do not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dynamo::Emulator;
use crate::harness::{Answer, PATIENCE, Server, eventually};
use crate::redis::{Fault, Fleet, LONG_MEMORY, Wire, followed, setup};

/// `[redis]` with the time-out of real life.
const STRICT: &str = "warm_load = false\n";
/// How long it may take until others see what a server has changed without Redis: it leaves a notice at once, they look
/// every second, and the machine is busy.
const BY_NOTICE: Duration = Duration::from_secs(10);
const HEADER: &str = "tinyns-visible-elsewhere";

fn code(number: usize) -> String {
    format!("k{number}")
}

fn name(number: usize) -> String {
    format!("k{number}.s.example.com")
}

fn url(number: usize, round: usize) -> String {
    format!("https://example.net/{number}/{round}")
}

/// A server behind a wire, and one that is not, which both hold these links in memory.
fn two_servers(fleet: &Fleet, links: usize) -> (Wire, Server, Server) {
    let wire = Wire::to(fleet.redis.address());
    let away = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let (one, away) = (fleet.node(), followed(away.start()));
    for number in 0..links {
        one.register(&code(number), &url(number, 0));
        for server in [&one, &away] {
            server.wait_for_answer(&name(number), &Answer::Url(url(number, 0)), PATIENCE);
        }
    }
    (wire, one, away)
}

fn cut(wire: &Wire, away: &Server) {
    wire.suffer(Fault::Cut);
    eventually("it is noticed", PATIENCE, || {
        away.metric("tinyns_changes_following", &[]) == 0.0
    });
}

fn reasons(server: &Server) -> String {
    let ready = server.api("GET", "/readyz", None);
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["reasons"].to_string()
}

fn servers_with_notices(emulator: &Emulator) -> usize {
    let register = emulator.item("tinyns:notices:us-east-1");
    let servers = register.as_ref().and_then(|item| item.get("servers"));
    servers.map_or(0, |servers| servers.as_ss().unwrap().len())
}

#[test]
fn changes_made_without_redis_are_seen_by_other_servers_within_seconds() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let (wire, one, away) = two_servers(&fleet, LINKS);
    let reply = away.redirect_to("k0", &url(0, 0));
    assert_eq!(
        (reply.header(HEADER), &reply.json()["visible_elsewhere"]),
        (None, &Value::Null)
    );
    cut(&wire, &away);
    for number in 1..LINKS {
        let changed = away.redirect_to(&code(number), &url(number, 1));
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(changed.json()["visible_elsewhere"], false);
        assert_eq!(changed.header(HEADER), Some("no"));
    }
    let removed = away.remove("k0");
    assert_eq!((removed.status, removed.header(HEADER)), (204, Some("no")));
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    let made = away.api("POST", "/v1/links", Some(&new));
    assert_eq!(
        (made.status, &made.json()["visible_elsewhere"]),
        (201, &json!(false))
    );
    assert!(
        reasons(&away).contains("not visible on other servers"),
        "{}",
        reasons(&away)
    );

    for number in 1..LINKS {
        one.wait_for_answer(&name(number), &Answer::Url(url(number, 1)), BY_NOTICE);
    }
    one.wait_for_answer(&name(0), &Answer::Absent, BY_NOTICE);
    one.wait_for_answer(
        "new.s.example.com",
        &Answer::url("https://example.net/new"),
        BY_NOTICE,
    );
    // A server that reaches Redis repairs it, and the notices are not links.
    eventually("it is repaired", PATIENCE, || {
        one.metric("tinyns_redis_repairs_pending", &[]) == 0.0
    });
    let fresh = fleet.node();
    for number in 1..LINKS {
        assert_eq!(fresh.answer(&name(number)), Answer::Url(url(number, 1)));
    }
    assert_eq!(servers_with_notices(&fleet.emulator), 1);
    let list = one.api("GET", "/v1/links", None).json();
    assert_eq!(list["links"].as_array().unwrap().len(), LINKS);
    for server in [&one, &fresh, &away] {
        assert!(!server.log().text().contains("items that are no links"));
    }

    wire.suffer(Fault::None);
    let away = followed(away);
    eventually("the notice is taken back", PATIENCE, || {
        servers_with_notices(&fleet.emulator) == 0 && reasons(&away) == "null"
    });
    let changed = away.redirect_to("k1", &url(1, 2));
    assert_eq!(changed.json()["visible_elsewhere"], Value::Null);
    one.wait_for_answer(&name(1), &Answer::Url(url(1, 2)), PATIENCE);
}

#[test]
fn a_server_that_is_killed_right_after_a_change_has_left_a_notice() {
    const LINKS: usize = 3;
    let fleet = Fleet::start();
    let (wire, one, mut away) = two_servers(&fleet, LINKS);
    cut(&wire, &away);
    for number in 0..LINKS {
        let changed = away.redirect_to(&code(number), &url(number, 1));
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    away.crash();
    for number in 0..LINKS {
        one.wait_for_answer(&name(number), &Answer::Url(url(number, 1)), BY_NOTICE);
    }
}

#[test]
fn more_changes_than_a_notice_can_name_bypass_redis() {
    const MANY: usize = 3_500;
    const AT_ONCE: usize = 500;
    let fleet = Fleet::start();
    let (wire, one, away) = two_servers(&fleet, 2);
    cut(&wire, &away);
    // Long names, so that there need not be so many.
    let line = |n| format!("{{\"url\":\"https://example.net/\",\"code\":\"many{n:056}\"}}\n");
    for first in (0..MANY).step_by(AT_ONCE) {
        let lines: String = (first..first + AT_ONCE).map(line).collect();
        let body = Some(("application/x-ndjson", lines.into_bytes()));
        let made = away.api_raw("POST", "/v1/links:batch", &[], body);
        assert_eq!(made.status, 200);
    }
    eventually("Redis is bypassed", PATIENCE, || {
        reasons(&one).contains("Redis is bypassed")
    });
    assert_eq!(one.metric("tinyns_changes_following", &[]), 0.0);
    // Later changes are visible, too.
    assert_eq!(away.redirect_to("k0", &url(0, 1)).status, 200);
    one.wait_for_answer(&name(0), &Answer::Url(url(0, 1)), BY_NOTICE);
    wire.suffer(Fault::None);
    eventually("all is well again", 2 * PATIENCE, || {
        reasons(&one) == "null" && reasons(&away) == "null"
    });
    followed(one).wait_for_answer(&name(0), &Answer::Url(url(0, 1)), PATIENCE);
}

#[test]
fn a_redis_that_is_150_milliseconds_away_is_used() {
    let fleet = Fleet::start();
    let far = || {
        let wire = Wire::to(fleet.redis.address());
        // Each way.
        wire.suffer(Fault::Delay(Duration::from_millis(75)));
        let setup = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
        (followed(setup.start()), wire)
    };
    let ((one, _wire), (two, _other)) = (far(), far());
    one.log().wait_for("instead of timeout_ms = 100");
    assert!(one.metric("tinyns_redis_round_trip_seconds", &[]) >= 0.150);
    assert_eq!(reasons(&one), "null");
    for number in 0..5 {
        let new = json!({ "url": url(number, 0), "code": code(number) });
        let made = one.api("POST", "/v1/links", Some(&new));
        assert_eq!((made.status, made.header(HEADER)), (201, None));
        two.wait_for_answer(&name(number), &Answer::Url(url(number, 0)), PATIENCE);
        let changed = one.redirect_to(&code(number), &url(number, 1));
        assert_eq!((changed.status, changed.header(HEADER)), (200, None));
        two.wait_for_answer(
            &name(number),
            &Answer::Url(url(number, 1)),
            Duration::from_secs(5),
        );
    }
    assert_eq!(one.metric("tinyns_redis_breakers_open", &[]), 0.0);
}

#[test]
fn a_redis_that_is_too_far_away_is_reported() {
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    wire.suffer(Fault::Delay(Duration::from_millis(350)));
    let far = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let far = far.start();
    far.log().wait_for("too slow for timeout_ms = 100");
    eventually("it is said", PATIENCE, || {
        reasons(&far).contains("too slow for timeout_ms")
    });
    // Its changes are visible all the same.
    let one = fleet.node();
    assert_eq!(one.answer(&name(0)), Answer::Absent);
    let new = json!({ "url": url(0, 0), "code": code(0) });
    assert_eq!(far.api("POST", "/v1/links", Some(&new)).status, 201);
    one.wait_for_answer(&name(0), &Answer::Url(url(0, 0)), BY_NOTICE);
    let times = far
        .log()
        .text()
        .matches("too slow for timeout_ms = 100")
        .count();
    assert_eq!(times, 1, "once is enough");
}
