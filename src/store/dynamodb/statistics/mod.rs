//! Statistics in a table of their own; see [`crate::store::statistics`].
//!
//! ```text
//!   servers ── batches ──> open accumulator ── closed ──> flusher ── one write for each item ──> table
//!                          └────────── in Redis ──────────┘  one server at a time
//! ```
//!
//! DynamoDB charges for each write. So the batches of all servers are [gathered](crate::store::statistics::gathering) in Redis, and one server
//! writes the sums every minute: four items for each link that was used meanwhile, and four for each zone, however often the
//! links were used. It writes as many items each second as the budget allows. If that is too few, the accumulator fills, and
//! counts wait in the memory of the servers.
//!
//! | attribute | type | meaning |
//! |---|---|---|
//! | `zone` | S | the partition key: the origin of the zone |
//! | `id` | S | the sort key: code, unit (0 for hours to 3 for all time) and start, such as `sale#1#2026-11-30T00:00:00Z`; no code for the zone itself |
//! | `lookups`, `clicks` | N | look-ups of all kinds, clicks of persons |
//! | `others` | M | the other sums: `{"click:bot": 2, "country:DE": 5}` |
//! | `flush` | N | the id of the last flush that has added to the item |
//! | `revision` | N | the number of writes |
//! | `expiresAt` | N | epoch seconds; the table's TTL attribute; only for hours and days |
//! | `ranked`, `byClicks`, `byLookups` | S | the keys of the indexes for rankings, only for links in days, months and all time |
//!
//! The item `#`, `control` has what is true for the whole table, and the partition `#zones` has the zones. So all sums can be read
//! in the order of the other stores, by zone and sort key.
//!
//! # Nothing is counted twice
//!
//! * A batch is added to an accumulator once: Redis knows the number of the last batch of each server. If it does not know
//!   the batch before, it has lost something, and a batch whose reply was lost is not sent again but counted as lost.
//! * The sums of an accumulator are added to an item once: the item has the id of the last flush, ids only grow, and an
//!   accumulator keeps its id. Each write is on the condition that the item is as it was read. So it does no harm if
//!   a flush is repeated, if two servers flush at the same time, or if an accumulator comes back that was written.
//! * What the flush of an accumulator adds to a zone is the sum of its links. So zones are written while all sums are there,
//!   and only then are links written and dropped from Redis.
//!
//! # What can be lost
//!
//! What is in Redis is lost with Redis, if that keeps nothing on disk: about a minute. Each server knows what it has added, and
//! counts what is lost as dropped ([`ledger`]). Counts that Redis has under an old id, because it fell back to an earlier state,
//! may be refused by the items; the log tells how many.
//!
//! # Deleted links
//!
//! The sums of a link are removed after the link, and when a new link takes the name, which sees to what was left over. A flush
//! looks before its writes and after them whether the links exist. So it removes what it has written for a link that was deleted
//! meanwhile. Once a day a [`walk`] removes the sums of links that do not exist.

mod batches;
mod flush;
mod item;
mod ledger;
mod table;
mod walk;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::flush::{Budget, Turn};
use self::item::Stored;
pub(super) use self::item::{ID, INDEXES, RANKED, ZONE};
use self::ledger::Ledger;
use self::table::SumsTable;
use self::walk::Place;
use super::config::StatisticsTable;
use super::identity;
use super::table::Table;
use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::link::{LinkName, Origin};
use crate::store::statistics::gathering::{
    self, Accumulator, FlushLease, GatherState, Gatherer, Known,
};
use crate::store::statistics::{
    Added, Batch, Keeping, MAX_SUMS, Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit,
    Unwritten, Usage, UsagePage, UsagePlace,
};
use crate::store::sums::{
    Key, check_adopted, check_ranked, damaged, highest, time_of, unit_column, unit_of, usage,
};
use crate::store::{Adopted, StoreError};

/// The most links of a page of a ranking, and items of a page of all sums.
const MAX_PAGE: usize = 1_000;
/// How often it is looked whether a flush is due, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest pause after a flush has failed.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// An accumulator with this many sums is flushed at once. What servers add during the flush has room in the other half.
const MANY_SUMS: u64 = gathering::MAX_SUMS as u64 / 2;
/// How long a change of a link, or the first batch, waits for the table of statistics at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a call that brings counts to Redis waits for the table at most.
const TABLE_PATIENCE: Duration = Duration::from_secs(3);
/// How many sums are taken over at the same time.
const ADOPTED_AT_ONCE: usize = 16;
/// How often sums are taken over anew because others were put in their place.
const RACES: usize = 5;

