//! Several servers, and servers that die, on one table. A proxy holds the requests of one of them.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;

use super::{KEY, URL, check, lasting, post, table, told};
use crate::dynamo::{Emulator, Fate, Gate, Proxy, TABLE, n, once};
use crate::harness::{PATIENCE, Server, Setup, eventually};

/// A table, a server behind a proxy, and one beside it.
struct Fleet {
    emulator: Emulator,
    proxy: Proxy,
    one: Server,
    two: Server,
}

impl Fleet {
    fn start() -> Self {
        let emulator = Emulator::start();
        let proxy = Proxy::spawn(&emulator);
        let node = |url: &str| Setup::new().store(&table(url)).start();
        let one = node(&proxy.url());
        let two = node(&emulator.url());
        Self {
            emulator,
            proxy,
            one,
            two,
        }
    }

    /// Has a time of the only key be long ago, as if it had passed.
    fn elapse(&self, attribute: &str) {
        once(async {
            let client = self.emulator.foreign().await;
            let all = client.scan().table_name(TABLE).send().await.unwrap();
            let is_key = |key: &AttributeValue| key.as_s().unwrap().starts_with("tinyns:key:");
            let mut keys = all.items().iter().map(|item| &item["miniUrl"]);
            let key = keys.find(|key| is_key(key)).unwrap().clone();
            let update = client.update_item().table_name(TABLE).key("miniUrl", key);
            let update = update
                .update_expression("SET #time = :then")
                .expression_attribute_names("#time", attribute)
                .expression_attribute_values(":then", n(1));
            update.send().await.unwrap();
        });
    }
}

#[test]
fn of_two_servers_at_once_one_makes_the_change() {
    let fleet = Fleet::start();
    for round in 0..20 {
        let (key, new) = (
            format!("key-{round}"),
            json!({"url": URL, "code": format!("c{round}")}),
        );
        let replies = std::thread::scope(|scope| {
            let both = [&fleet.one, &fleet.two].map(|server| {
                let (key, new) = (&key, &new);
                scope.spawn(move || post(server, key, new))
            });
            both.map(|reply| reply.join().unwrap())
        });
        let mut all = replies.each_ref().map(told);
        all.sort();
        let first = replies
            .iter()
            .find(|reply| told(reply) == (201, false, String::new()));
        let first = first.unwrap_or_else(|| panic!("{replies:?}"));
        let others = [
            (201, true, String::new()),
            (409, false, "idempotency-key-in-use".to_owned()),
        ];
        assert!(others.contains(&all[1]), "{replies:?}");
        for server in [&fleet.one, &fleet.two] {
            let again = post(server, &key, &new);
            check(&again, 201, true, "");
            assert_eq!(lasting(&again), lasting(first));
        }
    }
}

#[test]
fn a_request_in_work_is_told_to_all_servers() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let gate = Gate::new();
    fleet.proxy.on_text(URL, Fate::HoldReply(gate.clone()));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| post(&fleet.one, KEY, &new));
        gate.wait(1);
        for server in [&fleet.one, &fleet.two] {
            let refused = post(server, KEY, &new);
            check(&refused, 409, false, "idempotency-key-in-use");
            assert_eq!(refused.header("retry-after"), Some("1"));
            let reused = post(server, KEY, &json!({"url": URL}));
            check(&reused, 422, false, "idempotency-key-reused");
        }
        gate.open();
        let first = first.join().unwrap();
        check(&first, 201, false, "");
        let again = post(&fleet.two, KEY, &new);
        check(&again, 201, true, "");
        assert_eq!(lasting(&again), lasting(&first));
    });
    let uses = |result| {
        fleet
            .one
            .metric("tinyns_admin_idempotency_keys_total", &[("result", result)])
    };
    assert_eq!(["First", "InWork", "OtherPayload"].map(uses), [1.0; 3]);
}

/// A server dies in the middle of a request. The repeat finds the link, or makes it.
fn dies(fate: fn(Gate) -> Fate, status: u16) {
    let mut fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let gate = Gate::new();
    fleet.proxy.on_text(URL, fate(gate.clone()));
    let admin = fleet.one.admin;
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = json!({"url": URL, "code": "spring"}).to_string();
        let head = format!(
            "POST /v1/links HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            crate::harness::TOKEN,
            body.len()
        );
        std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
        let mut reply = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut reply);
        reply
    });
    gate.wait(1);
    fleet.one.crash();
    assert_eq!(client.join().unwrap(), b"", "no response");

    let refused = post(&fleet.two, KEY, &new);
    check(&refused, 409, false, "idempotency-key-in-use");
    fleet.elapse("lease");
    let reused = post(&fleet.two, KEY, &json!({"url": URL}));
    check(&reused, 422, false, "idempotency-key-reused");
    let second = post(&fleet.two, KEY, &new);
    check(&second, status, false, "");
    let again = post(&fleet.two, KEY, &new);
    check(&again, status, true, "");
    assert_eq!(lasting(&again), lasting(&second));
    let link = fleet.two.api("GET", "/v1/links/spring", None);
    assert_eq!(link.json(), second.link());
}

