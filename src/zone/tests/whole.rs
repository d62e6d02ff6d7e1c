//! Records that are right on their own and contradict each other.

use super::*;

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
fn rfc_4592_4_1_and_4_6_wildcards_with_types_of_other_places() {
    // §4.1: a zone has one SOA, at its apex. §4.6: a DS needs a cut, which a wildcard cannot be.
    check_errors(
        "*.x 1 SOA a b 1 2 3 4 5\n",
        &["t.zone:3: *.x.example. has an SOA record, but is not the apex"],
    );
    check_warnings(
        "*.x 1 DS 1 8 9 AA\n",
        &["t.zone:3: *.x.example. has a DS record, but is not delegated by this zone"],
    );
    // §4.5: a wildcard with SRV, and one below another.
    check_warnings("*.x 1 SRV 1 1 1 a.test.\n*.*.x 1 A 192.0.2.1\n", &[]);
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
            error.to_string().contains("exists only in queries"),
            "{rtype}: {error}"
        );
    }
}

#[test]
fn a_signed_zone_is_refused_once_for_each_type() {
    let signatures =
        "x 1 RRSIG A 1 3 3600 20000102030405 19961211100908 2143 foo.nil. AQID\n".repeat(200);
    check_errors(
        &format!("{signatures}x 1 NSEC a A\nx 1 TYPE46 a\n@ 1 NSEC3PARAM 1 0 0 -\n"),
        &[
            "t.zone:3:5: RRSIG belongs to a signed zone; use the unsigned file, and let tinyns sign it ([zone.dnssec]) (200 more records have this type)",
            "t.zone:203:5: NSEC belongs to a signed zone; use the unsigned file, and let tinyns sign it ([zone.dnssec])",
            "t.zone:205:5: NSEC3PARAM belongs to a signed zone",
        ],
    );
}

#[test]
fn rfc_4035_2_4_dnssec_records_without_effect_are_warned_of() {
    check_warnings(
        "@ 60 DNSKEY 257 3 8 AQID\n@ 60 CDS 0 0 0 00\n@ 60 DS 1 8 9 AA\nx 60 DS 1 8 9 AA\nsub 60 NS ns.test.\nsub 60 DS 1 8 9 AA\n",
        &[
            "t.zone:3: example. has DNSKEY in the file, which has no effect",
            "t.zone:4: example. has CDS in the file, which has no effect",
            "t.zone:5: example. has a DS record, but is not delegated by this zone",
            "t.zone:6: x.example. has a DS record, but is not delegated by this zone",
        ],
    );
}

#[test]
fn rfc_2181_10_3_targets_that_are_aliases_are_warned_of() {
    check_warnings(
        "mx 60 MX 1 www\nmx 60 MX 2 host\nmx 60 MX 3 www.test.\nmx 60 MX 4 none\ns 60 SRV 1 1 1 a.wild\n\
         www 60 CNAME host\nhost 60 A 192.0.2.1\n*.wild 60 CNAME host\n",
        &[
            "t.zone:3: the MX of mx.example. points to www.example., which is an alias (RFC 2181 §10.3)",
            "t.zone:7: the SRV of s.example. points to a.wild.example., which is an alias",
        ],
    );
}

#[test]
fn an_rrset_fits_a_message() {
    let text: String = (0..260)
        .map(|i| format!("x 1 TXT \"{i:04}{}\"\n", "a".repeat(245)))
        .collect();
    check_errors(
        &text,
        &["t.zone:3: the TXT records of x.example. take up to 70460 bytes"],
    );
}

#[test]
fn warnings_name_their_record() {
    check_warnings(
        "x 60 A 192.0.2.1\nx 30 A 192.0.2.2\nX 60 A 192.0.2.1\n",
        &[
            "t.zone:4: the TTL 30 differs from that of the other A records of x.example.; all get the lowest, 30",
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
        &["t.zone:4: the wildcard *.r.example. cannot have NS"],
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
    let expected = ["t.zone:3: *.r.example. has no A, AAAA or HTTPS record"];
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
        "t.zone: redirect_host \"R\" must be one label in lower case",
    );
    check(
        "example",
        "a.b",
        "t.zone: redirect_host \"a.b\" is not a label that a host can have",
    );
    check(
        "example",
        "",
        "t.zone: redirect_host \"\" is not a label that a host can have",
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
    let text = include_str!("../../../zones/s.example.com.zone");
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

#[test]
fn rrsets_that_no_message_can_hold_are_refused() {
    let addresses = |owner: &str, count: usize| -> String {
        (0..count)
            .map(|n| format!("{owner} 1 A 10.0.{}.{}\n", n / 256, n % 256))
            .collect()
    };
    // 25 bytes each: an owner of 11, type, class, TTL, length, and the address.
    load(
        &config("example", None),
        &plain_text(&addresses("x", 2_600)),
    );
    check_errors(
        &addresses("x", 2_700),
        &["t.zone:3: the A records of x.example. take up to 67500 bytes"],
    );
    // A wildcard's records get the name of the query as owner.
    check_errors(
        &addresses("*", 260),
        &["t.zone:3: the A records of *.example. take up to 69940 bytes"],
    );
}

/// RFC 2181 §10.3, RFC 6672 §2.3: a name below a DNAME is an alias, to which records must not point.
#[test]
fn a_target_below_a_dname_is_warned_of() {
    let text = plain_text(
        "d 1 DNAME elsewhere.test.\n@ 1 MX 1 mx.d\nsub 1 NS ns.d\n_s._tcp 1 SRV 1 1 1 d\n_t._tcp 1 SRV 1 1 1 x.y.d\n",
    );
    let (_, warnings) = load(&config("example", None), &text);
    let end = "which is below the DNAME of d.example. and therefore an alias (RFC 2181 §10.3)";
    assert_eq!(
        warnings,
        [
            format!("t.zone:4: the MX of example. points to mx.d.example., {end}"),
            format!("t.zone:5: the NS of sub.example. points to ns.d.example., {end}"),
            format!("t.zone:7: the SRV of _t._tcp.example. points to x.y.d.example., {end}"),
        ]
    );
}
