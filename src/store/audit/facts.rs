//! The state of an object before or after a change.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::clock::UnixTime;
use crate::link::{Link, Note, RankedUrl, TargetUrl, Title, Ttl, Withheld};

/// A JSON object with the state of a link, a token or a certificate, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts(Box<str>);

/// What a caller can set of a link, under the names that the API uses. Most links have no texts, which would make each
/// entry longer.
#[derive(Serialize)]
struct LinkFacts<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<RankedUrl>>,
    expires_at: Option<String>,
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'a Withheld>,
}

impl Facts {
    /// What a caller can set of a link.
    pub fn of_link(link: &Link) -> Self {
        Self::of(&LinkFacts {
            url: TargetUrl::as_str(&link.target),
            destinations: link.ranked_urls(),
            expires_at: link.expires_at.map(UnixTime::rfc3339),
            ttl: link.ttl.map(Ttl::as_secs),
            title: link.about.title().map(Title::as_str),
            tags: link.about.tags().iter().collect(),
            note: link.about.note().map(Note::as_str),
            withheld: link.withheld.as_deref(),
        })
    }

    /// These values; they have to serialise to a JSON object.
    pub fn of(values: &impl Serialize) -> Self {
        // Strings, numbers and lists of them always serialise.
        Self(serde_json::to_string(values).unwrap_or_default().into())
    }

    /// A text that a store has kept; none if it is no JSON object.
    pub fn read(text: &str) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_str(text).ok()?;
        drop(object);
        Some(Self(text.into()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The members.
    pub fn members(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}
