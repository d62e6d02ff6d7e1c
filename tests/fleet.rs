//! Several servers on one DynamoDB table.

use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::json;

use crate::dynamo::{Emulator, Fate, Proxy};
use crate::harness::{PATIENCE, Server, Setup};

/// A server on the emulator's table.
fn node(emulator: &Emulator) -> Server {
    Setup::new().dynamodb(&emulator.url()).start()
}

/// The answer section as text.
fn shown(reply: &Message) -> String {
    let lines: Vec<_> = reply.answers.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn text(server: &Server, name: &str) -> String {
    shown(&server.ask(name, RecordType::TXT))
}

/// Waits until a server's answer is this one. It may use its memory for a second.
fn becomes(server: &Server, name: &str, right: impl Fn(&Message) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let reply = server.ask(name, RecordType::TXT);
        if right(&reply) {
            return;
        }
        assert!(Instant::now() < end, "{reply:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_link_of_one_server_is_answered_by_the_other() {
    let emulator = Emulator::start();
    let (one, two) = (node(&emulator), node(&emulator));
    let link = one.add("https://example.net/shared");
    let name = link["name"].as_str().unwrap();
    for server in [&one, &two] {
        let answers = text(server, name);
        assert!(answers.contains("https://example.net/shared"), "{answers}");
    }
    let path = format!("/v1/links/{}", link["code"].as_str().unwrap());
    let patch = json!({ "url": "https://example.net/elsewhere" });
    assert_eq!(two.api("PATCH", &path, Some(&patch)).status, 200);
    // At once where it was changed, a second later elsewhere.
    let elsewhere = |reply: &Message| shown(reply).contains("https://example.net/elsewhere");
    assert!(elsewhere(&two.ask(name, RecordType::TXT)));
    becomes(&one, name, elsewhere);
    assert_eq!(one.api("DELETE", &path, None).status, 204);
    let gone = |reply: &Message| reply.metadata.response_code == ResponseCode::NXDomain;
    assert!(gone(&one.ask(name, RecordType::TXT)));
    becomes(&two, name, gone);
    // The table outlives the servers.
    let kept = two.add("https://example.net/kept");
    let two = two.restart();
    let answers = text(&two, kept["name"].as_str().unwrap());
    assert!(answers.contains("https://example.net/kept"), "{answers}");
}

#[test]
fn servers_that_register_one_code_at_once_both_get_the_true_outcome() {
    let emulator = Emulator::start();
    let (one, two) = (node(&emulator), node(&emulator));
    for i in 0..10 {
        let url = format!("https://example.net/{i}");
        let same = json!({ "url": url });
        let (a, b) = at_once(&one, &two, &same, &same);
        assert_eq!(sorted(a.0, b.0), (200, 201));
        assert_eq!(a.1, b.1, "one link");

        let code = format!("mine{i}");
        let first = json!({ "url": url, "code": code });
        let second = json!({ "url": format!("{url}/other"), "code": code });
        let (a, b) = at_once(&one, &two, &first, &second);
        assert_eq!(sorted(a.0, b.0), (201, 409));
        let winner = if a.0 == 201 { a.1 } else { b.1 };
        let path = format!("/v1/links/{code}");
        for server in [&one, &two] {
            assert_eq!(server.api("GET", &path, None).json(), winner);
        }
    }
}

type Answer = (u16, serde_json::Value);

fn at_once(
    one: &Server,
    two: &Server,
    first: &serde_json::Value,
    second: &serde_json::Value,
) -> (Answer, Answer) {
    let post = |server: &Server, body| {
        let reply = server.api("POST", "/v1/links", Some(body));
        (reply.status, reply.link())
    };
    std::thread::scope(|scope| {
        let a = scope.spawn(|| post(one, first));
        let b = scope.spawn(|| post(two, second));
        (a.join().unwrap(), b.join().unwrap())
    })
}

fn sorted(a: u16, b: u16) -> (u16, u16) {
    (a.min(b), a.max(b))
}

#[test]
fn an_unreachable_table_is_servfail() {
    let emulator = Emulator::start();
    let server = node(&emulator);
    let link = server.add("https://example.net/");
    let name = link["name"].as_str().unwrap();
    drop(emulator);
    let reply = server.ask(name, RecordType::TXT);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.answers.is_empty() && reply.authorities.is_empty());
    let path = format!("/v1/links/{}", link["code"].as_str().unwrap());
    assert_eq!(server.api("GET", &path, None).status, 503);
    assert_eq!(server.api("GET", "/readyz", None).status, 503);
    assert_eq!(server.api("GET", "/healthz", None).status, 200);
}

#[test]
fn concurrent_batches_make_all_their_links_and_leave_room_for_single_calls() {
    const BATCHES: usize = 4;
    const LINES: usize = 250;
    let emulator = Emulator::start();
    let proxy = Proxy::spawn(&emulator);
    let url = proxy.url();
    let server = Setup::new()
        .store(&format!(
            "kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n"
        ))
        .start();
    // So that far more come than are done.
    proxy.on_writes(&Fate::Delay(Duration::from_millis(50)));
    std::thread::scope(|scope| {
        let server = &server;
        let batches = (0..BATCHES).map(|batch| {
            scope.spawn(move || {
                let lines = (0..LINES).map(|line| {
                    let url = format!("https://example.net/{batch}/{line}");
                    json!({ "url": url }).to_string() + "\n"
                });
                let body = lines.collect::<String>().into_bytes();
                let body = Some(("application/x-ndjson", body));
                server.api_raw("POST", "/v1/links:batch", &[], body)
            })
        });
        let batches: Vec<_> = batches.collect();
        for single in 0..10 {
            let url = format!("https://example.net/single/{single}");
            let made = server.api("POST", "/v1/links", Some(&json!({ "url": url })));
            assert_eq!(made.status, 201, "{made:?}");
        }
        for batch in batches {
            let results = batch.join().unwrap();
            let text = &results.body;
            assert_eq!(text.lines().count(), LINES);
            let failed = text.lines().find(|line| !line.contains("\"status\":201"));
            assert_eq!(failed, None);
        }
    });
    assert_eq!(server.metric("tinyns_store_errors_total", &[]), 0.0);
}
