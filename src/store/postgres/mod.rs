//! The store of a fleet in PostgreSQL (12 or later): any number of servers, one database.
//!
//! ```text
//!   get, get_many, documents ── lane of reads ──┐
//!   create ── those that wait: one statement ──┐│
//!   change, delete ──────────── lane of writes ┼┼─> pool of connections ──> the server that takes changes
//!   list, find, scan, names ─── lane of pages ──┘
//! ```
//!
//! With a replica near the server, reads of links go there (`replica`).
//!
//! The module `migrations` has the tables. Other programs may use them as well: triggers give each state of a link a
//! version, and write each change into the change feed, whoever makes it.
//!
//! # Versions
//!
//! A name's versions must grow over a deletion and a new creation, on any server, whatever its clock says. So a deletion
//! leaves a *tombstone* with the version of the absence in a table of its own. A new link gets a version above the
//! tombstone's. Tombstones are swept after a week, and the version floor of the whole store rises above them, so that a
//! clock that is set back by any time does no harm.
//!
//! # Durability and failures
//!
//! Each change is one statement, with its entry of the audit log, and is acknowledged when PostgreSQL has committed it. A
//! session sets `synchronous_commit` on if the database has it off. Whether a replica has the change as well is the
//! operator's choice (`synchronous_standby_names`): without it, a fail-over may lose the last changes.
//!
//! An error that PostgreSQL reports means that the statement has changed nothing. If the connection breaks, the outcome is
//! not known (`failure`). A statement that meets a concurrent one, or a server that has become a replica, is sent again,
//! to another server in the second case.
//!
//! # Time
//!
//! Every call ends before its caller gives up: a query waits 1.5 s and an administrator 10 s. The limits of the lanes
//! include the wait for a permit, for a connection and for the reply. PostgreSQL itself ends a statement after
//! `statement_timeout`, so that a write whose caller has gone does not come much later. The operating system ends
//! connections whose other end does not answer.

mod audit;
mod calls;
mod config;
mod connect;
mod create;
mod documents;
mod failure;
mod feed;
mod find;
mod idempotency;
mod identity;
mod indexes;
mod link_columns;
mod migrations;
mod news;
mod notice;
mod open;
mod parts;
mod pool;
mod read;
mod reads;
mod replica;
mod row;
mod servers;
mod statistics;
mod sweep;
mod takeover;
mod text_index;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use self::calls::{Inner, State};
pub use self::config::{PostgresConfig, PostgresUrl, PostgresUrlError, ReplicaConfig};
use self::connect::Connection;
pub use self::connect::{PASSWORD_VARIABLE, check_files};
use self::create::{MAX_BATCH, Wanted};
use self::feed::PostgresFeed;
use self::identity::History;
pub use self::open::PostgresOpenError;
use self::reads::Kind;
use self::replica::Need;
use self::statistics::Statistics;
use super::{
    Adopted, Change, Changed, Created, Deleted, Document, DocumentPut, Examined, Facts, Found,
    Identity, NamePlace, NameSink, NewLink, Notice, Page, Place, Query, ReplicaStatus, Seal,
    Segment, Store, StoreError, Trouble, document,
};
use crate::base::batch::{BatchLimits, Batcher};
use crate::base::client_files::ClientFileError;
use crate::base::clock::{Clock, UnixTime};
use crate::link::{Link, LinkName, Origin, Version};
use crate::store::audit::{Actor, AuditPage, AuditQuery, Entry, Event};
use crate::store::feed::Feed;
use crate::store::idempotency::{Claim, Claimed, KeyId, refusal};
use crate::store::servers::{Announcement, Label, LiveServer};
use crate::store::statistics::StatisticsStore;
use crate::store::upkeep::Upkeep;

/// How many creations may wait. With [`MAX_BATCH`] and the writes that are under way at once, the last of them waits less
/// than a second.
const MAX_WAITING: usize = 8_192;
/// The most links of one page.
const MAX_PAGE: usize = 1_000;
/// The most names of one page.
const MAX_NAMES: usize = 10_000;
/// The most entries of one page of the audit log.
const MAX_ENTRIES: usize = 1_000;

