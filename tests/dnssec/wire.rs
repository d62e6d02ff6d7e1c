//! Signed replies in bytes, read without any library that tinyns uses.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{NSEC, RRSIG};
use crate::differential::message::{Record, Reply, name};
use crate::differential::servers::Client;

/// DNSSEC OK (RFC 3225 §3).
pub const DO: u16 = 0x8000;
/// Compact Answers OK (RFC 9824 §5.1).
pub const CO: u16 = 0x4000;
/// The EDNS payload size of queries by UDP, in bytes, unless a test is about sizes.
pub const SIZE: u16 = 1_232;

/// A query with EDNS.
pub fn query(owner: &[u8], qtype: u16, size: u16, flags: u16) -> Vec<u8> {
    let header = [0x5A, 0x17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [&[0, 0, 41], &size.to_be_bytes()[..], &[0, 0]].concat();
    let qtype = qtype.to_be_bytes();
    let flags = flags.to_be_bytes();
    [&header[..], owner, &qtype, &[0, 1], &opt, &flags, &[0, 0]].concat()
}

/// A name with its final dot, in wire format.
pub fn wire(text: &str) -> Vec<u8> {
    assert!(text.ends_with('.'), "{text}");
    name(text, b"")
}

/// The reply by UDP to a query with these EDNS flags.
pub fn ask(server: SocketAddr, owner: &str, qtype: u16, flags: u16) -> Reply {
    ask_for(server, &wire(owner), qtype, flags)
}

/// Like [`ask`], for a name in wire format.
pub fn ask_for(server: SocketAddr, owner: &[u8], qtype: u16, flags: u16) -> Reply {
    let query = query(owner, qtype, SIZE, flags);
    Reply::read(Client::new(server).udp(&query).unwrap()).unwrap()
}

/// The records of a type in a section.
pub fn of_type(section: &BTreeSet<Record>, rtype: u16) -> Vec<&Record> {
    section.iter().filter(|r| r.rtype == rtype).collect()
}

/// The RRsets of a section, and which of them are signed.
pub fn sets(section: &BTreeSet<Record>) -> (BTreeSet<Set>, BTreeSet<Set>) {
    let (signatures, others): (Vec<_>, Vec<_>) = section.iter().partition(|r| r.rtype == RRSIG);
    let sets = others.iter().map(|r| (r.owner.clone(), r.rtype));
    let signed = signatures.iter().map(|r| (r.owner.clone(), covered(r)));
    (sets.collect(), signed.collect())
}

/// The owner and the type of an RRset.
pub type Set = (Vec<u8>, u16);

/// The type covered by a signature (RFC 4034 §3.1.1).
pub fn covered(rrsig: &Record) -> u16 {
    u16::from_be_bytes([rrsig.rdata[0], rrsig.rdata[1]])
}

/// The contents of an NSEC record (RFC 4034 §4).
#[derive(Debug)]
pub struct Nsec {
    pub owner: Vec<u8>,
    pub next: Vec<u8>,
    pub types: BTreeSet<u16>,
}

/// The NSEC records of a section.
pub fn nsecs(section: &BTreeSet<Record>) -> Vec<Nsec> {
    let records = of_type(section, NSEC).into_iter();
    records.map(read_nsec).collect()
}

/// The only NSEC record of a section.
pub fn nsec(section: &BTreeSet<Record>) -> Nsec {
    let mut nsecs = nsecs(section);
    assert_eq!(nsecs.len(), 1, "{nsecs:?}");
    nsecs.remove(0)
}

/// The labels of a name from the last to the first, for the canonical order (RFC 4034 §6.1).
pub fn order(mut name: &[u8]) -> Vec<Vec<u8>> {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = name.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at(length.into());
        labels.insert(0, label.to_ascii_lowercase());
        name = rest;
    }
    labels
}

fn read_nsec(record: &Record) -> Nsec {
    let data = &record.rdata;
    let mut at = 0;
    while data[at] != 0 {
        at += 1 + usize::from(data[at]);
    }
    let (next, mut bitmap) = data.split_at(at + 1);
    let mut types = BTreeSet::new();
    let mut last_window = None;
    while let [window, length, rest @ ..] = bitmap {
        let (bits, rest) = rest.split_at(usize::from(*length));
        // RFC 4034 §4.1.2: windows rise, have 1 to 32 bytes, and no zeros at their end.
        assert!(last_window < Some(*window), "{record}");
        assert!(bits.len() <= 32 && bits.last() > Some(&0), "{record}");
        last_window = Some(*window);
        for (byte, bits) in (0..).zip(bits) {
            let set = (0..8).filter(|bit| bits & (0x80 >> bit) != 0);
            types.extend(set.map(|bit| u16::from(*window) << 8 | (byte * 8 + bit)));
        }
        bitmap = rest;
    }
    assert!(bitmap.is_empty(), "{record}");
    Nsec {
        owner: record.owner.clone(),
        next: next.to_vec(),
        types,
    }
}
