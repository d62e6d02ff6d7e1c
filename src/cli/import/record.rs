//! One link as a source describes it, the same for all sources.
//!
//! An item of DynamoDB, a line of JSON and a row of CSV all have named members, each a text or a number. So
//! this is the one place for their names, types and rules. A bad record keeps its key and URL for the report,
//! if it has them.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::clock::UnixTime;
use crate::link::{About, Destinations, Note, RankedUrl, Tags, Title, Ttl, Withheld, read_list};

/// The members that identify a link; the first that has a value counts. `miniUrl` is that of the DynamoDB
/// table; a name comes before a code, since it has the zone as well. The names of Shlink, YOURLS and Bitly
/// follow: codes, then short URLs.
pub(super) const KEYS: [&str; 9] = [
    "miniUrl",
    "name",
    "code",
    "shortCode",
    "keyword",
    "customLink",
    "shortUrl",
    "bitlink",
    "link",
];
/// The members for the URL.
pub(super) const URLS: [&str; 6] = [
    "fullUrl",
    "url",
    "longUrl",
    "destinationUrl",
    "destination",
    "originalUrl",
];
/// The members for the expiry.
const ENDS: [&str; 2] = ["expiresAt", "expires_at"];
const TTL: &str = "ttl";
const VERSION: &str = "version";
const DELETED_AT: &str = "deletedAt";
const TITLE: &str = "title";
const TAGS: &str = "tags";
const NOTE: &str = "note";
/// Why a link is withheld. In JSON the first member is an object; in a table it is the kind, and the others follow.
const WITHHELD: &str = "withheld";
const WITHHELD_REASON: &str = "withheld_reason";
const WITHHELD_AUTHORITY: &str = "withheld_authority";
/// Several destinations: in JSON a list of objects, in a table a text, and in an item of DynamoDB those besides the URL.
const DESTINATIONS: &str = "destinations";

/// All members that count.
fn members() -> impl Iterator<Item = &'static str> {
    let rest = [TTL, VERSION, DELETED_AT, TITLE, TAGS, NOTE];
    let withheld = [WITHHELD, WITHHELD_REASON, WITHHELD_AUTHORITY];
    let all = KEYS.into_iter().chain(URLS).chain(ENDS);
    all.chain(rest).chain(withheld).chain([DESTINATIONS])
}

/// The member with this name in a file: letter case, blanks, hyphens and underscores do not matter, so `Long
/// URL` and `long_url` are `longUrl`.
pub(super) fn member(name: &str) -> Option<&'static str> {
    let plain = |text: &str| -> Vec<u8> {
        let bytes = text.bytes().filter(|b| !matches!(b, b' ' | b'-' | b'_'));
        bytes.map(|b| b.to_ascii_lowercase()).collect()
    };
    members().find(|member| *member == name).or_else(|| {
        let name = plain(name);
        members().find(|member| plain(member) == name)
    })
}

/// What kind of key a source has for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// A full name: a code and a zone.
    Name,
    /// A code, or a full name or short URL in its place.
    Code,
    /// None: the source has only a URL.
    Nothing,
}

/// A link as its source describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line of the file where the record begins.
    pub(super) line: Option<u64>,
    /// The key in the source; may be empty.
    pub(super) key: String,
    pub(super) called: Called,
    /// The URL; may be empty if the record is bad.
    pub(super) url: String,
    /// The other members, or why the record is not a link.
    pub(super) terms: Result<Terms, Flaw>,
}

/// The optional members of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) expires_at: Option<UnixTime>,
    pub(super) ttl: Option<Ttl>,
    /// Its version, if the source is tinyns.
    pub(super) version: Option<u64>,
    /// What people say about it.
    pub(super) about: About,
    /// Why it is withheld, if it is.
    pub(super) withheld: Option<Withheld>,
    /// All destinations, if it has more than its URL.
    pub(super) destinations: Vec<RankedUrl>,
}

/// Why a record is not a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The item only marks a deleted link.
    Deleted,
    /// The record is bad, for this reason.
    Bad(String),
}

impl Record {
    /// A record of which only the fault is known.
    pub(super) fn bad(line: Option<u64>, reason: impl Into<String>) -> Self {
        Self {
            line,
            key: String::new(),
            called: Called::Code,
            url: String::new(),
            terms: Err(Flaw::Bad(reason.into())),
        }
    }

    /// A line with a URL, and perhaps blanks around it.
    pub(super) fn from_url(line: u64, text: Vec<u8>) -> Self {
        let bad = || Self::bad(Some(line), "the line is not UTF-8 text");
        let url = String::from_utf8(text).map(|text| Self {
            url: text.trim().to_owned(),
            called: Called::Nothing,
            terms: Ok(Terms::default()),
            ..bad()
        });
        url.unwrap_or_else(|_| bad())
    }

