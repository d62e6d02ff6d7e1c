//! Redis: the read cache that all nodes share, and the stream by which they hear of changes.
//!
//! ```text
//!   memory ── get ──────────────────> P:link:<name>  ── miss ──> store
//!                 read claim, fill  ─────┘
//!   change ── claim ── store ── finish ──┘ ── P:changes ──> every node's memory
//! ```
//!
//! # How nothing old comes back
//!
//! Redis may drop any key at any time: it evicts, it is flushed, it restarts. So a version that stands
//! in Redis is no lasting guard against an older one, and neither is a tombstone. What guards is a
//! claim:
//!
//! * Who finds nothing and reads the store first puts a *reader's claim* under the name, and what was
//!   read is put only if that very claim still stands. Every change of the name removes the claim, and
//!   so does every eviction. A reader that is too slow has then read for itself alone.
//! * Who changes a link first puts a *writer's claim* there. While it stands nobody believes Redis about
//!   the name. It carries the state that it replaces: where the store certainly did nothing, that stands
//!   again; and while the store cannot be asked, a link in it is told as one that may be old, never an absence. When the store has the change, the claim is replaced by the new state. If the claim has
//!   gone, the new state is put only over something older, never in the place of nothing: an even newer
//!   state may have been evicted from it.
//! * Two writers at once share a claim that neither can end; it ends by its time.
//!
//! All of this is decided inside Redis, by `scripts`, in one round trip each. A call that has timed
//! out and is carried out later does no harm, for it is judged by what stands there then.
//!
//! What bears the mark of another store, or of another state of this one, counts as nothing to all of this,
//! as if it had been evicted; see `belonging`.
//!
//! # What happens when a node dies
//!
//! | it dies | what the others see |
//! |---|---|
//! | before the claim | the old state; nothing has happened |
//! | between claim and store | the store's state, which is the old one; the claim ends after 20 s |
//! | between store and Redis | the new state, from the store, for whoever has the name not in memory; the others when their memory asks again (`refresh`); the claim ends after 20 s |
//! | between Redis and the stream | the same, but from Redis |
//!
//! The value and the announcement fail apart: where the value cannot be put, the change is announced
//! as one that Redis lacks, and every node looks past Redis for the name until one of them has dropped
//! the old value; see `changes`.
//!
//! # What happens when Redis is away
//!
//! Links come from memory and the store. Changes are made in the store all the same, and Redis is told
//! later (`repairs`); until that is done the node that made them does not believe Redis about them.
//!
//! A Redis that is started may read from a file what it held minutes or hours ago. Every value says when
//! it was put, and what was put before the server was started counts as nothing; where the server does not
//! tell when that was, nothing is read from it. One that has only been
//! cut off, or a replica that takes over, may lack the last changes: another node that asks before the
//! repair, some tens of milliseconds, may see the old state once more. If the node that made the change
//! dies before the repair, what Redis holds ends by its time, at the latest after [`RedisConfig::keep`].
//! Of a cluster's shards it is not known when they were started: they need replicas, or no files.
//!
//! A Redis that answers but refuses writes (too few replicas, a full disk) counts as one that is down.
//! One that is full and may not evict is used: changes are dropped there instead of put, and announced;
//! see `scripts`.

mod belonging;
mod board;
mod breaker;
mod changes;
mod client;
mod config;
mod connection;
mod credentials;
mod load;
mod repairs;
mod rights;
mod scripts;
mod troubles;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::belonging::{Belonging, Era, Mark};
use self::board::Board;
use self::changes::Changes;
use self::client::Client;
pub(super) use self::client::Failure;
pub use self::config::{RedisConfig, RedisMode, RedisUrl, RedisUrlError};
pub use self::connection::{PASSWORD_VARIABLE, RedisOpenError, check};
pub(super) use self::load::{Cursor, LEASE, Lease};
use self::repairs::{Others, Repair, Repairs};
use self::scripts::Run;
use self::value::Value;
use super::batch::{BatchLimits, Batcher};
use super::memory::Memory;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName, Version};
use crate::store::{Seal, Store};

