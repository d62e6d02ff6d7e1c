//! The notice board: how nodes learn of changes that cannot be announced through Redis.
//!
//! ```text
//!   change ── cannot be announced ── repairs ── every second ──> notice in the store
//!                                                                     │ every second
//!   memory forgets, Redis is bypassed and repaired <── read ──────────┘ by all other nodes
//! ```
//!
//! A *cut-off* node cannot reach Redis, or may not write there, but still changes links in the store. The other
//! nodes hold the old state: in memory, as long as they follow the stream, and in Redis, until the value expires.
//! So a cut-off node leaves a [`Notice`](crate::store::Notice) in the store. A node that reads it treats each
//! change in it as one that was announced and that Redis lacks. It announces the repairs that it makes for them,
//! so a warm load sees these changes in the stream as well.
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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::link::{LinkName, Version};
use crate::store::{Store, StoreError};

/// How often a node reads the notices and updates its own.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one of these calls may take.
const CALL_TIME: Duration = Duration::from_secs(3);
/// After how many failed reads in a row the notices count as not read.
const FAILURES: u32 = 5;
/// How many changes a notice names at most; [`Notice::fit`](crate::store::Notice::fit) bounds their length.
const MAX_CHANGES: usize = 16_384;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links::redis) struct Board {
    store: Arc<dyn Store>,
    /// Whether another node has changed more than its notice can name.
    everything: AtomicBool,
    /// Whether this node has changes that are neither announced nor in its notice.
    unposted: AtomicBool,
}

/// The state that is kept from round to round.
#[derive(Default)]
struct Memo {
    posted: Option<Posted>,
    seen: HashMap<Box<str>, Seen>,
    failures: u32,
}

/// The content of the own notice, to see whether it has to be replaced.
#[derive(PartialEq, Eq)]
struct Posted {
    number: usize,
    changes: Vec<(LinkName, Version)>,
}

/// A notice of another node that was applied.
struct Seen {
    number: u64,
    changes: HashSet<(LinkName, Version)>,
}

impl Board {
    pub(in crate::links::redis) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            everything: AtomicBool::new(false),
            unposted: AtomicBool::new(false),
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
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIME, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}
