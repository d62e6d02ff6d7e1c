//! Which servers' existence filters deny names, if the feed of the store comes too late to tell: servers that make links
//! wait for these.
//!
//! ```text
//!   creator ── commit ── leases in the store? ── none ──────────────────────────────> reply
//!                             │                                                         ^  ^
//!                             ├── ask through Redis ── all deniers have confirmed ──────┘  │
//!                             └── not in time ── post in the store ── 1.25 s ──────────────┘
//!   denier  ── lease ── 2 s ── register the filter, scan the store ── deny
//!                  └ renew ┘      every 250 ms: read leases and posts (a look)
//! ```
//!
//! A *creator* is a server that makes a link. A *denier* is a server whose filter may deny names. Both use the [board of
//! filters](crate::store::filters) in the store, whose reads are consistent. Redis makes it fast, and nothing depends on
//! what Redis keeps: a denier that has confirmed names has them in its filter.
//!
//! # Why no denier denies an acknowledged link
//!
//! Take a link that was committed at C, a denier D, and a query that D answers at T, after the link was acknowledged at A.
//! All servers measure times by their own monotonic clocks; clocks may run at slightly different speeds, for which the
//! numbers below leave room. D's filter was registered at R and scanned the store after that. D had written its lease at L,
//! with L + [`WAIT`](denier) before R, and it denies only while its last look began less than [`LOOK_VALID_FOR`] ago.
//!
//! 1. *C is before R.* The scan is consistent, and has read the name.
//! 2. *C is after R, and the creator knew of D's lease.* Then it has acknowledged the link for one of two reasons.
//!    * D has confirmed the name. It did so after it had put the name into all of its registered filters.
//!    * The creator has left a post that was there at P, and A is later than P + [`LOOK_VALID_FOR`]. D's last look began
//!      after T - `LOOK_VALID_FOR`, so after P, and has taken the names of all posts that were there. It has missed none in
//!      between: D reads every post that has a higher number than the last one that it knows. If one was replaced before
//!      D read it, or D did not look for 5 s, D's filter is void.
//! 3. *C is after R, and the creator did not know of D's lease.* The creator uses what it has read of the leases only for
//!    [`LIST_FOR`]: so it has begun a read after C - `LIST_FOR`, which is after L. That read must have shown the lease,
//!    unless the lease was removed, or did not count any more because its number had not changed for [`seen::OVER`].
//!    Then D's filter is void: each look checks that the lease is still there, and D trusts the lease only for 5 s after
//!    it has begun to write a number. So D's last look began at most 5 s after that, and D denies for 1 s more. The creator
//!    gives D up 7 s after it has first seen the number. If D writes the next number in time, each read that begins after
//!    these 5 s shows it.
//!
//! A filter that is *void* denies nothing any more. D begins again with a new lease, and scans the store once more. So it
//! does not matter for how long a server was stopped, what Redis has lost, whether both talk to the same Redis, or whether
//! the table was replaced.
//!
//! A creator that can reach neither Redis nor the store right after its commit replies after [`POST_TIME`] at most. That is
//! the one exception: the link was made, and the creation must not fail. Servers of an earlier version do not wait for
//! deniers, either.
//!
//! # What it costs
//!
//! Without leases: one read of the register for creations, at most one in [`LIST_FOR`], at the same time as the write.
//! With leases, each group of creations that wait at the same time sends one list of names through Redis, and each denier
//! one confirmation. A denier reads the register four times a second, and writes its lease every 1.5 s.

mod denier;
mod exchange;
mod posts;
mod seen;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub(super) use self::denier::Denier;
use self::exchange::Ask;
pub(super) use self::exchange::Exchange;
use self::posts::Posts;
use self::seen::Seen;
use super::LOOK_VALID_FOR;
use super::deadline::within;
use super::redis::RedisCache;
use crate::base::batch::{BatchLimits, Batcher};
use crate::base::metrics::Metrics;
use crate::link::LinkName;
use crate::store::StoreError;
use crate::store::filters::{FilterBoard, Register};

/// For how long the leases that were read are used.
const LIST_FOR: Duration = Duration::from_millis(1_500);
/// How long a creation waits for confirmations before it leaves a post.
const ASK_TIME: Duration = Duration::from_millis(250);
/// How often it then reads the leases: servers that stop give theirs back.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How much longer than [`LOOK_VALID_FOR`] a creation waits after its post.
const SLACK: Duration = Duration::from_millis(250);
/// How long a creation tries to leave a post.
const POST_TIME: Duration = Duration::from_secs(4);
/// The pause after a post that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long a call of the board may take.
const CALL_TIME: Duration = Duration::from_secs(2);
/// How often the board is tidied up, if there is something to do.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Lists of names that are asked for.
const ASKS: BatchLimits = BatchLimits {
    queue: 16_384,
    size: 256,
    calls: 2,
};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Deniers {
    board: Arc<dyn FilterBoard>,
    exchange: Arc<Exchange>,
    /// What the store's register has shown.
    seen: Mutex<Seen>,
    /// One read at a time.
    reading: tokio::sync::Mutex<()>,
    posts: Posts,
    redis: OnceLock<(Arc<RedisCache>, Asker)>,
    metrics: Arc<Metrics>,
}

/// Sends lists of names; none if Redis does not take one.
type Asker = Batcher<LinkName, Option<Arc<Ask>>>;

/// The deniers apart from this server, and until when that may be relied on.
#[derive(Debug)]
struct List {
    others: Vec<Box<str>>,
    until: Instant,
}

