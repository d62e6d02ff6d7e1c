//! The flush: the sums of an accumulator are written to the table.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Statistics;
use super::item::Stored;
use super::table::READ;
use crate::base::lock::lock;
use crate::link::LinkName;
use crate::store::StoreError;
use crate::store::dynamodb::read;
use crate::store::statistics::gathering::{FlushId, FlushLease, Gatherer, LEASE, Sums};
use crate::store::statistics::{Row, Unit};
use crate::store::sums::{Key, Record, additions_of};

/// How many links are written together: four items each, in one request for their sums.
const LINKS: usize = READ / Unit::ALL.len();
/// How many items are written at the same time.
const AT_ONCE: usize = 16;
/// How often an item is read again because another one has taken its place.
const RACES: usize = 5;
/// How often calls of the table are made for a group of items, and the pause before the second time, which doubles.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);

/// How many items may be written each second.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: u32,
    /// When the next item may be written.
    next: Mutex<Instant>,
}

impl Budget {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// How many items may be written in this time; at least 1.
    pub(super) fn within(&self, time: Duration) -> usize {
        let items = u64::from(self.per_second).saturating_mul(time.as_secs());
        usize::try_from(items).unwrap_or(usize::MAX).max(1)
    }

    /// Waits until one more item may be written.
    pub(super) async fn take(&self) {
        let turn = {
            let mut next = lock(&self.next);
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs(1) / self.per_second;
            turn
        };
        tokio::time::sleep_until(turn.into()).await;
    }
}

/// What a flush has found.
#[derive(Debug, Default)]
struct Findings {
    /// Items that a later flush had written already, so that these counts are not in them.
    refused: AtomicU64,
}

impl Statistics {
    /// Flushes one accumulator under a lease.
    pub(super) async fn flush_once(&self, gatherer: &dyn Gatherer) -> Result<Turn, StoreError> {
        let flush = Box::pin(self.flush_accumulator(gatherer));
        let turn = self.with_lease(gatherer, flush).await?;
        Ok(turn.unwrap_or(Turn::OfAnother))
    }

