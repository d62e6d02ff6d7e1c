//! A bounded cache that is read without locks: a ring of bytes with an index.
//!
//! ```text
//!            tail: the oldest entry          head: where the next one goes
//!              v                              v
//!   ... gone | entry | entry | ... | entry | (free)        positions only ever grow;
//!                                                          the place in memory is the position
//!   index: 8 slots a bucket, each a position and 16        modulo the size of the ring
//!   bits of the hash
//! ```
//!
//! New entries go to the head and overwrite what is behind the tail. Before that, the tail moves past
//! what will be overwritten. A reader finds a position in the index, copies what it needs, and looks at
//! the tail *afterwards*: if the tail is still at or before the position, nothing it has copied was
//! overwritten; else it has read rubbish, and found nothing. All words are atomics, so that reading
//! rubbish is no data race, and there is no `unsafe` in it.
//!
//! Evicting is CLOCK with a few more marks: a hit gives the entry one of at most [`MAX_MARKS`] marks, and
//! an entry with a mark that comes to the tail loses one and goes to the head again instead of going away.
//! What is asked for once passes through in one lap, and a scan of such names does not push out what
//! is asked for often. Marks are kept beside the index, not in the entry: a late mark then hits another
//! entry at the worst, and never its bytes.
//!
//! The index grows with the entries, a bucket at a time, by linear hashing (Litwin, 1980): the next bucket
//! in turn is divided in two, by one bit more of the hashes. Nobody waits for that; a reader that still
//! looks in the old bucket may miss what has just moved.
//!
//! Writers take a lock, but never wait for it: while one writes, the others do without what they wanted to
//! keep. What is read most is rarely written.
//!
//! Turned down: a map of pointers to entries (an allocation each, a miss of the processor's cache more,
//! and either locks or the reclamation of memory that readers may still hold), and a cache for each
//! thread (all of them would hold the same popular names).

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::atomics::{
    AtomicU8, AtomicU64, AtomicUsize, Mutex, Ordering, fence, zero_bytes, zero_words,
};

/// How many places of the index a hash may be at: those of one cache line.
const WAYS: usize = 8;
/// How many slots of the index there are to be for each entry. Hashes are uneven, and buckets whose turn
/// to be divided has not come hold twice as much as others; so one entry in a hundred finds its bucket
/// full.
const SLOTS_PER_ENTRY: usize = 3;
/// How long the entries of ordinary links are, in bytes. The index does not grow beyond what a ring full
/// of those needs.
const ORDINARY_BYTES: usize = 176;
/// What a slot takes: itself and its marks.
const SLOT_BYTES: usize = 9;
/// How many marks an entry can have.
const MAX_MARKS: u8 = 3;
/// How many marked entries an insertion moves at the most; then it gives up, and the next one goes on.
const MAX_MOVES: u32 = 64;
/// The words in front of an entry's key: its lengths, and what the caller wants to know of it.
const HEADER: usize = 1 + TAGS;
/// How many words the caller keeps with each entry, apart from key and value.
pub(super) const TAGS: usize = 3;
/// The longest entry, in words of eight bytes: longer than any reply by UDP.
const MAX_WORDS: usize = 512;

/// Of a slot, what is not the position. A ring finds nothing any more once its positions need more bits
/// than are left: after 2^48 words, which at 100,000 insertions a second into one ring takes four years.
const HASH_BITS: u32 = 16;
const POSITION: u64 = u64::MAX >> HASH_BITS;

/// What an entry is found by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'k> {
    /// The hash of the rest.
    pub(super) hash: u64,
    /// A number besides the name, of [`KIND_BITS`] bits.
    pub(super) kind: u32,
    /// A whole number of words of eight bytes.
    pub(super) name: &'k [u8],
}

impl<'k> Key<'k> {
    /// The key of a kind and a name.
    pub(super) fn new(hasher: &RandomState, kind: u32, name: &'k [u8]) -> Self {
        let hash = hash_of(hasher, kind, words_of(name));
        Self { hash, kind, name }
    }
}

/// What is said of an entry besides its key and its value.
pub(super) type Tags = [u64; TAGS];

/// The bits of [`Key::kind`].
const KIND_BITS: u32 = 24;

/// The first word of an entry: `words:16, kind:24, name words:8, value bytes:16`. A name has 32 words at most.
#[derive(Clone, Copy)]
struct Lengths(u64);

