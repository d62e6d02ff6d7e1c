//! The names of all links, for the existence filter: a consistent Scan that returns keys only.
//!
//! DynamoDB charges for all items that it looks at, as large as they are: a read unit for each 4 KB, twice as much as for
//! the warm load. A million links of 300 bytes cost some 75,000 read units. Tombstones are left out by a filter of the Scan,
//! which costs the same and saves the bytes on the wire.

use aws_sdk_dynamodb::Client;

use super::failure::store_error;
use super::item::{Item, KEY, OWN, text};
use super::table::Table;
use crate::link::LinkName;
use crate::store::{NamePlace, NameSink, StoreError};

/// The most items that one request looks at. DynamoDB ends a request at 1 MiB anyway.
const MAX_PAGE: usize = 2_000;

/// See [`crate::store::Store::names`]. The place has the whole key as its code.
pub(super) async fn page(
    client: &Client,
    table: &Table,
    after: Option<NamePlace>,
    limit: usize,
    sink: &NameSink,
) -> Result<Option<NamePlace>, StoreError> {
    let start = after.map(|place| Item::from([(KEY.into(), text(&place.code))]));
    let limit = limit.clamp(1, MAX_PAGE);
    let scan = client
        .scan()
        .table_name(&table.name)
        .consistent_read(true)
        .projection_expression(KEY)
        .filter_expression("attribute_exists(fullUrl)")
        .set_exclusive_start_key(start)
        .limit(i32::try_from(limit).unwrap_or(i32::MAX));
    let output = scan.send().await.map_err(|e| store_error(table, &e))?;
    for item in output.items.iter().flatten() {
        if let Some(name) = key(item).and_then(|key| LinkName::parse(key).ok()) {
            sink(name.code(), name.origin());
        }
    }
    let last = output.last_evaluated_key;
    Ok(last.as_ref().and_then(key).map(|key| NamePlace {
        origin: OWN.into(),
        code: key.into(),
    }))
}

fn key(item: &Item) -> Option<&str> {
    item.get(KEY)?.as_s().ok().map(String::as_str)
}
