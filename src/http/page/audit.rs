//! The audit log, for administrators.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::Fields;
use super::frame::{Frame, Place};
use super::state::Shared;
use super::values::{Moment, sentence};
use super::visitor::Visitor;
use super::{calls, render};

/// How many entries a page has.
const PAGE_LEN: &str = "50";
/// The actions that can be looked for, and what people call them.
const ACTIONS: [(&str, &str); 10] = [
    ("link.created", "link made"),
    ("link.changed", "link changed"),
    ("link.deleted", "link deleted"),
    ("token.added", "token made"),
    ("token.revoked", "token revoked"),
    ("certificate.ordered", "certificate ordered"),
    ("certificate.issued", "certificate issued"),
    ("sessions.ended", "all sessions ended"),
    ("pool.drained", "pool drained"),
    ("pool.restored", "pool restored"),
];

#[derive(Deserialize)]
struct EntryData {
    at: Moment,
    actor: String,
    address: Option<String>,
    action: String,
    zone: Option<String>,
    code: Option<String>,
    token: Option<String>,
    #[serde(default)]
    pool: Option<String>,
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
}

impl EntryData {
    fn action(&self) -> &str {
        let known = ACTIONS.iter().find(|(name, _)| *name == self.action);
        known.map_or(&*self.action, |(_, label)| label)
    }

    /// What it is about.
    fn object(&self) -> String {
        match (
            self.token.as_ref().or(self.pool.as_ref()),
            &self.code,
            &self.zone,
        ) {
            (Some(token), _, _) => token.clone(),
            (None, Some(code), Some(zone)) => format!("{code}.{zone}"),
            (None, None, Some(zone)) => zone.clone(),
            (None, _, None) => String::new(),
        }
    }

    /// The properties that differ: the name, and the values before and after.
    fn differences(&self) -> Vec<(String, String, String)> {
        let empty = Map::new();
        let before = self.before.as_ref().unwrap_or(&empty);
        let after = self.after.as_ref().unwrap_or(&empty);
        let new = after.keys().filter(|name| !before.contains_key(*name));
        let names = before.keys().chain(new);
        let differing = names.filter(|name| before.get(*name) != after.get(*name));
        differing
            .map(|name| (name.clone(), text(before.get(name)), text(after.get(name))))
            .filter(|(name, before, after)| name != "version" && before != after)
            .collect()
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => {
            let texts: Vec<_> = values.iter().map(|value| text(Some(value))).collect();
            texts.join(", ")
        }
        Some(other) => other.to_string(),
    }
}

#[derive(Deserialize)]
struct EntryList {
    entries: Vec<EntryData>,
    next_cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "page/templates/audit.html")]
struct AuditPage {
    frame: Frame,
    actor: String,
    action: String,
    code: String,
    entries: Vec<EntryData>,
    /// Whether this is not the first page.
    is_later: bool,
    next: Option<String>,
    error: Option<String>,
}

impl AuditPage {
    fn actions(&self) -> [(&'static str, &'static str); 10] {
        ACTIONS
    }

    fn has_filters(&self) -> bool {
        let filters = [&self.actor, &self.action, &self.code];
        filters.iter().any(|text| !text.is_empty())
    }
}

/// `GET /audit`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Response> {
    let fields = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let text = |name| fields.get(name).to_owned();
    let (actor, action, code, cursor) =
        (text("actor"), text("action"), text("code"), text("cursor"));
    let query = |cursor: &str, limit: &str| {
        calls::query([
            ("actor", &*actor),
            ("action", &*action),
            ("code", &*code),
            ("cursor", cursor),
            ("limit", limit),
        ])
    };
    let target = format!("/v1/audit?{}", query(&cursor, PAGE_LEN));
    let found = state.api.get(&visitor.on_behalf, &target).await;
    let found = found.and_then(|reply| reply.json::<EntryList>());
    let (status, found, error) = match found {
        Ok(list) => (StatusCode::OK, Some(list), None),
        Err(problem) if problem.field().is_some() => {
            (problem.status(), None, Some(sentence(problem.detail())))
        }
        Err(problem) => return Err(render::problem(Some(&visitor), &problem)),
    };
    let (entries, next) = found.map_or_else(Default::default, |l| (l.entries, l.next_cursor));
    let next = next.map(|cursor| format!("/audit?{}", query(&cursor, "")));
    let page = AuditPage {
        frame: Frame::new("Audit log", &visitor, Place::Audit),
        entries,
        is_later: !cursor.is_empty(),
        next,
        error,
        actor,
        action,
        code,
    };
    Ok(render::page(status, &page))
}
