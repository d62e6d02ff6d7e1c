mod wildcards;
mod withheld;

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::name::ZoneName;
use crate::link::{Destinations, Link, Rank, TargetUrl, Version};
use crate::zone::{Layout, ZoneConfig};

const ZONE: &str = "\
$TTL 300
@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60
@      IN NS ns
ns     IN A 192.0.2.1
*.r    IN A 192.0.2.10
*.r    IN AAAA 2001:db8::10
loop1  IN CNAME loop2
loop2  IN CNAME loop1
old    IN DNAME new
www.new IN A 192.0.2.20
grow   IN DNAME much-longer-name
promo  IN CNAME abc
sub    IN NS ns.sub
ns.sub IN A 192.0.2.53
tosub  IN CNAME x.sub
";

const NOW: UnixTime = UnixTime(1_000_000);

fn zone(layout: Layout) -> Zone {
    zone_with(layout, "")
}

fn zone_with(layout: Layout, more: &str) -> Zone {
    let config = ZoneConfig {
        origin: ZoneName::parse("s.example.com").unwrap(),
        file: PathBuf::from("test.zone"),
        redirect_host: Some("r".into()),
        layout,
        link_ttl: 300,
        dnssec: None,
    };
    Zone::parse(&config, &format!("{ZONE}{more}")).unwrap().0
}

fn live(expires_at: Option<UnixTime>) -> Known {
    let name = LinkName::parse("abc.s.example.com").unwrap();
    live_under(name, expires_at)
}

fn live_under(name: LinkName, expires_at: Option<UnixTime>) -> Known {
    Known::Live(Arc::new(Link {
        name,
        target: TargetUrl::parse("https://example.net/").unwrap(),
        created_at: UnixTime(0),
        created_by: "test".into(),
        expires_at,
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        version: Version(1),
    }))
}

fn ask(zone: &Zone, name: &str, qtype: RecordType, known: Option<&Known>) -> Step {
    let name = Name::from_ascii(name).unwrap();
    let question = Question {
        name: &name,
        key: &LowerName::new(&name),
        qtype,
        signed: None,
        client: None,
    };
    answer(zone, question, known, NOW)
}

/// The rcode, and the types of the records in all sections with their TTLs.
fn check(name: &str, qtype: RecordType, known: Option<&Known>, expected: &str) {
    let Step::Ready(reply) = ask(&zone(Layout::Cname), name, qtype, known) else {
        panic!("{name} {qtype} needs a link");
    };
    let show = |records: &[Record]| {
        let show = |r: &Record| format!("{}/{}", r.record_type(), r.ttl);
        records.iter().map(show).collect::<Vec<_>>().join(" ")
    };
    let shown = [
        u16::from(reply.rcode).to_string(),
        show(&reply.answers),
        show(&reply.authorities),
        show(&reply.additionals),
    ];
    assert_eq!(shown.join(" | "), expected, "{name} {qtype}");
}

/// The records of all sections, one a line, of a zone with `more` in it.
fn check_records(
    more: &str,
    name: &str,
    qtype: RecordType,
    known: Option<&Known>,
    expected: &[&str],
) {
    let zone = zone_with(Layout::Cname, more);
    let Step::Ready(reply) = ask(&zone, name, qtype, known) else {
        panic!("{name} {qtype} needs a link");
    };
    let sections = [&reply.answers, &reply.authorities, &reply.additionals];
    let shown: Vec<String> = sections
        .into_iter()
        .flatten()
        .map(|r| match &r.data {
            RData::Unknown { .. } | RData::SOA(_) => format!("{} {}", r.name, r.record_type()),
            data => format!("{} {} {data}", r.name, r.record_type()),
        })
        .map(|line| line.replace(".s.example.com.", ""))
        .collect();
    assert_eq!(shown, expected, "{name} {qtype}");
}

#[test]
fn rfc7553_4_each_destination_is_a_uri_record_and_the_preferred_one_is_the_text() {
    let list = [("b", 20, 0), ("a", 10, 70)].map(|(host, priority, weight)| {
        let url = TargetUrl::parse(&format!("https://{host}.example/")).unwrap();
        (url, Rank { priority, weight })
    });
    let (target, destinations) = Destinations::of(list.to_vec()).unwrap();
    let Known::Live(link) = live(Some(UnixTime(NOW.0 + 100))) else {
        panic!("no link");
    };
    let known = Known::Live(Arc::new(Link {
        target,
        destinations,
        ..(*link).clone()
    }));
    let known = Some(&known);
    let name = "abc.s.example.com.";
    check(
        name,
        records::URI,
        known,
        "0 | CNAME/99 Unknown/99 Unknown/99 |  | ",
    );
    check(name, RecordType::TXT, known, "0 | CNAME/99 TXT/99 |  | ");
    let Step::Ready(reply) = ask(&zone(Layout::Cname), name, records::URI, known) else {
        panic!("needs a link");
    };
    let data = |record: &Record| match &record.data {
        RData::Unknown { rdata, .. } => rdata.anything.clone(),
        _ => Vec::new(),
    };
    assert_eq!(
        data(&reply.answers[1]),
        b"\x00\x0a\x00\x46https://a.example/"
    );
    assert_eq!(
        data(&reply.answers[2]),
        b"\x00\x14\x00\x00https://b.example/"
    );
    let Step::Ready(reply) = ask(&zone(Layout::Cname), name, RecordType::TXT, known) else {
        panic!("needs a link");
    };
    assert_eq!(reply.answers[1].data.to_string(), "https://a.example/");
}

