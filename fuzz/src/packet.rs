//! Packets and their replies. The first byte of the input chooses the transport and an event; the rest is one raw
//! packet, or recipes for up to four packets. They go to servers with plain and signed zones and links of all kinds.
//!
//! Checks of the message, by RFC 1035 §4 unless another RFC is named:
//!
//! * A packet that is shorter than a header, or has QR set, gets no reply. Every other packet gets one.
//! * The reply has the id, the opcode and RD of the query, and QR; RA, Z, AD and CD are zero (§4.1.1, RFC
//!   4035 §3.1.6 and §3.2.3). Its question is that of the query byte for byte, letter case and all, where
//!   there is one that can be read; else there is none. AA is only with data or denials of our own.
//! * It is no larger than the query allows: by UDP 512 bytes, or what its OPT record says, within 512 and
//!   our own 1,232 (RFC 6891 §6.2.3); by TCP 65,535.
//! * With TC there are no records but OPT, and TSIG (RFC 2181 §9: no half of a set). By TCP TC never is
//!   necessary.
//! * There is an OPT record if and only if the query has one that can be read (RFC 6891 §6.1.1, §7): one,
//!   with the root as its owner, version 0, our size, DO as in the query (RFC 3225 §3) and no other flag but CO
//!   (RFC 9824 §5.1). A cookie begins with the client's part (RFC 7873 §5.2); NSID (RFC 5001 §2.2) and keepalive
//!   (RFC 7828 §3.2.2, by TCP) only if asked for; padding (RFC 7830) as well, and only by TLS, where the reply
//!   then has a multiple of 468 bytes (RFC 8467 §4.1).
//! * It has the form of a message, without a byte too many, for `message` and for hickory-proto.
//! * The rcode is the one that `verdict` finds for the query in its own way, wherever that depends on the
//!   message alone: FORMERR, NOTIMP, BADVERS, REFUSED, NOTAUTH. In particular: what hickory-proto can decode
//!   as a query of one question is never FORMERR but for what its module lists; what it cannot decode
//!   always is.
//!
//! Checks of the answer:
//!
//! * The same packet gets the same reply again, when its answer has become a hot one; and a server that
//!   keeps no answers gives the same.
//! * By hickory's decoder and encoder, which a query with TC set takes, the records are the same as by the
//!   short way; by TCP they are the same as by UDP, where they fit; and in another letter case too.
//! * A TXT query for the name of a link gets its current URL, also after a change, and no URL after its expiry. No TTL
//!   extends beyond the expiry.
//! * A server that limits its replies gives the same one, or none, or one without records that is truncated or
//!   BADCOOKIE, and longer than the query by a server cookie at most; by TCP, always the same.
//! * Answers from signed zones are signed, and denials are proved: see `signed`.
//! * SERVFAIL comes only while the store fails, and not again once it works.

mod comparison;
mod recipe;
mod reply;
mod signed;
mod verdict;
mod zones;

use std::cell::RefCell;

use tinyns::base::clock::UnixTime;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, Rates};
use tinyns::link::{Code, LinkName, TargetUrl};
use tinyns::store::Change;

use self::comparison::check_same;
use self::recipe::Choices;
use self::reply::check_packet;
use self::verdict::verdict;
use self::zones::{LINK_ORIGINS, links, zones};
use super::message::{Message, rcode, wire_name};
use super::world::{NOW, NameServer, Via, origin};

/// Bytes for hot answers.
const HOT_BYTES: usize = 256 << 10;
/// The most recipes of an input.
const MAX_PACKETS: usize = 4;
/// The seconds until the link `later` expires.
const ENDS_IN: u64 = 100;

thread_local! {
    static SERVERS: RefCell<Servers> = RefCell::new(Servers::new());
}

/// Servers over the same zones and links.
struct Servers {
    /// A server that keeps hot answers.
    hot: NameServer,
    /// A server whose caches are emptied before each query.
    cold: NameServer,
    /// A server whose rate limit allows hardly any reply by UDP.
    limited: NameServer,
}

