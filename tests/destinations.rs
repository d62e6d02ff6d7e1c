//! Links with several destinations: in the API, in DNS, for browsers, and on all servers.

use std::collections::BTreeMap;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Reply, Server, eventually, http, run};
use crate::redis::Fleet;
use crate::{command_line, transfer};

const NAME: &str = "abc.s.example.com";

fn url(host: &str) -> String {
    format!("https://{host}.example.net/x?y=1")
}

/// The list of the API.
fn list(destinations: &[(&str, u16, u16)]) -> Value {
    let one = |&(host, priority, weight): &(&str, u16, u16)| json!({"url": url(host), "priority": priority, "weight": weight});
    destinations.iter().map(one).collect()
}

fn register(server: &Server, destinations: &[(&str, u16, u16)]) {
    let body = json!({"code": "abc", "destinations": list(destinations)});
    let reply = server.api("POST", "/v1/links", Some(&body));
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn patch(server: &Server, change: Value) -> Reply {
    server.api("PATCH", "/v1/links/abc", Some(&change))
}

/// What the redirect host says about the link.
fn open(server: &Server, method: &str, path: &str) -> Reply {
    let url = format!("http://{}{path}", server.redirect);
    http(method, &url, &[("host", NAME)], None)
}

/// The last lines of the answer of dig, sorted.
fn dig(server: &Server, args: &[&str]) -> Vec<String> {
    let at = format!("@{}", server.dns.ip());
    let port = server.dns.port().to_string();
    let text = run(
        "dig",
        &[&[at.as_str(), "-p", &port, "+short"], args].concat(),
    );
    let lines = text.lines().filter(|line| line.contains('"'));
    let mut lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn dns_has_all_destinations_and_browsers_get_one_by_weight() {
    let server = Server::start();
    register(&server, &[("c", 20, 9), ("b", 10, 1), ("a", 10, 3)]);
    // The second ones are hot answers.
    for _ in 0..2 {
        let expected = [("a", "10 3"), ("b", "10 1"), ("c", "20 9")];
        let expected = expected.map(|(host, rank)| format!("{rank} \"{}\"", url(host)));
        let mut found = dig(&server, &["URI", NAME]);
        found.sort_by_key(|line| line.rsplit('"').nth(1).map(ToOwned::to_owned));
        assert_eq!(found, expected);
        assert_eq!(dig(&server, &["TXT", NAME]), [format!("\"{}\"", url("a"))]);
    }
    // hyper answers HEAD, and GET is answered without it.
    for method in ["HEAD", "GET"] {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..200 {
            let reply = open(&server, method, "/");
            assert_eq!(reply.status, 302);
            // No cache leads all its clients to one of them.
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            *counts
                .entry(reply.header("location").unwrap().to_owned())
                .or_default() += 1;
        }
        let counts = |host: &str| counts.get(&url(host)).copied().unwrap_or(0);
        // 150 of 200 on average; less than 110 come once in 10^9 times.
        assert!(
            counts("a") >= 110 && counts("b") >= 10,
            "{counts:?} {method}",
            counts = (counts("a"), counts("b"))
        );
        assert_eq!(counts("a") + counts("b"), 200, "{method}");
    }
    let page = open(&server, "GET", "/+");
    for host in ["a", "b", "c"] {
        assert!(
            page.body
                .contains(&format!("://{host}.<strong>example.net")),
            "{}",
            page.body
        );
    }
    // It outlives the server.
    let server = server.restart();
    assert_eq!(dig(&server, &["URI", NAME]).len(), 3);
    // With one of the lowest priority, there is nothing to draw.
    let change = json!({"destinations": list(&[("b", 20, 1), ("a", 10, 3)])});
    assert_eq!(patch(&server, change).status, 200);
    let reply = open(&server, "GET", "/");
    assert_eq!(reply.header("location"), Some(&*url("a")));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));
}

#[test]
fn rfc2181_9_records_that_do_not_fit_are_asked_for_by_tcp() {
    let server = Server::start();
    let hosts: Vec<String> = (0..8).map(|n| format!("{n}{}", "x".repeat(60))).collect();
    let path = "y".repeat(1_900);
    let list: Value = hosts
        .iter()
        .map(|host| json!({"url": format!("https://{host}.example.net/{path}")}))
        .collect();
    let body = json!({"code": "abc", "destinations": list});
    assert_eq!(server.api("POST", "/v1/links", Some(&body)).status, 201);
    for _ in 0..2 {
        let udp = server.ask(NAME, RecordType::Unknown(256));
        assert!(udp.metadata.truncation, "{udp:?}");
        // dig repeats the query by TCP.
        assert_eq!(dig(&server, &["URI", NAME]).len(), 8);
    }
}

