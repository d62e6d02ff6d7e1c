//! The identity of a store, and whether anything was missed since a server last left it.
//!
//! A cache outside of the store, such as Redis, is valid only for this very store and its present history: not for
//! another store, nor for a history that was undone by restoring a backup. The same holds for positions in a feed.
//!
//! A store has an *id*, which is random and made with it, and an *epoch*, a number that begins at 1. The epoch moves on
//! when an operator says that the content was replaced by an earlier one (`tinyns store restored`). [`Facts`] shows both to
//! operators. [`Identity`] has one number for both, and for whatever else shows the backend that a history has ended: with
//! another id or epoch it is another number.

use std::fmt;

use md5::{Digest, Md5};

/// The identity of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not known, or not any more: the content of the store's place was replaced.
    Unknown,
    /// A store of any number of servers. If it is restored from a backup, it is another store.
    Shared {
        /// A number that no other store has, nor this store in another epoch; none while the store could not be asked.
        id: Option<u64>,
        /// A number for the store's place. Another store may have been at that place before.
        place: u64,
    },
    /// A store of this server alone. It may be an older copy of itself.
    Own {
        /// A number that only copies of this store in the same epoch have, too.
        id: u64,
        /// The seal that the server found when it opened the store.
        found: Option<Seal>,
    },
}

impl Identity {
    /// The number of the store and its epoch; none while it is not known. What was kept under another number, such as a
    /// position in the feed, is of another history.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Shared { id, .. } => *id,
            Self::Own { id, .. } => Some(*id),
        }
    }
}

/// A number for these texts: the first 64 bits of their hash, and never 0.
#[cfg_attr(
    not(any(feature = "dynamodb", feature = "postgresql")),
    allow(dead_code, reason = "only the stores of fleets have one")
)]
pub(super) fn number(texts: &[&str]) -> u64 {
    let mut hasher = Md5::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize();
    let first = digest.iter().take(8);
    first
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
        .max(1)
}

/// The identity as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The `kind` of the store in the configuration.
    pub kind: &'static str,
    /// The id, in one word.
    pub id: Box<str>,
    /// The epoch, from 1 on.
    pub epoch: u64,
    /// Where the store is: a file, or a table and its region. Without passwords.
    pub place: Box<str>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(number(&["ab", "c"]), number(&["a", "bc"]));
    }
}
