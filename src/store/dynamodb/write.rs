//! Writing: each creation, change and deletion is one conditional request, if no other item prevents it. If one
//! does, the refusal returns that item, or it is read.
//!
//! The conditions check only what they must: whether there is a live link, and its version. An item that is no
//! valid link fails them if these two cannot be determined; it is then reported.

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
use crate::link::{AboutChange, Link, LinkName, Version};
use crate::store::{Change, Changed, Created, Deleted, NewLink, StoreError, seconds};

/// How long a tombstone stays, in seconds: seven days. No server's clock is behind by as much.
const TOMBSTONE_RETENTION: u64 = 7 * 24 * 60 * 60;

/// How many attempts are made for a write whose condition fails. If our clock is behind the item's version, the
/// second attempt cannot fail for that reason again. More attempts are needed only if other servers change the
/// name meanwhile.
const MAX_TRIES: usize = 5;

/// There is no live link, and an item that is left of a former one has a lower version.
const FREE: &str = "attribute_not_exists(miniUrl) OR (\
    (expiresAt <= :now OR (attribute_not_exists(fullUrl) AND attribute_exists(deletedAt))) \
    AND (attribute_not_exists(version) OR version < :version))";
/// There is a link, and it has not ended.
const LIVE: &str =
    "attribute_exists(fullUrl) AND (attribute_not_exists(expiresAt) OR expiresAt > :now)";
/// No other destination has the new URL.
const NO_RIVAL: &str = "NOT contains(destinations, :rival)";
/// The link is not withheld.
const NOT_WITHHELD: &str = "attribute_not_exists(withheld)";

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
        destinations: new.destinations,
        created_at: now,
        created_by: new.created_by.name,
        expires_at: new.expires_at,
        ttl: new.ttl,
        about: new.about,
        withheld: new.withheld,
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
            Some(old) if old.leads_to(&link.target, link.destinations.as_deref()) => {
                return Ok(Created::Same(old));
            }
            Some(old) => return Ok(Created::Taken(old)),
            None => link.version = version_above(version, now_micros),
        }
    }
    Err(contended(table, &link.name))
}

/// The terms of a change.
#[derive(Clone, Copy)]
pub(super) struct Write {
    /// The version that the link must have.
    pub(super) expected: Option<Version>,
    /// Whether the caller needs the state before the change.
    pub(super) keeps_before: bool,
    /// Whether a link that is withheld stays as it is.
    pub(super) spares_withheld: bool,
    pub(super) now_micros: u64,
}

/// See [`crate::store::Store::change`]. With the link before the change, if it is wanted and known: it is unknown if
/// the reply of a first attempt was lost.
pub(super) async fn change(
    client: &Client,
    table: &Table,
    name: &LinkName,
    write: Write,
    change: Change,
) -> Result<(Changed, Option<Link>), StoreError> {
    let edit = Edit::Change(change);
    Ok(match update(client, table, name, write, &edit).await? {
        Updated::Done(entry, before) => match entry.into_link() {
            Some(link) => (Changed::Changed(link), before),
            None => (Changed::Absent, None),
        },
        Updated::Absent => (Changed::Absent, None),
        Updated::Conflict(link) => (Changed::Conflict(link), None),
        Updated::Withheld(link) => (Changed::Withheld(link), None),
    })
}

/// See [`crate::store::Store::delete`]; with the link before, as for [`change`].
pub(super) async fn delete(
    client: &Client,
    table: &Table,
    name: &LinkName,
    write: Write,
) -> Result<(Deleted, Option<Link>), StoreError> {
    Ok(
        match update(client, table, name, write, &Edit::Delete).await? {
            Updated::Done(entry, before) => (Deleted::Deleted(entry.version()), before),
            Updated::Absent => (Deleted::Absent, None),
            Updated::Conflict(link) => (Deleted::Conflict(link), None),
            Updated::Withheld(link) => (Deleted::Withheld(link), None),
        },
    )
}

/// The change of a live item.
enum Edit {
    Change(Change),
    Delete,
}

enum Updated {
    /// The item as it is now, and the link before, if that is wanted and known.
    Done(Entry, Option<Link>),
    Absent,
    Conflict(Link),
    Withheld(Link),
}

