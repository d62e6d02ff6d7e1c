//! The search for names: RFC 1034 §4.3.2, RFC 4592, RFC 6672, RFC 2308, and links.

use super::*;

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
        let Lookup::Exact(apex) = zone.lookup(&lower("example.")) else {
            panic!("no apex");
        };
        let soa = apex.rrset(RecordType::SOA).unwrap();
        assert_eq!(soa.ttl, ttl);
        assert_eq!(zone.negative_soa().ttl, expected);
        assert_eq!(soa.rdata, std::slice::from_ref(&zone.negative_soa().data));
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
fn a_zone_gives_its_properties() {
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
fn the_redirect_host_exists_even_if_the_file_does_not_have_it() {
    let config = config("example", Some("r"));
    let (zone, warnings) = load(&config, &plain_text(""));
    check_lookup(&zone, "r.example.", "exact nothing");
    check_lookup(&zone, "abc.r.example.", "link abc Target");
    assert_eq!(zone.link_template(), None);
    assert_eq!(
        warnings,
        [
            "t.zone: *.r.example. has no A, AAAA or HTTPS record: browsers cannot follow the links of this zone; \
             add the addresses of the redirect host"
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
