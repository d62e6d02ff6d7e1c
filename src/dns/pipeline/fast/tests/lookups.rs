//! Which replies count as look-ups of links, by all paths.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use super::*;
use crate::dns::limits::rate_limit::{RateLimitConfig, Rates};
use crate::dns::pipeline::lookups::tests::Counts;
use crate::dns::transport::server::{DnsServer, Listener};
use crate::dns::transport::tcp::TcpLimits;

/// An option that only hickory reads (RFC 6975 §3: DAU, no algorithms), so that the query is odd.
const ODD: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 5, 0, 0];
const TCP: Via = Via::Tcp { keepalive: 0 };
const TLS: Via = Via::Tls { keepalive: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

/// Look-ups by name, with the kind: `abc.s.example.com lookup:txt`.
type Counted = HashMap<String, u64>;

/// A fixture whose handler counts.
struct Counting {
    fixture: Fixture,
    counts: Counts,
    buffers: Option<Buffers>,
}

impl Counting {
    fn of(mut fixture: Fixture) -> Self {
        let counts = Counts::new();
        let handler = fixture.handler.clone();
        fixture.handler = handler.with_statistics(counts.statistics.clone()).unwrap();
        Self {
            fixture,
            counts,
            buffers: None,
        }
    }

    /// The reply by all that a server has.
    fn send(&mut self, packet: &[u8], via: Via) -> Option<Vec<u8>> {
        let handler = &self.fixture.handler;
        let buffers = self.buffers.get_or_insert_default();
        match handler.reply_to(packet, CLIENT, via, buffers) {
            Ok(reply) => reply.map(<[u8]>::to_vec),
            Err(waiting) => {
                let reply = handler.reply_after(waiting, buffers);
                self.fixture.runtime.block_on(reply).map(<[u8]>::to_vec)
            }
        }
    }

    /// What was counted since the last call.
    fn counted(&mut self) -> Counted {
        // As when a worker ends.
        self.buffers = None;
        let Fixture {
            runtime, handler, ..
        } = &self.fixture;
        runtime.block_on(handler.flush_lookups());
        assert_eq!(self.counts.metrics.statistics_dropped.get(), 0);
        let sums = self.counts.take(runtime).into_iter();
        sums.map(|((name, counter), count)| (format!("{name} {counter}"), count))
            .collect()
    }

    #[track_caller]
    fn check(&mut self, expected: &[(&str, u64)]) {
        let expected = expected
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count));
        assert_eq!(self.counted(), expected.collect::<Counted>());
    }
}

fn odd(name: &str, qtype: u16) -> Vec<u8> {
    let mut packet = query(name, qtype, None);
    packet[11] = 1;
    packet.extend(ODD);
    packet
}

/// Types, and the kinds by which they count.
const KINDS: [(u16, &str); 9] = [
    (1, "address"),
    (28, "address"),
    (65, "address"),
    (5, "address"),
    (16, "txt"),
    (256, "uri"),
    (255, "other"),
    (15, "other"),
    (65_280, "other"),
];

#[test]
fn both_names_of_a_link_count_for_it_by_the_kind_of_the_type() {
    for layout in [Layout::Cname, Layout::Direct] {
        let mut counting = Counting::of(filled(layout));
        for via in [Via::Udp, TCP, TLS] {
            let before = counting.fixture.hot_answers();
            for name in ["abc.s.example.com", "aBc.r.S.example.com"] {
                for (qtype, _) in KINDS {
                    // Cold or hot, hot, signed if the zone were, and by the general path.
                    for packet in [
                        query(name, qtype, None),
                        query(name, qtype, None),
                        query(name, qtype, Some((1_232, true))),
                        odd(name, qtype),
                    ] {
                        assert!(counting.send(&packet, via).is_some());
                    }
                }
            }
            assert!(counting.fixture.hot_answers() > before + 30);
            let each = 2 * 4;
            counting.check(&[
                ("abc.s.example.com lookup:address", 4 * each),
                ("abc.s.example.com lookup:txt", each),
                ("abc.s.example.com lookup:uri", each),
                ("abc.s.example.com lookup:other", 3 * each),
            ]);
        }
    }
}

#[test]
fn names_that_are_no_links_do_not_count() {
    let mut counting = Counting::of(filled(Layout::Cname));
    counting
        .fixture
        .add("gone", "https://example.net/gone", None, None);
    counting.fixture.delete("gone");
    counting.fixture.hold("short", Some("abuse"));
    // `later` has expired.
    counting.fixture.clock.set(UnixTime(NOW.0 + 100));
    let mut names = vec!["s.example.com".to_owned(), "example.org".into()];
    let own = [
        "ns", "mail", "r", "promo", "old", "a.old", "loop1", "sub", "x.sub", "wild", "x.wild",
        "gone", "gone.r", "later", "later.r", "short", "short.r", "a.abc", "a.abc.r", "-bad",
        "_tcp",
    ];
    names.extend(own.iter().map(|name| format!("{name}.s.example.com")));
    names.extend((0..200).map(|number| format!("random{number}.s.example.com")));
    for name in names {
        for qtype in [1, 16, 255, 256] {
            for packet in [
                query(&name, qtype, None),
                query(&name, qtype, None),
                odd(&name, qtype),
            ] {
                assert!(counting.send(&packet, Via::Udp).is_some(), "{name}");
            }
        }
    }
    counting.check(&[]);
    // Given back, it counts again.
    counting.fixture.hold("short", None);
    counting.send(&query("short.s.example.com", 1, None), Via::Udp);
    counting.check(&[("short.s.example.com lookup:address", 1)]);
}

