//! The text of master files: reading, and the places of errors.

use super::*;

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
        let RData::SOA(soa) = &zone.negative_soa().data else {
            panic!("{:?}", zone.negative_soa());
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
    let text = "@ IN NS ns.test.\n";
    let expected = ["t.zone:1:9: the record has no TTL"];
    check_errors_of(&config("example", None), text, &expected);
}

#[test]
fn rfc_1035_3_3_13_the_minimum_is_the_default_ttl() {
    let text =
        "@ IN SOA ns.test. host.test. 1 2 3 4 5\n@ NS ns.test.\na 7 A 192.0.2.1\nb A 192.0.2.1\n";
    let (zone, warnings) = load(&config("example", None), text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let expected = "t.zone:1: the record has no TTL, and there is no $TTL; records without one get the SOA's minimum, 5";
    assert!(warnings[0].starts_with(expected), "{warnings:?}");
    let ttl = |name: &str, rtype| node(&zone.lookup(&lower(name))).rrset(rtype).unwrap().ttl;
    assert_eq!(ttl("example.", RecordType::SOA), 5);
    assert_eq!(ttl("example.", RecordType::NS), 5);
    assert_eq!(ttl("b.example.", RecordType::A), 5);
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
    check_rdata(r#"TXT "a\010b" c"#, 16, b"\x03a\nb\x01c");
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
    check_rdata("SSHFP 1 9 AABB CC", 44, b"\x01\x09\xAA\xBB\xCC");
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
    // An escaped comma and backslash, written in two ways.
    let expected = foo(
        16,
        b"\x07example\x03org\0",
        b"\0\x01\0\x0c\x08f\\oo,bar\x02h2",
    );
    for list in [r#""f\\\\oo\\,bar,h2""#, r"f\\\092oo\092,bar,h2"] {
        let data = format!("SVCB 16 foo.example.org. alpn={list}");
        check(&data, 64, &expected);
    }
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
        "ipv4hint=192.0.2.1,",
        "alpn=h2,",
        "port=65536",
        "key65535",
        "key01=a",
        "Port=53",
        "no-default-alpn",
        "key1=abc",
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
        "x 1 ATMA +61200000000",
        &["t.zone:3:10: bad ATMA data: only its RFC 3597 form"],
    );
}

/// Data that hickory does not know, or would change, stays a sequence of bytes.
#[test]
fn data_that_hickory_knows_is_typed() {
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
fn errors_before_the_data_have_their_place() {
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
        &["t.zone:3:23: bad A data: unexpected field"],
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
        &["t.zone:3:11: unexpected \"b\" behind the directive"],
    );
    check_errors(
        "$ORIGIN a..b",
        &["t.zone:3:9: \"a..b\" is not a name: it has an empty"],
    );
    check_errors("$FOO", &["t.zone:3:1: the directive $FOO is not supported"]);
    // A quoted part may contain any byte; the message is still one line.
    let odd = &["t.zone:3:1: the directive $F\"\\r\\u{1b}\" is not supported"];
    check_errors("$F\"\r\u{1b}\"", odd);
}

#[test]
fn errors_of_names_and_strings_have_their_place() {
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
            "t.zone:3:11: unmatched \")\"",
            "t.zone:4:1: the record has no",
        ],
    );
    check_errors(
        "x 60 TXT \"a\nb\nc",
        &[
            "t.zone:3:10: the quote that opens here is not closed in its line",
            "t.zone:4:1: the record has no type",
            "t.zone:5:1: the record has no type",
        ],
    );
    // Two forgotten quotes, and a record between them.
    check_errors(
        "x 60 TXT \"a\nb 60 A 192.0.2.1\nc 60 TXT b\"\n",
        &[
            "t.zone:3:10: the quote that opens here is not closed in its line",
            "t.zone:5:11: the quote that opens here is not closed in its line",
        ],
    );
    check_errors(
        "x 60 TXT a\u{e9}",
        &["t.zone:3:11: the byte 0xC3 can stand only in quotes"],
    );
    check_errors("x 60 TXT \"\\256\"", &["t.zone:3:10: a backslash must"]);
}

