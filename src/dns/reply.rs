//! Replies in bytes: what hickory encodes of an answer, and what each reply adds to that of its own.
//!
//! hickory-proto writes the records. A reply to an ordinary query is then put together from them, the
//! query's own header and question, and an OPT record.

use std::iter;

use hickory_proto::op::{MessageType, Metadata, OpCode, Query as Question, emit_message_parts};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncoder;

use super::answer::{Answer, ExtendedError};
use super::cookie::{COOKIE_LEN, OPTION_COOKIE};
use super::edns::{MAX_UDP_PAYLOAD, OPTION_EXTENDED_ERROR};
use super::hot::HotAnswer;
use super::query::{HEADER_LEN, OPT_LEN, Query};

/// The bytes of a header that depend on the answer: flags and rcode, and three of the counts.
pub(super) const HEAD_LEN: usize = 8;
/// What a buffer has room for, in bytes: the longest reply, and as much behind its records as hot
/// answers may overwrite.
const ROOM: usize = MAX_UDP_PAYLOAD as usize + 16;
/// QR, AA and TC, in the third byte of a header (RFC 1035 §4.1.1).
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
/// The code and length of an option.
const OPTION_HEADER_LEN: usize = 4;
/// The INFO-CODE of an extended error (RFC 8914 §2).
const INFO_CODE_LEN: usize = 2;

/// An answer in the form in which it stands in replies, behind their questions.
pub(super) struct Encoded<'b> {
    /// The bytes of the header from the flags to the counts, but for the count of questions.
    pub(super) head: [u8; HEAD_LEN],
    /// The records of all sections.
    pub(super) records: &'b [u8],
}

/// The options of a reply's OPT record, if it has one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// RFC 7873.
    pub(super) cookie: Option<[u8; COOKIE_LEN]>,
    /// RFC 8914.
    pub(super) error: Option<ExtendedError>,
}

/// How a reply was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its rcode.
    pub(super) rcode: u8,
    /// Whether it was cut short, with TC.
    pub(super) truncated: bool,
    /// Whether it was made of a hot answer.
    pub(super) hot: bool,
}

/// A reply in the making, in a buffer that is used again and again.
pub(super) struct ReplyBuffer {
    bytes: Box<[u8; ROOM]>,
    len: usize,
}

impl<'b> Encoded<'b> {
    /// Has an answer to a question about this name encoded, in a buffer for that; none if no message
    /// can hold it.
    pub(super) fn of(answer: &Answer, question: Question, buffer: &'b mut Vec<u8>) -> Option<Self> {
        let sections = [&answer.answers, &answer.authorities, &answer.additionals];
        if sections.iter().all(|section| section.is_empty()) {
            return Some(Self {
                head: head(answer),
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
        // Truncated by hickory: there are more than 64 KiB of it.
        if header.ok()?.metadata.truncation {
            return None;
        }
        let (header, body) = buffer.split_first_chunk::<HEADER_LEN>()?;
        let [_, _, flags, rcode, _, _, counts @ ..] = *header;
        let [a0, a1, n0, n1, d0, d1] = counts;
        Some(Self {
            head: [flags, rcode, a0, a1, n0, n1, d0, d1],
            records: body.get(question_len..)?,
        })
    }
}

/// The head of an answer without its records.
pub(super) fn head(answer: &Answer) -> [u8; HEAD_LEN] {
    let aa = match answer.authoritative {
        true => AUTHORITATIVE,
        false => 0,
    };
    [RESPONSE | aa, answer.rcode.low(), 0, 0, 0, 0, 0, 0]
}

/// The length of a question about a name, in bytes.
fn question_len(name: &Name) -> usize {
    let labels = name.iter().map(|label| 1 + label.len());
    labels.sum::<usize>() + 1 + 4
}

impl ReplyBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::new([0; ROOM]),
            len: 0,
        }
    }

    /// The reply.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Puts a reply in that was made elsewhere; returns whether there is one, and room for it.
    pub(super) fn set(&mut self, reply: &[u8]) -> bool {
        self.len = 0;
        if let Some(bytes) = self.bytes.get_mut(..reply.len()) {
            bytes.copy_from_slice(reply);
            self.len = reply.len();
        }
        self.len > 0
    }

    /// Where the records of a reply to this query go.
    pub(super) fn records_mut(&mut self, query: &Query<'_>) -> &mut [u8] {
        &mut self.bytes[HEADER_LEN + query.question_len()..]
    }

