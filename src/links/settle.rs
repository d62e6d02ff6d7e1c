//! Unsettled changes: it is not known whether the store made them, because its reply was lost or came too late.
//!
//! Dropping such a name everywhere would be safe, but would take a live link down for as long as the store is
//! away. The state from before the change was true, and no newer one has been acknowledged. So the node that made
//! the change keeps its claim in Redis, makes memory revalidate the name, and reads the name from the store until
//! the outcome is known. While the store cannot be read, nodes use the former link, marked as stale, but never a
//! former absence. In the end the node announces the outcome.
//!
//! The store may make a change until [`LATE_WRITE`] after it failed. What is read before that settles the change
//! only if it shows the change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::deadline::{LATE_WRITE, RESOLVE_DEADLINE, within};
use super::memory::Memory;
use super::redis::{WriteClaim, Written};
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName};
use crate::store::{Effect, Store, StoreError, Trouble};

/// How many changes may be unsettled. Memory drops the names of further ones.
const MAX_UNSETTLED: usize = 4_096;
/// How many of them may be read from the store at once: a table that recovers has other work to do.
const MAX_READS: usize = 16;
/// The pause before a name is read again; it doubles.
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: well below the life of a claim, which each read prolongs.
const MAX_PAUSE: Duration = Duration::from_secs(4);
async fn hold(claim: Option<&WriteClaim>) {
    if let Some(claim) = claim {
        claim.hold().await;
    }
}

/// What shows that a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A link of this version, or of a newer one.
    Version(u64),
    /// The absence of the link.
    Absence,
}

impl Evidence {
    fn is_shown_by(self, found: Option<&Link>) -> bool {
        match (self, found) {
            (Self::Version(version), Some(link)) => link.version.0 >= version,
            (Self::Absence, None) => true,
            (Self::Version(_), None) | (Self::Absence, Some(_)) => false,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Settler {
    store: Arc<dyn Store>,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    reads: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Settler {
    pub(super) fn new(store: Arc<dyn Store>, memory: Arc<Memory>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            memory,
            metrics,
            reads: Semaphore::new(MAX_READS),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Finds out whether a change was made, in a task of its own.
    pub(super) fn settle(
        self: &Arc<Self>,
        name: LinkName,
        evidence: Evidence,
        claim: Option<WriteClaim>,
    ) {
        if self.tasks.len() >= MAX_UNSETTLED || self.tasks.is_closed() {
            // The dropped claim leads to a repair of the name.
            self.memory.forget(&name);
            return;
        }
        self.memory.revalidate(&name);
        let settler = Arc::clone(self);
        self.tasks.spawn(async move {
            let finding = settler.find_out(&name, evidence, claim.as_ref());
            let found = settler.stop.run_until_cancelled(finding).await;
            settler.end(&name, found, claim).await;
        });
    }

    /// Reads the name until the outcome is known. A damaged link counts as none.
    async fn find_out(
        &self,
        name: &LinkName,
        evidence: Evidence,
        claim: Option<&WriteClaim>,
    ) -> Option<Link> {
        let began = Instant::now();
        let mut pause = MIN_PAUSE;
        loop {
            hold(claim).await;
            let is_quiet = began.elapsed() >= LATE_WRITE;
            match self.read(name, claim).await {
                Ok(found) if is_quiet || evidence.is_shown_by(found.as_ref()) => return found,
                Err(StoreError::Corrupt { .. }) if is_quiet => return None,
                Ok(_) => pause = pause.max(MAX_PAUSE / 4),
                Err(error) => {
                    self.metrics.count_store_error(error.cause());
                    tracing::debug!(%name, %error, "the outcome of a change is still unknown");
                }
            }
            // At different times for different names, so that they do not all come when the store is back.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Reads the name when one of [`MAX_READS`] is free. That may take long, so the claim is prolonged meanwhile.
    async fn read(
        &self,
        name: &LinkName,
        claim: Option<&WriteClaim>,
    ) -> Result<Option<Link>, StoreError> {
        let mut turn = std::pin::pin!(self.reads.acquire());
        let permit = loop {
            tokio::select! {
                permit = &mut turn => break permit,
                () = tokio::time::sleep(MAX_PAUSE) => hold(claim).await,
            }
        };
        let Ok(_permit) = permit else {
            return Err(StoreError::Overloaded);
        };
        within(RESOLVE_DEADLINE, self.store.get_current(name)).await
    }

    /// Puts and announces the outcome. None if the server stops before it is known: the dropped claim then leads
    /// to a repair of the name.
    async fn end(&self, name: &LinkName, found: Option<Option<Link>>, claim: Option<WriteClaim>) {
        match &found {
            Some(Some(link)) => self.memory.forget_older(name, link.version),
            Some(None) | None => self.memory.forget(name),
        };
        let (Some(found), Some(claim)) = (found, claim) else {
            return;
        };
        let written = found.map_or(Written::Gone, |link| Written::Link(link.into()));
        claim.finish(&written).await;
        // A look-up since then may have used the former value in Redis.
        self.memory.revalidate(name);
    }

    /// How many changes are unsettled.
    pub(super) fn unsettled(&self) -> usize {
        self.tasks.len()
    }

    /// What an operator should know.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        (self.unsettled() > 0).then(|| {
            let reason =
                "it is not known yet whether some changes were made; reading the link store until it is known";
            Trouble::new(Effect::Degraded, reason)
        })
    }

    /// Ends the search for outcomes, and drops the names of unsettled changes.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
