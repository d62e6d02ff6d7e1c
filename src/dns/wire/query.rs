//! Ordinary queries, read without hickory: one question of class IN, an OPT record or none, and nothing
//! else.
//!
//! Nearly every packet is an ordinary query. Reading it allocates nothing, and yields the name in the form by which
//! hot answers and zones are searched. [`Query::read`] gives up on anything unusual, and leaves it to the general
//! path and hickory's decoder. So nothing here decides what is an error; but the general path has to answer each
//! query that is read here in the same way.

use hickory_proto::rr::{LowerName, Name, RecordType};

use super::edns::{OPT_LEN, QueryEdns, TYPE_OPT};
use crate::base::name::wire::WireName;

/// The length of a header (RFC 1035 §4.1.1), which is the shortest message.
pub(crate) const HEADER_LEN: usize = 12;
/// The length of type and class, which follow the name of a question.
pub(crate) const QUESTION_TAIL: usize = 4;
pub(crate) const CLASS_IN: u16 = 1;
/// RD, in the third byte of a header (RFC 1035 §4.1.1).
const RECURSION_DESIRED: u8 = 0x01;
/// The opcode, in the third byte of a header (RFC 1035 §4.1.1).
const OPCODE: u8 = 0x78;

/// An ordinary query.
pub(crate) struct Query<'p> {
    /// The query name in lower case.
    pub(crate) name: WireName,
    /// The query type.
    pub(crate) qtype: u16,
    /// The parts that its reply repeats.
    pub(crate) echo: Echo<'p>,
}

/// The parts of a message that its reply repeats, and its EDNS: a reply has EDNS if its query has it.
#[derive(Clone, Copy)]
pub(crate) struct Echo<'p> {
    id: [u8; 2],
    /// Opcode and RD (RFC 1035 §4.1.1).
    flags: u8,
    /// The question in its original letter case; empty if there is no question that can be repeated.
    pub(crate) question: &'p [u8],
    /// The contents of the OPT record, if there is one.
    pub(crate) edns: Option<QueryEdns<'p>>,
}

impl<'p> Echo<'p> {
    /// The echo of a message with this header, without question and EDNS.
    pub(crate) fn new(header: &[u8; HEADER_LEN]) -> Self {
        Self {
            id: [header[0], header[1]],
            flags: header[2] & (OPCODE | RECURSION_DESIRED),
            question: &[],
            edns: None,
        }
    }

    /// Writes id, opcode and RD into the header of a reply, and the question after the header. The other fields of
    /// the header are set already.
    pub(crate) fn stamp(&self, reply: &mut [u8]) {
        reply[..2].copy_from_slice(&self.id);
        reply[2] = reply[2] & !(OPCODE | RECURSION_DESIRED) | self.flags;
        reply[HEADER_LEN..HEADER_LEN + self.question.len()].copy_from_slice(self.question);
    }
}

impl<'p> Query<'p> {
    /// Reads an ordinary query; none if the packet is anything else.
    pub(crate) fn read(packet: &'p [u8]) -> Option<Self> {
        let (header, body) = packet.split_first_chunk::<HEADER_LEN>()?;
        let [_, _, flags, _, counts @ ..] = *header;
        // A query (RFC 1035 §4.1.1: QR 0, opcode 0) without TC. Of the other flags, only RD has an effect on the
        // reply.
        if flags & 0b1111_1010 != 0 {
            return None;
        }
        let has_opt = match counts {
            [0, 1, 0, 0, 0, 0, 0, additionals @ (0 | 1)] => additionals == 1,
            _ => return None,
        };
        let name = WireName::read(body)?;
        let question_len = name.as_bytes().len() + QUESTION_TAIL;
        let (question, rest) = body.split_at_checked(question_len)?;
        let [.., t0, t1, c0, c1] = *question else {
            return None;
        };
        if u16::from_be_bytes([c0, c1]) != CLASS_IN {
            return None;
        }
        let qtype = u16::from_be_bytes([t0, t1]);
        if !is_ordinary(qtype) {
            return None;
        }
        let edns = match (has_opt, rest) {
            (false, []) => None,
            (true, rest) => Some(read_opt(rest)?),
            _ => return None,
        };
        let echo = Echo {
            question,
            edns,
            ..Echo::new(header)
        };
        Some(Self { name, qtype, echo })
    }

    /// The query name and its lower-case key in hickory's form; none if hickory does not accept them, which does not
    /// happen.
    pub(crate) fn names(&self) -> Option<(Name, LowerName)> {
        let name = self.name.to_name()?;
        let key = LowerName::from(&name);
        Some((name, key))
    }

