//! The memory allocations of a reply. Hot answers and names that the existence filter denies allocate nothing.
//!
//! | the reply | allocations |
//! |---|---|
//! | a hot answer | none |
//! | no such name, by the filter | none |
//! | no such name, known in memory | its code and its name, to look them up |
//! | made anew, of a link in memory | those, the link, the records, and what hickory takes to encode them |
//! | a link that has to be looked up | those, the flight, and whatever the store takes |
//!
//! Allocations are counted for each thread by itself, so that the other tests of this binary, which run
//! at the same time, do not count.

use hickory_proto::op::{Message, ResponseCode};
use tinyns::base::metrics::{LinkLookup, LookupResult, Tier};
use tinyns::dns::Settings;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, Rates};
use tinyns::dns::pipeline::packet::Buffers;
use tinyns::dns::pipeline::via::Via;

use self::counting::{allocations, held};
use crate::fixture::{CLIENT, Fixture, Size, TXT, query};

const A: u16 = 1;
const CNAME: u16 = 5;
/// With an OPT record that has no options, and without one.
const EDNS: [Option<&[u8]>; 2] = [Some(&[]), None];
const LINKS: u32 = 100;
/// The allocations of a look-up: the code and the name, in several steps.
const LOOK_UP: u64 = 5;
/// The allocations of a new answer.
const ANEW: u64 = 32;

mod counting {
    // An allocator needs `unsafe`. This one calls the system's allocator, and counts.
    #![allow(unsafe_code)]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counting;

    thread_local! {
        // Neither needs an allocation at its first use nor is it ever destroyed, so that the allocator may
        // use it at any time.
        static COUNT: Cell<u64> = const { Cell::new(0) };
        /// What this thread has allocated and not given back, in bytes.
        static HELD: Cell<i64> = const { Cell::new(0) };
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    // SAFETY: each call is handed to the system's allocator as it is.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as i64);
            // SAFETY: the caller keeps the contract of `System.alloc`, which is the same.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as i64);
            // SAFETY: as in `alloc`.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size as i64 - layout.size() as i64);
            // SAFETY: as in `alloc`; and `at` comes from there.
            unsafe { System.realloc(at, layout, size) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            HELD.set(HELD.get() - layout.size() as i64);
            // SAFETY: as in `realloc`.
            unsafe { System.dealloc(at, layout) }
        }
    }

    fn count(bytes: i64) {
        COUNT.set(COUNT.get() + 1);
        HELD.set(HELD.get() + bytes);
    }

    /// What this thread has allocated and not given back, in bytes.
    pub fn held() -> i64 {
        HELD.get()
    }

    /// How often this thread allocates or reallocates during a call, and the result of the call.
    pub fn allocations<T>(call: impl FnOnce() -> T) -> (u64, T) {
        let before = COUNT.get();
        let value = call();
        (COUNT.get() - before, value)
    }
}

fn size(filter: bool, hot_bytes: usize) -> Size {
    Size {
        links: LINKS,
        hot_bytes,
        memory_bytes: 1 << 20,
        filter,
    }
}

fn fixture(filter: bool, hot_bytes: usize) -> Fixture {
    Fixture::new(size(filter, hot_bytes))
}

/// The allocations for the reply to a packet whose data is in memory, and the reply.
fn reply_to(fixture: &Fixture, packet: &[u8], buffers: &mut Buffers) -> (u64, ResponseCode) {
    let (count, rcode) = allocations(|| {
        let reply = fixture.handler.reply_to(packet, CLIENT, Via::Udp, buffers);
        // Of the header, the lower half of the fourth byte.
        reply.unwrap().unwrap()[3] & 0x0F
    });
    (count, ResponseCode::from(0, rcode))
}

fn hot(fixture: &Fixture) -> u64 {
    fixture.metrics.dns_hot_answers.get()
}

/// How many look-ups a tier has ended.
fn found(fixture: &Fixture, tier: Tier) -> u64 {
    let result = LookupResult::Hit;
    let lookups = &fixture.metrics.link_lookups;
    lookups.get_or_create(&LinkLookup { tier, result }).get()
}

