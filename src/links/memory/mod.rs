//! Links in memory: the first tier, and the place where many queries for one name become one flight
//! to the tiers behind.
//!
//! # How nothing old comes back
//!
//! Memory is filled by flights and by nothing else. Whoever changes a link calls [`Memory::forget`]
//! after the change is committed: it drops what is held for the name, and it takes the name's flight
//! off the board, so that what the flight brings still reaches those who wait for it but is not
//! kept. A flight that begins later reads what was committed. There is thus no moment at which a
//! slow read can put an old value over a new one, whatever the order in which they end, and no
//! version has to be compared. (Putting the new value in directly would save the next read, but two
//! changes whose ends overtake each other would then need tombstones, and tombstones can be evicted
//! by a flood.)
//!
//! Changes that other servers make are heard of by [`Memory::forget_older`]. Where some may have been
//! missed, [`Memory::revalidate_all`] has everything looked up again before it is used; it stays for the case
//! that the tiers behind fail. And while nobody tells of changes at all ([`Memory::set_notified`]), what is
//! held is used for a shorter time. Each of these moves on the [stamps](super::stamps) by which others
//! know that what they have made of a link is to be made anew; the memory is what they make it of.
//!
//! # What is bounded
//!
//! Links and absent names have bounds of their own, so that a flood of random names cannot push a
//! link out; each is kept by [`Sieve`]. Flights are bounded too. All of it is divided into shards by
//! the hash of the name.

mod flight;
mod limits;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::flight::Strip;
pub(super) use self::flight::{Known, Landing, Missed, Wait};
pub use self::limits::MemoryLimits;
use self::shard::{Flight, Held, Moment, Rules, Shard};
use super::stamps::Stamps;
use crate::link::{Link, LinkName, Version};
use crate::store::StoreError;

/// Into how many parts the memory is divided, each under a lock of its own.
const SHARDS: usize = 16;
/// What the memory says of a name.
#[derive(Debug)]
pub(super) enum Look {
    /// This, and there is no need to look further until then.
    Fresh(Known, Instant),
    /// It is being looked up already.
    Join(Wait),
    /// It has to be looked up, and the caller is to do it.
    Lead(Ticket, Wait),
    /// This, which is old; but to look it up has just failed, or cannot be begun now.
    Stale(Arc<Link>),
    /// It would have to be looked up, but too many names are.
    Full,
}

/// The right and the duty to end a flight. Dropped without that, the flight has failed.
#[derive(Debug)]
pub(super) struct Ticket {
    name: LinkName,
    number: u64,
    /// The version of the link that is held.
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
    /// What was looked up before this is to be looked up again: nanoseconds from `began`.
    valid_since: AtomicU64,
    /// Whether somebody tells of the changes of others.
    notified: AtomicBool,
    stamps: Stamps,
}

