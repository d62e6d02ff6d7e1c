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
mod filter;
mod hidden;
mod memory;
mod readiness;
pub mod redis;
mod settle;
mod sieve;
mod stamps;
mod tiers;
mod warm;
mod write;

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::filter::{Filter, Keeper};
pub use self::hidden::TakenNames;
pub use self::memory::MemoryLimits;
use self::memory::{Known, Look, Memory, Missed, Ticket, Wait};
pub use self::readiness::Readiness;
use self::readiness::WriteHealth;
use self::redis::{RedisCache, RedisConfig, RedisOpenError};
use self::settle::Settler;
pub use self::stamps::Stamp;
use self::tiers::{Asked, Tiers};
use self::warm::{WarmLoad, WarmState};
pub use self::warm::{WarmPhase, WarmStatus};
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{LinkLookup, LinkSet, LookupResult, Metrics, Tier};
use crate::link::{Code, Link, LinkName, Origin, TargetUrl, Ttl};
use crate::store::{Page, Seal, Store, StoreError};

/// How long a query may wait for its link. Resolvers ask again after 1 to 2 seconds; an answer that
/// comes later finds nobody.
const RESOLVE_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long a query waits for a link of which memory holds an old state: long enough for tiers in
/// order, short enough that the client has not yet asked again (RFC 8767 §5 asks for 1.8 s at most).
const STALE_PATIENCE: Duration = Duration::from_millis(300);
/// How long an old state is used again without asking while the tiers behind fail, by those who keep
/// what they make of it: short beside the pauses between the attempts to ask those tiers.
const STALE_LEASE: Duration = Duration::from_secs(1);
/// How long an administrator's call may wait for the store.
const ADMIN_DEADLINE: Duration = Duration::from_secs(10);
/// How many codes are tried for one URL. At 10^12 links one code in three is taken, and 16
/// collisions in a row still have a chance of 10^-8.
const MAX_FOLDS: u32 = 16;

const MEMORY_HIT: LinkLookup = LinkLookup {
    tier: Tier::Memory,
    result: LookupResult::Hit,
};

/// What the served zones say about names. The zones implement it, so that links need not know DNS.
pub trait Namespace: Send + Sync + fmt::Debug {
    /// The origins of the zones that hold links, in the order of the configuration; the first is
    /// the default. Never empty in a running server, and never changed by a reload.
    fn origins(&self) -> Vec<Origin>;

    /// Whether the zone's own static names forbid a link of this name.
    fn is_reserved(&self, name: &LinkName) -> bool;

    /// What a host name is to us. Case does not matter, nor does one last dot.
    fn classify_host(&self, host: &str) -> Host;

    /// The TTL of links in the zone of this name that have none of their own, in seconds.
    fn link_ttl(&self, name: &LinkName) -> u32;
}

/// What a host name is to the served zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name that a link has, or could have: `<code>.<origin>` or its redirect host's form.
    Link(LinkName),
    /// The origin itself of a zone that holds links.
    Origin(Origin),
    /// Any other name in a zone served here.
    Inside,
    /// Not ours.
    Foreign,
}

/// A request for a new link.
#[derive(Clone, Debug)]
pub struct CreateLink {
    /// The zone it is to be in.
    pub origin: Origin,
    /// Where it is to lead.
    pub target: TargetUrl,
    /// The caller's own code; without one it is folded from the URL.
    pub code: Option<Code>,
    /// When it is to end.
    pub expires_at: Option<UnixTime>,
    /// The TTL of its records.
    pub ttl: Option<Ttl>,
    /// Who asks.
    pub created_by: Box<str>,
}

/// What became of a request for a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The link was made.
    New(Link),
    /// A link with this target (and, where one was asked for, this code) was there already. It is
    /// as it was: its expiry and TTL are those of its own creation.
    Same(Link),
}

