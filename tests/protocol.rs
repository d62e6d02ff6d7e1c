//! What the RFCs require of replies to each kind of message, by raw packets over UDP and TCP: the tests of RFC 8906
//! §8, and similar tests for other RFCs.

use std::time::Duration;

use hickory_proto::op::Message;
use serde_json::json;

use crate::harness::{Server, Setup, parse, run};

/// `s.example.com`, with letters of both cases.
const ZONE_NAME: &[u8] = b"\x01s\x07eXample\x03cOm\0";
const CODE: &[u8] = b"\x04cOde\x01s\x07eXample\x03com\0";
const TARGET: &str = "https://example.net/protocol";
const ID: [u8; 2] = [0xA5, 0x3C];

const SOA: u16 = 6;
const TXT: u16 = 16;

/// RD, AD, CD and the bit that is reserved, in the two bytes of flags (RFC 1035 §4.1.1, RFC 4035 §3.2).
const RD: u16 = 0x0100;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;
const Z: u16 = 0x0040;
const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RA: u16 = 0x0080;

fn server() -> Server {
    let server = Setup::new()
        .dns_line("nsid = \"0x00ff6e73\"")
        .dns_line("version = \"a version\"")
        .dns_line("identity = \"an identity\"")
        .start();
    server.add_with(&json!({"url": TARGET, "code": "code"}));
    server
}

/// A query that is put together byte by byte.
#[derive(Clone)]
struct Packet {
    flags: u16,
    counts: [u16; 4],
    body: Vec<u8>,
}

impl Packet {
    fn new(name: &[u8], qtype: u16) -> Self {
        Self {
            flags: 0,
            counts: [1, 0, 0, 0],
            body: [name, &qtype.to_be_bytes(), &[0, 1]].concat(),
        }
    }

    fn header(flags: u16) -> Self {
        Self {
            flags,
            counts: [0; 4],
            body: Vec::new(),
        }
    }

    fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    fn class(mut self, class: u16) -> Self {
        let at = self.body.len() - 2;
        self.body[at..].copy_from_slice(&class.to_be_bytes());
        self
    }

    /// Adds an OPT record of this size, version and flags.
    fn opt(mut self, size: u16, version: u8, flags: u16, options: &[u8]) -> Self {
        self.body.extend([0, 0, 41]);
        self.body.extend(size.to_be_bytes());
        self.body.extend([0, version]);
        self.body.extend(flags.to_be_bytes());
        self.body.extend((options.len() as u16).to_be_bytes());
        self.body.extend(options);
        self.counts[3] += 1;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = ID.to_vec();
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.counts.iter().flat_map(|count| count.to_be_bytes()));
        bytes.extend(&self.body);
        bytes
    }
}

/// The parts of a reply that do not depend on the question.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    flags: u16,
    /// With the bits in the OPT record.
    rcode: u16,
    counts: [u16; 3],
    opt: Option<Opt>,
}

#[derive(Debug, PartialEq, Eq)]
struct Opt {
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<u8>,
}

/// Takes a reply apart, which has its question whole or not at all.
fn see(query: &Packet, reply: &[u8]) -> Seen {
    assert_eq!(reply[..2], ID, "the query's id");
    let message: Message = parse(reply);
    let counts = [4, 6, 8, 10].map(|at| u16::from_be_bytes([reply[at], reply[at + 1]]));
    if counts[0] == 1 {
        let name = query.body.iter().position(|byte| *byte == 0).unwrap();
        let question = &query.body[..name + 5];
        assert_eq!(&reply[12..12 + question.len()], question, "byte for byte");
    }
    let opt = message.edns.is_some().then(|| {
        let at = reply.len() - opt_len(reply);
        let record = &reply[at..];
        assert_eq!(record[..3], [0, 0, 41]);
        let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
        let opt = Opt {
            size: word(3),
            version: record[6],
            flags: word(7),
            options: record[11..].to_vec(),
        };
        (record[5], opt)
    });
    let flags = u16::from_be_bytes([reply[2], reply[3]]);
    let high = opt.as_ref().map_or(0, |(high, _)| *high);
    Seen {
        flags: flags & !0xF,
        rcode: u16::from(high) << 4 | flags & 0xF,
        counts: [counts[1], counts[2], counts[3]],
        opt: opt.map(|(_, opt)| opt),
    }
}

/// The length of an OPT record at the end of a reply.
fn opt_len(reply: &[u8]) -> usize {
    (11..=reply.len())
        .find(|len| {
            let record = &reply[reply.len() - len..];
            let data = usize::from(u16::from_be_bytes([record[9], record[10]]));
            record[..3] == [0, 0, 41] && data + 11 == *len
        })
        .expect("an OPT record at the end")
}

