//! Every kind of answer is secure to every judge.

use super::controls::dissent;
use super::judges::{Program, Question, Verdict, by_unbound, unbound_with};
use super::{LINKS, QUESTIONS, Signed, WAYS, Way};
use crate::harness::Setup;

fn check(way: Way, programs: &[Program]) {
    let signed = Signed::start(way);
    let questions: Vec<Question<'_>> = QUESTIONS.into_iter().chain(LINKS).collect();
    let dissent = dissent(signed.server.dns, &signed.anchor, &questions, programs);
    assert!(dissent.is_empty(), "{way:?}: {}", dissent.join("\n"));
}

#[test]
fn all_are_secure_with_aliases() {
    check(WAYS[0], &Program::ALL);
}

#[test]
fn all_are_secure_without_aliases() {
    check(WAYS[3], &Program::ALL);
}

#[test]
fn all_are_secure_in_the_other_ways() {
    check(WAYS[1], &[]);
    check(WAYS[2], &[]);
}

/// RFC 4035 §5.2: from the parent's anchor, by the DS records that one and the same server has above the
/// cut. What is below a cut without DS is insecure, and what is below one with DS and has no signatures
/// is bogus.
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
    for (question, expected) in expected {
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, expected, "{question:?}: {text}");
    }
}