/// One reply a second, of each kind and in total; every second limited reply slips.
fn rate_limit() -> RateLimitConfig {
    RateLimitConfig {
        rates: Rates {
            answers: 1,
            nodata: 1,
            nxdomains: 1,
            referrals: 1,
            errors: 1,
            all: 1,
        },
        burst: 1,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        table_bytes: 1 << 16,
        dry_run: false,
    }
}

/// The choices beside the packets.
#[derive(Clone, Copy)]
struct Plan(u8);

impl Plan {
    fn via(self) -> Via {
        match self.0 & 0x81 {
            0 | 0x80 => Via::Udp,
            1 => Via::Tcp { keepalive: 300 },
            _ => Via::Tls { keepalive: 300 },
        }
    }

    fn is_recipe(self) -> bool {
        self.0 & 2 != 0
    }

    fn event(self) -> Event {
        match self.0 >> 2 & 7 {
            1 => Event::StoreFails,
            2 => Event::LinkChanges,
            3 => Event::TimePasses(ENDS_IN - 1),
            4 => Event::TimePasses(ENDS_IN),
            5 => Event::LinkGoes,
            _ => Event::Nothing,
        }
    }
}

/// An event between the packets and their repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    StoreFails,
    LinkChanges,
    LinkGoes,
    TimePasses(u64),
}

impl Servers {
    fn new() -> Self {
        let hot = NameServer::new(zones(), HOT_BYTES);
        let cold = hot.sibling(0, None);
        let limited = hot.sibling(HOT_BYTES, Some(rate_limit()));
        let servers = Self { hot, cold, limited };
        servers.fill();
        servers
    }

    /// Puts the links into the store.
    fn fill(&self) {
        let long = format!("https://example.net/{}", "x".repeat(600));
        let longest = format!("https://example.net/{}", "x".repeat(1_500));
        for of in LINK_ORIGINS.map(origin) {
            links(&long, &longest, &mut |link| self.hot.store.put(&of, link));
        }
    }

    /// The reply of the server with empty caches.
    fn ask_cold(&mut self, packet: &[u8], via: Via) -> Option<Vec<u8>> {
        self.cold.handler.zones_replaced();
        self.cold.ask(packet, via)
    }
}

/// See the [module](self).
pub fn check(data: &[u8]) {
    let Some((&plan, body)) = data.split_first() else {
        return;
    };
    let plan = Plan(plan);
    let packets = match plan.is_recipe() {
        false => vec![body.to_vec()],
        true => {
            let mut choices = Choices(body);
            let mut packets = Vec::new();
            while packets.is_empty() || packets.len() < MAX_PACKETS && !choices.0.is_empty() {
                packets.push(choices.packet());
            }
            packets
        }
    };
    SERVERS.with_borrow_mut(|servers| {
        servers.hot.handler.zones_replaced();
        check_packets(servers, plan, &packets);
    });
}

fn check_packets(servers: &mut Servers, plan: Plan, packets: &[Vec<u8>]) {
    let via = plan.via();
    let event = plan.event();
    servers.hot.store.fail(event == Event::StoreFails);
    let replies: Vec<_> = packets
        .iter()
        .map(|packet| check_packet(servers, packet, via, event == Event::StoreFails))
        .collect();
    servers.hot.store.fail(false);
    for (packet, reply) in packets.iter().zip(&replies) {
        if event != Event::StoreFails {
            check_same(servers, packet, via, reply.as_deref());
        }
    }
    happen(servers, event);
    for packet in packets {
        let reply = check_packet(servers, packet, via, false);
        check_link(packet, reply.as_deref(), event);
    }
    for packet in packets {
        let reply = servers.hot.ask(packet, via);
        check_same(servers, packet, via, reply.as_deref());
    }
    undo(servers, event);
}

