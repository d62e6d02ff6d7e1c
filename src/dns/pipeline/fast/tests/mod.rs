//! The fast path against the general one: both have to send the same bytes. And kept answers against what happens
//! to links and zones meanwhile.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::base::name::ZoneName;
use crate::dns::Settings;
use crate::dns::pipeline::packet::Buffers;
use crate::dnssec::key::Algorithm;
use crate::link::{Code, LinkName, Origin, TargetUrl, Ttl};
use crate::links::{CreateLink, LinkLimits, Links, Resolution};
use crate::store::{Change, SqliteStore};
use crate::zone::{Layout, ZoneConfig, ZoneSet};

const ZONE: &str = "\
$TTL 300
@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60
@      IN NS ns
@      IN NS ns.sub
@      IN MX 10 mail
ns     IN A 192.0.2.1
mail   IN A 192.0.2.2
mail   IN AAAA 2001:db8::2
*.r    IN A 192.0.2.10
*.r    IN HTTPS 1 .
loop1  IN CNAME loop2
loop2  IN CNAME loop1
old    IN DNAME new
www.new IN A 192.0.2.20
promo  IN CNAME abc
sub    IN NS ns.sub
ns.sub IN A 192.0.2.53
*.wild IN TXT wild
big    IN TXT AAAA
";
const NOW: UnixTime = UnixTime(1_700_000_000);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)), 5_353);

struct Fixture {
    runtime: Runtime,
    handler: Handler,
    links: Arc<Links>,
    zones: Arc<ZoneSet>,
    clock: Clock,
    metrics: Arc<Metrics>,
    directory: TempDir,
}

impl Fixture {
    fn new(layout: Layout) -> Self {
        let many: Vec<_> = (0..60)
            .map(|n| format!("many IN A 192.0.2.{n}\n"))
            .collect();
        let long = format!("long IN TXT {}\n", "\"0123456789abcdef\" ".repeat(60));
        let text = [ZONE, &many.concat(), &long].concat();
        Self::of(&[("s.example.com", text, Some("r"), layout)])
    }

    /// With these zones: of each the origin, the text, the redirect host if it holds links, the layout.
    fn of(zones: &[(&str, String, Option<&str>, Layout)]) -> Self {
        Self::signed_by(zones, None, Settings::default())
    }

    /// The same, signed by new keys of this algorithm.
    fn signed_by(
        zones: &[(&str, String, Option<&str>, Layout)],
        algorithm: Option<Algorithm>,
        settings: Settings,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let configs: Vec<_> = zones
            .iter()
            .enumerate()
            .map(|(n, (origin, text, redirect_host, layout))| {
                let name = match n {
                    0 => "zone".into(),
                    n => format!("zone{n}"),
                };
                let file = directory.path().join(name);
                fs::write(&file, text).unwrap();
                let origin = ZoneName::parse(origin).unwrap();
                ZoneConfig {
                    file,
                    redirect_host: redirect_host.map(Into::into),
                    layout: *layout,
                    link_ttl: 300,
                    dnssec: algorithm.map(|_| signed::config(directory.path(), &origin)),
                    origin,
                }
            })
            .collect();
        let signings = configs.iter().filter_map(|config| {
            let signing = signed::signing(config, algorithm?);
            Some((config.origin.clone(), Arc::new(signing)))
        });
        let signings = signings.collect();
        let zones = Arc::new(ZoneSet::load_signed(configs, signings).unwrap().0);
        let clock = Clock::manual(NOW);
        let metrics = Arc::new(Metrics::new());
        let _entered = runtime.enter();
        let store = SqliteStore::open(&directory.path().join("links"), clock.clone()).unwrap();
        let links = Arc::new(Links::new(
            Arc::new(store),
            zones.clone(),
            LinkLimits::default(),
            clock.clone(),
            metrics.clone(),
        ));
        let (all, known) = (zones.clone(), links.clone());
        let handler = Handler::new(all, known, 1 << 20, settings, metrics.clone());
        drop(_entered);
        Self {
            runtime,
            handler,
            links,
            zones,
            clock,
            metrics,
            directory,
        }
    }