/// How much there is in the memory.
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
            notified: AtomicBool::new(false),
            stamps: Stamps::new(),
        }
    }

    /// Sets whether somebody tells of the changes that others make.
    pub(super) fn set_notified(&self, notified: bool) {
        let before = self.notified.swap(notified, Ordering::AcqRel);
        if before && !notified {
            // What was made of links may have been meant to hold longer than is right from now on.
            self.stamps.change_all();
        }
    }

    /// The stamps of what is made of the links that are held here.
    pub(super) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Has everything that was looked up before `now` looked up again before it is used.
    pub(super) fn revalidate_all(&self, now: Instant) {
        let now = Moment::new(self.began, now);
        self.valid_since.fetch_max(now.0, Ordering::AcqRel);
        self.stamps.change_all();
    }

    /// Until when a look-up that began at `since` may be used, if it is not overtaken by a change.
    pub(super) fn good_until(&self, known: &Known, since: Instant) -> Instant {
        let rules = self.rules();
        let until = rules.good_until(known.is_some(), rules.moment(since));
        until.instant(self.began)
    }

    fn rules(&self) -> Rules {
        let limits = &self.limits;
        let at_most = match self.notified.load(Ordering::Acquire) {
            true => Duration::MAX,
            false => limits.unnotified,
        };
        Rules {
            fresh_for: limits.fresh_for.min(at_most),
            absent_for: limits.absent_for.min(at_most),
            stale_for: limits.stale_for,
            valid_since: Moment(self.valid_since.load(Ordering::Acquire)),
            began: self.began,
        }
    }

    /// What is known of a name; and if that is not enough, who is to find out.
    pub(super) fn look(self: &Arc<Self>, name: &LinkName, now: Instant) -> Look {
        let mut shard = self.shard(name);
        let rules = self.rules();
        let stale = match shard.held(name, now, &rules) {
            Held::Fresh(known, until) => return Look::Fresh(known, until),
            Held::Unconfirmed(link) => return Look::Stale(link),
            Held::Stale(link) => Some(link),
            Held::Nothing => None,
        };
        // What a flight brings that is doubted itself is not for those who ask from now on, whose stamps
        // say that they know of the doubt: another flight takes its place.
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

    /// Drops what is held for a name, and keeps what its flight brings from being held. To be
    /// called after every change of the name, once it is committed.
    pub(super) fn forget(&self, name: &LinkName) {
        let mut shard = self.shard(name);
        shard.flights.remove(name);
        shard.links.remove(name.as_str());
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
    }

    /// What [`Memory::forget`] does, but for a link of this version or a newer one: another server has
    /// made this version.
    pub(super) fn forget_older(&self, name: &LinkName, version: Version) {
        let mut shard = self.shard(name);
        shard.flights.remove(name);
        let held = shard.links.peek(name.as_str());
        if held.is_some_and(|held| held.link.version < version) {
            shard.links.remove(name.as_str());
        }
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
    }

    /// Has a name looked up again before what is held of it is used, as nobody knows whether a change of it was
    /// made. A link stays for the case that it cannot be found out; an absence does not, for a negative answer
    /// must never be wrong.
    pub(super) fn revalidate(&self, name: &LinkName) {
        let mut shard = self.shard(name);
        shard.flights.remove(name);
        if let Some(held) = shard.links.get_mut(name.as_str()) {
            (held.must_revalidate, held.failed) = (true, Moment::NEVER);
        }
        shard.absent.remove(name.as_str());
        drop(shard);
        self.stamps.change(name);
    }

    /// Whether a link is held of this name, fresh or not.
    pub(super) fn holds_link(&self, name: &LinkName) -> bool {
        self.shard(name).links.peek(name.as_str()).is_some()
    }

    /// How much there is.
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

/// Nothing under these locks panics half-way; a poisoned one is as good as any.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    /// The name that is to be looked up.
    pub(super) fn name(&self) -> &LinkName {
        &self.name
    }

    /// The version of the link that memory holds, if it does.
    pub(super) fn held(&self) -> Option<Version> {
        self.held
    }

    /// Ends the flight: tells those who wait, and keeps what it brought unless the name was
    /// forgotten meanwhile. `since` is when the look-up began: that is how old its result is.
    pub(super) fn land(self, mut landing: Landing, since: Instant) {
        let mut shard = self.memory.shard(&self.name);
        let current = shard.flights.get(&self.name);
        if current.is_some_and(|flight| flight.number == self.number) {
            if let Ok(Some(link)) = &mut landing
                && let Some(link) = Arc::get_mut(link)
            {
                shard.share_creator(&mut link.created_by);
            }
            let since = Moment::new(self.memory.began, since);
            shard.keep(&self.name, &landing, since, self.memory.began);
        }
        drop(shard);
        self.strip.land(landing);
        // Dropping the ticket takes the flight off the board.
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.memory.shard(&self.name);
        let current = shard.flights.get(&self.name);
        if current.is_some_and(|flight| flight.number == self.number) {
            shard.flights.remove(&self.name);
        }
        drop(shard);
        if !self.strip.has_landed() {
            let abandoned = StoreError::Unavailable("the look-up was abandoned".into());
            self.strip.land(Err(abandoned.into()));
        }
    }
}

#[cfg(test)]
mod tests;
