//! The settings of the engine, and the files that it reads once.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use instant_acme::ExternalAccountKey;

use super::http::DirectoryClient;
use super::seal::{KeyFileError, SealingKey};
use crate::base::clock::Clock;
use crate::base::files::read_whole;

/// The largest file with the key of an external account, in bytes.
const MAX_EXTERNAL_FILE: u64 = 4_096;

/// Where certificates come from, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The URL of the directory (RFC 8555 §7.1.1), with the scheme `https`.
    pub directory: String,
    /// URLs at which the directory reaches the operator, such as `mailto:admin@example.com`; possibly none.
    pub contact: Vec<String>,
    /// Whether the operator agrees to the terms of service of the directory.
    pub accept_terms: bool,
    /// The certificates that the directory's own certificate has to lead to; none for those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The account of the operator at the certificate authority, for directories that require one (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The profile of the certificates, of those that the directory offers; none for its default.
    pub profile: Option<String>,
    /// The file with the key that seals accounts and private keys in the store.
    pub key_file: PathBuf,
    /// Whether the server makes the key file if it is missing: only if no other server shares the store.
    pub create_key_file: bool,
    /// Whether an order waits until all name servers of the zone answer with the challenge.
    pub check_name_servers: bool,
    /// The port at which name servers are asked for the challenge: 53 but for tests.
    pub name_server_port: u16,
}

/// An account outside of ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its identifier.
    pub key_id: String,
    /// The file with its key for HMAC, in base64url or base64.
    pub key_file: PathBuf,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// There is no usable key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Another key has sealed the documents in the store; the text says what to do.
    #[error("{0}")]
    OtherKey(String),
    /// The certificates of authorities cannot be used.
    #[error("cannot use the certificates for the ACME directory in {}: {source}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system has no certificates of authorities.
    #[error("cannot use the system's certificates of authorities for the ACME directory: {0}")]
    SystemRoots(io::Error),
    /// The key of the external account cannot be read.
    #[error("cannot read the key of the external account in {}: {source}", file.display())]
    ExternalKey {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl AcmeSettings {
    /// Reads the files as the start does, but makes none.
    ///
    /// # Errors
    /// [`AcmeError`] names the first file that cannot be used.
    pub fn check_files(&self) -> Result<(), AcmeError> {
        match SealingKey::load(&self.key_file, false) {
            Err(KeyFileError::Missing(_)) if self.create_key_file => {}
            read => drop(read?),
        }
        if let Some(account) = &self.external_account {
            account.load()?;
        }
        self.client(&Clock::default()).map(drop)
    }

    /// The client for the directory.
    pub(super) fn client(&self, clock: &Clock) -> Result<DirectoryClient, AcmeError> {
        let ca_file = self.ca_file.as_deref();
        let client = DirectoryClient::new(&self.directory, ca_file, clock.clone());
        client.map_err(|source| match ca_file {
            Some(file) => AcmeError::CaFile {
                file: file.into(),
                source,
            },
            None => AcmeError::SystemRoots(source),
        })
    }
}

impl ExternalAccount {
    /// Reads the key.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold base64.
    pub(super) fn load(&self) -> Result<ExternalAccountKey, AcmeError> {
        let failed = |source| AcmeError::ExternalKey {
            file: self.key_file.clone(),
            source,
        };
        let key = read_key(&self.key_file).map_err(failed)?;
        Ok(ExternalAccountKey::new(self.key_id.clone(), &key))
    }
}

fn read_key(file: &Path) -> io::Result<Vec<u8>> {
    let bytes = read_whole(file, MAX_EXTERNAL_FILE)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(io::Error::other)?
        .trim();
    decode(text).ok_or_else(|| io::Error::other("this is not a key in base64url or base64"))
}

/// Authorities hand out keys in base64url without padding; some of them in base64.
fn decode(text: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::URL_SAFE, &alphabet::STANDARD];
    let mut decoded = alphabets
        .into_iter()
        .filter_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok());
    decoded.next().filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_external_accounts() {
        assert_eq!(decode("-_-_"), Some(vec![0xFB, 0xFF, 0xBF]));
        assert_eq!(decode("+/+/"), Some(vec![0xFB, 0xFF, 0xBF]));
        assert_eq!(decode("AA"), Some(vec![0]));
        assert_eq!(decode("AA=="), Some(vec![0]));
        for bad in ["", "a", "a b", "ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
