//! Links: the one way in which DNS, HTTP and the command line reach them.
//!
//! [`Links`] holds the rules (which URL and code may become a link, what happens when a fold
//! collides, what expiry means) and stands between its users and the tiers:
//!
//! ```text
//!   dns, http  ->  Links  ->  filter  ->  memory  ->  Redis  ->  budget  ->  store
//! ```
//!
//! Every read for an answer goes through [`Links::resolve`] and every write through
//! [`Links::create`], [`Links::change`] and [`Links::delete`]: these four places fill and drop what
//! the tiers hold, and no other part sees them. Administrators read the store itself.
//!
//! The filter is there with a store of which all changes are seen, and says at once that most of the names
//! that have no link have none; see `filter`.
//!
//! Redis is optional; see [`redis`] for what it holds and how nodes hear of each other's changes. What
//! goes to the store for queries has a budget, and where several names wait at once they go together.
//!
//! A name is looked up behind the memory by one flight at a time, however many queries wait for it.
//! Where the tiers behind fail, what memory holds is used beyond its time, within a bound; where it
//! holds nothing, the answer is that nothing can be known.

mod batch;
mod budget;
mod deadline;
mod failure_log;
mod filter;
mod hidden;
mod memory;
mod namespace;
mod readiness;
pub mod redis;
mod request;
mod resolve;
mod settle;
mod sieve;
mod stamps;
mod tiers;
mod warm;
mod write;
mod write_health;

use std::num::NonZeroU32;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::deadline::{ADMIN_DEADLINE, within};
use self::failure_log::FailureLog;
use self::filter::{Filter, Keeper};
pub use self::hidden::TakenNames;
use self::memory::Memory;
pub use self::memory::MemoryLimits;
pub use self::namespace::{Host, Namespace};
pub use self::readiness::Readiness;
use self::redis::{RedisCache, RedisConfig, RedisOpenError};
pub use self::request::{CreateLink, Creation, LinkError};
pub use self::resolve::{Lease, Resolution, Resolved, Unresolved};
use self::settle::Settler;
pub use self::stamps::Stamp;
use self::tiers::Tiers;
use self::warm::{WarmLoad, WarmState};
pub use self::warm::{WarmPhase, WarmStatus};
use self::write_health::WriteHealth;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{LinkLookup, LinkSet, LookupResult, Metrics, Tier};
use crate::link::{Link, LinkName, Origin};
use crate::store::{Page, Seal, Store, StoreError};

const MEMORY_HIT: LinkLookup = LinkLookup {
    tier: Tier::Memory,
    result: LookupResult::Hit,
};

/// Where links are looked up, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLimits {
    /// The memory.
    pub memory: MemoryLimits,
    /// How many look-ups for queries may go to the store each second; none for as many as come.
    pub store_reads_per_second: Option<NonZeroU32>,
}

/// How Redis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// How many of its parts do not work.
    pub down: usize,
    /// How many parts there are: one, but for a cluster.
    pub parts: usize,
    /// The load of all links into it.
    pub warm_load: WarmStatus,
}

/// The links of all zones.
#[derive(Debug)]
pub struct Links {
    store: Arc<dyn Store>,
    filter: Option<Arc<Filter>>,
    memory: Arc<Memory>,
    tiers: Arc<Tiers>,
    redis: Option<Redis>,
    /// The changes under way, which go on when a caller has gone.
    writes: TaskTracker,
    write_health: Arc<WriteHealth>,
    settler: Arc<Settler>,
    namespace: Arc<dyn Namespace>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Of look-ups that memory has ended: resolved once, for it is counted for every query.
    memory_hits: Counter,
    failures: FailureLog,
}

/// Redis, and the load of all links into it.
#[derive(Debug)]
struct Redis {
    cache: Arc<RedisCache>,
    warm: Arc<WarmState>,
    warm_load: bool,
    warm_load_rate: u32,
}

