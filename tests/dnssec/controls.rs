//! The judges themselves: zones that Knot DNS has signed are secure to all of them, and with the wrong
//! anchor bogus.

use std::net::SocketAddr;

use super::anchor::Anchor;
use super::judges::{Program, Question, Verdict, by_unbound, unbound};
use super::{ORIGIN, PARENT, QUESTIONS, parent, zone};
use crate::differential::servers::Other;
use crate::harness::Server;

/// Knot DNS with the zone and its parent, and the zone's anchor.
pub fn knot(online: bool) -> (Other, Anchor) {
    // What it generates is not known before it runs; the parent of this zone has no DS records.
    let knot = Other::knot_signing(&[(ORIGIN, zone()), (PARENT, parent(""))], online);
    let anchor = Anchor::from_server(knot.address(), ORIGIN);
    (knot, anchor)
}

/// The questions whose answers are not secure to unbound and these programs, and what they say.
pub fn dissent(
    server: SocketAddr,
    anchor: &Anchor,
    questions: &[Question<'_>],
    programs: &[Program],
) -> Vec<String> {
    let unbound = unbound(anchor, server, "");
    let mut dissent = Vec::new();
    for &question in questions {
        let mut check = |judge: &str, (verdict, text)| {
            if verdict != Verdict::Secure {
                dissent.push(format!("{question:?}: {verdict:?} to {judge}:\n{text}"));
            }
        };
        check("unbound", by_unbound(&unbound, question));
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
fn a_zone_of_knots_is_secure() {
    for online in [false, true] {
        let (knot, anchor) = knot(online);
        let mut questions = QUESTIONS.to_vec();
        // In a chain of NSEC records drill takes the parent of a wildcard for what the wildcard makes.
        questions.retain(|&(name, _)| online || name != "wild.s.example.com");
        let dissent = dissent(knot.address(), &anchor, &questions, &Program::ALL);
        assert!(dissent.is_empty(), "{}", dissent.join("\n"));
    }
}

#[test]
fn with_another_anchor_it_is_bogus() {
    let (knot, anchor) = knot(false);
    let other = anchor.falsified();
    let questions = [("s.example.com", "A"), ("nosuch.s.example.com", "A")];
    let server = knot.address();
    for question in questions {
        let unbound = unbound(&other, server, "");
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Bogus, "{question:?}: {text}");
        for program in [Program::Delv, Program::DrillChase] {
            let (verdict, text) = program.judge(server, &other, question);
            assert_eq!(verdict, Verdict::Bogus, "{question:?} {program:?}: {text}");
        }
    }
}

/// A zone that has to be signed and is not.
#[test]
fn a_zone_without_signatures_is_bogus() {
    let (_knot, anchor) = knot(false);
    let server = Server::start();
    let questions = [("s.example.com", "A"), ("nosuch.s.example.com", "A")];
    for question in questions {
        let unbound = unbound(&anchor, server.dns, "");
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Bogus, "{question:?}: {text}");
        for program in [Program::Delv, Program::DrillChase] {
            let (verdict, text) = program.judge(server.dns, &anchor, question);
            assert_eq!(verdict, Verdict::Bogus, "{question:?} {program:?}: {text}");
        }
    }
}
