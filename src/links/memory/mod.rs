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
//! missed, [`Memory::doubt_all`] has everything looked up again before it is used; it stays for the case
//! that the tiers behind fail. And while nobody tells of changes at all ([`Memory::set_told`]), what is
//! held is used for a shorter time. Each of these moves on the [stamps](super::stamps) by which others
//! know that what they have made of a link is to be made anew; the memory is what they make it of.
//!
//! # What is bounded
//!
//! Links and absent names have bounds of their own, so that a flood of random names cannot push a
//! link out; each is kept by [`Sieve`]. Flights are bounded too. All of it is divided into shards by
//! the hash of the name.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::sieve::{Keyed, Sieve};
use super::stamps::Stamps;
use crate::link::{Link, LinkName, Version};
use crate::store::StoreError;

/// Into how many parts the memory is divided, each under a lock of its own.
const SHARDS: usize = 16;
/// What a link takes beyond its text, in bytes: the `Link`, its places in the map, and what the
/// allocator adds to the pieces. The resident size of a process with 1,000,000 links gave 188 with the
/// slots nearly full and 8 bytes less in each, and there are some 45 more just after those have doubled.
const LINK_OVERHEAD: usize = 240;
/// The same for an absent name; measured 67.
const ABSENT_OVERHEAD: usize = 96;

/// How many makers of links each part knows, whose links share their names.
const CREATORS: usize = 4;

/// How long after the beginning of a flight that failed an old link is used without asking again.
/// Without such a pause, every query for a link in memory would wait while a store hangs. RFC 8767 §5
/// proposes 30 s; but here the changes of others should show soon after the store is back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A flight that was refused within this time has delayed nobody.
const AT_ONCE: Duration = Duration::from_millis(20);

/// The bounds and times of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// How much links may take, in bytes.
    pub links: usize,
    /// How much absent names may take, in bytes.
    pub absent: usize,
    /// How many names may be looked up behind the memory at once.
    pub flights: usize,
    /// How long a link is used before it is looked up again.
    pub fresh_for: Duration,
    /// How long a name is taken to be absent before it is looked up again.
    pub absent_for: Duration,
    /// How long a link is used beyond `fresh_for` while the tiers behind fail.
    pub stale_for: Duration,
    /// How long a link or an absence is used without asking again while nobody tells of changes.
    /// Where this is as long as the two times above, which hold besides, it changes nothing.
    pub untold: Duration,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            links: 0,
            absent: 0,
            // A second's worth of misses at the rate that an embedded store serves.
            flights: 8_192,
            fresh_for: Duration::from_secs(60),
            absent_for: Duration::from_secs(5),
            stale_for: Duration::from_secs(24 * 60 * 60),
            // The only server of a store makes all changes itself.
            untold: Duration::from_secs(60),
        }
        .with_memory(64 << 20)
    }
}

impl MemoryLimits {
    /// For a store that other servers change as well: while nobody tells us of their changes, nothing
    /// is used for longer than a second without asking.
    pub fn for_shared_store() -> Self {
        Self {
            fresh_for: Duration::from_secs(1),
            absent_for: Duration::from_secs(1),
            untold: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// For a shared store whose servers tell each other of their changes: what is held is as good as
    /// with a store of our own for as long as we hear them, and no better than with any shared store
    /// when we do not.
    pub fn for_shared_store_with_changes() -> Self {
        Self {
            untold: Self::for_shared_store().untold,
            ..Self::default()
        }
    }

    /// Divides this many bytes between links and absent names.
    pub fn with_memory(self, bytes: u64) -> Self {
        let links = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            links,
            absent: links / 8,
            ..self
        }
    }
}

/// What is known of a name: its link, expired or not, or that there is none.
pub(super) type Known = Option<Arc<Link>>;

/// What a flight brings.
pub(super) type Landing = Result<Known, Missed>;

/// Why a flight has not found out what there is.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) error: StoreError,
    /// The link that there was before a change that is under way.
    pub(super) was: Known,
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self { error, was: None }
    }
}

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

/// Where a flight lands. A `watch` channel would do, but it is made for crowds that keep watching, and
/// takes half a kilobyte for each of the flights.
#[derive(Debug, Default)]
struct Strip {
    landing: OnceLock<Landing>,
    landed: Notify,
}

