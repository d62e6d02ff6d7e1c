//! Reading and writing the directory of a zone's keys.
//!
//! A command that changes the directory locks it before it reads the list, and until it has written it. Files
//! appear complete or not at all: each is written under another name, synced, and renamed. A private key is
//! written before the list that contains it, so all keys of a list exist even if a command was interrupted. A key
//! that is not in the list is not used.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::error::KeysError;
use super::list::{KeyEntry, KeyList, LIST_FILE, MAX_LIST_LEN};
use super::pem;
use crate::base::clock::UnixTime;
use crate::base::files::{Draft, read_regular};
use crate::base::name::ZoneName;
use crate::base::toml_text::line_of;
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Role, SigningKey};

/// The name of a file that is being written.
const DRAFT: &str = ".draft";
/// The mode of private keys.
const KEY_MODE: u32 = 0o600;
/// The mode of the list, which has no secrets.
const LIST_MODE: u32 = 0o644;
/// How long a command waits for another one to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two attempts to lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The most keys that are made to get one with a new tag. Each attempt fails with a probability of at most 1 in
/// 2,000.
const ATTEMPTS: usize = 16;

/// The directory, locked against other commands for as long as this lives.
#[derive(Debug)]
pub struct LockedDirectory {
    path: PathBuf,
    /// The open directory, which is locked.
    handle: File,
}

impl LockedDirectory {
    /// Locks a directory. With `make`, creates it if it does not exist. Waits up to 10 seconds for another
    /// command.
    ///
    /// # Errors
    /// [`KeysError::Busy`] if the other command takes longer, [`KeysError::NoKeys`] if there is no directory,
    /// [`KeysError::Io`].
    pub fn open(path: &Path, make: bool) -> Result<Self, KeysError> {
        if make {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(path);
            made.map_err(failed("make the directory", path))?;
        }
        let handle = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeysError::NoKeys(path.into()));
            }
            opened => opened.map_err(failed("open the directory", path))?,
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            match handle.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(KeysError::Busy(path.into())),
                Err(TryLockError::Error(source)) => {
                    return Err(failed("lock the directory", path)(source));
                }
            }
        }
        Ok(Self {
            path: path.into(),
            handle,
        })
    }

    /// Makes a private key with a tag that no key of the list has, and writes its file. The caller adds it to the
    /// list.
    ///
    /// # Errors
    /// [`KeysError`] with the file that is wrong.
    pub fn make_key(
        &self,
        list: &KeyList,
        algorithm: Algorithm,
        role: Role,
    ) -> Result<(PathBuf, SigningKey), KeysError> {
        for _ in 0..ATTEMPTS {
            let (text, key) = pem::generate(algorithm, role).map_err(KeysError::Make)?;
            let name = pem::file_name(&list.origin, algorithm, key.tag());
            let file = self.path.join(&name);
            let is_taken = list.key(key.tag()).is_some() || fs::symlink_metadata(&file).is_ok();
            if !is_taken {
                self.write(&name, text.as_bytes(), KEY_MODE)?;
                return Ok((file, key));
            }
        }
        Err(KeysError::NoTag(self.path.clone()))
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// [`KeysError::Io`]; the list is then as before.
    pub fn write_list(&self, list: &KeyList) -> Result<(), KeysError> {
        self.write(LIST_FILE, list.to_toml().as_bytes(), LIST_MODE)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), KeysError> {
        let file = self.path.join(name);
        let draft = self.path.join(DRAFT);
        let write = || -> io::Result<()> {
            // The lock keeps other commands from writing the same draft.
            let mut new = Draft::create(&file, draft, mode)?;
            if geteuid().is_root() {
                // The owner of the directory must be able to read the file: normally the server.
                let owner = self.handle.metadata()?;
                fchown(&*new.file(), Some(owner.uid()), Some(owner.gid()))?;
            }
            new.file().write_all(bytes)?;
            new.replace()
        };
        write().map_err(failed("write", &file))
    }
}

/// Reads the list of the zone with this origin, and adapts it to TTLs that have become larger.
///
/// # Errors
/// [`KeysError::NoKeys`] if there is none; [`KeysError::List`] with the line and the problem.
pub fn read_list(
    config: &DnssecConfig,
    origin: &ZoneName,
    now: UnixTime,
) -> Result<KeyList, KeysError> {
    let file = config.keys.join(LIST_FILE);
    let bytes = read_regular(&file, MAX_LIST_LEN).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => without_list(&config.keys, origin),
        _ => KeysError::Io {
            action: "read",
            path: file.clone(),
            source,
        },
    })?;
    let list = KeyList::parse(&bytes, origin).map_err(|(at, problem)| KeysError::List {
        file,
        line: line_of(&bytes, at),
        problem,
    });
    let mut list = list?;
    list.adapt(config, now);
    Ok(list)
}

/// Reads the private key of an entry of the list.
///
/// # Errors
/// [`KeysError::KeyFile`] if the file cannot be read or holds another key.
pub fn read_key(
    directory: &Path,
    origin: &ZoneName,
    entry: &KeyEntry,
) -> Result<SigningKey, KeysError> {
    let file = key_file(directory, origin, entry);
    pem::read(&file, entry.algorithm, entry.role, entry.tag)
        .map_err(|problem| KeysError::KeyFile { file, problem })
}

/// The file of a private key.
pub fn key_file(directory: &Path, origin: &ZoneName, entry: &KeyEntry) -> PathBuf {
    directory.join(pem::file_name(origin, entry.algorithm, entry.tag))
}

/// The `.pem` files in the directory that are not in the list, sorted by name.
///
/// # Errors
/// [`KeysError::Io`].
pub fn strangers(directory: &Path, list: &KeyList) -> Result<Vec<PathBuf>, KeysError> {
    let known: Vec<PathBuf> = list
        .keys
        .iter()
        .map(|key| key_file(directory, &list.origin, key))
        .collect();
    let mut strangers = Vec::new();
    let entries = fs::read_dir(directory).map_err(failed("read the directory", directory))?;
    for entry in entries {
        let file = entry
            .map_err(failed("read the directory", directory))?
            .path();
        if file.extension().is_some_and(|end| end == "pem") && !known.contains(&file) {
            strangers.push(file);
        }
    }
    strangers.sort_unstable();
    Ok(strangers)
}

/// The error for a directory without a list: no key has been made, or the list was lost.
fn without_list(directory: &Path, origin: &ZoneName) -> KeysError {
    let is_key = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| pem::is_file_name(name, origin))
    };
    let entries = fs::read_dir(directory).into_iter().flatten();
    let keys = entries.filter_map(|entry| Some(entry.ok()?.path()));
    match keys.filter(is_key).min() {
        Some(key) => KeysError::NoList {
            directory: directory.into(),
            key,
        },
        None => KeysError::NoKeys(directory.into()),
    }
}

/// Warnings about private keys that other users can read or change, a line for each file.
pub fn exposed(directory: &Path, list: &KeyList) -> Vec<String> {
    let files = list
        .keys
        .iter()
        .map(|key| key_file(directory, &list.origin, key));
    let is_exposed = |file: &PathBuf| {
        let metadata = fs::metadata(file);
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o066 != 0)
    };
    let line = |file: PathBuf| {
        format!(
            "{}: users other than the owner can read or change this private key; set its mode to 0600",
            file.display()
        )
    };
    files.filter(is_exposed).map(line).collect()
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeysError + 'a {
    move |source| KeysError::Io {
        action,
        path: path.into(),
        source,
    }
}