/// Readers' claims and what they put.
const FILLS: BatchLimits = BatchLimits {
    queue: 16_384,
    size: 256,
    calls: 2,
};
/// The life of a reader's claim: longer than a query waits for the store.
const READ_CLAIM: Duration = Duration::from_secs(5);
/// The life of a writer's claim: longer than a change may take.
const WRITE_CLAIM: Duration = Duration::from_secs(20);
/// How long a deletion is remembered; see [`load`], which is what needs it.
const TOMBSTONE: Duration = Duration::from_secs(120);
/// How long after a write of which nobody knows whether it was done the name is repaired: by then the
/// store has done it, or will not.
const UNKNOWN_WRITE: Duration = super::settle::QUIET;
/// How often the repairs are looked at, while there are any.
const REPAIR_PAUSE: Duration = Duration::from_millis(200);
/// After how long a repair that has failed is tried again.
const REPAIR_RETRY: Duration = Duration::from_secs(1);
/// How many names are repaired at once.
const REPAIR_BATCH: usize = 256;
/// How long the last repairs may take when the node stops.
const LAST_REPAIRS: Duration = Duration::from_secs(1);
/// Above every version that is written (see [`Version`]), and exact in a script's numbers.
const ANY_VERSION: Version = Version(value::MAX_VERSION);

/// What Redis says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// This link, expired or not.
    Link(Arc<Link>),
    /// There is no link; the version is that of its deletion, or 0.
    Absent(Version),
    /// The store has to be asked.
    Nothing,
    /// The store has to be asked, for this link is being changed.
    Changing(Arc<Link>),
}

/// The text of a claim that was put.
#[derive(Debug)]
pub(super) struct Claim(String);

/// A change that was begun. Dropped without an end, nobody knows what became of it.
#[derive(Debug)]
pub(super) struct WriteClaim {
    cache: Arc<RedisCache>,
    name: LinkName,
    claim: Option<Claim>,
}

impl WriteClaim {
    /// Ends a change that has certainly changed nothing: what Redis held stands again.
    pub(super) async fn restore(mut self) {
        if let Some(claim) = self.claim.take() {
            let run = Run::new(
                &scripts::RESTORE,
                self.cache.names.link(&self.name),
                vec![claim.0],
            );
            // The claim ends by itself, too.
            let _ = self.cache.client.run("release", &run).await;
        }
    }

    /// Lets the claim stand for longer: it is not known yet what became of the change.
    pub(super) async fn hold(&self) {
        if let Some(claim) = &self.claim {
            let args = vec![claim.0.clone(), millis(WRITE_CLAIM).to_string()];
            let run = Run::new(&scripts::HOLD, self.cache.names.link(&self.name), args);
            let _ = self.cache.client.run("claim", &run).await;
        }
    }

    /// Puts the new state and tells all nodes. What cannot be told is told later.
    pub(super) async fn finish(mut self, written: &Written) {
        if let Some(claim) = self.claim.take() {
            self.cache.finish(&self.name, claim, written).await;
        }
    }
}

impl Drop for WriteClaim {
    fn drop(&mut self) {
        if self.claim.is_some() {
            self.cache.repair_unknown(&self.name);
        }
    }
}

/// What became of a change.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// The link is now this.
    Link(Box<Link>),
    /// Nothing was changed; the link is this.
    Kept(Box<Link>),
    /// There is no link, and this is the version of its absence.
    Deleted(Version),
    /// Nothing was changed; there is no link.
    Nothing,
    /// There is no link that could be told; of what version its absence is, nobody knows.
    Gone,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct RedisCache {
    client: Arc<Client>,
    memory: Arc<Memory>,
    changes: Changes,
    repairs: Arc<Repairs>,
    /// Where servers that share the store tell each other past Redis.
    board: Option<Board>,
    /// Whether Redis may hold older states of some links, for too many changes waited for it.
    given_up: AtomicBool,
    fills: Batcher<Run, Result<i64, Failure>>,
    names: Names,
    /// The name of this node, in claims and in the stream.
    node: Box<str>,
    claims: AtomicU64,
    keep: Duration,
    absent_for: Duration,
    clock: Clock,
}

