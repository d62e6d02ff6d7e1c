//! The files that `[redis]` names: the password, the CA certificates, the client certificate and its key.
//!
//! They are read at the start and at a reload, all of them or none: if one cannot be used, the former ones stay in
//! use.

use std::fmt;
use std::path::Path;

use redis::{ClientTlsConfig, TlsCertificates};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::config::RedisConfig;
use super::error::RedisOpenError;
use crate::base::environment;
use crate::base::files::read_whole;

/// The environment variable of the password. It takes precedence over the password file. An empty one counts as
/// unset.
pub const PASSWORD_VARIABLE: &str = "TINYNS_REDIS_PASSWORD";

/// The largest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// From the environment or the password file; it takes precedence over those in the URLs.
    pub(super) password: Option<String>,
    /// CA certificates in PEM.
    authorities: Option<Vec<u8>>,
    client: Option<ClientFiles>,
}

/// The client certificate with its chain, and its key; both in PEM.
#[derive(Clone, PartialEq, Eq)]
struct ClientFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads all files that the configuration names.
    pub(super) fn read(config: &RedisConfig) -> Result<Self, RedisOpenError> {
        Ok(Self {
            password: password(config)?,
            authorities: config.ca_file.as_deref().map(authorities).transpose()?,
            client: match (&config.certificate, &config.key) {
                (Some(certificate), Some(key)) => Some(client(certificate, key)?),
                _ => None,
            },
        })
    }

    /// The certificates in the client's type; none if there are none.
    pub(super) fn certificates(&self) -> Option<TlsCertificates> {
        let client_tls = self.client.as_ref().map(|client| ClientTlsConfig {
            client_cert: client.certificate.clone(),
            client_key: client.key.clone(),
        });
        let is_needed = client_tls.is_some() || self.authorities.is_some();
        is_needed.then(|| TlsCertificates {
            client_tls,
            root_cert: self.authorities.clone(),
        })
    }
}

/// The password from the environment, or the first line of the file.
fn password(config: &RedisConfig) -> Result<Option<String>, RedisOpenError> {
    let bad = |_| RedisOpenError::Password(PASSWORD_VARIABLE.into());
    if let Some(password) = environment::text(PASSWORD_VARIABLE).map_err(bad)? {
        return Ok(Some(password));
    }
    let Some(file) = &config.password_file else {
        return Ok(None);
    };
    let bad = || RedisOpenError::Password(file.display().to_string());
    let text = String::from_utf8(read("the Redis password file", file)?).map_err(|_| bad())?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
        _ => Err(bad()),
    }
}

/// The CA certificates in a file; at least one.
fn authorities(file: &Path) -> Result<Vec<u8>, RedisOpenError> {
    let bytes = read("the Redis certificates", file)?;
    check_chain(&bytes, file)?;
    Ok(bytes)
}

fn check_chain(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, RedisOpenError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(RedisOpenError::NoCertificate(file.into())),
        Err(error) => Err(unusable(file, error)),
    }
}

/// A certificate and its key. Checks that they belong together.
fn client(certificate: &Path, key: &Path) -> Result<ClientFiles, RedisOpenError> {
    let files = ClientFiles {
        certificate: read("the Redis client certificate", certificate)?,
        key: read("the key of the Redis client certificate", key)?,
    };
    let chain = check_chain(&files.certificate, certificate)?;
    let secret = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| unusable(key, error))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider())
        .map_err(|error| unusable(key, error))?;
    Ok(files)
}

fn unusable(file: &Path, error: impl fmt::Display) -> RedisOpenError {
    RedisOpenError::Unusable {
        file: file.into(),
        reason: error.to_string(),
    }
}

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, RedisOpenError> {
    let failed = |source| RedisOpenError::File {
        what,
        file: file.into(),
        source,
    };
    read_whole(file, MAX_FILE_LEN).map_err(failed)
}
