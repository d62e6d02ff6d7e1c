//! Messages that are no ordinary queries: their parts, and the refusals that need no look-up.
//!
//! ```text
//!   packet ── parts ── opcode? ── well-formed? ── EDNS version? ── TSIG? ── question? ── class? ── type?
//!                                                                                      └─ a query after all
//! ```
//!
//! [`Message::read`] walks through a message, so that the reply to a malformed message still repeats the parts that
//! could be read: the question, and that there was EDNS. [`Message::refusal`] then decides, in the order of the
//! picture. A message that passes all checks is a query of class IN with something odd about it (records where
//! queries have none, a meta-type); the general path and hickory's decoder handle it.

use std::ops::Range;

use super::edns::{ClientSubnet, QueryEdns, TYPE_OPT};
use super::query::{CLASS_IN, Echo, HEADER_LEN, QUESTION_TAIL};
use crate::base::name::MAX_NAME_LEN;
use crate::base::name::wire::WireName;
use crate::dns::answer::chaos::{self, CLASS_CHAOS, Identity};
use crate::dns::answer::outcome::ExtendedError;

/// A reserved option code, without a meaning for anyone (RFC 6891 §9).
const OPTION_FOR_LOCAL_USE: [u8; 2] = 65_001_u16.to_be_bytes();
const CLASS_ANY: u16 = 255;
const TYPE_SOA: u16 = 6;
/// RFC 9824 §3.1: a mark in denials of existence. No name has records of this type.
const TYPE_NXNAME: u16 = 128;
const TYPE_TKEY: u16 = 249;
const TYPE_TSIG: u16 = 250;
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
const TYPE_MAILB: u16 = 253;
const TYPE_MAILA: u16 = 254;
/// Type, class, TTL and length of the data, between a record's owner and its data (RFC 1035 §4.1.3).
const RECORD_FIXED: usize = 10;

/// Opcodes (RFC 1035 §4.1.1, RFC 1996 §3.3, RFC 2136 §2.2).
const QUERY: u8 = 0;
const NOTIFY: u8 = 4;
const UPDATE: u8 = 5;

/// Rcodes (RFC 1035 §4.1.1, RFC 2136 §2.2, RFC 8945 §3, RFC 6891 §9, RFC 7873 §8).
const NO_ERROR: u16 = 0;
const FORM_ERR: u16 = 1;
const NOT_IMP: u16 = 4;
const REFUSED: u16 = 5;
const NOT_AUTH: u16 = 9;
const BAD_VERS: u16 = 16;
const BAD_COOKIE: u16 = 23;
/// The TSIG error for an unknown key (RFC 8945 §3).
const BAD_KEY: u16 = 17;

/// The parts of a message, as far as it can be read.
pub(crate) struct Message<'p> {
    opcode: u8,
    counts: [u16; 4],
    /// The question, if there is one without compression. A pointer in it could only lead into the header, and the
    /// reply has another header.
    question: Option<AskedQuestion>,
    /// The parts that a reply repeats.
    pub(crate) echo: Echo<'p>,
    /// Where the options of its OPT record are, if it has one.
    options: Range<usize>,
    tsig: Option<Tsig<'p>>,
    /// Why it is malformed, if it is.
    fault: Option<&'static str>,
}

/// A question.
struct AskedQuestion {
    name: WireName,
    qtype: u16,
    class: u16,
}

/// The parts of a TSIG record that the reply about an unknown key needs.
struct Tsig<'p> {
    /// Uncompressed, like the algorithm. RFC 8945 §4.2 forbids compression, but other servers accept it, and so does
    /// this one.
    owner: Vec<u8>,
    algorithm: Vec<u8>,
    /// Time signed and fudge.
    time: &'p [u8],
    original_id: &'p [u8],
}

/// The result of the cookie check of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieCheck {
    /// The message has no cookie, or cookies are off.
    None,
    /// The client has no server cookie yet.
    New,
    /// The client has a valid cookie.
    Valid,
    /// The client has an invalid or expired cookie.
    Invalid,
}

/// A reply that needs no look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The rcode, with the bits that are in the OPT record.
    pub(crate) rcode: u16,
    /// The AA bit.
    pub(crate) authoritative: bool,
    /// One record for the answer section.
    pub(crate) answer: Option<Vec<u8>>,
    /// A TSIG record for the end.
    pub(crate) tsig: Option<Vec<u8>>,
    /// The extended error, if there is one.
    pub(crate) error: Option<ExtendedError>,
}