/// Addresses that depend on the client: the client is located for each query.
#[test]
fn a_hot_answer_of_a_pool_allocates_nothing() {
    let fixture = fixture(false, 1 << 20);
    fixture.route(100);
    let mut buffers = Buffers::default();
    let subnet = |second| [0, 8, 0, 7, 0, 1, 24, 0, 10, second, 7];
    let ask = |second, buffers: &mut Buffers| {
        let packet = query(1, A, Some(&subnet(second)));
        let before = hot(&fixture);
        let count = match fixture.handler.reply_to(&packet, CLIENT, Via::Udp, buffers) {
            Ok(_) => reply_to(&fixture, &packet, buffers).0,
            Err(waiting) => {
                fixture.wait(waiting, buffers);
                u64::MAX
            }
        };
        (count, hot(&fixture) > before)
    };
    for second in [3, 99, 200] {
        // The first time, the answer is made, and the counter of the pool.
        ask(second, &mut buffers);
        assert_eq!(ask(second, &mut buffers), (0, true), "10.{second}.7.0/24");
    }
}

#[test]
fn the_counter_counts_what_this_thread_allocates() {
    assert_eq!(allocations(|| ()).0, 0);
    assert_eq!(allocations(|| Box::new(1_u8)).0, 1);
    assert_eq!(allocations(|| vec![0_u8; 100]).0, 1, "zeroed");
    let (count, text) = allocations(|| {
        let mut text = String::with_capacity(1);
        text.push_str("longer than that");
        text
    });
    assert_eq!((count, text.len()), (2, 16), "made longer");
    assert_eq!(allocations(|| drop(text)).0, 0);
    let other = std::thread::spawn(|| allocations(|| vec![1_u8]).0);
    let (count, others) = allocations(|| other.join().unwrap());
    assert_eq!((count, others), (0, 1), "another thread");
}

#[test]
fn a_hot_answer_allocates_nothing() {
    check_hot(&fixture(true, 1 << 20));
}

#[test]
fn a_hot_answer_that_is_counted_allocates_nothing() {
    check_hot(&fixture(true, 1 << 20).counting());
}

fn check_hot(fixture: &Fixture) {
    let mut buffers = Buffers::default();
    for qtype in [TXT, CNAME, A] {
        for edns in EDNS {
            for number in 0..LINKS {
                let packet = query(number, qtype, edns);
                // That of the first of the two ways is hot for the other.
                fixture.ask(&packet, &mut buffers).unwrap();
                let before = hot(fixture);
                let (count, rcode) = reply_to(fixture, &packet, &mut buffers);
                let context = format!("{number} {qtype} {edns:?}");
                assert_eq!(hot(fixture), before + 1, "{context}: hot");
                assert_eq!(rcode, ResponseCode::NoError, "{context}");
                assert_eq!(count, 0, "{context}");
            }
        }
    }
    let reply = fixture.ask(&query(1, TXT, None), &mut buffers).unwrap();
    let message = Message::from_vec(&reply).unwrap();
    assert_eq!(message.answers.len(), 2, "a CNAME and a TXT");
}

#[test]
fn a_name_that_the_filter_denies_allocates_nothing() {
    let fixture = fixture(true, 1 << 20);
    let mut buffers = Buffers::default();
    for edns in EDNS {
        // The first makes the answer that all of them share.
        let first = query(LINKS, TXT, edns);
        fixture.ask(&first, &mut buffers).unwrap();
        let types = [TXT, CNAME, A].into_iter().cycle();
        for (number, qtype) in (LINKS..2 * LINKS).zip(types) {
            let packet = query(number, qtype, edns);
            let before = found(&fixture, Tier::Filter);
            let (count, rcode) = reply_to(&fixture, &packet, &mut buffers);
            let context = format!("{number} {qtype} {edns:?}");
            // A hundred names have hardly set a bit of the filter.
            assert_eq!(found(&fixture, Tier::Filter), before + 1, "{context}");
            assert_eq!(rcode, ResponseCode::NXDomain, "{context}");
            assert_eq!(count, 0, "{context}");
        }
    }
}

