//! The programs that people use: dig, kdig, drill, nslookup and curl against the server itself.

use serde_json::{Value, json};

use crate::harness::{Server, Setup, TOKEN, output, run};

const TARGET: &str = "https://example.net/some/page?x=1";

fn server() -> (Server, String, String) {
    let server = Server::start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    (server, ip, port)
}

#[test]
fn dig() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let dig = |args: &[&str]| run("dig", &[&[at.as_str(), "-p", &port], args].concat());
    let short = dig(&["+short", "TXT", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n\"{TARGET}\"\n"));
    let short = dig(&["+short", "URI", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n10 1 \"{TARGET}\"\n"));
    let short = dig(&["+short", "A", "abc.s.example.com"]);
    assert_eq!(short, "abc.r.s.example.com.\n192.0.2.10\n");
    let whole = dig(&["TXT", "abc.s.example.com"]);
    assert!(whole.contains("flags: qr aa rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1"));
    assert!(!whole.contains("WARNING: Message"), "{whole}");
    let whole = dig(&["+tcp", "+dnssec", "A", "nosuch.s.example.com"]);
    assert!(whole.contains("status: NXDOMAIN"), "{whole}");
    assert!(whole.contains("s.example.com.\t\t60\tIN\tSOA"), "{whole}");
    for flags in [
        "+noedns",
        "+ignore",
        "+bufsize=512",
        "+nocookie",
        "+keepalive",
        "+nsid",
        "+cdflag",
    ] {
        let whole = dig(&[flags, "TXT", "abc.s.example.com"]);
        assert!(
            whole.contains(TARGET) && whole.contains("NOERROR"),
            "{flags}: {whole}"
        );
    }
    let badvers = dig(&["+edns=7", "+noednsneg", "TXT", "abc.s.example.com"]);
    assert!(badvers.contains("status: BADVERS"), "{badvers}");
    let refused = dig(&["A", "www.example.org"]);
    assert!(refused.contains("status: REFUSED"), "{refused}");
    assert!(refused.contains("EDE: 20 (Not Authoritative)"), "{refused}");
}

#[test]
fn dig_follows_tc_to_tcp() {
    let (server, ip, port) = server();
    let url = format!("https://example.net/{}", "z".repeat(2_028));
    server.add_with(&json!({"url": url, "code": "long"}));
    let at = format!("@{ip}");
    let text = run("dig", &[&at, "-p", &port, "TXT", "long.s.example.com"]);
    assert!(
        text.contains(";; Truncated, retrying in TCP mode."),
        "{text}"
    );
    let strings: String = text.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings, url);
}

#[test]
fn kdig() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let kdig = |args: &[&str]| run("kdig", &[&[at.as_str(), "-p", &port], args].concat());
    let short = kdig(&["+short", "TXT", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n\"{TARGET}\"\n"));
    let short = kdig(&["+short", "+tcp", "URI", "abc.s.example.com"]);
    assert_eq!(
        short.trim_end(),
        format!("abc.r.s.example.com.\n10 1 \"{TARGET}\"")
    );
    let whole = kdig(&["+edns", "+dnssec", "AAAA", "abc.s.example.com"]);
    assert!(
        whole.contains("2001:db8::10") && !whole.contains("WARNING"),
        "{whole}"
    );
}

#[test]
fn drill() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let drill = |args: &[&str]| run("drill", &[&["-p", &port, at.as_str()], args].concat());
    let text = drill(&["abc.s.example.com", "TXT"]);
    assert!(
        text.contains(&format!("abc.r.s.example.com.\t300\tIN\tTXT\t\"{TARGET}\"")),
        "{text}"
    );
    let text = drill(&["nosuch.s.example.com", "A"]);
    assert!(text.contains("rcode: NXDOMAIN"), "{text}");
}

#[test]
fn nslookup() {
    let (_server, ip, port) = server();
    let port = format!("-port={port}");
    let text = run("nslookup", &["-type=TXT", &port, "abc.s.example.com", &ip]);
    assert!(
        text.contains("abc.s.example.com\tcanonical name = abc.r.s.example.com."),
        "{text}"
    );
    assert!(
        text.contains(&format!("abc.r.s.example.com\ttext = \"{TARGET}\"")),
        "{text}"
    );
    let text = run("nslookup", &[&port, "abc.s.example.com", &ip]);
    assert!(
        text.contains("Name:\tabc.r.s.example.com\nAddress: 192.0.2.10"),
        "{text}"
    );
    let failed = output("nslookup", &[&port, "nosuch.s.example.com", &ip]);
    let text = String::from_utf8_lossy(&failed.stdout);
    assert!(text.contains("NXDOMAIN"), "{text}");
}

