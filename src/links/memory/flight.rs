//! A flight: one look-up of a name in the tiers behind the memory, and the result that all waiting queries share.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::Notify;

use crate::link::Link;
use crate::store::StoreError;

/// The state of a name: its link, which may have ended, or none.
pub(in crate::links) type Known = Option<Arc<Link>>;

/// The result of a flight.
pub(in crate::links) type Landing = Result<Known, Missed>;

/// Why a flight failed.
#[derive(Clone, Debug)]
pub(in crate::links) struct Missed {
    pub(in crate::links) error: StoreError,
    /// The link from before a change that is under way.
    pub(in crate::links) was: Known,
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self { error, was: None }
    }
}

/// The place of a flight's result. A `watch` channel would do as well, but takes half a kilobyte for each flight.
#[derive(Debug, Default)]
pub(super) struct Strip {
    landing: OnceLock<Landing>,
    landed: Notify,
}

impl Strip {
    /// Sets the result, unless there is one, and wakes all who wait.
    pub(super) fn land(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }

    /// Whether there is a result.
    pub(super) fn has_landed(&self) -> bool {
        self.landing.get().is_some()
    }
}

/// A flight to wait for.
#[derive(Debug)]
pub(in crate::links) struct Wait {
    pub(super) strip: Arc<Strip>,
    /// When the flight began, which is the age of its result.
    pub(in crate::links) since: Instant,
    /// The link in memory, for the case that the flight fails.
    pub(in crate::links) stale: Known,
}

impl Wait {
    /// Waits for the result.
    pub(in crate::links) async fn landing(&self) -> Landing {
        loop {
            // Before the check, so that a result that is set in between wakes this.
            let landed = self.strip.landed.notified();
            if let Some(landing) = self.strip.landing.get() {
                return landing.clone();
            }
            landed.await;
        }
    }
}
