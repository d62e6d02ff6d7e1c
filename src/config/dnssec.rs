//! `[zone.dnssec]`: how a zone is signed, and where its keys are. Without the section it is not signed.

use serde::Deserialize;
use toml::Spanned;

use super::raw::RawNumber;
use super::reader::ConfigReader;
use super::{DAY, HOUR};
use crate::dnssec::DnssecConfig;

/// In seconds, as all that follows. Two weeks leave time to notice that nothing is signed any more.
const DEFAULT_VALIDITY: u32 = 14 * DAY;
const MIN_VALIDITY: u32 = HOUR;
const MAX_VALIDITY: u32 = 90 * DAY;
/// An hour, or less where signatures are valid for a short time only.
const DEFAULT_JITTER: u32 = HOUR;
const DEFAULT_INCEPTION_OFFSET: u32 = HOUR;
/// The clock of a validator that is wrong by more than a day is not helped.
const MAX_INCEPTION_OFFSET: u32 = DAY;
/// An hour, or less where signatures are valid for a short time only.
const DEFAULT_DNSKEY_TTL: u32 = HOUR;
const DEFAULT_PROPAGATION_DELAY: u32 = HOUR;
const MAX_PROPAGATION_DELAY: u32 = 7 * DAY;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [zone.dnssec]")]
pub(super) struct RawDnssec {
    keys: Option<Spanned<String>>,
    signature_validity: Option<Spanned<RawNumber>>,
    signature_jitter: Option<Spanned<RawNumber>>,
    inception_offset: Option<Spanned<RawNumber>>,
    dnskey_ttl: Option<Spanned<RawNumber>>,
    propagation_delay: Option<Spanned<RawNumber>>,
}

impl ConfigReader<'_> {
    pub(super) fn dnssec(&self, raw: Spanned<RawDnssec>) -> DnssecConfig {
        let section = raw.span();
        let raw = raw.into_inner();
        if raw.keys.is_none() {
            self.note_missing(section, "zone.dnssec", "[zone.dnssec]", "keys");
        }
        let seconds = |raw, key, range, default| self.number(raw, key, range, " seconds", default);
        let validity = seconds(
            raw.signature_validity,
            "zone.dnssec.signature_validity",
            (MIN_VALIDITY, MAX_VALIDITY),
            DEFAULT_VALIDITY,
        );
        let quarter = validity / 4;
        DnssecConfig {
            keys: self.file(raw.keys, "zone.dnssec.keys", ""),
            signature_validity: validity,
            signature_jitter: seconds(
                raw.signature_jitter,
                "zone.dnssec.signature_jitter",
                (0, quarter - 1),
                DEFAULT_JITTER.min(quarter / 2),
            ),
            inception_offset: seconds(
                raw.inception_offset,
                "zone.dnssec.inception_offset",
                (0, MAX_INCEPTION_OFFSET),
                DEFAULT_INCEPTION_OFFSET,
            ),
            dnskey_ttl: seconds(
                raw.dnskey_ttl,
                "zone.dnssec.dnskey_ttl",
                (1, quarter),
                DEFAULT_DNSKEY_TTL.min(quarter),
            ),
            propagation_delay: seconds(
                raw.propagation_delay,
                "zone.dnssec.propagation_delay",
                (0, MAX_PROPAGATION_DELAY),
                DEFAULT_PROPAGATION_DELAY,
            ),
        }
    }
}
