//! Servers that know each other, and receipts of changes: which servers have them, and who waits for whom.

use std::cell::Cell;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::command_line::on;
use crate::harness::{Answer, PATIENCE, Reply, Server, Setup, eventually};
use crate::postgres::Postgres;
use crate::redis::{Fleet, LINES, LONG_MEMORY, followed};

/// A zone whose negative answers are kept for a second.
const QUICK_ZONE: &str = "\
$TTL 300
@  IN SOA ns1 hostmaster 1 3600 600 86400 1
@  IN NS ns1
ns1 IN A 127.0.0.1
*.r IN A 127.0.0.1
";

/// A server of a fleet that has this name.
fn named(fleet: &Fleet, name: &str) -> Server {
    followed(with_name(fleet.setup(LINES), name).start())
}

fn with_name(setup: Setup, name: &str) -> Setup {
    let section = format!("[server]\nname = \"{name}\"\nregion = \"test\"\n");
    setup.section(LONG_MEMORY).section(&section)
}

/// A fleet of servers with these names, all of which know each other.
pub fn fleet_of<const N: usize>(names: [&str; N]) -> (Fleet, [Server; N]) {
    let fleet = Fleet::start();
    let servers = names.map(|name| named(&fleet, name));
    know_each_other(servers.each_ref());
    (fleet, servers)
}

/// Waits until each of these servers knows all of them.
pub fn know_each_other<const N: usize>(servers: [&Server; N]) {
    for server in servers {
        eventually("all servers are known", PATIENCE, || {
            names(server).len() == N
        });
    }
}

