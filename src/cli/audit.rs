//! `tinyns audit`: the audit log of the server, page by page.
//!
//! A page is written before the next one is read, so a log of any length takes the memory of one page.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value};

use super::access::{AccessArgs, token_environment};
use super::api_client::{Entry, PAGE_ENTRIES};
use super::client::Client;
use super::counter::Counter;
use super::expires::Expires;
use super::outcome::Exit;
use super::output::{say, write};
use crate::base::clock::{Clock, UnixTime};
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::link::{Code, Origin};
use crate::store::audit::Action;

pub(super) const AUDIT_HELP: &str = concat!(
    "\
Examples:
  tinyns audit --limit 20                          the last 20 changes
  tinyns audit --code sale                         all changes of a link
  tinyns audit --since 7d --actor ann              what ann has changed in the last seven days
  tinyns audit --since 2026-01-01T00:00:00Z --until 2027-01-01T00:00:00Z --csv > 2026.csv
  tinyns audit --json | jq -r 'select(.action == \"link.deleted\").before.url'

The newest entry comes first. Each is a line: time, actor, address, action, object, and what has
changed. With --json each entry is a line of JSON, as the API shows it. With --csv the output has a
header, and before and after are JSON. The log needs a token with the role admin.",
    token_environment!()
);

/// The header of the output with `--csv`.
const CSV_HEADER: &str = "at,actor,address,request_id,action,zone,code,token,before,after,id\n";

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Only changes at this time or later: an RFC 3339 time, or a span before now such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<Expires>,
    /// Only changes before this time: an RFC 3339 time, or a span before now such as 12h
    #[arg(long, value_name = "WHEN")]
    until: Option<Expires>,
    /// Only changes by the token of this name; "admin" is the root token
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only changes of this kind, such as link.deleted
    #[arg(long, value_name = "ACTION")]
    action: Option<Action>,
    /// Only changes in this zone
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    zone: Option<Origin>,
    /// Only changes of the links with this code
    #[arg(long, value_name = "CODE", value_parser = Code::parse)]
    code: Option<Code>,
    /// Show at most this many entries; by default all
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print a line of JSON for each entry, and errors as JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values with a header
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl AuditArgs {
    /// Whether `--json` was given.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// The filters as parameters of the API.
    fn filters(&self, now: UnixTime) -> anyhow::Result<Vec<(&'static str, String)>> {
        let time = |when: Option<Expires>| when.map(|when| when.before(now)).transpose();
        let filters = [
            ("since", time(self.since)?),
            ("until", time(self.until)?),
            ("actor", self.actor.clone()),
            ("action", self.action.map(|action| action.to_string())),
            ("zone", self.zone.as_ref().map(ToString::to_string)),
            ("code", self.code.as_ref().map(ToString::to_string)),
        ];
        let given = filters.into_iter();
        Ok(given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }
}

/// Shows the audit log.
///
/// # Errors
/// A page cannot be read, or the output cannot be written. The pages before it are in the output.
pub(super) fn run(args: AuditArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let filters = args.filters(Clock::default().now())?;
    let client = Client::new(&args.access, config)?;
    let form: fn(&Entry) -> String = match (args.json, args.csv) {
        (true, _) => json,
        (false, true) => csv,
        (false, false) => line,
    };
    if args.csv && !write(CSV_HEADER.as_bytes())? {
        return Ok(Exit::Done);
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut counter = Counter::new("audit", Extent::Unknown);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let limit = left.min(PAGE_ENTRIES);
        let mut page = client
            .api
            .audit(&client.token, &filters, cursor.as_deref(), limit)?;
        page.entries
            .truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let count = page.entries.len() as u64;
        left -= count;
        counter.clear();
        let text: String = page.entries.iter().map(form).collect();
        if !write(text.as_bytes())? {
            return Ok(Exit::Done);
        }
        counter.add(count);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    counter.clear();
    if !args.json && !args.csv && counter.done() == 0 {
        say("the audit log has no such entries");
    }
    Ok(Exit::Done)
}

/// An entry as a line of JSON. Texts and numbers always serialise.
fn json(entry: &Entry) -> String {
    serde_json::to_string(entry).unwrap_or_default() + "\n"
}

/// An entry as a line for people.
fn line(entry: &Entry) -> String {
    let zone = entry.zone.as_deref().unwrap_or_default();
    let object = match (&entry.code, &entry.token) {
        (Some(code), _) => format!("{code}.{zone}"),
        (None, Some(token)) => token.clone(),
        (None, None) => zone.to_owned(),
    };
    let fields = [
        entry.at.as_str(),
        entry.actor.as_str(),
        entry.address.as_deref().unwrap_or("-"),
        entry.action.as_str(),
        object.as_str(),
        &difference(entry.before.as_ref(), entry.after.as_ref()),
    ];
    let fields = fields.map(one_line);
    format!("{}\n", fields.join("  ").trim_end())
}

/// The members that differ, each with its value before and after.
fn difference(before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>) -> String {
    let nothing = Map::new();
    let (old, new) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    let value = |of: &Map<String, Value>, name: &str| match of.get(name) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let differences = names.filter_map(|name| {
        let (old, new) = (value(old, name), value(new, name));
        (old != new).then(|| match (before, after) {
            (None, _) => format!("{name}={new}"),
            (_, None) => format!("{name}={old}"),
            _ => format!("{name}: {old} -> {new}"),
        })
    });
    differences.collect::<Vec<_>>().join(", ")
}

/// An entry as a row of comma-separated values (RFC 4180).
fn csv(entry: &Entry) -> String {
    let facts = |facts: &Option<Map<String, Value>>| {
        facts
            .as_ref()
            .map(|facts| serde_json::to_string(facts).unwrap_or_default())
    };
    let (before, after) = (facts(&entry.before), facts(&entry.after));
    let fields = [
        Some(entry.at.as_str()),
        Some(entry.actor.as_str()),
        entry.address.as_deref(),
        entry.request_id.as_deref(),
        Some(entry.action.as_str()),
        entry.zone.as_deref(),
        entry.code.as_deref(),
        entry.token.as_deref(),
        before.as_deref(),
        after.as_deref(),
        Some(entry.id.as_str()),
    ];
    let fields = fields.map(|field| quoted(field.unwrap_or_default()));
    fields.join(",") + "\n"
}

/// A field, in quotes if it needs them.
fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        serde_json::from_str(text).unwrap()
    }

    const CHANGED: &str = r#"{"id":"1-2","at":"2026-01-01T00:00:00.000Z","actor":"ann","address":"192.0.2.7","request_id":"r","action":"link.changed","zone":"s.example.com","code":"sale","token":null,"before":{"expires_at":null,"tags":["a"],"ttl":60,"url":"https://example.net/,"},"after":{"expires_at":null,"ttl":null,"url":"https://example.net/\u001b"}}"#;
    const REVOKED: &str = r#"{"id":"1-1","at":"2026-01-01T00:00:00.000Z","actor":"admin","address":null,"request_id":null,"action":"token.revoked","zone":null,"code":null,"token":"ann","before":{"role":"editor"},"after":null}"#;

    #[test]
    fn entries_as_json_are_those_of_the_api() {
        for text in [CHANGED, REVOKED] {
            assert_eq!(json(&entry(text)), format!("{text}\n"));
        }
    }

    #[test]
    fn entries_as_lines_show_what_has_changed() {
        assert_eq!(
            line(&entry(CHANGED)),
            "2026-01-01T00:00:00.000Z  ann  192.0.2.7  link.changed  sale.s.example.com  \
             tags: [\"a\"] -> none, ttl: 60 -> none, url: https://example.net/, -> https://example.net/\\u{1b}\n"
        );
        assert_eq!(
            line(&entry(REVOKED)),
            "2026-01-01T00:00:00.000Z  admin  -  token.revoked  ann  role=editor\n"
        );
    }

    #[test]
    fn entries_as_rows_have_the_fields_of_the_header() {
        let row = csv(&entry(REVOKED));
        assert_eq!(
            row,
            "2026-01-01T00:00:00.000Z,admin,,,token.revoked,,,ann,\"{\"\"role\"\":\"\"editor\"\"}\",,1-1\n"
        );
        assert_eq!(row.matches(',').count(), CSV_HEADER.matches(',').count());
    }

    #[test]
    fn times_before_now() {
        let now = UnixTime(1_767_225_600);
        let check = |text: &str, expected: &str| {
            let when: Expires = text.parse().unwrap();
            assert_eq!(when.before(now).unwrap(), expected);
        };
        check("1d", "2025-12-31T00:00:00Z");
        check("0s", "2026-01-01T00:00:00Z");
        check("100w", "2024-02-01T00:00:00Z");
        check("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z");
    }
}
