//! Zones whose names no host can have.

use super::*;

#[test]
fn rfc_2317_4_a_zone_of_an_address_range() {
    let text = "$ORIGIN 0/25.2.0.192.in-addr.arpa.\n$TTL 60\n@ SOA ns.test. h.test. 1 2 3 4 60\n NS ns.test.\n\
                1 PTR a.test.\n$ORIGIN x/y\nz\\.w PTR b.test.\n\\* PTR c.test.\n";
    let (zone, warnings) = load(&config("0/25.2.0.192.in-addr.arpa.", None), text);
    assert_eq!(warnings, [""; 0]);
    check_lookup(&zone, "1.0/25.2.0.192.in-addr.arpa.", "exact PTR");
    check_lookup(&zone, "x/y.0/25.2.0.192.in-addr.arpa.", "exact nothing");
    check_lookup(&zone, "2.0/25.2.0.192.in-addr.arpa.", "no name");
    check_lookup(&zone, "1.2.0.192.in-addr.arpa.", "no name");
    let labels = [
        &b"z.w"[..],
        b"x/y",
        b"0/25",
        b"2",
        b"0",
        b"192",
        b"in-addr",
        b"arpa",
    ];
    let name = LowerName::new(&Name::from_labels(labels).unwrap());
    assert_eq!(show(&zone.lookup(&name)), "exact PTR");
}

/// Messages show names in the form of zone files.
#[test]
fn names_are_shown_with_their_escapes() {
    let config = config(r"a\.b\195.example", None);
    let text = plain_text("x\\200y 1 A 192.0.2.1\nx\\200y 1 A 192.0.2.1\n");
    check_warnings_of(
        &config,
        &text,
        &[r"t.zone:4: x\200y.a\.b\195.example. has this A record already"],
    );
    check_errors_of(
        &config,
        "@ 1 SOA a. b. 1 2 3 4 5\n",
        &[r"t.zone: the zone a\.b\195.example has no NS record at its apex"],
    );
}

#[test]
fn the_root_zone() {
    let text = "@ 1 SOA ns.test. h.test. 1 2 3 4 60\n@ 1 NS ns.test.\ntest 1 NS ns.test\nns.test 1 A 192.0.2.1\n\
                x 1 A 192.0.2.2\n*.w 1 TXT a\n";
    let (zone, warnings) = load(&config(".", None), text);
    assert_eq!(warnings, [""; 0]);
    check_lookup(&zone, ".", "exact NS SOA");
    check_lookup(&zone, "x.", "exact A");
    check_lookup(&zone, "a.b.test.", "below cut test. NS");
    check_lookup(&zone, "a.w.", "wildcard TXT");
    check_lookup(&zone, "y.", "no name");
    let directory = files(&[
        ("root", text.as_bytes()),
        ("links", format!("{HEAD}*.r 1 A 192.0.2.1\n").as_bytes()),
    ]);
    let (set, _) = ZoneSet::load(vec![
        file_config(directory.path(), ".", "root", false),
        file_config(directory.path(), "example", "links", true),
    ])
    .unwrap();
    let zones = set.current();
    let origin = |name: &str| {
        zones
            .find(&lower(name), RecordType::A)
            .unwrap()
            .origin()
            .to_string()
    };
    assert_eq!(origin("."), ".");
    assert_eq!(origin("y.z."), ".");
    assert_eq!(origin("a.example."), "example.");
    // Names that the root delegates belong to others, and links may point there.
    assert_eq!(set.classify_host("www.test"), Host::Foreign);
    assert_eq!(set.classify_host("x"), Host::Inside);
    assert_eq!(set.origins().len(), 1);
}

/// RFC 4592 §4.1: an apex is no source of synthesis, so a zone may have such a name, and NS records there.
#[test]
fn a_zone_that_is_named_as_a_wildcard() {
    let (zone, warnings) = load(
        &config("*.example", None),
        &plain_text("x 1 A 192.0.2.1\n* 1 TXT a\n"),
    );
    assert_eq!(warnings, [""; 0]);
    check_lookup(&zone, "*.example.", "exact NS SOA");
    check_lookup(&zone, "x.*.example.", "exact A");
    check_lookup(&zone, "y.*.example.", "wildcard TXT");
    check_lookup(&zone, "y.example.", "no name");
}

#[test]
fn a_zone_with_links_needs_a_name_that_can_stand_in_urls() {
    let reason = "t.zone: the origin \"0/25.example\" has the character '/'; the name of a zone that holds links may";
    check_errors_of(
        &config("0/25.example", Some("r")),
        &plain_text(""),
        &[reason],
    );
    check_errors_of(
        &config(".", Some("r")),
        &plain_text(""),
        &["t.zone: an origin needs at least one label; the name of a zone that holds links may"],
    );
}
