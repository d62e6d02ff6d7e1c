//! The file: whether it is a sound store of tinyns, which version its tables have, its settings.
//!
//! A file is checked before anything is written to it. `application_id` distinguishes files of tinyns from those
//! of other programs; `user_version` is the number of migrations that have run.
//!
//! At the start tinyns checks the header, the file's length, and that each of its statements compiles against the
//! tables. `PRAGMA quick_check` would find damaged pages as well, but it reads the whole file at every start: some
//! 200 MB for a million links, which takes seconds from a cold disk. The call that meets a damaged page reports
//! it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::guard::{FileState, Guard, Watched, beside};
use super::migrations::MIGRATIONS;
use super::{audit, change, documents, idempotency, indexing, reader, search, session, statistics};
use crate::base::files::directory;

/// "tns1" in ASCII, in bytes 68 to 71 of the file.
pub(super) const APPLICATION_ID: i64 = 0x746e_7331;
/// How long SQLite waits while another program holds a lock on the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of the log stays allocated after a checkpoint, in bytes. More is left from a past burst.
const LOG_KEPT: u32 = 16 * 1024 * 1024;

/// From this number of links on, the steps below take longer than a second, and the log shows each of them.
const MANY_LINKS: u64 = 50_000;
/// How long all steps together take at most, on a slow disk: a minute, and so long for each link. On a fast one a link
/// takes a twentieth of that.
const UPDATE_TIME: Duration = Duration::from_secs(60);
const UPDATE_TIME_EACH: Duration = Duration::from_micros(500);

/// Why a file cannot be the link store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the file: a second server, or a program in a long transaction.
    #[error("{}: another process is using this link store", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error("{}: the link store cannot be written: {reason}", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The reason that the system or SQLite gave.
        reason: String,
    },
    /// It is not an SQLite file, or it is damaged.
    #[error("{}: not a sound link store: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version of tinyns has written it.
    #[error(
        "{}: the link store has schema version {found}, but this version of tinyns knows none above {known}",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The latest version that this version of tinyns knows.
        known: i64,
    },
    /// An earlier version of tinyns has written it, and it was to be read only.
    #[error(
        "{}: the link store has schema version {found}; start the server once, which brings it up to version {known}",
        path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The version that this version of tinyns reads.
        known: i64,
    },
    /// It is an SQLite file of another program.
    #[error("{}: the file belongs to another program: {reason}", path.display())]
    ForeignDatabase {
        /// The file.
        path: PathBuf,
        /// What shows that.
        reason: String,
    },
    /// The system or SQLite refused something else.
    #[error("{}: the link store cannot be opened: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was refused.
        error: io::Error,
    },
}

/// A file of an earlier version is about to be brought up to date, which takes some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUpdate {
    /// How many links it has.
    pub links: u64,
    /// How long that takes at most, unless something is wrong with the disk.
    pub within: Duration,
}

/// An opened file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    pub(super) guard: Guard,
    pub(super) lock: File,
    pub(super) identity: i64,
    pub(super) epoch: u64,
    /// The session that was in the file, if any, and the new one.
    pub(super) found: Option<i64>,
    pub(super) session: i64,
    /// Whether the new session was written. It is not if the disk is full.
    pub(super) has_session: bool,
    /// The state of the file before it was opened.
    pub(super) state: Option<FileState>,
}

