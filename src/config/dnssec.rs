//! `[zone.dnssec]`: how a zone is signed, and where its keys are. Without the section the zone is not signed.

use super::section::{DAY, HOUR, Section};
use crate::dnssec::DnssecConfig;

/// In seconds, as all that follows. Two weeks leave time to notice that nothing is signed any more.
const DEFAULT_VALIDITY: u32 = 14 * DAY;
const MIN_VALIDITY: u32 = HOUR;
const MAX_VALIDITY: u32 = 90 * DAY;
/// An hour, or less where signatures are valid for a short time only.
const DEFAULT_JITTER: u32 = HOUR;
const DEFAULT_INCEPTION_OFFSET: u32 = HOUR;
/// A validator whose clock is wrong by more than a day needs another remedy.
const MAX_INCEPTION_OFFSET: u32 = DAY;
/// An hour, or less where signatures are valid for a short time only.
const DEFAULT_DNSKEY_TTL: u32 = HOUR;
const DEFAULT_PROPAGATION_DELAY: u32 = HOUR;
const MAX_PROPAGATION_DELAY: u32 = 7 * DAY;

pub(super) fn dnssec(section: &Section<'_>) -> DnssecConfig {
    let seconds = |key, range, default| section.number(key, range, "seconds", default);
    let keys = section.required_file("keys");
    let validity = MIN_VALIDITY..=MAX_VALIDITY;
    let validity = seconds("signature_validity", validity, DEFAULT_VALIDITY);
    let quarter = validity / 4;
    DnssecConfig {
        keys,
        signature_validity: validity,
        signature_jitter: seconds(
            "signature_jitter",
            0..=quarter - 1,
            DEFAULT_JITTER.min(quarter / 2),
        ),
        inception_offset: seconds(
            "inception_offset",
            0..=MAX_INCEPTION_OFFSET,
            DEFAULT_INCEPTION_OFFSET,
        ),
        dnskey_ttl: seconds("dnskey_ttl", 1..=quarter, DEFAULT_DNSKEY_TTL.min(quarter)),
        propagation_delay: seconds(
            "propagation_delay",
            0..=MAX_PROPAGATION_DELAY,
            DEFAULT_PROPAGATION_DELAY,
        ),
    }
}
