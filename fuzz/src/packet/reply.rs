//! The checks of one reply: its form, header, size, EDNS options and rcode.

use super::super::message::{HEADER_LEN, MAX_UDP, MIN_UDP, Message, assert_reply_form, rcode};
use super::super::world::Via;
use super::Servers;
use super::signed::check_signed;
use super::verdict::{Expected, verdict};

/// The option code of cookies, and the length of a client cookie (RFC 7873 §4).
pub(super) const COOKIE: u16 = 10;
pub(super) const CLIENT_COOKIE: usize = 8;
/// The multiple to which replies are padded, in bytes (RFC 8467 §4.1).
const PADDED_BLOCK: usize = 468;

fn is_tls(via: Via) -> bool {
    matches!(via, Via::Tls { .. })
}

/// Sends a packet twice, and checks the reply without comparing it with others. Returns the reply, if there is one.
pub(super) fn check_packet(
    servers: &mut Servers,
    packet: &[u8],
    via: Via,
    store_fails: bool,
) -> Option<Vec<u8>> {
    let reply = servers.hot.ask(packet, via);
    let Some(reply) = reply else {
        let is_query = packet.len() >= HEADER_LEN && packet[2] & 0x80 == 0;
        assert!(!is_query, "no reply: {packet:02x?}");
        return None;
    };
    let context = || {
        format!(
            "{via:?} {packet:02x?}\n{reply:02x?}\n{:#?}",
            Message::read(&reply)
        )
    };
    let is_query = packet.len() >= HEADER_LEN && packet[2] & 0x80 == 0;
    assert!(is_query, "a reply to what is no query: {}", context());
    let message = assert_reply_form(&reply);
    let expected = verdict(packet);
    check_head(packet, &message, &expected, &context);
    check_opt(&message, &expected, via, &context);
    let limit = match via {
        Via::Udp => expected
            .udp_size
            .map_or(MIN_UDP, |size| usize::from(size).clamp(MIN_UDP, MAX_UDP)),
        Via::Tcp { .. } | Via::Tls { .. } => usize::from(u16::MAX),
    };
    if expected.padding && is_tls(via) && reply.len() <= limit - PADDED_BLOCK {
        assert_eq!(
            reply.len() % PADDED_BLOCK,
            0,
            "{} bytes: {}",
            reply.len(),
            context()
        );
    }
    assert!(reply.len() <= limit, "{} bytes: {}", reply.len(), context());
    let is_udp = via == Via::Udp;
    assert!(
        is_udp || !message.is_truncated(),
        "TC by TCP: {}",
        context()
    );
    check_rcode(message.rcode(), &expected, store_fails, &context);
    check_signed(&message, &expected, &context);
    let again = servers.hot.ask(packet, via);
    // Absences are remembered for a span of real time, which may end at this moment.
    let has_failed = |reply: &Vec<u8>| u16::from(reply[3] & 0x0F) == rcode::SERV_FAIL;
    let may_differ = store_fails && again.as_ref().is_some_and(has_failed);
    if message.rcode() != rcode::SERV_FAIL && !may_differ {
        assert_eq!(again.as_ref(), Some(&reply), "again: {}", context());
    }
    Some(reply)
}

fn check_head(packet: &[u8], message: &Message, expected: &Expected, context: &dyn Fn() -> String) {
    let header = &message.header;
    assert_eq!(header[..2], packet[..2], "id: {}", context());
    let kept = 0b0111_1001;
    assert_eq!(
        header[2] & kept,
        packet[2] & kept,
        "opcode, RD: {}",
        context()
    );
    match &expected.question {
        Some(question) => assert_eq!(
            message.questions[..],
            *std::slice::from_ref(question),
            "{}",
            context()
        ),
        None => assert!(message.questions.is_empty(), "{}", context()),
    }
    if message.is_authoritative() {
        let is_data = matches!(
            message.rcode(),
            rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN
        );
        assert!(is_data, "AA: {}", context());
    }
}

fn check_opt(message: &Message, expected: &Expected, via: Via, context: &dyn Fn() -> String) {
    let opt = message.opts().next();
    assert_eq!(
        opt.is_some(),
        expected.udp_size.is_some(),
        "OPT: {}",
        context()
    );
    let Some(opt) = opt else {
        return;
    };
    assert_eq!(usize::from(opt.class), MAX_UDP, "our size: {}", context());
    let dnssec_ok = opt.ttl & 0x8000 != 0;
    assert_eq!(dnssec_ok, expected.dnssec_ok, "DO: {}", context());
    let compact_ok = opt.ttl & 0x4000 != 0;
    assert!(!compact_ok || expected.compact_ok, "CO: {}", context());
    let options = opt.options().expect("it was read before");
    for (place, (code, data)) in options.iter().enumerate() {
        let is_second = options[..place].iter().any(|(other, _)| other == code);
        assert!(!is_second, "option {code} twice: {}", context());
        let is_asked_for = match *code {
            COOKIE => {
                let cookie = expected.cookie.as_deref().unwrap_or_default();
                let client = cookie.get(..CLIENT_COOKIE);
                data.len() == 24 && client == data.get(..CLIENT_COOKIE)
            }
            3 => expected.nsid,
            11 => expected.keepalive && via != Via::Udp && data.len() == 2,
            // RFC 7830 §3: zeros; §6: not where others can read.
            12 => expected.padding && is_tls(via) && data.iter().all(|byte| *byte == 0),
            // RFC 8914 §2: a code, and text in UTF-8.
            15 => data.len() >= 2 && std::str::from_utf8(&data[2..]).is_ok(),
            _ => false,
        };
        assert!(is_asked_for, "option {code}: {}", context());
    }
    let has_cookie = options.iter().any(|(code, _)| *code == COOKIE);
    assert_eq!(
        has_cookie,
        expected.cookie.is_some(),
        "cookie: {}",
        context()
    );
}

fn check_rcode(found: u16, expected: &Expected, store_fails: bool, context: &dyn Fn() -> String) {
    match expected.rcode {
        Some(rcode) => assert_eq!(found, rcode, "{}: {}", expected.why, context()),
        None => {
            let is_answer = matches!(
                found,
                rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN | rcode::REFUSED
            );
            let is_failure = found == rcode::SERV_FAIL && store_fails;
            assert!(is_answer || is_failure, "rcode {found}: {}", context());
        }
    }
}
