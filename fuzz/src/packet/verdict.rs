//! What the form of a query alone decides, by rules of our own.
//!
//! hickory-proto is asked as well: what it decodes is no FORMERR unless one of these rules says so, and what
//! it does not decode is one. The rules, each beyond what it looks at:
//!
//! * bytes behind the last record;
//! * more or less than one question (RFC 9619 §4), but for none with a cookie (RFC 7873 §5.4); a question
//!   that is not written in full;
//! * an OPT record outside of the additional section, below another name than the root, or a second one
//!   (RFC 6891 §6.1.1);
//! * an option that goes beyond its record, and a cookie of a length that none has (RFC 7873 §5.2.2);
//! * a TSIG record that is not the last (RFC 8945 §5.1), or not of its form;
//! * a query for OPT, TSIG or NXNAME, which are no data.
//!
//! What hickory has to say of the data of EDNS options alone does not count.

use hickory_proto::op::Message as HickoryMessage;

use super::super::message::{HEADER_LEN, OPT, Question, TSIG, rcode, wire_name};
use super::zones::ORIGINS;

const SOA: u16 = 6;
const OPTION_NSID: u16 = 3;
const OPTION_COOKIE: u16 = 10;
const OPTION_KEEPALIVE: u16 = 11;
const OPTION_PADDING: u16 = 12;

/// What a reply has to be like, as far as the form of the query says so.
#[derive(Debug, Default)]
pub struct Expected {
    /// The question that it repeats.
    pub question: Option<Question>,
    /// The size that the query's OPT record tells, if there is one.
    pub udp_size: Option<u16>,
    /// DO.
    pub dnssec_ok: bool,
    /// CO (RFC 9824 §5.1).
    pub compact_ok: bool,
    /// The query's cookie, if it has a good one.
    pub cookie: Option<Vec<u8>>,
    /// Whether NSID is asked for.
    pub nsid: bool,
    /// Whether keepalive is asked for.
    pub keepalive: bool,
    /// Whether padding is asked for.
    pub padding: bool,
    /// Whether the reply has a TSIG record.
    pub tsig: bool,
    /// The rcode; none where it depends on zones and links.
    pub rcode: Option<u16>,
    /// The rule.
    pub why: &'static str,
}

/// See the [module](self).
pub fn verdict(packet: &[u8]) -> Expected {
    let mut skim = Skim::new(packet);
    let fault = skim.message().err();
    let (version, tsig) = (skim.version, skim.tsig);
    let mut expected = skim.expected;
    let opcode = packet[2] >> 3 & 0xF;
    let (rcode, why) = if !matches!(opcode, 0 | 4 | 5) {
        (Some(rcode::NOT_IMP), "opcode")
    } else if let Some(fault) = fault {
        (Some(rcode::FORM_ERR), fault)
    } else if version > 0 {
        (Some(rcode::BAD_VERS), "version")
    } else if tsig {
        expected.tsig = true;
        (Some(rcode::NOT_AUTH), "TSIG")
    } else if opcode != 0 {
        by_zone(expected.question.as_ref())
    } else {
        by_question(packet, &expected)
    };
    Expected {
        rcode,
        why,
        ..expected
    }
}

/// NOTIFY (RFC 1996 §3.7) and UPDATE (RFC 2136 §2.3).
fn by_zone(question: Option<&Question>) -> (Option<u16>, &'static str) {
    let Some(question) = question.filter(|question| question.qtype == SOA) else {
        return (Some(rcode::FORM_ERR), "no zone");
    };
    match is_apex(question) && question.qclass == 1 {
        true => (Some(rcode::REFUSED), "our zone"),
        false => (Some(rcode::NOT_AUTH), "another zone"),
    }
}

/// Whether a question is about a zone as a whole (RFC 5936 §2.2.1 for transfers).
fn is_apex(question: &Question) -> bool {
    let name = question.name.to_ascii_lowercase();
    ORIGINS.iter().any(|origin| wire_name(origin) == name)
}

