//! Replies that have to wait for a link, for challenges or for a signature.

use std::sync::Arc;

use crate::link::Origin;
use crate::links::{Resolved, Stamp, Unresolved};
use crate::store::StoreError;
use crate::zone::Zones;

use super::via::Via;

/// What a reply waits for.
pub(crate) enum Pending {
    /// A link, or challenges.
    LookUp(Box<Unanswered>),
    /// A signature. Making one takes too long for the thread that receives queries.
    Signature {
        /// Whether the name is or may be [made up](super::made_up), so that other names go first.
        is_made_up: bool,
    },
}

/// A query that waits for a look-up.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) zones: Arc<Zones>,
    /// From before the zones were read.
    pub(crate) stamp: Stamp,
    pub(crate) wanted: Wanted,
}

/// What a query waits for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A link.
    Link(Unresolved),
    /// The challenges of the zone of these links, for a reply by this transport.
    Challenges(Origin, Via),
}

/// What was looked up for a query.
#[derive(Debug)]
pub(crate) enum Found {
    /// A link, or its absence.
    Link(Resolved),
    /// The values of challenges.
    Challenges(Result<Vec<Box<str>>, StoreError>),
}

/// A query whose look-up has ended.
pub(crate) struct Answerable {
    pub(crate) zones: Arc<Zones>,
    /// From before the zones were read.
    pub(crate) stamp: Stamp,
    pub(crate) found: Found,
}

/// Where the signatures of an answer are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// In the calling thread, at once.
    Now,
    /// In another thread: a reply that needs a new signature is [`Pending::Signature`].
    Later,
}
