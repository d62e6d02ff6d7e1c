//! Signed answers from the additions of zones.

use std::collections::BTreeSet;

use super::super::additions::{CHALLENGE, all};
use super::*;

/// Types that the names of additions have or might have.
const TYPES: [u16; 12] = [1, 2, 5, 6, 15, 16, 28, 43, 48, 65, 256, 257];

/// The types of a name by its NSEC record, and by asking for each of them. Each reply is valid.
fn types(fixture: &Fixture, name: &str) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let judge = Judge::of(fixture);
    let (message, found) = judge.ask(fixture, &query(name, NSEC, EDNS));
    assert_eq!(
        message.answers.len(),
        2,
        "NSEC and its signature: {message:#?}"
    );
    let (owner, said) = &found.nsec[0];
    assert_eq!(*owner, format!("{name}."));
    let there = TYPES.into_iter().filter(|qtype| {
        let (message, found) = judge.ask(fixture, &query(name, *qtype, EDNS));
        let mut answers = message.answers.iter();
        let is_there = answers.any(|record| {
            let is_own = record.name.to_ascii() == *owner;
            is_own && u16::from(record.record_type()) == *qtype
        });
        // A denial says the same.
        for (_, types) in found.nsec.iter().filter(|(of, _)| of == owner) {
            assert_eq!(types, said, "{name} {qtype}");
        }
        is_there
    });
    let there = there.chain([RRSIG, NSEC]).collect();
    (said.iter().copied().collect(), there)
}

/// RFC 4034 §4.1.2, RFC 9824 §3.2: the bitmap has the types that the name has, and no others.
#[test]
fn rfc9824_3_2_bitmaps_have_the_additions() {
    for layout in [Layout::Cname, Layout::Direct] {
        let text = ZONE.replace("*.r    IN HTTPS 1 .\n", "");
        let zone = ("s.example.com", text, Some("r"), layout);
        let algorithm = Some(Algorithm::EcdsaP256Sha256);
        let fixture = Fixture::signed_by(&[zone], algorithm, Settings::default());
        fixture.add("abc", "https://example.net/", None, None);
        let names = ["s.example.com", "abc.s.example.com", "abc.r.s.example.com"];
        let before = names.map(|name| types(&fixture, name).0);
        fixture.set_additions(all()).unwrap();
        let mut expected = before.clone();
        expected[0].insert(257);
        expected[2].insert(65);
        if layout == Layout::Direct {
            expected[1].insert(65);
        }
        for (name, expected) in names.iter().zip(expected) {
            let (said, there) = types(&fixture, name);
            assert_eq!(said, there, "{name}");
            assert_eq!(said, expected, "{name}");
        }
        for values in [&[][..], &["one", "two"]] {
            fixture.offer(values);
            let (said, there) = types(&fixture, CHALLENGE);
            assert_eq!(said, there);
            assert_eq!(said.contains(&16), !values.is_empty());
            assert!(!said.contains(&NXNAME));
        }
        fixture.set_additions(ZoneAdditions::default()).unwrap();
        assert_eq!(names.map(|name| types(&fixture, name).0), before);
    }
}

/// No TTL of an answer about the challenges lets a cache keep it, and no kept signature is of other values.
#[test]
fn answers_about_challenges_have_a_ttl_of_0() {
    let fixture = fixture(Layout::Cname, Algorithm::Ed25519);
    fixture.set_additions(all()).unwrap();
    let judge = Judge::of(&fixture);
    let made = || fixture.metrics.dnssec_signatures.get();
    for values in [&[][..], &["one"], &["two"]] {
        fixture.offer(values);
        for qtype in TYPES.into_iter().chain([RRSIG, NSEC, 255]) {
            let (message, found) = judge.ask(&fixture, &query(CHALLENGE, qtype, EDNS));
            assert!(found.signatures > 0 || qtype == RRSIG, "{message:#?}");
            let records = message.answers.iter().chain(&message.authorities);
            assert!(
                records.clone().count() > 0 && records.clone().all(|r| r.ttl == 0),
                "{message:#?}"
            );
        }
        // The same values are signed once.
        let before = made();
        judge.ask(&fixture, &query(CHALLENGE, 16, EDNS));
        assert_eq!(made(), before);
        // By the general path too.
        let mut odd = query(CHALLENGE, 16, EDNS);
        odd[2] |= 2;
        let (_, odd) = fixture.ask_generally(&odd);
        let odd = Message::from_vec(&odd).unwrap();
        assert!(judge.look(&odd).signatures > 0);
        let texts = odd
            .answers
            .iter()
            .filter(|r| r.record_type() == RecordType::TXT);
        let expected = match values {
            ["two"] => 2,
            values => values.len(),
        };
        assert_eq!(texts.count(), expected);
    }
    // The SOA record itself, and denials of other names, have their own TTLs.
    let (message, _) = judge.ask(&fixture, &query("ns.s.example.com", 16, EDNS));
    assert!(message.authorities.iter().all(|record| record.ttl == 60));
}
