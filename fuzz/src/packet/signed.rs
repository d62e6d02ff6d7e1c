//! Replies of signed zones, as far as it can be said without a validator; that the signatures hold is seen to by
//! the tests of the program.
//!
//! * Without DO there are no signatures and no proofs, unless they are asked for, and then those alone (RFC 4035
//!   §3.1).
//! * With DO, each RRset has a signature beside it in its section, but for NS records and glue of a zone cut (RFC
//!   4035 §2.2) and the CNAME record that a DNAME record stands for (RFC 6672 §5.3.1). It names the zone, is valid
//!   now, and is for no lower TTL and no fewer labels than it is found with (RFC 4034 §3.1).
//! * What is not there is denied by one NSEC record at that very name, which shows no other name and does not have
//!   the type (RFC 9824 §3). With CO a name that does not exist is NXDOMAIN as well (§5.1); without, nothing is.

use super::super::message::{Message, OPT, RRSIG, Record, rcode, wire_name};
use super::super::world::NOW;
use super::verdict::Expected;
use super::zones::{ORIGINS, SIGNED_ORIGINS};

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const DNAME: u16 = 39;
const DS: u16 = 43;
const NSEC: u16 = 47;
const ANY: u16 = 255;
/// In the bitmap of a name that does not exist (RFC 9824 §3.1).
const NXNAME: u16 = 128;
/// What RRSIG data has before the signer's name, in bytes (RFC 4034 §3.1).
const FIXED: usize = 18;
/// Where in it are the times, in bytes.
const TIMES: std::ops::Range<usize> = 8..16;
/// The length of a signature, in bytes (RFC 8080 §4).
const SIGNATURE: usize = 64;

/// Looks at a reply.
pub fn check_signed(message: &Message, expected: &Expected, context: &dyn Fn() -> String) {
    let Some(question) = message.questions.first() else {
        return;
    };
    let is_data = matches!(
        message.rcode(),
        rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN
    );
    if message.is_truncated() || !is_data || question.qclass != 1 || expected.rcode.is_some() {
        return;
    }
    let records = || message.sections.iter().flatten();
    let is_dnssec = |record: &Record| matches!(record.rtype, RRSIG | NSEC);
    let Some(apex) = signed_zone(&question.name) else {
        assert!(!records().any(is_dnssec), "not signed: {}", context());
        return;
    };
    if !expected.dnssec_ok {
        // Those that are asked for, in the answer section alone, and of signatures those of the NSEC record.
        let is_asked = matches!(question.qtype, RRSIG | NSEC | ANY);
        let [answers, others @ ..] = &message.sections;
        let is_alone = !others.iter().flatten().any(is_dnssec);
        let fits = |record: &Record| match (question.qtype, record.rtype) {
            (RRSIG, RRSIG) => record.data.starts_with(&NSEC.to_be_bytes()),
            (RRSIG, NSEC) => false,
            _ => is_asked || !is_dnssec(record),
        };
        assert!(
            is_alone && answers.iter().all(fits),
            "without DO: {}",
            context()
        );
        return;
    }
    for (place, section) in message.sections.iter().enumerate() {
        for record in section {
            check_record(message, (place, record), &apex, context);
        }
    }
    let takes_nxdomain = expected.compact_ok || message.rcode() != rcode::NX_DOMAIN;
    assert!(takes_nxdomain, "NXDOMAIN without CO: {}", context());
    check_denial(message, context);
}

/// Puts zeros where what is signed is the same and the signature need not be: the times, which are spread in a way
/// that differs from server to server, and the signature. `data` is that of an RRSIG record.
pub fn blank(data: &mut [u8]) {
    let len = data.len();
    data[TIMES].fill(0);
    data[len - SIGNATURE..].fill(0);
}

