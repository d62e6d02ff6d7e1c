//! Calls of the table of statistics.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, KeysAndAttributes, WriteRequest};

use super::item::{self, ID, OWN, RANKED, REVISION, Stored, ZONE, ZONES};
use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::link::{LinkName, Origin};
use crate::store::StoreError;
use crate::store::dynamodb::failure::{store_error, throttled};
use crate::store::dynamodb::item::{Item, number, text};
use crate::store::dynamodb::table::Table;
use crate::store::statistics::{Ranked, Ranking, Unit};
use crate::store::sums::{Key, unit_column};

/// How many items one request reads or deletes at most; DynamoDB accepts no more.
pub(super) const READ: usize = 100;
const DELETED: usize = 25;
/// How many requests are made for what DynamoDB leaves undone, and the pause before the second one, which doubles.
const ROUNDS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);
/// How long it is remembered whether the sums of deleted links stay.
const KEEPING_KNOWN: Duration = Duration::from_secs(60);

/// The item with what is true for the whole table: its sort key and its attributes.
const CONTROL: &str = "control";
/// All flushes up to this id have ended.
const FLOOR: &str = "floor";
/// Whether the sums of deleted links stay.
const KEEPS_DELETED: &str = "keepsDeleted";
/// When the last walk over all links began, in seconds since the epoch.
const WALK: &str = "walk";
/// The id of the table of links whose sums these are.
const LINKS: &str = "links";

/// The table of statistics.
#[derive(Debug)]
pub(super) struct SumsTable {
    pub(super) reads: Client,
    pub(super) writes: Client,
    pub(super) table: Table,
    /// The zones that are in the table for sure.
    zones: Mutex<HashSet<Box<str>>>,
    /// Whether the sums of deleted links stay, and since when that is known.
    keeping: Mutex<Option<(Instant, bool)>>,
}

/// A page of items, and where the next one begins.
pub(super) type Items = (Vec<Item>, Option<Item>);

impl SumsTable {
    pub(super) fn new(reads: Client, writes: Client, table: Table) -> Self {
        Self {
            reads,
            writes,
            table,
            zones: Mutex::default(),
            keeping: Mutex::default(),
        }
    }

    async fn control(&self) -> Result<Item, StoreError> {
        let get = self.reads.get_item().table_name(&self.table.name);
        let key = item::table_key(OWN, CONTROL);
        let sent = get.set_key(Some(key)).consistent_read(true).send().await;
        let output = sent.map_err(|e| store_error(&self.table, &e))?;
        Ok(output.item.unwrap_or_default())
    }

    /// All flushes up to this id have ended; 0 if none has.
    pub(super) async fn floor(&self) -> Result<u64, StoreError> {
        let control = self.control().await?;
        let floor = control.get(FLOOR).and_then(|floor| floor.as_n().ok());
        Ok(floor.and_then(|floor| floor.parse().ok()).unwrap_or(0))
    }

    /// Notes that all flushes up to this id have ended.
    pub(super) async fn raise_floor(&self, floor: u64) -> Result<(), StoreError> {
        let update = self.writes.update_item().table_name(&self.table.name);
        let sent = update
            .set_key(Some(item::table_key(OWN, CONTROL)))
            .update_expression("SET #a = :n")
            .condition_expression("attribute_not_exists(#a) OR #a < :n")
            .expression_attribute_names("#a", FLOOR)
            .expression_attribute_values(":n", number(floor))
            .send()
            .await;
        self.conditional(sent).map(drop)
    }

