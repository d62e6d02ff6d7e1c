//! All validators find every kind of answer secure.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::anchor::Anchor;
use super::controls::dissent;
use super::judges::{Program, Question, Verdict, by_unbound, unbound_with};
use super::resolvers::{Kind, Resolver};
use super::wire::{DO, ask, covered, of_type};
use super::{CODE, LINKS, ORIGIN, QUESTIONS, RRSIG, Signed, TARGET, TXT, WAYS, Way};
use crate::harness::{PATIENCE, Setup, eventually, run};

fn check(way: Way, programs: &[Program]) {
    let signed = Signed::start(way);
    let questions: Vec<Question<'_>> = QUESTIONS.into_iter().chain(LINKS).collect();
    let dissent = dissent(signed.server.dns, &signed.anchor, &questions, programs);
    assert!(dissent.is_empty(), "{way:?}: {}", dissent.join("\n"));
}

#[test]
fn all_answers_are_secure_with_aliases() {
    check(WAYS[0], &Program::ALL);
}

#[test]
fn all_answers_are_secure_without_aliases() {
    check(WAYS[3], &Program::ALL);
}

#[test]
fn all_answers_are_secure_with_other_layouts_and_algorithms() {
    check(WAYS[1], &[]);
    check(WAYS[2], &[]);
}

/// A link with several destinations has a URI record for each. One that is withheld has neither TXT nor URI, and the proofs
/// say so.
#[test]
fn links_with_many_destinations_and_none_are_secure() {
    for (way, programs) in [(WAYS[0], &Program::ALL[..]), (WAYS[2], &[])] {
        let signed = Signed::start(way);
        // By weight, which is not the order in which signatures cover them (RFC 4034 §6.3).
        let several = json!({"destinations": [{"url": TARGET, "weight": 9}, {"url": "https://b.example/", "weight": 8}]});
        let path = format!("/v1/links/{CODE}");
        let changed = signed.server.api("PATCH", &path, Some(&several));
        assert_eq!(changed.status, 200, "{changed:?}");
        let uris = [LINKS[1], LINKS[10]];
        let of_uris = dissent(signed.server.dns, &signed.anchor, &uris, programs);
        assert!(of_uris.is_empty(), "{way:?}: {}", of_uris.join("\n"));
        let withheld = json!({"withheld": {"kind": "abuse", "reason": "Phishing"}});
        let changed = signed.server.api("PATCH", &path, Some(&withheld));
        assert_eq!(changed.status, 200, "{changed:?}");
        let dissent = dissent(signed.server.dns, &signed.anchor, &LINKS, programs);
        assert!(dissent.is_empty(), "{way:?}: {}", dissent.join("\n"));
    }
}

/// RFC 4035 §5.2: the trust anchor is that of the parent zone, which the same server serves with the DS records of the
/// child. Names below a zone cut without DS are insecure. Unsigned names below a zone cut with DS are bogus.
#[test]
fn rfc4035_5_2_a_chain_leads_from_the_parent() {
    let signed = Signed::start(WAYS[0]);
    let below = |origin: &str| {
        let text = "@ 300 IN SOA ns.example.net. host.example.net. 1 3600 600 604800 60\n\
                    @ 300 IN NS ns.example.net.\n@ 300 IN TXT \"below a cut\"\n";
        let links = "redirect_host = \"r\"";
        Setup::empty().zone(origin, links, text).start()
    };
    let (sub, safe) = (below("sub.s.example.com"), below("safe.s.example.com"));
    let others = [
        ("example.com", signed.server.dns),
        ("sub.s.example.com", sub.dns),
        ("safe.s.example.com", safe.dns),
    ];
    let unbound = unbound_with(&signed.parent, signed.server.dns, &others, "");
    let expected = [
        (("example.com", "SOA"), Verdict::Secure),
        (("s.example.com", "DS"), Verdict::Secure),
        (("abc.s.example.com", "TXT"), Verdict::Secure),
        (("nosuch.s.example.com", "TXT"), Verdict::Secure),
        (("nosuch.example.com", "TXT"), Verdict::Secure),
        (("sub.s.example.com", "DS"), Verdict::Secure),
        (("sub.s.example.com", "TXT"), Verdict::Insecure),
        (("nosuch.sub.s.example.com", "TXT"), Verdict::Insecure),
        (("safe.s.example.com", "DS"), Verdict::Secure),
        (("safe.s.example.com", "TXT"), Verdict::Bogus),
    ];
    let zones = [&others[1..], &[(ORIGIN, signed.server.dns), others[0]]].concat();
    let powerdns = Resolver::start_with(Kind::PowerDns, &signed.parent, &zones);
    // drill asks the parent's server for DS records only, so it never follows the cut.
    let knot = Resolver::start_with(Kind::Knot, &signed.parent, &others[..1]);
    for (question, expected) in expected {
        let mut judgements = vec![by_unbound(&unbound, question), powerdns.judge(question)];
        if expected == Verdict::Secure {
            judgements.push(knot.judge(question));
        }
        for (verdict, text) in judgements {
            assert_eq!(verdict, expected, "{question:?}: {text}");
        }
    }
}

