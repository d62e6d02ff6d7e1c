//! `[signatures]`: how many signatures are made a second for zones that are signed.

use serde::Deserialize;
use toml::Spanned;

use super::raw::RawNumber;
use super::reader::ConfigReader;
use crate::dns::limits::rate_limit::SignatureLimits;

/// More than any machine signs.
const MAX_RATE: u32 = 1_000_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [signatures]")]
pub(super) struct RawSignatures {
    per_second: Option<Spanned<RawNumber>>,
    per_client: Option<Spanned<RawNumber>>,
    made_up_per_second: Option<Spanned<RawNumber>>,
    made_up_per_client: Option<Spanned<RawNumber>>,
}

impl ConfigReader<'_> {
    pub(super) fn signatures(&self, raw: RawSignatures) -> SignatureLimits {
        let rate = |raw: Option<Spanned<RawNumber>>, key, default| {
            self.number(raw, key, (0, MAX_RATE), " a second", default)
        };
        let default = SignatureLimits::default();
        SignatureLimits {
            per_second: rate(raw.per_second, "signatures.per_second", default.per_second),
            per_client: rate(raw.per_client, "signatures.per_client", default.per_client),
            made_up_per_second: rate(
                raw.made_up_per_second,
                "signatures.made_up_per_second",
                default.made_up_per_second,
            ),
            made_up_per_client: rate(
                raw.made_up_per_client,
                "signatures.made_up_per_client",
                default.made_up_per_client,
            ),
        }
    }
}
