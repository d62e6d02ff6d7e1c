//! What the follower of the store's feed ([`crate::links::feed`]) needs of Redis.
//!
//! # Names that Redis did not hear of
//!
//! A server that changes a link puts the new state into Redis and announces it in the stream. Other programs do not, nor
//! do servers of other regions. So for each entry of the feed the follower looks whether the stream has brought that
//! version ([`Heard`]). If it has not, the name gets a repair: Redis is not trusted about it until the old value is
//! dropped. If the change is that of a server nearby after all, its announcement comes within [`GRACE`], and takes the
//! repair off the list.
//!
//! The stream must have brought exactly that version: in a table that is replicated between regions, the last writer wins,
//! and may have a lower version than the state before, also than one that was announced a moment ago.
//!
//! # Positions
//!
//! Redis also keeps the position up to which the feed was applied to it, with the mark of the store. A server that starts
//! goes on from there, so that changes from a time when no server ran are applied to Redis as well. If there is no such
//! position, or the feed does not reach back to it, any value in Redis may be old: values that were put before that time,
//! the *floor*, are ignored from then on. The floor is kept with the position.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RedisCache;
use super::lease::Lease;
use super::mark::Mark;
use super::repairs::{Announced, MAX_PENDING, Repair};
use super::scripts::millis;
use super::terms::Failure;
use super::value::ANY_VERSION;
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Version};
use crate::store::feed::Position;

/// How long the announcement of a change may take to arrive after the entry in the feed.
const GRACE: Duration = Duration::from_millis(200);
/// How many announced changes are remembered, and for how long.
const MAX_HEARD: usize = 65_536;
const HEARD_FOR: Duration = Duration::from_secs(60);
/// With more repairs than this, all values are ignored instead.
const MANY: usize = MAX_PENDING / 2;
/// How much longer the position stays in Redis than any value.
const PLACE_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long the lease of the server lives that reads a feed for its region. Its holder renews it each second.
pub(in crate::links) const FEED_LEASE: Duration = Duration::from_secs(3);
/// The field of an entry of the stream with a floor, in seconds since the epoch.
pub(super) const FLOOR: &str = "floor";
/// The field of an entry of the stream that says how many milliseconds ago a read of the feed began that has reached the
/// end, and whose names come before this entry.
pub(super) const BEAT: &str = "beat";
/// The name of these calls in metrics.
const CALL: &str = "feed";

/// The changes that the stream has brought lately.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HeardNames>);

#[derive(Debug, Default)]
struct HeardNames {
    /// How many of the announcements in `order` were of that version.
    changes: HashMap<(LinkName, Version), u32>,
    order: VecDeque<(Instant, LinkName, Version)>,
}

impl Heard {
    /// Notes an announced change.
    pub(super) fn note(&self, name: &LinkName, version: Version, now: Instant) {
        if version == ANY_VERSION {
            return;
        }
        let mut heard = self.lock();
        heard.forget_old(now);
        *heard.changes.entry((name.clone(), version)).or_default() += 1;
        heard.order.push_back((now, name.clone(), version));
    }

    /// Whether the change to this version was announced.
    pub(super) fn has(&self, name: &LinkName, version: Version) -> bool {
        let heard = self.lock();
        heard.changes.contains_key(&(name.clone(), version))
    }

    fn lock(&self) -> MutexGuard<'_, HeardNames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeardNames {
    fn forget_old(&mut self, now: Instant) {
        while let Some((when, ..)) = self.order.front() {
            let is_old = now.saturating_duration_since(*when) > HEARD_FOR;
            if !is_old && self.order.len() < MAX_HEARD {
                return;
            }
            let Some((_, name, version)) = self.order.pop_front() else {
                return;
            };
            // The same change may have been announced again since: as lacking, and then as repaired.
            if let Entry::Occupied(mut count) = self.changes.entry((name, version)) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

/// Where the feed is read on, and from when on values are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    mark: Mark,
    floor: UnixTime,
    position: Position,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            mark: Mark::parse(parts.next()?)?,
            floor: UnixTime(parts.next()?.parse().ok()?),
            position: Position::new(parts.next()?)?,
        })
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.mark, self.floor, self.position)
    }
}

impl RedisCache {
    /// A name has changed, as the feed says; must be called before memory forgets the name. `for_region`: this server
    /// alone reads the feed, and passes the change on. Returns whether Redis has to be repaired for it.
    pub(in crate::links) fn note_fed(
        &self,
        name: &LinkName,
        version: Option<Version>,
        for_region: bool,
    ) -> bool {
        let now = Instant::now();
        if version.is_some_and(|version| self.changes.heard().has(name, version)) {
            return false;
        }
        if !for_region && self.repairs.pending() >= MANY {
            self.ignore_older();
            return false;
        }
        let (announced, wait) = match for_region {
            true => (Announced::No, Duration::ZERO),
            false => (Announced::Lacking, self.changes.turn(name)),
        };
        let repair = Repair {
            version: version.unwrap_or(ANY_VERSION),
            due: now,
            announced,
            own: for_region,
        };
        let grace = version.map_or(Duration::ZERO, |_| GRACE);
        self.repairs
            .add_later(name.clone(), repair, now + grace + wait);
        true
    }

    /// Whether Redis has been repaired for a name of [`RedisCache::note_fed`]; with `for_region`, whether all servers know
    /// at least that it has to be.
    pub(in crate::links) fn has_repaired(&self, name: &LinkName, for_region: bool) -> bool {
        match for_region {
            true => !self.repairs.is_unannounced(name),
            false => !self.repairs.contains(name),
        }
    }