/// Asks by UDP and by TCP, which have to agree.
#[track_caller]
fn ask(server: &Server, packet: &Packet) -> Seen {
    let bytes = packet.bytes();
    let udp = see(packet, &server.udp(&bytes));
    let tcp = see(packet, &server.tcp(&bytes));
    assert_eq!(udp, tcp, "by UDP and by TCP");
    udp
}

/// An OPT record of ours without options.
fn our_opt(flags: u16) -> Option<Opt> {
    Some(Opt {
        size: 1_232,
        version: 0,
        flags,
        options: Vec::new(),
    })
}

#[test]
fn rfc8906_8_1_without_edns() {
    let server = server();
    let soa = Packet::new(ZONE_NAME, SOA);
    let plain = Seen {
        flags: QR | AA,
        rcode: 0,
        counts: [1, 0, 0],
        opt: None,
    };
    // 8.1.1 and 8.1.5: over UDP and over TCP.
    assert_eq!(ask(&server, &soa), plain);
    // 8.1.2: an unknown type.
    let unknown = ask(&server, &Packet::new(ZONE_NAME, 1_000));
    assert_eq!((unknown.rcode, unknown.counts), (0, [0, 1, 0]));
    // 8.1.3.1 to 8.1.3.4: AD, the reserved bit, CD and RD; RD alone is copied.
    for flags in [AD, Z, CD, AD | CD | Z, TC, AA, RA] {
        assert_eq!(ask(&server, &soa.clone().flags(flags)), plain, "{flags:#x}");
    }
    // An rcode in a query says nothing.
    assert_eq!(ask(&server, &soa.clone().flags(0xF)), plain);
    assert_eq!(ask(&server, &soa.clone().flags(RD)).flags, QR | AA | RD);
    // 8.1.4: an unknown opcode, and a header alone.
    for opcode in [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
        let seen = ask(&server, &Packet::header(opcode << 11));
        assert_eq!((seen.flags, seen.rcode), (QR | opcode << 11, 4));
        let seen = ask(&server, &soa.clone().flags(opcode << 11 | RD));
        assert_eq!((seen.flags, seen.rcode), (QR | RD | opcode << 11, 4));
    }
}

#[test]
fn rfc8906_8_2_with_edns() {
    let server = server();
    let soa = Packet::new(ZONE_NAME, SOA);
    let plain = |flags| Seen {
        flags: QR | AA,
        rcode: 0,
        counts: [1, 0, 1],
        opt: our_opt(flags),
    };
    // 8.2.1
    assert_eq!(ask(&server, &soa.clone().opt(4_096, 0, 0, b"")), plain(0));
    // 8.2.2: an unknown version; the reply has the server's version.
    let bad = Seen {
        flags: QR,
        rcode: 16,
        counts: [0, 0, 1],
        opt: our_opt(0),
    };
    for version in [1, 2, 100, 255] {
        assert_eq!(ask(&server, &soa.clone().opt(4_096, version, 0, b"")), bad);
    }
    // 8.2.3: an unknown option is not repeated.
    let unknown = b"\0\x64\0\x03abc\xFF\xFE\0\0";
    assert_eq!(
        ask(&server, &soa.clone().opt(4_096, 0, 0, unknown)),
        plain(0)
    );
    // 8.2.4: nor is a flag.
    for flags in [0x0040, 0x7FFF, 0x4000] {
        assert_eq!(
            ask(&server, &soa.clone().opt(4_096, 0, flags, b"")),
            plain(0)
        );
    }
    // 8.2.5 and 8.2.6: both together with an unknown version.
    assert_eq!(ask(&server, &soa.clone().opt(4_096, 1, 0x40, b"")), bad);
    assert_eq!(ask(&server, &soa.clone().opt(4_096, 1, 0, unknown)), bad);
    // 8.2.8: DO is repeated, also by BADVERS.
    assert_eq!(
        ask(&server, &soa.clone().opt(4_096, 0, 0x8000, b"")),
        plain(0x8000)
    );
    let seen = ask(&server, &soa.clone().opt(4_096, 1, 0x8000, b""));
    assert_eq!((seen.rcode, seen.opt), (16, our_opt(0x8000)));
    // 8.2.9: options that everybody may know, together: NSID, ECS, EXPIRE and a cookie.
    let options = b"\0\x03\0\0\0\x08\0\x07\0\x01\x18\0\xC0\0\x02\0\x09\0\0\0\x0A\0\x08cookies!";
    let seen = ask(&server, &soa.clone().opt(4_096, 0, 0, options));
    let options = seen.opt.unwrap().options;
    assert_eq!((seen.rcode, options.len()), (0, 4 + 24 + 4 + 4));
    assert_eq!(options[..12], *b"\0\x0A\0\x18cookies!");
    assert_eq!(options[28..], *b"\0\x03\0\x04\0\xFFns");
}

