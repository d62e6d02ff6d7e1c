//! The sessions that were ended before their time.
//!
//! A session is named here until the time at which it would have ended anyway. The list is bounded: of each token it names
//! [`MAX_OF_TOKEN`] sessions. If more are ended, all sessions of that token that were opened before the last of them end as
//! well, so that the log-outs of one token cannot end the sessions of others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixTime;

/// How many sessions of a token are named.
const MAX_OF_TOKEN: usize = 16;
/// How many sessions are named in all, and how many tokens. A session takes some 40 bytes and a token 100, so the document
/// stays below its limit of 256 KiB.
const MAX_SESSIONS: usize = 3_000;
const MAX_TOKENS: usize = 1_000;

/// The sessions that were ended, by the names of their tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct EndedSessions(BTreeMap<Box<str>, OfToken>);

/// The sessions of one token. All times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct OfToken {
    /// Sessions that would end at this time or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    /// Other sessions: the id, and when it would end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<(Box<str>, u64)>,
}

impl EndedSessions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are more than the document has room for.
    pub(super) fn is_full(&self) -> bool {
        let sessions: usize = self.0.values().map(|one| one.sessions.len()).sum();
        sessions > MAX_SESSIONS || self.0.len() > MAX_TOKENS
    }

    /// Whether the session of this token was ended.
    pub(super) fn has(&self, token: &str, id: &str, ends_at: UnixTime) -> bool {
        self.0.get(token).is_some_and(|of_token| {
            let is_named = || of_token.sessions.iter().any(|(known, _)| **known == *id);
            of_token.until.is_some_and(|until| ends_at.0 <= until) || is_named()
        })
    }

    /// Adds a session.
    pub(super) fn add(&mut self, token: &str, id: &str, ends_at: UnixTime) {
        if self.has(token, id, ends_at) {
            return;
        }
        let of_token = self.0.entry(token.into()).or_default();
        of_token.sessions.push((id.into(), ends_at.0));
        if of_token.sessions.len() > MAX_OF_TOKEN {
            let ends = of_token.sessions.drain(..).map(|(_, end)| end);
            of_token.until = ends.map(Some).fold(of_token.until, Option::max);
        }
    }

    /// The same without sessions that would have ended by now.
    pub(super) fn pruned(&self, now: UnixTime) -> Self {
        let tokens = self.0.iter().filter_map(|(token, of_token)| {
            let goes_on = |(_, end): &&(Box<str>, u64)| *end > now.0;
            let kept = OfToken {
                until: of_token.until.filter(|end| *end > now.0),
                sessions: of_token.sessions.iter().filter(goes_on).cloned().collect(),
            };
            (kept != OfToken::default()).then(|| (token.clone(), kept))
        });
        Self(tokens.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::MAX_CONTENT_LEN;

    #[test]
    fn an_ended_session_is_named_until_its_end_and_others_are_not() {
        let mut ended = EndedSessions::default();
        ended.add("ann", "1", UnixTime(100));
        ended.add("ann", "1", UnixTime(100));
        assert!(ended.has("ann", "1", UnixTime(100)));
        assert!(!ended.has("ann", "2", UnixTime(100)));
        assert!(!ended.has("bob", "1", UnixTime(100)));
        assert_eq!(ended.pruned(UnixTime(99)), ended);
        assert!(ended.pruned(UnixTime(100)).is_empty());
        let text = serde_json::to_string(&ended).unwrap();
        assert_eq!(text, "{\"ann\":{\"sessions\":[[\"1\",100]]}}");
        assert_eq!(serde_json::from_str::<EndedSessions>(&text).unwrap(), ended);
    }

    #[test]
    fn many_sessions_of_one_token_end_all_of_its_older_ones() {
        let mut ended = EndedSessions::default();
        let count = MAX_OF_TOKEN as u64 + 1;
        for n in 0..count {
            ended.add("ann", &n.to_string(), UnixTime(100 + n));
        }
        for n in 0..count {
            assert!(ended.has("ann", &n.to_string(), UnixTime(100 + n)), "{n}");
        }
        assert!(ended.has("ann", "another", UnixTime(100)));
        let last = 100 + count - 1;
        assert!(!ended.has("ann", "later", UnixTime(last + 1)));
        assert!(!ended.has("bob", "another", UnixTime(100)));
        assert!(!ended.pruned(UnixTime(last - 1)).is_empty());
        assert!(ended.pruned(UnixTime(last)).is_empty());
    }

    #[test]
    fn the_longest_list_fits_into_a_document() {
        let mut ended = EndedSessions::default();
        for n in 0..MAX_SESSIONS {
            let token = format!("{:0>64}", n % MAX_TOKENS);
            ended.add(&token, &format!("{n:0>24}"), UnixTime(99_999_999_999));
        }
        assert!(!ended.is_full());
        let len = serde_json::to_vec(&ended).unwrap().len();
        assert!(len + 10_000 < MAX_CONTENT_LEN, "{len}");
        ended.add("another", "1", UnixTime(100));
        assert!(ended.is_full());
    }
}
