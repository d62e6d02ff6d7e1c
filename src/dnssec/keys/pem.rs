//! The file of a private key: PKCS#8 in PEM, as `openssl pkey` and `openssl genpkey` read and write it.
//!
//! Ring writes Ed25519 keys with their public half (RFC 5958), which OpenSSL before 3.5 does not read. So this
//! module writes the older form without it (RFC 8410 §7), which all programs read.

use std::io;
use std::path::Path;

use domain::utils::base64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};

use super::list::LIST_FILE;
use crate::base::files::read_regular;
use crate::base::name::ZoneName;
use crate::dnssec::key::{Algorithm, KeyError, Role, SigningKey};

/// The largest file, in bytes; a key has about 250.
const MAX_PEM_LEN: u64 = 8 * 1024;
/// The length of a line of PEM, in characters (RFC 7468 §2).
const LINE_LEN: usize = 64;
/// The bytes before the seed of an Ed25519 key in PKCS#8 of version 1 (RFC 8410 §7).
const ED25519_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The length of that seed, in bytes (RFC 8032 §5.1.5).
const ED25519_SEED_LEN: usize = 32;

/// What is wrong with the file of a private key. No message shows the key itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileProblem {
    /// It cannot be read.
    #[error("cannot read this private key, which {LIST_FILE} lists: {0}")]
    Io(io::Error),
    /// Probably not a key.
    #[error("larger than {MAX_PEM_LEN} bytes")]
    TooLarge,
    /// It is not PEM.
    #[error("not PEM")]
    Pem,
    /// It has no key, an encrypted key, or a key in another form.
    #[error("the file has no unencrypted private key in PKCS#8 (BEGIN PRIVATE KEY)")]
    NoKey,
    /// It is not a key of the algorithm in the list.
    #[error("{0}")]
    Key(KeyError),
    /// It is another key.
    #[error("the tag of this key is {found} as {}, but {LIST_FILE} has {listed}", .role.name())]
    OtherTag {
        /// The tag of the key.
        found: u16,
        /// The tag in the list.
        listed: u16,
        /// The role, on which the tag depends.
        role: Role,
    },
}

/// The name of a key's file.
pub fn file_name(origin: &ZoneName, algorithm: Algorithm, tag: u16) -> String {
    format!(
        "K{}+{:03}+{tag:05}.pem",
        origin.file_part(),
        algorithm.number()
    )
}

/// Whether this is the name of a file for a key of this zone.
pub(super) fn is_file_name(name: &str, origin: &ZoneName) -> bool {
    let rest = name.strip_prefix(&format!("K{}+", origin.file_part()));
    rest.is_some_and(|rest| rest.ends_with(".pem"))
}

/// Makes a private key: its text in PEM, and the key with this role.
pub(super) fn generate(algorithm: Algorithm, role: Role) -> Result<(String, SigningKey), KeyError> {
    let no_random = |_| KeyError::NoRandom;
    let random = SystemRandom::new();
    let der = match algorithm {
        Algorithm::EcdsaP256Sha256 => {
            let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let document = EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(no_random)?;
            document.as_ref().to_vec()
        }
        Algorithm::Ed25519 => {
            let mut seed = [0; ED25519_SEED_LEN];
            random.fill(&mut seed).map_err(no_random)?;
            [&ED25519_HEAD[..], &seed].concat()
        }
    };
    let key = SigningKey::from_pkcs8(algorithm, role, &der)?;
    Ok((to_pem(&der), key))
}

/// Reads a private key and checks it against algorithm, role and tag of its entry in the list.
pub(super) fn read(
    file: &Path,
    algorithm: Algorithm,
    role: Role,
    tag: u16,
) -> Result<SigningKey, KeyFileProblem> {
    let bytes = read_regular(file, MAX_PEM_LEN).map_err(KeyFileProblem::Io)?;
    let key = parse(&bytes, algorithm, role)?;
    match key.tag() == tag {
        true => Ok(key),
        false => Err(KeyFileProblem::OtherTag {
            found: key.tag(),
            listed: tag,
            role,
        }),
    }
}

fn parse(bytes: &[u8], algorithm: Algorithm, role: Role) -> Result<SigningKey, KeyFileProblem> {
    if bytes.len() as u64 > MAX_PEM_LEN {
        return Err(KeyFileProblem::TooLarge);
    }
    let der = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(PrivateKeyDer::Pkcs8(der)) => der,
        Ok(_) | Err(pem::Error::NoItemsFound) => return Err(KeyFileProblem::NoKey),
        Err(_) => return Err(KeyFileProblem::Pem),
    };
    let der = der.secret_pkcs8_der();
    SigningKey::from_pkcs8(algorithm, role, der).map_err(KeyFileProblem::Key)
}

/// RFC 7468 §10.
fn to_pem(der: &[u8]) -> String {
    let text = base64::encode_string(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_LEN));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
