//! Hot answers: encoded answers that are sent again as they are.
//!
//! The key of an answer is its owner name in lower case, its type, and its [form](Form). An answer is kept as the
//! flags and counts of its header, and its records as they are encoded behind a question of that length. They do not
//! depend on the query in any other way: owner names point to the question by compression (RFC 1035 §4.1.4), so that
//! each reply has the letter case of its own query. [`crate::dns::wire::reply`] adds id, RD, question and OPT
//! record.
//!
//! Which answers are kept, and for how long:
//!
//! * An answer about a link has the link's [lease](Lease), and is not used any more once its stamp has moved on or
//!   its time is over. So a change shows at once, in all types of both of the link's names, without a search for the
//!   answers that it affects.
//! * TTLs are those of the zone, as on any authoritative server. Only the TTL of a link that expires is cut to the
//!   rest of its life, so an answer also has the last second in which its TTLs are right.
//! * The answer that there is no link is the same for all names of the same length, except for the question. It is
//!   kept once, under a [stand-in](crate::zone::Zone::stand_in): random names, each with an answer of its own, would
//!   evict all other answers. [`crate::links`] remembers which names are absent, within a bound. For the same reason
//!   no answers about [made-up](super::made_up) names are kept, and all types that the zone has nowhere share one
//!   answer for each name.
//! * An answer with addresses that depend on the client is kept for each pool: the key has the list of pools and the pool as
//!   well. Under the key without them lies a *signpost*, which says which list the name has.
//! * A failure is never kept.
//! * [`super::sign_answer`] keeps signatures of RRsets here as well, with a digest of the signed data and the time
//!   of their renewal.
//!
//! The cache is bounded in bytes; [`ring`] explains which entries are evicted.

mod primitives;
mod ring;
mod room;

use std::ops::BitXor;
use std::time::Instant;

use foldhash::quality::RandomState;

use self::ring::{Key, Ring, Tags};
use crate::base::clock::UnixTime;
use crate::base::name::wire::WireName;
use crate::dns::answer::outcome::Variant;
use crate::links::{Lease, Stamp};
use crate::zone::Zone;

/// The number of rings that share the bytes. One thread at a time can write to each ring.
const RINGS: usize = 8;

/// The length of an answer's head, in bytes: one word of a ring.
const HEAD_LEN: usize = 8;

/// The time, read once for many queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For the ends of leases.
    pub(crate) instant: Instant,
    /// For the expiry of links.
    pub(crate) unix: UnixTime,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct HotAnswers {
    rings: Vec<Ring>,
    hasher: RandomState,
    began: Instant,
}

/// The form of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The answer without signatures.
    Plain,
    /// The answer for clients that set the DO bit, where any zone is signed.
    Signed,
    /// The signatures of an RRset.
    Signatures,
}

impl Form {
    /// The kind of a key with this form and type.
    fn kind(self, rtype: u16) -> u32 {
        let form = match self {
            Self::Plain => 0,
            Self::Signed => 1,
            Self::Signatures => 2,
        };
        form << 16 | u32::from(rtype)
    }
}

/// Marks the kind of a key for all types that are strange to the zone.
const STRANGE: u32 = 1 << 20;
/// Marks the kind of a key of a stand-in.
const STAND_IN: u32 = 1 << 21;

/// Marks the kind of a key of an answer, or of signatures, that depend on the client. Form, variant and type follow.
const ROUTED: u32 = 1 << 23;

/// The kind of a key for a variant; none for types that no variant has.
fn routed_kind(form: Form, qtype: u16, variant: Variant) -> Option<u32> {
    let form = form.kind(0) >> 16;
    Some(ROUTED | form << 21 | variant.number() << 8 | u32::from(u8::try_from(qtype).ok()?))
}

/// The key of an entry: a name, a form, and a type or a mark.
#[derive(Clone, Copy)]
pub(crate) struct HotKey<'k>(Key<'k>);

/// How long an answer is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    /// How long the link and the zones are known to be as they are.
    pub(crate) lease: Lease,
    /// The last second in which its TTLs are right.
    pub(crate) steady_until: UnixTime,
}

