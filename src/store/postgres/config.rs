//! Which database holds the links. Builds without PostgreSQL have this as well, because they check such a configuration.

use std::path::PathBuf;
use std::time::Duration;

pub use super::url::{PostgresUrl, PostgresUrlError};
use crate::store::audit::Retention;

/// A database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Where the database is.
    pub url: PostgresUrl,
    /// A file with the password in its first line; it takes precedence over a password in the URL.
    pub password_file: Option<PathBuf>,
    /// A file of PEM certificates: the CAs that sign the servers' certificates. None for those of the system.
    pub ca_file: Option<PathBuf>,
    /// A file with the client certificate and its chain, in PEM. Only with [`PostgresConfig::key`].
    pub certificate: Option<PathBuf>,
    /// A file with the key of that certificate, in PEM, not encrypted.
    pub key: Option<PathBuf>,
    /// The most connections of this server; at least 4.
    pub pool: u32,
    /// After which time PostgreSQL itself ends a statement.
    pub statement_timeout: Duration,
    /// How long the audit log is kept; none if there is none.
    pub audit: Option<Retention>,
    /// A replica near this server, from which links are read; none to read from the server that takes changes.
    pub replica: Option<ReplicaConfig>,
}

/// A streaming replica of a database. Its files for passwords and TLS are those of the [`PostgresConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// Where it is: one host.
    pub url: PostgresUrl,
    /// By how much it may lag. Above that, links are read from the server that takes changes, as long as that can be
    /// reached.
    pub lag: Duration,
}

impl PostgresConfig {
    /// The URLs of the database and of its replica.
    #[cfg_attr(
        not(feature = "postgresql"),
        allow(dead_code, reason = "only connections need them")
    )]
    pub(super) fn urls(&self) -> impl Iterator<Item = &PostgresUrl> {
        let replica = self.replica.as_ref().map(|replica| &replica.url);
        std::iter::once(&self.url).chain(replica)
    }
}