/// Locks, checks and migrates the file, and opens the connections.
pub(super) fn open(
    path: &Path,
    readers: usize,
    on_update: &dyn Fn(StoreUpdate),
) -> Result<Opened, OpenError> {
    let io_error = |error| from_io(path, error);
    make_directories(directory(path)).map_err(io_error)?;
    let real = real_path(path).map_err(io_error)?;
    let lock = lock(&real).map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked { path: path.into() },
        TryLockError::Error(error) => from_io(path, error),
    })?;
    make_file(&real).map_err(io_error)?;
    // Opened before SQLite opens the file, and closed after SQLite has closed it; see `guard`.
    let file = File::open(&real).map_err(io_error)?;
    let state = undisturbed(&real, &file);

    let sqlite_error = |error| from_sqlite(path, error);
    let mut writer = connect(&real, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite_error)?;
    identify(&writer, path)?;
    check_length(&writer, &real, path)?;
    if writer.is_readonly("main").map_err(sqlite_error)? {
        return Err(OpenError::ReadOnly {
            path: path.into(),
            reason: "no permission to write the file".into(),
        });
    }
    configure(&writer).map_err(sqlite_error)?;
    migrate(&mut writer, MIGRATIONS, on_update).map_err(sqlite_error)?;
    check_tables(&writer, path)?;
    let identity = session::identity(&writer).map_err(sqlite_error)?;
    let epoch = session::epoch(&writer).map_err(sqlite_error)?;
    let found = session::current(&writer).map_err(sqlite_error)?;
    let session = session::draw();
    // A full disk must not keep the server from answering. Each commit of links writes a session as well.
    let put = session::put(&writer, session);
    if let Err(error) = &put {
        tracing::warn!(%error, "the link store was opened, but cannot be written yet");
    } else if let Err(error) = idempotency::end_leases(&writer) {
        tracing::debug!(%error, "leases of idempotency keys end by themselves");
    }
    let readers = (0..readers)
        .map(|_| connect_reader(&real))
        .collect::<Result<_, _>>()
        .map_err(sqlite_error)?;
    let path = path.to_owned();
    let guard = Guard::new(Watched { path, real, file }).map_err(io_error)?;
    Ok(Opened {
        writer,
        readers,
        guard,
        lock,
        identity,
        epoch,
        found,
        session,
        has_session: put.is_ok(),
        state,
    })
}

/// The state of the file, if it was closed in order. A log that was left may contain changes.
fn undisturbed(real: &Path, file: &File) -> Option<FileState> {
    let has_log = fs::metadata(beside(real, "-wal")).is_ok_and(|log| log.len() > 0);
    match has_log {
        true => None,
        false => Some(FileState::of(&file.metadata().ok()?)),
    }
}

/// Moves the log into the database file and empties it. False if another program that reads prevents it.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<bool> {
    let busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!busy)
}

/// Runs the missing migrations, all or none: in one transaction, so that a process that is killed meanwhile leaves the file
/// as it was. Calls `on_update` before that if it takes longer than a second.
pub(super) fn migrate(
    conn: &mut Connection,
    migrations: &[&str],
    on_update: &dyn Fn(StoreUpdate),
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done: usize = user_version(&tx)?.try_into().unwrap_or(usize::MAX);
    let Some(missing) = migrations.get(done..).filter(|m| !m.is_empty()) else {
        return Ok(());
    };
    let links = match done {
        0 => 0,
        _ => tx.query_row("SELECT count(*) FROM link", [], |row| row.get::<_, i64>(0))?,
    };
    let links = links.unsigned_abs();
    if links >= MANY_LINKS {
        let each = UPDATE_TIME_EACH.saturating_mul(u32::try_from(links).unwrap_or(u32::MAX));
        let within = UPDATE_TIME + each;
        on_update(StoreUpdate { links, within });
    }
    for (migration, version) in missing.iter().zip(done + 1..) {
        let began = Instant::now();
        if links >= MANY_LINKS {
            tracing::info!(
                links,
                version,
                "the link store is updated to a new schema version; it cannot be used until then"
            );
        }
        tx.execute_batch(migration)?;
        if links >= MANY_LINKS {
            let seconds = began.elapsed().as_secs();
            tracing::info!(
                version,
                seconds,
                "the link store was updated to a new schema version"
            );
        }
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", migrations.len() as i64)?;
    tx.commit()
}

/// Makes a directory and its parents, accessible for this user only: a reader of the store knows all links.
/// Each one is synced into its parent, because otherwise a power loss could remove the store with it.
fn make_directories(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = directory(dir);
    make_directories(above)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another process made it meanwhile.
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(error) => Err(error),
        Ok(()) => File::open(above)?.sync_all(),
    }
}

/// The path without symbolic links, so that two paths to one file lead to one lock.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(_) => {
            let real = path.canonicalize()?;
            let file = fs::metadata(&real)?;
            if file.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if !file.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            Ok(real)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
            Ok(directory(path).canonicalize()?.join(name))
        }
        Err(error) => Err(error),
    }
}