/// The version that a live item must have, and the version that it gets.
#[derive(Clone, Copy)]
enum Step {
    /// It must have exactly the first version, and gets the second.
    From(Version, Version),
    /// It must have a lower version than this, and gets this one.
    UpTo(Version),
    /// It must have this version or a higher one, and gets the next one after its own: our clock is behind.
    /// DynamoDB computes it, so this works however many servers do the same.
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

/// Edits a live item. If `expected` is given, only an item of that version.
async fn update(
    client: &Client,
    table: &Table,
    name: &LinkName,
    write: Write,
    edit: &Edit,
) -> Result<Updated, StoreError> {
    let Write {
        expected,
        keeps_before,
        spares_withheld,
        now_micros,
    } = write;
    let now = seconds(now_micros);
    let mut step = match expected {
        Some(expected) => Step::From(expected, version_above(expected, now_micros)),
        None => Step::UpTo(version_above(Version(0), now_micros)),
    };
    let mut merged;
    let mut sent = edit;
    for _ in 0..MAX_TRIES {
        let returned = match keeps_before {
            true => ReturnValue::AllOld,
            false => ReturnValue::AllNew,
        };
        let expression = Expression::new(step, sent, spares_withheld, now);
        let refusal = match send_update(client, table, name, expression, returned).await? {
            Ok(item) if keeps_before => {
                return edited(client, table, name, (step, sent, now), &item).await;
            }
            Ok(item) => return Ok(Updated::Done(item::decode(&item)?, None)),
            Err(refusal) => refusal,
        };
        let Some(old) = refusal.entry(client, table, name).await? else {
            return Ok(Updated::Absent);
        };
        if refusal.repeated && is_ours(&old, edit, step, now) {
            return Ok(Updated::Done(old, None));
        }
        let Some(link) = old.into_live(now) else {
            return Ok(Updated::Absent);
        };
        if expected.is_some_and(|expected| expected != link.version) {
            return Ok(Updated::Conflict(link));
        }
        if spares_withheld && link.withheld.is_some() {
            return Ok(Updated::Withheld(link));
        }
        sent = edit;
        if let Some(change) = without_rival(edit, &link) {
            // The others are those of this very version.
            merged = change;
            sent = &merged;
            step = Step::From(link.version, version_above(link.version, now_micros));
        } else if expected.is_none() {
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

/// The result of an edit that has returned the item from before.
async fn edited(
    client: &Client,
    table: &Table,
    name: &LinkName,
    (step, edit, now): (Step, &Edit, UnixTime),
    old: &Item,
) -> Result<Updated, StoreError> {
    let old = item::decode(old).ok();
    let version = match (step, &old) {
        (Step::Beyond(_), Some(old)) => Version(old.version().0.saturating_add(1)),
        _ => step.version(),
    };
    let before = old.and_then(Entry::into_link);
    let after = match (edit, &before) {
        (Edit::Delete, _) => Entry::Tombstone {
            version,
            deleted_at: now,
        },
        (Edit::Change(change), Some(link)) => {
            let link = change.clone().made(link.clone());
            Entry::Link(Link { version, ..link })
        }
        // The item was damaged, and the change may have mended it.
        (Edit::Change(_), None) => match read::entry(client, table, name).await? {
            Some(entry) => entry,
            None => return Ok(Updated::Absent),
        },
    };
    Ok(Updated::Done(after, before))
}

/// Whether the item that fails the condition of a repeated call is the result of that very call. Wrong only if
/// another server has written the same version, which is a microsecond, to this name.
fn is_ours(old: &Entry, edit: &Edit, step: Step, now: UnixTime) -> bool {
    match (old, edit) {
        (Entry::Link(link), Edit::Change(_)) => link.version == step.version(),
        (Entry::Tombstone { deleted_at, .. }, Edit::Delete) => {
            *deleted_at == now && old.version() >= step.version()
        }
        _ => false,
    }
}

/// A failed condition.
struct Refusal {
    /// The item, if the refusal returned it.
    old: Option<Item>,
    /// Whether the call was sent more than once.
    repeated: bool,
}

impl Refusal {
    /// The item that failed the condition. If DynamoDB does not return it (DynamoDB Local before 2.0 does not know
    /// `ReturnValuesOnConditionCheckFailure`), it is read. It may have changed meanwhile, which the next attempt
    /// shows. The write certainly changed nothing, so an error of the read is a certain one, too.
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

/// Puts a link if there is none; returns the refusal otherwise.
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

/// Edits a live item; returns the item before or after that.
async fn send_update(
    client: &Client,
    table: &Table,
    name: &LinkName,
    expression: Expression,
    returned: ReturnValue,
) -> Result<Result<Item, Refusal>, StoreError> {
    let attempts = Attempts::default();
    let sent = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, item::key(name))
        .condition_expression(expression.condition)
        .update_expression(expression.update)
        .set_expression_attribute_names(expression.names)
        .set_expression_attribute_values(Some(expression.values))
        .return_values(returned)
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(output) => Ok(Ok(output.attributes.unwrap_or_default())),
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

/// An update expression. DynamoDB refuses names and values that the expression does not use.
struct Expression {
    condition: String,
    update: String,
    names: Option<HashMap<String, String>>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn new(step: Step, edit: &Edit, spares_withheld: bool, now: UnixTime) -> Self {
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
        let mut rival = None;
        match edit {
            Edit::Change(change) => {
                edit_change(change, &mut set, &mut remove, &mut values);
                rival = rival_of(change);
            }
            Edit::Delete => {
                set.extend(["deletedAt = :now", "expiresAt = :sweep"]);
                remove.extend(["fullUrl", "createdAt", "createdBy", "#ttl"]);
                remove.extend(["title", "tags", "note", "withheld", "destinations"]);
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
        let mut condition = format!("{LIVE} AND {version}");
        if spares_withheld {
            condition = format!("{condition} AND {NOT_WITHHELD}");
        }
        if let Some(rival) = rival {
            condition = format!("{condition} AND {NO_RIVAL}");
            values.insert(":rival".into(), rival);
        }
        Self {
            condition,
            update,
            names,
            values,
        }
    }
}

/// What the other destinations have in their text if a change gives the link the URL of one of them, and leaves them as they
/// are.
fn rival_of(change: &Change) -> Option<AttributeValue> {
    let target = change.target.as_ref()?;
    // A string always serialises.
    let url = serde_json::to_string(target.as_str()).ok()?;
    change.destinations.is_none().then(|| text(&url))
}

/// The change with the destinations that are left, if it gives the link the URL of another one of its destinations.
fn without_rival(edit: &Edit, link: &Link) -> Option<Edit> {
    let Edit::Change(change) = edit else {
        return None;
    };
    let target = change.target.as_ref()?;
    let others = link.destinations.as_deref()?.others();
    let is_there = others.iter().any(|other| other.url == *target);
    (is_there && change.destinations.is_none()).then(|| {
        Edit::Change(Change {
            destinations: Some(change.clone().made(link.clone()).destinations),
            ..change.clone()
        })
    })
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
    let destinations = change.destinations.as_ref().map(Option::as_deref);
    match destinations.map(|destinations| destinations.and_then(item::destinations)) {
        Some(Some(destinations)) => {
            set.push("destinations = :destinations");
            values.insert(":destinations".into(), destinations);
        }
        Some(None) => remove.push("destinations"),
        None => {}
    }
    match &change.withheld {
        Some(Some(withheld)) => {
            set.push("withheld = :withheld");
            values.insert(":withheld".into(), item::withheld(withheld));
        }
        Some(None) => remove.push("withheld"),
        None => {}
    }
    edit_about(&change.about, set, remove, values);
}

fn edit_about(
    change: &AboutChange,
    set: &mut Vec<&'static str>,
    remove: &mut Vec<&'static str>,
    values: &mut HashMap<String, AttributeValue>,
) {
    let mut put =
        |change: Option<Option<AttributeValue>>, attribute, assignment, value: &str| match change {
            Some(Some(new)) => {
                set.push(assignment);
                values.insert(value.into(), new);
            }
            Some(None) => remove.push(attribute),
            None => {}
        };
    let title = change.title.as_ref().map(Option::as_ref);
    let title = title.map(|title| title.map(|title| text(title.as_str())));
    put(title, "title", "title = :title", ":title");
    let tags = change.tags.as_ref().map(item::tags);
    put(tags, "tags", "tags = :tags", ":tags");
    let note = change.note.as_ref().map(Option::as_ref);
    let note = note.map(|note| note.map(|note| text(note.as_str())));
    put(note, "note", "note = :note", ":note");
}

/// When DynamoDB may sweep a tombstone. If the version is ahead of the clock, the time counts from the version:
/// the tombstone must stay until every clock has passed it.
fn sweep_time(version: Version, now: UnixTime) -> UnixTime {
    let from = now.max(seconds(version.0));
    UnixTime(from.0.saturating_add(TOMBSTONE_RETENTION))
}

/// The version of a write that follows `last`. Never 0, which is the version of items without one.
fn version_above(last: Version, now_micros: u64) -> Version {
    Version(now_micros.max(last.0.saturating_add(1)))
}

fn contended(table: &Table, name: &LinkName) -> StoreError {
    StoreError::Unavailable(format!("{table}: others keep changing {name}"))
}