/// BIND and NSD read these as well: a quote begins a string, also without a blank before it.
#[test]
fn rfc_1035_5_1_quotes_within_a_token() {
    check_rdata("TXT a\"b c\"d", 16, b"\x01a\x03b c\x01d");
    check_rdata("TXT \"a\"b\"\\\"\"", 16, b"\x01a\x01b\x01\"");
    check_rdata("HINFO a\\\"b\"c\"", 13, b"\x03a\"b\x01c");
    check_errors(
        "x 60 MX 1 a\"b\"",
        &["t.zone:3:11: \"a\\\"b\\\"\" is not a name: names are not quoted"],
    );
}

/// A field that `domain` refuses is named by its column, and so is the last field if one is missing.
#[test]
fn errors_of_domain_have_their_place() {
    check_errors(
        "x 60 IPSECKEY 10 1 2 192.0.2 AQID",
        &["t.zone:3:22: bad IPSECKEY data: expected IPv4 address"],
    );
    check_errors(
        "x 60 IPSECKEY 10 1 2",
        &["t.zone:3:20: bad IPSECKEY data: a field is missing"],
    );
    check_errors(
        "x 60 SRV 1 65536 3 a",
        &["t.zone:3:12: bad SRV data: decimal number overflow"],
    );
    check_errors("x 60 MX \\049 a", &["t.zone:3:9: bad MX data: "]);
    check_errors(
        "x 60 OPENPGPKEY AQI",
        &["t.zone:3:17: bad OPENPGPKEY data: "],
    );
    check_errors("x 60 CAA 0 iss-ue a", &["t.zone:3:12: bad CAA data: "]);
    check_errors(
        "@ 60 SOA a. b. 1 2 3x 4 5",
        &["t.zone:3:20: \"3x\" is not a time in seconds"],
    );
    check_errors(
        "@ 60 SOA a. b. 1 2 3 4",
        &["t.zone:3:22: bad SOA data: the minimum is missing"],
    );
    check_errors(
        "x 60 ATMA a b",
        &["t.zone:3:11: bad ATMA data: only its RFC 3597 form is read"],
    );
    check_errors(
        "@ 60 SOA a. b. x 2 3 4 5",
        &["t.zone:3:16: bad SOA data: the serial must be a number up to 4294967295"],
    );
}

#[test]
fn rfc_7553_4_2_errors_of_uri_have_their_place() {
    check_errors(
        "x 60 URI 1 \"a\"",
        &["t.zone:3:12: bad URI data: the weight must be a number up to 65535"],
    );
    check_errors(
        "x 60 URI 1 2 a",
        &["t.zone:3:14: bad URI data: the target must be in quotes"],
    );
    check_errors(
        "x 60 URI 1 65536 \"a\"",
        &["t.zone:3:12: bad URI data: the weight must be a number up to 65535"],
    );
    check_errors(
        "x 60 URI 1 2 \"\"",
        &["t.zone:3:14: bad URI data: the target is empty"],
    );
}

#[test]
fn lines_are_right_behind_parentheses_and_strings() {
    check_errors(
        "a 60 TXT ( \"x\"\n\"y\" ; (\n\n z )\nb 60 A 192.0.2\n",
        &["t.zone:7:8: bad A data"],
    );
    // The mistake is within the parentheses.
    check_errors(
        "a 60 SRV ( 1\n 2 ; weight\n x ; port\n b )\n",
        &["t.zone:5:2: bad SRV data"],
    );
    check_errors(
        "a 60 TXT ( \"x\"\n\"y\" \"z\"\n \\999 )\n",
        &["t.zone:5:2: a backslash must"],
    );
    check_errors(
        "a 60 MX ( 1\n b..c )\n",
        &["t.zone:4:2: \"b..c\" is not a name"],
    );
    check_errors(
        "a 60 MX ( 1\n b c )\n",
        &["t.zone:4:4: bad MX data: unexpected field"],
    );
    // Errors of a field that is not the last one.
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
fn a_message_shows_only_the_beginning_of_a_long_token() {
    let long = "a".repeat(70_000);
    let text = plain_text(&format!("{long} 60 A 192.0.2.1\n"));
    let error = Zone::parse(&config("example", None), &text).unwrap_err();
    let expected = format!(
        "t.zone:3:1: \"{}...\" is not a name: a label has more",
        &long[..100]
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    check_errors(
        &format!("x 60 TXT \"{}\"\ny 60 A 1", "ab".repeat(140_000)),
        &[
            "t.zone:3:10: the field has more than 262142 bytes",
            "t.zone:4:8: bad A data",
        ],
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
