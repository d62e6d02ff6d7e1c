//! `[store]`: where links are kept. Each store has keys of its own; those of another are refused.

use std::num::NonZeroU32;
use std::path::PathBuf;

use toml::Spanned;

use super::problem::Problem;
use super::raw::RawStore;
use super::reader::{ConfigReader, is_word};
use crate::store::DynamoConfig;

const DEFAULT_STORE_PATH: &str = "data/links.sqlite";
/// The article's table.
const DEFAULT_TABLE: &str = "tinyUrl";
/// A new table with on-demand billing takes 12,000 reads of a link a second: a flood of random names
/// leaves room for other servers and programs.
const DEFAULT_READS_PER_SECOND: u32 = 1_000;
/// More than a table gives, but a number that a typing mistake does not exceed by accident.
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

impl ConfigReader<'_> {
    /// The store, and how many look-ups a second for queries may go to it, if that has a bound.
    pub(super) fn store(&self, raw: RawStore) -> (StoreConfig, Option<NonZeroU32>) {
        let (sqlite, dynamodb) = ("sqlite", "dynamodb");
        let known = "\"sqlite\" or \"dynamodb\"";
        let kind = self.choice(raw.kind.clone(), "store.kind", known, |word| match word {
            None | Some("sqlite") => Some(sqlite),
            Some("dynamodb") => Some(dynamodb),
            Some(_) => None,
        });
        let span = |raw: &Option<Spanned<String>>| raw.as_ref().map(Spanned::span);
        for (key, belongs, place) in [
            ("store.path", sqlite, span(&raw.path)),
            ("store.table", dynamodb, span(&raw.table)),
            ("store.region", dynamodb, span(&raw.region)),
            ("store.endpoint_url", dynamodb, span(&raw.endpoint_url)),
            (
                "store.create_table",
                dynamodb,
                raw.create_table.as_ref().map(Spanned::span),
            ),
            (
                "store.reads_per_second",
                dynamodb,
                raw.reads_per_second.as_ref().map(Spanned::span),
            ),
        ] {
            // Which keys belong to an unknown store nobody knows, either.
            let other = kind.filter(|kind| *kind != belongs);
            if let (Some(place), Some(kind)) = (place, other) {
                self.note(place, key, Problem::OtherStore { belongs, kind });
            }
        }
        if kind == Some(dynamodb) {
            let (key, range) = ("store.reads_per_second", (0, MAX_READS_PER_SECOND));
            let (raw_reads, unit) = (raw.reads_per_second.clone(), " look-ups a second");
            let reads = self.number(raw_reads, key, range, unit, DEFAULT_READS_PER_SECOND);
            let config = StoreConfig::DynamoDb(self.dynamodb(raw));
            return (config, NonZeroU32::new(reads));
        }
        let path = self.file(raw.path, "store.path", DEFAULT_STORE_PATH);
        (StoreConfig::Sqlite { path }, None)
    }

    fn dynamodb(&self, raw: RawStore) -> DynamoConfig {
        let table = |text: &str| (3..=255).contains(&text.len()) && is_word(text, "_-.");
        let region = |text: &str| (1..=63).contains(&text.len()) && is_word(text, "-");
        let endpoint = |text: &str| {
            url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        DynamoConfig {
            table: self
                .text(raw.table, "store.table", table, Problem::Table)
                .unwrap_or_else(|| DEFAULT_TABLE.into()),
            region: self.text(raw.region, "store.region", region, Problem::Region),
            endpoint_url: self.text(
                raw.endpoint_url,
                "store.endpoint_url",
                endpoint,
                Problem::Endpoint,
            ),
            create_table: raw.create_table.is_some_and(Spanned::into_inner),
        }
    }
}
