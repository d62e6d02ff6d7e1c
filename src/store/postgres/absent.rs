//! Takes the place of [`postgres`](self) in a build without the feature `postgresql`.
//!
//! Nothing can be opened here: every attempt ends in [`PostgresOpenError`]. A configuration with `kind = "postgresql"` is
//! refused before.

mod config;
mod url;

use std::convert::Infallible;
use std::sync::Arc;

pub use self::config::{PostgresConfig, PostgresUrl, PostgresUrlError, ReplicaConfig};
use super::Store;
use crate::base::client_files::ClientFileError;
use crate::base::clock::Clock;

/// The environment variable of the password.
pub const PASSWORD_VARIABLE: &str = "TINYNS_POSTGRESQL_PASSWORD";

/// The program has no PostgreSQL client.
#[derive(Debug, thiserror::Error)]
#[error("built without postgresql: build with --features postgresql")]
pub struct PostgresOpenError;

/// A link store that cannot exist.
#[derive(Debug)]
pub struct PostgresStore(Infallible);

/// Checks nothing: such a configuration is refused before.
///
/// # Errors
/// None.
pub fn check_files(_: &PostgresConfig) -> Result<(), ClientFileError> {
    Ok(())
}

impl PostgresStore {
    /// Opens nothing.
    ///
    /// # Errors
    /// [`PostgresOpenError`], always.
    pub async fn open_now(
        _: &PostgresConfig,
        _: Clock,
    ) -> Result<Arc<dyn Store>, PostgresOpenError> {
        Err(PostgresOpenError)
    }

    /// Opens nothing.
    ///
    /// # Errors
    /// [`PostgresOpenError`], always.
    pub async fn open_or_wait(
        _: &PostgresConfig,
        _: Clock,
    ) -> Result<Arc<dyn Store>, PostgresOpenError> {
        Err(PostgresOpenError)
    }
}
