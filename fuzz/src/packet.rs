//! Packets, and what becomes of them: the first byte of the input is a choice, the rest one packet as it is,
//! or recipes for up to four. They go to a server with zones, signed ones among them, and links of all kinds.
//!
//! Of the message, by RFC 1035 §4 unless another is named:
//!
//! * What is shorter than a header, or has QR set, gets no reply. Everything else gets one.
//! * The reply has the id, the opcode and RD of the query, and QR; RA, Z, AD and CD are zero (§4.1.1, RFC
//!   4035 §3.1.6 and §3.2.3). Its question is that of the query byte for byte, letter case and all, where
//!   there is one that can be read; else there is none. AA is only with data or denials of our own.
//! * It is no larger than the query allows: by UDP 512 bytes, or what its OPT record says, within 512 and
//!   our own 1,232 (RFC 6891 §6.2.3); by TCP 65,535.
//! * With TC there are no records but OPT, and TSIG (RFC 2181 §9: no half of a set). By TCP TC never is
//!   necessary.
//! * There is an OPT record if and only if the query has one that can be read (RFC 6891 §6.1.1, §7): one,
//!   with the root as its owner, version 0, our size, DO as in the query (RFC 3225 §3) and no other flag but CO
//!   (RFC 9824 §5.1). A
//!   cookie comes back with the client's half in front (RFC 7873 §5.2); NSID (RFC 5001 §2.2) and keepalive
//!   (RFC 7828 §3.2.2, by TCP) only if asked for; padding (RFC 7830) as well, and only by TLS, where the reply
//!   then has a multiple of 468 bytes (RFC 8467 §4.1).
//! * It has the form of a message, without a byte too many, for `message` and for hickory-proto.
//! * The rcode is the one that `verdict` finds for the query in its own way, wherever that depends on the
//!   message alone: FORMERR, NOTIMP, BADVERS, REFUSED, NOTAUTH. In particular: what hickory-proto can decode
//!   as a query of one question is never FORMERR but for what its module lists; what it cannot decode
//!   always is.
//!
//! Of the answer:
//!
//! * The same packet gets the same reply again, when its answer has become a hot one; and a server that
//!   keeps no answers gives the same.
//! * By hickory's decoder and encoder, which a query with TC set takes, the records are the same as by the
//!   short way; by TCP they are the same as by UDP, where they fit; and in another letter case too.
//! * A TXT query for the name of a link gets its URL, as it is now: also after the link was changed, and
//!   nothing once it has ended; and no TTL goes beyond its end.
//! * A server that limits its replies gives the same one, or none, or one without records that is truncated or
//!   BADCOOKIE, and longer than the query by a server cookie at most; by TCP, always the same.
//! * What signed zones say is signed, and what they deny is proved: see `signed`.
//! * SERVFAIL comes only while the store fails, and not again once it works.

mod recipe;
mod signed;
mod verdict;
mod zones;

use std::cell::RefCell;

use hickory_proto::op::Message as HickoryMessage;
use hickory_proto::rr::Record as HickoryRecord;
use tinyns::base::clock::UnixTime;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, Rates};
use tinyns::link::{Code, LinkName, TargetUrl};
use tinyns::store::Change;

use self::recipe::Choices;
use self::signed::{blank, check_signed};
use self::verdict::{Expected, verdict};
use self::zones::{LINK_ORIGINS, links, zones};
use super::message::{
    HEADER_LEN, MAX_UDP, MIN_UDP, Message, RRSIG, assert_reply_form, rcode, wire_name,
};
use super::world::{NOW, NameServer, Via, origin};

/// Bytes for hot answers.
const HOT_BYTES: usize = 256 << 10;
/// How many recipes there are at most.
const MAX_PACKETS: usize = 4;
/// In how many seconds the link `later` ends.
const ENDS_IN: u64 = 100;
/// The option code of cookies, and the length of the client's (RFC 7873 §4).
const COOKIE: u16 = 10;
const CLIENT_COOKIE: usize = 8;
/// The multiple to which replies are padded, in bytes (RFC 8467 §4.1).
const PADDED_BLOCK: usize = 468;
/// The length of a server cookie (RFC 9018 §4).
const SERVER_COOKIE: usize = 16;

thread_local! {
    static SERVERS: RefCell<Servers> = RefCell::new(Servers::new());
}

/// Servers over the same zones and links.
struct Servers {
    /// One that keeps answers.
    hot: NameServer,
    /// One that is told to forget before it is asked.
    cold: NameServer,
    /// One that has next to no replies to give by UDP.
    limited: NameServer,
}

/// One reply a second, of every kind and together; of the others one in two slips.
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