    fn add(&self, code: &str, url: &str, expires_at: Option<UnixTime>, ttl: Option<u64>) {
        let request = CreateLink {
            origin: origin(),
            target: TargetUrl::parse(url).unwrap(),
            code: Some(Code::parse(code).unwrap()),
            expires_at,
            ttl: ttl.and_then(Ttl::from_secs),
            created_by: "test".into(),
        };
        self.runtime.block_on(self.links.create(request)).unwrap();
    }

    fn delete(&self, code: &str) {
        let name = link_name(code);
        let call = self.links.delete(&name, None);
        self.runtime.block_on(call).unwrap();
    }

    fn change(&self, code: &str, change: Change) {
        let name = link_name(code);
        let call = self.links.change(&name, None, change);
        self.runtime.block_on(call).unwrap();
    }

    /// The reply by the fast path.
    fn ask(&self, packet: &[u8]) -> (Sent, Vec<u8>) {
        let handler = &self.handler;
        let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
        let scratch = Scratch {
            reply: &mut reply,
            encoding: &mut encoding,
        };
        let from = (CLIENT.ip(), Via::Udp);
        let prepared = handler.prepare(packet, from).expect("an ordinary query");
        handler.fetch(std::iter::once(&prepared));
        let now = handler.time();
        let sent = match handler.reply_now(&prepared, from, &now, scratch, Signatures::Now) {
            Ok(sent) => sent,
            Err(Pending::Signature { .. }) => panic!("it was to be signed at once"),
            Err(Pending::Link(mut unanswered)) => {
                let answerable = self.runtime.block_on(async {
                    handler.look_up([&mut *unanswered]);
                    handler.resolve(unanswered).await
                });
                let scratch = Scratch {
                    reply: &mut reply,
                    encoding: &mut encoding,
                };
                handler
                    .reply_with(&prepared.query, from, answerable, scratch)
                    .unwrap()
            }
        };
        (sent, reply.as_bytes().to_vec())
    }

    /// The reply by the general path.
    fn ask_generally(&self, packet: &[u8]) -> (Sent, Vec<u8>) {
        let handler = &self.handler;
        let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
        let scratch = Scratch {
            reply: &mut reply,
            encoding: &mut encoding,
        };
        let (from, now) = ((packet, CLIENT, Via::Udp), handler.time());
        let sent = handler.reply_odd(from, &now, scratch, Signatures::Now);
        let sent = match sent.expect("a message") {
            Ok(sent) => sent,
            Err(Pending::Signature { .. }) => panic!("it was to be signed at once"),
            Err(Pending::Link(mut unanswered)) => {
                let answerable = self.runtime.block_on(async {
                    handler.look_up([&mut *unanswered]);
                    handler.resolve(unanswered).await
                });
                let scratch = Scratch {
                    reply: &mut reply,
                    encoding: &mut encoding,
                };
                handler.reply_odd_with(from, answerable, scratch).unwrap()
            }
        };
        (sent, reply.as_bytes().to_vec())
    }

    fn hot_answers(&self) -> u64 {
        self.metrics.dns_hot_answers.get()
    }

    /// The URL that a TXT query is told; none if there is no such name.
    fn txt(&self, code: &str) -> Option<String> {
        let message = self.message(&format!("{code}.s.example.com"), RecordType::TXT);
        let record = message
            .answers
            .iter()
            .find(|r| r.record_type() == RecordType::TXT)?;
        Some(record.data.to_string())
    }

    fn message(&self, name: &str, qtype: RecordType) -> Message {
        let (_, wire) = self.ask(&query(name, qtype.into(), None));
        Message::from_vec(&wire).unwrap()
    }
}

fn origin() -> Origin {
    Origin::parse("s.example.com").unwrap()
}

fn link_name(code: &str) -> LinkName {
    LinkName::new(&Code::parse(code).unwrap(), &origin())
}

