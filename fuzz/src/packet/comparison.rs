//! Comparisons of replies: the same query must get the same answer from servers with and without hot answers, on the
//! fast and the general path, by UDP and TCP, and in any letter case.

use hickory_proto::op::Message as HickoryMessage;
use hickory_proto::rr::Record as HickoryRecord;

use super::super::message::{HEADER_LEN, Message, RRSIG, assert_reply_form, rcode};
use super::super::world::Via;
use super::Servers;
use super::reply::{CLIENT_COOKIE, COOKIE};
use super::signed::blank;
use super::verdict::verdict;

/// The length of a server cookie (RFC 9018 §4), in bytes.
const SERVER_COOKIE: usize = 16;

/// Sends the query to other servers, by other transports and in other forms; all answers must be the same.
pub(super) fn check_same(servers: &mut Servers, packet: &[u8], via: Via, reply: Option<&[u8]>) {
    let Some(reply) = reply else {
        return;
    };
    let context = |other: &[u8]| format!("{via:?} {packet:02x?}\n{reply:02x?}\n{other:02x?}");
    let cold = servers.ask_cold(packet, via).unwrap_or_default();
    assert_eq!(
        comparable(&cold),
        comparable(reply),
        "cold: {}",
        context(&cold)
    );

    // A query with TC set takes the general path through hickory-proto.
    let mut odd = packet.to_vec();
    odd[2] |= 0x02;
    let odd = servers.hot.ask(&odd, via).unwrap_or_default();
    check_said(reply, &odd, &|| format!("odd: {}", context(&odd)));

    let other = match via {
        Via::Udp => Via::Tcp { keepalive: 300 },
        Via::Tcp { .. } | Via::Tls { .. } => Via::Udp,
    };
    let by_other = servers.hot.ask(packet, other).unwrap_or_default();
    check_said(reply, &by_other, &|| {
        format!("{other:?}: {}", context(&by_other))
    });

    check_limited(servers, packet, via, reply);

    let mut flipped = packet.to_vec();
    if flip_case(&mut flipped) {
        let flipped = servers.hot.ask(&flipped, via).unwrap_or_default();
        check_said(reply, &flipped, &|| format!("case: {}", context(&flipped)));
    }
}

/// Checks the reply of the server that limits its replies.
fn check_limited(servers: &mut Servers, packet: &[u8], via: Via, reply: &[u8]) {
    let limited = servers.limited.ask(packet, via);
    let Some(limited) = limited else {
        assert_eq!(via, Via::Udp, "dropped: {packet:02x?}");
        return;
    };
    if comparable(&limited) == comparable(reply) {
        return;
    }
    let context = || format!("{via:?} {packet:02x?}\n{reply:02x?}\n{limited:02x?}");
    assert_eq!(via, Via::Udp, "by TCP: {}", context());
    let (slip, whole) = (assert_reply_form(&limited), assert_reply_form(reply));
    assert_eq!(limited[..2], packet[..2], "id: {}", context());
    assert_eq!(slip.questions, whole.questions, "{}", context());
    assert_eq!(slip.opts().count(), whole.opts().count(), "{}", context());
    // The reply may only make the client use TCP or try again.
    let [answers, authorities, _] = &slip.sections;
    assert!(
        answers.is_empty() && authorities.is_empty(),
        "{}",
        context()
    );
    let is_bad_cookie = slip.rcode() == rcode::BAD_COOKIE && verdict(packet).cookie.is_some();
    let is_error = slip.rcode() == whole.rcode()
        && !matches!(slip.rcode(), rcode::NO_ERROR | rcode::NX_DOMAIN);
    let sends_on = slip.is_truncated() || is_bad_cookie || is_error;
    assert!(sends_on, "{}", context());
    assert!(
        limited.len() <= packet.len() + SERVER_COOKIE,
        "longer: {}",
        context()
    );
}

/// A reply without the parts that differ between servers with the same data: server cookies, which are made with a
/// secret, and signatures with their times.
fn comparable(bytes: &[u8]) -> Vec<u8> {
    let mut reply = bytes.to_vec();
    let Ok(message) = Message::read(bytes) else {
        return reply;
    };
    // Searched as a whole, because a part of it may occur elsewhere in the reply.
    let place = |of: &[u8]| bytes.windows(of.len()).rposition(|window| window == of);
    let options = message
        .opts()
        .filter_map(|opt| opt.options().ok())
        .flatten();
    for (_, cookie) in options.filter(|(code, _)| *code == COOKIE) {
        let server =
            place(cookie).and_then(|at| reply.get_mut(at + CLIENT_COOKIE..at + cookie.len()));
        server.into_iter().for_each(|server| server.fill(0));
    }
    let records = message.sections.iter().flatten();
    for signature in records.filter(|record| record.rtype == RRSIG) {
        if let Some(at) = place(&signature.data) {
            blank(&mut reply[at..at + signature.data.len()]);
        }
    }
    reply
}

/// Asserts that two replies have the same contents, as far as both have room for them.
fn check_said(one: &[u8], other: &[u8], context: &dyn Fn() -> String) {
    let decoded = |bytes: &[u8]| {
        // Two signatures may have been made at different times.
        HickoryMessage::from_vec(&comparable(bytes))
            .unwrap_or_else(|error| panic!("{error}: {}", context()))
    };
    let (one, other) = (decoded(one), decoded(other));
    assert_eq!(one.response_code, other.response_code, "{}", context());
    if one.truncation || other.truncation {
        return;
    }
    assert_eq!(one.authoritative, other.authoritative, "{}", context());
    assert_eq!(said(&one.answers), said(&other.answers), "{}", context());
    assert_eq!(
        said(&one.authorities),
        said(&other.authorities),
        "{}",
        context()
    );
    // RFC 2181 §9: a server omits additional records first.
    let (more, less) = (said(&one.additionals), said(&other.additionals));
    assert!(
        more == less || more.is_empty() || less.is_empty(),
        "{}",
        context()
    );
}

/// Records in lower case: compressed names have the letter case of the question.
fn said(records: &[HickoryRecord]) -> Vec<String> {
    let shown = records.iter().map(|record| record.to_string());
    shown.map(|record| record.to_lowercase()).collect()
}

/// Changes the letter case of the name in the question. Returns whether there is a readable question.
fn flip_case(packet: &mut [u8]) -> bool {
    let Ok(message) = Message::read(packet) else {
        return false;
    };
    let [question] = &message.questions[..] else {
        return false;
    };
    if question.compressed {
        return false;
    }
    for byte in &mut packet[HEADER_LEN..HEADER_LEN + question.name.len()] {
        // Length bytes of labels are below all letters.
        if byte.is_ascii_alphabetic() {
            *byte ^= 0x20;
        }
    }
    true
}
