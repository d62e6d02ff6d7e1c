//! The answers of links and zones, in both layouts.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::json;

use super::{TARGET, URI, check, show};
use crate::harness::{Server, Setup, ZONE, unhurried};

const UNKNOWN: RecordType = RecordType::Unknown(65_280);

const SOA: &str = "au s.example.com. 60 SOA 1";

#[test]
fn answers_of_a_link_in_the_cname_layout() {
    let server = Server::start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let check = |name: &str, qtype, expected: &[&str]| check(&server, name, qtype, expected);
    let cname = "an abc.s.example.com. 300 CNAME abc.r.s.example.com.";

    let name = "abc.s.example.com.";
    let txt = &format!("an abc.r.s.example.com. 300 TXT {TARGET:?}");
    let uri = &format!(
        "an abc.r.s.example.com. 300 URI {:?}",
        format!("\0\n\0\x01{TARGET}")
    );
    let a = "an abc.r.s.example.com. 300 A 192.0.2.10";
    let aaaa = "an abc.r.s.example.com. 300 AAAA 2001:db8::10";
    let https = "an abc.r.s.example.com. 300 HTTPS 1 . alpn=h2";
    check(name, RecordType::TXT, &["NOERROR aa", cname, txt]);
    check(name, URI, &["NOERROR aa", cname, uri]);
    check(name, RecordType::A, &["NOERROR aa", cname, a]);
    check(name, RecordType::AAAA, &["NOERROR aa", cname, aaaa]);
    check(name, RecordType::CNAME, &["NOERROR aa", cname]);
    check(name, RecordType::ANY, &["NOERROR aa", cname]);
    for qtype in [
        RecordType::MX,
        RecordType::SOA,
        RecordType::NS,
        RecordType::DS,
        UNKNOWN,
    ] {
        check(name, qtype, &["NOERROR aa", cname, SOA]);
    }
    let reply = server.ask(name, RecordType::HTTPS);
    assert!(show(&reply).starts_with(&["NOERROR aa", cname, &https[..40]].join("\n")));

    // The same name below the redirect host gives the same data without the alias.
    let name = "abc.r.s.example.com.";
    check(name, RecordType::TXT, &["NOERROR aa", txt]);
    check(name, URI, &["NOERROR aa", uri]);
    check(name, RecordType::A, &["NOERROR aa", a]);
    check(name, RecordType::ANY, &["NOERROR aa", txt]);
    check(name, RecordType::CNAME, &["NOERROR aa", SOA]);
    check(name, UNKNOWN, &["NOERROR aa", SOA]);

    for absent in [
        "nosuch.s.example.com.",
        "nosuch.r.s.example.com.",
        "x.abc.s.example.com.",
        "x.abc.r.s.example.com.",
        "x.nosuch.s.example.com.",
        "_x.s.example.com.",
        "_x.r.s.example.com.",
    ] {
        for qtype in [
            RecordType::TXT,
            RecordType::A,
            RecordType::CNAME,
            RecordType::ANY,
            UNKNOWN,
        ] {
            check(absent, qtype, &["NXDOMAIN aa", SOA]);
        }
    }
}

#[test]
fn answers_of_a_link_in_the_direct_layout() {
    let server = Setup::with_layout("direct").start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let check = |name: &str, qtype, expected: &[&str]| check(&server, name, qtype, expected);
    for name in ["abc.s.example.com.", "abc.r.s.example.com."] {
        let an = |rest: &str| format!("an {name} 300 {rest}");
        let txt = &an(&format!("TXT {TARGET:?}"));
        check(name, RecordType::TXT, &["NOERROR aa", txt]);
        check(
            name,
            URI,
            &[
                "NOERROR aa",
                &an(&format!("URI {:?}", format!("\0\n\0\x01{TARGET}"))),
            ],
        );
        check(name, RecordType::A, &["NOERROR aa", &an("A 192.0.2.10")]);
        check(
            name,
            RecordType::AAAA,
            &["NOERROR aa", &an("AAAA 2001:db8::10")],
        );
        check(name, RecordType::ANY, &["NOERROR aa", txt]);
        check(name, RecordType::CNAME, &["NOERROR aa", SOA]);
        check(name, UNKNOWN, &["NOERROR aa", SOA]);
    }
    check("x.abc.s.example.com.", RecordType::A, &["NXDOMAIN aa", SOA]);
    check(
        "nosuch.s.example.com.",
        RecordType::A,
        &["NXDOMAIN aa", SOA],
    );
}

