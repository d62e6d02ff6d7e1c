//! The admin API and the redirect host over the wire, and many clients at once.

mod metrics;
mod refusals;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::dynamo::{self, Emulator, s};
use crate::harness::{Server, Setup, http, unhurried};

/// A URL that was accepted once, or that another program has written, is not refused.
#[test]
fn links_with_host_names_outside_dns_syntax_keep_working() {
    let emulator = Emulator::start();
    let url = emulator.url();
    let server = Setup::new()
        .store(&format!(
            "kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n"
        ))
        .start();
    let target = "http://.example..com/";
    dynamo::once(async {
        let item = [("miniUrl", s("odd.s.example.com")), ("fullUrl", s(target))];
        dynamo::put(&emulator.foreign().await, &item).await;
    });
    let link = json!({"name": "odd.s.example.com"});
    assert_eq!(txt(&server, &link), target);
    let page = server.api("GET", "/v1/links/odd", None);
    assert_eq!((page.status, &page.json()["url"]), (200, &json!(target)));
    let patch = server.api("PATCH", "/v1/links/odd", Some(&json!({"ttl": 60})));
    assert_eq!(patch.status, 200, "{patch:?}");
}

/// Two URLs that fold to one code, found by search over `https://example.net/c/<n>`.
const COLLIDING: [&str; 2] = [
    "https://example.net/c/684628",
    "https://example.net/c/2200340",
];

const COLLIDING_CODE: &str = "4jd0wiol";

fn txt(server: &Server, link: &Value) -> String {
    let name = format!("{}.", link["name"].as_str().unwrap());
    let reply = server.ask(&name, RecordType::TXT);
    reply.answers.last().unwrap().data.to_string()
}

#[test]
fn register_resolve_change_delete() {
    let server = Server::start();
    let link = server.add("https://Example.net");
    assert_eq!(link["url"], "https://example.net/");
    assert_eq!(
        link["name"],
        format!("{}.s.example.com", link["code"].as_str().unwrap())
    );
    assert_eq!(
        (&link["expires_at"], &link["ttl"]),
        (&Value::Null, &Value::Null)
    );
    let keys: Vec<&String> = link.as_object().unwrap().keys().collect();
    let mut wanted = [
        "code",
        "name",
        "short_url",
        "url",
        "created_at",
        "created_by",
        "expires_at",
        "ttl",
        "title",
        "tags",
        "note",
        "withheld",
        "version",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert!(txt(&server, &link).contains("https://example.net/"));

    let path = format!("/v1/links/{}", link["code"].as_str().unwrap());
    let etag = format!("\"{}\"", link["version"]);
    let patch = json!({"url": "https://example.org/moved", "ttl": 5});
    let body = || Some(("application/json", patch.to_string().into_bytes()));
    let stale = server.api_raw("PATCH", &path, &[("if-match", "\"1\"")], body());
    assert_eq!(stale.status, 412, "{stale:?}");
    let changed = server.api_raw("PATCH", &path, &[("if-match", &etag)], body());
    assert_eq!(changed.status, 200, "{changed:?}");
    // The next answer has it: nothing in between holds the old one.
    assert!(txt(&server, &link).contains("https://example.org/moved"));

    assert_eq!(server.api("DELETE", &path, None).status, 204);
    assert_eq!(server.api("DELETE", &path, None).status, 404);
    assert_eq!(server.api("GET", &path, None).status, 404);
    let name = format!("{}.", link["name"].as_str().unwrap());
    let reply = server.ask(&name, RecordType::TXT);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn fifty_clients_register_one_url_at_once() {
    let server = Arc::new(Server::start());
    for body in [
        json!({"url": "https://example.net/folded"}),
        json!({"url": "https://example.net/chosen", "code": "chosen"}),
    ] {
        let barrier = Arc::new(Barrier::new(50));
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let (server, barrier, body) = (server.clone(), barrier.clone(), body.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    let reply = server.api("POST", "/v1/links", Some(&body));
                    (reply.status, reply.link().to_string())
                })
            })
            .collect();
        let replies: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        let created = replies.iter().filter(|(status, _)| *status == 201).count();
        let same = replies.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!((created, same), (1, 49));
        assert!(replies.windows(2).all(|pair| pair[0].1 == pair[1].1));
    }
    let all = server.api("GET", "/v1/links", None).json();
    assert_eq!(all["links"].as_array().unwrap().len(), 2);
}

