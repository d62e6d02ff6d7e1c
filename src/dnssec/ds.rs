//! DS records: the digest of a key in the parent zone (RFC 4034 §5). The CDS records that ask the parent for them
//! have the same data (RFC 7344 §3.1).
//!
//! The digest is SHA-256 (RFC 4509), which every validator supports and every registry accepts (RFC 8624 §3.3).

use std::fmt;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::key::SigningKey;
use crate::base::name::ZoneName;

/// The data of the CDS record that asks for all DS records to be removed: `0 0 0 00` (RFC 8078 §4).
pub const DELETE_CDS: [u8; 5] = [0; 5];
/// The data of the CDNSKEY record with the same meaning: `0 3 0 AA==` (RFC 8078 §4).
pub const DELETE_CDNSKEY: [u8; 5] = [0, 0, 3, 0, 0];

/// The data of a DS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ds {
    /// The key's tag.
    pub tag: u16,
    /// The number of the key's algorithm.
    pub algorithm: u8,
    /// SHA-256 of the owner name and the data of the DNSKEY record.
    pub digest: [u8; SHA256_OUTPUT_LEN],
}

impl Ds {
    /// The digest type of SHA-256 (RFC 4509 §2.2).
    pub const DIGEST_TYPE: u8 = 2;

    /// The DS record of a key of the zone with this origin.
    pub fn of(origin: &ZoneName, key: &SigningKey) -> Self {
        Self {
            tag: key.tag(),
            algorithm: key.algorithm().number(),
            digest: key_digest(origin, key.dnskey()),
        }
    }

    /// In wire form (RFC 4034 §5.1).
    pub fn to_wire(&self) -> Vec<u8> {
        let [high, low] = self.tag.to_be_bytes();
        [
            &[high, low, self.algorithm, Self::DIGEST_TYPE][..],
            &self.digest[..],
        ]
        .concat()
    }

    /// The digest in upper-case hexadecimal digits, as registries show it.
    pub fn hex_digest(&self) -> String {
        self.digest
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }
}

/// In the form of master files (RFC 4034 §5.3).
impl fmt::Display for Ds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, algorithm) = (self.tag, self.algorithm);
        let digest_type = Self::DIGEST_TYPE;
        write!(f, "{tag} {algorithm} {digest_type} {}", self.hex_digest())
    }
}

/// The digest of a key (RFC 4034 §5.1.4, RFC 4509 §2.1).
fn key_digest(origin: &ZoneName, dnskey: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    // In wire form and lower case (RFC 4034 §6.2).
    let mut text = origin.wire().to_vec();
    text.extend(dnskey);
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    // A SHA-256 digest has the length of the array.
    bytes.copy_from_slice(digest(&SHA256, &text).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use domain::utils::base64;

    use super::*;
    use crate::dnssec::key::key_tag;

    fn check(origin: &str, flags: u16, algorithm: u8, public: &str, expected: &str) {
        let [f0, f1] = flags.to_be_bytes();
        let public: Vec<u8> = base64::decode(public).unwrap();
        let dnskey = [&[f0, f1, 3, algorithm][..], &public].concat();
        let ds = Ds {
            tag: key_tag(&dnskey),
            algorithm,
            digest: key_digest(&ZoneName::parse(origin).unwrap(), &dnskey),
        };
        assert_eq!(ds.to_string(), expected);
        let [high, low] = ds.tag.to_be_bytes();
        let head = [high, low, algorithm, 2];
        assert_eq!(ds.to_wire(), [&head[..], &ds.digest].concat());
    }

    /// RFC 6605 §6.1.
    #[test]
    fn ds_of_ecdsa_p256() {
        check(
            "example.net",
            257,
            13,
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
            "55648 13 2 B4C8C1FE2E7477127B27115656AD6256F424625BF5C1E2770CE6D6E37DF61D17",
        );
    }

    /// RFC 8080 §6.1; the letter case of the name does not matter (RFC 4034 §6.2).
    #[test]
    fn ds_of_ed25519() {
        check(
            "Example.COM.",
            257,
            15,
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "3613 15 2 3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B",
        );
        check(
            "example.com",
            257,
            15,
            "zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
            "35217 15 2 401781B934E392DE492EC77AE2E15D70F6575A1C0BC59C5275C04EBE80C6614C",
        );
    }
}
