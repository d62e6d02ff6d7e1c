//! A body for the admin API: the first byte of the input chooses the call, the rest is the body.
//!
//! * The status is one that the OpenAPI document has for the call, and never one of 500 and above; the body
//!   and the headers are as the document says they are, and an error is a problem document (RFC 9457) with
//!   the status of the response.
//! * What is accepted is what the document says is accepted, and no more. What was created or changed has
//!   the URL, the code, the end and the TTL that the body asked for, and GET returns the same link.
//! * What is refused has changed nothing.
//! * A patch (RFC 7396) whose `If-Match` (RFC 9110 §13.1.1) is not met is refused; otherwise it makes a
//!   new version, and leaves alone what it does not name.
//! * A line of a batch becomes what it becomes as the body of a call of its own, in order, however the
//!   batch is cut into pieces on its way; and each line that is not blank has its result.
//!
//! Of the first byte the two lowest bits choose the call, the next the zone; the upper ones choose the
//! `If-Match` of a patch and the pieces of a batch.

mod contract;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, IF_MATCH, LOCATION};
use axum::http::{HeaderMap, Request};
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::Value;
use tinyns::access::{AdminToken, Gate, Tokens};
use tinyns::base::metrics::Metrics;
use tinyns::certificates::{Overview, Source};
use tinyns::http::{ApiRules, Overviews, Scheme, ShortUrls, admin_api};
use tinyns::link::{Code, TargetUrl};
use tinyns::zone::{Layout, ZoneSet};
use tower::ServiceExt;

use self::contract::Contract;
use super::world::{Files, FirstLink, NameServer, origin, zone_config};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ORIGINS: [&str; 2] = ["s.example.com", "t.example.net"];
/// Beside what links need, a name that no link can have.
const ZONE: &str = "@ 60 SOA ns.test. host.test. 1 2 3 4 5\n@ 60 NS ns.test.\n\
                    *.r 60 A 192.0.2.1\nwww 60 A 192.0.2.2\n";
/// [`super::world::NOW`].
const NOW: &str = "2023-11-14T22:13:20Z";
/// The largest body, and the longest line (docs/api.md).
const MAX_BODY: usize = 64 << 10;
/// The links that are there at first, in either zone.
const FIRST: [FirstLink<'_>; 2] = [
    FirstLink {
        code: "abc",
        url: "https://example.net/",
        ends_in: None,
        ttl: None,
    },
    FirstLink {
        code: "later",
        url: "https://example.net/later",
        ends_in: Some(100),
        ttl: Some(5),
    },
];

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

/// An API, with what is to be held against it.
struct Server {
    names: NameServer,
    api: Router,
    contract: Contract,
}

/// A response, read to its end.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// A call of the API, without its body.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'static str,
    path: &'a str,
    /// The path in the document.
    template: &'static str,
    media: &'static str,
    /// The query.
    zone: &'a str,
    if_match: Option<&'a str>,
}

impl Server {
    fn new() -> Self {
        let files = Files::new();
        files.write("zone", ZONE);
        let config = |origin| zone_config(origin, &files.path("zone"), true, Layout::Cname);
        let (zones, _) = ZoneSet::load(ORIGINS.map(config).into()).expect("zones");
        let names = NameServer::new(Arc::new(zones), 0);
        let urls = ShortUrls {
            scheme: Scheme::Http,
            port: None,
        };
        let token = AdminToken::from_text(TOKEN).expect("a token");
        let tokens = Tokens::new(names.store.clone(), names.clock.clone());
        let (api, _) = admin_api(
            names.links.clone(),
            Arc::new(Gate::new(token, Arc::new(tokens))),
            Overviews {
                certificates: Overview::new(Source::None, names.clock.clone()),
                pools: None,
            },
            urls,
            Arc::new(Metrics::new()),
            Arc::new(AtomicBool::new(false)),
            ApiRules::default(),
        );
        let mut server = Self {
            names,
            api,
            contract: Contract::default(),
        };
        let document = server.send(Call::get("/openapi.json", ""), Body::empty());
        server.contract = Contract::of(&document.body);
        server
    }

    /// Puts the links back.
    fn reset(&self) {
        self.names.store.clear();
        for of in ORIGINS.map(origin) {
            for link in FIRST {
                self.names.store.put(&of, link);
            }
        }
    }

