//! Whether what was made of a link earlier still holds.
//!
//! Whoever makes something of a link and keeps it, as the DNS side keeps encoded answers, takes a
//! [`Stamp`] of the link's name *before* it asks for the link, and keeps the stamp together with what it
//! made. A change of the link moves the name's stamp on, *after* everything from which the link could be
//! read in its old state has been dropped. So a stamp that is still current says that nothing has
//! changed since it was taken, and to ask costs two loads: no lock, no message to each of those who
//! keep something, and no moment between a change's end and the last of them having heard of it.
//!
//! Names share their stamps with others by hash: a change makes what was kept of some other names be
//! made anew as well, which is harmless. What concerns all names (changes may have been missed; the
//! zones are new) moves one stamp that all share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::link::LinkName;

/// How many stamps there are. With 1,000,000 links kept, a change makes some 60 others be made anew.
/// All of them take 64 KiB, so that they stay in a core's own cache.
const SLOTS: usize = 1 << 14;

/// A state of a link, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    slot: u16,
    /// The changes of names with this slot, before the stamp was taken.
    changes: u32,
    /// The changes of everything.
    all: u32,
}

impl Stamp {
    /// Which of the stamps it is, how often that has moved on, and how often all have: for those who
    /// keep it in a form of their own. A stamp is current again after 2^32 changes; nothing is kept
    /// that long.
    pub(crate) fn parts(self) -> (u16, u32, u32) {
        (self.slot, self.changes, self.all)
    }

    /// The stamp of what is made of this link and of something that was looked at earlier, when `earlier`
    /// was taken: it moves on when either does.
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

    /// The stamp of a name, to be taken before the name is looked up.
    pub(super) fn of(&self, name: &LinkName) -> Stamp {
        let slot = self.slot(name);
        Stamp {
            slot: slot as u16,
            changes: self.slots[slot].load(Ordering::Acquire),
            all: self.all.load(Ordering::Acquire),
        }
    }

    /// The stamp of what depends on no link, but is to be made anew when everything is.
    pub(super) fn of_all(&self) -> Stamp {
        // That this slot moves on now and then does no harm.
        Stamp {
            slot: 0,
            changes: self.slots[0].load(Ordering::Acquire),
            all: self.all.load(Ordering::Acquire),
        }
    }

    /// Whether nothing has changed since this stamp was taken.
    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        // Acquire: who goes on with what a newer stamp stands for sees what came before it.
        let slot = &self.slots[usize::from(stamp.slot) % SLOTS];
        slot.load(Ordering::Acquire) == stamp.changes
            && self.all.load(Ordering::Acquire) == stamp.all
    }

    /// A name has changed, and its old state can be read nowhere any more.
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
    fn a_change_is_seen_by_what_was_kept_of_its_name() {
        let stamps = Stamps::new();
        let kept: Vec<_> = (0..100).map(|n| stamps.of(&name(n))).collect();
        assert!(kept.iter().all(|stamp| stamps.is_current(*stamp)));
        stamps.change(&name(7));
        assert!(!stamps.is_current(kept[7]));
        assert!(stamps.is_current(stamps.of(&name(7))));
        let others = kept.iter().filter(|stamp| !stamps.is_current(**stamp));
        assert!(others.count() < 5, "most other names are not concerned");
    }

    #[test]
    fn a_change_of_everything_is_seen_by_all() {
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
