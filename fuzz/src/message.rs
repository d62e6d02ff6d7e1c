//! Messages, read strictly and without hickory: what RFC 1035 §4 and RFC 6891 §6.1 say of their form. And
//! what holds for every reply, whatever was asked.

use std::fmt;

use hickory_proto::op::Message as HickoryMessage;

/// The length of a header (RFC 1035 §4.1.1).
pub const HEADER_LEN: usize = 12;
/// The largest UDP message without EDNS, in bytes (RFC 1035 §4.2.1).
pub const MIN_UDP: usize = 512;
/// The largest UDP message that we send, in bytes (DNS flag day 2020).
pub const MAX_UDP: usize = 1_232;

/// The type of OPT records.
pub const OPT: u16 = 41;
/// The type of TSIG records.
pub const TSIG: u16 = 250;
/// The type of signatures. Those of one owner are no RRset (RFC 4035 §2.2).
pub const RRSIG: u16 = 46;

/// The rcodes that are checked for by name.
pub mod rcode {
    #![allow(missing_docs)]
    pub const NO_ERROR: u16 = 0;
    pub const FORM_ERR: u16 = 1;
    pub const SERV_FAIL: u16 = 2;
    pub const NX_DOMAIN: u16 = 3;
    pub const NOT_IMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const YX_DOMAIN: u16 = 6;
    pub const NOT_AUTH: u16 = 9;
    pub const BAD_VERS: u16 = 16;
    pub const BAD_COOKIE: u16 = 23;
}

/// Why bytes are no message.
pub type Malformed = &'static str;

/// A message whose form is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Id, flags and counts.
    pub header: [u8; HEADER_LEN],
    /// The questions.
    pub questions: Vec<Question>,
    /// The records of the answer, authority and additional sections.
    pub sections: [Vec<Record>; 3],
    /// How many bytes follow the last record.
    pub trailing: usize,
}

/// A question.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name, written in full, in the letter case it came in.
    pub name: Vec<u8>,
    /// Whether the name has a pointer in it.
    pub compressed: bool,
    /// The query type.
    pub qtype: u16,
    /// The query class.
    pub qclass: u16,
}

/// A record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its owner, written in full.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: u16,
    /// Its class.
    pub class: u16,
    /// Its TTL, in seconds.
    pub ttl: u32,
    /// Its data as they are, with pointers if there are any.
    pub data: Vec<u8>,
}

impl Message {
    /// Reads a message.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = *bytes.first_chunk().ok_or("shorter than a header")?;
        let mut reader = Reader {
            bytes,
            at: HEADER_LEN,
        };
        let count = |section: usize| {
            let at = 4 + 2 * section;
            u16::from_be_bytes([header[at], header[at + 1]])
        };
        let questions = (0..count(0)).map(|_| reader.question());
        let questions = questions.collect::<Result<_, _>>()?;
        let mut sections = [const { Vec::new() }; 3];
        for (place, section) in sections.iter_mut().enumerate() {
            for _ in 0..count(place + 1) {
                section.push(reader.record()?);
            }
        }
        Ok(Self {
            header,
            questions,
            sections,
            trailing: bytes.len() - reader.at,
        })
    }

    /// All OPT records, wherever they stand.
    pub fn opts(&self) -> impl Iterator<Item = &Record> {
        let records = self.sections.iter().flatten();
        records.filter(|record| record.rtype == OPT)
    }

    /// The rcode, with the upper bits that an OPT record has (RFC 6891 §6.1.3).
    pub fn rcode(&self) -> u16 {
        let upper = self.opts().next().map_or(0, |opt| (opt.ttl >> 24) as u16);
        upper << 4 | u16::from(self.header[3] & 0x0F)
    }

    /// TC.
    pub fn is_truncated(&self) -> bool {
        self.header[2] & 0x02 != 0
    }

    /// AA.
    pub fn is_authoritative(&self) -> bool {
        self.header[2] & 0x04 != 0
    }

    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.header[2] >> 3 & 0x0F
    }
}

impl Record {
    /// The options of an OPT record (RFC 6891 §6.1.2): code and data.
    pub fn options(&self) -> Result<Vec<(u16, &[u8])>, Malformed> {
        let mut options = Vec::new();
        let mut rest = &self.data[..];
        while !rest.is_empty() {
            let (&[c0, c1, l0, l1], more) = rest.split_first_chunk().ok_or("half an option")?;
            let len = u16::from_be_bytes([l0, l1]).into();
            let (data, more) = more.split_at_checked(len).ok_or("an option cut off")?;
            options.push((u16::from_be_bytes([c0, c1]), data));
            rest = more;
        }
        Ok(options)
    }
}

