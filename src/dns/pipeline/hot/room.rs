//! Zeroed memory for large tables: ordinary pages at its beginning, huge pages beyond.
//!
//! A hundred thousand hot answers lie on more pages of 4 KiB than a processor's translation buffers hold, and a query
//! then takes an eighth longer. With huge pages alone, the first byte of each table takes 2 MiB, which an empty server
//! does not need. So a room asks for huge pages only beyond its first [`SMALL_PAGES`] bytes. The system provides each
//! page when it is first used.
//!
//! The allocator cannot divide its memory in this way, so a room maps memory itself. It never unmaps that memory: a
//! server has the same tables until it ends. Rooms that are too small for huge pages come from the allocator, as in
//! most tests.

use std::ops::Deref;

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, FromZeros, IntoBytes, KnownLayout};

/// What a huge page takes, in bytes, on the processors that have pages of 4 KiB; others take what they have.
const HUGE_PAGE: usize = 2 << 20;
/// How many bytes at the beginning of a room are in ordinary pages: a stripe of each ring.
const SMALL_PAGES: usize = 512 << 10;
/// The smallest room that is mapped, in bytes.
const LEAST_MAPPED: usize = 2 * HUGE_PAGE;

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Room<T: 'static> {
    Boxed(Box<[T]>),
    Mapped(&'static [T]),
}

impl<T: FromZeros + FromBytes + IntoBytes + KnownLayout> Room<T> {
    /// A room for so many elements, all zero.
    pub(super) fn zeroed(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        let mapped = (bytes >= LEAST_MAPPED).then(|| map(bytes)).flatten();
        match mapped.and_then(|bytes| <[T]>::mut_from_bytes(bytes).ok()) {
            Some(elements) => Self::Mapped(elements),
            None => Self::boxed(len),
        }
    }

    fn boxed(len: usize) -> Self {
        match <[T]>::new_box_zeroed_with_elems(len) {
            Ok(elements) => Self::Boxed(elements),
            Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::new::<T>()),
        }
    }
}

impl<T> Deref for Room<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Boxed(elements) => elements,
            Self::Mapped(elements) => elements,
        }
    }
}

/// Maps so many bytes of zeros. None if the system refuses; the allocator may still have room.
fn map(bytes: usize) -> Option<&'static mut [u8]> {
    // More than is needed, so that the first huge page can begin right behind the small ones, and the last one fits.
    let len = bytes.checked_add(2 * HUGE_PAGE)?;
    let map = MmapOptions::new()
        .len(len)
        .no_reserve_swap()
        .map_anon()
        .ok()?;
    let address = map.as_ptr() as usize;
    let huge = (address + SMALL_PAGES).next_multiple_of(HUGE_PAGE) - address;
    let begin = huge - SMALL_PAGES;
    advise(&map, huge);
    let mapped: &'static mut MmapMut = Box::leak(Box::new(map));
    mapped.get_mut(begin..begin + bytes)
}

/// Asks for huge pages from byte `huge` on. A system that has none provides ordinary pages.
fn advise(map: &MmapMut, huge: usize) {
    #[cfg(target_os = "linux")]
    for (advice, begin, end) in [
        (Advice::NoHugePage, 0, huge),
        (Advice::HugePage, huge, map.len()),
    ] {
        if let Err(error) = map.advise_range(advice, begin, end - begin) {
            tracing::debug!(%error, "the system takes no advice on huge pages");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, huge);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_room_has_its_length_and_is_zero() {
        for len in [0, 1, 1_000, LEAST_MAPPED / 8, 3 * LEAST_MAPPED / 8 + 1] {
            let room = Room::<AtomicU64>::zeroed(len);
            assert_eq!(room.len(), len);
            assert_eq!(matches!(room, Room::Mapped(_)), 8 * len >= LEAST_MAPPED);
            for place in [0, len / 2, len.saturating_sub(1)] {
                if let Some(word) = room.get(place) {
                    assert_eq!(word.swap(7, Ordering::Relaxed), 0);
                    assert_eq!(word.load(Ordering::Relaxed), 7);
                    word.store(0, Ordering::Relaxed);
                }
            }
        }
        assert_eq!(Room::<AtomicU8>::zeroed(LEAST_MAPPED).len(), LEAST_MAPPED);
    }

    #[test]
    fn huge_pages_begin_behind_the_small_ones() {
        let room = Room::<AtomicU64>::zeroed(LEAST_MAPPED);
        let begin = room.as_ptr() as usize;
        assert_eq!((begin + SMALL_PAGES) % HUGE_PAGE, 0);
    }
}
