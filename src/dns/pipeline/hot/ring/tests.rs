use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::thread;

use proptest::prelude::*;

use super::*;

const KIB: usize = 1 << 10;

struct Fixture {
    ring: Ring,
    hasher: HashState,
}

impl Fixture {
    fn new(bytes: usize) -> Self {
        let hasher = HashState::default();
        let ring = Ring::side_by_side(1, bytes, &hasher).remove(0);
        Self { ring, hasher }
    }

    fn put(&self, name: &str, tags: Tags, value: &[u8]) {
        let name = padded(name);
        let key = Key::new(&self.hasher, 16, &name);
        self.ring.insert(&key, tags, value);
    }

    fn get(&self, name: &str) -> Option<(Tags, Vec<u8>)> {
        let name = padded(name);
        let key = Key::new(&self.hasher, 16, &name);
        self.ring.find(&key, |found| {
            let mut bytes = vec![0xEE; found.value_len() + 8];
            assert!(found.copy(0, &mut bytes), "there is room");
            bytes.truncate(found.value_len());
            Some((found.tags, bytes))
        })
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(name.len().next_multiple_of(8), 0);
    bytes
}

#[test]
fn a_value_is_found_as_it_was_put() {
    let ring = Fixture::new(64 * KIB);
    for len in [0, 1, 7, 8, 9, 100, 1_232] {
        let value: Vec<u8> = (0..len).map(|n| n as u8).collect();
        ring.put(&format!("name{len}"), [1, 2, len as u64], &value);
        assert_eq!(
            ring.get(&format!("name{len}")),
            Some(([1, 2, len as u64], value))
        );
    }
    assert_eq!(ring.get("name2"), None);
    let name = padded("name8");
    let other_kind = Key::new(&ring.hasher, 17, &name);
    assert!(ring.ring.find(&other_kind, |_| Some(())).is_none());
}

#[test]
fn a_new_value_replaces_the_old_one() {
    let ring = Fixture::new(64 * KIB);
    ring.put("a", [1, 1, 1], b"one");
    ring.put("a", [2, 2, 2], b"two and more");
    assert_eq!(ring.get("a"), Some(([2, 2, 2], b"two and more".to_vec())));
    ring.put("a", [3, 3, 3], b"two and more");
    assert_eq!(ring.get("a"), Some(([3, 3, 3], b"two and more".to_vec())));
}

#[test]
fn the_same_value_again_takes_no_more_room() {
    let ring = Fixture::new(64 * KIB);
    let name = padded("a");
    let key = Key::new(&ring.hasher, 16, &name);
    assert!(ring.ring.insert(&key, [1, 1, 1], b"value") > 0);
    let renewals = if cfg!(miri) { 10 } else { 1_000 };
    for n in 0..renewals {
        assert_eq!(ring.ring.insert(&key, [n, n, n], b"value"), 0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn popular_entries_survive_a_scan() {
    let ring = Fixture::new(256 * KIB);
    for n in 0..100 {
        ring.put(&format!("kept{n}"), [0; TAGS], &[1; 100]);
    }
    let mut lost = 0;
    for scan in 0..50_000 {
        // Each of them about twenty times in a lap.
        let kept = format!("kept{}", scan % 100);
        if !ring.has(&kept) {
            ring.put(&kept, [0; TAGS], &[1; 100]);
            lost += 1;
        }
        ring.put(&format!("scan{scan}"), [0; TAGS], &[2; 100]);
    }
    // An entry is lost if its bucket was full before the index had grown. If popular entries were not spared, each of the
    // twenty-odd laps would lose all of them.
    assert!(lost < 100, "{lost} lost");
    assert!(!ring.has("scan0"), "the ring has turned over");
}

#[test]
fn values_that_are_too_long_are_not_kept() {
    let ring = Fixture::new(64 * KIB);
    ring.put("a", [0; TAGS], b"value");
    ring.put("long", [0; TAGS], &[0; 8 * MAX_WORDS]);
    assert!(ring.has("a") && !ring.has("long"));
    // Even the smallest ring holds an entry.
    let smallest = Fixture::new(0);
    smallest.put("a", [0; TAGS], b"value");
    assert!(smallest.has("a"));
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn a_ring_takes_the_bytes_that_it_may_and_fills_them() {
    const BYTES: usize = 1 << 20;
    let ring = Fixture::new(BYTES);
    let own = 8 * ring.ring.size + SLOT_BYTES * WAYS * ring.ring.most_buckets;
    assert!(own <= BYTES && own > BYTES * 99 / 100, "{own}");
    // Entries of ordinary links: a header of 32 bytes, a name of 24 and a value of 120.
    let entries = BYTES * 95 / 100 / (ORDINARY_BYTES + SLOTS_PER_ENTRY * SLOT_BYTES);
    let name = |n: usize| format!("a-name-of-{n:014}");
    for n in 0..entries {
        ring.put(&name(n), [0; TAGS], &[3; 120]);
        // The index has grown no further than needed, and entries are found in divided buckets.
        let slots = WAYS * ring.ring.buckets.load(Ordering::Relaxed);
        assert!(slots <= SLOTS_PER_ENTRY * (n + 1) + WAYS, "{slots} for {n}");
        assert!(ring.has(&name(n)));
    }
    let held = (0..entries).filter(|n| ring.has(&name(*n))).count();
    assert!(held > entries * 97 / 100, "{held} of {entries}");
}

/// One thread overwrites all entries again and again. Readers must never see a value of another name, or a mixture.
#[test]
#[cfg_attr(miri, ignore = "takes too long; the models cover it")]
fn values_are_whole_while_one_writer_overwrites_them() {
    let ring = Fixture::new(8 * KIB);
    let done = AtomicBool::new(false);
    let value_of = |n: usize, round: u64| -> (Tags, Vec<u8>) {
        let len = 8 * (1 + (n + round as usize) % 40);
        let word = (n as u64) << 32 | round & 0xFFFF;
        ([word; TAGS], word.to_le_bytes().repeat(len / 8))
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut hits = 0;
                    while !done.load(Ordering::Relaxed) {
                        for n in 0..50 {
                            let Some((tags, value)) = ring.get(&format!("name{n}")) else {
                                continue;
                            };
                            hits += 1;
                            assert_eq!(tags[0] >> 32, n, "the value of another name");
                            let word = value[..8].to_vec();
                            assert_eq!(value, word.repeat(value.len() / 8));
                            assert_eq!(u64::from_le_bytes(word.try_into().unwrap()), tags[0]);
                        }
                    }
                    hits
                })
            })
            .collect();
        for round in 0..4_000 {
            for n in 0..50 {
                let (tags, value) = value_of(n, round);
                ring.put(&format!("name{n}"), tags, &value);
            }
        }
        done.store(true, Ordering::Relaxed);
        let hits: usize = readers.into_iter().map(|r| r.join().unwrap()).sum();
        assert!(hits > 0);
    });
}

