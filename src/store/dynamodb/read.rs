//! Reading by name.
//!
//! Reads are strongly consistent, at twice the price of others. If a read missed a link that was made a second
//! ago, the answer would be NXDOMAIN, which resolvers keep for the zone's negative TTL. If it returned a deleted
//! link, the caches would keep that. The caches in front of the store take most reads anyway.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::failure::{store_error, throttled};
use super::item::{self, Entry, Item, KEY, PROJECTION, TTL};
use super::table::Table;
use crate::link::{Link, LinkName};
use crate::store::StoreError;

/// A key that no link can have, because it is no DNS name.
const PING_KEY: &str = "tinyns:ping";
/// How many names go into one request; DynamoDB accepts no more.
const BATCH: usize = 100;
/// How many requests are made for keys that DynamoDB leaves unread. With [`BATCH_BACKOFF`], which doubles each
/// time, that takes a third of a second, which fits the deadline of a query.
const BATCH_ROUNDS: u32 = 5;
/// The pause before the second of these requests.
const BATCH_BACKOFF: Duration = Duration::from_millis(20);

/// The results of a read of many names, without names that have no link.
type Found = HashMap<String, Result<Link, StoreError>>;

/// See [`crate::store::Store::get`].
pub(super) async fn get(
    client: &Client,
    table: &Table,
    name: &LinkName,
) -> Result<Option<Link>, StoreError> {
    let found = entry(client, table, name).await?;
    Ok(found.and_then(Entry::into_link))
}

/// The entry of a name: a link or a tombstone.
pub(super) async fn entry(
    client: &Client,
    table: &Table,
    name: &LinkName,
) -> Result<Option<Entry>, StoreError> {
    let output = client
        .get_item()
        .table_name(&table.name)
        .key(KEY, item::key(name))
        .projection_expression(PROJECTION)
        .expression_attribute_names("#ttl", TTL)
        .consistent_read(true)
        .send()
        .await
        .map_err(|e| store_error(table, &e))?;
    Ok(output.item.as_ref().map(item::decode).transpose()?)
}

/// See [`crate::store::Store::get_many`].
pub(super) async fn get_many(
    client: &Client,
    table: &Table,
    names: &[LinkName],
) -> Vec<Result<Option<Link>, StoreError>> {
    // DynamoDB refuses a request with the same key twice.
    let unique: HashSet<&LinkName> = names.iter().collect();
    let unique: Vec<&LinkName> = unique.into_iter().collect();
    let mut found = Found::new();
    for batch in unique.chunks(BATCH) {
        get_batch(client, table, batch, &mut found).await;
    }
    let result = |name: &LinkName| found.get(name.as_str()).cloned().transpose();
    names.iter().map(result).collect()
}

/// Reads at most [`BATCH`] names. `found` gets an error for those that could not be read.
async fn get_batch(client: &Client, table: &Table, names: &[&LinkName], found: &mut Found) {
    let mut keys: Vec<Item> = names
        .iter()
        .map(|name| Item::from([(KEY.into(), item::key(name))]))
        .collect();
    let mut failure = throttled(table, "it left keys of a batch unread");
    for round in 0..BATCH_ROUNDS {
        if round > 0 {
            tokio::time::sleep(BATCH_BACKOFF * 2u32.pow(round - 1)).await;
        }
        match request(client, table, &keys, found).await {
            Ok(left) if left.is_empty() => return,
            Ok(left) => keys = left,
            Err(error) => {
                failure = error;
                break;
            }
        }
    }
    for key in keys {
        if let Some(Ok(name)) = key.get(KEY).map(|key| key.as_s()) {
            found.insert(name.clone(), Err(failure.clone()));
        }
    }
}

/// One request; returns the keys that DynamoDB left unread.
async fn request(
    client: &Client,
    table: &Table,
    keys: &[Item],
    found: &mut Found,
) -> Result<Vec<Item>, StoreError> {
    let wanted = KeysAndAttributes::builder()
        .set_keys(Some(keys.to_vec()))
        .projection_expression(PROJECTION)
        .expression_attribute_names("#ttl", TTL)
        .consistent_read(true)
        .build()
        .map_err(|e| StoreError::Unavailable(e.to_string()))?;
    let output = client
        .batch_get_item()
        .request_items(&table.name, wanted)
        .send()
        .await
        .map_err(|e| store_error(table, &e))?;
    for item in output.responses.into_iter().flatten().flat_map(|(_, i)| i) {
        let Some(Ok(key)) = item.get(KEY).map(|key| key.as_s()) else {
            continue;
        };
        match item::decode(&item) {
            Ok(Entry::Link(link)) => drop(found.insert(key.clone(), Ok(link))),
            Ok(Entry::Tombstone { .. }) => {}
            Err(bad) => drop(found.insert(key.clone(), Err(bad.into()))),
        }
    }
    let left = output.unprocessed_keys.into_iter().flatten();
    Ok(left.flat_map(|(_, wanted)| wanted.keys).collect())
}

/// See [`crate::store::Store::ping`]. It reads a key, as queries do: DescribeTable is answered by another part of
/// DynamoDB, has its own limit, and needs a right that a role may lack.
pub(super) async fn ping(client: &Client, table: &Table) -> Result<(), StoreError> {
    client
        .get_item()
        .table_name(&table.name)
        .key(KEY, item::text(PING_KEY))
        .send()
        .await
        .map(drop)
        .map_err(|e| store_error(table, &e))
}

/// See [`crate::store::Store::estimate`]. DynamoDB counts the items every six hours.
pub(super) async fn estimate(client: &Client, table: &Table) -> Result<u64, StoreError> {
    let sent = client.describe_table().table_name(&table.name);
    let output = sent.send().await.map_err(|e| store_error(table, &e))?;
    let items = output.table.and_then(|table| table.item_count());
    Ok(u64::try_from(items.unwrap_or(0)).unwrap_or(0))
}
