//! The value under a link's name in Redis: JSON, so that `redis-cli GET` shows it.
//!
//! ```text
//!   {"version":17,"url":"https://…","created_at":1,"created_by":"admin","expires_at":2,"ttl":60,"withheld":{…},
//!    "destinations":{…},"at":3,"of":"…"}                      a link; the last members before "at" are there if the link has them
//!   {"version":18,"absent":true,"at":3,"of":"…"}  no link; the version is that of its tombstone, or 0
//!   {"version":0,"reads":"n1-7","of":"…"}         a read claim: a node is reading the link from the store
//!   {"version":0,"writes":"n1-8","of":"…"}        a write claim: a node is changing the link
//!   {"version":0,"writes":"n1-8","until":4,"old":{…},"of":"…"}  a write claim with the value that it replaced, and
//!                                        when that would have expired, in milliseconds since the epoch
//! ```
//!
//! [`super::scripts`] look only at the beginning and the end of the text. At the beginning is the version, then
//! the field that tells the kind. At the end are the time when the value was put (`at`, in seconds since the
//! epoch) and the [mark](super::store_mark) of the store (`of`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::mark::{Mark, Validity};
use crate::base::clock::UnixTime;
use crate::link::{About, Destinations, Link, LinkName, TargetUrl, Ttl, Version, Withheld};

/// The highest version that is accepted: the largest integer that a script's numbers hold exactly. Versions reach
/// it in the year 2255.
pub(super) const MAX_VERSION: u64 = (1 << 53) - 1;
/// Above every version that is written (see [`Version`]).
pub(super) const ANY_VERSION: Version = Version(MAX_VERSION);

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A link, which may have ended.
    Link(Link),
    /// No link; the version is that of the tombstone, or 0.
    Absent(Version),
    /// A claim.
    Claimed,
    /// A write claim that replaced this link.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'a Withheld>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<&'a Destinations>,
    at: u64,
    of: String,
}

/// Any value. Unknown fields are ignored: a later version of tinyns may add some.
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
    /// One that is not valid makes the whole text no value: ignored, it would give everybody the destination.
    withheld: Option<Box<Withheld>>,
    /// One that is not valid makes the whole text no value, so that the store is asked.
    destinations: Option<Box<Destinations>>,
    absent: Option<bool>,
    #[serde(borrow)]
    reads: Option<Cow<'a, str>>,
    #[serde(borrow)]
    writes: Option<Cow<'a, str>>,
    at: Option<u64>,
    #[serde(borrow)]
    of: Option<Cow<'a, str>>,
}

/// The value of a link, put at `now`.
pub(super) fn link(link: &Link, now: UnixTime, mark: Mark) -> String {
    let text = LinkText {
        version: link.version.0,
        url: link.target.as_str(),
        created_at: link.created_at.0,
        created_by: &link.created_by,
        expires_at: link.expires_at.map(|end| end.0),
        ttl: link.ttl.map(Ttl::as_secs),
        withheld: link.withheld.as_deref(),
        destinations: link.destinations.as_deref(),
        at: now.0,
        of: mark.to_string(),
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&text).unwrap_or_default()
}

/// The value of an absent name, put at `now`.
pub(super) fn absent(version: Version, now: UnixTime, mark: Mark) -> String {
    format!("{{\"version\":{version},\"absent\":true,\"at\":{now},\"of\":\"{mark}\"}}")
}

/// A read claim.
pub(super) fn reads(token: &str, mark: Mark) -> String {
    format!("{{\"version\":0,\"reads\":\"{token}\",\"of\":\"{mark}\"}}")
}

/// A write claim.
pub(super) fn writes(token: &str, mark: Mark) -> String {
    format!("{{\"version\":0,\"writes\":\"{token}\",\"of\":\"{mark}\"}}")
}

/// Reads a value. None if tinyns would not write it, if its mark is another one, or if it is older than the start
/// of the Redis server.
pub(super) fn parse(name: &LinkName, text: &[u8], validity: Validity) -> Option<Value> {
    let value = parse_one(name, text, validity)?;
    let replaced = match value {
        Value::Claimed => replaced(text).and_then(|old| parse_one(name, old, validity)),
        _ => None,
    };
    Some(match replaced {
        Some(Value::Link(link)) => Value::Changing(link),
        _ => value,
    })
}

/// The value that a write claim replaced.
fn replaced(claim: &[u8]) -> Option<&[u8]> {
    let claim = std::str::from_utf8(claim).ok()?;
    let claim = claim.strip_prefix("{\"version\":0,\"writes\":\"")?;
    let (_, old) = claim.split_once(",\"old\":")?;
    // The claim's own mark follows it.
    Some(old.rsplit_once(",\"of\":\"")?.0.as_bytes())
}

