//! The configuration that the command line names.

use std::path::Path;

use crate::config::{Config, ConfigError};

/// Reads the configuration; without a file every default holds.
pub(super) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}
