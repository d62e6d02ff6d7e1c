//! The task that makes the repairs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Announced, Repair};
use crate::link::LinkName;
use crate::links::redis::RedisCache;

/// The pause after a pass without success.
const REPAIR_PAUSE: Duration = Duration::from_millis(200);
/// The time between two attempts of one repair.
const REPAIR_RETRY: Duration = Duration::from_secs(1);
/// How many repairs are made at the same time.
const REPAIR_BATCH: usize = 256;
/// How long a node that stops may still make repairs.
const LAST_REPAIRS: Duration = Duration::from_secs(1);

impl RedisCache {
    /// Makes repairs until `shutdown`, and then for [`LAST_REPAIRS`] at most.
    pub(in crate::links::redis) async fn repair(&self, shutdown: CancellationToken) {
        let work = async {
            loop {
                if self.repairs.pending() == 0 {
                    self.repairs.work.notified().await;
                }
                if self.repair_some().await == 0 {
                    tokio::time::sleep(REPAIR_PAUSE).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        let last = async { while self.repair_some().await > 0 {} };
        if tokio::time::timeout(LAST_REPAIRS, last).await.is_err() || self.repairs.pending() > 0 {
            let names = self.repairs.pending();
            tracing::warn!(
                names,
                "stopped before Redis had all changes; it may hold old states of these names until they expire"
            );
        }
    }

    /// Makes some of the repairs that are due; returns how many succeeded.
    async fn repair_some(&self) -> usize {
        let lost = self.repairs.given_up();
        if lost > 0 {
            self.given_up.store(true, Ordering::Release);
            tracing::error!(
                lost,
                "too many changes wait for Redis; it may hold old states of these names until they expire"
            );
        }
        let allowed = |name: &LinkName, repair: &Repair| {
            let can_announce = repair.is_unannounced() && self.changes.can_announce();
            self.client.allows(&self.keys.link(name)) || can_announce
        };
        let due = self.repairs.due(Instant::now(), REPAIR_BATCH, allowed);
        let repairing = due
            .iter()
            .map(|(name, repair)| self.repair_one(name, repair));
        let repaired = join_all(repairing).await;
        repaired.into_iter().filter(|done| *done).count()
    }

    /// Drops the value of a name if it is older, and announces the change. If the value cannot be dropped,
    /// announces that Redis lacks the change. Whether the repair is done.
    async fn repair_one(&self, name: &LinkName, repair: &Repair) -> bool {
        let run = self.drop_run(name, repair.version);
        let is_dropped = self.client.run("repair", &run).await.is_ok();
        let is_announced = (is_dropped || repair.is_unannounced())
            && self
                .changes
                .announce(name, repair.version, !is_dropped, repair.own)
                .await
                .is_ok();
        // A change that was announced as lacking needs no second entry: each node makes this repair itself.
        if is_dropped && (is_announced || repair.announced == Announced::Lacking) {
            self.repairs.done(name, repair);
            return true;
        }
        // Other repairs come first.
        let due = Instant::now() + REPAIR_RETRY;
        self.repairs.put_off(name, repair, due);
        if is_announced {
            self.repairs.note_announced(name, repair);
        }
        false
    }
}
