//! Outages of Redis, of the table and of the database: no answer is wrong, the servers answer what they can know, and afterwards
//! everything is as before without a restart.

mod database;
mod redis;
mod table;

use std::time::{Duration, Instant};

use crate::harness::{Answer, Server};

/// How long a change may take to be seen by others while all is well.
const SOON: Duration = Duration::from_secs(1);

/// The same for servers that receive no changes: they look again after a second, and the look-up takes some time.
const BY_LOOKING: Duration = Duration::from_secs(3);

/// How long after the return of Redis answers may still come from its old data.
const SETTLING: Duration = Duration::from_secs(2);

/// The time of 99 of 100 queries during an outage. Resolvers wait for a second or more; tinyns gives up after 1.5 s.
const PROMPT: Duration = Duration::from_millis(500);

/// `[redis]` with the time-out of real life.
const STRICT: &str = "warm_load = false\n";

/// Memory that has to look behind itself all the time.
const SHORT_MEMORY: &str = "[cache]\nrefresh = 1\nabsent = 1\n";

fn code(number: usize) -> String {
    format!("k{number}")
}

fn name(number: usize) -> String {
    format!("{}.s.example.com", code(number))
}

fn url(number: usize, round: usize) -> String {
    format!("https://example.net/{number}/{round}")
}

/// Asks for all these links in turn, and returns how long the slowest but one in a hundred took.
fn p99(server: &Server, links: usize, queries: usize, round: usize) -> Duration {
    let ask = |query: usize| {
        let number = query % links;
        let begin = Instant::now();
        assert_eq!(
            server.answer(&name(number)),
            Answer::Url(url(number, round))
        );
        begin.elapsed()
    };
    let mut times: Vec<_> = (0..queries).map(ask).collect();
    times.sort_unstable();
    times[queries * 99 / 100 - 1]
}

fn register_all(server: &Server, links: usize) {
    for number in 0..links {
        server.register(&code(number), &url(number, 0));
    }
}

fn change_all(server: &Server, links: usize, round: usize) {
    for number in 0..links {
        let changed = server.redirect_to(&code(number), &url(number, round));
        assert_eq!(changed.status, 200, "{changed:?}");
    }
}

/// For this time no server answers anything but this round of any link.
fn always(servers: &[&Server], links: usize, round: usize, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for number in 0..links {
            for server in servers {
                assert_eq!(
                    server.answer(&name(number)),
                    Answer::Url(url(number, round))
                );
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until all servers answer this round of all links.
fn come_to(servers: &[&Server], links: usize, round: usize, patience: Duration) {
    let end = Instant::now() + patience;
    for number in 0..links {
        for server in servers {
            let left = end.saturating_duration_since(Instant::now());
            server.wait_for_answer(&name(number), &Answer::Url(url(number, round)), left);
        }
    }
}
