//! Finding out that the file at the path is no longer the one that is open, or no longer what was
//! written to it.
//!
//! An operator who puts a backup in the place of a file that is in use has a server that goes on to read
//! and write the old one: what it acknowledges is gone after its next start. So before each write is
//! begun, before it is acknowledged, and each second in any case, it is looked whether
//!
//! * the path leads to the file that is open, by device and inode;
//! * the log and its index (`-wal`, `-shm`), without which the last writes are lost, are still those
//!   that SQLite has open;
//! * the file was written by nothing but checkpoints. In WAL mode SQLite moves pages from the log into the
//!   file and writes to it in no other way, whichever program does it, and takes that down in the log's index
//!   (WAL-mode file format, §2.1: `nBackfill`, `nBackfillAttempted` and the salts). So a file whose length or
//!   time of change has moved while these have not was overwritten, by `cp` for instance, or cut off. SQLite
//!   itself would notice late or never, for it holds pages in memory and in its log. Where the time alone has
//!   moved, somebody may only have set it, as `touch` and programs that make backups do: then the file without
//!   its log has the session that it had, and the same beginning;
//! * where another program has written by way of SQLite: the `session` in the file is the
//!   one of this server's last commit. `.restore` of the shell brings back an earlier one.
//!
//! The file and the index are looked at by handles of our own, which are closed after SQLite has closed its
//! own: closing any handle of a file drops the locks that the process has on it.

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

/// How often it is tried to look at the file and the index without a checkpoint in between.
const TRIES: u32 = 5;

/// Where the index has what is looked at: the salts of the log, how much of it is in the file, and how much
/// somebody has begun to write there.
const SALTS: std::ops::Range<usize> = 32..40;
const BACKFILL: std::ops::Range<usize> = 96..100;
const ATTEMPTED: std::ops::Range<usize> = 128..132;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Guard {
    /// As it was configured, and without symbolic links.
    path: PathBuf,
    real: PathBuf,
    file: File,
    id: FileId,
    /// The log and its index, each with what it was when the file was opened.
    companions: Vec<(PathBuf, FileId)>,
    index: Option<File>,
    /// As they were found last.
    last: Option<Snapshot>,
    /// What the file held when a checkpoint was last seen; none where that could not be seen.
    content: Option<Content>,
    /// What has happened to the content, which only a restart mends.
    spoilt: Option<Fault>,
    /// The file's state when something was found to be wrong.
    left: Option<FileState>,
}

/// The file and its log at one moment at which nobody moves pages from one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Snapshot {
    file: FileState,
    log: LogState,
}

/// What moves in the index with each checkpoint.
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

    /// Whether no checkpoint is under way.
    fn is_at_rest(&self) -> bool {
        self.0[8..12] == self.0[12..]
    }
}

/// How much of the beginning of the file is compared: its first page, in bytes.
const HEAD: usize = 4_096;

/// What tells one content of the file from another: each commit has a session of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    head: Vec<u8>,
    /// None where there is none: all tables may still be in the log.
    session: Option<i64>,
}

/// The session in the file itself, past its log. A connection that takes the file for immutable looks at
/// neither the log nor any lock.
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

/// What moves when a file is written: its length in bytes, and when it was last written, in nanoseconds.
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

    /// How the file is in this state, with this session in it.
    pub(super) fn seal(&self, session: i64) -> Seal {
        Seal::new(format!("{session:016x}-{}-{}", self.length, self.modified))
    }
}

/// A file that is going to be opened by SQLite, with the handle of our own.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) path: PathBuf,
    pub(super) real: PathBuf,
    pub(super) file: File,
}

impl Guard {
    /// Watches a file that SQLite has open, from now on.
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

    /// What is wrong with the file, if anything.
    pub(super) fn look(&mut self) -> Option<Fault> {
        if self.spoilt.is_some() {
            return self.spoilt;
        }
        if let Some(fault) = self.look_at_places() {
            return Some(fault);
        }
        // It is back. Whoever had it may have written to it, of which our log knows nothing.
        let changed = self
            .left
            .take()
            .is_some_and(|left| self.state() != Some(left));
        if changed || !self.is_undisturbed() {
            self.spoilt = Some(Fault::Overwritten);
        }
        self.spoilt
    }

    /// Takes down how the file is left, after what is to be saved in it has been.
    pub(super) fn leave(&mut self) {
        self.left = self.state();
    }

    /// Another program has put another content into the file, in order.
    pub(super) fn note_restored(&mut self) {
        self.spoilt = Some(Fault::Restored);
    }

    /// Puts the log of a file whose content was replaced out of the way: SQLite would take it for a part
    /// of the new content.
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

    /// The file's state, whatever it is called now.
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

    /// Whether nothing but checkpoints has written to the file since the last look.
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

    /// What the file holds without its log; none if a checkpoint has begun meanwhile.
    fn look_at_content(&self, now: Snapshot) -> Option<Content> {
        let mut head = [0; HEAD];
        let length = self.file.read_at(&mut head, 0).ok()?;
        let content = Content {
            head: head[..length].to_vec(),
            session: session_in_file(&self.real),
        };
        (self.snapshot()? == now).then_some(content)
    }

    /// None where it cannot be seen just now: a checkpoint is under way.
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

/// What is wrong at a path where this file should be.
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

/// The path of a companion of the file.
pub(super) fn beside(real: &Path, suffix: &str) -> PathBuf {
    with_end(real, suffix)
}

fn with_end(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