#[test]
fn the_api_keeps_checks_and_shows_destinations() {
    let server = Server::start();
    register(&server, &[("b", 20, 0), ("a", 10, 3)]);
    let get = || server.api("GET", "/v1/links/abc", None).json();
    let both = list(&[("a", 10, 3), ("b", 20, 0)]);
    let link = get();
    assert_eq!(
        (&link["url"], &link["destinations"]),
        (&json!(url("a")), &both)
    );
    // The code of a link without one of its own is that of its URL.
    let folded = json!({"destinations": list(&[("z", 1, 1), ("y", 2, 1)])});
    let folded = server.api("POST", "/v1/links", Some(&folded)).json();
    let again = json!({"url": url("z"), "destinations": list(&[("y", 2, 1), ("z", 1, 1)])});
    let again = server.api("POST", "/v1/links", Some(&again));
    assert_eq!(
        (again.status, &again.json()["code"]),
        (200, &folded["code"])
    );
    let alone = server.api("POST", "/v1/links", Some(&json!({"url": url("z")})));
    assert_eq!(alone.status, 201);
    assert_eq!(alone.json().get("destinations"), None);
    // Another link, with the first fold taken.
    assert_ne!(alone.json()["code"], folded["code"]);

    for (change, expected) in [
        (json!({"ttl": 60}), both.clone()),
        (
            json!({"url": url("new")}),
            list(&[("new", 10, 3), ("b", 20, 0)]),
        ),
        (
            json!({"destinations": list(&[("b", 1, 2), ("c", 1, 3)])}),
            list(&[("c", 1, 3), ("b", 1, 2)]),
        ),
    ] {
        let reply = patch(&server, change);
        assert_eq!(
            (reply.status, &reply.json()["destinations"]),
            (200, &expected)
        );
        assert_eq!(get()["destinations"], expected);
    }
    let found = server.api("GET", "/v1/links?q=b.example.net", None).json();
    assert_eq!(found["links"].as_array().unwrap().len(), 1);
    assert_eq!(
        found["links"][0]["destinations"],
        list(&[("c", 1, 3), ("b", 1, 2)])
    );

    let refused = |change: Value, kind: &str, field: &str| {
        let reply = patch(&server, change);
        let problem = reply.json();
        assert_eq!(reply.status, 422, "{problem}");
        assert_eq!(
            problem["type"],
            format!("urn:tinyns:problem:{kind}"),
            "{problem}"
        );
        assert_eq!(problem["field"], field, "{problem}");
    };
    let with = |other: &str| json!({"destinations": [{"url": url("a")}, {"url": other}]});
    refused(with("ftp://x/"), "url-refused", "destinations");
    refused(with(&url("a")), "destinations-refused", "destinations");
    // Any of them would lead browsers in circles.
    refused(with("https://x.s.example.com/"), "own-zone", "url");
    assert_eq!(get()["destinations"], list(&[("c", 1, 3), ("b", 1, 2)]));

    let reply = patch(&server, json!({"destinations": null}));
    assert_eq!(
        (reply.status, reply.json().get("destinations")),
        (200, None)
    );
    assert_eq!(get()["url"], url("c"));
    let entries = server.api("GET", "/v1/audit?code=abc", None).json();
    let last = &entries["entries"][0];
    assert_eq!(
        last["before"]["destinations"],
        list(&[("c", 1, 3), ("b", 1, 2)]),
        "{last}"
    );
    assert_eq!(last["after"].get("destinations"), None);
}

/// Another server learns them from Redis; one that knows one URL only uses the preferred one.
#[test]
fn all_servers_of_a_fleet_have_the_destinations() {
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    register(&one, &[("b", 10, 1), ("a", 10, 3)]);
    eventually("the other server has them", PATIENCE, || {
        dig(&two, &["URI", NAME]).len() == 2
    });
    let held = fleet.redis.held(NAME).expect("a value in Redis");
    assert_eq!(held["url"], url("a"));
    let others = json!({"priority": 10, "weight": 3, "others": list(&[("b", 10, 1)])});
    assert_eq!(held["destinations"], others);
    assert_eq!(
        patch(&one, json!({"destinations": list(&[("c", 10, 1)])})).status,
        200
    );
    eventually("the other server has one", PATIENCE, || {
        dig(&two, &["URI", NAME]) == [format!("10 1 \"{}\"", url("c"))]
    });
    let three = fleet.node();
    assert_eq!(dig(&three, &["URI", NAME]).len(), 1);
}

#[test]
fn commands_take_and_show_destinations_and_files_keep_them() {
    let server = Server::start();
    let (a, b) = (url("a"), url("b"));
    let (first, second) = (format!("{a},10,3"), format!("{b},20"));
    let add = [
        "add",
        "--code",
        "abc",
        "--destination",
        &second,
        "--destination",
        &first,
    ];
    let said = command_line::on(&server, &add);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for row in [
        format!("leads to   {a} (priority 10, weight 3)"),
        format!("or to      {b} (priority 20, weight 1)"),
    ] {
        assert!(said.out.contains(&row), "{}", said.out);
    }
    let both = list(&[("a", 10, 3), ("b", 20, 1)]);
    let of =
        |server: &Server| server.api("GET", "/v1/links/abc", None).json()["destinations"].clone();
    assert_eq!(of(&server), both);

    let dir = tempfile::tempdir().unwrap();
    for format in ["ndjson", "csv"] {
        let file = dir.path().join(format);
        let file = file.to_str().unwrap();
        let export = ["export", "--format", format, "-o", file];
        assert_eq!(
            transfer::run(transfer::on(server.admin, &export)).code,
            Some(0)
        );
        let other = Server::start();
        let said = transfer::run(transfer::on(other.admin, &["import", format, file]));
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        assert_eq!(of(&other), both, "{format}");
    }

    let third = format!("{},0,0", url("c"));
    let said = command_line::on(&server, &["edit", "abc", "--destination", &third]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(of(&server), list(&[("c", 0, 0)]));
}