#[test]
fn curl_through_the_redirect_host() {
    let (server, _, _) = server();
    let port = server.redirect.port();
    let resolve = format!("*:{port}:{}", server.redirect.ip());
    let curl = |args: &[&str]| {
        run(
            "curl",
            &[&["-sS", "--max-time", "10", "--resolve", &resolve], args].concat(),
        )
    };
    let url = |host: &str, path: &str| format!("http://{host}:{port}{path}");
    let format = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    let go = |host: &str, path: &str| curl(&[&format[..], &[&url(host, path)]].concat());
    assert_eq!(go("abc.s.example.com", "/"), format!("302 {TARGET}"));
    assert_eq!(go("ABC.S.Example.COM.", "/"), format!("302 {TARGET}"));
    assert_eq!(go("abc.r.s.example.com", "/"), format!("302 {TARGET}"));
    assert_eq!(go("abc.s.example.com", "/+"), "200 ");
    assert_eq!(go("nosuch.s.example.com", "/"), "404 ");
    assert_eq!(go("s.example.com", "/"), "200 ");
    let head = curl(&["-I", &url("abc.s.example.com", "/")]);
    assert!(head.starts_with("HTTP/1.1 302 Found"), "{head}");
    let two = curl(&[
        "--http2-prior-knowledge",
        "-I",
        &url("abc.s.example.com", "/"),
    ]);
    assert!(two.starts_with("HTTP/2 302"), "{two}");
}

