//! Links: the rules for them, and the tiers in which they are looked up.
//!
//! [`Links`] holds the rules (which URL and code may become a link, what happens when the folds of two URLs
//! collide, what the end of a link means), and stands between its users and the tiers:
//!
//! ```text
//!   dns, http  ->  Links  ->  filter  ->  memory  ->  Redis  ->  budget  ->  store
//! ```
//!
//! Every read for an answer goes through [`Links::resolve`], and every change through [`Links::create`],
//! [`Links::change`] and [`Links::delete`]. Only these four fill the tiers and drop from them. Administrators'
//! reads go to the store itself.
//!
//! * The **filter** answers at once for most names without a link. It exists only with a store that sees all
//!   changes of others; see `filter`.
//! * **Memory** holds links and absent names that were asked for; see `memory`.
//! * **Redis** is optional; see [`redis`] for what it holds and how nodes learn of each other's changes.
//! * The **budget** bounds the reads of the store that queries cause. Names that wait at the same time are read
//!   together.
//!
//! Terms that all of this uses:
//!
//! * A **flight** is one look-up of a name in the tiers behind the memory. There is one at a time for each name,
//!   however many queries wait for it.
//! * A **stale** link is used beyond its time because the tiers behind the memory fail. An absence is never used
//!   that way. If nothing usable is known, the result is an error, never "no link".
//! * A **stamp** shows whether a name has changed since something was derived from its link; see `stamps`.
//! * An **unsettled** change is one of which it is not known whether the store made it; see `settle`.

#![cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "much of this part serves Redis alone")
)]

mod bloom;
mod budget;
mod deadline;
mod deniers;
mod failure_log;
mod feed;
mod filter;
mod hidden;
mod keys;
mod memory;
mod namespace;
mod readiness;
mod receipts;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(not(feature = "redis"))]
#[path = "redis/absent.rs"]
pub mod redis;
mod request;
mod resolve;
mod servers;
mod settle;
mod sieve;
mod stamps;
mod statistics;
mod tiers;
mod warm;
mod write;
mod write_health;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::deadline::{ADMIN_DEADLINE, within};
use self::deniers::{Denier, Deniers, Exchange};
use self::failure_log::FailureLog;
use self::feed::Follower;
pub use self::feed::{Applied, Following, LOOK_VALID_FOR, REGION_LOOK_VALID_FOR};
use self::filter::{Filter, Keeper};
pub use self::hidden::TakenNames;
use self::memory::Memory;
pub use self::memory::MemoryLimits;
pub use self::namespace::{Host, Namespace};
use self::readiness::OtherTroubles;
pub use self::readiness::Readiness;
pub use self::receipts::{WAIT_TIME, Wait};
use self::redis::{Gathering, RedisCache, RedisConfig, RedisOpenError};
pub use self::request::{CreateLink, Creation, LinkError};
pub use self::resolve::{Lease, Resolution, Resolved, Unresolved};
use self::servers::{Own, Servers};
pub use self::servers::{ServerName, ServerStatus, Unknown, Visible};
use self::settle::Settler;
pub use self::stamps::Stamp;
pub use self::statistics::StatisticsReads;
use self::tiers::Tiers;
use self::warm::{WarmLoad, WarmState};
pub use self::warm::{WarmPhase, WarmStatus};
use self::write_health::WriteHealth;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{
    LinkLookup, LinkSet, LookupResult, Metrics, StorePlace, StoreRead, Tier,
};
use crate::link::{Link, LinkName, ReservedCodes};
use crate::store::audit::{AuditPage, AuditQuery};
use crate::store::feed::Readers;
use crate::store::{Found, Place, Query, ReplicaStatus, Seal, Store, StoreError};

const MEMORY_HIT: LinkLookup = LinkLookup {
    tier: Tier::Memory,
    result: LookupResult::Hit,
};

/// The bounds of the look-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLimits {
    /// Bounds and times of the memory.
    pub memory: MemoryLimits,
    /// How many look-ups for queries may go to the store each second; none for no limit.
    pub store_reads_per_second: Option<NonZeroU32>,
}

/// The state of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// How many of its parts are down.
    pub down: usize,
    /// How many parts it has: one, unless it is a cluster.
    pub parts: usize,
    /// The state of the warm load.
    pub warm_load: WarmStatus,
}

