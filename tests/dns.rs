//! The table of answers, in both layouts, by raw packets; and the header, EDNS and size rules.

use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::json;

use crate::harness::{Server, Setup, ZONE, parse, plain_query, query, unhurried};

const URI: RecordType = RecordType::Unknown(256);
const UNKNOWN: RecordType = RecordType::Unknown(65_280);
const TARGET: &str = "https://example.net/some/page?x=1";

/// A reply in the form in which the tests below write it down: rcode and AA, then a line a record.
fn show(message: &Message) -> String {
    let aa = if message.metadata.authoritative {
        " aa"
    } else {
        ""
    };
    let mut lines = vec![format!("{}{aa}", rcode(message))];
    let sections = [
        ("an", &message.answers),
        ("au", &message.authorities),
        ("ad", &message.additionals),
    ];
    for (section, records) in sections {
        lines.extend(records.iter().map(|r| format!("{section} {}", record(r))));
    }
    lines.join("\n")
}

fn rcode(message: &Message) -> &'static str {
    match message.metadata.response_code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::NotAuth => "NOTAUTH",
        // 16 is BADSIG as well, which is what hickory reads; without TSIG it is BADVERS.
        ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
        other => panic!("rcode {other}"),
    }
}

fn record(record: &Record) -> String {
    let data = match &record.data {
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|s| format!("{:?}", String::from_utf8_lossy(s)))
            .collect::<Vec<_>>()
            .join(" "),
        RData::Unknown { rdata, .. } => format!("{:?}", String::from_utf8_lossy(&rdata.anything)),
        RData::SOA(soa) => soa.serial.to_string(),
        data => data.to_string(),
    };
    let rtype = match record.record_type() {
        URI => "URI".to_owned(),
        rtype => rtype.to_string(),
    };
    format!("{} {} {rtype} {data}", record.name, record.ttl)
}

fn check(server: &Server, name: &str, qtype: RecordType, expected: &[&str]) {
    let reply = server.ask(name, qtype);
    assert_eq!(show(&reply), expected.join("\n"), "{name} {qtype}");
    // The same by TCP, and without EDNS.
    let packet = query(name, qtype).to_bytes().unwrap();
    assert_eq!(show(&parse(&server.tcp(&packet))), expected.join("\n"));
    let packet = plain_query(name, qtype).to_bytes().unwrap();
    assert_eq!(show(&parse(&server.tcp(&packet))), expected.join("\n"));
}

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
fn a_wildcard_of_the_zone_speaks_only_for_names_that_do_not_exist() {
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

#[test]
fn a_long_url_comes_by_tcp_after_tc() {
    let server = Server::start();
    let url = format!("https://example.net/{}", "x".repeat(2_048 - 20));
    server.add_with(&json!({"url": url, "code": "long"}));
    for (packet, limit) in [
        (query("long.s.example.com.", RecordType::TXT), 1_232),
        (plain_query("long.s.example.com.", RecordType::TXT), 512),
    ] {
        let packet = packet.to_bytes().unwrap();
        let raw = server.udp(&packet);
        assert!(raw.len() <= limit);
        let reply = parse(&raw);
        assert!(reply.metadata.truncation);
        assert!(reply.answers.is_empty() && reply.authorities.is_empty());
        assert_eq!(
            reply.edns.is_some(),
            limit == 1_232,
            "OPT in every reply to OPT"
        );
        assert_eq!(raw, reply.to_bytes().unwrap(), "no stray bytes");

        let reply = parse(&server.tcp(&packet));
        assert!(!reply.metadata.truncation);
        let RData::TXT(txt) = &reply.answers[1].data else {
            panic!("{reply:?}");
        };
        let lengths: Vec<usize> = txt.txt_data.iter().map(|s| s.len()).collect();
        assert_eq!(lengths, [255, 255, 255, 255, 255, 255, 255, 255, 8]);
        assert_eq!(String::from_utf8(txt.txt_data.concat()).unwrap(), url);
    }
    // Sizes between are honoured to the byte: whole if it fits, TC if not.
    server.add_with(
        &json!({"url": format!("https://example.net/{}", "y".repeat(700)), "code": "mid"}),
    );
    let whole = server
        .udp(
            &query("mid.s.example.com.", RecordType::TXT)
                .to_bytes()
                .unwrap(),
        )
        .len();
    for (size, truncated) in [
        (whole, false),
        (whole - 1, true),
        (65_535, false),
        (0, true),
    ] {
        let mut message = query("mid.s.example.com.", RecordType::TXT);
        let edns = message.edns.as_mut().unwrap();
        edns.set_max_payload(u16::try_from(size).unwrap());
        let reply = parse(&server.udp(&message.to_bytes().unwrap()));
        assert_eq!(reply.metadata.truncation, truncated, "size {size}");
    }
}

#[test]
fn rfc2181_9_useful_additional_records_are_left_out_before_tc() {
    let hosts: String = (0..40)
        .map(|n| format!("mx{n} IN AAAA 2001:db8::{n:x}\n@ IN MX 10 mx{n}\n"))
        .collect();
    let zone = format!("{ZONE}{hosts}");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", &zone)
        .start();
    let reply = server.ask("s.example.com.", RecordType::MX);
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 41);
    assert!(reply.additionals.is_empty());
    let packet = query("s.example.com.", RecordType::MX).to_bytes().unwrap();
    assert_eq!(parse(&server.tcp(&packet)).additionals.len(), 41);
}

