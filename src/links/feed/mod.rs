//! The follower: reads the feed of the store, and applies what other servers and programs have changed.
//!
//! ```text
//!   Feed::end ── everything in memory is looked up again ──┐
//!       ┌──────────────────────────────────────────────────┘
//!       └─> Feed::read ── entries ── memory drops older states, stamps advance ── [`Applied`] ──┐
//!             ^    └── too old ── as at the start                                               │
//!             └───────────────────── news, or `LOOK_EVERY` ─────────────────────────────────────┘
//! ```
//!
//! An entry names a link that has changed, and has no state: what is needed is looked up. So it does no harm if an entry
//! comes twice, or comes after the announcement of the same change by Redis, and a follower may begin anywhere before the
//! entries that it has not applied yet.
//!
//! While the follower cannot read the feed to its end, memory uses what it holds for a shorter time, unless Redis notifies
//! the server of changes. A read that takes longer than `READ_TIME` counts as failed.

mod applied;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use self::applied::{Applied, Following, LOOK_VALID_FOR};
use super::deadline::within;
use super::memory::{Memory, Notifier};
use super::servers::Own;
use crate::base::metrics::Metrics;
use crate::link::Version;
use crate::store::feed::{Entries, Entry, Feed, FeedPage, Position};
use crate::store::{Effect, StoreError, Trouble};

/// How many entries are read at once.
const PAGE: usize = 1_000;
/// How often the feed is read while there is no news: several times while a look is good.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a read may take.
const READ_TIME: Duration = Duration::from_secs(2);
/// The shortest and the longest pause after a failure.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// For how long a follower may be behind before an operator is told: a look may be late on a busy machine.
const TROUBLE_AFTER: Duration = Duration::from_secs(3);

/// How often the log tells of gaps: with a store of one server, each write of another program makes one.
const GAP_LOGGED: Duration = Duration::from_secs(60);

/// Where a follower reads.
#[derive(Debug, Default)]
struct Reader {
    /// None before the begin, and after a gap.
    place: Option<Position>,
    gap_logged: Option<Instant>,
}

impl Reader {
    fn log_gap(&mut self, now: Instant) {
        let is_due = |logged: Instant| now.saturating_duration_since(logged) >= GAP_LOGGED;
        if self.gap_logged.is_none_or(is_due) {
            self.gap_logged = Some(now);
            tracing::warn!(
                "another program has changed the link store, or changes were missed; looking up all links again"
            );
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Follower {
    feed: Arc<dyn Feed>,
    memory: Arc<Memory>,
    /// Hears of the changes that were applied.
    own: Arc<Own>,
    applied: Arc<Applied>,
    metrics: Arc<Metrics>,
}

impl Follower {
    pub(super) fn new(
        feed: Arc<dyn Feed>,
        memory: Arc<Memory>,
        own: Arc<Own>,
        applied: Arc<Applied>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            feed,
            memory,
            own,
            applied,
            metrics,
        }
    }

    /// Follows the feed until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            never = self.follow() => match never {},
            () = shutdown.cancelled() => {}
        }
        self.memory.set_notified(Notifier::Feed, false);
    }

    async fn follow(&self) -> std::convert::Infallible {
        let mut reader = Reader::default();
        let mut retry = MIN_RETRY;
        loop {
            match self.step(&mut reader).await {
                Ok(true) => {
                    retry = MIN_RETRY;
                    // Either may be late without harm: an early read finds nothing.
                    let _ = tokio::time::timeout(LOOK_EVERY, self.feed.news()).await;
                }
                Ok(false) => {
                    retry = MIN_RETRY;
                    if self.applied.following(Instant::now()) != Following::Following {
                        self.memory.set_notified(Notifier::Feed, false);
                    }
                }
                Err(error) => {
                    self.failed(&error, retry);
                    // At different times on different servers.
                    tokio::time::sleep(retry.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    retry = (2 * retry).min(MAX_RETRY);
                }
            }
        }
    }

    /// Reads and applies a page, or finds a place to begin. Whether the end was reached.
    async fn step(&self, reader: &mut Reader) -> Result<bool, StoreError> {
        let began = Instant::now();
        let Some(after) = &reader.place else {
            reader.place = Some(self.begin().await?);
            return Ok(true);
        };
        match within(READ_TIME, self.feed.read(after, PAGE)).await? {
            FeedPage::Entries(Entries {
                entries,
                position,
                at_end,
            }) => {
                entries.iter().for_each(|entry| self.apply(entry));
                reader.place = Some(position.clone());
                self.applied.note(position, at_end.then_some(began));
                if at_end {
                    self.memory.set_notified(Notifier::Feed, true);
                }
                Ok(at_end)
            }
            FeedPage::TooOld => {
                reader.log_gap(began);
                self.metrics.feed_gaps.inc();
                self.applied.note_gap();
                reader.place = None;
                Ok(false)
            }
        }
    }

    /// Begins at the end of the feed: what was looked up before is looked up again.
    async fn begin(&self) -> Result<Position, StoreError> {
        let began = Instant::now();
        self.applied.note_gap();
        let end = within(READ_TIME, self.feed.end()).await?;
        // After the end is known: later changes are read, and earlier look-ups are not used.
        self.memory.revalidate_all(Instant::now());
        self.applied.note(end.clone(), Some(began));
        self.memory.set_notified(Notifier::Feed, true);
        Ok(end)
    }

    fn apply(&self, entry: &Entry) {
        let version = entry.version.unwrap_or(Version(u64::MAX));
        let was_flying = self.memory.forget_older(&entry.name, version);
        self.own.note_change(&entry.name, was_flying);
        self.metrics.feed_entries.inc();
    }

    fn failed(&self, error: &StoreError, retry: Duration) {
        self.metrics.count_store_error(error.cause());
        self.applied.note_failure();
        self.memory.set_notified(Notifier::Feed, false);
        if retry == MIN_RETRY {
            tracing::debug!(%error, "cannot read the feed of changes; retrying");
        }
    }
}

impl Applied {
    /// What an operator should know.
    pub(super) fn trouble(&self, now: Instant) -> Option<Trouble> {
        let is_late = self.lag(now).is_none_or(|lag| lag > TROUBLE_AFTER);
        let reason = match self.following(now) {
            Following::Behind if is_late => {
                "the feed of changes is read too slowly: changes by other programs show late"
            }
            Following::Failing if is_late => {
                "the feed of changes cannot be read: changes by other programs show late"
            }
            Following::Starting | Following::Following | Following::Behind | Following::Failing => {
                return None;
            }
        };
        Some(Trouble::new(Effect::Degraded, reason))
    }

    /// Updates the gauges.
    pub(super) fn measure(&self, metrics: &Metrics, now: Instant) {
        let lag = self.lag(now).map_or(0.0, |lag| lag.as_secs_f64());
        metrics.feed_lag.set(lag);
        let follows = self.following(now) == Following::Following;
        metrics.feed_following.set(follows.into());
    }
}

#[cfg(test)]
mod tests;
