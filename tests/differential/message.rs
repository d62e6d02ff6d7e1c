//! Queries and replies in bytes, without a library: none of the compared servers' code may read them.

use std::collections::BTreeSet;
use std::fmt;

/// A reply that was taken apart. Anything that cannot be read is an error.
#[derive(Clone)]
pub struct Reply {
    /// The whole of it.
    pub bytes: Vec<u8>,
    /// AA, TC, RA, AD, CD and so on: the header's flags without QR and rcode.
    pub flags: u16,
    /// The extended rcode (RFC 6891 §6.1.3).
    pub rcode: u16,
    /// The question section as it came.
    pub question: Vec<u8>,
    pub answer: BTreeSet<Record>,
    pub authority: BTreeSet<Record>,
    /// Without OPT.
    pub additional: BTreeSet<Record>,
    /// Whether there is an OPT record, and DO in it.
    pub edns: Option<bool>,
    /// The flags of the OPT record, 0 without one (RFC 6891 §6.1.4).
    pub edns_flags: u16,
    /// A record that is in a section twice (RFC 2181 §5 allows none).
    pub repeated: Option<Record>,
}

/// A record; names in it are in lower case, as they are all equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub owner: Vec<u8>,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

pub const AA: u16 = 0x0400;
pub const TC: u16 = 0x0200;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const AAAA: u16 = 28;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const ANY: u16 = 255;

/// The fields in front of the names in the data of the types whose names may be compressed, and how
/// many names follow (RFC 1035 §3.3; RFC 3597 §4 allows it for no others).
fn compressible(rtype: u16) -> Option<(usize, usize)> {
    match rtype {
        // NS MD MF CNAME MB MG MR PTR
        2..=5 | 7..=9 | 12 => Some((0, 1)),
        // SOA MINFO
        6 | 14 => Some((0, 2)),
        // MX
        15 => Some((2, 1)),
        _ => None,
    }
}

/// The types that have names in their data, in which letter case means nothing: for RP, AFSDB, RT, PX,
/// SRV, NAPTR, KX, DNAME, HIP, TALINK, SVCB, HTTPS and LP a server may keep them in lower case.
fn has_names(rtype: u16) -> bool {
    compressible(rtype).is_some()
        || matches!(
            rtype,
            17 | 18 | 21 | 23 | 26 | 33 | 35 | 36 | 39 | 55 | 58 | 64 | 65 | 107
        )
}

/// Data in which names are in lower case. So are then all bytes that could be letters.
pub fn folded(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    match has_names(rtype) {
        true => rdata.to_ascii_lowercase(),
        false => rdata.to_vec(),
    }
}

/// A name in wire form from its text, relative to an origin in wire form.
pub fn name(text: &str, origin: &[u8]) -> Vec<u8> {
    if text == "@" {
        return origin.to_vec();
    }
    if text == "." {
        return vec![0];
    }
    let mut wire = Vec::new();
    let mut label = Vec::new();
    let mut bytes = text.bytes();
    let mut end = |label: &mut Vec<u8>| {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.append(label);
    };
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' => end(&mut label),
            b'\\' => {
                let first = bytes.next().unwrap();
                label.push(match first.is_ascii_digit() {
                    false => first,
                    true => {
                        let digits = [first, bytes.next().unwrap(), bytes.next().unwrap()];
                        String::from_utf8_lossy(&digits).parse().unwrap()
                    }
                });
            }
            byte => label.push(byte),
        }
    }
    if label.is_empty() {
        wire.push(0);
    } else {
        end(&mut label);
        wire.extend(origin);
    }
    wire
}

/// A name in text, with every odd byte as a number.
pub fn text_of(mut wire: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&len, rest)) = wire.split_first() {
        let (label, rest) = rest.split_at(len.into());
        for &byte in label {
            match byte {
                b'!'..=b'~' if byte != b'.' && byte != b'\\' => text.push(byte.into()),
                _ => text += &format!("\\{byte:03}"),
            }
        }
        text.push('.');
        wire = rest;
    }
    if text.len() > 1 {
        text.pop();
    }
    text
}