impl Deniers {
    /// Must be called within a runtime.
    pub(super) fn new(
        board: Arc<dyn FilterBoard>,
        exchange: Arc<Exchange>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            posts: Posts::new(board.clone()),
            board,
            exchange,
            seen: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            redis: OnceLock::new(),
            metrics,
        }
    }

    /// Has names asked for through Redis. Must be called within a runtime.
    pub(super) fn ask_through(&self, redis: &Arc<RedisCache>) {
        let (exchange, cache) = (self.exchange.clone(), redis.clone());
        let asker = Batcher::start(ASKS, move |names: Vec<LinkName>| {
            let (exchange, redis) = (exchange.clone(), cache.clone());
            async move {
                let (number, ask) = exchange.begin_ask();
                let sent = redis.ask_for_names(number, &names).await.is_ok();
                let ask = sent.then_some(ask);
                names.iter().map(|_| ask.clone()).collect()
            }
        });
        let _only_once = self.redis.set((redis.clone(), asker));
    }

    /// What this server is called in leases.
    fn id(&self) -> &str {
        self.exchange.id()
    }

    /// Sends confirmations and tidies the board up, until `shutdown`.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let confirm = async {
            loop {
                self.exchange.send.notified().await;
                let numbers = self.exchange.take_unsent();
                if let Some((redis, _)) = self.redis.get().filter(|_| !numbers.is_empty()) {
                    // If this fails, the creators leave posts.
                    let _ = redis.confirm_names(self.id(), &numbers).await;
                }
            }
        };
        let tidy = async {
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                if let Err(error) = self.tidy().await {
                    tracing::debug!(%error, "the register of filters cannot be tidied up");
                }
            }
        };
        tokio::select! {
            () = confirm => {}
            () = tidy => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Removes what dead servers have left in the register.
    async fn tidy(&self) -> Result<(), StoreError> {
        self.posts.tidy().await?;
        let (leases, posts) = {
            let seen = self.seen();
            (seen.abandoned_leases(), seen.abandoned_posts())
        };
        for (id, number) in leases {
            self.board.end_lease(&id, number).await?;
        }
        for (id, number) in posts {
            self.board.end_posts(&id, number).await?;
        }
        Ok(())
    }

    /// Notes a read of the register.
    fn note(&self, began: Instant, ended: Instant, register: &Register) {
        self.seen().note(began, ended, register);
    }

    /// Reads the leases again if they were read some time ago: a creation does this at the same time as its write.
    pub(super) async fn prepare(&self) {
        let _ = self.list(LIST_FOR / 2).await;
    }

    /// The deniers, as of a read that began at most `age` ago; none if they cannot be read.
    async fn list(&self, age: Duration) -> Option<List> {
        if let Some(list) = self.known(age) {
            return Some(list);
        }
        let _reading = self.reading.lock().await;
        if let Some(list) = self.known(age) {
            return Some(list);
        }
        let began = Instant::now();
        match within(CALL_TIME, self.board.register()).await {
            Ok(register) => {
                self.note(began, Instant::now(), &register);
                self.known(LIST_FOR)
            }
            Err(error) => {
                tracing::debug!(%error, "the leases of existence filters cannot be read");
                None
            }
        }
    }

    fn known(&self, age: Duration) -> Option<List> {
        let seen = self.seen();
        let began = seen.began()?;
        let others = seen.live().filter(|id| ***id != *self.id());
        (began.elapsed() <= age).then(|| List {
            others: others.cloned().collect(),
            until: began + LIST_FOR,
        })
    }

    /// Waits until no other server's filter denies a link of this name, which was committed before the call.
    pub(super) async fn await_filters(&self, name: &LinkName) {
        let Some(list) = self.list(LIST_FOR).await else {
            // There may be deniers.
            return self.await_post(name).await;
        };
        if list.others.is_empty() {
            return;
        }
        let ask = match self.redis.get() {
            Some((_, asker)) => asker.ask(name.clone()).await.flatten(),
            None => None,
        };
        if let Some(ask) = &ask
            && !self.exchange.has_silent(&list.others)
        {
            let asking = tokio::time::timeout(ASK_TIME, self.confirmed(ask, LIST_FOR));
            if asking.await.is_ok() {
                return;
            }
            self.exchange.note_silent(ask, &list.others);
        }
        let ask = ask.unwrap_or_else(|| Arc::new(Ask::unsent()));
        tokio::select! {
            () = self.confirmed(&ask, LOOK_AGAIN) => {}
            () = self.await_post(name) => {}
        }
    }

    /// Waits until all deniers have confirmed a list, as of a read of the leases that is at most so old.
    async fn confirmed(&self, ask: &Ask, age: Duration) {
        loop {
            let Some(list) = self.list(age).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let seen = tokio::time::timeout(age, ask.seen_by(&list.others)).await;
            // A server may have become a denier since the leases were read.
            if seen.is_ok() && Instant::now() <= list.until {
                return;
            }
        }
    }

    /// Leaves a post, and waits until each denier must have read it, or does not deny.
    async fn await_post(&self, name: &LinkName) {
        self.metrics.filter_slow_creations.inc();
        let give_up = Instant::now() + POST_TIME;
        let leave = async {
            loop {
                match self.posts.leave(name.clone()).await {
                    Some(posted) => return posted,
                    None => tokio::time::sleep(RETRY).await,
                }
            }
        };
        match tokio::time::timeout_at(give_up.into(), leave).await {
            Ok(posted) => {
                let until = posted + LOOK_VALID_FOR + SLACK;
                tokio::time::sleep_until(until.into()).await;
            }
            Err(_) => tracing::error!(
                %name,
                "other servers may deny this new link until their filters are built anew: neither Redis nor the link \
                 store takes its name"
            ),
        }
    }

    /// No code panics while it holds this lock.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that no other server has, most likely.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

#[cfg(test)]
mod tests;