/// The links of all zones.
#[derive(Debug)]
pub struct Links {
    store: Arc<dyn Store>,
    /// What was applied of the store's feed; none if the store has no feed.
    applied: Option<Arc<Applied>>,
    filter: Option<Arc<Filter>>,
    /// The servers that creations wait for, if the store has a board of filters.
    deniers: Option<Arc<Deniers>>,
    exchange: Arc<Exchange>,
    memory: Arc<Memory>,
    tiers: Arc<Tiers>,
    redis: Option<Redis>,
    /// What this server says about itself to others.
    own: Arc<Own>,
    servers: Arc<Servers>,
    /// How long an absent name stays in memory.
    absent_for: Duration,
    /// The changes under way, and requests that are carried out once. They continue when a caller has gone.
    writes: TaskTracker,
    write_health: Arc<WriteHealth>,
    other_troubles: OtherTroubles,
    settler: Arc<Settler>,
    namespace: Arc<dyn Namespace>,
    reserved: ReservedCodes,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The counter of look-ups that memory answers; resolved once because every query uses it.
    memory_hits: Counter,
    failures: FailureLog,
}

/// Redis and its warm load.
#[derive(Debug)]
struct Redis {
    cache: Arc<RedisCache>,
    warm: Arc<WarmState>,
    warm_load: bool,
    warm_load_rate: u32,
}

impl Links {
    /// The links in `store`, under the names that `namespace` allows. Must be called within a runtime.
    pub fn new(
        store: Arc<dyn Store>,
        namespace: Arc<dyn Namespace>,
        limits: LinkLimits,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let memory = Arc::new(Memory::new(limits.memory));
        let budget = limits.store_reads_per_second;
        let tiers = Tiers::new(store.clone(), None, budget, metrics.clone());
        let settler = Settler::new(store.clone(), memory.clone(), metrics.clone());
        let feed = store.feed();
        let applied = feed.map(|_| Arc::new(Applied::new(Instant::now(), LOOK_VALID_FOR)));
        let own = Arc::new(Own::new());
        let exchange = Arc::new(Exchange::new());
        let board = store.filter_board();
        let deniers = board.map(|b| Deniers::new(b, exchange.clone(), metrics.clone()));
        let servers = Servers::new(
            ServerName::default(),
            (&store, None),
            own.clone(),
            applied.as_ref(),
            clock.now(),
        );
        Self {
            store,
            applied,
            filter: None,
            deniers: deniers.map(Arc::new),
            exchange,
            memory,
            settler: Arc::new(settler),
            tiers: Arc::new(tiers),
            redis: None,
            own,
            servers: Arc::new(servers),
            absent_for: limits.memory.absent_for,
            writes: TaskTracker::new(),
            write_health: Arc::default(),
            other_troubles: OtherTroubles::default(),
            namespace,
            reserved: ReservedCodes::none(),
            clock,
            memory_hits: metrics.link_lookups.get_or_create_owned(&MEMORY_HIT),
            metrics,
            failures: FailureLog::default(),
        }
    }

    /// Adds an existence filter if the store sees all changes of others, has a feed that each server reads, or has a board of
    /// filters and servers hear of changes through Redis. [`Links::start`] has it built. Must be called after
    /// [`Links::with_redis`].
    pub fn with_filter(mut self) -> Self {
        let applied = self.applied.as_ref();
        let denier = match (&self.deniers, &self.redis, applied) {
            (Some(deniers), Some(_), Some(applied)) => Some(self.denier(deniers, applied)),
            _ => None,
        };
        self.filter = Filter::new(&*self.store, applied, denier, &self.metrics);
        if let Some(filter) = &self.filter {
            let filter = Arc::downgrade(filter);
            self.exchange.set_sink(move |name| {
                if let Some(filter) = filter.upgrade() {
                    filter.insert(name);
                }
            });
        }
        self
    }

    fn denier(&self, deniers: &Arc<Deniers>, applied: &Arc<Applied>) -> Arc<Denier> {
        let (exchange, memory) = (self.exchange.clone(), self.memory.clone());
        let sink = move |name: &LinkName| {
            exchange.hear(name);
            // The announcement of the change may have been lost as well.
            memory.forget(name);
        };
        let (deniers, feed) = (deniers.clone(), applied.looks().clone());
        Arc::new(Denier::new(deniers, feed, sink))
    }

    /// Sets the codes that callers cannot take.
    pub fn with_reserved(mut self, reserved: ReservedCodes) -> Self {
        self.reserved = reserved;
        self
    }

