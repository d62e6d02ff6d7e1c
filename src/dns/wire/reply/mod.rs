//! Replies in wire form: the records that hickory encodes, and the parts that each reply adds.
//!
//! hickory-proto encodes the records. A reply is put together from them, the query's id, flags and question, and an
//! OPT record.

mod head;

use std::iter;

use hickory_proto::op::{MessageType, Metadata, OpCode, Query as Question, emit_message_parts};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncoder;

pub(crate) use self::head::{Head, Signpost};
use super::edns::{
    COMPACT_OK, ClientSubnet, DNSSEC_OK, OPT_LEN, OPTION_CLIENT_SUBNET, OPTION_EXTENDED_ERROR,
    OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING, QueryEdns, TYPE_OPT,
};
use super::message::{CookieCheck, Refusal};
use super::query::{Echo, HEADER_LEN};
use crate::dns::answer::outcome::{Answer, ExtendedError, Variant};
use crate::dns::limits::cookie::{COOKIE_LEN, OPTION_COOKIE};
use crate::dns::limits::rate_limit::{Class, Scope};
use crate::zone::{LinkPlace, Zone};

/// How many bytes after the records of a hot answer may be overwritten.
const SLACK: usize = 16;
/// QR, AA and TC, in the third byte of a header (RFC 1035 §4.1.1).
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
/// The rcode, in the fourth byte of a header.
const RCODE: u8 = 0x0F;
/// NOERROR and NXDOMAIN.
const NO_ERROR: u8 = 0;
const NX_DOMAIN: u8 = 3;
/// The length of an option's code and length fields.
const OPTION_HEADER_LEN: usize = 4;
/// The length of the INFO-CODE of an extended error (RFC 8914 §2).
const INFO_CODE_LEN: usize = 2;
/// The length of the idle time of a connection (RFC 7828 §3.1).
const KEEPALIVE_LEN: usize = 2;

/// The length of a padded reply is a multiple of this, in bytes (RFC 8467 §4.1).
pub(crate) const PADDED_BLOCK: usize = 468;

/// An encoded answer, as it follows the question of a reply.
pub(crate) struct Encoded<'b> {
    /// The head.
    pub(crate) head: Head,
    /// The records of all sections.
    pub(crate) records: &'b [u8],
}

/// The parts of a reply besides the answer: what it repeats of its query, its OPT record, and its size.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// The parts that the reply repeats. It has an OPT record if the query has one (RFC 6891 §7).
    pub(crate) echo: &'a Echo<'a>,
    /// The UDP payload size in the OPT record, in bytes.
    pub(crate) udp_payload: u16,
    /// The options in the OPT record.
    pub(crate) options: Options<'a>,
    /// The maximum length of the reply, in bytes.
    pub(crate) limit: usize,
    /// Whether the client has sent a valid cookie, and so has proved its address.
    pub(crate) has_valid_cookie: bool,
    /// Whose addresses it has, if they depend on the client.
    pub(crate) routed: Option<Variant>,
}

/// The options of a reply's OPT record, if it has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    /// RFC 7873.
    pub(crate) cookie: Option<[u8; COOKIE_LEN]>,
    /// RFC 5001.
    pub(crate) nsid: Option<&'a [u8]>,
    /// RFC 7828, in units of 100 ms.
    pub(crate) keepalive: Option<u16>,
    /// RFC 7871: the subnet of the query, and the scope of the answer.
    pub(crate) subnet: Option<(ClientSubnet<'a>, u8)>,
    /// RFC 8914.
    pub(crate) error: Option<ExtendedError>,
    /// Whether the reply is padded (RFC 7830). Padding is no part of the options' length, because it never displaces
    /// records.
    pub(crate) padding: bool,
}