fn by_question(packet: &[u8], expected: &Expected) -> (Option<u16>, &'static str) {
    let Some(question) = &expected.question else {
        let has_none = packet[4..6] == [0, 0];
        return match &expected.cookie {
            Some(cookie) if has_none && cookie.len() == 8 => {
                (Some(rcode::NO_ERROR), "a cookie alone")
            }
            // Nobody here guesses a good one.
            Some(_) if has_none => (Some(rcode::BAD_COOKIE), "a bad cookie alone"),
            _ => (Some(rcode::FORM_ERR), "not one question"),
        };
    };
    let chaos = [&b"\x07version\x04bind\0"[..], b"\x02id\x06server\0"];
    match (question.qclass, question.qtype) {
        (1, 251 | 252) => match is_apex(question) {
            true => (Some(rcode::REFUSED), "transfer"),
            false => (Some(rcode::NOT_AUTH), "transfer of another zone"),
        },
        (1, OPT | TSIG | 128) => (Some(rcode::FORM_ERR), "a type that is no data"),
        (1, 249 | 253 | 254) => (Some(rcode::NOT_IMP), "a query type without records"),
        (1, _) if !is_decoded(packet) => (Some(rcode::FORM_ERR), "hickory"),
        (1, _) => (None, "a query"),
        (3, 16 | 255) if chaos.contains(&&question.name.to_ascii_lowercase()[..]) => {
            (Some(rcode::NO_ERROR), "class CH")
        }
        _ => (Some(rcode::REFUSED), "class"),
    }
}

/// Whether hickory decodes a packet, apart from the data of EDNS options, into some of which it looks: what
/// we do not use is no reason to refuse a query (RFC 6891 §6.1.2).
fn is_decoded(packet: &[u8]) -> bool {
    if HickoryMessage::from_vec(packet).is_ok() {
        return true;
    }
    let mut skim = Skim::new(packet);
    let Ok(Some(options)) = skim.message() else {
        return false;
    };
    // Like unknown options.
    let (mut bare, mut at) = (packet.to_vec(), options.start);
    while at < options.end {
        bare[at..at + 2].copy_from_slice(&[0xFF, 0xFE]);
        at += 4 + usize::from(u16::from_be_bytes([bare[at + 2], bare[at + 3]]));
    }
    HickoryMessage::from_vec(&bare).is_ok()
}

/// A walk through a query by the lengths in it. Where pointers lead is not looked at: a server that has no
/// use for the name of a record need not follow them.
struct Skim<'p> {
    packet: &'p [u8],
    at: usize,
    expected: Expected,
    opts: usize,
    version: u8,
    tsig: bool,
}

type Fault = &'static str;

impl<'p> Skim<'p> {
    fn new(packet: &'p [u8]) -> Self {
        Self {
            packet,
            at: HEADER_LEN,
            expected: Expected::default(),
            opts: 0,
            version: 0,
            tsig: false,
        }
    }

