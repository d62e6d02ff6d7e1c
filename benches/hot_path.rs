//! The time for one packet, in parts and as a whole, without sockets.
//!
//! ```text
//!   read     a packet is read, and its answer's hash made
//!   answer   the reply to a packet that was read
//!   whole    both
//!   counted  the whole, with statistics
//!   routed   the whole for addresses that depend on the client, with a client subnet in each query, and without pools
//!   hickory  the same by hickory's decoder and encoder, which serve the general path
//! ```
//!
//! The names are random, so that with a million of them the processor's caches do not help. Packets are made in
//! advance, some at a time, outside the measurement. A worker of the server is faster than the sum: it reads the
//! clock once for each batch instead of each packet (`clock` measures the difference), and it fetches the memory for
//! several packets at once, while here each packet waits for its own.
//!
//!     cargo bench --bench hot_path
//!     cargo bench --bench hot_path -- whole       what has `whole` in its name

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use hickory_proto::op::Message;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use tinyns::base::clock::Clock;
use tinyns::dns::Settings;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, Rates};
use tinyns::dns::pipeline::packet::{Buffers, Packet};
use tinyns::dns::pipeline::via::Via;

use self::fixture::{CLIENT, Fixture, Size, TXT, code, query};

/// How many packets are made at a time: few enough to stay in the processor's caches.
const CHUNK: usize = 64;
/// The number of links, where there are many.
const MANY: u32 = 1_000_000;
const FEWER: u32 = 100_000;
/// The bytes of a hot answer with its share of the index, generously.
const BYTES_EACH: usize = 256;
/// How many pools there are, each for a network of its own.
const POOLS: u16 = 200;
/// The type of addresses.
const A: u16 = 1;
/// The place of the code in a query: after the header and the length of the label.
const CODE_AT: usize = 13;
/// An option that only hickory reads (RFC 6975 §3: DAU, no algorithms).
const FOR_HICKORY: &[u8] = &[0, 5, 0, 0];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .configure_from_args();
    read(&mut criterion);
    for links in [FEWER, MANY] {
        hot(&mut criterion, links);
    }
    routed(&mut criterion);
    limited(&mut criterion);
    absent(&mut criterion);
    anew(&mut criterion);
    hickory(&mut criterion);
    criterion.final_summary();
}

/// Queries in random order.
struct Queries {
    packets: Vec<Vec<u8>>,
    /// The range of the numbers of the links that they ask for.
    numbers: (u32, u32),
    random: u64,
}

