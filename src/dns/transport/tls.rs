//! The TLS configuration of DNS over TLS (RFC 7858, RFC 8310): a certificate, its key, and the resumption of
//! sessions.
//!
//! There is one certificate for all names, so nothing depends on the server name that a client sends or leaves out.
//! A reload reads both files again; existing connections go on with the certificate that they began with.
//!
//! Sessions are resumed by tickets (RFC 5077, RFC 8446 §4.6.1): the client keeps the encrypted state of the session,
//! so sessions take no memory here. The server draws new ticket keys at the start and every six hours, and a ticket
//! is valid for at most twelve hours. A new certificate invalidates all tickets, because a resumed session does not
//! show the certificate. Early data (RFC 8446 §2.3) is not accepted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};

use super::certificate;
pub use super::certificate::CertificateWarning;
use crate::base::clock::UnixTime;
use crate::base::files::read_whole;

/// The largest file, in bytes: a hundred times what a long chain has.
const MAX_FILE_LEN: u64 = 1 << 20;
/// The registered name of this protocol for ALPN (RFC 7858 §6). Clients without ALPN are served too; clients that
/// offer only other protocols are refused.
const ALPN: &[u8] = b"dot";

/// The files of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by the intermediate certificates; PEM.
    pub certificate: PathBuf,
    /// The certificate's key; PEM, not encrypted.
    pub key: PathBuf,
}

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{}: not PEM: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{}: there is no certificate in it (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// There is no unencrypted key in the file.
    #[error("{}: there is no unencrypted private key in it (BEGIN PRIVATE KEY)", .0.display())]
    NoKey(PathBuf),
    /// The contents of the file cannot be used.
    #[error("{}: {source}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
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
    /// TLS does not work at all, whatever the files say.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// The certificate in use.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Current>,
}

struct Current {
    chain: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
}

impl TlsFiles {
    /// Checks certificate and key, and returns warnings about the certificates' validity.
    ///
    /// # Errors
    /// [`TlsError`], with the file to blame.
    pub fn check(&self, now: UnixTime) -> Result<Vec<CertificateWarning>, TlsError> {
        Ok(self.warnings(&self.read()?.cert, now))
    }

    fn warnings(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<CertificateWarning> {
        certificate::warnings(&self.certificate, chain.iter().map(|der| &der[..]), now)
    }

    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let file = &self.certificate;
        let pem_error = |file: &Path, source| TlsError::Pem {
            file: file.into(),
            source,
        };
        let chain = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|source| pem_error(file, source))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(file.clone()));
        }
        let key = match PrivateKeyDer::from_pem_slice(&read(&self.key)?) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey(self.key.clone())),
            Err(source) => return Err(pem_error(&self.key, source)),
        };
        let unusable = |file: &Path, source| TlsError::Unusable {
            file: file.into(),
            source,
        };
        let key = provider().key_provider.load_private_key(key);
        let key = key.map_err(|source| unusable(&self.key, source))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::OtherKey {
                key: self.key.clone(),
                certificate: file.clone(),
            }),
            Err(source) => Err(unusable(file, source)),
        }
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`], with the file to blame.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(Current::new(files.read()?)?);
        Ok(Self { files, current })
    }

    /// Reads certificate and key again, and uses them for new connections. Returns whether they have changed.
    ///
    /// # Errors
    /// [`TlsError`], with the file to blame; the old certificate and key then stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let certified = self.files.read()?;
        // The certificate tells whether anything has changed: it has one key.
        if certified.cert == self.current.load().chain {
            return Ok(false);
        }
        self.current.store(Arc::new(Current::new(certified)?));
        Ok(true)
    }

    /// Warnings about the validity of the certificates, as of now.
    pub fn warnings(&self, now: UnixTime) -> Vec<CertificateWarning> {
        self.files.warnings(&self.current.load().chain, now)
    }

    /// The acceptor of new connections.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }
}

impl Current {
    fn new(certified: CertifiedKey) -> Result<Self, TlsError> {
        let chain = certified.cert.clone();
        // RFC 8310 §7.1, BCP 195: no version below TLS 1.2.
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.into()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self {
            chain,
            config: Arc::new(config),
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is left out.
        let files = &self.files;
        f.debug_struct("Tls")
            .field("files", files)
            .finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    read_whole(file, MAX_FILE_LEN).map_err(|source| TlsError::Read {
        file: file.into(),
        source,
    })
}
