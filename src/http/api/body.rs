//! JSON: the bodies of requests, and links in responses.
//!
//! Bodies are read strictly: an unknown or doubled member is an error, and an error about the type of a member names
//! the member. Members are read as any JSON value first and then checked one by one: a derived reader would only say
//! "expected a string at column 12".

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::destinations::{self, DestinationsMember};
use super::members::{TIME_EXAMPLE, integer, invalid, present, text, texts};
use super::visible::VisibleJson;
use super::withheld::{self, WithheldMember};
use crate::access::{Caller, Permission};
use crate::base::clock::UnixTime;
use crate::http::ShortUrls;
use crate::http::problem::{Kind, Problem};
use crate::link::{
    About, AboutChange, AboutError, Code, Link, Note, Origin, RankedUrl, Tags, TargetUrl, Title,
    Ttl, Withheld,
};
use crate::links::CreateLink;
use crate::store::Change;

/// The largest body, and the longest line of a batch, in bytes. A URL has at most 2,048; there is more room for
/// escapes and white space.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Example bodies for messages.
const CREATE_EXAMPLE: &str = "{\"url\": \"https://example.net/\"}";
const CHANGE_EXAMPLE: &str = "{\"url\": \"https://example.net/\", \"ttl\": 300}";
/// What a TTL counts, for messages.
const TTL_EXAMPLE: &str = "in seconds, such as 300";
/// All members that a body may have.
const MEMBERS: [&str; 15] = [
    "use_reserved",
    "url",
    destinations::MEMBER,
    "code",
    "expires_at",
    "ttl",
    "title",
    "tags",
    "note",
    withheld::MEMBER,
    "name",
    "role",
    "zones",
    "rate",
    "burst",
];

/// A link as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct LinkJson {
    code: String,
    name: String,
    short_url: String,
    url: String,
    /// Only if the link has more than its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<RankedUrl>>,
    created_at: String,
    created_by: String,
    expires_at: Option<String>,
    ttl: Option<u32>,
    title: Option<String>,
    tags: Vec<String>,
    note: Option<String>,
    withheld: Option<Box<Withheld>>,
    version: u64,
    /// Only in responses to changes, and only if it is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    visible_elsewhere: Option<bool>,
    /// Only in responses to changes of one link.
    #[serde(skip_serializing_if = "Option::is_none")]
    visible: Option<VisibleJson>,
}

impl LinkJson {
    pub(super) fn new(link: &Link, short_urls: ShortUrls) -> Self {
        Self {
            code: link.name.code().to_owned(),
            name: link.name.to_string(),
            short_url: short_urls.url_of(&link.name),
            url: link.target.to_string(),
            destinations: link.ranked_urls(),
            created_at: link.created_at.rfc3339(),
            created_by: link.created_by.to_string(),
            expires_at: link.expires_at.map(UnixTime::rfc3339),
            ttl: link.ttl.map(Ttl::as_secs),
            title: link.about.title().map(|title| title.as_str().to_owned()),
            tags: link.about.tags().iter().map(ToOwned::to_owned).collect(),
            note: link.about.note().map(|note| note.as_str().to_owned()),
            withheld: link.withheld.clone(),
            version: link.version.0,
            visible_elsewhere: None,
            visible: None,
        }
    }

    /// The same for the response to a change, which says whether other servers serve it.
    pub(super) fn changed(self, is_visible_elsewhere: bool) -> Self {
        Self {
            visible_elsewhere: (!is_visible_elsewhere).then_some(false),
            ..self
        }
    }

    /// The same with a receipt.
    pub(super) fn with_receipt(self, visible: VisibleJson) -> Self {
        Self {
            visible: Some(visible),
            ..self
        }
    }
}

/// The members of a request's body. `None` is absent, `Some(Null)` is `null`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateMembers {
    #[serde(default, deserialize_with = "present")]
    url: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    destinations: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    code: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    use_reserved: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    title: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    tags: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    note: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    withheld: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeMembers {
    #[serde(default, deserialize_with = "present")]
    url: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    destinations: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    title: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    tags: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    note: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    withheld: Option<Value>,
}