/// A link store in a PostgreSQL database; see the [module](self).
pub struct PostgresStore {
    inner: Arc<Inner>,
    creations: Batcher<Wanted, Result<Created, StoreError>>,
    upkeep: Arc<Upkeep>,
}

impl PostgresStore {
    fn of(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let limits = BatchLimits {
            queue: MAX_WAITING,
            size: MAX_BATCH,
            calls: inner.writes.permits.available_permits(),
        };
        let maker = inner.clone();
        let creations = Batcher::start(limits, move |wanted: Vec<Wanted>| {
            let inner = maker.clone();
            async move {
                let made = inner.create(&wanted).await;
                inner.news.own.notify_one();
                made
            }
        });
        Self {
            inner,
            creations,
            upkeep: Arc::default(),
        }
    }

    /// Starts the tasks that look after the database, listen for changes, notify others of them, keep indexes, and watch the
    /// replica.
    fn start(&self, clock: Clock) {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let closed = inner.closed.clone();
            closed.run_until_cancelled(inner.look_after(clock)).await
        });
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let closed = inner.closed.clone();
            closed.run_until_cancelled(feed::listen(&inner)).await
        });
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let closed = inner.closed.clone();
            closed.run_until_cancelled(feed::notify(&inner)).await
        });
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let closed = inner.closed.clone();
            closed.run_until_cancelled(text_index::keep(&inner)).await
        });
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let watching = async {
                match &inner.replica {
                    Some(replica) => replica.watch(&inner.pool).await,
                    None => std::future::pending().await,
                }
            };
            inner.closed.run_until_cancelled(watching).await
        });
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

#[async_trait]
impl Store for PostgresStore {
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError> {
        let _running = self.inner.calls.token();
        if self.inner.closed.is_cancelled() {
            return Err(closed());
        }
        let change = self.inner.change_of(&new.name);
        let made = self.creations.ask(Wanted { new, now_micros }).await;
        change.end(made.unwrap_or(Err(StoreError::Overloaded)))
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        let work = |connection: Arc<Connection>| async move { read::get(&connection, name).await };
        Box::pin(self.inner.read(Kind::Links, Need::Name(name), work)).await
    }

    async fn get_many(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        Box::pin(self.inner.get_many(names)).await
    }

    async fn get_current(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        let work = |connection: Arc<Connection>| async move { read::get(&connection, name).await };
        Box::pin(self.inner.call(&self.inner.reads, work)).await
    }

    async fn get_many_current(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        Box::pin(self.inner.get_many_current(names)).await
    }

    fn may_lag(&self) -> bool {
        self.inner.replica.is_some()
    }

    fn note_changed(&self, name: &LinkName) {
        if let Some(replica) = &self.inner.replica {
            replica.note([name], Instant::now());
        }
    }

    fn note_missed(&self) {
        if let Some(replica) = &self.inner.replica {
            replica.note_missed();
        }
    }