/// Why a link was not made or not changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Another URL has this code.
    #[error("the code {:?} is taken by another URL", .0.code())]
    Taken(LinkName),
    /// A static name of the zone has this code.
    #[error("the code {:?} is a name of the zone {} itself", .0.code(), .0.origin())]
    Reserved(LinkName),
    /// The destination lies in a zone served here: it would lead in circles.
    #[error("the URL points to {0:?}, which is in a zone served here")]
    OwnZone(String),
    /// The link would be expired from the start.
    #[error("expires_at is not in the future")]
    AlreadyExpired,
    /// `expires_at` is beyond the year 9999.
    #[error("expires_at is beyond the year 9999")]
    ExpiresTooLate,
    /// All folds of this URL are taken by other URLs.
    #[error("all {MAX_FOLDS} codes tried for this URL are taken by other URLs; choose a code")]
    NoFreeCode,
    /// There is no live link of this name.
    #[error("there is no link {:?}", .0.as_str())]
    NotFound(LinkName),
    /// The link has another version than the caller expected.
    #[error("the link {:?} has version {}, not the expected one", .0.name.as_str(), .0.version)]
    VersionConflict(Box<Link>),
    /// The store failed; nothing can be said about the link.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A live link.
    Live(Arc<Link>),
    /// A link that has ended; to DNS this is the same as [`Resolution::Absent`].
    Expired(Arc<Link>),
    /// No link.
    Absent,
}

/// What is known about a name, and for how long that will do.
#[derive(Debug)]
pub struct Resolved {
    /// What is known; an error where it cannot be known whether there is a link. Whoever asked must
    /// then tell neither that there is one nor that there is none.
    pub outcome: Result<Resolution, StoreError>,
    /// How long it may be used again without asking; none for not at all.
    pub lease: Option<Lease>,
    /// Whether it is what was known once, because it cannot be found out what is now.
    pub stale: bool,
}

/// How long something may be used again: until a time, and only as long as its stamp is
/// [current](Links::is_current).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From then on it is to be made anew.
    pub until: Instant,
    /// Moves on when it is overtaken by a change.
    pub stamp: Stamp,
}

