//! Pools, and which one a client gets. The server has two for the links of `s.example.com`, `near` for 192.0.2.0/24 and
//! `far` for all others.

use super::*;

#[tokio::test]
async fn the_pools_and_their_names() {
    let server = Server::new();
    let list = server.call(Call::get("/v1/pools")).await;
    assert_eq!(list.status, 200);
    let near = json!({"name": "near", "addresses": ["198.51.100.1"], "networks": ["192.0.2.0/24"], "countries": [],
        "continents": [], "latitude": null, "longitude": null, "weight": 1, "default": false});
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
        "why": "network", "value": "192.0.2.0/24", "candidates": ["near"], "scope": 24, "network": "192.0.2.0/24"});
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
    assert_eq!(explain("2001:db8::1").await["routes"][0]["network"], "::/0");
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