/// The URL that `abc` leads to after [`Event::LinkChanges`].
const CHANGED: &str = "https://example.org/changed";

fn happen(servers: &Servers, event: Event) {
    let server = &servers.hot;
    let code = Code::parse("abc").expect("a code");
    for of in LINK_ORIGINS.map(origin) {
        let name = LinkName::new(&code, &of);
        match event {
            Event::LinkChanges => {
                let change = Change {
                    target: TargetUrl::parse(CHANGED).ok(),
                    ..Change::default()
                };
                let changed = server.wait(server.links.change(&name, None, change, &"fuzz".into()));
                changed.expect("it is there");
            }
            Event::LinkGoes => {
                let deleted = server.wait(server.links.delete(&name, None, &"fuzz".into()));
                deleted.expect("it is there");
            }
            Event::TimePasses(seconds) => server.clock.set(UnixTime(NOW.0 + seconds)),
            Event::Nothing | Event::StoreFails => {}
        }
    }
}

fn undo(servers: &Servers, event: Event) {
    let server = &servers.hot;
    server.clock.set(NOW);
    if matches!(event, Event::LinkChanges | Event::LinkGoes) {
        servers.fill();
        // This change also removes the links from memory, because `fill` bypasses it.
        let code = Code::parse("abc").expect("a code");
        for of in LINK_ORIGINS.map(origin) {
            let name = LinkName::new(&code, &of);
            let change = Change {
                ttl: Some(None),
                ..Change::default()
            };
            let changed = server.wait(server.links.change(&name, None, change, &"fuzz".into()));
            changed.expect("it is there");
        }
    }
}

/// Checks the answer to a TXT query for a link after the event.
fn check_link(packet: &[u8], reply: Option<&[u8]>, event: Event) {
    let (Some(reply), Ok(asked)) = (reply, Message::read(packet)) else {
        return;
    };
    let [question] = &asked.questions[..] else {
        return;
    };
    if (question.qtype, question.qclass) != (16, 1) || asked.opcode() != 0 {
        return;
    }
    let message = Message::read(reply).expect("it was read before");
    if message.is_truncated() || message.questions.is_empty() || asked.rcode() != 0 {
        return;
    }
    let name = question.name.to_ascii_lowercase();
    let is = |code: &str| {
        LINK_ORIGINS
            .iter()
            .any(|of| name == wire_name(&format!("{code}.{of}")))
    };
    let answer = message.sections[0].iter().find(|r| r.rtype == 16);
    let url = answer.and_then(|record| record.data.get(1..));
    // An rcode that follows from the packet alone says nothing about the link.
    if is("abc") && verdict(packet).rcode.is_none() {
        // Without a link, a wildcard of the zone may provide an answer.
        let wanted = match event {
            Event::LinkChanges => Some(CHANGED),
            Event::LinkGoes => answer.map(|_| "any"),
            _ => Some("https://example.net/"),
        };
        let is_there = message.rcode() == rcode::NO_ERROR;
        assert!(
            is_there || event == Event::LinkGoes,
            "{packet:02x?}\n{message:#?}"
        );
        let wanted = wanted.map(str::as_bytes);
        assert_eq!(url, wanted, "{packet:02x?}\n{message:#?}");
    }
    if let (true, Event::TimePasses(seconds)) = (is("later"), event) {
        let is_live = seconds < ENDS_IN;
        let is_answered = url == Some(b"https://example.net/later");
        let is_error = matches!(message.rcode(), rcode::NO_ERROR | rcode::NX_DOMAIN);
        assert!(
            is_answered == is_live || !is_error,
            "{packet:02x?}\n{message:#?}"
        );
        let left = u32::try_from(ENDS_IN - seconds.min(ENDS_IN)).unwrap_or(0);
        let ttls = message.sections[0].iter().map(|record| record.ttl);
        assert!(!is_live || ttls.max() < Some(left.max(1)), "{message:#?}");
    }
}