#[test]
fn what_no_message_can_hold_is_cut_as_well() {
    // 1,000 hosts with two addresses each are more than 64 KiB; their names alone are not.
    let hosts = |kind: &str| -> String {
        (0..1_000)
            .map(|n| {
                format!("{kind} n{n}.sub2\nn{n}.sub2 A 192.0.2.1\nn{n}.sub2 AAAA 2001:db8::{n:x}\n")
            })
            .collect()
    };
    let delegation = format!("{ZONE}{}", hosts("sub2 NS"));
    let mail = format!("{ZONE}{}", hosts("mx MX 1"));
    for (zone, name, qtype, truncated) in [
        (delegation, "sub2.s.example.com.", RecordType::A, true),
        (mail, "mx.s.example.com.", RecordType::MX, false),
    ] {
        let server = Setup::empty()
            .zone("s.example.com", "redirect_host = \"r\"", &zone)
            .start();
        let reply = parse(&server.tcp(&query(name, qtype).to_bytes().unwrap()));
        assert!(reply.edns.is_some(), "OPT in every reply to OPT");
        assert_eq!(reply.metadata.truncation, truncated);
        let expected = if truncated { 0 } else { 1_000 };
        assert_eq!(reply.answers.len() + reply.authorities.len(), expected);
        assert!(reply.additionals.is_empty());
    }
}

