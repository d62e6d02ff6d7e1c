//! The layout of an entry: its key, its tags, and the lengths in its first word.

use std::hash::{BuildHasher, Hasher};

use super::super::primitives::HashState;

/// The words of an entry's tags, which the caller chooses.
pub(in super::super) const TAGS: usize = 3;

/// The key of an entry.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Key<'k> {
    /// The hash of kind and name.
    pub(in super::super) hash: u64,
    /// A number of [`KIND_BITS`] bits.
    pub(in super::super) kind: u32,
    /// The name: a multiple of eight bytes.
    pub(in super::super) name: &'k [u8],
}

impl<'k> Key<'k> {
    /// The key of a kind and a name.
    pub(in super::super) fn new(hasher: &HashState, kind: u32, name: &'k [u8]) -> Self {
        let hash = hash_of(hasher, kind, words_of(name));
        Self { hash, kind, name }
    }
}

/// What the caller keeps with an entry besides key and value, and can renew.
pub(in super::super) type Tags = [u64; TAGS];

/// The bits of [`Key::kind`].
const KIND_BITS: u32 = 24;

/// The first word of an entry: `words:16, kind:24, name words:8, value bytes:16`. A name has 32 words at most.
#[derive(Clone, Copy)]
pub(super) struct Lengths(pub(super) u64);

impl Lengths {
    pub(super) fn new(words: usize, kind: u32, name_words: usize, value_len: usize) -> Self {
        let field = |value: u64, bits: u32, shift: u32| (value & ((1 << bits) - 1)) << shift;
        Self(
            field(words as u64, 16, 48)
                | field(kind.into(), KIND_BITS, 24)
                | field(name_words as u64, 8, 16)
                | field(value_len as u64, 16, 0),
        )
    }

    fn field(self, bits: u32, shift: u32) -> u64 {
        self.0 >> shift & ((1 << bits) - 1)
    }

    pub(super) fn words(self) -> usize {
        self.field(16, 48) as usize
    }

    pub(super) fn kind(self) -> u32 {
        self.field(KIND_BITS, 24) as u32
    }

    pub(super) fn name_words(self) -> usize {
        self.field(8, 16) as usize
    }

    pub(super) fn value_len(self) -> usize {
        self.field(16, 0) as usize
    }

    /// Whether an entry with these lengths can have this key.
    pub(super) fn may_be(self, key: &Key<'_>) -> bool {
        self.kind() == key.kind && self.name_words() * 8 == key.name.len()
    }
}

pub(super) fn hash_of(hasher: &HashState, kind: u32, name: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u32(kind);
    for word in name {
        hasher.write_u64(word);
    }
    hasher.finish()
}

/// Bytes as words; zeros fill up the last word.
pub(super) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}
