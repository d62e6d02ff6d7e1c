//! A node's own notice.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Board, MAX_CHANGES, Memo, Posted, in_time};
use crate::base::clock::UnixTime;
use crate::links::redis::RedisCache;
use crate::store::Notice;

impl RedisCache {
    /// Posts, updates or withdraws this node's notice.
    pub(super) async fn post_notice(&self, board: &Board, memo: &mut Memo) {
        let (changes, number) = self.repairs.unannounced(Instant::now(), MAX_CHANGES);
        if number == 0 {
            board.unposted.store(false, Ordering::Release);
            if memo.posted.is_some() && self.withdraw_notice(board, &self.node).await {
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
                        "changes cannot be announced through Redis; other servers read them from a notice in \
                         the store"
                    );
                }
                memo.posted = Some(posted);
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
        let withdrawn = in_time(board.store.withdraw_notice(node)).await;
        if let Err(error) = &withdrawn {
            tracing::debug!(%error, node, "cannot withdraw a notice");
        }
        withdrawn.is_ok()
    }
}
