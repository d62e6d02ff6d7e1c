//! The flusher: it makes numbered batches of the counts, and adds each of them to the store before it makes the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Counting;
use crate::base::lock::lock;
use crate::store::StoreError;
use crate::store::servers::Label;
use crate::store::statistics::{Added, Batch, Keeping, MAX_ROWS, StatisticsStore, events};

/// How many rows a batch has. A link that was not used lately has its sums on a page of its own, and no link is written while a
/// batch is added to an SQLite file.
const ROWS: usize = MAX_ROWS / 5;
/// How often the counts are brought to the store. If the server is killed, so much is lost.
const EVERY: Duration = Duration::from_secs(5);
/// How much longer than a flush the pause after it is at least, so that the store has time for other work.
const REST: u32 = 3;
/// The longest pause between two flushes.
const LONGEST_REST: Duration = Duration::from_secs(15);
/// The pause before a batch is sent again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// How long the last flush may take without progress when the server stops, and in all.
const NO_PROGRESS: Duration = Duration::from_secs(5);
const LAST_FLUSH: Duration = Duration::from_secs(30);
/// When the store first walks over its sums to remove those that are no longer kept, how often it does so afterwards, and the
/// pause between two steps.
const FIRST_SWEEP: Duration = Duration::from_secs(600);
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// After so few rows the rankings follow at once, and after so many they cannot wait longer.
const FEW_ROWS: usize = 500;
const MANY_ROWS: usize = 50_000;
/// How long the rankings wait otherwise: the more links wait, the more of them lie on one page of a ranking.
const RANK_EVERY: Duration = Duration::from_secs(60);
/// How much longer than a step of the rankings the pause after it is.
const RANK_REST: u32 = 3;
/// How often the metrics show how much waits.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// For how long the store may refuse batches before that is a trouble.
const TROUBLE_AFTER: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Flusher {
    store: Arc<dyn StatisticsStore>,
    server: Label,
    keeping: Keeping,
    hurry: Notify,
    /// Begins the next round of the rankings.
    rank: Notify,
    /// When the last flush began that brought everything.
    since: Mutex<Instant>,
    /// When the store first refused a batch that it has not taken yet.
    failing_since: Mutex<Option<Instant>>,
}

/// The pause before the next call.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

/// How far the flusher is.
#[derive(Default)]
struct Progress {
    /// Whether the store has been set to keep what it is to keep.
    has_set_keeping: bool,
    /// The number of the last batch.
    last: u64,
    /// The batches that were not added yet, the next one first.
    waiting: VecDeque<Batch>,
    /// How many rows were added since the rankings were last told to follow.
    unranked: usize,
}

impl Flusher {
    pub(super) fn new(store: Arc<dyn StatisticsStore>, server: Label, keeping: Keeping) -> Self {
        Self {
            store,
            server,
            keeping,
            hurry: Notify::new(),
            rank: Notify::new(),
            since: Mutex::new(Instant::now()),
            failing_since: Mutex::new(None),
        }
    }

    /// Begins the next flush at once.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Whether the store has not taken counts for [`TROUBLE_AFTER`].
    pub(super) fn has_failed_for_long(&self) -> bool {
        lock(&self.failing_since).is_some_and(|since| since.elapsed() >= TROUBLE_AFTER)
    }

