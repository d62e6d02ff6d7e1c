//! The queries: every name of a zone and names near it, in a pseudo-random order.

use super::message::{A, AAAA, ANY, CNAME, DNAME, NS, SOA, name, text_of};

/// Numbers that look like chance (Marsaglia's xorshift), the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}

/// How a query comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By UDP, with the size of its EDNS if it has any.
    Udp(Option<u16>),
    /// By TCP, with EDNS.
    Tcp,
}

/// A question, and how it is put.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: Vec<u8>,
    pub qtype: u16,
    pub way: Way,
    pub dnssec_ok: bool,
    pub id: u16,
}

impl Query {
    /// By TCP, and without DO.
    pub fn by_tcp(name: Vec<u8>, qtype: u16) -> Self {
        Self {
            name,
            qtype,
            way: Way::Tcp,
            dnssec_ok: false,
            id: 0x5A17,
        }
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let [i0, i1] = self.id.to_be_bytes();
        let mut bytes = vec![i0, i1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(&self.name);
        bytes.extend(self.qtype.to_be_bytes());
        bytes.extend([0, 1]);
        let size = match self.way {
            Way::Udp(size) => size,
            Way::Tcp => Some(1_232),
        };
        if let Some(size) = size {
            bytes[11] = 1;
            let dnssec_ok = if self.dnssec_ok { 0x80 } else { 0 };
            bytes.extend([0, 0, 41]);
            bytes.extend(size.to_be_bytes());
            bytes.extend([0, 0, dnssec_ok, 0, 0, 0]);
        }
        bytes
    }

    /// The most bytes that a reply may have.
    pub fn limit(&self) -> usize {
        match self.way {
            Way::Udp(size) => size.unwrap_or(512).clamp(512, 1_232).into(),
            Way::Tcp => 65_535,
        }
    }

    /// For people.
    pub fn show(&self) -> String {
        let Self {
            name,
            qtype,
            way,
            dnssec_ok,
            ..
        } = self;
        format!("{} TYPE{qtype}, {way:?}, DO {dnssec_ok}", text_of(name))
    }
}

/// The types that are asked for at every name.
const TYPES: [u16; 9] = [A, AAAA, NS, SOA, CNAME, DNAME, 16, 43, ANY];
/// Further ones: PTR, MX, SRV, NSEC, DNSKEY, HTTPS, unknown ones.
const FURTHER: [u16; 8] = [12, 15, 33, 48, 65, 65_280, 65_281, 1_234];

/// The owner names of a master file in which each record has its owner in front, and the origin is
/// never changed for another.
pub fn owners(text: &str, origin: &[u8]) -> Vec<Vec<u8>> {
    let is_record = |line: &&str| !line.is_empty() && !line.starts_with([' ', '\t', ';', '$', ')']);
    let first = |line: &str| {
        line.split([' ', '\t'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut owners: Vec<_> = text
        .lines()
        .filter(is_record)
        .map(|line| name(&first(line), origin))
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

/// The queries about a zone, of which these are the owner names.
pub fn queries(owners: &[Vec<u8>], origin: &[u8], random: &mut Random) -> Vec<Query> {
    let mut names = Vec::new();
    for owner in owners {
        // The name and its ancestors, also above the zone.
        let mut name = &owner[..];
        loop {
            names.push(name.to_vec());
            match name {
                [] | [0] => break,
                [len, rest @ ..] => name = &rest[usize::from(*len)..],
            }
        }
        for below in [
            &b"\x01x"[..],
            b"\x01*",
            b"\x01a\x01b",
            b"\x03\0\xffz",
            b"\x02ns",
            b"\x04sub2",
        ] {
            names.push([below, owner].concat());
        }
    }
    for _ in 0..20 {
        let len = 1 + random.below(20);
        let label: Vec<u8> = (0..len).map(|_| b'a' + random.below(26) as u8).collect();
        names.push([&[len as u8][..], &label, origin].concat());
    }
    names.retain(|name| name.len() <= 255);
    names.sort();
    names.dedup();
    let mut queries = Vec::new();
    for name in names {
        for qtype in TYPES {
            queries.push(query(name.clone(), qtype, random));
        }
        queries.push(query(name.clone(), random.of(&FURTHER), random));
        queries.push(query(name, random.below(65_536) as u16, random));
    }
    queries
}

/// A query by some way, in some letter case.
pub fn query(mut name: Vec<u8>, mut qtype: u16, random: &mut Random) -> Query {
    // Types that are for messages are another matter: 41, 128 (RFC 9824), 249 to 254; and so are RRSIG
    // and NSEC, for which Knot alone does not follow an alias, since a signed one has them itself.
    if matches!(qtype, 0 | 41 | 46 | 47 | 128..=254) {
        qtype = 1_234;
    }
    if random.below(2) == 0 {
        for byte in &mut name {
            if byte.is_ascii_lowercase() && random.below(2) == 0 {
                byte.make_ascii_uppercase();
            }
        }
    }
    let way = match random.below(6) {
        0 => Way::Tcp,
        1 | 2 => Way::Udp(None),
        3 => Way::Udp(Some(512)),
        4 => Way::Udp(Some(4_096)),
        _ => Way::Udp(Some(1_232)),
    };
    Query {
        name,
        qtype,
        way,
        dnssec_ok: random.below(3) == 0,
        id: random.below(65_536) as u16,
    }
}
