//! The store: where links are kept.
//!
//! [`Store`] is the contract of every backend, and the battery in `tests/store/mod.rs` checks each backend against it.
//! A store knows neither DNS nor HTTP, and it does not judge: [`crate::links`] decides what may be a link, and
//! what the end of a link means to a caller.
//!
//! # Invariants
//!
//! * What a call has acknowledged is durable: it survives the loss of the process and of power.
//! * A name's [`Version`] only grows, also over a deletion and a new creation, and also if the clock is set back.
//!   Caches depend on that.
//! * A change of a link and its entry in the [audit log](audit) are made together, unless no log is kept.
//! * A link that has ended counts as absent for `create`, `change` and `delete`. `get`, `list` and `scan` may
//!   still return it; the caller checks [`Link::is_expired`].
//! * While a link is withheld, only actors who [may change that](audit::Actor::may_change_withheld) change or delete it:
//!   otherwise they could delete it and make it again.
//! * The error of a write says whether the write may have been made: [`StoreError::is_certain`].
//! * Every call ends: a backend has bounded queues, and returns [`StoreError::Overloaded`] when they are full. It
//!   has no deadline for callers that stop waiting; a write that has begun may still be made then.

pub mod audit;
mod change;
mod columns;
pub mod document;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(not(feature = "dynamodb"))]
#[path = "dynamodb/absent.rs"]
pub mod dynamodb;
mod error;
pub mod feed;
pub mod filters;
pub mod heaviest;
pub mod idempotency;
mod identity;
pub mod notice;
#[cfg(feature = "postgresql")]
pub mod postgres;
#[cfg(not(feature = "postgresql"))]
#[path = "postgres/absent.rs"]
pub mod postgres;
mod query;
mod segments;
pub mod servers;
pub mod sqlite;
pub mod statistics;
mod sums;
pub mod transfer;
mod upkeep;
pub mod watch;

pub use change::Change;
pub use document::{Document, DocumentPut};
pub use dynamodb::{AuditTable, DynamoConfig, DynamoOpenError, DynamoStore, StatisticsTable};
pub use error::{Effect, StoreError, Trouble};
pub use identity::{Facts, Identity, Seal};
pub use notice::Notice;
pub use postgres::{
    PostgresConfig, PostgresOpenError, PostgresStore, PostgresUrl, PostgresUrlError, ReplicaConfig,
};
pub use query::{Found, Order, Place, Query, SearchText, SearchTextError, State};
pub use sqlite::{OpenError, SqliteStore, StoreUpdate};
pub use transfer::{Adopted, Examined};
pub use watch::Watch;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};

use self::audit::{Actor, AuditPage, AuditQuery, Entry, Event};
use self::feed::Feed;
use self::filters::FilterBoard;
use self::idempotency::{Claim, Claimed, KeyId};
use self::servers::{Announcement, Label, LiveServer};
use self::statistics::StatisticsStore;
use crate::base::client_files::ClientFileError;
use crate::base::clock::UnixTime;
use crate::link::{About, Destinations, Link, LinkName, Origin, TargetUrl, Ttl, Version, Withheld};

/// How many links are taken over at the same time by a store that takes them one by one.
const ADOPTED_AT_ONCE: usize = 96;

/// A link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Its name.
    pub name: LinkName,
    /// Its destination; of several the preferred one.
    pub target: TargetUrl,
    /// What it has besides, if it has several destinations.
    pub destinations: Option<Box<Destinations>>,
    /// Who makes it.
    pub created_by: Actor,
    /// When it ends; none for never.
    pub expires_at: Option<UnixTime>,
    /// The TTL of its records; none for that of the zone.
    pub ttl: Option<Ttl>,
    /// What people say about it.
    pub about: About,
    /// Why it is withheld from the start, if it is.
    pub withheld: Option<Box<Withheld>>,
}

/// The result of [`Store::create`]. Only `New` has changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The link was made.
    New(Link),
    /// There is a live link of that name with the same destinations. It is unchanged.
    Same(Link),
    /// There is a live link of that name with other destinations. It is unchanged.
    Taken(Link),
}

/// Whether the actor may not change or delete this link, because it is withheld.
pub fn is_guarded(link: &Link, by: &Actor) -> bool {
    link.withheld.is_some() && !by.may_change_withheld
}

/// The result of [`Store::change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The link as it is now, with a new version.
    Changed(Link),
    /// There is no live link of that name.
    Absent,
    /// The link has another version than expected. It is unchanged.
    Conflict(Link),
    /// The link is withheld, and the actor may not change that. It is unchanged.
    Withheld(Link),
}

