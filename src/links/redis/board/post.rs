//! A node's own notice.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Board, CALL_TIME, MAX_AWAITED, NOTICE_WAIT};
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Version};
use crate::links::deadline::within;
use crate::links::redis::RedisCache;
use crate::store::Notice;

/// How many changes a notice names at most; [`Notice::fit`] bounds their length.
const MAX_CHANGES: usize = 16_384;

/// The content of the own notice, to see whether it has to be replaced.
#[derive(PartialEq, Eq)]
pub(super) struct Posted {
    number: usize,
    changes: Vec<(LinkName, Version)>,
}

impl RedisCache {
    /// If the last change of this name could not be announced, waits until this node's notice names it: until
    /// `until` and for [`NOTICE_WAIT`] at most, and not at all while [`MAX_AWAITED`] changes or more are
    /// unannounced. A notice that could not be posted is posted later.
    pub(in crate::links) async fn await_notice(&self, name: &LinkName, until: Instant) {
        let Some(board) = &self.board else {
            return;
        };
        let is_awaited =
            self.repairs.is_unannounced(name) && self.repairs.has_fewer_unannounced(MAX_AWAITED);
        if is_awaited {
            let until = until.min(Instant::now() + NOTICE_WAIT);
            let _ = tokio::time::timeout_at(until.into(), board.update()).await;
        }
    }

    /// Posts, updates or withdraws this node's notice.
    pub(super) async fn update_notice(&self, board: &Board, posted: &mut Option<Posted>) {
        board.begin_update();
        self.post_notice(board, posted).await;
        board.end_update();
    }

    async fn post_notice(&self, board: &Board, last: &mut Option<Posted>) {
        let (changes, number) = self.repairs.unannounced(Instant::now(), MAX_CHANGES);
        if number == 0 {
            board.unposted.store(false, Ordering::Release);
            if last.is_some() && self.withdraw_notice(board, &self.node).await {
                *last = None;
                tracing::info!("other servers know of all changes again");
            }
            return;
        }
        let posted = Posted { number, changes };
        if last.as_ref() == Some(&posted) {
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
        let result = within(CALL_TIME, board.store.post_notice(&notice)).await;
        let failed_before = board.unposted.swap(result.is_err(), Ordering::AcqRel);
        match result {
            Ok(()) => {
                if last.is_none() {
                    tracing::warn!(
                        changes = number,
                        "changes cannot be announced through Redis; other servers read them from a notice in \
                         the store"
                    );
                }
                *last = Some(posted);
            }
            Err(_) if failed_before => {}
            Err(error) => tracing::warn!(
                changes = number,
                %error,
                "other servers do not learn of changes made here: neither Redis nor the store takes them; retrying"
            ),
        }
    }

    pub(super) async fn withdraw_notice(&self, board: &Board, node: &str) -> bool {
        let withdrawn = within(CALL_TIME, board.store.withdraw_notice(node)).await;
        if let Err(error) = &withdrawn {
            tracing::debug!(%error, node, "cannot withdraw a notice");
        }
        withdrawn.is_ok()
    }
}
