//! Changes of which nobody knows whether they were made: the reply was lost, or did not come in time.
//!
//! To drop everything that is held of such a name would be safe, and would take a live link down for as long
//! as the store is away: before the change the old state was true, and nothing newer has been acknowledged.
//! So the server that made the change keeps its claim in Redis, has memory doubt what it holds, and reads the
//! name from the store until it knows. Meanwhile what was known is used where the store cannot be asked, as
//! stale; an absence never is. Then all servers are told.
//!
//! A change that was sent may be carried out until [`LATE_WRITE`] after it failed. What is read before that decides
//! only where it shows the change.

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

/// How many changes may wait to be found out. Of those beyond everything that is held is dropped.
const MAX_UNSETTLED: usize = 4_096;
/// How many of them may be read from the store at once: a table that recovers has better things to do.
const MAX_READS: usize = 16;
/// The pause before a name is read again; it doubles.
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: well below the life of a claim, which each round prolongs.
const MAX_PAUSE: Duration = Duration::from_secs(4);
async fn hold(claim: Option<&WriteClaim>) {
    if let Some(claim) = claim {
        claim.hold().await;
    }
}

/// What would show that a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A link of this version, or a newer one.
    Version(u64),
    /// That there is no link.
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
            // The claim's end has the name repaired.
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

    /// Reads until it is known what there is. A link that is damaged counts as none that could be told.
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
                    tracing::debug!(%name, %error, "not known yet whether a change was made");
                }
            }
            // Not all at once when the store is back.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Reads the name when it is its turn, which may take long: the claim is held meanwhile.
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
        within(RESOLVE_DEADLINE, self.store.get(name)).await
    }

    /// Tells Redis and the other servers; none where the server stops before it knows, so that the claim's end
    /// has the name repaired.
    async fn end(&self, name: &LinkName, found: Option<Option<Link>>, claim: Option<WriteClaim>) {
        match &found {
            Some(Some(link)) => self.memory.forget_older(name, link.version),
            Some(None) | None => self.memory.forget(name),
        }
        let (Some(found), Some(claim)) = (found, claim) else {
            return;
        };
        let written = found.map_or(Written::Gone, |link| Written::Link(link.into()));
        claim.finish(&written).await;
        // What was looked up since may have come from what Redis held until now.
        self.memory.revalidate(name);
    }

    /// How many changes are not known yet.
    pub(super) fn unsettled(&self) -> usize {
        self.tasks.len()
    }

    /// What an operator should know.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        (self.unsettled() > 0).then(|| {
            let reason =
                "it is not known yet whether some changes were made; the link store is asked again";
            Trouble::new(Effect::Degraded, reason)
        })
    }

    /// Gives up what is not known yet, and leaves nothing of it that might be wrong.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
