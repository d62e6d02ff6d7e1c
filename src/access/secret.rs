//! The secrets of tokens: random, shown once, and kept as a digest.
//!
//! A secret has 256 random bits, so its digest needs neither salt nor many rounds: no list of likely secrets exists.

use ring::digest::{SHA256, digest};

use super::token::hex;

/// The beginning of each secret. Scanners for leaked secrets find it, and other texts need no read of the store.
const PREFIX: &str = "tns_";
/// The entropy of a secret, in bytes; it is written in hex.
const RANDOM_BYTES: usize = 32;

/// The SHA-256 digest of a secret (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a presented secret; none if the text cannot be the secret of a token.
    pub(super) fn of(presented: &[u8]) -> Option<Self> {
        let is_ours = presented.len() == PREFIX.len() + 2 * RANDOM_BYTES
            && presented.starts_with(PREFIX.as_bytes());
        is_ours.then(|| Self::compute(presented))
    }

    /// The digest of any secret.
    pub(super) fn compute(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the hex digits of [`SecretDigest::to_hex`].
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    pub(super) fn to_hex(self) -> String {
        hex(&self.0)
    }
}

/// Makes a secret and its digest.
///
/// # Errors
/// The system gives no random bytes.
pub(super) fn make() -> Result<(String, SecretDigest), getrandom::Error> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let secret = format!("{PREFIX}{}", hex(&random));
    let digest = SecretDigest::compute(secret.as_bytes());
    Ok((secret, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_by_its_digest() {
        let (secret, digest) = make().unwrap();
        assert_eq!(SecretDigest::of(secret.as_bytes()), Some(digest));
        assert_ne!(make().unwrap().0, secret);
        for other in ["", "tns_", &secret[1..], &format!("{secret}0")] {
            assert_eq!(SecretDigest::of(other.as_bytes()), None, "{other}");
        }
        let changed = secret.replace("tns_", "tnt_");
        assert_eq!(SecretDigest::of(changed.as_bytes()), None);
    }

    #[test]
    fn digests_are_kept_in_hex() {
        // FIPS 180-4, the digest of "abc".
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = SecretDigest::compute(b"abc");
        assert_eq!(digest.to_hex(), known);
        assert_eq!(SecretDigest::from_hex(known), Some(digest));
        for bad in ["", &known[1..], &known.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(SecretDigest::from_hex(bad), None, "{bad}");
        }
    }
}
