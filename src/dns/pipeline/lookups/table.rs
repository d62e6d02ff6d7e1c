//! A hash table of counts, with open addressing and linear probing. Its number of entries and its size in bytes have a bound.
//!
//! Equal hashes count as equal names. The hasher's seed is secret and random, and of 100,000 names no two share their 64
//! bits, but for one time in four billion.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::store::statistics::Lookup;
use crate::zone::LinkPlace;

/// The bytes for the names, for each entry: more than names of links usually need.
const NAME_BYTES: usize = 40;
/// What precedes a name: its tag and its length.
const PREFIX: usize = 2;

/// A place for a count; free if the count is zero.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    count: u32,
    /// Where its name begins.
    at: u32,
}

/// What is counted under a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted<'n> {
    pub(super) kind: Lookup,
    pub(super) place: LinkPlace,
    /// The query name in lower-case wire form, at most 255 bytes.
    pub(super) name: &'n [u8],
}

/// See the [module](self).
pub(super) struct Table {
    /// A power of two of them.
    slots: Box<[Slot]>,
    /// The slots that are in use.
    used: Vec<u32>,
    /// Tag, length and bytes of each name, once.
    names: Vec<u8>,
    /// Given back with the table.
    _share: Option<Share>,
}

/// Room for slots, which many tables share.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

/// What a table has of a [`Room`].
struct Share {
    room: Arc<Room>,
    slots: usize,
}

impl Room {
    pub(super) fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(slots)))
    }

    /// Whether there is room for a table of so many slots.
    pub(super) fn has(&self, slots: usize) -> bool {
        self.0.load(Relaxed) >= slots
    }

    fn take(self: &Arc<Self>, slots: usize) -> Option<Share> {
        let less = |left: usize| left.checked_sub(slots);
        let taken = self.0.fetch_update(Relaxed, Relaxed, less);
        // A share that is dropped gives its room back, so none is made without room.
        taken.is_ok().then(|| Share {
            room: self.clone(),
            slots,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.slots, Relaxed);
    }
}

impl Table {
    /// A table of so many slots, which is a power of two. It takes 19 bytes for each slot at once, and up to 30 more as names
    /// come.
    pub(super) fn new(slots: usize) -> Self {
        debug_assert!(slots.is_power_of_two() && slots <= 1 << 31);
        let most = slots / 4 * 3;
        Self {
            slots: vec![Slot::default(); slots].into(),
            used: Vec::with_capacity(most),
            names: Vec::with_capacity(most * NAME_BYTES),
            _share: None,
        }
    }