impl Reply {
    /// Takes a reply apart.
    pub fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let reader = &mut Reader {
            bytes: &bytes,
            at: 0,
        };
        let mut header = [0_u16; 6];
        for field in &mut header {
            *field = reader.u16()?;
        }
        let [_, flags, questions, counts @ ..] = header;
        if flags & 0x8000 == 0 {
            return Err("QR is not set".into());
        }
        let start = reader.at;
        for _ in 0..questions {
            reader.name()?;
            reader.take(4)?;
        }
        let question = bytes[start..reader.at].to_vec();
        let mut sections: [BTreeSet<Record>; 3] = Default::default();
        let mut repeated = None;
        for (section, count) in sections.iter_mut().zip(counts) {
            for _ in 0..count {
                let record = reader.record()?;
                if !section.insert(record.clone()) {
                    repeated = Some(record);
                }
            }
        }
        if reader.at != bytes.len() {
            return Err(format!("{} bytes trail it", bytes.len() - reader.at));
        }
        let [answer, authority, mut additional] = sections;
        let opt: Vec<_> = additional
            .iter()
            .filter(|r| r.rtype == OPT)
            .cloned()
            .collect();
        additional.retain(|record| record.rtype != OPT);
        let edns = match &opt[..] {
            [] => None,
            [opt] => Some(opt.ttl),
            _ => return Err("more than one OPT".into()),
        };
        Ok(Self {
            flags: flags & 0x7FF0,
            rcode: flags & 0xF | edns.map_or(0, |ttl| (ttl >> 20 & 0xFF0) as u16),
            question,
            answer,
            authority,
            additional,
            edns: edns.map(|ttl| ttl & 0x8000 != 0),
            edns_flags: edns.map_or(0, |ttl| ttl as u16),
            repeated,
            bytes,
        })
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8], String> {
        let taken = self.bytes.get(self.at..self.at + len);
        self.at += len;
        taken.ok_or_else(|| format!("it ends at {} of {}", self.bytes.len(), self.at))
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    /// A name without its pointers, in lower case. Pointers lead backwards (RFC 1035 §4.1.4).
    fn name(&mut self) -> Result<Vec<u8>, String> {
        let mut wire = Vec::new();
        let mut back_to = None;
        loop {
            let start = self.at;
            let len = self.take(1)?[0];
            match len {
                0 => break,
                1..=63 => {
                    wire.push(len);
                    wire.extend(self.take(len.into())?);
                }
                0xC0.. => {
                    let low = self.take(1)?[0];
                    back_to.get_or_insert(self.at);
                    self.at = usize::from(len & 0x3F) << 8 | usize::from(low);
                    if self.at >= start {
                        return Err(format!("a pointer at {start} leads forwards"));
                    }
                }
                _ => return Err(format!("a label of an unknown kind at {start}")),
            }
            if wire.len() > 254 {
                return Err("a name is too long".into());
            }
        }
        wire.push(0);
        wire.make_ascii_lowercase();
        self.at = back_to.unwrap_or(self.at);
        Ok(wire)
    }

    fn record(&mut self) -> Result<Record, String> {
        let owner = self.name()?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let len = usize::from(self.u16()?);
        let end = self.at + len;
        let mut rdata = Vec::new();
        if let Some((before, names)) = compressible(rtype).filter(|_| len > 0) {
            rdata.extend(self.take(before)?);
            for _ in 0..names {
                rdata.extend(self.name()?);
            }
        }
        let left = end
            .checked_sub(self.at)
            .ok_or("a name leads out of its record")?;
        rdata.extend(self.take(left)?);
        Ok(Record {
            rdata: folded(rtype, &rdata),
            owner,
            rtype,
            class,
            ttl,
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            owner,
            rtype,
            class,
            ttl,
            rdata,
        } = self;
        let owner = text_of(owner);
        let data: String = rdata.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = String::from_utf8_lossy(rdata).into_owned();
        let text = text.replace(|c: char| c.is_control(), "·");
        write!(f, "{owner} {ttl} CLASS{class} TYPE{rtype} {data} ({text})")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} bytes, rcode {}, flags {:04x}{}{}, DO {:?}",
            self.bytes.len(),
            self.rcode,
            self.flags,
            if self.has(AA) { " AA" } else { "" },
            if self.has(TC) { " TC" } else { "" },
            self.edns
        )?;
        let sections = [
            ("answer", &self.answer),
            ("authority", &self.authority),
            ("additional", &self.additional),
        ];
        for (section, records) in sections {
            for record in records {
                writeln!(f, "  {section:10} {record}")?;
            }
        }
        Ok(())
    }
}
