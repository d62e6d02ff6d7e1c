//! `[statistics]`: whether look-ups and clicks are counted.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::ConfigProblem;
use super::section::Section;
use super::store::{DYNAMODB, POSTGRESQL, SQLITE, StoreConfig, table};
use crate::store::StatisticsTable;
use crate::store::statistics::Keeping;

/// How many items DynamoDB gets each second.
const DEFAULT_WRITES: u32 = 100;
/// What one partition of a table takes at most.
const MAX_WRITES: u32 = 1_000;
/// How long counts are gathered before DynamoDB gets them, in seconds.
const DEFAULT_FLUSH: u32 = 60;
const MAX_FLUSH: u32 = 3_600;

/// How look-ups and clicks are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsConfig {
    /// What the store keeps.
    pub keeping: Keeping,
    /// A file in the format of MaxMind that tells the countries of addresses; none if countries are not counted.
    pub country_database: Option<PathBuf>,
}

/// None if nothing is counted. With DynamoDB, statistics are in a table of their own, and there are none without the name of that
/// table.
pub(super) fn statistics(
    section: &Section<'_>,
    store: &mut StoreConfig,
) -> Option<StatisticsConfig> {
    let enabled = section.flag("enabled", true);
    let other = |kind| {
        let belongs = DYNAMODB;
        Some(ConfigProblem::OtherStore { belongs, kind })
    };
    let refusal = match store {
        StoreConfig::Sqlite { .. } => other(SQLITE),
        StoreConfig::Postgres(_) => other(POSTGRESQL),
        StoreConfig::DynamoDb(_) => None,
    };
    let of_dynamodb = section.refusing(refusal);
    let name = of_dynamodb.parsed("table", table);
    let writes = of_dynamodb.number("writes_per_second", 1..=MAX_WRITES, "items", DEFAULT_WRITES);
    let flush = of_dynamodb.seconds("flush_every", 1..=MAX_FLUSH);
    if let (StoreConfig::DynamoDb(store), Some(name)) = (store, name.filter(|_| enabled)) {
        store.statistics = Some(StatisticsTable {
            name,
            writes_per_second: writes,
            flush_every: flush.unwrap_or(Duration::from_secs(DEFAULT_FLUSH.into())),
        });
    }
    let config = StatisticsConfig {
        keeping: Keeping {
            deleted: section.flag("keep_deleted", false),
        },
        country_database: section.optional_file("country_database"),
    };
    enabled.then_some(config)
}