    fn send(&self, call: Call<'_>, body: Body) -> Reply {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", call.path, call.zone))
            .header(HOST, "127.0.0.1:8053")
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(CONTENT_TYPE, call.media);
        if let Some(tags) = call.if_match {
            request = request.header(IF_MATCH, tags);
        }
        let request = request.body(body).expect("a request");
        self.names.wait(async {
            let Ok(response) = self.api.clone().oneshot(request).await;
            let (head, body) = response.into_parts();
            Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await.expect("a whole body").to_bytes(),
            }
        })
    }

    /// Sends a call, and holds the reply to the document.
    fn call(&mut self, call: Call<'_>, body: &[u8]) -> Reply {
        let reply = self.send(call, Body::from(body.to_vec()));
        self.contract.check(&call, &reply);
        if reply.status < 300 && call.media == "application/json" {
            self.contract.check_sent(&call, body);
        }
        reply
    }

    /// All links of both zones.
    fn all(&self) -> Vec<Value> {
        let zones = ORIGINS.map(|origin| format!("?zone={origin}"));
        // Not compared with the OpenAPI document, which would take most of the time: each link is compared when it is made.
        let page = |zone: String| self.send(Call::get("/v1/links", &zone), Body::empty());
        let pages = zones.map(|zone| page(zone).json());
        pages
            .iter()
            .flat_map(|page| page["links"].as_array().into_iter().flatten().cloned())
            .collect()
    }

    fn read(&mut self, code: &str, zone: &str) -> Reply {
        self.call(Call::get(&format!("/v1/links/{code}"), zone), b"")
    }
}

impl<'a> Call<'a> {
    fn get(path: &'a str, zone: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            template: match path {
                "/openapi.json" => "/openapi.json",
                "/v1/links" => "/v1/links",
                _ => "/v1/links/{code}",
            },
            // It has no body.
            media: "text/plain",
            zone,
            if_match: None,
        }
    }
}

impl Reply {
    fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error}: {}", self.body.escape_ascii()))
    }
}

/// See the [module](self).
pub fn check(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let zone = match choice & 4 {
        0 => "",
        _ => "?zone=t.example.net",
    };
    SERVER.with_borrow_mut(|server| {
        server.reset();
        match choice & 3 {
            0 | 1 => check_create(server, zone, body),
            2 => check_change(server, zone, choice >> 3, body),
            _ => check_batch(server, zone, usize::from(choice >> 3), body),
        }
    });
}

fn create(zone: &str) -> Call<'_> {
    Call {
        method: "POST",
        path: "/v1/links",
        template: "/v1/links",
        media: "application/json",
        zone,
        if_match: None,
    }
}

fn check_create(server: &mut Server, zone: &str, body: &[u8]) {
    let before = server.all();
    let reply = server.call(create(zone), body);
    let context = format!("{} to {}", reply.status, body.escape_ascii());
    assert_eq!(reply.status == 413, body.len() > MAX_BODY, "{context}");
    if reply.status >= 300 {
        assert_eq!(server.all(), before, "{context}");
        return;
    }
    let link = without_receipt(reply.json());
    check_link(&link, body, reply.status == 201, &context);
    let code = link["code"].as_str().expect("a code");
    let again = server.read(code, zone);
    assert_eq!(again.json(), link, "{context}");
    assert_eq!(
        reply.headers.get(ETAG),
        again.headers.get(ETAG),
        "{context}"
    );
    if reply.status == 201 {
        let location = format!("/v1/links/{code}{zone}");
        let stated = reply.headers.get(LOCATION).map(|value| value.as_bytes());
        assert_eq!(stated, Some(location.as_bytes()), "{context}");
        assert_eq!(server.all().len(), before.len() + 1, "{context}");
    } else {
        assert!(before.contains(&link), "{context}");
    }
    // RFC 9110 §9.2.2 does not ask for it of POST, but docs/api.md promises it.
    let same = server.call(create(zone), body);
    assert_eq!(same.status, 200, "{context}");
    assert_eq!(without_receipt(same.json()), link, "{context}");
}

/// Whether a link is what a body asks for.
fn check_link(link: &Value, body: &[u8], is_new: bool, context: &str) {
    let asked: Value = serde_json::from_slice(body).expect("it was accepted");
    let url = TargetUrl::parse(asked["url"].as_str().expect("it was accepted"));
    let url = url.expect("it was accepted");
    assert_eq!(link["url"], url.as_str(), "{context}");
    let code = match asked["code"].as_str() {
        Some(code) => code.to_ascii_lowercase(),
        None => Code::fold(&url, 0).to_string(),
    };
    assert_eq!(link["code"], code, "{context}");
    if is_new {
        check_end_and_ttl(link, &asked, context);
    }
}