    /// Whether the condition of a write held.
    fn conditional<T, E>(&self, sent: Result<T, SdkError<E>>) -> Result<bool, StoreError>
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        match sent {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error))
                if error.err().code() == Some("ConditionalCheckFailedException") =>
            {
                Ok(false)
            }
            Err(error) => Err(store_error(&self.table, &error)),
        }
    }

    /// Sets whether the sums of deleted links stay. The table belongs to the table of links with this id from now on, unless it
    /// belongs to another one already.
    pub(super) async fn keep_deleted(&self, links: &str, deleted: bool) -> Result<(), StoreError> {
        let update = self.writes.update_item().table_name(&self.table.name);
        let sent = update
            .set_key(Some(item::table_key(OWN, CONTROL)))
            .update_expression("SET #a = :v, #links = if_not_exists(#links, :links)")
            .expression_attribute_names("#a", KEEPS_DELETED)
            .expression_attribute_names("#links", LINKS)
            .expression_attribute_values(":v", AttributeValue::Bool(deleted))
            .expression_attribute_values(":links", text(links))
            .send()
            .await;
        sent.map_err(|e| store_error(&self.table, &e))?;
        *lock(&self.keeping) = Some((Instant::now(), deleted));
        Ok(())
    }

    /// Whether the sums of deleted links stay.
    pub(super) async fn keeps_deleted(&self) -> Result<bool, StoreError> {
        let known = *lock(&self.keeping);
        if let Some((since, deleted)) = known
            && since.elapsed() < KEEPING_KNOWN
        {
            return Ok(deleted);
        }
        let control = self.control().await?;
        let deleted = control.get(KEEPS_DELETED).and_then(|it| it.as_bool().ok());
        let deleted = deleted.copied().unwrap_or(false);
        *lock(&self.keeping) = Some((Instant::now(), deleted));
        Ok(deleted)
    }

    /// Whether these are the sums of the table of links with this id, or of no table yet.
    pub(super) async fn belongs_to(&self, links: &str) -> Result<bool, StoreError> {
        let control = self.control().await?;
        let owner = control.get(LINKS).and_then(|links| links.as_s().ok());
        Ok(owner.is_none_or(|owner| owner == links))
    }

    /// Notes that a walk over all links begins now. False if another one has begun after `before`, or if these are the sums of
    /// another table of links.
    pub(super) async fn begin_walk(
        &self,
        links: &str,
        now: UnixTime,
        before: UnixTime,
    ) -> Result<bool, StoreError> {
        let update = self.writes.update_item().table_name(&self.table.name);
        let sent = update
            .set_key(Some(item::table_key(OWN, CONTROL)))
            .update_expression("SET #walk = :now, #links = :links")
            .condition_expression(
                "(attribute_not_exists(#walk) OR #walk <= :before) \
                 AND (attribute_not_exists(#links) OR #links = :links)",
            )
            .expression_attribute_names("#walk", WALK)
            .expression_attribute_names("#links", LINKS)
            .expression_attribute_values(":now", number(now.0))
            .expression_attribute_values(":before", number(before.0))
            .expression_attribute_values(":links", text(links))
            .send()
            .await;
        self.conditional(sent)
    }

    /// The zones of which there are sums, in their order, from this one on.
    pub(super) async fn zones_from(&self, first: &str) -> Result<Vec<Box<str>>, StoreError> {
        let (mut zones, mut start) = (Vec::new(), None);
        loop {
            let query = self
                .writes
                .query()
                .table_name(&self.table.name)
                .key_condition_expression("#zone = :zone AND #id >= :first")
                .expression_attribute_names("#zone", ZONE)
                .expression_attribute_names("#id", ID)
                .expression_attribute_values(":zone", text(ZONES))
                // A key has one character at least, and this one sorts before all origins.
                .expression_attribute_values(
                    ":first",
                    text(if first.is_empty() { OWN } else { first }),
                )
                .consistent_read(true)
                .set_exclusive_start_key(start);
            let sent = query.send().await;
            let output = sent.map_err(|e| store_error(&self.table, &e))?;
            let found = output.items.unwrap_or_default();
            let found = found.iter().filter_map(|item| item.get(ID)?.as_s().ok());
            zones.extend(found.map(|zone| zone.as_str().into()));
            start = output.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(zones);
            }
        }
    }

    /// Notes that there are sums of a zone, before they are written.
    pub(super) async fn note_zone(&self, zone: &str) -> Result<(), StoreError> {
        if lock(&self.zones).contains(zone) {
            return Ok(());
        }
        let put = self.writes.put_item().table_name(&self.table.name);
        let sent = put
            .set_item(Some(item::table_key(ZONES, zone)))
            .send()
            .await;
        sent.map_err(|e| store_error(&self.table, &e))?;
        lock(&self.zones).insert(zone.into());
        Ok(())
    }

    /// The sums under these keys, of which no two are the same. There is nothing for a key without an item. Damaged sums count
    /// as none, so that counting goes on.
    pub(super) async fn stored(&self, keys: &[Key]) -> Result<HashMap<Key, Stored>, StoreError> {
        let mut stored = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(READ) {
            let mut left: Vec<Item> = keys.iter().map(item::key_item).collect();
            let mut pause = PAUSE;
            for round in 0..ROUNDS {
                if round > 0 {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                left = self.read_some(left, &mut stored).await?;
                if left.is_empty() {
                    break;
                }
            }
            if !left.is_empty() {
                return Err(throttled(&self.table, "it left keys of a batch unread"));
            }
        }
        Ok(stored)
    }

    /// One request; returns the keys that DynamoDB left unread.
    async fn read_some(
        &self,
        keys: Vec<Item>,
        stored: &mut HashMap<Key, Stored>,
    ) -> Result<Vec<Item>, StoreError> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let get = self.writes.batch_get_item();
        let sent = get.request_items(&self.table.name, wanted).send().await;
        let output = sent.map_err(|e| store_error(&self.table, &e))?;
        let items = output.responses.into_iter().flatten();
        for item in items.flat_map(|(_, items)| items) {
            let Ok(key) = item::key(&item) else { continue };
            let (found, fault) = item::decode(&item);
            if let Err(reason) = fault {
                let row = key.text();
                tracing::warn!(%row, %reason, "damaged sums are replaced by those of new counts");
            }
            stored.insert(key, found);
        }
        let left = output.unprocessed_keys.into_iter().flatten();
        Ok(left.flat_map(|(_, wanted)| wanted.keys).collect())
    }

    /// Writes sums in the place of those of this revision; 0 for none. False if others are there.
    pub(super) async fn put(
        &self,
        key: &Key,
        new: &Stored,
        revision: u64,
    ) -> Result<bool, StoreError> {
        let put = self.writes.put_item().table_name(&self.table.name);
        let put = put
            .set_item(Some(item::encode(key, new)))
            .expression_attribute_names("#r", REVISION);
        let put = match revision {
            0 => put.condition_expression("attribute_not_exists(#r)"),
            _ => put
                .condition_expression("#r = :r")
                .expression_attribute_values(":r", number(revision)),
        };
        self.conditional(put.send().await)
    }

    /// Items of a zone whose sort keys are from `low` to `high`, both included, at most so many.
    pub(super) async fn range(
        &self,
        zone: &str,
        (low, high): (&str, &str),
        start: Option<Item>,
        limit: usize,
    ) -> Result<Items, StoreError> {
        let query = self
            .writes
            .query()
            .table_name(&self.table.name)
            .key_condition_expression("#zone = :zone AND #id BETWEEN :low AND :high")
            .expression_attribute_names("#zone", ZONE)
            .expression_attribute_names("#id", ID)
            .expression_attribute_values(":zone", text(zone))
            .expression_attribute_values(":low", text(low))
            .expression_attribute_values(":high", text(high))
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let sent = query.send().await;
        let output = sent.map_err(|e| store_error(&self.table, &e))?;
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        Ok((output.items.unwrap_or_default(), next))
    }

    /// See [`crate::store::statistics::StatisticsStore::ranking`].
    pub(super) async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        (unit, start): (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        let (index, sort) = item::index(by);
        let after = after.map_or_else(
            || OWN.to_owned(),
            |ranked| item::rank(ranked.count, ranked.name.code()),
        );
        let query = self
            .writes
            .query()
            .table_name(&self.table.name)
            .index_name(index)
            .key_condition_expression("#ranked = :ranked AND #sort > :after")
            .expression_attribute_names("#ranked", RANKED)
            .expression_attribute_names("#sort", sort)
            .expression_attribute_values(
                ":ranked",
                text(&item::ranked(origin.as_str(), unit, start)),
            )
            .expression_attribute_values(":after", text(&after))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let sent = query.send().await;
        let output = sent.map_err(|e| store_error(&self.table, &e))?;
        let items = output.items.unwrap_or_default();
        let ranked = items.iter().filter_map(|it| item::at_rank(origin, by, it));
        Ok(ranked.collect())
    }

    /// Items of a link, at most so many.
    pub(super) async fn of_link(
        &self,
        name: &LinkName,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let prefix = item::prefix(name.code());
        // What follows the prefix is a digit.
        let high = format!("{prefix}{}", unit_column(Unit::Total) + 1);
        let page = self.range(name.origin(), (&prefix, &high), None, limit);
        Ok(page.await?.0)
    }

    /// Removes all sums of a link.
    pub(super) async fn remove(&self, name: &LinkName) -> Result<(), StoreError> {
        loop {
            let items = self.of_link(name, DELETED * 4).await?;
            if items.is_empty() {
                return Ok(());
            }
            for items in items.chunks(DELETED) {
                self.delete(items).await?;
            }
        }
    }

    /// Removes items, at most 25.
    pub(super) async fn delete(&self, items: &[Item]) -> Result<(), StoreError> {
        let invalid =
            |e: aws_sdk_dynamodb::error::BuildError| StoreError::Unavailable(e.to_string());
        let mut left = Vec::with_capacity(items.len());
        for item in items {
            let (Some(zone), Some(id)) = (item.get(ZONE), item.get(ID)) else {
                continue;
            };
            let key = DeleteRequest::builder()
                .key(ZONE, zone.clone())
                .key(ID, id.clone());
            let delete = key.build().map_err(invalid)?;
            left.push(WriteRequest::builder().delete_request(delete).build());
        }
        let mut pause = PAUSE;
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let write = self.writes.batch_write_item();
            let sent = write.request_items(&self.table.name, left).send().await;
            let output = sent.map_err(|e| store_error(&self.table, &e))?;
            let undone = output.unprocessed_items.into_iter().flatten();
            left = undone.flat_map(|(_, requests)| requests).collect();
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(throttled(&self.table, "it left items undeleted"))
    }
}
