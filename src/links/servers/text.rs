//! The texts in announcements.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixTime;
use crate::link::LinkName;
use crate::store::feed::Position;
use crate::store::servers::{Announcement, Label, MAX_DENIED_LEN};

/// Stands for every name.
const ANY: &str = "*";

/// Which names a server denied before it had applied their changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// These.
    Names(HashSet<Box<str>>),
    /// Any may be among them.
    Any,
}

impl Denied {
    /// These names, or any if there is no room for them.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a LinkName>) -> Self {
        let names: HashSet<Box<str>> = names.map(|name| name.as_str().into()).collect();
        let len: usize = names.iter().map(|name| name.len() + 1).sum();
        match len <= MAX_DENIED_LEN {
            true => Self::Names(names),
            false => Self::Any,
        }
    }

    pub(super) fn to_text(&self) -> Box<str> {
        match self {
            Self::Names(names) => {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                names.join(" ").into()
            }
            Self::Any => ANY.into(),
        }
    }

    /// Whether the text of an announcement says that this name may have been denied. A text of a later version that this
    /// one cannot read means any name.
    pub(super) fn text_has(text: &str, name: &LinkName) -> bool {
        let mut words = text.split(' ');
        words.any(|word| word == ANY || word == name.as_str())
    }
}

/// An announcement in Redis. Later versions may add members.
#[derive(Serialize, Deserialize)]
struct Members {
    name: String,
    region: String,
    version: String,
    started: u64,
    #[serde(default)]
    applied: Option<String>,
    #[serde(default)]
    filter_denies: bool,
    #[serde(default)]
    denied: String,
}

/// The text of an announcement, without its id.
pub(in crate::links) fn to_json(announcement: &Announcement) -> String {
    let members = Members {
        name: announcement.name.to_string(),
        region: announcement.region.to_string(),
        version: announcement.version.to_string(),
        started: announcement.started.0,
        applied: announcement.applied.as_ref().map(ToString::to_string),
        filter_denies: announcement.filter_denies,
        denied: announcement.denied.to_string(),
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&members).unwrap_or_default()
}

/// Reads the text of an announcement; none if it is none.
pub(in crate::links) fn from_json(id: &str, text: &str) -> Option<Announcement> {
    let members: Members = serde_json::from_str(text).ok()?;
    Some(Announcement {
        id: Label::new(id)?,
        name: Label::new(members.name)?,
        region: Label::new(members.region)?,
        version: Label::new(members.version)?,
        started: UnixTime(members.started),
        applied: members.applied.and_then(Position::new),
        filter_denies: members.filter_denies,
        denied: members.denied.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LinkName {
        LinkName::parse(text).unwrap()
    }

    #[test]
    fn an_announcement_comes_back_as_it_was() {
        let label = |text: &str| Label::new(text).unwrap();
        let mut announcement = Announcement {
            id: label("1f"),
            name: label("ns1"),
            region: label("Zürich"),
            version: label("0.1.0"),
            started: UnixTime(7),
            applied: Position::new("7-1"),
            filter_denies: true,
            denied: "a.s.example.com".into(),
        };
        let back = |announcement: &Announcement| from_json("1f", &to_json(announcement));
        assert_eq!(back(&announcement).as_ref(), Some(&announcement));
        announcement.applied = None;
        assert_eq!(back(&announcement).as_ref(), Some(&announcement));
    }

    #[test]
    fn announcements_of_other_versions_are_read() {
        let newer = r#"{"name":"a","region":"b","version":"c","started":1,"more":[1]}"#;
        let read = from_json("1", newer).unwrap();
        assert_eq!((read.applied, read.filter_denies), (None, false));
        for bad in [
            "",
            "{}",
            r#"{"name":"","region":"b","version":"c","started":1}"#,
        ] {
            assert_eq!(from_json("1", bad), None, "{bad}");
        }
    }

    #[test]
    fn denied_names_have_a_text() {
        let (one, other) = (name("a.s.example.com"), name("b.s.example.com"));
        let text = Denied::of([&one].into_iter()).to_text();
        assert!(Denied::text_has(&text, &one));
        assert!(!Denied::text_has(&text, &other));
        assert!(!Denied::text_has("", &one));
        let many: Vec<_> = (0..1_000)
            .map(|n| name(&format!("a{n}.s.example.com")))
            .collect();
        let text = Denied::of(many.iter()).to_text();
        assert!(text.len() <= MAX_DENIED_LEN, "{}", text.len());
        assert!(Denied::text_has(&text, &other));
    }
}
