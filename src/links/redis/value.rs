//! What stands in Redis under the name of a link: JSON, so that `redis-cli GET` shows it.
//!
//! ```text
//!   {"version":17,"url":"https://…","created_at":1,"created_by":"admin","expires_at":2,"ttl":60,"at":3,"of":"…"}
//!   {"version":18,"absent":true,"at":3,"of":"…"}  no link; the version is that of its deletion, or 0
//!   {"version":0,"reads":"n1-7","of":"…"}         a reader's claim: the link is being read from the store
//!   {"version":0,"writes":"n1-8","of":"…"}        a writer's claim: the link is being changed
//!   {"version":0,"writes":"n1-8","until":4,"old":{…},"of":"…"}  the same, with what it has replaced, and
//!                                        until when that would have stood, in milliseconds since the epoch
//! ```
//!
//! The scripts of [`super::scripts`] tell these apart, and compare versions, by the beginning of the
//! text alone: the version comes first, and the field that tells the kind behind it. At its end is when
//! it was put, in seconds since the epoch, and the [mark](super::belonging) of the store that it is of.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::mark::{Era, Mark};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, TargetUrl, Ttl, Version};

/// The highest version that is believed: what the numbers of a script hold exactly. It is that of the
/// year 2255.
pub(super) const MAX_VERSION: u64 = (1 << 53) - 1;
/// Above every version that is written (see [`Version`]), and exact in a script's numbers.
pub(super) const ANY_VERSION: Version = Version(MAX_VERSION);

/// What a value says of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// There is this link, expired or not.
    Link(Link),
    /// There is no link; the version is that of its deletion, or 0.
    Absent(Version),
    /// Somebody is reading or changing it; the store knows.
    Claimed,
    /// Somebody is changing it; the store knows, and before it was this link.
    Changing(Link),
}

/// The text of a link.
#[derive(Serialize)]
struct LinkText<'a> {
    version: u64,
    url: &'a str,
    created_at: u64,
    created_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    at: u64,
    of: String,
}

/// Any text; what is not known is left aside, for a later version of this program may write it.
#[derive(Deserialize)]
struct AnyText<'a> {
    version: u64,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    created_at: Option<u64>,
    #[serde(borrow)]
    created_by: Option<Cow<'a, str>>,
    expires_at: Option<u64>,
    ttl: Option<u64>,
    absent: Option<bool>,
    #[serde(borrow)]
    reads: Option<Cow<'a, str>>,
    #[serde(borrow)]
    writes: Option<Cow<'a, str>>,
    at: Option<u64>,
    #[serde(borrow)]
    of: Option<Cow<'a, str>>,
}

/// The text that stands for a link of the store with this mark, put at `now`.
pub(super) fn link(link: &Link, now: UnixTime, mark: Mark) -> String {
    let text = LinkText {
        version: link.version.0,
        url: link.target.as_str(),
        created_at: link.created_at.0,
        created_by: &link.created_by,
        expires_at: link.expires_at.map(|end| end.0),
        ttl: link.ttl.map(Ttl::as_secs),
        at: now.0,
        of: mark.to_string(),
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&text).unwrap_or_default()
}

/// The text that stands for an absent name, put at `now`.
pub(super) fn absent(version: Version, now: UnixTime, mark: Mark) -> String {
    format!("{{\"version\":{version},\"absent\":true,\"at\":{now},\"of\":\"{mark}\"}}")
}

/// The text of a reader's claim.
pub(super) fn reads(token: &str, mark: Mark) -> String {
    format!("{{\"version\":0,\"reads\":\"{token}\",\"of\":\"{mark}\"}}")
}

/// The text of a writer's claim.
pub(super) fn writes(token: &str, mark: Mark) -> String {
    format!("{{\"version\":0,\"writes\":\"{token}\",\"of\":\"{mark}\"}}")
}

/// Reads the text under a name; none if it is nothing that this program writes, of another store, or was
/// put before the server was started.
pub(super) fn parse(name: &LinkName, text: &[u8], era: Era) -> Option<Value> {
    let value = parse_one(name, text, era)?;
    let replaced = match value {
        Value::Claimed => replaced(text).and_then(|old| parse_one(name, old, era)),
        _ => None,
    };
    Some(match replaced {
        Some(Value::Link(link)) => Value::Changing(link),
        _ => value,
    })
}

/// The text that a writer's claim has replaced.
fn replaced(claim: &[u8]) -> Option<&[u8]> {
    let claim = std::str::from_utf8(claim).ok()?;
    let claim = claim.strip_prefix("{\"version\":0,\"writes\":\"")?;
    let (_, old) = claim.split_once(",\"old\":")?;
    // Behind it comes the claim's own mark.
    Some(old.rsplit_once(",\"of\":\"")?.0.as_bytes())
}

