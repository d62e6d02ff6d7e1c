use std::io::{Read, Write};
use std::net::TcpStream;

use super::visitor::{Visitor, encoded, log_in, origin, send};
use crate::harness::{PATIENCE, Server, TOKEN, http};

const URL: (&str, &str) = ("url", "https://example.net/evil");

fn links(server: &Server) -> usize {
    let list = server.api("GET", "/v1/links", None).json();
    list["links"].as_array().unwrap().len()
}

#[test]
fn other_sites_cannot_use_a_session() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let own = origin(&server);
    // Even one that knows the form's token.
    let fields = [("form_token", visitor.form_token()), URL];
    let attacks: &[&[(&str, &str)]] = &[
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1")],
        &[("origin", "http://localhost:1")],
        &[("origin", &own), ("sec-fetch-site", "cross-site")],
        &[("origin", &own), ("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
    ];
    for attack in attacks {
        let mut headers = vec![("cookie", visitor.cookie())];
        headers.extend_from_slice(attack);
        let reply = send(&server, "/links", &headers, &fields);
        assert_eq!(reply.status, 403, "{attack:?}");
        // To be logged in as somebody else is an attack as well.
        let reply = send(&server, "/login", attack, &[("token", TOKEN)]);
        assert_eq!(reply.status, 403, "{attack:?}");
        assert!(reply.header("set-cookie").is_none());
    }
    assert_eq!(links(&server), 0);
    let headers = [("cookie", visitor.cookie()), ("origin", &*own)];
    assert_eq!(send(&server, "/links", &headers, &fields).status, 303);
    assert_eq!(links(&server), 1);
}

#[test]
fn a_form_needs_the_token_of_its_session() {
    let server = Server::start();
    let (visitor, other) = (Visitor::root(&server), Visitor::root(&server));
    let own = origin(&server);
    let headers = [("cookie", visitor.cookie()), ("origin", &*own)];
    assert_ne!(visitor.form_token(), other.form_token());
    for path in [
        "/links",
        "/links/a/edit",
        "/links/a/delete",
        "/links/a/withhold",
        "/tokens",
        "/tokens/a/revoke",
        "/sessions/end",
        "/logout",
    ] {
        for token in ["", "x", other.form_token(), &visitor.form_token()[1..]] {
            let reply = send(&server, path, &headers, &[("form_token", token), URL]);
            assert_eq!(reply.status, 403, "{path} {token}");
        }
    }
    let body = "--b\r\nContent-Disposition: form-data; name=\"lines\"\r\n\r\nhttps://example.net/\r\n--b--\r\n";
    let body = Some(("multipart/form-data; boundary=b", body.as_bytes().to_vec()));
    let reply = http("POST", &format!("{own}/bulk"), &headers, body);
    assert_eq!(reply.status, 403);
    // The types that forms of other sites can have, too.
    for kind in ["text/plain", "application/json"] {
        let body = Some((kind, encoded(&[("form_token", visitor.form_token()), URL])));
        let reply = http("POST", &format!("{own}/links"), &headers, body);
        assert_eq!(reply.status, 415, "{kind}");
    }
    assert_eq!(links(&server), 0);
}

/// Sends a request as it is, and returns the response.
fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn names_of_other_sites_do_not_lead_here() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let port = server.admin.port();
    let ask = |host: &str, path: &str| {
        let cookie = visitor.cookie();
        raw(
            &server,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            ),
        )
    };
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "s.example.com",
    ] {
        for path in ["/", "/login", "/links", "/assets/script.js", "/nothing"] {
            let path_is_pages = path != "/nothing";
            let reply = ask(&format!("{host}:{port}"), path);
            if path_is_pages {
                assert!(reply.starts_with("HTTP/1.1 421 "), "{host} {path}: {reply}");
                assert!(
                    reply.contains(host) && reply.contains("hosts = ["),
                    "{reply}"
                );
            }
            assert!(!reply.contains("form_token"), "{reply}");
        }
        // Also with the site's own origin, which a browser would send.
        let body =
            String::from_utf8(encoded(&[("form_token", visitor.form_token()), URL])).unwrap();
        let reply = raw(
            &server,
            &format!(
                "POST /links HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                visitor.cookie(),
                body.len()
            ),
        );
        assert!(reply.starts_with("HTTP/1.1 421 "), "{host}: {reply}");
    }
    assert_eq!(links(&server), 0);
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "page.localhost",
        "192.0.2.1",
    ] {
        let reply = ask(&format!("{host}:{port}"), "/");
        assert!(reply.starts_with("HTTP/1.1 200 "), "{host}: {reply}");
    }
    let none = raw(&server, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(none.starts_with("HTTP/1.1 400 "), "{none}");
}

