//! Writing: each of create, change and delete is one conditional request where nothing gets in its
//! way, and the refusal of the condition brings the item that was in the way along, or that is read.
//!
//! The conditions judge only what they have to: whether there is a live link, and its version. An
//! item that is no sound link fails them if these two cannot be told, and is then reported.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};

use super::failure::{Attempts, write_error};
use super::item::{self, Entry, Item, KEY, TTL, number, text};
use super::read;
use super::table::Table;
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Version};
use crate::store::{Change, Changed, Created, Deleted, NewLink, StoreError, seconds};

/// How long a tombstone stays, in seconds: seven days, by which no clock of a server is behind.
const TOMBSTONE_RETENTION: u64 = 7 * 24 * 60 * 60;

/// How often a write is tried that others get in the way of. A second try follows when our clock is
/// behind the item's version, and cannot fail for that reason again; more are needed only if the
/// name changes hands in between.
const MAX_TRIES: usize = 5;

/// No live link is in the way, and its remains are older than what is written.
const FREE: &str = "attribute_not_exists(miniUrl) OR (\
    (expiresAt <= :now OR (attribute_not_exists(fullUrl) AND attribute_exists(deletedAt))) \
    AND (attribute_not_exists(version) OR version < :version))";
/// There is a link, and it has not ended.
const LIVE: &str =
    "attribute_exists(fullUrl) AND (attribute_not_exists(expiresAt) OR expiresAt > :now)";

/// See [`crate::store::Store::create`].
pub(super) async fn create(
    client: &Client,
    table: &Table,
    new: NewLink,
    now_micros: u64,
) -> Result<Created, StoreError> {
    let now = seconds(now_micros);
    let mut link = Link {
        name: new.name,
        target: new.target,
        created_at: now,
        created_by: new.created_by.into(),
        expires_at: new.expires_at,
        ttl: new.ttl,
        version: version_above(Version(0), now_micros),
    };
    for _ in 0..MAX_TRIES {
        let Some(refusal) = put(client, table, &link, now).await? else {
            return Ok(Created::New(link));
        };
        let Some(old) = refusal.entry(client, table, &link.name).await? else {
            continue;
        };
        let version = old.version();
        match old.into_live(now) {
            Some(old) if refusal.repeated && old == link => return Ok(Created::New(link)),
            Some(old) if old.target == link.target => return Ok(Created::Same(old)),
            Some(old) => return Ok(Created::Taken(old)),
            None => link.version = version_above(version, now_micros),
        }
    }
    Err(contended(table, &link.name))
}

/// See [`crate::store::Store::change`].
pub(super) async fn change(
    client: &Client,
    table: &Table,
    name: &LinkName,
    expected: Option<Version>,
    change: Change,
    now_micros: u64,
) -> Result<Changed, StoreError> {
    let edit = Edit::Change(change);
    Ok(
        match update(client, table, name, expected, &edit, now_micros).await? {
            Updated::Done(entry) => match entry.into_link() {
                Some(link) => Changed::Changed(link),
                None => Changed::Absent,
            },
            Updated::Absent => Changed::Absent,
            Updated::Conflict(link) => Changed::Conflict(link),
        },
    )
}

/// See [`crate::store::Store::delete`].
pub(super) async fn delete(
    client: &Client,
    table: &Table,
    name: &LinkName,
    expected: Option<Version>,
    now_micros: u64,
) -> Result<Deleted, StoreError> {
    Ok(
        match update(client, table, name, expected, &Edit::Delete, now_micros).await? {
            Updated::Done(entry) => Deleted::Deleted(entry.version()),
            Updated::Absent => Deleted::Absent,
            Updated::Conflict(link) => Deleted::Conflict(link),
        },
    )
}

/// What a live item is to become.
enum Edit {
    Change(Change),
    Delete,
}

enum Updated {
    /// The item as it is now.
    Done(Entry),
    Absent,
    Conflict(Link),
}

/// Which version a live item must have, and which it gets.
#[derive(Clone, Copy)]
enum Step {
    /// Exactly the first, and gets the second.
    From(Version, Version),
    /// Any below this, and gets it.
    UpTo(Version),
    /// This one or any above, and gets the one after its own: our clock is behind. DynamoDB does
    /// the sum, so that it holds however many others do the same.
    Beyond(Version),
}