/// Reads a message from its beginning to its end.
struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or("cut off")?;
        self.at += N;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn question(&mut self) -> Result<Question, Malformed> {
        let (name, compressed) = self.name()?;
        Ok(Question {
            name,
            compressed,
            qtype: self.number()?,
            qclass: self.number()?,
        })
    }

    fn record(&mut self) -> Result<Record, Malformed> {
        let (owner, _) = self.name()?;
        let (rtype, class) = (self.number()?, self.number()?);
        let ttl = self.take().map(u32::from_be_bytes)?;
        let len = usize::from(self.number()?);
        let data = self.bytes.get(self.at..self.at + len);
        let data = data.ok_or("data cut off")?.to_vec();
        self.at += len;
        Ok(Record {
            owner,
            rtype,
            class,
            ttl,
            data,
        })
    }

    /// A name (RFC 1035 §3.1, §4.1.4): labels, and a pointer to an earlier place or the root at the end.
    fn name(&mut self) -> Result<(Vec<u8>, bool), Malformed> {
        let mut name = Vec::new();
        // Each pointer has to lead before the place where the labels began that it ends.
        let (mut at, mut began, mut end) = (self.at, self.at, None);
        loop {
            let len = *self.bytes.get(at).ok_or("a name cut off")?;
            match len {
                0 => break,
                1..=63 => {
                    let label = self.bytes.get(at..=at + usize::from(len));
                    name.extend(label.ok_or("a label cut off")?);
                    at += 1 + usize::from(len);
                }
                0xC0.. => {
                    let low = *self.bytes.get(at + 1).ok_or("half a pointer")?;
                    end.get_or_insert(at + 2);
                    at = usize::from(u16::from_be_bytes([len & 0x3F, low]));
                    if at >= began {
                        return Err("a pointer that does not lead back");
                    }
                    began = at;
                }
                _ => return Err("a label of a kind that does not exist"),
            }
            if name.len() > 254 {
                return Err("a name of more than 255 bytes");
            }
        }
        name.push(0);
        self.at = end.unwrap_or(at + 1);
        Ok((name, end.is_some()))
    }
}

/// Asserts what holds for the form of any reply, whatever it is a reply to.
pub fn assert_reply_form(bytes: &[u8]) -> Message {
    let reply = Message::read(bytes).unwrap_or_else(|why| panic!("{why}: {bytes:02x?}"));
    let context = || format!("{reply:#?}\n{bytes:02x?}");
    assert_eq!(reply.trailing, 0, "trailing bytes: {}", context());
    // RFC 1035 §4.1.1: QR; RA is not ours to set, Z is zero. RFC 4035 §3.1.6: an authoritative server
    // clears CD; §3.2.3: AD is for those who validate.
    assert_eq!(reply.header[2] & 0x80, 0x80, "QR: {}", context());
    assert_eq!(reply.header[3] & 0xF0, 0, "RA, Z, AD, CD: {}", context());
    assert!(reply.questions.len() <= 1, "questions: {}", context());
    // RFC 2181 §9, and how we keep it: what is cut is cut whole.
    let [answers, authorities, additionals] = &reply.sections;
    if reply.is_truncated() {
        let is_bare = answers.is_empty() && authorities.is_empty();
        let is_bare = is_bare && additionals.iter().all(|r| matches!(r.rtype, OPT | TSIG));
        assert!(is_bare, "TC with records: {}", context());
    }
    // RFC 6891 §6.1.1: at most one OPT, in the additional section, with the root as its owner.
    let opts: Vec<_> = reply.opts().collect();
    assert!(opts.len() <= 1, "OPT records: {}", context());
    if let Some(opt) = opts.first() {
        assert!(additionals.contains(opt), "OPT elsewhere: {}", context());
        assert_eq!(opt.owner, [0], "owner of OPT: {}", context());
        // RFC 6891 §6.1.3: our version; §6.1.4: of the flags, DO and CO (RFC 9824 §5.1) alone.
        assert_eq!(opt.ttl & 0x00FF_3FFF, 0, "OPT flags: {}", context());
        if let Err(why) = opt.options() {
            panic!("{why}: {}", context());
        }
    }
    assert_records(&reply, &context);
    let decoded = HickoryMessage::from_vec(bytes);
    if let Err(error) = decoded {
        panic!("hickory: {error}: {}", context());
    }
    reply
}

