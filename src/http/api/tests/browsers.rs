//! What browsers and programs need: CORS, required conditions, and the rate of a token.

use axum::http::Method;
use serde_json::json;

use super::super::ApiRules;
use crate::access::Rate;
use crate::http::testing::{Call, Reply, Server};

const PAGE: &str = "https://page.example";

fn cors() -> Server {
    Server::with_rules(ApiRules {
        origins: vec![PAGE.into(), "http://localhost:3000".into()],
        ..ApiRules::default()
    })
}

async fn preflight(server: &Server, origin: &str) -> Reply {
    let call = Call::new(Method::OPTIONS, "/v1/links")
        .header("authorization", "")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    Reply::of(&server.admin, call.request).await
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_an_origin_that_is_allowed() {
    let reply = preflight(&cors(), PAGE).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET, POST, PATCH, DELETE")
    );
    let headers = reply.header("access-control-allow-headers").unwrap();
    for name in [
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
    ] {
        assert!(headers.contains(name), "{headers}");
    }
    assert_eq!(reply.header("vary"), Some("Origin"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);

    for origin in [
        "https://page.example.org",
        "https://page.example:444",
        "null",
        "HTTPS://page.example",
    ] {
        let reply = preflight(&cors(), origin).await;
        assert_eq!(reply.status, 401, "{origin}");
        assert_eq!(
            reply.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    let off = preflight(&Server::new(), PAGE).await;
    assert_eq!((off.status.as_u16(), off.header("vary")), (401, None));
}

#[tokio::test]
async fn scripts_of_an_allowed_origin_may_read_responses_and_errors() {
    let server = cors();
    let make = Call::post("/v1/links").json(&json!({"url": "https://example.net/", "code": "a"}));
    let made = server.call(make.header("origin", PAGE)).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("access-control-allow-origin"), Some(PAGE));
    let exposed = made.header("access-control-expose-headers").unwrap();
    for name in [
        "ETag",
        "Idempotent-Replayed",
        "Location",
        "Retry-After",
        "X-Request-Id",
    ] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let other = Call::get("/v1/links/a").header("origin", "https://other.example");
    let other = server.call(other).await;
    assert_eq!(
        (
            other.status.as_u16(),
            other.header("access-control-allow-origin")
        ),
        (200, None)
    );
    // An origin is no substitute for a token.
    let without = Call::get("/v1/links/a")
        .header("authorization", "")
        .header("origin", PAGE);
    let without = server.call(without).await;
    assert_eq!(without.status, 401);
    assert_eq!(without.header("access-control-allow-origin"), Some(PAGE));
}

#[tokio::test]
async fn rfc6585_3_a_change_without_if_match_is_refused_if_it_is_required() {
    let strict = Server::with_rules(ApiRules {
        require_if_match: true,
        ..ApiRules::default()
    });
    let lenient = Server::new();
    for (server, prefer) in [(&strict, ""), (&lenient, "handling=strict")] {
        let link = server
            .link(json!({"url": "https://example.net/", "code": "a"}))
            .await;
        let patch = || {
            Call::patch("/v1/links/a")
                .json(&json!({"ttl": 5}))
                .header("prefer", prefer)
        };
        let delete = || Call::delete("/v1/links/a").header("prefer", prefer);
        for call in [patch(), delete()] {
            let reply = server.call(call).await;
            assert_eq!(reply.status, 428, "{reply:?}");
            assert_eq!(
                reply.problem(),
                ("precondition-required".into(), Some("If-Match".into()))
            );
        }
        let wrong = server.call(patch().header("if-match", "\"1\"")).await;
        assert_eq!(wrong.status, 412);
        let tag = format!("\"{}\"", link["version"]);
        let changed = server.call(patch().header("if-match", &tag)).await;
        assert_eq!(changed.status, 200);
        assert_eq!(
            server.call(delete().header("if-match", "*")).await.status,
            204
        );
    }
}

#[tokio::test]
async fn a_token_beyond_its_rate_gets_429_and_others_go_on() {
    let rate = Rate {
        per_second: 1,
        burst: 3,
    };
    let server = Server::with_rules(ApiRules {
        rate: Some(rate),
        ..ApiRules::default()
    });
    let made = Call::post("/v1/tokens").json(&json!({"name": "ann", "role": "reader"}));
    let made = server.call(made).await.json();
    let ann = format!("Bearer {}", made["token"].as_str().unwrap());
    let mut refused = None;
    for _ in 0..50 {
        let reply = server.call(Call::get("/v1/zones")).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().0.as_str()),
        (429, "too-many-requests")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    let other = server
        .call(Call::get("/v1/zones").header("authorization", &ann))
        .await;
    assert_eq!(other.status, 200);
    // No token is needed for these, so they have no rate.
    assert_eq!(server.call(Call::get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_batch_beyond_the_rate_waits_and_does_not_fail() {
    let rate = Rate {
        per_second: 200,
        burst: 2,
    };
    let server = Server::with_rules(ApiRules {
        rate: Some(rate),
        ..ApiRules::default()
    });
    let lines: String = (0..20)
        .map(|n| format!("{{\"url\": \"https://example.net/{n}\"}}\n"))
        .collect();
    let batch = Call::post("/v1/links:batch").body("application/x-ndjson", lines);
    let reply = server.call(batch).await;
    assert_eq!(
        reply.text().matches("\"status\":201").count(),
        20,
        "{reply:?}"
    );
}