/// A query; with the size and the DO bit of an OPT record, if it has one.
fn query(name: &str, qtype: u16, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    query_for(&wire, qtype, edns)
}

/// The same, for a name in wire form.
fn query_for(name: &[u8], qtype: u16, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut packet = vec![
        0x12,
        0x34,
        0x01,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        edns.is_some().into(),
    ];
    packet.extend(name);
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    if let Some((size, dnssec_ok)) = edns {
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    packet
}

/// What a message says, without the letter case of names in data, which compression may take from the
/// question: all but the additional records, and those.
fn said(wire: &[u8]) -> (String, Vec<String>) {
    let message = Message::from_vec(wire).unwrap();
    let section = |records: &[Record]| -> Vec<String> {
        let shown = records.iter().map(|record| record.to_string());
        shown.map(|record| record.to_lowercase()).collect()
    };
    let text = format!(
        "{:?}\n{:?}\n{:?}\n{:#?}\n{:#?}",
        message.metadata,
        message.edns,
        message.queries,
        section(&message.answers),
        section(&message.authorities),
    );
    (text, section(&message.additionals))
}

/// Asks both ways, and the short one twice, so that what was kept is looked at as well.
fn check_both(fixture: &Fixture, name: &str, qtype: u16, edns: Option<(u16, bool)>) {
    let limit = edns.map_or(512, |(size, _)| size.clamp(512, 1_232));
    let context = format!("{name} {qtype} {edns:?}");
    check_packet(fixture, &query(name, qtype, edns), limit, &context);
}

/// [`check_both`], of a packet whose reply may have no more than `limit` bytes.
fn check_packet(fixture: &Fixture, packet: &[u8], limit: u16, context: &str) {
    let (_, long) = fixture.ask_generally(packet);
    for time in 0..2 {
        let (sent, short) = fixture.ask(packet);
        let context = format!("{context}, time {time}");
        assert!(
            short.len() <= limit.into(),
            "{context}: {} bytes",
            short.len()
        );
        let question = 12..packet_question_end(packet);
        assert_eq!(short[question.clone()], packet[question], "{context}");
        assert_eq!(short[2] & 0x02 != 0, sent.truncated, "{context}");
        assert_eq!(u16::from(short[3] & 0x0F), sent.rcode, "{context}");
        assert_eq!(
            short,
            long,
            "{context}: {:?}, {:?}",
            said(&short),
            said(&long)
        );
    }
}

fn packet_question_end(packet: &[u8]) -> usize {
    let mut at = 12;
    while packet[at] != 0 {
        at += 1 + usize::from(packet[at]);
    }
    at + 5
}

const TYPES: [u16; 14] = [1, 2, 5, 6, 15, 16, 28, 33, 39, 43, 65, 255, 256, 65_280];
const LABELS: [&str; 22] = [
    "abc", "gone", "long", "later", "r", "ns", "mail", "old", "new", "www", "loop1", "promo",
    "sub", "wild", "many", "big", "*", "-bad", "_tcp", "x", "com", "nothing8",
];

fn filled(layout: Layout) -> Fixture {
    let fixture = Fixture::new(layout);
    fixture.add("abc", "https://example.net/", None, None);
    fixture.add("short", "https://example.net/short", None, Some(5));
    fixture.add(
        "later",
        "https://example.net/later",
        Some(UnixTime(NOW.0 + 100)),
        None,
    );
    let url = format!("https://example.net/{}", "x".repeat(600));
    fixture.add("lengthy", &url, None, None);
    let url = format!("https://example.net/{}", "x".repeat(1_500));
    fixture.add("longest", &url, None, None);
    fixture
}

mod signed;
mod zones;

#[test]
fn both_ways_agree() {
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = filled(layout);
        let codes = ["abc", "short", "later", "lengthy", "longest", "none"];
        let mut names: Vec<String> = codes
            .iter()
            .flat_map(|code| {
                ["", "r.", "x.", "x.r."].map(|more| match more {
                    "x." | "x.r." => format!("x.{code}.{}s.example.com", &more[2..]),
                    more => format!("{code}.{more}s.example.com"),
                })
            })
            .collect();
        names.extend(LABELS.map(|label| format!("{label}.s.example.com")));
        names.extend(
            [
                "s.example.com",
                "S.Example.COM",
                "example.com",
                "",
                "other.org",
            ]
            .map(String::from),
        );
        names.extend(["ABC.s.example.COM", "aBc.R.s.example.com"].map(String::from));
        for name in names {
            for qtype in TYPES {
                for edns in [
                    None,
                    Some((512, false)),
                    Some((1_232, true)),
                    Some((9_000, false)),
                ] {
                    check_both(&fixture, &name, qtype, edns);
                }
            }
        }
    }
}

