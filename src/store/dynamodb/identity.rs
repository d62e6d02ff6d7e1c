//! The identity of the table.
//!
//! DynamoDB gives each table an id. A table that is restored from a backup or to a point in time is a new table,
//! even if it gets the name of a deleted one. Some emulators have no table id. Then the id is in an item, under a key
//! that cannot be a link's name; the first server makes it. The same item has the epoch, if it is not the first.
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:identity` | `id` (S), only if the table has none of its own; `epoch` (N), only if it is not 1 |
//!
//! tinyns asks the table at the start, or as soon as it can be reached, and then once a minute: an operator may
//! delete the table and create another one of that name. It asks for the epoch every few seconds, at one read unit.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, TableDescription};

use super::failure::store_error;
use super::item::{Item, KEY, number as numeric, text};
use super::table::Table;
use crate::store::identity::number;
use crate::store::{Facts, Identity, StoreError};

/// The `kind` of the store in the configuration.
const DYNAMODB: &str = "dynamodb";
/// The key of the item. It is no DNS name, and `item::is_own` recognises it.
const IDENTITY_KEY: &str = "tinyns:identity";
/// The item's attributes.
const ID: &str = "id";
const EPOCH: &str = "epoch";
/// How often the table is asked for its id, and the item for the epoch; and how often both while the id is not known.
const ASK_TABLE_EVERY: Duration = Duration::from_secs(60);
const ASK_EPOCH_EVERY: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);

/// The identity of the table, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The number for the id and the epoch; 0 while they are not known.
    number: AtomicU64,
    asked: Mutex<Asked>,
    asking: AtomicBool,
}

#[derive(Clone, Debug, Default)]
struct Asked {
    /// When the table was asked last, and the id that DynamoDB has given it.
    table: Option<(Instant, Option<TableId>)>,
    /// When the item was read last.
    item: Option<Instant>,
}

/// The id that DynamoDB has given a table, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TableId {
    id: String,
    made: String,
}

/// What the item says.
struct Kept {
    id: Option<String>,
    epoch: u64,
}

impl Known {
    /// The identity as known now. Asks the table, for later calls, if that is due. Must be called within a
    /// runtime.
    pub(super) fn identity(self: &Arc<Self>, client: &Client, table: &Table) -> Identity {
        let id = self.number.load(Ordering::Acquire);
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

    /// Asks the table, if it was not asked within the last minute, and the item.
    pub(super) async fn ask(&self, client: &Client, table: &Table) -> Result<Facts, StoreError> {
        let now = Instant::now();
        let asked = {
            let mut asked = self.asked();
            asked.item = Some(now);
            asked.table.clone()
        };
        let own = match asked {
            Some((at, own)) if now.duration_since(at) < ASK_TABLE_EVERY => own,
            _ => {
                let sent = client.describe_table().table_name(&table.name).send();
                let output = sent.await.map_err(|error| store_error(table, &error))?;
                let own = output.table.as_ref().and_then(own_id);
                self.asked().table = Some((now, own.clone()));
                own
            }
        };
        let kept = read(client, table).await?;
        let (id, mut texts) = match own {
            Some(TableId { id, made }) => (id.clone(), vec![id, made]),
            None => {
                let id = match kept.id {
                    Some(id) => id,
                    None => make_id(client, table).await?,
                };
                let texts = vec![table.name.clone(), table.place.clone(), id.clone()];
                (id, texts)
            }
        };
        // What versions of this program without epochs have kept stays good.
        if kept.epoch != 1 {
            texts.push(kept.epoch.to_string());
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.number.store(number(&texts), Ordering::Release);
        Ok(Facts {
            kind: DYNAMODB,
            id: id.into(),
            epoch: kept.epoch,
            place: table.to_string().into(),
        })
    }

    /// Begins the next epoch, and returns it.
    pub(super) async fn begin_epoch(
        &self,
        client: &Client,
        table: &Table,
    ) -> Result<u64, StoreError> {
        let update = client
            .update_item()
            .table_name(&table.name)
            .key(KEY, text(IDENTITY_KEY))
            .update_expression("SET epoch = if_not_exists(epoch, :first) + :one")
            .expression_attribute_values(":first", numeric(1))
            .expression_attribute_values(":one", numeric(1))
            .return_values(ReturnValue::AllNew);
        let sent = update.send().await;
        let output = sent.map_err(|error| store_error(table, &error))?;
        let epoch = kept(output.attributes.as_ref())?.epoch;
        self.ask(client, table).await?;
        Ok(epoch)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, id: u64) -> bool {
        let wait = if id == 0 { RETRY } else { ASK_EPOCH_EVERY };
        let asked = self.asked().item;
        asked.is_none_or(|asked| asked.elapsed() > wait)
    }
}

/// The id that DynamoDB has given the table.
fn own_id(found: &TableDescription) -> Option<TableId> {
    let id = found.table_id().filter(|id| !id.is_empty())?.to_owned();
    let mut made = String::new();
    if let Some(time) = found.creation_date_time() {
        // Writing to a string does not fail.
        let _ = write!(made, "{}", time.as_nanos());
    }
    Some(TableId { id, made })
}

/// Makes an id in the item, unless another server is faster; returns the one that is there then.
async fn make_id(client: &Client, table: &Table) -> Result<String, StoreError> {
    let random = getrandom::u64().map_err(|e| StoreError::Unavailable(e.to_string()))?;
    let update = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, text(IDENTITY_KEY))
        .update_expression("SET id = if_not_exists(id, :id)")
        .expression_attribute_values(":id", text(&format!("{random:016x}")))
        .return_values(ReturnValue::AllNew);
    let sent = update.send().await;
    let output = sent.map_err(|error| store_error(table, &error))?;
    let made = kept(output.attributes.as_ref())?.id;
    made.ok_or_else(|| corrupt("it has no id"))
}

async fn read(client: &Client, table: &Table) -> Result<Kept, StoreError> {
    let sent = client
        .get_item()
        .table_name(&table.name)
        .key(KEY, text(IDENTITY_KEY))
        .consistent_read(true);
    let output = sent
        .send()
        .await
        .map_err(|error| store_error(table, &error))?;
    kept(output.item.as_ref())
}

/// What an item says. The epoch must be one: values of another history could come to be used otherwise.
fn kept(item: Option<&Item>) -> Result<Kept, StoreError> {
    let attribute = |name| item.and_then(|item: &Item| item.get(name));
    let id = match attribute(ID) {
        None => None,
        Some(AttributeValue::S(id)) => Some(id.clone()),
        Some(_) => return Err(corrupt("its id is no string")),
    };
    let epoch = match attribute(EPOCH) {
        None => 1,
        Some(AttributeValue::N(epoch)) => epoch
            .parse()
            .ok()
            .filter(|epoch| *epoch >= 1)
            .ok_or_else(|| corrupt("its epoch is not a number from 1 on"))?,
        Some(_) => return Err(corrupt("its epoch is no number")),
    };
    Ok(Kept { id, epoch })
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt {
        name: IDENTITY_KEY.into(),
        reason: format!("{reason}; delete it"),
    }
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
        let first = own_id(&table("a", 1));
        assert!(first.is_some());
        assert_eq!(own_id(&table("a", 1)), first);
        assert_ne!(own_id(&table("a", 2)), first);
        assert_ne!(own_id(&table("b", 1)), first);
        assert_eq!(own_id(&TableDescription::builder().build()), None);
    }
}
