//! Warnings about certificates that clients refuse, or soon will: for want of a name (RFC 9525 §6.3), or because of
//! their validity (RFC 5280 §4.1.2.5). The TLS library leaves both checks to clients; so the server warns its operator
//! in time.

use std::fmt;
use std::path::{Path, PathBuf};

use time::{Date, Month, Time};

use crate::base::clock::UnixTime;

/// How long before its expiry to warn of a certificate, in seconds: two weeks.
const NEAR_END: u64 = 14 * 24 * 60 * 60;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

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

/// The beginning and the end of the validity of a certificate in DER; none if it does not have the form of RFC 5280
/// §4.1.
fn validity(der: &[u8]) -> Option<(UnixTime, UnixTime)> {
    let certificate = Elements(der).of(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).of(SEQUENCE)?);
    // the version, which is left out for version 1, and the serial number
    let (first, _) = fields.next()?;
    if first == VERSION {
        fields.next()?;
    }
    let (_signature, _issuer) = (fields.of(SEQUENCE)?, fields.of(SEQUENCE)?);
    let mut times = Elements(fields.of(SEQUENCE)?);
    Some((time(times.next()?)?, time(times.next()?)?))
}

/// The remainder of a list of DER elements (X.690 §8.1).
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The tag and the contents of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            // The length has so many bytes; four suffice for any file.
            0x81..=0x84 => {
                let (len, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                let len = len
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                (len, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next element, which must have this tag.
    fn of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, contents) = self.next()?;
        (found == tag).then_some(contents)
    }
}

/// A time, to the second and in UTC (RFC 5280 §4.1.2.5.1 and .2). A time before 1970 counts as 1970.
fn time((tag, text): (u8, &[u8])) -> Option<UnixTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let number = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let month = Month::try_from(number(0)?).ok()?;
    let date = Date::from_calendar_date(year, month, number(2)?).ok()?;
    let time = Time::from_hms(number(4)?, number(6)?, number(8)?).ok()?;
    let seconds = date.with_time(time).assume_utc().unix_timestamp();
    Some(UnixTime(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5280_4_1_2_5_times() {
        let at = |tag, text: &str| time((tag, text.as_bytes())).map(UnixTime::rfc3339);
        let utc = |text| at(UTC_TIME, text);
        assert_eq!(utc("260131235959Z").unwrap(), "2026-01-31T23:59:59Z");
        assert_eq!(utc("491231000000Z").unwrap(), "2049-12-31T00:00:00Z");
        assert_eq!(utc("500101000000Z").unwrap(), "1970-01-01T00:00:00Z");
        let general = at(GENERALIZED_TIME, "20500101000000Z");
        assert_eq!(general.unwrap(), "2050-01-01T00:00:00Z");
        for bad in [
            "",
            "Z",
            "2601312359Z",
            "260131235959",
            "261331235959Z",
            "2\u{e9}0131235959Z",
        ] {
            assert_eq!(utc(bad), None, "{bad}");
        }
        assert_eq!(at(0x04, "260131235959Z"), None);
    }

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