#[test]
fn of_many_changes_to_one_version_exactly_one_succeeds() {
    let server = Arc::new(Server::start());
    let link = server.add_with(&json!({"url": "https://example.net/", "code": "race"}));
    let etag = format!("\"{}\"", link["version"]);
    let start = Arc::new(Barrier::new(20));
    let clients: Vec<_> = (0..20)
        .map(|ttl| {
            let (server, start, etag) = (server.clone(), start.clone(), etag.clone());
            std::thread::spawn(move || {
                let body = json!({ "ttl": ttl }).to_string().into_bytes();
                let body = Some(("application/json", body));
                start.wait();
                server.api_raw("PATCH", "/v1/links/race", &[("if-match", &etag)], body)
            })
        })
        .collect();
    let replies: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|r| r.status == 200);
    assert_eq!(won.len(), 1);
    let now = server.api("GET", "/v1/links/race", None);
    assert_eq!(now.json(), won[0].link());
    // The losers get the new version.
    assert!(
        lost.iter()
            .all(|r| r.status == 412 && r.header("etag") == now.header("etag"))
    );
}

#[test]
fn urls_that_differ_only_in_case_both_work() {
    let server = Server::start();
    let first = server.add(COLLIDING[0]);
    let second = server.add(COLLIDING[1]);
    assert_eq!(first["code"], COLLIDING_CODE);
    assert_ne!(first["code"], second["code"]);
    assert!(txt(&server, &first).contains(COLLIDING[0]));
    assert!(txt(&server, &second).contains(COLLIDING[1]));
    // Each has the same code when it is registered again.
    assert_eq!(server.add(COLLIDING[0]), first);
    assert_eq!(server.add(COLLIDING[1]), second);
}

