//! The rules for headers, EDNS and sizes.

use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::json;

use super::{TARGET, check, rcode};
use crate::harness::{Server, Setup, ZONE, parse, plain_query, query};

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
fn rrsets_too_large_for_any_message_are_truncated() {
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
    // RFC 2136 §3.1.2: an UPDATE of a zone that is not served; and of one that is, which is refused.
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
    // Garbage gets FORMERR or no reply, and does no harm.
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
