//! Statistics from end to end: look-ups by DNS and clicks by HTTP are counted exactly, by two servers that share a database.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::harness::many::{self, anonymous, ask_for_each, fill, has_huge_pages_for_all};
use crate::harness::{Server, Setup, eventually, http, run};
use crate::postgres::Postgres;
use crate::redis::RedisServer;

pub const LINKS: usize = 30;
/// How long it may take until all counts are in the store: a flush, and the pauses after a failure.
pub const FLUSHED: Duration = Duration::from_secs(60);
/// Longer than the time between two flushes.
const ONE_MORE_FLUSH: Duration = Duration::from_secs(7);
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// How often each link was used: look-ups, clicks of persons, clicks of robots.
pub type Used = Mutex<HashMap<usize, [u64; 3]>>;

pub fn code(number: usize) -> String {
    format!("n{number}")
}

pub fn name(number: usize) -> String {
    format!("{}.s.example.com", code(number))
}

/// One use of a link, which counts if the server has replied with the link.
pub fn use_once(server: &Server, number: usize, round: usize, used: &Used) {
    let kind = round % 5;
    let counted = match kind {
        0..=2 => {
            let rtype = [RecordType::TXT, RecordType::A, RecordType::AAAA][kind];
            let reply = server.ask(&name(number), rtype);
            reply.metadata.response_code == ResponseCode::NoError
        }
        _ => {
            let agent = if kind == 3 { BROWSER } else { ROBOT };
            let url = format!("http://{}/", server.redirect);
            let headers = [("Host", &*name(number)), ("User-Agent", agent)];
            http("GET", &url, &headers, None).status == 302
        }
    };
    if counted {
        used.lock().unwrap().entry(number).or_default()[kind.saturating_sub(2)] += 1;
    }
}

/// What the store has of a link.
pub fn stored(server: &Server, number: usize) -> [u64; 3] {
    let path = format!("/v1/links/{}/stats?by=month", code(number));
    let reply = server.api("GET", &path, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let count = |value: &Value| value.as_u64().unwrap();
    [
        count(&json["lookups"]["all"]),
        count(&json["clicks"]["person"]),
        count(&json["clicks"]["bot"]),
    ]
}

fn on(postgres: &Postgres) -> Setup {
    let url = postgres.url();
    Setup::new().store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
}

pub fn register(server: &Server) {
    for number in 0..LINKS {
        server.register(&code(number), &format!("https://example.net/{number}"));
    }
}

/// While two servers are used, Redis dies and comes back empty, and the database hangs for longer than a call may take.
#[test]
fn all_uses_are_counted_once_while_redis_and_the_database_fail() {
    let (postgres, mut redis) = (Postgres::start(), RedisServer::start());
    let lines = format!("[redis]\nurl = \"{}\"\n", redis.url());
    let servers = [(); 2].map(|()| on(&postgres).section(&lines).start());
    register(&servers[0]);
    let (used, is_over) = (Used::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (server, used, is_over) = (&servers[thread % 2], &used, &is_over);
            scope.spawn(move || {
                for round in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    use_once(server, fastrand::usize(..LINKS), round, used);
                    // A name that has no link.
                    server.ask(&name(LINKS + round), RecordType::TXT);
                }
            });
        }
        let pause = |millis| std::thread::sleep(Duration::from_millis(millis));
        pause(4_000);
        redis.kill();
        pause(3_000);
        postgres.freeze();
        pause(12_000);
        postgres.thaw();
        pause(1_000);
        redis.restart_empty();
        pause(2_000);
        is_over.store(true, Ordering::Relaxed);
    });
    let used = used.into_inner().unwrap();
    let all: u64 = used.values().flatten().sum();
    assert!(all > 1_000, "{all} uses");
    let is_equal = || {
        used.iter()
            .all(|(number, uses)| stored(&servers[0], *number) == *uses)
    };
    eventually("everything is counted", FLUSHED, is_equal);
    std::thread::sleep(ONE_MORE_FLUSH);
    for (number, uses) in &used {
        assert_eq!(stored(&servers[1], *number), *uses, "{}", name(*number));
    }
    for server in &servers {
        assert_eq!(server.metric("tinyns_statistics_dropped_total", &[]), 0.0);
    }
    let names =
        postgres.psql("SELECT count(DISTINCT code) FROM tinyns.statistics WHERE code <> ''");
    assert_eq!(names, LINKS.to_string(), "names without links have no rows");
}

/// What a server has counted is in the store when it has stopped.
#[test]
fn an_orderly_stop_loses_nothing() {
    let mut server = Setup::new().start();
    register(&server);
    let used = Used::default();
    for round in 0..3 {
        for number in 0..200 {
            use_once(&server, number % LINKS, number, &used);
        }
        if round < 2 {
            server = server.restart();
        }
    }
    server = server.restart();
    for (number, uses) in used.into_inner().unwrap() {
        assert_eq!(stored(&server, number), uses, "{}", name(number));
    }
}

