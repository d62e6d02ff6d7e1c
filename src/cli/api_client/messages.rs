//! The requests and answers of the admin API.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::receipt::Visible;
use crate::base::text::one_line;
use crate::link::{LinkName, RankedUrl, Withheld};

/// The body of a request that creates a link.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct NewLink<'a> {
    /// None if the destinations say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) destinations: &'a [RankedUrl],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) use_reserved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withheld: Option<&'a Withheld>,
}

/// The body of a request that changes a link. Members that are none stay as they are, and `Some(None)` clears.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LinkChange<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) destinations: &'a [RankedUrl],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withheld: Option<Option<&'a Withheld>>,
}

/// A link, as the admin API shows it and an export writes it.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) code: Option<String>,
    pub(crate) name: String,
    pub(crate) short_url: Option<String>,
    pub(crate) url: String,
    /// Those of a link that has more than its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) destinations: Option<Vec<RankedUrl>>,
    pub(crate) created_at: Option<String>,
    /// The name of the token that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) ttl: Option<u32>,
    #[serde(default)]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) note: Option<String>,
    #[serde(default)]
    pub(crate) withheld: Option<Withheld>,
    pub(crate) version: Option<u64>,
    /// False in the answer to a change that other servers do not show yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) visible_elsewhere: Option<bool>,
    /// In the answer to a change: which servers have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) visible: Option<Visible>,
}

impl Link {
    /// Whether its name is valid. Commands print it for people to copy, and write it to files.
    pub(super) fn is_sound(&self) -> bool {
        LinkName::parse(&self.name).is_ok()
    }
}

/// A page of links.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) links: Vec<Link>,
    /// The cursor of the next page, if there is one.
    pub(crate) next_cursor: Option<String>,
}

/// The result of one line of a batch.
#[derive(Debug, Deserialize)]
pub(crate) struct LineResult {
    pub(super) line: u64,
    pub(crate) status: u16,
    pub(crate) link: Option<Link>,
    pub(crate) problem: Option<ProblemDocument>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Zones {
    pub(super) zones: Vec<Zone>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Zone {
    pub(super) origin: String,
}

/// An answer that holds a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The link.
    pub(crate) link: Link,
    /// Whether the request made it.
    pub(crate) created: bool,
    /// The body, unchanged.
    pub(crate) json: String,
}

/// The answer of `/readyz`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Readiness {
    status: String,
    pub(super) serves: bool,
    takes_changes: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Readiness {
    /// Whether the server answers queries and, if asked for, accepts changes.
    pub(crate) fn is_well(&self, with_changes: bool) -> bool {
        self.serves && (self.takes_changes || !with_changes)
    }
}

/// The state and its reasons, in one line.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.status))?;
        if !self.reasons.is_empty() {
            write!(f, ": {}", one_line(&self.reasons.join("; ")))?;
        }
        if self.serves && !self.takes_changes {
            f.write_str(" (queries are answered; changes of links are refused)")?;
        }
        Ok(())
    }
}

/// The members of a problem document (RFC 9457 §3) of the admin API.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ProblemDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl ProblemDocument {
    /// The kind of problem in the API, such as `code-taken`; empty for problems of other servers.
    pub(crate) fn kind(&self) -> &str {
        let kind = self.r#type.as_deref().unwrap_or_default();
        kind.strip_prefix("urn:tinyns:problem:").unwrap_or_default()
    }

    /// What is wrong, in one line.
    pub(crate) fn reason(&self) -> Option<String> {
        let reason = self.detail.as_ref().or(self.title.as_ref());
        reason.map(|reason| one_line(reason))
    }
}
