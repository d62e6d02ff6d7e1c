//! A certificate and its key in files that the operator owns.

use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

use super::library::{covers, provider};
use super::warning::{self, CertificateWarning};
use crate::base::clock::UnixTime;
use crate::base::files::read_whole;

/// The largest file, in bytes: a hundred times the size of a long chain.
const MAX_FILE_LEN: u64 = 1 << 20;

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate certificates; PEM.
    pub certificate: PathBuf,
    /// The certificate's key; PEM, not encrypted.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{}: not PEM: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file has no certificate.
    #[error("{}: there is no certificate in it (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no key.
    #[error("{}: there is no unencrypted private key in it (BEGIN PRIVATE KEY)", .0.display())]
    NoKey(PathBuf),
    /// The TLS library cannot use what the file holds.
    #[error("{}: {source}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// The library's reason.
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("{}: not the key of the first certificate in {}", key.display(), certificate.display())]
    OtherKey {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// TLS fails whatever the files hold.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl CertificateFiles {
    /// Reads both files and returns warnings: about the certificate's time, and about each of these zones for whose
    /// links clients would refuse the certificate.
    ///
    /// # Errors
    /// [`CertificateError`] names the file that cannot be used.
    pub fn check<'a>(
        &self,
        zones: impl Iterator<Item = &'a str>,
        now: UnixTime,
    ) -> Result<Vec<CertificateWarning>, CertificateError> {
        Ok(self.warnings(&self.read()?.0.cert, zones, now))
    }

    pub(super) fn warnings<'a>(
        &self,
        chain: &[CertificateDer<'_>],
        zones: impl Iterator<Item = &'a str>,
        now: UnixTime,
    ) -> Vec<CertificateWarning> {
        let file = &self.certificate;
        let mut warnings = warning::warnings(file, chain.iter().map(|der| &der[..]), now);
        if let Some(leaf) = chain.first() {
            for zone in zones {
                let any_link = format!("link.{zone}");
                for (name, host) in [(zone, zone), (&format!("*.{zone}"), &any_link)] {
                    if !covers(leaf, host) {
                        warnings.push(CertificateWarning::lacks_name(file, name));
                    }
                }
            }
        }
        warnings
    }

    /// Reads the certificate with its key, and the key as it is in the file.
    pub(super) fn read(&self) -> Result<(CertifiedKey, PrivateKeyDer<'static>), CertificateError> {
        let file = &self.certificate;
        let pem_error = |file: &Path, source| CertificateError::Pem {
            file: file.into(),
            source,
        };
        let chain = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|source| pem_error(file, source))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate(file.clone()));
        }
        let key = match PrivateKeyDer::from_pem_slice(&read(&self.key)?) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => {
                return Err(CertificateError::NoKey(self.key.clone()));
            }
            Err(source) => return Err(pem_error(&self.key, source)),
        };
        let unusable = |file: &Path, source| CertificateError::Unusable {
            file: file.into(),
            source,
        };
        let loaded = provider().key_provider.load_private_key(key.clone_key());
        let loaded = loaded.map_err(|source| unusable(&self.key, source))?;
        let certified = CertifiedKey::new(chain, loaded);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok((certified, key))
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::OtherKey {
                key: self.key.clone(),
                certificate: file.clone(),
            }),
            Err(source) => Err(unusable(file, source)),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    read_whole(file, MAX_FILE_LEN).map_err(|source| CertificateError::Read {
        file: file.into(),
        source,
    })
}
