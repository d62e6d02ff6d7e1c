//! What zones answer beyond their files while HTTPS is on, before validators: challenges come and go, and no
//! resolver denies them from its cache.

use super::anchor::Anchor;
use super::judges::{Program, Question, Verdict, ask_resolver, by_unbound, unbound};
use super::resolvers::{Kind, Resolver};
use super::{ORIGIN, TXT, generate, keys_dir, zone};
use crate::challenges::{Orderer, sections, table};
use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, eventually};

const NAME: &str = "_acme-challenge.s.example.com";

/// Questions for the challenges and for names around them.
const QUESTIONS: [Question<'static>; 7] = [
    (NAME, "TXT"),
    (NAME, "A"),
    (NAME, "CNAME"),
    (NAME, "NSEC"),
    (NAME, "ANY"),
    ("x._acme-challenge.s.example.com", "TXT"),
    ("_acme-challenges.s.example.com", "TXT"),
];

/// A server with ACME and a signed zone, on a DynamoDB table.
fn start(emulator: &Emulator, setup: Setup) -> (Server, Anchor) {
    let dir = setup.dir().to_owned();
    let setup = setup
        .store(&table(&emulator.url()))
        .section(&sections(&dir));
    let keys = keys_dir(&dir, ORIGIN);
    let lines = format!(
        "redirect_host = \"r\"\n[zone.dnssec]\nkeys = \"{}\"\n",
        keys.display()
    );
    let setup = setup.zone(ORIGIN, &lines, &zone());
    let anchor = generate(&setup.write(), ORIGIN, &["csk"], "ecdsap256sha256");
    (setup.start(), anchor)
}

#[test]
fn challenges_are_secure_and_so_is_their_absence() {
    let emulator = Emulator::start();
    let (server, anchor) = start(&emulator, Setup::empty());
    let orderer = Orderer::of(&emulator);
    for values in [&[][..], &["one"], &["two", "three"]] {
        orderer.offer(values);
        for question in QUESTIONS {
            for program in Program::ALL {
                if program.can_judge(server.dns, question) {
                    let (verdict, said) = program.judge(server.dns, &anchor, question);
                    assert_eq!(verdict, Verdict::Secure, "{program:?} {question:?}: {said}");
                }
            }
        }
    }
}

/// A resolver of a certificate authority may look before the values are there. RFC 2308 §5 lets it keep the denial
/// for as long as the TTL of the SOA record says, which is 0.
#[test]
fn resolvers_that_looked_too_early_see_the_challenge() {
    let emulator = Emulator::start();
    let (server, anchor) = start(&emulator, Setup::empty());
    let orderer = Orderer::of(&emulator);
    let unbound = unbound(&anchor, server.dns, "aggressive-nsec: yes\n");
    let early = |qtype| {
        let (verdict, said) = by_unbound(&unbound, (NAME, qtype));
        assert_eq!(verdict, Verdict::Secure, "{said}");
    };
    let count = || {
        let reply = ask_resolver(unbound.address, NAME, TXT, PATIENCE).unwrap();
        reply
            .answer
            .iter()
            .filter(|record| record.rtype == TXT)
            .count()
    };
    // unbound keeps a record of TTL 0 to the end of the second, and the others everything for some seconds.
    for round in 0..4 {
        for qtype in ["TXT", "A", "CNAME", "NSEC"] {
            early(qtype);
        }
        let before = count();
        orderer.offer(&[&format!("value-{round}")]);
        eventually("unbound sees the challenge", PATIENCE, || {
            count() == before + 1
        });
    }
    for kind in Kind::ALL {
        orderer.withdraw(&["value-0", "value-1", "value-2", "value-3"]);
        let resolver = Resolver::start(kind, &anchor, server.dns);
        let judge = || {
            let (verdict, said) = resolver.judge((NAME, "TXT"));
            assert_eq!(verdict, Verdict::Secure, "{kind:?}: {said}");
            said
        };
        assert!(!judge().contains("value-0"));
        orderer.offer(&["value-0"]);
        eventually("the resolver sees the challenge", PATIENCE, || {
            judge().contains("value-0")
        });
    }
}
