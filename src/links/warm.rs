//! The warm load: at the start every link is read from the store into Redis, as the article's program
//! does, while the server answers already by reading through.
//!
//! ```text
//!   store ── SEGMENTS parallel scans ── pages ── conditional puts ──> Redis
//!                └ pace: links a second          └ cursor of each part, also in Redis
//! ```
//!
//! One node of a fleet loads at a time: it holds a lease that ends by itself where the node dies, and
//! the next one goes on from the cursors. What was loaded a short while ago is not loaded again, so
//! that a fleet that starts together loads once. When Redis has lost what it held, it is loaded anew.
//!
//! A load that makes Redis evict would push out what is asked for in favour of what is not. So it looks
//! back now and then at what it has put, and stops where that has gone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::redis::{Cursor, Failure, LEASE, Lease, RedisCache};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName};
use crate::store::{Page, Segment, Store, StoreError};

/// Into how many parts the store is divided; each is read page by page.
const SEGMENTS: u32 = 4;
/// How many links are read at once.
const PAGE: usize = 1_000;
/// How old a page may be when it is put. Deletions are remembered for much longer than that, unless
/// they are evicted.
const PAGE_AGE: Duration = Duration::from_secs(20);
/// What was loaded less than this ago, in seconds, is not loaded again at a start.
const RECENT: u64 = 600;
/// How often the lease is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
/// How often it is looked whether Redis is there, while it is not: a look at a flag.
const REDIS_WAIT: Duration = Duration::from_millis(200);
/// How long it is waited for Redis until the log says so, and again after each time as long.
const WAIT_TOLD: Duration = Duration::from_secs(10);
const WAIT_TOLD_AGAIN: Duration = Duration::from_secs(600);
/// How often Redis is asked whether another node is still loading.
const LEASE_WAIT: Duration = Duration::from_secs(2);
/// How often a page is tried.
const PAGE_TRIES: u32 = 8;
/// The wait before the second try; it doubles.
const PAGE_BACKOFF: Duration = Duration::from_millis(250);
/// How often a load that has failed is begun again; after that the next start or loss does it.
const ATTEMPTS: u32 = 5;
/// How long a load that has failed waits.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(10);
/// How long after its last page a part looks at the changes once more.
const LAST_CHANGES: Duration = Duration::from_millis(500);
/// After how many links of a part it is looked whether they are still there, and at how many.
const CHECK_EVERY: usize = 10_000;
const CHECKED: usize = 16;
/// How often the log tells how far a load is.
const REPORT: Duration = Duration::from_secs(10);

/// How a warm load stands, for `/readyz` and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmPhase {
    /// Not wanted.
    Off,
    /// It waits for Redis.
    Waiting,
    /// Another server is loading.
    Elsewhere,
    /// It is under way.
    Loading,
    /// All links were loaded, here or by another server.
    Done,
    /// It stopped, for Redis has no room for all links.
    Full,
    /// It was given up.
    Failed,
}

/// How far a warm load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WarmStatus {
    /// What it does.
    pub state: WarmPhase,
    /// Links read by this server.
    pub links: u64,
    /// About how many there are, if the store can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Links read in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u64>,
}

/// The figures of a warm load, as they move.
#[derive(Debug)]
pub(super) struct WarmState(Mutex<Figures>, AtomicU64);

#[derive(Debug)]
struct Figures {
    phase: WarmPhase,
    of: Option<u64>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl WarmState {
    pub(super) fn new(phase: WarmPhase) -> Self {
        let figures = Figures {
            phase,
            of: None,
            began: None,
            ended: None,
        };
        Self(Mutex::new(figures), AtomicU64::new(0))
    }

    pub(super) fn status(&self) -> WarmStatus {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let links = self.1.load(Ordering::Relaxed);
        let per_second = figures.began.map(|began| {
            let ended = figures.ended.unwrap_or_else(Instant::now);
            let took = ended.saturating_duration_since(began).as_secs_f64();
            (links as f64 / took.max(0.001)) as u64
        });
        WarmStatus {
            state: figures.phase,
            links,
            of: figures.of,
            per_second,
        }
    }

    fn set(&self, phase: WarmPhase) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if figures.phase == WarmPhase::Loading {
            figures.ended = Some(Instant::now());
        }
        figures.phase = phase;
    }

