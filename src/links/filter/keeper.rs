//! The keeper builds the filter, and rebuilds it when it is too full, has too many deleted names, or is outdated.
//!
//! It walks over the store twice: once to count the names, because the size of a filter is fixed, and once to
//! insert them. Both walks go page by page. Each page is one short read, followed by a rest of the same length: so
//! the keeper takes at most half of one reader's time, and less when other calls wait for the readers. A `SELECT
//! count(*)` would be one long read of the whole file, during which SQLite cannot truncate its log.
//!
//! If a page fails, the keeper pauses and reads it again, for as long as it takes. Meanwhile the former filter, if
//! there is one, continues to deny. While another program keeps writing, builds become rarer, until it has been
//! quiet for a while.
//!
//! If a scan costs money, there is one walk: the store says about how many links it has. If it has far more, there is
//! another one. The walk is slower, and a build that follows an outdated filter waits longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Complete, Filter};
use crate::base::metrics::Metrics;
use crate::links::bloom::{Bloom, MAX_LINKS};
use crate::store::{NameSink, Store};

/// The number of names in a page: about two milliseconds of a reader's time.
const PAGE: usize = 2_000;
/// The longest rest after a page.
const MAX_REST: Duration = Duration::from_millis(100);
/// The capacity of the smallest filter, in links: 96 KiB.
const LEAST_ROOM: u64 = 1 << 16;
/// How often the keeper checks whether the filter has to be rebuilt: a look at three numbers.
const TICK: Duration = Duration::from_millis(200);
/// How long the keeper waits for the first look at the feed.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Fewer removals than this do not cause a rebuild.
const LEAST_REMOVED: u64 = 1_024;
/// The pause after a page that failed; it doubles.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(5);
/// The pauses before a rebuild because the filter was outdated.
const REBUILDS: Rebuilds = Rebuilds {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(30),
    calm: Duration::from_secs(60),
};
/// The same if a scan of the store costs money: some seven in an hour if no filter lasts.
const DEAR_REBUILDS: Rebuilds = Rebuilds {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(10 * 60),
    calm: Duration::from_secs(15 * 60),
};
/// How many names a second are read from such a store.
const DEAR_RATE: u32 = 10_000;
/// After how long without the feed of changes the log says that the filter waits for it.
const WAIT_LOGGED: Duration = Duration::from_secs(30);
/// How long the keeper waits before it counts again in a store with too many links.
const TOO_MANY: Duration = Duration::from_secs(60 * 60);

/// The limits that tests make smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) page: usize,
    pub(super) least_room: u64,
    pub(super) least_removed: u64,
    pub(super) most_links: u64,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            page: PAGE,
            least_room: LEAST_ROOM,
            least_removed: LEAST_REMOVED,
            most_links: MAX_LINKS,
        }
    }
}

/// The pauses before a filter is built anew: each is twice as long as the one before, until a filter has lasted.
#[derive(Clone, Copy, Debug)]
struct Rebuilds {
    first: Duration,
    longest: Duration,
    /// After so long the pauses begin anew.
    calm: Duration,
}

impl Rebuilds {
    /// The pause after this one, if a filter was built and used for so long since then.
    fn after(&self, pause: Duration, lasted: Duration) -> Duration {
        match lasted > self.calm {
            true => self.first,
            false => (2 * pause).clamp(self.first, self.longest),
        }
    }
}

/// Builds and rebuilds a filter; see the [module](self).
#[derive(Debug)]
pub(in crate::links) struct Keeper {
    filter: Arc<Filter>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    scale: Scale,
}

/// Why a filter was not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Another program has written meanwhile, or changes were missed.
    Outdated,
    /// There are more links than the largest filter holds.
    TooMany(u64),
}

/// What a filter is valid for.
#[derive(Clone, Copy, Debug)]
struct Basis {
    generation: u64,
    term: u64,
    removed: u64,
}

/// Why a filter has to be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worn {
    /// Another program has written, or changes were missed.
    Outdated,
    /// It contains more links than it was made for.
    Full,
    /// More than a quarter of its links have been removed.
    Sparse,
}

