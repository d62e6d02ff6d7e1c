//! Redis: the read cache that all nodes share, and the stream by which they learn of changes.
//!
//! ```text
//!   memory ── get ──────────────────> P:link:<name>  ── miss ──> store
//!                 read claim, fill  ─────┘
//!   change ── claim ── store ── finish ──┘ ── P:changes ──> every node's memory
//! ```
//!
//! # Terms
//!
//! * A **node** is one tinyns server. The nodes that share a store and a Redis are a **fleet**. "The Redis server"
//!   is always called that.
//! * A **value** is what Redis holds under a link's name: a link, an absence, or a claim; see `value`.
//! * A **claim** is a value that says: this name is being read from the store (*read claim*) or changed (*write
//!   claim*). Only the node that put the claim may replace it by a link or an absence.
//! * A **tombstone** is the absence that a deletion leaves, with the version of the deletion.
//! * The **mark** identifies a store and its history. Each value carries one; see `store_mark`.
//! * To **announce** a change is to add it to the stream of changes; see `changes`.
//! * A **repair** is what remains to be done in Redis for one name after a call failed; see `repairs`.
//! * The **floor** is a time before which no value is trusted; see `fed`.
//! * A **cut-off** node cannot write to Redis, so it cannot announce its changes. It leaves a **notice** of them
//!   in the store; see `board`.
//!
//! # No old state comes back
//!
//! Redis may lose any key at any time: it evicts, it is flushed, it restarts. So neither a version in Redis nor a
//! tombstone is a lasting guard against an older state. Claims are the guard:
//!
//! * A node that finds no value for a name puts a read claim before it reads the store. It may put what it has
//!   read only if that very claim is still there. Every change of the name removes the claim, and so does an
//!   eviction. A node that reads too slowly then uses the result once and stores it nowhere.
//! * A node that changes a link puts a write claim before it calls the store. While the claim is there, no node
//!   trusts Redis about the name. The claim contains the value that it replaced. If the store certainly made no
//!   change, that value is restored. While the store cannot be read, nodes use a link from a claim, as a stale
//!   one, but never an absence. Once the store has made the change, the new state replaces the claim. If the claim
//!   is gone by then, the new state replaces only an older value and never fills an empty key: a newer value may
//!   have been evicted from it.
//! * If two nodes change a name at the same time, they share one claim. Neither of them can end it; it expires.
//!
//! Scripts decide all of this inside Redis, each in one round trip (`scripts`). A call that timed out and is
//! carried out later does no harm: the script looks at the value that is there at that moment.
//!
//! All of this ignores values with the mark of another store, or of an earlier history of this one, as if they had
//! been evicted.
//!
//! # When a node dies
//!
//! | it dies | the other nodes see |
//! |---|---|
//! | before the claim | the old state: nothing has happened |
//! | between claim and store | the state in the store, which is the old one; the claim expires after 20 s |
//! | between store and Redis | the new state, from the store, if their memory does not hold the name; otherwise when their memory asks again (`refresh`); the claim expires after 20 s |
//! | between Redis and the stream | the same, but from Redis |
//!
//! Putting the value and announcing the change can fail independently. If the value cannot be put, the node
//! announces a change that Redis lacks. All nodes then bypass Redis for that name until one of them has dropped
//! the old value; see `changes`.
//!
//! # When Redis is away
//!
//! Links come from memory and the store. Changes go to the store as usual, and the node makes up for the calls of
//! Redis later (`repairs`). Until then it does not trust Redis about the names that it has changed.
//!
//! A Redis server that starts may load a file with values that are minutes or hours old. Each value says when it
//! was put, and nodes ignore values from before the start of the Redis server. If the Redis server does not tell
//! when it started, nodes read no link from it. A Redis server that was only unreachable, or a replica that takes
//! over, may lack the last changes: a node that asks in the tens of milliseconds before the repair may see the old
//! state once more. If the node that made the change dies before the repair, the old value expires, after
//! [`RedisConfig::keep`] at the latest. tinyns does not know when the shards of a cluster started: they need
//! replicas, or must not save to files.
//!
//! A Redis server that answers but refuses writes (too few replicas, a full disk) counts as down. One whose memory
//! is full and that may not evict is used: changes drop the old value instead of putting a new one, and are
//! announced; see `scripts`.

