//! The ring of hot answers (`src/dns/pipeline/hot/ring/`) without the rest of tinyns, so that it compiles with loom's
//! atomic types, and quickly under Miri.

#[cfg(not(feature = "loom"))]
#[path = "plain.rs"]
mod primitives;
#[cfg(feature = "loom")]
mod primitives;
#[allow(dead_code, reason = "the server uses more of it")]
#[path = "../../../src/dns/pipeline/hot/ring/mod.rs"]
mod ring;

use primitives::HashState;
use ring::{Key, Ring};

/// A ring, used as the hot answers use it. Names are numbers, and values are words.
pub struct HotRing {
    ring: Ring,
    hasher: HashState,
}

impl HotRing {
    /// A ring of so many words, whose index has at most so many buckets.
    pub fn new(words: usize, buckets: usize) -> Self {
        let hasher = HashState::default();
        Self {
            ring: Ring::with_sizes(1, words, buckets, &hasher).remove(0),
            hasher,
        }
    }

    /// Keeps a value with its tags. Returns how many more bytes are in use now.
    pub fn put(&self, name: u64, tags: [u64; 3], value: &[u64]) -> usize {
        let name = name.to_le_bytes();
        let key = Key::new(&self.hasher, 1, &name);
        let value: Vec<u8> = value.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.ring.insert(&key, tags, &value)
    }

    /// The tags, and the first word of the value.
    pub fn get(&self, name: u64) -> Option<([u64; 3], u64)> {
        let name = name.to_le_bytes();
        let key = Key::new(&self.hasher, 1, &name);
        self.ring
            .find(&key, |found| Some((found.tags, found.first_word())))
    }
}