#[test]
fn pages_are_not_framed_cached_or_scripted() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    for path in [
        "/",
        "/links",
        "/bulk",
        "/tokens",
        "/audit",
        "/health",
        "/pools",
        "/nothing-of-links",
        "/links/none",
    ] {
        let reply = visitor.get(path);
        let policy = match reply.header("content-security-policy") {
            Some(policy) => policy,
            // Not of the page.
            None => continue,
        };
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(
            reply.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        for inline in [
            "<style",
            "style=",
            "<script>",
            " onclick",
            " onload",
            "javascript:",
        ] {
            assert!(!reply.body.contains(inline), "{path} has {inline}");
        }
    }
}

#[test]
fn texts_of_links_are_no_markup() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let evil = "\"><script>alert(1)</script><b x='";
    let made = visitor.post(
        "/links",
        &[
            URL,
            ("code", "evil"),
            ("title", evil),
            // A tag has at most 32 characters.
            ("tags", "\"><script>1</script><b x='"),
            ("note", evil),
        ],
    );
    assert_eq!(made.status, 303, "{made:?}");
    for path in [
        "/",
        "/links",
        "/links?q=%22%3E%3Cscript%3E",
        "/links/evil?zone=s.example.com&made=%3Cscript%3E",
        "/links/evil/edit",
        "/links/evil/delete",
        "/links/evil/withhold",
        "/audit",
    ] {
        let page = visitor.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(
            !page.body.contains("<script>") && !page.body.contains("<b x"),
            "{path}: {}",
            page.body
        );
    }
    let login = http(
        "GET",
        &format!("{}/login?next=/%22%3E%3Cscript%3E", origin(&server)),
        &[],
        None,
    );
    assert!(!login.body.contains("\"><script>"), "{login:?}");
}

#[test]
fn the_login_leads_to_no_other_site() {
    let server = Server::start();
    let own = origin(&server);
    for next in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
    ] {
        let reply = send(
            &server,
            "/login",
            &[("origin", &own)],
            &[("token", TOKEN), ("next", next)],
        );
        assert_eq!(reply.status, 303, "{next}");
        assert_eq!(reply.header("location"), Some("/"), "{next}");
    }
}

#[test]
fn guesses_at_the_login_count_as_those_of_the_api() {
    let server = Server::start();
    for n in 0..20 {
        assert_eq!(
            log_in(&server, &format!("guess number {n} of many")).status,
            403
        );
    }
    let reply = log_in(&server, TOKEN);
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    assert!(reply.header("set-cookie").is_none());
    assert_eq!(server.api("GET", "/v1/links", None).status, 429);
    assert!(
        server.metric(
            "tinyns_admin_auth_failures_total",
            &[("reason", "TooManyGuesses")]
        ) >= 1.0
    );
    let log = server.log().text();
    assert!(!log.contains("guess number"), "{log}");
}

#[test]
fn a_form_is_bounded() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let long = "x".repeat(100_000);
    assert_eq!(visitor.post("/links", &[("url", &long)]).status, 413);
    let own = origin(&server);
    let reply = send(&server, "/login", &[("origin", &own)], &[("token", &long)]);
    assert_eq!(reply.status, 413);
}
