//! The store of a fleet: one DynamoDB table, any number of servers.
//!
//! ```text
//!   get, get_many, ping ── at most 256 at once ── GetItem, BatchGetItem ──────┐
//!   create, change,                                                           ├─> table (HTTPS)
//!   delete, list, scan ─── at most 96 at once ─── PutItem, UpdateItem, Scan ──┘
//! ```
//!
//! The module `item` says what the table holds. It may be shared with other programs: what they
//! have put beside our attributes stays when a link is changed or deleted.
//!
//! # Versions
//!
//! A name's versions must grow over a delete and a new creation, on any node, whatever its clock
//! says, and without a read before each write. So a delete does not remove the item: it leaves a
//! tombstone that has the version of the absence, no `fullUrl`, and an `expiresAt` that lets
//! DynamoDB sweep it a week later. Every write carries the version that its node's clock gives,
//! and the condition that what is there, live, expired or tombstone, has a lower one. If that does
//! not hold because the clock is behind, the refusal brings the item along, and a second request
//! goes above its version: one more round trip, and only then.
//!
//! * While there is an item of the name, growth is strict, whatever the clocks do: DynamoDB itself
//!   compares, and orders the writes of one key.
//! * After a tombstone is swept the next version comes from a clock alone. It is higher unless that
//!   clock is behind by more than `TOMBSTONE_RETENTION`: the sweep waits that long from the
//!   version or from the deletion, whichever is later.
//! * An *expired* link may be swept from its end on, by DynamoDB's own schedule (some days at the
//!   most, often minutes). A new link of that name has a higher version unless its node's clock is
//!   behind by more than the time from the old link's last change to the sweep. The table's TTL
//!   attribute is the link's end, which others rely on, so that there is no room for a week there.
//!   What a cache still holds then is expired, and it may let anything replace that.
//! * Items of other programs have no version, which counts as 0. Their own changes cannot be put in
//!   order; the first one by this program is above them all.
//!
//! Turned down: a counter item for each name beside the link (a transaction and twice the price for
//! every write), one mark for the whole table as SQLite has it (a hot key), and removing the item
//! (nothing left to grow from). A program that reads the table has to ask whether there is a
//! `fullUrl`.
//!
//! # Time
//!
//! Every call ends, and before its caller gives up: a query waits 1.5 s and an administrator 10 s.
//! `READ_TIME` and `WRITE_TIME` bound a request with all its attempts, and hardly more a call of
//! several requests; connecting and waiting for a reply are bounded for each attempt, so that one
//! lost packet or dead connection leaves time for another. The SDK repeats what failed by time-out, cut connection, 5xx or throttling, and stops
//! where too many calls need that. A write whose reply was lost and that is sent again recognises
//! what it has written itself; see `failure::Attempts`. What still fails by throttling is
//! [`StoreError::Throttled`].
//!
//! Credentials and region come the AWS way: environment, profile, web identity, ECS and EKS
//! containers, EC2. Not built in: SSO and `credential_process`, which are for people at their desks.
//! TLS is rustls with ring, which the HTTP client of the command line brings too.

mod credentials;
mod failure;
mod identity;
mod import_source;
mod item;
mod notice;
mod open;
mod read;
mod scan;
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

pub use self::import_source::{ForeignPage, ForeignTable, ReadError};
pub use self::open::DynamoOpenError;
use self::scan::Wanted;
use self::table::Table;
use super::{
    Change, Changed, Created, Deleted, Effect, Identity, NewLink, Notice, Page, Seal, Segment,
    Store, StoreError, Trouble,
};
use crate::link::{Link, LinkName, Origin, Version};