mod board;
mod breaker;
mod changes;
mod client;
mod config;
mod connection;
mod credentials;
mod error;
mod fed;
mod gathering;
mod keys;
mod lease;
mod load;
mod mark;
mod read;
mod repairs;
mod rights;
mod scripts;
mod servers;
mod store_mark;
mod terms;
mod troubles;
mod value;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::board::Board;
use self::changes::Changes;
use self::client::Client;
pub use self::config::{RedisConfig, RedisMode, RedisUrl, RedisUrlError};
pub use self::connection::check;
pub use self::credentials::PASSWORD_VARIABLE;
pub use self::error::RedisOpenError;
pub(super) use self::fed::FEED_LEASE;
pub(super) use self::gathering::Gathering;
use self::keys::Keys;
pub(super) use self::lease::Lease;
use self::mark::Mark;
pub(super) use self::read::Claim;
use self::repairs::Repairs;
use self::scripts::{Run, millis};
pub(super) use self::servers::stream_covers;
use self::store_mark::StoreMark;
pub(super) use self::terms::{Cursor, Failure, Held, LEASE, Written};
pub(super) use self::write::WriteClaim;
use super::deniers::Exchange;
use super::feed::Applied;
use super::memory::Memory;
use super::servers::Own;
use crate::base::batch::{BatchLimits, Batcher};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName};
use crate::store::{Seal, Store};

/// Batches of read claims, and of the values that replace them.
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
    /// Where nodes leave notices for each other; none with a store that only this node uses.
    board: Option<Board>,
    /// Whether repairs were given up because too many were pending: Redis may hold old values of those names.
    given_up: AtomicBool,
    fills: Batcher<Run, Result<i64, Failure>>,
    keys: Keys,
    /// The name of this node, in claims and in the stream. No other node has it.
    node: Box<str>,
    claims: AtomicU64,
    keep: Duration,
    absent_for: Duration,
    /// Notified when all values in Redis may be old.
    gap: Notify,
    clock: Clock,
}

