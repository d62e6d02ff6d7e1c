//! Taking links over from another store, and checking a store.
//!
//! A link that is taken over keeps all that it has, also its version. So the state of a name can only be replaced by a later
//! one, whatever store it comes from, and taking the same link over again changes nothing. That makes a copy of a store
//! resumable without a record of how far it came.

use crate::link::{Link, LinkName};

/// The result of taking a link or an entry of the audit log over. Only `Written` has changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It was written.
    Written,
    /// The store has exactly that already.
    Same,
    /// The store has something else under that name that is not older: a link with this version or a higher one, or the
    /// memory of a deletion. For a store that remembers deletions only by one version for all names, that is any deletion
    /// with a higher version.
    Newer,
}

/// A page of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// The valid links.
    pub links: Vec<Link>,
    /// The items that are no valid links, each with its key and what is wrong, in one line.
    pub faults: Vec<String>,
    /// The start of the next page; none if this is the last one.
    pub next: Option<LinkName>,
}
