//! Which answers are kept, and under which names and types.

use super::*;

#[test]
fn the_second_reply_is_a_hot_answer_in_the_case_of_its_own_query() {
    let fixture = filled(Layout::Cname);
    let (first, _) = fixture.ask(&query("abc.s.example.com", 16, None));
    let packet = query("aBC.S.exAmple.com", 16, Some((1_232, false)));
    let (second, wire) = fixture.ask(&packet);
    assert!(!first.hot && second.hot);
    assert_eq!(&wire[12..35], &packet[12..35]);
    let message = Message::from_vec(&wire).unwrap();
    assert_eq!(message.answers[0].name.to_string(), "aBC.S.exAmple.com.");
    // A client without EDNS gets the same kept answer without an OPT record.
    let (third, wire) = fixture.ask(&query("abc.s.example.com", 16, None));
    assert!(third.hot);
    assert!(Message::from_vec(&wire).unwrap().edns.is_none());
    assert_eq!(fixture.hot_answers(), 0, "the worker counts them");
}

#[test]
fn absent_names_of_a_length_share_an_answer() {
    let fixture = filled(Layout::Cname);
    let asked: Vec<_> = (0..50)
        .map(|n| fixture.ask(&query(&format!("absent{n:02}.s.example.com"), 16, None)))
        .collect();
    assert!(!asked[0].0.hot);
    assert!(
        asked[1..]
            .iter()
            .all(|(sent, _)| sent.hot && sent.rcode == 3)
    );
    // Whatever the type and the number of labels.
    let (sent, _) = fixture.ask(&query("x.absent.s.example.com", 28, None));
    assert!(sent.hot && sent.rcode == 3);
    // But an alias to an absent name has an answer of its own.
    let (sent, wire) = fixture.ask(&query("x.old.s.example.com", 28, None));
    assert_eq!((sent.hot, sent.rcode), (false, 3));
    assert_eq!(Message::from_vec(&wire).unwrap().answers.len(), 2);
}

#[test]
fn answers_for_made_up_names_are_not_kept() {
    let fixture = filled(Layout::Cname);
    for (name, is_kept) in [
        ("x.wild.s.example.com", false),
        ("www.old.s.example.com", false),
        ("x.sub.s.example.com", false),
        ("sub.s.example.com", true),
        ("wild.s.example.com", true),
        ("promo.s.example.com", true),
    ] {
        for time in 0..2 {
            let (sent, _) = fixture.ask(&query(name, 16, None));
            assert_eq!(sent.hot, is_kept && time > 0, "{name}");
        }
    }
}

/// Also if they lead to a link: the link's own answer is kept, but not those of the endless names that lead to it.
#[test]
fn answers_for_made_up_names_of_a_link_are_not_kept() {
    let text = format!("{ZONE}*.go IN CNAME abc\n* IN TXT any\ngone IN DNAME r\n");
    let zone = ("s.example.com", text, Some("r"), Layout::Direct);
    let fixture = Fixture::of(&[zone]);
    fixture.add("abc", "https://example.net/", None, None);
    let check = |name: &str, qtype: u16, is_kept: bool| {
        for time in 0..2 {
            let name = format!("{name}.s.example.com");
            let (sent, _) = fixture.ask(&query(&name, qtype, None));
            assert_eq!(sent.hot, is_kept && time > 0, "{name}");
        }
    };
    for (name, is_kept) in [
        ("abc", true),
        ("abc.r", true),
        ("promo", true),
        ("x.go", false),
        ("*.go", true),
        ("abc.gone", false),
        ("nosuch", false),
        ("x.nosuch", false),
    ] {
        check(name, 16, is_kept);
    }
}

/// There are 65,535 types. A name has one answer for all types that its zone does not have.
#[test]
fn types_that_the_zone_does_not_have_share_an_answer() {
    for layout in [Layout::Cname, Layout::Direct] {
        let text = format!("{ZONE}ns IN TYPE1000 \\# 1 00\nmail IN TYPE65280 \\# 1 01\n");
        let fixture = Fixture::of(&[("s.example.com", text, Some("r"), layout)]);
        fixture.add("abc", "https://example.net/", None, None);
        for name in [
            "ns", "mail", "abc", "abc.r", "", "promo", "old", "sub", "wild", "loop1",
        ] {
            let name = format!("{name}.s.example.com");
            let name = name.trim_start_matches('.');
            for (times, qtype) in [300, 301, 999, 1_001, 32_768, 65_535]
                .into_iter()
                .enumerate()
            {
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert_eq!(sent.hot, times > 0, "{name} {qtype}");
                check_both(&fixture, name, qtype, None);
            }
            // The zone has these types, though not at each name.
            for qtype in [1_000, 65_280] {
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert!(!sent.hot, "{name} {qtype}");
                let (sent, _) = fixture.ask(&query(name, qtype, None));
                assert!(sent.hot, "{name} {qtype}");
                check_both(&fixture, name, qtype, None);
            }
        }
        let answers = |name: &str, qtype: u16| {
            let (_, wire) = fixture.ask(&query(&format!("{name}.s.example.com"), qtype, None));
            Message::from_vec(&wire).unwrap().answers.len()
        };
        assert_eq!((answers("ns", 1_000), answers("ns", 1_001)), (1, 0));
        assert_eq!((answers("mail", 65_280), answers("mail", 1_000)), (1, 0));
        // A reload may bring records of a new type.
        let file = fixture.directory.path().join("zone");
        let more = format!(
            "{}ns IN TYPE999 \\# 1 02\n",
            fs::read_to_string(&file).unwrap()
        );
        fs::write(&file, more).unwrap();
        fixture.zones.reload().unwrap();
        fixture.handler.zones_replaced();
        assert_eq!((answers("ns", 999), answers("ns", 998)), (1, 0));
    }
}
