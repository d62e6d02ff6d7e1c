//! The notices of other nodes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Board, CALL_TIME};
use crate::link::{LinkName, Version};
use crate::links::deadline::within;
use crate::links::redis::RedisCache;
use crate::links::redis::repairs::{Announced, Repair};
use crate::store::Notice;

/// After how many failed reads in a row the notices count as not read.
const FAILURES: u32 = 5;

/// What a node remembers of the notices of others.
#[derive(Default)]
pub(super) struct Memo {
    seen: HashMap<Box<str>, Seen>,
    failures: u32,
}

/// A notice of another node that was applied.
struct Seen {
    number: u64,
    changes: HashSet<(LinkName, Version)>,
}

impl RedisCache {
    /// Reads the notices and applies them.
    pub(super) async fn read_notices(&self, board: &Board, memo: &mut Memo) {
        let notices = match within(CALL_TIME, board.store.notices()).await {
            Ok(notices) => notices,
            Err(error) => {
                tracing::debug!(%error, "notices cannot be read");
                memo.failures = memo.failures.saturating_add(1);
                if memo.failures >= FAILURES {
                    self.changes.set_reads_notices(false);
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
            self.withdraw_notice(board, &notice.node).await;
        }
        let everything = notices.iter().any(|notice| notice.changes.is_none());
        // Set before memory forgets anything: look-ups from then on must not use Redis.
        if board.everything.swap(everything, Ordering::AcqRel) != everything {
            match everything {
                true => tracing::warn!(
                    "another server has made many changes that it cannot announce; Redis is bypassed"
                ),
                false => tracing::info!("Redis is used again"),
            }
        }
        self.changes.set_reads_notices(!everything);
        memo.seen
            .retain(|node, _| notices.iter().any(|notice| notice.node == *node));
        for notice in notices {
            self.apply_notice(board, notice, &mut memo.seen);
        }
    }

    /// Applies what is new in a notice.
    fn apply_notice(&self, board: &Board, notice: Notice, seen: &mut HashMap<Box<str>, Seen>) {
        let before = seen.get(&notice.node);
        if before.is_some_and(|before| before.number == notice.number) {
            return;
        }
        let known = seen.remove(&notice.node).map(|before| before.changes);
        let known = known.unwrap_or_default();
        match &notice.changes {
            None => {
                board.store.note_missed();
                self.memory.revalidate_all(Instant::now());
            }
            Some(changes) => {
                for change in changes.iter().filter(|change| !known.contains(*change)) {
                    board.store.note_changed(&change.0);
                    self.apply_change(&change.0, change.1);
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

    /// Another node has changed a name, and Redis lacks the change.
    fn apply_change(&self, name: &LinkName, version: Version) {
        let repair = Repair {
            version,
            due: Instant::now() + self.changes.turn(name),
            announced: Announced::Earlier,
            own: false,
        };
        // Before memory forgets the name: look-ups from then on must not use Redis.
        self.repairs.add(name.clone(), repair);
        self.memory.forget_older(name, version);
    }
}