/// What is chosen beside the packets.
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

/// What happens between the packets and their repetition.
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

    /// Puts the links there.
    fn fill(&self) {
        let long = format!("https://example.net/{}", "x".repeat(600));
        let longest = format!("https://example.net/{}", "x".repeat(1_500));
        for of in LINK_ORIGINS.map(origin) {
            links(&long, &longest, &mut |link| self.hot.store.put(&of, link));
        }
    }

    /// The reply of the server that keeps nothing.
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

fn is_tls(via: Via) -> bool {
    matches!(via, Via::Tls { .. })
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
                let changed = server.wait(server.links.change(&name, None, change));
                changed.expect("it is there");
            }
            Event::LinkGoes => {
                let deleted = server.wait(server.links.delete(&name, None));
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
        // So that memory forgets as well: the store was filled behind its back.
        let code = Code::parse("abc").expect("a code");
        for of in LINK_ORIGINS.map(origin) {
            let name = LinkName::new(&code, &of);
            let change = Change {
                ttl: Some(None),
                ..Change::default()
            };
            let changed = server.wait(server.links.change(&name, None, change));
            changed.expect("it is there");
        }
    }
}

/// Sends a packet, twice, and looks at the reply by itself.
fn check_packet(
    servers: &mut Servers,
    packet: &[u8],
    via: Via,
    store_fails: bool,
) -> Option<Vec<u8>> {
    let reply = servers.hot.ask(packet, via);
    let Some(reply) = reply else {
        let is_query = packet.len() >= HEADER_LEN && packet[2] & 0x80 == 0;
        assert!(!is_query, "no reply: {packet:02x?}");
        return None;
    };
    let context = || {
        format!(
            "{via:?} {packet:02x?}\n{reply:02x?}\n{:#?}",
            Message::read(&reply)
        )
    };
    let is_query = packet.len() >= HEADER_LEN && packet[2] & 0x80 == 0;
    assert!(is_query, "a reply to what is no query: {}", context());
    let message = assert_reply_form(&reply);
    let expected = verdict(packet);
    check_head(packet, &message, &expected, &context);
    check_opt(&message, &expected, via, &context);
    let limit = match via {
        Via::Udp => expected
            .udp_size
            .map_or(MIN_UDP, |size| usize::from(size).clamp(MIN_UDP, MAX_UDP)),
        Via::Tcp { .. } | Via::Tls { .. } => usize::from(u16::MAX),
    };
    if expected.padding && is_tls(via) && reply.len() <= limit - PADDED_BLOCK {
        assert_eq!(
            reply.len() % PADDED_BLOCK,
            0,
            "{} bytes: {}",
            reply.len(),
            context()
        );
    }
    assert!(reply.len() <= limit, "{} bytes: {}", reply.len(), context());
    let is_udp = via == Via::Udp;
    assert!(
        is_udp || !message.is_truncated(),
        "TC by TCP: {}",
        context()
    );
    check_rcode(message.rcode(), &expected, store_fails, &context);
    check_signed(&message, &expected, &context);
    let again = servers.hot.ask(packet, via);
    // For how long an absence is remembered is real time, and may end just now.
    let has_failed = |reply: &Vec<u8>| u16::from(reply[3] & 0x0F) == rcode::SERV_FAIL;
    let may_differ = store_fails && again.as_ref().is_some_and(has_failed);
    if message.rcode() != rcode::SERV_FAIL && !may_differ {
        assert_eq!(again.as_ref(), Some(&reply), "again: {}", context());
    }
    Some(reply)
}

fn check_head(packet: &[u8], message: &Message, expected: &Expected, context: &dyn Fn() -> String) {
    let header = &message.header;
    assert_eq!(header[..2], packet[..2], "id: {}", context());
    let kept = 0b0111_1001;
    assert_eq!(
        header[2] & kept,
        packet[2] & kept,
        "opcode, RD: {}",
        context()
    );
    match &expected.question {
        Some(question) => assert_eq!(
            message.questions[..],
            *std::slice::from_ref(question),
            "{}",
            context()
        ),
        None => assert!(message.questions.is_empty(), "{}", context()),
    }
    if message.is_authoritative() {
        let is_data = matches!(
            message.rcode(),
            rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN
        );
        assert!(is_data, "AA: {}", context());
    }
}

