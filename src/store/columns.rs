//! Links in the columns of a row, for the stores that speak SQL.
//!
//! The same types check rows as check what users send. A row that another program wrote, or that a disk damaged, never
//! becomes a link.

use crate::base::clock::UnixTime;
use serde::{Deserialize, Serialize};

use crate::link::{
    About, Code, Destinations, Link, LinkName, Note, Origin, Tags, TargetUrl, Title, Ttl, Version,
    Withheld,
};
use crate::store::StoreError;

/// The columns of a link apart from its key and the [texts about it](about).
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    pub(super) url: &'a str,
    pub(super) created_at: i64,
    pub(super) created_by: &'a str,
    pub(super) expires_at: Option<i64>,
    pub(super) ttl: Option<i64>,
    pub(super) version: i64,
    pub(super) withheld: Option<&'a str>,
    pub(super) destinations: Option<&'a str>,
}

/// A row that is not a valid link.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// The row's key, for messages.
    pub(super) key: String,
    /// The row's key, if it is valid.
    pub(super) name: Option<LinkName>,
    /// What is wrong with the row.
    pub(super) reason: String,
}

impl From<BadRow> for StoreError {
    fn from(bad: BadRow) -> Self {
        Self::Corrupt {
            name: bad.key,
            reason: bad.reason,
        }
    }
}

impl Columns<'_> {
    /// The link of that name.
    ///
    /// # Errors
    /// What is wrong with a column.
    pub(super) fn link(&self, name: LinkName, about: About) -> Result<Link, String> {
        let ttl = self.ttl.map(|secs| number("ttl", secs)).transpose()?;
        let ttl = ttl
            .map(|secs| Ttl::from_secs(secs).ok_or_else(|| format!("the TTL {secs} is too long")));
        let expires_at = self.expires_at.map(|end| number("expires_at", end));
        let target =
            TargetUrl::parse_stored(self.url).map_err(|e| format!("{:?}: {e}", self.url))?;
        let created_at = UnixTime(number("created_at", self.created_at)?);
        Ok(Link {
            name,
            destinations: read_destinations(self.destinations, &target, created_at)?,
            target,
            created_at,
            created_by: self.created_by.into(),
            expires_at: expires_at.transpose()?.map(UnixTime),
            ttl: ttl.transpose()?,
            about,
            withheld: self.withheld()?,
            version: Version(number("version", self.version)?),
        })
    }

    /// Decides an answer, so it must be valid: if it were ignored, everybody would get the destination.
    fn withheld(&self) -> Result<Option<Box<Withheld>>, String> {
        let withheld = self.withheld.map(serde_json::from_str);
        withheld
            .transpose()
            .map_err(|error| format!("withheld: {error}"))
    }
}

/// The name in the columns of the key.
///
/// # Errors
/// Why it is no name.
pub(super) fn name(origin: &str, code: &str) -> Result<LinkName, String> {
    let parsed_origin = Origin::parse(origin).map_err(|e| e.to_string())?;
    let parsed_code = Code::parse(code).map_err(|e| e.to_string())?;
    // Parsing folds the case. A key in upper case would never be found.
    if parsed_origin.as_str() != origin || parsed_code.as_str() != code {
        return Err("the key is not in lower case".into());
    }
    Ok(LinkName::new(&parsed_code, &parsed_origin))
}

/// The texts about a link. They decide no answer, so a text that another program has written wrongly counts as none,
/// and the link works all the same.
pub(super) fn about(title: Option<&str>, tags: Option<&str>, note: Option<&str>) -> About {
    let title = title.and_then(|text| Title::parse(text).ok());
    let note = note.and_then(|text| Note::parse(text).ok());
    About::new(title, tags.and_then(read_tags).unwrap_or_default(), note)
}

/// Tags as a JSON array, which SQL functions can read; none if there are none.
pub(super) fn tags_text(tags: &Tags) -> Option<String> {
    // An array of strings always serialises.
    let text = || serde_json::to_string(&tags.iter().collect::<Vec<_>>()).unwrap_or_default();
    (!tags.is_empty()).then(text)
}

/// Why a link is withheld, as JSON.
pub(super) fn withheld_text(withheld: Option<&Withheld>) -> Option<String> {
    // Strings always serialise. Otherwise the text would be no JSON, and nobody would get the destination.
    withheld.map(|withheld| serde_json::to_string(withheld).unwrap_or_default())
}

/// What the column of the destinations holds.
#[derive(Serialize, Deserialize)]
struct DestinationsText {
    /// When the link was made that has these destinations, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    #[serde(flatten)]
    destinations: Destinations,
}

/// What a link has besides its target, as JSON.
///
/// A server of an earlier version that makes a link over one that has ended leaves this column as it is. So the text
/// says which link it belongs to, by the time when that was made: the new one is made later. Stores that put links as a whole
/// do not need that.
pub(super) fn destinations_text(
    destinations: Option<&Destinations>,
    created_at: Option<UnixTime>,
) -> Option<String> {
    let text = |destinations: &Destinations| DestinationsText {
        of: created_at.map(|time| time.0),
        destinations: destinations.clone(),
    };
    // Strings and numbers always serialise. Otherwise the text would be no JSON, and the link damaged.
    destinations.map(|destinations| serde_json::to_string(&text(destinations)).unwrap_or_default())
}

/// What a link has besides its target. It decides answers, so it must be valid.
///
/// # Errors
/// Why it is not.
pub(super) fn read_destinations(
    text: Option<&str>,
    target: &TargetUrl,
    created_at: UnixTime,
) -> Result<Option<Box<Destinations>>, String> {
    let Some(text) = text else {
        return Ok(None);
    };
    let text: DestinationsText =
        serde_json::from_str(text).map_err(|error| format!("destinations: {error}"))?;
    Ok(match text.of {
        Some(of) if of != created_at.0 => None,
        _ => text.destinations.beside(target),
    })
}

/// A number as SQL stores it: 63 bits. A time exceeds that only if the clock is wrong by hundreds of thousands of
/// years; then nothing is written.
pub(super) fn integer(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Unavailable(format!("{number} is too large for it")))
}

fn read_tags(text: &str) -> Option<Tags> {
    let tags: Vec<String> = serde_json::from_str(text).ok()?;
    Tags::parse(tags.iter().map(String::as_str)).ok()
}

fn number(column: &str, number: i64) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| format!("{column} is negative: {number}"))
}
