//! The notice board: how servers hear of changes past Redis.
//!
//! ```text
//!   change ── cannot be announced ── repairs ── every second ──> notice in the store
//!                                                                     │ every second
//!   memory forgets, Redis is looked past and repaired  <── read ──────┘ by all others
//! ```
//!
//! A server that is cut off from Redis, or may not write there, goes on to change links in the store. The
//! others hold what was before: in memory for as long as they believe that they hear of changes, and in
//! Redis until it ends. So such a server leaves a [`Notice`] in the store. Whoever reads it treats each
//! change in it as one that was announced and that Redis lacks, and announces what it has repaired, which
//! is also how a warm load hears of it.
//!
//! A notice that would be too long says that everything is in doubt. The others then look past Redis
//! altogether: the store answers, within its budget, until the server has told Redis, or until the
//! notice is over because what Redis held has ended.
//!
//! A notice is taken back when all in it was announced by Redis, by whomever. Where only one server uses
//! the store there is nobody to tell, and none of this.

mod post;
mod read;
mod rounds;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::link::{LinkName, Version};
use crate::store::{Notice, Store, StoreError};

/// How often a server looks for notices, and brings its own up to date.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a look or a posting may take.
const CALL_TIME: Duration = Duration::from_secs(3);
/// How many looks in a row may fail until it counts that nobody tells of such changes.
const FAILURES: u32 = 5;
/// How many changes a notice names at most, if there is room.
const MAX_CHANGES: usize = 16_384;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links::redis) struct Board {
    store: Arc<dyn Store>,
    /// Whether another server has changed more than its notice can name.
    everything: AtomicBool,
    /// Whether there are changes of which no notice could be left.
    unposted: AtomicBool,
}

/// What is remembered from look to look.
#[derive(Default)]
struct Memo {
    posted: Option<Posted>,
    seen: HashMap<Box<str>, Seen>,
    failures: u32,
}

/// What the own notice says: enough to know whether it would say the same again.
#[derive(PartialEq, Eq)]
struct Posted {
    number: usize,
    changes: Vec<(LinkName, Version)>,
}

/// A notice of another server that was obeyed.
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

    /// Whether another server has changed more than can be named: nothing in Redis is to be believed.
    pub(in crate::links::redis) fn is_everything_in_doubt(&self) -> bool {
        self.everything.load(Ordering::Acquire)
    }

    /// Whether there are changes of this server of which no notice could be left.
    pub(in crate::links::redis) fn has_unposted(&self) -> bool {
        self.unposted.load(Ordering::Acquire)
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIME, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}
