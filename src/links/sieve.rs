//! A bounded map that evicts by the SIEVE algorithm (Zhang et al., NSDI 2024).
//!
//! The entries form a queue in the order of their arrival. A hit marks the entry as visited, and moves nothing. To
//! make room, a hand walks from the oldest entry to the newest, removes these marks, and evicts the first entry
//! without one; the next walk continues from there. Names that are asked for once pass through without evicting
//! those that are asked for often. LRU does not achieve that: a scan of random names replaces all of its entries.
//! SIEVE also avoids the changes of the list that LRU makes at every hit.
//!
//! The bound is a weight, in any unit.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// A value that knows its own key, so that the key is stored once.
pub(super) trait Keyed {
    /// The key, as bytes of text.
    fn key(&self) -> &[u8];
    /// Its weight.
    fn weight(&self) -> usize;
}

/// No entry.
const NONE: u32 = u32::MAX;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sieve<V> {
    /// Indexes of `slots`, by the hash of the value's key. The hash is SipHash with a random key, because clients
    /// choose the names and must not be able to choose names of one bucket.
    table: HashTable<u32>,
    hasher: RandomState,
    slots: Vec<Slot<V>>,
    /// Whether the entry in each slot was visited. As a field of the slot, each would take eight bytes.
    marks: Vec<bool>,
    /// The first free slot; the field `newer` leads to the next ones.
    free: u32,
    oldest: u32,
    newest: u32,
    hand: u32,
    weight: usize,
    max_weight: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: Option<V>,
    older: u32,
    newer: u32,
}

impl<V: Keyed> Sieve<V> {
    /// An empty map that holds at most `max_weight`.
    pub(super) fn new(max_weight: usize) -> Self {
        Self {
            table: HashTable::new(),
            hasher: RandomState::new(),
            slots: Vec::new(),
            marks: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            hand: NONE,
            weight: 0,
            max_weight,
        }
    }

    /// The value of a key; counts as a hit.
    pub(super) fn get(&mut self, key: &str) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    /// The value of a key; does not count as a hit.
    pub(super) fn peek(&self, key: &str) -> Option<&V> {
        let place = self.find(key.as_bytes())?;
        self.slots.get(place as usize)?.value.as_ref()
    }