/// The result of [`Store::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The link was deleted. The version of its absence is higher than any version of the link.
    Deleted(Version),
    /// There was no live link of that name.
    Absent,
    /// The link has another version than expected. It is unchanged.
    Conflict(Link),
    /// The link is withheld, and the actor may not change that. It is unchanged.
    Withheld(Link),
}

/// One of the disjoint parts of a parallel [`Store::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of the part: 0 to `total - 1`.
    pub index: u32,
    /// The number of parts; at least 1.
    pub total: u32,
}

/// A page of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The links; there may be none although more pages follow.
    pub links: Vec<Link>,
    /// The start of the next page; none if this is the last one.
    pub next: Option<LinkName>,
}

/// How far a walk over all names has come: after this key, which need not be a valid name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePlace {
    origin: Box<str>,
    code: Box<str>,
}

/// The state of a replica near the server, from which links are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Whether it can be used.
    pub is_used: bool,
    /// Everything that was committed longer ago than this is shown; none if that is not known.
    pub lag: Option<Duration>,
    /// How many names are read from the server that takes changes, because the replica may lack a change.
    pub awaited: usize,
    /// Reads that the replica has answered, since the start.
    pub from_replica: u64,
    /// Reads that the server that takes changes has answered, although there is a replica.
    pub from_writer: u64,
}

