//! The output of `tinyns keys`.

use std::fmt::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::base::clock::UnixTime;
use crate::dnssec::ds::Ds;
use crate::dnssec::keys::KeysError;
use crate::dnssec::keys::directory::{exposed, key_file, strangers};
use crate::dnssec::keys::list::{KeyEntry, KeyList};
use crate::dnssec::keys::plan::{KeyState, Succession};
use crate::dnssec::keys::refused::Refused;

/// A step that the operator can take, and when; or a step that happens by itself.
#[derive(Debug)]
pub(super) struct Step {
    /// The key that it concerns; none if it concerns the zone.
    pub(super) tag: Option<u16>,
    text: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            Some(tag) => write!(f, "{tag}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// All steps that are possible with the keys of a zone, and those that will happen by themselves.
pub(super) fn steps(list: &KeyList, now: UnixTime) -> Vec<Step> {
    let missing = list.missing_duty().map(|duty| Step {
        tag: None,
        text: format!(
            "no key signs {duty}; `tinyns keys generate --role {}` makes one",
            duty.role().name()
        ),
    });
    let keys = list.keys.iter().flat_map(|key| {
        let texts = key_steps(list, key, now).into_iter();
        texts.map(|text| Step {
            tag: Some(key.tag),
            text,
        })
    });
    let zone = list.unsigning.into_iter();
    let zone = zone.flat_map(|since| unsigning_steps(list, since, now));
    let zone = zone.map(|text| Step { tag: None, text });
    missing.into_iter().chain(keys).chain(zone).collect()
}

fn key_steps(list: &KeyList, key: &KeyEntry, now: UnixTime) -> Vec<String> {
    let is_unsigning = list.unsigning.is_some_and(|since| since <= now);
    let mut steps = Vec::new();
    match key.state(now) {
        KeyState::Published => steps.extend(published(key, now)),
        KeyState::Active => steps.extend(active(list, key, now)),
        KeyState::Retired => {
            let removed = key.removed.map(|at| at.rfc3339()).unwrap_or_default();
            steps.push(format!("leaves the DNSKEY records at {removed}"));
        }
        KeyState::Removed => {}
    }
    if !is_unsigning {
        steps.extend(ds_step(list, key, now));
    }
    steps
}

/// When a published key can sign.
fn published(key: &KeyEntry, now: UnixTime) -> Option<String> {
    match key.active {
        Some(at) => Some(format!("takes over at {}", at.rfc3339())),
        None if key.ready <= now => None,
        None => Some(format!("can sign from {} on", key.ready.rfc3339())),
    }
}

/// When an active key can be retired; none if the zone has no successor yet.
fn active(list: &KeyList, key: &KeyEntry, now: UnixTime) -> Option<String> {
    let tag = key.tag;
    if let Some(at) = key.retired {
        return Some(format!("signs until {}", at.rfc3339()));
    }
    match list.succession(tag, now, None) {
        Ok(Succession { from, successors }) => {
            let when = from_on(from, now);
            let successors = tags(&successors);
            Some(format!(
                "can be retired {when} (`tinyns keys retire {tag}`); {successors} then signs in its place"
            ))
        }
        Err(Refused::DsNotSeen { successor, .. }) => Some(format!(
            "can be retired once the DS record of {successor} is confirmed"
        )),
        Err(_) => None,
    }
}

/// The step for the DS record of a key in the parent zone.
fn ds_step(list: &KeyList, key: &KeyEntry, now: UnixTime) -> Option<String> {
    let tag = key.tag;
    if !key.role.has_ds() || key.ds_gone.is_some() {
        return None;
    }
    if let Some(from) = key
        .cds_removed
        .filter(|_| key.state(now) >= KeyState::Retired)
    {
        return Some(format!(
            "its DS record can be removed from the parent zone {}; when no server of the parent publishes it any \
             more, confirm that with `tinyns keys ds --gone {tag}`",
            from_on(from, now)
        ));
    }
    // If the parent published only a key that does not sign yet, no resolver could validate the zone.
    let mut others = list.keys.iter();
    let first = others.find(|other| other.role.has_ds() && other.state(now) == KeyState::Active);
    let first = first.filter(|first| first.tag != tag && first.ds_seen.is_none());
    match (first, key.ds_seen, key.cds) {
        (Some(first), None, Some(_)) => Some(format!(
            "its DS record can be published in the parent zone together with that of {}, or later",
            first.tag
        )),
        (None, None, Some(cds)) => Some(format!(
            "its DS record can be published in the parent zone {} (`tinyns keys ds {tag}`); when all servers of \
             the parent publish it, confirm that with `tinyns keys ds --seen {tag}`",
            from_on(cds, now)
        )),
        _ => None,
    }
}

fn unsigning_steps(list: &KeyList, since: UnixTime, now: UnixTime) -> Vec<String> {
    if now < since {
        return vec![format!(
            "from {} on CDS and CDNSKEY records ask the parent zone to remove all DS records",
            since.rfc3339()
        )];
    }
    match list.unsigned_from(since) {
        Ok(from) => vec![format!(
            "[zone.dnssec] can be removed from the configuration {}",
            from_on(from, now)
        )],
        Err(there) => there
            .into_iter()
            .map(|tag| {
                format!(
                    "when no server of the parent zone publishes the DS record of {tag} any more, confirm that \
                     with `tinyns keys ds --gone {tag}`"
                )
            })
            .collect(),
    }
}

fn from_on(time: UnixTime, now: UnixTime) -> String {
    match time <= now {
        true => "now".into(),
        false => format!("from {} on", time.rfc3339()),
    }
}

fn tags(tags: &[u16]) -> String {
    let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
    tags.join(" and ")
}

/// The table of keys, and the next steps.
pub(super) fn list(list: &KeyList, directory: &Path, now: UnixTime) -> String {
    let mut text = format!("{}, keys in {}\n\n", list.origin, directory.display());
    let header = ["TAG", "ROLE", "ALGORITHM", "STATE", "SINCE", "UNTIL", "DS"];
    let header = header.map(String::from);
    let rows = list.keys.iter().map(|key| row(key, now));
    for row in std::iter::once(header).chain(rows) {
        let [tag, role, algorithm, state, since, until, ds] = row;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{tag:>5}  {role:4}  {algorithm:15}  {state:9}  {since:20}  {until:20}  {ds}"
        );
    }
    let steps = steps(list, now);
    if !steps.is_empty() {
        text.push('\n');
    }
    for step in steps {
        let _ = writeln!(text, "{step}");
    }
    text
}

fn row(key: &KeyEntry, now: UnixTime) -> [String; 7] {
    let (since, until) = span(key, now);
    let time = |time: Option<UnixTime>| time.map_or("-".into(), UnixTime::rfc3339);
    [
        key.tag.to_string(),
        key.role.name().into(),
        key.algorithm.to_string(),
        key.state(now).name().into(),
        time(since),
        time(until),
        ds_word(key),
    ]
}

/// When its state began, and when the state ends, if that is known.
fn span(key: &KeyEntry, now: UnixTime) -> (Option<UnixTime>, Option<UnixTime>) {
    match key.state(now) {
        KeyState::Published => (Some(key.publish), key.active.or(key.removed)),
        KeyState::Active => (key.active, key.retired),
        KeyState::Retired => (key.retired, key.removed),
        KeyState::Removed => (key.removed, None),
    }
}

fn ds_word(key: &KeyEntry) -> String {
    match (key.ds_seen, key.ds_gone) {
        _ if !key.role.has_ds() => "-".into(),
        (_, Some(gone)) => format!("gone since {}", gone.rfc3339()),
        (Some(seen), None) => format!("present since {}", seen.rfc3339()),
        (None, None) => "not confirmed".into(),
    }
}

/// The same for programs.
pub(super) fn list_json(list: &KeyList, records: &[Ds], directory: &Path, now: UnixTime) -> String {
    let time = |time: Option<UnixTime>| time.map(UnixTime::rfc3339);
    let keys = list.keys.iter().zip(records).map(|(key, ds)| {
        let (since, until) = span(key, now);
        json!({
            "tag": key.tag,
            "role": key.role.name(),
            "algorithm": key.algorithm.name(),
            "state": key.state(now).name(),
            "since": time(since),
            "until": time(until),
            "created": time(Some(key.created)),
            "publish": time(Some(key.publish)),
            "ready": time(Some(key.ready)),
            "active": time(key.active),
            "retired": time(key.retired),
            "removed": time(key.removed),
            "cds": time(key.cds),
            "cds_removed": time(key.cds_removed),
            "ds_seen": time(key.ds_seen),
            "ds_gone": time(key.ds_gone),
            "ds_ttl": key.ds_ttl,
            "ds": key.role.has_ds().then(|| ds.to_string()),
            "file": key_file(directory, &list.origin, key).display().to_string(),
        })
    });
    let steps = steps(list, now).into_iter();
    let steps = steps.map(|step| json!({"tag": step.tag, "text": step.text}));
    lines(&json!({
        "zone": list.origin.as_str(),
        "directory": directory.display().to_string(),
        "unsigning": time(list.unsigning),
        "keys": keys.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
    }))
}

/// Notes about files that are not as they should be.
pub(super) fn notes(directory: &Path, list: &KeyList) -> Result<Vec<String>, KeysError> {
    let strangers = strangers(directory, list)?.into_iter();
    let strangers =
        strangers.map(|file| format!("{} is not in keys.toml and is not used", file.display()));
    Ok(exposed(directory, list)
        .into_iter()
        .chain(strangers)
        .collect())
}

/// DS records in the form of a master file.
pub(super) fn ds(list: &KeyList, records: &[Ds]) -> String {
    let line = |ds: &Ds| format!("{} IN DS {ds}\n", list.origin.absolute());
    records.iter().map(line).collect()
}

/// The same for programs.
pub(super) fn ds_json(list: &KeyList, keys: &[KeyEntry], records: &[Ds]) -> String {
    let records = keys.iter().zip(records).map(|(key, ds)| {
        json!({
            "zone": list.origin.as_str(),
            "tag": ds.tag,
            "algorithm": ds.algorithm,
            "digest_type": Ds::DIGEST_TYPE,
            "digest": ds.hex_digest(),
            "from": key.cds.map(UnixTime::rfc3339),
            "until": key.cds_removed.map(UnixTime::rfc3339),
        })
    });
    lines(&Value::from(records.collect::<Vec<_>>()))
}

/// Notes for the operator before the parent zone publishes these records.
pub(super) fn ds_notes(list: &KeyList, keys: &[KeyEntry], now: UnixTime) -> Vec<String> {
    if let Some(since) = list.unsigning.filter(|since| *since <= now) {
        let since = since.rfc3339();
        return vec![format!(
            "the zone is being unsigned since {since}: the parent zone should publish no DS record"
        )];
    }
    let early = keys.iter().filter_map(|key| {
        let from = key.cds.filter(|cds| now < *cds)?;
        let (tag, from) = (key.tag, from.rfc3339());
        Some(format!(
            "the DS record of {tag} must not be in the parent zone before {from}"
        ))
    });
    let late = keys.iter().filter_map(|key| {
        let from = key.cds_removed.filter(|removed| *removed <= now)?;
        let (tag, from) = (key.tag, from.rfc3339());
        Some(format!("the DS record of {tag} is not needed since {from}"))
    });
    early.chain(late).collect()
}

/// The consequences of a confirmation about a DS record.
pub(super) fn confirmed(list: &KeyList, tag: u16, now: UnixTime) -> String {
    let mut text = String::new();
    if let Some(key) = list.key(tag) {
        let word = ds_word(key);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{tag}: DS record in the parent zone: {word}");
        if let Some(cds) = key.cds.filter(|cds| key.ds_gone.is_none() && now < *cds) {
            let _ = writeln!(
                text,
                "{tag}: the DS record was published too early: until {} resolvers may have records without \
                 signatures in their caches, and now reject them",
                cds.rfc3339()
            );
        }
        let is_early = |removed: &UnixTime| key.ds_gone.is_some_and(|gone| gone < *removed);
        if let Some(removed) = key.cds_removed.filter(is_early) {
            let _ = writeln!(
                text,
                "{tag}: the DS record was removed too early: until {} resolvers may have DNSKEY records in their \
                 caches that only this key has signed",
                removed.rfc3339()
            );
        }
    }
    for step in steps(list, now) {
        let _ = writeln!(text, "{step}");
    }
    text
}

/// The consequences of a retirement.
pub(super) fn retired(list: &KeyList, tag: u16, successors: &[u16]) -> String {
    let mut text = String::new();
    let Some(key) = list.key(tag) else {
        return text;
    };
    // Writing to a String cannot fail.
    if let Some(at) = key.retired {
        let _ = writeln!(text, "{tag}: signs until {}", at.rfc3339());
        for successor in successors {
            let _ = writeln!(text, "{successor}: signs from then on");
        }
    }
    if let Some(at) = key.removed {
        let _ = writeln!(text, "{tag}: leaves the DNSKEY records at {}", at.rfc3339());
    }
    if let Some(at) = key.cds_removed {
        let at = at.rfc3339();
        let _ = writeln!(
            text,
            "{tag}: its DS record must stay in the parent zone until {at}"
        );
    }
    text
}

fn lines(value: &Value) -> String {
    format!("{value:#}\n")
}