/// RFC 6891 §7 with RFC 8906 §8.2.7: a reply that is cut short keeps its OPT record.
#[test]
fn rfc6891_7_opt_in_truncated_replies() {
    let server = Setup::new().dns_line("udp_payload = 700").start();
    let url = format!("https://example.net/{}", "x".repeat(600));
    server.add_with(&json!({"url": url, "code": "code"}));
    let packet = Packet::new(CODE, TXT);
    // All of it has more than 700 bytes.
    for (query, limit) in [
        (packet.clone(), 512),
        (packet.clone().opt(512, 0, 0, b""), 512),
        (packet.clone().opt(0, 0, 0, b""), 512),
        (packet.clone().opt(699, 0, 0, b""), 699),
        (packet.clone().opt(65_535, 0, 0, b""), 700),
    ] {
        let reply = server.udp(&query.bytes());
        let seen = see(&query, &reply);
        assert!(reply.len() <= limit, "{} bytes", reply.len());
        assert_eq!(seen.flags & TC, TC);
        assert_eq!(seen.opt.is_some(), query.counts[3] == 1);
        assert_eq!(seen.opt.map_or(700, |opt| opt.size), 700, "our size");
        assert_eq!(seen.counts[..2], [0, 0]);
        let whole = see(&query, &server.tcp(&query.bytes()));
        assert_eq!((whole.flags & TC, whole.counts[0]), (0, 2));
    }
}

#[test]
fn rfc5001_2_nsid_for_queries_that_ask_for_it() {
    let server = server();
    let query = Packet::new(CODE, TXT).opt(1_232, 0, 0, b"\0\x03\0\0");
    for _ in 0..2 {
        let seen = ask(&server, &query);
        assert_eq!(seen.opt.unwrap().options, *b"\0\x03\0\x04\0\xFFns");
    }
    let without = Packet::new(CODE, TXT).opt(1_232, 0, 0, b"");
    assert_eq!(ask(&server, &without).opt, our_opt(0));
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    let at = format!("@{ip}");
    let text = run("dig", &[&at, "-p", &port, "+nsid", "s.example.com", "SOA"]);
    assert!(text.contains("; NSID: 00 ff 6e 73"), "{text}");
    // Without one configured, there is none.
    let seen = ask(&Server::start(), &query);
    assert_eq!(seen.opt, our_opt(0));
}

#[test]
fn rfc4892_class_ch() {
    let server = server();
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    let at = format!("@{ip}");
    for (name, text) in [
        ("version.bind", "a version"),
        ("VERSION.server", "a version"),
        ("id.server", "an identity"),
        ("hostname.bind", "an identity"),
    ] {
        for how in ["+notcp", "+tcp"] {
            let shown = run("dig", &[&at, "-p", &port, how, "+short", "CH", "TXT", name]);
            assert_eq!(shown, format!("\"{text}\"\n"), "{name}");
        }
        let silent = Server::start();
        let name = name.split('.').fold(Vec::new(), |mut name, label| {
            name.push(label.len() as u8);
            name.extend(label.as_bytes());
            name
        });
        let packet = Packet::new(&[&name[..], &[0]].concat(), TXT).class(3);
        let seen = ask(&silent, &packet);
        assert_eq!((seen.flags, seen.rcode, seen.counts), (QR, 5, [0; 3]));
    }
    // Other classes than IN and CH, and other names of CH.
    for class in [0, 2, 4, 254, 255, 65_535] {
        let seen = ask(&server, &Packet::new(ZONE_NAME, SOA).class(class));
        assert_eq!((seen.flags, seen.rcode), (QR, 5), "class {class}");
    }
    assert_eq!(ask(&server, &Packet::new(ZONE_NAME, TXT).class(3)).rcode, 5);
}

