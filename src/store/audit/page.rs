//! Reading the log: newest first, page by page.

use std::fmt;

use super::{Action, Entry, Event};
use crate::base::clock::UnixMillis;

/// Identifies an entry, and orders the log: by time, and by number within a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// When the change was made.
    pub at: UnixMillis,
    /// Distinguishes the entries of the same millisecond. The store chooses it.
    pub number: u64,
}

impl EntryId {
    /// Reads what `to_string` has made.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, number) = text.split_once('-')?;
        let digits = |text: &str| {
            let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let number = is_hex.then(|| u64::from_str_radix(text, 16).ok());
            number.flatten()
        };
        Some(Self {
            at: UnixMillis(digits(at)?),
            number: digits(number)?,
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.at.0, self.number)
    }
}

/// What to read. A filter that is `None` takes all entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The changes by the token of this name.
    pub actor: Option<Box<str>>,
    /// The changes of this kind.
    pub action: Option<Action>,
    /// The changes in this zone.
    pub zone: Option<Box<str>>,
    /// The changes of links with this code, in any zone.
    pub code: Option<Box<str>>,
    /// The changes at this time and later.
    pub since: Option<UnixMillis>,
    /// The changes before this time.
    pub until: Option<UnixMillis>,
    /// The entries behind this one, which is the cursor of the page before.
    pub after: Option<EntryId>,
    /// How many entries a page may have; the store has a bound of its own.
    pub limit: usize,
}

impl AuditQuery {
    /// Whether the page takes this entry. The filters by time and cursor are left to the store.
    pub fn takes(&self, event: &Event) -> bool {
        let is = |wanted: &Option<Box<str>>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.actor, Some(&event.actor.name))
            && self.action.is_none_or(|action| action == event.action)
            && is(&self.zone, event.object.zone())
            && is(&self.code, event.object.code())
    }

    /// All entries of the page are before this place.
    pub fn before(&self) -> EntryId {
        let end = EntryId {
            at: self.until.unwrap_or(UnixMillis(u64::MAX)),
            number: 0,
        };
        self.after.map_or(end, |after| after.min(end))
    }
}

/// A page of the log, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries; there may be none although more pages follow.
    pub entries: Vec<Entry>,
    /// The cursor of the next page; none if this is the last one.
    pub next: Option<EntryId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were() {
        let id = EntryId {
            at: UnixMillis(1_767_225_600_123),
            number: 0xabc,
        };
        assert_eq!(EntryId::parse(&id.to_string()), Some(id));
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "g-1",
            "1-2-3",
            "+1-2",
            "A-1",
            "1-fffffffffffffffff",
        ] {
            assert_eq!(EntryId::parse(bad), None, "{bad:?}");
        }
    }
}
