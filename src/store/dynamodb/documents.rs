//! The documents; see [`crate::store::document`].
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:document:<key>` | `revision` (N), `content` (B), `put` (S): random for each put |
//!
//! No link can have such a key. The items have no `expiresAt`, so DynamoDB keeps them. A put whose reply was lost and
//! that the SDK sends again fails its own condition; it recognises its first attempt by `put`.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::failure::{Attempts, store_error, write_error};
use super::item::{Item, KEY, OWN, number, text};
use super::table::Table;
use crate::store::{Document, DocumentPut, StoreError};

const REVISION: &str = "revision";
const CONTENT: &str = "content";
const PUT: &str = "put";

fn item_key(key: &str) -> AttributeValue {
    text(&format!("{OWN}document:{key}"))
}

/// See [`crate::store::Store::document`].
pub(super) async fn get(
    client: &Client,
    table: &Table,
    key: &str,
) -> Result<Option<Document>, StoreError> {
    let found = read(client, table, key).await?;
    found.as_ref().map(|item| decode(key, item)).transpose()
}

/// See [`crate::store::Store::put_document`].
pub(super) async fn put(
    client: &Client,
    table: &Table,
    key: &str,
    expected: Option<u64>,
    content: Vec<u8>,
) -> Result<DocumentPut, StoreError> {
    let revision = expected.unwrap_or(0).saturating_add(1);
    let mark = getrandom::u64().map_err(|e| StoreError::Refused(e.to_string()))?;
    let mark = format!("{mark:016x}");
    let item = Item::from([
        (KEY.into(), item_key(key)),
        (REVISION.into(), number(revision)),
        (CONTENT.into(), AttributeValue::B(Blob::new(content))),
        (PUT.into(), text(&mark)),
    ]);
    let attempts = Attempts::default();
    let request = client.put_item().table_name(&table.name);
    let request = match expected {
        None => request.condition_expression("attribute_not_exists(miniUrl)"),
        Some(expected) => request
            .condition_expression("revision = :expected")
            .expression_attribute_values(":expected", number(expected)),
    };
    let sent = request
        .set_item(Some(item))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(_) => return Ok(DocumentPut::Written(revision)),
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() => {}
        Err(error) => return Err(write_error(table, &error, &attempts)),
    }
    // A later put may have replaced the content by now. Its mark is another one, so the caller meets a conflict, as if
    // the later put had come first: the caller reads what there is and decides again.
    let Some(found) = read(client, table, key).await? else {
        return Ok(DocumentPut::Conflict(None));
    };
    match found.get(PUT).map(AttributeValue::as_s) {
        Some(Ok(found)) if *found == mark => Ok(DocumentPut::Written(revision)),
        _ => Ok(DocumentPut::Conflict(Some(decode(key, &found)?))),
    }
}

async fn read(client: &Client, table: &Table, key: &str) -> Result<Option<Item>, StoreError> {
    let get = client.get_item().table_name(&table.name);
    let get = get.key(KEY, item_key(key)).consistent_read(true);
    let output = get.send().await.map_err(|e| store_error(table, &e))?;
    Ok(output.item)
}

fn decode(key: &str, item: &Item) -> Result<Document, StoreError> {
    let corrupt = |attribute: &str| StoreError::Corrupt {
        name: format!("{OWN}document:{key}"),
        reason: format!("the attribute {attribute} is missing or of another type"),
    };
    let revision = item.get(REVISION).and_then(|value| value.as_n().ok());
    let revision = revision.and_then(|digits| digits.parse().ok());
    let content = item.get(CONTENT).and_then(|value| value.as_b().ok());
    Ok(Document {
        revision: revision.ok_or_else(|| corrupt(REVISION))?,
        content: content.ok_or_else(|| corrupt(CONTENT))?.as_ref().to_vec(),
    })
}
