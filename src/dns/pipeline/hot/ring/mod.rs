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
//! The writer puts a new entry at the head. Before it overwrites anything, it moves the tail past all entries that will
//! be overwritten. A reader finds a position in the index, copies what it needs, and reads the tail *afterwards*: if the
//! tail has not passed the position, the copy is whole; otherwise the copy may be mixed with a newer entry, and the
//! reader discards it. All words are atomics, so a mixed copy is no data race, and the ring needs no `unsafe`. The models
//! in `tests/model/` check this protocol with loom, under the C11 memory model.
//!
//! Eviction is CLOCK with several marks: a hit gives the entry a mark, [`MAX_MARKS`] at most. When a marked entry
//! reaches the tail, it loses one mark and moves to the head instead of being evicted. An entry without another
//! hit is evicted after one lap, so a scan of such names does not evict popular entries. The marks are beside the
//! index, not in the entry: a late mark may go to another entry, but never changes an entry's bytes.
//!
//! The index grows with the entries, one bucket at a time, by linear hashing (Litwin, 1980): the next bucket in turn is
//! divided in two by one more bit of the hashes. No reader waits for that; a reader that still searches the old bucket
//! may miss an entry that has just moved.
//!
//! Writers share a lock, but never wait for it: while one thread writes, the others do not keep their entries. Popular
//! entries are rarely written.
//!
//! The rings of a server share their tables, in stripes of words and bucket by bucket. They grow at the same pace, so
//! the parts in use of all rings lie on few pages.
//!
//! ```text
//!   words: | ring 0 | ring 1 | ... | ring 7 | ring 0 | ring 1 | ...      a stripe of 64 KiB each
//!   index: | ring 0 | ring 1 | ... | ring 7 | ring 0 | ring 1 | ...      a bucket of 64 bytes each
//! ```
//!
//! Alternatives turned down: a map of pointers to entries (one allocation and one more cache miss for each entry, and
//! either locks or deferred reclamation of memory that readers may still use), and a cache for each thread (each would
//! hold the same popular names).

mod entry;

use std::sync::Arc;

pub(super) use self::entry::{Key, TAGS, Tags};
use self::entry::{Lengths, hash_of, words_of};
use super::primitives::{
    AtomicU64, AtomicUsize, Bytes, HashState, Mutex, Ordering, Words, fence, zero_bytes, zero_words,
};

/// The slots of a bucket, which fill one cache line.
const WAYS: usize = 8;
/// The slots of the index for each entry. Hashes are uneven, and a bucket that has not been divided yet holds twice as
/// many entries as others, so even with this many slots one entry in a hundred finds its bucket full.
const SLOTS_PER_ENTRY: usize = 3;
/// The length of an ordinary link's entry, in bytes. The index does not grow beyond what a ring full of such entries
/// needs.
const ORDINARY_BYTES: usize = 176;
/// The bytes of a slot with its marks.
const SLOT_BYTES: usize = 9;
/// The most marks of an entry.
const MAX_MARKS: u8 = 3;
/// How many marked entries an insertion moves at most. Then it gives up, and the next insertion goes on.
const MAX_MOVES: u32 = 64;
/// The words before an entry's key: its lengths and its tags.
const HEADER: usize = 1 + TAGS;
/// The words of a ring that lie in one piece; the last stripe may be shorter. An entry does not cross the end of a
/// stripe, so that each stripe has a gap of about half an entry at its end.
const STRIPE: usize = 1 << 13;
/// The longest entry, in words of eight bytes: longer than any reply by UDP.
const MAX_WORDS: usize = 512;

/// The bits of a slot that hold a part of the hash. The position has the others: a ring finds nothing any more once its
/// positions exceed 2^48 words, which takes four years at 100,000 insertions a second into one ring.
const HASH_BITS: u32 = 16;
const POSITION: u64 = u64::MAX >> HASH_BITS;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ring {
    tables: Arc<Tables>,
    /// Which of the rings that share the tables this is, and how many they are.
    number: usize,
    rings: usize,
    /// How many words this ring has.
    size: usize,
    /// How many buckets of the index this ring has.
    most_buckets: usize,
    /// How many buckets of the index are in use; at least one. It is released after the slots of a new bucket, so that a
    /// reader of the new number finds the entries that have moved there. Relaxed operations would only cost hits, which
    /// the models allow: the slots themselves publish the entries, and a bucket of an old number still exists.
    buckets: AtomicUsize,
    /// The position of the oldest entry.
    tail: AtomicU64,
    writer: Mutex<Writer>,
    /// Makes the hashes of the keys.
    hasher: HashState,
}