/// The apex of the zone that answers, if it is signed. DS is of the zone above (RFC 4035 §3.1.4.1), but none of
/// the signed zones has one above or below it here.
fn signed_zone(name: &[u8]) -> Option<Vec<u8>> {
    let name = name.to_ascii_lowercase();
    let zones = ORIGINS.map(|origin| (origin, wire_name(origin)));
    let above = zones.iter().filter(|(_, apex)| is_at_or_below(&name, apex));
    let (origin, apex) = above.max_by_key(|(_, apex)| apex.len())?;
    SIGNED_ORIGINS.contains(origin).then(|| apex.clone())
}

/// Whether a name in lower case is that of a zone, or below it.
fn is_at_or_below(name: &[u8], apex: &[u8]) -> bool {
    let mut at = 0;
    loop {
        if name[at..] == *apex {
            return true;
        }
        match name[at] {
            0 => return false,
            len => at += 1 + usize::from(len),
        }
    }
}

fn check_record(
    message: &Message,
    (place, record): (usize, &Record),
    apex: &[u8],
    context: &dyn Fn() -> String,
) {
    let owner = record.owner.to_ascii_lowercase();
    let section = &message.sections[place];
    let is_at = |other: &Record, owner: &[u8]| other.owner.eq_ignore_ascii_case(owner);
    if record.rtype == RRSIG {
        let covered = u16::from_be_bytes([record.data[0], record.data[1]]);
        let of = section
            .iter()
            .find(|other| other.rtype == covered && is_at(other, &owner));
        let is_asked = message.questions[0].qtype == RRSIG;
        let original = u32::from_be_bytes([4, 5, 6, 7].map(|at| record.data[at]));
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| record.data[at + n]));
        let [end, begin] = [TIMES.start, TIMES.start + 4].map(|at| u64::from(number(at)));
        let labels = owner_labels(&owner);
        assert!(of.is_some() || is_asked, "of nothing: {}", context());
        assert!(of.is_none_or(|of| of.ttl == record.ttl), "{}", context());
        assert!(record.ttl <= original, "TTL: {}", context());
        assert!(
            (begin..end).contains(&NOW.0) && u64::from(record.ttl) < end - NOW.0,
            "{}",
            context()
        );
        assert!(usize::from(record.data[3]) <= labels, "{}", context());
        let signer = &record.data[FIXED..FIXED + apex.len()];
        assert_eq!(signer, apex, "signer: {}", context());
        return;
    }
    let is_made = |above: &Record| {
        let above_owner = above.owner.to_ascii_lowercase();
        above.rtype == DNAME && owner != above_owner && is_at_or_below(&owner, &above_owner)
    };
    let is_unsigned = match (place, record.rtype) {
        (_, OPT) => true,
        (0, CNAME) => section.iter().any(is_made),
        (1, NS) => true,
        // Glue, or records below a zone cut.
        (2, _) => is_below_cut(message, &owner),
        _ => false,
    };
    let has_signature = section.iter().any(|other| {
        let covers = || u16::from_be_bytes([other.data[0], other.data[1]]);
        other.rtype == RRSIG && is_at(other, &owner) && covers() == record.rtype
    });
    assert!(
        has_signature != is_unsigned,
        "{record:?} is signed: {has_signature}: {}",
        context()
    );
}

/// The labels of a name, but for the root and an asterisk in front (RFC 4034 §3.1.3).
fn owner_labels(owner: &[u8]) -> usize {
    let (mut at, mut labels) = (0, 0);
    while owner[at] != 0 {
        labels += usize::from(at > 0 || owner[..2] != *b"\x01*");
        at += 1 + usize::from(owner[at]);
    }
    labels
}

/// Whether a name is below one of the zone cuts that the zones have.
fn is_below_cut(message: &Message, owner: &[u8]) -> bool {
    let is_cut = |record: &&Record| record.rtype == NS;
    let mut cuts: Vec<Vec<u8>> = message.sections[1]
        .iter()
        .filter(is_cut)
        .map(|record| record.owner.to_ascii_lowercase())
        .collect();
    for origin in SIGNED_ORIGINS {
        cuts.extend(["sub", "far"].map(|cut| wire_name(&format!("{cut}.{origin}"))));
    }
    cuts.iter().any(|cut| is_at_or_below(owner, cut))
}