/// Reads a text, without what a writer's claim in it has replaced.
fn parse_one(name: &LinkName, text: &[u8], era: Era) -> Option<Value> {
    let text: AnyText<'_> = serde_json::from_slice(text).ok()?;
    let mark = text.of.as_deref().and_then(Mark::parse)?;
    if text.version > MAX_VERSION || mark != era.mark {
        return None;
    }
    let old = text.at.unwrap_or(0) < era.born;
    let claimed = text.reads.is_some() || text.writes.is_some();
    match (text.url.is_some(), text.absent == Some(true), claimed) {
        (true, false, false) if !old => {}
        (false, true, false) if !old => return Some(Value::Absent(Version(text.version))),
        (false, false, true) => return Some(Value::Claimed),
        // Nothing, or several things at once, or something old.
        _ => return None,
    }
    let ttl = match text.ttl {
        Some(seconds) => Some(Ttl::from_secs(seconds)?),
        None => None,
    };
    Some(Value::Link(Link {
        name: name.clone(),
        target: TargetUrl::parse_stored(&text.url?).ok()?,
        created_at: UnixTime(text.created_at.unwrap_or(0)),
        created_by: text.created_by.unwrap_or_default().into(),
        expires_at: text.expires_at.map(UnixTime),
        ttl,
        version: Version(text.version),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LinkName {
        LinkName::parse("a.s.example.com").unwrap()
    }

    fn mark() -> Mark {
        Mark::of(7)
    }

    fn era(born: u64) -> Era {
        Era { born, mark: mark() }
    }

    #[test]
    fn a_link_comes_back_as_it_was() {
        let whole = Link {
            name: name(),
            target: TargetUrl::parse("https://example.net/?q=\"1\"").unwrap(),
            created_at: UnixTime(1),
            created_by: "me \"myself\" \\ \u{e4}".into(),
            expires_at: Some(UnixTime(2)),
            ttl: Ttl::from_secs(3),
            version: Version(1_795_466_289_695_389),
        };
        let bare = Link {
            expires_at: None,
            ttl: None,
            created_by: "".into(),
            ..whole.clone()
        };
        for link in [whole, bare] {
            let text = super::link(&link, UnixTime(9), mark());
            assert_eq!(parse(&name(), text.as_bytes(), era(10)), None, "too old");
            let other = Era {
                mark: Mark::of(8),
                ..era(9)
            };
            assert_eq!(parse(&name(), text.as_bytes(), other), None, "another's");
            assert!(text.starts_with("{\"version\":1795466289695389,\"url\":"));
            assert!(
                text.ends_with(",\"at\":9,\"of\":\"0000000000000007\"}"),
                "{text}"
            );
            assert_eq!(
                parse(&name(), text.as_bytes(), era(9)),
                Some(Value::Link(link))
            );
        }
    }

    #[test]
    fn what_is_no_link() {
        let check = |text: &str, expected| {
            assert_eq!(parse(&name(), text.as_bytes(), era(0)), expected, "{text}");
        };
        check(
            &absent(Version(7), UnixTime(1), mark()),
            Some(Value::Absent(Version(7))),
        );
        check(&reads("n-1", mark()), Some(Value::Claimed));
        check(&writes("n-1", mark()), Some(Value::Claimed));
        let of = "\"of\":\"0000000000000007\"";
        let old = |old: &str| {
            format!("{{\"version\":0,\"writes\":\"n-1\",\"until\":7,\"old\":{old},{of}}}")
        };
        // No absence is told on the strength of a claim, nor one claim within another.
        let absent = old(&absent(Version(7), UnixTime(1), mark()));
        let nested = old(&old(&format!(
            "{{\"version\":1,\"url\":\"https://a/\",\"at\":1,{of}}}"
        )));
        for claim in [absent, nested, old("1")] {
            assert!(!matches!(
                parse(&name(), claim.as_bytes(), era(0)),
                Some(Value::Link(_))
            ));
        }
        let link = format!("{{\"version\":1,\"url\":\"https://a/\",\"at\":5,{of}}}");
        let parsed = |born| parse(&name(), old(&link).as_bytes(), era(born));
        assert!(matches!(parsed(5), Some(Value::Changing(link)) if link.version == Version(1)));
        assert_eq!(parsed(6), Some(Value::Claimed), "it comes from a file");
        for nonsense in [
            "",
            "hello",
            "{}",
            "[1]",
            "{\"version\":1,\"of\":\"0000000000000007\"}",
            "{\"version\":9007199254740992,\"absent\":true,\"of\":\"0000000000000007\"}",
            "{\"version\":-1,\"url\":\"https://a/\",\"of\":\"0000000000000007\"}",
            "{\"version\":1,\"url\":\"javascript:1\",\"of\":\"0000000000000007\"}",
            "{\"version\":1,\"url\":\"https://a/\",\"ttl\":604801,\"of\":\"0000000000000007\"}",
            // Of a version that did not know whose it is.
            "{\"version\":1,\"absent\":true}",
            "{\"version\":1,\"absent\":false,\"of\":\"0000000000000007\"}",
            "{\"version\":1,\"absent\":true,\"url\":\"https://a/\",\"of\":\"0000000000000007\"}",
            "{\"version\":1,\"url\":\"https://a/\",\"writes\":\"n-1\",\"of\":\"0000000000000007\"}",
        ] {
            check(nonsense, None);
        }
        // What a later version may add.
        let text =
            "{\"version\":1,\"url\":\"https://a/\",\"clicks\":7,\"of\":\"0000000000000007\"}";
        assert!(matches!(
            parse(&name(), text.as_bytes(), era(0)),
            Some(Value::Link(_))
        ));
    }
}
