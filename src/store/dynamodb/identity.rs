//! Which table this is.
//!
//! DynamoDB gives each table an id, and a table that is restored from a backup or to a point in time is a
//! new one, also where it gets the name of one that was deleted. Emulators do not all tell an id; then the
//! table has an item that does, under a key that no link can have. The first server puts it.
//!
//! The table is asked when the server starts, as soon as it can be where it cannot be then, and once a
//! minute: somebody may delete it and make another one of that name.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::TableDescription;
use md5::{Digest, Md5};

use super::failure::store_error;
use super::item::{self, Item, KEY};
use super::table::Table;
use crate::store::{Identity, StoreError};

/// The key of the item that tells which table it is in: it is no DNS name, and `item::is_own` knows it.
const IDENTITY_KEY: &str = "tinyns:identity";
/// The item's attribute.
const ID: &str = "id";
/// How often a table is asked that is known, and one that is not.
const ASK_EVERY: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(2);

/// What is known of which table it is.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// 0 while it is not.
    id: AtomicU64,
    asked: Mutex<Option<Instant>>,
    asking: AtomicBool,
}

impl Known {
    /// What is known. Has the table asked where that is due, for the next time. To be called within a
    /// runtime.
    pub(super) fn identity(self: &Arc<Self>, client: &Client, table: &Table) -> Identity {
        let id = self.id.load(Ordering::Acquire);
        if self.is_due(id) && !self.asking.swap(true, Ordering::AcqRel) {
            let (known, client, table) = (Arc::clone(self), client.clone(), table.clone());
            tokio::spawn(async move {
                if let Err(error) = known.ask(&client, &table).await {
                    tracing::debug!(%error, "the table does not tell which one it is");
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

/// The id that DynamoDB gives the table.
fn own_id(found: &TableDescription) -> Option<u64> {
    let id = found.table_id().filter(|id| !id.is_empty())?;
    let mut made = String::new();
    if let Some(time) = found.creation_date_time() {
        // Writing to a string does not fail.
        let _ = write!(made, "{}", time.as_nanos());
    }
    Some(number(&[id, &made]))
}

/// The id that the item tells, which is put where there is none.
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
    // Whoever was first, all read the same.
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

/// A number that stands for these texts: the beginning of their hash, and not 0.
fn number(texts: &[&str]) -> u64 {
    let mut hasher = Md5::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize();
    let first = digest.iter().take(8);
    first
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
        .max(1)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::DateTime;

    use super::*;

    #[test]
    fn a_table_that_was_made_anew_is_another_one() {
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

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(number(&["ab", "c"]), number(&["a", "bc"]));
    }
}