/// Reads the body of a creation, or a line of a batch. `null` is the same as absent.
pub(super) fn creation(
    body: &[u8],
    origin: Origin,
    caller: &Caller,
) -> Result<CreateLink, Problem> {
    let members: CreateMembers = object(body, CREATE_EXAMPLE)?;
    // All types are checked first: a body of the wrong shape is a 400, whatever its values are.
    let url = text(members.url, "url")?;
    let destinations = DestinationsMember::read(members.destinations)?;
    let no_url = || {
        let detail = format!("\"url\" is missing; a link needs one, such as {CREATE_EXAMPLE}");
        invalid(detail).of("url")
    };
    let url = match url {
        Some(Some(url)) => Some(url),
        None if destinations.has_list() => None,
        None | Some(None) => return Err(no_url()),
    };
    let code = text(members.code, "code")?.flatten();
    let use_reserved = may_use_reserved(members.use_reserved, caller)?;
    let expires_at = text(members.expires_at, "expires_at")?.flatten();
    let ttl = integer(members.ttl, "ttl", TTL_EXAMPLE)?.flatten();
    let about = AboutMembers::read(members.title, members.tags, members.note)?;
    let withheld = WithheldMember::read(members.withheld)?.creation(caller)?;
    let url = url.as_deref().map(target).transpose()?;
    let (target, destinations) = destinations.change(url)?;
    Ok(CreateLink {
        origin,
        target: target.ok_or_else(no_url)?,
        destinations: destinations.flatten(),
        code: code.as_deref().map(own_code).transpose()?,
        use_reserved,
        expires_at: expires_at.as_deref().map(expiry).transpose()?,
        ttl: ttl.map(seconds).transpose()?,
        about: About::default().changed(about.change()?),
        withheld,
        created_by: caller.actor(),
    })
}

/// Reads the body of a change: a merge patch (RFC 7396), in which `null` removes a member.
pub(super) fn change(body: &[u8], caller: &Caller) -> Result<Change, Problem> {
    let members: ChangeMembers = object(body, CHANGE_EXAMPLE)?;
    let url = match text(members.url, "url")? {
        Some(None) => return Err(invalid("a link cannot be without \"url\"").of("url")),
        given => given.flatten(),
    };
    let expires_at = text(members.expires_at, "expires_at")?;
    let ttl = integer(members.ttl, "ttl", TTL_EXAMPLE)?;
    let about = AboutMembers::read(members.title, members.tags, members.note)?;
    let withheld = WithheldMember::read(members.withheld)?;
    // A patch without members would still make a new version. It is most likely a mistake.
    let destinations = DestinationsMember::read(members.destinations)?;
    let has_terms = url.is_some()
        || destinations != DestinationsMember::default()
        || expires_at.is_some()
        || ttl.is_some();
    if !has_terms && about == AboutMembers::default() && withheld == WithheldMember::default() {
        let detail = "the patch changes nothing; send \"url\", \"destinations\", \"expires_at\", \"ttl\", \"title\", \"tags\", \
            \"note\" or \"withheld\" (null removes all but the URL)";
        return Err(invalid(detail));
    }
    let withheld = withheld.change(caller)?;
    let url = url.as_deref().map(target).transpose()?;
    let (target, destinations) = destinations.change(url)?;
    Ok(Change {
        withheld,
        target,
        destinations,
        expires_at: expires_at
            .map(|time| time.as_deref().map(expiry).transpose())
            .transpose()?,
        ttl: ttl.map(|ttl| ttl.map(seconds).transpose()).transpose()?,
        about: about.change()?,
    })
}

/// The members with the texts about a link, which have the right types. `None` is absent, `Some(None)` is `null`.
#[derive(Default, PartialEq, Eq)]
struct AboutMembers {
    title: Option<Option<String>>,
    tags: Option<Option<Vec<String>>>,
    note: Option<Option<String>>,
}

impl AboutMembers {
    fn read(
        title: Option<Value>,
        tags: Option<Value>,
        note: Option<Value>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            title: text(title, "title")?,
            tags: texts(tags, "tags")?,
            note: text(note, "note")?,
        })
    }

    /// The values, if they are valid.
    fn change(self) -> Result<AboutChange, Problem> {
        let refused = |error: AboutError, field| {
            let mut detail = error.to_string();
            if let AboutError::Empty(_) = error {
                detail += "; leave it out, or send null to remove it";
            }
            Problem::new(Kind::TextRefused, detail).of(field)
        };
        let title = self.title.map(|title| title.as_deref().map(Title::parse));
        let tags = self.tags.map(Option::unwrap_or_default);
        let tags = tags.map(|tags| Tags::parse(tags.iter().map(String::as_str)));
        let note = self.note.map(|note| note.as_deref().map(Note::parse));
        Ok(AboutChange {
            title: title
                .map(Option::transpose)
                .transpose()
                .map_err(|e| refused(e, "title"))?,
            tags: tags.transpose().map_err(|e| refused(e, "tags"))?,
            note: note
                .map(Option::transpose)
                .transpose()
                .map_err(|e| refused(e, "note"))?,
        })
    }
}