    /// The value of a key, whose key and weight must not be changed; counts as a hit.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let place = self.find(key.as_bytes())?;
        self.marks[place as usize] = true;
        self.slots.get_mut(place as usize)?.value.as_mut()
    }

    /// Inserts a value, or replaces the one with its key; returns how many others were evicted. A value heavier
    /// than the bound is not kept.
    pub(super) fn insert(&mut self, value: V) -> usize {
        if value.weight() > self.max_weight {
            if let Some(place) = self.find(value.key()) {
                self.take_out(place);
            }
            return 0;
        }
        if let Some(place) = self.find(value.key()) {
            self.weight += value.weight();
            if let Some(old) = self.slots[place as usize].value.replace(value) {
                self.weight -= old.weight();
            }
            self.marks[place as usize] = true;
            return self.make_room(0);
        }
        let evicted = self.make_room(value.weight());
        self.weight += value.weight();
        let hash = self.hasher.hash_one(value.key());
        let place = self.take_slot(value);
        self.link_newest(place);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table
            .insert_unique(hash, place, |p| hash_of(slots, hasher, *p));
        evicted
    }

    /// Removes a value.
    pub(super) fn remove(&mut self, key: &str) -> Option<V> {
        let place = self.find(key.as_bytes())?;
        self.take_out(place)
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The weight of all values.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let same = |place: &u32| {
            let slot = self.slots.get(*place as usize);
            slot.and_then(|s| s.value.as_ref())
                .is_some_and(|v| v.key() == key)
        };
        self.table.find(hash, same).copied()
    }

    /// Evicts until `weight` more fits.
    fn make_room(&mut self, weight: usize) -> usize {
        let mut evicted = 0;
        while self.weight + weight > self.max_weight {
            let Some(victim) = self.next_victim() else {
                break;
            };
            self.take_out(victim);
            evicted += 1;
        }
        evicted
    }

    /// Walks the hand to the next entry that was not visited. This ends, because the hand removes the marks that
    /// it passes.
    fn next_victim(&mut self) -> Option<u32> {
        let mut place = match self.hand {
            NONE => self.oldest,
            hand => hand,
        };
        while let Some(slot) = self.slots.get(place as usize) {
            if !std::mem::take(&mut self.marks[place as usize]) {
                self.hand = place;
                return Some(place);
            }
            place = match slot.newer {
                NONE => self.oldest,
                newer => newer,
            };
        }
        None
    }

    fn take_out(&mut self, place: u32) -> Option<V> {
        let slot = self.slots.get_mut(place as usize)?;
        let value = slot.value.take()?;
        let (older, newer) = (slot.older, slot.newer);
        if self.hand == place {
            self.hand = newer;
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        let slot = &mut self.slots[place as usize];
        slot.newer = std::mem::replace(&mut self.free, place);
        self.weight -= value.weight();
        let hash = self.hasher.hash_one(value.key());
        if let Ok(entry) = self.table.find_entry(hash, |p| *p == place) {
            entry.remove();
        }
        Some(value)
    }

    /// Stores a value in a free slot or a new one.
    fn take_slot(&mut self, value: V) -> u32 {
        let slot = Slot {
            value: Some(value),
            older: NONE,
            newer: NONE,
        };
        if let Some(free) = self.slots.get_mut(self.free as usize) {
            let place = self.free;
            self.free = free.newer;
            *free = slot;
            self.marks[place as usize] = false;
            return place;
        }
        self.slots.push(slot);
        self.marks.push(false);
        // There are fewer entries than 2^32: so many would not fit into any memory.
        (self.slots.len() - 1) as u32
    }

    fn link_newest(&mut self, place: u32) {
        let last = std::mem::replace(&mut self.newest, place);
        self.slots[place as usize].older = last;
        match self.slots.get_mut(last as usize) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
    }
}

