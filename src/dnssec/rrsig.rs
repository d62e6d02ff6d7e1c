//! Signatures of RRsets: RRSIG records (RFC 4034 §3) over the canonical form (RFC 4034 §6).

use std::sync::Arc;

use super::key::{KeyError, SIGNATURE_LEN, SigningKey};
use crate::base::clock::UnixTime;

const CLASS_IN: u16 = 1;
/// The data of an RRSIG record before the signer's name (RFC 4034 §3.1).
const FIXED_LEN: usize = 18;

/// An RRset in canonical form.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalSet<'a> {
    /// The owner in wire form and lower case.
    pub owner: &'a [u8],
    /// The type.
    pub rtype: u16,
    /// The TTL of the set in the zone, in seconds.
    pub ttl: u32,
    /// The data of the records in canonical form, see [`canonical`], sorted, each once.
    pub data: &'a [Vec<u8>],
}

/// How long signatures are valid, and when they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The time from the creation of a signature to its expiration, in seconds.
    pub validity: u32,
    /// The most by which that time is shortened, in seconds, so that not all signatures expire at once; less than
    /// a quarter of the validity.
    pub jitter: u32,
    /// How long before its creation a signature becomes valid, in seconds, for resolvers whose clocks are slow.
    pub inception_offset: u32,
}

/// When a signature is valid, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first time at which it is valid.
    pub inception: UnixTime,
    /// The time up to which it is valid.
    pub expiration: UnixTime,
    /// The time from which it should be replaced: half of its life is over.
    pub renewal: UnixTime,
}

impl Validity {
    /// The period of a signature that is made now. `spread`, any number, chooses the point within the jitter.
    pub fn period(&self, now: UnixTime, spread: u64) -> Period {
        let early = spread % (u64::from(self.jitter) + 1);
        let life = u64::from(self.validity).saturating_sub(early);
        Period {
            inception: UnixTime(now.0.saturating_sub(self.inception_offset.into())),
            expiration: UnixTime(now.0.saturating_add(life)),
            renewal: UnixTime(now.0.saturating_add(life / 2)),
        }
    }
}

/// Signs an RRset with each of these keys and returns the data of the RRSIG records. `signer` is the name of the
/// zone in wire form and lower case.
///
/// # Errors
/// As [`SigningKey::sign`].
pub fn sign(
    set: &CanonicalSet<'_>,
    signer: &[u8],
    keys: &[Arc<SigningKey>],
    period: &Period,
) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut signed = Vec::new();
    keys.iter()
        .map(|key| {
            // RFC 4034 §3.1.8.1: the data of the RRSIG without the signature, and the records.
            signed.clear();
            push_fixed(&mut signed, set, key, period);
            signed.extend(signer);
            let data_len = signed.len();
            push_records(&mut signed, set);
            let signature = key.sign(&signed)?;
            let mut data = Vec::with_capacity(data_len + SIGNATURE_LEN);
            data.extend(&signed[..data_len]);
            data.extend(signature);
            Ok(data)
        })
        .collect()
}

/// The data of an RRSIG up to the name of the signer (RFC 4034 §3.1).
fn push_fixed(to: &mut Vec<u8>, set: &CanonicalSet<'_>, key: &SigningKey, period: &Period) {
    // RFC 4034 §3.1.5: seconds modulo 2^32.
    let [expiration, inception] = [period.expiration, period.inception].map(|time| time.0 as u32);
    to.reserve(FIXED_LEN);
    to.extend(set.rtype.to_be_bytes());
    to.extend([key.algorithm().number(), labels(set.owner)]);
    to.extend(set.ttl.to_be_bytes());
    to.extend(expiration.to_be_bytes());
    to.extend(inception.to_be_bytes());
    to.extend(key.tag().to_be_bytes());
}

fn push_records(to: &mut Vec<u8>, set: &CanonicalSet<'_>) {
    for data in set.data {
        to.extend(set.owner);
        to.extend(set.rtype.to_be_bytes());
        to.extend(CLASS_IN.to_be_bytes());
        to.extend(set.ttl.to_be_bytes());
        // The data of a record has 65,535 bytes at most.
        to.extend((data.len() as u16).to_be_bytes());
        to.extend(data);
    }
}

/// The number of labels of an owner (RFC 4034 §3.1.3), without the root and without a leading `*`.
fn labels(owner: &[u8]) -> u8 {
    let is_wildcard = owner.starts_with(b"\x01*");
    let mut rest = owner;
    let mut number = 0;
    while let Some((&len @ 1.., behind)) = rest.split_first() {
        number += 1;
        rest = behind.get(usize::from(len)..).unwrap_or_default();
    }
    number - u8::from(is_wildcard)
}

/// The names that canonical form has in lower case in the data of a type (RFC 4034 §6.2, RFC 6840 §5.1): the
/// number of bytes before the first, and the number of names. Only types that a zone can have; NAPTR is not here,
/// because it has strings before its name.
fn names_of(rtype: u16) -> Option<(usize, usize)> {
    Some(match rtype {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        _ => return None,
    })
}