/// The statistics of a table.
#[derive(Debug)]
pub(super) struct Statistics {
    sums: SumsTable,
    /// The table of links.
    links: Table,
    /// Its identity.
    identity: Arc<identity::Known>,
    flush_every: Duration,
    budget: Budget,
    gatherer: OnceLock<Arc<dyn Gatherer>>,
    ledger: Mutex<Ledger>,
    /// The last state of the gatherer.
    state: Mutex<GatherState>,
    known: Mutex<Known>,
    /// Whether the floor of the table was asked for before the first batch.
    has_asked: AtomicBool,
    /// What the table is to keep, until that is set there.
    to_keep: Mutex<Option<Keeping>>,
    /// The lease, while this server flushes.
    held: Mutex<Option<FlushLease>>,
    is_failing: AtomicBool,
    /// Sums of hours and days count until a sweep at this time, in seconds since the epoch: DynamoDB may remove them days later.
    swept: AtomicU64,
    /// Where the walk of this server goes on; none if it does not walk.
    place: Mutex<Option<Place>>,
    closed: CancellationToken,
}

/// The key of the all-time sums of a link.
fn total(name: &LinkName) -> Key {
    Key::new(name.origin(), name.code(), Unit::Total, UnixTime(0))
}

impl Statistics {
    pub(super) fn new(
        config: &StatisticsTable,
        (reads, writes): (Client, Client),
        (links, identity): (Table, Arc<identity::Known>),
        closed: CancellationToken,
    ) -> Self {
        let table = Table {
            name: config.name.clone(),
            place: links.place.clone(),
        };
        Self {
            sums: SumsTable::new(reads, writes, table),
            links,
            identity,
            flush_every: config.flush_every,
            budget: Budget::new(config.writes_per_second),
            gatherer: OnceLock::new(),
            ledger: Mutex::default(),
            state: Mutex::default(),
            known: Mutex::default(),
            has_asked: AtomicBool::new(false),
            to_keep: Mutex::default(),
            held: Mutex::default(),
            is_failing: AtomicBool::new(false),
            swept: AtomicU64::new(0),
            place: Mutex::default(),
            closed,
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.sums.table
    }

    /// The name belongs to no link any more, or to a new one: removes the sums of the former one, unless they are kept. The
    /// change of the link was made, whatever happens here.
    pub(super) async fn begin_anew(&self, name: &LinkName) {
        let removed = async {
            match self.sums.keeps_deleted().await? {
                true => Ok(()),
                false => self.sums.remove(name).await,
            }
        };
        // The caller waits for this, and its time is limited: a table that throttles must not make the change seem to fail.
        let removed = timeout(PATIENCE, removed).await;
        if let Err(error) = removed.unwrap_or(Err(StoreError::DeadlineExceeded)) {
            tracing::warn!(
                name = name.as_str(),
                %error,
                "the statistics of a deleted link were not removed yet; the walk that begins once a day removes them"
            );
        }
    }

    fn gatherer(&self) -> Result<&Arc<dyn Gatherer>, StoreError> {
        if self.closed.is_cancelled() {
            return Err(super::closed());
        }
        let text = "DynamoDB takes statistics through Redis: configure [redis]";
        let none = || StoreError::Refused(text.into());
        self.gatherer.get().ok_or_else(none)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Notes whether this server has the lease; returns the former one.
    fn set_held(&self, lease: Option<FlushLease>) -> Option<FlushLease> {
        std::mem::replace(&mut *lock(&self.held), lease)
    }

    /// Sets in the table what it keeps, unless that is done.
    async fn set_keeping(&self) -> Result<(), StoreError> {
        let Some(keeping) = *lock(&self.to_keep) else {
            return Ok(());
        };
        let links = self.links_id().await?;
        self.sums.keep_deleted(&links, keeping.deleted).await?;
        let mut to_keep = lock(&self.to_keep);
        if *to_keep == Some(keeping) {
            *to_keep = None;
        }
        Ok(())
    }

    /// Updates what is known of the gatherer; returns whether a flush is due.
    async fn look(&self, gatherer: &dyn Gatherer) -> Result<bool, StoreError> {
        let servers = self.ledger().servers();
        for (server, up_to) in servers {
            self.account(gatherer, &server, up_to).await?;
        }
        let state = self.look_at_state(gatherer).await?;
        let is_due = |open: Accumulator| open.age >= self.flush_every || open.sums >= MANY_SUMS;
        Ok(state.closed.is_some() || state.open.is_some_and(is_due))
    }

    async fn look_at_state(&self, gatherer: &dyn Gatherer) -> Result<GatherState, StoreError> {
        let state = gatherer.state(None).await?;
        self.learn(&state);
        *lock(&self.state) = state;
        Ok(state)
    }

    /// Flushes, and looks meanwhile, so that the metrics show how long the counts wait.
    async fn flush_and_look(&self, gatherer: &dyn Gatherer) -> Result<Turn, StoreError> {
        let look = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(error) = self.look(gatherer).await {
                    tracing::debug!(%error, "the state of the accumulators is not known");
                }
            }
        };
        tokio::select! {
            turn = self.flush_once(gatherer) => turn,
            never = look => never,
        }
    }

