//! Reads of the statistics that the store keeps, for calls of administrators. The part that counts is elsewhere.

use std::sync::Arc;

use super::Links;
use super::deadline::{ADMIN_DEADLINE, within};
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};
use crate::store::StoreError;
use crate::store::statistics::{Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit};

/// The statistics of the store. Each call ends in time, and its failures are counted as those of other calls of the store.
#[derive(Debug)]
pub struct StatisticsReads<'a> {
    links: &'a Links,
    store: Arc<dyn StatisticsStore>,
}

impl Links {
    /// The statistics of the store; none if it keeps none.
    pub fn statistics(&self) -> Option<StatisticsReads<'_>> {
        let store = self.store.statistics()?;
        Some(StatisticsReads { links: self, store })
    }
}

impl StatisticsReads<'_> {
    /// The sums of a link; see [`StatisticsStore::of_link`].
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        let sums = within(ADMIN_DEADLINE, self.store.of_link(name, range));
        self.links.counted(sums.await)
    }

    /// The sums of all links of a zone; see [`StatisticsStore::of_zone`].
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        let sums = within(ADMIN_DEADLINE, self.store.of_zone(origin, range));
        self.links.counted(sums.await)
    }

    /// The most used links of a zone; see [`StatisticsStore::ranking`].
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        unit: (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        let ranked = self.store.ranking(origin, by, unit, after, limit);
        self.links.counted(within(ADMIN_DEADLINE, ranked).await)
    }

    /// The all-time sums of these links, in their order.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        let totals = within(ADMIN_DEADLINE, self.store.totals(names));
        self.links.counted(totals.await)
    }
}
