//! The audit log in a table of its own; see [`crate::store::audit`].
//!
//! | attribute | type | meaning |
//! |---|---|---|
//! | `bucket` | S | the partition key: month and shard, such as `2026-11#3` |
//! | `id` | S | the sort key: time, and a number that begins with the microsecond and is random otherwise, in hexadecimal digits |
//! | `at` | N | epoch milliseconds |
//! | `actor`, `action` | S | as in the API, as are `address`, `request_id`, `zone`, `code`, `token` if there are such values |
//! | `before`, `after` | S | JSON, if there was or is something |
//! | `expiresAt` | N | epoch seconds; the table's TTL attribute |
//!
//! The table of links has no sort key, so it cannot list entries by time; and entries in it would make each Scan of links
//! dearer. One month of entries is spread over [`SHARDS`] partitions, because a partition takes 1,000 writes a second.
//!
//! The time of the entry of a link is the version of the link, which increases with each change by whatever server. So the
//! entries of a link are in the order of its changes, also if several servers change it at the same time.
//!
//! An entry is written after its change and before the reply. So a change that a caller knows of has its entry, and no
//! entry is without its change. If a server dies in between, or the entry fails, the change stays without one; the caller
//! has no reply then, or an error. A transaction of both would prevent that, at four write units for each change instead
//! of two, and it could not tell the state before.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;

use super::failure::store_error;
use super::item::{EXPIRES_AT, Item, number, text};
use super::table::Table;
use crate::base::clock::UnixMillis;
use crate::link::Version;
use crate::store::StoreError;
use crate::store::audit::{
    Action, Actor, AuditPage, AuditQuery, Entry, EntryId, Event, Facts, Object,
};

/// The partition key and the sort key.
pub(super) const BUCKET: &str = "bucket";
pub(super) const ID: &str = "id";

/// The number of partitions for each month.
const SHARDS: u64 = 8;
/// The most entries of one page.
const MAX_ENTRIES: usize = 1_000;
/// How many entries a page looks at in each partition of a month.
const MAX_LOOKED_AT: usize = 1_000;
/// The same without a filter, at least.
const MIN_LOOKED_AT: usize = 16;
/// How many months a page looks at.
const MAX_MONTHS: usize = 24;
/// The random bits of an entry's number. The ten others hold the microsecond.
const RANDOM_BITS: u32 = u64::BITS - 10;
/// Milliseconds in a day.
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// The log of a store.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) table: Table,
    /// How long entries are kept, in seconds.
    pub(super) keep: u64,
}

impl Log {
    /// Writes the entry of a change of a link that was made, which has this version since.
    pub(super) async fn note_link(
        &self,
        client: &Client,
        event: Event,
        version: Version,
    ) -> Result<(), StoreError> {
        let event = Event {
            at: UnixMillis::of_micros(version.0),
            ..event
        };
        self.put(client, event, version.0 % 1_000).await
    }

    /// Writes the entry of a change that was made. After an error it is unknown to the caller what was done.
    pub(super) async fn note(&self, client: &Client, event: Event) -> Result<(), StoreError> {
        self.put(client, event, 0).await
    }

    /// `micros` is below 1,000: the place of the entry within its millisecond.
    async fn put(&self, client: &Client, event: Event, micros: u64) -> Result<(), StoreError> {
        let failed = |reason: String| {
            StoreError::Unavailable(format!(
                "the change was made, but not its entry in the audit log: {reason}"
            ))
        };
        let random = getrandom::u64().map_err(|error| failed(error.to_string()))?;
        let id = EntryId {
            at: event.at,
            number: micros << RANDOM_BITS | random >> (u64::BITS - RANDOM_BITS),
        };
        let put = client.put_item().table_name(&self.table.name);
        let put = put.set_item(Some(encode(id, &event, self.keep)));
        let sent = put.send().await;
        sent.map(drop)
            .map_err(|error| failed(store_error(&self.table, &error).to_string()))
    }

    /// The entry of this id; none if there is none, or if it is damaged.
    pub(super) async fn entry(
        &self,
        client: &Client,
        id: EntryId,
    ) -> Result<Option<Event>, StoreError> {
        let get = client
            .get_item()
            .table_name(&self.table.name)
            .key(BUCKET, text(&bucket(id)))
            .key(ID, text(&sort_key(id)))
            .consistent_read(true);
        let output = get.send().await;
        let output = output.map_err(|error| store_error(&self.table, &error))?;
        Ok(output.item.and_then(|item| decode(id.at, &item).ok()))
    }

