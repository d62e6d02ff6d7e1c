//! The warm load: when a node starts, it reads every link from the store into Redis. Meanwhile it already answers,
//! by reading through. (The program of the article that tinyns grew out of does the same.)
//!
//! ```text
//!   store ── SEGMENTS parallel scans ── pages ── conditional puts ──> Redis
//!                └ pace: links a second          └ cursor of each part, also in Redis
//! ```
//!
//! One node of a fleet loads at a time. It holds a lease, which expires if the node dies; the next node then
//! continues from the cursors. A load that ended a short while ago is not repeated, so a fleet that starts
//! together loads once. When Redis has lost its values, the links are loaded again.
//!
//! If Redis has to evict during a load, the load pushes out links in use in favour of links that are not. So a
//! load regularly checks some of the links that it has put, and stops if they are gone.

mod pace;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::pace::{Pace, Sample};
use super::redis::{Cursor, Failure, LEASE, Lease, RedisCache};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName};
use crate::store::{Page, Segment, Store, StoreError};

/// The number of parts of the store; each part is read page by page.
const SEGMENTS: u32 = 4;
/// The number of links in a page.
const PAGE: usize = 1_000;
/// How old a page may be when it is put. Tombstones live much longer than that, unless they are evicted.
const PAGE_AGE: Duration = Duration::from_secs(20);
/// A load that ended less than this many seconds ago is not repeated at a start.
const RECENT: u64 = 600;
/// How often the lease is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
/// How often a load checks whether Redis works, while it does not: a look at a flag.
const REDIS_WAIT: Duration = Duration::from_millis(200);
/// After how long the log says that the load waits for Redis, and how often it repeats that.
const WAIT_LOGGED: Duration = Duration::from_secs(10);
const WAIT_LOGGED_AGAIN: Duration = Duration::from_secs(600);
/// How often a node asks whether another one is still loading.
const LEASE_WAIT: Duration = Duration::from_secs(2);
/// How many attempts are made for a page.
const PAGE_TRIES: u32 = 8;
/// The pause before the second attempt; it doubles.
const PAGE_BACKOFF: Duration = Duration::from_millis(250);
/// How many attempts are made for a load. After that, only the next start or loss of values begins another.
const ATTEMPTS: u32 = 5;
/// The pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(10);
/// How long after its last page a part checks the stream of changes once more.
const LAST_CHANGES: Duration = Duration::from_millis(500);
/// How often the log says how far the load is.
const REPORT: Duration = Duration::from_secs(10);

/// The state of a warm load, for `/readyz` and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmPhase {
    /// Not configured.
    Off,
    /// Waiting for Redis.
    Waiting,
    /// Another server is loading.
    Elsewhere,
    /// Under way.
    Loading,
    /// All links were loaded, by this server or another one.
    Done,
    /// Stopped because Redis has no room for all links.
    Full,
    /// Given up.
    Failed,
}

/// How far a warm load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WarmStatus {
    /// The state.
    pub state: WarmPhase,
    /// Links read by this server.
    pub links: u64,
    /// About how many links there are, if the store can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Links read per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u64>,
}

/// The state of a warm load, updated while it runs.
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

