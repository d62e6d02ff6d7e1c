//! The types of the standard library, without huge pages, which Miri does not know.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

pub(super) type HashState = foldhash::quality::RandomState;
pub(super) type Words = Box<[AtomicU64]>;
pub(super) type Bytes = Box<[AtomicU8]>;

pub(super) fn zero_words(len: usize) -> Words {
    bytemuck::zeroed_slice_box(len)
}

pub(super) fn zero_bytes(len: usize) -> Bytes {
    bytemuck::zeroed_slice_box(len)
}