    /// See [`crate::store::Store::audit`].
    pub(super) async fn page(
        &self,
        client: &Client,
        query: &AuditQuery,
    ) -> Result<AuditPage, StoreError> {
        let limit = query.limit.clamp(1, MAX_ENTRIES);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        // A clock may be ahead; an entry from later than tomorrow is shown once its day has come.
        let newest = EntryId {
            at: UnixMillis(now.saturating_add(DAY)),
            number: 0,
        };
        let oldest = now.saturating_sub(self.keep.saturating_mul(1_000));
        let oldest = query.since.map_or(oldest, |since| since.0.max(oldest));
        let mut end = query.before().min(newest);
        let mut page = AuditPage::default();
        for _ in 0..MAX_MONTHS {
            let Some((month, start)) = month_before(end).filter(|_| end.at.0 >= oldest) else {
                return Ok(page);
            };
            let low = EntryId {
                at: UnixMillis(oldest.max(start.0)),
                number: 0,
            };
            let range = (low, end, looked_at(query, limit));
            let (found, floor) = self.month(client, &month, range).await?;
            for (id, event) in found.into_iter().rev() {
                if floor.is_some_and(|floor| id < floor) {
                    break;
                }
                let Some(event) = event.filter(|event| query.takes(event)) else {
                    continue;
                };
                if page.entries.len() == limit {
                    page.next = page.entries.last().map(|entry| entry.id);
                    return Ok(page);
                }
                page.entries.push(Entry { id, event });
            }
            if let Some(floor) = floor {
                page.next = Some(floor);
                return Ok(page);
            }
            end = EntryId {
                at: start,
                number: 0,
            };
        }
        page.next = Some(end);
        Ok(page)
    }

    /// The entries of a month from `low` up to `end` (exclusive), at most so many of each partition, none for a damaged one.
    /// If some partitions have more, all entries from the second value on are there.
    async fn month(
        &self,
        client: &Client,
        month: &str,
        (low, end, looked_at): (EntryId, EntryId, usize),
    ) -> Result<(BTreeMap<EntryId, Option<Event>>, Option<EntryId>), StoreError> {
        let shards = (0..SHARDS).map(|shard| async move {
            let query = client
                .query()
                .table_name(&self.table.name)
                .key_condition_expression("#bucket = :bucket AND #id BETWEEN :low AND :end")
                .expression_attribute_names("#bucket", BUCKET)
                .expression_attribute_names("#id", ID)
                .expression_attribute_values(":bucket", text(&format!("{month}#{shard}")))
                .expression_attribute_values(":low", text(&sort_key(low)))
                .expression_attribute_values(":end", text(&sort_key(end)))
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(i32::try_from(looked_at).unwrap_or(i32::MAX));
            let output = query.send().await;
            let output = output.map_err(|error| store_error(&self.table, &error))?;
            let has_more = output.last_evaluated_key.is_some_and(|key| !key.is_empty());
            Ok::<_, StoreError>((output.items.unwrap_or_default(), has_more))
        });
        let mut found = BTreeMap::new();
        let mut floor = None;
        for (items, has_more) in try_join_all(shards).await? {
            let mut last = None;
            for item in items {
                let Some(id) = id_of(&item) else { continue };
                last = Some(id);
                if id < end {
                    let event = decode(id.at, &item).map_err(|reason| {
                        tracing::warn!(%id, reason, "an entry of the audit log is damaged");
                    });
                    found.insert(id, event.ok());
                }
            }
            if has_more {
                floor = floor.max(last);
            }
        }
        Ok((found, floor))
    }
}

/// How many entries a page looks at in each partition. Without a filter it takes all of them, and they are spread evenly: a
/// partition hardly ever has more than twice its share, and the page is then shorter.
fn looked_at(query: &AuditQuery, limit: usize) -> usize {
    let has_filter = query.actor.is_some()
        || query.action.is_some()
        || query.zone.is_some()
        || query.code.is_some();
    let share = limit.div_ceil(usize::try_from(SHARDS).unwrap_or(1));
    match has_filter {
        true => MAX_LOOKED_AT,
        false => (2 * share).clamp(MIN_LOOKED_AT, MAX_LOOKED_AT),
    }
}

/// The month that holds the entries just before this place, as `2026-11`, and its beginning. None at the beginning of
/// time.
fn month_before(end: EntryId) -> Option<(String, UnixMillis)> {
    let last = match end.number {
        0 => end.at.0.checked_sub(1)?,
        _ => end.at.0,
    };
    let month = month_of(UnixMillis(last));
    let start = UnixMillis::parse(&format!("{month}-01T00:00:00Z"))?;
    Some((month, start))
}

