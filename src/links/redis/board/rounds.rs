//! A node's rounds: it updates its own notice and reads the others.

use tokio_util::sync::CancellationToken;

use super::{INTERVAL, Memo};
use crate::links::redis::RedisCache;

impl RedisCache {
    /// Posts and reads notices until `shutdown`, and then updates this node's notice once more.
    pub(in crate::links::redis) async fn keep_board(&self, shutdown: CancellationToken) {
        let Some(board) = &self.board else {
            return;
        };
        let mut memo = Memo::default();
        let work = async {
            loop {
                // The first round comes at once: a node that starts while another is cut off must not trust Redis
                // until it has read the notices.
                self.post_notice(board, &mut memo).await;
                self.read_notices(board, &mut memo).await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        shutdown.run_until_cancelled(work).await;
        self.post_notice(board, &mut memo).await;
    }
}
