//! The guard notices when the file at the path is no longer the one that is open, or no longer holds what this
//! server has written.
//!
//! If an operator puts a backup in the place of a file in use, the server goes on reading and writing the old
//! file, and everything that it acknowledges is gone after its next start. So before each write begins, before it
//! is acknowledged, and every second in any case, the guard checks that
//!
//! * the path leads to the open file, by device and inode;
//! * the log and its index (`-wal`, `-shm`), without which the last writes are lost, are still those that SQLite
//!   has open;
//! * nothing but checkpoints has written to the file. In WAL mode every program that uses SQLite writes to the
//!   file only by moving pages from the log into it, and records that in the log's index (WAL-mode file format,
//!   §2.1: `nBackfill`, `nBackfillAttempted` and the salts). So if the file's length or time of change has changed
//!   but these have not, another program has overwritten or truncated the file, by `cp` for instance. SQLite
//!   itself would notice late or never, because it keeps pages in memory and in its log. If only the time has
//!   changed, a program may merely have set it, as `touch` and backup programs do: then the file without its log
//!   still has the same session and the same first page;
//! * if another program has written by SQLite, the `session` in the file is still that of this server's last
//!   commit. The shell's `.restore` brings back an earlier one.
//!
//! The guard looks at the file and the index through handles of its own. They are closed after SQLite has closed
//! its handles: closing any handle of a file drops all locks that the process has on it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::condition::Fault;
use super::session;
use crate::store::Seal;

/// How many attempts are made to look at file and index without a checkpoint in between.
const TRIES: u32 = 5;

/// Where the index has the salts of the log, how much of the log is in the file, and how much of it a checkpoint
/// has begun to move.
const SALTS: std::ops::Range<usize> = 32..40;
const BACKFILL: std::ops::Range<usize> = 96..100;
const ATTEMPTED: std::ops::Range<usize> = 128..132;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Guard {
    /// The path as configured, and the path without symbolic links.
    path: PathBuf,
    real: PathBuf,
    file: File,
    id: FileId,
    /// The log and its index, each as it was when the file was opened.
    companions: Vec<(PathBuf, FileId)>,
    index: Option<File>,
    /// The last snapshot.
    last: Option<Snapshot>,
    /// The content at the last checkpoint that was noticed; none if it could not be read.
    content: Option<Content>,
    /// A fault of the content, which lasts until a restart.
    spoilt: Option<Fault>,
    /// The file's state when a fault was noticed.
    left: Option<FileState>,
}

/// The file and its log at a moment without a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Snapshot {
    file: FileState,
    log: LogState,
}

/// The numbers in the index that change with each checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogState([u8; 16]);

impl LogState {
    fn of(index: &File) -> io::Result<Self> {
        let mut bytes = [0; ATTEMPTED.end];
        index.read_exact_at(&mut bytes, 0)?;
        let mut state = [0; 16];
        state[..8].copy_from_slice(&bytes[SALTS]);
        state[8..12].copy_from_slice(&bytes[BACKFILL]);
        state[12..].copy_from_slice(&bytes[ATTEMPTED]);
        Ok(Self(state))
    }

    /// Whether no checkpoint is running.
    fn is_at_rest(&self) -> bool {
        self.0[8..12] == self.0[12..]
    }
}

/// How much of the beginning of the file is compared, in bytes: its first page.
const HEAD: usize = 4_096;

/// What identifies a content of the file: each commit has its own session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    head: Vec<u8>,
    /// None if the file has none: all tables may still be in the log.
    session: Option<i64>,
}

/// The session in the file itself, without its log. A connection that takes the file for immutable reads no log
/// and takes no lock.
fn session_in_file(real: &Path) -> Option<i64> {
    let mut uri = String::from("file:");
    for byte in real.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri, flags).ok()?;
    session::current(&conn).ok()?
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

/// What changes when a file is written: its length in bytes, and the time of the last write in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct FileState {
    length: u64,
    modified: i128,
}

impl FileState {
    pub(super) fn of(file: &Metadata) -> Self {
        let modified = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
        let length = file.len();
        Self { length, modified }
    }

    /// The seal of the file in this state and with this session.
    pub(super) fn seal(&self, session: i64) -> Seal {
        Seal::new(format!("{session:016x}-{}-{}", self.length, self.modified))
    }
}

/// A file that SQLite is going to open, with the guard's own handle.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) path: PathBuf,
    pub(super) real: PathBuf,
    pub(super) file: File,
}

