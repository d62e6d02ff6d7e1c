//! The notice board: how nodes learn of changes that cannot be announced through Redis.
//!
//! ```text
//!   change ── cannot be announced ── repairs ── at once ──> notice in the store
//!                                                                │ every second
//!   memory forgets, Redis is bypassed and repaired <── read ─────┘ by all other nodes
//! ```
//!
//! A *cut-off* node cannot reach Redis, or may not write there, but still changes links in the store. The other
//! nodes hold the old state: in memory, as long as they follow the stream, and in Redis, until the value expires.
//! So a cut-off node leaves a [`Notice`](crate::store::Notice) in the store. A node that reads it treats each
//! change in it as one that was announced and that Redis lacks. It announces the repairs that it makes for them,
//! so a warm load sees these changes in the stream as well.
//!
//! The notice is updated before a change is acknowledged, so that it is there even if the cut-off node is killed
//! right after that. This holds while fewer than [`MAX_AWAITED`] changes are unannounced; further ones get into
//! the notice within [`INTERVAL`]. A table that is slow or fails delays a change by [`NOTICE_WAIT`] at most, and
//! never fails it.
//!
//! If a notice would be too long, it says instead that everything is in doubt. The other nodes then bypass Redis
//! altogether, and the store answers within its budget. This ends when the cut-off node has repaired Redis, or
//! when the notice expires because the values that were in Redis have expired.
//!
//! A node withdraws its notice when all changes in it have been announced, by whichever node. There are no notices
//! if only one node uses the store.

mod post;
mod read;
mod rounds;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::store::Store;

/// How often a node reads the notices and updates its own.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one of these calls may take.
const CALL_TIME: Duration = Duration::from_secs(3);
/// How long a change may wait until this node's notice names it.
const NOTICE_WAIT: Duration = Duration::from_secs(2);
/// While fewer changes than this are unannounced, each waits until the notice names it. With more of them, every
/// change would rewrite a long notice.
const MAX_AWAITED: usize = 100;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links::redis) struct Board {
    store: Arc<dyn Store>,
    /// Whether another node has changed more than its notice can name.
    everything: AtomicBool,
    /// Whether this node has changes that are neither announced nor in its notice.
    unposted: AtomicBool,
    /// Wakes the task that updates this node's notice.
    wake: Notify,
    updates: watch::Sender<Updates>,
}

/// The updates of this node's notice, which are numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Updates {
    /// The last one that has begun.
    begun: u64,
    /// The last one that has ended, successfully or not.
    ended: u64,
}

impl Board {
    pub(in crate::links::redis) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            everything: AtomicBool::new(false),
            unposted: AtomicBool::new(false),
            wake: Notify::new(),
            updates: watch::Sender::default(),
        }
    }

    /// Whether another node has changed more than its notice can name, so that no value in Redis can be trusted.
    pub(in crate::links::redis) fn is_everything_in_doubt(&self) -> bool {
        self.everything.load(Ordering::Acquire)
    }

    /// Whether this node has changes that are neither announced nor in its notice.
    pub(in crate::links::redis) fn has_unposted(&self) -> bool {
        self.unposted.load(Ordering::Acquire)
    }

    /// Has this node's notice updated, and waits until that has ended, successfully or not.
    async fn update(&self) {
        let mut updates = self.updates.subscribe();
        // An update that has begun already may not contain the caller's change.
        let begun = self.updates.borrow().begun;
        self.wake.notify_one();
        // The sender is a part of the board, so it is not closed.
        let _ = updates.wait_for(|updates| updates.ended > begun).await;
    }

    /// Notes that an update begins. Must be called before the changes for it are collected.
    fn begin_update(&self) {
        self.updates.send_modify(|updates| updates.begun += 1);
    }

    /// Notes that the update that has begun is over.
    fn end_update(&self) {
        self.updates
            .send_modify(|updates| updates.ended = updates.begun);
    }

    /// Notes that there are no more updates to wait for.
    fn end_updates(&self) {
        self.updates.send_modify(|updates| updates.ended = u64::MAX);
    }
}
