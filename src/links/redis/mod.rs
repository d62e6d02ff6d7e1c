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
mod error;
mod keys;
mod load;
mod mark;
mod read;
mod repairs;
mod rights;
mod scripts;
mod troubles;
mod value;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::belonging::Belonging;
use self::board::Board;
use self::changes::Changes;
use self::client::Client;
pub(super) use self::client::Failure;
pub use self::config::{RedisConfig, RedisMode, RedisUrl, RedisUrlError};
pub use self::connection::check;
pub use self::credentials::PASSWORD_VARIABLE;
pub use self::error::RedisOpenError;
use self::keys::Keys;
pub(super) use self::load::{Cursor, LEASE, Lease};
use self::mark::Mark;
pub(super) use self::read::Held;
use self::repairs::Repairs;
use self::scripts::{Run, millis};
pub(super) use self::write::{WriteClaim, Written};
use super::batch::{BatchLimits, Batcher};
use super::memory::Memory;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName};
use crate::store::{Seal, Store};

/// Readers' claims and what they put.
const FILLS: BatchLimits = BatchLimits {
    queue: 16_384,
    size: 256,
    calls: 2,
};

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
    keys: Keys,
    /// The name of this node, in claims and in the stream.
    node: Box<str>,
    claims: AtomicU64,
    keep: Duration,
    absent_for: Duration,
    clock: Clock,
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
        let keys = Keys::new(&config.prefix);
        let node = node_name(&clock);
        let repairs = Arc::new(Repairs::default());
        let changes = Changes::new(
            client.clone(),
            keys.other("changes"),
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
            keys,
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

fn start_fills(client: Arc<Client>) -> Batcher<Run, Result<i64, Failure>> {
    Batcher::start(FILLS, move |runs: Vec<Run>| {
        let client = client.clone();
        async move {
            let runs: Vec<&Run> = runs.iter().collect();
            client.run_many("fill", &runs).await
        }
    })
}

#[cfg(test)]
mod tests;
