//! Warnings about certificates that clients refuse, or soon will: for want of a name (RFC 9525 §6.3), or because of
//! their validity (RFC 5280 §4.1.2.5). The TLS library leaves both checks to clients; so the server warns its operator
//! in time.

use std::fmt;
use std::path::{Path, PathBuf};

use super::x509::validity;
use crate::base::clock::UnixTime;

/// How long before its expiry to warn of a certificate, in seconds: two weeks.
const NEAR_END: u64 = 14 * 24 * 60 * 60;

/// A certificate that clients refuse, or soon will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    file: PathBuf,
    /// Its place in the file, from 1.
    place: usize,
    reason: Refusal,
}

/// Why clients refuse a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    NotYet(UnixTime),
    Ended(UnixTime),
    EndsSoon(UnixTime),
    /// It lacks this name.
    Name(Box<str>),
}

impl CertificateWarning {
    /// The first certificate of the file lacks a DNS name.
    pub(super) fn lacks_name(file: &Path, name: &str) -> Self {
        Self {
            file: file.into(),
            place: 1,
            reason: Refusal::Name(name.into()),
        }
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, .. } = self;
        write!(f, "{}: certificate {place} ", file.display())?;
        match &self.reason {
            Refusal::NotYet(from) => {
                let from = from.rfc3339();
                write!(
                    f,
                    "is not valid before {from}; clients refuse it until then"
                )
            }
            Refusal::Ended(end) => {
                let end = end.rfc3339();
                write!(
                    f,
                    "ended at {end}; clients refuse it, replace it and send SIGHUP"
                )
            }
            Refusal::EndsSoon(end) => {
                let end = end.rfc3339();
                write!(f, "ends at {end}; replace it before and send SIGHUP")
            }
            Refusal::Name(name) => write!(
                f,
                "lacks the name {name}; browsers refuse it there, use a certificate with that name"
            ),
        }
    }
}

/// Warnings about the certificates of a file, which are in DER.
pub(crate) fn warnings<'a>(
    file: &Path,
    chain: impl Iterator<Item = &'a [u8]>,
    now: UnixTime,
) -> Vec<CertificateWarning> {
    let reason = |der: &[u8]| {
        let (from, end) = validity(der)?;
        match () {
            () if now < from => Some(Refusal::NotYet(from)),
            () if end < now => Some(Refusal::Ended(end)),
            () if now.until(end) < NEAR_END => Some(Refusal::EndsSoon(end)),
            () => None,
        }
    };
    let warning = |(place, der)| {
        Some(CertificateWarning {
            file: file.into(),
            place,
            reason: reason(der)?,
        })
    };
    (1..).zip(chain).filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_certificates_have_no_times() {
        let chain = [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 255, 255, 255, 255],
            &[0x30, 0x80, 1],
        ];
        let warned = warnings(Path::new("c"), chain.into_iter(), UnixTime(5));
        assert_eq!(warned, []);
    }
}