#[test]
fn static_names_of_the_zone() {
    let server = Server::start();
    let check = |name: &str, qtype, expected: &[&str]| check(&server, name, qtype, expected);
    check(
        "s.example.com.",
        RecordType::NS,
        &[
            "NOERROR aa",
            "an s.example.com. 3600 NS ns1.s.example.com.",
            "an s.example.com. 3600 NS ns2.s.example.com.",
            "ad ns1.s.example.com. 300 A 192.0.2.1",
            "ad ns1.s.example.com. 300 AAAA 2001:db8::1",
            "ad ns2.s.example.com. 300 A 192.0.2.2",
        ],
    );
    check(
        "s.example.com.",
        RecordType::SOA,
        &["NOERROR aa", "an s.example.com. 3600 SOA 1"],
    );
    check("s.example.com.", RecordType::TXT, &["NOERROR aa", SOA]);
    // A chain of aliases ends at the apex.
    check(
        "www.s.example.com.",
        RecordType::A,
        &[
            "NOERROR aa",
            "an www.s.example.com. 300 CNAME s.example.com.",
            "an s.example.com. 300 A 192.0.2.10",
        ],
    );
    // Empty non-terminals exist (RFC 8020 §2).
    check("deep.s.example.com.", RecordType::A, &["NOERROR aa", SOA]);
    check(
        "b.deep.s.example.com.",
        RecordType::TXT,
        &["NOERROR aa", SOA],
    );
    check(
        "c.deep.s.example.com.",
        RecordType::TXT,
        &["NXDOMAIN aa", SOA],
    );
    check("r.s.example.com.", RecordType::A, &["NOERROR aa", SOA]);
    check(
        "any.thing.wild.s.example.com.",
        RecordType::TXT,
        &[
            "NOERROR aa",
            "an any.thing.wild.s.example.com. 300 TXT \"from a wildcard\"",
        ],
    );
    // RFC 1034 §4.3.2 step 3b: below a cut there is only a referral.
    for name in [
        "sub.s.example.com.",
        "a.b.sub.s.example.com.",
        "ns.sub.s.example.com.",
    ] {
        check(
            name,
            RecordType::A,
            &[
                "NOERROR",
                "au sub.s.example.com. 300 NS ns.sub.s.example.com.",
                "ad ns.sub.s.example.com. 300 A 192.0.2.53",
            ],
        );
    }
    check("sub.s.example.com.", RecordType::DS, &["NOERROR aa", SOA]);
}

#[test]
fn an_alias_in_the_zone_leads_to_a_link() {
    let zone =
        format!("{ZONE}promo IN CNAME abc\nlost IN CNAME nosuch\nout IN CNAME www.example.org.\n");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", &zone)
        .start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    check(
        &server,
        "promo.s.example.com.",
        RecordType::A,
        &[
            "NOERROR aa",
            "an promo.s.example.com. 300 CNAME abc.s.example.com.",
            "an abc.s.example.com. 300 CNAME abc.r.s.example.com.",
            "an abc.r.s.example.com. 300 A 192.0.2.10",
        ],
    );
    // RFC 6604 §3: the rcode is that of the last name.
    check(
        &server,
        "lost.s.example.com.",
        RecordType::A,
        &[
            "NXDOMAIN aa",
            "an lost.s.example.com. 300 CNAME nosuch.s.example.com.",
            SOA,
        ],
    );
    check(
        &server,
        "out.s.example.com.",
        RecordType::A,
        &[
            "NOERROR aa",
            "an out.s.example.com. 300 CNAME www.example.org.",
        ],
    );
}

#[test]
fn a_wildcard_of_the_zone_applies_only_to_names_that_do_not_exist() {
    let zone = format!("{ZONE}* IN TXT \"nothing here\"\n");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", &zone)
        .start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    for name in [
        "nosuch.s.example.com.",
        "x.nosuch.s.example.com.",
        "_x.s.example.com.",
    ] {
        let txt = format!("an {name} 300 TXT \"nothing here\"");
        check(&server, name, RecordType::TXT, &["NOERROR aa", &txt]);
    }
    check(
        &server,
        "x.abc.s.example.com.",
        RecordType::TXT,
        &["NXDOMAIN aa", SOA],
    );
    check(
        &server,
        "abc.s.example.com.",
        RecordType::CNAME,
        &[
            "NOERROR aa",
            "an abc.s.example.com. 300 CNAME abc.r.s.example.com.",
        ],
    );
}

