//! Conditional requests: `If-None-Match` and `If-Match`.

use serde_json::json;

use super::{URL, detail};
use crate::http::testing::{Call, NOW, Server};
use crate::link::{LinkName, Version};
use crate::store::Store;

#[tokio::test]
async fn conditions_on_reading() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let check = async |tags: &str, status: u16| {
        let call = Call::get("/v1/links/x").header("if-none-match", tags);
        let reply = server.call(call).await;
        assert_eq!(reply.status, status, "{tags}");
    };
    check("\"1700000000000000\"", 304).await;
    check("W/\"1700000000000000\"", 304).await;
    check("\"1\", \"1700000000000000\"", 304).await;
    check("*", 304).await;
    check("\"1\"", 200).await;
    check("1700000000000000", 400).await;
    let absent = Call::get("/v1/links/y").header("if-none-match", "*");
    assert_eq!(server.call(absent).await.status, 404);
}

#[tokio::test]
async fn conditions_on_changing() {
    let server = Server::new();
    let now = "\"1700000000000000\"";
    let check = async |tags: &str, status: u16| {
        server.call(Call::delete("/v1/links/x")).await;
        let version = Version(NOW.0 * 1_000_000);
        server.link(json!({"url": URL, "code": "x"})).await;
        // Each deletion makes the version larger; the test sets it back to the known one.
        let name = LinkName::parse("x.s.example.com").unwrap();
        let mut link = server.store.get(&name).await.unwrap().unwrap();
        link.version = version;
        server.store.put(link);
        for (call, success) in [
            (Call::patch("/v1/links/x").json(&json!({"ttl": 1})), 200),
            (Call::delete("/v1/links/x"), 204),
        ] {
            let current = server.call(Call::get("/v1/links/x")).await;
            let etag = current.header("etag").unwrap().to_owned();
            let tags = tags.replace(now, &etag);
            let reply = server.call(call.header("if-match", &tags)).await;
            let expected = if status == 200 { success } else { status };
            assert_eq!(reply.status, expected, "{tags}");
            if status == 412 {
                assert_eq!(reply.problem().0, "version-conflict");
                assert_eq!(reply.header("etag"), Some(&*etag));
                let after = server.call(Call::get("/v1/links/x")).await;
                assert_eq!(after.json(), current.json());
            }
        }
    };
    check(now, 200).await;
    check("*", 200).await;
    check(&format!("\"1\", {now}"), 200).await;
    check(&format!("W/\"1\", {now}"), 200).await;
    check("\"1\"", 412).await;
    check("\"1\", \"2\"", 412).await;
    check("\"other\"", 412).await;
    // RFC 9110 §13.1.1: the comparison is strong, and a weak tag never matches.
    check(&format!("W/{now}"), 412).await;
    check(&format!("W/{now}, \"1\""), 412).await;
    check(&format!("W/{now}, W/\"1\""), 412).await;
    check("1", 400).await;
    check("\"1", 400).await;
    for tags in ["\"1\"", "\"1\", \"2\"", "\"other\"", "*"] {
        let absent = Call::delete("/v1/links/y").header("if-match", tags);
        assert_eq!(server.call(absent).await.status, 404, "{tags}");
    }
}

#[tokio::test]
async fn rfc_9110_13_1_1_the_reason_says_why_a_tag_does_not_match() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let current = server.call(Call::get("/v1/links/x")).await;
    let now = current.header("etag").unwrap().to_owned();
    let check = async |tags: &str, status: u16, expected: &[&str]| {
        for call in [
            Call::patch("/v1/links/x").json(&json!({"ttl": 1})),
            Call::delete("/v1/links/x"),
        ] {
            let reply = server.call(call.header("if-match", tags)).await;
            assert_eq!(reply.status, status, "{tags}");
            assert_eq!(reply.problem().1.as_deref(), Some("If-Match"));
            for part in expected {
                assert!(detail(&reply).contains(part), "{part}: {}", detail(&reply));
            }
        }
    };
    let weak = format!("W/{now}");
    let without = format!("send {now}, without W/");
    check(&weak, 412, &[&weak, "never matches", &without]).await;
    check(&format!("\"1\", {weak}"), 412, &[&weak, &without]).await;
    let is_now = format!("its ETag is {now} now");
    check("\"1\"", 412, &["x.s.example.com", &is_now]).await;
    check("W/\"1\"", 412, &["x.s.example.com", &is_now]).await;
    let bare = now.trim_matches('"');
    check(bare, 400, &["If-Match", bare, "not in double quotes"]).await;
    check(&format!("*, {now}"), 400, &["* stands alone"]).await;
}
