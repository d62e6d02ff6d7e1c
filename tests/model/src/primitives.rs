//! loom's types, and hashes that are the same in each run of a model.

pub(super) use loom::sync::Mutex;
pub(super) use loom::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

pub(super) type Words = Box<[AtomicU64]>;
pub(super) type Bytes = Box<[AtomicU8]>;
pub(super) type HashState = foldhash::quality::FixedState;

pub(super) fn zero_words(len: usize) -> Words {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

pub(super) fn zero_bytes(len: usize) -> Bytes {
    (0..len).map(|_| AtomicU8::new(0)).collect()
}
