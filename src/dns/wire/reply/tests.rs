//! Padding (RFC 7830, RFC 8467), over all lengths that a reply may have.

use super::*;
use crate::dns::wire::edns::QueryEdns;

/// A question about a name of one label.
const QUESTION: &[u8] = b"\x01a\0\0\x10\0\x01";

fn echo() -> Echo<'static> {
    let mut echo = Echo::new(&[0; HEADER_LEN]);
    echo.question = QUESTION;
    echo.edns = QueryEdns::read([0x04, 0xD0], [0; 4], b"\0\x0c\0\0").ok();
    echo
}

fn frame<'a>(echo: &'a Echo<'a>, limit: usize) -> Frame<'a> {
    Frame {
        echo,
        udp_payload: 1_232,
        options: Options {
            padding: true,
            ..Options::default()
        },
        limit,
        has_valid_cookie: false,
        routed: None,
    }
}

/// The head of an answer with so many records in the answer section.
fn head(answers: u16) -> Head {
    Head {
        authoritative: false,
        rcode: 0,
        answers,
        authorities: 0,
        additionals: 0,
        error: 0,
        is_signed: false,
        link: None,
    }
}

/// The codes and lengths of the options of a reply, the OPT record of which begins there.
fn options(reply: &[u8], opt: usize) -> Vec<(u16, usize)> {
    assert_eq!(reply[opt..opt + 3], [0, 0, 41]);
    let all = usize::from(u16::from_be_bytes([reply[opt + 9], reply[opt + 10]]));
    let mut rest = &reply[opt + OPT_LEN..][..all];
    let mut options = Vec::new();
    while let Some((&[c0, c1, l0, l1], more)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let (data, more) = more.split_at(len);
        let code = u16::from_be_bytes([c0, c1]);
        if code == OPTION_PADDING {
            assert!(data.iter().all(|byte| *byte == 0), "RFC 7830 §3");
        }
        options.push((code, len));
        rest = more;
    }
    assert!(rest.is_empty());
    options
}

#[test]
fn rfc8467_4_1_replies_of_all_lengths_are_whole_blocks() {
    let echo = echo();
    let frame = frame(&echo, 65_535);
    let mut buffer = ReplyBuffer::new(65_535);
    // The bytes of an earlier reply must not show.
    buffer.bytes.fill(0xFF);
    let fixed = HEADER_LEN + QUESTION.len();
    for records in 0..=frame.room() {
        buffer.complete(&frame, head(1), records);
        let reply = buffer.as_bytes();
        let bare = fixed + records + OPT_LEN;
        let options = options(reply, fixed + records);
        if bare + OPTION_HEADER_LEN > 65_535 {
            assert_eq!((reply.len(), &options[..]), (bare, &[][..]));
            continue;
        }
        let padding = reply.len() - bare - OPTION_HEADER_LEN;
        assert_eq!(options, [(OPTION_PADDING, padding)]);
        assert!(padding < PADDED_BLOCK);
        let is_whole = reply.len().is_multiple_of(PADDED_BLOCK);
        assert!(
            is_whole || reply.len() == 65_535,
            "{records}: {}",
            reply.len()
        );
    }
}

#[test]
fn rfc7830_3_padding_at_the_edges() {
    // An empty option is enough if it fits exactly; otherwise it takes a whole block.
    assert_eq!(padding(464, 65_535), Some(0));
    for len in 465..=468 {
        assert_eq!(padding(len, 65_535), Some(468 + 464 - len));
    }
    assert_eq!(padding(0, 65_535), Some(464));
    // The last whole block ends at 65,520.
    assert_eq!(padding(65_516, 65_535), Some(0));
    assert_eq!(padding(65_517, 65_535), Some(14));
    assert_eq!(padding(65_531, 65_535), Some(0));
    assert_eq!(padding(65_532, 65_535), None);
    assert_eq!(padding(65_535, 65_535), None);
}

/// Padding displaces no records, and only a record that has to be last follows it.
#[test]
fn rfc7830_4_padding_is_the_last_option() {
    let echo = echo();
    let mut frame = frame(&echo, 65_535);
    let room = frame.room();
    frame.options.padding = false;
    assert_eq!(frame.room(), room);
    frame.options = Options {
        cookie: Some([7; COOKIE_LEN]),
        nsid: Some(b"fra1"),
        keepalive: Some(100),
        subnet: ClientSubnet::read(b"\0\x01\0\0").map(|subnet| (subnet, 0)),
        error: None,
        padding: true,
    };
    let refusal = Refusal {
        tsig: Some(vec![0xEE; 60]),
        ..Refusal::unreadable()
    };
    let mut buffer = ReplyBuffer::new(65_535);
    buffer.refuse(&frame, &refusal);
    let reply = buffer.as_bytes();
    assert_eq!(reply.len(), PADDED_BLOCK);
    assert_eq!(reply[408..], [0xEE; 60]);
    assert_eq!(reply[10..HEADER_LEN], [0, 2], "OPT and TSIG");
    let found = options(reply, HEADER_LEN + QUESTION.len());
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    let expected = [
        OPTION_COOKIE,
        OPTION_NSID,
        OPTION_KEEPALIVE,
        OPTION_CLIENT_SUBNET,
        OPTION_EXTENDED_ERROR,
        OPTION_PADDING,
    ];
    assert_eq!(codes, expected);
    // A TSIG record for which there is no room is left out, as without padding.
    let tight = Frame {
        limit: HEADER_LEN + QUESTION.len() + frame.opt_len() + 59,
        ..frame
    };
    buffer.refuse(&tight, &refusal);
    assert_eq!(buffer.as_bytes()[10..HEADER_LEN], [0, 1]);
    assert!(buffer.as_bytes().len() <= tight.limit);
}

#[test]
fn rfc7830_4_no_padding_without_the_query_s() {
    let mut echo = echo();
    let mut buffer = ReplyBuffer::new(65_535);
    let mut plain = frame(&echo, 65_535);
    plain.options.padding = false;
    buffer.complete(&plain, head(0), 0);
    let bare = HEADER_LEN + QUESTION.len();
    assert_eq!(buffer.as_bytes().len(), bare + OPT_LEN);
    echo.edns = None;
    buffer.complete(&frame(&echo, 65_535), head(0), 0);
    assert_eq!(buffer.as_bytes().len(), bare);
}

#[test]
fn a_head_comes_back_from_its_bytes() {
    let places = [None, Some(LinkPlace::Short), Some(LinkPlace::Target)];
    for (bits, link) in (0..16_u8).flat_map(|bits| places.map(|link| (bits, link))) {
        let head = Head {
            authoritative: bits & 1 != 0,
            rcode: 3,
            answers: 0x0102,
            authorities: 0x0304,
            additionals: 0xFFFF,
            is_signed: bits & 2 != 0,
            error: bits >> 2,
            link,
        };
        assert_eq!(Head::from_bytes(head.to_bytes()), head);
    }
}
