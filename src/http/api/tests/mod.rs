//! The admin API as its clients see it. Each reply is checked against the OpenAPI document.

mod audit;
mod batch;
mod browsers;
mod conditions;
mod keys;
mod lists;
mod pools;
mod qr;
mod refusals;
mod stats;
mod tokens;
mod visible;
mod withheld;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use axum::http::Method;
use serde_json::{Value, json};

use crate::base::metrics::HttpStatus;
use crate::http::testing::{Call, Reply, Server, contract, openapi};
use crate::store::StoreError;

const URL: &str = "https://example.net/";

fn unavailable() -> StoreError {
    StoreError::Unavailable("gone".into())
}

#[tokio::test]
async fn the_document_and_the_routes_agree() {
    let server = Server::new();
    let documented = contract::operations();
    let served: BTreeSet<_> = super::routes()
        .into_iter()
        .map(|route| route.path)
        .collect();
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), served);

    for (path, methods) in documented {
        let path = path.replace("{code}", "abc").replace("{name}", "abc");
        let path = path.replace("{zone}", "s.example.com");
        let mut allowed = methods.clone();
        if methods.contains("GET") {
            allowed.insert("HEAD".into());
        }
        let all = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE LINK";
        for method in all.split(' ') {
            let method: Method = method.parse().unwrap();
            let known = allowed.contains(method.as_str());
            let reply = server.call(Call::new(method, &path)).await;
            assert_eq!(reply.status != 405, known, "{path}: {reply:?}");
            if !known {
                let allow = reply.header("allow").unwrap().split(',');
                let allow: BTreeSet<_> = allow.map(|m| m.trim().to_owned()).collect();
                assert_eq!(allow, allowed, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_has_the_version_of_the_program() {
    let reply = Server::new().call(Call::get("/openapi.json")).await;
    assert_eq!(reply.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(&reply.json(), openapi());
    // Every reference has a target.
    let text = reply.text();
    for reference in text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(openapi().pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn a_link_from_its_creation_to_its_end() {
    let server = Server::new();
    let body = json!({"url": URL, "code": "Spring", "expires_at": "2023-11-15T00:13:21+02:00",
        "ttl": 60});
    let reply = server.call(Call::post("/v1/links").json(&body)).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), Some("/v1/links/spring"));
    let expected = format!(
        "{{\"code\":\"spring\",\"name\":\"spring.s.example.com\",\
         \"short_url\":\"http://spring.s.example.com:8080/\",\"url\":\"{URL}\",\
         \"created_at\":\"2023-11-14T22:13:20Z\",\"created_by\":\"admin\",\"expires_at\":\"2023-11-14T22:13:21Z\",\
         \"ttl\":60,\"title\":null,\"tags\":[],\"note\":null,\"withheld\":null,\"version\":1700000000000000}}"
    );
    let receipt = "{\"servers\":1,\"applied\":1,\"complete\":true,\"missing\":[],\
         \"at\":\"2023-11-14T22:13:20Z\",\"resolvers_until\":\"2023-11-14T22:14:20Z\"}";
    let changed = expected.replace("000}", &format!("000,\"visible\":{receipt}}}"));
    assert_eq!(reply.text(), changed);
    assert_eq!(reply.header("etag"), Some("\"1700000000000000\""));

    let read = server.call(Call::get("/v1/links/SPRING")).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.text(), expected);
    assert_eq!(read.header("etag"), reply.header("etag"));

    let patch = json!({"expires_at": null, "ttl": null, "url": "https://example.org"});
    let patched = server
        .call(Call::patch("/v1/links/spring").json(&patch))
        .await;
    assert_eq!(patched.status, 200);
    let link = patched.json();
    assert_eq!(link["url"], "https://example.org/");
    assert_eq!(link["expires_at"], Value::Null);
    assert_eq!(link["ttl"], Value::Null);
    assert_eq!(link["version"], 1_700_000_000_000_001_u64);
    assert_eq!(link["created_at"], "2023-11-14T22:13:20Z");

    let gone = server.call(Call::delete("/v1/links/spring")).await;
    assert_eq!(gone.status, 204);
    for call in [
        Call::get("/v1/links/spring"),
        Call::delete("/v1/links/spring"),
        Call::patch("/v1/links/spring").json(&patch),
    ] {
        let reply = server.call(call).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.problem().0, "no-such-link");
    }
}

#[tokio::test]
async fn a_link_has_a_title_tags_and_a_note() {
    let server = Server::new();
    let about = json!({"url": URL, "code": "x", "title": " Sale ", "tags": ["Print", "a", "print"],
        "note": "one\r\ntwo\n"});
    let made = server.link(about).await;
    assert_eq!(made["title"], "Sale");
    assert_eq!(made["tags"], json!(["a", "print"]));
    assert_eq!(made["note"], "one\ntwo");
    // The texts of the link that exists stay, and so do its other members.
    let again = json!({"url": URL, "code": "x", "title": "Other", "tags": []});
    let again = server.call(Call::post("/v1/links").json(&again)).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json(), made);
    let change = async |body: Value| {
        let reply = server.call(Call::patch("/v1/links/x").json(&body)).await;
        assert_eq!(reply.status, 200, "{body}");
        let link = reply.json();
        [&link["title"], &link["tags"], &link["note"]].map(ToString::to_string)
    };
    let changed = change(json!({"title": "Autumn"})).await;
    assert_eq!(
        changed,
        ["\"Autumn\"", "[\"a\",\"print\"]", "\"one\\ntwo\""]
    );
    let changed = change(json!({"tags": ["b"], "note": null})).await;
    assert_eq!(changed, ["\"Autumn\"", "[\"b\"]", "null"]);
    let changed = change(json!({"title": null, "tags": null})).await;
    assert_eq!(changed, ["null", "[]", "null"]);
    let listed = server.call(Call::get("/v1/links")).await.json();
    assert_eq!(listed["links"][0]["tags"], json!([]));
}

#[tokio::test]
async fn the_same_url_is_the_same_link() {
    let server = Server::new();
    let create = |body: Value| server.call(Call::post("/v1/links").json(&body));
    let first = create(json!({"url": URL, "ttl": 7})).await;
    assert_eq!(first.status, 201);
    let same = create(json!({"url": "https://EXAMPLE.net", "ttl": null, "code": null})).await;
    assert_eq!(same.status, 200);
    assert_eq!(same.json(), first.json());
    assert_eq!(same.header("etag"), first.header("etag"));
    assert_eq!(same.header("location"), None);
    let code = first.json()["code"].clone();
    let taken = create(json!({"url": "https://example.org/", "code": code})).await;
    assert_eq!(taken.status, 409);
    assert_eq!(taken.problem(), ("code-taken".into(), Some("code".into())));
    assert_eq!(server.store.len(), 1);
}

#[tokio::test]
async fn a_patch_changes_only_the_members_that_it_has() {
    let server = Server::new();
    server
        .link(json!({"url": URL, "code": "x", "ttl": 5}))
        .await;
    let check = async |patch: Value, status: u16| {
        let reply = server.call(Call::patch("/v1/links/x").json(&patch)).await;
        assert_eq!(reply.status, status, "{patch} {reply:?}");
        reply
    };
    assert_eq!(check(json!({"ttl": 9}), 200).await.json()["ttl"], 9);
    assert_eq!(check(json!({"ttl": 300.0}), 200).await.json()["ttl"], 300);
    let ends = check(json!({"expires_at": "2030-01-01T00:00:00Z"}), 200).await;
    assert_eq!(ends.json()["ttl"], 300);
    assert_eq!(ends.json()["expires_at"], "2030-01-01T00:00:00Z");
    check(json!({}), 400).await;
    check(json!({"url": null}), 400).await;
    check(json!({"code": "y"}), 400).await;
    check(json!({"version": 1}), 400).await;
    check(json!([]), 400).await;
    let read = server.call(Call::get("/v1/links/x")).await;
    assert_eq!(read.json(), ends.link());
}

/// The detail of a problem.
fn detail(reply: &Reply) -> String {
    reply.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn problems_say_what_is_wrong_and_what_to_send() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let check = async |call: Call, expected: &[&str]| {
        let reply = server.call(call).await;
        assert!(reply.status.is_client_error(), "{reply:?}");
        for part in expected {
            assert!(detail(&reply).contains(part), "{part}: {}", detail(&reply));
        }
    };
    let object = "a JSON object such as {\"url\": \"https://example.net/\"";
    for (body, found) in [
        ("", "the body is empty"),
        (" \n", "is empty"),
        ("[]", "is a JSON array"),
    ] {
        for call in [Call::post("/v1/links"), Call::patch("/v1/links/x")] {
            check(call.body("application/json", body), &[found, object]).await;
        }
    }
    let post = |body: &'static str| Call::post("/v1/links").body("application/json", body);
    let doubled = post("{\"url\":\"https://a.example/\",\n\"url\":\"https://b.example/\"}");
    check(doubled, &["the member \"url\" twice", "line 2"]).await;
    check(post("{\"ulr\": 1}"), &["unknown member `ulr`", "`url`"]).await;
    check(post("{\"url\": "), &["not JSON", "line 1"]).await;
    let date = json!({"url": URL, "expires_at": "2026-12-31"});
    let date = Call::post("/v1/links").json(&date);
    let meant = [
        "without a time of day and a time zone",
        "\"2026-12-31T23:59:59Z\"",
    ];
    check(date, &meant).await;
    let space = json!({"url": "http://exam ple.com/"});
    let space = Call::post("/v1/links").json(&space);
    check(space, &["the host \"exam ple.com\"", "' '"]).await;
    let twice = Call::get("/v1/links?limit=1&limit=2");
    check(twice, &["the parameter \"limit\" 2 times"]).await;
    check(
        Call::get("/v1/links?limt=2"),
        &["unknown parameter `limt`", "`limit`"],
    )
    .await;
}

#[tokio::test]
async fn a_code_that_is_not_valid_is_not_found() {
    let server = Server::new();
    for code in [
        "a_b",
        "a.b",
        "-",
        "%FF",
        "%C3%A9",
        "%00",
        &"a".repeat(64),
        "a%2Fb",
    ] {
        let reply = server.call(Call::get(&format!("/v1/links/{code}"))).await;
        assert_eq!(reply.status, 404, "{code}");
        assert_eq!(reply.problem().0, "no-such-link", "{code}");
    }
    for path in [
        "/v1/links/",
        "/v1/links/a/b",
        "/v1/links/x/",
        "/v2/links",
        "/",
    ] {
        let reply = server.call(Call::get(path)).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.problem().0, "no-such-path", "{path}");
    }
}

#[tokio::test]
async fn a_failure_of_the_store_is_no_answer_about_a_link() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    type Failure = fn() -> StoreError;
    let failures: [(Failure, u16, &str); 4] = [
        (unavailable, 503, "store-unavailable"),
        (|| StoreError::Overloaded, 503, "store-overloaded"),
        (|| StoreError::DeadlineExceeded, 503, "store-timeout"),
        (
            || StoreError::Corrupt {
                name: "x".into(),
                reason: "y".into(),
            },
            500,
            "corrupt-link",
        ),
    ];
    for (failure, status, kind) in failures {
        server.store.fail(Some(failure));
        for call in [
            Call::get("/v1/links"),
            Call::get("/v1/links/x"),
            Call::post("/v1/links").json(&json!({"url": URL})),
            Call::patch("/v1/links/x").json(&json!({"ttl": 1})),
            Call::delete("/v1/links/x"),
            Call::delete("/v1/links/x").header("if-match", "\"1\", \"2\""),
        ] {
            let reply = server.call(call).await;
            assert_eq!(reply.status, status);
            assert_eq!(reply.problem().0, kind);
            assert_eq!(reply.header("retry-after").is_some(), status == 503);
        }
    }
}

