//! Places in the feed: which entries a reader has had.
//!
//! Each transaction that changes links has a number, and so has each of its entries. Both are given in the order in which
//! transactions and entries *begin*; but all entries of a transaction become visible at once, when it is *committed*. So a
//! reader cannot keep one number: an entry with a lower one may still come. It keeps
//!
//! * `base`: the reader has had all entries of transactions below this one,
//! * `upto` and `seq`: and of those below `upto`, all entries up to `seq`, while it works through many entries,
//! * `done`: and those of some later transactions, up to an entry.
//!
//! All transactions below the oldest running one (`xmin` of PostgreSQL) have ended, so once a reader has had all that is
//! visible, `base` rises to it. Only the transactions from there on that have been committed already are in `done`. These are
//! few, unless a transaction stays open for long. If a position has no room for them, the reader waits for that transaction.
//!
//! Entries are read in the order of their numbers among all that are visible and that the reader has not had. A transaction
//! that changes a link has waited for the former one to be committed, so the entries of one name come in the order of its
//! versions.

use std::collections::BTreeMap;
use std::fmt;

use crate::store::feed::Position;

/// How long a position may become by new transactions in `done`, in bytes: each server announces its position.
const ROOM: usize = 924;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeedPlace {
    /// The history of the store.
    pub(super) history: u64,
    pub(super) base: i64,
    pub(super) upto: i64,
    pub(super) seq: i64,
    /// Each transaction with its last entry; none for all of its entries.
    pub(super) done: BTreeMap<i64, Option<i64>>,
}

/// What a read has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) seq: i64,
    pub(super) txid: i64,
}

impl FeedPlace {
    /// After all that is visible to a snapshot, of which these are the transactions from `base` on. All that are not among
    /// them and have entries are below `base`, and have ended.
    pub(super) fn end(history: u64, base: i64, visible: impl IntoIterator<Item = i64>) -> Self {
        let mut place = Self {
            history,
            base,
            upto: base,
            seq: 0,
            done: BTreeMap::new(),
        };
        for txid in visible {
            place.done.insert(txid, None);
            if place.to_string().len() > ROOM {
                // The reader has these entries once more.
                place.done.remove(&txid);
                break;
            }
        }
        place
    }

    /// The place of a position; none if the text is not one that [`FeedPlace::position`] writes.
    pub(super) fn read(position: &Position) -> Option<Self> {
        let mut parts = position.as_str().split(':');
        let history = u64::from_str_radix(parts.next()?, 16).ok()?;
        let [base, upto, seq] = [(); 3].map(|()| number(parts.next()?));
        let (base, upto, seq) = (base?, upto?, seq?);
        let mut done = BTreeMap::new();
        let listed = parts.next()?;
        for one in listed.split(',').filter(|_| !listed.is_empty()) {
            let (delta, bound) = match one.split_once('-') {
                Some((delta, bound)) => (delta, Some(number(bound)?)),
                None => (one, None),
            };
            done.insert(base.checked_add(number(delta)?)?, bound);
        }
        let is_sound = parts.next().is_none() && base <= upto;
        is_sound.then_some(Self {
            history,
            base,
            upto,
            seq,
            done,
        })
    }

    /// As text; none if it is too long.
    pub(super) fn position(&self) -> Option<Position> {
        Position::new(self.to_string())
    }

    /// Whether the reader works through many entries.
    pub(super) fn is_amid(&self) -> bool {
        self.seq > 0
    }

    /// The place after all these entries, which are all that are visible and that the reader has not had.
    pub(super) fn after_all(&self, xmin: i64, seen: &[Seen]) -> Self {
        let base = self.base.max(xmin);
        let done = self.done.keys().copied();
        let done = done.chain(seen.iter().map(|seen| seen.txid));
        Self {
            history: self.history,
            base,
            upto: base,
            seq: 0,
            done: done
                .filter(|txid| *txid >= base)
                .map(|txid| (txid, None))
                .collect(),
        }
    }

    /// The place after these entries, which are the first ones of those.
    pub(super) fn after_some(&self, xmin: i64, seen: &[Seen]) -> Self {
        let mut place = self.clone();
        let Some(last) = seen.last().map(|seen| seen.seq) else {
            return place;
        };
        if last >= place.seq {
            // All that is visible up to this entry has been had, and no transaction below `xmin` adds to it.
            place.upto = place.upto.max(xmin);
            place.seq = last;
        }
        for seen in seen.iter().filter(|seen| seen.txid >= place.upto) {
            place.done.insert(seen.txid, Some(last));
        }
        let (upto, seq) = (place.upto, place.seq);
        let is_needed =
            |txid: i64, bound: Option<i64>| txid >= upto || bound.is_none_or(|bound| bound > seq);
        place.done.retain(|txid, bound| is_needed(*txid, *bound));
        place
    }

    /// Whether it fits into a position, with room for larger numbers.
    pub(super) fn has_room(&self) -> bool {
        self.to_string().len() <= ROOM
    }

    /// Whether a reader here has had all that a reader at `other` has.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has = |txid: i64, bound: Option<i64>| {
            txid < self.base
                || (txid < self.upto && bound.is_some_and(|bound| bound <= self.seq))
                || self.done.get(&txid).is_some_and(|own| match (own, bound) {
                    (None, _) => true,
                    (Some(own), Some(bound)) => bound <= *own,
                    (Some(_), None) => false,
                })
        };
        self.history == other.history
            && self.base >= other.base
            && (other.upto <= self.base || (other.upto <= self.upto && other.seq <= self.seq))
            && other.done.iter().all(|(txid, bound)| has(*txid, *bound))
    }
}

impl fmt::Display for FeedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            history,
            base,
            upto,
            seq,
            done,
        } = self;
        write!(f, "{history:x}:{base}:{upto}:{seq}:")?;
        for (i, (txid, bound)) in done.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}", txid - base)?;
            if let Some(bound) = bound {
                write!(f, "-{bound}")?;
            }
        }
        Ok(())
    }
}

/// A number of digits alone, which is not negative.
fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
