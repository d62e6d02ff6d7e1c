//! What is wrong with Redis, for `/readyz` and the log.

use std::borrow::Cow;
use std::time::Instant;

use super::{RedisCache, rights};

impl RedisCache {
    /// What is wrong with Redis, or with the way in which nodes learn of changes, for an operator. Contains no
    /// names and addresses.
    pub(in crate::links) fn troubles(&self) -> Vec<Cow<'static, str>> {
        let mut troubles: Vec<Cow<'static, str>> = Vec::new();
        if let Some(why) = self.client.why_down() {
            troubles.push(format!("Redis does not work: {why}").into());
        }
        let missing = self.client.missing_rights();
        if !missing.is_empty() {
            let missing = rights::in_words(&missing);
            troubles
                .push(format!("Redis refuses its user rights that tinyns needs: {missing}").into());
        }
        if self.client.is_full() {
            troubles.push("Redis is full and may not evict".into());
        }
        if self.client.is_too_far() {
            let millis = self.client.round_trip().as_millis();
            troubles.push(format!("Redis answers in {millis} ms: too slow for timeout_ms").into());
        }
        troubles.extend(self.doubts().into_iter().map(Cow::from));
        let Some(board) = &self.board else {
            return troubles;
        };
        if board.is_everything_in_doubt() {
            troubles.push("another server cannot announce its changes: Redis is bypassed".into());
        }
        if board.has_unposted() {
            troubles.push(
                "other servers do not learn of changes made here: neither Redis nor the store takes \
                 takes a notice of them"
                    .into(),
            );
        } else if self.repairs.unannounced(Instant::now(), 0).1 > 0 {
            troubles.push(
                "changes made here are not visible on other servers at once: they cannot be announced through \
                 Redis"
                    .into(),
            );
        }
        troubles
    }
}
