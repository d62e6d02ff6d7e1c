//! Models of the ring of hot answers: loom runs each of them in every order of its threads' steps, and with every value
//! that a load may return under the C11 memory model, up to a number of preemptions.
//!
//! A reader must find nothing, or a value that was put under its name, whole, with tags that fit it. The rings are as
//! small as they can be, so that one insertion evicts and overwrites the oldest entry.

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use tinyns_model::{HotRing, RandomState};

/// How often loom takes the processor from a thread that could go on. `LOOM_MAX_PREEMPTIONS` chooses another number.
const MAX_PREEMPTIONS: usize = 2;
/// How many steps all threads of one run make at most; filling the ring takes most of them.
const MAX_STEPS: usize = 20_000;
/// The words of an entry: four in front, one of the name, one of the value.
const ENTRY_WORDS: usize = 6;
/// An entry takes an eighth of its ring at most.
const ENTRIES: u64 = 8;
/// The name of the entry that the next insertion evicts.
const OLDEST: u64 = 100;

/// Runs a model in every order. `body` gets a ring that is full.
fn check(body: impl Fn(Arc<HotRing>) + Sync + Send + 'static) {
    let hasher = RandomState::default();
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(MAX_PREEMPTIONS);
    builder.max_branches = MAX_STEPS;
    builder.check(move || {
        let ring = HotRing::new(ENTRIES as usize * ENTRY_WORDS, 1, &hasher);
        for name in OLDEST..OLDEST + ENTRIES {
            put(&ring, name, 1);
        }
        body(Arc::new(ring));
    });
}

/// Puts the value of this round under a name.
fn put(ring: &HotRing, name: u64, round: u64) {
    ring.put(name, [round; 3], value_of(name, round));
}

fn value_of(name: u64, round: u64) -> u64 {
    name << 32 | round
}

/// Looks a name up, and checks that what it finds is whole. Returns the round of the value.
fn get(ring: &HotRing, name: u64) -> Option<u64> {
    let (tags, value) = ring.get(name)?;
    let round = value & 0xFFFF_FFFF;
    assert_eq!(value, value_of(name, round), "of another entry");
    assert_eq!(tags, [round; 3], "tags of another entry");
    Some(round)
}

/// The entry's words are overwritten while a reader copies them.
#[test]
fn a_reader_never_sees_an_entry_that_is_overwritten() {
    check(|ring| {
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || get(&ring, OLDEST))
        };
        put(&ring, 1, 2);
        let found = reader.join().unwrap();
        assert!(matches!(found, None | Some(1)), "{found:?}");
    });
}

/// A reader follows a slot of the index to an entry that is just being written.
#[test]
fn a_reader_sees_a_new_entry_whole() {
    check(|ring| {
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || get(&ring, 1))
        };
        put(&ring, 1, 2);
        assert_eq!(get(&ring, 1), Some(2));
        let found = reader.join().unwrap();
        assert!(matches!(found, None | Some(2)), "{found:?}");
    });
}

/// A new value of the same name takes the slot of the old one, which stays where it is.
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

/// An entry with a mark moves to the head, over the place of the next one.
#[test]
fn a_reader_sees_an_entry_whole_while_it_moves() {
    check(|ring| {
        assert_eq!(get(&ring, OLDEST), Some(1), "this marks it");
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || get(&ring, OLDEST))
        };
        put(&ring, 1, 2);
        assert_eq!(get(&ring, OLDEST), Some(1));
        let found = reader.join().unwrap();
        assert!(matches!(found, None | Some(1)), "{found:?}");
    });
}

/// The next entry is evicted for the one that moves.
#[test]
fn a_reader_never_sees_an_entry_that_is_overwritten_by_a_move() {
    check(|ring| {
        assert_eq!(get(&ring, OLDEST), Some(1), "this marks it");
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || get(&ring, OLDEST + 1))
        };
        put(&ring, 1, 2);
        let found = reader.join().unwrap();
        assert!(matches!(found, None | Some(1)), "{found:?}");
    });
}

/// The same value again only gets new tags. A reader that sees the new first tag sees the new others.
#[test]
fn renewed_tags_are_seen_in_their_order() {
    check(|ring| {
        let value = value_of(OLDEST, 1);
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.get(OLDEST))
        };
        assert_eq!(ring.put(OLDEST, [2; 3], value), 0);
        let (tags, found) = reader.join().unwrap().expect("nothing evicts it");
        assert_eq!(found, value);
        assert!(tags[1] >= tags[0] && tags[2] >= tags[0], "{tags:?}");
    });
}

/// Writers do not wait for each other: one of two may keep nothing, and the ring stays in order.
#[test]
fn two_writers_do_not_mix_their_entries() {
    check(|ring| {
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || put(&ring, 1, 2))
        };
        put(&ring, 2, 3);
        writer.join().unwrap();
        let (one, two) = (get(&ring, 1), get(&ring, 2));
        assert!(matches!(one, None | Some(2)) && matches!(two, None | Some(3)));
        assert!(one.is_some() || two.is_some());
    });
}

/// The index divides a bucket while a reader looks into it. The reader may miss what has just moved.
#[test]
fn a_reader_finds_nothing_wrong_while_the_index_grows() {
    /// The fifth entry is the first that needs more slots than one bucket has.
    const KEPT: u64 = 2;
    let hasher = RandomState::default();
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(MAX_PREEMPTIONS);
    builder.max_branches = MAX_STEPS;
    builder.check(move || {
        let ring = HotRing::new(ENTRIES as usize * ENTRY_WORDS, 2, &hasher);
        for name in OLDEST..OLDEST + KEPT {
            put(&ring, name, 1);
        }
        let ring = Arc::new(ring);
        let reader = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (get(&ring, OLDEST), get(&ring, 1)))
        };
        put(&ring, 1, 2);
        assert_eq!(get(&ring, OLDEST), Some(1));
        assert_eq!(get(&ring, 1), Some(2));
        let (old, new) = reader.join().unwrap();
        assert!(matches!(old, None | Some(1)), "{old:?}");
        assert!(matches!(new, None | Some(2)), "{new:?}");
    });
}