impl Strip {
    /// Tells those who wait, and those who will; what came first stays.
    fn land(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }
}

/// The end of a flight, to wait for.
#[derive(Debug)]
pub(super) struct Wait {
    strip: Arc<Strip>,
    /// When the flight began: that is how old its result will be.
    pub(super) since: Instant,
    /// What was held before, for the case that the flight fails.
    pub(super) stale: Known,
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
    doubted: AtomicU64,
    /// Whether somebody tells of the changes of others.
    told: AtomicBool,
    stamps: Stamps,
}

/// Until when what is held may be used.
#[derive(Clone, Copy, Debug)]
struct Rules {
    fresh_for: Duration,
    absent_for: Duration,
    stale_for: Duration,
    /// What was looked up before is doubted.
    doubted: Moment,
    began: Instant,
}

impl Rules {
    /// Until when what was looked up at `since` is used without asking.
    fn good_until(&self, is_link: bool, since: Moment) -> Moment {
        since.after(match is_link {
            true => self.fresh_for,
            false => self.absent_for,
        })
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment::new(self.began, at)
    }
}

#[derive(Debug)]
struct Shard {
    links: Sieve<HeldLink>,
    absent: Sieve<HeldAbsent>,
    flights: HashMap<LinkName, Flight>,
    creators: [Arc<str>; CREATORS],
    /// The number of the last flight.
    number: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    since: Instant,
    strip: Arc<Strip>,
}

#[derive(Debug)]
struct HeldLink {
    link: Arc<Link>,
    since: Moment,
    /// When the last flight began, if it failed.
    failed: Moment,
    /// It may have changed: it is to be looked up again before it is used.
    doubted: bool,
}

#[derive(Debug)]
struct HeldAbsent {
    name: LinkName,
    since: Moment,
}

/// A time in nanoseconds since the memory's beginning: half of what an `Instant` takes, and there are
/// many. Earlier times are the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl Moment {
    /// Of what has not happened: after everything that has, by centuries.
    const NEVER: Self = Self(u64::MAX);

    fn new(began: Instant, at: Instant) -> Self {
        let nanos = at.saturating_duration_since(began).as_nanos();
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    fn instant(self, began: Instant) -> Instant {
        let far = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        began + Duration::from_nanos(self.0).min(far)
    }
}

impl Keyed for HeldLink {
    fn key(&self) -> &str {
        self.link.name.as_str()
    }

    fn weight(&self) -> usize {
        let link = &self.link;
        let text = link.name.as_str().len() + link.target.as_str().len() + link.created_by.len();
        LINK_OVERHEAD + text
    }
}

impl Keyed for HeldAbsent {
    fn key(&self) -> &str {
        self.name.as_str()
    }

