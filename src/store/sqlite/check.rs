//! Whether a file could be opened as link store, found out without touching it: the server may be running, and
//! SQLite would make files beside it that belong to whoever looks.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::schema::{APPLICATION_ID, OpenError, from_io, real_path};
use crate::base::files::{self, directory, open_regular};

/// What an SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where its application's number stands, as four bytes in network order.
const APPLICATION_ID_AT: usize = 68;
/// How much of the file is looked at, in bytes.
const HEADER_LEN: u64 = 100;

/// Looks at a file and its directory. Gives the directory that would have to be made, if it is not there.
///
/// # Errors
/// [`OpenError`], as the start would give it.
pub fn check(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    let io_error = |error| from_io(path, error);
    if !path.exists() {
        return files::check_new(path, true).map_err(io_error);
    }
    let real = real_path(path).map_err(io_error)?;
    let mut head = Vec::new();
    let file = open_regular(&real).map_err(io_error)?;
    file.take(HEADER_LEN)
        .read_to_end(&mut head)
        .map_err(io_error)?;
    let application = head.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    let application = application.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    match application.map(|bytes| i64::from(i32::from_be_bytes(bytes))) {
        // The start makes a store of an empty file.
        None if head.is_empty() => {}
        Some(APPLICATION_ID | 0) if head.starts_with(MAGIC) => {}
        Some(other) if head.starts_with(MAGIC) => {
            return Err(OpenError::ForeignDatabase {
                path: path.into(),
                reason: format!("the application id is {other}"),
            });
        }
        _ => {
            return Err(OpenError::Corrupt {
                path: path.into(),
                reason: "file is not a database".into(),
            });
        }
    }
    files::check_access(&real, files::Need::Write)
        .and_then(|()| files::check_access(directory(&real), files::Need::Entries))
        .map_err(io_error)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn what_is_a_store_and_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let new = path("a/b/links.sqlite");
        assert_eq!(check(&new).unwrap(), Some(path("a")));
        SqliteStore::open(&new, Clock::default()).unwrap();
        assert_eq!(check(&new).unwrap(), None);
        assert_eq!(check(&path("a/b/other")).unwrap(), None);
        std::fs::write(path("empty"), "").unwrap();
        assert_eq!(check(&path("empty")).unwrap(), None);
        std::fs::write(path("text"), "no database at all").unwrap();
        assert!(matches!(
            check(&path("text")),
            Err(OpenError::Corrupt { .. })
        ));
        assert!(matches!(check(dir.path()), Err(OpenError::Io { .. })));
        assert!(matches!(
            check(&path("text/links")),
            Err(OpenError::Io { .. })
        ));
        let other = rusqlite::Connection::open(path("other")).unwrap();
        other
            .execute_batch("PRAGMA application_id = 5; CREATE TABLE t (a)")
            .unwrap();
        let refused = check(&path("other"));
        assert!(
            matches!(refused, Err(OpenError::ForeignDatabase { .. })),
            "{refused:?}"
        );
    }
}
