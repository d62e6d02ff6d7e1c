//! Requests that the admin API refuses.

use serde_json::json;

use crate::harness::{Server, http};

#[test]
fn refusals_and_their_reasons() {
    let server = Server::start();
    let stored = server.add_with(&json!({"url": "https://example.net/kept", "code": "taken"}));
    let long = format!("https://example.net/{}", "x".repeat(2_048));
    let code64 = "a".repeat(64);
    for (body, status, reason) in [
        (json!({"url": "javascript:alert(1)"}), 422, "javascript"),
        (json!({"url": "ftp://example.net/"}), 422, "ftp"),
        (json!({"url": "https://"}), 422, "no host"),
        (
            json!({"url": "https://user@example.net/"}),
            422,
            "user info",
        ),
        (json!({"url": long}), 422, "2048"),
        (json!({"url": "http://.example.com/"}), 422, "empty label"),
        (json!({"url": "http://example..com/"}), 422, "empty label"),
        (
            json!({"url": format!("http://{code64}.example/")}),
            422,
            "of 64 bytes; a label in DNS has at most 63",
        ),
        (
            json!({"url": format!("http://{}a.example/", "a.".repeat(123))}),
            422,
            "the host has 255 bytes; a name in DNS has at most 253",
        ),
        (
            json!({"url": "http://exam ple.com/"}),
            422,
            "the character ' '",
        ),
        (
            json!({"url": "example.com/path"}),
            422,
            "no scheme: it has to begin with https:// or http://, as in https://example.com/path",
        ),
        (
            json!({"url": "https://x.s.example.com/"}),
            422,
            "zone served here",
        ),
        (
            json!({"url": "https://S.EXAMPLE.COM./"}),
            422,
            "zone served here",
        ),
        (
            json!({"url": "https://example.net/\r\nSet-Cookie: a=b"}),
            422,
            "control character",
        ),
        (
            json!({"url": "https://example.net/", "code": "a.b"}),
            422,
            "'.'",
        ),
        (
            json!({"url": "https://example.net/", "code": "a_b"}),
            422,
            "'_'",
        ),
        (
            json!({"url": "https://example.net/", "code": code64}),
            422,
            "63",
        ),
        (
            json!({"url": "https://example.net/", "code": "-a"}),
            422,
            "hyphen",
        ),
        (
            json!({"url": "https://example.net/", "code": "www"}),
            422,
            "name of the zone",
        ),
        (
            json!({"url": "https://example.net/", "code": "NS1"}),
            422,
            "name of the zone",
        ),
        (
            json!({"url": "https://example.net/", "code": "r"}),
            422,
            "name of the zone",
        ),
        (
            json!({"url": "https://example.net/", "code": "deep"}),
            422,
            "name of the zone",
        ),
        (
            json!({"url": "https://example.net/", "expires_at": "2001-01-01T00:00:00Z"}),
            422,
            "future",
        ),
        (
            json!({"url": "https://example.net/", "ttl": 604_801}),
            422,
            "ttl",
        ),
        (
            json!({"url": "https://example.net/", "code": "taken"}),
            409,
            "taken",
        ),
        (
            json!({"url": "https://example.net/", "colour": "red"}),
            400,
            "colour",
        ),
        (json!({"url": 7}), 400, "url"),
        (json!(["https://example.net/"]), 400, ""),
    ] {
        let reply = server.api("POST", "/v1/links", Some(&body));
        assert_eq!(reply.status, status, "{body} {reply:?}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        let problem = reply.json();
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{body}: {detail}");
    }
    let raw = |kind, body: &[u8]| {
        server
            .api_raw("POST", "/v1/links", &[], Some((kind, body.to_vec())))
            .status
    };
    assert_eq!(raw("application/json", b"{\"url\":"), 400);
    assert_eq!(raw("text/plain", b"https://example.net/"), 415);
    assert_eq!(raw("application/json", &vec![b' '; 1 << 20]), 413);
    // None of these requests has changed a link.
    assert_eq!(server.api("GET", "/v1/links/taken", None).json(), stored);
    assert_eq!(
        server.api("GET", "/v1/links", None).json()["links"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn without_a_token_the_reply_reveals_nothing() {
    let server = Server::start();
    let url = format!("http://{}/v1/links", server.admin);
    let body = || {
        Some((
            "application/json",
            br#"{"url":"https://example.net/"}"#.to_vec(),
        ))
    };
    let mut bodies = Vec::new();
    for authorization in [
        None,
        Some("Bearer wrong"),
        Some("Bearer"),
        Some("Basic dGVzdDp0ZXN0"),
        Some("Bearer test-token-0123456789abcde"),
        Some("Bearer test-token-0123456789abcdeff"),
        Some(""),
    ] {
        let headers: Vec<_> = authorization
            .iter()
            .map(|a| ("authorization", *a))
            .collect();
        let reply = http("POST", &url, &headers, body());
        assert_eq!(reply.status, 401, "{authorization:?}");
        assert!(reply.header("www-authenticate").is_some());
        let mut problem = reply.json();
        problem.as_object_mut().unwrap().remove("request_id");
        bodies.push(problem);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        server.api("GET", "/v1/links", None).json()["links"],
        json!([])
    );
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let open = http("GET", &format!("http://{}{path}", server.admin), &[], None);
        assert_eq!(open.status, 200, "{path}");
    }
}