fn check_denial(message: &Message, context: &dyn Fn() -> String) {
    let [answers, authorities, _] = &message.sections;
    let question = &message.questions[0];
    let qtype = question.qtype;
    let is_denial = authorities.iter().any(|record| record.rtype == SOA);
    let proofs = || authorities.iter().filter(|record| record.rtype == NSEC);
    assert!(proofs().count() <= 1, "{}", context());
    let is_referral = authorities.iter().any(|record| record.rtype == NS);
    if is_referral && answers.is_empty() && !message.is_authoritative() {
        let has_ds = authorities.iter().any(|record| record.rtype == DS);
        let is_proved = proofs().any(|nsec| !types(&nsec.data).contains(&DS));
        assert!(has_ds != is_proved, "referral: {}", context());
    }
    let nsecs = message.sections.iter().flatten();
    for nsec in nsecs.filter(|record| record.rtype == NSEC) {
        let types = types(&nsec.data);
        // RFC 9824 §3.1: the next name is the smallest that is larger; §3.4: at a zone cut the smallest that is not
        // below it. So none is shown.
        let is_cut = types.contains(&NS) && !types.contains(&SOA);
        let next = &nsec.data[..nsec.data.len() - bitmap(&nsec.data).len()];
        let (at, &len) = (usize::from(nsec.owner[0]), &nsec.owner[0]);
        let shows_none = match is_cut {
            false => [b"\x01\0", &nsec.owner[..]].concat(),
            true => [
                &[len + 1],
                &nsec.owner[1..=at],
                b"\0",
                &nsec.owner[at + 1..],
            ]
            .concat(),
        };
        let is_long = nsec.owner.len() > 253 || is_cut && at == 63;
        assert!(
            is_long || next.eq_ignore_ascii_case(&shows_none),
            "the next name: {}",
            context()
        );
        assert!(
            types.contains(&RRSIG) && types.contains(&NSEC),
            "{}",
            context()
        );
    }
    if !is_denial {
        return;
    }
    let nsec = proofs().next();
    let nsec = nsec.unwrap_or_else(|| panic!("nothing is proved: {}", context()));
    let types = types(&nsec.data);
    assert!(
        !types.contains(&qtype) && !types.contains(&CNAME),
        "{}",
        context()
    );
    if answers.is_empty() {
        let is_own = nsec.owner.eq_ignore_ascii_case(&question.name);
        assert!(is_own, "of another name: {}", context());
    }
    let is_missing = types.contains(&NXNAME);
    assert!(
        is_missing || message.rcode() != rcode::NX_DOMAIN,
        "{}",
        context()
    );
}

/// The bitmap of an NSEC record.
fn bitmap(data: &[u8]) -> &[u8] {
    let mut at = 0;
    while data[at] != 0 {
        at += 1 + usize::from(data[at]);
    }
    &data[at + 1..]
}

