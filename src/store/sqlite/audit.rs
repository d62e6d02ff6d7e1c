//! The audit log in the file; see [`crate::store::audit`].
//!
//! An entry is written in the transaction of its change. If that fails, the whole transaction is rolled back, so that
//! no change is committed without its entry.
//!
//! The number of an entry is its rowid, and the oldest entries go first. So numbers have no gaps, and the highest and
//! the lowest number tell how many entries there are.
//!
//! A page is a range of one index: by code, by action, by actor, or by time. The other filters are applied to the rows of
//! that range, of which a page looks at [`MAX_LOOKED_AT`] at most.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, TransactionBehavior};

use super::row::integer;
use crate::base::clock::{UnixMillis, UnixTime};
use crate::store::audit::{
    Action, Actor, AuditPage, AuditQuery, Entry, EntryId, Event, Facts, NoAction, Object, Retention,
};
use crate::store::{Adopted, StoreError};

/// How many rows a page looks at, at most: some 20 milliseconds of a reader's time.
const MAX_LOOKED_AT: usize = 20_000;
/// How many entries one step of the pruning removes: some milliseconds of the writer's time.
const PRUNE_ROWS: i64 = 500;

const INSERT: &str = "INSERT INTO audit \
    (at, actor, address, request_id, action, zone, code, token, before, after) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// A `SELECT` of whole entries for [`decode`], newest first, from `since` (?1) up to the place `before` (?2, ?3).
macro_rules! select_entries {
    ($filter:literal) => {
        concat!(
            "SELECT id, at, actor, address, request_id, action, zone, code, token, before, after FROM audit WHERE ",
            $filter,
            " at >= ?1 AND at <= ?2 AND (at < ?2 OR id < ?3) ORDER BY at DESC, id DESC"
        )
    };
}

const BY_TIME: &str = select_entries!("");
const BY_ACTOR: &str = select_entries!("actor = ?4 AND");
const BY_ACTION: &str = select_entries!("action = ?4 AND");
const BY_CODE: &str = select_entries!("code = ?4 AND");
/// An entry that is the same but for its number: of a link, and of anything else.
const SAME_OF_CODE: &str = "SELECT 1 FROM audit WHERE code = ?7 AND at = ?1 AND actor = ?2 AND address IS ?3 \
    AND request_id IS ?4 AND action = ?5 AND zone IS ?6 AND token IS ?8 AND before IS ?9 AND after IS ?10 LIMIT 1";
const SAME: &str = "SELECT 1 FROM audit WHERE code IS ?7 AND at = ?1 AND actor = ?2 AND address IS ?3 \
    AND request_id IS ?4 AND action = ?5 AND zone IS ?6 AND token IS ?8 AND before IS ?9 AND after IS ?10 LIMIT 1";
/// All entries, for a check.
const ALL: &str = "SELECT id, at, actor, address, request_id, action, zone, code, token, before, after FROM audit";
const ENDS: &str = "SELECT (SELECT min(id) FROM audit), (SELECT max(id) FROM audit)";
const OLDEST: &str = "SELECT at FROM audit WHERE id = ?1";
const PRUNE: &str = "DELETE FROM audit WHERE id <= ?1";
/// The last of the oldest entries, at most so many of them, that are all from before a time.
const LAST_OLD: &str =
    "SELECT max(id) FROM (SELECT id, at FROM audit ORDER BY id LIMIT ?1) WHERE at < ?2";

/// All statements of this module; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[
    INSERT,
    SAME_OF_CODE,
    SAME,
    ALL,
    BY_TIME,
    BY_ACTOR,
    BY_ACTION,
    BY_CODE,
    ENDS,
    OLDEST,
    PRUNE,
    LAST_OLD,
];

/// The log, as the writer sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    /// None if no log is kept. Entries from before are still pruned by the default bounds.
    pub(super) retention: Option<Retention>,
}