/// An answer that was found.
pub(crate) struct HotAnswer {
    /// The head: for an answer, a [`Head`](crate::dns::wire::reply::Head) as bytes; for an answer that depends on the client,
    /// a signpost.
    pub(crate) head: [u8; HEAD_LEN],
    /// The length of its records, in bytes.
    pub(crate) len: usize,
}

impl HotKey<'_> {
    /// Its hash, for [`HotAnswers::fetch`].
    pub(crate) fn hash(&self) -> u64 {
        self.0.hash
    }
}

impl HotAnswers {
    /// A cache of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let hasher = RandomState::default();
        Self {
            rings: Ring::side_by_side(RINGS, bytes / RINGS, &hasher),
            hasher,
            began: Instant::now(),
        }
    }

    /// The key of the answer for a name and a type.
    pub(crate) fn key<'k>(&self, name: &'k WireName, form: Form, qtype: u16) -> HotKey<'k> {
        HotKey(Key::new(&self.hasher, form.kind(qtype), name.padded()))
    }

    /// The key of the answer for a name and all types that are [strange](crate::zone::Zone::is_strange) to its
    /// zone.
    pub(crate) fn strange_key<'k>(&self, name: &'k WireName, form: Form) -> HotKey<'k> {
        HotKey(Key::new(
            &self.hasher,
            form.kind(0) | STRANGE,
            name.padded(),
        ))
    }

    /// The key of the answer for a name and a type that this variant of addresses belongs to; none for types that no
    /// variant has.
    pub(crate) fn routed_key<'k>(
        &self,
        name: &'k WireName,
        form: Form,
        qtype: u16,
        variant: Variant,
    ) -> Option<HotKey<'k>> {
        let kind = routed_kind(form, qtype, variant)?;
        Some(HotKey(Key::new(&self.hasher, kind, name.padded())))
    }

    /// The same key, with a hash that is known already.
    pub(crate) fn routed_key_with_hash<'k>(
        name: &'k WireName,
        form: Form,
        (qtype, variant): (u16, Variant),
        hash: u64,
    ) -> Option<HotKey<'k>> {
        Some(HotKey(Key {
            hash,
            kind: routed_kind(form, qtype, variant)?,
            name: name.padded(),
        }))
    }

    /// The key of the answer for a name and a type, with a hash that is known already.
    pub(crate) fn key_with_hash<'k>(
        name: &'k WireName,
        form: Form,
        qtype: u16,
        hash: u64,
    ) -> HotKey<'k> {
        HotKey(Key {
            hash,
            kind: form.kind(qtype),
            name: name.padded(),
        })
    }

    /// The key of the answer for all names that a stand-in stands for, and for all types. Stand-ins of different
    /// zones may have the same labels; the number of labels of the origin tells their keys apart.
    pub(crate) fn stand_in_key<'k>(
        &self,
        stand_in: &'k WireName,
        zone: &Zone,
        form: Form,
    ) -> HotKey<'k> {
        let kind = form.kind(zone.apex_labels() as u16) | STAND_IN;
        HotKey(Key::new(&self.hasher, kind, stand_in.padded()))
    }

    /// Brings the entries with these hashes into the processor's cache.
    pub(crate) fn fetch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        let index = |hash| self.ring_of(hash).fetch_index(hash);
        let entry = |hash| self.ring_of(hash).fetch_entry(hash);
        let loaded = hashes.clone().map(index).fold(0, BitXor::bitxor)
            ^ hashes.map(entry).fold(0, BitXor::bitxor);
        std::hint::black_box(loaded);
    }

    /// Finds an answer that is still right, and copies its records to the beginning of `to`. If the records are
    /// longer than `limit`, only the head is returned. Some bytes after the records are overwritten.
    pub(crate) fn find(
        &self,
        key: &HotKey<'_>,
        now: &Now,
        is_current: impl Fn(Stamp) -> bool,
        limit: usize,
        to: &mut [u8],
    ) -> Option<HotAnswer> {
        self.ring(key).find(&key.0, |found| {
            if !self.is_right(found.tags, now, is_current) {
                return None;
            }
            let len = found.value_len().checked_sub(HEAD_LEN)?;
            if len <= limit && !found.copy(1, to) {
                return None;
            }
            let head = found.first_word().to_le_bytes();
            Some(HotAnswer { head, len })
        })
    }

    /// Keeps an answer, if the ring takes it. Returns how many bytes are now in use that were not before.
    pub(crate) fn keep(
        &self,
        key: &HotKey<'_>,
        head: [u8; HEAD_LEN],
        records: &[u8],
        validity: Validity,
    ) -> usize {
        let mut value = Vec::with_capacity(HEAD_LEN + records.len());
        value.extend(head);
        value.extend(records);
        self.ring(key).insert(&key.0, self.tags(validity), &value)
    }

    fn ring(&self, key: &HotKey<'_>) -> &Ring {
        self.ring_of(key.0.hash)
    }

    fn ring_of(&self, hash: u64) -> &Ring {
        // A ring uses other bits for its buckets and its slots.
        &self.rings[(hash >> 16) as usize % RINGS]
    }

    /// The tags are in an order in which a mixture with earlier tags of the same answer does no harm: while the old
    /// stamp is current, neither the link nor the zones have changed, so the old and the new ends are right.
    fn tags(&self, validity: Validity) -> Tags {
        let Lease { until, stamp } = validity.lease;
        let (slot, changes, all) = stamp.parts();
        let millis = until.saturating_duration_since(self.began).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX >> 16);
        [
            u64::from(changes) << 32 | u64::from(all),
            millis << 16 | u64::from(slot),
            validity.steady_until.0,
        ]
    }

    fn is_right(&self, tags: Tags, now: &Now, is_current: impl Fn(Stamp) -> bool) -> bool {
        let [stamp, until, steady_until] = tags;
        let stamp = Stamp::from_parts((until as u16, (stamp >> 32) as u32, stamp as u32));
        let elapsed = now.instant.saturating_duration_since(self.began);
        u128::from(until >> 16) > elapsed.as_millis()
            && steady_until >= now.unix.0
            && is_current(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An answer is not found if any of its conditions fails.
    #[test]
    fn an_answer_is_found_for_as_long_as_it_is_right() {
        let hot = HotAnswers::new(1 << 16);
        let name = WireName::read(b"\x03abc\x01s\0").unwrap();
        let key = hot.key(&name, Form::Plain, 16);
        let records = b"some records";
        let head = [7; HEAD_LEN];
        let (began, stamp) = (Instant::now(), Stamp::from_parts((3, 4, 5)));
        let (until, steady_until) = (began + Duration::from_secs(60), UnixTime(1_000));
        let lease = Lease { until, stamp };
        let find = |after: Duration, unix: u64, is_current: bool| {
            let now = Now {
                instant: began + after,
                unix: UnixTime(unix),
            };
            let mut to = [0; 32];
            let is_current = |asked| {
                assert_eq!(asked, stamp);
                is_current
            };
            let found = hot.find(&key, &now, is_current, 20, &mut to)?;
            assert_eq!((found.head, found.len), (head, records.len()));
            assert_eq!(to[..records.len()], records[..]);
            Some(())
        };
        assert_eq!(find(Duration::ZERO, 0, true), None);
        let validity = Validity {
            lease,
            steady_until,
        };
        hot.keep(&key, head, records, validity);
        let (early, late) = (Duration::from_millis(59_990), Duration::from_secs(60));
        assert!(find(early, 1_000, true).is_some());
        assert!(find(late, 1_000, true).is_none(), "its lease is over");
        assert!(find(early, 1_001, true).is_none(), "its TTLs are too long");
        assert!(find(early, 1_000, false).is_none(), "it is overtaken");
        // An answer that is renewed is found again.
        let longer = Lease {
            until: until + late,
            stamp,
        };
        let validity = Validity {
            lease: longer,
            steady_until,
        };
        hot.keep(&key, head, records, validity);
        assert!(find(late, 1_000, true).is_some());
    }
}
