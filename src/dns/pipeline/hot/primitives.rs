//! The types of a ring that its model check (`tests/model/`) replaces: those that threads share, and the hashes.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

use super::room::Room;

/// Words that all threads read and write.
pub(super) type Words = Room<AtomicU64>;
/// Bytes that all threads read and write.
pub(super) type Bytes = Room<AtomicU8>;

/// Makes the hashes of keys. Its seed is random, so nobody can choose names that share a bucket.
pub(super) type HashState = foldhash::quality::RandomState;

/// So many zeros. The system provides each page of them when it is first used.
pub(super) fn zero_words(len: usize) -> Words {
    Room::zeroed(len)
}

/// So many zeros; see [`zero_words`].
pub(super) fn zero_bytes(len: usize) -> Bytes {
    Room::zeroed(len)
}
