//! The tiers behind the memory: Redis, and the store with its budget.
//!
//! ```text
//!   ask ── Redis ── it knows ─────────────────────────────────────────────> answer
//!             └── it does not, or is down ── find ── budget ── claim ── store ──> answer, put into Redis
//!                                                       └── spent ──> refused
//! ```
//!
//! What was read from a replica may be older than a change that was made before the claim, so it is not put into Redis. Some
//! tenths of a second later the name is read again, with everything that was committed before the claim.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::budget::Budget;
use super::memory::Known;
use super::redis::{Claim, Failure, Held, RedisCache};
use crate::base::batch::{BatchLimits, Batcher};
use crate::base::metrics::{LookupResult, Metrics, Tier};
use crate::link::{Link, LinkName, Version};
use crate::store::{Store, StoreError};

/// Batches of reads for a store that prefers them. While a quarter of DynamoDB's 256 reads is free, each name is a
/// read of its own.
const STORE_READS: BatchLimits = BatchLimits {
    queue: 8_192,
    size: 100,
    calls: 64,
};

/// Batches of values for Redis that are read again. A batch waits some tenths of a second for the replica.
const FILLS: BatchLimits = BatchLimits {
    queue: 8_192,
    size: 100,
    calls: 64,
};

/// The result of a read of the store.
type Read = Result<Option<Link>, StoreError>;

/// What Redis has answered about a name.
#[derive(Debug)]
pub(super) enum RedisAnswer {
    /// The link, or its absence.
    Known(Known),
    /// It has no value.
    Nothing,
    /// It gave no answer, or one that is not trusted.
    Unusable,
    /// A claim that replaced this link, which is used only if the store cannot be read.
    Changing(Arc<Link>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tiers {
    redis: Option<Arc<RedisCache>>,
    store: Arc<dyn Store>,
    /// With a store that prefers batches.
    batches: Option<Batcher<LinkName, Read>>,
    /// The claims of names to be read again, with a store whose reads may lag.
    fills: Option<Batcher<(LinkName, Claim), ()>>,
    budget: Option<Budget>,
    metrics: Arc<Metrics>,
}

impl Tiers {
    /// The tiers of a store with at most so many reads a second. Must be called within a runtime.
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
        let fills = redis.clone().filter(|_| store.may_lag());
        let fills = fills.map(|redis| {
            let store = store.clone();
            Batcher::start(FILLS, move |claims| {
                fill(redis.clone(), store.clone(), claims)
            })
        });
        Self {
            redis,
            store,
            batches,
            fills,
            budget: budget.map(|budget| Budget::new(budget, Instant::now())),
            metrics,
        }
    }

    /// Asks Redis about names in one call. Each name comes with the version of the link in memory.
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

    /// Finds the state of a name that Redis does not know. `known` is the version of the link in memory. The
    /// caller bounds the time.
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
        // The claim comes before the read, so that every change during the read removes it.
        let claim = match &self.redis {
            Some(redis) if may_fill => redis.claim_read(name).await.map(|claim| (redis, claim)),
            _ => None,
        };
        let found = self.read(name).await?;
        let found = match known {
            Some(known) if self.store.may_lag() => self.not_older(name, found, known).await?,
            _ => found,
        };
        match (claim, &self.fills) {
            (Some((redis, claim)), None) => redis.fill(name, claim, found.as_ref()),
            // If too many wait, it is read again for another query.
            (Some((_, claim)), Some(fills)) => drop(fills.tell((name.clone(), claim))),
            (None, _) => {}
        }
        Ok(found.map(Arc::new))
    }

    /// What was read, unless memory holds a newer link: a replica may lack that one.
    async fn not_older(&self, name: &LinkName, found: Option<Link>, known: Version) -> Read {
        if found.as_ref().is_some_and(|found| found.version >= known) {
            return Ok(found);
        }
        self.store.note_changed(name);
        self.read(name).await
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

/// Reads names again, and puts them into Redis.
async fn fill(
    redis: Arc<RedisCache>,
    store: Arc<dyn Store>,
    claims: Vec<(LinkName, Claim)>,
) -> Vec<()> {
    let names: Vec<LinkName> = claims.iter().map(|(name, _)| name.clone()).collect();
    let found = store.get_many_current(&names).await;
    let done = claims.into_iter().zip(found).map(|((name, claim), found)| {
        // After a failure the claim expires.
        if let Ok(found) = found {
            redis.fill(&name, claim, found.as_ref());
        }
    });
    done.collect()
}

/// What an answer of Redis is worth, given the version of the link in memory.
fn weigh(
    redis: &RedisCache,
    name: &LinkName,
    known: Option<Version>,
    held: Result<Held, Failure>,
) -> (LookupResult, RedisAnswer) {
    match held {
        Ok(Held::Link(link)) => match known {
            // Redis has lost a newer value: it has restarted or failed over.
            Some(version) if link.version < version => {
                redis.drop_older(name, version);
                (LookupResult::Stale, RedisAnswer::Unusable)
            }
            _ => (LookupResult::Hit, RedisAnswer::Known(Some(link))),
        },
        Ok(Held::Absent(absence)) => match known {
            // An absence that a reader has put has no version; it is some seconds old at most.
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

/// The results of a call, to be counted together.
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

/// Counts a read of the store when it is dropped, so that a read that times out is counted as well.
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