/// How a reply was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its rcode, with the bits that are in the OPT record.
    pub(crate) rcode: u16,
    /// Whether it was truncated, with TC.
    pub(crate) truncated: bool,
    /// Whether it was made from a hot answer.
    pub(crate) hot: bool,
    /// The rate limit's class.
    pub(crate) class: Class,
    /// Whether the client has proved its address by a cookie.
    pub(crate) has_valid_cookie: bool,
    /// See [`Frame::routed`].
    pub(crate) routed: Option<Variant>,
    /// The name of a link that it answers for, as in [`Answer::link`]; none if it is truncated, since the client then asks
    /// again.
    pub(crate) link: Option<LinkPlace>,
}

impl Sent {
    /// The same reply, about a made-up name of this zone.
    pub(crate) fn in_zone(self, zone: &Zone) -> Self {
        let class = self.class.in_zone(zone);
        Self { class, ..self }
    }
}

/// The parts of an OPT record that are not in the frame.
#[derive(Clone, Copy, Default)]
struct Opt {
    /// The upper bits of the rcode (RFC 6891 §6.1.3).
    high_rcode: u8,
    /// How many bytes follow the record.
    behind: usize,
}

/// The buffer in which replies are put together, one after the other.
pub(crate) struct ReplyBuffer {
    bytes: Box<[u8]>,
    len: usize,
}

impl<'b> Encoded<'b> {
    /// Encodes an answer to this question into `buffer`; none if no message can hold it.
    pub(crate) fn of(answer: &Answer, question: Question, buffer: &'b mut Vec<u8>) -> Option<Self> {
        let sections = [&answer.answers, &answer.authorities, &answer.additionals];
        if sections.iter().all(|section| section.is_empty()) {
            return Some(Self {
                head: Head::of(answer),
                records: &[],
            });
        }
        let mut metadata = Metadata::new(0, MessageType::Response, OpCode::Query);
        metadata.authoritative = answer.authoritative;
        metadata.response_code = answer.rcode;
        buffer.clear();
        let mut encoder = BinEncoder::new(buffer);
        let question_len = question_len(question.name());
        let header = emit_message_parts(
            &metadata,
            &mut iter::once(&question),
            &mut answer.answers.iter(),
            &mut answer.authorities.iter(),
            &mut answer.additionals.iter(),
            None,
            None,
            &mut encoder,
        );
        // hickory has truncated the answer: it is longer than 64 KiB.
        if header.ok()?.metadata.truncation {
            return None;
        }
        let (header, body) = buffer.split_first_chunk::<HEADER_LEN>()?;
        // hickory counts records as it writes them.
        let [_, _, _, _, _, _, a0, a1, n0, n1, d0, d1] = *header;
        Some(Self {
            head: Head {
                answers: u16::from_be_bytes([a0, a1]),
                authorities: u16::from_be_bytes([n0, n1]),
                additionals: u16::from_be_bytes([d0, d1]),
                ..Head::of(answer)
            },
            records: body.get(question_len..)?,
        })
    }
}

/// The rcode of a reply whose answer has this rcode. RFC 9824 §3.1 and §5.1: a compact denial has NOERROR, unless
/// the client has set the CO bit.
pub(crate) fn rcode_with(signed: bool, rcode: u8, edns: Option<QueryEdns<'_>>) -> u8 {
    let takes_it = edns.is_some_and(|edns| edns.compact_ok && edns.dnssec_ok);
    match rcode {
        NX_DOMAIN if signed && !takes_it => NO_ERROR,
        rcode => rcode,
    }
}

/// The length of a question about a name, in bytes.
fn question_len(name: &Name) -> usize {
    let labels = name.iter().map(|label| 1 + label.len());
    labels.sum::<usize>() + 1 + 4
}

