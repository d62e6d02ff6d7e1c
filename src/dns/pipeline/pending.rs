//! Replies that have to wait for a link or for a signature.

use std::sync::Arc;

use crate::links::{Resolved, Stamp, Unresolved};
use crate::zone::Zones;

/// What a reply waits for.
pub(crate) enum Pending {
    /// A link.
    Link(Box<Unanswered>),
    /// A signature. Making one takes too long for the thread that receives queries.
    Signature {
        /// Whether the name is or may be [made up](super::made_up), so that other names go first.
        is_made_up: bool,
    },
}

/// A query that waits for its link.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) zones: Arc<Zones>,
    /// From before the zones were read.
    pub(crate) stamp: Stamp,
    pub(crate) link: Unresolved,
}

/// A query whose link has been looked up.
pub(crate) struct Answerable {
    pub(crate) zones: Arc<Zones>,
    /// From before the zones were read.
    pub(crate) stamp: Stamp,
    pub(crate) resolved: Resolved,
}

/// Where the signatures of an answer are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// In the calling thread, at once.
    Now,
    /// In another thread: a reply that needs a new signature is [`Pending::Signature`].
    Later,
}
