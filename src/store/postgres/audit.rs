//! The audit log; see [`crate::store::audit`].
//!
//! The statement of a change writes its entry as well, so neither is there without the other. A page is a range of one
//! index: by code, by action, by actor, or by time. The other filters are applied to the rows of that range, of which a
//! page looks at [`MAX_LOOKED_AT`] at most.

use std::net::IpAddr;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Connection;
use super::failure::Fault;
use super::read::as_limit;
use crate::base::clock::UnixMillis;
use crate::store::StoreError;
use crate::store::audit::{
    Action, Actor, AuditPage, AuditQuery, Entry, EntryId, Event, Facts, NoAction, Object, Retention,
};
use crate::store::columns::integer;

/// How many rows a page looks at, at most.
const MAX_LOOKED_AT: usize = 20_000;
/// How many rows are read at once. Few filters leave most of them out.
const MAX_ROWS: usize = 1_000;

/// Whether entries are written, and for how long they are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    /// None if no log is kept. Entries from before are still removed by the default bounds.
    pub(super) retention: Option<Retention>,
}

impl Log {
    pub(super) fn is_kept(self) -> bool {
        self.retention.is_some()
    }
}

/// A `SELECT` of whole entries for [`decode`], newest first, from `since` ($1) up to the place `before` ($2, $3).
macro_rules! select_entries {
    ($filter:literal) => {
        concat!(
            "SELECT id, at, actor, address, request_id, action, zone, code, token, before, after FROM audit WHERE ",
            $filter,
            " at >= $1 AND (at, id) < ($2, $3) ORDER BY at DESC, id DESC LIMIT $4"
        )
    };
}

const BY_TIME: &str = select_entries!("");
const BY_ACTOR: &str = select_entries!("actor = $5 AND");
const BY_ACTION: &str = select_entries!("action = $5 AND");
const BY_CODE: &str = select_entries!("code = $5 AND");

/// The columns of an entry, in the order of the statements.
pub(super) struct EventColumns<'a> {
    at: i64,
    actor: &'a str,
    address: Option<String>,
    request_id: Option<&'a str>,
    action: &'static str,
    zone: Option<&'a str>,
    code: Option<&'a str>,
    token: Option<&'a str>,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl<'a> EventColumns<'a> {
    pub(super) fn of(event: &'a Event) -> Result<Self, StoreError> {
        let actor = &event.actor;
        Ok(Self {
            at: integer(event.at.0)?,
            actor: &actor.name,
            address: actor.address.map(|address| address.to_string()),
            request_id: actor.request_id.as_deref(),
            action: event.action.name(),
            zone: event.object.zone(),
            code: event.object.code(),
            token: event.object.name(),
            before: event.before.as_ref().map(Facts::as_str),
            after: event.after.as_ref().map(Facts::as_str),
        })
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.at,
            &self.actor,
            &self.address,
            &self.request_id,
            &self.action,
            &self.zone,
            &self.code,
            &self.token,
            &self.before,
            &self.after,
        ]
    }
}

/// See [`crate::store::Store::audit`].
pub(super) async fn page(connection: &Connection, query: &AuditQuery) -> Result<AuditPage, Fault> {
    let before = query.before();
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let since = clamp(query.since.map_or(0, |since| since.0));
    let (mut at, mut number) = (clamp(before.at.0), clamp(before.number));
    let (sql, key) = index_for(query);
    let statement = connection.prepare(sql).await?;
    let mut page = AuditPage::default();
    let mut looked_at = 0;
    loop {
        let limit = as_limit(MAX_ROWS);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&since, &at, &number, &limit];
        if let Some(key) = &key {
            parameters.push(key);
        }
        let rows = connection.client.query(&statement, &parameters).await?;
        let mut last = None;
        for row in &rows {
            if page.entries.len() == query.limit || looked_at == MAX_LOOKED_AT {
                page.next = last.or(Some(EntryId {
                    at: UnixMillis(at.unsigned_abs()),
                    number: number.unsigned_abs(),
                }));
                return Ok(page);
            }
            looked_at += 1;
            let id = EntryId {
                at: UnixMillis(row.try_get::<_, i64>(1)?.unsigned_abs()),
                number: row.try_get::<_, i64>(0)?.unsigned_abs(),
            };
            last = Some(id);
            match decode(row, id.at) {
                Ok(event) if query.takes(&event) => page.entries.push(Entry { id, event }),
                Ok(_) => {}
                Err(reason) => tracing::warn!(%id, reason, "an entry of the audit log is damaged"),
            }
        }
        match last {
            Some(last) if rows.len() == MAX_ROWS => {
                (at, number) = (clamp(last.at.0), clamp(last.number));
            }
            _ => return Ok(page),
        }
    }
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

/// The event in a row; the error says what is wrong with the row.
fn decode(row: &Row, at: UnixMillis) -> Result<Event, String> {
    let text = |index| {
        row.try_get::<_, Option<&str>>(index)
            .map_err(|e| e.to_string())
    };
    let missing = |column: &str| format!("{column} is NULL");
    let address = text(3)?.map(str::parse::<IpAddr>);
    let facts = |text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match Facts::read(text) {
            Some(facts) => Ok(Some(facts)),
            None => Err(format!("{text:?} is no JSON object")),
        },
    };
    let action = text(5)?.ok_or_else(|| missing("action"))?;
    let action: Action = action.parse().map_err(|e: NoAction| e.to_string())?;
    Ok(Event {
        at,
        actor: Actor {
            address: address.transpose().map_err(|e| e.to_string())?,
            request_id: text(4)?.map(Into::into),
            ..Actor::from(text(2)?.ok_or_else(|| missing("actor"))?)
        },
        action,
        object: Object::read(action, text(6)?, text(7)?, text(8)?)?,
        before: facts(text(9)?)?,
        after: facts(text(10)?)?,
    })
}
