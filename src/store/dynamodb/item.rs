//! The items of the table and the links in them.
//!
//! | attribute | type | meaning |
//! |---|---|---|
//! | `miniUrl` | S | the key: the link's full name, in lower case, without the last dot |
//! | `fullUrl` | S | the destination; an item without it is no link |
//! | `createdAt` | N | epoch seconds |
//! | `createdBy` | S | who made it |
//! | `expiresAt` | N | epoch seconds; the table's TTL attribute |
//! | `ttl` | N | TTL of the link's records, in seconds |
//! | `version` | N | see [`Version`] |
//! | `title`, `note` | S | see [`About`] |
//! | `tags` | SS | see [`About`] |
//! | `withheld` | M | see [`Withheld`]: `kind` and `reason`, perhaps `authority`, each S |
//! | `destinations` | S | what a link with several destinations has besides `fullUrl`: JSON, see [`Destinations`] |
//! | `deletedAt` | N | epoch seconds; marks a tombstone if there is no `fullUrl` |
//!
//! Other programs write to the table as well. The script of the article that tinyns grew out of knows only the
//! first two attributes. Such an item is a link without a creator, made at time 0, with version 0, which is below every
//! version that tinyns writes. `createdAt`, `createdBy`, `title`, `tags` and `note` decide nothing, so values that are not
//! valid count as none. Everything else decides an answer and must be valid.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::base::clock::UnixTime;
use crate::link::{
    About, Destinations, Link, LinkName, Note, Tags, TargetUrl, Title, Ttl, Version, Withheld,
};
use crate::store::StoreError;
use crate::store::columns::{destinations_text, read_destinations};

pub(super) const KEY: &str = "miniUrl";
pub(super) const URL: &str = "fullUrl";
pub(super) const CREATED_AT: &str = "createdAt";
pub(super) const CREATED_BY: &str = "createdBy";
pub(super) const EXPIRES_AT: &str = "expiresAt";
/// A reserved word in DynamoDB's expressions, where it is written as `#ttl`.
pub(super) const TTL: &str = "ttl";
pub(super) const VERSION: &str = "version";
pub(super) const DELETED_AT: &str = "deletedAt";
pub(super) const TITLE: &str = "title";
pub(super) const TAGS: &str = "tags";
pub(super) const NOTE: &str = "note";
pub(super) const WITHHELD: &str = "withheld";
pub(super) const DESTINATIONS: &str = "destinations";
/// The members of `withheld`.
const KIND: &str = "kind";
const REASON: &str = "reason";
const AUTHORITY: &str = "authority";

/// All attributes above, for reads: items of other programs may have many more.
pub(super) const PROJECTION: &str = "miniUrl, fullUrl, createdAt, createdBy, expiresAt, #ttl, version, deletedAt, title, tags, note, withheld, destinations";

/// The beginning of the keys of tinyns's own items, which are no links. No link's name begins like that.
pub(super) const OWN: &str = "tinyns:";

/// The highest version that is accepted: the last microsecond of the year 9999. It leaves room for a next version,
/// and shows that the attribute holds a number of another kind.
const MAX_VERSION: u64 = UnixTime::MAX.0 * 1_000_000 + 999_999;

/// An item as the SDK returns it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The content of a valid item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A link, which may have ended.
    Link(Link),
    /// The tombstone of a deleted link.
    Tombstone {
        /// The version of the absence.
        version: Version,
        /// The time of the deletion.
        deleted_at: UnixTime,
    },
}

impl Entry {
    pub(super) fn version(&self) -> Version {
        match self {
            Self::Link(link) => link.version,
            Self::Tombstone { version, .. } => *version,
        }
    }

    /// The link, if there is one.
    pub(super) fn into_link(self) -> Option<Link> {
        match self {
            Self::Link(link) => Some(link),
            Self::Tombstone { .. } => None,
        }
    }

    /// The link, if there is one that has not ended.
    pub(super) fn into_live(self, now: UnixTime) -> Option<Link> {
        self.into_link().filter(|link| !link.is_expired(now))
    }
}

/// An item that is neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadItem {
    /// The item's key, for messages.
    pub(super) key: String,
    /// What is wrong with the item.
    pub(super) reason: String,
}

impl From<BadItem> for StoreError {
    fn from(bad: BadItem) -> Self {
        Self::Corrupt {
            name: bad.key,
            reason: bad.reason,
        }
    }
}

