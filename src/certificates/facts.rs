//! What operators want to know of a certificate.

use serde::Serialize;

use super::x509::Fields;
use crate::base::clock::UnixTime;
use crate::store::audit::Facts;

/// By how many seconds the clock of the directory may be ahead.
const CLOCK_SKEW: u64 = 60;
/// How long before the end of a certificate to warn, in seconds: two weeks, but not more than a quarter of its
/// lifetime, because the renewal of a short one begins later.
const NEAR_END: u64 = 14 * 24 * 60 * 60;

/// What operators want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its serial number, in lower-case hexadecimal digits.
    pub serial: String,
    /// The name of its issuer.
    pub issuer: String,
    /// The beginning of its validity.
    pub not_before: UnixTime,
    /// The end of its validity.
    pub not_after: UnixTime,
}

impl CertificateFacts {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        Self {
            serial: hex(unsigned(fields.serial)),
            issuer: fields.issuer(),
            not_before: fields.from,
            not_after: fields.end,
        }
    }

    /// The certificate as the audit log shows it, under the names of the API.
    pub(super) fn audited(&self) -> Facts {
        Facts::of(&AuditedFacts {
            serial: &self.serial,
            issuer: &self.issuer,
            not_before: self.not_before.rfc3339(),
            not_after: self.not_after.rfc3339(),
        })
    }

    /// Whether the certificate ends soon, or has ended.
    pub(super) fn ends_soon(&self, now: UnixTime) -> bool {
        let lifetime = self.not_before.until(self.not_after);
        now.until(self.not_after) < NEAR_END.min(lifetime / 4)
    }

    /// Why clients refuse a certificate that was issued just now, if they do.
    pub(super) fn refusal(&self, now: UnixTime) -> Option<String> {
        let Self {
            not_before,
            not_after,
            ..
        } = self;
        if now.after(CLOCK_SKEW) < *not_before {
            let from = not_before.rfc3339();
            return Some(format!("the new certificate is not valid before {from}"));
        }
        let end = not_after.rfc3339();
        (*not_after <= now).then(|| format!("the new certificate ended at {end}"))
    }
}

#[derive(Serialize)]
struct AuditedFacts<'a> {
    serial: &'a str,
    issuer: &'a str,
    not_before: String,
    not_after: String,
}

/// An integer of DER without the byte that only says that it is not negative, as other programs show it.
fn unsigned(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => bytes,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