#[test]
fn both_ways_have_the_same_cookies() {
    let fixture = filled(Layout::Cname);
    for name in [
        "abc.s.example.com",
        "none.s.example.com",
        "example.org",
        "longest.s.example.com",
    ] {
        for len in 0..50 {
            let mut packet = query(name, 16, Some((1_232, true)));
            let at = packet.len() - 1;
            packet[at] = 4 + len;
            packet.extend([0, 10, 0, len]);
            packet.extend((0..len).map(|n| n ^ 0x5A));
            if len == 8 || (16..=40).contains(&len) {
                let (_, long) = fixture.ask_generally(&packet);
                let (_, short) = fixture.ask(&packet);
                assert_eq!(said(&short), said(&long), "{name}, {len} bytes");
                assert!(
                    short
                        .windows(12)
                        .any(|w| w[..4] == [0, 10, 0, 24] && w[4..] == packet[at + 5..at + 13])
                );
            } else {
                assert!(
                    fixture
                        .handler
                        .prepare(&packet, (CLIENT.ip(), Via::Udp))
                        .is_none()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn both_ways_agree_on_any_name(
        queries in prop::collection::vec(
            (
                prop::collection::vec(prop::sample::select(&LABELS[..]), 0..4),
                prop::sample::select(&TYPES[..]),
                prop::option::of((0_u16..2_000, any::<bool>())),
                any::<u64>(),
            ),
            1..60,
        ),
        direct in any::<bool>(),
    ) {
        let fixture = filled(if direct { Layout::Direct } else { Layout::Cname });
        for (labels, qtype, edns, case) in queries {
            let mut name = labels.join(".");
            name.push_str(".s.example.com");
            let name = name.trim_start_matches('.').to_owned();
            // As resolvers do (0x20).
            let mixed: String = name
                .char_indices()
                .map(|(n, c)| match case >> (n % 64) & 1 {
                    0 => c,
                    _ => c.to_ascii_uppercase(),
                })
                .collect();
            check_both(&fixture, &mixed, qtype, edns);
        }
    }
}

#[test]
fn the_second_reply_is_a_hot_answer_in_the_case_of_its_own_query() {
    let fixture = filled(Layout::Cname);
    let (first, _) = fixture.ask(&query("abc.s.example.com", 16, None));
    let packet = query("aBC.S.exAmple.com", 16, Some((1_232, false)));
    let (second, wire) = fixture.ask(&packet);
    assert!(!first.hot && second.hot);
    assert_eq!(&wire[12..35], &packet[12..35]);
    let message = Message::from_vec(&wire).unwrap();
    assert_eq!(message.answers[0].name.to_string(), "aBC.S.exAmple.com.");
    // A client without EDNS gets the same kept answer without an OPT record.
    let (third, wire) = fixture.ask(&query("abc.s.example.com", 16, None));
    assert!(third.hot);
    assert!(Message::from_vec(&wire).unwrap().edns.is_none());
    assert_eq!(fixture.hot_answers(), 0, "the worker counts them");
}

#[test]
fn a_change_shows_at_once_in_all_types_and_names() {
    let fixture = filled(Layout::Cname);
    let all = |fixture: &Fixture| {
        for name in ["abc.s.example.com", "abc.r.s.example.com"] {
            for qtype in [1, 16, 5, 255, 256] {
                fixture.ask(&query(name, qtype, None));
            }
        }
    };
    all(&fixture);
    let target = TargetUrl::parse("https://example.org/new").unwrap();
    let change = Change {
        target: Some(target),
        ..Change::default()
    };
    fixture.change("abc", change);
    assert_eq!(
        fixture.txt("abc").as_deref(),
        Some("https://example.org/new")
    );
    let (sent, _) = fixture.ask(&query("abc.r.s.example.com", 256, None));
    assert!(!sent.hot, "of the other name, too");
    all(&fixture);
    fixture.delete("abc");
    for name in ["abc.s.example.com", "abc.r.s.example.com"] {
        for qtype in [1, 16, 5, 255, 256] {
            let (sent, _) = fixture.ask(&query(name, qtype, None));
            assert_eq!(sent.rcode, 3, "{name} {qtype}");
        }
    }
    fixture.add("abc", "https://example.net/again", None, None);
    assert_eq!(
        fixture.txt("abc").as_deref(),
        Some("https://example.net/again")
    );
}

#[test]
fn ttls_never_reach_beyond_the_end_of_a_link() {
    let fixture = filled(Layout::Cname);
    let ttl = |fixture: &Fixture| {
        let message = fixture.message("later.s.example.com", RecordType::TXT);
        message.answers.iter().map(|record| record.ttl).max()
    };
    // It ends after 100 seconds, and links have 300.
    for second in [0, 0, 1, 1, 50, 98, 99, 99] {
        fixture.clock.set(UnixTime(NOW.0 + second));
        let left = u32::try_from(99 - second).unwrap();
        assert_eq!(ttl(&fixture), Some(left), "in second {second}");
    }
    fixture.clock.set(UnixTime(NOW.0 + 100));
    assert_eq!(ttl(&fixture), None);
    assert_eq!(fixture.txt("later"), None);

    // One that ends later than its TTL is as it is, until then.
    fixture.add(
        "far",
        "https://example.net/",
        Some(UnixTime(NOW.0 + 1_000)),
        Some(100),
    );
    let far = |second: u64| {
        fixture.clock.set(UnixTime(NOW.0 + second));
        let (sent, wire) = fixture.ask(&query("far.s.example.com", 16, None));
        let message = Message::from_vec(&wire).unwrap();
        (sent.hot, message.answers[0].ttl)
    };
    assert_eq!(far(200), (false, 100));
    assert_eq!(far(201), (true, 100));
    assert_eq!(far(899), (true, 100));
    assert_eq!(far(900), (false, 99));
    assert_eq!(far(900), (true, 99));
    assert_eq!(far(901), (false, 98));
}

#[test]
fn a_reload_shows_at_once() {
    let fixture = filled(Layout::Cname);
    let serial = |fixture: &Fixture, name: &str| {
        let message = fixture.message(name, RecordType::SOA);
        let mut all = message.answers.iter().chain(&message.authorities);
        let soa = all.find(|record| record.record_type() == RecordType::SOA);
        soa.map(|record| record.data.to_string())
    };
    let names = [
        "s.example.com",
        "none.s.example.com",
        "x.none.s.example.com",
        "abc.s.example.com",
    ];
    let before: Vec<_> = names.map(|name| serial(&fixture, name)).into();
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(" 1 3600", " 2 3600")).unwrap();
    assert_eq!(Vec::from(names.map(|name| serial(&fixture, name))), before);
    fixture.zones.reload().unwrap();
    fixture.handler.zones_replaced();
    for (name, before) in names.iter().zip(before) {
        assert_ne!(serial(&fixture, name), before, "{name}");
    }
}

/// A query that has seen the old zones, and whose link was looked up when there were new ones.
#[test]
fn what_was_made_of_old_zones_is_not_kept() {
    let fixture = filled(Layout::Cname);
    let packet = query("abc.s.example.com", 1, None);
    let handler = &fixture.handler;
    let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
    let from = (CLIENT.ip(), Via::Udp);
    let prepared = handler.prepare(&packet, from).unwrap();
    let scratch = Scratch {
        reply: &mut reply,
        encoding: &mut encoding,
    };
    let now = handler.time();
    let unanswered = handler.reply_now(&prepared, from, &now, scratch, Signatures::Now);
    let Err(Pending::Link(mut unanswered)) = unanswered else {
        panic!("something is known of the link");
    };
    fixture
        .runtime
        .block_on(async { handler.look_up([&mut *unanswered]) });
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("192.0.2.10\n", "192.0.2.111\n")).unwrap();
    fixture.zones.reload().unwrap();
    handler.zones_replaced();
    let name = link_name("abc");
    let known = fixture.runtime.block_on(fixture.links.resolve(&name));
    assert!(matches!(known, Ok(Resolution::Live(_))));
    let answerable = Answerable {
        zones: unanswered.zones,
        stamp: unanswered.stamp,
        resolved: fixture.links.resolve_now(&name).expect("it is in memory"),
    };
    let scratch = Scratch {
        reply: &mut reply,
        encoding: &mut encoding,
    };
    let sent = handler.reply_with(&prepared.query, from, answerable, scratch);
    assert_eq!(sent.map(|sent| sent.rcode), Some(0));
    let shown = |wire: &[u8]| said(wire).0.contains("192.0.2.111");
    assert!(!shown(reply.as_bytes()), "of the zones that it has seen");
    let (sent, wire) = fixture.ask(&packet);
    assert!(!sent.hot && shown(&wire));
}

#[test]
fn names_that_are_not_there_share_an_answer() {
    let fixture = filled(Layout::Cname);
    let asked: Vec<_> = (0..50)
        .map(|n| fixture.ask(&query(&format!("absent{n:02}.s.example.com"), 16, None)))
        .collect();
    assert!(!asked[0].0.hot);
    assert!(
        asked[1..]
            .iter()
            .all(|(sent, _)| sent.hot && sent.rcode == 3)
    );
    // Of whatever type, and whatever labels they are made of.
    let (sent, _) = fixture.ask(&query("x.absent.s.example.com", 28, None));
    assert!(sent.hot && sent.rcode == 3);
    // But a name that leads to what is not there has an answer of its own.
    let (sent, wire) = fixture.ask(&query("x.old.s.example.com", 28, None));
    assert_eq!((sent.hot, sent.rcode), (false, 3));
    assert_eq!(Message::from_vec(&wire).unwrap().answers.len(), 2);
}

#[test]
fn names_that_are_made_up_are_not_kept() {
    let fixture = filled(Layout::Cname);
    for (name, is_kept) in [
        ("x.wild.s.example.com", false),
        ("www.old.s.example.com", false),
        ("x.sub.s.example.com", false),
        ("sub.s.example.com", true),
        ("wild.s.example.com", true),
        ("promo.s.example.com", true),
    ] {
        for time in 0..2 {
            let (sent, _) = fixture.ask(&query(name, 16, None));
            assert_eq!(sent.hot, is_kept && time > 0, "{name}");
        }
    }
}

/// Also where they lead to a link, which is kept: it is one, and they are without end.
#[test]
fn names_that_are_made_up_are_not_kept_for_the_sake_of_a_link() {
    let text = format!("{ZONE}*.go IN CNAME abc\n* IN TXT any\ngone IN DNAME r\n");
    let zone = ("s.example.com", text, Some("r"), Layout::Direct);
    let fixture = Fixture::of(&[zone]);
    fixture.add("abc", "https://example.net/", None, None);
    let check = |name: &str, qtype: u16, is_kept: bool| {
        for time in 0..2 {
            let name = format!("{name}.s.example.com");
            let (sent, _) = fixture.ask(&query(&name, qtype, None));
            assert_eq!(sent.hot, is_kept && time > 0, "{name}");
        }
    };
    for (name, is_kept) in [
        ("abc", true),
        ("abc.r", true),
        ("promo", true),
        ("x.go", false),
        ("*.go", true),
        ("abc.gone", false),
        ("nosuch", false),
        ("x.nosuch", false),
    ] {
        check(name, 16, is_kept);
    }
}

/// There are 65,535 types. What a name has to say of those that nobody has is kept once.
#[test]
fn types_that_nobody_has_have_one_answer() {
    for layout in [Layout::Cname, Layout::Direct] {
        let text = format!("{ZONE}ns IN TYPE1000 \\# 1 00\nmail IN TYPE65280 \\# 1 01\n");
        let fixture = Fixture::of(&[("s.example.com", text, Some("r"), layout)]);
        fixture.add("abc", "https://example.net/", None, None);
        for name in [
            "ns", "mail", "abc", "abc.r", "", "promo", "old", "sub", "wild", "loop1",
        ] {
            let name = format!("{name}.s.example.com");
            let name = name.trim_start_matches('.');
            for (times, qtype) in [300, 301, 999, 1_001, 32_768, 65_535]
                .into_iter()
                .enumerate()
            {
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert_eq!(sent.hot, times > 0, "{name} {qtype}");
                check_both(&fixture, name, qtype, None);
            }
            // There is something of these, though not everywhere.
            for qtype in [1_000, 65_280] {
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert!(!sent.hot, "{name} {qtype}");
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert!(sent.hot, "{name} {qtype}");
                check_both(&fixture, name, qtype, None);
            }
        }
        let answers = |name: &str, qtype: u16| {
            let (_, wire) = fixture.ask(&query(&format!("{name}.s.example.com"), qtype, None));
            Message::from_vec(&wire).unwrap().answers.len()
        };
        assert_eq!((answers("ns", 1_000), answers("ns", 1_001)), (1, 0));
        assert_eq!((answers("mail", 65_280), answers("mail", 1_000)), (1, 0));
        // A reload may bring records of a type that nobody had.
        let file = fixture.directory.path().join("zone");
        let more = format!(
            "{}ns IN TYPE999 \\# 1 02\n",
            fs::read_to_string(&file).unwrap()
        );
        fs::write(&file, more).unwrap();
        fixture.zones.reload().unwrap();
        fixture.handler.zones_replaced();
        assert_eq!((answers("ns", 999), answers("ns", 998)), (1, 0));
    }
}

#[test]
fn rfc7873_5_4_a_cookie_alone() {
    let fixture = filled(Layout::Cname);
    let mut packet = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08ABCDEFGH");
    let mut buffers = Buffers::default();
    let reply = fixture
        .handler
        .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
    let reply = reply.unwrap().unwrap();
    assert_eq!(reply[..4], [1, 2, 0x80, 0], "NOERROR");
    let at = reply.windows(12).position(|w| w == b"\0\x0a\0\x18ABCDEFGH");
    let cookie = reply[at.unwrap() + 4..][..24].to_vec();
    // Whether it is a good one may be asked as well: BADCOOKIE is 23, of which the upper bits are in OPT.
    for (last, rcode) in [(cookie[23], (0, 0)), (cookie[23] ^ 1, (7, 1))] {
        let mut packet = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x1c\0\x0a\0\x18");
        packet.extend(&cookie[..23]);
        packet.push(last);
        let reply = fixture
            .handler
            .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
        let reply = reply.unwrap().unwrap();
        assert_eq!((reply[3] & 0xF, reply[12 + 5]), rcode);
    }
}

/// RFC 1035 §3.1: a label may hold any bytes, and so may those of a zone's own names.
#[test]
fn a_stand_in_gives_its_labels_to_nobody() {
    for host in ["\\000", "\\000.\\000", "\\000\\000\\000\\000"] {
        let text = format!(
            "$TTL 300\n@ IN SOA {host} hostmaster 1 3600 600 604800 60\n@ IN NS ns\nns IN A 192.0.2.1\n"
        );
        let fixture = Fixture::of(&[("s.example.com", text, Some("r"), Layout::Cname)]);
        for name in ["a.s.example.com", "abc.s.example.com", "abcd.s.example.com"] {
            check_both(&fixture, name, 16, None);
        }
    }
}

/// Links are changed and deleted, and the zone is reloaded, while others ask: nobody is told what is older
/// than what was acknowledged before the question.
#[test]
fn nothing_older_than_what_was_acknowledged_is_told() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    const ROUNDS: u64 = 400;
    let fixture = filled(Layout::Cname);
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    let codes = ["w0", "w1", "w2"];
    for code in codes {
        fixture.add(code, "https://example.net/0", None, None);
    }
    let links: [AtomicU64; 3] = Default::default();
    let (serial, done) = (AtomicU64::new(1), AtomicBool::new(false));
    let (asked, hot) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3_usize {
            let (fixture, links, serial, done, asked, hot) =
                (&fixture, &links, &serial, &done, &asked, &hot);
            scope.spawn(move || {
                let mut n = reader;
                while !done.load(Ordering::Acquire) {
                    n += 1;
                    let place = n % 3;
                    let before = links[place].load(Ordering::Acquire);
                    let name = format!("{}.s.example.com", codes[place]);
                    let (sent, wire) = fixture.ask(&query(&name, 16, Some((1_232, false))));
                    asked.fetch_add(1, Ordering::Relaxed);
                    hot.fetch_add(sent.hot.into(), Ordering::Relaxed);
                    let message = Message::from_vec(&wire).unwrap();
                    let txt = message
                        .answers
                        .iter()
                        .find(|r| r.record_type() == RecordType::TXT);
                    match txt {
                        Some(txt) => {
                            let text = txt.data.to_string();
                            let told: u64 = text
                                .trim_matches('"')
                                .rsplit('/')
                                .next()
                                .unwrap()
                                .parse()
                                .unwrap();
                            assert!(told >= before, "{name}: {told} after {before}");
                        }
                        // Deleted in between, before the round was acknowledged; what is asked next is at
                        // least that round.
                        None => assert_eq!(sent.rcode, 3, "{name}"),
                    }
                    // Those that depend on no link, and those of the stand-in.
                    let before = serial.load(Ordering::Acquire);
                    let name = [
                        "s.example.com",
                        "absent.s.example.com",
                        "a.b.c.s.example.com",
                    ][place];
                    let (sent, wire) = fixture.ask(&query(name, 6, None));
                    asked.fetch_add(1, Ordering::Relaxed);
                    hot.fetch_add(sent.hot.into(), Ordering::Relaxed);
                    let message = Message::from_vec(&wire).unwrap();
                    let mut all = message.answers.iter().chain(&message.authorities);
                    let soa = all.find(|r| r.record_type() == RecordType::SOA).unwrap();
                    let told: u64 = soa
                        .data
                        .to_string()
                        .split(' ')
                        .nth(2)
                        .unwrap()
                        .parse()
                        .unwrap();
                    assert!(told >= before, "{name}: serial {told} after {before}");
                }
            });
        }
        for round in 1..=ROUNDS {
            let place = (round % 3) as usize;
            let code = codes[place];
            let url = format!("https://example.net/{round}");
            match round % 4 {
                0 => {
                    fixture.delete(code);
                    let gone = fixture.txt(code);
                    assert_eq!(gone, None, "round {round}");
                    fixture.add(code, &url, None, None);
                }
                _ => {
                    let target = Some(TargetUrl::parse(&url).unwrap());
                    fixture.change(
                        code,
                        Change {
                            target,
                            ..Change::default()
                        },
                    );
                }
            }
            links[place].store(round, Ordering::Release);
            if round % 5 == 0 {
                let next = 1 + round;
                fs::write(&file, text.replace(" 1 3600", &format!(" {next} 3600"))).unwrap();
                fixture.zones.reload().unwrap();
                fixture.handler.zones_replaced();
                serial.store(next, Ordering::Release);
            }
        }
        done.store(true, Ordering::Release);
    });
    let (asked, hot) = (asked.into_inner(), hot.into_inner());
    assert!(hot > asked / 4, "{hot} of {asked} were hot");
}
