//! The redirect host as browsers see it.

mod clicks;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::base::clock::UnixTime;
use crate::base::metrics::HttpStatus;
use crate::http::testing::{Call, NOW, Reply, Server};
use crate::link::{Code, Link, LinkName, Origin, TargetUrl, Ttl, Version};
use crate::store::StoreError;

const TARGET: &str = "https://example.net/a?x=1&y='<>\"#top";
/// The same as it is stored and sent.
const LOCATION: &str = "https://example.net/a?x=1&y=%27%3C%3E%22#top";

async fn ask(server: &Server, method: Method, host: &str, path: &str) -> Reply {
    let request = Request::builder().method(&method).uri(path);
    let request = request.header("host", host).body(Body::empty()).unwrap();
    let reply = Reply::of_redirect(&server.redirect, request).await;
    check_form(&method, &reply);
    reply
}

/// What holds for every reply: its headers, and that its page is a whole one.
fn check_form(method: &Method, reply: &Reply) {
    let place = format!("{reply:?}");
    assert_eq!(
        reply.header("location").is_some(),
        reply.status == 302,
        "{place}"
    );
    let content = (reply.status != 302).then_some(("text/html; charset=utf-8", "nosniff"));
    assert_eq!(
        reply.header("content-type"),
        content.map(|c| c.0),
        "{place}"
    );
    assert_eq!(
        reply.header("x-content-type-options"),
        content.map(|c| c.1),
        "{place}"
    );
    let policy = reply.header("content-security-policy");
    let is_strict = |policy: &str| policy.starts_with("default-src 'none';");
    assert_eq!(policy.map(is_strict), content.map(|_| true), "{place}");
    let cached = reply.header("cache-control").unwrap();
    let public = reply.status == 302 || reply.text().contains("Short links at");
    if *method == Method::HEAD {
        assert_eq!(reply.text(), "");
        return;
    }
    assert_eq!(cached.starts_with("public, max-age="), public, "{place}");
    assert!(public || cached == "no-store", "{place}");
    let html = reply.text();
    if reply.status == 302 {
        assert_eq!(html, "", "{place}");
        return;
    }
    for part in [
        "<!DOCTYPE html>\n<html lang=\"en\">",
        "<title>",
        "<h1>",
        "name=\"viewport\"",
    ] {
        assert_eq!(html.matches(part).count(), 1, "{place}");
    }
    assert!(html.ends_with("</html>\n"), "{place}");
    assert!(!html.contains("<script"), "{place}");
}

async fn check(server: &Server, host: &str, path: &str, status: u16) -> Reply {
    let reply = ask(server, Method::GET, host, path).await;
    assert_eq!(reply.status, status, "{host} {path}");
    reply
}

async fn with_link() -> Server {
    let server = Server::new();
    server.link(json!({"url": TARGET, "code": "x"})).await;
    server
}

