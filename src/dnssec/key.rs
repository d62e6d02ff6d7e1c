//! One key: its algorithm, its public half as DNSKEY, and its signatures.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};

/// The protocol field of every DNSKEY (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;
/// The Zone Key flag (RFC 4034 §2.1.1).
const ZONE_KEY: u16 = 0x0100;
/// The Secure Entry Point flag (RFC 4034 §2.1.1).
const SECURE_ENTRY_POINT: u16 = 0x0001;
/// The length of a signature of either algorithm, in bytes (RFC 6605 §4, RFC 8080 §4).
pub const SIGNATURE_LEN: usize = 64;

/// The algorithm of a key. Both are fast and make short signatures, which online signing needs (RFC 9824 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256 (RFC 6605).
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

/// The role of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Signs everything, and has a DS record in the parent zone (a combined signing key, RFC 6781 §3.1).
    Csk,
    /// Signs the DNSKEY, CDS and CDNSKEY records, and has a DS record in the parent zone.
    Ksk,
    /// Signs everything else.
    Zsk,
}

/// The records that a key may have to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// The DNSKEY, CDS and CDNSKEY records.
    Keys,
    /// Everything else.
    Zone,
}

/// Why a private key cannot be used or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not a key of this algorithm.
    #[error("not a private key of {0} in PKCS#8")]
    NotAKey(Algorithm),
    /// The operating system had no random numbers for a signature or a key.
    #[error("the operating system provides no random numbers")]
    NoRandom,
}

/// A private key, ready to sign.
pub struct SigningKey {
    role: Role,
    algorithm: Algorithm,
    pair: Pair,
    dnskey: Vec<u8>,
    tag: u16,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Algorithm {
    /// Its number (RFC 8624 §3.1).
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256Sha256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// Its mnemonic (RFC 8624 §3.1) in lower case, as in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsap256sha256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm of this name, in any letter case.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::EcdsaP256Sha256, Self::Ed25519];
        all.into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        })
    }
}

impl Role {
    /// The flags of its DNSKEY record (RFC 4034 §2.1.1).
    pub fn flags(self) -> u16 {
        match self {
            Self::Csk | Self::Ksk => ZONE_KEY | SECURE_ENTRY_POINT,
            Self::Zsk => ZONE_KEY,
        }
    }

    /// Its name, as in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csk => "csk",
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Csk, Self::Ksk, Self::Zsk];
        all.into_iter().find(|role| role.name() == name)
    }

    /// The records that a key with this role signs.
    pub fn duties(self) -> &'static [Duty] {
        match self {
            Self::Csk => &[Duty::Keys, Duty::Zone],
            Self::Ksk => &[Duty::Keys],
            Self::Zsk => &[Duty::Zone],
        }
    }

    /// Whether a key with this role has a DS record in the parent zone.
    pub fn has_ds(self) -> bool {
        self.duties().contains(&Duty::Keys)
    }
}

impl Duty {
    /// The role of a key that has only this duty.
    pub fn role(self) -> Role {
        match self {
            Self::Keys => Role::Ksk,
            Self::Zone => Role::Zsk,
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys => "the DNSKEY records",
            Self::Zone => "the records of the zone",
        })
    }
}

impl SigningKey {
    /// A key from its PKCS#8 document in DER (RFC 5958), with or without the public half.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`].
    pub fn from_pkcs8(algorithm: Algorithm, role: Role, der: &[u8]) -> Result<Self, KeyError> {
        let no_key = |_| KeyError::NotAKey(algorithm);
        let (pair, public) = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let random = SystemRandom::new();
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(curve, der, &random).map_err(no_key)?;
                // RFC 6605 §4: without the first byte, which says that the point is not compressed.
                let public = pair.public_key().as_ref().split_first();
                let public = public.map_or(Vec::new(), |(_, point)| point.to_vec());
                (Pair::Ecdsa(pair), public)
            }
            Algorithm::Ed25519 => {
                // Keys that other programs write have no public half. Ring computes it.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(no_key)?;
                let public = pair.public_key().as_ref().to_vec();
                (Pair::Ed25519(pair), public)
            }
        };
        let [f0, f1] = role.flags().to_be_bytes();
        let mut dnskey = vec![f0, f1, PROTOCOL, algorithm.number()];
        dnskey.extend(public);
        Ok(Self {
            role,
            algorithm,
            tag: key_tag(&dnskey),
            pair,
            dnskey,
        })
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its key tag (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The data of its DNSKEY record (RFC 4034 §2.1).
    pub fn dnskey(&self) -> &[u8] {
        &self.dnskey
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], KeyError> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map_err(|_| KeyError::NoRandom)?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        signature
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::NoRandom)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("role", &self.role)
            .field("algorithm", &self.algorithm)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// The key tag of a DNSKEY's data (RFC 4034 appendix B).
pub fn key_tag(dnskey: &[u8]) -> u16 {
    let words = dnskey.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([word[0], low]))
    });
    let sum: u32 = words.fold(0, u32::wrapping_add);
    (sum.wrapping_add(sum >> 16) & 0xFFFF) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 8080 §6.1 and RFC 6605 §6.1.
    #[test]
    fn rfc4034_appendix_b_key_tags() {
        use domain::utils::base64;
        let seed: Vec<u8> = base64::decode("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=").unwrap();
        let head = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        let der = [&head[..], &seed].concat();
        let key = SigningKey::from_pkcs8(Algorithm::Ed25519, Role::Ksk, &der).unwrap();
        assert_eq!(key.tag(), 3_613);
        let public: Vec<u8> =
            base64::decode("l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=").unwrap();
        assert_eq!(key.dnskey()[4..], public);
        let public: Vec<u8> = base64::decode(
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        )
        .unwrap();
        let dnskey = [&[1, 1, 3, 13][..], &public].concat();
        assert_eq!(key_tag(&dnskey), 55_648);
    }
}