#[test]
fn several_zones() {
    let other = "@ 60 IN SOA ns hostmaster 7 1 1 1 30\n@ 60 IN NS ns\nns 60 IN A 192.0.2.77\n";
    let links = format!("{other}*.go 60 IN A 192.0.2.78\n");
    let server = Setup::new()
        .zone("static.example", "", other)
        .zone(
            "l.s.example.com",
            "redirect_host = \"go\"\nlink_ttl = 20",
            &links,
        )
        .start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let reply = server.api(
        "POST",
        "/v1/links?zone=l.s.example.com",
        Some(&json!({"url": "https://example.org/", "code": "abc"})),
    );
    assert_eq!(reply.status, 201, "{reply:?}");
    // The deepest zone answers; each has its own links, TTL and SOA.
    check(
        &server,
        "abc.l.s.example.com.",
        RecordType::TXT,
        &[
            "NOERROR aa",
            "an abc.l.s.example.com. 20 CNAME abc.go.l.s.example.com.",
            "an abc.go.l.s.example.com. 20 TXT \"https://example.org/\"",
        ],
    );
    check(
        &server,
        "nosuch.l.s.example.com.",
        RecordType::A,
        &["NXDOMAIN aa", "au l.s.example.com. 30 SOA 7"],
    );
    // A zone without a redirect host has only its file.
    check(
        &server,
        "abc.static.example.",
        RecordType::A,
        &["NXDOMAIN aa", "au static.example. 30 SOA 7"],
    );
    check(
        &server,
        "ns.static.example.",
        RecordType::A,
        &["NOERROR aa", "an ns.static.example. 60 A 192.0.2.77"],
    );
    check(&server, "example.com.", RecordType::A, &["REFUSED"]);
    check(&server, ".", RecordType::NS, &["REFUSED"]);
}

#[test]
fn rfc4035_3_1_4_1_ds_of_a_zone_whose_parent_is_served_too() {
    let ds = "1 13 2 0000000000000000000000000000000000000000000000000000000000000001";
    let child = "@ 60 IN SOA ns hostmaster 7 1 1 1 30\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n";
    let server = Setup::empty()
        .zone(
            "s.example.com",
            "redirect_host = \"r\"",
            &format!("{ZONE}sub IN DS {ds}\nsub2 IN NS ns.sub\n"),
        )
        .zone("sub.s.example.com", "", child)
        .zone("sub2.s.example.com", "", child)
        .start();
    let reply = server.ask("sub.s.example.com.", RecordType::DS);
    assert!(reply.metadata.authoritative);
    assert_eq!(reply.answers.len(), 1);
    check(
        &server,
        "sub2.s.example.com.",
        RecordType::DS,
        &["NOERROR aa", SOA],
    );
    check(
        &server,
        "sub2.s.example.com.",
        RecordType::SOA,
        &["NOERROR aa", "an sub2.s.example.com. 60 SOA 7"],
    );
}

#[test]
fn ttl_and_expiry() {
    let server = Server::start();
    let in_seconds = |s: i64| {
        let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(s);
        end.format(&time::format_description::well_known::Rfc3339)
            .unwrap()
    };
    server.add_with(&json!({"url": TARGET, "code": "own", "ttl": 17}));
    let ttls = |name: &str, qtype| -> Vec<u32> {
        server
            .ask(name, qtype)
            .answers
            .iter()
            .map(|r| r.ttl)
            .collect()
    };
    assert_eq!(ttls("own.s.example.com.", RecordType::TXT), [17, 17]);
    let ends = unhurried(Duration::from_secs(3), |number| {
        let code = format!("ends{number}");
        server.add_with(&json!({"url": TARGET, "code": code, "expires_at": in_seconds(4)}));
        for qtype in [RecordType::TXT, RecordType::A] {
            // Never beyond the end of the link, the companion's addresses included.
            let ttls = ttls(&format!("{code}.s.example.com."), qtype);
            assert_eq!(ttls.len(), 2);
            assert!(ttls.iter().all(|ttl| (0..=3).contains(ttl)), "{ttls:?}");
        }
        code
    });
    std::thread::sleep(Duration::from_secs(5));
    check(
        &server,
        &format!("{ends}.s.example.com."),
        RecordType::TXT,
        &["NXDOMAIN aa", SOA],
    );
    check(
        &server,
        &format!("{ends}.r.s.example.com."),
        RecordType::A,
        &["NXDOMAIN aa", SOA],
    );
}
