//! The files that `[redis]` names; see [`crate::base::client_files`].

use redis::{ClientTlsConfig, TlsCertificates};

use super::config::RedisConfig;
use super::error::RedisOpenError;
use crate::base::client_files::{ClientFiles, ClientSecrets};

/// The environment variable of the password. It takes precedence over the password file. An empty one counts as
/// unset.
pub const PASSWORD_VARIABLE: &str = "TINYNS_REDIS_PASSWORD";

/// Reads all files that the configuration names.
pub(super) fn read(config: &RedisConfig) -> Result<ClientSecrets, RedisOpenError> {
    let files = ClientFiles {
        service: "Redis",
        password_variable: PASSWORD_VARIABLE,
        password: config.password_file.as_deref(),
        authorities: config.ca_file.as_deref(),
        certificate: config.certificate.as_deref().zip(config.key.as_deref()),
    };
    Ok(files.read()?)
}

/// The certificates in the client's type; none if there are none.
pub(super) fn certificates(secrets: &ClientSecrets) -> Option<TlsCertificates> {
    let client = secrets.certificate.as_ref();
    let client_tls = client.map(|client| ClientTlsConfig {
        client_cert: client.certificate.clone(),
        client_key: client.key.clone(),
    });
    let is_needed = client_tls.is_some() || secrets.authorities.is_some();
    is_needed.then(|| TlsCertificates {
        client_tls,
        root_cert: secrets.authorities.clone(),
    })
}
