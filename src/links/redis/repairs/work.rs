//! Making the repairs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Others, Repair};
use crate::link::LinkName;
use crate::links::redis::RedisCache;

/// How often the repairs are looked at, while there are any.
const REPAIR_PAUSE: Duration = Duration::from_millis(200);
/// After how long a repair that has failed is tried again.
const REPAIR_RETRY: Duration = Duration::from_secs(1);
/// How many names are repaired at once.
const REPAIR_BATCH: usize = 256;
/// How long the last repairs may take when the node stops.
const LAST_REPAIRS: Duration = Duration::from_secs(1);

impl RedisCache {
    /// Repairs what has to be, until it is told to stop; and then what is left, for a moment.
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
            tracing::warn!(names, "stopped before Redis could be told of all changes");
        }
    }

    /// Repairs some of what is due; gives how many names were.
    async fn repair_some(&self) -> usize {
        let lost = self.repairs.given_up();
        if lost > 0 {
            self.given_up.store(true, Ordering::Release);
            tracing::error!(
                lost,
                "too many changes wait for Redis; it may hold older states until they end"
            );
        }
        let allowed = |name: &LinkName, repair: &Repair| {
            let can_tell = repair.own && repair.others == Others::NotTold;
            self.client.allows(&self.keys.link(name)) || can_tell && self.changes.can_announce()
        };
        let due = self.repairs.due(Instant::now(), REPAIR_BATCH, allowed);
        let repairing = due
            .iter()
            .map(|(name, repair)| self.repair_one(name, repair));
        let repaired = join_all(repairing).await;
        repaired.into_iter().filter(|done| *done).count()
    }

    /// Drops what Redis holds of a name that is older, and tells all nodes. Where it cannot be dropped,
    /// they are told that. Whether the repair is done.
    async fn repair_one(&self, name: &LinkName, repair: &Repair) -> bool {
        let run = self.drop_run(name, repair.version);
        let is_dropped = self.client.run("repair", &run).await.is_ok();
        let is_untold = repair.own && repair.others == Others::NotTold;
        let is_announced = (is_dropped || is_untold)
            && self
                .changes
                .announce(name, repair.version, !is_dropped)
                .await
                .is_ok();
        // Where the others have been told before, they make repairs of their own.
        if is_dropped && (is_announced || repair.others == Others::Told) {
            self.repairs.done(name, repair);
            return true;
        }
        // The others have their turn before this one is tried again.
        let due = Instant::now() + REPAIR_RETRY;
        self.repairs.put_off(name, repair, due);
        if is_announced {
            self.repairs.others_told(name, repair);
        }
        false
    }
}