    /// Flushes for as long as the store is open.
    async fn take_turns(&self, gatherer: &dyn Gatherer) {
        let pause = LOOK_EVERY.min(self.flush_every);
        let mut retry = pause;
        loop {
            tokio::time::sleep(retry).await;
            let done = async {
                let is_due = self.look(gatherer).await?;
                self.set_keeping().await?;
                if is_due && self.flush_and_look(gatherer).await? == Turn::Flushed {
                    self.look_at_state(gatherer).await?;
                }
                Ok::<_, StoreError>(())
            };
            match done.await {
                Ok(()) => {
                    retry = pause;
                    if self.is_failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("statistics: sums are written to the table again");
                    }
                }
                Err(error) => {
                    retry = (2 * retry).min(MAX_RETRY);
                    if !self.is_failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "statistics: sums in Redis cannot be written to the table; they wait");
                    }
                }
            }
        }
    }

    /// Whether sums are still kept, as of the last sweep.
    fn keeps(&self, key: &Key) -> bool {
        let now = UnixTime(self.swept.load(Ordering::Relaxed));
        let from = unit_of(key.unit).and_then(|unit| unit.kept_from(now));
        from.is_none_or(|from| time_of(key.start).is_some_and(|start| start >= from))
    }

    async fn of(&self, zone: &str, code: &str, range: Range) -> Result<Vec<Sum>, StoreError> {
        if range.from >= range.to {
            return Ok(Vec::new());
        }
        let unit = unit_column(range.unit);
        let low = item::sort_key(code, unit, range.from);
        // Starts are whole hours.
        let high = item::sort_key(code, unit, UnixTime(range.to.0 - 1));
        let (mut sums, mut next) = (Vec::new(), None);
        loop {
            let page = self.sums.range(zone, (&low, &high), next, MAX_PAGE);
            let (items, more) = page.await?;
            for found in &items {
                let key = item::key(found).map_err(|reason| StoreError::Corrupt {
                    name: format!("statistics of {zone}"),
                    reason,
                })?;
                let (stored, fault) = item::decode(found);
                fault.map_err(|reason| damaged(&key, reason))?;
                if self.keeps(&key) {
                    let start = time_of(key.start).unwrap_or(range.from);
                    stored.record.push_to(start, &mut sums);
                }
            }
            next = more;
            if next.is_none() || sums.len() >= MAX_SUMS {
                sums.truncate(MAX_SUMS);
                return Ok(sums);
            }
        }
    }

    /// Takes one item over.
    async fn adopt_one(&self, theirs: &Usage, kept: bool) -> Result<Adopted, StoreError> {
        if !kept {
            return Ok(Adopted::Newer);
        }
        let key = Key::of(theirs);
        for _ in 0..RACES {
            let found = self.sums.stored(std::slice::from_ref(&key)).await?;
            let stored = found.get(&key);
            let record = highest(stored.map(|stored| &stored.record), &theirs.sums);
            let stored = stored.cloned().unwrap_or_default();
            if record == stored.record && stored.revision > 0 {
                return Ok(Adopted::Same);
            }
            let revision = stored.revision;
            let new = Stored {
                record,
                revision: revision + 1,
                ..stored
            };
            if self.sums.put(&key, &new, revision).await? {
                return Ok(Adopted::Written);
            }
        }
        let text = format!("others keep changing {}", key.text());
        Err(StoreError::Unavailable(text))
    }
}

#[async_trait]
impl StatisticsStore for Statistics {
    fn gather_with(&self, gatherer: Arc<dyn Gatherer>) -> bool {
        // Only the first one counts.
        let _ = self.gatherer.set(gatherer);
        true
    }

    fn takes_batches(&self) -> bool {
        self.gatherer.get().is_some()
    }

    async fn run(&self, shutdown: CancellationToken) {
        let Ok(gatherer) = self.gatherer() else {
            return;
        };
        tokio::select! {
            () = self.take_turns(&**gatherer) => {}
            () = shutdown.cancelled() => {}
            () = self.closed.cancelled() => {}
        }
        if let Some(lease) = self.set_held(None) {
            gatherer.give_back(lease).await;
        }
    }