/// How many reads may be under way, each on a connection of its own. At the usual 5 ms that is
/// 50,000 a second; while DynamoDB hangs, it is what may hang with it.
const MAX_READS: usize = 256;
/// How many writes and pages may be under way. They have permits of their own, so that a stream of
/// registrations or a warm load cannot shut queries out. Batches take at most 64 lines at a time, all together.
const MAX_WRITES: usize = 96;
/// How long a write or a page may wait for a permit: what an administrator's call has beyond [`WRITE_TIME`]. A
/// read has no more than its own time for both.
const WRITE_WAIT: Duration = Duration::from_millis(1_800);
/// How long a read may take with all its attempts: less than the 1.5 s of a query.
const READ_TIME: Duration = Duration::from_millis(1_350);
/// How long one attempt of a read may take to connect, and then to get a reply: DynamoDB answers in
/// some 5 ms, and three attempts have to fit into [`READ_TIME`] nearly whole.
const READ_ATTEMPT_TIME: Duration = Duration::from_millis(450);
/// How long a write's or a page's request may take with all its attempts: less than the 10 s of an
/// administrator's call.
const WRITE_TIME: Duration = Duration::from_secs(8);
/// The same for one attempt of these.
const WRITE_ATTEMPT_TIME: Duration = Duration::from_millis(2_500);
/// How much longer a call of several requests may take than a single one. Usually all of them take
/// some milliseconds; this is for a slow one followed by a fast one.
const SECOND_REQUEST_TIME: Duration = Duration::from_millis(100);
/// How often one request is sent at most.
const MAX_ATTEMPTS: u32 = 3;
/// The wait before the second attempt of a read, at most; it doubles for the third.
const READ_BACKOFF: Duration = Duration::from_millis(20);
/// The same for a write: throttling passes within a second or so.
const WRITE_BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Which table, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoConfig {
    /// Its name.
    pub table: String,
    /// Its region, if it is not the one of the environment, the profile or the machine.
    pub region: Option<String>,
    /// Where DynamoDB is, if not at the region's own endpoint. Without a region anywhere, requests
    /// to it are signed for `us-east-1`, as emulators do not mind.
    pub endpoint_url: Option<String>,
    /// Whether to create the table where there is none, and to turn its TTL on.
    pub create_table: bool,
}

/// A link store in a DynamoDB table; see the [module's](self) description.
pub struct DynamoStore {
    table: Table,
    reads: Lane,
    writes: Lane,
    /// Which table this is.
    known: Arc<identity::Known>,
    /// Whether the table was found to be what it should be.
    state: Arc<watch::Sender<State>>,
    /// Whether the table seems to have bare codes as keys, and no names.
    bare_codes: Arc<AtomicBool>,
    closed: CancellationToken,
    /// The calls under way.
    calls: TaskTracker,
}

/// How far the opening has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The table can be used.
    Open,
    /// It cannot, yet, for this reason.
    Away(String),
}

/// Calls of one kind: how long they may take, and how many there may be.
struct Lane {
    client: Client,
    permits: Semaphore,
    /// How long a call may wait for one of them.
    wait: Duration,
    /// For a call as a whole, however many requests it makes, without the wait.
    limit: Duration,
}

impl DynamoStore {
    /// Runs a call when there is room for it; those that wait come in their order. A read does both within its
    /// own time: nobody waits for longer.
    async fn call<T>(
        &self,
        lane: &Lane,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _running = self.calls.token();
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        if let State::Away(reason) = &*self.state.borrow() {
            return Err(StoreError::Unreachable(reason.clone()));
        }
        let began = Instant::now();
        let permit = tokio::time::timeout(lane.wait, lane.permits.acquire());
        let _permit = match lane.permits.try_acquire() {
            Ok(permit) => permit,
            // Permits that come free go to those who wait, in their order, and not to who tries.
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
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

#[async_trait]
impl Store for DynamoStore {
    async fn create(&self, new: NewLink, now_micros: u64) -> Result<Created, StoreError> {
        let work = write::create(&self.writes.client, &self.table, new, now_micros);
        self.call(&self.writes, Box::pin(work)).await
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
        now_micros: u64,
    ) -> Result<Changed, StoreError> {
        let (client, table) = (&self.writes.client, &self.table);
        let work = write::change(client, table, name, expected, change, now_micros);
        self.call(&self.writes, Box::pin(work)).await
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        now_micros: u64,
    ) -> Result<Deleted, StoreError> {
        let work = write::delete(&self.writes.client, &self.table, name, expected, now_micros);
        self.call(&self.writes, Box::pin(work)).await
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

    fn prefers_batches(&self) -> bool {
        true
    }

    async fn opened(&self) {
        let mut state = self.state.subscribe();
        // An error is that the store has gone, and then nobody waits.
        let _ = state.wait_for(|state| *state == State::Open).await;
    }

    fn troubles(&self) -> Vec<Trouble> {
        let reason =
            "the table's keys are bare codes, not names, so that no link is found: see the log";
        let bare_codes = self.bare_codes.load(Ordering::Relaxed);
        let trouble = bare_codes.then(|| Trouble::new(Effect::Degraded, reason));
        trouble.into_iter().collect()
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

    async fn ping(&self) -> Result<(), StoreError> {
        let work = read::ping(&self.reads.client, &self.table);
        self.call(&self.reads, Box::pin(work)).await
    }

    fn identity(&self) -> Identity {
        self.known.identity(&self.writes.client, &self.table)
    }

    async fn close(&self) -> Option<Seal> {
        self.closed.cancel();
        self.calls.close();
        self.calls.wait().await;
        // Others go on to change the table.
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