    /// Completes a reply whose records are in their place already. None if it is too long and has to
    /// be encoded again: with additional records that it could do without.
    pub(super) fn complete_hot(
        &mut self,
        query: &Query<'_>,
        hot: &HotAnswer,
        options: &Options,
    ) -> Option<Sent> {
        let has_additionals = hot.head[6..] != [0, 0];
        let fits = hot.len <= Self::room(query, options);
        if !fits && has_additionals {
            return None;
        }
        let sent = match fits {
            true => self.complete(query, hot.head, hot.len, options),
            false => self.truncate(query, hot.head, options),
        };
        Some(Sent { hot: true, ..sent })
    }

    /// Makes a reply of an answer; none if it is longer than may be sent to this client.
    pub(super) fn write(
        &mut self,
        query: &Query<'_>,
        encoded: &Encoded<'_>,
        options: &Options,
    ) -> Option<Sent> {
        let records = encoded.records;
        if records.len() > Self::room(query, options) {
            return None;
        }
        self.records_mut(query)[..records.len()].copy_from_slice(records);
        Some(self.complete(query, encoded.head, records.len(), options))
    }

    /// Makes a reply that tells the client to come by TCP: without records, which could pass for all
    /// there are (RFC 2181 §9).
    pub(super) fn truncate(
        &mut self,
        query: &Query<'_>,
        head: [u8; HEAD_LEN],
        options: &Options,
    ) -> Sent {
        let [flags, rcode, ..] = head;
        let head = [flags | TRUNCATED, rcode, 0, 0, 0, 0, 0, 0];
        let sent = self.complete(query, head, 0, options);
        Sent {
            truncated: true,
            ..sent
        }
    }

    /// How many bytes of records a reply to this query has room for.
    pub(super) fn room(query: &Query<'_>, options: &Options) -> usize {
        let opt = query.edns.map_or(0, |_| OPT_LEN + options.len());
        let fixed = HEADER_LEN + query.question_len() + opt;
        query.udp_limit().saturating_sub(fixed)
    }

    /// Puts header, question and OPT record to the records.
    fn complete(
        &mut self,
        query: &Query<'_>,
        head: [u8; HEAD_LEN],
        records_len: usize,
        options: &Options,
    ) -> Sent {
        let [flags, rcode, counts @ ..] = head;
        let header = &mut self.bytes[..HEADER_LEN];
        header[2..6].copy_from_slice(&[flags, rcode, 0, 1]);
        header[6..].copy_from_slice(&counts);
        query.stamp(&mut self.bytes[..]);
        self.len = HEADER_LEN + query.question_len() + records_len;
        if let Some(edns) = query.edns {
            self.push_opt(edns.dnssec_ok, options);
        }
        Sent {
            rcode: rcode & 0x0F,
            truncated: false,
            hot: false,
        }
    }

    /// Adds an OPT record: version 0, our own size, DO repeated (RFC 3225 §3), all other flags zero
    /// (RFC 6891 §6.1.4).
    fn push_opt(&mut self, dnssec_ok: bool, options: &Options) {
        let [s0, s1] = MAX_UDP_PAYLOAD.to_be_bytes();
        let flags = if dnssec_ok { 0x80 } else { 0 };
        let [l0, l1] = (options.len() as u16).to_be_bytes();
        self.push(&[0, 0, 41, s0, s1, 0, 0, flags, 0, l0, l1]);
        if let Some(cookie) = &options.cookie {
            self.push_option_header(OPTION_COOKIE, cookie.len());
            self.push(cookie);
        }
        if let Some(ExtendedError { code, text }) = options.error {
            self.push_option_header(OPTION_EXTENDED_ERROR, INFO_CODE_LEN + text.len());
            self.push(&code.to_be_bytes());
            self.push(text.as_bytes());
        }
        let additionals = u16::from_be_bytes([self.bytes[10], self.bytes[11]]) + 1;
        self.bytes[10..HEADER_LEN].copy_from_slice(&additionals.to_be_bytes());
    }

    fn push_option_header(&mut self, code: u16, len: usize) {
        let ([c0, c1], [l0, l1]) = (code.to_be_bytes(), (len as u16).to_be_bytes());
        self.push(&[c0, c1, l0, l1]);
    }

    /// There is room: see [`ReplyBuffer::room`].
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

impl Options {
    /// Their length, in bytes.
    fn len(&self) -> usize {
        let cookie = self
            .cookie
            .map_or(0, |cookie| OPTION_HEADER_LEN + cookie.len());
        let error = self.error.map_or(0, |error| {
            OPTION_HEADER_LEN + INFO_CODE_LEN + error.text.len()
        });
        cookie + error
    }
}
