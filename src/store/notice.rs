//! Notices: how a server that is cut off from Redis informs the other servers of its changes.
//!
//! Servers that share a store announce their changes through Redis. A *cut-off* server, which cannot write to
//! Redis, still changes links, and the other servers would go on to use what they have cached. All of them can
//! reach the store. So a cut-off server leaves a notice in the store: the names that it has changed, with their
//! versions. The notice has a key that cannot be a link's name. All servers look for notices every second, by
//! known keys.

use crate::base::clock::UnixTime;
use crate::link::{LinkName, Version};

/// The changes of a cut-off server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The server's name, which is random and new at each start.
    pub node: Box<str>,
    /// Increases with each notice of that server.
    pub number: u64,
    /// The changes; none if there are too many to name, so that everything is in doubt.
    pub changes: Option<Vec<(LinkName, Version)>>,
    /// When the notice is over: what others had cached before it has expired by then.
    pub until: UnixTime,
}

/// The longest list of changes, in bytes of [`Notice::to_text`]. DynamoDB keeps 400 KB in an item.
pub const MAX_TEXT_LEN: usize = 256 << 10;

impl Notice {
    /// The changes as text: a line for each, with name and version. Empty if there are too many.
    pub fn to_text(&self) -> String {
        let changes = self.changes.iter().flatten();
        changes
            .map(|(name, version)| line(name, *version))
            .collect()
    }

    /// The changes, if a notice has room for all of them; otherwise none.
    pub fn fit(changes: Vec<(LinkName, Version)>) -> Option<Vec<(LinkName, Version)>> {
        let length: usize = changes
            .iter()
            .map(|(name, version)| line(name, *version).len())
            .sum();
        (length <= MAX_TEXT_LEN).then_some(changes)
    }

    /// Reads the text of [`Notice::to_text`]; none if it is another text.
    pub fn read_text(text: &str) -> Option<Vec<(LinkName, Version)>> {
        let change = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((LinkName::parse(name).ok()?, Version(version.parse().ok()?)))
        };
        text.lines().map(change).collect()
    }
}

fn line(name: &LinkName, version: Version) -> String {
    format!("{name} {version}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> (LinkName, Version) {
        let name = LinkName::parse(&format!("a{n}.s.example.com")).unwrap();
        (name, Version(n))
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let notice = |changes| Notice {
            node: "n".into(),
            number: 1,
            changes,
            until: UnixTime(2),
        };
        let changes: Vec<_> = (0..3).map(change).collect();
        let text = notice(Some(changes.clone())).to_text();
        assert!(text.starts_with("a0.s.example.com 0\n"), "{text}");
        assert_eq!(Notice::read_text(&text), Some(changes));
        assert_eq!(notice(None).to_text(), "");
        for bad in ["a.s.example.com", "a b", "a_b.s.example.com 1", "\n"] {
            assert_eq!(Notice::read_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_notice_has_room_for_all_changes_or_names_none() {
        let many = |n| Notice::fit((0..n).map(change).collect());
        assert_eq!(many(5_000).map(|changes| changes.len()), Some(5_000));
        assert_eq!(many(20_000), None);
    }
}
