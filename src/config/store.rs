//! `[store]`: where links are kept. Each store has keys of its own; those of another are refused.

use std::path::PathBuf;

use toml::Spanned;

use super::problem::{ConfigError, Problem};
use super::raw::RawStore;
use super::reader::Reader;
use crate::store::DynamoConfig;

const DEFAULT_STORE_PATH: &str = "data/links.sqlite";
/// The article's table.
const DEFAULT_TABLE: &str = "tinyUrl";

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

impl Reader<'_> {
    pub(super) fn store(&self, raw: RawStore) -> Result<StoreConfig, ConfigError> {
        let (sqlite, dynamodb) = ("sqlite", "dynamodb");
        let known = "\"sqlite\" or \"dynamodb\"";
        let kind = self.choice(raw.kind.clone(), "store.kind", known, |word| match word {
            None | Some("sqlite") => Some(sqlite),
            Some("dynamodb") => Some(dynamodb),
            Some(_) => None,
        })?;
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
        ] {
            if let Some(place) = place.filter(|_| belongs != kind) {
                return Err(self.error(place, key, Problem::OtherStore { belongs, kind }));
            }
        }
        if kind == dynamodb {
            return Ok(StoreConfig::DynamoDb(self.dynamodb(raw)?));
        }
        Ok(StoreConfig::Sqlite {
            path: self.file(raw.path, "store.path", DEFAULT_STORE_PATH)?,
        })
    }

    fn dynamodb(&self, raw: RawStore) -> Result<DynamoConfig, ConfigError> {
        let word = |text: &str, marks: &[char]| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || marks.contains(&c))
        };
        let table = |text: &str| (3..=255).contains(&text.len()) && word(text, &['_', '-', '.']);
        let region = |text: &str| (1..=63).contains(&text.len()) && word(text, &['-']);
        let endpoint = |text: &str| {
            url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        Ok(DynamoConfig {
            table: self
                .text(raw.table, "store.table", table, Problem::Table)?
                .unwrap_or_else(|| DEFAULT_TABLE.into()),
            region: self.text(raw.region, "store.region", region, Problem::Region)?,
            endpoint_url: self.text(
                raw.endpoint_url,
                "store.endpoint_url",
                endpoint,
                Problem::Endpoint,
            )?,
            create_table: raw.create_table.is_some_and(Spanned::into_inner),
        })
    }
}