#[test]
fn asks_for_a_link_only_where_one_may_be() {
    let zone = zone(Layout::Cname);
    for (name, wanted) in [
        ("abc.s.example.com.", Some("abc.s.example.com")),
        ("ABC.r.S.example.com.", Some("abc.s.example.com")),
        ("promo.s.example.com.", Some("abc.s.example.com")),
        ("x.abc.s.example.com.", None),
        ("_abc.s.example.com.", None),
        ("ns.s.example.com.", None),
        ("r.s.example.com.", None),
        ("s.example.com.", None),
        ("x.sub.s.example.com.", None),
    ] {
        let needed = match ask(&zone, name, RecordType::TXT, None) {
            Step::NeedsLink(name) => Some(name.to_string()),
            Step::NeedsChallenges(_) | Step::Ready(_) => None,
        };
        assert_eq!(needed.as_deref(), wanted, "{name}");
    }
}

#[test]
fn a_failed_look_up_is_servfail_without_records() {
    let unknown = Known::Unknown(ExtendedError {
        code: ExtendedError::NETWORK_ERROR,
        text: "down",
    });
    for name in [
        "abc.s.example.com.",
        "abc.r.s.example.com.",
        "promo.s.example.com.",
    ] {
        for qtype in [RecordType::TXT, RecordType::A, RecordType::CNAME] {
            // An alias to the link is no comfort: half an answer would be cached too.
            if name.starts_with("promo") && qtype == RecordType::CNAME {
                continue;
            }
            check(name, qtype, Some(&unknown), "2 |  |  | ");
        }
    }
}

#[test]
fn no_ttl_reaches_beyond_the_links_end() {
    let ends = live(Some(UnixTime(NOW.0 + 9)));
    let name = "abc.s.example.com.";
    check(
        name,
        RecordType::TXT,
        Some(&ends),
        "0 | CNAME/8 TXT/8 |  | ",
    );
    check(name, RecordType::A, Some(&ends), "0 | CNAME/8 A/8 |  | ");
    let endless = live(None);
    check(
        name,
        RecordType::A,
        Some(&endless),
        "0 | CNAME/300 A/300 |  | ",
    );
}

#[test]
fn rfc6672_dname_and_the_alias_it_stands_for() {
    check(
        "www.old.s.example.com.",
        RecordType::A,
        None,
        "0 | DNAME/300 CNAME/300 A/300 |  | ",
    );
    check(
        "www.old.s.example.com.",
        RecordType::CNAME,
        None,
        "0 | DNAME/300 CNAME/300 |  | ",
    );
    check(
        "no.old.s.example.com.",
        RecordType::A,
        None,
        "3 | DNAME/300 CNAME/300 | SOA/60 | ",
    );
    check(
        "old.s.example.com.",
        RecordType::A,
        None,
        "0 |  | SOA/60 | ",
    );
    // §2.2: a name that grows too long.
    let label = "a".repeat(63);
    let long = format!(
        "{label}.{label}.{label}.{}.grow.s.example.com.",
        "a".repeat(40)
    );
    check(&long, RecordType::A, None, "6 | DNAME/300 |  | ");
}

#[test]
fn rfc6672_2_2_a_star_is_a_label_like_others() {
    check_records(
        "",
        "*.old.s.example.com.",
        RecordType::CNAME,
        None,
        &["old DNAME", "*.old CNAME *.new"],
    );
}

#[test]
fn rfc2181_5_a_dname_that_is_met_twice_is_in_the_answer_once() {
    check_records(
        "a.new IN CNAME b.old\nb.new IN A 192.0.2.21\n",
        "a.old.s.example.com.",
        RecordType::A,
        None,
        &[
            "old DNAME",
            "a.old CNAME a.new",
            "a.new CNAME b.old",
            "b.old CNAME b.new",
            "b.new A 192.0.2.21",
        ],
    );
}

