//! Servers: how those that share a store know of each other.
//!
//! Each server announces itself once a second, and at once when it has applied changes. An announcement counts for
//! [`LEASE`] by the clock of the place that keeps it, so the clocks of servers need not agree. A server that stops in an
//! orderly way withdraws its announcement; that of a killed one ends with its lease.

use std::time::Duration;

use super::feed::Position;
use crate::base::clock::UnixTime;

/// How long an announcement counts.
pub const LEASE: Duration = Duration::from_secs(5);
/// How many servers can be announced at the same time. An announcement of one more is
/// [`StoreError::Refused`](super::StoreError::Refused).
pub const MAX_SERVERS: usize = 1_000;
/// The longest id, name, region and version of a server, in bytes.
pub const MAX_LABEL_LEN: usize = 255;
/// The longest text of [`Announcement::denied`], in bytes.
pub const MAX_DENIED_LEN: usize = 8 << 10;

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Random, and new at each start.
    pub id: Label,
    /// What operators call it. Several servers may have the same name.
    pub name: Label,
    /// Where it is.
    pub region: Label,
    /// The version of its software.
    pub version: Label,
    /// When it started, by its own clock.
    pub started: UnixTime,
    /// It answers with all changes up to here; none while it does not follow the changes.
    pub applied: Option<Position>,
    /// Whether its existence filter may deny names.
    pub filter_denies: bool,
    /// Which of the names that it has applied lately it had denied before: a text that only servers read, of at most
    /// [`MAX_DENIED_LEN`] bytes.
    pub denied: Box<str>,
}

/// A text of 1 to [`MAX_LABEL_LEN`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Box<str>);

impl Label {
    /// The label of this text, if the text may be one.
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        let is_valid = (1..=MAX_LABEL_LEN).contains(&text.len());
        (is_valid && !text.chars().any(char::is_control)).then_some(Self(text))
    }

    /// The label that is closest to this text: without control characters, cut to the longest that is allowed, and
    /// `unnamed` if nothing is left.
    pub fn closest(text: &str) -> Self {
        let visible = text.chars().filter(|c| !c.is_control());
        let mut label = String::new();
        for c in visible {
            if label.len() + c.len_utf8() > MAX_LABEL_LEN {
                break;
            }
            label.push(c);
        }
        match label.is_empty() {
            true => Self("unnamed".into()),
            false => Self(label.into()),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server whose announcement counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveServer {
    /// What it has announced.
    pub announcement: Announcement,
    /// How long the announcement counts from now on: [`LEASE`] at most.
    pub left: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_has_no_control_characters() {
        let is_valid = |text: &str| Label::new(text).is_some();
        assert!(is_valid("ns1.example.com"));
        assert!(is_valid("Zürich 1"));
        assert!(is_valid(&"x".repeat(MAX_LABEL_LEN)));
        assert!(!is_valid(&"x".repeat(MAX_LABEL_LEN + 1)));
        for bad in ["", "a\nb", "a\u{7f}"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
    #[test]
    fn any_text_has_a_closest_label() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Label::closest(text).as_str(), expected, "{text:?}");
        };
        check("ns1", "ns1");
        check("a\nb", "ab");
        check("\n", "unnamed");
        check(&"ä".repeat(200), &"ä".repeat(127));
    }
}