fn check_end_and_ttl(link: &Value, asked: &Value, context: &str) {
    assert_eq!(link["ttl"].as_f64(), asked["ttl"].as_f64(), "{context}");
    match (link["expires_at"].as_str(), asked["expires_at"].as_str()) {
        (None, None) => {}
        (Some(stated), Some(asked)) => {
            // Both have the same form then, which sorts by time.
            assert!(stated > NOW, "{context}");
            assert!(stated == asked || stated.len() != asked.len() || !asked.ends_with('Z'));
        }
        _ => panic!("{context}: {link}"),
    }
}

/// The link in a reply to its change, which also has a receipt.
fn without_receipt(mut reply: Value) -> Value {
    let link = reply.as_object_mut().expect("a link");
    assert!(
        link.remove("visible")
            .is_some_and(|receipt| receipt.is_object())
    );
    reply
}

fn check_change(server: &mut Server, zone: &str, tags: u8, body: &[u8]) {
    let before = server.read("later", zone);
    let version = before.headers[ETAG].to_str().expect("a tag").to_owned();
    let (if_match, is_met) = match tags & 3 {
        0 => (None, true),
        1 => (Some(version.clone()), true),
        2 => (Some("\"1\"".to_owned()), false),
        _ => (Some(format!("\"x,\", {version}")), true),
    };
    let call = Call {
        method: "PATCH",
        path: "/v1/links/later",
        template: "/v1/links/{code}",
        media: "application/json",
        zone,
        if_match: if_match.as_deref(),
    };
    let reply = server.call(call, body);
    let context = format!("{} to {}", reply.status, body.escape_ascii());
    let after = server.read("later", zone);
    if reply.status != 200 {
        assert!(reply.status != 412 || !is_met, "{context}");
        assert_eq!(after.json(), before.json(), "{context}");
        return;
    }
    assert!(is_met, "{context}");
    let (old, link) = (before.json(), without_receipt(reply.json()));
    assert_eq!(after.json(), link, "{context}");
    assert!(
        link["version"].as_u64() > old["version"].as_u64(),
        "{context}"
    );
    let asked: Value = serde_json::from_slice(body).expect("it was accepted");
    for kept in ["code", "name", "short_url", "created_at"] {
        assert_eq!(link[kept], old[kept], "{context}");
    }
    match asked["url"].as_str().map(TargetUrl::parse) {
        None => assert_eq!(link["url"], old["url"], "{context}"),
        Some(url) => assert_eq!(link["url"], url.expect("accepted").as_str(), "{context}"),
    }
    // What is not named stays; `null` clears (RFC 7396 §2).
    let mut wanted = old;
    for member in ["ttl", "expires_at"] {
        if let Some(value) = asked.get(member) {
            wanted[member] = value.clone();
        }
    }
    check_end_and_ttl(&link, &wanted, &context);
}

fn check_batch(server: &mut Server, zone: &str, piece: usize, body: &[u8]) {
    let call = Call {
        path: "/v1/links:batch",
        template: "/v1/links:batch",
        media: "application/x-ndjson",
        ..create(zone)
    };
    let pieces = body.chunks(piece.max(1)).map(Bytes::copy_from_slice);
    let pieces = pieces.map(Ok::<_, std::io::Error>).collect::<Vec<_>>();
    let sent = match piece {
        0 => Body::from(body.to_vec()),
        _ => Body::from_stream(stream::iter(pieces)),
    };
    let reply = server.send(call, sent);
    server.contract.check(&call, &reply);
    assert_eq!(reply.status, 200, "{}", body.escape_ascii());
    let after = server.all();

    server.reset();
    let mut results = reply.body.split(|byte| *byte == b'\n');
    for (place, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) && line.len() <= MAX_BODY {
            continue;
        }
        let context = format!("line {} of {}", place + 1, body.escape_ascii());
        let result = results
            .next()
            .unwrap_or_else(|| panic!("no result: {context}"));
        let result: Value = serde_json::from_slice(result).expect("a result");
        assert_eq!(result["line"], place + 1, "{context}");
        let single = server.call(create(zone), line);
        assert_eq!(result["status"], single.status, "{context}");
        let single = single.json();
        if result["link"].is_object() {
            // A batch has one receipt for all of its lines.
            let single = without_receipt(single);
            assert_eq!(result["link"], single, "{context}");
            continue;
        }
        for member in ["type", "title", "status", "detail", "field"] {
            assert_eq!(result["problem"][member], single[member], "{context}");
        }
    }
    assert!(results.all(<[u8]>::is_empty), "{}", body.escape_ascii());
    assert_eq!(server.all(), after, "{}", body.escape_ascii());
}