    fn begin(&self, of: Option<u64>) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        figures.phase = WarmPhase::Loading;
        figures.of = of;
        figures.began = Some(Instant::now());
        figures.ended = None;
        self.1.store(0, Ordering::Relaxed);
    }
}

impl fmt::Display for WarmStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} links", self.links)?;
        if let Some(of) = self.of.filter(|of| *of >= self.links) {
            write!(f, " of about {of}")?;
        }
        if let Some(rate) = self.per_second {
            write!(f, ", {rate} a second")?;
            if let Some(of) = self.of.filter(|of| *of >= self.links && rate > 0) {
                write!(f, ", {} s left", (of - self.links) / rate)?;
            }
        }
        Ok(())
    }
}

/// Whether the log has said for how long it is waited for Redis.
struct Waiting {
    /// When the log is to say so.
    due: Instant,
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self {
            due: now + WAIT_TOLD,
        }
    }

    /// Whether it is time to say so.
    fn is_to_be_told(&mut self, is_waiting: bool, now: Instant) -> bool {
        if !is_waiting {
            *self = Self::new(now);
        }
        let is_due = now >= self.due;
        if is_due {
            self.due = now + WAIT_TOLD_AGAIN;
        }
        is_due
    }
}

/// Why a load ended early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("Redis does not work")]
    Redis,
    #[error("another server has the lease")]
    LeaseLost,
    #[error("Redis has no room for all links")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for Stop {
    fn from(_: Failure) -> Self {
        Self::Redis
    }
}