impl Queries {
    fn new(numbers: (u32, u32), options: Option<&[u8]>) -> Self {
        Self {
            packets: vec![query(numbers.0, TXT, options); CHUNK],
            numbers,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// The next queries, at most so many.
    fn next(&mut self, most: u64) -> &[Vec<u8>] {
        let count = usize::try_from(most).map_or(CHUNK, |most| most.min(CHUNK));
        let (first, end) = self.numbers;
        for packet in &mut self.packets[..count] {
            // xorshift64 (Marsaglia 2003): random enough that the processor cannot predict it.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            ask_for(packet, first + (self.random >> 32) as u32 % (end - first));
        }
        &self.packets[..count]
    }

    /// The next queries, each from another network below 10.0.0.0/8, by their client subnet.
    fn next_from(&mut self, most: u64) -> &[Vec<u8>] {
        let count = self.next(most).len();
        for packet in &mut self.packets[..count] {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let [.., second, third] = &mut packet[..] else {
                continue;
            };
            *second = (self.random >> 32) as u8 % POOLS as u8;
            *third = (self.random >> 40) as u8;
        }
        &self.packets[..count]
    }

    /// Measures the work on each of them.
    fn each(&mut self, bencher: &mut Bencher<'_>, mut work: impl FnMut(&[u8])) {
        self.chunks(bencher, |packets| {
            let began = Instant::now();
            packets.iter().for_each(|packet| work(packet));
            began.elapsed()
        });
    }

    /// Measures the work on each of them after it has been read.
    fn each_read(
        &mut self,
        bencher: &mut Bencher<'_>,
        fixture: &Fixture,
        mut work: impl FnMut(&Packet<'_>),
    ) {
        self.chunks(bencher, |packets| {
            let read = packets
                .iter()
                .map(|packet| fixture.handler.read(packet, CLIENT, Via::Udp));
            let read: Vec<_> = read.collect();
            let began = Instant::now();
            read.iter().for_each(&mut work);
            began.elapsed()
        });
    }

    fn chunks(
        &mut self,
        bencher: &mut Bencher<'_>,
        mut measure: impl FnMut(&[Vec<u8>]) -> Duration,
    ) {
        bencher.iter_custom(|mut left| {
            let mut took = Duration::ZERO;
            while left > 0 {
                let packets = self.next(left);
                took += measure(packets);
                left -= packets.len() as u64;
            }
            took
        });
    }
}

/// Changes a query to ask for the link of another number.
fn ask_for(packet: &mut [u8], number: u32) {
    let code = code(number);
    packet[CODE_AT..CODE_AT + code.len()].copy_from_slice(code.as_bytes());
}

fn read(criterion: &mut Criterion) {
    let fixture = Fixture::new(Size {
        links: 0,
        hot_bytes: 0,
        memory_bytes: 0,
        filter: false,
    });
    let clock = Clock::default();
    criterion.bench_function("clock", |bencher| {
        bencher.iter(|| (Instant::now(), clock.now()));
    });
    for (name, options) in [("read/plain", None), ("read/edns", Some(&[][..]))] {
        criterion.bench_function(name, |bencher| {
            Queries::new((0, MANY), options).each(bencher, |packet| {
                black_box(fixture.handler.read(packet, CLIENT, Via::Udp));
            });
        });
    }
}

fn hot(criterion: &mut Criterion, links: u32) {
    let fixture = Fixture::new(Size {
        links,
        hot_bytes: links as usize * BYTES_EACH,
        memory_bytes: 64 << 20,
        filter: false,
    });
    let mut buffers = Buffers::default();
    let mut packet = query(0, TXT, None);
    for number in 0..links {
        ask_for(&mut packet, number);
        fixture.ask(&packet, &mut buffers);
    }
    check_hot(&fixture, links);
    whole_hot(criterion, "whole", links, &fixture);
    let cases = [("one", 1), ("random", links)];
    let cases = cases.iter().filter(|(_, end)| *end > 1 || links == MANY);
    for (order, end) in cases {
        let numbers = (0, *end);
        criterion.bench_function(&format!("answer/hot/{links}/{order}"), |bencher| {
            Queries::new(numbers, Some(&[])).each_read(bencher, &fixture, |packet| {
                let reply = fixture.handler.reply_to_read(packet, &mut buffers);
                black_box(reply.is_ok());
            });
        });
    }
    whole_hot(criterion, "counted", links, &fixture.counting());
}

/// Answers that are hot: the same link again and again, a thousand links, and all of them.
fn whole_hot(criterion: &mut Criterion, what: &str, links: u32, fixture: &Fixture) {
    for (order, end) in [("one", 1), ("thousand", 1_000), ("random", links)] {
        let mut buffers = Buffers::default();
        criterion.bench_function(&format!("{what}/hot/{links}/{order}"), |bencher| {
            Queries::new((0, end), Some(&[]))
                .each(bencher, |packet| whole(fixture, packet, &mut buffers));
        });
    }
}

/// Hot addresses of links: the same for all clients, and by 200 networks of clients. Both have a thousand answers.
fn routed(criterion: &mut Criterion) {
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 10, 0, 0];
    for (name, pools) in [("routed/off", 0), ("routed/pools", POOLS)] {
        let links = 1_000 / u32::from(pools.max(1));
        let fixture = Fixture::new(Size {
            links,
            hot_bytes: 64 << 20,
            memory_bytes: 64 << 20,
            filter: false,
        });
        fixture.route(pools);
        let mut buffers = Buffers::default();
        let mut queries = Queries {
            packets: vec![query(0, A, Some(&subnet)); CHUNK],
            ..Queries::new((0, links), None)
        };
        // Fills the cache.
        for _ in 0..10 * links * u32::from(pools.max(1)) / CHUNK as u32 {
            for packet in queries.next_from(CHUNK as u64) {
                fixture.ask(packet, &mut buffers);
            }
        }
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|mut left| {
                let mut took = Duration::ZERO;
                while left > 0 {
                    let packets = queries.next_from(left);
                    let began = Instant::now();
                    for packet in packets {
                        whole(&fixture, packet, &mut buffers);
                    }
                    took += began.elapsed();
                    left -= packets.len() as u64;
                }
                took
            });
        });
    }
}