/// The TTL of a link that expires soon falls with every second. Its signature still contains the ordinary TTL of links
/// (RFC 4034 §3.1.4), and resolvers use the smaller of both (RFC 4035 §5.3.3).
#[test]
fn rfc4034_3_1_4_a_link_that_ends_soon_is_secure_to_its_end() {
    const SECONDS: i64 = 5;
    for way in [WAYS[0], WAYS[2]] {
        let signed = Signed::start(way);
        let ttls_until_its_end = |code: &str| {
            let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(SECONDS);
            let end = end.format(&Rfc3339).unwrap();
            let link = json!({"url": TARGET, "code": code, "expires_at": end});
            signed.server.add_with(&link);
            let name = format!("{code}.{ORIGIN}");
            let ttls = RefCell::new(BTreeSet::new());
            eventually("the link ends", PATIENCE, || {
                let server = signed.server.dns;
                let reply = ask(server, &format!("{name}."), TXT, DO);
                for rrsig in of_type(&reply.answer, RRSIG) {
                    assert_eq!(rrsig.rdata[4..8], 300_u32.to_be_bytes(), "{reply}");
                    let of = of_type(&reply.answer, covered(rrsig));
                    assert!(of.iter().all(|record| record.ttl == rrsig.ttl), "{reply}");
                    ttls.borrow_mut().insert(rrsig.ttl);
                }
                let (verdict, text) = Program::Delv.judge(server, &signed.anchor, (&name, "TXT"));
                assert_eq!(verdict, Verdict::Secure, "{text}");
                reply.answer.is_empty()
            });
            ttls.into_inner()
        };
        // On a busy machine, a link may expire between two queries.
        let mut trials = (0..10).map(|number| ttls_until_its_end(&format!("ends{number}")));
        let ttls = trials.find(|ttls| ttls.len() > 1);
        let ttls = ttls.expect("two seconds of the life of one of the links were seen");
        assert!(ttls.last() < Some(&300), "{ttls:?}");
    }
}

/// RFC 4509 §2.1: `tinyns keys ds` prints the same DS records as BIND's dnssec-dsfromkey.
#[test]
fn rfc4509_2_1_ds_records_are_of_the_keys() {
    for way in [WAYS[0], WAYS[1]] {
        let signed = Signed::start(way);
        let upper = |ds: &[String]| ds.iter().map(|ds| ds.to_ascii_uppercase()).collect();
        let ours: Vec<String> = upper(&signed.anchor.ds);
        let others: Vec<String> = upper(&Anchor::from_server(signed.server.dns, ORIGIN).ds);
        assert_eq!(ours, others);
    }
}

/// dig and kdig read the signed answers without a warning.
#[test]
fn dig_and_kdig_read_signed_answers() {
    let signed = Signed::start(WAYS[0]);
    let port = signed.server.dns.port().to_string();
    for program in ["dig", "kdig"] {
        let ask = |question: &[&str]| {
            let args = ["@127.0.0.1", "-p", &port, "+dnssec", "+nordflag"];
            let text = run(program, &[&args, question].concat());
            assert!(!text.contains("WARNING"), "{program}: {text}");
            assert!(
                text.to_lowercase().contains("flags: do"),
                "{program}: {text}"
            );
            text
        };
        let text = ask(&["TXT", "abc.s.example.com"]);
        assert!(text.contains(TARGET), "{program}: {text}");
        assert_eq!(text.matches("RRSIG\t").count(), 2, "{program}: {text}");
        let text = ask(&["TXT", "nosuch.s.example.com"]);
        let nsec = text.lines().find(|line| line.contains("\tNSEC\t")).unwrap();
        let name = "\\000.nosuch.s.example.com.";
        let nxname = ["RRSIG NSEC TYPE128", "RRSIG NSEC NXNAME"];
        let says = nxname.map(|types| nsec.ends_with(&format!("{name} {types}")));
        assert!(says.contains(&true), "{program}: {text}");
        assert!(text.contains("status: NOERROR"), "{program}: {text}");
    }
}