impl Log {
    /// Writes the entry of a change, in the transaction of the change. If that fails, the transaction is rolled back.
    pub(super) fn note(
        self,
        conn: &Connection,
        event: impl FnOnce() -> Event,
    ) -> Result<(), StoreError> {
        if self.retention.is_none() {
            return Ok(());
        }
        let written = insert(conn, &event());
        if written.is_err() && !conn.is_autocommit() {
            // The writer notices this, and has all writes of the transaction fail.
            conn.execute_batch("ROLLBACK")?;
        }
        written
    }

    /// Removes some of the entries that are too old or too many. True if more may follow.
    pub(super) fn prune(self, conn: &mut Connection, now: UnixTime) -> Result<bool, StoreError> {
        let Retention { keep, max_entries } = self.retention.unwrap_or_default();
        let Some((first, last)) = ends(conn)? else {
            return Ok(false);
        };
        let surplus = (last - first + 1).saturating_sub(integer(max_entries)?);
        let before = integer(now.0.saturating_sub(keep).saturating_mul(1_000))?;
        let oldest: Option<i64> = conn
            .prepare_cached(OLDEST)?
            .query_row([first], |row| row.get(0))
            .optional()?;
        if surplus <= 0 && oldest.is_some_and(|at| at >= before) {
            return Ok(false);
        }
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old: Option<i64> = tx
            .prepare_cached(LAST_OLD)?
            .query_row((PRUNE_ROWS, before), |row| row.get(0))?;
        let too_many = first + surplus.clamp(0, PRUNE_ROWS) - 1;
        let up_to = old.unwrap_or(first - 1).max(too_many);
        let removed = tx.prepare_cached(PRUNE)?.execute([up_to])?;
        tx.commit()?;
        Ok(i64::try_from(removed).is_ok_and(|removed| removed >= PRUNE_ROWS))
    }
}

/// The lowest and the highest number; none if there are no entries.
fn ends(conn: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let mut statement = conn.prepare_cached(ENDS)?;
    statement.query_row([], |row| {
        let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(first.zip(last))
    })
}

fn insert(conn: &Connection, event: &Event) -> Result<(), StoreError> {
    with_values(event, |values| conn.prepare_cached(INSERT)?.execute(values))?;
    Ok(())
}

/// See [`crate::store::Store::adopt_entry`].
pub(super) fn adopt(conn: &Connection, event: &Event) -> Result<Adopted, StoreError> {
    let same = match event.object.code() {
        Some(_) => SAME_OF_CODE,
        None => SAME,
    };
    if with_values(event, |values| conn.prepare_cached(same)?.exists(values))? {
        return Ok(Adopted::Same);
    }
    insert(conn, event)?;
    Ok(Adopted::Written)
}

/// How many entries cannot be read, and what is wrong with one of them.
pub(super) fn damaged(conn: &Connection) -> Result<Option<(u64, String)>, StoreError> {
    let mut statement = conn.prepare(ALL)?;
    let mut rows = statement.query([])?;
    let mut found: Option<(u64, String)> = None;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let at = row
            .get::<_, i64>(1)
            .ok()
            .and_then(|at| u64::try_from(at).ok());
        let read = match at {
            Some(at) => decode(row, UnixMillis(at)).map(drop),
            None => Err("at is no time".into()),
        };
        if let Err(reason) = read {
            let (number, _) = found.get_or_insert((0, format!("entry {id}: {reason}")));
            *number += 1;
        }
    }
    Ok(found)
}

/// The values of an entry but its number, in the order of the columns.
fn with_values<T>(
    event: &Event,
    run: impl FnOnce(&[&dyn ToSql]) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let Actor {
        name,
        address,
        request_id,
        may_change_withheld: _,
    } = &event.actor;
    let done = run(&[
        &integer(event.at.0)?,
        &&**name,
        &address.map(|address| address.to_string()),
        &request_id.as_deref(),
        &event.action.name(),
        &event.object.zone(),
        &event.object.code(),
        &event.object.name(),
        &event.before.as_ref().map(Facts::as_str),
        &event.after.as_ref().map(Facts::as_str),
    ]);
    Ok(done?)
}

