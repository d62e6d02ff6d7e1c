//! Compact denial of existence (RFC 9824): the exact NSEC records of negative answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::judges::{Program, Question, Verdict, by_unbound, unbound};
use super::wire::{CO, DO, ask, ask_for, covered, nsec, of_type, order, sets, wire};
use super::{DNSKEY, DS, NS, NSEC, NXNAME, ORIGIN, RRSIG, SOA, Signed, TXT, WAYS};
use crate::differential::message::{A, AA, AAAA, CNAME, DNAME, Reply, text_of};
use crate::harness::{PATIENCE, eventually, run};

const NO_ERROR: u16 = 0;
const FORM_ERR: u16 = 1;
const NX_DOMAIN: u16 = 3;

const MX: u16 = 15;
const NSEC3PARAM: u16 = 51;
const CDS: u16 = 59;
const CDNSKEY: u16 = 60;
const HTTPS: u16 = 65;
const URI: u16 = 256;
/// Types that some names have, and one that none has.
const TYPES: [u16; 17] = [
    A, NS, CNAME, SOA, MX, TXT, AAAA, DNAME, DS, RRSIG, NSEC, DNSKEY, NSEC3PARAM, CDS, CDNSKEY,
    HTTPS, URI,
];

/// Names that do not exist.
const ABSENT: [&str; 8] = [
    "nosuch.s.example.com.",
    "*.s.example.com.",
    "a.nosuch.s.example.com.",
    "below.mail.s.example.com.",
    "below.abc.s.example.com.",
    "nosuch.r.s.example.com.",
    "below.abc.r.s.example.com.",
    "\\000.s.example.com.",
];

/// Empty non-terminals: names without records that have names below them.
const EMPTY: [&str; 4] = [
    "deep.s.example.com.",
    "b.deep.s.example.com.",
    "wild.s.example.com.",
    "r.s.example.com.",
];

fn types(of: &[u16]) -> BTreeSet<u16> {
    of.iter().copied().collect()
}

/// Checks that the authority section has exactly an SOA record and one NSEC record at the name itself, both signed.
fn check_proof(reply: &Reply, owner: &[u8]) {
    let apex = wire("s.example.com.");
    let expected = BTreeSet::from([(apex, SOA), (owner.to_vec(), NSEC)]);
    let (found, signed) = sets(&reply.authority);
    assert_eq!(found, expected, "{reply}");
    assert_eq!(signed, expected, "{reply}");
    assert_eq!(reply.authority.len(), 4, "{reply}");
}

#[test]
fn rfc9824_3_1_a_name_that_does_not_exist_has_nxname() {
    let signed = Signed::start(WAYS[0]);
    for owner in ABSENT {
        for qtype in [A, TXT, NSEC, 1_234] {
            let reply = ask(signed.server.dns, owner, qtype, DO);
            assert_eq!(reply.rcode, NO_ERROR, "{owner}: {reply}");
            assert!(reply.has(AA) && reply.edns == Some(true), "{reply}");
            let owner = wire(owner);
            let section = match qtype {
                // A query for NSEC gets the NSEC record (RFC 9824 §3.1.1).
                NSEC if !reply.answer.is_empty() => &reply.answer,
                _ => {
                    assert!(reply.answer.is_empty(), "{reply}");
                    check_proof(&reply, &owner);
                    &reply.authority
                }
            };
            let nsec = nsec(section);
            assert_eq!(nsec.owner, owner, "{reply}");
            assert_eq!(nsec.next, [b"\x01\0", &owner[..]].concat(), "{reply}");
            assert_eq!(nsec.types, types(&[RRSIG, NSEC, NXNAME]), "{reply}");
        }
    }
}

/// The server consults the filter twice, when it receives and when it signs; the metric counts one look-up.
#[test]
fn a_denial_of_the_filter_counts_once() {
    const QUERIES: usize = 20;
    let signed = Signed::start(WAYS[0]);
    let server = &signed.server;
    eventually("the filter is complete", PATIENCE, || {
        server.metric("tinyns_filter_complete", &[]) == 1.0
    });
    let denials = || {
        let labels = [("tier", "Filter"), ("result", "Hit")];
        server.metric("tinyns_link_lookups_total", &labels)
    };
    let before = denials();
    for number in 0..QUERIES {
        let reply = ask(server.dns, &format!("none{number}.{ORIGIN}."), TXT, DO);
        check_proof(&reply, &wire(&format!("none{number}.{ORIGIN}.")));
    }
    assert_eq!(denials() - before, QUERIES as f64);
}

