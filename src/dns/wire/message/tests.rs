use proptest::prelude::*;

use super::*;

const NAME: &[u8] = b"\x01a\x01B\0";
const OURS: &[u8] = b"\x01s\x07example\0";
/// An OPT record without options.
const OPT: &[u8] = b"\0\0\x29\x04\xD0\0\0\0\0\0\0";
/// A record of type A at the root.
const RECORD: &[u8] = b"\0\0\x01\0\x01\0\0\0\0\0\x04\xC0\0\x02\x01";

/// A message: opcode, counts, and the bytes after the header.
fn message(opcode: u8, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0xAB, 0xCD, opcode << 3 | 1, 0];
    packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    packet.extend(parts.concat());
    packet
}

fn question(name: &[u8], qtype: u16, class: u16) -> Vec<u8> {
    [name, &qtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

fn query(qtype: u16, class: u16) -> Vec<u8> {
    message(QUERY, [1, 0, 0, 0], &[&question(NAME, qtype, class)])
}

fn refusal(packet: &[u8], identity: &Identity) -> Option<Refusal> {
    let message = Message::read(packet).unwrap();
    message.refusal(identity, CookieCheck::None, |name| name.as_bytes() == OURS)
}

/// The rcode with which a message is refused; none if it needs a look-up.
#[track_caller]
fn check(packet: &[u8], rcode: Option<u16>) {
    let refused = refusal(packet, &Identity::default());
    assert_eq!(refused.map(|refused| refused.rcode), rcode);
}

/// Why a message is malformed.
#[track_caller]
fn check_fault(packet: &[u8], why: &str) {
    let refused = refusal(packet, &Identity::default()).unwrap();
    let text = refused.error.map(|error| error.text);
    assert_eq!((refused.rcode, text), (FORM_ERR, Some(why)));
}

/// RFC 1035 §4.1.1: a server that does not implement an opcode says so, whatever else is in the message.
#[test]
fn rfc8906_3_1_3_unknown_opcodes() {
    for opcode in [1, 2, 3, 6, 7, 14, 15] {
        check(&message(opcode, [0; 4], &[]), Some(NOT_IMP));
        check(&message(opcode, [9; 4], &[&[0xFF; 9]]), Some(NOT_IMP));
    }
    assert!(Message::read(&[0; 11]).is_none());
}

#[test]
fn rfc9619_4_one_question() {
    check(&query(16, CLASS_IN), None);
    let one = question(NAME, 16, CLASS_IN);
    check_fault(&message(QUERY, [0; 4], &[]), "a query has one question");
    let two = message(QUERY, [2, 0, 0, 0], &[&one, &one]);
    check_fault(&two, "a query has one question");
    assert!(Message::read(&two).unwrap().echo.question.is_empty());
    check_fault(&message(QUERY, [2, 0, 0, 0], &[&one]), CUT_OFF);
}

/// RFC 1035 §4.1.4: a name is compressed by a pointer to an earlier one, and there is none.
#[test]
fn rfc1035_4_1_4_pointers_in_the_question() {
    for name in [&[0xC0, 12][..], &[0xC0, 0], &[1, b'a', 0xC0, 12], &[0xC0]] {
        let packet = message(QUERY, [1, 0, 0, 0], &[&question(name, 1, CLASS_IN)]);
        check_fault(&packet, "the question is compressed");
        assert!(Message::read(&packet).unwrap().echo.question.is_empty());
    }
}

#[test]
fn rfc1035_2_3_4_sizes_of_names() {
    let label = |len: u8| [&[len][..], &vec![b'x'; len.into()]].concat();
    let of = |lens: &[u8]| -> Vec<u8> {
        let mut name: Vec<u8> = lens.iter().flat_map(|len| label(*len)).collect();
        name.push(0);
        message(QUERY, [1, 0, 0, 0], &[&question(&name, 1, CLASS_IN)])
    };
    check(&of(&[63, 63, 63, 61]), None);
    check_fault(&of(&[63, 63, 63, 62]), BAD_NAME);
    check_fault(&of(&[63, 63, 63, 63]), BAD_NAME);
    check_fault(&of(&[64]), BAD_NAME);
    check_fault(&of(&[0x80]), BAD_NAME);
}

#[test]
fn messages_that_are_cut_off_or_have_trailing_bytes() {
    let options = b"\0\x03\0\0\0\x0a\0\x08cookies!";
    let opt = [&OPT[..9], &[0, options.len() as u8], &options[..]].concat();
    let parts = [&question(NAME, 16, CLASS_IN), RECORD, RECORD, &opt];
    let whole = message(QUERY, [1, 1, 1, 1], &parts);
    check(&whole, None);
    for len in HEADER_LEN..whole.len() {
        let refused = refusal(&whole[..len], &Identity::default()).unwrap();
        assert_eq!(refused.rcode, FORM_ERR, "{len} bytes of it");
    }
    let longer = [&whole[..], &[0]].concat();
    check_fault(&longer, "there are bytes after the end of the message");
    let echo = Message::read(&longer).unwrap().echo;
    assert_eq!(echo.question, parts[0]);
    assert!(echo.edns.is_some_and(|edns| edns.nsid));
}

#[test]
fn rfc6891_6_1_1_one_opt_at_the_root_in_the_additional_section() {
    let of = |counts: [u16; 4], parts: &[&[u8]]| {
        let question = question(NAME, 16, CLASS_IN);
        message(QUERY, counts, &[&question, &parts.concat()])
    };
    check(&of([1, 0, 0, 2], &[RECORD, OPT]), None);
    check(&of([1, 0, 0, 2], &[OPT, RECORD]), None);
    let two = of([1, 0, 0, 2], &[OPT, OPT]);
    check_fault(&two, "there is more than one OPT record");
    assert!(Message::read(&two).unwrap().echo.edns.is_some());
    let misplaced = "OPT is not in the additional section";
    check_fault(&of([1, 1, 0, 0], &[OPT]), misplaced);
    check_fault(&of([1, 0, 1, 0], &[OPT]), misplaced);
    let named = [b"\x01a", OPT].concat();
    check_fault(
        &of([1, 0, 0, 1], &[&named]),
        "the owner of OPT is not the root",
    );
    let pointed = [b"\xC0\x0C", &OPT[1..]].concat();
    check_fault(
        &of([1, 0, 0, 1], &[&pointed]),
        "the owner of OPT is not the root",
    );
    let malformed = [&OPT[..10], b"\x03\0\x03\0"].concat();
    let packet = of([1, 0, 0, 1], &[&malformed]);
    check_fault(&packet, "an EDNS option is malformed");
    assert!(Message::read(&packet).unwrap().echo.edns.is_some());
}

/// RFC 6891 §6.1.3: BADVERS comes before all checks of the question, and after those of the message's form.
#[test]
fn rfc6891_6_1_3_versions() {
    for (name, qtype) in [(NAME, 16), (NAME, TYPE_AXFR), (NAME, TYPE_OPT)] {
        let mut opt = OPT.to_vec();
        opt[6] = 1;
        let question = question(name, qtype, CLASS_IN);
        let packet = message(QUERY, [1, 0, 0, 1], &[&question, &opt]);
        check(&packet, Some(BAD_VERS));
        // Other versions may have options in another form.
        let strange = [&opt[..10], b"\x03\0\x03\0"].concat();
        let packet = message(QUERY, [1, 0, 0, 1], &[&question, &strange]);
        check(&packet, Some(BAD_VERS));
        check(&message(3, [1, 0, 0, 1], &[&question, &opt]), Some(NOT_IMP));
    }
}

#[test]
fn rfc7873_5_4_a_cookie_alone() {
    let cookie = |len: u8| {
        let data = vec![7; len.into()];
        [&OPT[..10], &[4 + len, 0, 10, 0, len], &data].concat()
    };
    let packet = message(QUERY, [0, 0, 0, 1], &[&cookie(24)]);
    let message_of_it = Message::read(&packet).unwrap();
    for (cookie, rcode) in [
        (CookieCheck::New, NO_ERROR),
        (CookieCheck::Valid, NO_ERROR),
        (CookieCheck::Invalid, BAD_COOKIE),
        (CookieCheck::None, FORM_ERR),
    ] {
        let refused = message_of_it.refusal(&Identity::default(), cookie, |_| false);
        assert_eq!(
            refused.map(|refused| refused.rcode),
            Some(rcode),
            "{cookie:?}"
        );
    }
    // RFC 7873 §5.2.2
    check(&message(QUERY, [0, 0, 0, 1], &[&cookie(9)]), Some(FORM_ERR));
    check(&message(QUERY, [0, 0, 0, 1], &[OPT]), Some(FORM_ERR));
    let question = question(NAME, 16, CLASS_IN);
    let packet = message(QUERY, [1, 0, 0, 1], &[&question, &cookie(15)]);
    check_fault(&packet, "an EDNS option is malformed");
}

#[test]
fn rfc6895_3_1_types_that_are_no_data() {
    let cases = [
        (TYPE_AXFR, NOT_AUTH),
        (TYPE_IXFR, NOT_AUTH),
        (TYPE_OPT, FORM_ERR),
        (TYPE_TSIG, FORM_ERR),
        (TYPE_NXNAME, FORM_ERR),
        (TYPE_TKEY, NOT_IMP),
        (TYPE_MAILA, NOT_IMP),
        (TYPE_MAILB, NOT_IMP),
    ];
    for (qtype, rcode) in cases {
        check(&query(qtype, CLASS_IN), Some(rcode));
    }
    // RFC 5936 §2.2.1: a missing zone is not the same as a transfer that is not offered.
    for qtype in [TYPE_AXFR, TYPE_IXFR] {
        let packet = message(QUERY, [1, 0, 0, 0], &[&question(OURS, qtype, CLASS_IN)]);
        check(&packet, Some(REFUSED));
    }
    for qtype in [0, 1, 127, 129, 200, 248, 255, 256, 65_535] {
        check(&query(qtype, CLASS_IN), None);
    }
}

#[test]
fn other_classes_are_refused() {
    for class in [0, 2, CLASS_CHAOS, 4, 254, CLASS_ANY, 65_535] {
        check(&query(16, class), Some(REFUSED));
    }
}

#[test]
fn rfc4892_2_class_ch() {
    let identity = Identity {
        version: Some("tinyns 9".into()),
        id: Some("fra1".into()),
    };
    let ask = |name: &[u8], qtype, identity: &Identity| {
        let question = question(name, qtype, CLASS_CHAOS);
        let packet = message(QUERY, [1, 0, 0, 0], &[&question]);
        refusal(&packet, identity).unwrap()
    };
    for (name, text) in [
        (&b"\x07VERSION\x04bind\0"[..], "tinyns 9"),
        (b"\x07version\x06server\0", "tinyns 9"),
        (b"\x02id\x06server\0", "fra1"),
        (b"\x08hostname\x04Bind\0", "fra1"),
    ] {
        for qtype in [16, 255] {
            let answer = ask(name, qtype, &identity);
            assert!(answer.rcode == NO_ERROR && answer.authoritative);
            let record = answer.answer.unwrap();
            let (fixed, data) = record.split_at(12);
            assert_eq!(
                fixed,
                [0xC0, 12, 0, 16, 0, 3, 0, 0, 0, 0, 0, data.len() as u8]
            );
            assert_eq!(&data[1..], text.as_bytes());
        }
        assert_eq!(ask(name, 1, &identity).rcode, REFUSED);
        assert_eq!(ask(name, 16, &Identity::default()).rcode, REFUSED);
    }
    assert_eq!(ask(b"\x07authors\x04bind\0", 16, &identity).rcode, REFUSED);
}

/// A NOTIFY or an UPDATE of this zone.
fn change(opcode: u8, zone: &[u8], qtype: u16, class: u16) -> Vec<u8> {
    message(
        opcode,
        [1, 1, 1, 0],
        &[&question(zone, qtype, class), RECORD, RECORD],
    )
}

#[test]
fn rfc2136_3_1_2_and_rfc1996_3_changes_of_zones() {
    for opcode in [NOTIFY, UPDATE] {
        check(&change(opcode, OURS, TYPE_SOA, CLASS_IN), Some(REFUSED));
        check(
            &change(opcode, b"\x01S\x07eXample\0", TYPE_SOA, CLASS_IN),
            Some(REFUSED),
        );
        check(&change(opcode, NAME, TYPE_SOA, CLASS_IN), Some(NOT_AUTH));
        check(&change(opcode, OURS, TYPE_SOA, CLASS_CHAOS), Some(NOT_AUTH));
        check(&change(opcode, OURS, 1, CLASS_IN), Some(FORM_ERR));
        check(&message(opcode, [0; 4], &[]), Some(FORM_ERR));
    }
}

/// A TSIG record with a MAC of four bytes.
fn tsig() -> Vec<u8> {
    let mut data = b"\x0bhmac-sha256\0".to_vec();
    data.extend([
        1, 2, 3, 4, 5, 6, 0x01, 0x2C, 0, 4, 9, 9, 9, 9, 0xAB, 0xCD, 0, 0, 0, 0,
    ]);
    let fixed = [
        b"\x03key\0",
        &[0, 250, 0, 255, 0, 0, 0, 0, 0, data.len() as u8][..],
    ]
    .concat();
    [fixed, data].concat()
}

#[test]
fn rfc8945_5_2_1_no_key_is_known() {
    let question = question(NAME, 16, CLASS_IN);
    let tsig = tsig();
    let refused = |opcode, parts: &[&[u8]]| {
        let additionals = parts.len() as u16;
        let packet = message(
            opcode,
            [1, 0, 0, additionals],
            &[&question, &parts.concat()],
        );
        refusal(&packet, &Identity::default()).unwrap()
    };
    let reply = refused(QUERY, &[OPT, &tsig]);
    assert_eq!(reply.rcode, NOT_AUTH);
    let mut expected = tsig.clone();
    // No MAC (RFC 8945 §5.3.2), and BADKEY.
    expected.drain(38..42);
    expected[14] -= 4;
    expected[37] = 0;
    expected[41] = 17;
    assert_eq!(reply.tsig, Some(expected));
    // RFC 8945 §5.1
    assert_eq!(refused(QUERY, &[&tsig, OPT]).rcode, FORM_ERR);
    for counts in [[1, 1, 0, 0], [1, 0, 1, 0]] {
        check_fault(
            &message(NOTIFY, counts, &[&question, &tsig]),
            "TSIG is not the last record",
        );
    }
    assert_eq!(refused(QUERY, &[&tsig, &tsig]).rcode, FORM_ERR);
    for cut in [&tsig[..tsig.len() - 1], &tsig[..20]] {
        assert_eq!(refused(QUERY, &[cut]).rcode, FORM_ERR);
    }
}

/// RFC 8945 §4.2 forbids compression here; Knot DNS, NSD and BIND accept it all the same.
#[test]
fn a_compressed_tsig_record_is_read() {
    let question = question(NAME, 16, CLASS_IN);
    let end = HEADER_LEN + question.len();
    let refused = |owner: &[u8], algorithm: &[u8]| {
        let mut data = algorithm.to_vec();
        data.extend([
            1, 2, 3, 4, 5, 6, 0x01, 0x2C, 0, 1, 9, 0xAB, 0xCD, 0, 0, 0, 0,
        ]);
        let fixed = [0, 250, 0, 255, 0, 0, 0, 0, 0, data.len() as u8];
        let tsig = [owner, &fixed, &data].concat();
        let packet = message(QUERY, [1, 0, 0, 1], &[&question, &tsig]);
        refusal(&packet, &Identity::default()).unwrap()
    };
    let check = |owner: &[u8], algorithm: &[u8], whole: [&[u8]; 2]| {
        let reply = refused(owner, algorithm);
        assert_eq!(reply.rcode, NOT_AUTH, "{owner:?} {algorithm:?}");
        let tsig = reply.tsig.unwrap();
        let (first, rest) = tsig.split_at(whole[0].len());
        assert_eq!(first, whole[0]);
        assert_eq!(&rest[10..10 + whole[1].len()], whole[1]);
        let len = usize::from(u16::from_be_bytes([rest[8], rest[9]]));
        assert_eq!(rest.len(), 10 + len);
    };
    let name = &question[..question.len() - 4];
    let key = [b"\x03KeY", name].concat();
    let (plain, to_name) = (&b"\x03alg\0"[..], &[0xC0, HEADER_LEN as u8][..]);
    check(to_name, plain, [name, plain]);
    check(&[b"\x03KeY", to_name].concat(), plain, [&key, plain]);
    check(b"\0", to_name, [b"\0", name]);
    check(to_name, &[b"\x03KeY", to_name].concat(), [name, &key]);
    // Into the algorithm's own name, itself, and what comes later.
    let after = end + 1 + 10;
    for bad in [
        [0xC0, 2],
        [0xC0, end as u8],
        [0xC0, end as u8 + 4],
        [0xFF, 0xFF],
    ] {
        assert_eq!(refused(&bad, plain).rcode, FORM_ERR, "{bad:?}");
    }
    for bad in [[0xC0, after as u8], [0xC0, after as u8 + 4]] {
        assert_eq!(refused(b"\0", &bad).rcode, FORM_ERR, "{bad:?}");
    }
    // A name that would be too long with what the pointer leads to.
    let long = [&[63; 64][..], &[63; 64], &[63; 64], &[59; 60], to_name].concat();
    assert_eq!(refused(&long, plain).rcode, FORM_ERR);
}

proptest! {
    /// For any bytes: the parts that a reply repeats are in the message, and a question is repeated whole or not at
    /// all.
    #[test]
    fn any_bytes(packet in prop::collection::vec(any::<u8>(), HEADER_LEN..80), questions in 0_u8..3) {
        let mut packet = packet;
        let additionals = packet[11] % 3;
        packet[4..12].copy_from_slice(&[0, questions, 0, 0, 0, 0, 0, additionals]);
        let message = Message::read(&packet).unwrap();
        let question = message.echo.question;
        prop_assert!(question.is_empty() || packet[HEADER_LEN..].starts_with(question));
        prop_assert_eq!(question.is_empty(), message.question.is_none());
        let _ = message.refusal(&Identity::default(), CookieCheck::None, |_| false);
    }
}

/// RFC 6891 §6.1.2: the contents of an option that the server ignores are no reason to refuse a query.
#[test]
fn rfc6891_6_1_2_options_are_not_for_hickory() {
    use hickory_proto::op::Message as Decoded;

    // A malformed client subnet.
    let options = b"\0\x08\0\x03\0\x01\xFF\0\x03\0\0";
    let opt = [&OPT[..9], &[0, options.len() as u8], options].concat();
    let question = question(NAME, 16, CLASS_IN);
    for records in [[&opt[..], RECORD], [RECORD, &opt]] {
        let packet = message(QUERY, [1, 0, 0, 2], &[&question, records[0], records[1]]);
        assert!(
            Decoded::from_vec(&packet).is_err(),
            "or there is no need for it"
        );
        let bare = Message::read(&packet).unwrap().without_options(&packet);
        assert_eq!(bare.len(), packet.len());
        let decoded = Decoded::from_vec(&bare).unwrap();
        assert_eq!(decoded.additionals.len(), 1);
        assert_eq!(decoded.edns.unwrap().max_payload(), 1_232);
    }
    let plain = query(16, CLASS_IN);
    assert_eq!(
        Message::read(&plain).unwrap().without_options(&plain),
        plain
    );
}
