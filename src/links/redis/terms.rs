//! The values that Redis and the other tiers exchange. Builds without Redis have them as well.

use std::sync::Arc;
use std::time::Duration;

use crate::link::{Link, LinkName, Version};

/// How long the lease of the warm load lives; its holder renews it in time.
pub(in crate::links) const LEASE: Duration = Duration::from_secs(30);

/// What Redis holds for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::links) enum Held {
    /// This link, which may have ended.
    Link(Arc<Link>),
    /// There is no link; the version is that of its tombstone, or 0 if there is none.
    Absent(Version),
    /// Nothing that can be used: ask the store.
    Nothing,
    /// A claim: ask the store. Before the change, the link was this one.
    Changing(Arc<Link>),
}

/// The outcome of a change.
#[derive(Clone, Debug)]
pub(in crate::links) enum Written {
    /// The link is now this one.
    Link(Box<Link>),
    /// Nothing was changed; the link is this one.
    Kept(Box<Link>),
    /// The link was deleted; this is the version of its absence.
    Deleted(Version),
    /// Nothing was changed; there is no link.
    Nothing,
    /// There is no readable link, and the version of its absence is unknown.
    Gone,
}

/// A call failed. It may have been carried out all the same, and its failure says nothing about any link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links) enum Failure {
    /// It was not sent: Redis is down, or too many calls wait.
    Skipped,
    /// It failed or timed out.
    Failed,
    /// The Redis server is full and may not evict: it refuses everything that needs memory.
    Full,
}

/// Where the load of a part continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::links) enum Cursor {
    /// At the beginning.
    Start,
    /// After this link.
    After(LinkName),
    /// The part is done.
    End,
}