#[test]
fn bulk_registration() {
    let server = Server::start();
    let mut lines: Vec<String> = (0..2_000)
        .map(|n| json!({"url": format!("https://example.net/bulk/{n}")}).to_string())
        .collect();
    lines[7] = "not json".into();
    lines[8] = json!({"url": "ftp://example.net/"}).to_string();
    lines[9] = lines[10].clone();
    let body = lines.join("\n").into_bytes();
    let kind = "application/x-ndjson";
    let reply = server.api_raw("POST", "/v1/links:batch", &[], Some((kind, body)));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some(kind));
    let results: Vec<Value> = reply
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(results.len(), lines.len());
    let mut by_status = BTreeMap::new();
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["line"], number + 1);
        *by_status
            .entry(result["status"].as_u64().unwrap())
            .or_insert(0) += 1;
    }
    assert_eq!(
        by_status,
        BTreeMap::from([(200, 1), (201, 1_997), (400, 1), (422, 1)])
    );
    assert_eq!(results[9]["link"]["code"], results[10]["link"]["code"]);
    assert!(txt(&server, &results[1_999]["link"]).contains("/bulk/1999"));

    // The list shows each link once, over all pages.
    let mut codes = Vec::new();
    let mut path = "/v1/links?limit=300".to_owned();
    loop {
        let page = server.api("GET", &path, None).json();
        let links = page["links"].as_array().unwrap();
        codes.extend(links.iter().map(|l| l["code"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/links?limit=300&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(codes.len(), 1_997);
    assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn redirect_host() {
    let server = Server::start();
    server.add_with(&json!({"url": "https://example.net/a?b=1&c=%22", "code": "abc"}));
    let get = |method: &str, host: &str, path: &str| {
        http(
            method,
            &format!("http://{}{path}", server.redirect),
            &[("host", host)],
            None,
        )
    };
    let go = get("GET", "abc.s.example.com:8080", "/");
    assert_eq!(go.status, 302);
    assert_eq!(
        go.header("location"),
        Some("https://example.net/a?b=1&c=%22")
    );
    assert!(go.header("cache-control").is_some());
    let head = get("HEAD", "abc.s.example.com", "/");
    assert_eq!((head.status, head.body.as_str()), (302, ""));
    assert_eq!(head.header("location"), go.header("location"));
    let shown = get("GET", "abc.s.example.com", "/+");
    assert_eq!((shown.status, shown.header("location")), (200, None));
    assert!(
        shown
            .body
            .contains("href=\"https://example.net/a?b=1&#38;c=%22\""),
        "{}",
        shown.body
    );
    assert_eq!(get("GET", "s.example.com", "/").status, 200);
    for (host, path) in [
        ("nosuch.s.example.com", "/"),
        ("abc.s.example.com", "/other"),
        ("abc.s.example.com", "//example.org/"),
        ("ns1.s.example.com", "/"),
        ("x.abc.s.example.com", "/"),
    ] {
        let reply = get("GET", host, path);
        assert_eq!(
            (reply.status, reply.header("location")),
            (404, None),
            "{host}{path}"
        );
    }
    assert_eq!(get("POST", "abc.s.example.com", "/").status, 405);
    let foreign = get("GET", "www.example.org", "/");
    assert!(foreign.status >= 400 && foreign.header("location").is_none());
    let soon = unhurried(Duration::from_secs(1), |number| {
        let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(2);
        let end = end.format(&time::format_description::well_known::Rfc3339);
        server.add_with(&json!({"url": "https://example.net/soon",
            "code": format!("soon{number}"), "expires_at": end.unwrap()}));
        let host = format!("soon{number}.s.example.com");
        assert_eq!(get("GET", &host, "/").status, 302);
        host
    });
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(get("GET", &soon, "/").status, 410);
}

#[test]
fn memory_answers_and_a_change_is_seen_at_once() {
    // With a filter, memory is not asked for absent names.
    let server = Setup::new().section("[cache]\nfilter = false\n").start();
    let link = server.add_with(&json!({"url": "https://example.net/1", "code": "abc"}));
    let figure = |line: &str| -> u64 {
        let text = http(
            "GET",
            &format!("http://{}/metrics", server.admin),
            &[],
            None,
        )
        .body;
        let found = text.lines().find_map(|l| l.strip_prefix(line));
        found.map_or(0, |rest| rest.trim().parse().unwrap())
    };
    let store_hits = "tinyns_link_lookups_total{tier=\"Store\",result=\"Hit\"}";
    for _ in 0..20 {
        assert!(txt(&server, &link).contains("/1"));
    }
    assert_eq!(figure(store_hits), 1);
    assert_eq!(figure("tinyns_memory_entries{set=\"Links\"}"), 1);
    // Each change is seen by the very next query, and costs one read.
    for number in 2..10 {
        let patch = json!({"url": format!("https://example.net/{number}")});
        assert_eq!(
            server.api("PATCH", "/v1/links/abc", Some(&patch)).status,
            200
        );
        assert!(txt(&server, &link).contains(&format!("/{number}")));
    }
    assert_eq!(figure(store_hits), 9);
    // An absent name is remembered until it is registered.
    let rcode = || {
        server
            .ask("late.s.example.com.", RecordType::TXT)
            .metadata
            .response_code
    };
    for _ in 0..20 {
        assert_eq!(rcode(), ResponseCode::NXDomain);
    }
    assert_eq!(
        figure("tinyns_link_lookups_total{tier=\"Store\",result=\"Miss\"}"),
        1
    );
    server.add_with(&json!({"url": "https://example.net/late", "code": "late"}));
    assert_eq!(rcode(), ResponseCode::NoError);
    assert_eq!(server.api("DELETE", "/v1/links/late", None).status, 204);
    assert_eq!(rcode(), ResponseCode::NXDomain);
}

#[test]
fn readers_and_writers_of_one_name_never_see_it_go_back() {
    let server = Server::start();
    let link = server.add_with(&json!({"url": "https://example.net/0", "code": "abc"}));
    let done = std::sync::atomic::AtomicBool::new(false);
    let committed = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let at_least = committed.load(Ordering::SeqCst);
                    let text = txt(&server, &link);
                    let number = text.trim_matches('"').rsplit('/').next().unwrap();
                    let number: u64 = number.parse().unwrap();
                    assert!(number >= at_least, "{number} after {at_least}");
                }
            });
        }
        for number in 1..200 {
            let patch = json!({"url": format!("https://example.net/{number}")});
            assert_eq!(
                server.api("PATCH", "/v1/links/abc", Some(&patch)).status,
                200
            );
            committed.store(number, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}