    pub(super) async fn run(&self, counting: &Counting, shutdown: CancellationToken) {
        let mut progress = Progress::default();
        let work = async {
            let mut pause = EVERY;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.hurry.notified() => {}
                }
                let began = Instant::now();
                self.flush(counting, &mut progress).await;
                *lock(&self.since) = began;
                pause = (began.elapsed() * REST).clamp(EVERY, LONGEST_REST);
            }
        };
        let work = async {
            tokio::select! {
                () = work => {}
                () = self.measure(counting) => {}
                () = self.keep_ranking() => {}
                () = self.keep_sweeping(counting) => {}
            }
        };
        // A batch that is cut off here is sent again below, with the same number.
        let until_the_stop = shutdown.run_until_cancelled(work);
        let _never = tokio::join!(until_the_stop, self.store.run(shutdown.clone()));
        self.flush_at_the_stop(counting, &mut progress).await;
        self.write_at_the_stop().await;
        // The store finds what is left of this at its next walk.
        let _ranked = timeout(NO_PROGRESS, self.rank_all(0)).await;
        let left: u64 = progress.waiting.iter().map(Batch::events).sum();
        let left = left
            + counting
                .buffer
                .take()
                .map(|rows| events(&rows))
                .sum::<u64>();
        if left > 0 {
            counting.metrics.statistics_dropped.inc_by(left);
            tracing::error!(
                counts = left,
                "statistics: the store did not take the last counts before the stop"
            );
        }
    }

    /// Flushes for as long as the store takes batches.
    async fn flush_at_the_stop(&self, counting: &Counting, progress: &mut Progress) {
        let began = Instant::now();
        let flush = self.flush(counting, progress);
        tokio::pin!(flush);
        let flushed = || counting.metrics.statistics_flushed.get();
        let mut before = flushed();
        while timeout(NO_PROGRESS, &mut flush).await.is_err() {
            if flushed() == before || began.elapsed() >= LAST_FLUSH {
                return;
            }
            before = flushed();
        }
    }

    /// Has the store write what it has gathered: this may be the last server that runs.
    async fn write_at_the_stop(&self) {
        let written = timeout(LAST_FLUSH, self.store.flush()).await;
        if !matches!(written, Ok(Ok(true))) {
            tracing::debug!(
                ?written,
                "statistics: gathered counts are left to other servers"
            );
        }
    }

    /// Adds everything that was counted up to now.
    async fn flush(&self, counting: &Counting, progress: &mut Progress) {
        let mut pause = Pause::default();
        while !progress.has_set_keeping {
            match in_time(self.store.keep(self.keeping)).await {
                Ok(()) => progress.has_set_keeping = true,
                Err(error) => self.fails(counting, &error, &mut pause).await,
            }
        }
        let mut added: usize = progress.waiting.iter().map(|batch| batch.rows.len()).sum();
        self.send(counting, &mut progress.waiting).await;
        for rows in counting.buffer.take() {
            added += rows.len();
            progress.unranked += rows.len();
            for rows in rows.chunks(ROWS) {
                progress.last += 1;
                progress.waiting.push_back(Batch {
                    server: self.server.clone(),
                    number: progress.last,
                    rows: rows.to_vec(),
                });
            }
            self.send(counting, &mut progress.waiting).await;
            if progress.unranked >= MANY_ROWS {
                progress.unranked = 0;
                self.rank.notify_one();
            }
        }
        if (1..=FEW_ROWS).contains(&added) {
            progress.unranked = 0;
            self.rank.notify_one();
        }
    }

    /// Adds the batches in their order, however long that takes.
    async fn send(&self, counting: &Counting, waiting: &mut VecDeque<Batch>) {
        let mut pause = Pause::default();
        while let Some(batch) = waiting.front() {
            match self.add(counting, batch).await {
                Ok(()) => {
                    waiting.pop_front();
                    pause = Pause::default();
                    self.works();
                }
                Err(error) => self.fails(counting, &error, &mut pause).await,
            }
        }
    }

    async fn add(&self, counting: &Counting, batch: &Batch) -> Result<(), StoreError> {
        let added = in_time(self.store.add(batch, counting.clock.now())).await?;
        // The store counts what is lost.
        if added != Added::Lost {
            counting.metrics.statistics_flushed.inc_by(batch.events());
        }
        Ok(())
    }

    fn works(&self) {
        if let Some(since) = lock(&self.failing_since).take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(seconds, "statistics: the store takes counts again");
        }
    }

    /// Notes that a call has failed, and waits before the next one.
    async fn fails(&self, counting: &Counting, error: &StoreError, pause: &mut Pause) {
        counting.metrics.statistics_failures.inc();
        {
            let mut failing = lock(&self.failing_since);
            if failing.is_none() {
                *failing = Some(Instant::now());
                tracing::warn!(%error, "statistics: the store does not take counts; they wait in memory");
            }
        }
        tokio::time::sleep(pause.0).await;
        pause.0 = (pause.0 * 2).min(LAST_PAUSE);
    }

    /// Shows in the metrics how much waits, and for how long it may have waited. It never ends.
    async fn measure(&self, counting: &Counting) {
        let mut lost = 0;
        loop {
            let buffered = i64::try_from(counting.buffer.len()).unwrap_or(i64::MAX);
            counting.metrics.statistics_buffered.set(buffered);
            let unwritten = self.store.unwritten();
            let gathered = i64::try_from(unwritten.sums).unwrap_or(i64::MAX);
            counting.metrics.statistics_gathered.set(gathered);
            let lag = lock(&self.since).elapsed().max(unwritten.since);
            counting.metrics.statistics_lag.set(lag.as_secs_f64());
            let dropped = unwritten.lost.saturating_sub(lost);
            counting.metrics.statistics_dropped.inc_by(dropped);
            lost = unwritten.lost;
            tokio::time::sleep(MEASURED_EVERY).await;
        }
    }

    /// Whether the store cannot write what it has gathered.
    pub(super) fn cannot_write(&self) -> bool {
        let unwritten = self.store.unwritten();
        unwritten.is_failing && unwritten.since >= TROUBLE_AFTER
    }

    /// Removes sums that are no longer kept, from time to time. It never ends.
    async fn keep_sweeping(&self, counting: &Counting) {
        tokio::time::sleep(FIRST_SWEEP).await;
        loop {
            match in_time(self.store.sweep(counting.clock.now())).await {
                Ok(true) => tokio::time::sleep(SWEEP_PAUSE).await,
                Ok(false) => tokio::time::sleep(SWEEP_EVERY).await,
                Err(error) => {
                    tracing::debug!(%error, "statistics: old sums were not removed");
                    tokio::time::sleep(FIRST_SWEEP).await;
                }
            }
        }
    }

    /// Has the rankings follow the sums. It never ends.
    async fn keep_ranking(&self) {
        loop {
            // Either way it is time.
            let _in_time = timeout(RANK_EVERY, self.rank.notified()).await;
            self.rank_all(RANK_REST).await;
        }
    }

    /// Brings the rankings of all links that wait up to date, step by step, with a pause of so many times a step after it.
    async fn rank_all(&self, rest: u32) {
        loop {
            let began = Instant::now();
            match in_time(self.store.rank()).await {
                Ok(true) => tokio::time::sleep(began.elapsed() * rest).await,
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "statistics: the rankings are behind");
                    return;
                }
            }
        }
    }
}

/// The result of a call, which has a bound.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let result = timeout(CALL, call).await;
    result.unwrap_or(Err(StoreError::DeadlineExceeded))
}