/// The memory of all rings of a server.
#[derive(Debug)]
struct Tables {
    words: Words,
    index: Words,
    marks: Bytes,
}

#[derive(Debug)]
struct Writer {
    /// The position of the next entry.
    head: u64,
    /// How many slots of the index are in use.
    entries: usize,
    /// The copy of an entry that moves.
    moved: Vec<u64>,
}

/// An entry that a reader has found. Its contents are valid only after [`Ring::find`] has checked the tail.
pub(super) struct Found<'r> {
    words: &'r [AtomicU64],
    lengths: Lengths,
    /// The tags of the entry.
    pub(super) tags: Tags,
}

impl Found<'_> {
    /// The length of the value, in bytes.
    pub(super) fn value_len(&self) -> usize {
        self.lengths.value_len()
    }

    /// Copies the value from its byte `8 * word` on to the beginning of `to`, in whole words, so that up to seven bytes
    /// after the value are overwritten. Returns whether `to` had room.
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
    /// So many rings, each of which takes at most so many bytes with its index. The system provides memory as it is
    /// first used. All keys have to be made with `hasher`.
    pub(super) fn side_by_side(rings: usize, bytes: usize, hasher: &HashState) -> Vec<Self> {
        let entries = bytes / (ORDINARY_BYTES + SLOTS_PER_ENTRY * SLOT_BYTES);
        let buckets = (SLOTS_PER_ENTRY * entries / WAYS).max(1);
        let words = (bytes.saturating_sub(buckets * WAYS * SLOT_BYTES) / 8).max(MAX_WORDS);
        Self::with_sizes(rings, words, buckets, hasher)
    }

    /// So many rings of so many words each, whose indexes grow to so many buckets each. An entry may take an eighth of
    /// the words.
    pub(super) fn with_sizes(
        rings: usize,
        words: usize,
        buckets: usize,
        hasher: &HashState,
    ) -> Vec<Self> {
        // Each stripe has room for every entry, also the last one.
        let size = match words % STRIPE {
            last if last < MAX_WORDS && words > STRIPE => words - last,
            _ => words,
        };
        let tables = Arc::new(Tables {
            words: zero_words(rings * size),
            index: zero_words(rings * buckets * WAYS),
            marks: zero_bytes(rings * buckets * WAYS),
        });
        // Positions begin here, so that no slot in use is zero: zero marks a free slot.
        let first = size as u64;
        let ring = |number| Self {
            tables: tables.clone(),
            number,
            rings,
            size,
            most_buckets: buckets,
            buckets: AtomicUsize::new(1),
            tail: AtomicU64::new(first),
            writer: Mutex::new(Writer {
                head: first,
                entries: 0,
                moved: Vec::with_capacity(MAX_WORDS),
            }),
            hasher: hasher.clone(),
        };
        (0..rings).map(ring).collect()
    }

    /// Brings the bucket of a hash into the processor's cache. The loads for one key depend on each other, but not on
    /// the loads for other keys; side by side, all of them take little longer than one. The returned value depends on
    /// what was loaded, so that the compiler keeps the loads, and has no other meaning.
    pub(super) fn fetch_index(&self, hash: u64) -> u64 {
        self.tables.index[self.bucket(hash)].load(Ordering::Relaxed)
    }

    /// Brings the entry of a hash into the processor's cache. Call it after [`Ring::fetch_index`] for all hashes.
    pub(super) fn fetch_entry(&self, hash: u64) -> u64 {
        let first = self.bucket(hash);
        let slots = self.tables.index[first..first + WAYS].iter();
        let mut slots = slots.map(|slot| slot.load(Ordering::Relaxed));
        let Some(slot) = slots.find(|slot| is_hash(*slot, hash)) else {
            return 0;
        };
        // An ordinary entry covers three cache lines.
        let words = self.words_at(slot & POSITION);
        let line = |n: usize| {
            words
                .get(8 * n)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        };
        line(0) ^ line(1) ^ line(2)
    }

    /// Finds the entry of a key and calls `read` with it. Returns what `read` returns, but nothing if the entry was
    /// overwritten meanwhile.
    pub(super) fn find<T>(
        &self,
        key: &Key<'_>,
        read: impl FnOnce(&Found<'_>) -> Option<T>,
    ) -> Option<T> {
        let first = self.bucket(key.hash);
        for place in first..first + WAYS {
            let slot = self.tables.index[place].load(Ordering::Acquire);
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
            let marks = self.tables.marks[place].load(Ordering::Relaxed);
            if value.is_some() && marks < MAX_MARKS {
                self.tables.marks[place].store(marks + 1, Ordering::Relaxed);
            }
            return value;
        }
        None
    }

    /// Keeps a value, in place of an earlier value of the same key. Keeps nothing, and leaves an earlier value as it is,
    /// if another thread is writing, if the value is too long, or if too many entries would have to move; so the tags
    /// have to tell readers whether a value still holds. Returns how many bytes are now in use that were not before.
    pub(super) fn insert(&self, key: &Key<'_>, tags: Tags, value: &[u8]) -> usize {
        let name_words = key.name.len() / 8;
        let words = HEADER + name_words + value.len().div_ceil(8);
        if words > MAX_WORDS.min(self.size / 8) {
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
        if self.tables.index[place].load(Ordering::Relaxed) == 0 {
            writer.entries += 1;
        }
        self.tables.marks[place].store(0, Ordering::Relaxed);
        self.tables.index[place].store(slot, Ordering::Release);
        self.grow_index(&writer);
        self.used(&writer) - before
    }

    /// How many bytes of the entries, the gaps between them and the index have ever been in use.
    fn used(&self, writer: &Writer) -> usize {
        let words = self.size as u64;
        // After the first lap, all words have been used.
        let used = 8 * (writer.head - words).min(words) as usize;
        used + self.buckets.load(Ordering::Relaxed) * WAYS * SLOT_BYTES
    }

    /// The first slot of the bucket of a hash.
    fn bucket(&self, hash: u64) -> usize {
        let buckets = self.buckets.load(Ordering::Acquire);
        self.place(bucket_of(hash, buckets))
    }

    /// The first place of a bucket of this ring.
    fn place(&self, bucket: usize) -> usize {
        WAYS * (bucket * self.rings + self.number)
    }

    /// Divides the next bucket in turn, if there are too many entries for the buckets in use.
    fn grow_index(&self, writer: &Writer) {
        let buckets = self.buckets.load(Ordering::Relaxed);
        let is_wide = SLOTS_PER_ENTRY * writer.entries <= WAYS * buckets;
        if is_wide || buckets == self.most_buckets {
            return;
        }
        let divided = buckets - (1 << buckets.ilog2());
        let mut free = self.place(buckets);
        let first = self.place(divided);
        for place in first..first + WAYS {
            let slot = self.tables.index[place].load(Ordering::Relaxed);
            let Some(hash) = (slot != 0).then(|| self.hash_at(slot & POSITION)).flatten() else {
                continue;
            };
            if bucket_of(hash, buckets + 1) == buckets {
                let marks = self.tables.marks[place].load(Ordering::Relaxed);
                self.tables.marks[free].store(marks, Ordering::Relaxed);
                self.tables.index[free].store(slot, Ordering::Release);
                self.tables.index[place].store(0, Ordering::Relaxed);
                free += 1;
            }
        }
        self.buckets.store(buckets + 1, Ordering::Release);
    }

    /// The hash of the entry at a position. Only for the writer.
    fn hash_at(&self, position: u64) -> Option<u64> {
        let words = self.words_at(position);
        let lengths = Lengths(words.first()?.load(Ordering::Relaxed));
        let name = words.get(HEADER..HEADER + lengths.name_words())?;
        let name = name.iter().map(|word| word.load(Ordering::Relaxed));
        Some(hash_of(&self.hasher, lengths.kind(), name))
    }

    /// Whether the entry at this position was still whole when its words were read.
    fn is_intact(&self, position: u64) -> bool {
        // Pairs with the fence in `append`: if an earlier load has returned a word that was stored after that fence, this
        // load returns the tail that was stored before the fence, or a later one.
        fence(Ordering::Acquire);
        position >= self.tail.load(Ordering::Relaxed)
    }

    /// The entry at a position, if it has this key. Until the tail is checked, any of it may belong to a newer entry.
    fn entry(&self, position: u64, key: &Key<'_>) -> Option<Found<'_>> {
        let words = self.words_at(position);
        let lengths = Lengths(words.first()?.load(Ordering::Relaxed));
        if !lengths.may_be(key) {
            return None;
        }
        let words = words.get(..lengths.words())?;
        let name = words.get(HEADER..HEADER + lengths.name_words())?;
        let same = |(word, bytes): (&AtomicU64, u64)| word.load(Ordering::Relaxed) == bytes;
        if !name.iter().zip(words_of(key.name)).all(same) {
            return None;
        }
        // `renew` writes the first tag last, so it is read first.
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
        let place = (position % self.size as u64) as usize;
        let before = place / STRIPE * STRIPE;
        let stripe = STRIPE.min(self.size - before);
        let begin = before * self.rings + stripe * self.number;
        &self.tables.words[begin + (place - before)..begin + stripe]
    }

    /// The slot of a key that the ring holds. Only for the writer: nobody overwrites entries meanwhile.
    fn place_of(&self, key: &Key<'_>) -> Option<usize> {
        let first = self.bucket(key.hash);
        (first..first + WAYS).find(|&place| {
            let slot = self.tables.index[place].load(Ordering::Relaxed);
            let position = slot & POSITION;
            is_hash(slot, key.hash)
                && self.is_intact(position)
                && self.entry(position, key).is_some()
        })
    }

    /// Gives an entry new tags, if its value has not changed, as is true of most answers that are made again. Returns
    /// whether it has.
    ///
    /// A reader may see old and new tags mixed. The first tag is written last and read first, so a reader that sees the
    /// new first tag sees the other new tags too. With the old first tag it may see any of the others, so the caller
    /// has to choose tags for which such a mixture does no harm.
    fn renew(
        &self,
        place: usize,
        key: &Key<'_>,
        lengths: Lengths,
        tags: Tags,
        value: &[u8],
    ) -> bool {
        let position = self.tables.index[place].load(Ordering::Relaxed) & POSITION;
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

    /// Evicts entries until there is room for so many words in one piece. Returns whether there is.
    fn make_room(&self, writer: &mut Writer, words: usize) -> bool {
        let mut moves = 0;
        let size = self.size as u64;
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

    /// How many words at the end of a stripe to skip, because an entry of so many words does not fit there.
    fn skip(&self, head: u64, words: usize) -> usize {
        let left = self.words_at(head).len();
        if left < words { left } else { 0 }
    }

    /// Moves the tail past the oldest entry. An entry with a mark moves to the head. Returns whether it has moved.
    fn evict(&self, writer: &mut Writer, tail: u64) -> bool {
        let oldest = self.words_at(tail);
        let lengths = Lengths(oldest[0].load(Ordering::Relaxed));
        // The first word of a gap at the end of a stripe has the length of the gap.
        let words = lengths.words().clamp(1, oldest.len());
        let place = match lengths.name_words() {
            0 => None,
            _ => self.place_of_position(tail),
        };
        self.tail.store(tail + words as u64, Ordering::Relaxed);
        let Some(place) = place else {
            return false;
        };
        let marks = self.tables.marks[place].load(Ordering::Relaxed);
        let skip = self.skip(writer.head, words) as u64;
        let has_room = writer.head + skip <= tail + self.size as u64;
        if marks == 0 || !has_room {
            self.tables.index[place].store(0, Ordering::Relaxed);
            writer.entries -= 1;
            return false;
        }
        // Through a copy, since the new place may overlap the old one.
        let mut entry = std::mem::take(&mut writer.moved);
        entry.clear();
        let words_of_entry = oldest[..words].iter();
        entry.extend(words_of_entry.map(|word| word.load(Ordering::Relaxed)));
        let position = self.append(writer, words, entry.iter().copied());
        writer.moved = entry;
        let hash = self.tables.index[place].load(Ordering::Relaxed) & !POSITION;
        self.tables.marks[place].store(marks - 1, Ordering::Relaxed);
        self.tables.index[place].store(hash | position, Ordering::Release);
        true
    }

    /// The slot that has this position, if there still is one.
    fn place_of_position(&self, position: u64) -> Option<usize> {
        let first = self.bucket(self.hash_at(position)?);
        (first..first + WAYS)
            .find(|&place| self.tables.index[place].load(Ordering::Relaxed) & POSITION == position)
    }

    /// Writes an entry at the head, where there has to be room.
    fn append(&self, writer: &mut Writer, words: usize, entry: impl Iterator<Item = u64>) -> u64 {
        // Pairs with the fence in `is_intact`: a reader of any word stored below also sees the tail stored before.
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

    /// The slot for a new entry: a free slot, or that of the entry with the fewest marks, the oldest of these.
    fn victim(&self, hash: u64) -> usize {
        let first = self.bucket(hash);
        let worth = |&place: &usize| {
            let slot = self.tables.index[place].load(Ordering::Relaxed);
            let position = slot & POSITION;
            match slot != 0 && self.is_intact(position) {
                true => (
                    1 + self.tables.marks[place].load(Ordering::Relaxed),
                    position,
                ),
                false => (0, 0),
            }
        };
        (first..first + WAYS).min_by_key(worth).unwrap_or(first)
    }
}

/// The bucket of a hash among so many, by bits of the hash that neither slots nor the choice of the ring use.
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

#[cfg(test)]
mod tests;
