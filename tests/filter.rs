//! The existence filter in the running server: it denies names without a link without asking the store, and never
//! denies a link, at any moment of starts, changes, and writes by other programs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::json;
use tinyns::store::watch::VALID_FOR;

use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, http, run};

const COMPLETE: &str = "tinyns_filter_complete";

/// Waits until the filter of a server denies.
fn complete(server: Server) -> Server {
    eventually("complete", PATIENCE, || server.metric(COMPLETE, &[]) == 1.0);
    server
}

fn builds(server: &Server) -> u64 {
    server.metric("tinyns_filter_builds_total", &[]) as u64
}

/// How many look-ups a tier has had.
fn lookups(server: &Server, tier: &str) -> u64 {
    server.metric("tinyns_link_lookups_total", &[("tier", tier)]) as u64
}

fn url(code: &str) -> String {
    format!("https://example.net/{code}")
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

/// Makes a link; true if the server said that it did.
fn made(server: &Server, code: &str) -> bool {
    let body = json!({ "url": url(code), "code": code });
    let reply = server.try_api("POST", "/v1/links", Some(&body));
    reply.is_some_and(|reply| matches!(reply.status, 200 | 201))
}

/// The response of the redirect host for a code.
fn redirected(server: &Server, code: &str) -> u16 {
    let host = name(code);
    let place = format!("http://{}/", server.redirect);
    http("GET", &place, &[("host", &host)], None).status
}

/// DNS and the redirect host both have the link.
fn check_there(server: &Server, code: &str) {
    assert_eq!(server.answer(&name(code)), Answer::Url(url(code)), "{code}");
    assert_eq!(redirected(server, code), 302, "{code}");
}

fn check_absent(server: &Server, code: &str) {
    assert_eq!(server.answer(&name(code)), Answer::Absent, "{code}");
    assert_eq!(redirected(server, code), 404, "{code}");
}

/// What an operator's script does: another process that writes to the file.
pub fn foreign(server: &Server, sql: &str) {
    let program = "\
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as file:
    file.execute(sys.argv[2])
";
    let file = server.dir().join("data/links.sqlite");
    run("python3", &["-c", program, file.to_str().unwrap(), sql]);
}

pub fn insert(code: &str) -> String {
    let url = url(code);
    format!(
        "INSERT INTO link (origin, code, url, created_at, created_by, version) \
         VALUES ('s.example.com', '{code}', '{url}', 1, 'me', 7)"
    )
}

#[test]
fn names_without_a_link_are_denied_without_a_look_up() {
    let server = complete(Server::start());
    for number in 0..50 {
        check_absent(&server, &format!("random{number}"));
        // Of any case, as resolvers send it.
        assert_eq!(
            server.answer(&format!("RanDom{number}.S.example.com")),
            Answer::Absent
        );
    }
    assert_eq!(lookups(&server, "Filter"), 150);
    assert_eq!(lookups(&server, "Memory") + lookups(&server, "Store"), 0);
    let register = |number: u32| made(&server, &format!("made{number}"));
    assert!((0..20).all(register));
    assert_eq!(server.metric("tinyns_filter_links", &[]), 20.0);
    assert!(server.metric("tinyns_filter_bytes", &[]) >= 65_536.0);
    // The server's own writes never cause a new build.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((builds(&server), server.metric(COMPLETE, &[])), (1, 1.0));
}

#[test]
fn a_link_is_answered_as_soon_as_it_is_made_and_made_again() {
    let server = complete(Server::start());
    for round in 0..20 {
        let code = format!("new{round}");
        check_absent(&server, &code);
        for _ in 0..3 {
            assert!(made(&server, &code));
            check_there(&server, &code);
            assert_eq!(server.remove(&code).status, 204);
            check_absent(&server, &code);
        }
    }
    assert_eq!(builds(&server), 1);
}

#[test]
fn links_are_answered_at_every_moment_of_a_start() {
    let mut server = Server::start();
    let codes: Vec<_> = (0..100).map(|number| format!("c{number}")).collect();
    assert!(codes.iter().all(|code| made(&server, code)));
    for round in 0..4 {
        server = match round % 2 {
            0 => server.crash_and_restart(),
            _ => server.restart(),
        };
        for code in &codes {
            assert_eq!(server.answer(&name(code)), Answer::Url(url(code)), "{code}");
        }
        server = complete(server);
        codes
            .iter()
            .step_by(10)
            .for_each(|code| check_there(&server, code));
        check_absent(&server, "absent");
    }
}

#[test]
fn links_acknowledged_before_a_kill_are_never_denied_after_it() {
    let mut server = complete(Server::start());
    let mut all = Vec::new();
    for round in 0..4 {
        let acknowledged = Mutex::new(Vec::new());
        let pid = server.pid();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (server, acknowledged) = (&server, &acknowledged);
                scope.spawn(move || {
                    for number in 0.. {
                        let code = format!("k{round}-{writer}-{number}");
                        if !made(server, &code) {
                            break;
                        }
                        acknowledged.lock().unwrap().push(code);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(100 + 70 * round));
            kill(pid, Signal::SIGKILL).unwrap();
        });
        server = server.crash_and_restart();
        all.extend(acknowledged.into_inner().unwrap());
        let answer = |code: &String| server.answer(&name(code)) == Answer::Url(url(code));
        assert!(all.iter().all(answer), "while it is built");
        server = complete(server);
        let answer = |code: &String| server.answer(&name(code)) == Answer::Url(url(code));
        assert!(all.iter().all(answer), "when it is complete");
    }
    assert!(all.len() > 40, "{}", all.len());
}

#[test]
fn links_written_by_another_program_are_answered_soon() {
    let server = complete(Server::start());
    assert!(made(&server, "ours"));
    for code in ["theirs1", "theirs2", "theirs3"] {
        check_absent(&server, code);
        let before = builds(&server);
        foreign(&server, &insert(code));
        server.wait_for_answer(&name(code), &Answer::Url(url(code)), PATIENCE);
        // Not only because the filter stands aside: it comes back, with the link in it.
        eventually("built anew", PATIENCE, || builds(&server) > before);
        let server = &server;
        eventually("complete", PATIENCE, || server.metric(COMPLETE, &[]) == 1.0);
        check_there(server, code);
        check_there(server, "ours");
        check_absent(server, "absent");
    }
    // Reads cause no new build.
    let before = builds(&server);
    foreign(&server, "SELECT count(*) FROM link");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(builds(&server), before);
    foreign(&server, "DELETE FROM link WHERE code LIKE 'theirs%'");
    let link = "theirs1.s.example.com";
    eventually("gone", PATIENCE, || {
        server.metric("tinyns_filter_links", &[]) == 1.0
    });
    let denied = lookups(&server, "Filter");
    server.wait_for_answer(link, &Answer::Absent, PATIENCE);
    assert!(lookups(&server, "Filter") > denied, "memory still holds it");
}

#[test]
fn a_change_to_a_link_of_another_program_is_answered_at_once() {
    let server = complete(Server::start());
    for round in 0..10 {
        let code = format!("theirs{round}");
        foreign(&server, &insert(&code));
        assert_eq!(
            server.redirect_to(&code, "https://example.net/new").status,
            200
        );
        let answer = server.answer(&name(&code));
        assert_eq!(answer, Answer::url("https://example.net/new"), "{code}");
    }
}

/// When it continues, it does not know what it missed until it has looked, and a client may ask before that.
#[test]
fn a_server_that_was_suspended_denies_no_name_that_may_have_been_created() {
    let server = complete(Server::start());
    check_absent(&server, "theirs");
    server.signal(Signal::SIGSTOP);
    foreign(&server, &insert("theirs"));
    std::thread::sleep(VALID_FOR + Duration::from_millis(500));
    let asked = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.answer(&name("theirs"))))
            .collect();
        // They wait in the socket already.
        std::thread::sleep(Duration::from_millis(200));
        server.signal(Signal::SIGCONT);
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(asked, vec![Answer::Url(url("theirs")); 4]);
}

#[test]
fn own_links_are_answered_while_another_program_keeps_writing() {
    let server = Arc::new(complete(Server::start()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                foreign(&server, &insert(&format!("theirs{number}")));
                std::thread::sleep(Duration::from_millis(400));
            }
        });
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..150 {
                        let code = format!("ours{writer}-{number}");
                        assert!(made(server, &code));
                        check_there(server, &code);
                        let earlier = format!("ours{writer}-{}", number / 2);
                        assert_eq!(server.answer(&name(&earlier)), Answer::Url(url(&earlier)));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        over.store(true, Ordering::SeqCst);
        others.join().unwrap();
        assert!(ended.iter().all(Result::is_ok));
    });
}

#[test]
fn the_filter_can_be_turned_off() {
    let server = Setup::new().section("[cache]\nfilter = false\n").start();
    check_absent(&server, "absent");
    assert_eq!(lookups(&server, "Store"), 1);
    std::thread::sleep(Duration::from_millis(500));
    check_absent(&server, "other");
    assert_eq!(lookups(&server, "Filter") + builds(&server), 0);
}