/// Hot answers with a rate limit that lets all of them pass, and with one that refuses nearly all. Compare with
/// `whole/hot`, which has no limit.
fn limited(criterion: &mut Criterion) {
    for (name, rate, numbers) in [
        ("whole/limited/sent", 100_000, (0, FEWER)),
        ("whole/limited/refused", 1, (0, 1)),
    ] {
        let rates = Rates {
            answers: rate,
            nodata: rate,
            nxdomains: rate,
            referrals: rate,
            errors: rate,
            all: 0,
        };
        let settings = Settings {
            rate_limit: Some(RateLimitConfig {
                rates,
                burst: 2,
                slip: 2,
                ipv4_prefix: 24,
                ipv6_prefix: 56,
                exempt: Vec::new(),
                table_bytes: 4 << 20,
                dry_run: false,
            }),
            ..Settings::default()
        };
        let size = Size {
            links: FEWER,
            hot_bytes: FEWER as usize * BYTES_EACH,
            memory_bytes: 64 << 20,
            filter: false,
        };
        let fixture = Fixture::with_settings(size, settings);
        let mut buffers = Buffers::default();
        let mut packet = query(0, TXT, None);
        for number in 0..FEWER {
            ask_for(&mut packet, number);
            fixture.ask(&packet, &mut buffers);
        }
        criterion.bench_function(name, |bencher| {
            Queries::new(numbers, Some(&[]))
                .each(bencher, |packet| whole(&fixture, packet, &mut buffers));
        });
    }
}

/// Checks that nearly all answers are hot, so that the benchmark measures hot answers.
fn check_hot(fixture: &Fixture, links: u32) {
    let (mut buffers, before) = (Buffers::default(), fixture.metrics.dns_hot_answers.get());
    let mut queries = Queries::new((0, links), None);
    let asked = 10_000;
    for _ in 0..asked / CHUNK {
        for packet in queries.next(CHUNK as u64) {
            fixture.ask(packet, &mut buffers);
        }
    }
    let hot = fixture.metrics.dns_hot_answers.get() - before;
    assert!(hot as usize * 100 > asked * 98, "{hot} of {asked} are hot");
}

fn whole(fixture: &Fixture, packet: &[u8], buffers: &mut Buffers) {
    let reply = fixture.handler.reply_to(packet, CLIENT, Via::Udp, buffers);
    black_box(reply.is_ok());
}

/// Codes without links, each asked for about once.
fn absent(criterion: &mut Criterion) {
    for (name, filter) in [
        ("whole/absent/filter", true),
        ("whole/absent/memory", false),
    ] {
        let fixture = Fixture::new(Size {
            links: MANY,
            hot_bytes: 1 << 20,
            memory_bytes: 256 << 20,
            filter,
        });
        let absent = match filter {
            true => (MANY, 2 * MANY),
            false => (MANY, MANY + FEWER),
        };
        let mut buffers = Buffers::default();
        let mut packet = query(0, TXT, None);
        // Memory learns absent names only from queries; the filter needs just the first.
        for number in absent.0..absent.0 + FEWER {
            ask_for(&mut packet, number);
            fixture.ask(&packet, &mut buffers);
        }
        criterion.bench_function(name, |bencher| {
            Queries::new(absent, Some(&[]))
                .each(bencher, |packet| whole(&fixture, packet, &mut buffers));
        });
    }
}

/// Links in memory, with hardly any room for hot answers; and the same names by hickory.
fn anew(criterion: &mut Criterion) {
    let fixture = Fixture::new(Size {
        links: FEWER,
        hot_bytes: 0,
        memory_bytes: 64 << 20,
        filter: false,
    });
    let mut buffers = Buffers::default();
    let mut packet = query(0, TXT, None);
    for number in 0..FEWER {
        ask_for(&mut packet, number);
        fixture.ask(&packet, &mut buffers);
    }
    for (name, options) in [("whole/anew", &[][..]), ("hickory/whole", FOR_HICKORY)] {
        criterion.bench_function(name, |bencher| {
            Queries::new((0, FEWER), Some(options))
                .each(bencher, |packet| whole(&fixture, packet, &mut buffers));
        });
    }
}

/// hickory alone: decoding the query, and encoding the reply.
fn hickory(criterion: &mut Criterion) {
    let fixture = Fixture::new(Size {
        links: 1,
        hot_bytes: 1 << 20,
        memory_bytes: 1 << 20,
        filter: false,
    });
    let packet = query(0, TXT, Some(&[]));
    criterion.bench_function("hickory/decode", |bencher| {
        bencher.iter(|| Request::from_bytes(packet.clone(), CLIENT, Protocol::Udp).unwrap());
    });
    let reply = fixture.ask(&packet, &mut Buffers::default()).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    criterion.bench_function("hickory/encode", |bencher| {
        bencher.iter(|| reply.to_vec().unwrap());
    });
}
