//! How fast the callers with a token may call.

use std::ops::RangeInclusive;

/// How fast a token may call. Both numbers are 1 to [`Rate::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests, and lines of batches, a second.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
}

impl Rate {
    /// The highest rate and the highest burst: more than a server can do.
    pub const MAX: u32 = 1_000_000;
    /// The range of both numbers.
    pub const RANGE: RangeInclusive<u32> = 1..=Self::MAX;
    /// How many seconds of its rate a token may burst by default.
    const BURST_SECONDS: u32 = 2;

    /// The burst of a rate that names none.
    pub fn default_burst(per_second: u32) -> u32 {
        per_second
            .saturating_mul(Self::BURST_SECONDS)
            .min(Self::MAX)
    }
}