/// The names of the servers that this one knows, itself first.
fn names(server: &Server) -> Vec<String> {
    let list = server.api("GET", "/v1/servers", None).json();
    let servers = list["servers"].as_array().unwrap().clone();
    let names = servers
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// Makes a link, and waits for the servers.
fn make(server: &Server, code: &str) -> Reply {
    let body = json!({ "url": url(code), "code": code });
    server.api("POST", "/v1/links?wait=servers", Some(&body))
}

fn url(code: &str) -> String {
    format!("https://example.net/{code}")
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

fn is_complete(reply: &Reply) -> bool {
    reply.json()["visible"]["complete"] == true
}

#[test]
fn a_caller_that_waits_finds_the_change_on_all_servers() {
    let (_fleet, servers) = fleet_of(["one", "two", "three"]);
    let [one, two, three] = &servers;
    assert_eq!(names(one), ["one", "three", "two"]);
    for number in 0..20 {
        let code = format!("k{number}");
        // All of them have in memory that there is no such name.
        for server in &servers {
            assert_eq!(server.answer(&name(&code)), Answer::Absent);
        }
        let made = make(one, &code);
        assert_eq!(made.status, 201, "{made:?}");
        let visible = made.json()["visible"].clone();
        assert_eq!(
            (&visible["servers"], &visible["applied"]),
            (&json!(3), &json!(3))
        );
        assert!(is_complete(&made));
        assert_eq!(visible["missing"], json!([]));
        assert_ne!(visible["resolvers_until"], Value::Null);
        for server in [two, three] {
            assert_eq!(server.answer(&name(&code)), Answer::Url(url(&code)));
        }
        let path = format!("/v1/links/{code}?wait=servers");
        let patch = json!({ "url": "https://example.org/" });
        let changed = three.api("PATCH", &path, Some(&patch));
        assert_eq!((changed.status, is_complete(&changed)), (200, true));
        for server in [one, two] {
            assert_eq!(
                server.answer(&name(&code)),
                Answer::url("https://example.org/")
            );
        }
        let asked = two.api("GET", &format!("/v1/links/{code}/visible"), None);
        assert_eq!((asked.status, &asked.json()["applied"]), (200, &json!(3)));
    }
    let metric = |name: &str, labels: &[(&str, &str)]| one.metric(name, labels);
    assert_eq!(metric("tinyns_servers_live", &[("region", "test")]), 3.0);
    let of_two = [("region", "test"), ("server", "two")];
    assert!(metric("tinyns_server_lag_seconds", &of_two) < 5.0);
}

#[test]
fn a_batch_that_waits_is_on_all_servers_when_its_receipt_comes() {
    let (_fleet, [one, two]) = fleet_of(["one", "two"]);
    let lines: String = (0..50)
        .map(|n| {
            json!({ "url": url(&format!("b{n}")), "code": format!("b{n}") }).to_string() + "\n"
        })
        .collect();
    let body = ("application/x-ndjson", lines.into_bytes());
    let path = "/v1/links:batch?wait=servers";
    let text = one.api_raw("POST", path, &[], Some(body)).body;
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 51, "{text}");
    assert_eq!(
        (&last["visible"]["applied"], &last["visible"]["complete"]),
        (&json!(2), &json!(true))
    );
    for n in 0..50 {
        let code = format!("b{n}");
        assert_eq!(two.answer(&name(&code)), Answer::Url(url(&code)));
    }
}

#[test]
fn a_receipt_says_whether_resolvers_may_know_better() {
    let fleet = Fleet::start();
    let server = |name: &str| {
        let setup = Setup::empty().zone("s.example.com", "redirect_host = \"r\"\n", QUICK_ZONE);
        let (table, redis) = (fleet.emulator.url(), fleet.redis.url());
        let setup = setup
            .store(&format!(
                "kind = \"dynamodb\"\nendpoint_url = \"{table}\"\ncreate_table = true\n"
            ))
            .section(&format!("[redis]\nurl = \"{redis}\"\n{LINES}"));
        followed(with_name(setup, name).start())
    };
    let servers = ["one", "two"].map(server);
    know_each_other(servers.each_ref());
    let [one, two] = &servers;
    let until = |code: &str| {
        let made = make(one, code);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["visible"]["resolvers_until"].clone()
    };
    // What their predecessors have answered is over after a second.
    let number = Cell::new(0);
    eventually(
        "names that were not asked for are known as such",
        PATIENCE,
        || {
            number.set(number.get() + 1);
            until(&format!("unasked{}", number.get())).is_null()
        },
    );
    assert_eq!(one.answer(&name("here")), Answer::Absent);
    assert!(until("here").is_string());
    assert_eq!(two.answer(&name("there")), Answer::Absent);
    assert!(until("there").is_string());
    assert!(until("nowhere").is_null());
    let asked = two.ask(&name("expired"), RecordType::TXT);
    assert!(asked.answers.is_empty());
    assert!(until("expired").is_string());
}

#[test]
fn a_server_that_hangs_is_named_and_then_no_longer_counted() {
    let (_fleet, servers) = fleet_of(["one", "two", "three"]);
    let [one, _, three] = &servers;
    three.signal(Signal::SIGSTOP);
    let made = make(one, "first");
    assert_eq!(made.status, 202, "{made:?}");
    assert!(made.header("location").is_some());
    let visible = made.json()["visible"].clone();
    assert_eq!(
        (&visible["servers"], &visible["applied"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(visible["missing"], json!(["three"]));
    assert!(visible["resolvers_until"].is_string());
    let path = "/v1/links/first?wait=servers";
    let changed = one.api("PATCH", path, Some(&json!({ "ttl": 5 })));
    assert_eq!(changed.status, 202, "{changed:?}");
    eventually("its lease ends", PATIENCE, || names(one) == ["one", "two"]);
    let made = make(one, "second");
    assert_eq!(
        (made.status, &made.json()["visible"]["servers"]),
        (201, &json!(2))
    );
    three.signal(Signal::SIGCONT);
    eventually("it is back", PATIENCE, || names(one).len() == 3);
    let again = one.api("GET", "/v1/links/first/visible?wait=servers", None);
    assert_eq!(
        (again.status, &again.json()["complete"]),
        (200, &json!(true))
    );
    three.wait_for_answer(&name("second"), &Answer::Url(url("second")), PATIENCE);
}

#[test]
fn a_killed_server_counts_until_its_lease_ends_and_one_that_stops_does_not() {
    let (fleet, [one, mut two, mut three]) = fleet_of(["one", "two", "three"]);
    assert!(two.stop().success());
    let key = fleet
        .redis
        .keys()
        .into_iter()
        .find(|key| key.starts_with("tinyns:servers:"));
    let register = fleet.redis.cli(&["hvals", &key.unwrap()]);
    let over = register.lines().find(|line| line.contains("\"two\""));
    let made = make(&one, "first");
    assert_eq!(made.json()["visible"]["servers"], 2, "{over:?} {made:?}");
    three.crash();
    let made = make(&one, "second");
    assert_eq!(made.status, 202, "{made:?}");
    assert_eq!(made.json()["visible"]["missing"], json!(["three"]));
    eventually("its lease ends", PATIENCE, || names(&one) == ["one"]);
    let made = make(&one, "third");
    assert_eq!(
        (made.status, &made.json()["visible"]["servers"]),
        (201, &json!(1))
    );
}

#[test]
fn without_redis_no_receipt_says_that_all_servers_have_a_change() {
    let (mut fleet, [one, two]) = fleet_of(["one", "two"]);
    fleet.redis.kill();
    let made = make(&one, "away");
    assert_eq!(made.status, 202, "{made:?}");
    let visible = made.json()["visible"].clone();
    assert_eq!(visible["complete"], false);
    assert!(visible["problem"].is_string(), "{visible}");
    assert_eq!(visible["applied"], 1);
    assert_eq!(made.json()["visible_elsewhere"], false);
    fleet.redis.restart_empty();
    eventually("they know each other again", PATIENCE, || {
        let visible = one.api("GET", "/v1/links/away/visible?wait=servers", None);
        visible.json()["applied"] == 2
    });
    assert_eq!(two.answer(&name("away")), Answer::Url(url("away")));
}

#[test]
fn servers_that_share_a_table_without_redis_do_not_know_of_each_other() {
    let fleet = Fleet::start();
    let server = Setup::new().dynamodb(&fleet.emulator.url()).start();
    let made = make(&server, "x");
    assert_eq!(made.status, 202, "{made:?}");
    assert_eq!(made.json()["visible"]["complete"], false);
    let problem = made.json()["visible"]["problem"].to_string();
    assert!(problem.contains("do not know of each other"), "{problem}");
    let list = server.api("GET", "/v1/servers", None).json();
    assert_eq!(list["servers"].as_array().unwrap().len(), 1);
    assert!(list["problem"].is_string());
}

#[test]
fn a_server_alone_has_all_servers() {
    let server = Server::start();
    let made = make(&server, "x");
    assert_eq!((made.status, is_complete(&made)), (201, true));
    assert_eq!(
        server.metric("tinyns_servers_live", &[("region", "default")]),
        1.0
    );
}

#[test]
fn commands_wait_for_servers_and_list_them() {
    let (_fleet, [one, two]) = fleet_of(["one", "two"]);
    let made = on(&one, &["add", &url("a"), "--code", "a", "--wait"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(
        made.out.contains("  servers    all 2 answer with it\n"),
        "{made:?}"
    );
    assert!(
        made.out.contains("  resolvers  may go on until "),
        "{made:?}"
    );
    let edited = on(&one, &["edit", "a", "--ttl", "60", "--wait", "--json"]);
    assert_eq!(edited.code, Some(0), "{edited:?}");
    let json: Value = serde_json::from_str(&edited.out).unwrap();
    assert_eq!(json["visible"]["applied"], 2);
    let many = ["add", &url("b"), &url("c"), "--wait", "--json"];
    let lines = on(&one, &many).out;
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (lines.lines().count(), &last["visible"]["complete"]),
        (3, &json!(true))
    );
    let listed = on(&one, &["servers"]);
    let rows: Vec<_> = listed
        .out
        .lines()
        .map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(rows, [Some("NAME"), Some("one"), Some("two")], "{listed:?}");

    // Each time anew, because the lease ends after some of these commands.
    let hang = || {
        two.signal(Signal::SIGCONT);
        eventually("it is back", PATIENCE, || {
            let asked = one.api("GET", "/v1/links/a/visible?wait=servers", None);
            asked.json()["applied"] == 2
        });
        two.signal(Signal::SIGSTOP);
    };
    hang();
    let made = on(&one, &["add", &url("d"), "--code", "d", "--wait"]);
    assert_eq!(made.code, Some(4), "{made:?}");
    assert!(
        made.out
            .contains("  servers    1 of 2 answer with it; not yet: two\n"),
        "{made:?}"
    );
    hang();
    let edited = on(&one, &["edit", "d", "--ttl", "60", "--wait"]);
    assert_eq!(edited.code, Some(4), "{edited:?}");
    hang();
    let many = on(&one, &["add", &url("e"), &url("f"), "--wait"]);
    assert_eq!(many.code, Some(4), "{many:?}");
    assert!(many.err.contains("not yet: two"), "{many:?}");
    // Without --wait nothing is waited for.
    let made = on(&one, &["add", &url("g")]);
    assert_eq!(
        (made.code, made.out.contains("servers")),
        (Some(0), false),
        "{made:?}"
    );
    two.signal(Signal::SIGCONT);
}

/// A server with its links in this PostgreSQL, and without Redis.
fn on_postgres(postgres: &Postgres, name: &str, region: &str) -> Server {
    let store = format!("kind = \"postgresql\"\nurl = \"{}\"\n", postgres.url());
    let section = format!("[server]\nname = \"{name}\"\nregion = \"{region}\"\n");
    let server = Setup::new()
        .store(&store)
        .section(LONG_MEMORY)
        .section(&section)
        .start();
    eventually("it follows the changes", PATIENCE, || {
        server.metric("tinyns_feed_following", &[]) == 1.0
    });
    server
}

#[test]
fn servers_of_all_regions_know_each_other_through_postgresql() {
    let postgres = Postgres::start();
    let one = on_postgres(&postgres, "one", "east");
    let two = on_postgres(&postgres, "two", "west");
    let mut three = on_postgres(&postgres, "three", "west");
    know_each_other([&one, &two, &three]);
    for number in 0..10 {
        let code = format!("k{number}");
        for server in [&one, &two, &three] {
            assert_eq!(server.answer(&name(&code)), Answer::Absent);
        }
        let made = make(&one, &code);
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["visible"]["applied"], 3);
        for server in [&two, &three] {
            assert_eq!(server.answer(&name(&code)), Answer::Url(url(&code)));
        }
    }
    assert_eq!(
        one.metric("tinyns_servers_live", &[("region", "west")]),
        2.0
    );
    assert!(three.stop().success());
    eventually("it is withdrawn", PATIENCE, || {
        names(&one) == ["one", "two"]
    });
    two.signal(Signal::SIGSTOP);
    let made = make(&one, "hangs");
    assert_eq!(made.status, 202, "{made:?}");
    assert_eq!(made.json()["visible"]["missing"], json!(["two"]));
    eventually("its lease ends", PATIENCE, || names(&one) == ["one"]);
    two.signal(Signal::SIGCONT);
    know_each_other([&one, &two]);
}

#[test]
fn without_postgresql_a_server_says_that_it_does_not_know_the_others() {
    let postgres = Postgres::start();
    let server = on_postgres(&postgres, "one", "east");
    eventually("it reads the announcements", PATIENCE, || {
        server.metric("tinyns_servers_known", &[]) == 1.0
    });
    postgres.freeze();
    eventually("it does not", PATIENCE, || {
        server.metric("tinyns_servers_known", &[]) == 0.0
    });
    let list = server.api("GET", "/v1/servers", None).json();
    assert!(list["problem"].is_string(), "{list}");
    postgres.thaw();
    eventually("it reads them again", PATIENCE, || {
        server.metric("tinyns_servers_known", &[]) == 1.0
    });
}

/// Deletions, by the API and by the command; one of the servers hangs then.
#[test]
fn a_deletion_waits_until_no_server_answers_with_the_link() {
    let postgres = Postgres::start();
    let one = on_postgres(&postgres, "one", "east");
    let two = on_postgres(&postgres, "two", "west");
    know_each_other([&one, &two]);
    let delete = |code: &str| {
        let path = format!("/v1/links/{code}?wait=servers");
        one.api("DELETE", &path, None)
    };
    for number in 0..10 {
        let code = format!("k{number}");
        assert_eq!(make(&one, &code).status, 201);
        assert_eq!(two.answer(&name(&code)), Answer::Url(url(&code)));
        let gone = delete(&code);
        assert_eq!(gone.status, 200, "{gone:?}");
        assert_eq!(two.answer(&name(&code)), Answer::Absent);
    }
    for code in ["a", "b", "c"] {
        assert_eq!(make(&one, code).status, 201);
    }
    let by_command = on(&one, &["delete", "a", "--yes", "--wait"]);
    assert_eq!(by_command.code, Some(0), "{by_command:?}");
    let said = "is deleted; of the servers, all 2";
    assert!(by_command.err.contains(said), "{by_command:?}");

    two.signal(Signal::SIGSTOP);
    let gone = delete("b");
    assert_eq!(gone.status, 202, "{gone:?}");
    let receipt = &gone.json()["visible"];
    assert_eq!(
        (&receipt["applied"], &receipt["missing"]),
        (&json!(1), &json!(["two"]))
    );
    let by_command = on(&one, &["delete", "c", "--yes", "--wait", "--json"]);
    assert_eq!(by_command.code, Some(4), "{by_command:?}");
    let link: Value = serde_json::from_str(&by_command.out).unwrap();
    assert_eq!(
        (&link["code"], &link["visible"]["missing"]),
        (&json!("c"), &json!(["two"]))
    );
    two.signal(Signal::SIGCONT);
    two.wait_for_answer(&name("c"), &Answer::Absent, PATIENCE);
}