fn check_opt(message: &Message, expected: &Expected, via: Via, context: &dyn Fn() -> String) {
    let opt = message.opts().next();
    assert_eq!(
        opt.is_some(),
        expected.udp_size.is_some(),
        "OPT: {}",
        context()
    );
    let Some(opt) = opt else {
        return;
    };
    assert_eq!(usize::from(opt.class), MAX_UDP, "our size: {}", context());
    let dnssec_ok = opt.ttl & 0x8000 != 0;
    assert_eq!(dnssec_ok, expected.dnssec_ok, "DO: {}", context());
    let compact_ok = opt.ttl & 0x4000 != 0;
    assert!(!compact_ok || expected.compact_ok, "CO: {}", context());
    let options = opt.options().expect("it was read before");
    for (place, (code, data)) in options.iter().enumerate() {
        let is_second = options[..place].iter().any(|(other, _)| other == code);
        assert!(!is_second, "option {code} twice: {}", context());
        let is_asked_for = match *code {
            COOKIE => {
                let cookie = expected.cookie.as_deref().unwrap_or_default();
                let client = cookie.get(..CLIENT_COOKIE);
                data.len() == 24 && client == data.get(..CLIENT_COOKIE)
            }
            3 => expected.nsid,
            11 => expected.keepalive && via != Via::Udp && data.len() == 2,
            // RFC 7830 §3: zeros; §6: not where others can read.
            12 => expected.padding && is_tls(via) && data.iter().all(|byte| *byte == 0),
            // RFC 8914 §2: a code, and text in UTF-8.
            15 => data.len() >= 2 && std::str::from_utf8(&data[2..]).is_ok(),
            _ => false,
        };
        assert!(is_asked_for, "option {code}: {}", context());
    }
    let has_cookie = options.iter().any(|(code, _)| *code == COOKIE);
    assert_eq!(
        has_cookie,
        expected.cookie.is_some(),
        "cookie: {}",
        context()
    );
}

fn check_rcode(found: u16, expected: &Expected, store_fails: bool, context: &dyn Fn() -> String) {
    match expected.rcode {
        Some(rcode) => assert_eq!(found, rcode, "{}: {}", expected.why, context()),
        None => {
            let is_answer = matches!(
                found,
                rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN | rcode::REFUSED
            );
            let is_failure = found == rcode::SERV_FAIL && store_fails;
            assert!(is_answer || is_failure, "rcode {found}: {}", context());
        }
    }
}

/// Asks in other ways, which have to lead to the same answer.
fn check_same(servers: &mut Servers, packet: &[u8], via: Via, reply: Option<&[u8]>) {
    let Some(reply) = reply else {
        return;
    };
    let context = |other: &[u8]| format!("{via:?} {packet:02x?}\n{reply:02x?}\n{other:02x?}");
    let cold = servers.ask_cold(packet, via).unwrap_or_default();
    assert_eq!(
        comparable(&cold),
        comparable(reply),
        "cold: {}",
        context(&cold)
    );

    // Byte for byte, this is the way of what is no ordinary query.
    let mut odd = packet.to_vec();
    odd[2] |= 0x02;
    let odd = servers.hot.ask(&odd, via).unwrap_or_default();
    check_said(reply, &odd, &|| format!("odd: {}", context(&odd)));

    let other = match via {
        Via::Udp => Via::Tcp { keepalive: 300 },
        Via::Tcp { .. } | Via::Tls { .. } => Via::Udp,
    };
    let by_other = servers.hot.ask(packet, other).unwrap_or_default();
    check_said(reply, &by_other, &|| {
        format!("{other:?}: {}", context(&by_other))
    });

    check_limited(servers, packet, via, reply);

    let mut flipped = packet.to_vec();
    if flip_case(&mut flipped) {
        let flipped = servers.hot.ask(&flipped, via).unwrap_or_default();
        check_said(reply, &flipped, &|| format!("case: {}", context(&flipped)));
    }
}

/// Asks the server that limits its replies.
fn check_limited(servers: &mut Servers, packet: &[u8], via: Via, reply: &[u8]) {
    let limited = servers.limited.ask(packet, via);
    let Some(limited) = limited else {
        assert_eq!(via, Via::Udp, "dropped: {packet:02x?}");
        return;
    };
    if comparable(&limited) == comparable(reply) {
        return;
    }
    let context = || format!("{via:?} {packet:02x?}\n{reply:02x?}\n{limited:02x?}");
    assert_eq!(via, Via::Udp, "by TCP: {}", context());
    let (slip, whole) = (assert_reply_form(&limited), assert_reply_form(reply));
    assert_eq!(limited[..2], packet[..2], "id: {}", context());
    assert_eq!(slip.questions, whole.questions, "{}", context());
    assert_eq!(slip.opts().count(), whole.opts().count(), "{}", context());
    // No more than what sends the client elsewhere, or makes it come again.
    let [answers, authorities, _] = &slip.sections;
    assert!(
        answers.is_empty() && authorities.is_empty(),
        "{}",
        context()
    );
    let is_bad_cookie = slip.rcode() == rcode::BAD_COOKIE && verdict(packet).cookie.is_some();
    let is_error = slip.rcode() == whole.rcode()
        && !matches!(slip.rcode(), rcode::NO_ERROR | rcode::NX_DOMAIN);
    let sends_on = slip.is_truncated() || is_bad_cookie || is_error;
    assert!(sends_on, "{}", context());
    assert!(
        limited.len() <= packet.len() + SERVER_COOKIE,
        "longer: {}",
        context()
    );
}

