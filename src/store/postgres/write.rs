//! Changing and deleting links.
//!
//! A change reads the link, and then writes it in one statement, together with its entry of the audit log, on the condition
//! that the row still has the version that was read. Each write by any program raises the version, so the condition is as
//! good as a lock. No transaction stays open between the two, so a server that stops or loses its connection holds nothing
//! up.

use tokio_postgres::types::ToSql;

use super::audit::{EventColumns, Log};
use super::connect::Connection;
use super::failure::{Fault, pause};
use super::link_columns::ttl_column;
use super::read::get;
use crate::link::{Link, LinkName, Note, Title, Version};
use crate::store::audit::{Actor, Event};
use crate::store::columns::{destinations_text, integer, tags_text, withheld_text};
use crate::store::{Change, Changed, Deleted, is_guarded, seconds};

/// How often a change is tried that others overtake. Each time at least one of them succeeds.
const MAX_TRIES: usize = 100;

/// `$1` to `$4` are the key, the version before and the new one; `$14` to `$23` are the entry of the audit log.
const CHANGE: &str = "WITH put AS (UPDATE link SET version = $4, url = $5, expires_at = $6, ttl = $7, title = $8, \
      tags = $9::text::jsonb, note = $10, withheld = $11, destinations = $12 \
      WHERE origin = $1 AND code = $2 AND version = $3 RETURNING 1), \
    entered AS (INSERT INTO audit (at, actor, address, request_id, action, zone, code, token, before, after) \
      SELECT $14, $15, $16, $17, $18, $19, $20, $21, $22, $23 FROM put WHERE $13) \
    SELECT count(*) FROM put";

/// `$5` says whether there is an audit log, and `$6` to `$15` are its entry.
const DELETE: &str = "WITH gone AS (DELETE FROM link WHERE origin = $1 AND code = $2 AND version = $3 \
      RETURNING origin, code), \
    buried AS (INSERT INTO tombstone AS t (origin, code, version) SELECT origin, code, $4 FROM gone \
      ON CONFLICT (origin, code) DO UPDATE SET version = greatest(t.version, excluded.version), \
      deleted_at = excluded.deleted_at), \
    entered AS (INSERT INTO audit (at, actor, address, request_id, action, zone, code, token, before, after) \
      SELECT $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 FROM gone WHERE $5) \
    SELECT count(*) FROM gone";

/// See [`crate::store::Store::change`].
pub(super) async fn change(
    connection: &Connection,
    log: Log,
    name: &LinkName,
    (expected, change): (Option<Version>, &Change),
    (by, now_micros): (&Actor, u64),
) -> Result<Changed, Fault> {
    for attempt in 0..MAX_TRIES {
        let Some(before) = live(connection, name, now_micros).await? else {
            return Ok(Changed::Absent);
        };
        if expected.is_some_and(|version| version != before.version) {
            return Ok(Changed::Conflict(before));
        }
        if is_guarded(&before, by) {
            return Ok(Changed::Withheld(before));
        }
        let mut link = change.clone().made(before.clone());
        link.version = Version::next(Some(before.version), now_micros);
        let event = Event::of_link(name, Some(&before), Some(&link), by, now_micros);
        if put(connection, log, &before, &link, &event).await? {
            return Ok(Changed::Changed(link));
        }
        give_way(attempt).await;
    }
    Err(Fault::Contended)
}

/// Writes the new state of a link. False if the link has another version than before.
async fn put(
    connection: &Connection,
    log: Log,
    before: &Link,
    link: &Link,
    event: &Event,
) -> Result<bool, Fault> {
    let (origin, code) = (link.name.origin(), link.name.code());
    let (old, version) = (integer(before.version.0)?, integer(link.version.0)?);
    let (url, ttl) = (link.target.as_str(), link.ttl.map(ttl_column));
    let expires_at = link.expires_at.map(|end| integer(end.0)).transpose()?;
    let (title, note) = (
        link.about.title().map(Title::as_str),
        link.about.note().map(Note::as_str),
    );
    let (tags, withheld) = (
        tags_text(link.about.tags()),
        withheld_text(link.withheld.as_deref()),
    );
    let destinations = destinations_text(link.destinations.as_deref(), Some(link.created_at));
    let (is_kept, entry) = (log.is_kept(), EventColumns::of(event)?);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![
        &origin,
        &code,
        &old,
        &version,
        &url,
        &expires_at,
        &ttl,
        &title,
        &tags,
        &note,
        &withheld,
        &destinations,
        &is_kept,
    ];
    parameters.extend(entry.parameters());
    count(connection, CHANGE, &parameters).await
}

/// See [`crate::store::Store::delete`].
pub(super) async fn delete(
    connection: &Connection,
    log: Log,
    name: &LinkName,
    expected: Option<Version>,
    (by, now_micros): (&Actor, u64),
) -> Result<Deleted, Fault> {
    for attempt in 0..MAX_TRIES {
        let Some(link) = live(connection, name, now_micros).await? else {
            return Ok(Deleted::Absent);
        };
        if expected.is_some_and(|version| version != link.version) {
            return Ok(Deleted::Conflict(link));
        }
        if is_guarded(&link, by) {
            return Ok(Deleted::Withheld(link));
        }
        let gone = Version::next(Some(link.version), now_micros);
        let event = Event::of_link(name, Some(&link), None, by, now_micros);
        let (origin, code) = (name.origin(), name.code());
        let (old, version) = (integer(link.version.0)?, integer(gone.0)?);
        let (is_kept, entry) = (log.is_kept(), EventColumns::of(&event)?);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&origin, &code, &old, &version, &is_kept];
        parameters.extend(entry.parameters());
        if count(connection, DELETE, &parameters).await? {
            return Ok(Deleted::Deleted(gone));
        }
        give_way(attempt).await;
    }
    Err(Fault::Contended)
}

/// Whether a statement has written a row.
async fn count(
    connection: &Connection,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<bool, Fault> {
    let statement = connection.prepare(sql).await?;
    let row = connection.client.query_one(&statement, parameters).await?;
    let rows: i64 = row.try_get(0)?;
    Ok(rows > 0)
}

/// The link of that name, unless it has ended.
async fn live(
    connection: &Connection,
    name: &LinkName,
    now_micros: u64,
) -> Result<Option<Link>, Fault> {
    let found = get(connection, name).await?;
    Ok(found.filter(|link| !link.is_expired(seconds(now_micros))))
}

/// Leaves others the time to finish, if there are many.
async fn give_way(attempt: usize) {
    if attempt > 1 {
        tokio::time::sleep(pause()).await;
    }
}
