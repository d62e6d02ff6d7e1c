//! loom's types, in place of those of the standard library.

pub(super) use loom::sync::Mutex;
pub(super) use loom::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

pub(super) fn zero_words(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

pub(super) fn zero_bytes(len: usize) -> Box<[AtomicU8]> {
    (0..len).map(|_| AtomicU8::new(0)).collect()
}
