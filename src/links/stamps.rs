//! Stamps: whether something that was derived from a link is still valid.
//!
//! The DNS side keeps encoded answers. Before it asks for the link, it takes a [`Stamp`] of the link's name, and
//! keeps the stamp with the answer. A change of the link advances the name's stamp *after* the old state has been
//! dropped from everything from which it could be read. So if a stamp is still current, nothing has changed since
//! it was taken. The check costs two loads. It needs no lock and no message to those who keep something, and there
//! is no moment at which a change is complete but some of them do not know of it.
//!
//! Names with the same hash share a stamp: a change also expires what was derived from some other names, which
//! does no harm. Events that concern all names (changes may have been missed, the zones are new) advance one stamp
//! that all share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::link::LinkName;

/// The number of stamps. With 1,000,000 cached links, a change expires the answers of some 60 other names. All
/// stamps take 64 KiB, which fits a core's own cache.
const SLOTS: usize = 1 << 14;

/// The state of a name, and of all names, at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    slot: u16,
    /// How often names of this slot had changed.
    changes: u32,
    /// How often everything had changed.
    all: u32,
}

impl Stamp {
    /// The slot, its count, and the count of everything, for callers that store a stamp in a form of their own. A
    /// stamp becomes current again after 2^32 changes; nothing is kept that long.
    pub(crate) fn parts(self) -> (u16, u32, u32) {
        (self.slot, self.changes, self.all)
    }

    /// The stamp of something that is derived from this link and from something else, of which `earlier` is the
    /// stamp. It expires when either of them does.
    #[must_use]
    pub fn with_earlier(self, earlier: Self) -> Self {
        Self {
            all: earlier.all,
            ..self
        }
    }

    /// The stamp that has these [`Stamp::parts`].
    pub(crate) fn from_parts((slot, changes, all): (u16, u32, u32)) -> Self {
        Self { slot, changes, all }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Stamps {
    slots: Box<[AtomicU32]>,
    all: AtomicU32,
    hasher: RandomState,
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            all: AtomicU32::new(0),
            hasher: RandomState::new(),
        }
    }

    /// The stamp of a name. Must be taken before the name is looked up.
    pub(super) fn of(&self, name: &LinkName) -> Stamp {
        let slot = self.slot(name);
        Stamp {
            slot: slot as u16,
            changes: self.slots[slot].load(Ordering::Acquire),
            all: self.all.load(Ordering::Acquire),
        }
    }

    /// The stamp of what depends on no link, but expires when everything does.
    pub(super) fn of_all(&self) -> Stamp {
        // Changes of slot 0 expire it now and then, which does no harm.
        Stamp {
            slot: 0,
            changes: self.slots[0].load(Ordering::Acquire),
            all: self.all.load(Ordering::Acquire),
        }
    }

    /// Whether nothing has changed since this stamp was taken.
    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        // Acquire: a thread that sees the newer stamp also sees all that was done before the stamp advanced.
        let slot = &self.slots[usize::from(stamp.slot) % SLOTS];
        slot.load(Ordering::Acquire) == stamp.changes
            && self.all.load(Ordering::Acquire) == stamp.all
    }

    /// A name has changed, and nothing shows its old state any more.
    pub(super) fn change(&self, name: &LinkName) {
        self.slots[self.slot(name)].fetch_add(1, Ordering::AcqRel);
    }

    /// Everything may have changed.
    pub(super) fn change_all(&self) {
        self.all.fetch_add(1, Ordering::AcqRel);
    }

    fn slot(&self, name: &LinkName) -> usize {
        self.hasher.hash_one(name.as_str()) as usize % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(code: usize) -> LinkName {
        LinkName::parse(&format!("c{code}.s.example.com")).unwrap()
    }

    #[test]
    fn a_change_expires_the_stamp_of_its_name() {
        let stamps = Stamps::new();
        let kept: Vec<_> = (0..100).map(|n| stamps.of(&name(n))).collect();
        assert!(kept.iter().all(|stamp| stamps.is_current(*stamp)));
        stamps.change(&name(7));
        assert!(!stamps.is_current(kept[7]));
        assert!(stamps.is_current(stamps.of(&name(7))));
        let others = kept.iter().filter(|stamp| !stamps.is_current(**stamp));
        assert!(others.count() < 5, "most other names keep their stamps");
    }

    #[test]
    fn a_change_of_everything_expires_all_stamps() {
        let stamps = Stamps::new();
        let (one, all) = (stamps.of(&name(1)), stamps.of_all());
        assert!(stamps.is_current(one) && stamps.is_current(all));
        stamps.change_all();
        assert!(!stamps.is_current(one) && !stamps.is_current(all));
    }

    #[test]
    fn parts_make_the_same_stamp() {
        let stamp = Stamps::new().of(&name(1));
        assert_eq!(Stamp::from_parts(stamp.parts()), stamp);
    }
}