impl Keeper {
    pub(in crate::links) fn new(
        filter: Arc<Filter>,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            filter,
            store,
            metrics,
            scale: Scale::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Builds and rebuilds until `shutdown`. Calls `completed` after each build: the new filter may deny links
    /// that another program has deleted and that are still cached.
    pub(in crate::links) async fn run(
        self,
        completed: impl Fn() + Send + Sync,
        shutdown: CancellationToken,
    ) {
        tokio::select! {
            never = self.keep(completed) => match never {},
            never = self.keep_lease(), if self.filter.is_announced() => match never {},
            () = shutdown.cancelled() => {}
        }
    }

    /// Looks all the time whether other servers wait for this one's filter.
    async fn keep_lease(&self) -> std::convert::Infallible {
        loop {
            self.filter.look_at_lease();
            tokio::time::sleep(TICK).await;
        }
    }

    async fn keep(&self, completed: impl Fn() + Send + Sync) -> std::convert::Infallible {
        let rebuilds = match self.is_dear() {
            true => DEAR_REBUILDS,
            false => REBUILDS,
        };
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            let worn = match self.build().await {
                Ok(complete) => {
                    tell(&complete, began.elapsed());
                    completed();
                    self.until_worn(&complete).await
                }
                Err(Stop::Outdated) => Worn::Outdated,
                Err(Stop::TooMany(links)) => {
                    tracing::warn!(
                        links,
                        most = self.scale.most_links,
                        "too many links for an existence filter"
                    );
                    self.clear().await;
                    tokio::time::sleep(TOO_MANY).await;
                    continue;
                }
            };
            tracing::debug!(?worn, "rebuilding the existence filter");
            if worn == Worn::Outdated {
                // It is not used any more, and the next one needs the memory.
                self.clear().await;
                pause = rebuilds.after(pause, began.elapsed());
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Whether a scan of the store costs money.
    fn is_dear(&self) -> bool {
        self.filter.denier().is_some()
    }

    async fn clear(&self) {
        self.filter.clear();
        if let Some(denier) = self.filter.denier() {
            denier.end().await;
        }
    }

    /// Builds a filter and completes it.
    pub(super) async fn build(&self) -> Result<Arc<Complete>, Stop> {
        self.await_looks().await;
        // All are read before the filter is registered: later events count as changes.
        let basis = Basis {
            generation: self.filter.watch.generation(),
            removed: self.filter.watch.removed(),
            term: self.lease().await,
        };
        let mut links = self.count(basis).await?;
        let bloom = loop {
            if links > self.scale.most_links {
                return Err(Stop::TooMany(links));
            }
            let room = (links + links / 2).max(self.scale.least_room);
            let bloom = self.scanned(basis, room).await?;
            // What is known of the number of links may be hours old.
            if !self.is_dear() || !bloom.is_overfull() {
                break bloom;
            }
            links = bloom.links();
            self.filter.abandon(&bloom);
        };
        let complete = Arc::new(Complete {
            bloom,
            generation: basis.generation,
            term: basis.term,
            removed: basis.removed,
        });
        self.filter.complete(&complete);
        self.metrics.filter_builds.inc();
        Ok(complete)
    }

    /// A filter of this size that is registered and has scanned the store.
    async fn scanned(&self, basis: Basis, room: u64) -> Result<Arc<Bloom>, Stop> {
        let bloom = Arc::new(aside(move || Bloom::with_room_for(room)).await);
        self.filter.register(&bloom);
        match self.scan(basis, &bloom).await {
            Ok(()) => Ok(bloom),
            Err(stop) => {
                self.filter.abandon(&bloom);
                Err(stop)
            }
        }
    }

    /// Waits for the first look at the feed: without one there is nothing that later looks could go on from. If a scan costs
    /// money, waits for one that is good.
    async fn await_looks(&self) {
        let watch = &self.filter.watch;
        let is_good = || match self.is_dear() {
            true => watch.vouches_for(watch.generation(), Instant::now()),
            false => watch.looked().is_some(),
        };
        let began = Instant::now();
        let mut is_logged = false;
        while !is_good() {
            if !is_logged && began.elapsed() > WAIT_LOGGED {
                is_logged = true;
                tracing::warn!(
                    "the existence filter is not built before the feed of changes can be read; with DynamoDB that needs \
                     the stream of the table, and Redis"
                );
            }
            tokio::time::sleep(FIRST_LOOK).await;
        }
    }

    /// Takes a lease, if the filter needs one; returns its term.
    async fn lease(&self) -> u64 {
        let Some(denier) = self.filter.denier() else {
            return 0;
        };
        let mut retry = RETRY;
        loop {
            match denier.begin().await {
                Ok(term) => return term,
                Err(error) if retry == RETRY => {
                    tracing::warn!(%error, "no lease for the existence filter; retrying");
                }
                Err(_) => {}
            }
            tokio::time::sleep(retry).await;
            retry = (2 * retry).min(MAX_RETRY);
        }
    }

    /// About how many names there are.
    async fn count(&self, basis: Basis) -> Result<u64, Stop> {
        if self.is_dear() {
            return Ok(self.store.estimate().await.unwrap_or(0));
        }
        let names = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&names);
        let count = move |_: &str, _: &str| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        self.walk(basis, Arc::new(count)).await?;
        Ok(names.load(Ordering::Relaxed))
    }

    /// Inserts all names of the store.
    async fn scan(&self, basis: Basis, bloom: &Arc<Bloom>) -> Result<(), Stop> {
        let (filter, bloom) = (Arc::clone(&self.filter), Arc::clone(bloom));
        let insert = move |code: &str, origin: &str| bloom.insert(filter.hash(code, origin));
        self.walk(basis, Arc::new(insert)).await
    }

    /// Passes all names of the store to `sink`, as long as the filter could be used.
    async fn walk(&self, basis: Basis, sink: NameSink) -> Result<(), Stop> {
        let mut after = None;
        let mut retry = RETRY;
        let least_rest = match self.is_dear() {
            true => {
                Duration::from_secs(1) * u32::try_from(self.scale.page).unwrap_or(u32::MAX)
                    / DEAR_RATE
            }
            false => Duration::ZERO,
        };
        loop {
            if !self.filter.is_current(basis.generation, basis.term) {
                return Err(Stop::Outdated);
            }
            let began = Instant::now();
            let page = self
                .store
                .names(after.clone(), self.scale.page, sink.clone());
            let rest = match page.await {
                Ok(None) => return Ok(()),
                Ok(next) => {
                    after = next;
                    retry = RETRY;
                    began.elapsed().min(MAX_REST).max(least_rest)
                }
                Err(error) => {
                    if retry == RETRY {
                        tracing::warn!(%error, "cannot read names for the existence filter; retrying");
                    }
                    let pause = retry;
                    retry = (2 * retry).min(MAX_RETRY);
                    pause
                }
            };
            tokio::time::sleep(rest).await;
        }
    }

    /// Waits until a filter has to be rebuilt.
    async fn until_worn(&self, complete: &Complete) -> Worn {
        loop {
            tokio::time::sleep(TICK).await;
            if let Some(worn) = self.worn(complete) {
                return worn;
            }
        }
    }

    pub(super) fn worn(&self, complete: &Complete) -> Option<Worn> {
        let watch = &self.filter.watch;
        let removed = watch.removed().saturating_sub(complete.removed);
        if !self.filter.is_current(complete.generation, complete.term) {
            Some(Worn::Outdated)
        } else if complete.bloom.is_overfull() {
            Some(Worn::Full)
        } else if removed >= self.scale.least_removed && removed > complete.bloom.links() / 4 {
            Some(Worn::Sparse)
        } else {
            None
        }
    }
}

fn tell(complete: &Complete, took: Duration) {
    tracing::info!(
        links = complete.bloom.links(),
        bytes = complete.bloom.bytes(),
        milliseconds = took.as_millis() as u64,
        "the existence filter is complete"
    );
}

/// Does slow work on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels it, and that ends this task as well.
            Err(_) => std::future::pending().await,
        },
    }
}
