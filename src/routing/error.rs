//! Why there is no map from clients to pools.

use std::path::{Path, PathBuf};

use crate::base::client_files::ClientFileError;
use crate::base::mmdb::DatabaseError;

/// Why the database of places, or a file of checks, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", Key(.reason, .file.as_deref()))]
pub struct RoutingError {
    file: Option<PathBuf>,
    reason: Reason,
}

impl RoutingError {
    pub(super) fn new(file: Option<&Path>, reason: Reason) -> Self {
        Self {
            file: file.map(Path::to_owned),
            reason,
        }
    }
}

/// The key at fault, and the file that it names.
struct Key<'a>(&'a Reason, Option<&'a Path>);

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self(Reason::Check(_), _) => f.write_str("pool.check.ca_file"),
            Self(_, Some(file)) => write!(f, "routing.database: {}", file.display()),
            Self(_, None) => f.write_str("routing.database"),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Check(ClientFileError),
    #[error(
        "this file is a {database_type:?} and has no {what}, which \"{key}\" of a [[pool]] needs; use a database of {remedy}"
    )]
    Lacks {
        database_type: String,
        what: &'static str,
        key: &'static str,
        remedy: &'static str,
    },
    #[error("clients have more than {0} different sets of pools; use fewer pools")]
    TooMany(usize),
}