/// RFC 9824 §3.3: an empty non-terminal exists.
#[test]
fn rfc9824_3_3_an_empty_non_terminal_has_no_nxname() {
    let signed = Signed::start(WAYS[0]);
    for owner in EMPTY {
        let reply = ask(signed.server.dns, owner, A, DO);
        assert_eq!(reply.rcode, NO_ERROR, "{owner}: {reply}");
        assert!(reply.answer.is_empty(), "{reply}");
        check_proof(&reply, &wire(owner));
        let nsec = nsec(&reply.authority);
        assert_eq!(nsec.types, types(&[RRSIG, NSEC]), "{owner}: {reply}");
    }
}

/// RFC 4034 §4.1.2: the types in the NSEC record of a name are the types that the server has at the name.
#[test]
fn rfc4034_4_1_2_bitmaps_list_the_types_that_exist() {
    for way in [WAYS[0], WAYS[2]] {
        let signed = Signed::start(way);
        let server = signed.server.dns;
        let names = [
            "s.example.com.",
            "mail.s.example.com.",
            "www.s.example.com.",
            "moved.s.example.com.",
            "x.wild.s.example.com.",
            "*.wild.s.example.com.",
            "a.b.deep.s.example.com.",
            "abc.s.example.com.",
            "abc.r.s.example.com.",
            "deep.s.example.com.",
        ];
        for owner in names {
            let reply = ask(server, owner, NSEC, DO);
            let section = match reply.answer.is_empty() {
                true => &reply.authority,
                false => &reply.answer,
            };
            let nsec = nsec(section);
            assert_eq!(nsec.owner, wire(owner), "{way:?}: {reply}");
            // DS records belong to the parent zone (RFC 4035 §2.4), which this server serves as well.
            let asked = TYPES.into_iter();
            let asked = asked.filter(|&rtype| rtype != DS || owner != "s.example.com.");
            let there = asked.filter(|&rtype| {
                let reply = ask(server, owner, rtype, DO);
                let here = |r: &&_| of_owner(r, owner) == Some(rtype);
                reply.answer.iter().any(|r| here(&r))
            });
            let there: BTreeSet<u16> = there.chain([RRSIG, NSEC]).collect();
            assert_eq!(nsec.types, there, "{way:?}: {reply}");
        }
    }
}

/// The type of a record with this owner; none for other owners.
fn of_owner(record: &crate::differential::message::Record, owner: &str) -> Option<u16> {
    (record.owner == wire(owner)).then_some(record.rtype)
}

#[test]
fn nodata_names_the_types_that_are_there() {
    let signed = Signed::start(WAYS[0]);
    let link = [A, TXT, AAAA, RRSIG, NSEC, HTTPS, URI];
    let expected: [(&str, u16, &[u16]); 5] = [
        ("mail.s.example.com.", TXT, &[A, RRSIG, NSEC]),
        ("x.wild.s.example.com.", A, &[TXT, RRSIG, NSEC]),
        ("moved.s.example.com.", A, &[DNAME, RRSIG, NSEC]),
        ("sub.s.example.com.", DS, &[NS, RRSIG, NSEC]),
        ("abc.r.s.example.com.", MX, &link),
    ];
    for (owner, qtype, there) in expected {
        let reply = ask(signed.server.dns, owner, qtype, DO);
        assert_eq!(reply.rcode, NO_ERROR, "{reply}");
        assert!(reply.answer.is_empty() && reply.has(AA), "{reply}");
        check_proof(&reply, &wire(owner));
        assert_eq!(nsec(&reply.authority).types, types(there), "{reply}");
    }
    // At the end of an alias chain as well.
    let reply = ask(signed.server.dns, "abc.s.example.com.", MX, DO);
    check_proof(&reply, &wire("abc.r.s.example.com."));
    assert_eq!(nsec(&reply.authority).types, types(&link), "{reply}");
}

#[test]
fn rfc9824_3_5_queries_for_nxname_are_formerr() {
    let signed = Signed::start(WAYS[0]);
    for owner in ["nosuch.s.example.com.", "abc.s.example.com."] {
        let reply = ask(signed.server.dns, owner, NXNAME, DO);
        assert_eq!(reply.rcode, FORM_ERR, "{reply}");
        assert!(reply.answer.is_empty() && reply.authority.is_empty());
    }
    let port = signed.server.dns.port().to_string();
    let args = ["@127.0.0.1", "-p", &port, "+dnssec", "TYPE128"];
    let text = run("dig", &[&args[..], &["nosuch.s.example.com"]].concat());
    assert!(text.contains("EDE: 30"), "{text}");
}

