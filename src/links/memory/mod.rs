//! Links in memory: the first tier, and the place where all queries for one name share one flight to the tiers
//! behind.
//!
//! # No old state comes back
//!
//! Only flights fill the memory. After the commit of a change, [`Memory::forget`] drops the name and ends its
//! flight: the result of that flight still reaches the queries that wait for it, but is not kept. A flight that
//! begins later reads what was committed. So no slow read can replace a new state by an old one, in whatever order
//! reads and changes end, and no versions have to be compared. (A change could put the new state in directly,
//! which would save the next look-up. But then two changes whose ends overtake each other would need tombstones,
//! which a flood of names could evict.)
//!
//! [`Memory::forget_older`] does the same for changes of other servers. If some of these may have been missed,
//! [`Memory::revalidate_all`] makes memory look everything up again before it uses it; the old state stays for the
//! case that the tiers behind fail. While the server is not notified of changes at all ([`Memory::set_notified`]),
//! memory uses what it holds for a shorter time. Each of these advances [stamps](super::stamps), so that
//! everything that was derived from the links is made again.
//!
//! # Bounds
//!
//! Links and absent names have separate bounds, so that a flood of random names cannot push links out; a [`Sieve`]
//! keeps each of the two. The number of flights is bounded as well. All of it is divided into shards by the hash
//! of the name.
//!
//! [`Sieve`]: super::sieve::Sieve

mod flight;
mod limits;
mod packed;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::flight::Strip;
pub(super) use self::flight::{Known, Landing, Missed, Wait};
pub use self::limits::MemoryLimits;
use self::shard::{Flight, Held, Lapse, Moment, Rules, Shard};
use super::stamps::Stamps;
use crate::link::{Destination, Link, LinkName, Version};
use crate::store::StoreError;

/// The number of shards, each of which has its own lock.
const SHARDS: usize = 16;
/// What the memory knows of a name.
#[derive(Debug)]
pub(super) enum Look {
    /// This state, which may be used without a look-up until then.
    Fresh(Known, Instant),
    /// A flight is under way.
    Join(Wait),
    /// A flight has to begin, and the caller has to begin it.
    Lead(Ticket, Wait),
    /// This link, which is stale: its look-up has just failed, or no flight can begin now.
    Stale(Arc<Link>),
    /// Nothing usable, and too many flights are under way.
    Full,
}

/// The right and the duty to end a flight. If it is dropped before, the flight fails.
#[derive(Debug)]
pub(super) struct Ticket {
    name: LinkName,
    number: u64,
    /// The version of the link in memory.
    held: Option<Version>,
    strip: Arc<Strip>,
    memory: Arc<Memory>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Memory {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    limits: MemoryLimits,
    began: Instant,
    /// Look-ups that began before this must be repeated: nanoseconds from `began`.
    valid_since: AtomicU64,
    /// Who notifies the server of the changes of others: the bits of [`Notifier`].
    notified: AtomicU8,
    stamps: Stamps,
}

/// Something that notifies the server of the changes of others. One is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notifier {
    /// The stream of changes in Redis.
    Stream = 1,
    /// The feed of the store.
    Feed = 2,
}

/// How much the memory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) links: usize,
    pub(super) link_bytes: usize,
    pub(super) absent: usize,
    pub(super) absent_bytes: usize,
    pub(super) flights: usize,
}

