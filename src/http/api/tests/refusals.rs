//! What is refused: for want of the token, and for what is in the body.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use super::URL;
use crate::http::api::body::MAX_BODY_BYTES;
use crate::http::testing::{Call, NOW, Reply, Server, TOKEN};

/// Registers this, and holds the refusal to a status, a kind and a field.
async fn check(server: &Server, body: Value, status: u16, kind: &str, field: &str) {
    let field = Some(field.to_owned()).filter(|f| !f.is_empty());
    let reply = server.call(Call::post("/v1/links").json(&body)).await;
    assert_eq!(reply.status, status, "{body}: {reply:?}");
    assert_eq!(reply.problem(), (kind.into(), field), "{body}");
    // A patch is refused just so, but for the code.
    if let Some(mut patch) = body.as_object().cloned()
        && !patch.contains_key("code")
        && kind != "invalid-body"
    {
        if kind != "url-refused" && kind != "own-zone" {
            patch.remove("url");
        }
        let call = Call::patch("/v1/links/x").json(&Value::Object(patch));
        let reply = server.call(call).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().0),
            (status, kind.into())
        );
    }
}

#[tokio::test]
async fn refusals_and_their_reasons() {
    let server = Server::new();
    let long = format!("https://a.example/{}", "x".repeat(2_100));
    for bad in [
        "javascript:alert(1)",
        "ftp://example.net/",
        "https://",
        "https://u:p@example.net/",
        "https://a/\u{0}",
        "",
        &long,
    ] {
        check(&server, json!({"url": bad}), 422, "url-refused", "url").await;
    }
    for bad in [
        "http://x.S.example.com./",
        "http://t.example.net/",
        "http://a.b.t.example.net/",
    ] {
        check(&server, json!({"url": bad}), 422, "own-zone", "url").await;
    }

    let code = |code: &str| json!({"url": URL, "code": code});
    for bad in ["", "a.b", "a_b", "-a", "a-", "é", &"a".repeat(64)] {
        check(&server, code(bad), 422, "code-refused", "code").await;
    }
    check(&server, code("WWW"), 422, "code-reserved", "code").await;

    let ends = |end: &str| json!({"url": URL, "expires_at": end});
    for bad in [
        "2023-11-14T22:13:20Z",
        "1960-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "tomorrow",
        "",
    ] {
        check(&server, ends(bad), 422, "expiry-refused", "expires_at").await;
    }
    for bad in [json!(-1), json!(604_801), json!(u64::MAX), json!(1e30)] {
        check(
            &server,
            json!({"url": URL, "ttl": bad}),
            422,
            "ttl-refused",
            "ttl",
        )
        .await;
    }
    for (member, bad) in [
        ("title", json!("")),
        ("title", json!("a\nb")),
        ("title", json!("x".repeat(201))),
        ("tags", json!(["a,b"])),
        ("tags", json!([""])),
        (
            "tags",
            json!((0..17).map(|n| n.to_string()).collect::<Vec<_>>()),
        ),
        ("note", json!("\u{1b}[2J")),
        ("note", json!("x".repeat(2_001))),
    ] {
        let body = json!({"url": URL, member: bad});
        check(&server, body, 422, "text-refused", member).await;
    }
    assert_eq!(server.store.len(), 0);
}