#[test]
fn signed_answers_count() {
    let zone = ("s.example.com", ZONE.to_owned(), Some("r"), Layout::Cname);
    let algorithm = Some(Algorithm::Ed25519);
    let fixture = Fixture::signed_by(&[zone], algorithm, Settings::default());
    fixture.add("abc", "https://example.net/", None, None);
    let mut counting = Counting::of(fixture);
    for time in 0..3 {
        for name in [
            "abc.s.example.com",
            "abc.r.s.example.com",
            "absent.s.example.com",
        ] {
            // RRSIG, NSEC and NODATA as well.
            for qtype in [1, 16, 256, 46, 47, 15] {
                let packet = query(name, qtype, Some((1_232, true)));
                let reply = counting.send(&packet, TCP).unwrap();
                let message = Message::from_vec(&reply).unwrap();
                assert!(
                    !message.answers.is_empty() || !message.authorities.is_empty(),
                    "{name} {time}"
                );
            }
        }
    }
    assert!(counting.fixture.hot_answers() > 0);
    counting.check(&[
        ("abc.s.example.com lookup:address", 6),
        ("abc.s.example.com lookup:txt", 6),
        ("abc.s.example.com lookup:uri", 6),
        ("abc.s.example.com lookup:other", 18),
    ]);
}

#[test]
fn a_truncated_reply_does_not_count_and_its_retry_by_tcp_does() {
    let mut counting = Counting::of(filled(Layout::Cname));
    for packet in [
        query("longest.s.example.com", 16, None),
        query("longest.s.example.com", 16, None),
        odd("longest.s.example.com", 16),
    ] {
        let reply = counting.send(&packet, Via::Udp).unwrap();
        assert_ne!(reply[2] & 2, 0, "truncated");
        let reply = counting.send(&packet, TCP).unwrap();
        assert_eq!(reply[2] & 2, 0);
    }
    counting.check(&[("longest.s.example.com lookup:txt", 3)]);
}

#[test]
fn replies_that_the_rate_limit_drops_or_replaces_do_not_count() {
    for dry_run in [false, true] {
        let (rates, limit) = (
            Rates {
                answers: 5,
                nodata: 5,
                nxdomains: 5,
                referrals: 5,
                errors: 5,
                all: 0,
            },
            3,
        );
        let settings = Settings {
            rate_limit: Some(RateLimitConfig {
                rates,
                burst: limit,
                slip: 2,
                ipv4_prefix: 24,
                ipv6_prefix: 56,
                exempt: Vec::new(),
                table_bytes: 1 << 16,
                dry_run,
            }),
            ..Settings::default()
        };
        let zone = ("s.example.com", ZONE.to_owned(), Some("r"), Layout::Cname);
        let fixture = Fixture::signed_by(&[zone], None, settings);
        fixture.add("abc", "https://example.net/", None, None);
        let mut counting = Counting::of(fixture);
        let (mut whole, mut dropped, mut slipped) = (0, 0, 0);
        for packet in std::iter::repeat_n(query("abc.s.example.com", 16, None), 100) {
            match counting.send(&packet, Via::Udp) {
                None => dropped += 1,
                Some(reply) if reply[2] & 2 != 0 => slipped += 1,
                Some(_) => whole += 1,
            }
        }
        assert_eq!(dropped > 0 && slipped > 0, !dry_run, "{dropped} {slipped}");
        counting.check(&[("abc.s.example.com lookup:txt", whole)]);
    }
}

#[test]
fn failures_do_not_count() {
    let mut counting = Counting::of(filled(Layout::Cname));
    counting
        .fixture
        .runtime
        .block_on(counting.fixture.store.close());
    let reply = counting
        .send(&query("abc.s.example.com", 16, None), Via::Udp)
        .unwrap();
    assert_eq!(reply[3] & 0x0F, 2, "SERVFAIL");
    counting.check(&[]);
}

