//! The follower: reads the feed of the store, and applies what other servers and programs have changed.
//!
//! ```text
//!   Feed::end ── everything in memory is looked up again ──┐
//!       ┌──────────────────────────────────────────────────┘
//!       └─> Feed::read ── entries ── memory drops older states, stamps advance ── [`Applied`] ──┐
//!             ^    └── too old ── as at the start                                               │
//!             └───────────────────── news, or `LOOK_EVERY` ─────────────────────────────────────┘
//! ```
//!
//! An entry names a link that has changed, and has no state: what is needed is looked up. So it does no harm if an entry
//! comes twice, or comes after the announcement of the same change by Redis, and a follower may begin anywhere before the
//! entries that it has not applied yet.
//!
//! If reading the feed costs much, one server of a region reads it, under a lease in Redis. It drops old values from Redis,
//! and passes the names on through the stream of changes, with *beats* that say when it has read the feed to its end. The
//! other servers apply the stream; see [`super::redis`]. A server without Redis reads such a feed for itself.
//!
//! While the follower cannot read the feed to its end, memory uses what it holds for a shorter time, unless Redis notifies
//! the server of changes. A read that takes longer than `READ_TIME` counts as failed.

mod applied;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use self::applied::{Applied, Following, LOOK_VALID_FOR, REGION_LOOK_VALID_FOR};
use super::deadline::within;
use super::filter::Filter;
use super::memory::{Memory, Notifier};
use super::redis::{FEED_LEASE, Lease, RedisCache};
use super::servers::Own;
use crate::base::metrics::Metrics;
use crate::link::{LinkName, Version};
use crate::store::feed::{AsOf, Entries, Entry, Feed, FeedPage, Position, Readers};
use crate::store::{Effect, Identity, Store, StoreError, Trouble};

/// How many entries are read at once.
const PAGE: usize = 1_000;
/// How often the feed is read while there is no news: several times while a look is good.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a read may take.
const READ_TIME: Duration = Duration::from_secs(2);
/// The shortest and the longest pause after a failure.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// For how long a follower may be behind before `/readyz` shows that: a look may be late on a busy machine.
const TROUBLE_AFTER: Duration = Duration::from_secs(3);

/// How often a server that starts asks Redis, while Redis is not connected: a look at a flag.
const REDIS_WAIT: Duration = Duration::from_millis(50);
/// How many pages may wait for Redis.
const MAX_UNSETTLED: usize = 64;
/// How often Redis keeps a new place, and the same place.
const KEPT_EVERY: Duration = Duration::from_secs(2);
const KEPT_AGAIN: Duration = Duration::from_secs(60);
/// How often the log tells of gaps: with a store of one server, each write of another program makes one.
const GAP_LOGGED: Duration = Duration::from_secs(60);

/// A page that was applied to memory, while Redis is not right yet about some names.
#[derive(Debug)]
struct Unsettled {
    position: Position,
    /// When the read of the page began, if it reached the end.
    look: Option<Instant>,
    names: Vec<LinkName>,
}

/// Where a follower reads.
#[derive(Debug)]
struct Reader {
    role: Role,
    /// None before the begin, and after a gap.
    place: Option<Position>,
    /// Whether changes may be missing since the last begin.
    has_gap: bool,
    /// Whether Redis did not work at the begin, so that it is not known which of its values are too old.
    lacks_redis: bool,
    /// Pages that Redis does not know of yet, the oldest first.
    unsettled: VecDeque<Unsettled>,
    /// The place that Redis keeps, and since when.
    kept: Option<(Instant, Position)>,
    gap_logged: Option<Instant>,
}

impl Reader {
    fn new(role: Role) -> Self {
        Self {
            role,
            place: None,
            has_gap: false,
            lacks_redis: false,
            unsettled: VecDeque::new(),
            kept: None,
            gap_logged: None,
        }
    }

    fn log_gap(&mut self, now: Instant) {
        let is_due = |logged: Instant| now.saturating_duration_since(logged) >= GAP_LOGGED;
        if self.gap_logged.is_none_or(is_due) {
            self.gap_logged = Some(now);
            tracing::warn!(
                "another program has changed the link store, or changes were missed; looking up all links again"
            );
        }
    }
}

/// Whose changes a follower applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Each server reads the feed for itself.
    OfServer,
    /// This server reads it for all servers of its Redis, while it has the lease.
    OfRegion,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) feed: Arc<dyn Feed>,
    pub(super) store: Arc<dyn Store>,
    pub(super) memory: Arc<Memory>,
    /// Hears of the changes that were applied.
    pub(super) own: Arc<Own>,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) redis: Option<Arc<RedisCache>>,
    pub(super) applied: Arc<Applied>,
    pub(super) metrics: Arc<Metrics>,
}