impl Guard {
    /// Guards a file that SQLite has open.
    pub(super) fn new(watched: Watched) -> io::Result<Self> {
        let Watched { path, real, file } = watched;
        let id = FileId::of(&file.metadata()?);
        let companions = ["-wal", "-shm"].map(|end| beside(&real, end));
        let companions = companions.into_iter().filter_map(|path| {
            let file = fs::metadata(&path).ok()?;
            Some((path, FileId::of(&file)))
        });
        Ok(Self {
            companions: companions.collect(),
            id,
            index: File::open(beside(&real, "-shm")).ok(),
            path,
            real,
            file,
            last: None,
            content: None,
            spoilt: None,
            left: None,
        })
    }

    /// Checks the file; returns its fault, if it has one.
    pub(super) fn look(&mut self) -> Option<Fault> {
        if self.spoilt.is_some() {
            return self.spoilt;
        }
        if let Some(fault) = self.look_at_places() {
            return Some(fault);
        }
        // The file is back. A program that had it may have written to it, which our log does not know.
        let changed = self
            .left
            .take()
            .is_some_and(|left| self.state() != Some(left));
        if changed || !self.is_undisturbed() {
            self.spoilt = Some(Fault::Overwritten);
        }
        self.spoilt
    }

    /// Records the file's state after everything was saved in it.
    pub(super) fn leave(&mut self) {
        self.left = self.state();
    }

    /// Another program has replaced the content by SQLite.
    pub(super) fn note_restored(&mut self) {
        self.spoilt = Some(Fault::Restored);
    }

    /// Renames the log of a file whose content was replaced: SQLite would apply it to the new content.
    pub(super) fn set_log_aside(&self) {
        for (path, id) in &self.companions {
            let is_ours = fs::metadata(path).is_ok_and(|file| FileId::of(&file) == *id);
            let aside = with_end(path, ".old");
            match is_ours.then(|| fs::rename(path, &aside)) {
                None => {}
                Some(Ok(())) => tracing::warn!(
                    file = %aside.display(),
                    "a log of the link store that belongs to its former content was renamed"
                ),
                Some(Err(error)) => {
                    let file = path.display();
                    tracing::error!(%file, %error, "a log of the link store's former content cannot be renamed; delete it before the next start");
                }
            }
        }
    }

    /// The file's state, whatever its name is now.
    pub(super) fn state(&self) -> Option<FileState> {
        Some(FileState::of(&self.file.metadata().ok()?))
    }

    fn look_at_places(&self) -> Option<Fault> {
        let path = fault_at(&self.path, self.id, Fault::Missing, Fault::Replaced);
        let real = || fault_at(&self.real, self.id, Fault::Missing, Fault::Replaced);
        let mut companions = self.companions.iter();
        let companion = || {
            companions.find_map(|(path, id)| fault_at(path, *id, Fault::LogLost, Fault::LogLost))
        };
        path.or_else(real).or_else(companion)
    }

    /// Whether nothing but checkpoints has written to the file since the last check.
    fn is_undisturbed(&mut self) -> bool {
        let Some(now) = self.snapshot() else {
            return true;
        };
        let last = self.last.replace(now);
        match last {
            Some(last) if last == now && self.content.is_some() => true,
            Some(last) if last.file != now.file && last.log == now.log => {
                let has_its_length = last.file.length == now.file.length;
                has_its_length
                    && self.content.is_some()
                    && self.content == self.look_at_content(now)
            }
            _ => {
                self.content = self.look_at_content(now);
                true
            }
        }
    }

    /// The content of the file without its log; none if a checkpoint has begun meanwhile.
    fn look_at_content(&self, now: Snapshot) -> Option<Content> {
        let mut head = [0; HEAD];
        let length = self.file.read_at(&mut head, 0).ok()?;
        let content = Content {
            head: head[..length].to_vec(),
            session: session_in_file(&self.real),
        };
        (self.snapshot()? == now).then_some(content)
    }

    /// None if a checkpoint is running.
    fn snapshot(&self) -> Option<Snapshot> {
        let index = self.index.as_ref()?;
        for _ in 0..TRIES {
            let log = LogState::of(index).ok()?;
            let file = self.state()?;
            if LogState::of(index).ok()? == log {
                return log.is_at_rest().then_some(Snapshot { file, log });
            }
        }
        None
    }
}

/// The fault at a path where this file should be.
fn fault_at(path: &Path, id: FileId, missing: Fault, other: Fault) -> Option<Fault> {
    match fs::metadata(path) {
        Ok(file) if FileId::of(&file) == id => None,
        Ok(_) => Some(other),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some(missing),
            _ => Some(Fault::Unseen),
        },
    }
}

/// The path of the file with something added to its name.
pub(super) fn beside(real: &Path, suffix: &str) -> PathBuf {
    with_end(real, suffix)
}

fn with_end(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
