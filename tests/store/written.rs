//! What the battery does with the statistics of a store, which may gather what is added.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tinyns::base::clock::UnixTime;
use tinyns::link::{LinkName, Origin};
use tinyns::store::statistics::{
    Added, Batch, Keeping, Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit, Usage,
    UsagePage, UsagePlace,
};
use tinyns::store::{Adopted, StoreError};

/// Each read first has the store write what it has gathered.
#[derive(Debug)]
pub(super) struct Written(pub(super) Arc<dyn StatisticsStore>);

impl Written {
    async fn read(&self) -> Result<&Arc<dyn StatisticsStore>, StoreError> {
        while !self.0.flush().await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(&self.0)
    }
}

#[async_trait]
impl StatisticsStore for Written {
    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError> {
        // What is kept of a deleted link is decided when it is written.
        self.read().await?.keep(keeping).await
    }

    async fn add(&self, batch: &Batch, now: UnixTime) -> Result<Added, StoreError> {
        self.0.add(batch, now).await
    }

    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        self.read().await?.of_link(name, range).await
    }

    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        self.read().await?.of_zone(origin, range).await
    }

    async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        unit: (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        let store = self.read().await?;
        store.ranking(origin, by, unit, after, limit).await
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        self.read().await?.totals(names).await
    }

    async fn rank(&self) -> Result<bool, StoreError> {
        self.0.rank().await
    }

    async fn sweep(&self, now: UnixTime) -> Result<bool, StoreError> {
        self.read().await?.sweep(now).await
    }

    async fn usages(
        &self,
        after: Option<&UsagePlace>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        self.read().await?.usages(after, limit).await
    }

    async fn adopt(&self, usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
        self.0.adopt(usages).await
    }
}

/// Sweeps until there is nothing left to sweep.
pub(super) async fn sweep(store: &dyn StatisticsStore, now: u64) {
    for _ in 0..100 {
        if !store.sweep(UnixTime(now)).await.unwrap() {
            return;
        }
    }
    panic!("the sweep does not end");
}

/// All that a store has, page by page.
pub(super) async fn usages(store: &dyn StatisticsStore, limit: usize) -> Vec<Usage> {
    let (mut all, mut after): (Vec<Usage>, Option<UsagePlace>) = (Vec::new(), None);
    loop {
        let page = store.usages(after.as_ref(), limit).await.unwrap();
        assert!(page.usages.len() <= limit);
        assert_eq!(page.faults, Vec::<String>::new());
        all.extend(page.usages);
        match page.next {
            Some(next) => assert_ne!(after.replace(next), after, "the place stands still"),
            None => return all,
        }
    }
}
