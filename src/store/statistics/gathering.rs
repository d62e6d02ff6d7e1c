//! Gathering: what takes the counts of servers together before a store writes them.
//!
//! A store that charges for each write, such as DynamoDB, cannot add each batch of each server at once. Servers add their
//! batches to an *accumulator*, which holds one sum for each link, hour and counter. One server at a time, the *flusher*,
//! closes the accumulator, writes the sums, and ends it; see [`crate::store::dynamodb`]. Redis is the only [`Gatherer`].
//!
//! # Invariants
//!
//! * Each accumulator has an id. A new one has a higher id than all that were closed or ended before, as far as the gatherer
//!   knows, and keeps its id for ever: also if the gatherer falls back to an earlier state.
//! * The number of a server's last batch and the rows of that batch come and go together. A gatherer that falls back to an
//!   earlier state lacks both; so a batch that does not follow the last one is a *gap*, which shows that counts were lost.
//! * At most one accumulator is closed at a time. Nothing is added to it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::{Batch, Row};
use crate::store::StoreError;
use crate::store::servers::Label;

/// The id of an accumulator: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlushId(pub u64);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// It was added now, to this accumulator; none if it had no rows.
    Now(Option<FlushId>),
    /// It had been added before. The accumulator that has it as far as the gatherer knows; none if there is none any more.
    Before(Option<FlushId>),
    /// It was not added, because the last batch of the server is not the one before it.
    Gap,
    /// It was not added, because the accumulator has as many sums as it may have, or because an earlier one must be written first.
    Full,
}

/// What a server knows of accumulators to which nothing may be added any more, also if a gatherer that fell back to an earlier state
/// has them open: what is added to an accumulator that was written is never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// All accumulators up to this id have ended; 0 if none has.
    pub ended: u64,
    /// All accumulators up to this id were closed; 0 if none was.
    pub closed: u64,
}

/// An accumulator as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulator {
    /// Its id.
    pub id: FlushId,
    /// How many sums it has.
    pub sums: u64,
    /// How long ago the first one was added.
    pub age: Duration,
}

/// The state of a gatherer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatherState {
    /// The accumulator to which batches are added; none if nothing was added since the last one was closed.
    pub open: Option<Accumulator>,
    /// The accumulator that is being flushed.
    pub closed: Option<Accumulator>,
    /// All accumulators up to this id have ended; 0 if none has.
    pub floor: u64,
    /// The number of the last batch of the server that was asked for; 0 if none is known.
    pub last: u64,
}

/// Sums of a closed accumulator, each under the key by which it can be [dropped](Gatherer::drop_sums).
pub type Sums = HashMap<Box<str>, Row>;

/// The right to flush, while it is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushLease(pub Box<str>);

/// See the [module](self). Calls return [`StoreError`], as the calls of a store do.
#[async_trait]
pub trait Gatherer: Send + Sync + fmt::Debug {
    /// Adds a batch, once, and to no accumulator that is `known` to have ended or to be closed. An open accumulator that has
    /// ended is dropped: its sums were written. `after_gap`: also if the last batch of this server is not the one before it.
    async fn add(
        &self,
        batch: &Batch,
        known: Known,
        after_gap: bool,
    ) -> Result<Gathered, StoreError>;

    /// The state, with the last batch of this server.
    async fn state(&self, server: Option<&Label>) -> Result<GatherState, StoreError>;

    /// Takes the lease for flushing; none if another server has it.
    async fn take_lease(&self) -> Result<Option<FlushLease>, StoreError>;

    /// Renews the lease; false if it was lost.
    async fn renew_lease(&self, lease: &FlushLease) -> Result<bool, StoreError>;

    /// Gives the lease back.
    async fn give_back(&self, lease: FlushLease);

    /// The closed accumulator. If there is none, closes the open one; none if there is no open one either. From now on new
    /// accumulators have ids above `floor`.
    async fn close(&self, floor: u64) -> Result<Option<FlushId>, StoreError>;

    /// All sums of the closed accumulator.
    ///
    /// # Errors
    /// Another accumulator is closed now.
    async fn sums(&self, id: FlushId) -> Result<Sums, StoreError>;

    /// Drops sums that were written, if this accumulator is still the closed one.
    async fn drop_sums(&self, id: FlushId, keys: &[Box<str>]) -> Result<(), StoreError>;

    /// Ends the closed accumulator, if it is still this one.
    async fn end(&self, id: FlushId) -> Result<(), StoreError>;
}

/// How long the lease of a flusher lives. Its holder renews it three times in that time.
pub const LEASE: Duration = Duration::from_secs(6);
/// The most sums of an accumulator. In Redis it takes some 100 bytes for each, and the flusher reads all of them into its memory.
pub const MAX_SUMS: usize = 200_000;