    /// A table in this room, if there is so much.
    pub(super) fn within(room: &Arc<Room>, slots: usize) -> Option<Self> {
        let share = room.take(slots)?;
        Some(Self {
            _share: Some(share),
            ..Self::new(slots)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    /// The sum of all counts.
    pub(super) fn sum(&self) -> u64 {
        self.entries().map(|(_, count, _)| u64::from(count)).sum()
    }

    /// Brings the slot where the search for a hash begins into the processor's cache. The returned value depends on what was
    /// loaded, so that the compiler keeps the load, and has no other meaning.
    #[inline]
    pub(super) fn fetch(&self, hash: u64) -> u64 {
        self.slots[self.first_place(hash)].hash
    }

    #[inline]
    fn first_place(&self, hash: u64) -> usize {
        // The ring of hot answers has sorted its names by the lower bits.
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    /// Adds to the count of a hash. `counted` is called if the hash is new. Returns whether there was room.
    #[inline]
    pub(super) fn add<'n>(
        &mut self,
        hash: u64,
        count: u32,
        counted: impl FnOnce() -> Counted<'n>,
    ) -> bool {
        let mask = self.slots.len() - 1;
        let mut place = self.first_place(hash);
        // A quarter of the slots is free.
        loop {
            let slot = &mut self.slots[place];
            if slot.count == 0 {
                return self.insert(place, (hash, count), counted());
            }
            if slot.hash == hash {
                slot.count = slot.count.saturating_add(count);
                return true;
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, place: usize, (hash, count): (u64, u32), counted: Counted<'_>) -> bool {
        let Counted {
            kind,
            place: name_place,
            name,
        } = counted;
        let at = self.names.len();
        let has_room = self.used.len() < self.slots.len() / 4 * 3
            && at + PREFIX + name.len() <= self.names.capacity();
        let (Ok(len), Ok(begin), Ok(number)) = (
            u8::try_from(name.len()),
            u32::try_from(at),
            u32::try_from(place),
        ) else {
            return false;
        };
        if !has_room || count == 0 {
            return false;
        }
        self.names.extend([tag_of(kind, name_place), len]);
        self.names.extend_from_slice(name);
        self.used.push(number);
        self.slots[place] = Slot {
            hash,
            count,
            at: begin,
        };
        true
    }

    /// Hash, count and name of each entry, in the order in which they came.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, u32, Counted<'_>)> {
        let slots = self.used.iter().map(|place| self.slots[*place as usize]);
        slots.filter_map(|slot| self.entry(slot))
    }

    fn entry(&self, Slot { hash, count, at }: Slot) -> Option<(u64, u32, Counted<'_>)> {
        let (&[tag, len], rest) = self.names.get(at as usize..)?.split_first_chunk()?;
        let (kind, place) = read_tag(tag);
        let name = rest.get(..usize::from(len))?;
        Some((hash, count, Counted { kind, place, name }))
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        if self.used.len() > self.slots.len() / 8 {
            self.slots.fill(Slot::default());
        } else {
            for place in &self.used {
                self.slots[*place as usize] = Slot::default();
            }
        }
        self.used.clear();
        self.names.clear();
    }
}

const TARGET: u8 = 0x80;

fn tag_of(kind: Lookup, place: LinkPlace) -> u8 {
    match place {
        LinkPlace::Short => kind as u8,
        LinkPlace::Target => kind as u8 | TARGET,
    }
}

fn read_tag(tag: u8) -> (Lookup, LinkPlace) {
    let kind = Lookup::ALL.get(usize::from(tag & !TARGET));
    let place = match tag & TARGET {
        0 => LinkPlace::Short,
        _ => LinkPlace::Target,
    };
    (kind.copied().unwrap_or(Lookup::Other), place)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_is_full_at_three_quarters_and_empty_again_when_cleared() {
        let mut table = Table::new(8);
        let counted = || Counted {
            kind: Lookup::Uri,
            place: LinkPlace::Target,
            name: b"\x01a\0",
        };
        // All begin at the same slot.
        assert!((0..6).all(|hash| table.add(hash, 1, counted)));
        assert!(!table.add(6, 1, counted), "full");
        assert!(table.add(5, 2, counted), "a hash that it has");
        assert_eq!((table.len(), table.sum()), (6, 8));
        table.clear();
        assert!(table.is_empty() && table.entries().next().is_none());
        assert!((10..16).all(|hash| table.add(hash, 1, counted)));
    }

    #[test]
    fn tables_give_their_room_back() {
        let room = Room::new(24);
        let first = Table::within(&room, 16).unwrap();
        assert!(Table::within(&room, 16).is_none() && !room.has(16));
        let second = Table::within(&room, 8).unwrap();
        drop((first, second));
        assert!(room.has(24) && Table::within(&room, 24 + 8).is_none());
    }

    #[test]
    fn names_have_a_bound_of_their_own() {
        let mut table = Table::new(64);
        let long = [b'a'; 255];
        let counted = || Counted {
            kind: Lookup::Txt,
            place: LinkPlace::Short,
            name: &long,
        };
        let capacity = table.names.capacity();
        let fitting = (0..48)
            .take_while(|hash| table.add(*hash, 1, counted))
            .count();
        assert!(fitting < 48, "{fitting}");
        assert_eq!(fitting, capacity / 257);
        assert_eq!(table.names.capacity(), capacity, "no allocation");
    }

    fn lookup() -> impl Strategy<Value = Lookup> {
        (0..Lookup::ALL.len()).prop_map(|place| Lookup::ALL[place])
    }

    proptest! {
        /// Against a map from names to counts; names stand for their hashes, which collide in most slots.
        #[test]
        fn a_table_counts_as_a_map_does(
            steps in prop::collection::vec((0..40_u8, lookup(), any::<bool>(), 1..5_u32, 0..100_u8), 1..400),
        ) {
            let mut table = Table::new(32);
            let mut map: HashMap<(Vec<u8>, Lookup, LinkPlace), u64> = HashMap::new();
            let mut total = HashMap::new();
            for (number, kind, is_target, count, dice) in steps {
                let place = match is_target {
                    true => LinkPlace::Target,
                    false => LinkPlace::Short,
                };
                let name = vec![b'n'; usize::from(number)];
                // 8 different beginnings of the search in 32 slots.
                let hash = u64::from(number % 8) << 32
                    | u64::from(number) << 8
                    | u64::from(tag_of(kind, place));
                let counted = || Counted { kind, place, name: &name };
                let key = (name.clone(), kind, place);
                let has_room = table.add(hash, count, counted);
                if !has_room || dice == 0 {
                    for (_, count, Counted { kind, place, name }) in table.entries() {
                        *total.entry((name.to_vec(), kind, place)).or_insert(0) += u64::from(count);
                    }
                    table.clear();
                }
                if !has_room {
                    prop_assert!(table.add(hash, count, counted));
                }
                *map.entry(key).or_insert(0) += u64::from(count);
                prop_assert!(table.len() <= 24);
            }
            for (_, count, Counted { kind, place, name }) in table.entries() {
                *total.entry((name.to_vec(), kind, place)).or_insert(0) += u64::from(count);
            }
            prop_assert_eq!(total, map);
        }
    }
}
