//! Reads the fields of a certificate (RFC 5280 §4.1) that this server shows, compares or sends back. The TLS library
//! reads the names and the key; no field that is read here decides whether a peer is trusted.

use time::{Date, Month, Time};

use crate::base::clock::UnixTime;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
/// The field `keyIdentifier` of an AuthorityKeyIdentifier (RFC 5280 §4.2.1.1).
const KEY_IDENTIFIER: u8 = 0x80;

/// 2.5.29.35, authorityKeyIdentifier.
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1D, 0x23];
/// 2.5.4.3, commonName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10, organizationName.
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0A];

/// Fields of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// The contents of the DER encoding of its serial number: big-endian, with a zero byte before a high bit.
    pub(super) serial: &'a [u8],
    /// The RDNSequence of its issuer.
    issuer: &'a [u8],
    /// The beginning of its validity.
    pub(super) from: UnixTime,
    /// The end of its validity.
    pub(super) end: UnixTime,
    /// The key identifier of its issuer's key, if it has one.
    pub(super) authority_key: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// The fields of a certificate in DER; none if it does not have the form of RFC 5280 §4.1.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let certificate = Elements(der).of(SEQUENCE)?;
        let mut fields = Elements(Elements(certificate).of(SEQUENCE)?);
        // The version is left out for version 1.
        let (mut tag, mut contents) = fields.next()?;
        if tag == VERSION {
            (tag, contents) = fields.next()?;
        }
        let serial = (tag == INTEGER).then_some(contents)?;
        let (_signature, issuer) = (fields.of(SEQUENCE)?, fields.of(SEQUENCE)?);
        let mut times = Elements(fields.of(SEQUENCE)?);
        Some(Self {
            serial,
            issuer,
            from: time(times.next()?)?,
            end: time(times.next()?)?,
            authority_key: authority_key(fields),
        })
    }

    /// The name of its issuer for people: its common name or else its organization, empty if it has neither.
    pub(super) fn issuer(&self) -> String {
        let mut names = Elements(self.issuer);
        let mut organization = "";
        while let Some(set) = names.of(SET) {
            let pair = Elements(set).of(SEQUENCE).map(Elements);
            let read = pair.and_then(|mut pair| {
                let attribute = pair.of(OBJECT_IDENTIFIER)?;
                Some((attribute, std::str::from_utf8(pair.next()?.1).ok()?))
            });
            match read {
                Some((COMMON_NAME, name)) => return name.into(),
                Some((ORGANIZATION, name)) => organization = name,
                _ => {}
            }
        }
        organization.into()
    }
}

/// The key identifier of the issuer's key, from the fields after the validity.
fn authority_key<'a>(mut fields: Elements<'a>) -> Option<&'a [u8]> {
    let extensions = loop {
        if let (EXTENSIONS, contents) = fields.next()? {
            break Elements(contents).of(SEQUENCE)?;
        }
    };
    let mut extensions = Elements(extensions);
    loop {
        let mut extension = Elements(extensions.of(SEQUENCE)?);
        if extension.of(OBJECT_IDENTIFIER)? != AUTHORITY_KEY_IDENTIFIER {
            continue;
        }
        let (mut tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            (tag, value) = extension.next()?;
        }
        let value = (tag == OCTET_STRING).then_some(value)?;
        return Elements(Elements(value).of(SEQUENCE)?).of(KEY_IDENTIFIER);
    }
}

/// The beginning and the end of the validity of a certificate in DER; none if it does not have the form of RFC 5280
/// §4.1.
pub(super) fn validity(der: &[u8]) -> Option<(UnixTime, UnixTime)> {
    let fields = Fields::of(der)?;
    Some((fields.from, fields.end))
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
}
