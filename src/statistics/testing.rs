//! What the tests of statistics share: a store in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Statistics;
use super::agents::Agents;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::link::{LinkName, Origin};
use crate::store::StoreError;
use crate::store::servers::Label;
use crate::store::statistics::{
    Added, Batch, Keeping, MAX_ROWS, Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit,
};

/// The classes of user agents, which take a moment to compile.
pub(crate) fn agents() -> Arc<Agents> {
    static AGENTS: LazyLock<Arc<Agents>> = LazyLock::new(|| Arc::new(Agents::new().unwrap()));
    AGENTS.clone()
}

/// Statistics with a ledger behind them.
pub(crate) struct Counted {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) statistics: Statistics,
}

impl Counted {
    pub(crate) fn new(clock: Clock, metrics: &Arc<Metrics>) -> Self {
        let ledger = Arc::new(Ledger::default());
        let server = (Label::new("server").unwrap(), Keeping::default());
        let statistics = Statistics::new(ledger.clone(), server, clock, metrics.clone());
        Self { ledger, statistics }
    }

    /// Brings all counts to the ledger, once, and returns how often was counted, by name and counter.
    pub(crate) async fn sums(&self) -> BTreeMap<(String, String), u64> {
        let stop = CancellationToken::new();
        stop.cancel();
        self.statistics.clone().run(stop).await;
        self.ledger.sums()
    }
}

/// What was counted: name, hour, counter.
pub(crate) type Sums = BTreeMap<(String, u64, String), u64>;

/// A store that keeps what is added in memory, and fails as often as a test wants.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sums: Mutex<Sums>,
    numbers: Mutex<HashMap<Label, u64>>,
    /// How many calls fail before anything is added, and after.
    pub(super) failing: AtomicU32,
    pub(super) losing_replies: AtomicU32,
    pub(super) keeping: Mutex<Option<Keeping>>,
}

impl Ledger {
    /// Forgets everything, so that another flusher may begin with its first batch.
    pub(crate) fn clear(&self) {
        self.sums.lock().unwrap().clear();
        self.numbers.lock().unwrap().clear();
    }

    /// How often was counted in all hours, by name and counter.
    pub(crate) fn sums(&self) -> BTreeMap<(String, String), u64> {
        let mut sums = BTreeMap::new();
        for ((name, _, counter), count) in self.sums.lock().unwrap().clone() {
            *sums.entry((name, counter)).or_default() += count;
        }
        sums
    }
}

fn take_one(left: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

#[async_trait]
impl StatisticsStore for Ledger {
    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError> {
        if take_one(&self.failing) {
            return Err(StoreError::Unreachable("a test".into()));
        }
        *self.keeping.lock().unwrap() = Some(keeping);
        Ok(())
    }

    async fn add(&self, batch: &Batch, _now: UnixTime) -> Result<Added, StoreError> {
        assert!((1..=MAX_ROWS).contains(&batch.rows.len()));
        if take_one(&self.failing) {
            return Err(StoreError::Unreachable("a test".into()));
        }
        let mut numbers = self.numbers.lock().unwrap();
        let last = numbers.entry(batch.server.clone()).or_default();
        let added = match batch.number <= *last {
            true => Added::Before,
            false => {
                assert_eq!(batch.number, *last + 1, "the order of the batches");
                *last = batch.number;
                let mut sums = self.sums.lock().unwrap();
                for row in &batch.rows {
                    assert!(row.count > 0);
                    let key = (row.name.to_string(), row.hour.0, row.counter.to_string());
                    *sums.entry(key).or_default() += row.count;
                }
                Added::Now
            }
        };
        match take_one(&self.losing_replies) {
            true => Err(StoreError::DeadlineExceeded),
            false => Ok(added),
        }
    }

    async fn of_link(&self, _: &LinkName, _: Range) -> Result<Vec<Sum>, StoreError> {
        Ok(Vec::new())
    }

    async fn of_zone(&self, _: &Origin, _: Range) -> Result<Vec<Sum>, StoreError> {
        Ok(Vec::new())
    }

    async fn ranking(
        &self,
        _: &Origin,
        _: Ranking,
        _: (Unit, UnixTime),
        _: Option<&Ranked>,
        _: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        Ok(Vec::new())
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        Ok(vec![Totals::default(); names.len()])
    }

    async fn sweep(&self, _: UnixTime) -> Result<bool, StoreError> {
        Ok(false)
    }
}
