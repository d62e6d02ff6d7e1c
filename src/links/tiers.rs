//! What lies behind the memory: Redis, and the store behind a budget.
//!
//! ```text
//!   ask ── Redis ── it knows ─────────────────────────────────────────────> answer
//!             └── it does not, or is down ── find ── budget ── claim ── store ──> answer, put into Redis
//!                                                       └── spent ──> refused
//! ```

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::batch::{BatchLimits, Batcher};
use super::budget::Budget;
use super::memory::Known;
use super::redis::{Failure, Held, RedisCache};
use crate::base::metrics::{LookupResult, Metrics, Tier};
use crate::link::{Link, LinkName, Version};
use crate::store::{Store, StoreError};

/// Reads of a store that likes several names at once. As long as a quarter of DynamoDB's own reads are
/// free, every name is a call of its own.
const STORE_READS: BatchLimits = BatchLimits {
    queue: 8_192,
    size: 100,
    calls: 64,
};

/// What a read of the store gives.
type Read = Result<Option<Link>, StoreError>;

/// What Redis has told of a name.
#[derive(Debug)]
pub(super) enum RedisAnswer {
    /// This.
    Known(Known),
    /// It holds nothing.
    Nothing,
    /// It could not be asked, or is not believed.
    Unusable,
    /// This link is being changed, and is told only where the store cannot be asked.
    Changing(Arc<Link>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tiers {
    redis: Option<Arc<RedisCache>>,
    store: Arc<dyn Store>,
    /// Where the store prefers it.
    batches: Option<Batcher<LinkName, Read>>,
    budget: Option<Budget>,
    metrics: Arc<Metrics>,
}

impl Tiers {
    /// The tiers of a store with at most so many reads a second. To be called within a runtime.
    pub(super) fn new(
        store: Arc<dyn Store>,
        redis: Option<Arc<RedisCache>>,
        budget: Option<NonZeroU32>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let batches = store.prefers_batches().then(|| {
            let store = store.clone();
            Batcher::start(STORE_READS, move |names: Vec<LinkName>| {
                let store = store.clone();
                async move {
                    match names.as_slice() {
                        [name] => vec![store.get(name).await],
                        names => store.get_many(names).await,
                    }
                }
            })
        });
        Self {
            redis,
            store,
            batches,
            budget: budget.map(|budget| Budget::new(budget, Instant::now())),
            metrics,
        }
    }

    /// Asks Redis about names, all in one call; each comes with the version that memory has of it.
    pub(super) async fn ask_redis(
        &self,
        names: &[(&LinkName, Option<Version>)],
    ) -> Vec<RedisAnswer> {
        let Some(redis) = &self.redis else {
            return names.iter().map(|_| RedisAnswer::Unusable).collect();
        };
        let began = Instant::now();
        let wanted: Vec<&LinkName> = names.iter().map(|(name, _)| *name).collect();
        let held = redis.get_many(&wanted).await;
        let mut counts = Counts::default();
        let answers = names.iter().zip(held);
        let asked = answers
            .map(|((name, known), held)| counts.add(weigh(redis, name, *known, held)))
            .collect();
        counts.tell(&self.metrics, began);
        asked
    }

    /// Finds what there is of a name that Redis has not told; `known` is the version that memory has of
    /// it. The caller bounds the time.
    pub(super) async fn find(
        &self,
        name: &LinkName,
        known: Option<Version>,
        asked: RedisAnswer,
    ) -> Result<Known, StoreError> {
        let may_fill = match asked {
            RedisAnswer::Known(known) => return Ok(known),
            RedisAnswer::Nothing => true,
            RedisAnswer::Unusable | RedisAnswer::Changing(_) => false,
        };
        self.spend(known)?;
        // The claim comes before the read, so that whatever is changed during the read removes it.
        let claim = match &self.redis {
            Some(redis) if may_fill => redis.claim_read(name).await.map(|claim| (redis, claim)),
            _ => None,
        };
        let found = self.read(name).await?;
        if let Some((redis, claim)) = claim {
            redis.fill(name, claim, found.as_ref());
        }
        Ok(found.map(Arc::new))
    }

    fn spend(&self, held: Option<Version>) -> Result<(), StoreError> {
        match &self.budget {
            Some(budget) if !budget.take(held.is_some(), Instant::now()) => {
                self.metrics.store_reads_refused.inc();
                self.metrics
                    .count_lookup(Tier::Store, LookupResult::Refused);
                Err(StoreError::Overloaded)
            }
            _ => Ok(()),
        }
    }

    async fn read(&self, name: &LinkName) -> Read {
        let began = Instant::now();
        let counted = Counted {
            began,
            metrics: &self.metrics,
            result: LookupResult::Error,
        };
        let found = match &self.batches {
            Some(batches) => batches
                .ask(name.clone())
                .await
                .unwrap_or(Err(StoreError::Overloaded)),
            None => self.store.get(name).await,
        };
        counted.with(match &found {
            Ok(Some(_)) => LookupResult::Hit,
            Ok(None) => LookupResult::Miss,
            Err(error) => {
                self.metrics.count_store_error(error.cause());
                LookupResult::Error
            }
        });
        found
    }
}

/// What an answer of Redis is worth to somebody who has known a version.
fn weigh(
    redis: &RedisCache,
    name: &LinkName,
    known: Option<Version>,
    held: Result<Held, Failure>,
) -> (LookupResult, RedisAnswer) {
    match held {
        Ok(Held::Link(link)) => match known {
            // It has lost what came after: it was restarted, or has failed over.
            Some(version) if link.version < version => {
                redis.drop_older(name, version);
                (LookupResult::Stale, RedisAnswer::Unusable)
            }
            _ => (LookupResult::Hit, RedisAnswer::Known(Some(link))),
        },
        Ok(Held::Absent(absence)) => match known {
            // An absence that a reader has found has no version, and is of some seconds ago.
            Some(version) if Version(0) < absence && absence < version => {
                redis.drop_older(name, version);
                (LookupResult::Stale, RedisAnswer::Unusable)
            }
            _ => (LookupResult::Hit, RedisAnswer::Known(None)),
        },
        Ok(Held::Nothing) => (LookupResult::Miss, RedisAnswer::Nothing),
        Ok(Held::Changing(link)) => match known {
            Some(version) if link.version < version => (LookupResult::Miss, RedisAnswer::Unusable),
            _ => (LookupResult::Miss, RedisAnswer::Changing(link)),
        },
        Err(Failure::Skipped) => (LookupResult::Refused, RedisAnswer::Unusable),
        Err(Failure::Failed | Failure::Full) => (LookupResult::Error, RedisAnswer::Unusable),
    }
}

/// How the answers about several names came out.
#[derive(Default)]
struct Counts(Vec<(LookupResult, u64)>);

impl Counts {
    fn add(&mut self, (result, asked): (LookupResult, RedisAnswer)) -> RedisAnswer {
        match self.0.iter_mut().find(|(of, _)| *of == result) {
            Some((_, count)) => *count += 1,
            None => self.0.push((result, 1)),
        }
        asked
    }

    fn tell(&self, metrics: &Metrics, began: Instant) {
        let took = began.elapsed();
        for &(result, count) in &self.0 {
            metrics.time_lookups(Tier::Redis, result, count, took);
        }
    }
}

/// Counts a read of the store when it is dropped: also one whose time was up.
struct Counted<'a> {
    began: Instant,
    metrics: &'a Metrics,
    result: LookupResult,
}

impl Counted<'_> {
    fn with(mut self, result: LookupResult) {
        self.result = result;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.metrics.time_lookups(Tier::Store, self.result, 1, took);
    }
}
