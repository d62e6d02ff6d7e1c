//! Whether a file could be opened as the link store. The check changes nothing: the server may be running, and
//! SQLite would make files beside it that belong to the user who runs the check.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;
use rustix::io::Errno;

use super::guard::beside;
use super::migrations::MIGRATIONS;
use super::schema::{
    APPLICATION_ID, OpenError, check_length, check_tables, connect, from_io, from_sqlite, identify,
    real_path, user_version,
};
use crate::base::files::{self, directory, open_regular};

/// The beginning of every SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where the application id is: four bytes in network order.
const APPLICATION_ID_AT: usize = 68;
/// How much of the file is read first, in bytes.
const HEADER_LEN: u64 = 100;

/// Checks a file and its directory. Returns the directory that would have to be made, if it is missing.
///
/// # Errors
/// [`OpenError`], as at the start.
pub fn check(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    let io_error = |error| from_io(path, error);
    // A dangling symbolic link exists.
    if fs::symlink_metadata(path).is_err() {
        check_lock(path).map_err(io_error)?;
        return files::check_new(path, true).map_err(io_error);
    }
    let real = real_path(path).map_err(io_error)?;
    let mut head = Vec::new();
    let file = open_regular(&real).map_err(io_error)?;
    file.take(HEADER_LEN)
        .read_to_end(&mut head)
        .map_err(io_error)?;
    // The start turns an empty file into a store.
    if !head.is_empty() {
        judge(path, &real, &head)?;
    }
    check_lock(&real).map_err(io_error)?;
    files::check_access(&real, files::Need::Write)
        .and_then(|()| files::check_access(directory(&real), files::Need::Entries))
        .map_err(io_error)?;
    Ok(None)
}

/// Whether the file is a store, by its first bytes, and by its tables if they are in it.
fn judge(path: &Path, real: &Path, head: &[u8]) -> Result<(), OpenError> {
    let application = head.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    let application = application.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let Some(application) = application.filter(|_| head.starts_with(MAGIC)) else {
        return Err(OpenError::Corrupt {
            path: path.into(),
            reason: "file is not a database".into(),
        });
    };
    // A log means that a server is running or was killed; the tables may still be in the log.
    if fs::symlink_metadata(beside(real, "-wal")).is_err() {
        return inspect(path, real);
    }
    match i64::from(i32::from_be_bytes(application)) {
        APPLICATION_ID | 0 => Ok(()),
        other => Err(OpenError::ForeignDatabase {
            path: path.into(),
            reason: format!("its application_id is {other:#010x}"),
        }),
    }
}

/// Whether a file without a log is a store, checked as at the start. It is opened as immutable, so that SQLite
/// takes no lock and makes no file beside it.
fn inspect(path: &Path, real: &Path) -> Result<(), OpenError> {
    let sqlite_error = |error| from_sqlite(path, error);
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = connect(&immutable(real), access).map_err(sqlite_error)?;
    identify(&conn, path)?;
    check_length(&conn, real, path)?;
    // The start migrates an older file before it checks the tables.
    let version = user_version(&conn).map_err(sqlite_error)?;
    match usize::try_from(version) == Ok(MIGRATIONS.len()) {
        true => check_tables(&conn, path),
        false => Ok(()),
    }
}

/// The URI of a file as an immutable one (<https://www.sqlite.org/uri.html>).
pub(super) fn immutable(real: &Path) -> PathBuf {
    let mut uri = "file:".to_owned();
    for &byte in real.as_os_str().as_bytes() {
        match byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            true => uri.push(char::from(byte)),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    uri.into()
}

/// Whether the lock file can be written, if it exists.
fn check_lock(real: &Path) -> io::Result<()> {
    let lock = beside(real, ".lock");
    match fs::metadata(&lock) {
        Ok(about) if about.is_dir() => Err(Errno::ISDIR.into()),
        Ok(_) => files::check_access(&lock, files::Need::Write),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn stores_are_distinguished_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let new = path("a/b/links.sqlite");
        assert_eq!(check(&new).unwrap(), Some(path("a")));
        SqliteStore::open(&new, Clock::default()).unwrap();
        assert_eq!(check(&new).unwrap(), None);
        assert_eq!(check(&path("a/b/other")).unwrap(), None);
        fs::write(path("empty"), "").unwrap();
        assert_eq!(check(&path("empty")).unwrap(), None);
        fs::write(path("text"), "no database at all").unwrap();
        assert!(matches!(
            check(&path("text")),
            Err(OpenError::Corrupt { .. })
        ));
        assert!(matches!(check(dir.path()), Err(OpenError::Io { .. })));
        assert!(matches!(
            check(&path("text/links")),
            Err(OpenError::Io { .. })
        ));
        // Only the tables show that it is no store. No file is made beside it, whatever its name.
        let foreign = path("a/b/50% # of?links");
        let tables = rusqlite::Connection::open(&foreign).unwrap();
        tables.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(tables);
        let refused = check(&foreign);
        assert!(
            matches!(refused, Err(OpenError::ForeignDatabase { .. })),
            "{refused:?}"
        );
        let newer = path("newer");
        fs::copy(&new, &newer).unwrap();
        let later = rusqlite::Connection::open(&newer).unwrap();
        later.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(later);
        assert!(matches!(
            check(&newer),
            Err(OpenError::NewerSchema { found: 99, .. })
        ));
        let names = fs::read_dir(path("a/b")).unwrap().count();
        assert_eq!(names, 3, "the store, its lock and the other file");
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
