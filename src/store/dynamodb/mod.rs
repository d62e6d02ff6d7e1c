//! The store of a fleet: one DynamoDB table, any number of servers.
//!
//! ```text
//!   get, get_many, ping ── at most 256 at once ── GetItem, BatchGetItem ──────┐
//!   create, change,                                                           ├─> table (HTTPS)
//!   delete, list, scan ─── at most 96 at once ─── PutItem, UpdateItem, Scan ──┘
//! ```
//!
//! The module `item` says what the table holds. Other programs may use the table as well: the attributes that they
//! have added to an item stay when the link is changed or deleted.
//!
//! # Versions
//!
//! A name's versions must grow over a deletion and a new creation, on any node, whatever its clock says, and
//! without a read before each write. So a deletion does not remove the item. It leaves a *tombstone*: an item with
//! the version of the absence, without `fullUrl`, and with an `expiresAt` that lets DynamoDB sweep it a week
//! later. Every write carries a version from its node's clock, on the condition that the item that is there (live,
//! ended or tombstone) has a lower one. If that fails because the clock is behind, the refusal returns the item,
//! and a second request uses a version above the item's. Only then does a write cost one more round trip.
//!
//! * While the name has an item, its versions grow strictly, whatever the clocks do: DynamoDB itself compares
//!   them, and it orders the writes of one key.
//! * After a tombstone has been swept, the next version comes from a clock alone. It is higher unless that clock
//!   is behind by more than `TOMBSTONE_RETENTION`: DynamoDB may sweep only that long after the version or the
//!   deletion, whichever is later.
//! * DynamoDB may sweep a link that has *ended* at any time after its end (often within minutes, at most within
//!   some days). A new link of that name has a higher version unless its node's clock is behind by more than the
//!   time from the old link's last change to the sweep. The table's TTL attribute is the link's end, on which
//!   other programs rely, so tinyns cannot add a week there. A cached link of that time has ended, so caches let
//!   anything replace it.
//! * Items of other programs have no version, which counts as 0. Changes by other programs cannot be ordered; the
//!   first change by tinyns is above all of them.
//!
//! Not chosen: a counter item for each name (a transaction and twice the price for every write), one version floor
//! for the whole table as in SQLite (a hot key), and removing the item (nothing to grow from). A program that
//! reads the table must check whether an item has a `fullUrl`.
//!
//! # Time
//!
//! Every call ends before its caller gives up: a query waits 1.5 s and an administrator 10 s. `READ_TIME` and
//! `WRITE_TIME` bound a request with all its attempts, and a call of several requests by hardly more. Connecting
//! and waiting for a reply are bounded for each attempt, so one lost packet or dead connection leaves time for
//! another attempt. The SDK repeats what failed by time-out, lost connection, 5xx or throttling, and stops
//! repeating if too many calls need it. A write whose reply was lost and that is sent again recognises its own
//! first attempt; see `failure::Attempts`. If throttling lasts, the call fails with [`StoreError::Throttled`].
//!
//! Credentials and region come from the usual AWS sources: environment, profile, web identity, ECS and EKS
//! containers, EC2. SSO and `credential_process` are not built in: they are for people at their desks. TLS is
//! rustls with ring, which the HTTP client of the command line needs as well.

mod adopt;
mod audit;
mod config;
mod credentials;
mod documents;
mod failure;
mod feed;
mod filters;
mod idempotency;
mod identity;
mod import_source;
mod item;
mod kind;
mod names;
mod notice;
mod open;
mod opener;
mod read;
mod scan;
mod state;
mod statistics;
mod table;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::{AuditTable, DynamoConfig, StatisticsTable};
pub use self::import_source::{ForeignPage, ForeignTable, ReadError};
pub use self::open::DynamoOpenError;
use self::scan::Wanted;
use self::table::Table;
use self::write::Write;
use super::{
    Adopted, Change, Changed, Created, Deleted, Document, DocumentPut, Effect, Examined, Facts,
    Found, Identity, NamePlace, NameSink, NewLink, Notice, Page, Place, Query, Seal, Segment,
    Store, StoreError, Trouble, document,
};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Origin, Version};
use crate::store::audit::{Action, Actor, AuditPage, AuditQuery, Entry, Event};
use crate::store::feed::Feed;
use crate::store::filters::FilterBoard;
use crate::store::idempotency::{Claim, Claimed, KeyId, refusal};
use crate::store::statistics::StatisticsStore;

