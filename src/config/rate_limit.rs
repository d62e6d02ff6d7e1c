//! `[rate_limit]`: how many replies a network gets by UDP. Without the section there is no limit.

use super::prefixes::prefixes;
use super::section::Section;
use crate::dns::limits::rate_limit::{MAX_SLIP, RateLimitConfig, Rates};

/// More than a resolver asks for one name, also where some hundred caches share a network.
const DEFAULT_RATE: u32 = 50;
/// No network needs more, and at this rate a reply still costs ten of the limiter's microseconds.
const MAX_RATE: u32 = 100_000;
/// By default, the rate of all replies together is so many times the rate of answers.
const ALL_TO_ANSWERS: u32 = 40;
/// In seconds.
const DEFAULT_BURST: u32 = 2;
const MAX_BURST: u32 = 60;
const DEFAULT_SLIP: u32 = 2;
const DEFAULT_IPV4_PREFIX: u8 = 24;
const DEFAULT_IPV6_PREFIX: u8 = 56;
/// In bytes. Half a million accounts, which is enough for half a million replies a second at any rate.
const DEFAULT_TABLE: u64 = 4 << 20;
const MAX_TABLE_MIB: u32 = 1_024;

pub(super) fn rate_limit(section: &Section<'_>) -> RateLimitConfig {
    let rate = |key, default| section.number(key, 0..=MAX_RATE, "a second", default);
    let bits = |key, max, default: u8| section.number(key, 1..=max, "bits", default);
    let answers = rate("responses_per_second", DEFAULT_RATE);
    let all = answers.saturating_mul(ALL_TO_ANSWERS).min(MAX_RATE);
    RateLimitConfig {
        rates: Rates {
            answers,
            nodata: rate("nodata_per_second", answers),
            nxdomains: rate("nxdomains_per_second", answers),
            referrals: rate("referrals_per_second", answers),
            errors: rate("errors_per_second", answers),
            all: rate("all_per_second", all),
        },
        burst: section.number("burst", 1..=MAX_BURST, "seconds", DEFAULT_BURST),
        slip: section.number("slip", 0..=MAX_SLIP, "", DEFAULT_SLIP),
        ipv4_prefix: bits("ipv4_prefix_length", 32, DEFAULT_IPV4_PREFIX),
        ipv6_prefix: bits("ipv6_prefix_length", 128, DEFAULT_IPV6_PREFIX),
        exempt: prefixes(section, "exempt"),
        table_bytes: {
            let bytes = section.mib("table_mib", 1..=MAX_TABLE_MIB);
            usize::try_from(bytes.unwrap_or(DEFAULT_TABLE)).unwrap_or(usize::MAX)
        },
        dry_run: section.flag("dry_run", false),
    }
}