/// What holds for the records of a reply.
fn assert_records(reply: &Message, context: &dyn Fn() -> String) {
    let records = || reply.sections.iter().flatten();
    let qclass = reply.questions.first().map(|question| question.qclass);
    for record in records().filter(|record| !matches!(record.rtype, OPT | TSIG)) {
        assert_eq!(Some(record.class), qclass, "class: {}", context());
        // RFC 2181 §8.
        assert!(record.ttl < 1 << 31, "TTL: {}", context());
    }
    for section in &reply.sections {
        for (place, record) in section.iter().enumerate() {
            // RFC 2181 §5: an RRset has no record twice, and one TTL.
            for other in &section[..place] {
                assert_ne!(other, record, "twice: {}", context());
                let is_same_set = other.rtype == record.rtype
                    && record.rtype != RRSIG
                    && other.owner.eq_ignore_ascii_case(&record.owner);
                assert!(
                    !is_same_set || other.ttl == record.ttl,
                    "TTLs: {}",
                    context()
                );
            }
        }
    }
    // RFC 2308 §2 and §5: what is denied says for how long.
    let has_soa = reply.sections[1].iter().any(|record| record.rtype == 6);
    if reply.rcode() == rcode::NX_DOMAIN {
        let is_denial = has_soa || reply.is_truncated();
        assert!(is_denial && reply.questions.len() == 1, "{}", context());
    }
    assert!(
        !reply.is_authoritative() || reply.questions.len() == 1,
        "AA without a question: {}",
        context()
    );
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_ascii();
        write!(f, "{name} class {} type {}", self.qclass, self.qtype)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owner, data) = (self.owner.escape_ascii(), self.data.escape_ascii());
        let Self {
            rtype, class, ttl, ..
        } = self;
        write!(f, "{owner} {ttl} class {class} type {rtype} {data}")
    }
}

/// A name in wire form, from labels with dots between; in the letter case given.
pub fn wire_name(text: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        name.push(label.len() as u8);
        name.extend(label.as_bytes());
    }
    name.push(0);
    name
}

/// A query of one question of class IN, with an OPT record of this size if there is to be one.
pub fn query(name: &[u8], qtype: u16, udp_size: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(name);
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    if let Some(size) = udp_size {
        packet[11] = 1;
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0; 6]);
    }
    packet
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// A reply that is right: an alias, and an OPT record behind it.
    fn reply() -> Vec<u8> {
        let mut reply = query(&wire_name("a.example"), 16, None);
        reply[2] |= 0x84;
        reply[7] = 1;
        reply[11] = 1;
        reply.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
        reply.extend(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        reply
    }

    #[track_caller]
    fn check_refused(what: &str, spoil: impl Fn(&mut Vec<u8>)) {
        let mut bytes = reply();
        spoil(&mut bytes);
        let outcome = catch_unwind(|| assert_reply_form(&bytes));
        assert!(outcome.is_err(), "{what}: taken for a good reply");
    }

    #[test]
    fn a_reply_of_good_form() {
        let message = assert_reply_form(&reply());
        assert_eq!(message.questions[0].name, wire_name("a.example"));
        assert_eq!(message.sections.map(|s| s.len()), [1, 0, 1]);
    }

    #[test]
    fn rfc1035_4_1_replies_of_bad_form() {
        check_refused("QR is 0", |bytes| bytes[2] &= 0x7F);
        check_refused("RA", |bytes| bytes[3] |= 0x80);
        check_refused("Z", |bytes| bytes[3] |= 0x40);
        check_refused("AD", |bytes| bytes[3] |= 0x20);
        check_refused("CD", |bytes| bytes[3] |= 0x10);
        check_refused("TC with an answer", |bytes| bytes[2] |= 0x02);
        check_refused("NXDOMAIN without SOA", |bytes| bytes[3] |= 3);
        check_refused("a trailing byte", |bytes| bytes.push(0));
        check_refused("cut off", |bytes| bytes.truncate(bytes.len() - 1));
        check_refused("a record that is not there", |bytes| bytes[9] = 1);
        check_refused("a pointer to itself", |bytes| bytes[28] = 27);
        check_refused("another class", |bytes| bytes[32] = 3);
        check_refused("a TTL of 2^31", |bytes| bytes[33] = 0x80);
    }

    #[test]
    fn rfc6891_6_1_replies_with_bad_opt() {
        let opt = reply().len() - 11;
        check_refused("version 1", |bytes| bytes[opt + 6] = 1);
        check_refused("a flag", |bytes| bytes[opt + 7] |= 0x20);
        check_refused("half an option", |bytes| {
            bytes[opt + 10] = 1;
            bytes.push(0);
        });
        check_refused("twice", |bytes| {
            bytes[11] = 2;
            let again = bytes[opt..].to_vec();
            bytes.extend(again);
        });
        check_refused("in the authority section", |bytes| {
            bytes[9] = 1;
            bytes[11] = 0;
        });
    }

    #[test]
    fn rfc1035_4_1_4_names() {
        let check = |question: &[u8], expected: Result<&[u8], Malformed>| {
            let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let bytes = [&header[..], question, &[0, 1, 0, 1]].concat();
            let found = Message::read(&bytes);
            let found = found.map(|message| message.questions[0].name.clone());
            assert_eq!(found.as_deref().map_err(|e| *e), expected);
        };
        check(b"\x01a\0", Ok(b"\x01a\0"));
        check(b"\xc0\x00", Ok(b"\0"));
        check(b"\xc0\x0c", Err("a pointer that does not lead back"));
        check(b"\x01a\xc0\x0c", Err("a pointer that does not lead back"));
        check(b"\x41a\0", Err("a label of a kind that does not exist"));
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(4);
        check(&long, Err("a name of more than 255 bytes"));
    }
}