/// The types in the bitmap of an NSEC record (RFC 4034 §4.1.2).
fn types(data: &[u8]) -> Vec<u16> {
    let mut rest = bitmap(data);
    let mut types = Vec::new();
    while let [window, len, more @ ..] = rest {
        let (bits, more) = more.split_at(usize::from(*len));
        for (at, byte) in bits.iter().enumerate() {
            let set = (0..8).filter(|bit| byte & 0x80 >> bit != 0);
            types.extend(set.map(|bit| u16::from(*window) << 8 | (8 * at + bit) as u16));
        }
        rest = more;
    }
    types
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::super::message::query;
    use super::super::super::world::{NameServer, Via, origin};
    use super::super::verdict::verdict;
    use super::super::zones::{links, zones};
    use super::*;

    /// A query with these flags of an OPT record, and its reply.
    fn ask(name: &str, qtype: u16, flags: u8) -> (Vec<u8>, Message) {
        let mut server = NameServer::new(zones(), 0);
        let of = origin("s.example.org");
        links("https://a.test/", "https://b.test/", &mut |link| {
            server.store.put(&of, link);
        });
        let mut packet = query(&wire_name(name), qtype, Some(1_232));
        let at = packet.len() - 4;
        packet[at] = flags;
        let reply = server.ask(&packet, Via::Udp).expect("a reply");
        (packet, Message::read(&reply).expect("a message"))
    }

    #[track_caller]
    fn check_refused(name: &str, qtype: u16, spoil: impl Fn(&mut Message)) {
        let (packet, mut reply) = ask(name, qtype, 0x80);
        let expected = verdict(&packet);
        check_signed(&reply, &expected, &|| format!("{reply:#?}"));
        spoil(&mut reply);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            check_signed(&reply, &expected, &String::new);
        }));
        assert!(outcome.is_err(), "taken for a good reply: {reply:#?}");
    }

    fn signature(reply: &mut Message) -> &mut Record {
        let mut records = reply.sections.iter_mut().flatten();
        let found = records.find(|record| record.rtype == RRSIG);
        found.expect("it is signed")
    }

    fn nsec(reply: &mut Message) -> &mut Record {
        let mut records = reply.sections[1].iter_mut();
        let found = records.find(|record| record.rtype == NSEC);
        found.expect("a proof")
    }

    #[test]
    fn rfc4035_3_1_replies_that_are_not_signed_as_they_should_be() {
        const LINK: &str = "abc.s.example.org";
        let drop_signatures = |reply: &mut Message| {
            for section in &mut reply.sections {
                section.retain(|record| record.rtype != RRSIG);
            }
        };
        check_refused(LINK, 16, drop_signatures);
        check_refused("s.example.org", 48, drop_signatures);
        check_refused("nothing8.s.example.org", 16, drop_signatures);
        check_refused(LINK, 16, |reply| signature(reply).data[1] = 1);
        check_refused(LINK, 16, |reply| signature(reply).data[FIXED] ^= 1);
        check_refused(LINK, 16, |reply| signature(reply).data[3] += 1);
        check_refused(LINK, 16, |reply| signature(reply).ttl += 1);
        check_refused(LINK, 16, |reply| {
            signature(reply).data[TIMES.start..TIMES.start + 4].fill(0);
        });
        check_refused("x.sub.s.example.org", 1, |reply| {
            // A signature of the NS records of a zone cut.
            let mut more = reply.sections[1][0].clone();
            more.data = signature(reply).data.clone();
            more.data[..2].copy_from_slice(&NS.to_be_bytes());
            more.rtype = RRSIG;
            reply.sections[1].push(more);
        });
    }

    #[test]
    fn rfc9824_3_denials_that_prove_nothing() {
        const ABSENT: &str = "nothing8.s.example.org";
        let without_proof = |reply: &mut Message| {
            reply.sections[1].retain(|record| record.rtype == SOA || record.data[1] == 6);
        };
        check_refused(ABSENT, 16, without_proof);
        check_refused("mail.s.example.org", 16, without_proof);
        check_refused(ABSENT, 16, |reply| reply.header[3] |= 3);
        check_refused(ABSENT, 16, |reply| nsec(reply).data[1] = b'a');
        // Another type, among those of the name.
        check_refused("mail.s.example.org", 16, |reply| {
            let data = &mut nsec(reply).data;
            let bits = data.len() - bitmap(data).len() + 2;
            data[bits + 2] |= 0x80;
        });
    }

    #[test]
    fn rfc4035_3_1_who_does_not_ask_gets_no_signatures() {
        for (name, qtype) in [("abc.s.example.org", 16), ("nothing8.s.example.org", 16)] {
            let (packet, reply) = ask(name, qtype, 0x80);
            let mut plain = verdict(&packet);
            plain.dnssec_ok = false;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                check_signed(&reply, &plain, &String::new);
            }));
            assert!(outcome.is_err(), "taken for a good reply: {reply:#?}");
            let (packet, reply) = ask(name, qtype, 0);
            check_signed(&reply, &verdict(&packet), &|| format!("{reply:#?}"));
        }
    }
}
