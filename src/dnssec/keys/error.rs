//! Errors of a directory of keys.

use std::io;
use std::path::PathBuf;

use super::list::{LIST_FILE, ListProblem};
use super::pem::KeyFileProblem;
use crate::dnssec::key::KeyError;

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The operating system refuses it.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The action, as a phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No key has been made yet.
    #[error(
        "{}: there are no keys yet ({LIST_FILE} is missing); `tinyns keys generate` makes one",
        .0.display()
    )]
    NoKeys(PathBuf),
    /// There are keys, but no list.
    #[error(
        "{}: {LIST_FILE} is missing, but there is {}; restore {LIST_FILE}, which says when each key signs the zone; \
         if no key is in use, remove the keys",
        .directory.display(),
        .key.display()
    )]
    NoList {
        /// The directory.
        directory: PathBuf,
        /// One of the keys.
        key: PathBuf,
    },
    /// A key that signs is no longer in the list.
    #[error(
        "{}: the key {tag} signs the zone, but is not in the list any more; restore it, or restart the server if you \
         removed it on purpose",
        .file.display()
    )]
    Lost {
        /// The list.
        file: PathBuf,
        /// Its tag.
        tag: u16,
    },
    /// `keys.toml` is wrong.
    #[error("{}:{line}: {problem}", .file.display())]
    List {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: ListProblem,
    },
    /// A private key cannot be used.
    #[error("{}: {problem}", .file.display())]
    KeyFile {
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        problem: KeyFileProblem,
    },
    /// A new key cannot be made.
    #[error("cannot make a key: {0}")]
    Make(KeyError),
    /// Every key that was made had the tag of another.
    #[error("{}: cannot make a key with a tag that no other key has; try again", .0.display())]
    NoTag(PathBuf),
    /// Another command is changing the directory, and does not end in time.
    #[error("{}: another `tinyns keys` is changing this directory; try again later", .0.display())]
    Busy(PathBuf),
}
