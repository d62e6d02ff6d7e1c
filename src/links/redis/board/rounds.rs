//! The rounds of a server: its own notice, and those of the others.

use tokio_util::sync::CancellationToken;

use super::{INTERVAL, Memo};
use crate::links::redis::RedisCache;

impl RedisCache {
    /// Leaves notices and reads those of others until it is told to stop; and then says what is left to
    /// say.
    pub(in crate::links::redis) async fn keep_board(&self, shutdown: CancellationToken) {
        let Some(board) = &self.board else {
            return;
        };
        let mut memo = Memo::default();
        let work = async {
            loop {
                // At once after the start: a server that is started while another is cut off is not to
                // believe Redis until the next look.
                self.post_notice(board, &mut memo).await;
                self.read_notices(board, &mut memo).await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        shutdown.run_until_cancelled(work).await;
        self.post_notice(board, &mut memo).await;
    }
}
