//! Statistics in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;

use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};
use crate::store::StoreError;
use crate::store::statistics::{
    Added, Batch, Click, Counter, Keeping, MAX_SUMS, Range, Ranked, Ranking, Row, StatisticsStore,
    Sum, Totals, Unit,
};

/// Keeps all rows, and sums them up anew at each read.
#[derive(Debug, Default)]
pub(in crate::http) struct MemoryStatistics {
    rows: Mutex<Vec<Row>>,
    batches: Mutex<BTreeSet<(String, u64)>>,
}

impl MemoryStatistics {
    /// Counts at a time.
    pub(in crate::http) fn count(&self, name: &str, at: &str, counter: &str, count: u64) {
        let row = Row {
            name: LinkName::parse(name).unwrap(),
            hour: Unit::Hour.start_of(UnixTime::parse(at).unwrap()),
            counter: Counter::parse(counter).unwrap(),
            count,
        };
        self.rows.lock().unwrap().push(row);
    }

    fn sums(&self, range: Range, takes: impl Fn(&LinkName) -> bool) -> Vec<Sum> {
        let mut sums = BTreeMap::new();
        for row in &*self.rows.lock().unwrap() {
            let start = range.unit.start_of(row.hour);
            if takes(&row.name) && range.from <= start && start < range.to {
                *sums.entry((start, row.counter.clone())).or_default() += row.count;
            }
        }
        let sums = sums.into_iter().map(|((start, counter), count)| Sum {
            start,
            counter,
            count,
        });
        sums.take(MAX_SUMS).collect()
    }
}

#[async_trait]
impl StatisticsStore for MemoryStatistics {
    async fn keep(&self, _: Keeping) -> Result<(), StoreError> {
        Ok(())
    }

    async fn add(&self, batch: &Batch, _: UnixTime) -> Result<Added, StoreError> {
        let id = (batch.server.to_string(), batch.number);
        if !self.batches.lock().unwrap().insert(id) {
            return Ok(Added::Before);
        }
        self.rows.lock().unwrap().extend_from_slice(&batch.rows);
        Ok(Added::Now)
    }

    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        Ok(self.sums(range, |other| other == name))
    }

    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        Ok(self.sums(range, |name| name.origin() == origin.as_str()))
    }

    async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        (unit, start): (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        let mut counts: BTreeMap<LinkName, u64> = BTreeMap::new();
        for row in &*self.rows.lock().unwrap() {
            let is_counted = match by {
                Ranking::Clicks => row.counter == Counter::Click(Click::Person),
                Ranking::Lookups => matches!(row.counter, Counter::Lookup(_)),
            };
            let is_here = row.name.origin() == origin.as_str();
            if is_counted && is_here && unit.start_of(row.hour) == start {
                *counts.entry(row.name.clone()).or_default() += row.count;
            }
        }
        let ranked = counts
            .into_iter()
            .map(|(name, count)| Ranked { name, count });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let begin = after.map_or(0, |after| {
            let is_before = |it: &Ranked| {
                it.count > after.count || it.count == after.count && it.name <= after.name
            };
            ranked.iter().take_while(|it| is_before(it)).count()
        });
        Ok(ranked.into_iter().skip(begin).take(limit).collect())
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let of = |name: &LinkName| {
            let mut totals = Totals::default();
            for row in rows.iter().filter(|row| row.name == *name) {
                match row.counter {
                    Counter::Lookup(_) => totals.lookups += row.count,
                    Counter::Click(Click::Person) => totals.clicks += row.count,
                    _ => {}
                }
            }
            totals
        };
        Ok(names.iter().map(of).collect())
    }

    async fn sweep(&self, _: UnixTime) -> Result<bool, StoreError> {
        Ok(false)
    }
}