#[test]
fn a_name_that_is_absent_in_memory_allocates_what_it_takes_to_look_it_up() {
    let fixture = fixture(false, 1 << 20);
    let mut buffers = Buffers::default();
    for edns in EDNS {
        for number in LINKS..2 * LINKS {
            let packet = query(number, TXT, edns);
            fixture.ask(&packet, &mut buffers).unwrap();
            let before = found(&fixture, Tier::Memory);
            let (count, rcode) = reply_to(&fixture, &packet, &mut buffers);
            let context = format!("{number} {edns:?}");
            assert_eq!(found(&fixture, Tier::Memory), before + 1, "{context}");
            assert_eq!(rcode, ResponseCode::NXDomain, "{context}");
            assert!(0 < count && count <= LOOK_UP, "{context}: {count}");
        }
    }
}

#[test]
fn an_answer_that_is_made_anew_allocates_within_a_bound() {
    // Room for some of the last answers: hardly any of them is asked for again so soon.
    let fixture = fixture(false, 0);
    let mut buffers = Buffers::default();
    let packets = (0..LINKS).map(|number| query(number, TXT, Some(&[])));
    let packets: Vec<_> = packets.collect();
    for packet in &packets {
        fixture.ask(packet, &mut buffers).unwrap();
    }
    let mut anew = 0;
    for packet in &packets {
        let before = hot(&fixture);
        let (count, rcode) = reply_to(&fixture, packet, &mut buffers);
        assert_eq!(rcode, ResponseCode::NoError);
        if hot(&fixture) == before {
            anew += 1;
            assert!(LOOK_UP < count && count <= ANEW, "{count}");
        }
    }
    assert!(anew > LINKS / 2, "{anew}");
}

/// The name of a link in memory, its URL and its creator count as its texts. The allocator rounds the pieces up, which
/// does not count here.
#[test]
fn a_link_in_memory_takes_little_more_than_its_texts() {
    const LINKS: u32 = 50_000;
    /// What a link takes beyond its texts, in bytes; some 80 are usual, and more just after a table has grown.
    const BEYOND: i64 = 120;
    let fixture = Fixture::new(Size {
        links: LINKS,
        hot_bytes: 0,
        memory_bytes: 64 << 20,
        filter: false,
    });
    let mut buffers = Buffers::default();
    fixture.ask(&query(0, TXT, None), &mut buffers).unwrap();
    let before = held();
    for number in 1..LINKS {
        fixture
            .ask(&query(number, TXT, None), &mut buffers)
            .unwrap();
    }
    let each = (held() - before) / i64::from(LINKS);
    let texts = "00000000.s.example.com".len()
        + "https://example.net/article/12345".len()
        + "fixture".len();
    let beyond = each - texts as i64;
    assert!(
        beyond <= BEYOND,
        "{beyond} bytes beyond its {texts} of text"
    );
}

/// Replies that are sent, slip or are dropped allocate nothing.
#[test]
fn the_rate_limit_allocates_nothing() {
    let rates = Rates {
        answers: 1_000,
        nodata: 1,
        nxdomains: 1,
        referrals: 1,
        errors: 1,
        all: 100_000,
    };
    let settings = Settings {
        rate_limit: Some(RateLimitConfig {
            rates,
            burst: 1,
            slip: 2,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: vec!["127.0.0.0/8".parse().unwrap()],
            table_bytes: 1 << 16,
            dry_run: false,
        }),
        ..Settings::default()
    };
    let fixture = Fixture::with_settings(size(true, 1 << 20), settings);
    let mut buffers = Buffers::default();
    let cookie = b"\0\x0a\0\x08 cookie ";
    for options in [None, Some(&[][..]), Some(cookie)] {
        for number in [1, LINKS] {
            let packet = query(number, TXT, options);
            fixture.ask(&packet, &mut buffers);
            // The log gets one line when limiting begins.
            for _ in 0..2_000 {
                fixture.ask(&packet, &mut buffers);
            }
            let mut replies = 0;
            for _ in 0..100 {
                let handler = &fixture.handler;
                let (count, reply) = allocations(|| {
                    let reply = handler.reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
                    reply.unwrap().map(<[u8]>::len)
                });
                assert_eq!(count, 0, "{number} {options:?}");
                replies += usize::from(reply.is_some());
            }
            assert!((50..100).contains(&replies), "{replies}");
        }
    }
}