#[tokio::test]
async fn bodies_of_another_shape() {
    let server = Server::new();
    for bad in [json!(1), json!(true), json!([URL]), json!({}), json!(null)] {
        check(&server, json!({"url": bad}), 400, "invalid-body", "url").await;
    }
    check(&server, json!({}), 400, "invalid-body", "url").await;
    check(
        &server,
        json!({"url": URL, "code": 7}),
        400,
        "invalid-body",
        "code",
    )
    .await;
    for (member, bad) in [
        ("title", json!(7)),
        ("tags", json!("print")),
        ("tags", json!(["print", 7])),
        ("note", json!(["x"])),
    ] {
        let body = json!({"url": URL, member: bad});
        check(&server, body, 400, "invalid-body", member).await;
    }
    let bad = json!({"url": URL, "expires_at": 1_800_000_000});
    check(&server, bad, 400, "invalid-body", "expires_at").await;
    check(
        &server,
        json!({"url": URL, "ttl": "7"}),
        400,
        "invalid-body",
        "ttl",
    )
    .await;
    check(
        &server,
        json!({"url": URL, "ttl": 1.5}),
        400,
        "invalid-body",
        "ttl",
    )
    .await;
    check(
        &server,
        json!({"url": URL, "x": 1}),
        400,
        "invalid-body",
        "",
    )
    .await;
    check(
        &server,
        json!([URL, null, null, null]),
        400,
        "invalid-body",
        "",
    )
    .await;
    check(&server, json!("x"), 400, "invalid-body", "").await;
    check(&server, json!(null), 400, "invalid-body", "").await;
    assert_eq!(server.store.len(), 0);
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let check = async |media: &str, body: &[u8], status: u16| {
        for call in [Call::post("/v1/links"), Call::patch("/v1/links/x")] {
            let reply = server.call(call.body(media, body)).await;
            assert_eq!(reply.status, status, "{reply:?}");
        }
    };
    let good = br#"{"url":"https://example.net/"}"#;
    check("application/json", b"", 400).await;
    check("application/json", b"  ", 400).await;
    check("application/json", b"{", 400).await;
    check("application/json", b"{}{}", 400).await;
    check("application/json", b"\xEF\xBB\xBF{}", 400).await;
    check("application/json", b"{\"url\":\"https://a/\xFF\"}", 400).await;
    check(
        "application/json",
        br#"{"url":"https://a/","url":"https://b/"}"#,
        400,
    )
    .await;
    check("application/json", br#"{"url":"\ud800"}"#, 400).await;
    check("application/json", "[".repeat(10_000).as_bytes(), 400).await;
    check("", good, 415).await;
    check("", b"", 415).await;
    check("text/plain", good, 415).await;
    check("application/x-www-form-urlencoded", b"url=x", 415).await;
    let spaces = " ".repeat(MAX_BODY_BYTES);
    check("application/json", spaces.as_bytes(), 400).await;
    let more = " ".repeat(MAX_BODY_BYTES + 1);
    check("application/json", more.as_bytes(), 413).await;
    check("application/json", &[b'x'; 1 << 20], 413).await;
    assert_eq!(server.store.len(), 1);

    let call = Call::post("/v1/links").body("application/vnd.x+json; q=1", good);
    assert_eq!(server.call(call).await.status, 201);
    let merge = "application/merge-patch+json";
    let call = Call::patch("/v1/links/x").body(merge, good);
    assert_eq!(server.call(call).await.status, 200);
    let call = Call::patch("/v1/links/x").body("application/json-patch+json", "[]");
    assert_eq!(server.call(call).await.status, 415);
}

#[tokio::test]
async fn who_has_not_the_token_learns_nothing() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let mut bodies = BTreeSet::new();
    for (authorization, challenge) in [
        ("", "Bearer realm=\"tinyns\""),
        ("Basic dXNlcjpwYXNz", "Bearer realm=\"tinyns\""),
        (TOKEN, "Bearer realm=\"tinyns\""),
        ("Bearer", "Bearer realm=\"tinyns\""),
        (
            "Bearer x",
            "Bearer realm=\"tinyns\", error=\"invalid_token\"",
        ),
        (
            "Bearer 0123456789abcdef0123456789abcdeF",
            "Bearer realm=\"tinyns\", error=\"invalid_token\"",
        ),
    ] {
        for call in [
            Call::get("/v1/links"),
            Call::get("/v1/links/x"),
            Call::get("/v1/links/absent"),
            Call::get("/v1/nothing"),
            Call::get("/v1"),
            Call::get("/nothing"),
            Call::get("//v1/links"),
            Call::new(Method::PUT, "/v1/links"),
            Call::delete("/v1/links/x"),
            Call::post("/v1/links").json(&json!({"url": "https://example.org/"})),
            Call::post("/v1/links").body("application/json", vec![b'x'; 1 << 20]),
            Call::post("/v1/links:batch").body("application/x-ndjson", "{}"),
            Call::patch("/v1/links/x").json(&json!({"ttl": 1})),
        ] {
            let call = call.header("authorization", authorization);
            let reply = server.call(call.header("x-request-id", "one")).await;
            assert_eq!(reply.status, 401);
            assert_eq!(reply.header("www-authenticate"), Some(challenge));
            assert_eq!(reply.header("allow"), None);
            bodies.insert(reply.text().to_owned());
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(server.store.len(), 1);
    let link = server.call(Call::get("/v1/links/x")).await.json();
    assert_eq!(link["version"], NOW.0 * 1_000_000);
}

#[tokio::test]
async fn a_body_is_not_read_without_the_token() {
    let server = Server::new();
    let body = axum::body::Body::from_stream(futures_util::stream::poll_fn(
        |_| -> std::task::Poll<Option<Result<String, axum::Error>>> { panic!("read") },
    ));
    let request = axum::http::Request::post("/v1/links")
        .header("host", "x")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    assert_eq!(Reply::of(&server.admin, request).await.status, 401);
}

#[tokio::test]
async fn reserved_codes_are_for_admins() {
    let server = Server::new();
    let editor = json!({"name": "ed", "role": "editor"});
    let made = server.call(Call::post("/v1/tokens").json(&editor)).await;
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    let create = async |token: Option<&str>, body: Value| {
        let mut call = Call::post("/v1/links").json(&body);
        if let Some(token) = token {
            call = call.header("authorization", &format!("Bearer {token}"));
        }
        server.call(call).await
    };
    let body = json!({"url": URL, "code": "WPAD"});
    for token in [None, Some(&*secret)] {
        let refused = create(token, body.clone()).await;
        assert_eq!(refused.status, 409);
        assert_eq!(
            refused.problem(),
            ("word-reserved".into(), Some("code".into()))
        );
        assert!(super::detail(&refused).contains("\"use_reserved\": true"));
    }
    let insisting = json!({"url": URL, "code": "WPAD", "use_reserved": true});
    let refused = create(Some(&secret), insisting.clone()).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.problem(),
        ("forbidden".into(), Some("use_reserved".into()))
    );
    assert_eq!(create(None, insisting).await.status, 201);
    // It is there now, and works like any other link.
    assert_eq!(create(Some(&secret), body).await.status, 200);
    let other = json!({"url": "https://example.org/", "code": "wpad"});
    assert_eq!(create(Some(&secret), other).await.status, 409);
    let patch = Call::patch("/v1/links/wpad").json(&json!({"ttl": 5}));
    let patch = patch.header("authorization", &format!("Bearer {secret}"));
    assert_eq!(server.call(patch).await.status, 200);
    let odd = create(None, json!({"url": URL, "use_reserved": "yes"})).await;
    assert_eq!(
        odd.problem(),
        ("invalid-body".into(), Some("use_reserved".into()))
    );
}