#[tokio::test]
async fn health_and_readiness() {
    let server = Server::new();
    let ask = async |path: &str| {
        server
            .call(Call::get(path).header("authorization", ""))
            .await
    };
    assert_eq!(ask("/healthz").await.text(), "ok");
    let check = async |status: &str, serves: bool, takes_changes: bool, reasons: &[&str]| {
        let code = |well| if well { 200 } else { 503 };
        for (path, well) in [("/readyz", serves), ("/readyz/changes", takes_changes)] {
            let reply = ask(path).await;
            assert_eq!(reply.status, code(well), "{path}: {reply:?}");
            let body = reply.json();
            assert_eq!(body["status"], status, "{path}");
            assert_eq!(body["serves"], serves, "{path}");
            assert_eq!(body["takes_changes"], takes_changes, "{path}");
            let expected = (!reasons.is_empty()).then(|| json!(reasons));
            assert_eq!(body.get("reasons"), expected.as_ref(), "{path}");
        }
    };
    check("ready", true, true, &[]).await;
    server.store.fail(Some(unavailable));
    let gone = "the link store is unavailable";
    check("not ready", false, false, &[gone]).await;
    server.draining.store(true, Ordering::Relaxed);
    check("not ready", false, false, &["shutting down", gone]).await;
    server.store.fail(None);
    check("not ready", false, false, &["shutting down"]).await;
    server.draining.store(false, Ordering::Relaxed);

    // While the table throttles, links in memory are still answered, so nobody should restart this server.
    let throttles = || StoreError::Throttled("the table tinyUrl".into());
    server.store.fail(Some(throttles));
    check("degraded", true, false, &["the link store throttles"]).await;
    let new = json!({"url": URL});
    let refused = server.call(Call::post("/v1/links").json(&new)).await;
    assert_eq!(refused.problem().0, "store-throttled");
    server.store.fail(None);
    // Reads work again, but the last change failed.
    check("degraded", true, false, &["the link store throttles"]).await;
    server.call(Call::post("/v1/links").json(&new)).await;
    check("ready", true, true, &[]).await;
    assert_eq!(ask("/healthz").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_status() {
    let server = Server::new();
    server.call(Call::get("/healthz")).await;
    server.call(Call::get("/nothing")).await;
    server.call(Call::get("/nothing")).await;
    let count = |status| {
        let family = &server.metrics.admin_requests;
        family.get_or_create(&HttpStatus { status }).get()
    };
    assert_eq!((count(200), count(404), count(401)), (1, 2, 0));
    let metrics = server.call(Call::get("/metrics")).await;
    let line = "tinyns_admin_requests_total{status=\"404\"} 2";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.header("content-type"), Some(media));
}

#[tokio::test]
async fn request_ids_are_echoed() {
    let server = Server::new();
    let check = async |sent: &str, kept: bool| {
        let call = Call::get("/v1/links/absent").header("x-request-id", sent);
        let reply = server.call(call).await;
        assert_eq!(reply.header("x-request-id") == Some(sent), kept);
    };
    check("abc-1_2.3", true).await;
    check("a b", false).await;
    check(&"x".repeat(65), false).await;
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    for path in [
        "/v1/links",
        "/v1/links/x",
        "/v1/links/y",
        "/healthz",
        "/openapi.json",
    ] {
        let get = server.call(Call::get(path)).await;
        let head = server.call(Call::new(Method::HEAD, path)).await;
        assert_eq!(head.status, get.status);
        assert_eq!(
            head.header("content-length"),
            Some(&*get.body.len().to_string())
        );
        assert_eq!(head.header("etag"), get.header("etag"));
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn rfc_9112_3_2_host_is_needed() {
    let server = Server::new();
    for host in ["", "a b", "a,b"] {
        let reply = server
            .call(Call::get("/healthz").header("host", host))
            .await;
        assert_eq!(reply.status, 400);
        assert_eq!(
            reply.problem(),
            ("invalid-host".into(), Some("Host".into()))
        );
    }
}
