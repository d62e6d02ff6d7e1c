//! Which requests are clicks: redirects of links that exist, and nothing else.

use super::*;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

async fn ask_with(
    server: &Server,
    method: &str,
    (host, path): (&str, &str),
    headers: &[(&str, &str)],
) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    Reply::of_redirect(&server.redirect, request).await;
}

/// Links in memory, and links that each request waits for.
#[tokio::test]
async fn redirects_are_counted_and_nothing_else() {
    for server in [
        Server::new(),
        Server::with_memory(Duration::from_secs(3_600)),
    ] {
        for link in [
            json!({"url": "https://example.net/a", "code": "x"}),
            json!({"url": "https://example.net/a", "code": "ends", "expires_at": NOW.after(60).rfc3339()}),
            json!({"url": "https://example.net/held", "code": "held",
                   "withheld": {"kind": "abuse", "reason": "Phishing"}}),
        ] {
            server.link(link).await;
        }
        let person = ("user-agent", FIREFOX);
        for (host, path) in [
            ("x.s.example.com", "/+"),
            ("x.s.example.com", "/a"),
            ("x.s.example.com", "/.well-known/x"),
            ("held.s.example.com", "/"),
            ("absent.s.example.com", "/"),
            ("s.example.com", "/"),
            ("www.s.example.com", "/"),
            ("example.com", "/"),
            ("x.s.example.com:x", "/"),
        ] {
            ask_with(&server, "GET", (host, path), &[person]).await;
            ask_with(&server, "HEAD", (host, path), &[person]).await;
        }
        ask_with(&server, "POST", ("x.s.example.com", "/"), &[person]).await;
        let x = ("X.s.example.com.", "/?a=b");
        for _ in 0..3 {
            ask_with(&server, "GET", x, &[person]).await;
        }
        ask_with(
            &server,
            "GET",
            x,
            &[person, ("referer", "http://s.example.com/")],
        )
        .await;
        ask_with(
            &server,
            "HEAD",
            x,
            &[person, ("referer", "http://a.example/")],
        )
        .await;
        ask_with(
            &server,
            "GET",
            x,
            &[person, ("sec-purpose", "prefetch;prerender")],
        )
        .await;
        ask_with(
            &server,
            "GET",
            x,
            &[person, ("purpose", "x"), ("purpose", "prefetch")],
        )
        .await;
        ask_with(&server, "GET", x, &[("user-agent", "curl/8.14.1")]).await;
        ask_with(&server, "GET", x, &[]).await;
        ask_with(
            &server,
            "GET",
            ("ends.s.example.com", "/"),
            &[("user-agent", "WhatsApp/2")],
        )
        .await;
        server.clock.set(UnixTime(NOW.0 + 60));
        ask_with(
            &server,
            "GET",
            ("ends.s.example.com", "/"),
            &[("user-agent", "WhatsApp/2")],
        )
        .await;
        let found: Vec<_> = server.counted.sums().await.into_iter().collect();
        let found: Vec<_> = found
            .iter()
            .map(|((name, it), n)| (name.as_str(), it.as_str(), *n))
            .collect();
        let expected = [
            ("ends.s.example.com", "click:preview", 1),
            ("x.s.example.com", "click:bot", 2),
            ("x.s.example.com", "click:head", 1),
            ("x.s.example.com", "click:person", 4),
            ("x.s.example.com", "click:prefetch", 2),
            ("x.s.example.com", "referrer:s.example.com", 1),
        ];
        assert_eq!(found, expected);
    }
}
