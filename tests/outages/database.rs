//! The PostgreSQL server is killed, hangs, or comes late; and a server of its links is killed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{SOON, come_to, name, register_all, url};
use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, try_api};
use crate::postgres::Postgres;

/// Links that were asked for stay in memory for the whole test.
const LONG_MEMORY: &str = "[cache]\nrefresh = 3600\nabsent = 3600\n";

fn store(postgres: &Postgres) -> String {
    format!("kind = \"postgresql\"\nurl = \"{}\"\n", postgres.url())
}

fn on(postgres: &Postgres) -> Setup {
    Setup::new().store(&store(postgres))
}

fn is_ready(server: &Server) -> bool {
    let paths = ["/readyz", "/readyz/changes"];
    paths
        .iter()
        .all(|path| server.api("GET", path, None).json()["status"] == "ready")
}

/// Ends the clients of a test, also if it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Creates links by four clients until `stop` is set. Passes on each code that was acknowledged.
fn create_until(
    stop: &AtomicBool,
    admin: std::net::SocketAddr,
    acknowledged: &Mutex<Vec<String>>,
    round: usize,
) {
    std::thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let code = format!("k{round}-{client}-{number}");
                    let new = json!({ "url": format!("https://example.net/{code}"), "code": code });
                    match try_api(admin, "POST", "/v1/links", Some(&new)) {
                        Some(reply) if reply.status == 201 => {
                            acknowledged.lock().unwrap().push(code)
                        }
                        // The outcome may be unknown to the server, but no code is another client's.
                        Some(reply) => assert_eq!(reply.status, 503, "{reply:?}"),
                        None => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
    });
}

/// Each code that was acknowledged is there, and was made once; the others were made once or not at all.
fn check_all(postgres: &Postgres, acknowledged: &[String]) {
    let codes = postgres.psql("SELECT code FROM tinyns.link");
    let codes: std::collections::HashSet<&str> = codes.lines().collect();
    for code in acknowledged {
        assert!(codes.contains(&**code), "{code} is lost");
    }
    let differ = "SELECT count(*) FROM (SELECT code FROM tinyns.link) l FULL JOIN \
        (SELECT code, count(*) AS n FROM tinyns.audit WHERE action = 'link.created' GROUP BY code) a USING (code) \
        WHERE n IS DISTINCT FROM 1 OR code IS NULL";
    assert_eq!(postgres.psql(differ), "0");
    let entries = "SELECT count(*) FROM tinyns.audit WHERE action = 'link.created'";
    assert_eq!(postgres.psql(entries), codes.len().to_string());
}

#[test]
fn kill_9_of_the_server_loses_no_acknowledged_link_and_makes_none_twice() {
    let postgres = Postgres::start();
    let mut server = on(&postgres).start();
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..3 {
        let stop = AtomicBool::new(false);
        let before = acknowledged.lock().unwrap().len();
        let admin = server.admin;
        server = std::thread::scope(|scope| {
            scope.spawn(|| create_until(&stop, admin, &acknowledged, round));
            let _stop = Stop(&stop);
            eventually("some links are made", PATIENCE, || {
                acknowledged.lock().unwrap().len() > before + 50
            });
            server.crash_and_restart()
        });
    }
    check_all(&postgres, &acknowledged.lock().unwrap());
    let code = acknowledged.lock().unwrap()[0].clone();
    server.wait_for_answer(
        &format!("{code}.s.example.com"),
        &Answer::url(&format!("https://example.net/{code}")),
        SOON,
    );
}

/// PostgreSQL dies under load and comes back, twice.
#[test]
fn kill_9_of_postgresql_under_load_leaves_answers_from_memory_and_loses_nothing() {
    const LINKS: usize = 20;
    let mut postgres = Postgres::with(&["fsync=on"]);
    let server = on(&postgres).section(LONG_MEMORY).start();
    register_all(&server, LINKS);
    come_to(&[&server], LINKS, 0, SOON);
    let acknowledged = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    // Not the log of requests, and not what only developers read.
    let lines = || {
        let text = server.log().text();
        let is_shown = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        text.lines().filter(is_shown).count()
    };
    let admin = server.admin;
    std::thread::scope(|scope| {
        scope.spawn(|| create_until(&stop, admin, &acknowledged, 0));
        let _stop = Stop(&stop);
        for _ in 0..2 {
            let before = acknowledged.lock().unwrap().len();
            eventually("links are made", PATIENCE, || {
                acknowledged.lock().unwrap().len() > before + 50
            });
            let (logged, began) = (lines(), Instant::now());
            postgres.kill();
            eventually("it says what is wrong", PATIENCE, || {
                let ready = server.api("GET", "/readyz", None);
                let changes = server.api("GET", "/readyz/changes", None);
                changes.status == 503 && ready.json()["reasons"].to_string().contains("link store")
            });
            for _ in 0..5 {
                for number in 0..LINKS {
                    assert_eq!(server.answer(&name(number)), Answer::Url(url(number, 0)));
                }
            }
            let unknown = server.answer("unread.s.example.com");
            assert!(matches!(unknown, Answer::Unknown(Some(_))), "{unknown:?}");
            // Four clients have failed all the time.
            let (more, seconds) = (lines() - logged, began.elapsed().as_secs() as usize);
            assert!(
                (1..=10 + seconds).contains(&more),
                "{more} lines in {seconds} s"
            );
            postgres.start_again();
            let before = acknowledged.lock().unwrap().len();
            eventually("links are made again", PATIENCE, || {
                acknowledged.lock().unwrap().len() > before + 10
            });
        }
    });
    eventually("all is well", PATIENCE, || is_ready(&server));
    let all = acknowledged.lock().unwrap();
    for code in all.iter().step_by(all.len() / 20 + 1) {
        let expected = Answer::url(&format!("https://example.net/{code}"));
        server.wait_for_answer(&format!("{code}.s.example.com"), &expected, PATIENCE);
    }
    check_all(&postgres, &all);
}