impl Lengths {
    fn new(words: usize, kind: u32, name_words: usize, value_len: usize) -> Self {
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

    fn words(self) -> usize {
        self.field(16, 48) as usize
    }

    fn kind(self) -> u32 {
        self.field(KIND_BITS, 24) as u32
    }

    fn name_words(self) -> usize {
        self.field(8, 16) as usize
    }

    fn value_len(self) -> usize {
        self.field(16, 0) as usize
    }

    /// Whether an entry of these lengths can have this key.
    fn may_be(self, key: &Key<'_>) -> bool {
        self.kind() == key.kind && self.name_words() * 8 == key.name.len()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
    index: Box<[AtomicU64]>,
    marks: Box<[AtomicU8]>,
    /// How many buckets of the index are in use, one at the least.
    buckets: AtomicUsize,
    /// The position of the oldest entry.
    tail: AtomicU64,
    writer: Mutex<Writer>,
    /// What makes the hashes of the keys.
    hasher: RandomState,
}

#[derive(Debug)]
struct Writer {
    /// The position of the next entry.
    head: u64,
    /// How many slots are in use.
    entries: usize,
    /// Where an entry is while it is moved.
    moved: Vec<u64>,
}

/// An entry that was found; what it says is believed only once it has been [confirmed](Ring::find).
pub(super) struct Found<'r> {
    words: &'r [AtomicU64],
    lengths: Lengths,
    /// What its writer has said of it.
    pub(super) tags: Tags,
}

impl Found<'_> {
    /// The length of the value, in bytes.
    pub(super) fn value_len(&self) -> usize {
        self.lengths.value_len()
    }

    /// Copies the value from byte `8 * word` on to the beginning of `to`, in whole words: up to seven
    /// bytes behind it are overwritten. Returns whether there was room.
    pub(super) fn copy(&self, word: usize, to: &mut [u8]) -> bool {
        let from = HEADER + self.lengths.name_words() + word;
        let words = self.words.get(from..).unwrap_or_default();
        let Some(to) = to.get_mut(..8 * words.len()) else {
            return false;
        };
        for (bytes, word) in to.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        true
    }

