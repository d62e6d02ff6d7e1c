//! The counts that are not in the store yet: by hour and link.
//!
//! Many threads count at the same time, so the buffer has shards, each behind a lock of its own. A shard has the codes that begin
//! with the same characters. So the rows of a batch are neighbours, and the more links are used, the more of them lie on one page
//! of the store. The number of links is bounded, and so is that of referrers and countries. Only links that exist are counted,
//! so clients cannot fill the buffer with names that they invent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use foldhash::fast::RandomState;

use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::link::LinkName;
use crate::store::heaviest::Reduction;
use crate::store::statistics::{Click, Counter, Lookup, MAX_REFERRERS, Row};

/// How many shards there are.
const SHARDS: usize = 16;
/// The counters that each link has a place for.
const FIXED: usize = Lookup::ALL.len() + Click::ALL.len();
/// For so many links there is room for one referrer or country. A client may send another referrer, of up to 253 bytes, with
/// each click; when all room is taken, the click counts without it.
const LINKS_FOR_ONE: usize = 5;
/// The most referrers and countries of a link in an hour: all countries, and more referrers than a store keeps, so that those
/// beyond are not taken out one by one.
const MAX_OTHERS: usize = MAX_REFERRERS + 300;

/// The counts of one link in one hour.
#[derive(Debug, Default)]
pub(super) struct Counts {
    fixed: [u32; FIXED],
    /// Few links have any.
    others: Option<Box<Others>>,
}

/// Referrers and countries.
#[derive(Debug, Default)]
struct Others(HashMap<Counter, u64, RandomState>);

impl Counts {
    /// Counts so many more; `room` is for the referrers and countries of all links.
    fn add(&mut self, counter: Counter, count: u32, room: &Room) {
        let place = match counter {
            Counter::Lookup(lookup) => lookup as usize,
            Counter::Click(click) => Lookup::ALL.len() + click as usize,
            other => return self.add_other(other, count.into(), room),
        };
        self.fixed[place] = self.fixed[place].saturating_add(count);
    }

    fn add_other(&mut self, counter: Counter, count: u64, room: &Room) {
        let others = &mut **self.others.get_or_insert_default();
        if others.0.len() >= MAX_OTHERS && !others.0.contains_key(&counter) {
            others.keep_the_heaviest(room);
        }
        others.add(counter, count, room);
    }

    /// How many referrers and countries it has.
    fn others(&self) -> usize {
        self.others.as_ref().map_or(0, |others| others.0.len())
    }

    /// Its counters that are not zero.
    fn into_counters(self) -> impl Iterator<Item = (Counter, u64)> {
        let lookups = Lookup::ALL.into_iter().map(Counter::Lookup);
        let clicks = Click::ALL.into_iter().map(Counter::Click);
        let fixed = lookups.chain(clicks).zip(self.fixed.map(u64::from));
        let others = self.others.into_iter().flat_map(|others| others.0);
        fixed.chain(others).filter(|(_, count)| *count > 0)
    }
}

impl Others {
    fn add(&mut self, counter: Counter, count: u64, room: &Room) {
        match self.0.entry(counter) {
            Entry::Occupied(mut sum) => *sum.get_mut() = sum.get().saturating_add(count),
            Entry::Vacant(sum) if room.take_one() => _ = sum.insert(count),
            Entry::Vacant(_) => {}
        }
    }

    /// Leaves as many hosts as the store keeps, as the store does; see [`crate::store::heaviest`].
    fn keep_the_heaviest(&mut self, room: &Room) {
        let before = self.0.len();
        let hosts = self.0.iter().filter(|(counter, _)| counter.is_host());
        let mut reduction = Reduction::to(MAX_REFERRERS, hosts.map(|(_, count)| *count));
        self.0
            .retain(|counter, count| !counter.is_host() || reduction.take_from(count));
        room.give_back(before - self.0.len());
        if reduction.taken() > 0 {
            let other = Counter::Referrer(Counter::OTHER_REFERRER.into());
            self.add(other, reduction.taken(), room);
        }
    }
}

/// Room for the referrers and countries of all links.
#[derive(Debug)]
struct Room {
    used: AtomicUsize,
    most: usize,
}

impl Room {
    fn take_one(&self) -> bool {
        // Some threads at the same time may take a little more.
        let has_room = self.used.load(Ordering::Relaxed) < self.most;
        if has_room {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn give_back(&self, used: usize) {
        self.used.fetch_sub(used, Ordering::Relaxed);
    }
}

/// The links of one shard, by hour and name.
type Shard = HashMap<(u64, LinkName), Counts, RandomState>;

/// The shard of a name: codes in the order of their first characters, digits before letters.
fn shard_of(name: &LinkName) -> usize {
    let first = name.code().bytes().next().map(char::from);
    let digit = first.and_then(|first| first.to_digit(36)).unwrap_or(0);
    digit as usize * SHARDS / 36
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Buffer {
    shards: [Mutex<Shard>; SHARDS],
    /// Links of all hours in all shards.
    links: AtomicUsize,
    max_links: usize,
    others: Room,
}

impl Buffer {
    /// A buffer for about so many links, and a fifth as many referrers and countries in all.
    pub(super) fn new(max_links: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            links: AtomicUsize::new(0),
            max_links,
            others: Room {
                used: AtomicUsize::new(0),
                most: max_links / LINKS_FOR_ONE,
            },
        }
    }

    /// How many links it has. A link counts once for each hour.
    pub(super) fn len(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    /// Counts so many more. True if there was room.
    pub(super) fn add(
        &self,
        name: LinkName,
        hour: UnixTime,
        counters: impl IntoIterator<Item = (Counter, u32)>,
    ) -> bool {
        let mut shard = self.shard(shard_of(&name));
        let counts = match shard.entry((hour.0, name)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if self.len() >= self.max_links => return false,
            Entry::Vacant(entry) => {
                self.links.fetch_add(1, Ordering::Relaxed);
                entry.insert(Counts::default())
            }
        };
        for (counter, count) in counters {
            counts.add(counter, count, &self.others);
        }
        true
    }

    /// Takes all counts of one shard after the other, in the order of the names.
    pub(super) fn take(&self) -> impl Iterator<Item = Vec<Row>> {
        (0..SHARDS).map(|shard| {
            let taken = std::mem::take(&mut *self.shard(shard));
            self.links.fetch_sub(taken.len(), Ordering::Relaxed);
            let others = taken.values().map(Counts::others).sum();
            self.others.give_back(others);
            let mut rows = Vec::with_capacity(taken.len());
            let mut taken: Vec<_> = taken.into_iter().collect();
            taken.sort_unstable_by(|((_, a), _), ((_, b), _)| a.cmp(b));
            for ((hour, name), counts) in taken {
                for (counter, count) in counts.into_counters() {
                    rows.push(Row {
                        name: name.clone(),
                        hour: UnixTime(hour),
                        counter,
                        count,
                    });
                }
            }
            rows
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[index])
    }
}