/// How many reads may be under way, each on its own connection. At the usual 5 ms that is 50,000 a second; if
/// DynamoDB hangs, so many calls hang with it.
const MAX_READS: usize = 256;
/// How many writes and pages may be under way. They have permits of their own, so that registrations or a warm
/// load cannot shut queries out. All batches together take at most 64 of them.
const MAX_WRITES: usize = 96;
/// How long a write or a page may wait for a permit: the part of an administrator's call that [`WRITE_TIME`]
/// leaves. A read gets its permit and its reply within its own time.
const WRITE_WAIT: Duration = Duration::from_millis(1_800);
/// How long a read with all its attempts may take: less than the 1.5 s of a query.
const READ_TIME: Duration = Duration::from_millis(1_350);
/// How long one attempt of a read may take to connect, and how long it may then wait for a reply. DynamoDB replies
/// in some 5 ms, and three attempts have to fit nearly completely into [`READ_TIME`].
const READ_ATTEMPT_TIME: Duration = Duration::from_millis(450);
/// How long one request of a write or a page with all its attempts may take: less than the 10 s of an
/// administrator's call.
const WRITE_TIME: Duration = Duration::from_secs(8);
/// The same for one attempt of a write or a page.
const WRITE_ATTEMPT_TIME: Duration = Duration::from_millis(2_500);
/// How much longer a call of several requests may take. Usually each takes some milliseconds; this leaves time for
/// a fast request after a slow one.
const SECOND_REQUEST_TIME: Duration = Duration::from_millis(100);
/// How many times one request is sent at most.
const MAX_ATTEMPTS: u32 = 3;
/// The longest pause before the second attempt of a read; it doubles for the third.
const READ_BACKOFF: Duration = Duration::from_millis(20);
/// The same for a write: throttling passes within a second or so.
const WRITE_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A link store in a DynamoDB table; see the [module](self).
pub struct DynamoStore {
    table: Table,
    reads: Lane,
    writes: Lane,
    /// The audit log, if one is kept.
    log: Option<audit::Log>,
    /// The statistics, if any are kept.
    statistics: Option<Arc<statistics::Statistics>>,
    /// The stream of the table; none if it is not to be read.
    streams: Option<Arc<feed::Streams>>,
    filters: Arc<filters::Filters>,
    /// The identity of the table.
    known: Arc<identity::Known>,
    /// Whether the table was checked and can be used.
    state: Arc<watch::Sender<state::State>>,
    /// Whether the table's keys seem to be bare codes instead of names.
    bare_codes: Arc<AtomicBool>,
    closed: CancellationToken,
    /// The calls under way.
    calls: TaskTracker,
}

/// The calls of one kind: their number and time are bounded.
struct Lane {
    client: Client,
    permits: Semaphore,
    /// How long a call may wait for a permit.
    wait: Duration,
    /// How long a call with all its requests may take after the wait.
    limit: Duration,
}