    /// The query type in hickory's form.
    pub(crate) fn record_type(&self) -> RecordType {
        self.qtype.into()
    }
}

/// Whether a type is a data type or ANY: not OPT, nor any other meta-type or query type (RFC 6895 §3.1).
fn is_ordinary(qtype: u16) -> bool {
    !matches!(qtype, 0 | TYPE_OPT | 128..255)
}

/// Reads an OPT record of version 0 at the end of the message.
fn read_opt(record: &[u8]) -> Option<QueryEdns<'_>> {
    let (fixed, options) = record.split_first_chunk::<OPT_LEN>()?;
    let [0, t0, t1, s0, s1, rcode, version @ 0, flags, z, l0, l1] = *fixed else {
        return None;
    };
    let is_opt = u16::from_be_bytes([t0, t1]) == TYPE_OPT;
    if !is_opt || usize::from(u16::from_be_bytes([l0, l1])) != options.len() {
        return None;
    }
    QueryEdns::read([s0, s1], [rcode, version, flags, z], options).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &[u8], qtype: u16) -> Vec<u8> {
        let mut packet = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(name);
        packet.extend(qtype.to_be_bytes());
        packet.extend([0, 1]);
        packet
    }

    fn with_opt(options: &[u8]) -> Vec<u8> {
        let mut packet = question(b"\x01a\x01B\0", 16);
        packet[11] = 1;
        packet.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0]);
        packet.extend((options.len() as u16).to_be_bytes());
        packet.extend(options);
        packet
    }

    #[test]
    fn a_query_in_its_parts() {
        let packet = question(b"\x01a\x01B\0", 16);
        let query = Query::read(&packet).unwrap();
        assert_eq!(query.name.as_bytes(), b"\x01a\x01b\0");
        assert_eq!((query.qtype, query.echo.edns), (16, None));
        let mut reply = [0xFF; 30];
        query.echo.stamp(&mut reply);
        assert_eq!(reply[..3], [0xAB, 0xCD, 0x87]);
        assert_eq!(&reply[12..21], b"\x01a\x01B\0\0\x10\0\x01");
        assert_eq!(reply[21], 0xFF);
    }

    #[test]
    fn rfc6891_6_1_opt() {
        let packet = with_opt(b"\0\x0a\0\x08cookies!");
        let edns = Query::read(&packet).unwrap().echo.edns.unwrap();
        assert_eq!((edns.udp_payload, edns.dnssec_ok), (1_232, true));
        assert!(Query::read(&with_opt(b"")).is_some());
        assert!(
            Query::read(&with_opt(b"\0\x0a\0")).is_none(),
            "half an option"
        );
        assert!(
            Query::read(&with_opt(b"\0\x0a\0\x02x")).is_none(),
            "cut off"
        );
        assert!(Query::read(&with_opt(b"\0\x08\0\0")).is_some(), "a subnet");
        let change = |at: usize, byte: u8| {
            let mut packet = with_opt(b"");
            packet[at] = byte;
            Query::read(&packet).is_some()
        };
        assert!(change(21, 0) && !change(21, 1), "its owner is the root");
        assert!(!change(23, 40), "another type");
        assert!(change(26, 1), "an extended rcode means nothing");
        assert!(!change(27, 1), "version 1");
        assert!(!change(31, 1), "longer than the message");
    }

    #[test]
    fn what_is_out_of_the_ordinary() {
        let plain = question(b"\x01a\0", 1);
        assert!(Query::read(&plain).is_some());
        for len in 0..plain.len() {
            assert!(Query::read(&plain[..len]).is_none(), "{len} bytes of it");
        }
        let change = |at: usize, byte: u8| {
            let mut packet = question(b"\x01a\0", 1);
            packet[at] = byte;
            Query::read(&packet).is_some()
        };
        assert!(change(2, 0) && change(2, 4) && change(3, 0xFF), "flags");
        assert!(!change(2, 0x80), "QR");
        assert!(!change(2, 0x28), "opcode 5");
        assert!(!change(2, 0x02), "TC");
        assert!(!change(5, 0) && !change(5, 2), "questions");
        assert!(!change(7, 1) && !change(9, 1) && !change(11, 1), "records");
        assert!(!change(18, 3), "class");
        assert!(
            Query::read(&[&plain[..], &[0]].concat()).is_none(),
            "trailing bytes"
        );
        for qtype in [0, 41, 128, 249, 251, 252, 254] {
            assert!(Query::read(&question(b"\0", qtype)).is_none(), "{qtype}");
        }
        for qtype in [1, 16, 127, 255, 256, 65_280, 65_535] {
            assert!(Query::read(&question(b"\0", qtype)).is_some(), "{qtype}");
        }
    }
}
