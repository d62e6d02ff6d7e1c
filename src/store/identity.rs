//! Which store it is, and whether anything was missed since a server last left it.
//!
//! What is kept of a store elsewhere, as in Redis, may be believed only if it is of this very store and of
//! its present: not of another one, nor of a state that was undone by a backup.

use std::fmt;

/// Which store it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody knows, or not any more: the store's place has another content than it had.
    Unknown,
    /// The store of any number of servers. One that is restored from a backup is another store.
    Shared {
        /// The number that no other store has; none while the store could not be asked.
        id: Option<u64>,
        /// A number for the place where the store is said to be, which another store may have been in before.
        place: u64,
    },
    /// The store of this server alone. It may be a copy of what it was at any time before.
    Own {
        /// The number that no other store has but copies of this one.
        id: u64,
        /// How it was when the server opened it.
        found: Option<Seal>,
    },
}

/// How a store of one server is while no server has it: another one after each stop, and after whatever
/// else happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal(Box<str>);

impl Seal {
    /// A seal with this text, which must have no quotes, backslashes or control characters.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
