//! A split-block Bloom filter, as in Apache Parquet: a hash selects one block of 256 bits, and in it one bit of
//! each of the eight 32-bit words. A look-up accesses memory once.
//!
//! Bits are only ever set. So readers need no lock, and an inserted hash is visible at any moment. A cuckoo filter
//! would need a little less room and could remove deleted names, but it moves its entries. A reader that looks at
//! the old place after the move and at the new place before it would deny an existing name.
//!
//! At [`BITS_A_LINK`], about one look-up in 180 for a name that was not inserted is a false positive; a test
//! checks that. A false positive costs what the look-up would cost without a filter.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;

/// Bits for each link in a full filter.
pub(super) const BITS_A_LINK: u64 = 12;
/// Bits in a block.
const BLOCK_BITS: u64 = 256;
/// The largest number of blocks: 1 GiB.
const MAX_BLOCKS: u64 = (1 << 30) / (BLOCK_BITS / 8);
/// The capacity of the largest filter, in links: some 716 million.
pub(super) const MAX_LINKS: u64 = MAX_BLOCKS * BLOCK_BITS / BITS_A_LINK;

/// Odd numbers that spread 32 bits of the hash, one for each word of a block; the same as in Parquet.
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

/// Half a cache line, and never in two lines.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Block([AtomicU64; 4]);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links) struct Bloom {
    blocks: Vec<Block>,
    /// The capacity, in links.
    capacity: u64,
    /// How many links were inserted.
    links: AtomicU64,
}

impl Bloom {
    /// A filter with this capacity, but at most [`MAX_LINKS`]. Takes the time that clearing the memory takes.
    pub(in crate::links) fn with_room_for(links: u64) -> Self {
        let capacity = links.min(MAX_LINKS);
        let blocks = (capacity * BITS_A_LINK).div_ceil(BLOCK_BITS).max(1);
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            capacity,
            links: AtomicU64::new(0),
        }
    }

    /// Inserts a hash.
    pub(in crate::links) fn insert(&self, hash: u64) {
        let (block, masks) = self.place(hash);
        let mut is_new = false;
        for (word, mask) in block.0.iter().zip(masks) {
            // These stores need no ordering; see the documentation of the filter.
            let before = word.fetch_or(mask, Ordering::Relaxed);
            is_new |= before & mask != mask;
        }
        if is_new {
            self.links.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Empties it. A hash that is inserted meanwhile may be lost.
    pub(in crate::links) fn clear(&self) {
        for word in self.blocks.iter().flat_map(|block| &block.0) {
            word.store(0, Ordering::Relaxed);
        }
        self.links.store(0, Ordering::Relaxed);
    }

    /// Whether a hash may have been inserted; false is certain.
    pub(in crate::links) fn may_hold(&self, hash: u64) -> bool {
        let (block, masks) = self.place(hash);
        let words = block.0.iter().zip(masks);
        // No branches: the first word alone decides in only half of the look-ups of other names.
        let missing = words.fold(0, |missing, (word, mask)| {
            missing | (!word.load(Ordering::Relaxed) & mask)
        });
        missing == 0
    }

    /// How many links were inserted; links with the same bits count once.
    pub(super) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Whether it contains more links than its capacity, so that false positives become frequent.
    pub(in crate::links) fn is_overfull(&self) -> bool {
        self.links() > self.capacity
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// The block of a hash, from its upper half, and the bits in it, from its lower half.
    fn place(&self, hash: u64) -> (&Block, [u64; 4]) {
        let number = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let bit = |word: usize| 1_u64 << ((hash as u32).wrapping_mul(SALTS[word]) >> 27);
        let mask = |pair: usize| bit(2 * pair) | bit(2 * pair + 1) << 32;
        // The product is below 2^32 times the number of blocks, so the shifted value is below that number.
        let block = &self.blocks[number as usize];
        (block, [mask(0), mask(1), mask(2), mask(3)])
    }
}

/// The hash of a name. It leaves the dot between code and origin out: two names that become equal that way share
/// their bits, which never causes a denial.
pub(super) fn hash(state: &FixedState, code: &[u8], origin: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(code);
    hasher.write(origin.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use foldhash::quality::FixedState;
    use proptest::prelude::*;

    use super::*;

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

    /// With a full filter, and with a new one.
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
            // The filter is not empty: there must be some.
            assert!(rate > at_most / 10.0, "{links} of {capacity}: {rate}");
        };
        check(100_000, 100_000, 0.008);
        check(150_000, 100_000, 0.001_5);
    }

    proptest! {
        #[test]
        fn an_inserted_hash_is_never_denied(
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
    fn concurrent_inserts_lose_no_bit() {
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