/// Several threads write and several read, while the index grows and the head makes many laps. A value that is found was
/// put under its name, is whole, and has tags in the order that a renewal guarantees.
#[test]
#[cfg_attr(miri, ignore = "takes too long; the models cover it")]
fn values_are_whole_with_several_writers_and_readers() {
    const NAMES: u64 = 300;
    for bytes in [0, 8 * KIB, 64 * KIB, 200 * KIB] {
        let ring = Fixture::new(bytes);
        let done = AtomicBool::new(false);
        let hits = AtomicU64::new(0);
        let value_of = |n: u64, round: u64| -> Vec<u8> {
            // Four rounds have the same value, so that its tags are renewed in place.
            let word = n << 32 | (round / 4) & 0xFFFF_FFFF;
            let len = 1 + (n + round / 4) as usize % 60;
            word.to_le_bytes().repeat(len)
        };
        thread::scope(|scope| {
            for reader in 0..2_u64 {
                let (ring, done, hits) = (&ring, &done, &hits);
                scope.spawn(move || {
                    let mut n = reader;
                    while !done.load(Ordering::Relaxed) {
                        n = (n + 7) % NAMES;
                        let Some((tags, value)) = ring.get(&format!("name{n}")) else {
                            continue;
                        };
                        hits.fetch_add(1, Ordering::Relaxed);
                        let word = u64::from_le_bytes(value[..8].try_into().unwrap());
                        assert_eq!(word >> 32, n, "another name's");
                        assert_eq!(value, word.to_le_bytes().repeat(value.len() / 8));
                        assert_eq!(
                            value.len() / 8,
                            1 + (n + (word & 0xFFFF_FFFF)) as usize % 60
                        );
                        // With an old first tag, the other tags may be newer, but never older.
                        assert!(tags[1] >= tags[0] && tags[2] >= tags[0], "{tags:?}");
                        assert_eq!(tags[0] >> 32, n);
                        assert_eq!((tags[0] & 0xFFFF_FFFF) / 4, word & 0xFFFF_FFFF);
                    }
                });
            }
            let writers: Vec<_> = (0..2_u64)
                .map(|writer| {
                    let (ring, value_of) = (&ring, &value_of);
                    scope.spawn(move || {
                        for round in 0..400 {
                            for n in (writer..NAMES).step_by(2) {
                                let tag = n << 32 | round;
                                ring.put(&format!("name{n}"), [tag; TAGS], &value_of(n, round));
                            }
                        }
                    })
                })
                .collect();
            writers
                .into_iter()
                .for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert!(hits.into_inner() > 0 || bytes < 8 * KIB);
        check_order(&ring.ring);
    }
}

/// Checks what holds whenever no thread writes.
fn check_order(ring: &Ring) {
    let writer = ring.writer.lock().unwrap();
    let tail = ring.tail.load(Ordering::Relaxed);
    assert!(tail <= writer.head && writer.head - tail <= ring.size as u64);
    let used = WAYS * ring.buckets.load(Ordering::Relaxed);
    let slots: Vec<_> = (0..ring.most_buckets)
        .flat_map(|bucket| &ring.tables.index[ring.place(bucket)..][..WAYS])
        .map(|slot| slot.load(Ordering::Relaxed))
        .collect();
    assert!(slots[used..].iter().all(|slot| *slot == 0));
    let live: Vec<_> = slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| **slot != 0)
        .collect();
    assert_eq!(live.len(), writer.entries);
    for (place, slot) in live {
        let position = slot & POSITION;
        assert!((tail..writer.head).contains(&position), "{position}");
        let hash = ring.hash_at(position).unwrap();
        assert!(is_hash(*slot, hash));
        assert_eq!(ring.bucket(hash), ring.place(place / WAYS));
    }
}

/// Rings that share their memory lie between each other's stripes and buckets.
#[test]
fn rings_side_by_side_do_not_touch_each_other() {
    const RINGS: usize = 3;
    // More than one stripe each, and a shorter one.
    let bytes = 8 * (5 * STRIPE / 2);
    let hasher = HashState::default();
    let rings = Ring::side_by_side(RINGS, bytes, &hasher);
    assert!(rings[0].size > STRIPE && !rings[0].size.is_multiple_of(STRIPE));
    let names: Vec<_> = (0..20_000).map(|n| padded(&format!("name{n}"))).collect();
    for (n, name) in names.iter().enumerate() {
        let key = Key::new(&hasher, 16, name);
        for (number, ring) in rings.iter().enumerate() {
            ring.insert(
                &key,
                [n as u64, number as u64, 0],
                &vec![number as u8; n % 700],
            );
        }
    }
    let mut found = [0; RINGS];
    for (n, name) in names.iter().enumerate() {
        let key = Key::new(&hasher, 16, name);
        for (number, ring) in rings.iter().enumerate() {
            let value = ring.find(&key, |value| {
                let mut bytes = vec![0xEE; value.value_len() + 8];
                value.copy(0, &mut bytes).then_some(())?;
                bytes.truncate(value.value_len());
                Some((value.tags, bytes))
            });
            if let Some(value) = value {
                let expected = ([n as u64, number as u64, 0], vec![number as u8; n % 700]);
                assert_eq!(value, expected);
                found[number] += 1;
            }
        }
    }
    assert!(found.iter().all(|count| *count > 100), "{found:?}");
    rings.iter().for_each(check_order);
}

proptest! {
    /// Against a map: a value that is found was put under its name, and while there is room it is the latest.
    #[test]
    #[cfg_attr(miri, ignore = "takes too long")]
    fn agrees_with_a_map(
        steps in prop::collection::vec((0_u8..3, 0_u8..200, 0_usize..600), 1..2_000),
        bytes in 0_usize..200_000,
    ) {
        let ring = Fixture::new(bytes);
        let mut puts: HashMap<u8, Vec<(Tags, Vec<u8>)>> = HashMap::new();
        let mut used = 0;
        for (count, (step, key, len)) in steps.into_iter().enumerate() {
            let name = format!("name{key}");
            let puts = puts.entry(key).or_default();
            if step > 0 {
                let put = ([count as u64; TAGS], vec![key; len]);
                ring.put(&name, put.0, &put.1);
                puts.push(put);
                used += HEADER + 1 + len.div_ceil(8);
            }
            let found = ring.get(&name);
            prop_assert!(found.as_ref().is_none_or(|found| puts.contains(found)));
            let is_large = ring.ring.size > 8 * 600;
            if is_large && used < ring.ring.size / 4 && step > 0 {
                prop_assert_eq!(found.as_ref(), puts.last());
            }
        }
    }
}