#[test]
fn rfc2181_5_addresses_of_a_host_that_is_named_twice_are_added_once() {
    check_records(
        "mx IN MX 10 ns\nmx IN MX 20 NS\n",
        "mx.s.example.com.",
        RecordType::MX,
        None,
        &["mx MX 10 ns", "mx MX 20 NS", "ns A 192.0.2.1"],
    );
}

#[test]
fn rfc1034_4_3_2_step_6_addresses_from_a_wildcard() {
    check_records(
        "mx IN MX 10 any.w\n*.w IN A 192.0.2.22\n",
        "mx.s.example.com.",
        RecordType::MX,
        None,
        &["mx MX 10 any.w", "any.w A 192.0.2.22"],
    );
    // Whether a link is there is not asked for something that is merely useful.
    check_records(
        "mx IN MX 10 abc\n",
        "mx.s.example.com.",
        RecordType::MX,
        None,
        &["mx MX 10 abc"],
    );
}

#[test]
fn rfc9460_4_1_addresses_of_service_bindings() {
    check_records(
        "web IN HTTPS 1 ns\n",
        "web.s.example.com.",
        RecordType::HTTPS,
        None,
        &["web HTTPS 1 ns", "ns A 192.0.2.1"],
    );
}

#[test]
fn rfc9460_2_5_2_a_dot_is_the_owner_of_the_binding() {
    check_records(
        "web IN HTTPS 1 .\nweb IN A 192.0.2.24\n",
        "web.s.example.com.",
        RecordType::HTTPS,
        None,
        &["web HTTPS 1 .", "web A 192.0.2.24"],
    );
    // §2.5.1: as the target of an alias it says that there is no such service.
    check_records(
        "web IN HTTPS 0 .\nweb IN A 192.0.2.24\n",
        "web.s.example.com.",
        RecordType::HTTPS,
        None,
        &["web HTTPS 0 ."],
    );
    check_records(
        "*.w IN HTTPS 1 .\n*.w IN A 192.0.2.24\n",
        "x.w.s.example.com.",
        RecordType::HTTPS,
        None,
        &["x.w HTTPS 1 .", "x.w A 192.0.2.24"],
    );
}

#[test]
fn rfc6672_3_2_a_query_for_any_follows_the_synthesised_alias() {
    check_records(
        "",
        "www.old.s.example.com.",
        RecordType::ANY,
        None,
        &["old DNAME", "www.old CNAME www.new", "www.new A 192.0.2.20"],
    );
}

#[test]
fn rfc6672_2_3_a_dname_at_the_apex() {
    let config = ZoneConfig {
        origin: ZoneName::parse("s.example.com").unwrap(),
        file: PathBuf::from("test.zone"),
        redirect_host: None,
        layout: Layout::Cname,
        link_ttl: 300,
        dnssec: None,
    };
    let text = "$TTL 300\n@ SOA ns.test. h.test. 1 2 3 4 60\n@ NS ns.test.\n@ DNAME new.example.\n";
    let (zone, _) = Zone::parse(&config, text).unwrap();
    let check = |name: &str, qtype, expected: &[&str]| {
        let Step::Ready(reply) = ask(&zone, name, qtype, None) else {
            panic!("there are no links");
        };
        let shown: Vec<_> = [&reply.answers, &reply.authorities]
            .into_iter()
            .flatten()
            .map(|record| format!("{} {}", record.name, record.record_type()))
            .collect();
        assert_eq!(shown, expected, "{name} {qtype}");
    };
    // The apex itself is not renamed.
    check("s.example.com.", RecordType::NS, &["s.example.com. NS"]);
    check("s.example.com.", RecordType::A, &["s.example.com. SOA"]);
    check(
        "s.example.com.",
        RecordType::DNAME,
        &["s.example.com. DNAME"],
    );
    let renamed = ["s.example.com. DNAME", "a.b.s.example.com. CNAME"];
    check("a.b.s.example.com.", RecordType::A, &renamed);
    check("a.b.s.example.com.", RecordType::SOA, &renamed);
}

#[test]
fn rfc2181_5_a_dname_that_an_alias_leads_to_is_in_the_answer_once() {
    check_records(
        "a.new IN CNAME old\n",
        "a.old.s.example.com.",
        RecordType::DNAME,
        None,
        &["old DNAME", "a.old CNAME a.new", "a.new CNAME old"],
    );
}

#[test]
fn rfc9471_3_1_only_glue_from_below_the_cut_cannot_be_left_out() {
    let zone = zone_with(
        Layout::Cname,
        "sibling IN NS ns.sub\nupper IN NS ns\nout IN NS ns.example.net.\n",
    );
    for (name, additionals, is_required) in [
        ("x.sub.s.example.com.", 1, true),
        ("x.sibling.s.example.com.", 1, false),
        ("x.upper.s.example.com.", 1, false),
        ("x.out.s.example.com.", 0, false),
    ] {
        let Step::Ready(reply) = ask(&zone, name, RecordType::A, None) else {
            panic!("{name} needs a link");
        };
        assert!(!reply.authoritative, "{name}");
        assert_eq!(reply.additionals.len(), additionals, "{name}");
        assert_eq!(reply.glue_required, is_required, "{name}");
    }
}

