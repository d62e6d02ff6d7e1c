//! Zones from text, searched and refused.

use std::fs;
use std::path::Path;

use hickory_proto::rr::RecordType;
use proptest::prelude::*;

use super::*;
use crate::link::LinkName;
use crate::links::{Host, Namespace};

fn config(origin: &str, redirect_host: Option<&str>) -> ZoneConfig {
    ZoneConfig {
        origin: Origin::parse(origin).unwrap(),
        file: "t.zone".into(),
        redirect_host: redirect_host.map(Into::into),
        layout: Layout::Cname,
        link_ttl: 300,
    }
}

/// A zone `example` without links; the text follows an SOA (line 1) and an NS record (line 2).
fn plain_text(text: &str) -> String {
    format!("@ 3600 IN SOA ns.test. host.test. 1 2 3 4 60\n@ 3600 IN NS ns.test.\n{text}")
}

fn lower(name: &str) -> LowerName {
    let labels = name.split('.').filter(|label| !label.is_empty());
    LowerName::from(Name::from_labels(labels.map(str::as_bytes)).unwrap())
}

/// The node that was found, if its records are the zone's own or those of a cut.
fn node<'z>(found: &Lookup<'z>) -> &'z Node {
    match found {
        Lookup::Exact(node) | Lookup::Delegation { node, .. } => node,
        other => panic!("{}", show(other)),
    }
}

fn types(node: &Node) -> String {
    let types: Vec<_> = node.rrsets().map(|set| set.rtype.to_string()).collect();
    match types.is_empty() {
        true => "nothing".into(),
        false => types.join(" "),
    }
}

fn show(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Delegation { cut, node, at_cut } => {
            let place = if *at_cut { "at" } else { "below" };
            format!("{place} cut {cut} {}", types(node))
        }
        Lookup::Dname { owner, node } => format!("below dname {owner} {}", types(node)),
        Lookup::Exact(node) => format!("exact {}", types(node)),
        Lookup::Link {
            code,
            place,
            wildcard,
        } => match wildcard {
            Some(node) => format!("link {code} {place:?} or {}", types(node)),
            None => format!("link {code} {place:?}"),
        },
        Lookup::BelowLink { code, wildcard } => {
            format!("below link {code} or {}", types(wildcard))
        }
        Lookup::Wildcard(node) => format!("wildcard {}", types(node)),
        Lookup::NoName => "no name".into(),
    }
}

