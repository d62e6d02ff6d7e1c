//! `[store]`: where links are kept. Each store has keys of its own, and refuses those of another.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::problem::ConfigProblem;
use super::section::{Section, is_word};
use crate::store::DynamoConfig;

pub(super) const SQLITE: &str = "sqlite";
pub(super) const DYNAMODB: &str = "dynamodb";

const DEFAULT_PATH: &str = "data/links.sqlite";
/// The table of the article that describes such links.
const DEFAULT_TABLE: &str = "tinyUrl";
/// A new table with on-demand billing takes 12,000 reads of a link a second: a flood of random names
/// leaves room for other servers and programs.
const DEFAULT_READS_PER_SECOND: u32 = 1_000;
/// More than a table gives, but a typing mistake hardly stays below it.
const MAX_READS_PER_SECOND: u32 = 1_000_000;

/// Where the links are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// The embedded store.
    Sqlite {
        /// Its file.
        path: PathBuf,
    },
    /// A DynamoDB table.
    DynamoDb(DynamoConfig),
}

/// The store, and how many look-ups a second for queries may go to it; none for no limit.
pub(super) fn store(section: &Section<'_>) -> (StoreConfig, Option<NonZeroU32>) {
    let kinds = [(SQLITE, SQLITE), (DYNAMODB, DYNAMODB)];
    let kind = section.choice("kind", &kinds);
    // If the kind is unknown, it is unknown which keys belong to another store.
    let only_of = |belongs| {
        let other = kind.filter(|kind| *kind != belongs);
        section.refusing(other.map(|kind| ConfigProblem::OtherStore { belongs, kind }))
    };
    let path = only_of(SQLITE).file("path", DEFAULT_PATH);
    let (table, reads_per_second) = dynamodb(&only_of(DYNAMODB));
    if kind == Some(DYNAMODB) {
        if !section.features().dynamodb {
            section.note("kind", ConfigProblem::NotBuilt(DYNAMODB));
        }
        return (StoreConfig::DynamoDb(table), reads_per_second);
    }
    (StoreConfig::Sqlite { path }, None)
}

fn dynamodb(section: &Section<'_>) -> (DynamoConfig, Option<NonZeroU32>) {
    let config = DynamoConfig {
        table: section
            .parsed("table", table)
            .unwrap_or_else(|| DEFAULT_TABLE.into()),
        region: section.parsed("region", region),
        endpoint_url: section.parsed("endpoint_url", endpoint),
        create_table: section.flag("create_table", false),
        audit: None,
    };
    let reads_per_second = section.number(
        "reads_per_second",
        0..=MAX_READS_PER_SECOND,
        "look-ups a second",
        DEFAULT_READS_PER_SECOND,
    );
    (config, NonZeroU32::new(reads_per_second))
}

/// The name of a table.
pub(super) fn table(text: &str) -> Result<String, ConfigProblem> {
    let is_good = (3..=255).contains(&text.len()) && is_word(text, "_-.");
    is_good
        .then(|| text.into())
        .ok_or_else(|| ConfigProblem::Table(text.into()))
}

fn region(text: &str) -> Result<String, ConfigProblem> {
    let is_good = (1..=63).contains(&text.len()) && is_word(text, "-");
    is_good
        .then(|| text.into())
        .ok_or_else(|| ConfigProblem::Region(text.into()))
}

fn endpoint(text: &str) -> Result<String, ConfigProblem> {
    let url = url::Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .map(|_| text.into())
        .ok_or_else(|| ConfigProblem::Endpoint(text.into()))
}
