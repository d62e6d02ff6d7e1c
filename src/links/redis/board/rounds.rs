//! A node's rounds: it updates its own notice and reads the others.

use tokio_util::sync::CancellationToken;

use super::INTERVAL;
use super::read::Memo;
use crate::links::redis::RedisCache;

impl RedisCache {
    /// Posts and reads notices until `shutdown`, and then updates this node's notice once more.
    pub(in crate::links::redis) async fn keep_board(&self, shutdown: CancellationToken) {
        let Some(board) = &self.board else {
            return;
        };
        let mut posted = None;
        let posting = async {
            loop {
                self.update_notice(board, &mut posted).await;
                // A change that waits for the notice ends the pause.
                let _ = tokio::time::timeout(INTERVAL, board.wake.notified()).await;
            }
        };
        let reading = async {
            let mut memo = Memo::default();
            loop {
                // The first look comes at once: a node that starts while another is cut off must not trust Redis
                // until it has read the notices.
                self.read_notices(board, &mut memo).await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = posting => {}
            () = reading => {}
            () = shutdown.cancelled() => {}
        }
        self.update_notice(board, &mut posted).await;
        board.end_updates();
    }
}
