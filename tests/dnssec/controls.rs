//! Tests of the validators: zones that Knot DNS has signed are secure, and with a wrong trust anchor bogus.

use std::net::SocketAddr;

use super::anchor::Anchor;
use super::judges::{Program, Question, Verdict, by_unbound, unbound};
use super::resolvers::{Kind, Resolver};
use super::{ORIGIN, PARENT, QUESTIONS, parent, zone};
use crate::differential::servers::Other;
use crate::harness::Server;

/// Knot DNS with the zone and its parent, and the trust anchor of the zone.
pub fn knot(online: bool) -> (Other, Anchor) {
    // Knot generates the keys when it starts, so the parent of this zone has no DS records.
    let knot = Other::knot_signing(&[(ORIGIN, zone()), (PARENT, parent(""))], online);
    let anchor = Anchor::from_server(knot.address(), ORIGIN);
    (knot, anchor)
}

/// The questions whose answers some validators do not find secure, with the verdict of each.
pub fn dissent(
    server: SocketAddr,
    anchor: &Anchor,
    questions: &[Question<'_>],
    programs: &[Program],
) -> Vec<String> {
    let unbound = unbound(anchor, server, "");
    let resolvers = Kind::ALL.map(|kind| Resolver::start(kind, anchor, server));
    let mut dissent = Vec::new();
    for &question in questions {
        let mut check = |judge: &str, (verdict, text)| {
            if verdict != Verdict::Secure {
                dissent.push(format!("{question:?}: {verdict:?} to {judge}:\n{text}"));
            }
        };
        check("unbound", by_unbound(&unbound, question));
        let able = resolvers.iter().filter(|r| r.kind.can_judge(question));
        for resolver in able {
            check(&format!("{:?}", resolver.kind), resolver.judge(question));
        }
        for program in programs {
            if program.can_judge(server, question) {
                let judgement = program.judge(server, anchor, question);
                check(&format!("{program:?}"), judgement);
            }
        }
    }
    dissent
}

#[test]
fn a_zone_signed_by_knot_dns_is_secure() {
    for online in [false, true] {
        let (knot, anchor) = knot(online);
        let mut questions = QUESTIONS.to_vec();
        // drill takes the NSEC record of a wildcard's parent for one of the expanded name.
        questions.retain(|&(name, _)| online || name != "wild.s.example.com");
        let dissent = dissent(knot.address(), &anchor, &questions, &Program::ALL);
        assert!(dissent.is_empty(), "{}", dissent.join("\n"));
    }
}

/// Questions whose answers no validator can find secure.
fn check_bogus(server: SocketAddr, anchor: &Anchor) {
    for question in [("s.example.com", "A"), ("nosuch.s.example.com", "A")] {
        let unbound = unbound(anchor, server, "");
        let mut judgements = vec![by_unbound(&unbound, question)];
        let resolvers = Kind::ALL.map(|kind| Resolver::start(kind, anchor, server));
        judgements.extend(resolvers.iter().map(|resolver| resolver.judge(question)));
        let programs = [Program::Delv, Program::DrillChase];
        judgements.extend(programs.map(|p| p.judge(server, anchor, question)));
        for (verdict, text) in judgements {
            assert_eq!(verdict, Verdict::Bogus, "{question:?}: {text}");
        }
    }
}

#[test]
fn with_another_trust_anchor_the_zone_is_bogus() {
    let (knot, anchor) = knot(false);
    check_bogus(knot.address(), &anchor.falsified());
}

/// An unsigned zone whose parent has DS records.
#[test]
fn a_zone_without_signatures_is_bogus() {
    let (_knot, anchor) = knot(false);
    check_bogus(Server::start().dns, &anchor);
}
