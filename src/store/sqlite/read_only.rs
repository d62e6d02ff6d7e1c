//! Opening a file to read it, beside a server that may have it open, and without a change of anything.
//!
//! If a server has the file open, or was killed, there is a log. SQLite then reads file and log together, as an operator's
//! `sqlite3` shell does. Otherwise the file alone has everything; it is opened as immutable, so that SQLite makes no files
//! beside it, which would belong to the user of this process. So long this process shares the lock: no server opens the
//! file, which would make the look at it worthless.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::check::immutable;
use super::guard::beside;
use super::migrations::MIGRATIONS;
use super::schema::{
    OpenError, check_length, check_tables, connect, connect_reader, from_io, from_sqlite, identify,
    real_path, user_version,
};
use super::session;

/// A file that is open for reading.
#[derive(Debug)]
pub(super) struct OpenedToRead {
    pub(super) readers: Vec<Connection>,
    pub(super) lock: Option<File>,
    pub(super) identity: i64,
    pub(super) epoch: u64,
    /// Whether a server has the file open.
    pub(super) in_use: bool,
}

/// Opens the file, which must exist and have the tables of this version.
pub(super) fn open(path: &Path, readers: usize) -> Result<OpenedToRead, OpenError> {
    let io_error = |error| from_io(path, error);
    let sqlite_error = |error| from_sqlite(path, error);
    let real = real_path(path).map_err(io_error)?;
    fs::metadata(&real).map_err(io_error)?;
    let (lock, in_use) = share_lock(&real).map_err(io_error)?;
    let has_log = fs::metadata(beside(&real, "-wal")).is_ok_and(|log| log.len() > 0);
    let connect_one = || match has_log || in_use {
        true => connect_reader(&real),
        false => {
            let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            connect(&immutable(&real), access)
        }
    };
    let first = connect_one().map_err(sqlite_error)?;
    identify(&first, path)?;
    check_length(&first, &real, path)?;
    let (found, known) = (
        user_version(&first).map_err(sqlite_error)?,
        MIGRATIONS.len() as i64,
    );
    if found < known {
        let path = path.into();
        return Err(OpenError::OlderSchema { path, found, known });
    }
    check_tables(&first, path)?;
    let identity = session::identity(&first).map_err(sqlite_error)?;
    let epoch = session::epoch(&first).map_err(sqlite_error)?;
    let more = (1..readers).map(|_| connect_one().map_err(sqlite_error));
    let mut connections = vec![first];
    for connection in more {
        connections.push(connection?);
    }
    Ok(OpenedToRead {
        readers: connections,
        lock,
        identity,
        epoch,
        in_use,
    })
}

/// Shares the lock on the store until the handle is dropped. Without a handle, and true, if a server has the lock. A file
/// that no server has ever opened, such as a backup, has no lock.
fn share_lock(real: &Path) -> std::io::Result<(Option<File>, bool)> {
    let file = match File::open(beside(real, ".lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((None, false)),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok((Some(file), false)),
        Err(TryLockError::WouldBlock) => Ok((None, true)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