/// RFC 9824 §5.1: a query with the CO bit gets the rcode NXDOMAIN.
#[test]
fn rfc9824_5_1_the_rcode_is_restored_for_queries_with_co() {
    let signed = Signed::start(WAYS[0]);
    let server = signed.server.dns;
    for owner in ABSENT {
        let reply = ask(server, owner, TXT, DO | CO);
        assert_eq!(reply.rcode, NX_DOMAIN, "{reply}");
        assert_eq!(reply.edns_flags, DO | CO, "{reply}");
        check_proof(&reply, &wire(owner));
        let types_there = nsec(&reply.authority).types;
        assert_eq!(types_there, types(&[RRSIG, NSEC, NXNAME]), "{reply}");
    }
    let there = ["abc.r.s.example.com.", "mail.s.example.com."];
    for owner in EMPTY.into_iter().chain(there) {
        let reply = ask(server, owner, MX, DO | CO);
        assert_eq!(reply.rcode, NO_ERROR, "{reply}");
        assert_eq!(reply.edns_flags, DO | CO, "{reply}");
    }
    // A positive answer does not depend on the CO bit.
    let reply = ask(server, "abc.s.example.com.", TXT, DO | CO);
    let same = ask(server, "abc.s.example.com.", TXT, DO);
    assert_eq!((reply.rcode, &reply.answer), (NO_ERROR, &same.answer));
    // As dig sends it.
    let port = server.port().to_string();
    let args = ["@127.0.0.1", "-p", &port, "+dnssec", "nosuch.s.example.com"];
    let status = |switch: &str| run("dig", &[&args[..], &[switch]].concat());
    assert!(status("+coflag").contains("status: NXDOMAIN"));
    assert!(status("+nocoflag").contains("status: NOERROR"));
}

/// RFC 4035 §3.1: without the DO bit, replies are those of an unsigned zone.
#[test]
fn rfc4035_3_1_without_do_there_are_no_dnssec_records() {
    let signed = Signed::start(WAYS[0]);
    let server = signed.server.dns;
    for flags in [0, CO] {
        for owner in ABSENT {
            let reply = ask(server, owner, TXT, flags);
            assert_eq!(reply.rcode, NX_DOMAIN, "{reply}");
            let (found, signatures) = sets(&reply.authority);
            assert_eq!(found, BTreeSet::from([(wire("s.example.com."), SOA)]));
            assert!(signatures.is_empty() && reply.answer.is_empty(), "{reply}");
            assert_eq!(reply.edns, Some(false));
        }
        let answers = [
            ("abc.s.example.com.", TXT),
            ("s.example.com.", SOA),
            ("safe.s.example.com.", A),
            ("x.sub.s.example.com.", A),
        ];
        for (owner, qtype) in answers {
            let reply = ask(server, owner, qtype, flags);
            let sections = [&reply.answer, &reply.authority, &reply.additional];
            let dnssec = [RRSIG, NSEC, DS];
            let is_dnssec = |rtype: &u16| dnssec.contains(rtype);
            let found = sections.into_iter().flatten().map(|r| r.rtype);
            assert!(!found.into_iter().any(|r| is_dnssec(&r)), "{reply}");
        }
        // With the DO bit, they are records of names that exist.
        for owner in ["abc.s.example.com.", "mail.s.example.com."] {
            let reply = ask(server, owner, RRSIG, flags);
            let rrsig = of_type(&reply.answer, RRSIG);
            assert!(rrsig.len() == 1 && covered(rrsig[0]) == NSEC, "{reply}");
            assert!(reply.answer.len() == 1 && reply.authority.is_empty());
        }
        for owner in ["nosuch.s.example.com.", "x.abc.s.example.com."] {
            for qtype in [RRSIG, NSEC] {
                let reply = ask(server, owner, qtype, flags);
                assert_eq!(reply.rcode, NX_DOMAIN, "{reply}");
                let (found, signatures) = sets(&reply.authority);
                assert_eq!(found, [(wire("s.example.com."), SOA)].into(), "{reply}");
                assert!(reply.answer.is_empty() && signatures.is_empty(), "{reply}");
            }
        }
        for owner in ["x.safe.s.example.com.", "x.sub.s.example.com."] {
            let reply = ask(server, owner, RRSIG, flags);
            assert!(reply.authority.iter().all(|r| r.rtype == NS), "{reply}");
            assert!(reply.answer.is_empty() && !reply.has(AA), "{reply}");
        }
        let reply = ask(server, "www.s.example.com.", RRSIG, flags);
        assert!(of_type(&reply.answer, RRSIG).len() == 1, "{reply}");
        // Queries for these types get the records.
        let reply = ask(server, "s.example.com.", DNSKEY, flags);
        assert_eq!(of_type(&reply.answer, DNSKEY).len(), 1, "{reply}");
    }
}