fn hash_of<V: Keyed>(slots: &[Slot<V>], hasher: &RandomState, place: u32) -> u64 {
    let value = slots.get(place as usize).and_then(|s| s.value.as_ref());
    value.map_or(0, |v| hasher.hash_one(v.key()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for (String, usize) {
        fn key(&self) -> &[u8] {
            self.0.as_bytes()
        }

        fn weight(&self) -> usize {
            self.1
        }
    }

    fn value(key: impl ToString, weight: usize) -> (String, usize) {
        (key.to_string(), weight)
    }

    #[test]
    fn names_asked_for_once_do_not_push_out_those_asked_for_often() {
        let mut sieve = Sieve::new(100);
        for n in 0..50 {
            sieve.insert(value(n, 1));
        }
        for scan in 0..10_000 {
            for n in 0..50 {
                assert!(sieve.get(&n.to_string()).is_some(), "{n} lost at {scan}");
            }
            sieve.insert(value(format!("scan{scan}"), 1));
        }
        assert_eq!((sieve.len(), sieve.weight()), (100, 100));
    }

    #[test]
    fn without_hits_the_oldest_goes_first() {
        let mut sieve = Sieve::new(3);
        for key in ["a", "b", "c", "d"] {
            sieve.insert(value(key, 1));
        }
        assert!(sieve.get("a").is_none());
        assert!(sieve.get("b").is_some());
    }

    #[test]
    fn a_value_heavier_than_the_bound_is_not_kept() {
        let mut sieve = Sieve::new(10);
        sieve.insert(value("a", 5));
        assert_eq!(sieve.insert(value("b", 11)), 0);
        assert_eq!(sieve.insert(value("a", 11)), 0);
        assert_eq!((sieve.len(), sieve.weight()), (0, 0));
    }

    /// SIEVE as the paper describes it, over a list that begins with the oldest entry.
    #[derive(Debug, Default)]
    struct Plain {
        queue: Vec<(String, usize, bool)>,
        hand: Option<usize>,
    }

    impl Plain {
        fn position(&self, key: &str) -> Option<usize> {
            self.queue.iter().position(|entry| entry.0 == key)
        }

        fn remove(&mut self, at: usize) {
            self.queue.remove(at);
            self.hand = self.hand.and_then(|hand| match hand {
                hand if hand > at => Some(hand - 1),
                // The next newer entry, if there is one, has moved to this index.
                hand => Some(hand).filter(|hand| *hand < self.queue.len()),
            });
        }

        fn make_room(&mut self, weight: usize, bound: usize) {
            while self.queue.iter().map(|e| e.1).sum::<usize>() + weight > bound {
                let mut at = self.hand.unwrap_or(0);
                while self.queue[at].2 {
                    self.queue[at].2 = false;
                    at = (at + 1) % self.queue.len();
                }
                self.hand = Some(at);
                self.remove(at);
            }
        }

        fn insert(&mut self, key: &str, weight: usize, bound: usize) {
            match self.position(key) {
                Some(at) => {
                    self.queue[at] = (key.to_owned(), weight, true);
                    self.make_room(0, bound);
                }
                None => {
                    self.make_room(weight, bound);
                    self.queue.push((key.to_owned(), weight, false));
                }
            }
        }
    }

    /// The entries of a sieve, the oldest first, with their marks.
    fn contents(sieve: &Sieve<(String, usize)>) -> Vec<(String, usize, bool)> {
        let mut all = Vec::new();
        let mut place = sieve.oldest;
        while let Some(slot) = sieve.slots.get(place as usize) {
            let (key, weight) = slot.value.clone().unwrap();
            all.push((key, weight, sieve.marks[place as usize]));
            place = slot.newer;
        }
        all
    }

    proptest! {
        /// The same entries in the same order with the same marks as by the paper's algorithm.
        #[test]
        fn evicts_what_the_paper_evicts(
            steps in prop::collection::vec((0_u8..8, 0_u8..30, 1_usize..30), 1..400),
        ) {
            let mut sieve = Sieve::new(200);
            let mut plain = Plain::default();
            for (step, key, weight) in steps {
                let key = key.to_string();
                let at = plain.position(&key);
                match step {
                    0..4 => {
                        sieve.insert(value(&key, weight));
                        plain.insert(&key, weight, 200);
                    }
                    4 => {
                        prop_assert_eq!(sieve.remove(&key).is_some(), at.is_some());
                        if let Some(at) = at {
                            plain.remove(at);
                        }
                    }
                    _ => {
                        prop_assert_eq!(sieve.get(&key).is_some(), at.is_some());
                        if let Some(at) = at {
                            plain.queue[at].2 = true;
                        }
                    }
                }
                prop_assert_eq!(&contents(&sieve), &plain.queue);
                let total: usize = plain.queue.iter().map(|e| e.1).sum();
                prop_assert_eq!((sieve.len(), sieve.weight()), (plain.queue.len(), total));
                prop_assert!(sieve.slots.len() <= 30 && total <= 200);
            }
        }

        /// Look-ups find the value that was inserted last, and the bound holds.
        #[test]
        fn agrees_with_a_map(
            steps in prop::collection::vec((0_u8..4, 0_u8..40, 1_usize..30), 1..400),
        ) {
            let mut sieve = Sieve::new(200);
            let mut model: HashMap<String, usize> = HashMap::new();
            for (step, key, weight) in steps {
                let key = key.to_string();
                match step {
                    0 | 1 => {
                        sieve.insert(value(&key, weight));
                        model.insert(key, weight);
                    }
                    2 => {
                        let removed = sieve.remove(&key).map(|v| v.1);
                        let expected = model.remove(&key);
                        prop_assert!(removed.is_none() || removed == expected);
                    }
                    _ => {
                        let found = sieve.get(&key).map(|v| v.1);
                        prop_assert!(found.is_none() || found == model.get(&key).copied());
                    }
                }
                model.retain(|key, _| sieve.get(key).is_some());
                prop_assert_eq!(sieve.len(), model.len());
                prop_assert_eq!(sieve.weight(), model.values().sum::<usize>());
                prop_assert!(sieve.weight() <= 200);
            }
        }
    }
}
