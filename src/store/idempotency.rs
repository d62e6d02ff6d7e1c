//! Idempotency keys: what became of the requests of callers that want to repeat them safely.
//!
//! A caller gives a request a key. Before the request is carried out, it *claims* the key: of several requests with one
//! key, on any servers of the store, one gets it. That request keeps its outcome, and later ones find it.
//!
//! ```text
//!   free ── claim ──> in work ── keep the outcome ──> done ── KEPT_FOR ──> free
//!                     │     ▲
//!      lease is over, │     │ claim with the same payload
//!      or given up    └─────┘
//! ```
//!
//! * A claim holds the key for a *lease* of [`LEASE`] seconds, which its holder extends while it works. If its server
//!   dies, the lease ends by itself, and the next request of the same payload gets the key. The holder is a random number:
//!   a request that has lost its key to another one can no longer keep an outcome.
//! * A key stays bound to its payload also after a request that left no outcome. So a later request with another payload
//!   is recognised whatever became of the first one.
//! * After [`KEPT_FOR`] seconds a key is free, whether or not the store has removed it by then.
//! * What a caller may claim in a day is limited to [`MAX_A_DAY`], so the store keeps a bounded amount for it.
//!
//! A store knows neither callers nor keys, only digests of them. No list, export or scan of links shows a key.

use crate::base::clock::UnixTime;

/// How long an outcome is kept, in seconds.
pub const KEPT_FOR: u64 = 24 * 60 * 60;
/// How long a claim holds a key unless it is extended, in seconds. Longer than clocks of servers differ, and than a
/// server needs for extending it while its store is slow.
pub const LEASE: u64 = 60;
/// The largest outcome that is kept, in bytes. DynamoDB keeps 400 KB in an item.
pub const MAX_OUTCOME_LEN: usize = 256 << 10;
/// The weight that a caller's claims may have together on one day (UTC).
pub const MAX_A_DAY: u32 = 100_000;
/// Seconds in a day.
pub const DAY: u64 = 24 * 60 * 60;

/// A caller's key: a digest of both, so that keys of different callers never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 32]);

/// A request that claims a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The caller and the key.
    pub id: KeyId,
    /// A digest of the caller alone, for the limit.
    pub caller: [u8; 32],
    /// A digest of the payload.
    pub fingerprint: [u8; 32],
    /// A random number, which no other claim has.
    pub holder: u64,
    /// How much the claim counts against [`MAX_A_DAY`]; at least 1.
    pub weight: u32,
}

/// The result of [`Store::claim_key`](super::Store::claim_key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The request has the key for [`LEASE`] seconds, and is to be carried out.
    Yours,
    /// Another request has the key.
    InWork,
    /// The key was used for another payload.
    OtherPayload,
    /// A request with this key and payload was carried out, with this outcome.
    Done(Vec<u8>),
    /// The key is free, but the caller has claimed as much as it may on one day.
    TooMany,
}

/// The day of a time, counted from 1970-01-01.
pub(super) fn day(now: UnixTime) -> u64 {
    now.0 / DAY
}

/// The latest sum of earlier claims at which a claim of this weight is allowed; none if it never is.
pub(super) fn room_for(weight: u32) -> Option<u32> {
    MAX_A_DAY.checked_sub(weight.max(1))
}

/// Why this outcome cannot be kept; none if it can.
pub(super) fn refusal(outcome: &[u8]) -> Option<String> {
    (outcome.len() > MAX_OUTCOME_LEN).then(|| {
        let len = outcome.len();
        format!("the outcome of a request has {len} bytes; at most {MAX_OUTCOME_LEN} can be kept")
    })
}