/// The key of an item with this name.
pub(super) fn key(name: &LinkName) -> AttributeValue {
    text(name.as_str())
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The item of a link.
pub(super) fn encode(link: &Link) -> Item {
    let mut item = Item::from([
        (KEY.into(), key(&link.name)),
        (URL.into(), text(link.target.as_str())),
        (CREATED_AT.into(), number(link.created_at.0)),
        (CREATED_BY.into(), text(&link.created_by)),
        (VERSION.into(), number(link.version.0)),
    ]);
    if let Some(end) = link.expires_at {
        item.insert(EXPIRES_AT.into(), number(end.0));
    }
    if let Some(ttl) = link.ttl {
        item.insert(TTL.into(), number(ttl.as_secs().into()));
    }
    let about = &link.about;
    let texts = [
        (TITLE, about.title().map(Title::as_str)),
        (NOTE, about.note().map(Note::as_str)),
    ];
    for (attribute, value) in texts {
        if let Some(value) = value {
            item.insert(attribute.into(), text(value));
        }
    }
    if let Some(tags) = tags(about.tags()) {
        item.insert(TAGS.into(), tags);
    }
    if let Some(reason) = &link.withheld {
        item.insert(WITHHELD.into(), withheld(reason));
    }
    if let Some(value) = link.destinations.as_deref().and_then(destinations) {
        item.insert(DESTINATIONS.into(), value);
    }
    item
}

/// Why a link is withheld.
pub(super) fn withheld(withheld: &Withheld) -> AttributeValue {
    let authority = withheld.grounds.authority().map(TargetUrl::as_str);
    let members = [
        (KIND, Some(withheld.grounds.kind())),
        (REASON, Some(withheld.reason.as_str())),
        (AUTHORITY, authority),
    ];
    let members = members.into_iter();
    let given = members.filter_map(|(name, value)| Some((name.into(), text(value?))));
    AttributeValue::M(given.collect())
}

/// What a link with several destinations has besides its URL.
pub(super) fn destinations(destinations: &Destinations) -> Option<AttributeValue> {
    // Links are made as whole items, so the attribute belongs to the link that has it.
    destinations_text(Some(destinations), None).map(AttributeValue::S)
}

/// Tags as a set; none if there are none, because DynamoDB has no empty sets.
pub(super) fn tags(tags: &Tags) -> Option<AttributeValue> {
    let set = || AttributeValue::Ss(tags.iter().map(ToOwned::to_owned).collect());
    (!tags.is_empty()).then(set)
}

/// The content of an item.
pub(super) fn decode(item: &Item) -> Result<Entry, BadItem> {
    let bad = |reason| BadItem {
        key: shown_key(item),
        reason,
    };
    let name = name(item).map_err(bad)?;
    entry(item, name).map_err(bad)
}

/// Whether an item is one of tinyns's own, and no link.
pub(super) fn is_own(item: &Item) -> bool {
    let key = item.get(KEY).and_then(|key| key.as_s().ok());
    key.is_some_and(|key| key.starts_with(OWN))
}

/// The name of an item, if its key is a valid name.
pub(super) fn name(item: &Item) -> Result<LinkName, String> {
    let Some(AttributeValue::S(key)) = item.get(KEY) else {
        return Err(format!("{KEY} is not a string"));
    };
    let name = LinkName::parse(key).map_err(|e| e.to_string())?;
    // Parsing folds the case. A key in upper case would never be found.
    if name.as_str() == key {
        Ok(name)
    } else {
        Err("the key is not in lower case, or ends in a dot".into())
    }
}

fn entry(item: &Item, name: LinkName) -> Result<Entry, String> {
    let version = optional(item, VERSION)?.unwrap_or(0);
    if version > MAX_VERSION {
        return Err(format!("{VERSION} {version} is beyond the year 9999"));
    }
    let version = Version(version);
    let url = match (item.get(URL), optional(item, DELETED_AT)?) {
        (Some(AttributeValue::S(url)), _) => url,
        (Some(_), _) => return Err(format!("{URL} is not a string")),
        (None, Some(deleted_at)) => {
            let deleted_at = UnixTime(deleted_at);
            return Ok(Entry::Tombstone {
                version,
                deleted_at,
            });
        }
        (None, None) => return Err(format!("{URL} is missing")),
    };
    let expires_at = optional(item, EXPIRES_AT)?.map(UnixTime);
    if let Some(end) = expires_at.filter(|end| *end > UnixTime::MAX) {
        // Probably milliseconds. DynamoDB would never sweep the item.
        return Err(format!("{EXPIRES_AT} {end} is beyond the year 9999"));
    }
    let ttl = optional(item, TTL)?
        .map(|secs| Ttl::from_secs(secs).ok_or_else(|| format!("the TTL {secs} is too long")));
    let target = TargetUrl::parse_stored(url).map_err(|e| format!("{URL}: {e}"))?;
    let created_at = UnixTime(optional(item, CREATED_AT).ok().flatten().unwrap_or(0));
    let destinations = match item.get(DESTINATIONS) {
        None => None,
        Some(AttributeValue::S(text)) => Some(text.as_str()),
        Some(_) => return Err(format!("{DESTINATIONS} is not a string")),
    };
    Ok(Entry::Link(Link {
        name,
        destinations: read_destinations(destinations, &target, created_at)?,
        target,
        created_at,
        created_by: match item.get(CREATED_BY) {
            Some(AttributeValue::S(text)) => text.as_str().into(),
            _ => "".into(),
        },
        expires_at,
        ttl: ttl.transpose()?,
        about: about(item),
        withheld: read_withheld(item)?,
        version,
    }))
}

/// Decides an answer, so it must be valid: if it were ignored, everybody would get the destination.
fn read_withheld(item: &Item) -> Result<Option<Box<Withheld>>, String> {
    let Some(value) = item.get(WITHHELD) else {
        return Ok(None);
    };
    let members = value
        .as_m()
        .map_err(|_| format!("{WITHHELD} is not a map"))?;
    let text = |name| members.get(name).and_then(|value| value.as_s().ok());
    let needed = |name| text(name).ok_or_else(|| format!("{WITHHELD} has no {name}"));
    let authority = text(AUTHORITY).map(String::as_str);
    let withheld = Withheld::parse_stored(needed(KIND)?, needed(REASON)?, authority);
    let withheld = withheld.map_err(|error| format!("{WITHHELD}: {error}"))?;
    Ok(Some(Box::new(withheld)))
}

fn about(item: &Item) -> About {
    let text = |attribute| item.get(attribute).and_then(|value| value.as_s().ok());
    let tags = item.get(TAGS).and_then(|value| value.as_ss().ok());
    let tags = tags.and_then(|tags| Tags::parse(tags.iter().map(String::as_str)).ok());
    About::new(
        text(TITLE).and_then(|title| Title::parse(title).ok()),
        tags.unwrap_or_default(),
        text(NOTE).and_then(|note| Note::parse(note).ok()),
    )
}

/// A whole number from 0 up; none if the attribute is missing.
fn optional(item: &Item, attribute: &str) -> Result<Option<u64>, String> {
    match item.get(attribute) {
        None => Ok(None),
        Some(AttributeValue::N(digits)) => digits
            .parse()
            .map(Some)
            .map_err(|_| format!("{attribute} {digits} is not a whole number from 0 on")),
        Some(_) => Err(format!("{attribute} is not a number")),
    }
}

fn shown_key(item: &Item) -> String {
    match item.get(KEY) {
        Some(AttributeValue::S(key)) => key.clone(),
        Some(AttributeValue::N(key)) => key.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Rank;

    const NAME: &str = "a.s.x";

    fn item(attributes: &[(&str, AttributeValue)]) -> Item {
        let own = attributes.iter().map(|(k, v)| ((*k).into(), v.clone()));
        own.collect()
    }

    fn link(attributes: &[(&str, AttributeValue)]) -> Item {
        let mut all = item(&[(KEY, text(NAME)), (URL, text("http://y/"))]);
        all.extend(item(attributes));
        all
    }

    fn several() -> Option<Box<Destinations>> {
        let urls = ["https://example.net/", "https://b.example/?\\"];
        let list = urls.map(|url| (TargetUrl::parse(url).unwrap(), Rank::default()));
        Destinations::of(list.to_vec()).unwrap().1
    }

    #[test]
    fn a_link_comes_back_as_it_was() {
        let whole = Link {
            name: LinkName::parse(NAME).unwrap(),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(1),
            created_by: "me".into(),
            expires_at: Some(UnixTime(2)),
            ttl: Ttl::from_secs(3),
            about: About::new(
                Title::parse("t").ok(),
                Tags::parse(["a", "b"]).unwrap(),
                Note::parse("n\nm").ok(),
            ),
            destinations: several(),
            withheld: Withheld::parse("legal", "Order 12", Some("https://court.example/"))
                .ok()
                .map(Box::new),
            version: Version(4),
        };
        let bare = Link {
            expires_at: None,
            ttl: None,
            about: About::default(),
            destinations: None,
            withheld: None,
            ..whole.clone()
        };
        for link in [whole, bare] {
            assert_eq!(decode(&encode(&link)), Ok(Entry::Link(link)));
        }
    }

    #[test]
    fn items_of_other_programs() {
        let check = |attributes: &[(&str, AttributeValue)], created_at, created_by| {
            let Ok(Entry::Link(link)) = decode(&link(attributes)) else {
                panic!("{attributes:?}");
            };
            assert_eq!(link.version, Version(0));
            assert_eq!(link.created_at, UnixTime(created_at));
            assert_eq!(&*link.created_by, created_by);
            assert_eq!((link.expires_at, link.ttl), (None, None));
            assert_eq!(link.about, About::default());
        };
        check(&[], 0, "");
        check(&[("clicks", number(7))], 0, "");
        check(&[(CREATED_AT, number(7)), (CREATED_BY, text("x"))], 7, "x");
        // Attributes that decide nothing may have any type.
        let odd = [(CREATED_AT, text("2026-01-01")), (CREATED_BY, number(7))];
        check(&odd, 0, "");
        let odd = [
            ("title", number(7)),
            ("tags", text("a")),
            ("note", text("")),
        ];
        check(&odd, 0, "");
    }

    #[test]
    fn only_valid_items_are_links() {
        let check = |item: &Item, key: &str, reason: &str| {
            let bad = decode(item).unwrap_err();
            assert_eq!(bad.key, key, "{item:?}");
            assert!(bad.reason.contains(reason), "{item:?}: {}", bad.reason);
        };
        let n = |digits: &str| AttributeValue::N(digits.into());
        check(&link(&[(URL, text("ftp://y/"))]), NAME, "ftp");
        check(&link(&[(URL, n("1"))]), NAME, "fullUrl is not a string");
        check(&item(&[(KEY, text(NAME))]), NAME, "fullUrl is missing");
        check(&link(&[(EXPIRES_AT, text("soon"))]), NAME, "not a number");
        check(&link(&[(EXPIRES_AT, n("-1"))]), NAME, "from 0 on");
        check(&link(&[(EXPIRES_AT, n("1.5"))]), NAME, "1.5");
        let millis = n("1767225600000");
        check(&link(&[(EXPIRES_AT, millis)]), NAME, "year 9999");
        check(&link(&[(TTL, n("604801"))]), NAME, "too long");
        check(&link(&[(VERSION, text("1"))]), NAME, "version");
        let highest = number(u64::MAX);
        check(&link(&[(VERSION, highest)]), NAME, "year 9999");
        // Not as if it were not withheld.
        check(&link(&[(WITHHELD, text("abuse"))]), NAME, "not a map");
        check(&link(&[(DESTINATIONS, number(7))]), NAME, "not a string");
        check(&link(&[(DESTINATIONS, text("{}"))]), NAME, "priority");
        let map = |kind: &str| AttributeValue::M(item(&[(KIND, text(kind))]));
        check(&link(&[(WITHHELD, map("abuse"))]), NAME, "no reason");
        check(&link(&[(KEY, text("A.s.x"))]), "A.s.x", "lower case");
        check(&link(&[(KEY, text("a_b.s.x"))]), "a_b.s.x", "'_'");
        check(&link(&[(KEY, n("7"))]), "7", "miniUrl is not a string");
    }

    #[test]
    fn tombstones() {
        let mut tombstone = item(&[
            (KEY, text(NAME)),
            (DELETED_AT, number(7)),
            (VERSION, number(8)),
        ]);
        let expected = Entry::Tombstone {
            version: Version(8),
            deleted_at: UnixTime(7),
        };
        assert_eq!(decode(&tombstone), Ok(expected));
        // Another program has given the name a URL again.
        tombstone.insert(URL.into(), text("http://y/"));
        assert!(matches!(decode(&tombstone), Ok(Entry::Link(_))));
    }
}