#[test]
fn rfc4035_3_1_4_1_ds_is_answered_above_the_cut() {
    let ds = "sub IN DS 1 8 9 AA\n";
    let name = "sub.s.example.com.";
    let zone = zone_with(Layout::Cname, ds);
    let Step::Ready(reply) = ask(&zone, name, RecordType::DS, None) else {
        panic!("no link is needed");
    };
    assert!(reply.authoritative);
    assert_eq!((reply.answers.len(), reply.authorities.len()), (1, 0));
    check(name, RecordType::DS, None, "0 |  | SOA/60 | ");
    check(
        &format!("x.{name}"),
        RecordType::DS,
        None,
        "0 |  | NS/300 | A/300",
    );
}

#[test]
fn an_alias_to_a_link_of_which_nothing_is_known_ends_the_answer() {
    // What is known is that there is no link `abc`; it says nothing of the link `landing`.
    let known = Some(&Known::Absent);
    let zone = "* IN CNAME landing\n";
    for (name, expected) in [
        ("abc.s.example.com.", "abc CNAME landing"),
        ("x.abc.s.example.com.", "x.abc CNAME landing"),
    ] {
        check_records(zone, name, RecordType::A, known, &[expected]);
    }
}

#[test]
fn a_static_name_in_a_links_place_below_the_redirect_host_wins() {
    let known = live(None);
    let name = "abc.s.example.com.";
    let zone = "abc.r IN A 192.0.2.23\n";
    let alias = "abc CNAME abc.r";
    let check = |qtype, expected: &[&str]| {
        check_records(zone, name, qtype, Some(&known), expected);
    };
    check(RecordType::A, &[alias, "abc.r A 192.0.2.23"]);
    check(RecordType::TXT, &[alias, "s.example.com. SOA"]);
    check(RecordType::CNAME, &[alias]);
    check_records(
        "abc.r IN CNAME def\n",
        name,
        RecordType::TXT,
        Some(&known),
        &[alias, "abc.r CNAME def"],
    );
}

#[test]
fn a_loop_of_aliases_ends() {
    check(
        "loop1.s.example.com.",
        RecordType::A,
        None,
        "0 | CNAME/300 CNAME/300 |  | ",
    );
}

#[test]
fn an_alias_into_a_delegation_ends_in_a_referral() {
    let Step::Ready(reply) = ask(
        &zone(Layout::Cname),
        "tosub.s.example.com.",
        RecordType::A,
        None,
    ) else {
        panic!("no link is needed");
    };
    assert!(
        reply.authoritative,
        "the first name is ours (RFC 1035 §4.1.1)"
    );
    assert_eq!(
        (
            reply.answers.len(),
            reply.authorities.len(),
            reply.additionals.len()
        ),
        (1, 1, 1)
    );
    assert!(reply.glue_required);
}

proptest! {
    /// RFC 1034 §3.6.2: whatever is asked, no name in an answer has a CNAME and other data.
    #[test]
    fn rfc1034_3_6_2_nothing_beside_a_cname(
        name in "(([a-z_]{1,4}|\\*|abc|old|sub|ns|loop1|promo)\\.){0,3}(r\\.)?",
        qtype in any::<u16>(),
        direct in any::<bool>(),
        is_live in any::<bool>(),
    ) {
        let zone = zone(if direct { Layout::Direct } else { Layout::Cname });
        let name = format!("{name}s.example.com.");
        let known = match ask(&zone, &name, RecordType::from(qtype), None) {
            Step::NeedsLink(name) if is_live => live_under(name, None),
            _ => Known::Absent,
        };
        let step = ask(&zone, &name, RecordType::from(qtype), Some(&known));
        let Step::Ready(reply) = step else { panic!("needs another link") };
        for record in &reply.answers {
            let alias = record.record_type() == RecordType::CNAME;
            let same = reply.answers.iter().filter(|r| r.name == record.name);
            prop_assert!(!alias || same.count() == 1);
        }
        // RFC 2308 §2: a negative answer from us always has the SOA, and only then.
        let negative = reply.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
        let last = reply.answers.last().map(Record::record_type);
        let positive = last.is_some_and(|last| last != RecordType::CNAME)
            || matches!(qtype, 5 | 255) && last.is_some();
        let referral = reply.authorities.iter().any(|r| r.record_type() == RecordType::NS);
        let endless = name.contains("loop1.s.");
        prop_assert!(endless || negative != (positive || referral), "{:?}", reply);
    }
}