    /// Whether so many repairs are pending that the feed should not be read on.
    pub(in crate::links) fn has_much_to_repair(&self) -> bool {
        self.repairs.pending() >= MANY
    }

    /// Whether Redis may have had values of this store when this server first connected.
    pub(in crate::links) fn had_values(&self) -> bool {
        self.client.store_mark().was_used()
    }

    /// Any value may be old: ignores those that were put until now, and has all links loaded again.
    pub(in crate::links) fn ignore_older(&self) {
        self.client.ignore_until(self.clock.now());
        self.gap.notify_one();
    }

    /// Tells the other servers of the region, if they do not read the feed, which values are ignored from now on.
    pub(in crate::links) async fn tell_floor(&self, for_region: bool) -> Result<(), Failure> {
        match for_region {
            true => {
                let floor = self.client.floor().to_string();
                self.changes.add_fields(&[(FLOOR, &floor)]).await
            }
            false => Ok(()),
        }
    }

    /// Tells the servers of the region that they know of everything that was in the feed at `began`.
    pub(in crate::links) async fn beat(&self, began: Instant) {
        let age = began.elapsed().as_millis().to_string();
        // If this fails, the next beat follows soon.
        let _ = self.changes.add_fields(&[(BEAT, &age)]).await;
    }

    /// Asks the servers that follow the stream of changes to confirm that their filters have these names.
    pub(in crate::links) async fn ask_for_names(
        &self,
        number: u64,
        names: &[LinkName],
    ) -> Result<(), Failure> {
        self.changes.ask(number, names).await
    }

    /// Confirms that this server's filter has the names of these numbers.
    pub(in crate::links) async fn confirm_names(
        &self,
        by: &str,
        numbers: &[u64],
    ) -> Result<(), Failure> {
        self.changes.confirm(by, numbers).await
    }

    /// The position up to which the feed was applied to Redis, if Redis has one for this store. From then on, values from
    /// before its floor are ignored.
    pub(in crate::links) async fn fed_until(&self) -> Result<Option<Position>, Failure> {
        let mark = self.client.store_mark().mark().ok_or(Failure::Skipped)?;
        let key = self.keys.other("feed");
        let get = redis::cmd("GET").arg(&key).to_owned();
        let text: Option<String> = self.client.command(CALL, &key, &get).await?;
        let place = text.as_deref().and_then(Place::parse);
        let Some(place) = place.filter(|place| place.mark == mark) else {
            return Ok(None);
        };
        self.client.raise_floor(place.floor);
        Ok(Some(place.position))
    }

    /// Keeps the position up to which the feed was applied. All repairs up to it must have been made.
    pub(in crate::links) async fn keep_fed(&self, position: &Position) -> Result<(), Failure> {
        let mark = self.client.store_mark().mark().ok_or(Failure::Skipped)?;
        let place = Place {
            mark,
            floor: UnixTime(self.client.floor()),
            position: position.clone(),
        };
        let key = self.keys.other("feed");
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(place.text());
        set.arg("PX").arg(millis(self.keep + PLACE_LIFE));
        self.client.command(CALL, &key, &set).await
    }

    /// Takes the lease for reading the feed; none if another server has it.
    pub(in crate::links) async fn lease_feed(&self) -> Result<Option<Lease>, Failure> {
        self.take_lease(CALL, "feed-reader", FEED_LEASE).await
    }

    /// Renews the lease; false if it was lost.
    pub(in crate::links) async fn renew_feed(&self, lease: &Lease) -> Result<bool, Failure> {
        self.renew_lease(CALL, lease, FEED_LEASE).await
    }

    /// Gives the lease back.
    pub(in crate::links) async fn end_feed(&self, lease: Lease) {
        // If this fails, the lease expires.
        let _ = self.give_back(CALL, lease).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> LinkName {
        LinkName::parse(&format!("c{number}.s.example.com")).unwrap()
    }

    #[test]
    fn what_was_announced_lately_was_heard() {
        let (heard, now) = (Heard::default(), Instant::now());
        heard.note(&name(1), Version(5), now);
        heard.note(&name(1), Version(3), now);
        heard.note(&name(1), Version(3), now + HEARD_FOR);
        assert!(heard.has(&name(1), Version(5)) && heard.has(&name(1), Version(3)));
        // Version 4 may be of another region, and newer than both.
        assert!(!heard.has(&name(1), Version(4)));
        assert!(!heard.has(&name(1), Version(6)) && !heard.has(&name(2), Version(1)));
        // A change of an unknown version says nothing about others.
        heard.note(&name(2), ANY_VERSION, now);
        assert!(!heard.has(&name(2), Version(1)));
        let later = now + HEARD_FOR + Duration::from_secs(1);
        heard.note(&name(3), Version(1), later);
        assert!(!heard.has(&name(1), Version(5)) && heard.has(&name(3), Version(1)));
        assert!(heard.has(&name(1), Version(3)), "it was announced twice");
        for number in 0..MAX_HEARD + 10 {
            heard.note(&name(number), Version(9), later);
        }
        assert!(!heard.has(&name(3), Version(9)) && heard.has(&name(MAX_HEARD), Version(9)));
        let bounds = heard.lock();
        assert!(bounds.order.len() <= MAX_HEARD && bounds.changes.len() <= MAX_HEARD);
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = Place {
            mark: Mark::of(7),
            floor: UnixTime(1_795_000_000),
            position: Position::new("731.4").unwrap(),
        };
        assert_eq!(Place::parse(&place.text()), Some(place));
        for bad in [
            "",
            "7",
            "0000000000000007 x 1",
            "0000000000000007 1 ",
            "0000000000000007 1 a b",
        ] {
            assert_eq!(Place::parse(bad), None, "{bad:?}");
        }
    }
}
