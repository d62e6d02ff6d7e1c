//! The identity of a store, and whether anything was missed since a server last left it.
//!
//! A cache outside of the store, such as Redis, is valid only for this very store and its present history: not for
//! another store, nor for a history that was undone by restoring a backup.

use std::fmt;

/// The identity of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not known, or not any more: the content of the store's place was replaced.
    Unknown,
    /// A store of any number of servers. If it is restored from a backup, it is another store.
    Shared {
        /// A number that no other store has; none while the store could not be asked.
        id: Option<u64>,
        /// A number for the store's place. Another store may have been at that place before.
        place: u64,
    },
    /// A store of this server alone. It may be an older copy of itself.
    Own {
        /// A number that only copies of this store have, too.
        id: u64,
        /// The seal that the server found when it opened the store.
        found: Option<Seal>,
    },
}

/// The state of a single server's store while no server has it open. It changes with each stop, and with
/// everything else that happens to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal(Box<str>);

impl Seal {
    /// A seal with this text, which must not contain quotes, backslashes or control characters.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