impl ReplyBuffer {
    /// A buffer for replies of at most so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: vec![0; limit + SLACK].into(),
            len: 0,
        }
    }

    /// The reply.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Puts a whole reply into the buffer, which has to have room for it.
    pub(crate) fn set(&mut self, reply: &[u8]) {
        self.len = 0;
        self.push(reply);
    }

    /// The place of a reply's records.
    pub(crate) fn records_mut(&mut self, echo: &Echo<'_>) -> &mut [u8] {
        &mut self.bytes[HEADER_LEN + echo.question.len()..]
    }

    /// Completes a reply from a hot answer whose records are in their place already. None if it is too long and has
    /// to be encoded again, without its additional records.
    pub(crate) fn complete_hot(
        &mut self,
        frame: &Frame<'_>,
        head: Head,
        len: usize,
    ) -> Option<Sent> {
        let fits = len <= frame.room();
        let error = match head.error {
            0 => None,
            place => ExtendedError::KEPT.get(usize::from(place) - 1),
        };
        let marked = error.map(|error| {
            // A truncated reply has no records, and so has room for the extended error.
            let records = if fits { len } else { 0 };
            frame.with_error(Some(*error), records)
        });
        let frame = marked.as_ref().unwrap_or(frame);
        if !fits && head.additionals > 0 {
            return None;
        }
        let sent = match fits {
            true => self.complete(frame, head, len),
            false => self.truncate(frame, head),
        };
        Some(Sent { hot: true, ..sent })
    }

    /// Makes a reply from an answer; none if it would be too long.
    pub(crate) fn write(&mut self, frame: &Frame<'_>, encoded: &Encoded<'_>) -> Option<Sent> {
        let records = encoded.records;
        if records.len() > frame.room() {
            return None;
        }
        self.records_mut(frame.echo)[..records.len()].copy_from_slice(records);
        Some(self.complete(frame, encoded.head, records.len()))
    }

    /// Makes a truncated reply, so that the client asks by TCP. It has no records, which a client could take for the
    /// whole answer (RFC 2181 §9).
    pub(crate) fn truncate(&mut self, frame: &Frame<'_>, head: Head) -> Sent {
        let sent = self.complete(frame, head.without_records(), 0);
        self.bytes[2] |= TRUNCATED;
        Sent {
            truncated: true,
            class: head.class(),
            link: None,
            ..sent
        }
    }

    /// Truncates the reply in the buffer, so that the client asks by TCP.
    pub(crate) fn cut(&mut self, frame: &Frame<'_>) -> Sent {
        let head = Head {
            authoritative: self.bytes[2] & AUTHORITATIVE != 0,
            // The rcode of a compact denial is final already.
            rcode: self.bytes[3] & RCODE,
            answers: 0,
            authorities: 0,
            additionals: 0,
            error: 0,
            is_signed: false,
            link: None,
        };
        self.truncate(frame, head)
    }

    /// Makes a reply that needed no look-up.
    pub(crate) fn refuse(&mut self, frame: &Frame<'_>, refusal: &Refusal) -> Sent {
        let answer = refusal.answer.as_deref().unwrap_or_default();
        let frame = frame.with_error(refusal.error, answer.len());
        let [high, low] = (refusal.rcode << 4).to_be_bytes();
        let head = Head {
            authoritative: refusal.authoritative,
            rcode: low >> 4,
            answers: refusal.answer.is_some().into(),
            authorities: 0,
            additionals: 0,
            error: 0,
            is_signed: false,
            link: None,
        };
        self.records_mut(frame.echo)[..answer.len()].copy_from_slice(answer);
        // The TSIG record of a long key name may not fit. Without it the rcode says enough.
        let fits = |tsig: &&Vec<u8>| answer.len() + tsig.len() <= frame.room();
        let tsig = refusal.tsig.as_ref().filter(fits);
        let behind = tsig.map_or(0, Vec::len);
        let opt = Opt {
            high_rcode: high,
            behind,
        };
        self.complete_with(&frame, head, answer.len(), opt);
        if let Some(tsig) = tsig {
            self.push(tsig);
            self.count_additional();
        }
        // Without an answer, this is an error or a reply with a cookie alone (RFC 7873 §5.4).
        let class = Class::of(refusal.rcode, refusal.answer.is_some(), true);
        Sent {
            rcode: refusal.rcode,
            truncated: false,
            hot: false,
            class: class.with(Scope::Kind),
            has_valid_cookie: frame.has_valid_cookie,
            routed: None,
            link: None,
        }
    }

    /// Adds header, question and OPT record to the records, which are in their place.
    pub(crate) fn complete(&mut self, frame: &Frame<'_>, head: Head, records_len: usize) -> Sent {
        self.complete_with(frame, head, records_len, Opt::default());
        Sent {
            rcode: head.rcode_in(frame).into(),
            truncated: false,
            hot: false,
            class: head.class(),
            has_valid_cookie: frame.has_valid_cookie,
            routed: frame.routed,
            link: head.link,
        }
    }

    fn complete_with(&mut self, frame: &Frame<'_>, head: Head, records_len: usize, opt: Opt) {
        let flags = match head.authoritative {
            true => RESPONSE | AUTHORITATIVE,
            false => RESPONSE,
        };
        let question_len = frame.echo.question.len();
        let (answers, authorities) = (head.answers.to_be_bytes(), head.authorities.to_be_bytes());
        let header = &mut self.bytes[..HEADER_LEN];
        header[2..6].copy_from_slice(&[flags, head.rcode_in(frame), 0, u8::from(question_len > 0)]);
        header[6..8].copy_from_slice(&answers);
        header[8..10].copy_from_slice(&authorities);
        header[10..].copy_from_slice(&head.additionals.to_be_bytes());
        frame.echo.stamp(&mut self.bytes[..]);
        self.len = HEADER_LEN + question_len + records_len;
        self.push_opt(frame, head.is_signed, opt);
    }

    /// Adds an OPT record if the query has one: version 0, the server's size, DO as in the query (RFC 3225 §3), CO
    /// where the server follows it (RFC 9824 §5.1), all other flags zero (RFC 6891 §6.1.4).
    fn push_opt(&mut self, frame: &Frame<'_>, is_signed: bool, opt: Opt) {
        let Some(edns) = frame.echo.edns else {
            return;
        };
        let options = &frame.options;
        let Opt { high_rcode, behind } = opt;
        let ([_, opt], [s0, s1]) = (TYPE_OPT.to_be_bytes(), frame.udp_payload.to_be_bytes());
        let mut flags = 0;
        if edns.dnssec_ok {
            flags |= DNSSEC_OK;
        }
        if edns.compact_ok && is_signed {
            flags |= COMPACT_OK;
        }
        let padding = match options.padding {
            true => padding(self.len + OPT_LEN + options.len() + behind, frame.limit),
            false => None,
        };
        let padding_len = padding.map_or(0, |padding| OPTION_HEADER_LEN + padding);
        let [l0, l1] = ((options.len() + padding_len) as u16).to_be_bytes();
        self.push(&[0, 0, opt, s0, s1, high_rcode, 0, flags, 0, l0, l1]);
        if let Some(cookie) = &options.cookie {
            self.push_option(OPTION_COOKIE, cookie);
        }
        if let Some(nsid) = options.nsid {
            self.push_option(OPTION_NSID, nsid);
        }
        if let Some(keepalive) = options.keepalive {
            self.push_option(OPTION_KEEPALIVE, &keepalive.to_be_bytes());
        }
        if let Some((subnet, scope)) = &options.subnet {
            self.push_option_header(OPTION_CLIENT_SUBNET, subnet.len());
            let end = self.len + subnet.len();
            subnet.write(*scope, &mut self.bytes[self.len..end]);
            self.len = end;
        }
        if let Some(ExtendedError { code, text }) = options.error {
            self.push_option_header(OPTION_EXTENDED_ERROR, INFO_CODE_LEN + text.len());
            self.push(&code.to_be_bytes());
            self.push(text.as_bytes());
        }
        if let Some(padding) = padding {
            self.push_option_header(OPTION_PADDING, padding);
            // RFC 7830 §3: zeros.
            let end = self.len + padding;
            self.bytes[self.len..end].fill(0);
            self.len = end;
        }
        self.count_additional();
    }

    fn count_additional(&mut self) {
        let additionals = u16::from_be_bytes([self.bytes[10], self.bytes[11]]) + 1;
        self.bytes[10..HEADER_LEN].copy_from_slice(&additionals.to_be_bytes());
    }

    fn push_option(&mut self, code: u16, data: &[u8]) {
        self.push_option_header(code, data.len());
        self.push(data);
    }

    fn push_option_header(&mut self, code: u16, len: usize) {
        let ([c0, c1], [l0, l1]) = (code.to_be_bytes(), (len as u16).to_be_bytes());
        self.push(&[c0, c1, l0, l1]);
    }

    /// There is room: see [`Frame::room`].
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

