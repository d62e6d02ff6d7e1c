//! The store: where links are kept for good.
//!
//! [`Store`] is the contract that every backend keeps, and `tests/store.rs` the battery that holds
//! each one to it. A store knows neither DNS nor HTTP, and it does not judge: what may be a link,
//! and what an expired one means to a caller, is decided in [`crate::links`].
//!
//! # Invariants
//!
//! * What a call has acknowledged is durable: it survives the loss of the process and of power.
//! * A name's [`Version`] only ever grows, also over a delete and a new creation, and also when the
//!   clock is set back. Caches depend on it.
//! * A link whose `expires_at` is past counts as absent for `create`, `change` and `delete`; `get`,
//!   `list` and `scan` may still return it, and the caller looks at [`Link::is_expired`].
//! * A write that fails says whether it may have been done all the same: [`StoreError::is_certain`].
//! * Every call ends: a backend has bounded queues and answers [`StoreError::Overloaded`] when they
//!   are full. It keeps no deadline of its own for a caller who stops waiting; a write that was
//!   begun may then still happen.

pub mod dynamodb;
mod error;
mod identity;
pub mod notice;
pub mod sqlite;
pub mod watch;

pub use dynamodb::{DynamoConfig, DynamoOpenError, DynamoStore};
pub use error::{Effect, StoreError, Trouble};
pub use identity::{Identity, Seal};
pub use notice::Notice;
pub use sqlite::{OpenError, SqliteStore};
pub use watch::Watch;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Origin, TargetUrl, Ttl, Version};

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Its name.
    pub name: LinkName,
    /// Where it leads.
    pub target: TargetUrl,
    /// Who makes it.
    pub created_by: Box<str>,
    /// When it ends, if it does.
    pub expires_at: Option<UnixTime>,
    /// The TTL of its records, if not the zone's.
    pub ttl: Option<Ttl>,
}

/// What [`Store::create`] found. Only `New` has changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The link was made.
    New(Link),
    /// A live link of that name with the same target was there; it is unchanged.
    Same(Link),
    /// A live link of that name with another target was there; it is unchanged.
    Taken(Link),
}

/// What is to become of a link; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A new destination.
    pub target: Option<TargetUrl>,
    /// A new end, or `Some(None)` for no end.
    pub expires_at: Option<Option<UnixTime>>,
    /// A new TTL, or `Some(None)` for the zone's.
    pub ttl: Option<Option<Ttl>>,
}

/// What [`Store::change`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The link as it is now, with a new version.
    Changed(Link),
    /// There is no live link of that name.
    Absent,
    /// The link has another version than was expected; it is unchanged.
    Conflict(Link),
}

/// What [`Store::delete`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The link is gone. The version is that of its absence: higher than any the link had.
    Deleted(Version),
    /// There was no live link of that name.
    Absent,
    /// The link has another version than was expected; it is unchanged.
    Conflict(Link),
}

/// One of the disjoint parts of a parallel [`Store::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which part: 0 to `total - 1`.
    pub index: u32,
    /// Into how many parts the store is divided; at least 1.
    pub total: u32,
}

/// A stretch of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The links; there may be none although more follow.
    pub links: Vec<Link>,
    /// Where the next page begins, if there is one.
    pub next: Option<LinkName>,
}

/// Where a walk over all names stands: behind this key, which need not be a valid name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePlace {
    origin: Box<str>,
    code: Box<str>,
}

/// Who is told names, each as a code and an origin, by a thread of the store.
pub type NameSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The contract of a link store; see the [module's](self) invariants.
///
/// `now` is the caller's clock: a store asks no clock of its own about expiry or versions.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Makes a link if no live link has its name: one conditional put.
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError>;

    /// The link of that name, expired or not.
    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError>;

    /// What [`Store::get`] gives for each of these names, in their order, for callers that have
    /// several at once. A name that is bad for itself does not spoil the others.
    async fn get_many(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            results.push(self.get(name).await);
        }
        results
    }

    /// Changes a live link; with `expected` only if that is its version.
    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        now_micros: u64,
    ) -> Result<Changed, StoreError>;

    /// Deletes a live link; with `expected` only if that is its version.
    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        now_micros: u64,
    ) -> Result<Deleted, StoreError>;

    /// At most `limit` links of one zone behind `after`, in the store's own order, which is the
    /// same for every call (with SQLite: by code). Following `next` to its end meets each link
    /// that was there all the while exactly once.
    ///
    /// A backend has a bound of its own for a page, and a `limit` of 0 counts as 1: a page without
    /// room could only claim that nothing follows. Items that are not valid links are logged and
    /// left out, so that one of them does not hide all others; [`Store::get`] tells of each.
    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// At most `limit` links of one part of the whole store, all zones, for the warm load and for
    /// export. Segments may be read in parallel; together they are the store. A segment that does
    /// not exist (`index` not below `total`) has no links; otherwise as [`Store::list`].
    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// About how many links there are, expired ones and all, if that can be told cheaply.
    async fn estimate(&self) -> Option<u64> {
        None
    }

    /// What tells of changes by others than this store's own calls, if the store can see them all. Then
    /// it has [`Store::names`] as well.
    fn watch(&self) -> Option<Arc<Watch>> {
        None
    }

    /// Tells `sink` at most `limit` names, with or without a valid link behind them, and gives where to
    /// go on; none at the end. Each call sees one state of the store. Whatever the state is at each, a
    /// name that was there all the while is told by the time a walk has ended.
    async fn names(
        &self,
        _after: Option<NamePlace>,
        _limit: usize,
        _sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        Err(StoreError::Unavailable("it does not list names".into()))
    }

    /// Whether [`Store::get_many`] costs less than as many [`Store::get`]s, so that it is worth to
    /// gather names.
    fn prefers_batches(&self) -> bool {
        false
    }

    /// Waits until the store can be used for the first time, where it was not there when it was opened.
    async fn opened(&self) {}

    /// What the store knows to be wrong with itself, beyond what its calls say. It asks nobody.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// Whether several servers may share the store, so that they can leave notices for each other in it.
    fn takes_notices(&self) -> bool {
        false
    }

    /// Puts a server's notice in the place of its last one. No list, export or scan shows it.
    async fn post_notice(&self, _notice: &Notice) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it takes no notices".into()))
    }

    /// Takes the notice of a server back.
    async fn withdraw_notice(&self, _node: &str) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it takes no notices".into()))
    }

    /// The notices that there are, also those whose time is over: one read by key where there are none.
    async fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        Ok(Vec::new())
    }

    /// Whether the store can be read just now.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Which store this is, as far as that is known. What is kept of an unknown one elsewhere is not believed.
    fn identity(&self) -> Identity {
        Identity::Unknown
    }

    /// Finishes what was begun and closes; later calls get [`StoreError::Unavailable`]. Gives what
    /// [`Store::identity`] will have found at the next start if nobody changes the store until then; none
    /// where that cannot be said.
    async fn close(&self) -> Option<Seal>;
}

/// The whole seconds of a point in time given in microseconds.
pub fn seconds(now_micros: u64) -> UnixTime {
    UnixTime(now_micros / 1_000_000)
}