impl Links {
    /// Links kept in `store`, under the names that `namespace` allows. To be called within a runtime.
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
        Self {
            store,
            filter: None,
            memory,
            settler: Arc::new(settler),
            tiers: Arc::new(tiers),
            redis: None,
            writes: TaskTracker::new(),
            write_health: Arc::default(),
            namespace,
            clock,
            memory_hits: metrics.link_lookups.get_or_create_owned(&MEMORY_HIT),
            metrics,
            failures: FailureLog::default(),
        }
    }

    /// Keeps an existence filter, if the store sees the changes of others; [`Links::start`] has it built.
    pub fn with_filter(mut self) -> Self {
        self.filter = Filter::new(&*self.store, &self.metrics);
        self
    }

    /// Puts Redis between memory and store; [`Links::start`] connects to it.
    ///
    /// # Errors
    /// [`RedisOpenError`] where the configuration cannot be used. That Redis cannot be reached is no
    /// error: links come from the store then.
    pub fn with_redis(
        mut self,
        config: &RedisConfig,
        limits: LinkLimits,
    ) -> Result<Self, RedisOpenError> {
        let cache = Arc::new(RedisCache::new(
            config,
            self.memory.clone(),
            &self.store,
            limits.memory.absent_for,
            self.clock.clone(),
            self.metrics.clone(),
        )?);
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
        Ok(self)
    }

    /// Starts what runs beside the look-ups, until it is told to stop: the keeper of the filter, the
    /// connection to Redis, the stream of changes, the warm load.
    pub fn start(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        if let Some(filter) = &self.filter {
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
        let told = lost.clone();
        redis
            .cache
            .start(tasks, shutdown, move || told.notify_one());
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

    /// Waits for the changes under way; for when no more are begun.
    pub async fn finish_writes(&self) {
        self.writes.close();
        self.writes.wait().await;
        self.settler.stop().await;
    }

    /// Leaves word for the next start that the store was closed under this seal.
    pub async fn hand_over(&self, seal: &Seal) {
        if let Some(redis) = &self.redis {
            redis.cache.hand_over(seal).await;
        }
    }

    /// How Redis stands, where there is one.
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

    /// Whether other servers that share the store know of the last change of a name that was made here, as
    /// far as there are any: else they are told by a notice in the store within seconds, or when
    /// Redis works again.
    pub fn is_visible_elsewhere(&self, name: &LinkName) -> bool {
        let redis = self.redis.as_ref();
        redis.is_none_or(|redis| redis.cache.is_visible_elsewhere(name))
    }

    /// Reads the files again that the configuration of Redis names: the password and the certificates. If
    /// they have changed, connections are made anew. Whether they have; false without Redis.
    ///
    /// # Errors
    /// [`RedisOpenError`]; then what was read before is used on.
    pub fn reload_redis(&self) -> Result<bool, RedisOpenError> {
        let redis = self.redis.as_ref();
        redis.map_or(Ok(false), |redis| redis.cache.reload())
    }

    /// The time by which expiry is judged.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// What the served zones say about names.
    pub fn namespace(&self) -> &dyn Namespace {
        &*self.namespace
    }

    /// Brings the figures that are read off, not counted, up to date.
    pub fn measure(&self) {
        if let Some(filter) = &self.filter {
            filter.measure(&self.metrics);
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

    /// The live link of a name, read from the store itself.
    ///
    /// # Errors
    /// [`LinkError::NotFound`] or [`LinkError::Store`].
    pub async fn get(&self, name: &LinkName) -> Result<Link, LinkError> {
        let found = within(ADMIN_DEADLINE, self.store.get(name)).await;
        self.counted(found)?
            .filter(|link| !link.is_expired(self.now()))
            .ok_or_else(|| LinkError::NotFound(name.clone()))
    }

    /// The live links of a zone, a page at a time; see [`Store::list`] for the order. A page may
    /// hold fewer than `limit` links although more follow.
    ///
    /// # Errors
    /// [`StoreError`] where the store fails.
    pub async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let page = within(ADMIN_DEADLINE, self.store.list(origin, after, limit)).await;
        let mut page = self.counted(page)?;
        let now = self.now();
        page.links.retain(|link| !link.is_expired(now));
        Ok(page)
    }
}

#[cfg(test)]
mod tests;
