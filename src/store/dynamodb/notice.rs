//! The notices of cut-off servers; see [`crate::store::notice`].
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:notices:<region>` | `servers` (SS): the servers that have a notice; `expiresAt` |
//! | `tinyns:notice:<server>` | `number` (N), `changes` (S) or `everything` (BOOL), `expiresAt` |
//!
//! Each AWS region has a list of its own. In a global table, the last writer of an item wins: if servers of two regions were
//! listed in one item at the same time, one of them would be missing, and the servers near it would not read its notice.
//!
//! No link can have such a key. All items are found by key. While there are no notices, each server reads only the
//! first item: at most 4 KB a second. A notice is put before its server is listed, and the server is taken off the
//! list before the notice is emptied. Nothing is deleted, because a role may lack that right: a withdrawn notice
//! is emptied, and DynamoDB sweeps it by its `expiresAt`.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Region;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::failure::store_error;
use super::item::{EXPIRES_AT, Item, KEY, OWN, number, text};
use super::table::Table;
use crate::base::clock::UnixTime;
use crate::store::{Notice, StoreError};

/// How many servers' notices are read at most: more than the cut-off servers of any working fleet.
const MAX_SERVERS: usize = 50;
/// How many requests are made for items that DynamoDB leaves unread; the next round comes a second later.
const ROUNDS: usize = 3;

/// The key of the list of servers that have notices.
fn register(client: &Client) -> AttributeValue {
    let region = client.config().region().map_or("", Region::as_ref);
    text(&format!("{OWN}notices:{region}"))
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
        // Long ago, so that it is swept at once.
        (EXPIRES_AT.into(), number(1)),
    ]);
    put(client, table, item).await
}

async fn put(client: &Client, table: &Table, item: Item) -> Result<(), StoreError> {
    let put = client.put_item().table_name(&table.name);
    let sent = put.set_item(Some(item)).send().await;
    sent.map(drop).map_err(|e| store_error(table, &e))
}

/// Changes the list of servers that have notices.
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
        .key(KEY, register(client))
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
    let sent = get
        .key(KEY, register(client))
        .consistent_read(true)
        .send()
        .await;
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
        // Some notices are missing, and a partial list would look complete.
        false => Err(StoreError::Overloaded),
    }
}

/// A notice; none if the item was emptied, or is no notice. If its changes cannot be read, everything is in doubt.
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
