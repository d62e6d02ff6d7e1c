//! The change feed: an ordered log of the names that have changed, by whichever program.
//!
//! A reader begins at the [end](Feed::end) of the feed, or at a [`Position`] that it has kept, and reads on from there.
//! An entry does not have the new state: the reader looks that up if it needs it. A feed is bounded. If the feed
//! no longer reaches back to a position, it returns [`FeedPage::TooOld`], and the reader must treat every name as changed.
//!
//! # Guarantees
//!
//! * Once a change can be read in the store, a read of the feed that begins then has the change's entry, or its position
//!   is before that entry. So a page that [reaches the end](Entries::at_end) has left out no change that was committed
//!   before the read began, or before an earlier time that the page [has](Entries::as_of).
//! * The entries of one name come in the order of its versions. Names may come more than once.
//! * Positions are opaque to readers, and are comparable only by [`Feed::covers`].

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

use super::StoreError;
use crate::link::{LinkName, Version};

/// The longest text of a position, in bytes. That of a DynamoDB stream has up to 100 for each of its shards.
pub const MAX_POSITION_LEN: usize = 65_536;

/// A place in a feed: all entries up to it have been read. It stays good over restarts of the reader and of the store,
/// until the feed has forgotten it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position(Box<str>);

impl Position {
    /// The position with this text; none if the text is empty, is longer than [`MAX_POSITION_LEN`], or has others than
    /// visible ASCII characters.
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        let is_valid = (1..=MAX_POSITION_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then_some(Self(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: LinkName,
    /// The version of the new state; none if that has none of its own, because another program has removed the link or has
    /// changed it without a higher version.
    pub version: Option<Version>,
}

/// What a read of a feed has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedPage {
    /// The entries that follow, if there are any.
    Entries(Entries),
    /// The feed does not reach back to that position, or the position is of another history: any name may have changed
    /// since.
    TooOld,
}

/// A page of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// In the order of the feed.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub position: Position,
    /// Whether the page has all entries of changes that were committed before the time in `as_of`.
    pub at_end: bool,
    /// What that time is.
    pub as_of: AsOf,
}

/// Up to when the changes of a page that reaches the end are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// Up to the begin of the read.
    #[default]
    Read,
    /// Up to this time: a replica of the store was read, which shows everything up to then.
    Moment(Instant),
    /// Not known: a replica was read, while the store could not be asked how far the replica is.
    Unknown,
}

/// Which servers read a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Each server reads it for itself.
    Each,
    /// Reading is expensive: one server of a region reads it, and passes the entries on through Redis.
    OneOfRegion,
}

/// The feed of a store; see the [module](self).
#[async_trait]
pub trait Feed: Send + Sync + fmt::Debug {
    /// Which servers should read it.
    fn readers(&self) -> Readers;

    /// Waits until the feed can be read, after the store was opened. It never ends if the store has no feed after all.
    async fn ready(&self) {}

    /// A position that covers all changes that were committed before the call.
    async fn end(&self) -> Result<Position, StoreError>;

    /// A position that covers no change that reads of the links do not show yet. It may be before the end, if they are
    /// read from a replica.
    async fn begin(&self) -> Result<Position, StoreError> {
        self.end().await
    }

    /// At most `limit` entries after a position. For a position of another store, or a text that is no position of this
    /// kind of store, it returns [`FeedPage::TooOld`]. A backend bounds pages by itself, and treats a `limit` of 0 as 1.
    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError>;

    /// Ends when there may be new entries. It may end too early, and it may miss entries: a reader reads once in a while
    /// in any case.
    async fn news(&self);

    /// Whether a reader at `position` has read all that a reader at `other` has.
    fn covers(&self, position: &Position, other: &Position) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_short_visible_text() {
        let is_valid = |text: &str| Position::new(text).is_some();
        assert!(is_valid("731.4"));
        assert!(is_valid(&"x".repeat(MAX_POSITION_LEN)));
        assert!(!is_valid(&"x".repeat(MAX_POSITION_LEN + 1)));
        for bad in ["", "a b", "ä", "a\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
