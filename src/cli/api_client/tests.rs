//! The client against servers that answer once.

use std::net::TcpListener;
use std::time::Instant;

use ::url::Url;

use super::api::{HEALTH_TIMEOUT, MAX_ANSWER_LEN};
use super::testing::{LINK, http, one_answer};
use super::*;
use crate::link::{Code, Origin};

fn get(response: String) -> Result<Answer, String> {
    let (server, thread) = one_answer(response);
    let shown = server.to_string();
    let code = Code::parse("sale").unwrap();
    let answer = Api::new(server).get("secret", None, &code);
    thread.join().unwrap();
    answer.map_err(|e| format!("{:#}", anyhow::Error::new(e)).replace(&shown, "URL"))
}

#[test]
fn a_request_to_create() {
    let (server, thread) = one_answer(http("201 Created", LINK));
    let new = NewLink {
        url: Some("https://example.net/"),
        code: Some("sale"),
        expires_at: None,
        ttl: Some(60),
        ..NewLink::default()
    };
    let zone = Origin::parse("s.example.com").unwrap();
    let answer = Api::new(server)
        .create("secret", Some(&zone), &new, Wait::No)
        .unwrap();
    assert!(answer.created);
    assert_eq!(answer.link.name, "sale.s.example.com");
    assert_eq!(answer.json, LINK);

    let request = thread.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("post /base/v1/links?zone=s.example.com http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nauthorization: bearer secret"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    assert_eq!(
        body,
        r#"{"url":"https://example.net/","code":"sale","ttl":60}"#
    );
}

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

#[test]
fn zones() {
    let ask = |body: &str| {
        let (server, thread) = one_answer(http("200 OK", body));
        let zones = Api::new(server).zones("secret").map_err(|e| e.to_string());
        let request = thread.join().unwrap();
        assert!(
            request.starts_with("GET /base/v1/zones HTTP/1.1\r\n"),
            "{request}"
        );
        zones
    };
    let two = r#"{"zones":[{"origin":"s.example.com"},{"origin":"t.example.net","x":1}]}"#;
    let expected = vec![origin("s.example.com"), origin("t.example.net")];
    assert_eq!(ask(two), Ok(expected));
    for bad in ["{}", r#"{"zones":[]}"#, r#"{"zones":[{"origin":"a..b"}]}"#] {
        let error = ask(bad).unwrap_err();
        assert!(error.contains("is not an admin API of tinyns"), "{error}");
    }
}

#[test]
fn a_page_of_links() {
    let page = format!("{{\"links\":[{LINK}],\"next_cursor\":\"61\"}}");
    let (server, thread) = one_answer(http("200 OK", &page));
    let zone = origin("s.example.com");
    let page = Api::new(server)
        .list("secret", &zone, &[("q", "a b")], Some("6&0"), 1_000)
        .unwrap();
    assert_eq!(page.links, [serde_json::from_str::<Link>(LINK).unwrap()]);
    assert_eq!(page.next_cursor.as_deref(), Some("61"));
    let request = thread.join().unwrap();
    let line = "GET /base/v1/links?zone=s.example.com&limit=1000&q=a+b&cursor=6%260 HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
}

/// Sends two lines; returns the statuses of the results, the failure, and the request.
fn batch(response: String) -> (Vec<u16>, Option<ApiError>, String) {
    let (server, thread) = one_answer(response);
    let api = Api::new(server);
    let batch = api.batch("secret", Some(&origin("s.example.com")), "{}\n{}\n", 2);
    let statuses = batch.results.iter().map(|result| result.status);
    (statuses.collect(), batch.failure, thread.join().unwrap())
}

#[test]
fn a_batch_and_its_results() {
    let taken = r#"{"type":"urn:tinyns:problem:code-taken","detail":"x\ny"}"#;
    let body = format!(
        "{{\"line\":1,\"status\":201,\"link\":{LINK}}}\n\
         {{\"line\":2,\"status\":409,\"problem\":{taken}}}\n"
    );
    let (server, thread) = one_answer(http("200 OK", &body));
    let api = Api::new(server);
    let batch = api.batch("secret", Some(&origin("s.example.com")), "{}\n{}\n", 2);
    assert!(batch.failure.is_none(), "{:?}", batch.failure);
    let [made, refused] = &batch.results[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(made.link.as_ref().unwrap().version, Some(1));
    let problem = refused.problem.as_ref().unwrap();
    assert_eq!(problem.kind(), "code-taken");
    assert_eq!(problem.reason().as_deref(), Some("x\\ny"));

    let request = thread.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line = "POST /base/v1/links:batch?zone=s.example.com HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("\r\ncontent-type: application/x-ndjson"),
        "{head}"
    );
    assert!(head.contains("\r\nauthorization: bearer secret"), "{head}");
    assert_eq!(body, "{}\n{}\n");
}

#[test]
fn a_batch_that_ends_early_keeps_its_results() {
    let line = |number: u32| format!("{{\"line\":{number},\"status\":503}}\n");
    // The body is shorter than its length, as when a server is killed.
    let cut = |body: &str| http("200 OK", &line(1).repeat(2)).replace(&line(1).repeat(2), body);
    for body in [line(1), line(1) + "{\"line\":2,", String::new()] {
        let (statuses, failure, _) = batch(cut(&body));
        assert_eq!(
            statuses.len(),
            body.lines().filter(|l| l.ends_with('}')).count()
        );
        assert!(failure.unwrap().may_pass(), "{body:?}");
    }
    // The body is complete, but a line has no result.
    let (statuses, failure, _) = batch(http("200 OK", &line(1)));
    assert_eq!(statuses, [503]);
    assert!(failure.unwrap().may_pass());
}

#[test]
fn a_batch_that_another_server_answers() {
    let line = |number: u32| format!("{{\"line\":{number},\"status\":201}}\n");
    let foreign = [
        line(2),
        line(1) + &line(1),
        line(1) + &line(2) + &line(3),
        "<html>\n".into(),
        "x".repeat(MAX_ANSWER_LEN as usize + 1),
    ];
    for body in foreign {
        let (_, failure, _) = batch(http("200 OK", &body));
        let failure = failure.unwrap();
        assert!(matches!(failure, ApiError::Foreign { .. }), "{failure:?}");
        assert!(!failure.may_pass());
    }
    for (status, passes) in [
        ("401 Unauthorized", false),
        ("404 Not Found", false),
        ("429 Too Many Requests", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
    ] {
        for body in ["<html>", r#"{"detail":"no"}"#] {
            let (statuses, failure, _) = batch(http(status, body));
            assert!(statuses.is_empty());
            assert_eq!(failure.unwrap().may_pass(), passes, "{status} {body}");
        }
    }
}

#[test]
fn a_link_that_exists() {
    let answer = get(http("200 OK", LINK)).unwrap();
    assert!(!answer.created);
    assert_eq!(answer.link.url, "https://example.net/");
    assert_eq!(answer.link.expires_at, None);
}

/// Checks the whole message, with `URL` for the URL of the server.
fn check(response: String, expected: &str) {
    assert_eq!(get(response.clone()).unwrap_err(), expected, "{response}");
}

#[test]
fn refusals_are_one_line() {
    check(
        http(
            "409 Conflict",
            r#"{"title":"Taken","detail":"the code \"sale\" is taken"}"#,
        ),
        "refused (409 Conflict): the code \"sale\" is taken",
    );
    check(
        http("401 Unauthorized", r#"{"title":"Unauthorized"}"#),
        "refused (401 Unauthorized): Unauthorized",
    );
    check(
        http(
            "422 Unprocessable Entity",
            r#"{"detail":"a\n\u001b[2Jb\u009b"}"#,
        ),
        "refused (422 Unprocessable Entity): a\\n\\u{1b}[2Jb\\u{9b}",
    );
}

#[test]
fn answers_of_other_servers_are_recognised() {
    let foreign = |status: &str| {
        format!("URL answers {status}, but is not an admin API of tinyns; check the URL")
    };
    check(http("200 OK", "<html>"), &foreign("200 OK"));
    check(http("404 Not Found", "<html>"), &foreign("404 Not Found"));
    check(
        http("200 OK", &LINK.replace("sale.s.example.com", "a;rm -rf .x")),
        &foreign("200 OK"),
    );
    check(
        http("302 Found\r\nlocation: http://192.0.2.1/", ""),
        &foreign("302 Found"),
    );
    let long = "x".repeat(MAX_ANSWER_LEN as usize + 1);
    check(http("200 OK", &long), &foreign("200 OK"));
}

#[test]
fn a_server_that_does_not_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = Api::new(parse_server(&url).unwrap())
        .readiness()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot reach the admin API at {url}: is `tinyns serve` running?")
    );
}

#[test]
fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let begin = Instant::now();
    let error = Api::new(parse_server(&url).unwrap())
        .readiness()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the admin API at {url} did not answer in time")
    );
    assert!(
        begin.elapsed() < HEALTH_TIMEOUT * 3,
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_connection_that_is_closed_early() {
    let message = get(String::new()).unwrap_err();
    assert!(
        message.starts_with("cannot reach the admin API at URL: "),
        "{message}"
    );
}

#[test]
fn readiness() {
    let ask = |response: String| {
        let (server, thread) = one_answer(response);
        let said = Api::new(server).readiness().map_err(|e| e.to_string());
        let request = thread.join().unwrap();
        assert!(
            request.starts_with("GET /base/readyz HTTP/1.1\r\n"),
            "{request}"
        );
        said
    };
    let body = r#"{"status":"ready","serves":true,"takes_changes":true}"#;
    let said = ask(http("200 OK", body)).unwrap();
    assert_eq!(said.to_string(), "ready");
    assert!(said.is_well(false) && said.is_well(true));

    let body = r#"{"status":"degraded","serves":true,"takes_changes":false,"reasons":["the disk is full"]}"#;
    let said = ask(http("200 OK", body)).unwrap();
    assert_eq!(
        said.to_string(),
        "degraded: the disk is full (queries are answered; changes of links are refused)"
    );
    assert!(said.is_well(false) && !said.is_well(true));

    let body = r#"{"status":"not ready","serves":false,"takes_changes":false,"reasons":["shutting down","the store is away"]}"#;
    let said = ask(http("503 Service Unavailable", body)).unwrap();
    assert_eq!(
        said.to_string(),
        "not ready: shutting down; the store is away"
    );
    assert!(!said.is_well(false) && !said.is_well(true));

    // The overload guard answers with a problem document, as for every path.
    let error = ask(http(
        "503 Service Unavailable",
        r#"{"detail":"the store is slow"}"#,
    ));
    assert_eq!(
        error.unwrap_err(),
        "refused (503 Service Unavailable): the store is slow"
    );
    // A healthy server of another kind is refused.
    let lies = r#"{"status":"not ready","serves":false,"takes_changes":false}"#;
    for body in ["ok", "{}", r#"{"status":"ready"}"#, lies] {
        let error = ask(http("200 OK", body)).unwrap_err();
        assert!(error.contains("is not an admin API of tinyns"), "{error}");
    }
}

#[test]
fn server_urls() {
    let ok = |text: &str| parse_server(text).unwrap().to_string();
    assert_eq!(ok("http://127.0.0.1:8053"), "http://127.0.0.1:8053/");
    assert_eq!(ok("https://a.example/dns?x#y"), "https://a.example/dns/");
    let err = |text: &str| parse_server(text).unwrap_err().to_string();
    for text in ["127.0.0.1:8053", "[::1]:8053", "node-a:8053", "localhost"] {
        let expected = format!("the URL has no scheme; write http://{text} or https://{text}");
        assert_eq!(err(text), expected);
    }
    assert_eq!(err("http://a b/"), "invalid international domain name");
    assert_eq!(err("file:///x"), "the scheme must be http or https");
    assert_eq!(
        err("http://u:p@a/"),
        "the URL has a user name or password; the token goes into TINYNS_ADMIN_TOKEN or --token-file"
    );
}

#[test]
fn loopback() {
    let check = |url: &str| is_loopback(&Url::parse(url).unwrap());
    assert!(check("http://127.1.2.3/"));
    assert!(check("http://[::1]/"));
    assert!(check("http://localhost/"));
    assert!(!check("http://192.0.2.1/"));
    assert!(!check("http://localhost.example/"));
}