/// A server that is killed loses the last seconds at most, and nothing is counted twice.
#[test]
fn a_killed_server_loses_some_seconds() {
    let postgres = Postgres::start();
    let mut server = on(&postgres).start();
    register(&server);
    let ask = |server: &Server, times: usize| {
        for _ in 0..times {
            server.ask(&name(0), RecordType::TXT);
        }
    };
    let (mut sure, mut all) = (0, 0);
    for round in 0..3 {
        ask(&server, 300);
        all += 300;
        eventually("the first ones are counted", FLUSHED, || {
            stored(&server, 0)[0] >= sure + 300
        });
        sure = stored(&server, 0)[0];
        assert!(sure <= all, "{sure} of {all}");
        ask(&server, 100);
        all += 100;
        // At some time around the next flush.
        std::thread::sleep(Duration::from_millis(1_500 * round));
        server = server.crash_and_restart();
        let now = stored(&server, 0)[0];
        assert!((sure..=all).contains(&now), "{now}: {sure} to {all}");
        // The rest is lost.
        (sure, all) = (now, now);
    }
}

#[test]
fn statistics_can_be_switched_off() {
    let postgres = Postgres::start();
    let server = on(&postgres)
        .section("[statistics]\nenabled = false\n")
        .start();
    register(&server);
    let used = Used::default();
    for number in 0..50 {
        use_once(&server, number % LINKS, number, &used);
    }
    std::thread::sleep(ONE_MORE_FLUSH);
    let reply = server.api("GET", "/v1/links/n0/stats", None);
    assert_eq!(reply.status, 404, "{reply:?}");
    assert_eq!(
        reply.json()["type"]
            .as_str()
            .map(|it| it.ends_with("no-statistics")),
        Some(true)
    );
    assert_eq!(postgres.psql("SELECT count(*) FROM tinyns.statistics"), "0");
}

/// How many look-ups the store has taken, and how many were dropped.
fn taken(server: &Server) -> [f64; 2] {
    ["flushed", "dropped"]
        .map(|what| server.metric(&format!("tinyns_statistics_{what}_total"), &[]))
}

fn readiness(server: &Server) -> Value {
    server.api("GET", "/readyz", None).json()
}

/// Each of many links is asked for once, and then some of them again. All are counted, or counted as dropped, and what waits
/// takes little memory.
#[test]
fn many_links_that_are_used_once_are_counted_within_a_bound_of_memory() {
    const MANY: u64 = 50_000;
    const AGAIN: u64 = 300;
    /// What a link may take, in bytes, when it is hot, its count waits, and its rankings are behind.
    const LINK: u64 = 1_200;
    /// What a server without links may take, in bytes.
    const EMPTY: u64 = 16 << 20;
    let server = Server::start();
    fill(&server, MANY);
    let server = server.restart();
    ask_for_each(&server, 0..MANY);
    let memory = anonymous(&server);
    let is_flushed = |asked: u64| taken(&server).iter().sum::<f64>() == asked as f64;
    eventually("all are counted", 2 * FLUSHED, || is_flushed(MANY));
    let memory = memory.max(anonymous(&server));
    let [flushed, dropped] = taken(&server);
    let all_time = || {
        let reply = server.api("GET", "/v1/stats?by=month", None).json();
        let lookups = reply["lookups"]["all"].as_u64().unwrap();
        let most = reply["most_used"]["by_lookups"][0]["code"].clone();
        (lookups as f64, most)
    };
    assert_eq!(all_time().0, flushed, "{dropped} were dropped");
    let bound = EMPTY + MANY * LINK;
    assert!(
        memory <= bound || has_huge_pages_for_all(),
        "{memory} bytes, at most {bound}"
    );

    // The rankings follow, also those of few links after many.
    let last = many::code(MANY - 1);
    ask_for_each(&server, std::iter::repeat_n(MANY - 1, AGAIN as usize));
    eventually("all are counted", FLUSHED, || is_flushed(MANY + AGAIN));
    eventually("the ranking follows", FLUSHED, || {
        all_time().1 == last.as_str()
    });
}

/// A limit on the size of files stands for a full disk.
#[test]
fn counts_wait_while_the_disk_is_full() {
    const USED: usize = 200;
    let server = Setup::new().limits("trap '' XFSZ").start();
    for number in 0..USED {
        server.register(&code(number), &format!("https://example.net/{number}"));
    }
    let pid = server.pid().to_string();
    let limit = |bytes: &str| {
        run(
            "prlimit",
            &["--pid", &pid, &format!("--fsize={bytes}:unlimited")],
        )
    };
    // Less than each transaction adds to the log of SQLite.
    limit("8192");
    let mut asked = 0;
    let mut ask = || {
        for number in 0..USED {
            let reply = server.ask(&name(number), RecordType::TXT);
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            asked += 1;
        }
        asked
    };
    ask();
    server.log().wait_for("the store does not take counts");
    assert!(server.metric("tinyns_statistics_failures_total", &[]) > 0.0);
    ask();
    eventually("readiness tells it", FLUSHED, || {
        readiness(&server)
            .to_string()
            .contains("does not take statistics")
    });
    let all = ask() as f64;
    assert!(server.metric("tinyns_statistics_buffered", &[]) > 0.0);
    let [flushed, dropped] = taken(&server);
    assert!(flushed < all, "{flushed} of {all}");
    assert_eq!(dropped, 0.0);

    limit("unlimited");
    eventually("all are counted", FLUSHED, || taken(&server) == [all, 0.0]);
    server.log().wait_for("the store takes counts again");
    std::thread::sleep(ONE_MORE_FLUSH);
    for number in 0..USED {
        assert_eq!(stored(&server, number), [3, 0, 0], "{}", name(number));
    }
    assert!(!readiness(&server).to_string().contains("statistics"));
}