impl Follower {
    /// Follows the feed until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let work = async {
            self.store.opened().await;
            self.feed.ready().await;
            match (self.feed.readers(), &self.redis) {
                (Readers::OneOfRegion, Some(redis)) => self.take_turns(redis).await,
                (Readers::OneOfRegion, None) | (Readers::Each, _) => {
                    self.follow(Role::OfServer).await
                }
            }
        };
        tokio::select! {
            never = work => match never {},
            () = shutdown.cancelled() => {}
        }
        self.memory.set_notified(Notifier::Feed, false);
    }

    /// Reads the feed for the region whenever this server has the lease.
    async fn take_turns(&self, redis: &RedisCache) -> Infallible {
        // Which values in Redis are too old. The server that reads the feed tells of later changes of that.
        while redis.fed_until().await.is_err() {
            tokio::time::sleep(REDIS_WAIT).await;
        }
        loop {
            if let Ok(Some(lease)) = redis.lease_feed().await {
                tracing::debug!("this server reads the feed of changes for its region");
                tokio::select! {
                    never = self.follow(Role::OfRegion) => match never {},
                    () = keep(redis, &lease) => {}
                }
                tracing::debug!("another server reads the feed of changes");
                redis.end_feed(lease).await;
            }
            tokio::time::sleep(FEED_LEASE / 3).await;
        }
    }

    async fn follow(&self, role: Role) -> Infallible {
        let mut reader = Reader::new(role);
        let mut retry = MIN_RETRY;
        loop {
            match self.step(&mut reader).await {
                Ok(true) => {
                    retry = MIN_RETRY;
                    // Either may be late without harm: an early read finds nothing.
                    let _ = tokio::time::timeout(LOOK_EVERY, self.feed.news()).await;
                }
                Ok(false) => {
                    retry = MIN_RETRY;
                    if self.applied.following(Instant::now()) != Following::Following {
                        self.notify(role, false);
                    }
                }
                Err(error) => {
                    self.failed(&error, role, retry);
                    // At different times on different servers.
                    tokio::time::sleep(retry.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    retry = (2 * retry).min(MAX_RETRY);
                }
            }
        }
    }

    /// Reads and applies a page, or finds a place to begin. Whether the end was reached.
    async fn step(&self, reader: &mut Reader) -> Result<bool, StoreError> {
        let began = Instant::now();
        self.settle(reader).await;
        let Some(after) = &reader.place else {
            reader.place = Some(self.begin(reader).await?);
            return Ok(false);
        };
        if self.has_much_to_do(reader) {
            return Ok(true);
        }
        match within(READ_TIME, self.feed.read(after, PAGE)).await? {
            FeedPage::Entries(page) => {
                let at_end = page.at_end;
                self.apply_page(reader, page, began);
                self.settle(reader).await;
                Ok(at_end)
            }
            FeedPage::TooOld => {
                reader.log_gap(began);
                self.metrics.feed_gaps.inc();
                self.applied.note_gap();
                reader.place = None;
                reader.unsettled.clear();
                reader.has_gap = true;
                Ok(false)
            }
        }
    }

    /// Applies a page whose read began at that time.
    fn apply_page(&self, reader: &mut Reader, page: Entries, began: Instant) {
        let Entries {
            entries,
            position,
            at_end,
            as_of,
        } = page;
        let looked = match as_of {
            AsOf::Read => Some(began),
            AsOf::Moment(moment) => Some(moment.min(began)),
            AsOf::Unknown => None,
        };
        let names = entries.into_iter();
        let names = names.filter_map(|entry| self.apply(entry, reader.role));
        let names: Vec<LinkName> = names.collect();
        let look = looked.filter(|_| at_end);
        reader.place = Some(position.clone());
        if reader.role == Role::OfServer {
            self.applied.note(position.clone(), look);
            if at_end {
                self.notify(reader.role, true);
            }
        }
        if self.redis_of_fleet().is_some() {
            reader.unsettled.push_back(Unsettled {
                position,
                look,
                names,
            });
        }
    }

    /// Finds the place where the feed is read on: where Redis was left, or else the end. What was looked up before is looked
    /// up again.
    async fn begin(&self, reader: &mut Reader) -> Result<Position, StoreError> {
        let end = within(READ_TIME, self.feed.begin()).await?;
        let place = match &self.redis {
            Some(redis) => self.begin_with(redis, reader, &end).await,
            None => None,
        };
        // After the end is known: later changes are read, and earlier look-ups are not used.
        self.memory.revalidate_all(Instant::now());
        reader.has_gap = false;
        if place.is_none() {
            self.applied.note_gap();
        }
        Ok(place.unwrap_or(end))
    }

    /// The place up to which the feed was applied to Redis. If it is not known, all values in Redis are ignored.
    async fn begin_with(
        &self,
        redis: &RedisCache,
        reader: &mut Reader,
        end: &Position,
    ) -> Option<Position> {
        if !self.is_shared() {
            // At the start the seal of the store says whether Redis has all changes.
            if reader.has_gap {
                redis.ignore_older();
            }
            return None;
        }
        let left = match reader.has_gap {
            true => Ok(None),
            false => redis.fed_until().await,
        };
        reader.lacks_redis = match left {
            Ok(Some(left)) => {
                reader.lacks_redis = false;
                return Some(left);
            }
            Ok(None) if !reader.has_gap && !redis.had_values() => {
                redis.keep_fed(end).await.is_err()
            }
            Ok(None) => {
                redis.ignore_older();
                let told = redis.tell_floor(reader.role == Role::OfRegion).await;
                told.is_err() || redis.keep_fed(end).await.is_err()
            }
            Err(_) => true,
        };
        None
    }

    /// Whether other servers use the store.
    fn is_shared(&self) -> bool {
        !matches!(self.store.identity(), Identity::Own { .. })
    }

    /// Redis, if other servers use the store as well. If this server alone uses it, its changes have put their values in
    /// Redis, and those of other programs are no entries.
    fn redis_of_fleet(&self) -> Option<&Arc<RedisCache>> {
        self.redis.as_ref().filter(|_| self.is_shared())
    }

    /// Applies an entry. Returns its name if Redis has to be repaired.
    fn apply(&self, entry: Entry, role: Role) -> Option<LinkName> {
        let Entry { name, version } = entry;
        if let Some(filter) = &self.filter {
            filter.insert(&name);
        }
        // First: look-ups from then on must not use the old value in Redis.
        let redis = self.redis_of_fleet();
        let repairs =
            redis.is_some_and(|redis| redis.note_fed(&name, version, role == Role::OfRegion));
        let version = version.unwrap_or(Version(u64::MAX));
        let was_flying = self.memory.forget_older(&name, version);
        self.own.note_change(&name, was_flying);
        self.metrics.feed_entries.inc();
        repairs.then_some(name)
    }

    /// Whether Redis has to catch up before the feed is read on.
    fn has_much_to_do(&self, reader: &Reader) -> bool {
        let is_full = |redis: &Arc<RedisCache>| redis.has_much_to_repair();
        reader.unsettled.len() >= MAX_UNSETTLED
            || reader.role == Role::OfRegion && self.redis.as_ref().is_some_and(is_full)
    }

    /// Tells of the pages whose names Redis is right about.
    async fn settle(&self, reader: &mut Reader) {
        let Some(redis) = &self.redis else {
            return;
        };
        let for_region = reader.role == Role::OfRegion;
        let (mut settled, mut look) = (None, None);
        while let Some(page) = reader.unsettled.front_mut() {
            page.names
                .retain(|name| !redis.has_repaired(name, for_region));
            if !page.names.is_empty() {
                break;
            }
            look = page.look.or(look);
            settled = reader.unsettled.pop_front();
        }
        if let Some(began) = look.filter(|_| for_region) {
            redis.beat(began).await;
        }
        if let Some(page) = settled {
            keep_place(redis, reader, &page.position).await;
        }
    }

    /// The stream in Redis notifies a server whose region has one reader.
    fn notify(&self, role: Role, notified: bool) {
        if role == Role::OfServer {
            self.memory.set_notified(Notifier::Feed, notified);
        }
    }

    fn failed(&self, error: &StoreError, role: Role, retry: Duration) {
        self.metrics.count_store_error(error.cause());
        self.applied.note_failure();
        self.notify(role, false);
        if retry == MIN_RETRY {
            tracing::debug!(%error, "cannot read the feed of changes; retrying");
        }
    }
}

