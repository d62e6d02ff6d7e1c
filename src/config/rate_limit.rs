//! `[rate_limit]`: how many replies a network gets by UDP. Without the section there is no limit.

use toml::Spanned;

use super::problem::Problem;
use super::raw::{RawNumber, RawPrefixes, RawRateLimit};
use super::reader::ConfigReader;
use crate::dns::limits::rate_limit::{MAX_SLIP, Prefix, RateLimitConfig, Rates};

/// The most prefixes that are exempt.
pub(super) const MAX_EXEMPT: usize = 1_024;

/// More than a resolver asks for one name, also where some hundred caches share a network.
const DEFAULT_RATE: u32 = 50;
/// A hundred thousand are enough for anybody, and a reply still costs ten of the limiter's microseconds.
const MAX_RATE: u32 = 100_000;
/// How many times the rate of answers all replies together have, unless that is said.
const ALL_TO_ANSWERS: u32 = 40;
/// In seconds.
const DEFAULT_BURST: u32 = 2;
const MAX_BURST: u32 = 60;
const DEFAULT_SLIP: u32 = 2;
const DEFAULT_IPV4_PREFIX: u8 = 24;
const DEFAULT_IPV6_PREFIX: u8 = 56;
/// Half a million accounts, which is enough for half a million replies a second at any rate.
const DEFAULT_TABLE_MIB: u32 = 4;
const MAX_TABLE_MIB: u32 = 1_024;

impl ConfigReader<'_> {
    pub(super) fn rate_limit(&self, raw: RawRateLimit) -> RateLimitConfig {
        let rate = |raw, key, default| self.number(raw, key, (0, MAX_RATE), " a second", default);
        let prefix = |raw: Option<Spanned<RawNumber>>, key, max, default: u8| {
            self.number(raw, key, (1, max), " bits", default)
        };
        let answers = rate(
            raw.responses_per_second,
            "rate_limit.responses_per_second",
            DEFAULT_RATE,
        );
        let all = answers.saturating_mul(ALL_TO_ANSWERS).min(MAX_RATE);
        let table_mib = self.number(
            raw.table_mib,
            "rate_limit.table_mib",
            (1, MAX_TABLE_MIB),
            " MiB",
            DEFAULT_TABLE_MIB,
        );
        RateLimitConfig {
            rates: Rates {
                answers,
                nodata: rate(
                    raw.nodata_per_second,
                    "rate_limit.nodata_per_second",
                    answers,
                ),
                nxdomains: rate(
                    raw.nxdomains_per_second,
                    "rate_limit.nxdomains_per_second",
                    answers,
                ),
                referrals: rate(
                    raw.referrals_per_second,
                    "rate_limit.referrals_per_second",
                    answers,
                ),
                errors: rate(
                    raw.errors_per_second,
                    "rate_limit.errors_per_second",
                    answers,
                ),
                all: rate(raw.all_per_second, "rate_limit.all_per_second", all),
            },
            burst: self.number(
                raw.burst,
                "rate_limit.burst",
                (1, MAX_BURST),
                " seconds",
                DEFAULT_BURST,
            ),
            slip: self.number(raw.slip, "rate_limit.slip", (0, MAX_SLIP), "", DEFAULT_SLIP),
            ipv4_prefix: prefix(
                raw.ipv4_prefix_length,
                "rate_limit.ipv4_prefix_length",
                32,
                DEFAULT_IPV4_PREFIX,
            ),
            ipv6_prefix: prefix(
                raw.ipv6_prefix_length,
                "rate_limit.ipv6_prefix_length",
                128,
                DEFAULT_IPV6_PREFIX,
            ),
            exempt: self.prefixes(raw.exempt, "rate_limit.exempt"),
            table_bytes: usize::try_from(u64::from(table_mib) << 20).unwrap_or(usize::MAX),
            dry_run: raw.dry_run.is_some_and(Spanned::into_inner),
        }
    }

    /// Networks of clients.
    pub(super) fn prefixes(&self, raw: Option<Spanned<RawPrefixes>>, key: &str) -> Vec<Prefix> {
        let Some(raw) = raw else {
            return Vec::new();
        };
        let span = raw.span();
        let texts = raw.into_inner().0.into_list(&span);
        if texts.len() > MAX_EXEMPT {
            self.note(span, key, Problem::TooManyPrefixes(texts.len()));
            return Vec::new();
        }
        let prefix = |text: Spanned<String>| match text.get_ref().parse() {
            Ok(prefix) => Some(prefix),
            Err(why) => {
                let problem = Problem::Prefix(text.get_ref().clone(), why);
                self.note(text.span(), key, problem);
                None
            }
        };
        texts.into_iter().filter_map(prefix).collect()
    }
}