/// Loads all links of a store into Redis; see the [module](self).
pub(super) struct WarmLoad {
    pub(super) cache: Arc<RedisCache>,
    pub(super) store: Arc<dyn Store>,
    /// Links a second; 0 for as many as it can.
    pub(super) rate: u32,
    pub(super) state: Arc<WarmState>,
    /// Told when Redis may have lost what it held.
    pub(super) lost: Arc<Notify>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl WarmLoad {
    /// Loads at the start, and whenever Redis has lost what it held, until it is told to stop.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let work = async {
            self.store.opened().await;
            let mut since = Some(RECENT);
            loop {
                self.load_once(since).await;
                self.lost.notified().await;
                // A stream that was merely read too late takes nothing from what is held: then there
                // is still a mark, of whatever age.
                since = None;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        self.metrics.warm_load_running.set(0);
    }

    /// Sees to it that the links are loaded, by this node or another. What was loaded within `recent`
    /// seconds, or ever, is not loaded again.
    async fn load_once(&self, recent: Option<u64>) {
        let mut failures = 0;
        let mut waiting = Waiting::new(Instant::now());
        while failures < ATTEMPTS {
            let turn = self.take_lease(recent).await;
            let is_waiting = turn.is_err();
            if waiting.is_to_be_told(is_waiting, Instant::now()) {
                let why = self.cache.troubles().join("; ");
                tracing::warn!(why, "the warm load waits for Redis; it begins by itself");
            }
            let (phase, wait) = match turn {
                Ok(Turn::Done) => return self.state.set(WarmPhase::Done),
                Ok(Turn::Elsewhere) => (WarmPhase::Elsewhere, LEASE_WAIT),
                Err(_) => (WarmPhase::Waiting, REDIS_WAIT),
                Ok(Turn::Ours(lease)) => {
                    let Err(stop) = self.load(lease).await else {
                        return self.state.set(WarmPhase::Done);
                    };
                    tracing::warn!(loaded = %self.state.status(), "the warm load stopped: {stop}");
                    if matches!(stop, Stop::Full) || self.cache.is_full() {
                        return self.state.set(WarmPhase::Full);
                    }
                    failures += 1;
                    self.state.set(WarmPhase::Waiting);
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                    continue;
                }
            };
            self.state.set(phase);
            tokio::time::sleep(wait).await;
        }
        tracing::error!(
            "the warm load was given up after {ATTEMPTS} attempts: links get into Redis when they are asked for"
        );
        self.state.set(WarmPhase::Failed);
    }

    async fn take_lease(&self, recent: Option<u64>) -> Result<Turn, Failure> {
        if let Some(when) = self.cache.loaded_at().await? {
            let age = when.until(self.clock.now());
            if recent.is_none_or(|recent| age < recent) {
                return Ok(Turn::Done);
            }
        }
        Ok(match self.cache.lease_load().await? {
            Some(lease) => Turn::Ours(lease),
            None => Turn::Elsewhere,
        })
    }

    /// Loads while the lease holds.
    async fn load(&self, lease: Lease) -> Result<(), Stop> {
        self.state.begin(self.store.estimate().await);
        self.metrics.warm_load_running.set(1);
        tracing::info!("loading links into Redis");
        let loading = async {
            let cursors = self.cache.begin_load(SEGMENTS).await?;
            let pace = Pace::new(self.rate, Instant::now());
            let segments = (0..).zip(cursors);
            let segments = segments.map(|(index, cursor)| self.load_segment(index, cursor, &pace));
            try_join_all(segments).await.map(drop)
        };
        let result = tokio::select! {
            result = loading => result,
            stop = self.keep(&lease) => Err(stop),
            never = self.report() => match never {},
        };
        self.metrics.warm_load_running.set(0);
        // Where the lease was lost this gives back nothing.
        let done = result.is_ok();
        let ended = self.cache.end_load(lease, done).await;
        result?;
        ended?;
        tracing::info!(loaded = %self.state.status(), "links are loaded into Redis");
        Ok(())
    }

    /// Renews the lease for as long as it can.
    async fn keep(&self, lease: &Lease) -> Stop {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEWAL).await;
            match self.cache.renew_load(lease).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return Stop::LeaseLost,
                Err(_) if renewed.elapsed() > LEASE => return Stop::Redis,
                Err(_) => {}
            }
        }
    }

    async fn report(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(REPORT).await;
            tracing::info!(loaded = %self.state.status(), "loading links into Redis");
        }
    }

    /// Loads one part from where it was left.
    async fn load_segment(&self, index: u32, cursor: Cursor, pace: &Pace) -> Result<(), Stop> {
        let segment = Segment {
            index,
            total: SEGMENTS,
        };
        let mut sample = Sample::default();
        let mut after = match cursor {
            Cursor::End => return Ok(()),
            Cursor::After(name) => Some(name),
            Cursor::Start => None,
        };
        // From the page before on: changes are told some milliseconds after they are made.
        let mut place = self.cache.changes_end().await?;
        let mut put = Vec::new();
        loop {
            let next_place = self.cache.changes_end().await?;
            let before = Before { place, put };
            let page = self.load_page(segment, after.as_ref(), &before).await?;
            put = page.links.iter().map(|link| link.name.clone()).collect();
            place = next_place;
            let links = page.links.len();
            sample.add(&page.links);
            // One may have been deleted meanwhile.
            if let Some(names) = sample.due()
                && self.cache.holds(&names).await? + 1 < names.len()
            {
                return Err(Stop::Full);
            }
            let next = page.next.map_or(Cursor::End, Cursor::After);
            self.cache.note_load(index, &next).await?;
            tokio::time::sleep(pace.spend(links, Instant::now())).await;
            after = match next {
                Cursor::After(name) => Some(name),
                Cursor::Start | Cursor::End => break,
            };
        }
        tokio::time::sleep(LAST_CHANGES).await;
        Ok(self.cache.drop_changed(&place, &put).await?)
    }

    /// Reads one page and puts it; tries again where either fails.
    async fn load_page(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        before: &Before,
    ) -> Result<Page, Stop> {
        let mut pause = PAGE_BACKOFF;
        let mut tries = 0;
        loop {
            tries += 1;
            let stop = match self.try_page(segment, after, before).await {
                Ok(page) => return Ok(page),
                Err(stop) if tries == PAGE_TRIES => return Err(stop),
                Err(stop) => stop,
            };
            tracing::debug!(%stop, "a page of the warm load is tried again");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn try_page(
        &self,
        segment: Segment,
        after: Option<&LinkName>,
        before: &Before,
    ) -> Result<Page, Stop> {
        let read_at = Instant::now();
        let mut page = self.store.scan(segment, after, PAGE).await?;
        let now = self.clock.now();
        let read = page.links.len() as u64;
        page.links.retain(|link| !link.is_expired(now));
        if read_at.elapsed() > PAGE_AGE {
            return Err(Stop::Store(StoreError::DeadlineExceeded));
        }
        let put = put(self.cache.clone(), page.links.clone(), before.clone());
        // A task of its own: where another part fails, or the lease is lost, what has been put must
        // still be looked at.
        tokio::spawn(put).await.unwrap_or(Err(Failure::Failed))?;
        self.metrics.warm_load_links.inc_by(read);
        self.state.1.fetch_add(read, Ordering::Relaxed);
        Ok(page)
    }
}

/// What has to be looked at behind a page: the stream from here on, and what the page before has put.
#[derive(Clone)]
struct Before {
    place: String,
    put: Vec<LinkName>,
}

/// Puts a page, and drops of it what has changed since.
async fn put(cache: Arc<RedisCache>, links: Vec<Link>, before: Before) -> Result<(), Failure> {
    let loaded = cache.load(&links).await;
    let Before { place, mut put } = before;
    put.extend(links.into_iter().map(|link| link.name));
    // Also where it was put in part.
    let looked = cache.drop_changed(&place, &put).await;
    loaded.and(looked)
}

/// Whose turn it is to load.
enum Turn {
    Ours(Lease),
    Elsewhere,
    Done,
}

/// Some of the links that a part has put, to see later whether they are still there.
#[derive(Default)]
struct Sample {
    names: Vec<LinkName>,
    /// Links so far, and when it was last looked.
    seen: usize,
    checked: usize,
}

impl Sample {
    /// Takes one of each of the first pages, of those that do not end: what was put first is what Redis
    /// drops first, if it goes by use.
    fn add(&mut self, links: &[Link]) {
        self.seen += links.len();
        let mut lasting = links.iter().filter(|link| link.expires_at.is_none());
        if self.names.len() < CHECKED
            && let Some(link) = lasting.next()
        {
            self.names.push(link.name.clone());
        }
    }

    /// The names to look at, where it is time to.
    fn due(&mut self) -> Option<Vec<LinkName>> {
        if self.seen - self.checked < CHECK_EVERY || self.names.is_empty() {
            return None;
        }
        self.checked = self.seen;
        Some(self.names.clone())
    }
}

/// Keeps several tasks together to so many links a second.
struct Pace {
    /// 0 for no bound.
    per_second: u32,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            next: Mutex::new(now),
        }
    }

    /// How long to wait after so many links were loaded.
    fn spend(&self, links: usize, now: Instant) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(links as f64 / f64::from(self.per_second));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(now) + cost;
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_by_all_together() {
        let now = Instant::now();
        let pace = Pace::new(1_000, now);
        let at = |ms| now + Duration::from_millis(ms);
        let waits = |links, ms| pace.spend(links, at(ms)).as_millis();
        assert_eq!(waits(100, 0), 100);
        assert_eq!(waits(100, 0), 200);
        assert_eq!(waits(100, 150), 150);
        // Who was slow does not make up for it later.
        assert_eq!(waits(100, 5_000), 100);
        assert_eq!(Pace::new(0, now).spend(1_000_000, now), Duration::ZERO);
    }

    #[test]
    fn how_far_it_is_for_people() {
        let check = |links, of, per_second, expected: &str| {
            let status = WarmStatus {
                state: WarmPhase::Loading,
                links,
                of,
                per_second,
            };
            assert_eq!(status.to_string(), expected);
        };
        check(0, None, None, "0 links");
        check(
            500,
            Some(1_500),
            Some(100),
            "500 links of about 1500, 100 a second, 10 s left",
        );
        check(500, Some(20), Some(100), "500 links, 100 a second");
        check(0, Some(20), Some(0), "0 links of about 20, 0 a second");
    }
}