#[test]
fn changes_deletions_and_reloads_keep_the_counts_exact() {
    let mut counting = Counting::of(filled(Layout::Cname));
    let packet = query("abc.s.example.com", 16, None);
    let ask = |counting: &mut Counting, times: u64| {
        for _ in 0..times {
            counting.send(&packet, Via::Udp).unwrap();
        }
    };
    ask(&mut counting, 3);
    let change = Change {
        target: Some(TargetUrl::parse("https://example.org/").unwrap()),
        ..Change::default()
    };
    counting.fixture.change("abc", change);
    ask(&mut counting, 4);
    counting.fixture.zones.reload().unwrap();
    counting.fixture.handler.zones_replaced();
    ask(&mut counting, 5);
    counting.fixture.delete("abc");
    ask(&mut counting, 100);
    counting
        .fixture
        .add("abc", "https://example.com/", None, None);
    ask(&mut counting, 6);
    // The file now has the name.
    let file = counting.fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}abc IN TXT own\n")).unwrap();
    counting.fixture.zones.reload().unwrap();
    counting.fixture.handler.zones_replaced();
    ask(&mut counting, 100);
    counting.check(&[("abc.s.example.com lookup:txt", 3 + 4 + 5 + 6)]);
}

#[test]
fn links_of_several_zones_count_for_their_own() {
    let other = "@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60\n@ IN NS ns\nns IN A 192.0.2.1\n*.go IN A 192.0.2.9\n";
    let fixture = Fixture::of(&[
        ("s.example.com", ZONE.to_owned(), Some("r"), Layout::Cname),
        (
            "t.example",
            format!("$TTL 300\n{other}"),
            Some("go"),
            Layout::Cname,
        ),
    ]);
    fixture.add("abc", "https://example.net/", None, None);
    let request = CreateLink {
        origin: Origin::parse("t.example").unwrap(),
        target: TargetUrl::parse("https://example.net/t").unwrap(),
        code: Some(Code::parse("abc").unwrap()),
        use_reserved: false,
        expires_at: None,
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        created_by: "test".into(),
    };
    fixture
        .runtime
        .block_on(fixture.links.create(request))
        .unwrap();
    let mut counting = Counting::of(fixture);
    for (name, times) in [
        ("abc.s.example.com", 2),
        ("abc.t.example", 3),
        ("abc.r.s.example.com", 4),
        ("abc.go.t.example", 5),
    ] {
        for _ in 0..times {
            counting.send(&query(name, 28, None), Via::Udp).unwrap();
        }
    }
    counting.check(&[
        ("abc.s.example.com lookup:address", 6),
        ("abc.t.example lookup:address", 8),
    ]);
}

/// What clients count that ask a server by sockets.
#[test]
fn a_server_has_counted_all_its_replies_when_it_has_stopped() {
    const CLIENTS: u64 = 4;
    const ROUNDS: u64 = 50;
    for algorithm in [None, Some(Algorithm::Ed25519)] {
        let zone = ("s.example.com", ZONE.to_owned(), Some("r"), Layout::Cname);
        let fixture = Fixture::signed_by(&[zone], algorithm, Settings::default());
        fixture.add("abc", "https://example.net/", None, None);
        fixture.add("other", "https://example.net/other", None, None);
        let counting = Counting::of(fixture);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr();
        let (handler, runtime) = (counting.fixture.handler.clone(), &counting.fixture.runtime);
        let server = runtime.block_on(async {
            DnsServer::start(vec![listener], None, handler, TcpLimits::default()).unwrap()
        });
        let edns = algorithm.map(|_| (1_232, true));
        let packets = [
            query("abc.s.example.com", 1, edns),
            query("abc.r.s.example.com", 16, edns),
            query("other.s.example.com", 256, edns),
            query("absent.s.example.com", 16, edns),
            query("ns.s.example.com", 1, edns),
        ];
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    socket.connect(address).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    for packet in packets.iter().cycle().take(packets.len() * ROUNDS as usize) {
                        socket.send(packet).unwrap();
                        let length = socket.recv(&mut [0; 2_000]).unwrap();
                        assert!(length > 12);
                    }
                });
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    for _ in 0..ROUNDS {
                        for packet in &packets {
                            let len = (packet.len() as u16).to_be_bytes();
                            stream
                                .write_all(&[&len, packet.as_slice()].concat())
                                .unwrap();
                        }
                        for _ in &packets {
                            let mut len = [0; 2];
                            stream.read_exact(&mut len).unwrap();
                            let mut reply = vec![0; u16::from_be_bytes(len).into()];
                            stream.read_exact(&mut reply).unwrap();
                        }
                    }
                });
            }
        });
        counting.fixture.runtime.block_on(server.shutdown());
        // Nothing else has to give its counts on.
        let sums = counting.counts.take(&counting.fixture.runtime);
        let of = |name: &str, counter: &str| {
            sums.get(&(format!("{name}.s.example.com"), format!("lookup:{counter}")))
                .copied()
        };
        let each = Some(2 * CLIENTS * ROUNDS);
        assert_eq!(of("abc", "address"), each);
        assert_eq!(of("abc", "txt"), each);
        assert_eq!(of("other", "uri"), each);
        assert_eq!(sums.len(), 3, "{sums:?}");
        assert_eq!(counting.counts.metrics.statistics_dropped.get(), 0);
    }
}
