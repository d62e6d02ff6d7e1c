//! How long an encoded answer may be used again.

use std::time::Duration;

use super::hot::{Now, Validity};
use crate::base::clock::UnixTime;
use crate::dns::answer::outcome::Answer;
use crate::links::{Lease, Stamp};

/// How long an answer that depends on no link is kept. Only changes of the zones end it earlier.
const STATIC_LEASE: Duration = Duration::from_secs(3_600);

/// How long an answer may be used again.
#[derive(Clone, Copy)]
pub(super) struct Reuse {
    /// The lease of the link, or [`static_lease`].
    pub(super) lease: Lease,
    /// When the answer's link expires, if it does.
    pub(super) link_end: Option<UnixTime>,
    /// When the first of the answer's signatures is to be renewed; [`UnixTime`]'s maximum without signatures.
    pub(super) renewal: UnixTime,
}

impl Reuse {
    /// For an answer without an expiring link and without signatures.
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            lease,
            link_end: None,
            renewal: UnixTime(u64::MAX),
        }
    }

    /// The validity of the encoded answer. `stamp` is from before the zones were read.
    pub(super) fn validity(&self, answer: &Answer, stamp: Stamp, now: &Now) -> Validity {
        let steady = steady_until(answer, self.link_end, now.unix);
        Validity {
            lease: Lease {
                stamp: self.lease.stamp.with_earlier(stamp),
                ..self.lease
            },
            steady_until: steady.min(UnixTime(self.renewal.0.saturating_sub(1))),
        }
    }
}

/// The lease of an answer that depends on no link. `stamp` is from before the zones were read.
pub(super) fn static_lease(stamp: Stamp, now: &Now) -> Lease {
    Lease {
        until: now.instant + STATIC_LEASE,
        stamp,
    }
}

/// The last second in which the TTLs of an answer made at `now` are right, if its link expires at `end`: no TTL may
/// reach beyond that (see [`crate::link::Link::cap_ttl`]).
fn steady_until(answer: &Answer, end: Option<UnixTime>, now: UnixTime) -> UnixTime {
    let Some(end) = end else {
        return UnixTime(u64::MAX);
    };
    let ttls = answer.answers.iter().map(|record| record.ttl);
    let longest = u64::from(ttls.max().unwrap_or(0));
    UnixTime(end.0.saturating_sub(longest + 1).max(now.0))
}