/// Has Redis keep the place now and then.
async fn keep_place(redis: &RedisCache, reader: &mut Reader, position: &Position) {
    let is_due = reader.kept.as_ref().is_none_or(|(when, kept)| {
        let pause = match kept == position {
            true => KEPT_AGAIN,
            false => KEPT_EVERY,
        };
        when.elapsed() >= pause
    });
    if !is_due {
        return;
    }
    if reader.lacks_redis {
        // If it works again, it may have values that are too old.
        if redis.fed_until().await.is_ok() {
            reader.place = None;
        }
        return;
    }
    // After a failure the next page tries it again.
    if redis.keep_fed(position).await.is_ok() {
        reader.kept = Some((Instant::now(), position.clone()));
    }
}

/// Renews the lease; returns when it is lost.
async fn keep(redis: &RedisCache, lease: &Lease) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(FEED_LEASE / 3).await;
        match redis.renew_feed(lease).await {
            Ok(true) => renewed = Instant::now(),
            Ok(false) => return,
            Err(_) if renewed.elapsed() >= FEED_LEASE => return,
            Err(_) => {}
        }
    }
}

impl Applied {
    /// What an operator should know.
    pub(super) fn trouble(&self, now: Instant) -> Option<Trouble> {
        let is_late = self.lag(now).is_none_or(|lag| lag > TROUBLE_AFTER);
        let reason = match self.following(now) {
            Following::Behind if is_late => {
                "the feed of changes is read too slowly: changes by other programs show late"
            }
            Following::Failing if is_late => {
                "the feed of changes cannot be read: changes by other programs show late"
            }
            Following::Starting | Following::Following | Following::Behind | Following::Failing => {
                return None;
            }
        };
        Some(Trouble::new(Effect::Degraded, reason))
    }

    /// Updates the gauges.
    pub(super) fn measure(&self, metrics: &Metrics, now: Instant) {
        let lag = self.lag(now).map_or(0.0, |lag| lag.as_secs_f64());
        metrics.feed_lag.set(lag);
        let follows = self.following(now) == Following::Following;
        metrics.feed_following.set(follows.into());
    }
}

#[cfg(test)]
mod tests;