/// A reply without what may differ between servers that say the same: the server's part of a cookie, which is made
/// with a secret, and signatures with their times.
fn comparable(bytes: &[u8]) -> Vec<u8> {
    let mut reply = bytes.to_vec();
    let Ok(message) = Message::read(bytes) else {
        return reply;
    };
    // As a whole, since a part of it may look like something else.
    let place = |of: &[u8]| bytes.windows(of.len()).rposition(|window| window == of);
    let options = message
        .opts()
        .filter_map(|opt| opt.options().ok())
        .flatten();
    for (_, cookie) in options.filter(|(code, _)| *code == COOKIE) {
        let server =
            place(cookie).and_then(|at| reply.get_mut(at + CLIENT_COOKIE..at + cookie.len()));
        server.into_iter().for_each(|server| server.fill(0));
    }
    let records = message.sections.iter().flatten();
    for signature in records.filter(|record| record.rtype == RRSIG) {
        if let Some(at) = place(&signature.data) {
            blank(&mut reply[at..at + signature.data.len()]);
        }
    }
    reply
}

/// Asserts that two replies say the same, as far as both have room for it.
fn check_said(one: &[u8], other: &[u8], context: &dyn Fn() -> String) {
    let decoded = |bytes: &[u8]| {
        // What is signed may be so at another time.
        HickoryMessage::from_vec(&comparable(bytes))
            .unwrap_or_else(|error| panic!("{error}: {}", context()))
    };
    let (one, other) = (decoded(one), decoded(other));
    assert_eq!(one.response_code, other.response_code, "{}", context());
    if one.truncation || other.truncation {
        return;
    }
    assert_eq!(one.authoritative, other.authoritative, "{}", context());
    assert_eq!(said(&one.answers), said(&other.answers), "{}", context());
    assert_eq!(
        said(&one.authorities),
        said(&other.authorities),
        "{}",
        context()
    );
    // RFC 2181 §9: these go first where there is no room.
    let (more, less) = (said(&one.additionals), said(&other.additionals));
    assert!(
        more == less || more.is_empty() || less.is_empty(),
        "{}",
        context()
    );
}

/// Records without letter case, which names take from the question where they are compressed.
fn said(records: &[HickoryRecord]) -> Vec<String> {
    let shown = records.iter().map(|record| record.to_string());
    shown.map(|record| record.to_lowercase()).collect()
}

/// Changes the letter case of a question's name; returns whether there was one that could be read.
fn flip_case(packet: &mut [u8]) -> bool {
    let Ok(message) = Message::read(packet) else {
        return false;
    };
    let [question] = &message.questions[..] else {
        return false;
    };
    if question.compressed {
        return false;
    }
    for byte in &mut packet[HEADER_LEN..HEADER_LEN + question.name.len()] {
        // The length of a label is below all letters.
        if byte.is_ascii_alphabetic() {
            *byte ^= 0x20;
        }
    }
    true
}

/// Looks at what a TXT query for a link was told, after the event.
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
    let told = message.sections[0].iter().find(|r| r.rtype == 16);
    let url = told.and_then(|record| record.data.get(1..));
    // What the form of a packet decides is nothing about the link.
    if is("abc") && verdict(packet).rcode.is_none() {
        // Where there is no link, a wildcard of the zone may have something.
        let wanted = match event {
            Event::LinkChanges => Some(CHANGED),
            Event::LinkGoes => told.map(|_| "any"),
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
        let is_told = url == Some(b"https://example.net/later");
        let is_error = matches!(message.rcode(), rcode::NO_ERROR | rcode::NX_DOMAIN);
        assert!(
            is_told == is_live || !is_error,
            "{packet:02x?}\n{message:#?}"
        );
        let left = u32::try_from(ENDS_IN - seconds.min(ENDS_IN)).unwrap_or(0);
        let ttls = message.sections[0].iter().map(|record| record.ttl);
        assert!(!is_live || ttls.max() < Some(left.max(1)), "{message:#?}");
    }
}
