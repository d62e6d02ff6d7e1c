//! Messages that are no ordinary queries: what is in them, and what they are told before anything is looked
//! up.
//!
//! ```text
//!   packet ── parts ── opcode? ── well-formed? ── EDNS version? ── TSIG? ── question? ── class? ── type?
//!                                                                                      └─ a query after all
//! ```
//!
//! [`Message::read`] walks a message from end to end by its own structure, so that a reply to a bad one
//! still repeats what could be read of it: the question, and that there was EDNS. [`Message::refusal`]
//! then decides, in the order of the picture. What passes all of it is a query of class IN with something
//! odd about it (records where queries have none, a meta-type), for the general path and
//! hickory's decoder.

use std::ops::Range;

use super::edns::{QueryEdns, TYPE_OPT};
use super::query::{CLASS_IN, Echo, HEADER_LEN, QUESTION_TAIL};
use crate::base::name::MAX_NAME_LEN;
use crate::base::name::wire::WireName;
use crate::dns::answer::chaos::{self, CLASS_CHAOS, Identity};
use crate::dns::answer::outcome::ExtendedError;

/// An option code that means nothing to anybody else (RFC 6891 §9).
const OPTION_FOR_LOCAL_USE: [u8; 2] = 65_001_u16.to_be_bytes();
const CLASS_ANY: u16 = 255;
const TYPE_SOA: u16 = 6;
/// RFC 9824 §3.1: a mark in denials of existence, and nothing that anybody could ask for.
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
/// The TSIG error for a key that we do not have (RFC 8945 §3).
const BAD_KEY: u16 = 17;

/// A message, taken apart as far as that goes.
pub(crate) struct Message<'p> {
    opcode: u8,
    counts: [u16; 4],
    /// The one question, if it is written in full; a pointer in it could lead only into the header, and a
    /// reply that repeats it has another header there.
    question: Option<AskedQuestion>,
    /// What a reply repeats.
    pub(crate) echo: Echo<'p>,
    /// Where the options of its OPT record are, if it has one.
    options: Range<usize>,
    tsig: Option<Tsig<'p>>,
    /// What is wrong with it.
    fault: Option<&'static str>,
}

/// A question.
struct AskedQuestion {
    name: WireName,
    qtype: u16,
    class: u16,
}

/// The parts of a TSIG record that are needed to say that its key is unknown.
struct Tsig<'p> {
    /// In full, as the algorithm. RFC 8945 §4.2 forbids to compress either; others read it nevertheless.
    owner: Vec<u8>,
    algorithm: Vec<u8>,
    /// Time signed and fudge.
    time: &'p [u8],
    original_id: &'p [u8],
}

/// What came of the cookie of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieCheck {
    /// It has none, or we are a server without.
    None,
    /// The client has none from us yet.
    New,
    /// The client has one of ours.
    Valid,
    /// The client has one that is not ours, or too old.
    Invalid,
}

/// A reply that needs no look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The rcode, with the bits that stand in the OPT record.
    pub(crate) rcode: u16,
    /// The AA bit.
    pub(crate) authoritative: bool,
    /// One record for the answer section.
    pub(crate) answer: Option<Vec<u8>>,
    /// A TSIG record for the end.
    pub(crate) tsig: Option<Vec<u8>>,
    /// Why, where that would be asked.
    pub(crate) error: Option<ExtendedError>,
}

impl Refusal {
    /// This rcode, and not a word more.
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

    /// RFC 8914 §4.1: there is no code for what may be wrong with a message, but there is room for words.
    fn malformed(text: &'static str) -> Self {
        Self::because(FORM_ERR, ExtendedError::OTHER, text)
    }

    /// Of what we can read and hickory cannot.
    pub(crate) fn unreadable() -> Self {
        Self::malformed("")
    }

    /// RFC 7873 §5.2.3: to come again with the cookie that is in the reply.
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
    /// Takes a message apart; none if it is shorter than a header.
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

