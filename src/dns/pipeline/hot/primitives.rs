//! The types of a ring that its model check (`model/`) replaces: those that threads share, and the hashes.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

/// Makes the hashes of keys. Its seed is random, so nobody can choose names that share a bucket.
pub(super) type HashState = foldhash::quality::RandomState;

/// So many zeros. The system provides each page of them when it is first used.
pub(super) fn zero_words(len: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(len)
}

/// So many zeros; see [`zero_words`].
pub(super) fn zero_bytes(len: usize) -> Box<[AtomicU8]> {
    bytemuck::zeroed_slice_box(len)
}
