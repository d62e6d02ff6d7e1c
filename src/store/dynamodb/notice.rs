//! Notices of servers that are cut off from Redis; see [`crate::store::notice`].
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:notices` | `servers` (SS): whose notices there are; `expiresAt` |
//! | `tinyns:notice:<server>` | `number` (N), `changes` (S) or `everything` (BOOL), `expiresAt` |
//!
//! No link can have such a key. All of them are found by key, and the first is all that is read
//! while there are none: a read of at most 4 KB a second for each server. A notice is put before its
//! server is registered, and taken back in the other order. Nothing is deleted, for a role may lack
//! that right: an item that is over is emptied, and DynamoDB sweeps it by its `expiresAt`.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::failure::store_error;
use super::item::{EXPIRES_AT, Item, KEY, OWN, number, text};
use super::table::Table;
use crate::base::clock::UnixTime;
use crate::store::{Notice, StoreError};

/// How many servers' notices are read: more than there are in a fleet that works at all.
const MAX_SERVERS: usize = 50;
/// How often what DynamoDB leaves undone is asked for again; the next look is a second later.
const ROUNDS: usize = 3;

fn register() -> AttributeValue {
    text(&format!("{OWN}notices"))
}

fn key_of(node: &str) -> String {
    format!("{OWN}notice:{node}")
}

/// See [`crate::store::Store::post_notice`].
pub(super) async fn post(
    client: &Client,
    table: &Table,
    notice: &Notice,
) -> Result<(), StoreError> {
    let mut item = Item::from([
        (KEY.into(), text(&key_of(&notice.node))),
        ("number".into(), number(notice.number)),
        (EXPIRES_AT.into(), number(notice.until.0)),
    ]);
    match notice.changes {
        Some(_) => item.insert("changes".into(), text(&notice.to_text())),
        None => item.insert("everything".into(), AttributeValue::Bool(true)),
    };
    put(client, table, item).await?;
    let update = "ADD servers :server SET expiresAt = :until";
    let values = [(":until", number(notice.until.0))];
    enrol(client, table, &notice.node, update, &values).await
}

/// See [`crate::store::Store::withdraw_notice`].
pub(super) async fn withdraw(client: &Client, table: &Table, node: &str) -> Result<(), StoreError> {
    enrol(client, table, node, "DELETE servers :server", &[]).await?;
    let item = Item::from([
        (KEY.into(), text(&key_of(node))),
        // Long ago: to be swept at once.
        (EXPIRES_AT.into(), number(1)),
    ]);
    put(client, table, item).await
}

async fn put(client: &Client, table: &Table, item: Item) -> Result<(), StoreError> {
    let put = client.put_item().table_name(&table.name);
    let sent = put.set_item(Some(item)).send().await;
    sent.map(drop).map_err(|e| store_error(table, &e))
}

/// Changes the list of those that have notices.
async fn enrol(
    client: &Client,
    table: &Table,
    node: &str,
    expression: &str,
    values: &[(&str, AttributeValue)],
) -> Result<(), StoreError> {
    let mut update = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, register())
        .update_expression(expression)
        .expression_attribute_values(":server", AttributeValue::Ss(vec![node.into()]));
    for (name, value) in values {
        update = update.expression_attribute_values(*name, value.clone());
    }
    update
        .send()
        .await
        .map(drop)
        .map_err(|e| store_error(table, &e))
}

/// See [`crate::store::Store::notices`].
pub(super) async fn read(client: &Client, table: &Table) -> Result<Vec<Notice>, StoreError> {
    let get = client.get_item().table_name(&table.name);
    let sent = get.key(KEY, register()).consistent_read(true).send().await;
    let register = sent.map_err(|e| store_error(table, &e))?.item;
    let Some(AttributeValue::Ss(nodes)) = register.and_then(|mut item| item.remove("servers"))
    else {
        return Ok(Vec::new());
    };
    let nodes = nodes.into_iter().take(MAX_SERVERS);
    let mut keys: Vec<Item> = nodes
        .map(|node| Item::from([(KEY.into(), text(&key_of(&node)))]))
        .collect();
    let mut notices = Vec::new();
    for _ in 0..ROUNDS {
        if keys.is_empty() {
            break;
        }
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let get = client.batch_get_item().request_items(&table.name, wanted);
        let output = get.send().await.map_err(|e| store_error(table, &e))?;
        let items = output.responses.into_iter().flatten().flat_map(|(_, i)| i);
        notices.extend(items.filter_map(|item| decode(&item)));
        let left = output.unprocessed_keys.into_iter().flatten();
        keys = left.flat_map(|(_, wanted)| wanted.keys).collect();
    }
    match keys.is_empty() {
        true => Ok(notices),
        // Some are missing, and those of the others would seem to be all.
        false => Err(StoreError::Overloaded),
    }
}

/// A notice; none where the item has been emptied, or is nothing of ours. One whose changes cannot be read
/// puts everything in doubt.
fn decode(item: &Item) -> Option<Notice> {
    let key = item.get(KEY)?.as_s().ok()?;
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
    let changes = item.get("changes").and_then(|changes| changes.as_s().ok());
    Some(Notice {
        node: key.strip_prefix(&key_of(""))?.into(),
        number: number("number")?,
        changes: changes.and_then(|text| Notice::read_text(text)),
        until: UnixTime(number(EXPIRES_AT)?),
    })
}
