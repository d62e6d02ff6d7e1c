//! The way of a batch from this server into an accumulator in Redis.

use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::ledger::Attempt;
use super::{PATIENCE, Statistics, TABLE_PATIENCE};
use crate::base::lock::lock;
use crate::store::StoreError;
use crate::store::servers::Label;
use crate::store::statistics::gathering::{FlushId, GatherState, Gathered, Gatherer, Known};
use crate::store::statistics::{Added, Batch};
use crate::store::sums::names;

impl Statistics {
    /// To which accumulators nothing may be added any more.
    fn known(&self) -> Known {
        *lock(&self.known)
    }

    pub(super) fn learn(&self, state: &GatherState) {
        let mut known = lock(&self.known);
        known.ended = known.ended.max(state.floor);
        let closed = state.closed.map_or(0, |closed| closed.id.0);
        known.closed = known.closed.max(closed);
    }

    pub(super) fn learn_closed(&self, id: FlushId) {
        let mut known = lock(&self.known);
        known.closed = known.closed.max(id.0);
    }

    /// The floor of the table.
    pub(super) async fn floor(&self) -> Result<u64, StoreError> {
        let floor = self.sums.floor().await?;
        let mut known = lock(&self.known);
        known.ended = known.ended.max(floor);
        Ok(floor)
    }

    /// Asks for the floor of the table before the first batch. If the table is away, the counts must go to Redis nevertheless.
    async fn ask_once(&self) {
        if self.has_asked.swap(true, Ordering::Relaxed) {
            return;
        }
        if !matches!(timeout(PATIENCE, self.floor()).await, Ok(Ok(_))) {
            tracing::debug!("it is not known which accumulators were written");
        }
    }

    /// Looks whether the batches of a server up to this number are in Redis or in the table, and counts the others as lost.
    pub(super) async fn account(
        &self,
        gatherer: &dyn Gatherer,
        server: &Label,
        up_to: u64,
    ) -> Result<(), StoreError> {
        let state = gatherer.state(Some(server)).await?;
        self.learn(&state);
        let is_in_doubt = self.ledger().is_in_doubt(server, up_to, &state);
        let floor = match is_in_doubt {
            true => self.floor().await?,
            false => 0,
        };
        let lost = self.ledger().check(server, up_to, &state, floor);
        tell_lost(lost);
        Ok(())
    }

    /// Uses the number of a batch that is given up, and counts it as lost.
    async fn lose(&self, gatherer: &dyn Gatherer, batch: &Batch) -> Result<Added, StoreError> {
        let none = Batch {
            server: batch.server.clone(),
            number: batch.number,
            rows: Vec::new(),
        };
        match gatherer.add(&none, self.known(), true).await? {
            Gathered::Now(_) | Gathered::Before(_) => {
                let mut ledger = self.ledger();
                ledger.settle(batch);
                tell_lost(ledger.lose(batch));
                Ok(Added::Lost)
            }
            Gathered::Gap | Gathered::Full => Err(StoreError::Unavailable(
                "Redis does not take the number of a batch of statistics".into(),
            )),
        }
    }

    /// Adds a batch to the open accumulator, once.
    pub(super) async fn add_batch(&self, batch: &Batch) -> Result<Added, StoreError> {
        let gatherer = self.gatherer()?;
        names(batch)?;
        self.ask_once().await;
        let attempt = self.ledger().attempt(batch);
        if attempt == Attempt::GivenUp {
            return self.lose(&**gatherer, batch).await;
        }
        let settle_if = |is_certain| {
            // A batch that was sent before may have been added then.
            if is_certain && attempt == Attempt::First {
                self.ledger().settle(batch);
            }
        };
        let mut gathered = gatherer.add(batch, self.known(), false).await;
        if let Ok(Gathered::Gap) = gathered {
            // Before the numbers follow each other again. Redis may have accumulators again that were written.
            let known = async {
                self.floor().await?;
                let before = batch.number - 1;
                self.account(&**gatherer, &batch.server, before).await
            };
            let known = timeout(TABLE_PATIENCE, known).await;
            if let Err(error) = known.unwrap_or(Err(StoreError::DeadlineExceeded)) {
                settle_if(true);
                return Err(error);
            }
            if attempt == Attempt::Again {
                self.ledger().give_up(batch);
                return self.lose(&**gatherer, batch).await;
            }
            gathered = gatherer.add(batch, self.known(), true).await;
        }
        let (id, added) = match gathered {
            Ok(Gathered::Now(id)) => (id, Added::Now),
            // Its reply was lost, so it was not noted.
            Ok(Gathered::Before(id)) if attempt == Attempt::Again => (id, Added::Before),
            Ok(Gathered::Before(_)) => (None, Added::Before),
            Ok(Gathered::Gap) => {
                settle_if(true);
                let text = "Redis does not take a batch of statistics";
                return Err(StoreError::Unavailable(text.into()));
            }
            Ok(Gathered::Full) => {
                settle_if(true);
                return Err(StoreError::Throttled(
                    "Redis has as many sums of statistics as it may have: they are written more slowly than they come, so raise \
                     writes_per_second or flush_every in [statistics]"
                        .into(),
                ));
            }
            Err(error) => {
                settle_if(error.is_certain());
                return Err(error);
            }
        };
        let mut ledger = self.ledger();
        ledger.settle(batch);
        if let Some(id) = id {
            ledger.note(batch, id);
        }
        Ok(added)
    }
}

/// The log tells that counts are lost.
fn tell_lost(counts: u64) {
    if counts > 0 {
        tracing::error!(
            counts,
            "statistics: Redis has lost counts of this server that were not written yet, up to this many"
        );
    }
}
