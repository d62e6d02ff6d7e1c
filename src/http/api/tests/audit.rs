//! The audit log: who has done what, from where.

use serde_json::{Value, json};

use crate::http::testing::{Call, Server};
use crate::store::StoreError;

async fn entries(server: &Server, query: &str) -> Vec<Value> {
    let reply = server.call(Call::get(&format!("/v1/audit{query}"))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let list = reply.json();
    assert_eq!(list["next_cursor"], Value::Null, "{query}");
    list["entries"].as_array().unwrap().clone()
}

/// The actions of these entries, each with what it was about.
fn shown(entries: &[Value]) -> Vec<String> {
    let show = |entry: &Value| {
        let object = entry["code"].as_str().or(entry["token"].as_str());
        let (action, actor) = (entry["action"].as_str(), entry["actor"].as_str());
        format!(
            "{} {} by {}",
            action.unwrap(),
            object.unwrap(),
            actor.unwrap()
        )
    };
    entries.iter().map(show).collect()
}

#[tokio::test]
async fn every_change_has_an_entry_with_caller_address_and_request() {
    let server = Server::new();
    let made = Call::post("/v1/tokens").json(&json!({"name": "ann", "role": "editor"}));
    let made = server.call(made).await.json();
    let ann = format!("Bearer {}", made["token"].as_str().unwrap());
    let by_ann = |call: Call, id: &str| {
        let call = call
            .header("authorization", &ann)
            .from("[::ffff:192.0.2.7]:40000");
        call.header("x-request-id", id)
    };
    let body = json!({"url": "https://example.net/", "code": "sale", "tags": ["b", "a"]});
    server
        .call(by_ann(Call::post("/v1/links").json(&body), "r-1"))
        .await;
    // The same link again, and a code that is taken, change nothing.
    server
        .call(by_ann(Call::post("/v1/links").json(&body), "r-2"))
        .await;
    let other = json!({"url": "https://example.net/other", "code": "sale"});
    server.call(Call::post("/v1/links").json(&other)).await;
    let lines = "{\"url\": \"https://example.net/1\", \"code\": \"one\"}\n{}\n\
        {\"url\": \"https://example.net/2\", \"code\": \"two\"}\n";
    let batch = Call::post("/v1/links:batch").body("application/x-ndjson", lines);
    server.call(by_ann(batch, "r-3")).await;
    let patch = Call::patch("/v1/links/sale").json(&json!({"ttl": 5, "tags": null}));
    server.call(by_ann(patch, "r-4")).await;
    server.call(Call::delete("/v1/links/sale")).await;
    server.call(Call::delete("/v1/links/sale")).await;
    server.call(Call::delete("/v1/tokens/ann")).await;

    let found = entries(&server, "").await;
    let expected = [
        "token.revoked ann by admin",
        "link.deleted sale by admin",
        "link.changed sale by ann",
        "link.created two by ann",
        "link.created one by ann",
        "link.created sale by ann",
        "token.added ann by admin",
    ];
    assert_eq!(shown(&found), expected);
    let mut changed = found[2].clone();
    changed["id"] = Value::Null;
    let state =
        json!({"url": "https://example.net/", "expires_at": null, "ttl": null, "tags": ["a", "b"]});
    let expected = json!({
        "id": null, "at": "2023-11-14T22:13:20.000Z", "actor": "ann", "address": "192.0.2.7",
        "request_id": "r-4", "action": "link.changed", "zone": "s.example.com", "code": "sale",
        "token": null, "pool": null, "before": state,
        "after": {"url": "https://example.net/", "expires_at": null, "ttl": 5},
    });
    assert_eq!(changed, expected);
    let requests = found[3..6]
        .iter()
        .map(|entry| entry["request_id"].as_str().unwrap());
    assert_eq!(requests.collect::<Vec<_>>(), ["r-3", "r-3", "r-1"]);
    let token = json!({"role": "editor", "zones": null, "expires_at": null});
    assert_eq!((&found[6]["after"], &found[0]["before"]), (&token, &token));
    assert_eq!(found[6]["zone"], Value::Null);
}

#[tokio::test]
async fn filters_and_pages() {
    let server = Server::new();
    for (code, zone) in [
        ("a", "s.example.com"),
        ("b", "s.example.com"),
        ("a", "t.example.net"),
    ] {
        let body = json!({"url": "https://example.com/", "code": code});
        let call = Call::post(&format!("/v1/links?zone={zone}")).json(&body);
        assert_eq!(server.call(call).await.status, 201);
    }
    server.call(Call::delete("/v1/links/b")).await;
    let check = async |query: &str, expected: &[&str]| {
        assert_eq!(shown(&entries(&server, query).await), expected, "{query}");
    };
    let created = "link.created a by admin";
    check("?code=A", &[created, created]).await;
    check("?code=a&zone=T.example.net", &[created]).await;
    check("?action=link.deleted", &["link.deleted b by admin"]).await;
    check("?actor=ann", &[]).await;
    check("?since=2023-11-14T22:13:20.001Z", &[]).await;
    check("?until=2023-11-14T22:13:20Z", &[]).await;
    let now = "?since=2023-11-14T22:13:20Z&until=2023-11-14T22:13:20.001Z&zone=t.example.net";
    check(now, &[created]).await;

    let (mut ids, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = server
            .call(Call::get(&format!("/v1/audit{query}")))
            .await
            .json();
        let entries = page["entries"].as_array().unwrap();
        ids.extend(
            entries
                .iter()
                .map(|entry| entry["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=3&cursor={cursor}");
    }
    assert_eq!(ids.len(), 4);
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[tokio::test]
async fn bad_queries_name_their_parameter() {
    let server = Server::new();
    let check = async |query: &str, field: Option<&str>| {
        let reply = server.call(Call::get(&format!("/v1/audit{query}"))).await;
        assert_eq!(reply.status, 400, "{query}");
        let expected = ("invalid-query".to_owned(), field.map(str::to_owned));
        assert_eq!(reply.problem(), expected, "{query}");
    };
    check("?since=yesterday", Some("since")).await;
    check("?until=2026-01-01", Some("until")).await;
    check("?action=link", Some("action")).await;
    check("?limit=0", Some("limit")).await;
    check("?cursor=x", Some("cursor")).await;
    check("?actor=a&actor=b", Some("actor")).await;
    check("?token=a", None).await;
}

#[tokio::test]
async fn a_failing_store_is_no_empty_log() {
    let server = Server::new();
    server
        .store
        .fail(Some(|| StoreError::Unavailable("gone".into())));
    let reply = server.call(Call::get("/v1/audit")).await;
    assert_eq!(reply.status, 503);
}