    /// Reads everything; gives where the options are, if there is an OPT record.
    fn message(&mut self) -> Result<Option<std::ops::Range<usize>>, Fault> {
        let count = |at: usize| u16::from_be_bytes([self.packet[at], self.packet[at + 1]]);
        let [questions, answers, authorities, additionals] = [4, 6, 8, 10].map(count);
        let mut options = None;
        for _ in 0..questions {
            let question = self.question()?;
            if questions == 1 {
                self.expected.question = Some(question);
            }
        }
        let before = u32::from(answers) + u32::from(authorities);
        for place in 0..before + u32::from(additionals) {
            if self.tsig {
                return Err("TSIG is not the last");
            }
            let [owner, fixed, data] = self.record()?;
            match u16::from_be_bytes([fixed[0], fixed[1]]) {
                OPT if place < before => return Err("OPT in another section"),
                OPT => {
                    options = Some(self.at - data.len()..self.at);
                    self.opt(owner, fixed, data)?;
                }
                TSIG if place < before => return Err("TSIG is not the last"),
                TSIG => {
                    // Class ANY, TTL 0, and no compressed name.
                    let is_good = fixed[2..8] == [0, 255, 0, 0, 0, 0] && owner.last() == Some(&0);
                    let is_good = is_good && check_tsig(data).is_some();
                    is_good.then_some(()).ok_or("a TSIG that is none")?;
                    self.tsig = true;
                }
                _ => {}
            }
        }
        match self.at == self.packet.len() {
            true => Ok(options),
            false => Err("trailing bytes"),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'p [u8], Fault> {
        let taken = self.packet.get(self.at..self.at + len).ok_or("cut off")?;
        self.at += len;
        Ok(taken)
    }

    /// The bytes of a name, and whether it ends in a pointer.
    fn name(&mut self) -> Result<(&'p [u8], bool), Fault> {
        let start = self.at;
        loop {
            if self.at - start >= 255 {
                return Err("a long name");
            }
            match self.take(1)?[0] {
                0 => return Ok((&self.packet[start..self.at], false)),
                len @ 1..=63 => drop(self.take(len.into())?),
                high @ 0xC0.. => {
                    let to = usize::from(u16::from_be_bytes([high & 0x3F, self.take(1)?[0]]));
                    return match (HEADER_LEN..start).contains(&to) {
                        true => Ok((&self.packet[start..self.at], true)),
                        false => Err("a pointer to nowhere"),
                    };
                }
                _ => return Err("a kind of label that is none"),
            }
        }
    }

    fn question(&mut self) -> Result<Question, Fault> {
        let (name, compressed) = self.name()?;
        let tail = self.take(4)?;
        if compressed {
            return Err("a compressed question");
        }
        Ok(Question {
            name: name.to_vec(),
            compressed,
            qtype: u16::from_be_bytes([tail[0], tail[1]]),
            qclass: u16::from_be_bytes([tail[2], tail[3]]),
        })
    }

    /// The owner of a record, what stands between it and the data, and the data.
    fn record(&mut self) -> Result<[&'p [u8]; 3], Fault> {
        let (owner, _) = self.name()?;
        let fixed = self.take(10)?;
        let len = u16::from_be_bytes([fixed[8], fixed[9]]);
        Ok([owner, fixed, self.take(len.into())?])
    }

    fn opt(&mut self, owner: &[u8], fixed: &[u8], data: &[u8]) -> Result<(), Fault> {
        self.opts += 1;
        if self.opts > 1 {
            return Err("two OPT records");
        }
        let expected = &mut self.expected;
        expected.udp_size = Some(u16::from_be_bytes([fixed[2], fixed[3]]));
        expected.dnssec_ok = fixed[6] & 0x80 != 0;
        expected.compact_ok = fixed[6] & 0x40 != 0;
        self.version = fixed[5];
        // RFC 6891 §6.1.3: the options of another version have an unknown format.
        let options = match (read_options(data), self.version) {
            (Ok(options), _) => options,
            (Err(fault), 0) => return Err(fault),
            (Err(_), _) => Vec::new(),
        };
        let has = |wanted| options.iter().any(|(code, _)| *code == wanted);
        // RFC 7873 §5.2: of several, the first counts.
        let cookie = options.iter().find(|(code, _)| *code == OPTION_COOKIE);
        if let Some((_, cookie)) = cookie {
            expected.cookie = Some(cookie.to_vec());
        }
        expected.nsid = has(OPTION_NSID);
        expected.keepalive = has(OPTION_KEEPALIVE);
        expected.padding = has(OPTION_PADDING);
        match owner {
            [0] => Ok(()),
            _ => Err("OPT below another name"),
        }
    }
}

/// Options, of which the first cookie has a length that it can have.
fn read_options(data: &[u8]) -> Result<Vec<(u16, &[u8])>, Fault> {
    let options = options(data)?;
    let cookie = options.iter().find(|(code, _)| *code == OPTION_COOKIE);
    match cookie.is_none_or(|(_, data)| matches!(data.len(), 8 | 16..=40)) {
        true => Ok(options),
        false => Err("a cookie of a length that none has"),
    }
}

fn options(data: &[u8]) -> Result<Vec<(u16, &[u8])>, Fault> {
    let mut options = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (&[c0, c1, l0, l1], more) = rest.split_first_chunk().ok_or("half an option")?;
        let len = u16::from_be_bytes([l0, l1]).into();
        let (data, more) = more.split_at_checked(len).ok_or("an option cut off")?;
        options.push((u16::from_be_bytes([c0, c1]), data));
        rest = more;
    }
    Ok(options)
}

