//! Links that are withheld: both paths and hot answers agree, and none of them has the destination.

use super::*;
use crate::link::Withheld;
use crate::store::audit::Actor;

/// The option code of extended errors (RFC 8914 §2), the length of this one, and its INFO-CODE.
pub(super) const BLOCKED: &[u8] = b"\0\x0f\0\x27\0\x0fthe link is withheld because of abuse";
const CENSORED: &[u8] = b"\0\x0f\0\x28\0\x10the link is withheld for legal reasons";

impl Fixture {
    /// Withholds a link, or gives it back.
    pub(super) fn hold(&self, code: &str, kind: Option<&str>) {
        let withheld = kind.map(|kind| Withheld::parse(kind, "a reason", None).unwrap());
        let change = Change {
            withheld: Some(withheld.map(Box::new)),
            ..Change::default()
        };
        let by = Actor {
            may_change_withheld: true,
            ..Actor::from("test")
        };
        let name = link_name(code);
        let call = self.links.change(&name, None, change, &by);
        self.runtime.block_on(call).map(drop).unwrap();
    }
}

pub(super) fn has(wire: &[u8], part: &[u8]) -> bool {
    wire.windows(part.len()).any(|found| found == part)
}

/// A name, a type, and the size and the DO bit of an OPT record.
type Asked = (String, u16, Option<(u16, bool)>);

/// Questions about links that are withheld.
fn questions() -> Vec<Asked> {
    let mut questions = Vec::new();
    for code in ["abc", "later", "longest"] {
        for more in ["", "r."] {
            for qtype in TYPES {
                for edns in [None, Some((512, false)), Some((1_232, true))] {
                    questions.push((format!("{code}.{more}s.example.com"), qtype, edns));
                }
            }
        }
    }
    questions
}

#[test]
fn both_paths_and_hot_answers_agree_about_links_that_are_withheld() {
    for (layout, kind, error) in [
        (Layout::Cname, "abuse", BLOCKED),
        (Layout::Direct, "legal", CENSORED),
    ] {
        let fixture = filled(layout);
        let questions = questions();
        // The answers of before are hot.
        for (name, qtype, edns) in &questions {
            fixture.ask(&query(name, *qtype, *edns));
        }
        for code in ["abc", "later", "longest"] {
            fixture.hold(code, Some(kind));
        }
        for (name, qtype, edns) in questions {
            let name = &name;
            check_both(&fixture, name, qtype, edns);
            for time in 0..2 {
                let (sent, wire) = fixture.ask(&query(name, qtype, edns));
                let place = format!("{name} {qtype} {edns:?} {time}");
                assert!(!has(&wire, b"example.net") && sent.rcode == 0, "{place}");
                let is_explained = matches!(qtype, 16 | 256) && edns.is_some();
                assert_eq!(has(&wire, error), is_explained, "{place}");
                assert!(sent.hot, "{place}");
            }
        }
        // Given back, the next query sees it.
        fixture.hold("abc", None);
        assert_eq!(fixture.txt("abc").as_deref(), Some("https://example.net/"));
    }
}
