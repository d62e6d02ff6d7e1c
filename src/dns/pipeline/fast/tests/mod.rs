//! The fast path against the general path: both have to send the same bytes. And hot answers against changes of
//! links and zones.

mod additions;
mod agreement;
mod freshness;
mod hot;
mod lookups;
mod routed;
mod signed;
mod withheld;
mod zones;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::base::name::ZoneName;
use crate::certificates::Challenges;
use crate::dns::Settings;
use crate::dns::pipeline::packet::Buffers;
use crate::dns::wire::reply::ReplyBuffer;
use crate::dnssec::key::Algorithm;
use crate::link::{Code, LinkName, Origin, TargetUrl, Ttl};
use crate::links::{CreateLink, LinkLimits, Links, Resolution};
use crate::store::{Change, SqliteStore, Store};
use crate::zone::{CaaAddition, Layout, ZoneAdditions, ZoneConfig, ZoneSet};

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
    store: Arc<dyn Store>,
    challenges: Arc<Challenges>,
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

    /// With these zones. Each has an origin, a text, a redirect host if it holds links, and a layout.
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
        let store: Arc<dyn Store> = Arc::new(store);
        let challenges = Arc::new(Challenges::new(store.clone(), clock.clone()));
        let links = Arc::new(Links::new(
            store.clone(),
            zones.clone(),
            LinkLimits::default(),
            clock.clone(),
            metrics.clone(),
        ));
        let (all, known) = (zones.clone(), links.clone());
        let handler = Handler::new(all, known, 1 << 20, settings, metrics.clone());
        handler.set_challenges(challenges.clone());
        drop(_entered);
        Self {
            runtime,
            handler,
            links,
            zones,
            store,
            challenges,
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
            use_reserved: false,
            expires_at,
            ttl: ttl.and_then(Ttl::from_secs),
            about: crate::link::About::default(),
            destinations: None,
            withheld: None,
            created_by: "test".into(),
        };
        self.runtime.block_on(self.links.create(request)).unwrap();
    }

    fn delete(&self, code: &str) {
        let name = link_name(code);
        let by = "test".into();
        let call = self.links.delete(&name, None, &by);
        self.runtime.block_on(call).unwrap();
    }

    fn change(&self, code: &str, change: Change) {
        let name = link_name(code);
        let by = "test".into();
        let call = self.links.change(&name, None, change, &by);
        self.runtime.block_on(call).unwrap();
    }

    /// The reply by the fast path, by UDP.
    fn ask(&self, packet: &[u8]) -> (Sent, Vec<u8>) {
        self.ask_by(Via::Udp, packet)
    }

    /// The reply by the fast path, by this transport.
    fn ask_by(&self, via: Via, packet: &[u8]) -> (Sent, Vec<u8>) {
        let handler = &self.handler;
        let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
        let scratch = Scratch {
            reply: &mut reply,
            encoding: &mut encoding,
        };
        let from = (CLIENT.ip(), via);
        let prepared = handler.prepare(packet, from).expect("an ordinary query");
        handler.fetch(std::iter::once(&prepared), &Tally::default());
        let now = handler.time();
        let sent = match handler.reply_now(&prepared, from, &now, scratch, Signatures::Now) {
            Ok(sent) => sent,
            Err(Pending::Signature { .. }) => panic!("it was to be signed at once"),
            Err(Pending::LookUp(mut unanswered)) => {
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
            Err(Pending::LookUp(mut unanswered)) => {
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

    /// The URL in the answer for TXT; none if there is no such name.
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

/// A query; `edns` has the size and the DO bit of an OPT record.
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

/// The contents of a message: all but the additional records, and the additional records. Names are in lower case,
/// since compression may take their letters from the question.
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

/// Asks by both paths, and twice by the fast path, so that the second reply comes from a hot answer.
fn check_both(fixture: &Fixture, name: &str, qtype: u16, edns: Option<(u16, bool)>) {
    let limit = edns.map_or(512, |(size, _)| size.clamp(512, 1_232));
    let context = format!("{name} {qtype} {edns:?}");
    check_packet(fixture, &query(name, qtype, edns), limit, &context);
}

/// [`check_both`] for a packet whose reply has at most `limit` bytes.
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