const TYPE_NAPTR: u16 = 35;

/// Turns the data of a record, with uncompressed names, into canonical form.
pub fn canonical(rtype: u16, mut data: Vec<u8>) -> Vec<u8> {
    let place = match rtype {
        TYPE_NAPTR => Some((4 + strings_len(data.get(4..).unwrap_or_default(), 3), 1)),
        rtype => names_of(rtype),
    };
    if let Some((mut at, names)) = place {
        for _ in 0..names {
            at = lower_name(&mut data, at);
        }
    }
    data
}

/// The length of the first character-strings of the data, in bytes.
fn strings_len(mut data: &[u8], strings: usize) -> usize {
    let all = data.len();
    for _ in 0..strings {
        let len = data.first().map_or(0, |len| 1 + usize::from(*len));
        data = data.get(len..).unwrap_or_default();
    }
    all - data.len()
}

/// Turns the name at this place into lower case and returns the place behind it.
fn lower_name(data: &mut [u8], mut at: usize) -> usize {
    while let Some(&len @ 1..) = data.get(at) {
        let label = at + 1..at + 1 + usize::from(len);
        at = label.end;
        if let Some(label) = data.get_mut(label) {
            label.make_ascii_lowercase();
        }
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::dnssec::key::{Algorithm, Role};

    #[test]
    fn rfc4034_3_1_3_labels() {
        for (owner, number) in [
            (&b"\0"[..], 0),
            (b"\x07example\0", 1),
            (b"\x01*\x07example\0", 1),
            (b"\x01a\x01*\x07example\0", 3),
        ] {
            assert_eq!(labels(owner), number);
        }
    }

    #[test]
    fn rfc4034_6_2_names_are_in_lower_case() {
        let check = |rtype, data: &[u8], expected: &[u8]| {
            assert_eq!(canonical(rtype, data.to_vec()), expected, "{rtype}");
        };
        check(5, b"\x01A\x01B\0", b"\x01a\x01b\0");
        check(15, b"AB\x01A\0", b"AB\x01a\0");
        check(
            6,
            b"\x01A\0\x01B\0ABCDABCDABCDABCDABCD",
            b"\x01a\0\x01b\0ABCDABCDABCDABCDABCD",
        );
        check(33, b"ABCDEF\x01A\0", b"ABCDEF\x01a\0");
        check(26, b"AB\x01A\0\x01B\0", b"AB\x01a\0\x01b\0");
        check(
            35,
            b"ABCD\x01U\x03SIP\0\x01A\0",
            b"ABCD\x01U\x03SIP\0\x01a\0",
        );
        // RFC 6840 §5.1: names in NSEC records stay as they are, and so does data that is not a name.
        check(47, b"\x01A\0", b"\x01A\0");
        check(16, b"\x01A", b"\x01A");
        // Truncated data.
        check(15, b"A", b"A");
        check(5, b"\x05A", b"\x05A");
        check(35, b"ABCD\x09U", b"ABCD\x09U");
    }

    /// RFC 8080 §6.1 signs an MX record, and Ed25519 always in the same way.
    #[test]
    fn rfc8080_6_1_a_signature() {
        use domain::utils::base64;
        let seed: Vec<u8> = base64::decode("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=").unwrap();
        let head = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        let der = [&head[..], &seed].concat();
        let key = SigningKey::from_pkcs8(Algorithm::Ed25519, Role::Ksk, &der).unwrap();
        let key = Arc::new(key);
        let set = CanonicalSet {
            owner: b"\x07example\x03com\0",
            rtype: 15,
            ttl: 3_600,
            data: &[b"\0\x0a\x04mail\x07example\x03com\0".to_vec()],
        };
        let period = Period {
            inception: UnixTime(1_438_207_200),
            expiration: UnixTime(1_440_021_600),
            renewal: UnixTime(0),
        };
        let signed = sign(&set, set.owner, std::slice::from_ref(&key), &period).unwrap();
        let (fixed, signature) = signed[0].split_at(signed[0].len() - SIGNATURE_LEN);
        assert_eq!(fixed[..4], [0, 15, 15, 2]);
        let expected: Vec<u8> = base64::decode(
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        )
        .unwrap();
        assert_eq!(signature, expected);
        let public = UnparsedPublicKey::new(&ED25519, &key.dnskey()[4..]);
        assert!(public.verify(b"something else", signature).is_err());
    }

    #[test]
    fn periods_end_between_validity_and_jitter() {
        let validity = Validity {
            validity: 1_000,
            jitter: 100,
            inception_offset: 50,
        };
        let now = UnixTime(10_000);
        let ends: Vec<_> = (0..1_000).map(|n| validity.period(now, n * 7)).collect();
        assert!(
            ends.iter()
                .all(|period| period.inception == UnixTime(9_950))
        );
        let ends = |of: fn(&Period) -> u64| (ends.iter().map(of).min(), ends.iter().map(of).max());
        assert_eq!(ends(|p| p.expiration.0), (Some(10_900), Some(11_000)));
        assert_eq!(ends(|p| p.renewal.0), (Some(10_450), Some(10_500)));
    }
}
