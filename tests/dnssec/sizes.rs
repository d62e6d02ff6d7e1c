//! Signed replies fit into one datagram where the URL is an ordinary one, and are whole by TCP where not.

use super::judges::{Program, Verdict, by_unbound, unbound};
use super::wire::{DO, SIZE, ask, query, sets, wire};
use super::{CODE, DNSKEY, Signed, TXT, WAYS};
use crate::differential::message::{Reply, TC};

/// The longest URL of those that people shorten, nearly all; in bytes.
const ORDINARY: usize = 400;
/// The longest URL that there may be, in bytes.
const LONGEST: usize = 2_048;

fn url(length: usize) -> String {
    let start = "https://example.net/";
    format!("{start}{}", "p".repeat(length - start.len()))
}

/// The reply by UDP, with this much room for it.
fn by_udp(signed: &Signed, code: &str, size: u16) -> Reply {
    let query = query(&wire(&format!("{code}.s.example.com.")), TXT, size, DO);
    Reply::read(signed.server.udp(&query)).unwrap()
}

fn by_tcp(signed: &Signed, code: &str) -> Reply {
    let query = query(&wire(&format!("{code}.s.example.com.")), TXT, SIZE, DO);
    Reply::read(signed.server.tcp(&query)).unwrap()
}

/// Whether it has all RRsets of a link, each signed.
fn is_whole(reply: &Reply, layout: &str) -> bool {
    let (found, signed) = sets(&reply.answer);
    assert_eq!(found, signed, "{reply}");
    found.len() == if layout == "cname" { 2 } else { 1 }
}

#[test]
fn an_ordinary_url_needs_one_datagram() {
    for way in WAYS {
        let signed = Signed::start(way);
        for length in [34, 100, ORDINARY] {
            let code = format!("url{length}");
            signed.server.register(&code, &url(length));
            let reply = by_udp(&signed, &code, SIZE);
            assert!(!reply.has(TC) && is_whole(&reply, way.0), "{reply}");
        }
    }
}

/// RFC 4035 §3.1.1, RFC 2181 §9: what does not fit is marked, and signatures are not left out in silence.
#[test]
fn rfc4035_3_1_1_what_does_not_fit_is_marked() {
    for way in WAYS {
        let signed = Signed::start(way);
        let (mut whole, mut cut) = (0, 0);
        for length in (800..1_300).step_by(20).chain([LONGEST]) {
            let code = format!("url{length}");
            signed.server.register(&code, &url(length));
            let reply = by_udp(&signed, &code, SIZE);
            assert!(reply.bytes.len() <= usize::from(SIZE), "{reply}");
            assert_ne!(is_whole(&reply, way.0), reply.has(TC), "{reply}");
            *if reply.has(TC) { &mut cut } else { &mut whole } += 1;
            let reply = by_tcp(&signed, &code);
            assert!(is_whole(&reply, way.0) && !reply.has(TC), "{reply}");
        }
        assert!(whole > 0 && cut > 0, "{way:?}: {whole} {cut}");
        for size in [512, 600, 700] {
            let reply = by_udp(&signed, CODE, size);
            assert!(reply.bytes.len() <= usize::from(size), "{reply}");
            assert_ne!(is_whole(&reply, way.0), reply.has(TC), "{reply}");
        }
    }
}

#[test]
fn the_longest_url_is_secure() {
    for way in [WAYS[0], WAYS[2]] {
        let signed = Signed::start(way);
        signed.server.register("long", &url(LONGEST));
        let question = ("long.s.example.com", "TXT");
        let server = signed.server.dns;
        let unbound = unbound(&signed.anchor, server, "");
        // It takes no room for more from us, so that the verdict comes with what fits.
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Secure, "{text}");
        // Drill does not come by TCP unless it is told to from the start.
        let (verdict, text) = Program::Delv.judge(server, &signed.anchor, question);
        assert_eq!(verdict, Verdict::Secure, "{text}");
    }
}

/// The denial of the longest name, and the keys with their signatures, need no TCP.
#[test]
fn denials_and_keys_need_one_datagram() {
    let longest = format!("{}.s.example.com.", ["l"; 120].join("."));
    assert_eq!(wire(&longest).len(), 255);
    for way in WAYS {
        let signed = Signed::start(way);
        for (owner, qtype) in [(&longest[..], TXT), ("s.example.com.", DNSKEY)] {
            let reply = ask(signed.server.dns, owner, qtype, DO);
            assert!(!reply.has(TC) && reply.rcode == 0, "{reply}");
        }
    }
}