/// RFC 1035 §4.1.1: a malformed query gets FORMERR, with the parts that could be read.
#[test]
fn rfc1035_4_1_malformed_messages() {
    let server = server();
    let soa = Packet::new(ZONE_NAME, SOA);
    let with = |counts: [u16; 4], behind: &[u8]| Packet {
        counts,
        body: [&soa.body, behind].concat(),
        ..soa.clone()
    };
    let opt = b"\0\0\x29\x04\xD0\0\0\0\0\0\0";
    let two = [&opt[..], opt].concat();
    for (query, has_question, has_opt) in [
        (with([1, 0, 0, 0], b"x"), true, false),
        (with([1, 0, 0, 1], &[&opt[..], b"x"].concat()), true, true),
        (with([1, 0, 0, 1], &opt[..10]), true, false),
        (with([1, 0, 0, 2], &two), true, true),
        (with([1, 1, 0, 0], opt), true, false),
        (
            with([1, 0, 0, 1], &[b"\x01x", &opt[..]].concat()),
            true,
            true,
        ),
        (with([1, 0, 0, 9], opt), true, true),
        (with([2, 0, 0, 0], b""), false, false),
        (with([0, 0, 0, 0], b""), false, false),
        (Packet::header(0), false, false),
        (Packet::new(b"\xC0\x0C", SOA), false, false),
        (Packet::new(b"\x41x\0", SOA), false, false),
    ] {
        let bytes = query.bytes();
        for reply in [server.udp(&bytes), server.tcp(&bytes)] {
            let seen = see(&query, &reply);
            assert_eq!((seen.flags, seen.rcode), (QR, 1), "{bytes:02x?}");
            assert_eq!(reply[5] == 1, has_question, "{bytes:02x?}");
            let error = seen.opt.map(|opt| opt.options);
            assert_eq!(error.is_some(), has_opt, "{bytes:02x?}");
            // RFC 8914 §4.1: a text for people.
            assert!(error.is_none_or(|options| options.starts_with(&[0, 15])));
        }
    }
}

/// RFC 1035 §7.3: whatever claims to be a reply gets none.
#[test]
fn rfc1035_7_3_replies_are_not_replied_to() {
    let server = server();
    let patience = Duration::from_millis(200);
    for flags in [QR, QR | AA, QR | 15 << 11] {
        let mut packets = vec![Packet::new(ZONE_NAME, SOA).flags(flags)];
        packets.push(Packet::header(flags));
        for packet in packets {
            assert_eq!(server.udp_within(&packet.bytes(), patience), None);
        }
    }
}

/// RFC 8482 §4.1: ANY is one RRset, and none of the others is invented; RFC 6895 §3.1: meta-types.
#[test]
fn rfc6895_3_1_types_that_are_no_data() {
    let server = server();
    for (qtype, rcode) in [
        (41, 1),
        (128, 1),
        (249, 4),
        (250, 1),
        (251, 5),
        (252, 5),
        (253, 4),
        (254, 4),
    ] {
        let seen = ask(&server, &Packet::new(ZONE_NAME, qtype));
        assert_eq!((seen.rcode, seen.counts), (rcode, [0; 3]), "type {qtype}");
    }
    // RFC 5936 §2.2.1: for a zone that is not served the reply differs.
    for qtype in [251, 252] {
        for name in [CODE, b"\x07example\x03org\0"] {
            let seen = ask(&server, &Packet::new(name, qtype));
            assert_eq!((seen.rcode, seen.counts), (9, [0; 3]), "type {qtype}");
        }
    }
    let seen = ask(&server, &Packet::new(ZONE_NAME, 255));
    assert_eq!(seen.rcode, 0);
    assert!(seen.counts[0] > 0 && seen.counts[1] == 0);
    for qtype in [0, 129, 200, 248, 65_280, 65_535] {
        let seen = ask(&server, &Packet::new(ZONE_NAME, qtype));
        assert_eq!((seen.rcode, seen.counts), (0, [0, 1, 0]), "type {qtype}");
    }
}

/// RFC 7828 §3.2.1 and §3.3.2: by TCP for clients that ask, in units of 100 ms; never by UDP.
#[test]
fn rfc7828_3_keepalive() {
    let server = server();
    let query = Packet::new(CODE, TXT).opt(1_232, 0, 0, b"\0\x0B\0\0");
    let udp = see(&query, &server.udp(&query.bytes()));
    assert_eq!(udp.opt, our_opt(0));
    let tcp = see(&query, &server.tcp(&query.bytes()));
    assert_eq!(tcp.opt.unwrap().options, *b"\0\x0B\0\x02\0\x64", "10 s");
    let without = Packet::new(CODE, TXT).opt(1_232, 0, 0, b"");
    assert_eq!(see(&without, &server.tcp(&without.bytes())).opt, our_opt(0));
}

/// RFC 8945 §5.2.1: a key that we do not have, which is any.
#[test]
fn rfc8945_5_2_1_bad_key() {
    let server = server();
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    let at = format!("@{ip}");
    let key = "hmac-sha256:key.example:c2VjcmV0IHNlY3JldCBzZWNyZXQ=";
    for how in ["+notcp", "+tcp"] {
        let args = ["-y", key, &at, "-p", &port, how, "s.example.com", "SOA"];
        let text = run("dig", &args);
        assert!(text.contains("status: NOTAUTH"), "{text}");
        assert!(text.contains("BADKEY"), "{text}");
    }
}