/// Reads a value, without the one that a write claim replaced.
fn parse_one(name: &LinkName, text: &[u8], validity: Validity) -> Option<Value> {
    let text: AnyText<'_> = serde_json::from_slice(text).ok()?;
    let mark = text.of.as_deref().and_then(Mark::parse)?;
    if text.version > MAX_VERSION || mark != validity.mark {
        return None;
    }
    let old = text.at.unwrap_or(0) < validity.started;
    let claimed = text.reads.is_some() || text.writes.is_some();
    match (text.url.is_some(), text.absent == Some(true), claimed) {
        (true, false, false) if !old => {}
        (false, true, false) if !old => return Some(Value::Absent(Version(text.version))),
        (false, false, true) => return Some(Value::Claimed),
        // No kind, several kinds, or too old.
        _ => return None,
    }
    let ttl = match text.ttl {
        Some(seconds) => Some(Ttl::from_secs(seconds)?),
        None => None,
    };
    let target = TargetUrl::parse_stored(&text.url?).ok()?;
    let destinations = text.destinations;
    Some(Value::Link(Link {
        name: name.clone(),
        destinations: destinations.and_then(|destinations| destinations.beside(&target)),
        target,
        created_at: UnixTime(text.created_at.unwrap_or(0)),
        created_by: text.created_by.unwrap_or_default().into(),
        expires_at: text.expires_at.map(UnixTime),
        ttl,
        about: About::default(),
        withheld: text.withheld,
        version: Version(text.version),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Rank;

    fn name() -> LinkName {
        LinkName::parse("a.s.example.com").unwrap()
    }

    fn mark() -> Mark {
        Mark::of(7)
    }

    fn validity(started: u64) -> Validity {
        Validity {
            started,
            mark: mark(),
        }
    }

    fn several() -> Option<Box<Destinations>> {
        let urls = [
            "https://example.net/?q=\"1\"",
            "https://b.example/,%22at%22:1",
        ];
        let list = urls.map(|url| (TargetUrl::parse(url).unwrap(), Rank::default()));
        Destinations::of(list.to_vec()).unwrap().1
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
            about: About::default(),
            // Their texts have what the scripts look for.
            destinations: several(),
            withheld: Withheld::parse(
                "legal",
                "Order,\"old\":{},\"of\":\"0\"}",
                Some("https://court.example/,%22at%22:1"),
            )
            .ok()
            .map(Box::new),
            version: Version(1_795_466_289_695_389),
        };
        let bare = Link {
            expires_at: None,
            ttl: None,
            created_by: "".into(),
            destinations: None,
            withheld: None,
            ..whole.clone()
        };
        for link in [whole, bare] {
            let text = super::link(&link, UnixTime(9), mark());
            assert_eq!(
                parse(&name(), text.as_bytes(), validity(10)),
                None,
                "too old"
            );
            let other = Validity {
                mark: Mark::of(8),
                ..validity(9)
            };
            assert_eq!(parse(&name(), text.as_bytes(), other), None, "another's");
            assert!(text.starts_with("{\"version\":1795466289695389,\"url\":"));
            assert!(
                text.ends_with(",\"at\":9,\"of\":\"0000000000000007\"}"),
                "{text}"
            );
            assert_eq!(
                parse(&name(), text.as_bytes(), validity(9)),
                Some(Value::Link(link))
            );
        }
    }

    #[test]
    fn only_valid_values_are_links() {
        let check = |text: &str, expected| {
            assert_eq!(
                parse(&name(), text.as_bytes(), validity(0)),
                expected,
                "{text}"
            );
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
        // A claim that replaced an absence, or another claim, is just a claim.
        let absent = old(&absent(Version(7), UnixTime(1), mark()));
        let nested = old(&old(&format!(
            "{{\"version\":1,\"url\":\"https://a/\",\"at\":1,{of}}}"
        )));
        for claim in [absent, nested, old("1")] {
            assert!(!matches!(
                parse(&name(), claim.as_bytes(), validity(0)),
                Some(Value::Link(_))
            ));
        }
        let link = format!("{{\"version\":1,\"url\":\"https://a/\",\"at\":5,{of}}}");
        let parsed = |started| parse(&name(), old(&link).as_bytes(), validity(started));
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
            "{\"version\":1,\"url\":\"https://a/\",\"withheld\":true,\"of\":\"0000000000000007\"}",
            "{\"version\":1,\"url\":\"https://a/\",\"destinations\":{},\"of\":\"0000000000000007\"}",
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
            parse(&name(), text.as_bytes(), validity(0)),
            Some(Value::Link(_))
        ));
    }
}
