//! A validator that knows the published keys of all zones and nothing else of the server.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable, BinEncoder, NameEncoding};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

use super::*;
use crate::dnssec::key::key_tag;
use crate::dnssec::rrsig;
use crate::zone::Signings;

/// What the validator finds in a reply.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    /// The names with NSEC records, and the types that they have.
    pub(in super::super) nsec: Vec<(String, Vec<u16>)>,
    /// The number of signatures.
    pub(in super::super) signatures: usize,
}

/// The validator: the published keys of all zones, and the time.
pub(in super::super) struct Judge<'a> {
    signings: &'a Signings,
    now: UnixTime,
}

impl Judge<'_> {
    pub(in super::super) fn of(fixture: &Fixture) -> Judge<'_> {
        Judge {
            signings: fixture.zones.signings(),
            now: fixture.clock.now(),
        }
    }

    /// Validates all sections of a reply. RRsets without signatures are skipped where signatures are optional.
    pub(in super::super) fn look(&self, message: &Message) -> Found {
        let mut found = Found::default();
        let may_be_unsigned: [&dyn Fn(&Record) -> bool; 3] = [
            // RFC 6672 §5.3.1: the CNAME of a DNAME.
            &|record| {
                let is_above = |other: &Record| {
                    let is_dname = other.record_type() == RecordType::DNAME;
                    is_dname && other.name != record.name && other.name.zone_of(&record.name)
                };
                let is_cname = record.record_type() == RecordType::CNAME;
                is_cname && message.answers.iter().any(is_above)
            },
            &|record| record.record_type() == RecordType::NS,
            &|_| true,
        ];
        let sections = [&message.answers, &message.authorities, &message.additionals];
        for (records, may_be) in sections.into_iter().zip(may_be_unsigned) {
            self.look_at(records, may_be, &mut found);
        }
        found
    }

    fn look_at(&self, records: &[Record], may_be: &dyn Fn(&Record) -> bool, found: &mut Found) {
        let rtype = |record: &Record| u16::from(record.record_type());
        for record in records.iter().filter(|record| rtype(record) != RRSIG) {
            if rtype(record) == NSEC {
                let owner = record.name.to_ascii().to_lowercase();
                found.nsec.push((owner, types(&wire_of(&record.data))));
            }
            let is_same =
                |other: &&Record| other.name == record.name && rtype(other) == rtype(record);
            let set: Vec<_> = records.iter().filter(is_same).collect();
            let signatures = records.iter().filter(|other| {
                let data = wire_of(&other.data);
                rtype(other) == RRSIG
                    && other.name == record.name
                    && data.starts_with(&rtype(record).to_be_bytes())
            });
            let signatures: Vec<_> = signatures.collect();
            if signatures.is_empty() {
                assert!(may_be(record), "unsigned: {record}");
                continue;
            }
            for signature in signatures {
                self.verify(&set, signature);
                found.signatures += 1;
            }
        }
    }

    fn verify(&self, set: &[&Record], signature: &Record) {
        let first = set[0];
        let data = wire_of(&signature.data);
        let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
        let (original_ttl, expiration, inception) = (number(4), number(8), number(12));
        let now = self.now.0 as u32;
        assert!(inception <= now && now <= expiration, "{first}");
        // RFC 4035 §5.3.3: no cache keeps the RRset for longer than its signature is valid.
        assert!(
            first.ttl <= original_ttl && first.ttl <= expiration - now,
            "{first}"
        );
        assert_eq!(signature.ttl, first.ttl);
        // RFC 4034 §3.1.3
        let labels = first.name.iter().len() - usize::from(first.name.is_wildcard());
        assert_eq!(usize::from(data[3]), labels, "{first}");
        let signer_len = 1 + data[18..].iter().position(|byte| *byte == 0).unwrap();
        let (head, bytes) = data.split_at(18 + signer_len);
        let signer = Name::from_bytes(&head[18..]).unwrap();
        let origin = signer.to_ascii();
        let origin = ZoneName::parse(&origin).unwrap();
        assert!(signer.zone_of(&first.name));
        let keys = self.signings[&origin].keys();
        let tag = u16::from_be_bytes([data[16], data[17]]);
        let key = keys.dnskeys.iter().find(|key| key_tag(key) == tag);
        let key = key.expect("a key that is published");
        let mut signed = head.to_vec();
        let rtype = u16::from(first.record_type());
        let mut all: Vec<_> = set
            .iter()
            .map(|record| rrsig::canonical(rtype, wire_of(&record.data)))
            .collect();
        all.sort();
        for rdata in all {
            for label in first.name.iter() {
                signed.push(label.len() as u8);
                signed.extend(label.to_ascii_lowercase());
            }
            signed.push(0);
            signed.extend(rtype.to_be_bytes());
            signed.extend([0, 1]);
            signed.extend(original_ttl.to_be_bytes());
            signed.extend((rdata.len() as u16).to_be_bytes());
            signed.extend(rdata);
        }
        let verified = match key[3] {
            13 => {
                let point = [&[4], &key[4..]].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&signed, bytes)
            }
            _ => UnparsedPublicKey::new(&ED25519, &key[4..]).verify(&signed, bytes),
        };
        assert!(verified.is_ok(), "bogus: {first} {signature}");
    }

    /// Asks, and checks that the reply is valid and proves its denial.
    pub(in super::super) fn ask(&self, fixture: &Fixture, packet: &[u8]) -> (Message, Found) {
        let (_, wire) = fixture.ask(packet);
        let message = Message::from_vec(&wire).unwrap();
        let found = self.look(&message);
        if message.metadata.truncation || message.metadata.response_code != ResponseCode::NoError {
            return (message, found);
        }
        let query = &message.queries[0];
        let qtype = u16::from(query.query_type());
        let mut last = query.name().clone();
        // Bounded, since aliases may form a loop.
        for _ in 0..=message.answers.len() {
            let is_alias =
                |record: &&Record| record.name == last && record.record_type() == RecordType::CNAME;
            let alias = message.answers.iter().find(is_alias);
            match alias.map(|record| &record.data) {
                Some(RData::CNAME(CNAME(target))) if ![5, NSEC, 255].contains(&qtype) => {
                    last = target.clone();
                }
                _ => break,
            }
        }
        self.prove(&message, &found, (&last, qtype));
        (message, found)
    }

    /// Checks that a reply proves what it says of the last name of its aliases.
    fn prove(&self, message: &Message, found: &Found, (last, qtype): (&Name, u16)) {
        let is_answer = |record: &Record| {
            record.name == *last && (qtype == 255 || u16::from(record.record_type()) == qtype)
        };
        if message.answers.iter().any(is_answer) || message.authorities.is_empty() {
            return;
        }
        let is_ns = |record: &&Record| record.record_type() == RecordType::NS;
        let owner = |name: &Name| name.to_ascii().to_lowercase();
        let proof = |name: &Name| {
            let name = owner(name);
            found.nsec.iter().find(|(other, _)| *other == name)
        };
        if let Some(ns) = message.authorities.iter().find(is_ns) {
            // RFC 4035 §3.1.4: a referral says whether the zone below is signed.
            let is_ds = |r: &Record| r.record_type() == RecordType::DS && r.name == ns.name;
            let unsigned = proof(&ns.name).is_some_and(|(_, types)| !types.contains(&43));
            assert!(
                message.authorities.iter().any(is_ds) || unsigned,
                "{message:#?}"
            );
            return;
        }
        let (_, types) = proof(last).unwrap_or_else(|| panic!("no proof: {message:#?}"));
        assert!(
            !types.contains(&qtype) && !types.contains(&5),
            "{message:#?}"
        );
    }
}

pub(in super::super) fn wire_of(rdata: &RData) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    rdata.emit(&mut encoder).unwrap();
    wire
}

/// The types in the data of an NSEC record.
fn types(data: &[u8]) -> Vec<u16> {
    let mut at = 0;
    while data[at] != 0 {
        at += 1 + usize::from(data[at]);
    }
    let mut rest = &data[at + 1..];
    let mut types = Vec::new();
    while let [window, len, behind @ ..] = rest {
        let (bits, behind) = behind.split_at(usize::from(*len));
        for (at, byte) in bits.iter().enumerate() {
            let set = (0..8).filter(|bit| byte & 0x80 >> bit != 0);
            types.extend(set.map(|bit| u16::from(*window) << 8 | (8 * at + bit) as u16));
        }
        rest = behind;
    }
    types
}