#[track_caller]
fn load(config: &ZoneConfig, text: &str) -> (Zone, Vec<String>) {
    match Zone::parse(config, text) {
        Ok((zone, warnings)) => (zone, warnings.iter().map(ToString::to_string).collect()),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn check_lookup(zone: &Zone, name: &str, expected: &str) {
    assert_eq!(show(&zone.lookup(&lower(name))), expected, "{name}");
}

/// All errors of a zone `example` with this text after the two first lines.
#[track_caller]
fn check_errors(text: &str, expected: &[&str]) {
    check_errors_of(&config("example", None), &plain_text(text), expected);
}

#[track_caller]
fn check_errors_of(config: &ZoneConfig, text: &str, expected: &[&str]) {
    let error = Zone::parse(config, text).map(|_| ()).unwrap_err();
    let lines: Vec<_> = error.to_string().lines().map(String::from).collect();
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

#[track_caller]
fn check_warnings_of(config: &ZoneConfig, text: &str, expected: &[&str]) {
    let (_, lines) = load(config, text);
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

#[track_caller]
fn check_warnings(text: &str, expected: &[&str]) {
    check_warnings_of(&config("example", None), &plain_text(text), expected);
}

/// The bytes of the only record of a type at `x.example`, given as `x TYPE data`.
#[track_caller]
fn check_rdata(record: &str, code: u16, expected: &[u8]) {
    let (zone, _) = load(
        &config("example", None),
        &plain_text(&format!("x 60 IN {record}\n")),
    );
    let node = node(&zone.lookup(&lower("x.example.")));
    let set = node.rrset(RecordType::from(code)).unwrap();
    assert_eq!(set.rdata[0].record_type(), set.rtype, "{record}");
    let record = Record::from_rdata(Name::root(), 0, set.rdata[0].clone());
    let mut wire = Vec::new();
    let mut encoder = hickory_proto::serialize::binary::BinEncoder::new(&mut wire);
    hickory_proto::serialize::binary::BinEncodable::emit(&record, &mut encoder).unwrap();
    // Root, type, class, TTL, length.
    assert_eq!(&wire[11..], expected, "{record}");
    assert_eq!(
        usize::from(wire[9]) << 8 | usize::from(wire[10]),
        expected.len()
    );
}

// ---------------------------------------------------------------- lookup

/// The zone of RFC 4592 §2.2.1.
fn wildcards() -> Zone {
    let text = r#"
$ORIGIN example.
example.                 3600 IN  SOA   ns.example.com. host.example.com. 1 2 3 4 5
example.                 3600     NS    ns.example.com.
example.                 3600     NS    ns.example.net.
*.example.               3600     TXT   "this is a wildcard"
*.example.               3600     MX    10 host1.example.
sub.*.example.           3600     TXT   "this is not a wildcard"
host1.example.           3600     A     192.0.2.1
_ssh._tcp.host1.example. 3600     SRV   0 0 22 host1.example.
_ssh._tcp.host2.example. 3600     SRV   0 0 22 host2.example.
subdel.example.          3600     NS    ns.example.com.
subdel.example.          3600     NS    ns.example.net.
"#;
    load(&config("example", None), text).0
}

#[test]
fn rfc_4592_2_2_1_synthesised() {
    let zone = wildcards();
    check_lookup(&zone, "host3.example.", "wildcard MX TXT");
    check_lookup(&zone, "foo.bar.example.", "wildcard MX TXT");
}

#[test]
fn rfc_4592_2_2_1_not_synthesised() {
    let zone = wildcards();
    check_lookup(&zone, "host1.example.", "exact A");
    check_lookup(&zone, "sub.*.example.", "exact TXT");
    check_lookup(&zone, "*.example.", "exact MX TXT");
    check_lookup(&zone, "_telnet._tcp.host1.example.", "no name");
    check_lookup(
        &zone,
        "host.subdel.example.",
        "below cut subdel.example. NS",
    );
    check_lookup(&zone, "ghost.*.example.", "no name");
}

#[test]
fn rfc_4592_2_2_2_empty_non_terminals() {
    let zone = wildcards();
    check_lookup(&zone, "_tcp.host1.example.", "exact nothing");
    check_lookup(&zone, "_tcp.host2.example.", "exact nothing");
    check_lookup(&zone, "host2.example.", "exact nothing");
    check_lookup(&zone, "x.host2.example.", "no name");
}

#[test]
fn rfc_4592_3_3_1_an_empty_wildcard_covers_too() {
    let text = plain_text("a.*.x 60 A 192.0.2.1\n");
    let (zone, _) = load(&config("example", None), &text);
    check_lookup(&zone, "y.x.example.", "wildcard nothing");
    check_lookup(&zone, "a.y.x.example.", "wildcard nothing");
    check_lookup(&zone, "a.*.x.example.", "exact A");
    check_lookup(&zone, "b.*.x.example.", "no name");
}

/// Delegations with glue above, at and below their cuts.
fn delegations() -> (Zone, Vec<String>) {
    let text = plain_text(
        r#"sub     60 NS  ns1.sub
sub     60 NS  ns.deep.sub
sub     60 NS  sub
sub     60 NS  ns.test.
sub     60 DS  1 13 2 0000000000000000000000000000000000000000000000000000000000000000
sub     60 A   192.0.2.9
ns1.sub 60 A   192.0.2.1
ns.deep.sub 60 AAAA 2001:db8::1
sub     60 TXT "occluded"
www.sub 60 A   192.0.2.2
ns1.sub 60 TXT "occluded"
low.sub 60 NS  ns.low.sub
ns.low.sub 60 A 192.0.2.3
a.b.c   60 A   192.0.2.4
www     60 CNAME a.b.c
*.c     60 A   192.0.2.5
"#,
    );
    load(&config("example", None), &text)
}

#[test]
fn rfc_1034_4_3_2_delegations() {
    let (zone, _) = delegations();
    check_lookup(&zone, "sub.example.", "at cut sub.example. A NS DS");
    for below in [
        "x.sub",
        "ns1.sub",
        "www.sub",
        "low.sub",
        "a.b.low.sub",
        "*.sub",
    ] {
        let expected = "below cut sub.example. A NS DS";
        check_lookup(&zone, &format!("{below}.example."), expected);
    }
}

#[test]
fn rfc_1034_4_3_2_data_and_its_absence() {
    let (zone, _) = delegations();
    check_lookup(&zone, "example.", "exact NS SOA");
    check_lookup(&zone, "EXAMPLE.", "exact NS SOA");
    check_lookup(&zone, "WWW.Example.", "exact CNAME");
    check_lookup(&zone, "a.b.c.example.", "exact A");
    check_lookup(&zone, "b.c.example.", "exact nothing");
    check_lookup(&zone, "c.example.", "exact nothing");
    check_lookup(&zone, "x.c.example.", "wildcard A");
    check_lookup(&zone, "x.y.c.example.", "wildcard A");
    check_lookup(&zone, "x.b.c.example.", "no name");
    check_lookup(&zone, "nope.example.", "no name");
    check_lookup(&zone, "a.nope.example.", "no name");
    // Not in the zone at all.
    check_lookup(&zone, "example.org.", "no name");
    check_lookup(&zone, "xexample.", "no name");
    check_lookup(&zone, ".", "no name");
}

#[test]
fn rfc_1034_4_2_1_glue_is_kept_and_the_rest_is_not() {
    let (zone, warnings) = delegations();
    let addresses = |name: &str| zone.addresses(&lower(name)).map(types);
    assert_eq!(addresses("ns1.sub.example."), Some("A".into()));
    assert_eq!(addresses("ns.deep.sub.example."), Some("AAAA".into()));
    assert_eq!(addresses("sub.example."), Some("A NS DS".into()));
    assert_eq!(addresses("a.b.c.example."), Some("A".into()));
    assert_eq!(addresses("www.sub.example."), None);
    assert_eq!(addresses("ns.low.sub.example."), None);
    assert_eq!(addresses("www.example."), None);
    assert_eq!(addresses("c.example."), None);
    assert_eq!(
        warnings,
        [
            "t.zone:11: TXT of sub.example. is not served: sub.example. is delegated",
            "t.zone:12: A of www.sub.example. is not served: sub.example. is delegated",
            "t.zone:13: TXT of ns1.sub.example. is not served: sub.example. is delegated",
            "t.zone:14: NS of low.sub.example. is not served: sub.example. is delegated",
            "t.zone:15: A of ns.low.sub.example. is not served: sub.example. is delegated",
        ]
    );
}

#[test]
fn rfc_6672_dname() {
    let text = plain_text("d 60 DNAME other.test.\nd 60 A 192.0.2.1\na.e 60 DNAME x\n");
    let (zone, warnings) = load(&config("example", None), &text);
    check_lookup(&zone, "d.example.", "exact A DNAME");
    check_lookup(&zone, "x.d.example.", "below dname d.example. A DNAME");
    check_lookup(&zone, "x.y.d.example.", "below dname d.example. A DNAME");
    check_lookup(&zone, "e.example.", "exact nothing");
    check_lookup(&zone, "b.a.e.example.", "below dname a.e.example. DNAME");
    assert_eq!(warnings, [""; 0]);

    let (zone, _) = load(
        &config("example", None),
        &plain_text("@ 60 DNAME other.test.\n"),
    );
    check_lookup(&zone, "example.", "exact NS SOA DNAME");
    check_lookup(&zone, "x.y.example.", "below dname example. NS SOA DNAME");
}

#[test]
fn rfc_2308_5_the_negative_soa_lives_no_longer_than_its_minimum() {
    #[track_caller]
    fn check(ttl: u32, minimum: u32, expected: u32) {
        let text =
            format!("@ {ttl} IN SOA ns.test. h.test. 1 2 3 4 {minimum}\n@ 1 IN NS ns.test.\n");
        let (zone, _) = load(&config("example", None), &text);
        assert_eq!(zone.soa().ttl, ttl);
        assert_eq!(zone.negative_soa().ttl, expected);
        assert_eq!(zone.negative_soa().data, zone.soa().data);
        assert_eq!(
            zone.negative_soa().name,
            Name::from_ascii("example.").unwrap()
        );
    }
    check(3_600, 60, 60);
    check(30, 60, 30);
    check(60, 60, 60);
    check(3_600, 0, 0);
}

/// A zone with links; the text follows SOA, NS and the addresses of `*.r`.
fn link_zone(text: &str) -> Zone {
    let text = plain_text(&format!(
        "*.r 300 A 192.0.2.10\n*.r 300 AAAA 2001:db8::10\n{text}"
    ));
    load(&config("example", Some("r")), &text).0
}

#[test]
fn links_below_the_apex() {
    let zone = link_zone("www 60 A 192.0.2.1\na.ent 60 A 192.0.2.1\nsub 60 NS ns.test.\n");
    check_lookup(&zone, "gh7k2m9x.example.", "link gh7k2m9x Short");
    check_lookup(&zone, "GH7k2m9x.example.", "link gh7k2m9x Short");
    check_lookup(&zone, "a.gh7k2m9x.example.", "no name");
    check_lookup(&zone, "_x.example.", "no name");
    check_lookup(&zone, "-x.example.", "no name");
    // Static names win.
    check_lookup(&zone, "www.example.", "exact A");
    check_lookup(&zone, "a.www.example.", "no name");
    check_lookup(&zone, "ent.example.", "exact nothing");
    check_lookup(&zone, "sub.example.", "at cut sub.example. NS");
    check_lookup(&zone, "r.example.", "exact nothing");
}

#[test]
fn links_below_the_redirect_host() {
    let zone = link_zone("www.r 60 A 192.0.2.1\n* 60 TXT \"apex\"\n");
    check_lookup(&zone, "gh7k2m9x.r.example.", "link gh7k2m9x Target");
    check_lookup(&zone, "a.gh7k2m9x.r.example.", "no name");
    check_lookup(&zone, "_x.r.example.", "no name");
    check_lookup(&zone, "www.r.example.", "exact A");
    check_lookup(&zone, "x.www.r.example.", "no name");
    check_lookup(&zone, "*.r.example.", "exact A AAAA");
    check_lookup(&zone, "x.*.r.example.", "no name");
    assert_eq!(zone.link_template().map(types), Some("A AAAA".into()));
}

#[test]
fn links_beside_a_wildcard_of_the_apex() {
    let zone = link_zone("* 60 TXT \"apex\"\nx.y 60 A 192.0.2.1\n");
    check_lookup(&zone, "gh7k2m9x.example.", "link gh7k2m9x Short or TXT");
    check_lookup(&zone, "a.gh7k2m9x.example.", "below link gh7k2m9x or TXT");
    check_lookup(&zone, "a.b.gh7k2m9x.example.", "below link gh7k2m9x or TXT");
    check_lookup(&zone, "_x.example.", "wildcard TXT");
    check_lookup(&zone, "a._x.example.", "wildcard TXT");
    check_lookup(&zone, "*.example.", "exact TXT");
    check_lookup(&zone, "a.*.example.", "no name");
    check_lookup(&zone, "z.y.example.", "no name");
}

#[test]
fn a_zone_without_links_has_none() {
    let text = plain_text("*.r 60 A 192.0.2.1\n");
    let (zone, _) = load(&config("example", None), &text);
    check_lookup(&zone, "gh7k2m9x.example.", "no name");
    check_lookup(&zone, "gh7k2m9x.r.example.", "wildcard A");
    assert_eq!(zone.link_origin(), None);
    assert_eq!(zone.link_template(), None);
    assert_eq!(zone.target_name("gh7k2m9x"), None);
}

#[test]
fn what_a_zone_tells_of_itself() {
    let zone = link_zone("");
    assert_eq!(zone.origin(), &lower("example."));
    assert_eq!(zone.layout(), Layout::Cname);
    assert_eq!(zone.link_ttl(), 300);
    assert_eq!(zone.link_origin().map(Origin::as_str), Some("example"));
    let target = zone.target_name("gh7k2m9x").unwrap();
    assert_eq!(target, Name::from_ascii("gh7k2m9x.r.example.").unwrap());
    assert_eq!(zone.target_name(&"a".repeat(64)), None);
}

#[test]
fn the_redirect_host_is_there_even_if_the_file_says_nothing() {
    let config = config("example", Some("r"));
    let (zone, warnings) = load(&config, &plain_text(""));
    check_lookup(&zone, "r.example.", "exact nothing");
    check_lookup(&zone, "abc.r.example.", "link abc Target");
    assert_eq!(zone.link_template(), None);
    assert_eq!(
        warnings,
        [
            "t.zone: *.r.example. has neither A, AAAA nor HTTPS: browsers cannot follow the links of this zone"
        ]
    );
}

#[test]
fn the_direct_layout_has_the_same_names() {
    let config = ZoneConfig {
        layout: Layout::Direct,
        ..config("example", Some("go"))
    };
    let (zone, _) = load(&config, &plain_text("*.go 60 A 192.0.2.1\n"));
    assert_eq!(zone.layout(), Layout::Direct);
    check_lookup(&zone, "abc.example.", "link abc Short");
    check_lookup(&zone, "abc.go.example.", "link abc Target");
}

// ---------------------------------------------------------------- text

#[test]
fn rfc_1035_5_1_owners_classes_and_ttls() {
    let text = "$TTL 77\n\
        @ IN SOA ns.test. host.test. (\n 1 1h ; refresh\n 3 4\n 60 )\n\
        \tNS ns.test.\n\
        a 5 IN A 192.0.2.1\n\
        \tIN 6 AAAA 2001:db8::1\n\
        b a 192.0.2.2\n\
        $ORIGIN c\n\
        @ CLASS1 1h TYPE1 192.0.2.3\n\
        d.example. A 192.0.2.4\n\
        $TTL 1d\n\
        e TXT a \"b c\" \\100";
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        let (zone, warnings) = load(&config("example", None), &text);
        assert_eq!(warnings, [""; 0]);
        let ttl = |name: &str, rtype| match zone.lookup(&lower(name)) {
            Lookup::Exact(node) => node.rrset(rtype).map(|set| set.ttl),
            _ => None,
        };
        assert_eq!(ttl("example.", RecordType::NS), Some(77));
        assert_eq!(ttl("a.example.", RecordType::A), Some(5));
        assert_eq!(ttl("a.example.", RecordType::AAAA), Some(6));
        assert_eq!(ttl("b.example.", RecordType::A), Some(77));
        assert_eq!(ttl("c.example.", RecordType::A), Some(3_600));
        assert_eq!(ttl("d.example.", RecordType::A), Some(77));
        assert_eq!(ttl("e.c.example.", RecordType::TXT), Some(86_400));
        let RData::SOA(soa) = &zone.soa().data else {
            panic!("{:?}", zone.soa());
        };
        assert_eq!((soa.serial, soa.refresh, soa.retry), (1, 3_600, 3));
        assert_eq!((soa.expire, soa.minimum), (4, 60));
    }
}

#[test]
fn rfc_1035_5_1_the_last_stated_ttl_holds_without_dollar_ttl() {
    let (zone, _) = load(
        &config("example", None),
        &plain_text("a 7 A 192.0.2.1\nb A 192.0.2.1\n"),
    );
    let node = node(&zone.lookup(&lower("b.example.")));
    assert_eq!(node.rrset(RecordType::A).unwrap().ttl, 7);
    let text = "@ IN SOA ns.test. host.test. 1 2 3 4 5\n";
    let expected = ["t.zone:1:38: the record has no TTL"];
    check_errors_of(&config("example", None), text, &expected);
}

#[test]
fn data_of_many_types() {
    check_rdata("A 192.0.2.1", 1, &[192, 0, 2, 1]);
    check_rdata("NS @", 2, b"\x07example\0");
    check_rdata("NS Ns.@", 2, b"\x02Ns\x01@\x07example\0");
    check_rdata("NS .", 2, b"\0");
    check_rdata(r"NS a\.b", 2, b"\x03a.b\x07example\0");
    check_rdata("CNAME X.y.", 5, b"\x01X\x01y\0");
    check_rdata("MX 10 @", 15, b"\0\x0a\x07example\0");
    check_rdata("DNAME y", 39, b"\x01y\x07example\0");
    check_rdata("SRV 1 2 3 a", 33, b"\0\x01\0\x02\0\x03\x01a\x07example\0");
    check_rdata("HTTPS 1 . alpn=h2", 65, b"\0\x01\0\0\x01\0\x03\x02h2");
    check_rdata("HTTPS 0 svc", 65, b"\0\0\x03svc\x07example\0");
    check_rdata(
        "SVCB 1 svc port=\"53\"",
        64,
        b"\0\x01\x03svc\x07example\0\0\x03\0\x02\0\x35",
    );
    check_rdata("TXT @", 16, b"\x01@");
    check_rdata(
        r#"TXT "a\"b" \"c "" d\032e"#,
        16,
        b"\x03a\"b\x02\"c\0\x03d e",
    );
    check_rdata("TXT \"\u{e9}\"", 16, b"\x02\xC3\xA9");
    check_rdata("TXT \"a\nb\" c", 16, b"\x03a\nb\x01c");
    check_rdata(r#"TXT "a""b""#, 16, b"\x01a\x01b");
    check_rdata(r#"TXT "; no (comment""#, 16, b"\x0d; no (comment");
    check_rdata(r"TXT \200", 16, b"\x01\xC8");
    check_rdata(r#"CAA 0 issue "ca.test""#, 257, b"\0\x05issueca.test");
    check_rdata(
        r#"URI 10 1 "https://x.test/\"""#,
        256,
        b"\0\x0a\0\x01https://x.test/\"",
    );
    check_rdata("SMIMEA 3 0 0 AB", 53, b"\x03\0\0\xAB");
    check_rdata("KX 5 a", 36, b"\0\x05\x01a\x07example\0");
    check_rdata("SPF \"v=spf1\"", 99, b"\x06v=spf1");
    check_rdata("RP a b", 17, b"\x01a\x07example\0\x01b\x07example\0");
    check_rdata("PTR a", 12, b"\x01a\x07example\0");
    check_rdata("HINFO a b", 13, b"\x01a\x01b");
    check_rdata("SSHFP 1 1 AABB CC", 44, b"\x01\x01\xAA\xBB\xCC");
    check_rdata(
        r#"NAPTR 1 2 "u" "x" "!a!b!" @"#,
        35,
        b"\0\x01\0\x02\x01u\x01x\x05!a!b!\x07example\0",
    );
}

/// RFC 9460, appendix D.
#[test]
fn rfc_9460_d_service_bindings() {
    let foo = |priority: u8, target: &[u8], params: &[u8]| {
        [&[0, priority, 3], &b"foo"[..], target, params].concat()
    };
    let com = b"\x07example\x03com\0";
    let check = |data: &str, code, expected: &[u8]| check_rdata(data, code, expected);
    check("HTTPS 0 foo.example.com.", 65, &foo(0, com, b""));
    check("SVCB 1 .", 64, b"\0\x01\0");
    check(
        "SVCB 16 foo.example.com. port=53",
        64,
        &foo(16, com, b"\0\x03\0\x02\0\x35"),
    );
    let expected = foo(1, com, b"\x02\x9b\0\x05hello");
    check("SVCB 1 foo.example.com. key667=hello", 64, &expected);
    let expected = foo(1, com, b"\x02\x9b\0\x09hello\xd2qoo");
    check(
        r#"SVCB 1 foo.example.com. key667="hello\210qoo""#,
        64,
        &expected,
    );
    let expected = foo(
        16,
        b"\x07example\x03org\0",
        b"\0\0\0\x04\0\x01\0\x04\0\x01\0\x09\x02h2\x05h3-19\0\x04\0\x04\xc0\0\x02\x01",
    );
    check(
        "SVCB 16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn\n ipv4hint=192.0.2.1 )",
        64,
        &expected,
    );
    for bad in [
        "key123=abc key123=def",
        "mandatory",
        "alpn",
        "port",
        "ipv4hint",
        "ipv6hint",
        "no-default-alpn=abc",
        "mandatory=key123",
        "mandatory=mandatory",
        "mandatory=key123,key123 key123=abc",
        // RFC 9460 §7.1.1 lets a reader refuse these.
        r#"alpn="f\\\\oo\\,bar,h2""#,
    ] {
        check_errors(&format!("x 1 SVCB 1 foo {bad}"), &["t.zone:3:"]);
    }
}

#[test]
fn rfc_3597_5_unknown_types() {
    check_rdata(r"TYPE65280 \# 3 ab cd EF", 65_280, b"\xab\xcd\xef");
    check_rdata(r"TYPE65280 \# 0", 65_280, b"");
    check_rdata(r"TYPE256 \# 5 000A 0001 78", 256, b"\0\x0a\0\x01x");
    check_rdata(r"A \# 4 C0000201", 1, &[192, 0, 2, 1]);
    check_rdata(r"TYPE1 192.0.2.1", 1, &[192, 0, 2, 1]);
    check_rdata(r"TYPE2 \# 3 016100", 2, b"\x01a\0");
    check_errors(
        r"x 1 A \# 3 C00002",
        &["t.zone:3:12: bad A data: the bytes are not"],
    );
    check_errors(
        r"x 1 NS \# 2 C000",
        &["t.zone:3:13: bad NS data: the bytes are not"],
    );
    check_errors(r"x 1 TYPE65280 \# 3 abcd", &["t.zone:3:"]);
    check_errors(
        r"x 1 TYPE65280 \# 1 xy",
        &["t.zone:3:20: bad TYPE65280 data"],
    );
    check_errors(
        r"x 1 TYPE65280 abcd",
        &["t.zone:3:15: bad TYPE65280 data: only its RFC 3597 form"],
    );
    check_errors(
        "x 1 LOC 1 2 3",
        &["t.zone:3:9: bad LOC data: only its RFC 3597 form"],
    );
}

/// What hickory does not know, or changes, is sent as the bytes that it is.
#[test]
fn what_hickory_knows_is_typed() {
    let is_unknown = |record: &str| {
        let text = plain_text(&format!("x 60 IN {record}\n"));
        let (zone, _) = load(&config("example", None), &text);
        let node = node(&zone.lookup(&lower("x.example.")));
        let set = node.rrsets().next().unwrap();
        matches!(set.rdata[0], RData::Unknown { .. })
    };
    for known in [
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "NS Ns",
        "CNAME X",
        "MX 10 X",
        "TXT a",
        "PTR a",
        "SRV 1 2 3 X",
        "HTTPS 1 .",
    ] {
        assert!(!is_unknown(known), "{known}");
    }
    for unknown in ["URI 1 1 \"x\"", "DNAME x", r"TYPE65280 \# 0"] {
        assert!(is_unknown(unknown), "{unknown}");
    }
}

#[test]
fn errors_of_syntax_have_their_place() {
    check_errors("www\n", &["t.zone:3:1: the record has no type"]);
    check_errors("www 60\n", &["t.zone:3:5: the record has no type"]);
    check_errors("www 60 IN", &["t.zone:3:8: the record has no type"]);
    check_errors(
        "www 60 IN A",
        &["t.zone:3:11: bad A data: a field is missing"],
    );
    check_errors("www 60 IN A 192.0.2", &["t.zone:3:13: bad A data"]);
    check_errors(
        "www 60 IN A 192.0.2.1 x",
        &["t.zone:3:23: bad A data: there is something left"],
    );
    check_errors(
        "\n\nwww 60 IN AA 192.0.2.1",
        &["t.zone:5:11: \"AA\" is not a record type"],
    );
    check_errors(
        "www 60 CH A 192.0.2.1",
        &["t.zone:3:8: the class CH is not served"],
    );
    check_errors(
        "www 60 CLASS3 A 192.0.2.1",
        &["t.zone:3:8: the class CLASS3 is"],
    );
    check_errors(
        "www 60 60 A 192.0.2.1",
        &["t.zone:3:8: the record has two TTLs"],
    );
    check_errors(
        "www IN IN A 192.0.2.1",
        &["t.zone:3:8: the record has two classes"],
    );
    check_errors(
        "www 60x A 192.0.2.1",
        &["t.zone:3:5: \"60x\" is not a time"],
    );
    check_errors(
        "www 2147483648 A 192.0.2.1",
        &["t.zone:3:5: the TTL 2147483648 is more"],
    );
    check_errors(
        "$TTL 2147483648",
        &["t.zone:3:6: the TTL 2147483648 is more"],
    );
    check_errors("$TTL", &["t.zone:3:1: $TTL needs a time"]);
    check_errors(
        "$ORIGIN a b",
        &["t.zone:3:11: \"b\" is left behind the directive"],
    );
    check_errors(
        "$ORIGIN a..b",
        &["t.zone:3:9: \"a..b\" is not a name: it has an empty"],
    );
    check_errors(
        "$GENERATE 1-9 a$ A 192.0.2.$",
        &["t.zone:3:1: the directive $GENERATE is not"],
    );
    check_errors("$FOO", &["t.zone:3:1: the directive $FOO is not supported"]);
    check_errors(
        "a..b 60 A 192.0.2.1",
        &["t.zone:3:1: \"a..b\" is not a name: it has an empty"],
    );
    check_errors(
        "x 60 NS a..b",
        &["t.zone:3:9: \"a..b\" is not a name: it has an empty"],
    );
    let long = "a".repeat(64);
    check_errors(&format!("{long} 60 A 192.0.2.1"), &["t.zone:3:1: \"aaaa"]);
    check_errors(&format!("x 60 MX 1 {long}"), &["t.zone:3:11: \"aaaa"]);
    let long = "a".repeat(256);
    check_errors(
        &format!("x 60 TXT {long}"),
        &["t.zone:3:10: bad TXT data: a string has more"],
    );
    check_errors(
        &format!("x 60 TXT \"{long}\""),
        &["t.zone:3:10: bad TXT data: a string has more"],
    );
    check_errors(
        "x 60 TXT (a\nb\nc",
        &["t.zone:3:10: the parenthesis that opens here"],
    );
    check_errors(
        "x 60 TXT a)\nb\n",
        &[
            "t.zone:3:11: there is no \"(\"",
            "t.zone:4:1: the record has no",
        ],
    );
    check_errors(
        "x 60 TXT \"a\nb\nc",
        &["t.zone:3:10: the quote that opens here"],
    );
    check_errors(
        "x 60 TXT a\u{e9}",
        &["t.zone:3:11: the byte 0xC3 can stand only in quotes"],
    );
    check_errors("x 60 TXT \"\\256\"", &["t.zone:3:10: after a backslash"]);
    check_errors(
        "x 60 URI 1 \"a\"",
        &["t.zone:3:12: bad URI data: it has three fields"],
    );
    check_errors(
        "x 60 URI 1 2 a",
        &["t.zone:3:14: bad URI data: the target stands in quotes"],
    );
    check_errors(
        "x 60 URI 1 65536 \"a\"",
        &["t.zone:3:12: bad URI data: priority and weight"],
    );
    check_errors(
        "x 60 URI 1 2 \"\"",
        &["t.zone:3:14: bad URI data: the target is empty"],
    );
}

#[test]
fn lines_are_true_behind_parentheses_and_strings() {
    check_errors(
        "a 60 TXT ( \"x\ny\" ; (\n\n z )\nb 60 A 192.0.2\n",
        &["t.zone:7:8: bad A data"],
    );
    // The mistake is within the parentheses.
    check_errors(
        "a 60 SRV ( 1\n 2 ; weight\n x ; port\n b )\n",
        &["t.zone:5:2: bad SRV data"],
    );
    check_errors(
        "a 60 TXT ( \"x\ny\" \"z\n\" \\999 )\n",
        &["t.zone:5:3: after a backslash"],
    );
    check_errors(
        "a 60 MX ( 1\n b..c )\n",
        &["t.zone:4:2: \"b..c\" is not a name"],
    );
    check_errors(
        "a 60 MX ( 1\n b c )\n",
        &["t.zone:4:4: bad MX data: there is something left"],
    );
    // `domain` has gone on to the next field when it finds these.
    check_errors(
        &format!("a 60 HINFO (\n {}\n b )\n", "x".repeat(256)),
        &["t.zone:4:2: bad HINFO data: a string has more"],
    );
    check_errors(
        "a 60 SVCB ( 1 .\n foo=1\n alpn=h2 )\n",
        &["t.zone:4:2: bad SVCB data"],
    );
    // A semantic error names the line where the record begins.
    check_errors(
        "a 60 A 192.0.2.1\nother.test. 60 TXT (\n\n a )\n",
        &["t.zone:4: other.test. is"],
    );
}

#[test]
fn every_mistake_is_reported() {
    check_errors(
        "a 60 A 1\nb 60 A 192.0.2.1\nc 60 A 2\n$FOO\nd\n",
        &[
            "t.zone:3:8: ",
            "t.zone:5:8: ",
            "t.zone:6:1: ",
            "t.zone:7:1: ",
        ],
    );
    let text = "x\n".repeat(1_000);
    let error = Zone::parse(&config("example", None), &text).unwrap_err();
    assert_eq!(error.errors.len(), MAX_DIAGNOSTICS);
}

#[test]
fn an_indented_line_needs_an_owner() {
    let text = " 60 IN SOA ns.test. host.test. 1 2 3 4 5\n";
    let expected = ["t.zone:1:2: the line begins with a blank"];
    check_errors_of(&config("example", None), text, &expected);
}

// ---------------------------------------------------------------- the zone as a whole

#[test]
fn rfc_1035_5_2_soa_and_ns() {
    let zone = config("example", None);
    check_errors_of(
        &zone,
        "",
        &[
            "t.zone: the zone example has no SOA",
            "t.zone: the zone example has no NS",
        ],
    );
    check_errors_of(
        &zone,
        "@ 1 SOA a b 1 2 3 4 5\n",
        &["t.zone: the zone example has no NS"],
    );
    check_errors_of(
        &zone,
        "@ 1 NS a.test.\n",
        &["t.zone: the zone example has no SOA"],
    );
    check_errors(
        "x 1 SOA a b 1 2 3 4 5\n",
        &["t.zone:3: x.example. has an SOA record"],
    );
    check_errors(
        "@ 1 SOA a b 1 2 3 4 5\n",
        &["t.zone:3: the zone has another SOA"],
    );
    check_errors(
        "www.test. 1 A 192.0.2.1\n",
        &["t.zone:3: www.test. is outside"],
    );
    check_errors(
        "$ORIGIN .\nxexample 1 A 192.0.2.1\n",
        &["t.zone:4: xexample. is outside"],
    );
}

#[test]
fn all_errors_of_the_zone_are_reported() {
    check_errors(
        "a.test. 1 A 192.0.2.1\nx 1 SOA a b 1 2 3 4 5\ny 1 CNAME a\ny 1 A 192.0.2.1\nz 1 NSEC a A\n",
        &["t.zone:3: ", "t.zone:4: ", "t.zone:6: ", "t.zone:7:5: "],
    );
}

#[test]
fn rfc_2181_10_1_cname_stands_alone() {
    check_errors(
        "x 1 CNAME a\nx 1 A 192.0.2.1\n",
        &["t.zone:4: x.example. has a CNAME and also A"],
    );
    check_errors(
        "x 1 A 192.0.2.1\nx 1 CNAME a\n",
        &["t.zone:4: x.example. has a CNAME and also A"],
    );
    check_errors(
        "X 1 CNAME a\nx 1 CNAME b\n",
        &["t.zone:4: X.example. has a second CNAME"],
    );
    check_errors(
        "x 1 CNAME a\nx 1 DNAME b\n",
        &["t.zone:4: x.example. has a CNAME and also DNAME"],
    );
    check_errors(
        "x 1 CNAME a\nx 1 NS b.test.\n",
        &["t.zone:4: x.example. has a CNAME and also NS"],
    );
    check_errors(
        "@ 1 CNAME a\n",
        &[
            "t.zone:3: example. has a CNAME and also ",
            "t.zone:3: example. has a CNAME and also ",
        ],
    );
}

#[test]
fn rfc_6672_2_4_dname_stands_above_nothing() {
    check_errors(
        "d 1 DNAME a\nd 1 DNAME b\n",
        &["t.zone:4: d.example. has a second DNAME"],
    );
    check_errors(
        "x.y.d 1 A 192.0.2.1\nd 1 DNAME a\n",
        &["t.zone:3: x.y.d.example. is below the DNAME of d.example."],
    );
    check_errors(
        "@ 1 DNAME a.test.\nx 1 A 192.0.2.1\n",
        &["t.zone:4: x.example. is below the DNAME of example."],
    );
}

#[test]
fn rfc_4592_4_wildcards_without_meaning() {
    check_errors(
        "*.x 1 NS a.test.\n",
        &["t.zone:3: the wildcard *.x.example. cannot have NS"],
    );
    check_errors(
        "* 1 DNAME a.test.\n",
        &["t.zone:3: the wildcard *.example. cannot have DNAME"],
    );
}

#[test]
fn types_that_cannot_stand_in_a_file() {
    for meta in [
        "OPT",
        "ANY",
        "AXFR",
        "IXFR",
        "TSIG",
        "TKEY",
        "NULL",
        "TYPE0",
        "TYPE200",
        "TYPE65535",
    ] {
        let text = format!(r"x 1 {meta} \# 0");
        let (rtype, _) = (meta, ());
        let error = Zone::parse(&config("example", None), &plain_text(&text)).unwrap_err();
        assert!(
            error.to_string().starts_with("t.zone:3:5: "),
            "{rtype}: {error}"
        );
        assert!(
            error.to_string().contains("is for queries"),
            "{rtype}: {error}"
        );
    }
    for signing in ["RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "TYPE46"] {
        let error = Zone::parse(
            &config("example", None),
            &plain_text(&format!("x 1 {signing} a")),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("t.zone:3:5: "), "{error}");
        assert!(error.contains("is made by the server"), "{error}");
    }
}

#[test]
fn an_rrset_fits_a_message() {
    let text: String = (0..260)
        .map(|i| format!("x 1 TXT \"{i:04}{}\"\n", "a".repeat(245)))
        .collect();
    check_errors(
        &text,
        &["t.zone:3: the TXT records of x.example. have 68120 bytes"],
    );
}

#[test]
fn warnings_name_their_record() {
    check_warnings(
        "x 60 A 192.0.2.1\nx 30 A 192.0.2.2\nX 60 A 192.0.2.1\n",
        &[
            "t.zone:4: the TTL 30 is not that of the other A records of x.example.; they all get 30",
            "t.zone:5: x.example. has this A record already",
        ],
    );
    check_warnings(
        "x 60 MX 1 A.test.\nx 60 MX 1 a.TEST.\n",
        &["t.zone:4: x.example. has this MX record already"],
    );
    check_warnings(
        "@ 3600 SOA ns.test. host.test. 1 2 3 4 60\n",
        &["t.zone:3: example. has this SOA record already"],
    );
    check_warnings(
        "@ 3600 NS ns1\n",
        &["t.zone:3: the name server ns1.example. is in this zone, but"],
    );
    check_warnings(
        "sub 60 NS ns.sub\n",
        &["t.zone:3: the name server ns.sub.example. is in this zone, but"],
    );
    check_warnings(
        "@ 3600 NS ns1\nns1 60 CNAME ns.test.\n",
        &["t.zone:3: the name server ns1.example."],
    );
    // Addresses by a wildcard, and a name that another delegation knows.
    check_warnings("@ 3600 NS ns1\n* 60 A 192.0.2.1\n", &[]);
    check_warnings("sub 60 NS ns.low\nlow 60 NS ns.test.\n", &[]);
}

#[test]
fn the_lowest_ttl_is_used() {
    let text = plain_text("x 60 A 192.0.2.1\nx 30 A 192.0.2.2\nx 90 A 192.0.2.2\n");
    let (zone, _) = load(&config("example", None), &text);
    let node = node(&zone.lookup(&lower("x.example.")));
    let set = node.rrset(RecordType::A).unwrap();
    assert_eq!((set.ttl, set.rdata.len()), (30, 2));
}

#[test]
fn what_the_redirect_host_cannot_have() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let text = plain_text(&format!("*.r 1 A 192.0.2.1\n{text}"));
        check_errors_of(&config("example", Some("r")), &text, expected);
    }
    check(
        "*.r 1 CNAME x.test.\n",
        &[
            "t.zone:4: *.r.example. has a CNAME and also A",
            "t.zone:4: *.r.example. cannot have CNAME: it would hide",
        ],
    );
    check(
        "*.r 1 TXT a\n",
        &["t.zone:4: *.r.example. cannot have TXT: it is the link's own"],
    );
    check(
        "*.r 1 URI 1 1 \"a\"\n",
        &["t.zone:4: *.r.example. cannot have URI: it is the link's own"],
    );
    check(
        "*.r 1 NS x.test.\n",
        &[
            "t.zone:4: the wildcard *.r.example. cannot have NS",
            "t.zone:4: *.r.example. cannot have NS: it would give",
        ],
    );
    check(
        "r 1 CNAME x.test.\n",
        &["t.zone:4: r.example. cannot have CNAME: the links"],
    );
    check(
        "r 1 NS x.test.\n",
        &["t.zone:4: r.example. cannot have NS: the links"],
    );
    let below = "t.zone:3: *.r.example. is below the DNAME";
    check(
        "r 1 DNAME x.test.\n",
        &[below, "t.zone:4: r.example. cannot have DNAME: the links"],
    );
    let below = "t.zone:3: *.r.example. is below the DNAME";
    check(
        "@ 1 DNAME x.test.\n",
        &[below, "t.zone:4: example. cannot have DNAME: the links"],
    );

    let text = plain_text("*.r 1 CAA 0 issue \"x\"\n");
    let expected = ["t.zone:3: *.r.example. has neither A, AAAA nor HTTPS"];
    check_warnings_of(&config("example", Some("r")), &text, &expected);
    check_warnings_of(
        &config("example", Some("r")),
        &plain_text("*.r 1 HTTPS 1 x.test.\n"),
        &[],
    );
}

#[test]
fn what_a_redirect_host_cannot_be() {
    #[track_caller]
    fn check(origin: &str, redirect_host: &str, expected: &str) {
        let config = config(origin, Some(redirect_host));
        check_errors_of(&config, &plain_text(""), &[expected]);
    }
    check(
        "example",
        "R",
        "t.zone: redirect_host \"R\" is not one label in lower case",
    );
    check(
        "example",
        "a.b",
        "t.zone: redirect_host \"a.b\" is not a host's label",
    );
    check(
        "example",
        "",
        "t.zone: redirect_host \"\" is not a host's label",
    );
    // An origin can have 189 characters, 191 bytes on the wire: with a code no label fits.
    let long = format!("{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(61));
    check(&long, "r", &format!("t.zone: r.{long} leaves no room"));
    // On the wire 64 bytes of code, 2 of `r` and an origin of two more than its characters.
    let config = config(&long[2..], Some("r"));
    let (zone, _) = load(&config, &plain_text("*.r 1 A 192.0.2.1\n"));
    let longest = zone.target_name(&"x".repeat(63)).unwrap();
    let wire = WireName::from_labels(longest.iter()).unwrap();
    assert_eq!(wire.as_bytes().len(), 255);
    check(
        &long[1..],
        "r",
        &format!("t.zone: r.{} leaves no room", &long[1..]),
    );
}

#[test]
fn the_default_zone_is_without_fault() {
    let text = include_str!("../../zones/s.example.com.zone");
    let (zone, warnings) = load(&config("s.example.com", Some("r")), text);
    assert_eq!(warnings, [""; 0]);
    let template = zone.link_template().unwrap();
    assert_eq!(types(template), "A AAAA");
    assert_eq!(template.rrset(RecordType::A).unwrap().ttl, 300);
    check_lookup(&zone, "s.example.com.", "exact A NS SOA AAAA");
    check_lookup(&zone, "ns1.s.example.com.", "exact A AAAA");
    check_lookup(&zone, "gh7k2m9x.s.example.com.", "link gh7k2m9x Short");
    assert_eq!(zone.negative_soa().ttl, 60);
}

// ---------------------------------------------------------------- files

/// Writes files into a directory of their own.
fn files(all: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in all {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn file_config(directory: &Path, origin: &str, file: &str, links: bool) -> ZoneConfig {
    ZoneConfig {
        file: directory.join(file),
        ..config(origin, links.then_some("r"))
    }
}

/// All errors of the zone in `z.zone`, without the directory.
#[track_caller]
fn check_file_errors(all: &[(&str, &[u8])], expected: &[&str]) {
    let directory = files(all);
    let config = file_config(directory.path(), "example", "z.zone", false);
    let error = Zone::load(&config).map(|_| ()).unwrap_err().to_string();
    let prefix = format!("{}/", directory.path().display());
    let lines: Vec<_> = error
        .lines()
        .map(|line| line.replace(&prefix, ""))
        .collect();
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

const HEAD: &str = "@ 1 IN SOA ns.test. h.test. 1 2 3 4 5\n@ 1 IN NS ns.test.\n";

#[test]
fn rfc_1035_5_1_include() {
    let root = format!(
        "{HEAD}$TTL 9\n$INCLUDE inc/a.inc sub\nb A 192.0.2.1\n A 192.0.2.2\n$INCLUDE \"inc/c d.inc\"\n"
    );
    let directory = files(&[
        ("z.zone", root.as_bytes()),
        (
            "inc/a.inc",
            b"@ A 192.0.2.3\n$ORIGIN leak\n$TTL 100\n$INCLUDE b.inc\nd 5 A 192.0.2.6",
        ),
        ("inc/b.inc", b"c A 192.0.2.4\n"),
        ("inc/c d.inc", b"e A 192.0.2.5\n"),
    ]);
    let config = file_config(directory.path(), "example", "z.zone", false);
    let (zone, warnings) = Zone::load(&config).unwrap();
    assert_eq!(warnings, []);
    let ttl = |name: &str| match zone.lookup(&lower(name)) {
        Lookup::Exact(node) => node
            .rrset(RecordType::A)
            .map(|set| (set.ttl, set.rdata.len())),
        _ => None,
    };
    assert_eq!(ttl("sub.example."), Some((9, 1)));
    assert_eq!(ttl("c.leak.sub.example."), Some((100, 1)));
    assert_eq!(ttl("d.leak.sub.example."), Some((5, 1)));
    assert_eq!(ttl("b.example."), Some((9, 2)));
    assert_eq!(ttl("e.example."), Some((9, 1)));
}

#[test]
fn errors_name_the_included_file() {
    let root = format!("{HEAD}$INCLUDE a.inc\nx.test. 1 A 192.0.2.1\n");
    check_file_errors(
        &[("z.zone", root.as_bytes()), ("a.inc", b"\n\nx 1 A 1\n")],
        &["a.inc:3:7: bad A data"],
    );
    check_file_errors(
        &[
            ("z.zone", root.as_bytes()),
            ("a.inc", b"\ny.test. 1 A 192.0.2.1\n"),
        ],
        &[
            "a.inc:2: y.test. is outside",
            "z.zone:4: x.test. is outside",
        ],
    );
    check_file_errors(
        &[("z.zone", root.as_bytes()), ("a.inc", b" 1 A 192.0.2.1\n")],
        &["a.inc:1:2: the line begins with a blank"],
    );
}

#[test]
fn includes_that_lead_nowhere() {
    let root = |path: &str| format!("{HEAD}$INCLUDE {path}\n").into_bytes();
    check_file_errors(
        &[("z.zone", &root("no"))],
        &["z.zone:3:10: the included file no cannot be read"],
    );
    check_file_errors(
        &[("z.zone", &root("."))],
        &["z.zone:3:10: the included file . cannot be read: this is not a regular"],
    );
    check_file_errors(
        &[("z.zone", &root("./z.zone"))],
        &["z.zone:3:10: ./z.zone includes itself"],
    );
    check_file_errors(
        &[
            ("z.zone", &root("a")),
            ("a", b"$INCLUDE b"),
            ("b", b"\n$INCLUDE a"),
        ],
        &["b:2:10: a includes itself"],
    );
    check_file_errors(
        &[("z.zone", &root(""))],
        &["z.zone:3:1: $INCLUDE needs a file name"],
    );
    check_file_errors(
        &[("z.zone", &root("a b c"))],
        &["z.zone:3:12: \"b\" is left behind"],
    );
    let chain: Vec<_> = (0..10)
        .map(|i| (i.to_string(), format!("$INCLUDE {}", i + 1)))
        .collect();
    let mut all: Vec<(&str, &[u8])> = chain
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_bytes()))
        .collect();
    let first = root("0");
    all.push(("z.zone", &first));
    check_file_errors(&all, &["7:1:10: more than 8 files include one another"]);
}

#[test]
fn files_that_are_no_zone() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_config(directory.path(), "example", "none.zone", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(
        error.contains("none.zone: the file cannot be read: No such file"),
        "{error}"
    );
    let config = file_config(directory.path(), "example", ".", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(error.ends_with("this is not a regular file"), "{error}");

    let mut binary = HEAD.as_bytes().to_vec();
    binary.extend_from_slice(b"\x7fELF\x02\x01\x01\0");
    check_file_errors(
        &[("z.zone", &binary)],
        &["z.zone:3:1: the byte 0x7F can stand only in quotes"],
    );
    // Latin-1 in a comment harms nobody.
    let mut latin = HEAD.as_bytes().to_vec();
    latin.extend_from_slice(b"; caf\xE9\nx 1 A 1");
    check_file_errors(&[("z.zone", &latin)], &["z.zone:4:7: bad A data"]);
}

#[test]
fn a_zone_of_too_many_bytes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("z.zone")).unwrap();
    // Sparse: it takes no room on the disk.
    file.set_len(64 * 1024 * 1024 + 1).unwrap();
    let config = file_config(directory.path(), "example", "z.zone", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(
        error.ends_with("the zone's files have more than 67108864 bytes together"),
        "{error}"
    );
}

// ---------------------------------------------------------------- many zones

const LINKS: &str = "*.r 1 A 192.0.2.1\nwww 1 A 192.0.2.1\na.ent 1 A 192.0.2.1\n\
    sub 1 NS ns.test.\nheld.r 1 A 192.0.2.1\na.b.r 1 A 192.0.2.1\n* 1 TXT a\n";

/// Two zones with links, one of them below the other, and one without.
fn zone_set() -> (tempfile::TempDir, ZoneSet) {
    let links = format!("{HEAD}{LINKS}");
    let directory = files(&[
        ("links", links.as_bytes()),
        ("child", format!("{HEAD}*.r 1 A 192.0.2.1\n").as_bytes()),
        ("plain", HEAD.as_bytes()),
    ]);
    let configs = vec![
        file_config(directory.path(), "plain.test", "plain", false),
        file_config(directory.path(), "example", "links", true),
        file_config(directory.path(), "child.example", "child", true),
    ];
    let (set, warnings) = ZoneSet::load(configs).unwrap();
    assert_eq!(warnings, []);
    (directory, set)
}

#[test]
fn the_deepest_zone_has_the_name() {
    let (_directory, set) = zone_set();
    let zones = set.current();
    let found = |name: &str| {
        zones
            .find(&lower(name))
            .map(|zone| zone.origin().to_string())
    };
    assert_eq!(found("example."), Some("example.".into()));
    assert_eq!(found("a.b.EXAMPLE."), Some("example.".into()));
    assert_eq!(found("child.example."), Some("child.example.".into()));
    assert_eq!(found("x.child.example."), Some("child.example.".into()));
    assert_eq!(found("xchild.example."), Some("example.".into()));
    assert_eq!(found("a.plain.test."), Some("plain.test.".into()));
    assert_eq!(found("test."), None);
    assert_eq!(found("."), None);
    let origins: Vec<_> = zones.iter().map(|zone| zone.origin().to_string()).collect();
    assert_eq!(origins, ["plain.test.", "example.", "child.example."]);
}

#[test]
fn origins_are_those_with_links() {
    let (_directory, set) = zone_set();
    let origins: Vec<_> = set.origins().iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["example", "child.example"]);
}

#[test]
fn static_names_are_reserved() {
    let (_directory, set) = zone_set();
    let reserved = |name: &str| set.is_reserved(&LinkName::parse(name).unwrap());
    for name in [
        "www.example",
        "ent.example",
        "sub.example",
        "r.example",
        // They would be taken at the link's other name.
        "held.example",
        "b.example",
        // Another zone has it.
        "child.example",
    ] {
        assert!(reserved(name), "{name}");
    }
    for name in [
        "gh7k2m9x.example",
        "a.example",
        "www.child.example",
        "abc.plain.test",
        "abc.foreign.test",
    ] {
        assert!(!reserved(name), "{name}");
    }
}

#[test]
fn hosts_are_classified() {
    let (_directory, set) = zone_set();
    #[track_caller]
    fn check(set: &ZoneSet, host: &str, expected: Host) {
        assert_eq!(set.classify_host(host), expected, "{host}");
    }
    let link = |name: &str| Host::Link(LinkName::parse(name).unwrap());
    let origin = |name: &str| Host::Origin(Origin::parse(name).unwrap());
    check(&set, "gh7k2m9x.example", link("gh7k2m9x.example"));
    check(&set, "GH7K2M9X.Example.", link("gh7k2m9x.example"));
    check(&set, "gh7k2m9x.r.example", link("gh7k2m9x.example"));
    check(&set, "abc.child.example", link("abc.child.example"));
    check(&set, "abc.r.child.example", link("abc.child.example"));
    check(&set, "example", origin("example"));
    check(&set, "Child.Example.", origin("child.example"));
    for inside in [
        "r.example",
        "www.example",
        "ent.example",
        "sub.example",
        "x.sub.example",
        "a.b.c.example",
        "x.gh7k2m9x.example",
        "x.gh7k2m9x.r.example",
        "_x.example",
        "held.r.example",
        "b.r.example",
        "plain.test",
        "abc.plain.test",
        "*.example",
    ] {
        check(&set, inside, Host::Inside);
    }
    for foreign in [
        "",
        ".",
        "test",
        "example.test",
        "xexample",
        "example..",
        ".example",
        "a..example",
        "\u{e9}.example",
        "192.0.2.1",
        "example:80",
    ] {
        check(&set, foreign, Host::Foreign);
    }
    check(&set, &format!("{}.example", "a".repeat(64)), Host::Foreign);
}

#[test]
fn a_reload_takes_all_zones_or_none() {
    let (directory, set) = zone_set();
    let abc = LinkName::parse("abc.example").unwrap();
    assert!(!set.is_reserved(&abc));
    let write = |file: &str, text: &str| {
        fs::write(directory.path().join(file), format!("{HEAD}{text}")).unwrap();
    };
    // One file is better, another worse: all stays as it was.
    write("links", &format!("{LINKS}abc 1 A 192.0.2.1\n"));
    write("plain", "\nx 1 A 1\n");
    let held = set.current();
    let error = set.reload().unwrap_err().to_string();
    assert!(
        error.ends_with("plain:4:7: bad A data: ") || error.contains("plain:4:7: bad A data"),
        "{error}"
    );
    assert!(!set.is_reserved(&abc));
    // With the second mended, both are taken, and who looks at the old ones still does.
    write("plain", "x 1 A 192.0.2.1\nx 2 A 192.0.2.2\n");
    let warnings = set.reload().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(set.is_reserved(&abc));
    let zone = |zones: &Zones| {
        show(
            &zones
                .find(&lower("x.plain.test."))
                .unwrap()
                .lookup(&lower("x.plain.test.")),
        )
    };
    assert_eq!(zone(&held), "no name");
    assert_eq!(zone(&set.current()), "exact A");
    // A file that is gone.
    fs::remove_file(directory.path().join("child")).unwrap();
    assert!(
        set.reload()
            .unwrap_err()
            .to_string()
            .contains("child: the file cannot be read")
    );
    assert!(set.is_reserved(&abc));
}

#[test]
fn errors_of_all_zones_are_reported() {
    let directory = files(&[("a", b"x"), ("b", b"y")]);
    let configs = vec![
        file_config(directory.path(), "a.test", "a", false),
        file_config(directory.path(), "b.test", "b", false),
        file_config(directory.path(), "A.test", "b", false),
    ];
    let error = ZoneSet::load(configs).unwrap_err();
    let lines: Vec<_> = error.errors.iter().map(|e| e.problem.to_string()).collect();
    assert_eq!(
        lines,
        [
            "the record has no type",
            "the record has no type",
            "there is another zone a.test"
        ]
    );
}

// ---------------------------------------------------------------- anything at all

/// Text that looks like a master file, more or less.
fn almost_a_zone() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "@",
        ".",
        "a",
        "*",
        "*.r",
        "r",
        "sub",
        "a..b",
        "x.example.",
        "y.test.",
        "IN",
        "CH",
        "60",
        "1h",
        "0",
        "1",
        "255",
        "65535",
        "99999999999",
        "A",
        "AAAA",
        "NS",
        "SOA",
        "CNAME",
        "DNAME",
        "MX",
        "TXT",
        "SRV",
        "HTTPS",
        "SVCB",
        "CAA",
        "NAPTR",
        "IPSECKEY",
        "DS",
        "DNSKEY",
        "CDS",
        "TLSA",
        "SSHFP",
        "URI",
        "RP",
        "HINFO",
        "OPENPGPKEY",
        "ZONEMD",
        "TYPE1",
        "TYPE16",
        "TYPE65280",
        "\\#",
        "192.0.2.1",
        "2001:db8::1",
        "abcd",
        "AQIDBA==",
        "\"q\"",
        "\"\"",
        "\"",
        "\\\"",
        "\\",
        "\\255",
        "\\999",
        "\\1",
        "alpn=h2",
        "alpn=\"h2,h3\"",
        "key65=\"a b\"",
        "mandatory=alpn",
        "ipv4hint=192.0.2.1",
        "ech=AQID",
        "port=",
        "=",
        "key",
        "issue",
        "$TTL",
        "$ORIGIN",
        "$INCLUDE",
        "$GENERATE",
        "é",
        "\u{0}",
        "#",
    ]);
    let blank = prop::sample::select(vec![
        " ", " ", " ", "\t", "\n", "\n", "\r\n", "(", ")", ";", "", "\r",
    ]);
    prop::collection::vec((word, blank), 0..60).prop_map(|words| {
        let text: String = words
            .into_iter()
            .flat_map(|(word, blank)| [word, blank])
            .collect();
        format!("{HEAD}{text}")
    })
}

/// One record that looks right, more or less.
fn almost_a_record() -> impl Strategy<Value = String> {
    let rtype = prop::sample::select(vec![
        "A",
        "AAAA",
        "NS",
        "SOA",
        "CNAME",
        "DNAME",
        "MX",
        "TXT",
        "SRV",
        "HTTPS",
        "SVCB",
        "CAA",
        "NAPTR",
        "MB",
        "IPSECKEY",
        "DS",
        "DNSKEY",
        "CDS",
        "CDNSKEY",
        "TLSA",
        "SMIMEA",
        "SSHFP",
        "URI",
        "RP",
        "HINFO",
        "MINFO",
        "OPENPGPKEY",
        "ZONEMD",
        "TYPE1",
        "TYPE2",
        "TYPE6",
        "TYPE16",
        "TYPE64",
        "TYPE65",
        "TYPE257",
        "TYPE65280",
    ]);
    let field = prop_oneof![
        "[ -~]{0,8}",
        "\"[ -!#-~]{0,8}\"",
        "[0-9]{1,5}",
        "[0-9A-F]{2,12}",
        "[a-z]{1,5}=[a-z0-9,]{0,6}",
        "[a-z]{1,5}=\"[a-z0-9, \\\\]{0,6}\"",
        Just("\\#".to_owned()),
        Just("@".to_owned()),
        Just(".".to_owned()),
    ];
    (rtype, prop::collection::vec(field, 0..8))
        .prop_map(|(rtype, fields)| format!("{HEAD}x 1 {rtype} {}\n", fields.join(" ")))
}

proptest! {
    #[test]
    fn lookup_never_panics(labels in prop::collection::vec(
        prop_oneof!["[a-z0-9*_-]{1,8}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 1..63)],
        0..6,
    ), at_apex in any::<bool>()) {
        let zone = link_zone("* 60 TXT a\nsub 60 NS ns.test.\nd 60 DNAME x.test.\na.b.c 60 A 192.0.2.1\n");
        let apex = [b"example".to_vec()];
        let labels = labels.iter().chain(apex.iter().filter(|_| at_apex));
        if let Ok(name) = Name::from_labels(labels.map(Vec::as_slice)) {
            let name = LowerName::from(name);
            let found = zone.lookup(&name);
            prop_assert!(at_apex || matches!(found, Lookup::NoName));
            zone.addresses(&name);
        }
    }

    #[test]
    fn parse_never_panics(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Zone::parse(&config("example", Some("r")), &text);
        let _ = Zone::parse(&config("example", None), &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_looks_like_a_zone_never_panics(text in almost_a_zone()) {
        let _ = Zone::parse(&config("example", Some("r")), &text);
    }

    #[test]
    fn what_looks_like_a_record_is_served_or_refused(text in almost_a_record()) {
        // Nothing is dropped in silence: either there is an error, or the record is there.
        if let Ok((zone, _)) = Zone::parse(&config("example", None), &text) {
            let name = lower("x.example.");
            let found = zone.lookup(&name);
            let is_there = match &found {
                Lookup::Exact(node) | Lookup::Delegation { node, .. } => !node.is_empty(),
                _ => false,
            };
            prop_assert!(is_there, "{}: {}", text, show(&found));
        }
    }
}