    /// Reads a line of JSON: a link as the API shows it, an item as plain JSON, or an item in the form of
    /// DynamoDB's exports.
    pub(super) fn from_json(line: u64, text: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(text) {
            Ok(Value::Object(mut members)) => {
                if let Some(Value::Object(item)) = members.get_mut("Item") {
                    members = std::mem::take(item);
                }
                Self::from_members(Some(line), renamed(members))
            }
            Ok(_) => Self::bad(Some(line), "the line is not a JSON object"),
            Err(error) => Self::bad(Some(line), format!("the line is not JSON: {error}")),
        }
    }

    /// Reads the members of a link.
    pub(super) fn from_members(line: Option<u64>, mut given: Map<String, Value>) -> Self {
        let members: Map<String, Value> = members()
            .filter_map(|name| Some((name.to_owned(), untagged(given.remove(name)?))))
            .collect();
        let (key, url) = (text(&members, &KEYS), text(&members, &URLS));
        let known = |text: &Result<Option<(&str, String)>, String>| match text {
            Ok(Some((_, text))) => text.clone(),
            _ => String::new(),
        };
        // Without a version the table is not one of tinyns, and its key is a code, whatever it looks like.
        // Items of tinyns have a version, and a name as key.
        let called = match &key {
            Ok(Some(("name", _))) => Called::Name,
            Ok(Some(("miniUrl", _))) if members.contains_key(VERSION) => Called::Name,
            _ => Called::Code,
        };
        Self {
            line,
            key: known(&key),
            called,
            url: known(&url),
            terms: terms(
                &members,
                &known(&url),
                key.map(|key| key.is_some()),
                url.map(|url| url.is_some()),
            ),
        }
    }
}

/// The members under the names of this program, where a file uses other spellings.
fn renamed(given: Map<String, Value>) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in given {
        let Some(known) = member(&name) else {
            continue;
        };
        // If a file has two spellings, the name of this program counts.
        if known == name || !members.contains_key(known) {
            members.insert(known.to_owned(), value);
        }
    }
    members
}

/// The optional members. `target` is the URL; `key` and `url` say whether the record has a key and a URL, or why they are bad.
fn terms(
    members: &Map<String, Value>,
    target: &str,
    key: Result<bool, String>,
    url: Result<bool, String>,
) -> Result<Terms, Flaw> {
    if url == Ok(false) && given(members, DELETED_AT).is_some() {
        return Err(Flaw::Deleted);
    }
    // A link with an empty key has no code of its own. If the key is missing, the file may have another name
    // for it; an import without it would change the codes of all links.
    if !key.map_err(Flaw::Bad)? && !KEYS.iter().any(|key| members.contains_key(*key)) {
        return Err(Flaw::Bad(format!(
            "it has no code; it needs one of {}",
            KEYS.join(", ")
        )));
    }
    if !url.map_err(Flaw::Bad)? {
        return Err(Flaw::Bad(format!(
            "it has no URL; it needs one of {}",
            URLS.join(", ")
        )));
    }
    Ok(Terms {
        expires_at: end(members).map_err(Flaw::Bad)?,
        ttl: ttl(members).map_err(Flaw::Bad)?,
        version: given(members, VERSION).and_then(Value::as_u64),
        about: about(members).map_err(Flaw::Bad)?,
        withheld: withheld(members).map_err(Flaw::Bad)?,
        destinations: destinations(members, target).map_err(Flaw::Bad)?,
    })
}

/// The value without the type that DynamoDB's JSON puts around it: `{"S": "x"}`, `{"N": "7"}`.
fn untagged(value: Value) -> Value {
    let Value::Object(tagged) = &value else {
        return value;
    };
    let mut tags = tagged.iter();
    match (tags.next(), tags.next()) {
        (Some((tag, Value::String(text))), None) if tag == "S" => text.as_str().into(),
        (Some((tag, Value::String(digits))), None) if tag == "N" => match digits.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => digits.as_str().into(),
        },
        (Some((tag, Value::Array(set))), None) if tag == "SS" => set.clone().into(),
        (Some((tag, Value::Object(members))), None) if tag == "M" => {
            let members = members.clone().into_iter();
            Value::Object(members.map(|(k, v)| (k, untagged(v))).collect())
        }
        (Some((tag, _)), None) if tag == "NULL" => Value::Null,
        _ => value,
    }
}

/// A member that has a value; an empty cell of a table has none.
fn given<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members
        .get(name)
        .filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// The first of these members that has a value, which has to be a text.
fn text<'a>(
    members: &Map<String, Value>,
    names: &[&'a str],
) -> Result<Option<(&'a str, String)>, String> {
    for name in names {
        match given(members, name) {
            None => {}
            Some(Value::String(text)) => return Ok(Some((name, text.clone()))),
            Some(_) => return Err(format!("{name} is not a text")),
        }
    }
    Ok(None)
}