impl Step {
    /// The lowest version that the item can have afterwards.
    fn version(self) -> Version {
        match self {
            Self::From(_, version) | Self::UpTo(version) | Self::Beyond(version) => version,
        }
    }
}

/// Edits a live item whose version is `expected`, if one is.
async fn update(
    client: &Client,
    table: &Table,
    name: &LinkName,
    expected: Option<Version>,
    edit: &Edit,
    now_micros: u64,
) -> Result<Updated, StoreError> {
    let now = seconds(now_micros);
    let mut step = match expected {
        Some(expected) => Step::From(expected, version_above(expected, now_micros)),
        None => Step::UpTo(version_above(Version(0), now_micros)),
    };
    for _ in 0..MAX_TRIES {
        let refusal = match send_update(client, table, name, step, edit, now).await? {
            Ok(entry) => return Ok(Updated::Done(entry)),
            Err(refusal) => refusal,
        };
        let Some(old) = refusal.entry(client, table, name).await? else {
            return Ok(Updated::Absent);
        };
        if refusal.repeated && is_ours(&old, edit, step, now) {
            return Ok(Updated::Done(old));
        }
        let Some(link) = old.into_live(now) else {
            return Ok(Updated::Absent);
        };
        if expected.is_some_and(|expected| expected != link.version) {
            return Ok(Updated::Conflict(link));
        }
        if expected.is_none() {
            let ours = version_above(Version(0), now_micros);
            step = if link.version < ours {
                Step::UpTo(ours)
            } else {
                Step::Beyond(link.version)
            };
        }
    }
    Err(contended(table, name))
}

/// Whether the item that is in the way of a repeated call is what that very call has written. It
/// would be wrong only of another's write with our version, which is our microsecond.
fn is_ours(old: &Entry, edit: &Edit, step: Step, now: UnixTime) -> bool {
    match (old, edit) {
        (Entry::Link(link), Edit::Change(_)) => link.version == step.version(),
        (Entry::Tombstone { deleted_at, .. }, Edit::Delete) => {
            *deleted_at == now && old.version() >= step.version()
        }
        _ => false,
    }
}

/// A condition did not hold.
struct Refusal {
    /// What was there.
    old: Option<Item>,
    /// Whether the call was sent more than once.
    repeated: bool,
}

impl Refusal {
    /// What is in the way. Not every DynamoDB brings it along (DynamoDB Local before 2.0 does not know
    /// `ReturnValuesOnConditionCheckFailure`), and it is read then. It may have changed in between, which the
    /// next try finds out. Nothing was changed: where the read fails, that is certain as well.
    async fn entry(
        &self,
        client: &Client,
        table: &Table,
        name: &LinkName,
    ) -> Result<Option<Entry>, StoreError> {
        if let Some(old) = &self.old {
            return Ok(Some(item::decode(old)?));
        }
        let read = read::entry(client, table, name).await;
        read.map_err(|error| match error {
            StoreError::DeadlineExceeded => {
                StoreError::Unreachable(format!("{table}: it did not answer a read in time"))
            }
            StoreError::Unavailable(text) => StoreError::Unreachable(text),
            error => error,
        })
    }
}

/// Puts a link where there is none.
async fn put(
    client: &Client,
    table: &Table,
    link: &Link,
    now: UnixTime,
) -> Result<Option<Refusal>, StoreError> {
    let attempts = Attempts::default();
    let sent = client
        .put_item()
        .table_name(&table.name)
        .set_item(Some(item::encode(link)))
        .condition_expression(FREE)
        .expression_attribute_values(":now", number(now.0))
        .expression_attribute_values(":version", number(link.version.0))
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(_) => Ok(None),
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            let PutItemError::ConditionalCheckFailedException(refused) = error.into_err() else {
                return Err(contended(table, &link.name));
            };
            Ok(Some(Refusal {
                old: refused.item,
                repeated: attempts.repeated(),
            }))
        }
        Err(error) => Err(write_error(table, &error, &attempts)),
    }
}

