//! Notices: what a server that is cut off from Redis leaves in the store for the others.
//!
//! Servers that share a store tell each other of changes by Redis. One that cannot reach it still
//! changes links, and the others would show what they hold. The store is what all of them reach. So
//! such a server leaves a notice there, under a key of its own that can be no link's name: the names
//! that it has changed, with their versions. The others look for notices every second, by known keys.

use crate::base::clock::UnixTime;
use crate::link::{LinkName, Version};

/// What a server that is cut off has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The server's name: random, and different after each start.
    pub node: Box<str>,
    /// Grows with each notice of that server.
    pub number: u64,
    /// The changes; none where there are too many to be named, so that everything is in doubt.
    pub changes: Option<Vec<(LinkName, Version)>>,
    /// From then on it is of no interest: what others held then has ended by itself.
    pub until: UnixTime,
}

/// The longest list of changes, in bytes of [`Notice::to_text`]. DynamoDB keeps 400 KB in an item.
pub const MAX_TEXT_LEN: usize = 256 << 10;

impl Notice {
    /// The changes as text: a line each, of name and version. Empty where there are too many.
    pub fn to_text(&self) -> String {
        let changes = self.changes.iter().flatten();
        changes
            .map(|(name, version)| line(name, *version))
            .collect()
    }

    /// As many of these changes as a notice has room for; none if that is not all of them.
    pub fn fit(changes: Vec<(LinkName, Version)>) -> Option<Vec<(LinkName, Version)>> {
        let length: usize = changes
            .iter()
            .map(|(name, version)| line(name, *version).len())
            .sum();
        (length <= MAX_TEXT_LEN).then_some(changes)
    }

    /// Reads what [`Notice::to_text`] has written; none if it is anything else.
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
    fn a_list_that_is_too_long_is_no_list() {
        let many = |n| Notice::fit((0..n).map(change).collect());
        assert_eq!(many(5_000).map(|changes| changes.len()), Some(5_000));
        assert_eq!(many(20_000), None);
    }
}