    /// Adds Redis between memory and store; [`Links::start`] connects to it.
    ///
    /// # Errors
    /// [`RedisOpenError`] if the configuration cannot be used. It is no error that Redis does not answer: links
    /// then come from the store.
    pub fn with_redis(
        mut self,
        config: &RedisConfig,
        limits: LinkLimits,
    ) -> Result<Self, RedisOpenError> {
        // One server reads such a feed, and the others hear of it through Redis.
        let feed = self.store.feed();
        let for_region = feed.filter(|feed| feed.readers() == Readers::OneOfRegion);
        let followed = for_region.map(|_| {
            let applied = Applied::new(Instant::now(), REGION_LOOK_VALID_FOR);
            self.applied.insert(Arc::new(applied)).clone()
        });
        let cache = Arc::new(RedisCache::new(
            config,
            self.memory.clone(),
            &self.store,
            limits.memory.absent_for,
            (self.own.clone(), followed, self.exchange.clone()),
            self.clock.clone(),
            self.metrics.clone(),
        )?);
        if let Some(deniers) = &self.deniers {
            deniers.ask_through(&cache);
        }
        if let Some(statistics) = self.store.statistics() {
            Gathering::offer(&cache, &*statistics);
        }
        let budget = limits.store_reads_per_second;
        let (store, redis) = (self.store.clone(), Some(cache.clone()));
        self.tiers = Arc::new(Tiers::new(store, redis, budget, self.metrics.clone()));
        self.redis = Some(Redis {
            cache,
            warm: Arc::new(WarmState::new(match config.warm_load {
                true => WarmPhase::Waiting,
                false => WarmPhase::Off,
            })),
            warm_load: config.warm_load,
            warm_load_rate: config.warm_load_rate,
        });
        let name = self.servers.called().clone();
        Ok(self.with_name(name))
    }

    /// Sets what operators call this server.
    pub fn with_name(mut self, name: ServerName) -> Self {
        let redis = self.redis.as_ref().map(|redis| &redis.cache);
        self.servers = Arc::new(Servers::new(
            name,
            (&self.store, redis),
            self.own.clone(),
            self.applied.as_ref(),
            self.clock.now(),
        ));
        self
    }

    /// Starts the tasks beside the look-ups: the announcements of this server, the follower of the store's feed, the keeper of
    /// the filter and its lease, the connection to Redis, the stream of changes, the warm load. They end at `shutdown`.
    pub fn start(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let namespace = self.namespace.clone();
        let denied_for = move || {
            let origins = namespace.origins().into_iter();
            let ttls = origins.map(|origin| namespace.negative_ttl(origin.as_str()));
            Duration::from_secs(ttls.max().unwrap_or(0).into())
        };
        let servers = self.servers.clone().run(denied_for, shutdown.clone());
        tasks.spawn(servers);
        if let (Some(feed), Some(applied)) = (self.store.feed(), &self.applied) {
            let follower = Follower {
                feed,
                store: self.store.clone(),
                memory: self.memory.clone(),
                own: self.own.clone(),
                filter: self.filter.clone(),
                redis: self.redis.as_ref().map(|redis| redis.cache.clone()),
                applied: applied.clone(),
                metrics: self.metrics.clone(),
            };
            tasks.spawn(follower.run(shutdown.clone()));
        }
        if let Some(deniers) = &self.deniers {
            tasks.spawn(deniers.clone().run(shutdown.clone()));
        }
        if let Some(filter) = &self.filter {
            if let Some(denier) = filter.denier() {
                tasks.spawn(denier.clone().run(shutdown.clone()));
            }
            filter.join(&self.servers);
            let (store, metrics) = (self.store.clone(), self.metrics.clone());
            let keeper = Keeper::new(filter.clone(), store, metrics);
            let memory = self.memory.clone();
            let completed = move || memory.stamps().change_all();
            tasks.spawn(keeper.run(completed, shutdown.clone()));
        }
        let Some(redis) = &self.redis else {
            return;
        };
        let lost = Arc::new(Notify::new());
        let gap = lost.clone();
        redis.cache.start(tasks, shutdown, move || gap.notify_one());
        if redis.warm_load {
            let load = WarmLoad {
                cache: redis.cache.clone(),
                store: self.store.clone(),
                rate: redis.warm_load_rate,
                state: redis.warm.clone(),
                lost,
                clock: self.clock.clone(),
                metrics: self.metrics.clone(),
            };
            tasks.spawn(load.run(shutdown.clone()));
        }
    }

    /// Waits for the changes under way. Must be called after the last change has begun.
    pub async fn finish_writes(&self) {
        self.writes.close();
        self.writes.wait().await;
        self.settler.stop().await;
    }

    /// Leaves a note in Redis for the next start: the seal under which the store was closed.
    pub async fn hand_over(&self, seal: &Seal) {
        if let Some(redis) = &self.redis {
            redis.cache.hand_over(seal).await;
        }
    }

    /// The state of Redis; none without Redis.
    pub fn redis_status(&self) -> Option<RedisStatus> {
        self.redis.as_ref().map(|redis| {
            let (down, parts) = redis.cache.down();
            RedisStatus {
                down,
                parts,
                warm_load: redis.warm.status(),
            }
        })
    }