impl Refusal {
    /// A refusal with this rcode and nothing else.
    pub(crate) fn new(rcode: u16) -> Self {
        Self {
            rcode,
            authoritative: false,
            answer: None,
            tsig: None,
            error: None,
        }
    }

    fn because(rcode: u16, code: u16, text: &'static str) -> Self {
        Self {
            error: Some(ExtendedError { code, text }),
            ..Self::new(rcode)
        }
    }

    /// RFC 8914 §4.1: no code fits a malformed message, so the text explains it.
    fn malformed(text: &'static str) -> Self {
        Self::because(FORM_ERR, ExtendedError::OTHER, text)
    }

    /// For a message that this module can read and hickory cannot.
    pub(crate) fn unreadable() -> Self {
        Self::malformed("")
    }

    /// RFC 7873 §5.2.3: the client is to ask again with the cookie in the reply.
    pub(crate) fn bad_cookie() -> Self {
        Self::new(BAD_COOKIE)
    }

    fn not_supported(text: &'static str) -> Self {
        Self::because(NOT_IMP, ExtendedError::NOT_SUPPORTED, text)
    }

    fn prohibited(text: &'static str) -> Self {
        Self::because(REFUSED, ExtendedError::PROHIBITED, text)
    }
}

impl<'p> Message<'p> {
    /// Reads the parts of a message; none if it is shorter than a header.
    pub(crate) fn read(packet: &'p [u8]) -> Option<Self> {
        let header = packet.first_chunk::<HEADER_LEN>()?;
        let [_, _, flags, _, counts @ ..] = *header;
        let [q0, q1, a0, a1, n0, n1, d0, d1] = counts;
        let counts = [[q0, q1], [a0, a1], [n0, n1], [d0, d1]].map(u16::from_be_bytes);
        let mut message = Self {
            opcode: flags >> 3 & 0xF,
            counts,
            question: None,
            echo: Echo::new(header),
            options: 0..0,
            tsig: None,
            fault: None,
        };
        let mut walk = Walk {
            packet,
            at: HEADER_LEN,
        };
        message.fault = message.walk(&mut walk).err();
        Some(message)
    }

    /// Reads all sections, up to the first error.
    fn walk(&mut self, walk: &mut Walk<'p>) -> Result<(), &'static str> {
        let [questions, answers, authorities, additionals] = self.counts;
        match questions {
            1 => {
                let (wire, asked) = walk.question()?;
                self.echo.question = wire;
                self.question = Some(asked);
            }
            // A reply repeats one question or none. The sections after it are read all the same, to find the OPT
            // record.
            _ => (0..questions).try_for_each(|_| walk.skip_question())?,
        }
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            match walk.record()?.rtype {
                // RFC 6891 §6.1.1: its place is the additional section.
                TYPE_OPT => return Err("OPT is not in the additional section"),
                // RFC 8945 §5.1
                TYPE_TSIG => return Err("TSIG is not the last record"),
                _ => {}
            }
        }
        for _ in 0..additionals {
            if self.tsig.is_some() {
                // RFC 8945 §5.1
                return Err("TSIG is not the last record");
            }
            let record = walk.record()?;
            match record.rtype {
                TYPE_OPT => {
                    self.take_opt(&record)?;
                    self.options = walk.at - record.data.len()..walk.at;
                }
                TYPE_TSIG => {
                    self.tsig = Some(Tsig::read(&record, walk.packet).ok_or("TSIG cannot be read")?)
                }
                _ => {}
            }
        }
        match walk.packet.len() - walk.at {
            0 => Ok(()),
            _ => Err("there are bytes after the end of the message"),
        }
    }

