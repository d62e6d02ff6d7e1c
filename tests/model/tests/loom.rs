//! Models of the ring of hot answers. loom runs each of them in every order of the threads' steps, with every value
//! that a load may return under the C11 memory model, up to a number of preemptions.
//!
//! A reader must find nothing, or a value that was put under its name, whole, with the tags that belong to it. The
//! rings are so small that one insertion evicts the oldest entry and overwrites most of it.

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use tinyns_model::HotRing;

/// How often loom takes the processor from a thread that could go on. `LOOM_MAX_PREEMPTIONS` chooses another number.
const MAX_PREEMPTIONS: usize = 3;
/// How many steps all threads of one run may make. Filling the ring takes most of them.
const MAX_STEPS: usize = 20_000;
/// The words of a ring that one long entry and [`ENTRIES`] ordinary ones fill but for one word. An ordinary entry has
/// six: four in front, one of the name, one of the value.
const RING_WORDS: usize = 56;
const ENTRIES: u64 = 8;
/// The buckets of an index that has room for all entries.
const BUCKETS: usize = 4;
/// The name of the entry that the next insertion evicts. The next names follow it.
const OLDEST: u64 = 100;
/// A name that is not in the ring at first.
const NEW: u64 = 1;

/// Runs a model in every order. `body` gets a full ring, whose head is one word before the oldest entry: what is
/// written next overlaps that entry, shifted by one word.
fn check(body: impl Fn(Arc<HotRing>) + Sync + Send + 'static) {
    explore(move || {
        let ring = HotRing::new(RING_WORDS, BUCKETS);
        ring.put(OLDEST - 1, [1; 3], &[0, 0]);
        for name in OLDEST..=OLDEST + ENTRIES {
            put(&ring, name, 1);
        }
        body(Arc::new(ring));
    });
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(MAX_PREEMPTIONS);
    builder.max_branches = MAX_STEPS;
    builder.check(model);
}

/// Puts the value of this round under a name.
fn put(ring: &HotRing, name: u64, round: u64) {
    ring.put(name, [round; 3], &[value_of(name, round)]);
}

fn value_of(name: u64, round: u64) -> u64 {
    name << 32 | round
}

/// Looks a name up, and checks that what it finds is whole. Returns the round of the value.
fn get(ring: &HotRing, name: u64) -> Option<u64> {
    let (tags, value) = ring.get(name)?;
    let round = value & 0xFFFF_FFFF;
    assert_eq!(value, value_of(name, round), "the value of another entry");
    assert_eq!(tags, [round; 3], "the tags of another entry");
    Some(round)
}

/// Looks a name up in another thread while this one puts a value under the name [`NEW`]. Returns the round that the
/// other thread finds.
fn get_while_putting(ring: &Arc<HotRing>, name: u64) -> Option<u64> {
    let reader = {
        let ring = Arc::clone(ring);
        thread::spawn(move || get(&ring, name))
    };
    put(ring, NEW, 2);
    reader.join().unwrap()
}

#[test]
fn a_reader_never_sees_an_entry_that_is_overwritten() {
    check(|ring| {
        let found = get_while_putting(&ring, OLDEST);
        assert!(matches!(found, None | Some(1)), "{found:?}");
    });
}

/// A reader follows a slot of the index to an entry that is just being written.
#[test]
fn a_reader_sees_a_new_entry_whole() {
    check(|ring| {
        let found = get_while_putting(&ring, NEW);
        assert!(matches!(found, None | Some(2)), "{found:?}");
        assert_eq!(get(&ring, NEW), Some(2));
    });
}

/// A new value takes the slot of the old one, whose entry stays where it is.
#[test]
fn a_reader_sees_the_old_value_or_the_new_one() {
    const NAME: u64 = OLDEST + 3;
    check(|ring| {
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || get(&ring, NAME))
        };
        put(&ring, NAME, 2);
        assert_eq!(get(&ring, NAME), Some(2));
        let found = reader.join().unwrap();
        assert!(matches!(found, None | Some(1 | 2)), "{found:?}");
    });
}

/// An entry with a mark moves to the head, here by one word.
#[test]
fn a_reader_sees_an_entry_whole_while_it_moves() {
    check(|ring| {
        assert_eq!(get(&ring, OLDEST), Some(1), "this marks it");
        let found = get_while_putting(&ring, OLDEST);
        assert!(matches!(found, None | Some(1)), "{found:?}");
        assert_eq!(get(&ring, OLDEST), Some(1));
    });
}

/// The next entry is evicted for the one that moves.
#[test]
fn a_reader_never_sees_an_entry_that_is_overwritten_after_a_move() {
    check(|ring| {
        assert_eq!(get(&ring, OLDEST), Some(1), "this marks it");
        let found = get_while_putting(&ring, OLDEST + 1);
        assert!(matches!(found, None | Some(1)), "{found:?}");
    });
}

/// The same value again only gets new tags. A reader that sees the new first tag sees the other new ones.
#[test]
fn a_reader_sees_renewed_tags_in_their_order() {
    check(|ring| {
        let value = value_of(OLDEST, 1);
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.get(OLDEST))
        };
        assert_eq!(ring.put(OLDEST, [2; 3], &[value]), 0);
        let (tags, found) = reader.join().unwrap().expect("nothing evicts it");
        assert_eq!(found, value);
        assert!(tags[1] >= tags[0] && tags[2] >= tags[0], "{tags:?}");
    });
}

/// Writers do not wait for each other: one of two may keep nothing.
#[test]
fn two_writers_do_not_mix_their_entries() {
    check(|ring| {
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || put(&ring, NEW + 1, 3))
        };
        put(&ring, NEW, 2);
        writer.join().unwrap();
        let (one, two) = (get(&ring, NEW), get(&ring, NEW + 1));
        assert!(matches!(one, None | Some(2)) && matches!(two, None | Some(3)));
        assert!(one.is_some() || two.is_some());
    });
}

/// The index divides its bucket when the third entry comes. A reader may miss what is just moving to the new bucket.
#[test]
fn a_reader_sees_entries_whole_while_the_index_grows() {
    // Some of these names move to the new bucket.
    for new in 1..=4 {
        for name in [OLDEST, new] {
            explore(move || {
                let ring = HotRing::new(RING_WORDS, 2);
                put(&ring, OLDEST, 1);
                put(&ring, OLDEST + 1, 1);
                let ring = Arc::new(ring);
                let reader = {
                    let ring = Arc::clone(&ring);
                    thread::spawn(move || get(&ring, name))
                };
                put(&ring, new, 2);
                let found = reader.join().unwrap();
                assert!(matches!(found, None | Some(1 | 2)), "{found:?}");
                assert_eq!(get(&ring, OLDEST), Some(1));
                assert_eq!(get(&ring, OLDEST + 1), Some(1));
                assert_eq!(get(&ring, new), Some(2));
            });
        }
    }
}