#[test]
fn a_reply_that_fits_only_once_its_names_are_compressed() {
    // The alias has 202 bytes in full, more than are left, and 4 with a pointer.
    let owner = format!("{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(50));
    let zone = format!("{ZONE}{owner} IN CNAME x.{owner}\n");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", &zone)
        .start();
    let message = plain_query(&format!("{owner}.s.example.com."), RecordType::CNAME);
    let packet = message.to_bytes().unwrap();
    let raw = server.udp(&packet);
    let reply = parse(&raw);
    let is_whole = !reply.metadata.truncation && reply.answers.len() == 1;
    let is_cut = reply.metadata.truncation && raw.len() == packet.len();
    assert!(is_whole || is_cut, "{} bytes: {reply:?}", raw.len());
    assert_eq!(parse(&server.tcp(&packet)).answers.len(), 1);
}

#[test]
fn questions_that_are_not_one_name_in_full_are_not_repeated() {
    let server = Server::start();
    let question = b"\x01s\x07example\x03com\0\0\x06\0\x01";
    // More of them than fit a reply.
    for (count, opcode, expected) in [(2, 0, "FORMERR"), (60, 0, "FORMERR"), (60, 4, "FORMERR")] {
        let mut packet = vec![0x12, 0x34, opcode << 3, 0, 0, count, 0, 0, 0, 0, 0, 1];
        packet.extend(question.repeat(count.into()));
        packet.extend(b"\0\0\x29\x04\xD0\0\0\0\0\0\0");
        let reply = parse(&server.udp(&packet));
        assert_eq!(rcode(&reply), expected, "{count} questions");
        assert_eq!(u8::from(reply.metadata.op_code), opcode);
        assert_eq!(reply.queries.len(), 0);
        assert!(reply.edns.is_some());
    }
    // A pointer into the header, which is not the reply's: ID and flags read as a name.
    let packet = b"\x01a\0\0\0\x01\0\0\0\0\0\0\xC0\0\0\x01\0\x01";
    let reply = server.udp(packet);
    assert_eq!(
        (reply.len(), &reply[..2], reply[3] & 15),
        (12, &packet[..2], 1)
    );
}

#[test]
fn the_query_is_repeated_byte_for_byte() {
    let server = Server::start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let packet = query("aBc.S.eXample.COM.", RecordType::TXT)
        .to_bytes()
        .unwrap();
    let raw = server.udp(&packet);
    let end = 12 + 19 + 4;
    assert_eq!(raw[12..end], packet[12..end]);
    let reply = parse(&raw);
    assert_eq!(reply.answers[0].name.to_ascii(), "aBc.S.eXample.COM.");
    assert_eq!(reply.metadata.id, 0x5A17);
}

#[test]
fn header_bits() {
    let server = Server::start();
    let mut message = query("s.example.com.", RecordType::SOA);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = true;
    message.metadata.authentic_data = true;
    let reply = parse(&server.udp(&message.to_bytes().unwrap())).metadata;
    assert!(reply.recursion_desired && reply.authoritative);
    assert!(!reply.recursion_available && !reply.authentic_data && !reply.checking_disabled);
}

#[test]
fn requests_that_are_no_queries() {
    let server = Server::start();
    let check = |message: &Message, expected: &str| {
        let reply = parse(&server.udp(&message.to_bytes().unwrap()));
        assert_eq!(rcode(&reply), expected, "{message:?}");
        assert_eq!(reply.metadata.op_code, message.metadata.op_code);
        assert_eq!(reply.metadata.id, message.metadata.id);
        assert_eq!(reply.edns.is_some(), message.edns.is_some(), "{message:?}");
        assert!(reply.answers.is_empty());
    };
    // RFC 2136 §3.1.2: an UPDATE of a zone of another server; and what is not done for ours.
    for (opcode, ours, others) in [
        (OpCode::Status, "NOTIMP", "NOTIMP"),
        (OpCode::Unknown(6), "NOTIMP", "NOTIMP"),
        (OpCode::Notify, "REFUSED", "NOTAUTH"),
        (OpCode::Update, "REFUSED", "NOTAUTH"),
    ] {
        for (zone, expected) in [("s.example.com.", ours), ("r.s.example.com.", others)] {
            let mut message = query(zone, RecordType::SOA);
            message.metadata.op_code = opcode;
            check(&message, expected);
        }
    }
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    check(&chaos, "REFUSED");
    check(&query("s.example.com.", RecordType::AXFR), "REFUSED");
    check(&query("s.example.com.", RecordType::IXFR), "REFUSED");
    check(&query("s.example.com.", RecordType::OPT), "FORMERR");
    let mut two = query("s.example.com.", RecordType::SOA);
    two.add_query(Query::query(
        Name::from_ascii("s.example.com.").unwrap(),
        RecordType::NS,
    ));
    check(&two, "FORMERR");
    let mut none = query("s.example.com.", RecordType::SOA);
    none.queries.clear();
    check(&none, "FORMERR");

    let mut version = query("s.example.com.", RecordType::SOA);
    let edns: &mut Edns = version.edns.as_mut().unwrap();
    edns.set_version(1);
    check(&version, "BADVERS");
    let reply = parse(&server.udp(&version.to_bytes().unwrap()));
    assert_eq!(reply.edns.unwrap().version(), 0);

    // A reply is never answered: two servers would talk for ever.
    let mut reply = query("s.example.com.", RecordType::SOA);
    reply.metadata.message_type = MessageType::Response;
    let patience = Duration::from_millis(300);
    assert_eq!(
        server.udp_within(&reply.to_bytes().unwrap(), patience),
        None
    );
    // Garbage is answered with FORMERR or not at all, and harms nobody.
    assert_eq!(server.udp_within(b"\x12\x34\x01", patience), None);
    server.udp_within(&[0xFF; 40], patience);
    assert_eq!(
        rcode(&server.ask("s.example.com.", RecordType::SOA)),
        "NOERROR"
    );
}

#[test]
fn edns_of_replies() {
    let server = Server::start();
    let mut message = query("s.example.com.", RecordType::SOA);
    message.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = parse(&server.udp(&message.to_bytes().unwrap()))
        .edns
        .unwrap();
    assert!(edns.flags().dnssec_ok);
    assert_eq!((edns.version(), edns.max_payload()), (0, 1_232));
    let plain = plain_query("s.example.com.", RecordType::SOA);
    assert!(
        parse(&server.udp(&plain.to_bytes().unwrap()))
            .edns
            .is_none()
    );
    // RFC 8914: why a name is refused.
    let edns = server.ask("example.org.", RecordType::A).edns.unwrap();
    let error = edns.option(15.into()).map(|option| format!("{option:?}"));
    assert!(error.is_some_and(|e| e.contains("[0, 20")));
}

#[test]
fn ipv6_and_several_addresses() {
    for listen in ["[\"[::1]:0\"]", "[\"[::1]:0\", \"127.0.0.1:0\"]"] {
        let server = Setup::new().listen(listen).start();
        assert!(server.dns.is_ipv6());
        check(
            &server,
            "s.example.com.",
            RecordType::SOA,
            &["NOERROR aa", "an s.example.com. 3600 SOA 1"],
        );
    }
}