/// Takes the lock on the store until the handle is dropped or the process ends.
fn lock(real: &Path) -> Result<File, TryLockError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(real, ".lock"))
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// Makes the file if it is missing, accessible for this user only. An existing file is not opened: closing a
/// handle on it would drop the locks that SQLite holds in this process.
fn make_file(real: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(real);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A connection for one thread. It does not trust the content of the file, which may be damaged or manipulated.
pub(super) fn connect(real: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(real, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}

/// A connection for reads. It reads at once, because SQLite opens the log with the first read, and that fails if
/// the file has been renamed by then.
pub(super) fn connect_reader(real: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let _: i64 = conn.query_row("SELECT count(*) FROM meta", [], |row| row.get(0))?;
    Ok(conn)
}

/// Whether the file is a store of tinyns, or empty.
pub(super) fn identify(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite_error = |error| from_sqlite(path, error);
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite_error)?;
    let application: i64 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(sqlite_error)?;
    let found = user_version(conn).map_err(sqlite_error)?;
    let known = MIGRATIONS.len() as i64;
    let foreign = |reason| OpenError::ForeignDatabase {
        path: path.into(),
        reason,
    };
    match application {
        APPLICATION_ID if found > known => Err(OpenError::NewerSchema {
            path: path.into(),
            found,
            known,
        }),
        APPLICATION_ID if found < 1 => Err(OpenError::Corrupt {
            path: path.into(),
            reason: format!("the schema version is {found}"),
        }),
        APPLICATION_ID => Ok(()),
        0 if tables == 0 && found == 0 => Ok(()),
        0 if tables == 0 => Err(foreign(format!("its user_version is {found}"))),
        0 => Err(foreign("it holds tables that are not ours".into())),
        other => Err(foreign(format!("its application_id is {other:#010x}"))),
    }
}

/// Whether the file ends with a whole page. SQLite itself notices if whole pages are missing, but takes the
/// missing part of the last page for zeros. If there is a log, the file may have any length: the log has the
/// pages.
pub(super) fn check_length(conn: &Connection, real: &Path, path: &Path) -> Result<(), OpenError> {
    let page: i64 = conn
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(|error| from_sqlite(path, error))?;
    let page = u64::try_from(page).unwrap_or(1).max(1);
    let length = fs::metadata(real)
        .map_err(|error| from_io(path, error))?
        .len();
    let has_log = fs::metadata(beside(real, "-wal")).is_ok_and(|log| log.len() > 0);
    if length % page != 0 && !has_log {
        return Err(OpenError::Corrupt {
            path: path.into(),
            reason: format!("it is truncated after {length} bytes, within a page"),
        });
    }
    Ok(())
}

/// The settings of the writer's connection.
fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the log at each commit; NORMAL would lose the last commits with the power.
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Only macOS has this setting. There, fsync alone leaves the data in the disk's cache.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_| Ok(()))
}

/// Whether each statement of tinyns compiles against the tables of the file.
pub(super) fn check_tables(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let statements = reader::STATEMENTS.iter().chain(change::STATEMENTS);
    let statements = statements.chain(session::STATEMENTS);
    let statements = statements.chain(documents::STATEMENTS);
    let statements = statements.chain(idempotency::STATEMENTS);
    let statements = statements.chain(statistics::STATEMENTS);
    let statements = statements.chain(audit::STATEMENTS).copied();
    let statements = statements.chain(indexing::STATEMENTS.iter().copied());
    for sql in statements.chain(search::statements()) {
        conn.prepare(sql)
            .map_err(|error| match error.sqlite_error_code() {
                // The generic code means "no such table" or "no such column" here.
                Some(ErrorCode::Unknown) | None => OpenError::Corrupt {
                    path: path.into(),
                    reason: error.to_string(),
                },
                Some(_) => from_sqlite(path, error),
            })?;
    }
    Ok(())
}

pub(super) fn user_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn from_io(path: &Path, error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly {
                path: path.into(),
                reason: error.to_string(),
            }
        }
        _ => OpenError::Io {
            path: path.into(),
            error,
        },
    }
}

