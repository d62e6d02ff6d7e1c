//! A split-block Bloom filter, as Apache Parquet has it: a hash chooses one block of 256 bits and in it
//! one bit of each of the eight 32-bit words. A look is one access to memory.
//!
//! Bits are only ever set. So a reader needs no lock, and there is no moment at which something that was
//! put in is not seen because it is on the move. A cuckoo filter would need a little less room and could
//! forget what is deleted, but it moves what it holds to make place, and a reader that looks at the old
//! place after the move and at the new one before it denies what is there.
//!
//! At [`BITS_A_LINK`] one look in some 180 for a name that was not put in finds it all the same; the
//! tests hold it to that. It then costs what it would cost without a filter.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bits each link has at the fullest.
pub(super) const BITS_A_LINK: u64 = 12;
/// Bits of a block.
const BLOCK_BITS: u64 = 256;
/// The most blocks: 1 GiB.
const MAX_BLOCKS: u64 = (1 << 30) / (BLOCK_BITS / 8);
/// How many links the largest filter holds: some 716 million.
pub(super) const MAX_LINKS: u64 = MAX_BLOCKS * BLOCK_BITS / BITS_A_LINK;

/// Odd numbers that spread 32 bits of the hash, one for each word of a block; those of Parquet.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Half a line of the processor's cache, and never in two lines.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Block([AtomicU64; 4]);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Bloom {
    blocks: Vec<Block>,
    /// How many links it is made for.
    capacity: u64,
    /// How many links are in it.
    links: AtomicU64,
}

impl Bloom {
    /// A filter with room for so many links, but at most [`MAX_LINKS`]. Takes as long as it takes to
    /// clear the memory.
    pub(super) fn with_room_for(links: u64) -> Self {
        let capacity = links.min(MAX_LINKS);
        let blocks = (capacity * BITS_A_LINK).div_ceil(BLOCK_BITS).max(1);
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            capacity,
            links: AtomicU64::new(0),
        }
    }

    /// Puts a hash in.
    pub(super) fn insert(&self, hash: u64) {
        let (block, masks) = self.place(hash);
        let mut is_new = false;
        for (word, mask) in block.0.iter().zip(masks) {
            // No order is needed between these and anything else: see the module above.
            let before = word.fetch_or(mask, Ordering::Relaxed);
            is_new |= before & mask != mask;
        }
        if is_new {
            self.links.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a hash may have been put in; false is certain.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let (block, masks) = self.place(hash);
        let words = block.0.iter().zip(masks);
        // Without branches: for a name that is not there the first word decides only half of the time.
        let missing = words.fold(0, |missing, (word, mask)| {
            missing | (!word.load(Ordering::Relaxed) & mask)
        });
        missing == 0
    }

    /// How many links are in it: those of the same bits count once.
    pub(super) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Whether it holds more links than it is made for, and begins to let too much through.
    pub(super) fn is_overfull(&self) -> bool {
        self.links() > self.capacity
    }

    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// The block of a hash, by its upper half, and the bits in it, by its lower half.
    fn place(&self, hash: u64) -> (&Block, [u64; 4]) {
        let number = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let bit = |word: usize| 1_u64 << ((hash as u32).wrapping_mul(SALTS[word]) >> 27);
        let mask = |pair: usize| bit(2 * pair) | bit(2 * pair + 1) << 32;
        // Below 2^32 times the number of blocks, shifted by 32: less than their number.
        let block = &self.blocks[number as usize];
        (block, [mask(0), mask(1), mask(2), mask(3)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use foldhash::quality::FixedState;
    use proptest::prelude::*;

    use super::*;
    use crate::links::filter::hash;

    #[test]
    fn bounds() {
        assert_eq!(Bloom::with_room_for(0).bytes(), 32);
        assert_eq!(Bloom::with_room_for(1_000_000).bytes(), 1_500_000);
        let most = (MAX_LINKS * BITS_A_LINK).div_ceil(BLOCK_BITS);
        assert!(most <= MAX_BLOCKS, "{most}");
        assert_eq!(align_of::<Block>(), size_of::<Block>());
    }

    #[test]
    fn each_link_is_counted_once() {
        let bloom = Bloom::with_room_for(2);
        for hash in [1 << 32, 2 << 32, 1 << 32] {
            bloom.insert(hash + 0x1234_5678);
        }
        assert_eq!(bloom.links(), 1, "one block, the same bits");
        bloom.insert(1);
        assert!(!bloom.is_overfull());
        bloom.insert(99);
        assert!(bloom.is_overfull());
    }

    /// Full, and with the room that it has when it is new.
    #[test]
    fn false_positives_are_rare() {
        let check = |capacity: u64, links: u64, at_most: f64| {
            let state = FixedState::with_seed(7);
            let bloom = Bloom::with_room_for(capacity);
            let name = |number: u64| format!("{:08}", number.wrapping_mul(7_919));
            for number in 0..links {
                bloom.insert(hash(&state, name(number).as_bytes(), "s.example.com"));
            }
            let asked = 100_000;
            let found = (links..links + asked)
                .filter(|number| {
                    bloom.may_hold(hash(&state, name(*number).as_bytes(), "s.example.com"))
                })
                .count();
            let rate = found as f64 / asked as f64;
            println!("{links} of {capacity}: {:.3} %", 100.0 * rate);
            assert!(rate < at_most, "{links} of {capacity}: {rate}");
            // And it is not empty: there are some.
            assert!(rate > at_most / 10.0, "{links} of {capacity}: {rate}");
        };
        check(100_000, 100_000, 0.008);
        check(150_000, 100_000, 0.001_5);
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_never_denied(
            hashes in proptest::collection::hash_set(any::<u64>(), 0..400),
            room in 0_u64..400,
        ) {
            let bloom = Bloom::with_room_for(room);
            let mut put = HashSet::new();
            for hash in hashes {
                bloom.insert(hash);
                put.insert(hash);
                prop_assert!(put.iter().all(|hash| bloom.may_hold(*hash)));
            }
            prop_assert!(bloom.links() <= put.len() as u64);
        }
    }

    #[test]
    fn threads_that_put_in_at_once_lose_no_bit() {
        let bloom = Bloom::with_room_for(100);
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let bloom = &bloom;
                scope.spawn(move || {
                    for number in 0..5_000 {
                        let hash = hash(4 * number + thread);
                        bloom.insert(hash);
                        assert!(bloom.may_hold(hash));
                    }
                });
            }
        });
        assert!((0..20_000).all(|number| bloom.may_hold(hash(number))));
    }
}
