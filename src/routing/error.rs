//! Why there is no map from clients to pools.

use std::path::{Path, PathBuf};

use crate::base::mmdb::DatabaseError;

/// Why the database of places cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("routing.database{}: {reason}", InFile(.file.as_deref()))]
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

struct InFile<'a>(Option<&'a Path>);

impl std::fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(file) => write!(f, ": {}", file.display()),
            None => Ok(()),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Database(#[from] DatabaseError),
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