fn month_of(at: UnixMillis) -> String {
    at.rfc3339().chars().take(7).collect()
}

fn sort_key(id: EntryId) -> String {
    format!("{:016x}-{:016x}", id.at.0, id.number)
}

fn id_of(item: &Item) -> Option<EntryId> {
    let key = item.get(ID)?.as_s().ok()?;
    EntryId::parse(key)
}

/// The partition of an entry.
fn bucket(id: EntryId) -> String {
    format!("{}#{}", month_of(id.at), id.number % SHARDS)
}

/// The item of an entry, which DynamoDB removes `keep` seconds after the change.
pub(super) fn encode(id: EntryId, event: &Event, keep: u64) -> Item {
    let Actor {
        name,
        address,
        request_id,
        may_change_withheld: _,
    } = &event.actor;
    let mut item = Item::from([
        (BUCKET.into(), text(&bucket(id))),
        (ID.into(), text(&sort_key(id))),
        ("at".into(), number(id.at.0)),
        ("actor".into(), text(name)),
        ("action".into(), text(event.action.name())),
        (
            EXPIRES_AT.into(),
            number((id.at.0 / 1_000).saturating_add(keep)),
        ),
    ]);
    let address = address.map(|address| address.to_string());
    let optional = [
        ("address", address.as_deref()),
        ("request_id", request_id.as_deref()),
        ("zone", event.object.zone()),
        ("code", event.object.code()),
        ("token", event.object.name()),
        ("before", event.before.as_ref().map(Facts::as_str)),
        ("after", event.after.as_ref().map(Facts::as_str)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            item.insert(name.into(), text(value));
        }
    }
    item
}

/// The event in an item; the error says what is wrong with the item.
fn decode(at: UnixMillis, item: &Item) -> Result<Event, String> {
    let get = |name: &str| match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name} is not a string")),
    };
    let needed = |name: &str| get(name)?.ok_or_else(|| format!("{name} is missing"));
    let facts = |name: &str| match get(name)? {
        None => Ok(None),
        Some(text) => match Facts::read(text) {
            Some(facts) => Ok(Some(facts)),
            None => Err(format!("{name} is no JSON object")),
        },
    };
    let action = needed("action")?.parse::<Action>();
    let action = action.map_err(|e| e.to_string())?;
    let object = Object::read(action, get("zone")?, get("code")?, get("token")?)?;
    let address = get("address")?.map(str::parse).transpose();
    Ok(Event {
        at,
        actor: Actor {
            address: address.map_err(|_| "address is no IP address")?,
            request_id: get("request_id")?.map(Into::into),
            ..Actor::from(needed("actor")?)
        },
        action,
        object,
        before: facts("before")?,
        after: facts("after")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkName;

    #[test]
    fn months_follow_each_other_back_to_the_first() {
        let at = |text: &str| UnixMillis::parse(text).unwrap();
        let check = |end: EntryId, month: &str, start: &str| {
            assert_eq!(month_before(end), Some((month.into(), at(start))), "{end}");
        };
        let end = |text: &str, number| EntryId {
            at: at(text),
            number,
        };
        let (march, february) = ("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z");
        check(end(march, 1), "2026-03", march);
        check(end(march, 0), "2026-02", february);
        check(end(february, 0), "2026-01", "2026-01-01T00:00:00Z");
        check(
            end("2026-01-01T00:00:00Z", 0),
            "2025-12",
            "2025-12-01T00:00:00Z",
        );
        assert_eq!(month_before(end("1970-01-01T00:00:00Z", 0)), None);
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let event = Event {
            at: UnixMillis(1_767_225_600_123),
            actor: Actor {
                address: Some([192, 0, 2, 7].into()),
                request_id: Some("r".into()),
                ..Actor::from("ann")
            },
            action: Action::LinkChanged,
            object: Object::Link(LinkName::parse("a.s.example.com").unwrap()),
            before: Facts::read("{\"url\":\"http://x/\"}"),
            after: Facts::read("{\"url\":\"http://y/\"}"),
        };
        let id = EntryId {
            at: event.at,
            number: u64::MAX,
        };
        let item = encode(id, &event, 60);
        assert_eq!(item[BUCKET], text("2026-01#7"));
        assert_eq!(item[EXPIRES_AT], number(1_767_225_660));
        assert_eq!(id_of(&item), Some(id));
        assert_eq!(decode(id.at, &item), Ok(event));
    }
}