/// RFC 4035 §3.1.4, RFC 9824 §3.4: a referral has the DS records of the cut, or an NSEC record that denies them. NS
/// records and glue are not signed.
#[test]
fn rfc4035_3_1_4_referrals() {
    let signed = Signed::start(WAYS[0]);
    let server = signed.server.dns;
    for owner in ["sub.s.example.com.", "x.y.sub.s.example.com."] {
        let reply = ask(server, owner, A, DO);
        assert!(!reply.has(AA) && reply.answer.is_empty(), "{reply}");
        let cut = wire("sub.s.example.com.");
        let (found, signatures) = sets(&reply.authority);
        assert_eq!(found, [NS, NSEC].map(|rtype| (cut.clone(), rtype)).into());
        assert_eq!(signatures, [(cut.clone(), NSEC)].into());
        let nsec = nsec(&reply.authority);
        assert_eq!(nsec.types, types(&[NS, RRSIG, NSEC]), "{reply}");
        // The server denies no name below the cut.
        assert_eq!(nsec.next, wire("sub\\000.s.example.com."), "{reply}");
        check_glue(&reply);
    }
    for owner in ["safe.s.example.com.", "x.y.safe.s.example.com."] {
        let reply = ask(server, owner, A, DO);
        assert!(!reply.has(AA) && reply.answer.is_empty(), "{reply}");
        let cut = wire("safe.s.example.com.");
        let (found, signatures) = sets(&reply.authority);
        assert_eq!(found, [NS, DS].map(|rtype| (cut.clone(), rtype)).into());
        assert_eq!(signatures, [(cut.clone(), DS)].into());
        check_glue(&reply);
    }
    // RFC 4035 §3.1.4.1: the parent side of a cut answers queries for DS.
    let reply = ask(server, "safe.s.example.com.", DS, DO);
    assert!(reply.has(AA), "{reply}");
    let (found, signatures) = sets(&reply.answer);
    assert_eq!(found, [(wire("safe.s.example.com."), DS)].into());
    assert_eq!(signatures, found, "{reply}");
    let reply = ask(server, "s.example.com.", DS, DO);
    let (found, _) = sets(&reply.answer);
    assert_eq!(found, [(wire("s.example.com."), DS)].into(), "{reply}");
    for rrsig in of_type(&reply.answer, RRSIG) {
        let signer = wire("example.com.");
        assert_eq!(covered(rrsig), DS);
        assert_eq!(rrsig.rdata[18..18 + signer.len()], signer, "{reply}");
    }
}

fn check_glue(reply: &Reply) {
    assert!(!of_type(&reply.additional, A).is_empty(), "{reply}");
    assert!(of_type(&reply.additional, RRSIG).is_empty(), "{reply}");
}

/// A name of the greatest length, and labels of the greatest length.
fn long_names() -> Vec<String> {
    let label = |length: usize| "l".repeat(length);
    let full = [label(63), label(63), label(63)].join(".");
    let of_length = |length: usize| {
        // 3 full labels, and `s.example.com.` with a length byte in front of each label.
        let rest = length - 3 * 64 - 15 - 1;
        format!("{}.{full}.s.example.com.", label(rest))
    };
    let mut names: Vec<String> = (252..=255).map(of_length).collect();
    names.push(format!("{}.s.example.com.", label(63)));
    names
}

fn are_secure(server: SocketAddr, anchor: &super::anchor::Anchor) {
    let unbound = unbound(anchor, server, "");
    for owner in long_names() {
        let name = owner.strip_suffix('.').unwrap();
        let question: Question<'_> = (name, "TXT");
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Secure, "{owner}: {text}");
        for program in Program::ALL {
            let (verdict, text) = program.judge(server, anchor, question);
            assert_eq!(verdict, Verdict::Secure, "{owner}: {program:?}: {text}");
        }
    }
}

#[test]
fn the_longest_names_of_knots_are_denied() {
    let (knot, anchor) = super::controls::knot(true);
    are_secure(knot.address(), &anchor);
}

/// RFC 4471 §3.1: the next name of a name that is too long for a subdomain.
#[test]
fn rfc4471_3_1_the_longest_names_are_denied() {
    let signed = Signed::start(WAYS[0]);
    are_secure(signed.server.dns, &signed.anchor);
    for owner in long_names() {
        let owner = wire(&owner);
        let reply = ask_for(signed.server.dns, &owner, TXT, DO);
        check_proof(&reply, &owner);
        let nsec = nsec(&reply.authority);
        assert!(nsec.next.len() <= 255, "{reply}");
        let (here, next) = (text_of(&owner), text_of(&nsec.next));
        assert!(order(&owner) < order(&nsec.next), "{here} {next}");
        assert_eq!(nsec.types, types(&[RRSIG, NSEC, NXNAME]), "{reply}");
    }
}
