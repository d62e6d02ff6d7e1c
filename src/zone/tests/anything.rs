//! Random text and names: no input causes a panic, and no record is dropped without an error.

use super::*;

/// Pieces of master files.
const WORDS: &str = "@ . a * *.r r sub a..b x.example. y.test. IN CH 60 1h 0 1 255 65535 99999999999 A AAAA \
    NS SOA CNAME DNAME MX TXT SRV HTTPS SVCB CAA NAPTR IPSECKEY DS DNSKEY CDS TLSA SSHFP \
    URI RP HINFO OPENPGPKEY ZONEMD TYPE1 TYPE16 TYPE65280 \\# 192.0.2.1 2001:db8::1 abcd \
    AQIDBA== \"q\" \"\" \" \\\" \\ \\255 \\999 \\1 alpn=h2 alpn=\"h2,h3\" key65=\"a b\" \
    mandatory=alpn ipv4hint=192.0.2.1 ech=AQID port= = key issue $TTL $ORIGIN $INCLUDE \
    $GENERATE 1-3 a$ ${0,2,x} ${-1 é \u{0} #";

/// Text that resembles a master file.
fn almost_a_zone() -> impl Strategy<Value = String> {
    let word = prop::sample::select(WORDS.split(' ').collect::<Vec<_>>());
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

/// Types with different readers.
const TYPES: &str = "A AAAA NS SOA CNAME DNAME MX TXT SRV HTTPS SVCB CAA NAPTR MB IPSECKEY DS DNSKEY CDS \
    CDNSKEY TLSA SMIMEA SSHFP URI RP HINFO MINFO OPENPGPKEY ZONEMD TYPE1 TYPE2 TYPE6 TYPE16 \
    TYPE64 TYPE65 TYPE257 TYPE65280 LOC CERT APL CSYNC EUI48 EUI64 NID L32 L64 LP HIP DHCID GPOS X25 \
    ISDN NSAP NSAP-PTR PX AMTRELAY AVC DLV KEY WKS SINK DOA DSYNC TALINK KX TYPE29 TYPE37 TYPE42 \
    TYPE55 TYPE62 TYPE260";

/// Text that resembles a record.
fn almost_a_record() -> impl Strategy<Value = String> {
    let rtype = prop::sample::select(TYPES.split(' ').collect::<Vec<_>>());
    let field = prop_oneof![
        "[ -~]{0,8}",
        "\"[ -!#-~]{0,8}\"",
        "[0-9]{1,5}",
        "[0-9A-F]{2,12}",
        "[a-z]{1,5}=[a-z0-9,]{0,6}",
        "[a-z]{1,5}=\"[a-z0-9, \\\\]{0,6}\"",
        "(alpn|port|key1|key3|mandatory|ipv4hint|ech|dohpath)=[a-z0-9.,/\\\\]{0,6}",
        "!?[12]:[0-9a-f.:]{1,8}/[0-9]{1,3}",
        "[0-9]{1,3} [NSEW] ",
        Just("\\#".to_owned()),
        Just("@".to_owned()),
        Just(".".to_owned()),
    ];
    (rtype, prop::collection::vec(field, 0..8))
        .prop_map(|(rtype, fields)| format!("{HEAD}x 1 {rtype} {}\n", fields.join(" ")))
}

proptest! {
    #[test]
    fn lookup_never_panics_and_agrees_with_its_short_way(labels in prop::collection::vec(
        prop_oneof![Just(b"r".to_vec()), "[a-z0-9*_-]{1,8}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 1..63)],
        0..6,
    ), at_apex in any::<bool>(), with_wildcard in any::<bool>()) {
        let wildcard = if with_wildcard { "* 60 TXT a\n" } else { "" };
        let zone = link_zone(&format!(
            "{wildcard}sub 60 NS ns.test.\nd 60 DNAME x.test.\na.b.c 60 A 192.0.2.1\n"
        ));
        let apex = [b"example".to_vec()];
        let labels = labels.iter().chain(apex.iter().filter(|_| at_apex));
        if let Ok(name) = Name::from_labels(labels.map(Vec::as_slice)) {
            let name = LowerName::from(name);
            let found = zone.lookup(&name);
            prop_assert!(at_apex || matches!(found, Lookup::NoName));
            zone.addresses(&name);
            check_link_at(&zone, &name);
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
        // Either there is an error, or the zone has the record.
        if let Ok((zone, _)) = Zone::parse(&config("example", None), &text) {
            let name = lower("x.example.");
            let found = zone.lookup(&name);
            let is_there = match &found {
                Lookup::Exact(node) | Lookup::Delegation { node, .. } => node.rrsets().next().is_some(),
                _ => false,
            };
            prop_assert!(is_there, "{}: {}", text, show(&found));
        }
    }
}
