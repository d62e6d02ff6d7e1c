//! The checks: a task for each target, and the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Condition, PoolStatus};
use super::probe::probe;
use super::{Failure, Routing, tls_key};
use crate::base::clock::Clock;
use crate::base::metrics::{CheckLabel, Metrics, PoolAddressLabel, PoolLabel};

/// How many checks are under way at a time.
const MAX_PROBES: usize = 128;
/// The longest wait for the first checks.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How often a start looks whether they are done.
const START_LOOK: Duration = Duration::from_millis(5);

impl Routing {
    /// Starts the checks of all targets, which run until `stop`.
    pub fn start_checks(
        self: &Arc<Self>,
        clock: &Clock,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let turns = Arc::new(Semaphore::new(MAX_PROBES));
        let targets = self.board().targets().len();
        for place in 0..targets {
            let (routing, turns, clock) = (self.clone(), turns.clone(), clock.clone());
            let stop = stop.clone();
            tasks.spawn(async move {
                let checks = Box::pin(routing.keep_checking(place, &turns, &clock));
                stop.run_until_cancelled(checks).await
            });
        }
    }

    /// Waits until each target has been checked once, 5 seconds at most.
    pub async fn first_checks(&self) {
        let done = async {
            while self.board().unchecked() > 0 {
                sleep(START_LOOK).await;
            }
        };
        if tokio::time::timeout(START_PATIENCE, done).await.is_err() {
            let targets = self.board().unchecked();
            tracing::warn!(
                targets,
                "not all addresses of pools are checked yet; those count as up"
            );
        }
    }

    async fn keep_checking(&self, place: usize, turns: &Semaphore, clock: &Clock) {
        let Some(target) = self.board().targets().nth(place).cloned() else {
            return;
        };
        let tls = tls_key(&target.check.kind).and_then(|key| self.tls.get(&key));
        let interval = target.check.interval;
        // So that the checks after the first ones are spread over the interval.
        let mut pause = interval.mul_f64(fastrand::f64().max(0.1));
        loop {
            // The semaphore is never closed.
            let Ok(turn) = turns.acquire().await else {
                return;
            };
            let began = Instant::now();
            let result = probe(&target, tls).await;
            drop(turn);
            self.measure_check(&result, began.elapsed());
            self.note(place, result, clock.now());
            sleep(pause.saturating_sub(began.elapsed()).max(interval / 10)).await;
            pause = interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        }
    }

    fn measure_check(&self, result: &Result<(), Failure>, time: Duration) {
        let Some(effects) = self.effects.get() else {
            return;
        };
        let result = result.as_ref().err().map_or("passed", Failure::kind);
        let (metrics, label) = (&effects.metrics, CheckLabel { result });
        metrics.pool_checks.get_or_create_owned(&label).inc();
        metrics.pool_check_seconds.observe(time.as_secs_f64());
    }

    /// Sets the figures of all pools.
    pub(super) fn measure(&self) {
        if let Some(effects) = self.effects.get() {
            self.show(&self.statuses(), &effects.metrics);
        }
    }

    pub(super) fn label(&self, place: usize) -> PoolLabel {
        let pool = self.config.pools.get(place);
        PoolLabel {
            pool: pool.map(|pool| pool.name.to_string()).unwrap_or_default(),
        }
    }

    pub(super) fn show(&self, statuses: &[PoolStatus], metrics: &Metrics) {
        for (place, status) in statuses.iter().enumerate() {
            let (label, pool) = (self.label(place), &self.config.pools[place]);
            let is_drained = i64::from(status.state == Condition::Drained);
            metrics
                .pool_drained
                .get_or_create_owned(&label)
                .set(is_drained);
            let is_up = i64::from(status.state == Condition::Up);
            metrics.pool_up.get_or_create_owned(&label).set(is_up);
            for (address, status) in pool.addresses().zip(&status.addresses) {
                let label = PoolAddressLabel {
                    pool: label.pool.clone(),
                    address: address.to_string(),
                };
                let up = metrics.pool_address_up.get_or_create_owned(&label);
                up.set(i64::from(status.is_up));
            }
        }
    }
}
