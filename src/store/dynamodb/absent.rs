//! Takes the place of [`dynamodb`](self) in a build without the feature `dynamodb`.
//!
//! Nothing can be opened here: every attempt ends in [`DynamoOpenError`]. A configuration with `kind = "dynamodb"` is
//! refused before; only `tinyns import dynamodb` comes this far.

mod config;

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::config::{AuditTable, DynamoConfig, StatisticsTable};
use super::{Segment, Store};

/// The program has no DynamoDB client.
#[derive(Debug, thiserror::Error)]
#[error("built without dynamodb: build with --features dynamodb")]
pub struct DynamoOpenError;

/// A link store that cannot exist.
#[derive(Debug)]
pub struct DynamoStore(Infallible);

impl DynamoStore {
    /// Opens nothing.
    ///
    /// # Errors
    /// [`DynamoOpenError`], always.
    pub async fn open_now(_: &DynamoConfig) -> Result<Arc<dyn Store>, DynamoOpenError> {
        Err(DynamoOpenError)
    }

    /// Opens nothing.
    ///
    /// # Errors
    /// [`DynamoOpenError`], always.
    pub async fn open_or_wait(_: &DynamoConfig) -> Result<Arc<dyn Store>, DynamoOpenError> {
        Err(DynamoOpenError)
    }
}

/// A table that cannot exist.
#[derive(Debug)]
pub struct ForeignTable(Infallible);

/// A stretch of items, as in builds with DynamoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPage {
    /// The items as JSON.
    pub items: Vec<Map<String, Value>>,
    /// The key before the next page, if there is one.
    pub next: Option<String>,
}

/// An error that cannot occur.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(Infallible);

impl ReadError {
    /// Whether another try later may succeed.
    pub fn may_pass(&self) -> bool {
        match self.0 {}
    }
}

impl ForeignTable {
    /// Opens nothing.
    ///
    /// # Errors
    /// [`DynamoOpenError`], always.
    pub async fn open(_: &DynamoConfig) -> Result<Self, DynamoOpenError> {
        Err(DynamoOpenError)
    }

    /// How many items there are.
    pub fn item_count(&self) -> u64 {
        match self.0 {}
    }

    /// Where the table is.
    pub fn place(&self) -> &str {
        match self.0 {}
    }

    /// A page of the table.
    ///
    /// # Errors
    /// None: there is no table.
    pub async fn page(
        &self,
        _: Segment,
        _: Option<&str>,
        _: u32,
    ) -> Result<ForeignPage, ReadError> {
        match self.0 {}
    }
}
