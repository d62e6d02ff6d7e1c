//! A flight: one look-up behind the memory, and how those who wait for it get its result.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::Notify;

use crate::link::Link;
use crate::store::StoreError;

/// What is known of a name: its link, expired or not, or that there is none.
pub(in crate::links) type Known = Option<Arc<Link>>;

/// What a flight brings.
pub(in crate::links) type Landing = Result<Known, Missed>;

/// Why a flight has not found out what there is.
#[derive(Clone, Debug)]
pub(in crate::links) struct Missed {
    pub(in crate::links) error: StoreError,
    /// The link that there was before a change that is under way.
    pub(in crate::links) was: Known,
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self { error, was: None }
    }
}

/// Where a flight lands. A `watch` channel would do, but it is made for crowds that keep watching, and
/// takes half a kilobyte for each of the flights.
#[derive(Debug, Default)]
pub(super) struct Strip {
    landing: OnceLock<Landing>,
    landed: Notify,
}

impl Strip {
    /// Tells those who wait, and those who will; what came first stays.
    pub(super) fn land(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }

    /// Whether it has landed.
    pub(super) fn has_landed(&self) -> bool {
        self.landing.get().is_some()
    }
}

/// The end of a flight, to wait for.
#[derive(Debug)]
pub(in crate::links) struct Wait {
    pub(super) strip: Arc<Strip>,
    /// When the flight began: that is how old its result will be.
    pub(in crate::links) since: Instant,
    /// What was held before, for the case that the flight fails.
    pub(in crate::links) stale: Known,
}

impl Wait {
    /// Waits for the flight's end.
    pub(in crate::links) async fn landing(&self) -> Landing {
        loop {
            // Before the look: what is told in between is heard.
            let landed = self.strip.landed.notified();
            if let Some(landing) = self.strip.landing.get() {
                return landing.clone();
            }
            landed.await;
        }
    }
}