    fn weight(&self) -> usize {
        ABSENT_OVERHEAD + self.name.as_str().len()
    }
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
        let shard = || Shard {
            links: Sieve::new(limits.links / SHARDS),
            absent: Sieve::new(limits.absent / SHARDS),
            flights: HashMap::new(),
            creators: std::array::from_fn(|_| Arc::from("")),
            number: 0,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            limits,
            began: Instant::now(),
            doubted: AtomicU64::new(0),
            told: AtomicBool::new(false),
            stamps: Stamps::new(),
        }
    }

    /// Sets whether somebody tells of the changes that others make.
    pub(super) fn set_told(&self, told: bool) {
        let before = self.told.swap(told, Ordering::AcqRel);
        if before && !told {
            // What was made of links may have been meant to hold longer than is right from now on.
            self.stamps.change_all();
        }
    }

    /// The stamps of what is made of the links that are held here.
    pub(super) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Has everything that was looked up before `now` looked up again before it is used.
    pub(super) fn doubt_all(&self, now: Instant) {
        let now = Moment::new(self.began, now);
        self.doubted.fetch_max(now.0, Ordering::AcqRel);
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
        let at_most = match self.told.load(Ordering::Acquire) {
            true => Duration::MAX,
            false => limits.untold,
        };
        Rules {
            fresh_for: limits.fresh_for.min(at_most),
            absent_for: limits.absent_for.min(at_most),
            stale_for: limits.stale_for,
            doubted: Moment(self.doubted.load(Ordering::Acquire)),
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
        if let Some(flight) = flight.filter(|one| rules.moment(one.since) >= rules.doubted) {
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
    pub(super) fn doubt(&self, name: &LinkName) {
        let mut shard = self.shard(name);
        shard.flights.remove(name);
        if let Some(held) = shard.links.get_mut(name.as_str()) {
            (held.doubted, held.failed) = (true, Moment::NEVER);
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

enum Held {
    Fresh(Known, Instant),
    Stale(Arc<Link>),
    /// Stale, and to look it up has failed a moment ago.
    Unconfirmed(Arc<Link>),
    Nothing,
}

impl Shard {
    fn held(&mut self, name: &LinkName, now: Instant, rules: &Rules) -> Held {
        let now = rules.moment(now);
        if let Some(held) = self.links.get(name.as_str()) {
            let until = rules.good_until(true, held.since);
            if now < until && held.since >= rules.doubted && !held.doubted {
                let until = until.instant(rules.began);
                return Held::Fresh(Some(Arc::clone(&held.link)), until);
            }
            if now >= held.since.after(rules.fresh_for + rules.stale_for) {
                return Held::Nothing;
            }
            let link = Arc::clone(&held.link);
            let is_time = held.failed == Moment::NEVER || now >= held.failed.after(RETRY_AFTER);
            return match is_time {
                true => Held::Stale(link),
                false => Held::Unconfirmed(link),
            };
        }
        let Some(held) = self.absent.get(name.as_str()) else {
            return Held::Nothing;
        };
        let until = rules.good_until(false, held.since);
        match now < until && held.since >= rules.doubted {
            true => Held::Fresh(None, until.instant(rules.began)),
            false => Held::Nothing,
        }
    }

    /// Has links of one maker share its name. Of several, those of the last ones do.
    fn share_creator(&mut self, creator: &mut Arc<str>) {
        match self.creators.iter().find(|known| *known == creator) {
            Some(known) => *creator = Arc::clone(known),
            None => {
                self.creators.rotate_right(1);
                self.creators[0] = Arc::clone(creator);
            }
        }
    }

    /// Keeps what a flight brought that began at `since`.
    fn keep(&mut self, name: &LinkName, landing: &Landing, since: Moment, began: Instant) {
        match landing {
            Ok(Some(link)) => {
                self.absent.remove(name.as_str());
                self.links.insert(HeldLink {
                    link: Arc::clone(link),
                    since,
                    failed: Moment::NEVER,
                    doubted: false,
                });
            }
            Ok(None) => {
                self.links.remove(name.as_str());
                let name = name.clone();
                self.absent.insert(HeldAbsent { name, since });
            }
            Err(missed) => self.keep_missed(name, missed, since, began),
        }
    }
}

impl Shard {
    /// Notes that a flight that began at `since` has failed, so that not everybody waits for the next.
    fn keep_missed(&mut self, name: &LinkName, missed: &Missed, since: Moment, began: Instant) {
        // What was told at once has delayed nobody.
        let took = Instant::now().saturating_duration_since(since.instant(began));
        let was_slow = !matches!(missed.error, StoreError::Overloaded) || took > AT_ONCE;
        if let Some(held) = self.links.get_mut(name.as_str()) {
            if was_slow {
                held.failed = since;
            }
        } else if let Some(link) = &missed.was {
            self.absent.remove(name.as_str());
            self.links.insert(HeldLink {
                link: Arc::clone(link),
                since,
                failed: if was_slow { since } else { Moment::NEVER },
                doubted: true,
            });
        }
    }
}

impl Wait {
    /// Waits for the flight's end.
    pub(super) async fn landing(&self) -> Landing {
        loop {
            // Before the look: what is told in between is heard.
            let landed = self.strip.landed.notified();
            if let Some(landing) = self.strip.landing.get() {
                return landing.clone();
            }
            landed.await;
        }
    }
}

fn abandoned() -> StoreError {
    StoreError::Unavailable("the look-up was abandoned".into())
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
        if self.strip.landing.get().is_none() {
            self.strip.land(Err(abandoned().into()));
        }
    }
}

#[cfg(test)]
mod tests;