    fn take_opt(&mut self, record: &Record<'p>) -> Result<(), &'static str> {
        // RFC 6891 §6.1.1: more than one is an error. The reply follows the first OPT record.
        if self.echo.edns.is_some() {
            return Err("there is more than one OPT record");
        }
        let (class, ttl) = (record.class, record.ttl);
        let read = QueryEdns::read(class, ttl, record.data);
        // RFC 6891 §7: the reply has EDNS if the query has, whatever else is wrong.
        let without_options = || QueryEdns::read(class, ttl, &[]);
        self.echo.edns = read.or_else(|_| without_options()).ok();
        if record.owner != [0] {
            // RFC 6891 §6.1.2
            return Err("the owner of OPT is not the root");
        }
        match read {
            // RFC 6891 §6.1.3: other versions may have options in another form.
            Err(_) if ttl[1] == 0 => Err("an EDNS option is malformed"),
            _ => Ok(()),
        }
    }

    /// Takes a malformed client subnet as an error. RFC 7871 §7.1.2 wants that of servers that use the option; all others
    /// ignore it.
    pub(crate) fn check_client_subnet(&mut self) {
        let edns = self.echo.edns.filter(|edns| edns.version == 0);
        let subnet = edns.and_then(|edns| edns.subnet);
        if subnet.is_some_and(|data| ClientSubnet::read(data).is_none()) {
            self.fault = self.fault.or(Some("the client subnet is malformed"));
        }
    }

    /// A copy of a well-formed message, for hickory, in which all EDNS options have a meaningless code. They have
    /// been read here, and hickory would refuse queries because of options that should be ignored (RFC 6891 §6.1.2).
    /// All bytes stay in their places.
    pub(crate) fn without_options(&self, packet: &[u8]) -> Vec<u8> {
        let mut bare = packet.to_vec();
        let mut options = bare.get_mut(self.options.clone()).unwrap_or_default();
        while let Some((head, rest)) = options.split_first_chunk_mut::<4>() {
            let [c0, c1, l0, l1] = head;
            (*c0, *c1) = (OPTION_FOR_LOCAL_USE[0], OPTION_FOR_LOCAL_USE[1]);
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            options = rest.get_mut(len..).unwrap_or_default();
        }
        bare
    }

    /// The refusal of this message; none if it is a query that needs a look-up. `is_ours` says whether a name is the
    /// apex of one of the server's zones.
    pub(crate) fn refusal(
        &self,
        identity: &Identity,
        cookie: CookieCheck,
        is_ours: impl Fn(&WireName) -> bool,
    ) -> Option<Refusal> {
        // RFC 8906 §3.1.3: before all other checks, since a message with an unknown opcode may have any form.
        if !matches!(self.opcode, QUERY | NOTIFY | UPDATE) {
            return Some(Refusal::not_supported("opcode"));
        }
        if let Some(fault) = self.fault {
            return Some(Refusal::malformed(fault));
        }
        // RFC 6891 §6.1.3: the reply has the supported version.
        if self.echo.edns.is_some_and(|edns| edns.version > 0) {
            return Some(Refusal::new(BAD_VERS));
        }
        // RFC 8945 §5.2.1: the server has no TSIG keys.
        if let Some(tsig) = &self.tsig {
            return Some(Refusal {
                tsig: Some(tsig.bad_key()),
                ..Refusal::new(NOT_AUTH)
            });
        }
        match self.opcode {
            QUERY => self.query_refusal(identity, cookie, is_ours),
            _ => Some(self.change_refusal(is_ours)),
        }
    }

    fn query_refusal(
        &self,
        identity: &Identity,
        cookie: CookieCheck,
        is_ours: impl Fn(&WireName) -> bool,
    ) -> Option<Refusal> {
        let Some(asked) = &self.question else {
            // RFC 7873 §5.4: a query without a question asks for a cookie, or whether a cookie is valid.
            return Some(match (self.counts[0], cookie) {
                (0, CookieCheck::New | CookieCheck::Valid) => Refusal::new(NO_ERROR),
                (0, CookieCheck::Invalid) => Refusal::bad_cookie(),
                // RFC 9619 §4
                _ => Refusal::malformed("a query has one question"),
            });
        };
        match asked.class {
            CLASS_IN => match asked.qtype {
                // RFC 5936 §2.2.1: a transfer of a zone that the server does not have.
                TYPE_AXFR | TYPE_IXFR if !is_ours(&asked.name) => Some(Refusal::because(
                    NOT_AUTH,
                    ExtendedError::NOT_AUTHORITATIVE,
                    "",
                )),
                qtype => type_refusal(qtype),
            },
            CLASS_CHAOS => Some(match chaos::answer(&asked.name, asked.qtype, identity) {
                Some(answer) => Refusal {
                    authoritative: true,
                    answer: Some(answer),
                    ..Refusal::new(NO_ERROR)
                },
                None => Refusal::prohibited("this server does not answer class CH"),
            }),
            _ => Some(Refusal::because(
                REFUSED,
                ExtendedError::NOT_AUTHORITATIVE,
                "only class IN is served",
            )),
        }
    }

    /// NOTIFY and UPDATE. Zones change only by their files.
    fn change_refusal(&self, is_ours: impl Fn(&WireName) -> bool) -> Refusal {
        // RFC 1996 §3.7 and RFC 2136 §2.3: both name one zone, by its SOA.
        let Some(zone) = self.question.as_ref().filter(|q| q.qtype == TYPE_SOA) else {
            return Refusal::malformed("the message names no zone");
        };
        match (zone.class == CLASS_IN && is_ours(&zone.name), self.opcode) {
            // RFC 2136 §3.1.2. RFC 1996 does not say how a server replies that is no secondary of the zone; other
            // servers reply NOTAUTH, too.
            (false, _) => Refusal::because(NOT_AUTH, ExtendedError::NOT_AUTHORITATIVE, ""),
            (true, UPDATE) => Refusal::prohibited("zones are not updated by DNS"),
            (true, _) => Refusal::prohibited("this server is primary for the zone"),
        }
    }
}

/// The refusal of a query of class IN because of its type.
fn type_refusal(qtype: u16) -> Option<Refusal> {
    match qtype {
        // RFC 1035 §4.1.1: REFUSED is for operations that policy forbids, "e.g., zone transfer".
        TYPE_AXFR | TYPE_IXFR => Some(Refusal::prohibited("zone transfer is not offered")),
        // RFC 6891 §6.1.1, RFC 8945 §4.2, RFC 9824 §3.5: none of them is a data type.
        TYPE_OPT | TYPE_TSIG | TYPE_NXNAME => Some(Refusal::because(
            FORM_ERR,
            ExtendedError::INVALID_QUERY_TYPE,
            "",
        )),
        // RFC 2930 §4 (key negotiation); RFC 1035 §3.2.3 (obsolete mail types).
        TYPE_TKEY | TYPE_MAILA | TYPE_MAILB => Some(Refusal::not_supported("query type")),
        _ => None,
    }
}

/// A walk through a message.
struct Walk<'p> {
    packet: &'p [u8],
    at: usize,
}

