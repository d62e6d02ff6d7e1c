//! Log lines about zones, keys and certificates, for the start and for reloads.

use std::sync::Arc;

use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::certificates::Tls;
use crate::dnssec::Signing;
use crate::dnssec::key::SigningKey;
use crate::zone::Diagnostic;

/// Logs which keys sign, and until when.
pub(super) fn log_keys(origin: &ZoneName, signing: &Signing) {
    let keys = signing.keys();
    let tags = |keys: &[Arc<SigningKey>]| keys.iter().map(|key| key.tag()).collect::<Vec<_>>();
    let until = keys
        .until
        .map_or("further notice".into(), UnixTime::rfc3339);
    tracing::info!(
        zone = %origin,
        sign_keys = ?tags(&keys.key_signers),
        sign_zone = ?tags(&keys.zone_signers),
        published = keys.dnskeys.len(),
        until,
        "the zone is signed"
    );
}

pub(super) fn log_key_files(signing: &Signing) {
    for warning in signing.warnings() {
        tracing::warn!("{warning}");
    }
}

pub(super) fn log_warnings(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Warns if the certificate has expired or will soon, and if it lacks the names of these zones.
pub(super) fn log_certificate<'a>(tls: &Tls, zones: impl Iterator<Item = &'a str>, now: UnixTime) {
    for warning in tls.warnings(zones, now) {
        tracing::warn!("{warning}");
    }
}