#[test]
fn while_postgresql_hangs_calls_end_and_answers_from_memory_go_on() {
    const LINKS: usize = 5;
    let postgres = Postgres::start();
    let server = on(&postgres).section(LONG_MEMORY).start();
    register_all(&server, LINKS);
    come_to(&[&server], LINKS, 0, SOON);
    postgres.freeze();
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    let refused = server.api("POST", "/v1/links", Some(&new));
    assert_eq!(refused.status, 503, "{refused:?}");
    come_to(&[&server], LINKS, 0, SOON);
    let unknown = server.answer("unread.s.example.com");
    assert!(matches!(unknown, Answer::Unknown(Some(_))), "{unknown:?}");
    assert_eq!(server.api("GET", "/readyz/changes", None).status, 503);
    postgres.thaw();
    // The outcome of the creation is settled: it was made, or it can be made now.
    eventually("the link can be made", PATIENCE, || {
        matches!(
            server.api("POST", "/v1/links", Some(&new)).status,
            200 | 201
        )
    });
    eventually("all is well", PATIENCE, || is_ready(&server));
    server.wait_for_answer(
        "new.s.example.com",
        &Answer::url("https://example.net/new"),
        SOON,
    );
}

/// Neither a port without a server nor a server that does not reply holds the start up.
#[test]
fn a_server_starts_before_postgresql_and_finds_it_later() {
    let mut postgres = Postgres::start();
    {
        let mut server = on(&postgres).start();
        server.register("a", "https://example.net/a");
        assert!(server.stop().success());
    }
    postgres.stop();
    let refused = on(&postgres).start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!(
        "kind = \"postgresql\"\nurl = \"postgresql://tinyns@{}/tinyns\"\n",
        silent.local_addr().unwrap()
    );
    let hanging = Setup::new().store(&hanging).start();
    for server in [&refused, &hanging] {
        let ready = server.api("GET", "/readyz", None);
        assert_eq!(ready.status, 503, "{ready:?}");
        assert!(
            ready.json()["reasons"].to_string().contains("link store"),
            "{ready:?}"
        );
        let answer = server.answer("a.s.example.com");
        assert!(matches!(answer, Answer::Unknown(Some(_))), "{answer:?}");
        assert!(server.log().text().contains("starts without the database"));
    }
    postgres.start_again();
    refused.wait_for_answer(
        "a.s.example.com",
        &Answer::url("https://example.net/a"),
        PATIENCE,
    );
    eventually("all is well", PATIENCE, || is_ready(&refused));
    refused.log().wait_for("can be used now");
}

#[test]
fn a_new_password_is_used_after_sighup() {
    let postgres = Postgres::start();
    let rule = |method: &str| format!("local all all trust\nhost all all 127.0.0.1/32 {method}\n");
    postgres.set_rules(&rule("scram-sha-256"));
    postgres.reload();
    let setup = on(&postgres);
    let file = setup.dir().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let server = setup
        .store_line(&format!("password_file = \"{}\"\n", file.display()))
        .start();
    server.register("a", "https://example.net/a");
    postgres.psql_as(
        "postgres",
        "postgres",
        "ALTER ROLE tinyns PASSWORD 'second'",
    );
    let end_all =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'tinyns'";
    postgres.psql_as("postgres", "postgres", end_all);
    eventually("the old password does not work", PATIENCE, || {
        let ready = server.api("GET", "/readyz", None).json();
        ready["reasons"].to_string().contains("link store")
    });
    std::fs::write(&file, "second\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_answer(
        "a.s.example.com",
        &Answer::url("https://example.net/a"),
        PATIENCE,
    );
    let new = json!({ "url": "https://example.net/b", "code": "b" });
    eventually("changes are taken", PATIENCE, || {
        matches!(
            server.api("POST", "/v1/links", Some(&new)).status,
            200 | 201
        )
    });
}
