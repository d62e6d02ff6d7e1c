//! Links that are withheld, in signed zones: a proof says that their destination is not there.

use super::super::withheld::{BLOCKED, has};
use super::*;

#[test]
fn a_signed_zone_proves_that_the_destination_is_not_there() {
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = fixture(layout, Algorithm::EcdsaP256Sha256);
        fixture.add("abc", "https://example.net/", None, None);
        let owner = match layout {
            Layout::Cname => "abc.r.s.example.com",
            Layout::Direct => "abc.s.example.com",
        };
        let types = |fixture: &Fixture| {
            let judge = Judge::of(fixture);
            let (_, found) = judge.ask(fixture, &query(owner, 15, Some((1_232, true))));
            let (_, types) = found.nsec.first().expect("a proof").clone();
            types.contains(&16) || types.contains(&256)
        };
        assert!(types(&fixture));
        fixture.hold("abc", Some("abuse"));
        assert!(!types(&fixture), "the bitmap has neither TXT nor URI");
        let judge = Judge::of(&fixture);
        for name in ["abc.s.example.com", "abc.r.s.example.com"] {
            for qtype in [1, 5, 15, 16, 28, 47, 255, 256] {
                for time in 0..2 {
                    let packet = query(name, qtype, Some((1_232, true)));
                    let (message, found) = judge.ask(&fixture, &packet);
                    assert!(found.signatures > 0, "{name} {qtype} {time}");
                    assert!(!format!("{message:?}").contains("example.net"));
                    let (_, wire) = fixture.ask(&packet);
                    let is_explained = matches!(qtype, 16 | 256);
                    assert_eq!(has(&wire, BLOCKED), is_explained, "{name} {qtype} {time}");
                    let mut odd = packet.clone();
                    odd[2] |= 2;
                    let (_, odd) = fixture.ask_generally(&odd);
                    assert_eq!(has(&odd, BLOCKED), is_explained, "{name} {qtype} {time}");
                    judge.look(&Message::from_vec(&odd).unwrap());
                }
            }
        }
        fixture.hold("abc", None);
        assert!(types(&fixture));
    }
}