/// Edits a live item; gives it as it is afterwards.
async fn send_update(
    client: &Client,
    table: &Table,
    name: &LinkName,
    step: Step,
    edit: &Edit,
    now: UnixTime,
) -> Result<Result<Entry, Refusal>, StoreError> {
    let attempts = Attempts::default();
    let expression = Expression::new(step, edit, now);
    let sent = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, item::key(name))
        .condition_expression(expression.condition)
        .update_expression(expression.update)
        .set_expression_attribute_names(expression.names)
        .set_expression_attribute_values(Some(expression.values))
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(output) => {
            let item = output.attributes.unwrap_or_default();
            Ok(Ok(item::decode(&item)?))
        }
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            let UpdateItemError::ConditionalCheckFailedException(refused) = error.into_err() else {
                return Err(contended(table, name));
            };
            Ok(Err(Refusal {
                old: refused.item,
                repeated: attempts.repeated(),
            }))
        }
        Err(error) => Err(write_error(table, &error, &attempts)),
    }
}

/// An update in DynamoDB's language, which refuses names and values that are not used.
struct Expression {
    condition: String,
    update: String,
    names: Option<HashMap<String, String>>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn new(step: Step, edit: &Edit, now: UnixTime) -> Self {
        let mut set = Vec::new();
        let mut remove = Vec::new();
        let mut values = HashMap::from([(":now".to_owned(), number(now.0))]);
        let version = match step {
            Step::From(Version(0), version) => {
                values.insert(":version".into(), number(version.0));
                set.push("version = :version");
                values.insert(":expected".into(), number(0));
                "(attribute_not_exists(version) OR version = :expected)"
            }
            Step::From(expected, version) => {
                values.insert(":version".into(), number(version.0));
                set.push("version = :version");
                values.insert(":expected".into(), number(expected.0));
                "version = :expected"
            }
            Step::UpTo(version) => {
                values.insert(":version".into(), number(version.0));
                set.push("version = :version");
                "(attribute_not_exists(version) OR version < :version)"
            }
            Step::Beyond(version) => {
                values.insert(":version".into(), number(version.0));
                values.insert(":one".into(), number(1));
                set.push("version = version + :one");
                "version >= :version"
            }
        };
        match edit {
            Edit::Change(change) => edit_change(change, &mut set, &mut remove, &mut values),
            Edit::Delete => {
                set.extend(["deletedAt = :now", "expiresAt = :sweep"]);
                remove.extend(["fullUrl", "createdAt", "createdBy", "#ttl"]);
                values.insert(":sweep".into(), number(sweep_time(step.version(), now).0));
            }
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update = format!("{update} REMOVE {}", remove.join(", "));
        }
        let names = update
            .contains("#ttl")
            .then(|| HashMap::from([("#ttl".to_owned(), TTL.to_owned())]));
        Self {
            condition: format!("{LIVE} AND {version}"),
            update,
            names,
            values,
        }
    }
}

fn edit_change(
    change: &Change,
    set: &mut Vec<&'static str>,
    remove: &mut Vec<&'static str>,
    values: &mut HashMap<String, AttributeValue>,
) {
    if let Some(target) = &change.target {
        set.push("fullUrl = :url");
        values.insert(":url".into(), text(target.as_str()));
    }
    match change.expires_at {
        Some(Some(end)) => {
            set.push("expiresAt = :end");
            values.insert(":end".into(), number(end.0));
        }
        Some(None) => remove.push("expiresAt"),
        None => {}
    }
    match change.ttl {
        Some(Some(ttl)) => {
            set.push("#ttl = :ttl");
            values.insert(":ttl".into(), number(ttl.as_secs().into()));
        }
        Some(None) => remove.push("#ttl"),
        None => {}
    }
}

/// When DynamoDB may sweep a tombstone. It counts from the version where that is ahead of the
/// clock: the tombstone has to be there until every clock is past it.
fn sweep_time(version: Version, now: UnixTime) -> UnixTime {
    let from = now.max(seconds(version.0));
    UnixTime(from.0.saturating_add(TOMBSTONE_RETENTION))
}

/// The version of a write that follows `last`. Never 0, which is that of items without one.
fn version_above(last: Version, now_micros: u64) -> Version {
    Version(now_micros.max(last.0.saturating_add(1)))
}

fn contended(table: &Table, name: &LinkName) -> StoreError {
    StoreError::Unavailable(format!("{table}: others keep changing {name}"))
}