/// Reads an object. `example` is for the message if it is none.
pub(super) fn object<T: for<'de> Deserialize<'de>>(
    body: &[u8],
    example: &str,
) -> Result<T, Problem> {
    // A derived reader would accept an array of the members in order.
    let found = match body.trim_ascii_start().first() {
        Some(b'{') => None,
        None => Some("is empty"),
        Some(b'[') => Some("is a JSON array"),
        Some(b'"') => Some("is a JSON string"),
        Some(0xEF) => {
            Some("begins with a byte order mark, which JSON does not have (RFC 8259 §8.1)")
        }
        Some(_) => Some("is not a JSON object"),
    };
    if let Some(found) = found {
        let detail = format!("the body {found}; it has to be a JSON object such as {example}");
        return Err(invalid(detail));
    }
    serde_json::from_slice(body).map_err(|error| not_as_expected(&error, example))
}

/// A message of serde, in the terms of JSON.
fn not_as_expected(error: &serde_json::Error, example: &str) -> Problem {
    let text = error.to_string();
    if error.is_data() {
        let doubled = MEMBERS
            .into_iter()
            .find(|name| text.starts_with(&format!("duplicate field `{name}`")));
        if let Some(name) = doubled {
            let detail = format!(
                "the body has the member {name:?} twice, the second time at line {} column {}; send it once",
                error.line(),
                error.column()
            );
            return invalid(detail).of(name);
        }
        let text = text.replace("unknown field", "unknown member");
        return invalid(format!("the body is not as expected: {text}"));
    }
    invalid(format!(
        "the body is not JSON: {text}; it has to be an object such as {example}"
    ))
}

/// Whether the caller wants a code that the configuration reserves, which only admins get.
fn may_use_reserved(member: Option<Value>, caller: &Caller) -> Result<bool, Problem> {
    match member {
        None | Some(Value::Null | Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) if caller.role().may(Permission::Administer) => Ok(true),
        Some(Value::Bool(true)) => {
            let (name, role) = (caller.name(), caller.role());
            let detail = format!(
                "the token {name:?} has the role {role}; only the role admin may use reserved codes; choose another code, or \
                 ask an admin to create the link"
            );
            Err(Problem::new(Kind::Forbidden, detail).of("use_reserved"))
        }
        Some(_) => Err(invalid("\"use_reserved\" is neither true nor false").of("use_reserved")),
    }
}

fn target(url: &str) -> Result<TargetUrl, Problem> {
    TargetUrl::parse(url).map_err(|e| Problem::new(Kind::UrlRefused, e.to_string()).of("url"))
}

fn own_code(code: &str) -> Result<Code, Problem> {
    Code::parse(code).map_err(|e| Problem::new(Kind::CodeRefused, e.to_string()).of("code"))
}

fn seconds(ttl: u64) -> Result<Ttl, Problem> {
    Ttl::from_secs(ttl).ok_or_else(|| {
        let detail = format!("\"ttl\" is 0 to {} seconds", Ttl::MAX);
        Problem::new(Kind::TtlRefused, detail).of("ttl")
    })
}

/// Reads an RFC 3339 time with any offset. A fraction of a second is dropped, so that a link does not live longer
/// than the client wanted.
pub(super) fn expiry(text: &str) -> Result<UnixTime, Problem> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| {
        let detail = format!("\"expires_at\" {}", why_no_time(text, &error.to_string()));
        Problem::new(Kind::ExpiryRefused, detail).of("expires_at")
    })?;
    // Before 1970 is long past, as 1970 is.
    Ok(UnixTime(u64::try_from(time.unix_timestamp()).unwrap_or(0)))
}

/// What is wrong with a text that is no RFC 3339 time, and what to send.
fn why_no_time(text: &str, error: &str) -> String {
    let is_time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).is_ok();
    let with_zone = format!("{}Z", text.replacen(' ', "T", 1));
    let with_time = format!("{text}T23:59:59Z");
    if is_time(&with_time) {
        return format!(
            "is a date without a time of day and a time zone; the end of that day in UTC is {with_time:?}"
        );
    }
    if is_time(&with_zone) {
        return format!(
            "is a time without a time zone; that time in UTC is {with_zone:?}, and an offset such as +01:00 is taken as well"
        );
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return format!(
            "is a number; write the time in the form of RFC 3339, such as {TIME_EXAMPLE:?}"
        );
    }
    format!("is not a time in the form of RFC 3339, such as {TIME_EXAMPLE:?}: {error}")
}

