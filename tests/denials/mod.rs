//! The existence filters of servers that share a store: none of them denies a link that was acknowledged, at no moment of
//! start, stop, hang and fail-over.

mod dynamodb;
mod postgres;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Answer, PATIENCE, Server, eventually};

/// How long an answer may take while Redis hangs.
const ANSWER: Duration = Duration::from_secs(8);
/// How long the filter may need to come back after something has gone wrong: it waits before it scans the store again.
const BACK: Duration = Duration::from_secs(60);

fn url(code: &str) -> String {
    format!("https://example.net/{code}")
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

/// Waits until the filter of a server denies.
fn complete(server: &Server) {
    eventually("the filter denies", BACK, || denies(server));
}

fn denies(server: &Server) -> bool {
    server.metric("tinyns_filter_complete", &[]) == 1.0
}

fn builds(server: &Server) -> f64 {
    server.metric("tinyns_filter_builds_total", &[])
}

/// How many creations on this server have waited for longer than usual.
fn slow(server: &Server) -> f64 {
    server.metric("tinyns_filter_slow_creations_total", &[])
}

fn lookups(server: &Server, tier: &str) -> u64 {
    server.metric("tinyns_link_lookups_total", &[("tier", tier)]) as u64
}

/// Makes a link; true if the server said that it did.
fn made(server: &Server, code: &str) -> bool {
    let body = json!({ "url": url(code), "code": code });
    let reply = server.try_api("POST", "/v1/links", Some(&body));
    reply.is_some_and(|reply| matches!(reply.status, 200 | 201))
}

/// Checks that a server does not deny a link. It may say that it does not know.
fn check(server: &Server, code: &str) {
    match server.answer_within(&name(code), ANSWER) {
        Some(Answer::Absent) => panic!("{code} is denied\n{}", server.log().text()),
        Some(Answer::Url(found)) => assert_eq!(found, url(code)),
        Some(Answer::Unknown(_)) | None => {}
    }
}

/// Random names cost neither a look-up in the store nor in Redis.
fn check_random_names(server: &Server) {
    complete(server);
    let behind = || lookups(server, "Memory") + lookups(server, "Redis") + lookups(server, "Store");
    let before = (behind(), lookups(server, "Filter"));
    for number in 0..200 {
        let name = format!("random{number}.s.example.com");
        assert_eq!(server.answer(&name), Answer::Absent);
    }
    // One name in 180 passes the filter, and costs a look at all tiers. A busy machine may make it stand aside for a moment.
    assert!(behind() - before.0 < 60, "{}", behind() - before.0);
    assert!(lookups(server, "Filter") - before.1 >= 160);
}

/// Links are there on the other server as soon as they are acknowledged.
fn links_are_there_once_acknowledged(servers: &[Server; 2], links: usize) {
    servers.iter().for_each(complete);
    for number in 0..links {
        let code = format!("c{number}");
        let (maker, other) = (&servers[number % 2], &servers[1 - number % 2]);
        assert!(made(maker, &code));
        assert_eq!(
            other.answer(&name(&code)),
            Answer::Url(url(&code)),
            "{code}"
        );
    }
    servers.iter().for_each(check_random_names);
}

/// The second server is stopped while the first one makes links, and is asked for them at the moment when it continues.
fn a_server_denies_nothing_when_it_continues(servers: &[Server; 2], times: &[Duration]) {
    const AT_ONCE: usize = 4;
    let [one, two] = servers;
    for (round, time) in times.iter().enumerate() {
        servers.iter().for_each(complete);
        two.signal(Signal::SIGSTOP);
        let codes: Vec<_> = (0..AT_ONCE).map(|n| format!("s{round}-{n}")).collect();
        std::thread::scope(|scope| {
            for code in &codes {
                scope.spawn(move || assert!(made(one, code)));
            }
            std::thread::sleep(*time);
        });
        std::thread::scope(|scope| {
            for code in &codes {
                scope.spawn(move || check(two, code));
            }
            // They wait in the socket already.
            std::thread::sleep(Duration::from_millis(200));
            two.signal(Signal::SIGCONT);
        });
        for code in &codes {
            two.wait_for_answer(&name(code), &Answer::Url(url(code)), PATIENCE);
        }
    }
}

/// Links are made on all servers, and each is asked for on all of them at once, while `faults` happen.
fn nothing_is_denied_while(servers: &[&Server], faults: impl FnOnce()) {
    const WRITERS: usize = 4;
    static TRIAL: AtomicUsize = AtomicUsize::new(0);
    let trial = TRIAL.fetch_add(1, Ordering::SeqCst);
    let (over, all) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let denied: Vec<_> = servers.iter().map(|s| lookups(s, "Filter")).collect();
    std::thread::scope(|scope| {
        let (over, all) = (&over, &all);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let _ending = Ending(over);
                    for number in 0.. {
                        if over.load(Ordering::SeqCst) {
                            return;
                        }
                        let code = format!("t{trial}-{writer}-{number}");
                        if !made(servers[writer % servers.len()], &code) {
                            continue;
                        }
                        all.lock().unwrap().push(code.clone());
                        let earlier = {
                            let all = all.lock().unwrap();
                            all[fastrand::usize(..all.len())].clone()
                        };
                        for server in servers {
                            check(server, &code);
                            check(server, &earlier);
                            let random = format!("r{trial}-{writer}-{number}.s.example.com");
                            server.answer_within(&random, ANSWER);
                        }
                    }
                })
            })
            .collect();
        faults();
        over.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    let all = all.into_inner().unwrap();
    println!("{} links", all.len());
    assert!(all.len() > 20, "{} links", all.len());
    for (server, denied) in servers.iter().zip(denied) {
        println!("{} denials", lookups(server, "Filter") - denied);
        for code in &all {
            server.wait_for_answer(&name(code), &Answer::Url(url(code)), PATIENCE);
        }
    }
}

/// Ends all threads, also where one has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Servers start, one after the other, while links are made.
fn nothing_is_denied_at_the_start(one: &Server, start: impl Fn() -> Server) {
    complete(one);
    for _ in 0..2 {
        let mut two = start();
        nothing_is_denied_while(&[one, &two], || {
            complete(&two);
            std::thread::sleep(Duration::from_secs(2));
        });
        assert!(two.stop().success());
    }
}