    /// Whether the last change of a name that this node made was announced to the other servers that share the
    /// store. If not, they read of it in a notice in the store within seconds, or when Redis works again. True if
    /// there are no other servers.
    pub fn is_visible_elsewhere(&self, name: &LinkName) -> bool {
        let redis = self.redis.as_ref();
        redis.is_none_or(|redis| redis.cache.is_visible_elsewhere(name))
    }

    /// Reads the files again that the configuration of Redis names: the password and the certificates. If they
    /// have changed, returns true and reconnects. False without Redis.
    ///
    /// # Errors
    /// [`RedisOpenError`]; the former files stay in use.
    pub fn reload_redis(&self) -> Result<bool, RedisOpenError> {
        let redis = self.redis.as_ref();
        redis.map_or(Ok(false), |redis| redis.cache.reload())
    }

    /// The time that decides whether a link has ended.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The names in the served zones.
    pub fn namespace(&self) -> &dyn Namespace {
        &*self.namespace
    }

    /// What this server has applied of the store's feed; none if the store has no feed.
    pub fn applied(&self) -> Option<&Arc<Applied>> {
        self.applied.as_ref()
    }

    /// Updates the gauges.
    pub fn measure(&self) {
        if let Some(applied) = &self.applied {
            applied.measure(&self.metrics, Instant::now());
        }
        if let Some(filter) = &self.filter {
            filter.measure(&self.metrics);
        }
        self.servers.measure(&self.metrics);
        if let Some(replica) = self.store.replica() {
            self.measure_replica(&replica);
        }
        let unsettled = i64::try_from(self.settler.unsettled());
        let unsettled = unsettled.unwrap_or(i64::MAX);
        self.metrics.changes_unsettled.set(unsettled);
        let size = self.memory.size();
        self.metrics.set_memory(&[
            (LinkSet::Links, size.links, size.link_bytes),
            (LinkSet::Absent, size.absent, size.absent_bytes),
        ]);
        if let Some(redis) = &self.redis {
            let figure = |n| i64::try_from(n).unwrap_or(i64::MAX);
            let metrics = &self.metrics;
            metrics
                .redis_breakers_open
                .set(figure(redis.cache.down().0));
            let pending = redis.cache.repairs_pending();
            metrics.redis_repairs_pending.set(figure(pending));
        }
    }

    fn measure_replica(&self, replica: &ReplicaStatus) {
        let metrics = &self.metrics;
        metrics.replica_used.set(replica.is_used.into());
        // Not known may be any time.
        let lag = replica.lag.map_or(f64::INFINITY, |lag| lag.as_secs_f64());
        metrics.replica_lag.set(lag);
        let awaited = i64::try_from(replica.awaited).unwrap_or(i64::MAX);
        metrics.replica_awaited.set(awaited);
        for (place, reads) in [
            (StorePlace::Replica, replica.from_replica),
            (StorePlace::Writer, replica.from_writer),
        ] {
            let counter = metrics
                .store_reads
                .get_or_create_owned(&StoreRead { place });
            counter.inc_by(reads.saturating_sub(counter.get()));
        }
    }

    /// The live link of a name, read from the store itself.
    ///
    /// # Errors
    /// [`LinkError::NotFound`] or [`LinkError::Store`].
    pub async fn get(&self, name: &LinkName) -> Result<Link, LinkError> {
        let found = within(ADMIN_DEADLINE, self.store.get(name)).await;
        self.found(name, found)
    }

    /// The links of these names, in their order, read from the store itself; none for a name without a link. The links may
    /// have ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn get_many(&self, names: &[LinkName]) -> Result<Vec<Option<Link>>, StoreError> {
        let found = async { self.store.get_many(names).await.into_iter().collect() };
        self.counted(within(ADMIN_DEADLINE, found).await)
    }

    /// The same, for a change: never from a replica.
    async fn get_current(&self, name: &LinkName) -> Result<Link, LinkError> {
        let found = within(ADMIN_DEADLINE, self.store.get_current(name)).await;
        self.found(name, found)
    }

    fn found(
        &self,
        name: &LinkName,
        found: Result<Option<Link>, StoreError>,
    ) -> Result<Link, LinkError> {
        self.counted(found)?
            .filter(|link| !link.is_expired(self.now()))
            .ok_or_else(|| LinkError::NotFound(name.clone()))
    }

    /// A page of links; see [`Store::find`]. A page may hold fewer than `limit` links although more follow.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn find(
        &self,
        query: &Query,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let page = within(ADMIN_DEADLINE, self.store.find(query, after, limit)).await;
        self.counted(page)
    }

    /// Whether the store can list links by code and by time.
    pub fn sorts(&self) -> bool {
        self.store.sorts()
    }

    /// A page of the audit log; see [`Store::audit`].
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or keeps no log.
    pub async fn audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.counted(within(ADMIN_DEADLINE, self.store.audit(query)).await)
    }
}

#[cfg(test)]
mod tests;