/// Refuses a body of another kind, before it is read.
///
/// # Errors
/// A 415 that tells what would be accepted.
pub(super) fn check_media_type(
    headers: &HeaderMap,
    accepted: fn(&str) -> bool,
    names: &'static str,
) -> Result<(), Problem> {
    let refused =
        |detail: String, header| Err(Problem::new(Kind::UnsupportedMediaType, detail).of(header));
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refused("no content coding is supported".into(), "Content-Encoding");
    }
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && let Ok(value) = value.to_str()
    {
        let essence = value.split(';').next().unwrap_or_default().trim();
        if accepted(&essence.to_ascii_lowercase()) {
            return Ok(());
        }
    }
    refused(format!("the body must be {names}"), "Content-Type")
}

/// `application/json`, or any type built on it (RFC 6839 §3.1).
pub(super) fn is_json(essence: &str) -> bool {
    essence == "application/json"
        || essence
            .strip_suffix("+json")
            .and_then(|t| t.split_once('/'))
            .is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty())
}

/// What a patch may be. Not any `+json`: a JSON Patch (RFC 6902) is one, and means another thing.
pub(super) fn is_merge_patch(essence: &str) -> bool {
    matches!(essence, "application/json" | "application/merge-patch+json")
}

/// The whole body, if it is small and comes in time.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    read_up_to(body, MAX_BODY_BYTES).await
}

/// The whole body, if it has at most `limit` bytes and comes in time.
pub(super) async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body has more than {limit} bytes");
        Problem::new(Kind::BodyTooLarge, detail)
    };
    // With a Content-Length it is known before anything is read.
    let announced = axum::body::HttpBody::size_hint(&body).lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    let whole = Limited::new(body, limit).collect();
    match tokio::time::timeout(BODY_DEADLINE, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(invalid("the body broke off")),
        Err(_) => {
            let detail = format!("the body took longer than {} s", BODY_DEADLINE.as_secs());
            Err(Problem::new(Kind::RequestTimeout, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn rfc_3339_times_of_any_offset() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(expiry(text).ok(), expected.map(UnixTime), "{text}");
        };
        check("2023-11-14T22:13:20Z", Some(1_700_000_000));
        check("2023-11-14t22:13:20z", Some(1_700_000_000));
        check("2023-11-15T00:13:20+02:00", Some(1_700_000_000));
        check("2023-11-14T12:13:20-10:00", Some(1_700_000_000));
        check("2023-11-14T22:13:20.999Z", Some(1_700_000_000));
        check("1969-12-31T23:59:59Z", Some(0));
        check("9999-12-31T23:59:59-23:59", Some(253_402_387_139));
        check("2023-11-14T22:13:20", None);
        check("2023-11-14", None);
        check("2023-02-30T00:00:00Z", None);
        check("1700000000", None);
        check("", None);
    }

    #[test]
    fn what_is_no_time_is_explained() {
        let check = |text: &str, expected: &str| {
            let error = OffsetDateTime::parse(text, &Rfc3339).unwrap_err();
            let why = why_no_time(text, &error.to_string());
            assert!(why.contains(expected), "{text}: {why}");
        };
        let date = "without a time of day and a time zone; the end of that day in UTC is \"2026-12-31T23:59:59Z\"";
        check("2026-12-31", date);
        let time = "without a time zone; that time in UTC is \"2026-12-31T10:00:00Z\"";
        check("2026-12-31T10:00:00", time);
        check("2026-12-31 10:00:00", time);
        check("1798761599", "is a number");
        check("tomorrow", "such as \"2026-12-31T23:59:59Z\"");
        check("2026-02-30", "such as \"2026-12-31T23:59:59Z\"");
        check("", "such as \"2026-12-31T23:59:59Z\"");
    }

    #[test]
    fn media_types() {
        let check = |values: &[&str], accepted: fn(&str) -> bool, expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            }
            let found = check_media_type(&headers, accepted, "x").is_ok();
            assert_eq!(found, expected, "{values:?}");
        };
        check(&["application/json"], is_json, true);
        check(&["Application/JSON; charset=utf-8"], is_json, true);
        check(&["application/vnd.x+json"], is_json, true);
        check(&["application/jsonx"], is_json, false);
        check(&["text/plain"], is_json, false);
        check(&["+json"], is_json, false);
        check(&["/+json"], is_json, false);
        check(&[""], is_json, false);
        check(&[], is_json, false);
        check(&["application/json", "application/json"], is_json, false);
        check(&["application/json"], is_merge_patch, true);
        check(&["application/merge-patch+json"], is_merge_patch, true);
        check(&["application/json-patch+json"], is_merge_patch, false);
    }

    #[test]
    fn content_codings_are_refused() {
        let check = |coding: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (CONTENT_ENCODING, HeaderValue::from_static(coding)),
            ]);
            assert_eq!(check_media_type(&headers, is_json, "x").is_ok(), expected);
        };
        check("identity", true);
        check("gzip", false);
    }
}