    /// Reads all sections, as far as they are what they should be.
    fn walk(&mut self, walk: &mut Walk<'p>) -> Result<(), &'static str> {
        let [questions, answers, authorities, additionals] = self.counts;
        match questions {
            1 => {
                let (wire, asked) = walk.question()?;
                self.echo.question = wire;
                self.question = Some(asked);
            }
            // A reply repeats one or none. What is behind them is read nevertheless: whether there is EDNS.
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
            _ => Err("there are bytes behind the message"),
        }
    }

    fn take_opt(&mut self, record: &Record<'p>) -> Result<(), &'static str> {
        // RFC 6891 §6.1.1: more than one is an error. The reply has what the first has asked for.
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
            // RFC 6891 §6.1.3: what options are like in another version, nobody here knows.
            Err(_) if ttl[1] == 0 => Err("an EDNS option is malformed"),
            _ => Ok(()),
        }
    }

    /// A well-formed message whose EDNS options mean nothing, for hickory: they were read here, and it would
    /// refuse queries for what is in options of no use to us (RFC 6891 §6.1.2). Nothing else in it moves.
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

    /// What it is told at once; none if it is a query that has to be looked up. `is_ours` tells whether a
    /// name is the apex of a zone of ours.
    pub(crate) fn refusal(
        &self,
        identity: &Identity,
        cookie: CookieCheck,
        is_ours: impl Fn(&WireName) -> bool,
    ) -> Option<Refusal> {
        // RFC 8906 §3.1.3: before all else, since nobody knows what a message of an unknown opcode is like.
        if !matches!(self.opcode, QUERY | NOTIFY | UPDATE) {
            return Some(Refusal::not_supported("opcode"));
        }
        if let Some(fault) = self.fault {
            return Some(Refusal::malformed(fault));
        }
        // RFC 6891 §6.1.3: the reply tells our version.
        if self.echo.edns.is_some_and(|edns| edns.version > 0) {
            return Some(Refusal::new(BAD_VERS));
        }
        // RFC 8945 §5.2.1: we have no keys.
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
            // RFC 7873 §5.4: a client may ask for a cookie alone, or whether the one that it has is good.
            return Some(match (self.counts[0], cookie) {
                (0, CookieCheck::New | CookieCheck::Valid) => Refusal::new(NO_ERROR),
                (0, CookieCheck::Invalid) => Refusal::bad_cookie(),
                // RFC 9619 §4
                _ => Refusal::malformed("a query has one question"),
            });
        };
        match asked.class {
            CLASS_IN => match asked.qtype {
                // RFC 5936 §2.2.1: of a zone that is not ours there is nothing to transfer.
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
                None => Refusal::prohibited("class CH tells nothing here"),
            }),
            _ => Some(Refusal::because(
                REFUSED,
                ExtendedError::NOT_AUTHORITATIVE,
                "only class IN is served",
            )),
        }
    }

    /// NOTIFY and UPDATE: zones are changed by their files alone.
    fn change_refusal(&self, is_ours: impl Fn(&WireName) -> bool) -> Refusal {
        // RFC 1996 §3.7 and RFC 2136 §2.3: both name one zone, by its SOA.
        let Some(zone) = self.question.as_ref().filter(|q| q.qtype == TYPE_SOA) else {
            return Refusal::malformed("it names no zone");
        };
        match (zone.class == CLASS_IN && is_ours(&zone.name), self.opcode) {
            // RFC 2136 §3.1.2; RFC 1996 leaves open what a server says that is no secondary of the zone, and
            // this is what others say.
            (false, _) => Refusal::because(NOT_AUTH, ExtendedError::NOT_AUTHORITATIVE, ""),
            (true, UPDATE) => Refusal::prohibited("zones are not updated by DNS"),
            (true, _) => Refusal::prohibited("this server is primary for the zone"),
        }
    }
}

/// What a query of class IN is told for its type alone.
fn type_refusal(qtype: u16) -> Option<Refusal> {
    match qtype {
        // RFC 1035 §4.1.1: what is not done for reasons of policy, "e.g., zone transfer", is refused.
        TYPE_AXFR | TYPE_IXFR => Some(Refusal::prohibited("zone transfer is not offered")),
        // RFC 6891 §6.1.1, RFC 8945 §4.2, RFC 9824 §3.5: none of them is data.
        TYPE_OPT | TYPE_TSIG | TYPE_NXNAME => Some(Refusal::because(
            FORM_ERR,
            ExtendedError::INVALID_QUERY_TYPE,
            "",
        )),
        // RFC 2930 §4 (key negotiation); RFC 1035 §3.2.3, obsolete for decades.
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
    /// The owner's bytes, as they are: they may end in a pointer.
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

    /// The next name, as far as a pointer.
    fn name(&mut self) -> Result<&'p [u8], &'static str> {
        let rest = self.packet.get(self.at..).unwrap_or_default();
        let (name, pointer) = whole_name(rest)?;
        // RFC 1035 §4.1.4: to a prior occurrence of a name, which is behind the header.
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

/// The bytes of the name at the beginning of `wire`, up to the root or a pointer, and where that leads; it
/// is not followed.
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
            // RFC 6891 §5 and RFC 6895 §3.1: other kinds of labels were tried, and have been given up.
            _ => break,
        }
    }
    // RFC 1035 §2.3.4
    Err(BAD_NAME)
}

/// The name at the beginning of some bytes of a packet, in full; none if there is none. The first pointer leads to
/// before `last`, and each one further back than the one before (RFC 1035 §4.1.4: "a prior occurrence"), so this ends.
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
    /// Takes a TSIG record of this packet apart (RFC 8945 §4.2); none if it is not one.
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

    /// The record that says that we do not know the key: without a signature (RFC 8945 §5.2.1, §5.3.2).
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
