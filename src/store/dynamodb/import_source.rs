//! A table that another program has filled, read item by item for an import.
//!
//! [`crate::store::Store::scan`] returns links; it logs and skips everything else, such as the article's bare
//! codes, codes in upper case, and URLs that are refused. An import has to report each of these. So it reads items
//! and checks them itself. It changes nothing in the table.
//!
//! The table of the article, taken literally, has `miniUrl` as the sort key behind some partition key. Such a
//! table can be read here, although no link in it can be looked up by name.
//!
//! Pages are not read consistently, at half the price, and in segments that may be read in parallel. A role needs
//! only `DescribeTable` and `Scan` on the table.

use aws_config::ConfigLoader;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType};
use serde_json::{Map, Value};

use super::item::{self, Item, KEY, PROJECTION, TTL};
use super::kind::TableKey;
use super::open::{self, Admin};
use super::{
    DynamoConfig, DynamoOpenError, DynamoStore, Table, WRITE_ATTEMPT_TIME, WRITE_BACKOFF,
    WRITE_TIME, failure,
};
use crate::store::Segment;

/// A table for reading only.
#[derive(Debug)]
pub struct ForeignTable {
    client: Client,
    table: Table,
    key: TableKey,
    items: u64,
}

/// A page of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPage {
    /// The items as JSON, with the attributes of links only. Strings and numbers stay what they are; a value of
    /// any other type becomes an empty array. A number that is not a whole one of 64 bits becomes a string of its
    /// digits.
    pub items: Vec<Map<String, Value>>,
    /// The key after which the next page begins; none if this is the last page.
    pub next: Option<String>,
}

/// Why a page could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{table}: {reason}")]
pub struct ReadError {
    /// The table and where it is.
    table: String,
    reason: String,
    may_pass: bool,
}

impl ReadError {
    /// Whether the same read may succeed later.
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }
}

impl ForeignTable {
    /// Opens the table with the region and the credentials that the AWS tools would use.
    ///
    /// # Errors
    /// [`DynamoOpenError`] if the table cannot be reached, does not exist, or has a key that links cannot be read
    /// by.
    pub async fn open(config: &DynamoConfig) -> Result<Self, DynamoOpenError> {
        Self::open_with(config, DynamoStore::settings()).await
    }

    /// The same with these settings; those in `config` take precedence.
    ///
    /// # Errors
    /// As [`ForeignTable::open`].
    pub async fn open_with(
        config: &DynamoConfig,
        settings: ConfigLoader,
    ) -> Result<Self, DynamoOpenError> {
        let sdk = open::load(config, settings).await?;
        let table = open::table(config, &sdk);
        let client = open::client(&sdk, WRITE_TIME, WRITE_ATTEMPT_TIME, WRITE_BACKOFF);
        let admin = Admin {
            client: &client,
            table: &table,
        };
        let (found, key) = Box::pin(admin.find()).await?;
        Ok(Self {
            key,
            items: found
                .item_count
                .and_then(|n| n.try_into().ok())
                .unwrap_or(0),
            client,
            table,
        })
    }

    /// How many items there are. DynamoDB counts them every few hours; often 0.
    pub fn item_count(&self) -> u64 {
        self.items
    }

    /// The table's region, or the URL of the endpoint.
    pub fn place(&self) -> &str {
        &self.table.place
    }

    /// At most `limit` items of one part of the table after the key `after`. There may be none although more
    /// follow. DynamoDB ends a page at 1 MiB.
    ///
    /// # Errors
    /// [`ReadError`] if DynamoDB fails or refuses, after the SDK's own retries.
    pub async fn page(
        &self,
        segment: Segment,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ForeignPage, ReadError> {
        let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let start = match after.map(|place| self.key_at(place)) {
            None => None,
            Some(Some(key)) => Some(key),
            Some(None) => return Err(self.no_place()),
        };
        let sent = self
            .client
            .scan()
            .table_name(&self.table.name)
            .projection_expression(PROJECTION)
            .expression_attribute_names("#ttl", TTL)
            .set_exclusive_start_key(start)
            .segment(int(segment.index))
            .total_segments(int(segment.total))
            .limit(int(limit.max(1)))
            .send()
            .await;
        let output = sent.map_err(|error| ReadError {
            table: self.table.to_string(),
            reason: failure::text(&error),
            may_pass: failure::may_pass(&error),
        })?;
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        let next = match next.map(|key| self.place_of(&key)) {
            None => None,
            Some(Some(place)) => Some(place),
            Some(None) => return Err(self.no_place()),
        };
        let items = output.items.unwrap_or_default().into_iter();
        Ok(ForeignPage {
            items: items
                .filter(|item| !item::is_own(item))
                .map(plain)
                .collect(),
            next,
        })
    }
}

/// Places between pages, as text that can be kept in a file: the key of the last item. If the table has a
/// partition key as well, a JSON array of both.
impl ForeignTable {
    fn place_of(&self, key: &Item) -> Option<String> {
        let name = key.get(KEY)?.as_s().ok()?;
        match &self.key {
            TableKey::Name => Some(name.clone()),
            TableKey::Within(partition, _) => {
                let partition = match key.get(partition)? {
                    AttributeValue::S(text) | AttributeValue::N(text) => text,
                    _ => return None,
                };
                serde_json::to_string(&[partition, name]).ok()
            }
        }
    }

    fn key_at(&self, place: &str) -> Option<Item> {
        match &self.key {
            TableKey::Name => Some(Item::from([(KEY.into(), item::text(place))])),
            TableKey::Within(partition, kind) => {
                let [value, name]: [String; 2] = serde_json::from_str(place).ok()?;
                let value = match kind {
                    ScalarAttributeType::N => AttributeValue::N(value),
                    _ => AttributeValue::S(value),
                };
                let key = [(partition.clone(), value), (KEY.into(), item::text(&name))];
                Some(Item::from(key))
            }
        }
    }

    fn no_place(&self) -> ReadError {
        ReadError {
            table: self.table.to_string(),
            reason: "the place to continue from is not a key of this table".into(),
            may_pass: false,
        }
    }
}

/// An item as JSON; see [`ForeignPage::items`].
fn plain(item: Item) -> Map<String, Value> {
    let value = |value| match value {
        AttributeValue::S(text) => text.into(),
        AttributeValue::N(digits) => match digits.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => digits.into(),
        },
        AttributeValue::Ss(texts) => texts.into(),
        AttributeValue::M(members) => plain(members).into(),
        AttributeValue::Null(_) => Value::Null,
        _ => Value::Array(Vec::new()),
    };
    item.into_iter().map(|(k, v)| (k, value(v))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_become_plain() {
        let check = |attribute: AttributeValue, expected: Value| {
            let item = Item::from([("x".into(), attribute)]);
            assert_eq!(Value::Object(plain(item)), json!({ "x": expected }));
        };
        let n = |digits: &str| AttributeValue::N(digits.into());
        check(AttributeValue::S("7".into()), json!("7"));
        check(n("7"), json!(7));
        check(n("1.5"), json!("1.5"));
        check(n("-7"), json!("-7"));
        check(n("1E+3"), json!("1E+3"));
        check(AttributeValue::Null(true), Value::Null);
        check(AttributeValue::Bool(true), json!([]));
        check(AttributeValue::Ss(vec!["x".into()]), json!(["x"]));
        check(AttributeValue::L(Vec::new()), json!([]));
        check(
            AttributeValue::M(Item::from([("y".into(), n("7"))])),
            json!({"y": 7}),
        );
    }
}