impl RedisCache {
    /// A cache that is not connected yet; [`RedisCache::start`] connects it. Absences stay in Redis for
    /// `absent_for`. If the store takes notices, the node leaves them there. `own` hears of the changes that this node
    /// applies; `followed` of how far it has followed the stream, if one node reads the store's feed for all; `exchange` of
    /// new names. Must be called within a runtime.
    ///
    /// # Errors
    /// [`RedisOpenError`] if a file that the configuration names cannot be read, or the client refuses the
    /// settings. A Redis server that does not answer is no error.
    pub(super) fn new(
        config: &RedisConfig,
        memory: Arc<Memory>,
        store: &Arc<dyn Store>,
        absent_for: Duration,
        (own, followed, exchange): (Arc<Own>, Option<Arc<Applied>>, Arc<Exchange>),
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RedisOpenError> {
        let store_mark = StoreMark::new(store.clone(), &config.prefix);
        let client = Client::new(config, store_mark, clock.clone(), metrics.clone())?;
        let client = Arc::new(client);
        let keys = Keys::new(&config.prefix);
        let node = node_name(&clock);
        let repairs = Arc::new(Repairs::default());
        let changes = Changes::new(
            client.clone(),
            (keys.other("changes"), node.clone()),
            (memory.clone(), store.clone()),
            repairs.clone(),
            (own, exchange),
            clock.clone(),
            metrics,
        );
        let changes = changes.followed_by(followed);
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
            gap: Notify::new(),
            clock,
            client,
        })
    }

    /// Starts the tasks that connect to Redis, follow the stream, make repairs and exchange notices until
    /// `shutdown`. They call `gap` when Redis may have lost values.
    pub(super) fn start(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
        gap: impl Fn() + Send + Sync + 'static,
    ) {
        let gap = Arc::new(gap);
        let (cache, stop, lost) = (self.clone(), shutdown.clone(), gap.clone());
        tasks.spawn(async move {
            while stop
                .run_until_cancelled(cache.gap.notified())
                .await
                .is_some()
            {
                lost();
            }
        });
        let (cache, stop, lost) = (self.clone(), shutdown.clone(), gap.clone());
        tasks.spawn(async move { cache.renew(stop, &*lost).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            let recovered = || cache.repairs.recheck_recent(Instant::now());
            cache.client.supervise(stop, recovered).await;
        });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.changes.follow(stop, &*gap).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.repair(stop).await });
        let (cache, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { cache.keep_board(stop).await });
    }

    /// Reads the files of the configuration again. If they have changed, returns true and reconnects.
    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        self.client.reload()
    }

    /// Whether the last change of a name that this node made was announced; true if no other node uses the store.
    pub(super) fn is_visible_elsewhere(&self, name: &LinkName) -> bool {
        self.board.is_none() || !self.repairs.is_unannounced(name)
    }

    /// Makes memory look everything up again whenever the store turns out to be another one, until `shutdown`.
    async fn renew(&self, shutdown: CancellationToken, gap: &impl Fn()) {
        let renewed = &self.client.store_mark().renewed;
        while shutdown
            .run_until_cancelled(renewed.notified())
            .await
            .is_some()
        {
            self.memory.revalidate_all(Instant::now());
            self.changes.note_gap();
            gap();
        }
    }

    /// Leaves a note in Redis that says in which state this node left the store, so that its next run can use the
    /// values in Redis; see [`store_mark`]. Must be called after the last change.
    pub(super) async fn hand_over(&self, seal: &Seal) {
        let is_whole = self.repairs.pending() == 0 && !self.given_up.load(Ordering::Acquire);
        // One shard of a cluster can lose its values while another shard still has the note.
        if !is_whole || self.client.trusted().is_none() || self.down().1 > 1 {
            return;
        }
        let Some((key, note)) = self.client.store_mark().note(seal, self.clock.now()) else {
            return;
        };
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(note).arg("PX").arg(millis(self.keep));
        let left = self.client.command::<()>("hand over", &key, &set).await;
        if left.is_err() {
            tracing::info!(
                "the note for the next start cannot be left in Redis; the next start will load all links again"
            );
        }
    }

    /// Reasons why Redis cannot be fully trusted, for an operator.
    pub(super) fn doubts(&self) -> Vec<&'static str> {
        let store_mark = self.client.store_mark();
        let is_connected = self.down().0 < self.down().1;
        let mut doubts = Vec::new();
        if store_mark.has_conflict() {
            doubts.push(store_mark::CONFLICT);
        }
        if is_connected && self.client.hides_its_age() {
            doubts.push(client::AGE_UNKNOWN);
        }
        if is_connected && store_mark.mark().is_none() {
            doubts.push(store_mark::STORE_UNKNOWN);
        }
        doubts
    }

    /// How many parts of Redis are down, and how many parts there are.
    pub(super) fn down(&self) -> (usize, usize) {
        self.client.down()
    }

    /// How many names wait for a repair.
    pub(super) fn repairs_pending(&self) -> usize {
        self.repairs.pending()
    }

    /// How long a link may stay in Redis: never beyond its end. A link that has ended stays as long as an absence.
    fn life(&self, link: &Link) -> Duration {
        let now = self.clock.now();
        match link.expires_at {
            Some(end) if end <= now => self.absent_for,
            Some(end) => self.keep.min(Duration::from_secs(now.until(end))),
            None => self.keep,
        }
    }

    /// The mark for new values. While it is [`Mark::NONE`] no script runs, so nothing is put.
    fn mark(&self) -> Mark {
        self.client.store_mark().mark().unwrap_or(Mark::NONE)
    }

    fn token(&self) -> String {
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.node)
    }
}

/// A random name for this node; from the time if the system has no random numbers.
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