/// A record.
struct Record<'p> {
    /// The bytes of the owner, which may end in a pointer.
    owner: &'p [u8],
    rtype: u16,
    class: [u8; 2],
    ttl: [u8; 4],
    data: &'p [u8],
    /// Where its data begin in the packet.
    data_at: usize,
}

const CUT_OFF: &str = "the message is cut off";
const BAD_NAME: &str = "a name is malformed";

impl<'p> Walk<'p> {
    /// The next bytes.
    fn take(&mut self, len: usize) -> Result<&'p [u8], &'static str> {
        let end = self.at + len;
        let bytes = self.packet.get(self.at..end).ok_or(CUT_OFF)?;
        self.at = end;
        Ok(bytes)
    }

    /// The only question, and its bytes.
    fn question(&mut self) -> Result<(&'p [u8], AskedQuestion), &'static str> {
        let rest = self.packet.get(self.at..).unwrap_or_default();
        let name = match WireName::read(rest) {
            Some(name) => name,
            None => {
                return Err(whole_name(rest)
                    .err()
                    .unwrap_or("the question is compressed"));
            }
        };
        let wire = self.take(name.as_bytes().len() + QUESTION_TAIL)?;
        let [.., t0, t1, c0, c1] = *wire else {
            return Err(CUT_OFF);
        };
        let asked = AskedQuestion {
            name,
            qtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
        };
        Ok((wire, asked))
    }

    fn skip_question(&mut self) -> Result<(), &'static str> {
        self.name()?;
        self.take(QUESTION_TAIL).map(|_| ())
    }

    /// The next name, up to a pointer.
    fn name(&mut self) -> Result<&'p [u8], &'static str> {
        let rest = self.packet.get(self.at..).unwrap_or_default();
        let (name, pointer) = whole_name(rest)?;
        // RFC 1035 §4.1.4: a pointer leads to an earlier name, so not into the header.
        if pointer.is_some_and(|to| !(HEADER_LEN..self.at).contains(&to)) {
            return Err(BAD_NAME);
        }
        self.at += name.len();
        Ok(name)
    }