/// A name that is to be looked up, or is being looked up.
#[derive(Debug)]
pub struct Unresolved {
    name: LinkName,
    /// Of the time before anything was looked up.
    stamp: Stamp,
    /// Where it falls to the caller to have it looked up.
    ticket: Option<Ticket>,
    wait: Wait,
}

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

    /// Finds the link of a name, for an answer.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be known whether there is a link. The caller must then tell
    /// neither that there is one nor that there is none.
    pub async fn resolve(&self, name: &LinkName) -> Result<Resolution, StoreError> {
        match self.resolve_now(name) {
            Ok(resolved) => resolved.outcome,
            Err(mut unresolved) => {
                self.look_up([&mut unresolved]);
                self.resolve_later(unresolved).await.outcome
            }
        }
    }

    /// Whether there may be a link of this code below this origin; false is certain, and counts as a
    /// look-up. It takes no lock, and says true whenever it cannot say, also of a code that is not in
    /// lower case.
    pub fn may_exist(&self, code: &[u8], origin: &Origin) -> bool {
        let may_exist = self.may_exist_uncounted(code, origin);
        if !may_exist && let Some(filter) = &self.filter {
            filter.count_denial();
        }
        may_exist
    }

    /// What [`Links::may_exist`] says, without counting it: for who decides where the look-up is to be made.
    pub(crate) fn may_exist_uncounted(&self, code: &[u8], origin: &Origin) -> bool {
        let Some(filter) = &self.filter else {
            return true;
        };
        code.iter().any(u8::is_ascii_uppercase) || !filter.excludes(code, origin.as_str())
    }

    /// What [`Links::resolve`] gives, where that can be said without waiting.
    ///
    /// # Errors
    /// What there is to wait for, where it cannot be said at once. The caller is to have the name
    /// looked up, with others that it has, by [`Links::look_up`], and then to wait by
    /// [`Links::resolve_later`].
    pub fn resolve_now(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        if let Some(filter) = &self.filter
            && filter.denies(name.code().as_bytes(), name.origin())
        {
            return Ok(Resolved {
                outcome: Ok(Resolution::Absent),
                // To ask again costs nothing.
                lease: None,
                stale: false,
            });
        }
        self.resolve_possible(name)
    }

    /// What [`Links::resolve_now`] gives, for a name of which [`Links::may_exist`] has just said that it
    /// may.
    ///
    /// # Errors
    /// As [`Links::resolve_now`].
    pub fn resolve_possible(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        let count = |result| self.metrics.count_lookup(Tier::Memory, result);
        let now = Instant::now();
        // Before the look, so that no change after it goes unnoticed.
        let stamp = self.memory.stamps().of(name);
        let lease = |until| Some(Lease { until, stamp });
        let (ticket, wait) = match self.memory.look(name, now) {
            Look::Fresh(known, until) => {
                self.memory_hits.inc();
                return Ok(self.judge(name, Ok(known), lease(until)));
            }
            Look::Stale(link) => {
                count(LookupResult::Stale);
                let missed = StoreError::Unavailable("a look-up has just failed".into());
                let known = self.old_state(link, missed);
                let lease = known.is_ok().then(|| lease(now + STALE_LEASE)).flatten();
                return Ok(Resolved {
                    stale: known.is_ok(),
                    ..self.judge(name, known, lease)
                });
            }
            Look::Full => {
                count(LookupResult::Refused);
                return Ok(self.judge(name, Err(StoreError::Overloaded), None));
            }
            Look::Join(wait) => (None, wait),
            Look::Lead(ticket, wait) => (Some(ticket), wait),
        };
        Err(Unresolved {
            name: name.clone(),
            stamp,
            ticket,
            wait,
        })
    }

    /// The stamp of what is made without asking for a link: it moves on when everything is to be made
    /// anew. To be taken before it is made.
    pub fn common_stamp(&self) -> Stamp {
        self.memory.stamps().of_all()
    }

    /// Whether nothing has changed since a stamp was taken, as far as is known here.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.memory.stamps().is_current(stamp)
    }

    /// Has everything that was made so far, with links or without, be made anew.
    pub fn renew_all(&self) {
        self.memory.stamps().change_all();
    }

    /// Has these names looked up, those of them that nobody is looking up yet: together, as far as
    /// Redis knows them. To be called within a runtime.
    pub fn look_up<'a>(&self, unresolved: impl IntoIterator<Item = &'a mut Unresolved>) {
        let tickets = unresolved.into_iter().filter_map(|one| one.ticket.take());
        let tickets: Vec<Ticket> = tickets.collect();
        if !tickets.is_empty() {
            // A task of its own: it outlives a client that goes away, for those who joined.
            tokio::spawn(fly(tickets, self.tiers.clone()));
        }
    }

    /// Waits for the look-up that was begun.
    pub async fn resolve_later(&self, unresolved: Unresolved) -> Resolved {
        let Unresolved {
            name, stamp, wait, ..
        } = unresolved;
        let patience = match wait.stale {
            // Counted from the flight's beginning: who joins late has the less to wait.
            Some(_) => STALE_PATIENCE.saturating_sub(wait.since.elapsed()),
            None => RESOLVE_DEADLINE,
        };
        let landing = tokio::time::timeout(patience, wait.landing())
            .await
            .unwrap_or_else(|_| Err(StoreError::DeadlineExceeded.into()));
        let until = |known: &Known| self.memory.good_until(known, wait.since);
        let (result, known, until) = match landing {
            Ok(known) => {
                let until = until(&known);
                (LookupResult::Miss, Ok(known), Some(until))
            }
            Err(missed) => {
                let known = match newer(wait.stale, missed.was) {
                    Some(link) => self.old_state(link, missed.error),
                    None => Err(missed.error),
                };
                match known.is_ok() {
                    true => (
                        LookupResult::Stale,
                        known,
                        Some(Instant::now() + STALE_LEASE),
                    ),
                    false => (LookupResult::Miss, known, None),
                }
            }
        };
        self.metrics.count_lookup(Tier::Memory, result);
        let lease = until.map(|until| Lease { until, stamp });
        let stale = result == LookupResult::Stale;
        Resolved {
            stale,
            ..self.judge(&name, known, lease)
        }
    }

    /// What an old state is worth where `why` keeps us from knowing the present one. A link that has ended may
    /// have been prolonged since, or made anew: then nothing is known, least of all that there is no link.
    fn old_state(&self, link: Arc<Link>, why: StoreError) -> Result<Known, StoreError> {
        match link.is_expired(self.now()) {
            true => Err(why),
            false => Ok(Some(link)),
        }
    }

    /// What is known of a name just now.
    fn judge(
        &self,
        name: &LinkName,
        known: Result<Known, StoreError>,
        lease: Option<Lease>,
    ) -> Resolved {
        if let Err(error) = &known {
            self.failures.note(name, error, self.now());
        }
        let outcome = known.map(|known| match known {
            None => Resolution::Absent,
            Some(link) if link.is_expired(self.now()) => Resolution::Expired(link),
            Some(link) => Resolution::Live(link),
        });
        Resolved {
            outcome,
            lease,
            stale: false,
        }
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

/// Looks names up behind the memory, and lands with what is found.
async fn fly(tickets: Vec<Ticket>, tiers: Arc<Tiers>) {
    let since = Instant::now();
    let names: Vec<_> = tickets.iter().map(|t| (t.name(), t.held())).collect();
    let asked = tiers.ask(&names).await;
    let mut left = None;
    for (ticket, asked) in tickets.into_iter().zip(asked) {
        match asked {
            Asked::Known(known) => ticket.land(Ok(known), since),
            asked => {
                // One of them can go on in this task.
                if let Some((ticket, asked)) = left.replace((ticket, asked)) {
                    tokio::spawn(fly_on(ticket, asked, since, tiers.clone()));
                }
            }
        }
    }
    if let Some((ticket, asked)) = left {
        fly_on(ticket, asked, since, tiers).await;
    }
}

/// The newer of two states of a link.
fn newer(one: Known, other: Known) -> Known {
    match (one, other) {
        (Some(one), Some(other)) if one.version < other.version => Some(other),
        (one, other) => one.or(other),
    }
}

/// Looks a name up that Redis does not know.
async fn fly_on(ticket: Ticket, asked: Asked, since: Instant, tiers: Arc<Tiers>) {
    let was = match &asked {
        Asked::Changing(link) => Some(Arc::clone(link)),
        _ => None,
    };
    let finding = tiers.find(ticket.name(), ticket.held(), asked);
    let found = within(RESOLVE_DEADLINE.saturating_sub(since.elapsed()), finding).await;
    ticket.land(found.map_err(|error| Missed { error, was }), since);
}

/// Tells of names that could not be resolved, in at most one line a second: while a store is down
/// every query fails, and the log must not fill the disk as well.
#[derive(Debug, Default)]
struct FailureLog {
    /// The second of the last line.
    last: AtomicU64,
    /// Failures since then.
    untold: AtomicU64,
}

impl FailureLog {
    fn note(&self, name: &LinkName, error: &StoreError, now: UnixTime) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        // Of several at once the one that moves the second on speaks for all.
        if self.last.swap(now.0, Ordering::Relaxed) != now.0 {
            let failures = self.untold.swap(0, Ordering::Relaxed);
            tracing::warn!(%name, %error, failures, "links cannot be resolved");
        }
    }
}

/// Waits for a call of the store, but not for ever.
async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}

#[cfg(test)]
mod tests;
