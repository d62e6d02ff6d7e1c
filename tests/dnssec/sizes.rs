//! Signed replies with an ordinary URL fit into one datagram. Larger replies are complete by TCP.

use super::judges::{Program, Verdict, by_unbound, unbound};
use super::wire::{DO, SIZE, ask, query, sets, wire};
use super::{CODE, DNSKEY, Signed, TXT, WAYS};
use crate::differential::message::{Reply, TC};

/// The length of a long but ordinary URL, in bytes.
const ORDINARY: usize = 400;
/// The longest URL of a link, in bytes.
const LONGEST: usize = 2_048;

fn url(length: usize) -> String {
    let start = "https://example.net/";
    format!("{start}{}", "p".repeat(length - start.len()))
}

/// The reply by UDP to a query with this EDNS payload size.
fn by_udp(signed: &Signed, code: &str, size: u16) -> Reply {
    let query = query(&wire(&format!("{code}.s.example.com.")), TXT, size, DO);
    Reply::read(signed.server.udp(&query)).unwrap()
}

fn by_tcp(signed: &Signed, code: &str) -> Reply {
    let query = query(&wire(&format!("{code}.s.example.com.")), TXT, SIZE, DO);
    Reply::read(signed.server.tcp(&query)).unwrap()
}

/// Whether a reply has all RRsets of a link, each signed.
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

/// RFC 4035 §3.1.1, RFC 2181 §9: a reply that does not fit has TC. The server never omits signatures without it.
#[test]
fn rfc4035_3_1_1_replies_that_do_not_fit_have_tc() {
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
        // The resolver offers the server no larger payload, so its verdict is about a truncated reply and its retry.
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Secure, "{text}");
        // drill uses TCP only with the option -t.
        let (verdict, text) = Program::Delv.judge(server, &signed.anchor, question);
        assert_eq!(verdict, Verdict::Secure, "{text}");
    }
}

/// The denial of the longest name, and the signed DNSKEY RRset, fit into one datagram.
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
