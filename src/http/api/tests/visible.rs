//! Receipts of a server that uses its store alone. The integration tests have several servers.

use super::*;

#[tokio::test]
async fn a_change_has_a_receipt_and_a_link_that_is_read_has_none() {
    let server = Server::new();
    let body = json!({"url": URL, "code": "x"});
    let made = server.call(Call::post("/v1/links").json(&body)).await;
    let alone = json!({"servers": 1, "applied": 1, "complete": true, "missing": [], "at": "2023-11-14T22:13:20Z",
        // The server has just started, and does not know what was answered before.
        "resolvers_until": "2023-11-14T22:14:20Z"});
    assert_eq!(made.json()["visible"], alone);
    let read = server.call(Call::get("/v1/links/x")).await;
    assert_eq!(read.json()["visible"], Value::Null);
    let patch = Call::patch("/v1/links/x").json(&json!({"ttl": 5}));
    assert_eq!(server.call(patch).await.json()["visible"], alone);
    let asked = server.call(Call::get("/v1/links/x/visible")).await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.json(), alone);
    let absent = server.call(Call::get("/v1/links/y/visible")).await;
    assert_eq!(absent.problem().0, "no-such-link");
}

#[tokio::test]
async fn a_server_alone_has_nothing_to_wait_for() {
    let server = Server::new();
    let post = |body: Value| Call::post("/v1/links?wait=servers").json(&body);
    let body = json!({"url": URL, "code": "x"});
    let made = server.call(post(body.clone())).await;
    assert_eq!(made.status, 201);
    assert_eq!(server.call(post(body)).await.status, 200);
    let patch = Call::patch("/v1/links/x?wait=servers&zone=s.example.com");
    let patched = server.call(patch.json(&json!({"ttl": 5}))).await;
    assert_eq!(patched.status, 200);
    let seen = Call::get("/v1/links/x/visible?wait=servers");
    assert_eq!(server.call(seen).await.status, 200);
    for bad in ["wait=", "wait=all", "wait=servers&wait=servers"] {
        let call = Call::post(&format!("/v1/links?{bad}")).json(&json!({"url": URL}));
        let reply = server.call(call).await;
        assert_eq!(reply.problem().0, "invalid-query", "{bad}");
    }
}

#[tokio::test]
async fn a_deletion_has_a_receipt_if_its_caller_waits() {
    let server = Server::new();
    let make = async |code: &str| {
        let body = json!({"url": URL, "code": code});
        server.call(Call::post("/v1/links").json(&body)).await
    };
    make("x").await;
    let plain = server.call(Call::delete("/v1/links/x")).await;
    assert_eq!(plain.status, 204);
    assert_eq!(plain.text(), "");
    let version = make("y").await.json()["version"].to_string();
    let call = |version: &str| {
        let call = Call::delete("/v1/links/y?wait=servers&zone=s.example.com");
        call.header("if-match", &format!("\"{version}\""))
    };
    let refused = server.call(call("7")).await;
    assert_eq!(refused.problem().0, "version-conflict");
    let waited = server.call(call(&version)).await;
    assert_eq!(waited.status, 200);
    let receipt = json!({"servers": 1, "applied": 1, "complete": true, "missing": [], "at": "2023-11-14T22:13:20Z",
        "resolvers_until": null});
    assert_eq!(waited.json(), json!({ "visible": receipt }));
    let again = server.call(call(&version)).await;
    assert_eq!(again.problem().0, "no-such-link");
    let bad = server.call(Call::delete("/v1/links/y?wait=all")).await;
    assert_eq!(bad.problem().0, "invalid-query");
}

#[tokio::test]
async fn a_batch_that_waits_ends_with_its_receipt() {
    let server = Server::new();
    let lines = |reply: &Reply| -> Vec<Value> {
        let lines = reply.text();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let body = "{\"url\":\"https://example.net/1\"}\n{\"url\":\"no\"}\n";
    let call = |path: &str| Call::post(path).body("application/x-ndjson", body);
    let plain = lines(&server.call(call("/v1/links:batch")).await);
    assert_eq!(plain.len(), 2);
    assert_eq!(plain[0]["link"]["visible"], Value::Null);
    let waited = lines(&server.call(call("/v1/links:batch?wait=servers")).await);
    assert_eq!(waited.len(), 3);
    assert_eq!(waited[0]["link"], plain[0]["link"]);
    assert_eq!(waited[2]["visible"]["complete"], true);
    // With a key, the receipt is kept as well.
    let keyed = || call("/v1/links:batch?wait=servers").header("idempotency-key", "k");
    let first = server.call(keyed()).await;
    let again = server.call(keyed()).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((lines(&first).len(), first.text()), (3, again.text()));
}

#[tokio::test]
async fn the_servers_are_listed() {
    let server = Server::new();
    let list = server.call(Call::get("/v1/servers")).await.json();
    assert_eq!(list["servers"].as_array().unwrap().len(), 1);
    let this = &list["servers"][0];
    assert_eq!(this["this"], true);
    assert_eq!(this["region"], "default");
    assert_eq!(this["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(this["lag_seconds"], 0.0);
    assert_eq!(list["problem"], Value::Null);
}