/// See [`crate::store::Store::audit`].
pub(super) fn page(conn: &Connection, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let before = query.before();
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let since = clamp(query.since.map_or(0, |since| since.0));
    let (at, number) = (clamp(before.at.0), clamp(before.number));
    let (sql, key) = index_for(query);
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = match key {
        Some(key) => statement.query((since, at, number, key))?,
        None => statement.query((since, at, number))?,
    };
    let mut page = AuditPage::default();
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if page.entries.len() == query.limit || looked_at == MAX_LOOKED_AT {
            page.next = last;
            break;
        }
        looked_at += 1;
        let id = EntryId {
            at: UnixMillis(row.get::<_, i64>(1)?.unsigned_abs()),
            number: row.get::<_, i64>(0)?.unsigned_abs(),
        };
        last = Some(id);
        if !may_be_taken(row, query) {
            continue;
        }
        match decode(row, id.at) {
            Ok(event) if query.takes(&event) => page.entries.push(Entry { id, event }),
            Ok(_) => {}
            Err(reason) => tracing::warn!(%id, reason, "an entry of the audit log is damaged"),
        }
    }
    Ok(page)
}

/// The statement whose index leaves the fewest rows, as far as that is known without counting them, and its key.
fn index_for(query: &AuditQuery) -> (&'static str, Option<&str>) {
    // In most stores nearly all entries are of links that were made, and the other actions are rare.
    let rare = query.action.filter(|action| *action != Action::LinkCreated);
    match (&query.code, rare, &query.actor, query.action) {
        (Some(code), ..) => (BY_CODE, Some(code)),
        (None, Some(action), ..) => (BY_ACTION, Some(action.name())),
        (None, None, Some(actor), _) => (BY_ACTOR, Some(actor)),
        (None, None, None, Some(action)) => (BY_ACTION, Some(action.name())),
        (None, None, None, None) => (BY_TIME, None),
    }
}

/// Whether the query may take the entry in a row, without the cost of reading it. False only if [`AuditQuery::takes`]
/// would be false.
fn may_be_taken(row: &Row<'_>, query: &AuditQuery) -> bool {
    let is = |index, wanted: Option<&str>| {
        let found = row.get_ref(index).ok();
        let found = found.and_then(|value| value.as_str_or_null().ok());
        wanted.is_none_or(|wanted| found.is_none_or(|found| found == Some(wanted)))
    };
    is(2, query.actor.as_deref())
        && is(5, query.action.map(Action::name))
        && is(6, query.zone.as_deref())
        && is(7, query.code.as_deref())
}

/// The event in a row; the error says what is wrong with the row.
fn decode(row: &Row<'_>, at: UnixMillis) -> Result<Event, String> {
    let text = |index| {
        row.get::<_, Option<String>>(index)
            .map_err(|e| e.to_string())
    };
    let missing = |column: &str| format!("{column} is NULL");
    let address = text(3)?.map(|text| text.parse::<IpAddr>());
    let facts = |text: Option<String>| match text {
        None => Ok(None),
        Some(text) => match Facts::read(&text) {
            Some(facts) => Ok(Some(facts)),
            None => Err(format!("{text:?} is no JSON object")),
        },
    };
    let action = text(5)?.ok_or_else(|| missing("action"))?;
    let action: Action = action.parse().map_err(|e: NoAction| e.to_string())?;
    let [zone, code, token] = [text(6)?, text(7)?, text(8)?];
    let [zone, code, token] = [&zone, &code, &token].map(Option::as_deref);
    Ok(Event {
        at,
        actor: Actor {
            address: address.transpose().map_err(|e| e.to_string())?,
            request_id: text(4)?.map(Into::into),
            ..Actor::from(&*text(2)?.ok_or_else(|| missing("actor"))?)
        },
        action,
        object: Object::read(action, zone, code, token)?,
        before: facts(text(9)?)?,
        after: facts(text(10)?)?,
    })
}

#[cfg(test)]
mod tests;
