//! What lies behind the memory: Redis, and the store behind a budget.
//!
//! ```text
//!   find ── Redis ── it knows ────────────────────────────────────────────> answer
//!             └── it does not, or is down ── budget ── claim ── store ──> answer, put into Redis
//!                                              └── spent ──> refused
//! ```

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::batch::{BatchLimits, Batcher};
use super::budget::Budget;
use super::memory::Known;
use super::redis::{Claim, Failure, Held, RedisCache};
use crate::link::{Link, LinkName, Version};
use crate::metrics::{LookupResult, Metrics, Tier};
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

    /// Finds what there is of a name; `held` is the version that memory has of it. The caller bounds
    /// the time.
    pub(super) async fn find(
        &self,
        name: &LinkName,
        held: Option<Version>,
    ) -> Result<Known, StoreError> {
        let Some(redis) = &self.redis else {
            return Ok(self.read(name, held).await?.map(Arc::new));
        };
        let asked = self.ask(redis, name, held).await;
        match asked {
            Ok(Held::Link(link)) => return Ok(Some(link)),
            Ok(Held::Absent) => return Ok(None),
            Ok(Held::Nothing) | Err(_) => {}
        }
        self.spend(held)?;
        // The claim comes before the read, so that whatever is changed during the read removes it.
        let claim: Option<Claim> = match asked {
            Ok(_) => redis.claim_read(name).await,
            Err(_) => None,
        };
        let found = self.read_within_budget(name).await?;
        if let Some(claim) = claim {
            redis.fill(name, claim, found.as_ref());
        }
        Ok(found.map(Arc::new))
    }

    /// Asks Redis.
    async fn ask(
        &self,
        redis: &RedisCache,
        name: &LinkName,
        held: Option<Version>,
    ) -> Result<Held, Failure> {
        let began = Instant::now();
        let mut asked = redis.get(name).await;
        // It has lost what came after: it was restarted, or has failed over.
        if let (Ok(Held::Link(link)), Some(version)) = (&asked, held)
            && link.version < version
        {
            redis.drop_older(name, version);
            asked = Ok(Held::Nothing);
        }
        let result = match &asked {
            Ok(Held::Link(_) | Held::Absent) => LookupResult::Hit,
            Ok(Held::Nothing) => LookupResult::Miss,
            Err(Failure::Skipped) => LookupResult::Refused,
            Err(Failure::Failed) => LookupResult::Error,
        };
        self.metrics
            .time_lookup(Tier::Redis, result, began.elapsed());
        asked
    }

    /// Reads the store, if the budget allows it.
    async fn read(&self, name: &LinkName, held: Option<Version>) -> Read {
        self.spend(held)?;
        self.read_within_budget(name).await
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

    async fn read_within_budget(&self, name: &LinkName) -> Read {
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
            Err(_) => LookupResult::Error,
        });
        found
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
        self.metrics
            .time_lookup(Tier::Store, self.result, self.began.elapsed());
    }
}