    fn record(&mut self) -> Result<Record<'p>, &'static str> {
        let owner = self.name()?;
        let fixed = self.take(RECORD_FIXED)?;
        let &[t0, t1, c0, c1, l0, l1, l2, l3, d0, d1] = fixed else {
            return Err(CUT_OFF);
        };
        Ok(Record {
            owner,
            rtype: u16::from_be_bytes([t0, t1]),
            class: [c0, c1],
            ttl: [l0, l1, l2, l3],
            data_at: self.at,
            data: self.take(u16::from_be_bytes([d0, d1]).into())?,
        })
    }
}

/// The bytes of the name at the beginning of `wire`, up to the root or a pointer, and the target of the pointer,
/// which is not followed.
fn whole_name(wire: &[u8]) -> Result<(&[u8], Option<usize>), &'static str> {
    let mut at = 0;
    while at < MAX_NAME_LEN {
        match (*wire.get(at).ok_or(CUT_OFF)?, wire.get(at + 1)) {
            (0, _) => return Ok((&wire[..=at], None)),
            (high @ 0xC0.., Some(&low)) => {
                let to = u16::from_be_bytes([high & 0x3F, low]);
                return Ok((&wire[..at + 2], Some(to.into())));
            }
            (0xC0.., None) => return Err(CUT_OFF),
            (len @ ..=63, _) => at += 1 + usize::from(len),
            // RFC 6891 §5 and RFC 6895 §3.1: all other kinds of labels are obsolete.
            _ => break,
        }
    }
    // RFC 1035 §2.3.4
    Err(BAD_NAME)
}

/// The uncompressed name at the beginning of some bytes of a packet; none if they have no name. The first pointer
/// must lead to before `last`, and each further pointer must lead further back (RFC 1035 §4.1.4: "a prior
/// occurrence"), so the loop ends.
fn expand<'p>(mut part: &'p [u8], packet: &'p [u8], mut last: usize) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(MAX_NAME_LEN);
    loop {
        let (bytes, pointer) = whole_name(part).ok()?;
        let Some(to) = pointer else {
            name.extend(bytes);
            return (name.len() <= MAX_NAME_LEN).then_some(name);
        };
        let (labels, _) = bytes.split_at(bytes.len() - 2);
        name.extend(labels);
        if name.len() > MAX_NAME_LEN || !(HEADER_LEN..last).contains(&to) {
            return None;
        }
        last = to;
        part = packet.get(to..)?;
    }
}

impl<'p> Tsig<'p> {
    /// Reads the parts of a TSIG record of this packet (RFC 8945 §4.2); none if the record is malformed.
    fn read(record: &Record<'p>, packet: &'p [u8]) -> Option<Self> {
        let data = record.data;
        let (algorithm, _) = whole_name(data).ok()?;
        let rest = data.get(algorithm.len()..)?;
        let (time, rest) = rest.split_at_checked(8)?;
        let (mac_len, rest) = rest.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_at_checked(u16::from_be_bytes(*mac_len).into())?;
        let (original_id, rest) = rest.split_at_checked(2)?;
        let (_error, rest) = rest.split_first_chunk::<2>()?;
        let (other_len, other) = rest.split_first_chunk::<2>()?;
        let is_tsig = u16::from_be_bytes(record.class) == CLASS_ANY
            && record.ttl == [0; 4]
            && other.len() == usize::from(u16::from_be_bytes(*other_len));
        if !is_tsig {
            return None;
        }
        Some(Self {
            owner: expand(record.owner, packet, packet.len())?,
            algorithm: expand(algorithm, packet, record.data_at)?,
            time,
            original_id,
        })
    }

    /// The TSIG record for the reply about an unknown key, without a signature (RFC 8945 §5.2.1, §5.3.2).
    fn bad_key(&self) -> Vec<u8> {
        let mut record = self.owner.clone();
        let data_len = self.algorithm.len() + self.time.len() + 2 + 2 + 2 + 2;
        record.extend(TYPE_TSIG.to_be_bytes());
        record.extend(CLASS_ANY.to_be_bytes());
        record.extend([0; 4]);
        record.extend((data_len as u16).to_be_bytes());
        record.extend(&self.algorithm);
        record.extend(self.time);
        record.extend([0; 2]);
        record.extend(self.original_id);
        record.extend(BAD_KEY.to_be_bytes());
        record.extend([0; 2]);
        record
    }
}

#[cfg(test)]
mod tests;