impl Memory {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        let shard = || Shard::new(limits.links / SHARDS, limits.absent / SHARDS);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            limits,
            began: Instant::now(),
            valid_since: AtomicU64::new(0),
            notified: AtomicU8::new(0),
            stamps: Stamps::new(),
        }
    }

    /// Sets whether this notifier tells the server of the changes of others. Returns whether it did before.
    pub(super) fn set_notified(&self, by: Notifier, notified: bool) -> bool {
        let bit = by as u8;
        let before = match notified {
            true => self.notified.fetch_or(bit, Ordering::AcqRel),
            false => self.notified.fetch_and(!bit, Ordering::AcqRel),
        };
        if before == bit && !notified {
            // Leases that were given out may be longer than is right from now on.
            self.stamps.change_all();
        }
        before & bit != 0
    }

    /// The stamps of everything that is derived from links.
    pub(super) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Makes everything that was looked up before `now` be looked up again before it is used.
    pub(super) fn revalidate_all(&self, now: Instant) {
        let now = Moment::new(self.began, now);
        self.valid_since.fetch_max(now.0, Ordering::AcqRel);
        self.stamps.change_all();
    }

    /// Until when the result of a look-up that began at `since` may be used, unless the name changes.
    pub(super) fn good_until(&self, known: &Known, since: Instant) -> Instant {
        let rules = self.rules();
        let until = rules.good_until(known.is_some(), rules.moment(since));
        until.instant(self.began)
    }

    fn rules(&self) -> Rules {
        let limits = &self.limits;
        let at_most = match self.notified.load(Ordering::Acquire) {
            0 => limits.unnotified,
            _ => Duration::MAX,
        };
        Rules {
            fresh_for: limits.fresh_for.min(at_most),
            absent_for: limits.absent_for.min(at_most),
            stale_for: limits.stale_for,
            valid_since: Moment(self.valid_since.load(Ordering::Acquire)),
            began: self.began,
        }
    }

    /// What the memory knows of a name. If that is not enough, the caller joins the name's flight or begins it.
    pub(super) fn look(self: &Arc<Self>, name: &LinkName, now: Instant) -> Look {
        let mut shard = self.shard(name);
        let rules = self.rules();
        let stale = match shard.held(name, now, &rules) {
            Held::Fresh(known, until) => return Look::Fresh(known, until),
            Held::Unconfirmed(link) => return Look::Stale(link),
            Held::Stale(link) => Some(link),
            Held::Nothing => None,
        };
        // The result of a flight from before `valid_since` is not for callers that take their stamps now: another
        // flight takes its place.
        let flight = shard.flights.get(name);
        if let Some(flight) = flight.filter(|one| rules.moment(one.since) >= rules.valid_since) {
            return Look::Join(Wait {
                strip: flight.strip.clone(),
                since: flight.since,
                stale,
            });
        }
        if shard.flights.len() >= self.limits.flights.div_ceil(SHARDS) {
            return stale.map_or(Look::Full, Look::Stale);
        }
        let strip = Arc::new(Strip::default());
        shard.number += 1;
        let number = shard.number;
        let flight = Flight {
            number,
            since: now,
            strip: strip.clone(),
        };
        shard.flights.insert(name.clone(), flight);
        let ticket = Ticket {
            name: name.clone(),
            number,
            held: stale.as_ref().map(|link| link.version),
            strip: strip.clone(),
            memory: Arc::clone(self),
        };
        let wait = Wait {
            strip,
            since: now,
            stale,
        };
        Look::Lead(ticket, wait)
    }

    /// Passes a destination of a link, drawn if it has several, to `read`, if the link may be used without a look-up and is not
    /// withheld. The name is locked meanwhile.
    pub(super) fn with_fresh<R>(
        &self,
        name: &LinkName,
        now: Instant,
        read: impl FnOnce(Destination<'_>) -> Option<R>,
    ) -> Option<R> {
        let mut shard = self.shard(name);
        read(
            shard
                .fresh_link(name, now, &self.rules())?
                .destination(|| fastrand::u64(..))?,
        )
    }

    /// Drops a name, and keeps the result of its flight from being held. Must be called after the commit of every
    /// change of the name. Returns whether a flight was under way: its result still reaches the queries that wait for it.
    pub(super) fn forget(&self, name: &LinkName) -> bool {
        let mut shard = self.shard(name);
        let was_flying = shard.flights.remove(name).is_some();
        shard.links.remove(name.as_str());
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
        was_flying
    }

    /// The same as [`Memory::forget`], but keeps a link of this version or a newer one: another server has made
    /// the change to this version.
    pub(super) fn forget_older(&self, name: &LinkName, version: Version) -> bool {
        let mut shard = self.shard(name);
        let was_flying = shard.flights.remove(name).is_some();
        let held = shard.links.peek(name.as_str());
        if held.is_some_and(|held| held.link.version() < version) {
            shard.links.remove(name.as_str());
        }
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
        was_flying
    }

    /// Makes a name be looked up again before it is used, because it is not known whether a change of it was made.
    /// A link stays for the case that the look-up fails. An absence does not: a negative answer must never be
    /// wrong.
    pub(super) fn revalidate(&self, name: &LinkName) {
        let mut shard = self.shard(name);
        shard.flights.remove(name);
        if let Some(held) = shard.links.get_mut(name.as_str()) {
            (held.must_revalidate, held.failed) = (true, Lapse::NONE);
        }
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
    }

    /// Whether memory holds a link of this name, fresh or not.
    pub(super) fn holds_link(&self, name: &LinkName) -> bool {
        self.shard(name).links.peek(name.as_str()).is_some()
    }

    /// How much the memory holds.
    pub(super) fn size(&self) -> Size {
        let mut size = Size::default();
        for shard in &self.shards {
            let shard = lock(shard);
            size.links += shard.links.len();
            size.link_bytes += shard.links.weight();
            size.absent += shard.absent.len();
            size.absent_bytes += shard.absent.weight();
            size.flights += shard.flights.len();
        }
        size
    }

    fn shard(&self, name: &LinkName) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(name.as_str());
        lock(&self.shards[hash as usize % SHARDS])
    }
}

/// No code panics while it holds one of these locks, so a poisoned one is still sound.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    /// The name to look up.
    pub(super) fn name(&self) -> &LinkName {
        &self.name
    }

    /// The version of the link in memory, if there is one.
    pub(super) fn held(&self) -> Option<Version> {
        self.held
    }

    /// Ends the flight: hands its result to those who wait, and keeps it unless the name was forgotten meanwhile.
    /// `since` is when the look-up began, which is the age of its result.
    pub(super) fn land(self, landing: Landing, since: Instant) {
        let mut shard = self.memory.shard(&self.name);
        let current = shard.flights.get(&self.name);
        if current.is_some_and(|flight| flight.number == self.number) {
            let since = Moment::new(self.memory.began, since);
            shard.keep(&self.name, &landing, since, self.memory.began);
            shard.flights.remove(&self.name);
        } else {
            shard.note(&self.name, &landing);
        }
        drop(shard);
        self.strip.land(landing);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.strip.has_landed() {
            return;
        }
        let mut shard = self.memory.shard(&self.name);
        let current = shard.flights.get(&self.name);
        if current.is_some_and(|flight| flight.number == self.number) {
            shard.flights.remove(&self.name);
        }
        drop(shard);
        let abandoned = StoreError::Unavailable("the look-up was abandoned".into());
        self.strip.land(Err(abandoned.into()));
    }
}

#[cfg(test)]
mod tests;