    /// Does work on sums under the lease; none if another server has it.
    pub(super) async fn with_lease<T>(
        &self,
        gatherer: &dyn Gatherer,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Option<T>, StoreError> {
        let Some(lease) = gatherer.take_lease().await? else {
            return Ok(None);
        };
        self.set_held(Some(lease.clone()));
        let done = tokio::select! {
            done = work => done,
            () = keep(gatherer, &lease) => {
                Err(StoreError::Unavailable("another server has taken the lease for writing statistics".into()))
            }
        };
        if let Some(lease) = self.set_held(None) {
            gatherer.give_back(lease).await;
        }
        done.map(Some)
    }

    async fn flush_accumulator(&self, gatherer: &dyn Gatherer) -> Result<Turn, StoreError> {
        self.set_keeping().await?;
        let floor = self.floor().await?;
        let Some(id) = gatherer.close(floor).await? else {
            return Ok(Turn::Empty);
        };
        self.learn_closed(id);
        let began = Instant::now();
        let sums = gatherer.sums(id).await?;
        let findings = Findings::default();
        // Zones come first, while all sums are there: a flush that goes on after another one finds only some of them.
        let zones = additions_of(sums.values(), &HashSet::new());
        for key in zones.keys() {
            self.sums.note_zone(&key.origin).await?;
        }
        let zones: Vec<_> = zones.into_iter().collect();
        for zones in zones.chunks(READ) {
            self.write(zones, id, &findings).await?;
        }
        let links = by_link(&sums);
        for links in links.chunks(LINKS) {
            self.write_links(links, id, &findings).await?;
            let keys: Vec<Box<str>> = links
                .iter()
                .flat_map(|(_, rows)| rows)
                .map(|(key, _)| (*key).into())
                .collect();
            // What is not dropped is read again by the next flush of this accumulator, and not written again.
            if let Err(error) = gatherer.drop_sums(id, &keys).await {
                tracing::debug!(%error, "written sums stay in Redis for now");
            }
        }
        self.sums.raise_floor(id.0).await?;
        gatherer.end(id).await?;
        let (links, seconds) = (links.len(), began.elapsed().as_secs());
        tracing::debug!(
            id = id.0,
            links,
            seconds,
            "statistics: an accumulator is written"
        );
        match findings.refused.into_inner() {
            0 => {}
            refused => tracing::error!(
                items = refused,
                "statistics: counts in Redis were older than what the table has, so they are not added: Redis fell back to an \
                 earlier state, or its clock did"
            ),
        }
        Ok(Turn::Flushed)
    }

    /// Writes the sums of links, and removes those of links that are deleted meanwhile.
    async fn write_links(
        &self,
        links: &[(&LinkName, Vec<(&str, &Row)>)],
        id: FlushId,
        findings: &Findings,
    ) -> Result<(), StoreError> {
        let names: Vec<LinkName> = links.iter().map(|(name, _)| (*name).clone()).collect();
        let live = patiently(|| self.live(&names)).await?;
        let keeps_deleted = self.sums.keeps_deleted().await?;
        let mut kept = live.clone();
        if keeps_deleted {
            kept.extend(patiently(|| self.with_sums(&names)).await?);
        }
        let rows = links.iter().flat_map(|(_, rows)| rows);
        let additions = additions_of(rows.map(|(_, row)| *row), &kept);
        let of_links = additions
            .into_iter()
            .filter(|(key, _)| !key.code.is_empty());
        let additions: Vec<_> = of_links.collect();
        for additions in additions.chunks(READ) {
            self.write(additions, id, findings).await?;
        }
        if keeps_deleted || live.is_empty() {
            return Ok(());
        }
        let live: Vec<LinkName> = live.into_iter().collect();
        let still = patiently(|| self.live(&live)).await?;
        for name in live.iter().filter(|name| !still.contains(name)) {
            patiently(|| self.sums.remove(name)).await?;
        }
        Ok(())
    }

    /// Those of the names that have a link.
    pub(super) async fn live(&self, names: &[LinkName]) -> Result<HashSet<LinkName>, StoreError> {
        let found = read::get_many(&self.sums.writes, &self.links, names).await;
        let mut live = HashSet::with_capacity(names.len());
        for (name, found) in names.iter().zip(found) {
            match found {
                Ok(Some(_)) => _ = live.insert(name.clone()),
                Ok(None) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }

    /// Those of the names that have sums.
    pub(super) async fn with_sums(
        &self,
        names: &[LinkName],
    ) -> Result<HashSet<LinkName>, StoreError> {
        let totals: Vec<Key> = names.iter().map(super::total).collect();
        let stored = self.sums.stored(&totals).await?;
        let names = names.iter().zip(&totals);
        let with_sums = names.filter(|(_, total)| stored.contains_key(total));
        Ok(with_sums.map(|(name, _)| name.clone()).collect())
    }

    /// Adds to items, each once.
    async fn write(
        &self,
        additions: &[(Key, Record)],
        id: FlushId,
        findings: &Findings,
    ) -> Result<(), StoreError> {
        patiently(|| async {
            let keys: Vec<Key> = additions.iter().map(|(key, _)| key.clone()).collect();
            let mut stored = self.sums.stored(&keys).await?;
            let writes = additions.iter().map(|(key, addition)| {
                let stored = stored.remove(key).unwrap_or_default();
                self.add(key, addition, stored, id, findings)
            });
            let writes: Vec<_> = writes.collect();
            let writes = stream::iter(writes).buffer_unordered(AT_ONCE);
            writes.try_collect::<()>().await
        })
        .await
    }

    /// Adds to one item, unless this flush or a later one has added to it.
    async fn add(
        &self,
        key: &Key,
        addition: &Record,
        mut stored: Stored,
        id: FlushId,
        findings: &Findings,
    ) -> Result<(), StoreError> {
        for _ in 0..RACES {
            if stored.flush >= id.0 {
                if stored.flush > id.0 {
                    findings.refused.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(());
            }
            self.budget.take().await;
            let revision = stored.revision;
            let new = Stored {
                record: stored.record.after(addition),
                flush: id.0,
                revision: revision + 1,
            };
            if self.sums.put(key, &new, revision).await? {
                return Ok(());
            }
            let key = std::slice::from_ref(key);
            let found = self.sums.stored(key).await?;
            stored = found.into_values().next().unwrap_or_default();
        }
        let text = format!("others keep changing {}", key.text());
        Err(StoreError::Unavailable(text))
    }
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// An accumulator was written.
    Flushed,
    /// There was none.
    Empty,
    /// Another server has the lease.
    OfAnother,
}

/// The sums by link, each with its key.
fn by_link(sums: &Sums) -> Vec<(&LinkName, Vec<(&str, &Row)>)> {
    let mut links: BTreeMap<&LinkName, Vec<(&str, &Row)>> = BTreeMap::new();
    for (key, row) in sums {
        links.entry(&row.name).or_default().push((key, row));
    }
    links.into_iter().collect()
}

/// Renews the lease. Ends when another server has it. While Redis is away, the flush goes on: what it writes is in memory, and
/// the items themselves see to it that nothing is added twice.
async fn keep(gatherer: &dyn Gatherer, lease: &FlushLease) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        if let Ok(false) = gatherer.renew_lease(lease).await {
            return;
        }
    }
}

/// Makes calls of the table again while they fail in a way that may pass.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(StoreError::Refused(reason)) => return Err(StoreError::Refused(reason)),
            Err(_) => {}
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    call().await
}
