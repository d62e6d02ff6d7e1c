//! The audit log for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::list::limit;
use super::{Admin, query};
use crate::base::clock::UnixMillis;
use crate::http::problem::{Kind, Problem};
use crate::store::audit::{Action, AuditQuery, Entry, EntryId, Facts, NoAction};

/// How many entries a page has by default.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    actor: Option<Box<str>>,
    action: Option<String>,
    zone: Option<String>,
    code: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// An entry as the API shows it.
#[derive(Serialize)]
struct EntryJson<'a> {
    id: String,
    at: String,
    actor: &'a str,
    address: Option<String>,
    request_id: Option<&'a str>,
    action: &'static str,
    zone: Option<&'a str>,
    code: Option<&'a str>,
    token: Option<&'a str>,
    pool: Option<&'a str>,
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
}

impl<'a> EntryJson<'a> {
    fn new(entry: &'a Entry) -> Self {
        let event = &entry.event;
        Self {
            id: entry.id.to_string(),
            at: event.at.rfc3339(),
            actor: &event.actor.name,
            address: event.actor.address.map(|address| address.to_string()),
            request_id: event.actor.request_id.as_deref(),
            action: event.action.name(),
            zone: event.object.zone(),
            code: event.object.code(),
            token: event.object.token(),
            pool: event.object.pool(),
            before: event.before.as_ref().map(Facts::members),
            after: event.after.as_ref().map(Facts::members),
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    entries: Vec<EntryJson<'a>>,
    next_cursor: Option<String>,
}

/// `GET /v1/audit`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let query: ListQuery = query(&uri)?;
    let page = admin.links.audit(read(query)?).await?;
    let entries = page.entries.iter().map(EntryJson::new).collect();
    let next_cursor = page.next.map(|id| id.to_string());
    let list = List {
        entries,
        next_cursor,
    };
    Ok(Json(list).into_response())
}

fn read(query: ListQuery) -> Result<AuditQuery, Problem> {
    let invalid = |detail: String, field| Problem::new(Kind::InvalidQuery, detail).of(field);
    let time = |text: Option<String>, field: &'static str| {
        let read = |text: String| {
            UnixMillis::parse(&text).ok_or_else(|| {
                let example = "2026-12-31T23:59:59Z";
                invalid(
                    format!("{field:?} is an RFC 3339 time such as {example}"),
                    field,
                )
            })
        };
        text.map(read).transpose()
    };
    let action = query.action.map(|text| text.parse::<Action>());
    let cursor = query.cursor.map(|text| {
        let detail = || "\"cursor\" is not from this list".to_owned();
        EntryId::parse(&text).ok_or_else(|| invalid(detail(), "cursor"))
    });
    let lower = |text: String| text.to_ascii_lowercase().into_boxed_str();
    Ok(AuditQuery {
        actor: query.actor,
        action: action
            .transpose()
            .map_err(|error: NoAction| invalid(error.to_string(), "action"))?,
        zone: query.zone.map(lower),
        code: query.code.map(lower),
        since: time(query.since, "since")?,
        until: time(query.until, "until")?,
        after: cursor.transpose()?,
        limit: query.limit.as_deref().map_or(Ok(DEFAULT_LIMIT), limit)?,
    })
}
