//! The types that the threads of a ring share. The model check in `model/` compiles the ring with loom's types instead.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

/// So many zeros. The system provides each page of them when it is first used.
pub(super) fn zero_words(len: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(len)
}

/// So many zeros; see [`zero_words`].
pub(super) fn zero_bytes(len: usize) -> Box<[AtomicU8]> {
    bytemuck::zeroed_slice_box(len)
}