pub(super) fn from_sqlite(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { path, reason }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            OpenError::ReadOnly { path, reason }
        }
        _ => OpenError::Io {
            path,
            error: io::Error::other(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;
    use crate::store::sqlite::migrations::V1;

    const NEXT: &str = "ALTER TABLE link ADD COLUMN mark TEXT NOT NULL DEFAULT 'none'";
    const PUT: &str = "INSERT INTO link (origin, code, url, created_at, created_by, version) \
        VALUES (?1, ?2, 'http://y/', 1, 'me', 7)";

    #[test]
    fn an_older_file_is_migrated_and_keeps_its_links() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &[V1], &|_| {}).unwrap();
        conn.execute(PUT, ("s.x", "a")).unwrap();
        migrate(&mut conn, &[V1, NEXT], &|_| {}).unwrap();
        let mark: String = conn
            .query_row("SELECT mark FROM link WHERE code = 'a'", [], |r| r.get(0))
            .unwrap();
        assert_eq!(mark, "none");
        assert_eq!(user_version(&conn).unwrap(), 2);
        // A second run changes nothing.
        migrate(&mut conn, &[V1, NEXT], &|_| {}).unwrap();
        assert_eq!(user_version(&conn).unwrap(), 2);
    }

    #[test]
    fn a_failing_migration_leaves_the_file_as_it_was() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &[V1], &|_| {}).unwrap();
        migrate(&mut conn, &[V1, NEXT, "CREATE TABLE link (again)"], &|_| {}).unwrap_err();
        assert_eq!(user_version(&conn).unwrap(), 1);
        conn.prepare("SELECT mark FROM link").unwrap_err();
    }

    #[test]
    fn keys_that_cannot_be_looked_up_are_refused_by_the_table() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, MIGRATIONS, &|_| {}).unwrap();
        let check = |origin: &str, code: &str, accepted: bool| {
            let done = conn.execute(PUT, (origin, code));
            assert_eq!(done.is_ok(), accepted, "{code} below {origin}");
        };
        check("s.example.com", "gh7k2m9x", true);
        check("s.example.com", "a-b", true);
        check("s.example.com", &"z".repeat(63), true);
        check("_x.y-z", "0", true);
        check("s.example.com", &"z".repeat(64), false);
        check("s.example.com", "", false);
        check("s.example.com", "A", false);
        check("s.example.com", "a_b", false);
        check("s.example.com", "a.b", false);
        check("s.example.com", "-a", false);
        check("s.example.com", "a-", false);
        check("", "a", false);
        check("S.example.com", "a", false);
    }

    #[test]
    fn a_commit_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(&dir.path().join("links.sqlite"), 1, &|_| {}).unwrap();
        let setting = |name| -> String {
            let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            match opened.writer.pragma_query_value(None, name, value).unwrap() {
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(setting("journal_mode"), "wal");
        assert_eq!(setting("synchronous"), "Integer(2)");
    }

    #[test]
    fn refusals_of_the_system_and_of_sqlite_are_distinguished() {
        let path = Path::new("links.sqlite");
        let io = |kind: io::ErrorKind| from_io(path, kind.into());
        assert!(matches!(
            io(io::ErrorKind::PermissionDenied),
            OpenError::ReadOnly { .. }
        ));
        assert!(matches!(
            io(io::ErrorKind::ReadOnlyFilesystem),
            OpenError::ReadOnly { .. }
        ));
        assert!(matches!(
            io(io::ErrorKind::StorageFull),
            OpenError::Io { .. }
        ));

        let sqlite = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            from_sqlite(path, error)
        };
        assert!(matches!(
            sqlite(ffi::SQLITE_READONLY),
            OpenError::ReadOnly { .. }
        ));
        assert!(matches!(
            sqlite(ffi::SQLITE_READONLY_DIRECTORY),
            OpenError::ReadOnly { .. }
        ));
        assert!(matches!(sqlite(ffi::SQLITE_BUSY), OpenError::Locked { .. }));
        assert!(matches!(
            sqlite(ffi::SQLITE_NOTADB),
            OpenError::Corrupt { .. }
        ));
        assert!(matches!(
            sqlite(ffi::SQLITE_CORRUPT),
            OpenError::Corrupt { .. }
        ));
        assert!(matches!(sqlite(ffi::SQLITE_CANTOPEN), OpenError::Io { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_FULL), OpenError::Io { .. }));
    }
}