#[tokio::test]
async fn a_link_redirects_whatever_its_host_looks_like() {
    let server = with_link().await;
    for host in [
        "x.s.example.com",
        "X.S.Example.COM.",
        "x.s.example.com:8080",
        "x.s.example.com.:1",
        "x.r.s.example.com",
    ] {
        for path in ["/", "/?utm=1", "/?url=https://evil.example/"] {
            let reply = check(&server, host, path, 302).await;
            assert_eq!(reply.header("location"), Some(LOCATION));
            assert_eq!(reply.header("referrer-policy"), None);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_kept_no_longer_than_the_link_allows() {
    let server = Server::new();
    let check_age = async |code: &str, link: serde_json::Value, age: u32| {
        let mut link = link;
        link["url"] = json!(TARGET);
        link["code"] = json!(code);
        server.link(link).await;
        let reply = check(&server, &format!("{code}.s.example.com"), "/", 302).await;
        let expected = format!("public, max-age={age}");
        assert_eq!(reply.header("cache-control"), Some(&*expected), "{code}");
    };
    check_age("a", json!({}), 60).await;
    check_age("b", json!({"ttl": 300}), 60).await;
    check_age("c", json!({"ttl": 7}), 7).await;
    check_age("d", json!({"ttl": 0}), 0).await;
    check_age("e", json!({"expires_at": "2023-11-14T22:13:25Z"}), 4).await;
    check_age(
        "f",
        json!({"expires_at": "2023-11-14T22:13:25Z", "ttl": 3}),
        3,
    )
    .await;
}

#[tokio::test]
async fn other_hosts_and_paths() {
    let server = with_link().await;
    check(&server, "y.s.example.com", "/", 404).await;
    check(&server, "y.s.example.com", "/+", 404).await;
    check(&server, "x.t.example.net", "/", 404).await;
    for path in [
        "/a",
        "/+/",
        "/++",
        "//",
        "/%2B",
        "/favicon.ico",
        "/https://example.org/",
    ] {
        check(&server, "x.s.example.com", path, 404).await;
        check(&server, "s.example.com", path, 404).await;
    }
    check(&server, "www.s.example.com", "/", 404).await;
    check(&server, "a.b.c.s.example.com", "/", 404).await;
    check(&server, "x_y.s.example.com", "/", 404).await;
    check(&server, "example.org", "/", 421).await;
    check(&server, "x.s.example.com.evil.example", "/", 421).await;
    check(&server, "evil-s.example.com", "/", 421).await;
    check(&server, "127.0.0.1:8080", "/", 421).await;
    check(&server, "[::1]:8080", "/", 421).await;
}

#[tokio::test]
async fn the_zone_says_what_it_is() {
    let server = Server::new();
    let reply = check(&server, "S.example.com:8080", "/", 200).await;
    assert!(
        reply
            .text()
            .contains("dig +short TXT &lt;code&gt;.s.example.com")
    );
    assert!(
        reply
            .text()
            .contains("http://&#60;code&#62;.s.example.com:8080/+")
    );
    assert_eq!(reply.header("x-robots-tag"), None);
    let reply = check(&server, "x.s.example.com", "/", 404).await;
    assert_eq!(reply.header("x-robots-tag"), Some("noindex"));
}

#[tokio::test]
async fn the_preview_shows_and_does_not_go() {
    let server = Server::new();
    let ends = "2023-11-15T00:00:00Z";
    server
        .link(json!({"url": TARGET, "code": "x", "expires_at": ends}))
        .await;
    let reply = check(&server, "x.s.example.com", "/+?q", 200).await;
    for part in [
        "<a class=\"button primary\" href=\"https://example.net/a?x=1&#38;y=%27%3C%3E%22#top\" \
         rel=\"noopener noreferrer nofollow\">",
        "https://<strong>example.net</strong>/a?x=1&#38;y=%27%3C%3E%22#top<",
        "<span class=\"breaks\">http://x.s.example.com:8080/</span>",
    ] {
        assert!(reply.text().contains(part), "{part}: {}", reply.text());
    }
    assert!(reply.text().contains(&format!("datetime=\"{ends}\"")));
    assert!(reply.text().contains("datetime=\"2023-11-14T22:13:20Z\""));
    assert_eq!(reply.header("refresh"), None);
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn an_expired_link_is_gone_to_the_second() {
    let server = Server::new();
    let ends = "2023-11-14T22:13:21Z";
    server
        .link(json!({"url": TARGET, "code": "x", "expires_at": ends}))
        .await;
    check(&server, "x.s.example.com", "/", 302).await;
    server.clock.set(UnixTime(NOW.0 + 1));
    for path in ["/", "/+"] {
        let reply = check(&server, "x.s.example.com", path, 410).await;
        assert!(!reply.text().contains("example.net"));
    }
}

/// RFC 9110 §15.5.4, RFC 7725 §3 and §4
#[tokio::test]
async fn a_withheld_link_gives_its_reason_and_not_its_destination() {
    for memory in [0, 3_600] {
        let server = Server::with_memory(Duration::from_secs(memory));
        let hold = async |withheld: serde_json::Value| {
            let call = Call::patch("/v1/links/x").json(&json!({ "withheld": withheld }));
            assert_eq!(server.call(call).await.status, 200);
        };
        server.link(json!({"url": TARGET, "code": "x"})).await;
        check(&server, "x.s.example.com", "/", 302).await;
        let legal = json!({"kind": "legal", "reason": "Order <12>", "authority": "https://court.example/12"});
        for (withheld, status, reason) in [
            (
                json!({"kind": "abuse", "reason": "Phishing <b>"}),
                403,
                "Phishing &#60;b&#62;",
            ),
            (legal, 451, "Order &#60;12&#62;"),
        ] {
            hold(withheld).await;
            for host in ["x.s.example.com", "X.r.s.example.com:80"] {
                for path in ["/", "/?a=b", "/+"] {
                    // Also from memory.
                    for _ in 0..2 {
                        let reply = check(&server, host, path, status).await;
                        let html = reply.text();
                        assert!(html.contains(reason), "{html}");
                        let authority = "<a href=\"https://court.example/12\" rel=\"noopener noreferrer nofollow\">";
                        assert_eq!(html.contains(authority), status == 451, "{html}");
                        let shown = format!("{reply:?}");
                        assert!(!shown.contains("example.net/a"), "{shown}");
                        // This server blocks the link; the authority only demands it.
                        let by = (status == 451)
                            .then_some("<http://s.example.com:8080/>; rel=\"blocked-by\"");
                        assert_eq!(reply.header("link"), by);
                        assert_eq!(reply.header("x-robots-tag"), Some("noindex"));
                        let head = ask(&server, Method::HEAD, host, path).await;
                        assert_eq!((head.status, head.header("link")), (reply.status, by));
                        let length = html.len().to_string();
                        assert_eq!(head.header("content-length"), Some(&*length));
                    }
                }
            }
        }
        hold(json!(null)).await;
        check(&server, "x.s.example.com", "/", 302).await;
        // The end of a link counts more.
        hold(json!({"kind": "abuse", "reason": "Phishing"})).await;
        let ends = json!({"expires_at": "2023-11-14T22:13:21Z"});
        server.call(Call::patch("/v1/links/x").json(&ends)).await;
        server.clock.set(UnixTime(NOW.0 + 1));
        check(&server, "x.s.example.com", "/", 410).await;
    }
}

#[tokio::test]
async fn no_redirect_into_our_own_zones() {
    let server = Server::new();
    for (code, target) in [
        ("a", "http://b.s.example.com/"),
        ("b", "https://A.s.example.com.:8080/x"),
        ("c", "http://t.example.net/"),
        ("d", "http://www.s.example.com/"),
    ] {
        let origin = Origin::parse("s.example.com").unwrap();
        server.store.put(Link {
            name: LinkName::new(&Code::parse(code).unwrap(), &origin),
            target: TargetUrl::parse(target).unwrap(),
            created_at: NOW,
            created_by: "another program".into(),
            expires_at: None,
            ttl: Ttl::from_secs(5),
            about: crate::link::About::default(),
            destinations: None,
            withheld: None,
            version: Version(1),
        });
        check(&server, &format!("{code}.s.example.com"), "/", 508).await;
        check(&server, &format!("{code}.s.example.com"), "/+", 200).await;
    }
}

#[tokio::test]
async fn a_failure_of_the_store_is_no_404() {
    let server = with_link().await;
    let check = async |failure: fn() -> StoreError, status: u16| {
        server.store.fail(Some(failure));
        for (host, path) in [("x", "/"), ("x", "/+"), ("y", "/")] {
            let host = format!("{host}.s.example.com");
            let reply = check(&server, &host, path, status).await;
            let retry = (status == 503).then_some("1");
            assert_eq!(reply.header("retry-after"), retry);
            assert!(!reply.text().contains("secret"));
        }
    };
    check(|| StoreError::Unavailable("secret".into()), 503).await;
    check(|| StoreError::Overloaded, 503).await;
    check(|| StoreError::DeadlineExceeded, 503).await;
    let corrupt = || StoreError::Corrupt {
        name: "secret".into(),
        reason: "secret".into(),
    };
    check(corrupt, 500).await;
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn failed_look_ups_are_one_line_a_second_in_the_log() {
    let server = with_link().await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    server
        .store
        .fail(Some(|| StoreError::Unavailable("down".into())));
    let lines = |text: &str| {
        let log = log.0.lock().unwrap();
        String::from_utf8_lossy(&log).matches(text).count()
    };
    for second in 1..=10 {
        server.clock.set(UnixTime(NOW.0 + second));
        let before = lines("links cannot be resolved");
        for _ in 0..5 {
            check(&server, "x.s.example.com", "/", 503).await;
        }
        assert_eq!(lines("the link store failed"), 0, "the same once more");
        if lines("links cannot be resolved") == before + 1 {
            return;
        }
        // Another test may have registered the place that logs while no subscriber was listening.
        tracing::callsite::rebuild_interest_cache();
    }
    panic!("{:?}", lines("links cannot be resolved"));
}

#[tokio::test]
async fn methods() {
    let server = with_link().await;
    for host in ["x.s.example.com", "s.example.com", "example.org"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            let reply = ask(&server, method.parse().unwrap(), host, "/").await;
            assert_eq!(reply.status, 405);
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
    }
    for (host, path) in [
        ("x.s.example.com", "/"),
        ("x.s.example.com", "/+"),
        ("y.s.example.com", "/"),
        ("s.example.com", "/"),
    ] {
        let get = ask(&server, Method::GET, host, path).await;
        let head = ask(&server, Method::HEAD, host, path).await;
        assert_eq!(head.status, get.status);
        assert_eq!(head.header("location"), get.header("location"));
        assert_eq!(head.header("cache-control"), get.header("cache-control"));
        assert_eq!(
            head.header("content-length"),
            Some(&*get.body.len().to_string())
        );
    }
}

#[tokio::test]
async fn nothing_that_was_sent_stands_in_a_page_but_the_host_of_a_421() {
    let server = Server::new();
    let marked = "<img src=x onerror=alert(1)>";
    for (host, path) in [
        ("x.s.example.com", "/%3Cimg%20src=x%3E?\"<img>"),
        ("x-img-marked.example.org", "/img"),
        (marked, "/"),
        ("\"><img>.s.example.com", "/"),
    ] {
        let reply = ask(&server, Method::GET, host, path.split('?').next().unwrap()).await;
        // A 421 names the host, which has no other characters than host names.
        let host = "<strong class=\"breaks\">x-img-marked.example.org</strong>";
        let rest = reply.text().replace(host, "");
        let rest = rest.split_once("</style>").unwrap().1;
        assert!(!rest.contains("img"), "{rest}");
    }
}

#[tokio::test]
async fn malformed_hosts() {
    let server = with_link().await;
    for host in [
        "",
        ":80",
        "x.s.example.com, y",
        "x.s.example.com:x",
        "u@x.s.example.com",
        "[x]",
    ] {
        check(&server, host, "/", 400).await;
    }
    let request = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(
        Reply::of_redirect(&server.redirect, request).await.status,
        400
    );
    let two = Request::get("/")
        .header("host", "x.s.example.com")
        .header("host", "x.s.example.com")
        .body(Body::empty())
        .unwrap();
    assert_eq!(Reply::of_redirect(&server.redirect, two).await.status, 400);
    let status = 400;
    let counted = server
        .metrics
        .redirect_requests
        .get_or_create(&HttpStatus { status });
    assert_eq!(counted.get(), 8);
}

/// RFC 9111 §5.2.2.1: a cache does not hold a redirect for longer than resolvers hold the link.
#[tokio::test]
async fn the_ttl_of_the_zone_bounds_what_caches_hold() {
    let server = Server::new();
    let short = json!({"url": TARGET, "code": "x"});
    let call = Call::post("/v1/links?zone=t.example.net").json(&short);
    assert_eq!(server.call(call).await.status, 201);
    let own = json!({"url": TARGET, "code": "y", "ttl": 40});
    let call = Call::post("/v1/links?zone=t.example.net").json(&own);
    assert_eq!(server.call(call).await.status, 201);
    for (host, age) in [("x.t.example.net", 20), ("y.t.example.net", 40)] {
        let reply = check(&server, host, "/", 302).await;
        let expected = format!("public, max-age={age}");
        assert_eq!(reply.header("cache-control"), Some(&*expected), "{host}");
    }
}

/// The proxy that loses `Host` is told which one came, which are served, and how to pass it on; and it is counted.
#[tokio::test]
async fn rfc_9110_15_5_20_a_421_explains() {
    let server = Server::new();
    let reply = check(&server, "backend-1.internal:8080", "/", 421).await;
    for part in [
        "<strong class=\"breaks\">backend-1.internal</strong>",
        "<strong>s.example.com</strong>, <strong>t.example.net</strong>",
        "proxy_set_header Host $host;",
        "ProxyPreserveHost On",
    ] {
        assert!(reply.text().contains(part), "{part}: {}", reply.text());
    }
    let misdirected = HttpStatus { status: 421 };
    let requests = &server.metrics.redirect_requests;
    assert_eq!(requests.get_or_create(&misdirected).get(), 1);
}
