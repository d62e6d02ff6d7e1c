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
/// The pause before a rebuild because another program has written; it doubles until a filter has lasted for
/// [`CALM`].
const REBUILD: Duration = Duration::from_millis(100);
const MAX_REBUILD: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(60);
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
    /// Another program has written meanwhile.
    Outdated,
    /// There are more links than the largest filter holds.
    TooMany(u64),
}

/// Why a filter has to be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worn {
    /// Another program has written.
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
            never = self.keep_lease(), if self.filter.is_shared() => match never {},
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
                    self.filter.clear();
                    tokio::time::sleep(TOO_MANY).await;
                    continue;
                }
            };
            tracing::debug!(?worn, "rebuilding the existence filter");
            if worn == Worn::Outdated {
                // It is not used any more, and the next one needs the memory.
                self.filter.clear();
                pause = match began.elapsed() > CALM {
                    true => REBUILD,
                    false => (2 * pause).clamp(REBUILD, MAX_REBUILD),
                };
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Builds a filter and completes it.
    pub(super) async fn build(&self) -> Result<Arc<Complete>, Stop> {
        // Without a look at the feed there is nothing that later looks could go on from.
        while self.filter.watch.looked().is_none() {
            tokio::time::sleep(FIRST_LOOK).await;
        }
        // Both are read before the filter is registered: later events count as changes.
        let generation = self.filter.watch.generation();
        let removed = self.filter.watch.removed();
        let links = self.count(generation).await?;
        if links > self.scale.most_links {
            return Err(Stop::TooMany(links));
        }
        let room = (links + links / 2).max(self.scale.least_room);
        let bloom = Arc::new(aside(move || Bloom::with_room_for(room)).await);
        self.filter.register(&bloom);
        if let Err(stop) = self.scan(generation, &bloom).await {
            self.filter.abandon(&bloom);
            return Err(stop);
        }
        let complete = Arc::new(Complete {
            bloom,
            generation,
            removed,
        });
        self.filter.complete(&complete);
        self.metrics.filter_builds.inc();
        Ok(complete)
    }

    /// About how many names there are.
    async fn count(&self, generation: u64) -> Result<u64, Stop> {
        let names = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&names);
        let count = move |_: &str, _: &str| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        self.walk(generation, Arc::new(count)).await?;
        Ok(names.load(Ordering::Relaxed))
    }

    /// Inserts all names of the store.
    async fn scan(&self, generation: u64, bloom: &Arc<Bloom>) -> Result<(), Stop> {
        let (filter, bloom) = (Arc::clone(&self.filter), Arc::clone(bloom));
        let insert = move |code: &str, origin: &str| bloom.insert(filter.hash(code, origin));
        self.walk(generation, Arc::new(insert)).await
    }

    /// Passes all names of the store to `sink`, as long as no other program writes.
    async fn walk(&self, generation: u64, sink: NameSink) -> Result<(), Stop> {
        let mut after = None;
        let mut retry = RETRY;
        loop {
            if self.filter.watch.generation() != generation {
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
                    began.elapsed().min(MAX_REST)
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
        if watch.generation() != complete.generation {
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
