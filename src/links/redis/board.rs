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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::RedisCache;
use super::repairs::{Others, Repair};
use crate::base::clock::UnixTime;
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
pub(super) struct Board {
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
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            everything: AtomicBool::new(false),
            unposted: AtomicBool::new(false),
        }
    }

    /// Whether another server has changed more than can be named: nothing in Redis is to be believed.
    pub(super) fn is_everything_in_doubt(&self) -> bool {
        self.everything.load(Ordering::Acquire)
    }

    /// Whether there are changes of this server of which no notice could be left.
    pub(super) fn has_unposted(&self) -> bool {
        self.unposted.load(Ordering::Acquire)
    }
}

impl RedisCache {
    /// Leaves notices and reads those of others until it is told to stop; and then says what is left to
    /// say.
    pub(super) async fn keep_board(&self, shutdown: CancellationToken) {
        let Some(board) = &self.board else {
            return;
        };
        let mut memo = Memo::default();
        let work = async {
            loop {
                // At once after the start: a server that is started while another is cut off is not to
                // believe Redis until the next look.
                self.post(board, &mut memo).await;
                self.read(board, &mut memo).await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        shutdown.run_until_cancelled(work).await;
        self.post(board, &mut memo).await;
    }

    /// Brings the own notice up to date.
    async fn post(&self, board: &Board, memo: &mut Memo) {
        let (changes, number) = self.repairs.untold(Instant::now(), MAX_CHANGES);
        if number == 0 {
            board.unposted.store(false, Ordering::Release);
            if memo.posted.is_some() && self.withdraw(board, &self.node).await {
                memo.posted = None;
                tracing::info!("other servers know of all changes again");
            }
            return;
        }
        let posted = Posted { number, changes };
        if memo.posted.as_ref() == Some(&posted) {
            return;
        }
        let all_named = posted.changes.len() == number;
        let named = all_named.then(|| posted.changes.clone());
        let now = self.clock.now();
        let notice = Notice {
            node: self.node.clone(),
            number: self.clock.micros(),
            changes: named.and_then(Notice::fit),
            until: UnixTime(now.0.saturating_add(self.keep.as_secs())),
        };
        let result = in_time(board.store.post_notice(&notice)).await;
        let failed_before = board.unposted.swap(result.is_err(), Ordering::AcqRel);
        match result {
            Ok(()) => {
                if memo.posted.is_none() {
                    tracing::warn!(
                        changes = number,
                        "changes cannot be announced through Redis: other servers are told by a notice in \
                         the store"
                    );
                }
                memo.posted = Some(posted);
            }
            Err(_) if failed_before => {}
            Err(error) => tracing::warn!(
                changes = number,
                %error,
                "other servers cannot be told of changes, neither through Redis nor by the store; trying on"
            ),
        }
    }

    async fn withdraw(&self, board: &Board, node: &str) -> bool {
        let withdrawn = in_time(board.store.withdraw_notice(node)).await;
        if let Err(error) = &withdrawn {
            tracing::debug!(%error, node, "a notice cannot be taken back");
        }
        withdrawn.is_ok()
    }

    /// Reads what the others say, and obeys.
    async fn read(&self, board: &Board, memo: &mut Memo) {
        let notices = match in_time(board.store.notices()).await {
            Ok(notices) => notices,
            Err(error) => {
                tracing::debug!(%error, "notices cannot be read");
                memo.failures = memo.failures.saturating_add(1);
                if memo.failures >= FAILURES {
                    self.changes.set_informed(false);
                }
                return;
            }
        };
        memo.failures = 0;
        let now = self.clock.now();
        let (notices, over): (Vec<_>, Vec<_>) = notices
            .into_iter()
            .filter(|notice| notice.node != self.node)
            .partition(|notice| now < notice.until);
        for notice in over {
            self.withdraw(board, &notice.node).await;
        }
        let everything = notices.iter().any(|notice| notice.changes.is_none());
        // Before memory is told: what is looked up from then on must not come from Redis.
        if board.everything.swap(everything, Ordering::AcqRel) != everything {
            match everything {
                true => tracing::warn!(
                    "another server has made many changes that it cannot announce: Redis is not used"
                ),
                false => tracing::info!("Redis is used again"),
            }
        }
        self.changes.set_informed(!everything);
        memo.seen
            .retain(|node, _| notices.iter().any(|notice| notice.node == *node));
        for notice in notices {
            self.obey(notice, &mut memo.seen);
        }
    }

    /// Takes in what is new in a notice.
    fn obey(&self, notice: Notice, seen: &mut HashMap<Box<str>, Seen>) {
        let before = seen.get(&notice.node);
        if before.is_some_and(|before| before.number == notice.number) {
            return;
        }
        let known = seen.remove(&notice.node).map(|before| before.changes);
        let known = known.unwrap_or_default();
        match &notice.changes {
            None => self.memory.doubt_all(Instant::now()),
            Some(changes) => {
                for change in changes.iter().filter(|change| !known.contains(*change)) {
                    self.take(&change.0, change.1);
                }
            }
        }
        let node = notice.node;
        let seen_now = Seen {
            number: notice.number,
            changes: notice.changes.into_iter().flatten().collect(),
        };
        seen.insert(node, seen_now);
    }

    /// Another server has changed a name, and Redis knows nothing of it.
    fn take(&self, name: &LinkName, version: Version) {
        let repair = Repair {
            version,
            due: Instant::now() + self.changes.turn(name),
            others: Others::ToldBefore,
            own: false,
        };
        // Before memory forgets: what is looked up from then on must not come from Redis.
        self.repairs.add(name.clone(), repair);
        self.memory.forget_older(name, version);
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIME, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}