    fn replica(&self) -> Option<ReplicaStatus> {
        self.inner.replica.as_ref().map(|replica| replica.status())
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Changed, StoreError> {
        let (log, change) = (self.inner.log, &change);
        let work = |connection: Arc<Connection>| async move {
            let terms = (by, now_micros);
            write::change(&connection, log, name, (expected, change), terms).await
        };
        let noted = self.inner.change_of(name);
        let written = noted.end(Box::pin(self.inner.call(&self.inner.writes, work)).await);
        self.inner.news.own.notify_one();
        written
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Deleted, StoreError> {
        let log = self.inner.log;
        let work = |connection: Arc<Connection>| async move {
            write::delete(&connection, log, name, expected, (by, now_micros)).await
        };
        let noted = self.inner.change_of(name);
        let written = noted.end(Box::pin(self.inner.call(&self.inner.writes, work)).await);
        self.inner.news.own.notify_one();
        written
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let work = |connection: Arc<Connection>| async move {
            read::list(&connection, origin, after, limit).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let work = |connection: Arc<Connection>| async move {
            find::find(&connection, query, after, limit).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
    }

    fn sorts(&self) -> bool {
        true
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let work = |connection: Arc<Connection>| async move {
            read::scan(&connection, segment, after, limit).await
        };
        let now = self.inner.now_or_later().await;
        Box::pin(self.inner.read(Kind::Pages, Need::Since(now), work)).await
    }

    async fn estimate(&self) -> Option<u64> {
        let work = |connection: Arc<Connection>| async move { read::estimate(&connection).await };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work))
            .await
            .ok()
    }

    async fn names(
        &self,
        after: Option<NamePlace>,
        limit: usize,
        sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        let limit = limit.clamp(1, MAX_NAMES);
        let (after, sink) = (after.as_ref(), &sink);
        let work = |connection: Arc<Connection>| async move {
            read::names(&connection, after, limit, sink).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::All, work)).await
    }

    fn prefers_batches(&self) -> bool {
        true
    }

    async fn opened(&self) {
        let mut state = self.inner.state.subscribe();
        let replica = async {
            match &self.inner.replica {
                Some(replica) => replica.usable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the store was dropped.
            _ = state.wait_for(|state| *state == State::Open) => {}
            () = replica => {}
        }
    }

    fn takes_notices(&self) -> bool {
        true
    }

    async fn post_notice(&self, notice: &Notice) -> Result<(), StoreError> {
        let work =
            |connection: Arc<Connection>| async move { notice::post(&connection, notice).await };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn withdraw_notice(&self, node: &str) -> Result<(), StoreError> {
        let work =
            |connection: Arc<Connection>| async move { notice::withdraw(&connection, node).await };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        let work = |connection: Arc<Connection>| async move { notice::read(&connection).await };
        Box::pin(self.inner.call(&self.inner.reads, work)).await
    }

    fn feed(&self) -> Option<Arc<dyn Feed>> {
        let inner = self.inner.clone();
        Some(Arc::new(PostgresFeed { inner }))
    }

    fn troubles(&self) -> Vec<Trouble> {
        let replica = self.inner.replica.as_ref();
        let replica = replica.and_then(|replica| replica.trouble());
        self.inner
            .held
            .trouble()
            .into_iter()
            .chain(replica)
            .collect()
    }

    fn keeps_servers(&self) -> bool {
        true
    }

    async fn announce_server(&self, server: &Announcement) -> Result<(), StoreError> {
        let work = |connection: Arc<Connection>| async move {
            servers::announce(&connection, server).await
        };
        Box::pin(self.inner.call(&self.inner.feeds, work)).await
    }

    async fn withdraw_server(&self, id: &Label) -> Result<(), StoreError> {
        let work =
            |connection: Arc<Connection>| async move { servers::withdraw(&connection, id).await };
        Box::pin(self.inner.call(&self.inner.feeds, work)).await
    }

    async fn servers(&self) -> Result<Vec<LiveServer>, StoreError> {
        let work = |connection: Arc<Connection>| async move { servers::live(&connection).await };
        Box::pin(self.inner.call(&self.inner.feeds, work)).await
    }

    async fn servers_news(&self) {
        self.inner.news.servers.notified().await;
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let work =
            |connection: Arc<Connection>| async move { documents::get(&connection, key).await };
        Box::pin(self.inner.call(&self.inner.reads, work)).await
    }

    async fn put_document_noting(
        &self,
        key: &str,
        expected: Option<u64>,
        content: Vec<u8>,
        event: Option<Event>,
    ) -> Result<DocumentPut, StoreError> {
        if let Some(reason) = document::refusal(key, &content) {
            return Err(StoreError::Refused(reason));
        }
        let (content, entry) = (&content, (self.inner.log, event.as_ref()));
        let work = |connection: Arc<Connection>| async move {
            documents::put(&connection, entry, key, expected, content).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn claim_key(&self, claim: &Claim, now: UnixTime) -> Result<Claimed, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            idempotency::claim(&connection, claim, now).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn extend_key(
        &self,
        id: KeyId,
        holder: u64,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            idempotency::extend(&connection, id, holder, until).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn keep_outcome(
        &self,
        id: KeyId,
        holder: u64,
        outcome: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        if let Some(reason) = refusal(&outcome) {
            return Err(StoreError::Refused(reason));
        }
        let outcome = &outcome;
        let work = |connection: Arc<Connection>| async move {
            idempotency::keep(&connection, (id, holder), outcome, now).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        let query = AuditQuery {
            limit: query.limit.clamp(1, MAX_ENTRIES),
            ..query
        };
        let query = &query;
        let work =
            |connection: Arc<Connection>| async move { audit::page(&connection, query).await };
        Box::pin(self.inner.call(&self.inner.pages, work)).await
    }

    fn statistics(&self) -> Option<Arc<dyn StatisticsStore>> {
        let (inner, upkeep) = (self.inner.clone(), self.upkeep.clone());
        Some(Arc::new(Statistics { inner, upkeep }))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let work = |connection: Arc<Connection>| async move { read::ping(&connection).await };
        Box::pin(self.inner.read(Kind::Links, Need::Names, work)).await
    }

    fn identity(&self) -> Identity {
        Identity::Shared {
            id: self.inner.pool.history(),
            place: self.inner.place_number,
        }
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            Ok(History::read(&connection.client).await?)
        };
        let history = Box::pin(self.inner.call(&self.inner.reads, work)).await?;
        self.inner.pool.note_history(history.number);
        Ok(Facts {
            kind: "postgresql",
            id: format!("{:016x}", history.id).into(),
            epoch: history.epoch,
            place: self.inner.place.as_str().into(),
        })
    }

    async fn begin_epoch(&self) -> Result<u64, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            identity::begin_epoch(&connection.client).await
        };
        let history = Box::pin(self.inner.call(&self.inner.writes, work)).await?;
        self.inner.pool.note_history(history.number);
        Ok(history.epoch)
    }

    async fn adopt(&self, link: &Link) -> Result<Adopted, StoreError> {
        let mut adopted = self.adopt_many(std::slice::from_ref(link)).await;
        let none = || StoreError::Unavailable("a takeover has no result".into());
        adopted.pop().unwrap_or_else(|| Err(none()))
    }

    async fn adopt_many(&self, links: &[Link]) -> Vec<Result<Adopted, StoreError>> {
        let noted = links.iter().map(|link| self.inner.change_of(&link.name));
        let noted: Vec<_> = noted.collect();
        let adopted = self.inner.adopt(links).await;
        let adopted = noted.into_iter().zip(adopted);
        let adopted = adopted.map(|(noted, adopted)| noted.end(adopted)).collect();
        self.inner.news.own.notify_one();
        adopted
    }

    async fn adopt_entry(&self, entry: &Entry) -> Result<Adopted, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            takeover::adopt_entry(&connection, &entry.event).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn examine(
        &self,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Examined, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let work = |connection: Arc<Connection>| async move {
            read::examine(&connection, after, limit).await
        };
        Box::pin(self.inner.call(&self.inner.pages, work)).await
    }

    fn reload_files(&self) -> Result<bool, ClientFileError> {
        let replica = self.inner.replica.as_ref().map(|replica| &replica.pool);
        let mut is_changed = false;
        for pool in std::iter::once(&self.inner.pool).chain(replica) {
            if pool.connector.reload()? {
                pool.renew();
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    async fn close(&self) -> Option<Seal> {
        self.inner.closed.cancel();
        self.inner.calls.close();
        self.inner.calls.wait().await;
        self.inner.pool.clear();
        if let Some(replica) = &self.inner.replica {
            replica.pool.clear();
        }
        // There is no seal: other servers go on changing the database.
        None
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}