/// A function that takes names, each as a code and an origin, on a thread of the store.
pub type NameSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The contract of a link store; see the [module's](self) invariants.
///
/// `now` is the caller's clock: a store does not use a clock of its own for the end of links or for versions.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Makes a link if no live link has its name: one conditional put.
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError>;

    /// The link of that name, which may have ended.
    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError>;

    /// The same as [`Store::get`] for each of these names, in their order. A failure that concerns one name leaves
    /// the others alone.
    async fn get_many(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            results.push(self.get(name).await);
        }
        results
    }

    /// The same as [`Store::get`], but never from a copy that may lack the last changes: what a change is judged by, and
    /// whether one was made.
    async fn get_current(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.get(name).await
    }

    /// The same as [`Store::get_many`], with all changes that were committed before the call. It may wait for a replica, for a
    /// second at most.
    async fn get_many_current(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        self.get_many(names).await
    }

    /// Whether [`Store::get`] and [`Store::get_many`] may show an earlier state than the last one, because they read a replica.
    /// They never do so for a name that a change by this store has returned, or that was [noted](Store::note_changed).
    fn may_lag(&self) -> bool {
        false
    }

    /// Another server has acknowledged a change of this name: from now on, reads show it, or fail.
    fn note_changed(&self, _name: &LinkName) {}

    /// Other servers may have changed names of which this one does not hear: reads show these changes soon, and at once if the
    /// server that takes changes can be reached.
    fn note_missed(&self) {}

    /// The state of the replica that links are read from; none without one.
    fn replica(&self) -> Option<ReplicaStatus> {
        None
    }

    /// Changes a live link; if `expected` is given, only a link of that version.
    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Changed, StoreError>;

    /// Deletes a live link; if `expected` is given, only a link of that version.
    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Deleted, StoreError>;

    /// At most `limit` links of one zone after `after`, in the store's own order, which is the same for every call
    /// (with SQLite: by code). Following `next` to the end returns each link that existed all the time exactly
    /// once.
    ///
    /// A backend bounds pages by itself, and treats a `limit` of 0 as 1, because an empty page could not say
    /// whether more links follow. Items that are not valid links are logged and skipped, so that one of them does
    /// not hide all others; [`Store::get`] reports each of them.
    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// At most `limit` links that a query asks for, after `after`, in the query's order. A link that existed all the time
    /// and was not changed is on exactly one of the pages up to the end; one that was changed is on one at most.
    ///
    /// The work for a page is bounded, so a page may have few links, or none, although more follow. A store that does not
    /// [sort](Store::sorts) has an order of its own.
    async fn find(
        &self,
        query: &Query,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        query::by_list(self, query, after, limit).await
    }

    /// Whether [`Store::find`] can list links by code and by time.
    fn sorts(&self) -> bool {
        false
    }

    /// At most `limit` links of one part of the whole store, of all zones, for the warm load and for export. The
    /// segments together are the whole store, and may be read in parallel. A segment that does not exist (`index`
    /// is not below `total`) has no links. With SQLite and PostgreSQL, it shows all changes that were committed before the
    /// call; with DynamoDB it costs half as much as a consistent read, and may lack those of the last second or so. Otherwise
    /// the same as [`Store::list`].
    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// About how many links there are, including those that have ended, if the store can tell cheaply.
    async fn estimate(&self) -> Option<u64> {
        None
    }

    /// Reports changes that other programs make, if the store sees them all. It then has [`Store::names`] as well.
    fn watch(&self) -> Option<Arc<Watch>> {
        None
    }

    /// The feed of changes, if the store has one.
    fn feed(&self) -> Option<Arc<dyn Feed>> {
        None
    }

    /// The board of filters, if the store has one. It then has [`Store::names`] as well, each call of which is consistent,
    /// and a feed that is not strict.
    fn filter_board(&self) -> Option<Arc<dyn FilterBoard>> {
        None
    }

    /// Passes at most `limit` names to `sink`, with or without a valid link, and returns where to continue; none
    /// at the end. Each call sees one state of the store. A name that existed all the time has been passed when
    /// the walk ends, whatever states its calls saw.
    async fn names(
        &self,
        _after: Option<NamePlace>,
        _limit: usize,
        _sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        Err(StoreError::Unavailable("it does not list names".into()))
    }

    /// The statistics that the store keeps, if it keeps any.
    fn statistics(&self) -> Option<Arc<dyn StatisticsStore>> {
        None
    }

    /// Whether [`Store::get_many`] costs less than as many calls of [`Store::get`], so that callers should gather
    /// names.
    fn prefers_batches(&self) -> bool {
        false
    }

    /// Waits until the store can be used for the first time, if it was not available when it was opened.
    async fn opened(&self) {}

    /// What is wrong with the store, apart from failing calls. Makes no call of its own.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// Whether several servers may share the store, so that they can leave notices for each other in it.
    fn takes_notices(&self) -> bool {
        false
    }

    /// Replaces a server's notice. No list, export or scan shows it.
    async fn post_notice(&self, _notice: &Notice) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it takes no notices".into()))
    }

    /// Removes the notice of a server.
    async fn withdraw_notice(&self, _node: &str) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it takes no notices".into()))
    }

    /// All notices, including those that are over. Reads one key if there are none.
    async fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        Ok(Vec::new())
    }

    /// Whether the store keeps the announcements of the servers that share it; see [`servers`].
    fn keeps_servers(&self) -> bool {
        false
    }

    /// Puts a server's announcement in the place of its former one. The lease begins anew.
    async fn announce_server(&self, _server: &Announcement) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it keeps no servers".into()))
    }

    /// Removes the announcement of the server with this id, if there is one.
    async fn withdraw_server(&self, _id: &Label) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it keeps no servers".into()))
    }

    /// All servers whose announcements count.
    async fn servers(&self) -> Result<Vec<LiveServer>, StoreError> {
        Err(StoreError::Unavailable("it keeps no servers".into()))
    }

    /// Ends when a server may have announced something new. It may end too early, and it may miss announcements, or
    /// never end: callers look once in a while in any case.
    async fn servers_news(&self) {
        std::future::pending().await
    }

    /// The document of that key; see [`document`].
    async fn document(&self, _key: &str) -> Result<Option<Document>, StoreError> {
        Err(StoreError::Unavailable("it keeps no documents".into()))
    }

    /// Puts the content of a document if the document has the revision `expected`, or if there is none and `expected`
    /// is none. `key` is 1 to [`document::MAX_KEY_LEN`] visible ASCII characters, `content` at most
    /// [`document::MAX_CONTENT_LEN`] bytes long; others are [`StoreError::Refused`].
    async fn put_document(
        &self,
        key: &str,
        expected: Option<u64>,
        content: Vec<u8>,
    ) -> Result<DocumentPut, StoreError> {
        self.put_document_noting(key, expected, content, None).await
    }

    /// The same as [`Store::put_document`], together with an entry of the audit log.
    async fn put_document_noting(
        &self,
        _key: &str,
        _expected: Option<u64>,
        _content: Vec<u8>,
        _event: Option<Event>,
    ) -> Result<DocumentPut, StoreError> {
        Err(StoreError::Unavailable("it keeps no documents".into()))
    }

    /// Claims an idempotency key for a request, if it is free or the lease of a request with the same payload is over;
    /// see [`idempotency`]. After an error that is not certain the request may have the key until the lease ends.
    async fn claim_key(&self, _claim: &Claim, _now: UnixTime) -> Result<Claimed, StoreError> {
        Err(StoreError::Unavailable(
            "it keeps no idempotency keys".into(),
        ))
    }

    /// Sets the end of a holder's lease; a time that is not in the future gives the key up. False if the holder no longer
    /// has the key.
    async fn extend_key(
        &self,
        _id: KeyId,
        _holder: u64,
        _until: UnixTime,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Unavailable(
            "it keeps no idempotency keys".into(),
        ))
    }

    /// Keeps the outcome of the request that has the key, for [`idempotency::KEPT_FOR`] seconds from now. False if the
    /// holder no longer has the key. An outcome of more than [`idempotency::MAX_OUTCOME_LEN`] bytes is
    /// [`StoreError::Refused`].
    async fn keep_outcome(
        &self,
        _id: KeyId,
        _holder: u64,
        _outcome: Vec<u8>,
        _now: UnixTime,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Unavailable(
            "it keeps no idempotency keys".into(),
        ))
    }

    /// A page of the audit log; see [`audit`]. A backend bounds pages by itself, and the rows that a page looks at, so
    /// a page may have few entries or none although more follow.
    async fn audit(&self, _query: AuditQuery) -> Result<AuditPage, StoreError> {
        Err(StoreError::Unavailable("it keeps no audit log".into()))
    }

    /// Reads the files for connections again: passwords and certificates. Whether they have changed; later connections use
    /// the new ones. After an error the old ones stay. Blocks while the files are read.
    fn reload_files(&self) -> Result<bool, ClientFileError> {
        Ok(false)
    }

    /// Whether the store can be read.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Which store this is, as far as that is known. Caches outside of the store ignore what they hold of an
    /// unknown one.
    fn identity(&self) -> Identity {
        Identity::Unknown
    }

    /// The store's identity, as an operator sees it.
    async fn facts(&self) -> Result<Facts, StoreError> {
        Err(StoreError::Unavailable("it has no identity".into()))
    }

    /// Begins a new epoch and returns it. From then on [`Store::identity`] is another one, on all servers that share the
    /// store, within some seconds.
    async fn begin_epoch(&self) -> Result<u64, StoreError> {
        Err(StoreError::Unavailable("it has no epochs".into()))
    }

    /// Takes a link over from another store as it is there, with its version and all its times, also if it has ended.
    /// Writes nothing unless what the store has of that name is older; see [`transfer`]. No entry of the audit log is
    /// written.
    async fn adopt(&self, _link: &Link) -> Result<Adopted, StoreError> {
        Err(StoreError::Unavailable("it takes no links over".into()))
    }

    /// The same as [`Store::adopt`] for each of these links, in as few calls as the store can make of them. States of one
    /// name are taken over in their order. A failure that concerns one link leaves the others alone.
    async fn adopt_many(&self, links: &[Link]) -> Vec<Result<Adopted, StoreError>> {
        let mut adopted = Vec::with_capacity(links.len());
        for run in runs_of_distinct_names(links) {
            let mut adoptions = Vec::with_capacity(run.len());
            for link in run {
                adoptions.push(self.adopt(link));
            }
            let adoptions = stream::iter(adoptions).buffered(ADOPTED_AT_ONCE);
            adopted.extend(adoptions.collect::<Vec<_>>().await);
        }
        adopted
    }

    /// Takes an entry of an audit log over from another store, also one that is older than entries are kept. The number of
    /// its id may become another one. Taking the same entry of the same store over again changes nothing.
    async fn adopt_entry(&self, _entry: &Entry) -> Result<Adopted, StoreError> {
        Err(StoreError::Unavailable("it takes no entries over".into()))
    }

    /// The same as [`Store::scan`] of the whole store, but for a check: consistent, and with what is wrong with the items
    /// that are no valid links.
    async fn examine(
        &self,
        _after: Option<&LinkName>,
        _limit: usize,
    ) -> Result<Examined, StoreError> {
        Err(StoreError::Unavailable("it cannot be examined".into()))
    }

    /// What is wrong with the store apart from its items: pages of a file, indexes. One line for each fault. Takes as long
    /// as reading the whole store.
    async fn check_integrity(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Finishes what has begun and closes; later calls return [`StoreError::Unavailable`]. Returns the seal that
    /// [`Store::identity`] will find at the next start if no program changes the store until then; none if the
    /// store has no seals, or is not left in order.
    async fn close(&self) -> Option<Seal>;
}

/// The same links in the same order, cut where a name would come a second time.
fn runs_of_distinct_names(links: &[Link]) -> Vec<&[Link]> {
    let mut names = HashSet::with_capacity(links.len());
    let mut runs = Vec::new();
    let mut start = 0;
    for (at, link) in links.iter().enumerate() {
        if !names.insert(&link.name) {
            runs.push(&links[start..at]);
            start = at;
            names.clear();
            names.insert(&link.name);
        }
    }
    runs.push(&links[start..]);
    runs
}

/// A time in microseconds, rounded down to seconds.
pub fn seconds(now_micros: u64) -> UnixTime {
    UnixTime(now_micros / 1_000_000)
}
