//! Links that are withheld: DNS, browsers, the command line, other servers, and export and import.

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Reply, Server, Setup, eventually, http, run};
use crate::redis::{Fleet, key};
use crate::transfer;

const TARGET: &str = "https://example.net/some/page?x=1";
const NAME: &str = "abc.s.example.com";

/// Withholds the link `abc`, or gives it back.
fn hold(server: &Server, withheld: Value) -> Reply {
    let change = json!({ "withheld": withheld });
    server.api("PATCH", "/v1/links/abc", Some(&change))
}

fn abuse() -> Value {
    json!({"kind": "abuse", "reason": "Phishing"})
}

fn legal() -> Value {
    json!({"kind": "legal", "reason": "Order 12", "authority": "https://court.example/12"})
}

/// What the redirect host says about the link.
fn open(server: &Server, method: &str, path: &str) -> Reply {
    let url = format!("http://{}{path}", server.redirect);
    http(method, &url, &[("host", NAME)], None)
}

/// What dig shows.
fn dig(server: &Server, args: &[&str]) -> String {
    let at = format!("@{}", server.dns.ip());
    let port = server.dns.port().to_string();
    run("dig", &[&[at.as_str(), "-p", &port], args].concat())
}

#[test]
fn dns_and_browsers_get_the_reason_instead_of_the_destination() {
    for layout in ["cname", "direct"] {
        let server = Setup::with_layout(layout).start();
        server.register("abc", TARGET);
        let all = |server: &Server| {
            let mut shown = String::new();
            for name in [NAME, "abc.r.s.example.com", "x.abc.s.example.com"] {
                for kind in [
                    "A",
                    "AAAA",
                    "CNAME",
                    "TXT",
                    "URI",
                    "ANY",
                    "HTTPS",
                    "NSEC",
                    "TYPE65280",
                ] {
                    for how in ["+dnssec", "+noedns", "+tcp", "+opcode=query"] {
                        shown += &dig(server, &[how, name, kind]);
                    }
                }
            }
            shown
        };
        let before = all(&server);
        assert!(before.contains(TARGET));
        for (withheld, status, error) in [
            (abuse(), 403, "EDE: 15 (Blocked)"),
            (legal(), 451, "EDE: 16 (Censored)"),
        ] {
            assert_eq!(hold(&server, withheld).status, 200);
            let after = all(&server);
            assert!(!after.contains("example.net"), "{after}");
            assert!(!after.contains("WARNING: Message"), "{after}");
            // The second one is a hot answer.
            for _ in 0..2 {
                for kind in ["TXT", "URI"] {
                    let text = dig(&server, &[kind, NAME]);
                    assert!(
                        text.contains("status: NOERROR") && text.contains(error),
                        "{text}"
                    );
                }
            }
            let addresses = dig(&server, &["+short", "A", NAME]);
            assert!(addresses.contains("192.0.2.10"), "{addresses}");
            for path in ["/", "/+"] {
                for method in ["GET", "HEAD"] {
                    let reply = open(&server, method, path);
                    assert_eq!(reply.status, status, "{reply:?}");
                    assert_eq!(reply.header("cache-control"), Some("no-store"));
                    assert!(!format!("{reply:?}").contains("example.net"), "{reply:?}");
                }
            }
        }
        assert_eq!(hold(&server, Value::Null).status, 200);
        assert!(dig(&server, &["+short", "TXT", NAME]).contains(TARGET));
        let reply = open(&server, "GET", "/");
        assert_eq!(
            (reply.status, reply.header("location")),
            (302, Some(TARGET))
        );
        // It outlives the server.
        assert_eq!(hold(&server, legal()).status, 200);
        let server = server.restart();
        assert!(dig(&server, &["TXT", NAME]).contains("EDE: 16"));
        assert_eq!(open(&server, "GET", "/").status, 451);
    }
}

/// A change reaches the other servers as any other change does: by Redis, in milliseconds; and Redis has the reason.
#[test]
fn all_servers_of_a_fleet_withhold_it() {
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    let name = one.register("abc", TARGET);
    let texts = |server: &Server| {
        let reply = server.ask(&name, RecordType::TXT);
        reply
            .answers
            .iter()
            .any(|record| record.to_string().contains(TARGET))
    };
    // Both hold it in memory, and two has a hot answer.
    assert!(texts(&one) && texts(&two) && texts(&two));
    assert_eq!(open(&two, "GET", "/").status, 302);
    assert_eq!(hold(&one, legal()).status, 200);
    assert!(!texts(&one));
    eventually("the other server withholds it", PATIENCE, || !texts(&two));
    let page = open(&two, "GET", "/");
    assert_eq!(page.status, 451);
    assert!(page.body.contains("Order 12") && page.body.contains("https://court.example/12"));
    let held = fleet.redis.held(&name).expect("a value in Redis");
    assert_eq!(
        held["withheld"],
        legal(),
        "{}",
        fleet.redis.cli(&["GET", &key(&name)])
    );
    // A server that knows it from Redis alone.
    let three = fleet.node();
    assert!(!texts(&three));
    assert_eq!(open(&three, "GET", "/").status, 451);
    assert_eq!(hold(&two, Value::Null).status, 200);
    assert!(texts(&two));
    eventually("it is given back elsewhere", PATIENCE, || texts(&one));
}

#[test]
fn an_export_keeps_it_and_an_import_needs_an_admin() {
    let (from, other, third) = (Server::start(), Server::start(), Server::start());
    from.register("plain", "https://example.net/plain");
    from.register("abc", TARGET);
    assert_eq!(hold(&from, legal()).status, 200);
    let held =
        |server: &Server| server.api("GET", "/v1/links/abc", None).json()["withheld"].clone();

    let exported = transfer::run(transfer::on(from.admin, &["export"]));
    assert_eq!(exported.stdout.lines().count(), 2, "{}", exported.stderr);
    let import = ["import", "ndjson", "-"];
    let said = transfer::run_with(transfer::on(other.admin, &import), &exported.stdout);
    assert_eq!(
        (said.code, said.counts().made),
        (Some(0), 2),
        "{}",
        said.stderr
    );
    assert_eq!(held(&other), legal());

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    let path = file.to_str().unwrap();
    let csv = ["export", "--format", "csv", "-o", path];
    assert_eq!(transfer::run(transfer::on(from.admin, &csv)).code, Some(0));
    // An editor cannot bring a link back into service by an import.
    let editor = json!({"name": "ann", "role": "editor"});
    let editor = third.api("POST", "/v1/tokens", Some(&editor)).json();
    let mut command = transfer::on(third.admin, &["import", "csv", path]);
    command.env("TINYNS_ADMIN_TOKEN", editor["token"].as_str().unwrap());
    let said = transfer::run(command);
    assert_eq!(
        (said.counts().made, said.counts().refused),
        (1, 1),
        "{}",
        said.stdout
    );
    assert_eq!(third.api("GET", "/v1/links/abc", None).status, 404);
    let said = transfer::run(transfer::on(third.admin, &["import", "csv", path]));
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(held(&third), legal());
}