impl Frame<'_> {
    /// The same frame with an extended error, if that leaves room for so many bytes of records. An extended error
    /// must not cause truncation (RFC 8914 §3).
    pub(crate) fn with_error(&self, error: Option<ExtendedError>, records_len: usize) -> Self {
        let mut frame = *self;
        frame.options.error = error;
        if frame.fixed_len() + records_len > frame.limit {
            frame.options.error = None;
        }
        frame
    }

    /// The same frame, with no options but the cookie and the client subnet (RFC 7871 §7.2.1), whose scope stays.
    pub(crate) fn short(self) -> Self {
        let Options { cookie, subnet, .. } = self.options;
        Self {
            options: Options {
                cookie,
                subnet,
                ..Options::default()
            },
            routed: None,
            ..self
        }
    }

    /// The result of the cookie check.
    pub(crate) fn cookie_check(&self) -> CookieCheck {
        let sent = self.echo.edns.and_then(|edns| edns.cookie);
        match sent.filter(|_| self.options.cookie.is_some()) {
            None => CookieCheck::None,
            Some(_) if self.has_valid_cookie => CookieCheck::Valid,
            Some(cookie) if cookie.has_server() => CookieCheck::Invalid,
            Some(_) => CookieCheck::New,
        }
    }

    /// How many bytes of records the reply has room for.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.fixed_len())
    }

    /// The length of everything but the records.
    fn fixed_len(&self) -> usize {
        HEADER_LEN + self.echo.question.len() + self.opt_len()
    }

    /// The length of the OPT record, in bytes; zero if there is none.
    pub(crate) fn opt_len(&self) -> usize {
        self.echo.edns.map_or(0, |_| OPT_LEN + self.options.len())
    }
}

/// The number of padding bytes for a message of `len` bytes without the option and at most `limit` bytes with it;
/// none without room for an empty option. Where the next multiple of a block exceeds the limit, padding fills the
/// message up to the limit (RFC 8467 §4.1).
fn padding(len: usize, limit: usize) -> Option<usize> {
    let least = len + OPTION_HEADER_LEN;
    let padded = least.next_multiple_of(PADDED_BLOCK).min(limit);
    padded.checked_sub(least)
}

impl Options<'_> {
    /// Their length without padding, in bytes.
    fn len(&self) -> usize {
        let option = |len| OPTION_HEADER_LEN + len;
        let cookie = self.cookie.map_or(0, |cookie| option(cookie.len()));
        let nsid = self.nsid.map_or(0, |nsid| option(nsid.len()));
        let keepalive = self.keepalive.map_or(0, |_| option(KEEPALIVE_LEN));
        let error = self
            .error
            .map_or(0, |error| option(INFO_CODE_LEN + error.text.len()));
        let subnet = self.subnet.map_or(0, |(subnet, _)| option(subnet.len()));
        cookie + nsid + keepalive + subnet + error
    }
}

#[cfg(test)]
mod tests;
