//! Requests with an `Idempotency-Key`, with both stores.

mod batch;
mod fleet;

use serde_json::{Value, json};

use crate::audit::all_entries;
use crate::dynamo::Emulator;
use crate::harness::{Reply, Server, Setup, http};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";
const URL: &str = "https://example.net/spring";

/// The lines of `[store]` for the table at this URL.
fn table(url: &str) -> String {
    format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n")
}

/// Registers a link with a key, which goes into the header as it is.
fn post(server: &Server, key: &str, body: &Value) -> Reply {
    post_to(server, "/v1/links", key, body)
}

fn post_to(server: &Server, path: &str, key: &str, body: &Value) -> Reply {
    let body = ("application/json", body.to_string().into_bytes());
    server.api_raw("POST", path, &[("idempotency-key", key)], Some(body))
}

/// The status, whether it is the response to an earlier request, and the kind of the problem.
fn told(reply: &Reply) -> (u16, bool, String) {
    let is_replayed = reply.header("idempotent-replayed") == Some("true");
    let kind = match reply.header("content-type") {
        Some("application/problem+json") => reply.json()["type"].as_str().unwrap().to_owned(),
        _ => String::new(),
    };
    let kind = kind.rsplit(':').next().unwrap().to_owned();
    (reply.status, is_replayed, kind)
}

fn check(reply: &Reply, status: u16, is_replayed: bool, kind: &str) {
    assert_eq!(told(reply), (status, is_replayed, kind.into()), "{reply:?}");
}

/// What a repeat has to have in common with the first response.
fn lasting(reply: &Reply) -> [Option<String>; 5] {
    let header = |name| reply.header(name).map(str::to_owned);
    [
        Some(reply.status.to_string()),
        Some(reply.body.clone()),
        header("content-type"),
        header("etag"),
        header("location"),
    ]
}

/// Everything about one server and one link.
fn a_server(server: Server) -> Server {
    let new = json!({"url": URL, "code": "spring"});
    let first = post(&server, &format!("\"{KEY}\""), &new);
    check(&first, 201, false, "");
    assert_eq!(first.header("location"), Some("/v1/links/spring"));
    assert!(first.header("etag").is_some());
    let repeat = |server: &Server| {
        let again = post(server, KEY, &new);
        check(&again, 201, true, "");
        assert_eq!(lasting(&again), lasting(&first));
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    };
    repeat(&server);

    let other = json!({"url": URL, "code": "autumn"});
    let reused = post(&server, KEY, &other);
    check(&reused, 422, false, "idempotency-key-reused");
    assert_eq!(reused.json()["field"], "Idempotency-Key");
    assert_eq!(server.api("GET", "/v1/links/autumn", None).status, 404);
    // The same body, and another zone: it is judged before the key.
    assert_eq!(post_to(&server, "/v1/links?zone=x", KEY, &new).status, 404);

    // The link is gone, and a repeat does not make it again.
    assert_eq!(server.remove("spring").status, 204);
    repeat(&server);
    assert_eq!(server.api("GET", "/v1/links/spring", None).status, 404);
    // A request without a key is none of its business.
    assert_eq!(server.api("POST", "/v1/links", Some(&new)).status, 201);
    repeat(&server);

    // Refusals by the state of the store are outcomes, too.
    let taken = json!({"url": "https://example.net/other", "code": "spring"});
    let refused = post(&server, "taken", &taken);
    check(&refused, 409, false, "code-taken");
    assert_eq!(server.remove("spring").status, 204);
    let again = post(&server, "taken", &taken);
    check(&again, 409, true, "code-taken");
    let id = |reply: &Reply| reply.header("x-request-id").unwrap().to_owned();
    assert_eq!(again.json()["request_id"], id(&again));
    assert_ne!(id(&again), id(&refused));
    let texts = |reply: &Reply| {
        (
            reply.json()["detail"].clone(),
            reply.json()["field"].clone(),
        )
    };
    assert_eq!(texts(&again), texts(&refused));

    // What is refused by itself leaves the key free.
    check(
        &post(&server, "bad", &json!({"url": 7})),
        400,
        false,
        "invalid-body",
    );
    check(&post(&server, "bad", &json!({"url": URL})), 201, false, "");

    let server = server.restart();
    repeat(&server);
    server
}

#[test]
fn a_request_with_a_key_is_carried_out_once_with_sqlite() {
    let server = a_server(Server::start());
    let made = all_entries(&server);
    let made = made
        .iter()
        .filter(|entry| entry["action"] == "link.created");
    assert_eq!(
        made.count(),
        3,
        "one with the key, one without it, one with another key"
    );
}

#[test]
fn a_request_with_a_key_is_carried_out_once_with_dynamodb() {
    let emulator = Emulator::start();
    a_server(Setup::new().store(&table(&emulator.url())).start());
}

#[test]
fn malformed_keys_are_named() {
    let server = Server::start();
    let new = json!({"url": URL});
    for key in [
        "",
        "\"\"",
        "\"a",
        "a b",
        "a,b",
        "\"a\" \"b\"",
        &"x".repeat(256),
    ] {
        let refused = post(&server, key, &new);
        check(&refused, 400, false, "invalid-idempotency-key");
        assert_eq!(refused.json()["field"], "Idempotency-Key", "{key}");
    }
    let body = || Some(("application/json", new.to_string().into_bytes()));
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let refused = server.api_raw("POST", "/v1/links", &twice, body());
    check(&refused, 400, false, "invalid-idempotency-key");
    let none = server.api("GET", "/v1/links", None).json();
    assert_eq!(none["links"], json!([]));
    check(&post(&server, &"x".repeat(255), &new), 201, false, "");
}

#[test]
fn keys_of_different_callers_never_meet() {
    let server = Server::start();
    let make = || {
        let new = json!({"name": "ann", "role": "editor"});
        let made = server.api("POST", "/v1/tokens", Some(&new)).json();
        made["token"].as_str().unwrap().to_owned()
    };
    let post = |secret: &str, url: &str| {
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", &*bearer), ("idempotency-key", KEY)];
        let body = json!({"url": url, "code": "mine"}).to_string();
        let body = Some(("application/json", body.into_bytes()));
        let api = format!("http://{}/v1/links", server.admin);
        http("POST", &api, &headers, body)
    };
    let first = self::post(&server, KEY, &json!({"url": URL, "code": "mine"}));
    check(&first, 201, false, "");
    let ann = make();
    let hers = post(&ann, URL);
    check(&hers, 200, false, "");
    check(&post(&ann, URL), 200, true, "");
    check(
        &post(&ann, "https://example.org/"),
        422,
        false,
        "idempotency-key-reused",
    );
    // Somebody else gets the name.
    assert_eq!(server.api("DELETE", "/v1/tokens/ann", None).status, 204);
    assert_eq!(post(&ann, URL).status, 401);
    assert_eq!(server.remove("mine").status, 204);
    let other = make();
    check(&post(&other, "https://example.org/"), 201, false, "");
    check(&post(&other, "https://example.org/"), 201, true, "");
}
