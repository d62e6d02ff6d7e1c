//! Links that are withheld: nobody gets the destination, and browsers still find the redirect host.

use super::*;
use crate::link::Withheld;

fn withheld(kind: &str) -> Known {
    let Known::Live(link) = live(Some(UnixTime(NOW.0 + 100))) else {
        panic!("no link");
    };
    let mut link = Link::clone(&link);
    link.withheld = Withheld::parse(kind, "a reason", None).ok().map(Box::new);
    assert!(link.withheld.is_some());
    Known::Live(Arc::new(link))
}

#[test]
fn addresses_stay_and_the_destination_is_nodata() {
    let known = withheld("abuse");
    let known = Some(&known);
    let (name, below) = ("abc.s.example.com.", "abc.r.s.example.com.");
    check(name, RecordType::A, known, "0 | CNAME/99 A/99 |  | ");
    check(name, RecordType::AAAA, known, "0 | CNAME/99 AAAA/99 |  | ");
    check(name, RecordType::CNAME, known, "0 | CNAME/99 |  | ");
    check(name, RecordType::ANY, known, "0 | CNAME/99 |  | ");
    check(name, RecordType::TXT, known, "0 | CNAME/99 | SOA/60 | ");
    check(name, records::URI, known, "0 | CNAME/99 | SOA/60 | ");
    check(below, RecordType::TXT, known, "0 |  | SOA/60 | ");
    check(below, records::URI, known, "0 |  | SOA/60 | ");
    check(below, RecordType::A, known, "0 | A/99 |  | ");
    check(below, RecordType::ANY, known, "0 | A/99 |  | ");
    check(below, RecordType::MX, known, "0 |  | SOA/60 | ");
}

/// RFC 8914 §4.16 and §4.17: 15 is what the operator has decided, and 16 what others demand.
#[test]
fn rfc8914_4_16_the_missing_records_are_explained() {
    for (kind, error) in [
        ("abuse", ExtendedError::BLOCKED),
        ("legal", ExtendedError::CENSORED),
    ] {
        let known = withheld(kind);
        for layout in [Layout::Cname, Layout::Direct] {
            let zone = zone(layout);
            let explained = |name: &str, qtype| match ask(&zone, name, qtype, Some(&known)) {
                Step::Ready(reply) => reply.error,
                step => panic!("{step:?}"),
            };
            for name in ["abc.s.example.com.", "abc.r.s.example.com."] {
                for qtype in [RecordType::TXT, records::URI] {
                    assert_eq!(explained(name, qtype), Some(error), "{name} {qtype}");
                }
                for qtype in [RecordType::A, RecordType::MX, RecordType::ANY] {
                    assert_eq!(explained(name, qtype), None, "{name} {qtype}");
                }
            }
        }
    }
    assert_eq!(
        (ExtendedError::BLOCKED.code, ExtendedError::CENSORED.code),
        (15, 16)
    );
}

#[test]
fn no_answer_has_the_destination() {
    let known = withheld("legal");
    for layout in [Layout::Cname, Layout::Direct] {
        let zone = zone(layout);
        for name in ["abc", "ABC.r", "promo", "x.abc"] {
            for qtype in (0..=300).map(RecordType::from) {
                let name = format!("{name}.s.example.com.");
                let Step::Ready(reply) = ask(&zone, &name, qtype, Some(&known)) else {
                    continue;
                };
                assert!(
                    !format!("{reply:?}").contains("example.net"),
                    "{name} {qtype}"
                );
            }
        }
    }
}
