//! Signs answers, and proves denials (RFC 4035 §3.1, RFC 9824).
//!
//! A signature costs more than all other work on an answer. So the signatures of names that exist are kept with the
//! hot answers, each for its RRset. An answer that is made again, because its link was looked up again or the client
//! asks for another type, uses the kept signatures of the RRsets in it. A kept signature has the digest of the data
//! that it covers, so a change is never missed, and invalidates no other signature. Signatures are renewed when half
//! of their life is over.

use std::hash::Hasher;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::handler::Shared;
use super::hot::{Form, HotKey, Now, Validity};
use crate::base::clock::UnixTime;
use crate::base::name::Shown;
use crate::base::name::wire::WireName;
use crate::dns::answer::outcome::{Answer, ExtendedError, Variant};
use crate::dns::answer::records;
use crate::dns::limits::rate_limit::Purpose;
use crate::dns::wire::query::HEADER_LEN;
use crate::dnssec::Signing;
use crate::dnssec::denial::{self, Successor, TYPE_NSEC, TYPE_NXNAME, TYPE_RRSIG};
use crate::dnssec::key::SigningKey;
use crate::dnssec::keys::ZoneKeys;
use crate::dnssec::rrsig::{self, CanonicalSet};
use crate::links::{Lease, Stamp};
use crate::zone::Zone;

/// The most bytes of signatures that are kept for an RRset: two signatures in a zone with the longest possible name.
const MAX_KEPT: usize = 768;
/// The usual length of a proof, in bytes.
const PROOF_LEN: usize = 256;
/// A pointer to the name of the question, which follows the header (RFC 1035 §4.1.4).
const POINTER_TO_QUESTION: [u8; 2] = [0xC0, HEADER_LEN as u8];
/// How many bytes after kept signatures may be overwritten.
const SLACK: usize = 16;
/// The longest time for which signatures are kept, in seconds.
const MAX_KEPT_FOR: u64 = 30 * 86_400;

/// Why an answer is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// The limit on signatures is reached.
    TooMany,
    /// The answer cannot be encoded or signed.
    Failed,
}

impl Unsigned {
    /// The extended error for the client (RFC 8914).
    pub(crate) fn explained(self) -> ExtendedError {
        let (code, text) = match self {
            Self::TooMany => (ExtendedError::NOT_READY, "too many signatures are wanted"),
            Self::Failed => (ExtendedError::NOT_READY, "the answer cannot be signed"),
        };
        ExtendedError { code, text }
    }
}

/// The data of RRSIG records, when their validity begins, and when to renew them.
struct Signatures {
    data: Vec<Vec<u8>>,
    inception: UnixTime,
    renewal: UnixTime,
}

/// Records that prove that a name does not exist.
pub(crate) struct Proof {
    /// In wire form.
    pub(crate) bytes: Vec<u8>,
    /// The number of records.
    pub(crate) records: u16,
}

/// Signs answers of a zone.
pub(crate) struct Signer<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) zone: &'a Zone,
    pub(crate) signing: &'a Signing,
    pub(crate) keys: &'a ZoneKeys,
    pub(crate) now: &'a Now,
    /// From before the zones were read.
    pub(crate) stamp: Stamp,
    /// The client.
    pub(crate) client: IpAddr,
    /// Whether the client has proved its address, by TCP or by a cookie.
    pub(crate) is_known: bool,
    /// Whether the query name is [made up](super::made_up).
    pub(crate) is_made_up: bool,
    /// Whether the client has set the DO bit.
    pub(crate) wants_dnssec: bool,
}