    async fn flush(&self) -> Result<bool, StoreError> {
        let gatherer = self.gatherer()?;
        loop {
            match self.flush_once(&**gatherer).await? {
                Turn::Flushed => {}
                Turn::Empty => return Ok(true),
                Turn::OfAnother => return Ok(false),
            }
        }
    }

    fn unwritten(&self) -> Unwritten {
        let state = *lock(&self.state);
        let accumulators = [state.open, state.closed].into_iter().flatten();
        let first = accumulators.clone().map(|it| it.age).max();
        Unwritten {
            sums: accumulators.map(|it| it.sums).sum(),
            since: first.unwrap_or_default(),
            lost: self.ledger().lost(),
            is_failing: self.is_failing.load(Ordering::Relaxed),
        }
    }

    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError> {
        *lock(&self.to_keep) = Some(keeping);
        let set = timeout(TABLE_PATIENCE, self.set_keeping()).await;
        match set.unwrap_or(Err(StoreError::DeadlineExceeded)) {
            // It is set before sums are written. Until then counts go to Redis.
            Err(error) if self.takes_batches() => {
                tracing::debug!(%error, "the table of statistics is not set up yet");
                Ok(())
            }
            done => done,
        }
    }

    async fn add(&self, batch: &Batch, _now: UnixTime) -> Result<Added, StoreError> {
        self.add_batch(batch).await
    }

    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        self.of(name.origin(), name.code(), range).await
    }

    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        self.of(origin.as_str(), "", range).await
    }

    async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        (unit, start): (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        check_ranked(unit)?;
        let limit = limit.clamp(1, MAX_PAGE);
        if !self.keeps(&Key::new(origin.as_str(), "", unit, start)) {
            return Ok(Vec::new());
        }
        let ranking = self.sums.ranking(origin, by, (unit, start), after, limit);
        ranking.await
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        let unique: HashSet<Key> = names.iter().map(total).collect();
        let unique: Vec<Key> = unique.into_iter().collect();
        let stored = self.sums.stored(&unique).await?;
        let of = |name| stored.get(&total(name)).map(|it| it.record.totals());
        Ok(names
            .iter()
            .map(|name| of(name).unwrap_or_default())
            .collect())
    }

    async fn sweep(&self, now: UnixTime) -> Result<bool, StoreError> {
        // DynamoDB removes the items of hours and days by their TTL, some time later.
        self.swept.fetch_max(now.0, Ordering::Relaxed);
        self.walk(now).await
    }

    async fn usages(
        &self,
        after: Option<&UsagePlace>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = UsagePage::default();
        let first = after.map_or("", |after| &after.origin);
        for zone in self.sums.zones_from(first).await? {
            let is_first = after.is_some_and(|after| after.origin == zone);
            let low = match after.filter(|_| is_first) {
                // Nothing else is between a key and that one.
                Some(after) => format!("{}\0", item::id(after)),
                None => item::prefix(""),
            };
            let mut next = None;
            loop {
                // The highest character of a code is a letter.
                let range = self.sums.range(&zone, (&low, "~"), next, limit);
                let (items, more) = range.await?;
                for found in &items {
                    let key = match item::key(found) {
                        Ok(key) if !self.keeps(&key) => continue,
                        Ok(key) => key,
                        Err(reason) => {
                            page.faults.push(reason);
                            continue;
                        }
                    };
                    let (stored, fault) = item::decode(found);
                    match usage(&key, fault.map(|()| stored.record)) {
                        Ok(usage) => page.usages.push(usage),
                        Err(fault) => page.faults.push(fault),
                    }
                    if page.usages.len() == limit {
                        page.next = Some(key);
                        return Ok(page);
                    }
                }
                next = more;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn adopt(&self, usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
        check_adopted(usages)?;
        let names: HashSet<LinkName> = usages.iter().filter_map(Usage::name).cloned().collect();
        let names: Vec<LinkName> = names.into_iter().collect();
        let live = match self.sums.keeps_deleted().await? {
            true => None,
            false => Some(self.live(&names).await?),
        };
        let zones: HashSet<Box<str>> = usages.iter().map(|usage| Key::of(usage).origin).collect();
        for zone in &zones {
            self.sums.note_zone(zone).await?;
        }
        let is_kept = |usage: &Usage| match (usage.name(), &live) {
            (Some(name), Some(live)) => live.contains(name),
            (None, _) | (_, None) => true,
        };
        let adoptions = usages
            .iter()
            .map(|usage| self.adopt_one(usage, is_kept(usage)));
        let adoptions: Vec<_> = adoptions.collect();
        let adoptions = stream::iter(adoptions).buffered(ADOPTED_AT_ONCE);
        adoptions.try_collect().await
    }
}
