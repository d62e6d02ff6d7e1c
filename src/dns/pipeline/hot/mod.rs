//! Hot answers: what was encoded once, and is sent again as it is.
//!
//! An answer is kept under its owner name in lower case, its type, and whether it is the one for who wants
//! signatures of a signed zone: the flags and counts of its header, and its records in the form they have
//! behind a question of that length. They do not depend on the query in any other way: owner names lead
//! to the question by compression (RFC 1035 §4.1.4), so that the letter case of each query comes back
//! without being touched. Id, RD, question and OPT record are put on by [`crate::dns::wire::reply`] afterwards.
//!
//! What may be served, and for how long:
//!
//! * An answer about a link is kept with the [lease](Lease) under which the link was known, and is not
//!   used once its stamp has moved on or its time is over. So a change shows at once, in all types of
//!   both of the link's names, and nobody has to look for what is to be dropped.
//! * TTLs are sent as they are in the zone, as authoritative servers do. Only that of a link that ends is
//!   cut to what is left of its life, so an answer also says up to which second its TTLs are right.
//! * The answer that there is no link is the same for all names of the same length, but for the
//!   question. It is kept once, under a [stand-in](crate::zone::Zone::stand_in), not under each name: that
//!   would let random names push out everything else. Which names are absent is for [`crate::links`]
//!   to know, which has a bound for them. For the same reason nothing is kept of names that are made up
//!   as they are asked for: below a wildcard, a DNAME or a zone cut. And for all the types that nobody has
//!   heard of a name has one answer.
//! * A failure is never kept.
//! * Signatures are kept for themselves as well, for [`super::sign_answer`] to find; what they are of is part of
//!   what they are found by, and their time is.
//!
//! All is bounded by bytes; see [`ring`] for what goes when it is full.

mod atomics;
mod ring;

use std::ops::BitXor;
use std::time::Instant;

use foldhash::quality::RandomState;

use self::ring::{Key, Ring, Tags};
use crate::base::clock::UnixTime;
use crate::base::name::wire::WireName;
use crate::links::{Lease, Stamp};
use crate::zone::Zone;

/// Into how many parts the bytes are divided; of those who want to keep something, one can do so in each
/// part at a time.
const RINGS: usize = 8;

/// The length of what is kept beside the records of an answer, in bytes: one word of a ring.
const HEAD_LEN: usize = 8;

/// The time, as it is looked at once for many queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By which leases end.
    pub(crate) instant: Instant,
    /// By which links end.
    pub(crate) unix: UnixTime,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct HotAnswers {
    rings: Vec<Ring>,
    hasher: RandomState,
    began: Instant,
}

/// In which form something is kept of a name and a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The answer as it is for everybody.
    Plain,
    /// The answer for who has set DO, in a zone that is signed.
    Signed,
    /// The signatures of an RRset, for the answers that it is part of.
    Signatures,
}

impl Form {
    /// The kind of a key.
    fn kind(self, rtype: u16) -> u32 {
        let form = match self {
            Self::Plain => 0,
            Self::Signed => 1,
            Self::Signatures => 2,
        };
        form << 16 | u32::from(rtype)
    }
}

/// In the kind of a key, that it is for all types of which there are none in the zone.
const STRANGE: u32 = 1 << 20;
/// In the kind of a key, that it is of a stand-in.
const STAND_IN: u32 = 1 << 21;

/// How an answer is found: by its owner name, its form, and its type or that it is the answer of a stand-in.
#[derive(Clone, Copy)]
pub(crate) struct HotKey<'k>(Key<'k>);

/// For how long an answer is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    /// How long its sources hold.
    pub(crate) lease: Lease,
    /// The last second in which its TTLs are right.
    pub(crate) steady_until: UnixTime,
}

/// An answer that was found.
pub(crate) struct HotAnswer {
    /// What was kept beside its records: for a reply, its [`Head`](crate::dns::wire::reply::Head).
    pub(crate) head: [u8; HEAD_LEN],
    /// The length of its records, in bytes.
    pub(crate) len: usize,
}

impl HotKey<'_> {
    /// Its hash, which is enough for [`HotAnswers::fetch`].
    pub(crate) fn hash(&self) -> u64 {
        self.0.hash
    }
}

impl HotAnswers {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let hasher = RandomState::default();
        let ring = |_| Ring::new(bytes / RINGS, hasher.clone());
        Self {
            rings: (0..RINGS).map(ring).collect(),
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

    /// The same key again, whose hash is known.
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

    /// The key of the answer for all names that a stand-in stands for, of any type. Of a stand-in in another zone,
    /// which may have the same labels, the key differs by the number of labels that its origin has.
    pub(crate) fn stand_in_key<'k>(
        &self,
        stand_in: &'k WireName,
        zone: &Zone,
        form: Form,
    ) -> HotKey<'k> {
        let kind = form.kind(zone.apex_labels() as u16) | STAND_IN;
        HotKey(Key::new(&self.hasher, kind, stand_in.padded()))
    }

    /// Has the processor fetch what finding answers by these hashes of keys will need.
    pub(crate) fn fetch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        let index = |hash| self.ring_of(hash).fetch_index(hash);
        let entry = |hash| self.ring_of(hash).fetch_entry(hash);
        let loaded = hashes.clone().map(index).fold(0, BitXor::bitxor)
            ^ hashes.map(entry).fold(0, BitXor::bitxor);
        std::hint::black_box(loaded);
    }

    /// Copies the records of an answer to the beginning of `to`, if it is there and right. Of one whose
    /// records are longer than `limit` only the head is told. Some bytes behind the records are
    /// overwritten.
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

    /// Keeps an answer, if it can. Returns how many bytes this takes that have not been in use before.
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
        // Bits that a ring does not make use of for its buckets, nor for its slots.
        &self.rings[(hash >> 16) as usize % RINGS]
    }

    /// In an order in which any mixture with earlier tags of the same answer is harmless: while the old
    /// stamp is current, nothing has changed that the answer is made of, and both ends are right.
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

    /// Under whichever of its conditions an answer is no longer right, it is not found.
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
        // And when it is right again it is found again.
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