impl Signer<'_> {
    /// Signs an answer. Returns when its signatures are to be renewed.
    pub(crate) fn sign(
        &self,
        answer: &mut Answer,
        qtype: RecordType,
    ) -> Result<UnixTime, Unsigned> {
        if matches!(answer.rcode, ResponseCode::ServFail | ResponseCode::Refused) {
            return Ok(UnixTime(u64::MAX));
        }
        if !self.wants_dnssec {
            return self.sign_asked(answer);
        }
        if let Some(denial) = answer.denial.take() {
            let nsec = denial.record(self.zone);
            answer.authorities.extend(nsec);
        }
        let mut renewal = UnixTime(u64::MAX);
        let is_dname = |record: &Record| record.record_type() == RecordType::DNAME;
        let has_dname = answer.answers.iter().any(is_dname);
        let mut is_own = |set: &[Record], all: &[Record]| match set {
            [cname, ..] if cname.record_type() == RecordType::CNAME && has_dname => {
                // RFC 6672 §5.3.1: the CNAME that is synthesised from a DNAME is not signed.
                let is_made =
                    |above: &Record| is_dname(above) && is_below(&cname.name, &above.name);
                !all.iter().any(is_made)
            }
            _ => true,
        };
        // RFC 4034 §3.1.4: the signature covers the full TTL, so one signature is valid until the link expires,
        // while the TTL is cut from second to second.
        let full_ttl = |first: &Record| answer.full_ttl(first);
        answer.answers = self.sign_section(
            &answer.answers,
            &full_ttl,
            &mut renewal,
            &mut is_own,
            answer.variant(),
        )?;
        let full_ttl = |first: &Record| first.ttl;
        let mut is_own = |set: &[Record], _: &[Record]| {
            // RFC 4035 §2.2: the NS records of a zone cut are not signed.
            set.iter()
                .all(|record| record.record_type() != RecordType::NS)
        };
        answer.authorities = self.sign_section(
            &answer.authorities,
            &full_ttl,
            &mut renewal,
            &mut is_own,
            None,
        )?;
        // RFC 4035 §2.2: nor is glue.
        let mut is_own = |set: &[Record], _: &[Record]| {
            let owner = set.first().map(|record| &record.name);
            owner.is_some_and(|owner| !self.zone.is_glue(owner))
        };
        answer.additionals = self.sign_section(
            &answer.additionals,
            &full_ttl,
            &mut renewal,
            &mut is_own,
            None,
        )?;
        if qtype == RecordType::RRSIG {
            // The query was for signatures alone, so the NSEC record at the end of the aliases is not wanted.
            let is_asked = |record: &Record| record.record_type() != RecordType::NSEC;
            answer.answers.retain(is_asked);
        }
        answer.signed = true;
        Ok(renewal)
    }

    /// Answers a query for RRSIG records without the DO bit: they are records like any others, and nothing else is
    /// signed (RFC 4035 §3.1).
    fn sign_asked(&self, answer: &mut Answer) -> Result<UnixTime, Unsigned> {
        let mut renewal = UnixTime(u64::MAX);
        let is_nsec = |record: &Record| record.record_type() == RecordType::NSEC;
        let (nsec, mut answers): (Vec<_>, Vec<_>) = answer.answers.drain(..).partition(is_nsec);
        let signed = self.sign_section(
            &nsec,
            &|first| first.ttl,
            &mut renewal,
            &mut |_, _| true,
            None,
        )?;
        answers.extend(signed.into_iter().filter(|record| !is_nsec(record)));
        answer.answers = answers;
        Ok(renewal)
    }

    /// The records of a section, with the signatures of each RRset after it.
    fn sign_section(
        &self,
        records: &[Record],
        full_ttl: &dyn Fn(&Record) -> u32,
        renewal: &mut UnixTime,
        is_own: &mut dyn FnMut(&[Record], &[Record]) -> bool,
        variant: Option<Variant>,
    ) -> Result<Vec<Record>, Unsigned> {
        let mut signed = Vec::with_capacity(2 * records.len());
        let is_same =
            |a: &Record, b: &Record| a.record_type() == b.record_type() && a.name == b.name;
        for set in records.chunk_by(is_same) {
            if !is_own(set, records) {
                signed.extend_from_slice(set);
                continue;
            }
            let full_ttl = set.first().map_or(0, full_ttl);
            let signatures = self.signatures(set, full_ttl, variant)?;
            let max_ttl = self.signing.max_ttl();
            let at_most = |record: &Record| {
                let mut record = record.clone();
                record.ttl = record.ttl.min(max_ttl);
                record
            };
            signed.extend(set.iter().map(at_most));
            if let Some(first) = set.first() {
                let (owner, ttl) = (&first.name, first.ttl.min(max_ttl));
                signed.extend(signatures.data.into_iter().map(|data| {
                    let rdata = records::raw(RecordType::RRSIG, data);
                    Record::from_rdata(owner.clone(), ttl, rdata)
                }));
            }
            *renewal = (*renewal).min(signatures.renewal);
        }
        Ok(signed)
    }

    /// The signatures of an RRset whose full TTL is `ttl`, kept or new. Those of addresses that depend on the client are kept
    /// for each variant.
    fn signatures(
        &self,
        set: &[Record],
        ttl: u32,
        variant: Option<Variant>,
    ) -> Result<Signatures, Unsigned> {
        let first = set.first().ok_or(Unsigned::Failed)?;
        let rtype = u16::from(first.record_type());
        let owner = WireName::from_labels(first.name.iter()).ok_or(Unsigned::Failed)?;
        let data = set.iter().map(|record| canonical(rtype, &record.data));
        let mut data: Vec<_> = data.collect::<Option<_>>().ok_or(Unsigned::Failed)?;
        // RFC 4034 §6.3
        data.sort_unstable();
        data.dedup();
        // RFC 4034 §3.1.4: the signature covers the SOA record's TTL in the zone; denials have the record with a
        // lower TTL.
        let ttl = match first.record_type() {
            RecordType::SOA => self.zone.soa_ttl().max(ttl),
            _ => ttl,
        };
        let set = CanonicalSet {
            owner: owner.as_bytes(),
            rtype,
            ttl: ttl.min(self.signing.max_ttl()),
            data: &data,
        };
        let is_kept = !self.is_made_up || self.zone.has_name(&owner);
        if !is_kept {
            return self.make(&set);
        }
        let digest = self.digest(&set);
        let hot = &self.shared.hot;
        // An alias on the way to the addresses is the same for all clients.
        let varies = matches!(
            first.record_type(),
            RecordType::A | RecordType::AAAA | RecordType::HTTPS | RecordType::SVCB
        );
        let routed = |variant| hot.routed_key(&owner, Form::Signatures, rtype, variant);
        let key = variant.filter(|_| varies).and_then(routed);
        let key = key.unwrap_or_else(|| hot.key(&owner, Form::Signatures, rtype));
        if let Some(kept) = self.kept(&key, digest) {
            return Ok(kept);
        }
        let signatures = self.make(&set)?;
        self.keep(&key, digest, &signatures);
        Ok(signatures)
    }

    /// The proof that a name does not exist, as bytes for a reply whose question has that name.
    pub(crate) fn proof_of_absence(&self, name: &WireName) -> Result<Proof, Unsigned> {
        let ttl = self.zone.negative_soa().ttl;
        let ttl = ttl.min(self.signing.max_ttl());
        let nsec = denial::nsec(
            name.as_bytes(),
            self.zone.apex_key(),
            Successor::Below,
            &[TYPE_NXNAME],
        );
        let data = [nsec];
        let signatures = self.make(&CanonicalSet {
            owner: name.as_bytes(),
            rtype: TYPE_NSEC,
            ttl,
            data: &data,
        })?;
        let mut proof = Proof {
            bytes: Vec::with_capacity(PROOF_LEN),
            records: 0,
        };
        let types = [TYPE_NSEC].into_iter().chain(iter::repeat(TYPE_RRSIG));
        for (rtype, data) in types.zip(data.iter().chain(&signatures.data)) {
            let ([t0, t1], [l0, l1]) = (rtype.to_be_bytes(), (data.len() as u16).to_be_bytes());
            proof.bytes.extend(POINTER_TO_QUESTION);
            proof.bytes.extend([t0, t1, 0, 1]);
            proof.bytes.extend(ttl.to_be_bytes());
            proof.bytes.extend([l0, l1]);
            proof.bytes.extend(data);
            proof.records += 1;
        }
        Ok(proof)
    }

    /// Makes new signatures.
    fn make(&self, set: &CanonicalSet<'_>) -> Result<Signatures, Unsigned> {
        let purpose = Purpose {
            is_made_up: self.is_made_up,
            client: self.client,
            is_known: self.is_known,
        };
        let state = &self.shared.signatures;
        let metrics = &self.shared.metrics;
        if !state.limiter().take(purpose, self.now.instant) {
            metrics.dnssec_signatures_refused.inc();
            return Err(Unsigned::TooMany);
        }
        let spread = state.digest(set.owner);
        let period = self.signing.validity().period(self.now.unix, spread);
        let keys = self.keys_for(set.rtype);
        let data = rrsig::sign(set, self.zone.apex_key(), keys, &period).map_err(|error| {
            tracing::error!(%error, zone = %Shown::from(self.zone.origin()), "cannot sign");
            Unsigned::Failed
        })?;
        metrics.dnssec_signatures.inc_by(data.len() as u64);
        Ok(Signatures {
            data,
            inception: period.inception,
            renewal: period.renewal,
        })
    }

    fn keys_for(&self, rtype: u16) -> &[Arc<SigningKey>] {
        // RFC 7344 §4.1: CDS and CDNSKEY are signed by the keys that the parent knows.
        match RecordType::from(rtype) {
            RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY => &self.keys.key_signers,
            _ => &self.keys.zone_signers,
        }
    }

    /// The kept signatures of data with this digest.
    fn kept(&self, key: &HotKey<'_>, digest: u64) -> Option<Signatures> {
        // No change makes a kept signature wrong: the digest covers all its data.
        let is_current = |_| true;
        let mut bytes = [0; MAX_KEPT + SLACK];
        let hot = &self.shared.hot;
        let found = hot.find(key, self.now, is_current, MAX_KEPT, &mut bytes)?;
        if found.head != digest.to_le_bytes() {
            return None;
        }
        let (inception, rest) = bytes.get(..found.len)?.split_first_chunk()?;
        let (renewal, mut rest) = rest.split_first_chunk()?;
        // Made while the clock was ahead.
        if u64::from_le_bytes(*inception) > self.now.unix.0 {
            return None;
        }
        let mut data = Vec::new();
        while let Some((len, behind)) = rest.split_first_chunk() {
            let (one, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
            data.push(one.to_vec());
            rest = behind;
        }
        Some(Signatures {
            data,
            inception: UnixTime(u64::from_le_bytes(*inception)),
            renewal: UnixTime(u64::from_le_bytes(*renewal)),
        })
    }

    fn keep(&self, key: &HotKey<'_>, digest: u64, signatures: &Signatures) {
        let mut records = signatures.inception.0.to_le_bytes().to_vec();
        records.extend(signatures.renewal.0.to_le_bytes());
        for one in &signatures.data {
            records.extend((one.len() as u16).to_le_bytes());
            records.extend(one);
        }
        let left = signatures.renewal.0.saturating_sub(self.now.unix.0);
        let validity = Validity {
            lease: Lease {
                until: self.now.instant + Duration::from_secs(left.min(MAX_KEPT_FOR)),
                stamp: self.stamp,
            },
            steady_until: UnixTime(signatures.renewal.0.saturating_sub(1)),
        };
        if records.len() <= MAX_KEPT {
            let head = digest.to_le_bytes();
            let more = self.shared.hot.keep(key, head, &records, validity);
            self.shared.count_hot_bytes(more);
        }
    }

    /// The digest of all that a signature depends on, except the time.
    fn digest(&self, set: &CanonicalSet<'_>) -> u64 {
        let mut hasher = self.shared.signatures.hasher();
        hasher.write(self.zone.apex_key());
        hasher.write(set.owner);
        hasher.write(&set.rtype.to_be_bytes());
        hasher.write(&set.ttl.to_be_bytes());
        for data in set.data {
            hasher.write(&(data.len() as u64).to_be_bytes());
            hasher.write(data);
        }
        for key in self.keys_for(set.rtype) {
            hasher.write(key.dnskey());
        }
        hasher.finish()
    }
}

/// The data of a record in canonical form; none if it cannot be encoded.
fn canonical(rtype: u16, rdata: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    rdata.emit(&mut encoder).ok()?;
    Some(rrsig::canonical(rtype, wire))
}

/// Whether a name is below another name.
fn is_below(name: &Name, above: &Name) -> bool {
    // `num_labels` does not count an asterisk.
    name.iter().len() > above.iter().len() && above.zone_of(name)
}