#[test]
fn the_repeat_finds_what_a_server_made_before_it_died() {
    dies(Fate::HoldReply, 200);
}

#[test]
fn the_repeat_makes_what_a_server_did_not_make_before_it_died() {
    dies(Fate::Hold, 201);
}

#[test]
fn without_a_record_of_the_key_nothing_is_done() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let denied = Fate::error(400, "AccessDeniedException");
    fleet.proxy.on_text("tinyns:key:", denied);
    check(
        &post(&fleet.one, KEY, &new),
        503,
        false,
        "store-unavailable",
    );
    assert_eq!(fleet.one.api("GET", "/v1/links/spring", None).status, 404);
    assert_eq!(fleet.one.api("POST", "/v1/links", Some(&new)).status, 201);
}

#[test]
fn failures_of_the_store_are_not_kept() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let denied = Fate::error(400, "AccessDeniedException");
    fleet.proxy.on_text(URL, denied);
    check(
        &post(&fleet.one, KEY, &new),
        503,
        false,
        "store-unavailable",
    );
    fleet.proxy.all(Fate::Pass);
    // The key stays bound to its payload.
    let reused = post(&fleet.two, KEY, &json!({"url": URL}));
    check(&reused, 422, false, "idempotency-key-reused");
    check(&post(&fleet.two, KEY, &new), 201, false, "");
    check(&post(&fleet.one, KEY, &new), 201, true, "");
}

#[test]
fn an_outcome_that_cannot_be_kept_is_told_and_found_again() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let denied = Fate::error(400, "AccessDeniedException");
    fleet.proxy.on_text(":outcome", denied);
    let first = post(&fleet.one, KEY, &new);
    check(&first, 201, false, "");
    check(
        &post(&fleet.two, KEY, &new),
        409,
        false,
        "idempotency-key-in-use",
    );
    fleet.elapse("lease");
    let second = post(&fleet.two, KEY, &new);
    check(&second, 200, false, "");
    assert_eq!(second.body, first.body);
    check(&post(&fleet.one, KEY, &new), 200, true, "");
}

#[test]
fn an_outcome_that_was_kept_late_is_found() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    let denied = Fate::error(400, "AccessDeniedException");
    fleet.proxy.on_text(":outcome", denied);
    check(&post(&fleet.one, KEY, &new), 201, false, "");
    fleet.proxy.all(Fate::Pass);
    eventually("kept", PATIENCE + Duration::from_secs(10), || {
        told(&post(&fleet.two, KEY, &new)) == (201, true, String::new())
    });
}

/// A request is four calls of the table: the claim, its count, the link, the outcome.
#[test]
fn a_reply_of_the_table_that_is_lost_changes_nothing() {
    let fleet = Fleet::start();
    for lost in 0..4 {
        let new = json!({"url": URL, "code": format!("c{lost}")});
        let key = format!("key-{lost}");
        let before = std::iter::repeat_n(Fate::Pass, lost);
        fleet.proxy.next(before.chain([Fate::LoseReply]));
        check(&post(&fleet.one, &key, &new), 201, false, "");
        check(&post(&fleet.two, &key, &new), 201, true, "");
    }
}

#[test]
fn an_outcome_ends_after_a_day() {
    let fleet = Fleet::start();
    let new = json!({"url": URL, "code": "spring"});
    check(&post(&fleet.one, KEY, &new), 201, false, "");
    let item = once(async {
        let client = fleet.emulator.foreign().await;
        let all = client.scan().table_name(TABLE).send().await.unwrap();
        let mut items = all.items().iter();
        let is_key = |item: &&std::collections::HashMap<_, _>| item.contains_key("fingerprint");
        items.find(is_key).cloned().unwrap()
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ends: u64 = item["expiresAt"].as_n().unwrap().parse().unwrap();
    let left = ends - now.unwrap().as_secs();
    assert!((86_000..=86_400).contains(&left), "{left} s");
    assert!(
        !format!("{item:?}").contains(KEY),
        "only a digest of the key is kept"
    );
    fleet.elapse("expiresAt");
    // Also for another payload.
    let other = json!({"url": URL, "code": "autumn"});
    check(&post(&fleet.two, KEY, &other), 201, false, "");
    check(&post(&fleet.one, KEY, &other), 201, true, "");
}
