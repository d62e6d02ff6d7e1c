//! The identity of the table.
//!
//! DynamoDB gives each table an id. A table that is restored from a backup or to a point in time is a new table,
//! even if it gets the name of a deleted one. Some emulators have no table id. The table then has an item with an
//! id, under a key that cannot be a link's name; the first server puts it.
//!
//! tinyns asks the table at the start, or as soon as it can be reached, and then once a minute: an operator may
//! delete the table and create another one of that name.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::TableDescription;

use super::failure::store_error;
use super::item::{self, Item, KEY};
use super::table::Table;
use crate::store::identity::number;
use crate::store::{Identity, StoreError};

/// The key of the item with the id. It is no DNS name, and `item::is_own` recognises it.
const IDENTITY_KEY: &str = "tinyns:identity";
/// The item's attribute.
const ID: &str = "id";
/// How often the table is asked while its id is known, and while it is not.
const ASK_EVERY: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(2);

/// The id of the table, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// 0 while it is not known.
    id: AtomicU64,
    asked: Mutex<Option<Instant>>,
    asking: AtomicBool,
}

impl Known {
    /// The identity as known now. Asks the table, for later calls, if that is due. Must be called within a
    /// runtime.
    pub(super) fn identity(self: &Arc<Self>, client: &Client, table: &Table) -> Identity {
        let id = self.id.load(Ordering::Acquire);
        if self.is_due(id) && !self.asking.swap(true, Ordering::AcqRel) {
            let (known, client, table) = (Arc::clone(self), client.clone(), table.clone());
            tokio::spawn(async move {
                if let Err(error) = known.ask(&client, &table).await {
                    tracing::debug!(%error, "cannot read the identity of the table");
                }
                known.asking.store(false, Ordering::Release);
            });
        }
        Identity::Shared {
            id: (id != 0).then_some(id),
            place: number(&[&table.name, &table.place]),
        }
    }

    /// Asks the table.
    pub(super) async fn ask(&self, client: &Client, table: &Table) -> Result<(), StoreError> {
        self.note_asked();
        let sent = client.describe_table().table_name(&table.name).send();
        let output = sent.await.map_err(|error| store_error(table, &error))?;
        let id = match output.table.as_ref().and_then(own_id) {
            Some(id) => id,
            None => item_id(client, table).await?,
        };
        self.id.store(id, Ordering::Release);
        Ok(())
    }

    fn note_asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_due(&self, id: u64) -> bool {
        let wait = if id == 0 { RETRY } else { ASK_EVERY };
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_none_or(|asked| asked.elapsed() > wait)
    }
}

/// The id that DynamoDB has given the table.
fn own_id(found: &TableDescription) -> Option<u64> {
    let id = found.table_id().filter(|id| !id.is_empty())?;
    let mut made = String::new();
    if let Some(time) = found.creation_date_time() {
        // Writing to a string does not fail.
        let _ = write!(made, "{}", time.as_nanos());
    }
    Some(number(&[id, &made]))
}

/// The id in the item. Puts the item if there is none.
async fn item_id(client: &Client, table: &Table) -> Result<u64, StoreError> {
    if let Some(id) = read(client, table).await? {
        return Ok(id);
    }
    let random = getrandom::u64().map_err(|e| StoreError::Unavailable(e.to_string()))?;
    let put = client
        .put_item()
        .table_name(&table.name)
        .item(KEY, item::text(IDENTITY_KEY))
        .item(ID, item::text(&format!("{random:016x}")))
        .condition_expression("attribute_not_exists(miniUrl)");
    match put.send().await {
        Ok(_) => {}
        Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => {}
        Err(error) => return Err(store_error(table, &error)),
    }
    // If several servers put it at the same time, all of them read the one that was first.
    let unreadable = || StoreError::Corrupt {
        name: IDENTITY_KEY.into(),
        reason: "it has no id; delete it".into(),
    };
    read(client, table).await?.ok_or_else(unreadable)
}

async fn read(client: &Client, table: &Table) -> Result<Option<u64>, StoreError> {
    let sent = client
        .get_item()
        .table_name(&table.name)
        .key(KEY, item::text(IDENTITY_KEY))
        .consistent_read(true);
    let output = sent
        .send()
        .await
        .map_err(|error| store_error(table, &error))?;
    let text = |item: Item| Some(item.get(ID)?.as_s().ok()?.clone());
    Ok(output
        .item
        .and_then(text)
        .map(|id| number(&[&table.name, &table.place, &id])))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::DateTime;

    use super::*;

    #[test]
    fn a_table_that_was_created_again_is_another_one() {
        let table = |id: &str, made: i64| {
            let made = DateTime::from_secs(made);
            TableDescription::builder()
                .table_id(id)
                .creation_date_time(made)
                .build()
        };
        let first = own_id(&table("a", 1)).unwrap();
        assert_eq!(own_id(&table("a", 1)), Some(first));
        assert_ne!(own_id(&table("a", 2)), Some(first));
        assert_ne!(own_id(&table("b", 1)), Some(first));
        assert_eq!(own_id(&TableDescription::builder().build()), None);
    }
}