/// The expiry: epoch seconds, as a number or in digits, or a time of RFC 3339.
fn end(members: &Map<String, Value>) -> Result<Option<UnixTime>, String> {
    let found = ENDS
        .iter()
        .find_map(|name| Some((name, given(members, name)?)));
    let Some((name, value)) = found else {
        return Ok(None);
    };
    let end = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok().or_else(|| {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            // A time before 1970 has passed, as 1970 has.
            Some(u64::try_from(time.unix_timestamp()).unwrap_or(0))
        }),
        _ => None,
    };
    match end.map(UnixTime) {
        // Most likely milliseconds.
        Some(end) if end > UnixTime::MAX => Err(format!("{name} is beyond the year 9999: {end}")),
        Some(end) => Ok(Some(end)),
        None => {
            let kinds = "epoch seconds nor a time such as 2030-01-31T12:00:00Z";
            Err(format!("{name} is neither {kinds}: {value}"))
        }
    }
}

/// The title, the tags and the note. Other shorteners take longer titles, which are cut off, since a link is worth more
/// than the end of its title.
fn about(members: &Map<String, Value>) -> Result<About, String> {
    let title = text(members, &[TITLE])?.map(|(_, title)| {
        let line = title.split(|c: char| c.is_control() || c.is_whitespace());
        let words: Vec<_> = line.filter(|word| !word.is_empty()).collect();
        words.join(" ").chars().take(Title::MAX).collect::<String>()
    });
    let title = title.filter(|title| !title.is_empty());
    let title = title.map(|title| Title::parse(&title)).transpose();
    let tags = match given(members, TAGS) {
        None => Vec::new(),
        Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).collect(),
        // An export of tinyns has commas between tags, and one of Shlink vertical bars.
        Some(Value::String(tags)) if tags.contains(',') => tags.split(',').collect(),
        Some(Value::String(tags)) => tags.split('|').collect(),
        Some(_) => return Err(format!("{TAGS} is neither a list nor a text")),
    };
    let tags = Tags::parse(tags.into_iter().filter(|tag| !tag.trim().is_empty()));
    let note = text(members, &[NOTE])?.map(|(_, note)| note);
    let note = note.filter(|note| !note.trim().is_empty());
    let note = note.map(|note| Note::parse(&note)).transpose();
    Ok(About::new(
        title.map_err(|e| e.to_string())?,
        tags.map_err(|e| e.to_string())?,
        note.map_err(|e| e.to_string())?,
    ))
}

/// Why the link is withheld. What cannot be read makes the record a bad one: the link must not come back into service.
fn withheld(members: &Map<String, Value>) -> Result<Option<Withheld>, String> {
    let (kind, reason, authority) = match given(members, WITHHELD) {
        None => return Ok(None),
        Some(Value::Object(withheld)) => (
            text(withheld, &["kind"])?,
            text(withheld, &["reason"])?,
            text(withheld, &["authority"])?,
        ),
        Some(_) => (
            text(members, &[WITHHELD])?,
            text(members, &[WITHHELD_REASON])?,
            text(members, &[WITHHELD_AUTHORITY])?,
        ),
    };
    let plain = |found: Option<(&str, String)>| found.map(|(_, text)| text);
    let (kind, reason) = (plain(kind), plain(reason));
    let found = Withheld::parse(
        &kind.unwrap_or_default(),
        &reason.unwrap_or_default(),
        plain(authority).as_deref(),
    );
    found
        .map(Some)
        .map_err(|error| format!("{WITHHELD}: {error}"))
}

/// Several destinations. What cannot be read makes the record a bad one: the link would lead to one URL only.
fn destinations(members: &Map<String, Value>, target: &str) -> Result<Vec<RankedUrl>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{DESTINATIONS}: {error}");
    match given(members, DESTINATIONS) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.starts_with('{') => {
            let besides: Destinations = serde_json::from_str(text).map_err(|e| bad(&e))?;
            let target = RankedUrl {
                url: target.into(),
                priority: besides.rank().priority,
                weight: besides.rank().weight,
            };
            let others = besides.others().iter();
            let others = others.map(|other| RankedUrl::new(&other.url, other.rank));
            Ok([target].into_iter().chain(others).collect())
        }
        Some(Value::String(text)) => read_list(text).map_err(|e| bad(&e)),
        Some(list) => serde_json::from_value(list.clone()).map_err(|e| bad(&e)),
    }
}

fn ttl(members: &Map<String, Value>) -> Result<Option<Ttl>, String> {
    let Some(value) = given(members, TTL) else {
        return Ok(None);
    };
    let seconds = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    };
    seconds
        .and_then(Ttl::from_secs)
        .map(Some)
        .ok_or_else(|| format!("{TTL} is not 0 to {} seconds: {value}", Ttl::MAX))
}

#[cfg(test)]
mod tests;