/// How keys are called.
#[derive(Clone, Debug)]
struct Names {
    prefix: Box<str>,
}

impl Names {
    fn link(&self, name: &LinkName) -> String {
        format!("{}:link:{name}", self.prefix)
    }

    fn other(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }
}

impl RedisCache {
    /// A cache that is not connected yet: [`RedisCache::start`] sees to that. An absent name is
    /// remembered for `absent_for`. Notices go to and come from the store, if it takes them. To be called
    /// within a runtime.
    ///
    /// # Errors
    /// [`RedisOpenError`] where the configuration names files that cannot be read, or settings that
    /// the client does not take. A Redis that does not answer is none.
    pub(super) fn new(
        config: &RedisConfig,
        memory: Arc<Memory>,
        store: &Arc<dyn Store>,
        absent_for: Duration,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RedisOpenError> {
        let belonging = Belonging::new(store.clone(), &config.prefix);
        let client = Client::new(config, belonging, clock.clone(), metrics.clone())?;
        let client = Arc::new(client);
        let names = Names {
            prefix: config.prefix.clone(),
        };
        let node = node_name(&clock);
        let repairs = Arc::new(Repairs::default());
        let changes = Changes::new(
            client.clone(),
            names.other("changes"),
            node.clone(),
            memory.clone(),
            repairs.clone(),
            clock.clone(),
            metrics,
        );
        Ok(Self {
            memory,
            changes,
            repairs,
            board: store.takes_notices().then(|| Board::new(store.clone())),
            given_up: AtomicBool::new(false),
            fills: start_fills(client.clone()),
            names,
            node,
            claims: AtomicU64::new(0),
            keep: config.keep,
            absent_for,
            clock,
            client,
        })
    }

    /// Connects, follows the stream and makes repairs, until it is told to stop. `gap` is called when
    /// Redis may have lost what it held.
    pub(super) fn start(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
        gap: impl Fn() + Send + Sync + 'static,
    ) {
        let gap = Arc::new(gap);
        let (cache, stop, lost) = (self.clone(), shutdown.clone(), gap.clone());
        tasks.spawn(async move { cache.renew(stop, &*lost).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            let recovered = || cache.repairs.doubt_recent(Instant::now());
            cache.client.supervise(stop, recovered).await;
        });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.changes.follow(stop, &*gap).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.repair(stop).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.keep_board(stop).await });
    }

    /// Reads the files of the configuration again; if they have changed, connections are made anew.
    /// Whether they have.
    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        self.client.reload()
    }

    /// Whether the other servers know of the last change of a name, as far as there are any.
    pub(super) fn is_visible_elsewhere(&self, name: &LinkName) -> bool {
        self.board.is_none() || !self.repairs.is_untold(name)
    }

    /// Has everything looked up again whenever the store turns out to be another one, until it is told to
    /// stop.
    async fn renew(&self, shutdown: CancellationToken, gap: &impl Fn()) {
        let renewed = &self.client.belonging().renewed;
        while shutdown
            .run_until_cancelled(renewed.notified())
            .await
            .is_some()
        {
            self.memory.doubt_all(Instant::now());
            gap();
        }
    }

    /// Leaves word in Redis how the store was left, so that the next run of this server can use what is
    /// there; see [`belonging`]. To be called when nothing changes any more.
    pub(super) async fn hand_over(&self, seal: &Seal) {
        let is_whole = self.repairs.pending() == 0 && !self.given_up.load(Ordering::Acquire);
        // A cluster loses what one shard holds and keeps the rest, and the word with it.
        if !is_whole || self.client.believed().is_none() || self.down().1 > 1 {
            return;
        }
        let Some((key, note)) = self.client.belonging().note(seal, self.clock.now()) else {
            return;
        };
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(note).arg("PX").arg(millis(self.keep));
        let left = self.client.command::<()>("hand over", &key, &set).await;
        if left.is_err() {
            tracing::info!(
                "Redis was not told how the store was left; the next start fills it anew"
            );
        }
    }

    /// What an operator should know of what Redis holds.
    pub(super) fn doubts(&self) -> Vec<&'static str> {
        let belonging = self.client.belonging();
        let is_connected = self.down().0 < self.down().1;
        let mut doubts = Vec::new();
        if belonging.has_conflict() {
            doubts.push(belonging::CONFLICT);
        }
        if is_connected && self.client.is_ageless() {
            doubts.push(client::AGELESS);
        }
        if is_connected && belonging.mark().is_none() {
            doubts.push(belonging::NAMELESS);
        }
        doubts
    }

    /// Whether Redis works: how many of its parts do not, and of how many.
    pub(super) fn down(&self) -> (usize, usize) {
        self.client.down()
    }

    /// How many changes Redis has not been told of.
    pub(super) fn repairs_pending(&self) -> usize {
        self.repairs.pending()
    }

    /// What is held of these names, in their order, in one call.
    pub(super) async fn get_many(&self, names: &[&LinkName]) -> Vec<Result<Held, Failure>> {
        let keys: Vec<String> = names.iter().map(|name| self.names.link(name)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        // Before the call: a server that has come in its place is judged more strictly, not less.
        let Some(era) = self.client.believed() else {
            return names.iter().map(|_| Err(Failure::Skipped)).collect();
        };
        if self
            .board
            .as_ref()
            .is_some_and(Board::is_everything_in_doubt)
        {
            return vec![Err(Failure::Skipped); names.len()];
        }
        let values = self.client.get_many(&keys).await;
        let held = names.iter().zip(values);
        held.map(|(name, value)| match value {
            // What it holds may be older than what this node has written.
            Ok(_) if self.repairs.contains(name) => Err(Failure::Skipped),
            Ok(value) => Ok(held_of(name, value.as_deref(), era)),
            Err(failure) => Err(failure),
        })
        .collect()
    }

    /// Whether a link is held of this name, one that is being changed included.
    pub(super) async fn holds_link(&self, name: &LinkName) -> bool {
        let held = self.get_many(&[name]).await.pop();
        matches!(held, Some(Ok(Held::Link(_) | Held::Changing(_))))
    }

    /// The right to put what will be read from the store; none if somebody else has it.
    pub(super) async fn claim_read(&self, name: &LinkName) -> Option<Claim> {
        let claim = value::reads(&self.token(), self.mark());
        let args = vec![claim.clone(), millis(READ_CLAIM).to_string()];
        let run = Run::new(&scripts::READ, self.names.link(name), args);
        match self.fills.ask(run).await {
            Some(Ok(1)) => Some(Claim(claim)),
            _ => None,
        }
    }

    /// Puts what was read, in its own time. What finds no room is not put, and read again.
    pub(super) fn fill(&self, name: &LinkName, claim: Claim, found: Option<&Link>) {
        let now = self.clock.now();
        let (text, life) = match found {
            Some(link) => (value::link(link, now, self.mark()), self.life(link)),
            None => (value::absent(Version(0), now, self.mark()), self.absent_for),
        };
        // Redis refuses a life of nothing; and where absences are not to be kept, none is.
        let run = match millis(life) {
            0 => Run::new(&scripts::RELEASE, self.names.link(name), vec![claim.0]),
            life => {
                let args = vec![claim.0, text, life.to_string()];
                Run::new(&scripts::FILL, self.names.link(name), args)
            }
        };
        self.fills.tell(run);
    }

    /// Begins a change of a name: keeps readers of Redis away from it.
    pub(super) async fn begin(self: &Arc<Self>, name: &LinkName) -> WriteClaim {
        self.client.belonging().note_change();
        let claim = value::writes(&self.token(), self.mark());
        let [shared, life] = self.shared_claim();
        let args = vec![claim.clone(), life, shared];
        let run = Run::new(&scripts::CLAIM, self.names.link(name), args);
        let write = WriteClaim {
            cache: Arc::clone(self),
            name: name.clone(),
            claim: Some(Claim(claim)),
        };
        // Without it the change is made all the same; then only its end keeps Redis right.
        let _ = self.client.run("claim", &run).await;
        write
    }

    /// Ends a change: puts the new state and tells all nodes. What cannot be told is told later.
    async fn finish(&self, name: &LinkName, claim: Claim, written: &Written) {
        let key = self.names.link(name);
        let now = self.clock.now();
        let (version, text, life) = match written {
            Written::Link(link) | Written::Kept(link) => (
                link.version,
                value::link(link, now, self.mark()),
                self.life(link),
            ),
            Written::Deleted(version) => (
                *version,
                value::absent(*version, now, self.mark()),
                TOMBSTONE,
            ),
            Written::Nothing | Written::Gone => {
                let run = Run::new(&scripts::RELEASE, key, vec![claim.0]);
                // The claim ends by itself, too.
                let _ = self.client.run("release", &run).await;
                if matches!(written, Written::Gone) {
                    self.tell(name, ANY_VERSION, Ok(())).await;
                }
                return;
            }
        };
        let life = millis(life).max(1).to_string();
        let [shared, shared_life] = self.shared_claim();
        let args = vec![
            claim.0,
            text,
            life,
            version.to_string(),
            shared,
            shared_life,
        ];
        let run = Run::new(&scripts::FINISH, key, args);
        let put = self.client.run("finish", &run).await.map(drop);
        // The claim ends by itself, and nobody has to hear that nothing has changed.
        if !matches!(written, Written::Kept(_)) {
            self.tell(name, version, put).await;
        }
    }

    /// Tells all nodes of a change that was put into Redis, or could not be, and has repaired what is left.
    async fn tell(&self, name: &LinkName, version: Version, put: Result<(), Failure>) {
        // Also where the value could not be put: the stream may be on a shard that works.
        let announced = self.changes.announce(name, version, put.is_err()).await;
        let now = Instant::now();
        if put.is_ok() && announced.is_ok() {
            return self.repairs.told(name.clone(), version, now);
        }
        let others = match announced {
            Ok(()) => Others::Told,
            Err(_) => Others::NotTold,
        };
        let repair = Repair {
            version,
            due: now,
            others,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    /// Nobody knows whether a change was made, or will be: nothing is believed until it must have been.
    fn repair_unknown(&self, name: &LinkName) {
        let repair = Repair {
            version: ANY_VERSION,
            due: Instant::now() + UNKNOWN_WRITE,
            others: Others::NotTold,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    fn drop_run(&self, name: &LinkName, version: Version) -> Run {
        let [shared, life] = self.shared_claim();
        let args = vec![version.to_string(), shared, life];
        Run::new(&scripts::DROP, self.names.link(name), args)
    }

    /// Drops what is held of a name if it is older than `version`: Redis has lost what came after.
    pub(super) fn drop_older(&self, name: &LinkName, version: Version) {
        self.fills.tell(self.drop_run(name, version));
    }

    /// Repairs what has to be, until it is told to stop; and then what is left, for a moment.
    async fn repair(&self, shutdown: CancellationToken) {
        let work = async {
            loop {
                if self.repairs.pending() == 0 {
                    self.repairs.work.notified().await;
                }
                if self.repair_some().await == 0 {
                    tokio::time::sleep(REPAIR_PAUSE).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        let last = async { while self.repair_some().await > 0 {} };
        if tokio::time::timeout(LAST_REPAIRS, last).await.is_err() || self.repairs.pending() > 0 {
            let names = self.repairs.pending();
            tracing::warn!(names, "stopped before Redis could be told of all changes");
        }
    }

    /// Repairs some of what is due; gives how many names were.
    async fn repair_some(&self) -> usize {
        let lost = self.repairs.given_up();
        if lost > 0 {
            self.given_up.store(true, Ordering::Release);
            tracing::error!(
                lost,
                "too many changes wait for Redis; it may hold older states until they end"
            );
        }
        let allowed = |name: &LinkName, repair: &Repair| {
            let can_tell = repair.own && repair.others == Others::NotTold;
            self.client.allows(&self.names.link(name)) || can_tell && self.changes.can_announce()
        };
        let due = self.repairs.due(Instant::now(), REPAIR_BATCH, allowed);
        let repairing = due
            .iter()
            .map(|(name, repair)| self.repair_one(name, repair));
        let repaired = join_all(repairing).await;
        repaired.into_iter().filter(|done| *done).count()
    }

    /// Drops what Redis holds of a name that is older, and tells all nodes. Where it cannot be dropped,
    /// they are told that. Whether the repair is done.
    async fn repair_one(&self, name: &LinkName, repair: &Repair) -> bool {
        let run = self.drop_run(name, repair.version);
        let is_dropped = self.client.run("repair", &run).await.is_ok();
        let is_untold = repair.own && repair.others == Others::NotTold;
        let is_announced = (is_dropped || is_untold)
            && self
                .changes
                .announce(name, repair.version, !is_dropped)
                .await
                .is_ok();
        // Where the others have been told before, they make repairs of their own.
        if is_dropped && (is_announced || repair.others == Others::Told) {
            self.repairs.done(name, repair);
            return true;
        }
        // The others have their turn before this one is tried again.
        let due = Instant::now() + REPAIR_RETRY;
        self.repairs.put_off(name, repair, due);
        if is_announced {
            self.repairs.others_told(name, repair);
        }
        false
    }

    /// How long a link may stay: never beyond its end. One that has ended is remembered as briefly as
    /// an absence.
    fn life(&self, link: &Link) -> Duration {
        let now = self.clock.now();
        match link.expires_at {
            Some(end) if end <= now => self.absent_for,
            Some(end) => self.keep.min(Duration::from_secs(now.until(end))),
            None => self.keep,
        }
    }

    /// The claim that no writer can end, and its life in ms.
    fn shared_claim(&self) -> [String; 2] {
        let claim = value::writes("several", self.mark());
        [claim, millis(WRITE_CLAIM).to_string()]
    }

    /// What values are to bear. While there is none yet, nothing is put.
    fn mark(&self) -> Mark {
        self.client.belonging().mark().unwrap_or(Mark::NONE)
    }

    fn token(&self) -> String {
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.node)
    }
}

/// A name that no other node has: random, or where there is nothing random, the time.
fn node_name(clock: &Clock) -> Box<str> {
    let number = getrandom::u64().unwrap_or_else(|_| clock.micros());
    format!("{number:016x}").into()
}

fn held_of(name: &LinkName, value: Option<&[u8]>, era: Era) -> Held {
    match value.and_then(|text| value::parse(name, text, era)) {
        Some(Value::Link(link)) => Held::Link(Arc::new(link)),
        Some(Value::Absent(version)) => Held::Absent(version),
        Some(Value::Changing(link)) => Held::Changing(Arc::new(link)),
        Some(Value::Claimed) | None => Held::Nothing,
    }
}

fn start_fills(client: Arc<Client>) -> Batcher<Run, Result<i64, Failure>> {
    Batcher::start(FILLS, move |runs: Vec<Run>| {
        let client = client.clone();
        async move {
            let runs: Vec<&Run> = runs.iter().collect();
            client.run_many("fill", &runs).await
        }
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
