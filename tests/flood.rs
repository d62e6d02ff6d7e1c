//! A flood of random names. None of them is in memory or in Redis, and the server must not ask the table more often
//! than its budget allows. Clients that ask for existing links hardly notice the flood.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use crate::dynamo::Proxy;
use crate::harness::{Answer, Server, query};
use crate::redis::{Fleet, followed, setup};

/// How long the flood lasts, in seconds; TINYNS_TEST_FLOOD_SECONDS sets another time.
const SECONDS: u64 = 4;
/// How many queries a second are sent at most; TINYNS_TEST_FLOOD_RATE sets another number. Queries
/// that the program is too slow for are lost before it can distinguish a random name from a link, and a build without
/// optimisation handles a fraction of them.
const RATE: u64 = if cfg!(debug_assertions) {
    3_000
} else {
    100_000
};
/// How many threads send.
const SENDERS: u64 = 2;
/// How many queries are sent between two looks at the clock.
const BURST: u64 = 50;
/// How many queries of a sender may be without a reply. Then the sender waits for a moment, so that the program on a
/// busy machine does not get more queries than it can answer.
const WINDOW: u64 = 500;
const WINDOW_PATIENCE: Duration = Duration::from_millis(200);
/// `reads_per_second` of `[store]`.
const BUDGET: u64 = 200;
/// How many links there are, and are asked for.
const LINKS: usize = 100;
/// How often a resolver asks, and how long it waits each time.
const TRIES: usize = 15;
const TRY: Duration = Duration::from_secs(1);
/// `memory_mib` of `[cache]`; as many bytes as half of it may be in use for other reasons.
const MEMORY_MIB: u64 = 64;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Sends queries for random names until the time is over; returns how many.
fn send(server: &Server, rate: u64, end: Instant) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    let mut packet = query("00000000.s.example.com", RecordType::TXT)
        .to_bytes()
        .unwrap();
    // The name begins behind the header and the length of its first label.
    const LABEL: std::ops::Range<usize> = 13..21;
    socket.set_nonblocking(true).unwrap();
    let (begin, mut sent) = (Instant::now(), 0);
    let (mut open, mut progress) = (0, begin);
    let (mut random, mut reply) = ([0; 8], [0; 512]);
    while Instant::now() < end {
        let due = begin + Duration::from_secs_f64(sent as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..BURST {
            getrandom::fill(&mut random).unwrap();
            for (byte, random) in packet[LABEL].iter_mut().zip(random) {
                *byte = b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(random % 32)];
            }
            // A full queue of the system is a loss like any other.
            let _ = socket.send(&packet);
            sent += 1;
        }
        open += BURST;
        loop {
            while socket.recv(&mut reply).is_ok() {
                (open, progress) = (open.saturating_sub(1), Instant::now());
            }
            if open <= WINDOW {
                break;
            }
            if progress.elapsed() > WINDOW_PATIENCE {
                // They are lost.
                open = 0;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sent
}

fn name(number: usize) -> String {
    format!("known{number}.s.example.com")
}

fn url(number: usize) -> String {
    format!("https://example.net/{number}")
}

/// Asks as a resolver does.
fn resolve(server: &Server, name: &str) -> Answer {
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let next = Instant::now() + TRY;
        match server.answer_within(name, TRY) {
            Some(answer @ (Answer::Url(_) | Answer::Absent)) => return answer,
            other => tries.push(other),
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    panic!("{name}: {tries:?}");
}

#[test]
fn a_flood_of_random_names_costs_no_link_its_answer_and_the_table_little() {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let setup = setup(&proxy.url(), fleet.redis.url(), "warm_load = false\n");
    let setup = setup
        .store_line(&format!("reads_per_second = {BUDGET}"))
        .section(&format!("[cache]\nmemory_mib = {MEMORY_MIB}\n"))
        // A line for each query would slow it down.
        .env("TINYNS_LOG", "warn,tinyns=info");
    let server = followed(setup.start());
    let writer = fleet.node();
    for number in 0..LINKS {
        writer.register(&format!("known{number}"), &url(number));
    }
    // Half of them are in memory; the others are in Redis alone.
    for number in 0..LINKS / 2 {
        assert_eq!(server.answer(&name(number)), Answer::Url(url(number)));
    }
    let before = server.resident();
    let refused = || server.metric("tinyns_store_reads_refused_total", &[]);
    let (refused_before, _) = (refused(), proxy.reads());

    let seconds = from_environment("TINYNS_TEST_FLOOD_SECONDS", SECONDS);
    let rate = from_environment("TINYNS_TEST_FLOOD_RATE", RATE);
    let (begin, over) = (Instant::now(), AtomicBool::new(false));
    let end = begin + Duration::from_secs(seconds);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let senders = (0..SENDERS).map(|_| {
            scope.spawn(|| {
                sent.fetch_add(send(&server, rate / SENDERS, end), Ordering::Relaxed);
            })
        });
        let senders: Vec<_> = senders.collect();
        let asked = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                let number = asked % LINKS;
                assert_eq!(resolve(&server, &name(number)), Answer::Url(url(number)));
                asked += 1;
            }
            asked
        });
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        over.store(true, Ordering::Relaxed);
        let asked = asked.join().unwrap();
        assert!(asked > 0);
        eprintln!(
            "{} random names, {asked} links",
            sent.load(Ordering::Relaxed)
        );
    });

    // A second's worth may be saved up at the beginning, and a look-up may be tried twice where the table is slow, as
    // it is on a busy machine.
    let reads = proxy.reads() as u64;
    let budget = BUDGET * (begin.elapsed().as_secs() + 2);
    let most = budget * 3 / 2;
    assert!(reads <= most, "{reads} reads of the table, of {budget}");
    assert!(reads >= BUDGET, "{reads} reads of the table are no flood");
    assert!(refused() > refused_before);
    let grown = server.resident().saturating_sub(before);
    assert!(grown <= (MEMORY_MIB << 20) * 3 / 2, "{grown} bytes more");
    for number in 0..LINKS {
        assert_eq!(resolve(&server, &name(number)), Answer::Url(url(number)));
    }
    assert_eq!(resolve(&server, "absent.s.example.com"), Answer::Absent);
}