/// What curl prints of a call of the API: the head, and the body.
fn curl_api(server: &Server, path: &str, args: &[&str]) -> (String, String) {
    let url = format!("http://{}{path}", server.admin);
    let text = run(
        "curl",
        &[&["-sSi", "--max-time", "30", &url], args].concat(),
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn curl_calls_the_api_as_a_page_of_another_origin() {
    let server = Setup::new()
        .section("[admin.cors]\norigins = [\"https://page.example\"]\n")
        .start();
    let preflight = |origin: &str, path: &str| {
        let origin = format!("Origin: {origin}");
        let method = "Access-Control-Request-Method: PATCH";
        let headers = "Access-Control-Request-Headers: authorization,content-type,if-match";
        let args = ["-X", "OPTIONS", "-H", &origin, "-H", method, "-H", headers];
        curl_api(&server, path, &args)
    };
    let (head, body) = preflight("https://page.example", "/v1/links/a");
    assert!(head.starts_with("http/1.1 204"), "{head}");
    for line in [
        "access-control-allow-origin: https://page.example",
        "access-control-allow-methods: get, post, patch, delete",
        "access-control-max-age: 600",
        "vary: origin",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    let allowed = head
        .lines()
        .find(|line| line.starts_with("access-control-allow-headers"));
    for header in ["authorization", "content-type", "if-match", "prefer"] {
        assert!(allowed.unwrap().contains(header), "{head}");
    }
    assert!(!head.contains("access-control-allow-credentials"), "{head}");
    assert_eq!(body, "");
    // Another origin gets what a client without a token gets, and no header that would let its script read it.
    for origin in ["https://evil.example", "https://page.example:444", "null"] {
        let (head, _) = preflight(origin, "/v1/links/a");
        assert!(head.starts_with("http/1.1 401"), "{origin}: {head}");
        assert!(!head.contains("access-control-allow"), "{origin}: {head}");
    }

    let token = format!("Authorization: Bearer {TOKEN}");
    let (origin, json) = (
        "Origin: https://page.example",
        "Content-Type: application/json",
    );
    let new = "{\"url\": \"https://example.net/\", \"code\": \"a\"}";
    let args = ["-H", origin, "-H", &token, "-H", json, "-d", new];
    let (head, _) = curl_api(&server, "/v1/links", &args);
    assert!(head.starts_with("http/1.1 201"), "{head}");
    assert!(
        head.contains("access-control-allow-origin: https://page.example"),
        "{head}"
    );
    let exposed = head
        .lines()
        .find(|line| line.starts_with("access-control-expose-headers"));
    for header in ["etag", "location", "x-request-id"] {
        assert!(exposed.unwrap().contains(header), "{head}");
    }
    // Scripts can read why they are refused.
    let (head, body) = curl_api(&server, "/v1/links", &["-H", origin]);
    assert!(head.starts_with("http/1.1 401"), "{head}");
    assert!(
        head.contains("access-control-allow-origin: https://page.example"),
        "{head}"
    );
    assert!(body.contains("urn:tinyns:problem:unauthorized"), "{body}");

    // Without the section there is no CORS.
    let plain = Server::start();
    let method = "Access-Control-Request-Method: GET";
    let (head, _) = curl_api(
        &plain,
        "/v1/links",
        &["-X", "OPTIONS", "-H", origin, "-H", method],
    );
    assert!(
        head.starts_with("http/1.1 401") && !head.contains("access-control"),
        "{head}"
    );
}

#[test]
fn curl_pages_through_the_audit_log_with_filters() {
    let server = Server::start();
    let made = server.api(
        "POST",
        "/v1/tokens",
        Some(&json!({"name": "ann", "role": "editor"})),
    );
    let ann = made.json()["token"].as_str().unwrap().to_owned();
    let [ann, root] = [&*ann, TOKEN].map(|token| format!("Authorization: Bearer {token}"));
    let json_type = "Content-Type: application/json";
    for number in 0..7 {
        let token = if number % 2 == 0 { &ann } else { &root };
        let new = format!("{{\"url\": \"https://example.net/{number}\", \"code\": \"c{number}\"}}");
        let args = ["-H", token, "-H", json_type, "-d", &new];
        let (head, _) = curl_api(&server, "/v1/links", &args);
        assert!(head.starts_with("http/1.1 201"), "{head}");
    }
    for (code, token) in [("c0", &root), ("c1", &ann)] {
        let args = ["-H", token, "-X", "DELETE"];
        let (head, _) = curl_api(&server, &format!("/v1/links/{code}"), &args);
        assert!(head.starts_with("http/1.1 204"), "{head}");
    }
    let page = |query: &str| -> Value {
        let (head, body) = curl_api(&server, &format!("/v1/audit?{query}"), &["-H", &root]);
        assert!(head.starts_with("http/1.1 200"), "{query}: {head}{body}");
        serde_json::from_str(&body).unwrap()
    };
    // By pages of two, also while new entries come: each entry once, the newest first.
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(&format!("limit=2{cursor}"));
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 2, "{page}");
        found.extend(entries.iter().map(describe));
        server.add(&format!("https://example.net/later/{}", found.len()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut expected = vec!["token.added ann admin".to_owned()];
    expected.extend((0..7).map(|n| {
        let by = if n % 2 == 0 { "ann" } else { "admin" };
        format!("link.created c{n} {by}")
    }));
    expected.extend(["link.deleted c0 admin", "link.deleted c1 ann"].map(String::from));
    expected.reverse();
    assert_eq!(found, expected);

    let check = |query: &str, expected: &[&str]| {
        let found = page(query);
        let entries = found["entries"].as_array().unwrap().iter().map(describe);
        assert_eq!(entries.collect::<Vec<_>>(), expected, "{query}");
    };
    check("code=C0", &["link.deleted c0 admin", "link.created c0 ann"]);
    check("actor=ann&action=link.deleted", &["link.deleted c1 ann"]);
    check("action=token.added&zone=s.example.com", &[]);
    check("actor=ANN", &[]);
    let deleted = page("action=link.deleted&limit=1")["entries"][0]["at"].clone();
    let deleted = deleted.as_str().unwrap();
    check(
        &format!("code=c1&until={deleted}"),
        &["link.created c1 admin"],
    );
    check(
        &format!("code=c1&since={deleted}"),
        &["link.deleted c1 ann"],
    );
    for bad in [
        "action=link",
        "limit=0",
        "limit=1001",
        "cursor=x",
        "since=today",
        "who=ann",
        "actor=a&actor=b",
    ] {
        let (head, body) = curl_api(&server, &format!("/v1/audit?{bad}"), &["-H", &root]);
        assert!(head.starts_with("http/1.1 400"), "{bad}: {head}");
        assert!(
            body.contains("urn:tinyns:problem:invalid-query"),
            "{bad}: {body}"
        );
    }
    let (head, _) = curl_api(&server, "/v1/audit", &["-H", &ann]);
    assert!(head.starts_with("http/1.1 403"), "{head}");
}

/// What was done to what by whom.
fn describe(entry: &Value) -> String {
    let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    let object = text("code") + &text("token");
    format!("{} {object} {}", text("action"), text("actor"))
}
