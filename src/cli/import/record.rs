//! One link as a source describes it, the same for all sources.
//!
//! An item of DynamoDB, a line of JSON and a row of CSV all have named members, each a text or a number. So
//! this is the one place for their names, types and rules. A bad record keeps its key and URL for the report,
//! if it has them.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::clock::UnixTime;
use crate::link::{About, Note, Tags, Title, Ttl};

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

/// All members that count.
fn members() -> impl Iterator<Item = &'static str> {
    let rest = [TTL, VERSION, DELETED_AT, TITLE, TAGS, NOTE];
    KEYS.into_iter().chain(URLS).chain(ENDS).chain(rest)
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

/// The optional members. `key` and `url` say whether the record has a key and a URL, or why they are bad.
fn terms(
    members: &Map<String, Value>,
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
mod tests {
    use serde_json::json;

    use super::*;

    fn record(value: Value) -> Record {
        Record::from_json(7, value.to_string().as_bytes())
    }

    fn check(value: Value, key: &str, url: &str, terms: Terms) {
        let expected = Record {
            line: Some(7),
            key: key.into(),
            called: record(value.clone()).called,
            url: url.into(),
            terms: Ok(terms),
        };
        assert_eq!(record(value.clone()), expected, "{value}");
    }

    fn terms(expires_at: Option<u64>, ttl: Option<u64>, version: Option<u64>) -> Terms {
        Terms {
            expires_at: expires_at.map(UnixTime),
            ttl: ttl.and_then(Ttl::from_secs),
            version,
            about: About::default(),
        }
    }

    #[test]
    fn links_of_the_api() {
        let link = json!({"code": "sale", "name": "sale.s.example.com",
            "short_url": "http://sale.s.example.com/", "url": "https://example.net/",
            "created_at": "2026-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z",
            "ttl": 60, "version": 9});
        let all = terms(Some(1_893_456_000), Some(60), Some(9));
        check(link, "sale.s.example.com", "https://example.net/", all);
        let link = json!({"code": "sale", "url": "u", "expires_at": null, "ttl": null});
        check(link, "sale", "u", Terms::default());
        // An empty code is allowed.
        let link = json!({"code": null, "url": "u"});
        check(link, "", "u", Terms::default());
    }

    #[test]
    fn items_of_dynamodb() {
        let bare = json!({"miniUrl": "aB3", "fullUrl": "u", "clicks": [1]});
        check(bare, "aB3", "u", Terms::default());
        // miniUrl takes precedence over a column called name.
        let named = json!({"miniUrl": "aB3", "fullUrl": "u", "name": "My page", "url": "v"});
        check(named, "aB3", "u", Terms::default());
        let item = json!({"Item": {"miniUrl": {"S": "aB3"}, "fullUrl": {"S": "u"},
            "expiresAt": {"N": "1893456000"}, "ttl": {"N": "60"}, "version": {"N": "9"},
            "tags": {"SS": ["x"]}}});
        let all = Terms {
            about: About::new(None, Tags::parse(["x"]).unwrap(), None),
            ..terms(Some(1_893_456_000), Some(60), Some(9))
        };
        check(item.clone(), "aB3", "u", all.clone());
        // Without the member Item, as scans print it.
        check(item["Item"].clone(), "aB3", "u", all);
        let null = json!({"Item": {"miniUrl": {"S": "x"}, "fullUrl": {"S": "u"},
            "ttl": {"NULL": true}}});
        check(null, "x", "u", Terms::default());
    }

    #[test]
    fn links_of_other_shorteners() {
        let shlink = json!({"shortCode": "aB3", "shortUrl": "https://short.example/aB3",
            "longUrl": "u", "tags": [], "visitsSummary": {"total": 3}});
        check(shlink, "aB3", "u", Terms::default());
        let bitly = json!({"created_at": "x", "id": "bit.ly/aB3", "link": "https://bit.ly/aB3",
            "custom_bitlinks": [], "long_url": "u"});
        check(bitly, "https://bit.ly/aB3", "u", Terms::default());
        let yourls = json!({"keyword": "aB3", "url": "u", "clicks": "7"});
        check(yourls, "aB3", "u", Terms::default());
        // The names of tinyns take precedence, in any order.
        let both = json!({"Code": "b", "code": "a", "URL": "v", "url": "u"});
        check(both, "a", "u", Terms::default());
    }

    #[test]
    fn titles_tags_and_notes() {
        let about = |value: Value| record(value).terms.map(|terms| terms.about);
        let expected = |title: &str, tags: &[&str], note: &str| {
            let tags = Tags::parse(tags.iter().copied()).unwrap();
            Ok(About::new(
                Title::parse(title).ok(),
                tags,
                Note::parse(note).ok(),
            ))
        };
        let link =
            json!({"code": "x", "url": "u", "title": "T", "tags": ["b", "a"], "note": "n\nm"});
        assert_eq!(about(link), expected("T", &["a", "b"], "n\nm"));
        let shlink = json!({"shortCode": "x", "longUrl": "u", "title": "A\n B", "tags": "b|a"});
        assert_eq!(about(shlink), expected("A B", &["a", "b"], ""));
        let csv = json!({"code": "x", "url": "u", "title": "", "tags": "a|b,", "note": ""});
        assert_eq!(about(csv), expected("", &["a|b"], ""));
        let long = json!({"code": "x", "url": "u", "title": "t".repeat(300)});
        assert_eq!(about(long), expected(&"t".repeat(200), &[], ""));
        let bad = json!({"code": "x", "url": "u", "tags": "t".repeat(33)});
        let reason = "the tag has 33 characters; at most 32 are accepted";
        assert_eq!(about(bad), Err(Flaw::Bad(reason.into())));
    }

    #[test]
    fn kinds_of_keys() {
        let check = |value: Value, expected: Called| {
            assert_eq!(record(value.clone()).called, expected, "{value}");
        };
        check(
            json!({"name": "a.b", "code": "a", "url": "u"}),
            Called::Name,
        );
        check(json!({"name": "", "code": "a", "url": "u"}), Called::Code);
        check(
            json!({"miniUrl": "a.b", "fullUrl": "u", "version": 7}),
            Called::Name,
        );
        check(json!({"miniUrl": "a.b", "fullUrl": "u"}), Called::Code);
        check(json!({"shortUrl": "a.b/c", "url": "u"}), Called::Code);
        let line = Record::from_url(7, b" https://example.net/ \r".to_vec());
        assert_eq!((line.called, line.line), (Called::Nothing, Some(7)));
        assert_eq!((&*line.url, &*line.key), ("https://example.net/", ""));
        assert!(line.terms.is_ok());
        assert!(Record::from_url(7, vec![0xFF]).terms.is_err());
    }

    #[test]
    fn times_and_ttls() {
        let end = |value: Value| {
            let link = json!({"code": "x", "url": "u", "expires_at": value});
            record(link)
                .terms
                .map(|terms| terms.expires_at.map(|t| t.0))
        };
        assert_eq!(end(json!(7)), Ok(Some(7)));
        assert_eq!(end(json!("7")), Ok(Some(7)));
        assert_eq!(end(json!("1970-01-01T01:00:07.9+01:00")), Ok(Some(7)));
        assert_eq!(end(json!("1969-12-31T23:59:59Z")), Ok(Some(0)));
        assert_eq!(end(json!("")), Ok(None));
        for bad in [
            json!(-1),
            json!(1.5),
            json!("soon"),
            json!([]),
            json!("30d"),
        ] {
            let Err(Flaw::Bad(reason)) = end(bad.clone()) else {
                panic!("{bad}");
            };
            assert!(reason.starts_with("expires_at is neither "), "{reason}");
        }
        assert_eq!(
            end(json!(1_893_456_000_000_u64)),
            Err(Flaw::Bad(
                "expires_at is beyond the year 9999: 1893456000000".into()
            ))
        );
        let ttl = |value: Value| {
            let link = json!({"code": "x", "url": "u", "ttl": value});
            record(link).terms.map(|terms| terms.ttl.map(Ttl::as_secs))
        };
        assert_eq!(ttl(json!(0)), Ok(Some(0)));
        assert_eq!(ttl(json!("604800")), Ok(Some(604_800)));
        // Other programs store the TTL of the item, a time, in an attribute of that name.
        for bad in [json!(604_801), json!(1_893_456_000), json!("x"), json!(-1)] {
            let expected = format!("ttl is not 0 to 604800 seconds: {bad}");
            assert_eq!(ttl(bad), Err(Flaw::Bad(expected)));
        }
    }

    fn check_flaw(value: Value, key: &str, url: &str, flaw: Flaw) {
        let record = record(value.clone());
        assert_eq!((&*record.key, &*record.url), (key, url), "{value}");
        assert_eq!(record.terms, Err(flaw), "{value}");
    }

    #[test]
    fn bad_records() {
        let bad = |reason: &str| Flaw::Bad(reason.into());
        let deleted = json!({"miniUrl": "x.s.example.com", "deletedAt": 7, "version": 8});
        check_flaw(deleted, "x.s.example.com", "", Flaw::Deleted);
        // Another program has set a URL again.
        let back = json!({"miniUrl": "x", "deletedAt": 7, "fullUrl": "u"});
        check(back, "x", "u", Terms::default());
        check_flaw(
            json!({"code": "x"}),
            "x",
            "",
            bad(
                "it has no URL; it needs one of fullUrl, url, longUrl, destinationUrl, destination, originalUrl",
            ),
        );
        check_flaw(
            json!({"url": "u", "mini": "x"}),
            "",
            "u",
            bad(
                "it has no code; it needs one of miniUrl, name, code, shortCode, keyword, customLink, shortUrl, \
                 bitlink, link",
            ),
        );
        check_flaw(
            json!({"code": 7, "url": "u"}),
            "",
            "u",
            bad("code is not a text"),
        );
        check_flaw(
            json!({"code": "x", "url": ["u"]}),
            "x",
            "",
            bad("url is not a text"),
        );
        check_flaw(json!([]), "", "", bad("the line is not a JSON object"));
        let broken = Record::from_json(7, b"{\"code\"");
        let Err(Flaw::Bad(reason)) = broken.terms else {
            panic!("{broken:?}");
        };
        assert!(reason.starts_with("the line is not JSON: "), "{reason}");
    }
}