impl DynamoStore {
    /// Runs a call when it gets a permit; calls wait in order of arrival. A read must finish both within its own
    /// time.
    async fn call<T>(
        &self,
        lane: &Lane,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _running = self.calls.token();
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        if let Some(reason) = self.state.borrow().forbids_calls() {
            return Err(StoreError::Unreachable(reason.into()));
        }
        let began = Instant::now();
        let permit = tokio::time::timeout(lane.wait, lane.permits.acquire());
        let _permit = match lane.permits.try_acquire() {
            Ok(permit) => permit,
            // Free permits go to waiting calls first, in their order.
            Err(_) => permit
                .await
                .map_err(|_| StoreError::Overloaded)?
                .map_err(|_| closed())?,
        };
        let limit = match lane.wait < lane.limit {
            true => lane.limit,
            false => lane.limit.saturating_sub(began.elapsed()),
        };
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(StoreError::DeadlineExceeded))
    }

    /// Runs a change that has an entry in the audit log.
    async fn noted<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if let Some(reason) = self.state.borrow().forbids_changes() {
            return Err(StoreError::Unreachable(reason.into()));
        }
        self.call(&self.writes, work).await
    }

    fn log(&self) -> Result<&audit::Log, StoreError> {
        let reason = "it keeps no audit log: name a table in [audit] of the configuration";
        let none = || StoreError::Refused(reason.into());
        self.log.as_ref().ok_or_else(none)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

#[async_trait]
impl Store for DynamoStore {
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError> {
        let by = new.created_by.clone();
        let work = async {
            let client = &self.writes.client;
            let created = write::create(client, &self.table, new, now_micros).await?;
            if let (Created::New(link), Some(log)) = (&created, &self.log) {
                let event = Event::of_link(&link.name, None, Some(link), &by, now_micros);
                log.note_link(client, event, link.version).await?;
            }
            if let (Created::New(link), Some(statistics)) = (&created, &self.statistics) {
                statistics.begin_anew(&link.name).await;
            }
            Ok(created)
        };
        self.noted(Box::pin(work)).await
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        let work = read::get(&self.reads.client, &self.table, name);
        self.call(&self.reads, Box::pin(work)).await
    }

    async fn get_many(&self, names: &[LinkName]) -> Vec<Result<Option<Link>, StoreError>> {
        let work = async { Ok(read::get_many(&self.reads.client, &self.table, names).await) };
        match self.call(&self.reads, Box::pin(work)).await {
            Ok(results) => results,
            Err(error) => names.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Changed, StoreError> {
        let (client, table) = (&self.writes.client, &self.table);
        let write = Write {
            expected,
            keeps_before: self.log.is_some(),
            spares_withheld: !by.may_change_withheld,
            now_micros,
        };
        let work = async {
            let (changed, before) = write::change(client, table, name, write, change).await?;
            if let (Changed::Changed(link), Some(log)) = (&changed, &self.log) {
                let event = Event::of_link(name, before.as_ref(), Some(link), by, now_micros);
                let action = Action::LinkChanged;
                let event = Event { action, ..event };
                log.note_link(client, event, link.version).await?;
            }
            Ok(changed)
        };
        self.noted(Box::pin(work)).await
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now_micros: u64,
    ) -> Result<Deleted, StoreError> {
        let (client, table) = (&self.writes.client, &self.table);
        let write = Write {
            expected,
            keeps_before: self.log.is_some(),
            spares_withheld: !by.may_change_withheld,
            now_micros,
        };
        let work = async {
            let (deleted, before) = write::delete(client, table, name, write).await?;
            if let (Deleted::Deleted(version), Some(log)) = (&deleted, &self.log) {
                let event = Event::of_link(name, before.as_ref(), None, by, now_micros);
                let action = Action::LinkDeleted;
                let event = Event { action, ..event };
                log.note_link(client, event, *version).await?;
            }
            if let (Deleted::Deleted(_), Some(statistics)) = (&deleted, &self.statistics) {
                statistics.begin_anew(name).await;
            }
            Ok(deleted)
        };
        self.noted(Box::pin(work)).await
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let wanted = Wanted::Zone(origin);
        let work = scan::page(&self.writes.client, &self.table, wanted, after, limit);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let after = after.map(|place| &place.name);
        let wanted = Wanted::Query(query);
        let work = scan::page(&self.writes.client, &self.table, wanted, after, limit);
        let page = self.call(&self.writes, Box::pin(work)).await?;
        Ok(query.filtered(page))
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let wanted = Wanted::Part(segment);
        let work = scan::page(&self.writes.client, &self.table, wanted, after, limit);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn estimate(&self) -> Option<u64> {
        let work = read::estimate(&self.reads.client, &self.table);
        self.call(&self.reads, Box::pin(work)).await.ok()
    }

    fn feed(&self) -> Option<Arc<dyn Feed>> {
        let streams = self.streams.clone()?;
        Some(streams)
    }

    fn filter_board(&self) -> Option<Arc<dyn FilterBoard>> {
        Some(self.filters.clone())
    }

    async fn names(
        &self,
        after: Option<NamePlace>,
        limit: usize,
        sink: NameSink,
    ) -> Result<Option<NamePlace>, StoreError> {
        let work = names::page(&self.writes.client, &self.table, after, limit, &sink);
        self.call(&self.writes, Box::pin(work)).await
    }

    fn statistics(&self) -> Option<Arc<dyn StatisticsStore>> {
        let statistics = self.statistics.clone()?;
        Some(statistics)
    }

    fn prefers_batches(&self) -> bool {
        true
    }

    async fn opened(&self) {
        state::opened(&self.state).await;
    }

    fn troubles(&self) -> Vec<Trouble> {
        let reason =
            "the table's keys are bare codes, not names, so that no link is found: see the log";
        let bare_codes = self.bare_codes.load(Ordering::Relaxed);
        let bare_codes = bare_codes.then(|| Trouble::new(Effect::Degraded, reason));
        let reason =
            "the table of the audit log cannot be used, so changes are refused: see the log";
        let no_log = self.state.borrow().forbids_changes().is_some();
        let no_log = no_log.then(|| Trouble::new(Effect::NoChanges, reason));
        bare_codes.into_iter().chain(no_log).collect()
    }

    fn takes_notices(&self) -> bool {
        true
    }

    async fn post_notice(&self, notice: &Notice) -> Result<(), StoreError> {
        let work = notice::post(&self.writes.client, &self.table, notice);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn withdraw_notice(&self, node: &str) -> Result<(), StoreError> {
        let work = notice::withdraw(&self.writes.client, &self.table, node);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        let work = notice::read(&self.reads.client, &self.table);
        self.call(&self.reads, Box::pin(work)).await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let work = documents::get(&self.reads.client, &self.table, key);
        self.call(&self.reads, Box::pin(work)).await
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
        let work = async {
            let client = &self.writes.client;
            let put = documents::put(client, &self.table, key, expected, content).await?;
            if let (DocumentPut::Written(_), Some(log), Some(event)) = (&put, &self.log, event) {
                log.note(client, event).await?;
            }
            Ok(put)
        };
        self.noted(Box::pin(work)).await
    }

    async fn claim_key(&self, claim: &Claim, now: UnixTime) -> Result<Claimed, StoreError> {
        let work = idempotency::claim(&self.writes.client, &self.table, claim, now);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn extend_key(
        &self,
        id: KeyId,
        holder: u64,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        let work = idempotency::extend(&self.writes.client, &self.table, id, holder, until);
        self.call(&self.writes, Box::pin(work)).await
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
        let client = &self.writes.client;
        let work = idempotency::keep(client, &self.table, (id, holder), outcome, now);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        let work = self.log()?.page(&self.writes.client, &query);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let work = read::ping(&self.reads.client, &self.table);
        self.call(&self.reads, Box::pin(work)).await
    }

    fn identity(&self) -> Identity {
        self.known.identity(&self.writes.client, &self.table)
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        let work = self.known.ask(&self.writes.client, &self.table);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn begin_epoch(&self) -> Result<u64, StoreError> {
        let work = self.known.begin_epoch(&self.writes.client, &self.table);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn adopt(&self, link: &Link) -> Result<Adopted, StoreError> {
        let work = adopt::link(&self.writes.client, &self.table, link);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn adopt_entry(&self, entry: &Entry) -> Result<Adopted, StoreError> {
        let work = adopt::entry(&self.writes.client, self.log()?, entry);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn examine(
        &self,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Examined, StoreError> {
        let work = scan::examine(&self.writes.client, &self.table, after, limit);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn close(&self) -> Option<Seal> {
        self.closed.cancel();
        self.calls.close();
        self.calls.wait().await;
        // There is no seal: other servers go on changing the table.
        None
    }
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