/// When the log has to say that the load waits for Redis.
struct Waiting {
    /// The time of the next line.
    due: Instant,
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self {
            due: now + WAIT_LOGGED,
        }
    }

    /// Whether a line is due.
    fn must_log(&mut self, is_waiting: bool, now: Instant) -> bool {
        if !is_waiting {
            *self = Self::new(now);
        }
        let is_due = now >= self.due;
        if is_due {
            self.due = now + WAIT_LOGGED_AGAIN;
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
    /// Links per second; 0 for no limit.
    pub(super) rate: u32,
    pub(super) state: Arc<WarmState>,
    /// Notified when Redis may have lost values.
    pub(super) lost: Arc<Notify>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl WarmLoad {
    /// Loads at the start, and whenever Redis has lost values, until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let work = async {
            self.store.opened().await;
            let mut since = Some(RECENT);
            loop {
                self.load_once(since).await;
                self.lost.notified().await;
                // If the node has only read the stream too late, Redis still has its values, and among them the
                // note of the last load: then that load counts, whatever its age.
                since = None;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        self.metrics.warm_load_running.set(0);
    }

    /// Loads the links unless another node does. A load that ended within `recent` seconds, or ever, is not
    /// repeated.
    async fn load_once(&self, recent: Option<u64>) {
        let mut failures = 0;
        let mut waiting = Waiting::new(Instant::now());
        while failures < ATTEMPTS {
            let turn = self.take_lease(recent).await;
            let is_waiting = turn.is_err();
            if waiting.must_log(is_waiting, Instant::now()) {
                let why = self.cache.troubles().join("; ");
                tracing::warn!(
                    why,
                    "the warm load waits for Redis; it will start by itself"
                );
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
            "the warm load was given up after {ATTEMPTS} attempts: links get into Redis as they are asked for"
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

    /// Loads while the node holds the lease.
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
        // No effect if the lease was lost.
        let done = result.is_ok();
        let ended = self.cache.end_load(lease, done).await;
        result?;
        ended?;
        tracing::info!(loaded = %self.state.status(), "links are loaded into Redis");
        Ok(())
    }

    /// Renews the lease; returns when it is lost.
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

    /// Loads one part from its cursor. While a page is put, the next one is read.
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
        let mut before = Before {
            place: self.cache.changes_end().await?,
            put: Vec::new(),
        };
        let mut tries = Tries::default();
        let mut ahead = None;
        loop {
            let reading = match ahead.take() {
                Some(reading) => reading,
                None => self.read(segment, after.as_ref()).await,
            };
            let read = match reading {
                Ok(read) => read,
                Err(stop) => {
                    tries.again(stop).await?;
                    continue;
                }
            };
            let pause = pace.spend(read.links.len(), Instant::now());
            let reading = async {
                tokio::time::sleep(pause).await;
                Some(self.read(segment, Some(read.next.as_ref()?)).await)
            };
            let (put, next) = tokio::join!(self.put(&read, &before), reading);
            if let Err(stop) = put {
                // What was read ahead is dropped: read again, this page may end elsewhere.
                tries.again(stop).await?;
                continue;
            }
            tries = Tries::default();
            ahead = next;
            sample.add(&read.links);
            // One of them may have been deleted meanwhile.
            if let Some(names) = sample.due()
                && self.cache.holds(&names).await? + 1 < names.len()
            {
                return Err(Stop::Full);
            }
            before = Before {
                place: read.place,
                put: read.links.into_iter().map(|link| link.name).collect(),
            };
            let next = read.next.map_or(Cursor::End, Cursor::After);
            self.cache.note_load(index, &next).await?;
            after = match next {
                Cursor::After(name) => Some(name),
                Cursor::Start | Cursor::End => break,
            };
        }
        tokio::time::sleep(LAST_CHANGES).await;
        Ok(self.cache.drop_changed(&before.place, &before.put).await?)
    }

    /// Reads a page.
    async fn read(&self, segment: Segment, after: Option<&LinkName>) -> Result<Read, Stop> {
        // The stream is read from before the page: a change is announced some milliseconds after it was made.
        let place = self.cache.changes_end().await?;
        let at = Instant::now();
        let Page { mut links, next } = self.store.scan(segment, after, PAGE).await?;
        let number = links.len() as u64;
        let now = self.clock.now();
        links.retain(|link| !link.is_expired(now));
        Ok(Read {
            links,
            next,
            number,
            at,
            place,
        })
    }

    /// Puts a page.
    async fn put(&self, read: &Read, before: &Before) -> Result<(), Stop> {
        if read.at.elapsed() > PAGE_AGE {
            return Err(Stop::Store(StoreError::DeadlineExceeded));
        }
        let put = put(self.cache.clone(), read.links.clone(), before.clone());
        // A task of its own: if another part fails or the lease is lost, the changes must still be applied to what
        // was put.
        tokio::spawn(put).await.unwrap_or(Err(Failure::Failed))?;
        self.metrics.warm_load_links.inc_by(read.number);
        self.state.1.fetch_add(read.number, Ordering::Relaxed);
        Ok(())
    }
}

/// A page that was read.
struct Read {
    /// Its links that have not expired.
    links: Vec<Link>,
    /// The name after which the next page begins, if there is one.
    next: Option<LinkName>,
    /// How many links were read, with those that have expired.
    number: u64,
    /// When the reading began.
    at: Instant,
    /// The end of the stream before that.
    place: String,
}

/// The attempts for one page.
struct Tries {
    made: u32,
    pause: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            made: 0,
            pause: PAGE_BACKOFF,
        }
    }
}

impl Tries {
    /// Waits before the next attempt, unless that was the last one.
    async fn again(&mut self, stop: Stop) -> Result<(), Stop> {
        self.made += 1;
        if self.made == PAGE_TRIES {
            return Err(stop);
        }
        tracing::debug!(%stop, "retrying a page of the warm load");
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        Ok(())
    }
}

/// Where the stream has to be read from after a page, and the links of the page before.
#[derive(Clone)]
struct Before {
    place: String,
    put: Vec<LinkName>,
}

/// Puts a page, and drops what has changed since it was read.
async fn put(cache: Arc<RedisCache>, links: Vec<Link>, before: Before) -> Result<(), Failure> {
    let loaded = cache.load(&links).await;
    let Before { place, mut put } = before;
    put.extend(links.into_iter().map(|link| link.name));
    // Also if only a part of the page was put.
    let looked = cache.drop_changed(&place, &put).await;
    loaded.and(looked)
}

/// Who loads.
enum Turn {
    Ours(Lease),
    Elsewhere,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_readable() {
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
