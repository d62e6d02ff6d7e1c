//! The ring of hot answers (`src/dns/pipeline/hot/ring/`) without the rest of tinyns, so that it compiles with loom's
//! atomic types, and quickly under Miri.

#[cfg(not(feature = "loom"))]
#[path = "../../src/dns/pipeline/hot/atomics.rs"]
mod atomics;
#[cfg(feature = "loom")]
mod atomics;
#[allow(dead_code, reason = "the server uses more of it")]
#[path = "../../src/dns/pipeline/hot/ring/mod.rs"]
mod ring;

pub use foldhash::quality::RandomState;

use ring::{Key, Ring};

/// A ring, used as the hot answers use it.
pub struct HotRing {
    ring: Ring,
    hasher: RandomState,
}

impl HotRing {
    /// A ring of so many words, whose index has at most so many buckets. loom needs the same hashes in each run, so the
    /// hasher is made outside the model.
    pub fn new(words: usize, buckets: usize, hasher: &RandomState) -> Self {
        Self {
            ring: Ring::with_sizes(words, buckets, hasher.clone()),
            hasher: hasher.clone(),
        }
    }

    /// Keeps a value of one word with its tags. Returns how many more bytes are in use now.
    pub fn put(&self, name: u64, tags: [u64; 3], value: u64) -> usize {
        let name = name.to_le_bytes();
        let key = Key::new(&self.hasher, 1, &name);
        self.ring.insert(&key, tags, &value.to_le_bytes())
    }

    /// The tags and the value of a name.
    pub fn get(&self, name: u64) -> Option<([u64; 3], u64)> {
        let name = name.to_le_bytes();
        let key = Key::new(&self.hasher, 1, &name);
        self.ring
            .find(&key, |found| Some((found.tags, found.first_word())))
    }
}