/// RFC 8945 §4.2: the algorithm's name, time, fudge, the MAC, the original id, the error, other data.
fn check_tsig(data: &[u8]) -> Option<()> {
    let mut rest = data;
    loop {
        let (&len, more) = rest.split_first()?;
        if len > 63 || data.len() - more.len() > 255 {
            return None;
        }
        rest = more.get(usize::from(len)..)?;
        if len == 0 {
            break;
        }
    }
    let sized = |rest: &[u8]| -> Option<usize> {
        let len: &[u8; 2] = rest.first_chunk()?;
        Some(2 + usize::from(u16::from_be_bytes(*len)))
    };
    rest = rest.get(8..)?;
    rest = rest.get(sized(rest)?..)?;
    rest = rest.get(4..)?;
    rest = rest.get(sized(rest)?..)?;
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::super::message::query;
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut Vec<u8>), rcode: Option<u16>, why: &str) {
        let mut packet = query(&wire_name("abc.s.example.com"), 16, Some(1_232));
        change(&mut packet);
        let expected = verdict(&packet);
        assert_eq!(
            (expected.rcode, expected.why),
            (rcode, why),
            "{packet:02x?}"
        );
    }

    /// Of these packets it is beyond doubt what they are.
    #[test]
    fn rfc1035_4_1_1_and_others_what_the_form_decides() {
        let form_err = Some(rcode::FORM_ERR);
        check(|_| {}, None, "a query");
        check(|p| p[2] = 0x10, Some(rcode::NOT_IMP), "opcode");
        check(|p| p.push(0), form_err, "trailing bytes");
        check(|p| p.truncate(p.len() - 1), form_err, "cut off");
        check(|p| p[5] = 0, form_err, "cut off");
        check(|p| p[12] = 0x80, form_err, "a kind of label that is none");
        let not_auth = Some(rcode::NOT_AUTH);
        check(|p| p[32] = 252, not_auth, "transfer of another zone");
        check(|p| p[32] = 41, form_err, "a type that is no data");
        check(|p| p[34] = 3, Some(rcode::REFUSED), "class");
        let opt = 35;
        check(move |p| p[opt + 6] = 1, Some(rcode::BAD_VERS), "version");
        check(
            move |p| {
                p[11] = 2;
                let again = p[opt..].to_vec();
                p.extend(again);
            },
            form_err,
            "two OPT records",
        );
        let cookie = |len: u8| {
            move |p: &mut Vec<u8>| {
                p[opt + 10] = 4 + len;
                p.extend([0, 10, 0, len]);
                p.extend(vec![1; len.into()]);
            }
        };
        check(cookie(8), None, "a query");
        check(cookie(9), form_err, "a cookie of a length that none has");
        check(
            |p| {
                p[2] = 0x28;
                p[32] = 6;
            },
            Some(rcode::NOT_AUTH),
            "another zone",
        );
    }

    #[test]
    fn rfc6891_6_1_1_opt_that_was_read_counts_whatever_follows() {
        let mut packet = query(&wire_name("a"), 16, Some(700));
        packet.push(0);
        assert_eq!(verdict(&packet).udp_size, Some(700));
        packet.truncate(packet.len() - 2);
        assert_eq!(verdict(&packet).udp_size, None);
    }
}