    /// The first eight bytes of the value.
    pub(super) fn first_word(&self) -> u64 {
        let at = HEADER + self.lengths.name_words();
        self.words
            .get(at)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Ring {
    /// A ring that takes at most so many bytes, with its index. Memory is taken as it is first used.
    /// `hasher` is the one that all its keys are made with.
    pub(super) fn new(bytes: usize, hasher: RandomState) -> Self {
        let entries = bytes / (ORDINARY_BYTES + SLOTS_PER_ENTRY * SLOT_BYTES);
        let buckets = (SLOTS_PER_ENTRY * entries / WAYS).max(1);
        let words = (bytes.saturating_sub(buckets * WAYS * SLOT_BYTES) / 8).max(MAX_WORDS);
        Self::with_sizes(words, buckets, hasher)
    }

    /// A ring of so many words, whose index grows to so many buckets. An entry may take an eighth of the words.
    pub(super) fn with_sizes(words: usize, buckets: usize, hasher: RandomState) -> Self {
        // From this position on, so that no slot of an entry is zero, which stands for none.
        let first = words as u64;
        Self {
            words: zero_words(words),
            index: zero_words(buckets * WAYS),
            marks: zero_bytes(buckets * WAYS),
            buckets: AtomicUsize::new(1),
            tail: AtomicU64::new(first),
            writer: Mutex::new(Writer {
                head: first,
                entries: 0,
                moved: Vec::with_capacity(MAX_WORDS),
            }),
            hasher,
        }
    }

    /// Has the processor fetch what looking for keys will need. The loads for one key depend on each
    /// other, but not on those for the others; side by side, all of them take little more time than one.
    /// Returns something that is made of all that was loaded, and means nothing.
    pub(super) fn fetch_index(&self, hash: u64) -> u64 {
        self.index[self.bucket(hash)].load(Ordering::Relaxed)
    }

    /// What [`Ring::fetch_index`] does, for the entry: to be called when that has been called for all.
    pub(super) fn fetch_entry(&self, hash: u64) -> u64 {
        let first = self.bucket(hash);
        let slots = self.index[first..first + WAYS].iter();
        let mut slots = slots.map(|slot| slot.load(Ordering::Relaxed));
        let Some(slot) = slots.find(|slot| is_hash(*slot, hash)) else {
            return 0;
        };
        // An ordinary entry lies on three lines.
        let words = self.words_at(slot & POSITION);
        let line = |n: usize| {
            words
                .get(8 * n)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        };
        line(0) ^ line(1) ^ line(2)
    }

    /// Looks for an entry, and has `read` look at it; what `read` returns is returned, unless the entry
    /// was overwritten meanwhile.
    pub(super) fn find<T>(
        &self,
        key: &Key<'_>,
        read: impl FnOnce(&Found<'_>) -> Option<T>,
    ) -> Option<T> {
        let first = self.bucket(key.hash);
        for place in first..first + WAYS {
            let slot = self.index[place].load(Ordering::Acquire);
            if !is_hash(slot, key.hash) {
                continue;
            }
            let position = slot & POSITION;
            let Some(found) = self.entry(position, key) else {
                continue;
            };
            let value = read(&found);
            if !self.is_intact(position) {
                return None;
            }
            let marks = self.marks[place].load(Ordering::Relaxed);
            if value.is_some() && marks < MAX_MARKS {
                self.marks[place].store(marks + 1, Ordering::Relaxed);
            }
            return value;
        }
        None
    }

    /// Keeps a value, in place of the one that this key has. Does nothing, not even to that, if another
    /// thread is just keeping something, if the value is too long, or if too much would have to be moved:
    /// what an old value is worth, its tags have to tell. Returns how many bytes this takes that have not
    /// been in use before.
    pub(super) fn insert(&self, key: &Key<'_>, tags: Tags, value: &[u8]) -> usize {
        let name_words = key.name.len() / 8;
        let words = HEADER + name_words + value.len().div_ceil(8);
        if words > MAX_WORDS.min(self.words.len() / 8) {
            return 0;
        }
        let Ok(mut writer) = self.writer.try_lock() else {
            return 0;
        };
        let before = self.used(&writer);
        let lengths = Lengths::new(words, key.kind, name_words, value.len());
        let place = self.place_of(key);
        if let Some(place) = place
            && self.renew(place, key, lengths, tags, value)
        {
            return 0;
        }
        if !self.make_room(&mut writer, words) {
            return 0;
        }
        let header = [lengths.0].into_iter().chain(tags);
        let all = header.chain(words_of(key.name)).chain(words_of(value));
        let position = self.append(&mut writer, words, all);
        let slot = slot_of(position, key.hash);
        let place = place.unwrap_or_else(|| self.victim(key.hash));
        if self.index[place].load(Ordering::Relaxed) == 0 {
            writer.entries += 1;
        }
        self.marks[place].store(0, Ordering::Relaxed);
        self.index[place].store(slot, Ordering::Release);
        self.grow_index(&writer);
        self.used(&writer) - before
    }

    /// The bytes of entries, of gaps between them, and of the index, that have ever been in use.
    fn used(&self, writer: &Writer) -> usize {
        let words = self.words.len() as u64;
        // Once around, and all of it has been used.
        let used = 8 * (writer.head - words).min(words) as usize;
        used + self.buckets.load(Ordering::Relaxed) * WAYS * SLOT_BYTES
    }

    /// The first place of the bucket of a hash.
    fn bucket(&self, hash: u64) -> usize {
        let buckets = self.buckets.load(Ordering::Acquire);
        WAYS * bucket_of(hash, buckets)
    }

    /// Divides the next bucket in turn, if there are many entries for the buckets.
    fn grow_index(&self, writer: &Writer) {
        let buckets = self.buckets.load(Ordering::Relaxed);
        let is_wide = SLOTS_PER_ENTRY * writer.entries <= WAYS * buckets;
        if is_wide || WAYS * (buckets + 1) > self.index.len() {
            return;
        }
        let divided = buckets - (1 << buckets.ilog2());
        let mut free = WAYS * buckets;
        for place in WAYS * divided..WAYS * (divided + 1) {
            let slot = self.index[place].load(Ordering::Relaxed);
            let Some(hash) = (slot != 0).then(|| self.hash_at(slot & POSITION)).flatten() else {
                continue;
            };
            if bucket_of(hash, buckets + 1) == buckets {
                let marks = self.marks[place].load(Ordering::Relaxed);
                self.marks[free].store(marks, Ordering::Relaxed);
                self.index[free].store(slot, Ordering::Release);
                self.index[place].store(0, Ordering::Relaxed);
                free += 1;
            }
        }
        self.buckets.store(buckets + 1, Ordering::Release);
    }

    /// The hash of the entry at a position. For writers.
    fn hash_at(&self, position: u64) -> Option<u64> {
        let words = self.words_at(position);
        let lengths = Lengths(words.first()?.load(Ordering::Relaxed));
        let name = words.get(HEADER..HEADER + lengths.name_words())?;
        let name = name.iter().map(|word| word.load(Ordering::Relaxed));
        Some(hash_of(&self.hasher, lengths.kind(), name))
    }

    /// Whether an entry at this position has not been overwritten up to now.
    fn is_intact(&self, position: u64) -> bool {
        // What was read before is not moved behind this look at the tail; and with a word that a
        // writer has stored after its own fence, the tail is seen that it has stored before.
        fence(Ordering::Acquire);
        position >= self.tail.load(Ordering::Relaxed)
    }

    /// The entry at a position, if it has this key. It may be rubbish all the same.
    fn entry(&self, position: u64, key: &Key<'_>) -> Option<Found<'_>> {
        let words = self.words_at(position);
        let lengths = Lengths(words.first()?.load(Ordering::Acquire));
        if !lengths.may_be(key) {
            return None;
        }
        let words = words.get(..lengths.words())?;
        let name = words.get(HEADER..HEADER + lengths.name_words())?;
        let same = |(word, bytes): (&AtomicU64, u64)| word.load(Ordering::Relaxed) == bytes;
        if !name.iter().zip(words_of(key.name)).all(same) {
            return None;
        }
        // The first of them last written and first read: see `renew`.
        let tag = |n: usize, order| words.get(1 + n).map(|word| word.load(order));
        let tags = [
            tag(0, Ordering::Acquire)?,
            tag(1, Ordering::Relaxed)?,
            tag(2, Ordering::Relaxed)?,
        ];
        Some(Found {
            words,
            lengths,
            tags,
        })
    }

    fn words_at(&self, position: u64) -> &[AtomicU64] {
        let place = (position % self.words.len() as u64) as usize;
        &self.words[place..]
    }

    /// The slot of a key that is kept. For writers: nothing is overwritten meanwhile.
    fn place_of(&self, key: &Key<'_>) -> Option<usize> {
        let first = self.bucket(key.hash);
        (first..first + WAYS).find(|&place| {
            let slot = self.index[place].load(Ordering::Relaxed);
            let position = slot & POSITION;
            is_hash(slot, key.hash)
                && self.is_intact(position)
                && self.entry(position, key).is_some()
        })
    }

    /// Gives an entry new tags, if its value is the same; most of what is made anew is as it was.
    ///
    /// A reader may see some of the old tags and some of the new ones. The first tag is written last and
    /// read first, so whoever sees the new one sees the others too; with the old one, any of the others
    /// may be seen, and the caller has to choose its tags so that this does no harm.
    fn renew(
        &self,
        place: usize,
        key: &Key<'_>,
        lengths: Lengths,
        tags: Tags,
        value: &[u8],
    ) -> bool {
        let position = self.index[place].load(Ordering::Relaxed) & POSITION;
        let words = self.words_at(position);
        let from = HEADER + key.name.len() / 8;
        let (Some(first), Some(old)) = (words.first(), words.get(from..lengths.words())) else {
            return false;
        };
        let is_same = first.load(Ordering::Relaxed) == lengths.0
            && old
                .iter()
                .zip(words_of(value))
                .all(|(old, new)| old.load(Ordering::Relaxed) == new);
        if is_same {
            for n in (0..TAGS).rev() {
                self.words_at(position)[1 + n].store(tags[n], Ordering::Release);
            }
        }
        is_same
    }

    /// Evicts until there is room for so many words, in one piece; returns whether there is.
    fn make_room(&self, writer: &mut Writer, words: usize) -> bool {
        let mut moves = 0;
        let size = self.words.len() as u64;
        loop {
            let skip = self.skip(writer.head, words) as u64;
            let tail = self.tail.load(Ordering::Relaxed);
            if writer.head + skip + words as u64 - tail <= size {
                return true;
            }
            if moves == MAX_MOVES {
                return false;
            }
            moves += u32::from(self.evict(writer, tail));
        }
    }

    /// How many words at the end of memory are too few for an entry of so many.
    fn skip(&self, head: u64, words: usize) -> usize {
        let left = self.words_at(head).len();
        if left < words { left } else { 0 }
    }

    /// Moves the tail past the oldest entry, which goes to the head if it has a mark; returns whether it
    /// does.
    fn evict(&self, writer: &mut Writer, tail: u64) -> bool {
        let oldest = self.words_at(tail);
        let lengths = Lengths(oldest[0].load(Ordering::Relaxed));
        // Of what was skipped at the end of memory, the first word says how much it was.
        let words = lengths.words().clamp(1, oldest.len());
        let place = match lengths.name_words() {
            0 => None,
            _ => self.place_of_position(tail),
        };
        self.tail.store(tail + words as u64, Ordering::Relaxed);
        let Some(place) = place else {
            return false;
        };
        let marks = self.marks[place].load(Ordering::Relaxed);
        let skip = self.skip(writer.head, words) as u64;
        let has_room = writer.head + skip <= tail + self.words.len() as u64;
        if marks == 0 || !has_room {
            self.index[place].store(0, Ordering::Relaxed);
            writer.entries -= 1;
            return false;
        }
        // By way of a copy: where it goes to may begin within where it was.
        let mut entry = std::mem::take(&mut writer.moved);
        entry.clear();
        let words_of_entry = oldest[..words].iter();
        entry.extend(words_of_entry.map(|word| word.load(Ordering::Relaxed)));
        let position = self.append(writer, words, entry.iter().copied());
        writer.moved = entry;
        let hash = self.index[place].load(Ordering::Relaxed) & !POSITION;
        self.marks[place].store(marks - 1, Ordering::Relaxed);
        self.index[place].store(hash | position, Ordering::Release);
        true
    }

    /// The slot that leads to an entry, if one still does.
    fn place_of_position(&self, position: u64) -> Option<usize> {
        let first = self.bucket(self.hash_at(position)?);
        (first..first + WAYS)
            .find(|&place| self.index[place].load(Ordering::Relaxed) & POSITION == position)
    }

    /// Writes an entry to the head, for which there is room.
    fn append(&self, writer: &mut Writer, words: usize, entry: impl Iterator<Item = u64>) -> u64 {
        // Whoever sees any word of what follows sees the tail that was stored before.
        fence(Ordering::Release);
        let skip = self.skip(writer.head, words);
        if skip > 0 {
            let filler = Lengths::new(skip, 0, 0, 0);
            self.words_at(writer.head)[0].store(filler.0, Ordering::Relaxed);
            writer.head += skip as u64;
        }
        let position = writer.head;
        for (place, word) in self.words_at(position)[..words].iter().zip(entry) {
            place.store(word, Ordering::Relaxed);
        }
        writer.head += words as u64;
        position
    }

    /// The slot for a new entry: a free one, or the one that is worth least.
    fn victim(&self, hash: u64) -> usize {
        let first = self.bucket(hash);
        let worth = |&place: &usize| {
            let slot = self.index[place].load(Ordering::Relaxed);
            let position = slot & POSITION;
            match slot != 0 && self.is_intact(position) {
                true => (1 + self.marks[place].load(Ordering::Relaxed), position),
                false => (0, 0),
            }
        };
        (first..first + WAYS).min_by_key(worth).unwrap_or(first)
    }
}

fn hash_of(hasher: &RandomState, kind: u32, name: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u32(kind);
    for word in name {
        hasher.write_u64(word);
    }
    hasher.finish()
}

/// In which of so many buckets a hash is, by bits that neither slots nor [`super::HotAnswers`] use.
fn bucket_of(hash: u64, buckets: usize) -> usize {
    let hash = (hash >> 20) as usize;
    let mask = buckets.next_power_of_two() - 1;
    match hash & mask {
        bucket if bucket < buckets => bucket,
        // This one has not been divided yet.
        bucket => bucket & (mask >> 1),
    }
}

fn is_hash(slot: u64, hash: u64) -> bool {
    slot != 0 && (slot ^ hash << (64 - HASH_BITS)) & !POSITION == 0
}

fn slot_of(position: u64, hash: u64) -> u64 {
    hash << (64 - HASH_BITS) | position & POSITION
}

/// Bytes as words, the last one filled up with zeros.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests;
