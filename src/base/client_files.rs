//! The files of a client that connects to a server: the password, the CA certificates, the client certificate and its
//! key.
//!
//! They are read at the start and at a reload, all of them or none: if one cannot be used, the former ones stay in
//! use.

// Builds without these clients only need the type of the error.
#![cfg_attr(
    not(any(feature = "postgresql", feature = "redis")),
    expect(dead_code, reason = "nothing connects")
)]

use std::fmt;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::environment;
use super::files::read_whole;

/// The largest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Which files there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientFiles<'a> {
    /// The server's name in messages, such as "Redis".
    pub(crate) service: &'static str,
    /// The environment variable of the password. It takes precedence over the file; an empty one counts as unset.
    pub(crate) password_variable: &'static str,
    /// Its first line is the password.
    pub(crate) password: Option<&'a Path>,
    /// CA certificates, in PEM.
    pub(crate) authorities: Option<&'a Path>,
    /// The client certificate with its chain, and its key; both in PEM.
    pub(crate) certificate: Option<(&'a Path, &'a Path)>,
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientSecrets {
    /// From the environment or the password file.
    pub(crate) password: Option<String>,
    /// CA certificates in PEM; at least one.
    pub(crate) authorities: Option<Vec<u8>>,
    /// The client certificate, if there is one.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// The client certificate with its chain, and its key; both in PEM. They belong together.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientFileError {
    /// A file of the configuration cannot be read.
    #[error("cannot read the {service} {what} {}", file.display())]
    File {
        /// The server that it is for.
        service: &'static str,
        /// What the file is.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The password is not one line of UTF-8 text.
    #[error("the {service} password in {place} is not one line of UTF-8 text")]
    Password {
        /// The server that it is for.
        service: &'static str,
        /// The file or the environment variable.
        place: String,
    },
    /// A file of certificates contains none.
    #[error("{}: there is no certificate in it (BEGIN CERTIFICATE); name a file that has one", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate or key cannot be used.
    #[error("{}: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS library refuses the certificates, or the system has none.
    #[error("TLS for {service}: {reason}")]
    Tls {
        /// The server that it is for.
        service: &'static str,
        /// Why.
        reason: String,
    },
}

impl fmt::Debug for ClientSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecrets").finish_non_exhaustive()
    }
}

impl ClientFiles<'_> {
    /// Reads all files.
    ///
    /// # Errors
    /// [`ClientFileError`] names the file or the variable.
    pub(crate) fn read(&self) -> Result<ClientSecrets, ClientFileError> {
        let certificate = self.certificate;
        Ok(ClientSecrets {
            password: self.password()?,
            authorities: match self.authorities {
                Some(file) => Some(self.authorities(file)?),
                None => None,
            },
            certificate: certificate
                .map(|(certificate, key)| self.certificate(certificate, key))
                .transpose()?,
        })
    }

    /// The password from the environment, or the first line of the file.
    fn password(&self) -> Result<Option<String>, ClientFileError> {
        let bad = |place: String| ClientFileError::Password {
            service: self.service,
            place,
        };
        let text = environment::text(self.password_variable);
        if let Some(password) = text.map_err(|_| bad(self.password_variable.into()))? {
            return Ok(Some(password));
        }
        let Some(file) = self.password else {
            return Ok(None);
        };
        let bad = || bad(file.display().to_string());
        let text = String::from_utf8(self.bytes("password file", file)?).map_err(|_| bad())?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
            _ => Err(bad()),
        }
    }

    /// The CA certificates in a file; at least one.
    pub(crate) fn authorities(&self, file: &Path) -> Result<Vec<u8>, ClientFileError> {
        let bytes = self.bytes("certificates", file)?;
        chain(&bytes, file)?;
        Ok(bytes)
    }

    /// A certificate and its key. Checks that they belong together.
    fn certificate(
        &self,
        certificate: &Path,
        key: &Path,
    ) -> Result<ClientCertificate, ClientFileError> {
        let files = ClientCertificate {
            certificate: self.bytes("client certificate", certificate)?,
            key: self.bytes("client key", key)?,
        };
        let chain = chain(&files.certificate, certificate)?;
        let secret =
            PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| unusable(key, error))?;
        CertifiedKey::from_der(chain, secret, &ring::default_provider())
            .map_err(|error| unusable(key, error))?;
        Ok(files)
    }

    fn bytes(&self, what: &'static str, file: &Path) -> Result<Vec<u8>, ClientFileError> {
        let failed = |source| ClientFileError::File {
            service: self.service,
            what,
            file: file.into(),
            source,
        };
        read_whole(file, MAX_FILE_LEN).map_err(failed)
    }
}

fn chain(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientFileError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(ClientFileError::NoCertificate(file.into())),
        Err(error) => Err(unusable(file, error)),
    }
}

fn unusable(file: &Path, error: impl fmt::Display) -> ClientFileError {
    ClientFileError::Unusable {
        file: file.into(),
        reason: error.to_string(),
    }
}
