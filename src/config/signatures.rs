//! `[signatures]`: how many signatures a second the server makes for signed zones.

use super::section::Section;
use crate::dns::limits::rate_limit::SignatureLimits;

/// More than any machine signs.
const MAX_RATE: u32 = 1_000_000;

pub(super) fn signatures(section: &Section<'_>) -> SignatureLimits {
    let rate = |key, default| section.number(key, 0..=MAX_RATE, "a second", default);
    let default = SignatureLimits::default();
    SignatureLimits {
        per_second: rate("per_second", default.per_second),
        per_client: rate("per_client", default.per_client),
        made_up_per_second: rate("made_up_per_second", default.made_up_per_second),
        made_up_per_client: rate("made_up_per_client", default.made_up_per_client),
    }
}
