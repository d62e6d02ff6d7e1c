//! Pools, and which one a client gets. The server has two for the links of `s.example.com`, `near` for 192.0.2.0/24 and
//! `far` for all others.

use super::*;

#[tokio::test]
async fn the_pools_and_their_names() {
    let server = Server::new();
    let list = server.call(Call::get("/v1/pools")).await;
    assert_eq!(list.status, 200);
    let near = json!({"name": "near", "addresses": ["198.51.100.1"], "networks": ["192.0.2.0/24"], "countries": [],
        "continents": [], "latitude": null, "longitude": null, "weight": 1, "default": false,
        "state": "up", "since": null, "drained": null, "check": null, "health": [{"address": "198.51.100.1", "up": true,
        "since": null, "checked_at": null, "failure": null, "passes_left": null}]});
    let json = list.json();
    assert_eq!(json["pools"][0], near);
    assert_eq!(json["pools"][1]["default"], true);
    let route = json!({"name": "s.example.com", "links": true, "pools": ["near", "far"]});
    assert_eq!(json["routes"], json!([route]));
    let rest = [&json["ttl"], &json["client_subnet"], &json["database"]];
    assert_eq!(rest, [&json!(60), &json!(true), &Value::Null]);
}

#[tokio::test]
async fn the_pool_of_a_client_and_why() {
    let server = Server::new();
    let explain = async |address: &str| {
        let call = Call::get(&format!("/v1/pools/explain?address={address}"));
        let reply = server.call(call).await;
        assert_eq!(reply.status, 200, "{address}");
        reply.json()
    };
    let near = json!({"name": "s.example.com", "links": true, "pool": "near", "addresses": ["198.51.100.1"],
        "why": "network", "value": "192.0.2.0/24", "candidates": ["near"], "passed_over": [],
        "closed": false, "scope": 24, "network": "192.0.2.0/24"});
    let expected = json!({"address": "192.0.2.7", "routes": [near]});
    assert_eq!(explain("192.0.2.7").await, expected);
    let of_network = explain("192.0.2.0/25").await;
    assert_eq!(of_network["routes"][0], near);
    let far = explain("::ffff:192.0.3.1").await;
    assert_eq!(far["address"], "192.0.3.1");
    let far = &far["routes"][0];
    assert_eq!(
        (&far["pool"], &far["why"]),
        (&json!("far"), &json!("default"))
    );
    assert_eq!(far["network"], "192.0.3.0/24");
    // 6to4 clients are beside it, and are located by their IPv4 addresses.
    let beside = explain("2a00::1").await;
    assert_eq!(beside["routes"][0]["network"], "2800::/5");
}

#[tokio::test]
async fn an_address_is_needed() {
    let server = Server::new();
    for (query, part) in [
        ("", "needs the parameter"),
        ("?address=", "is not an address or a network"),
        ("?address=host", "is not an address or a network"),
        ("?address=192.0.2.1/24", "bits beyond the length"),
        ("?address=192.0.2.1&address=192.0.2.1", "2 times"),
        ("?adress=192.0.2.1", "unknown parameter"),
    ] {
        let reply = server
            .call(Call::get(&format!("/v1/pools/explain{query}")))
            .await;
        assert_eq!(reply.problem().0, "invalid-query", "{query}");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains(part), "{query}: {detail}");
    }
}

async fn pool_of(server: &Server, address: &str) -> Value {
    let call = Call::get(&format!("/v1/pools/explain?address={address}"));
    server.call(call).await.json()["routes"][0].clone()
}

#[tokio::test]
async fn a_pool_is_drained_and_restored() {
    let server = Server::new();
    let post = async |path: &str| server.call(Call::post(path)).await;
    assert_eq!(post("/v1/pools/near/drain").await.status, 204);
    let near = pool_of(&server, "192.0.2.7").await;
    assert_eq!(
        (&near["pool"], &near["passed_over"]),
        (&json!("far"), &json!(["near"]))
    );
    let shown = server.call(Call::get("/v1/pools")).await.json()["pools"][0].clone();
    assert_eq!(shown["state"], "drained");
    let drained = json!({"by": "admin", "at": "2023-11-14T22:13:20.000Z"});
    assert_eq!(shown["drained"], drained);
    // Again: nothing happens.
    assert_eq!(post("/v1/pools/near/drain").await.status, 204);
    assert_eq!(post("/v1/pools/far/drain").await.status, 204);
    let none = pool_of(&server, "192.0.2.7").await;
    assert_eq!(
        (&none["pool"], &none["why"]),
        (&Value::Null, &json!("all-down"))
    );
    assert_eq!(post("/v1/pools/near/restore").await.status, 204);
    assert_eq!(pool_of(&server, "192.0.2.7").await["pool"], "near");
    let entries = server.call(Call::get("/v1/audit")).await.json()["entries"].clone();
    let entries: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            [
                text("action"),
                text("pool"),
                text("actor"),
                entry["before"]["by"].to_string(),
            ]
            .join(" ")
        })
        .collect();
    let expected = [
        "pool.restored near admin \"admin\"",
        "pool.drained far admin null",
        "pool.drained near admin null",
    ];
    assert_eq!(entries, expected);
    let ready = server.call(Call::get("/readyz")).await;
    assert_eq!(ready.status, 200);
}

#[tokio::test]
async fn a_pool_that_is_not_there_or_not_kept_is_not_drained() {
    let server = Server::new();
    for path in [
        "/v1/pools/none/drain",
        "/v1/pools/none/restore",
        "/v1/pools/ne%2Far/drain",
    ] {
        let reply = server.call(Call::post(path)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().0.as_str()),
            (404, "no-such-pool"),
            "{path}"
        );
    }
    server
        .store
        .fail(Some(|| StoreError::Unavailable("away".into())));
    let reply = server.call(Call::post("/v1/pools/near/drain")).await;
    assert_eq!(reply.status, 503);
    server.store.fail(None);
    assert_eq!(pool_of(&server, "192.0.2.7").await["pool"], "near");
}
