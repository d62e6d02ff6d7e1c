//! The directory of a zone's keys, and how it is written.
//!
//! Whoever changes it has a lock on it, from the reading of what is there to the writing of what is to be
//! there. Files appear complete or not at all: each is written under another name, synced and then renamed.
//! A private key comes before the list that has it, so that whatever interrupts a command leaves a list
//! whose keys are all there; a key that is in no list is not used.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::error::KeysError;
use super::list::{KeyEntry, KeyList, LIST_FILE};
use super::pem;
use crate::base::files::Draft;
use crate::base::name::ZoneName;
use crate::dnssec::key::{Algorithm, Role, SigningKey};

/// The name of a file that is being written.
const DRAFT: &str = ".draft";
/// The mode of private keys.
const KEY_MODE: u32 = 0o600;
/// The mode of the list, which has no secrets.
const LIST_MODE: u32 = 0o644;
/// How long another command may take before this one gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the lock is tried meanwhile.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// How many keys are made until one has a tag that no other has. Each fails with a chance of one in two
/// thousand at most.
const ATTEMPTS: usize = 16;

/// The directory, locked against other commands for as long as this lives.
#[derive(Debug)]
pub struct LockedDirectory {
    path: PathBuf,
    /// The directory itself, which bears the lock.
    handle: File,
}

impl LockedDirectory {
    /// Locks a directory, and makes it before where that is wanted. Waits for another command, for 10 seconds
    /// at most.
    ///
    /// # Errors
    /// [`KeysError::Busy`] after that, [`KeysError::Io`].
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

    /// Makes a private key that can be told from those of the list, and writes it. It is to be added to the
    /// list.
    ///
    /// # Errors
    /// [`KeysError`], with the file to blame.
    pub fn make_key(
        &self,
        list: &KeyList,
        algorithm: Algorithm,
        role: Role,
    ) -> Result<(PathBuf, SigningKey), KeysError> {
        for _ in 0..ATTEMPTS {
            let (text, key) = pem::generate(algorithm, role)?;
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

    /// Writes the list, in place of that before.
    ///
    /// # Errors
    /// [`KeysError::Io`]; then the one before is there.
    pub fn write_list(&self, list: &KeyList) -> Result<(), KeysError> {
        self.write(LIST_FILE, list.to_toml().as_bytes(), LIST_MODE)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), KeysError> {
        let file = self.path.join(name);
        let draft = self.path.join(DRAFT);
        let write = || -> io::Result<()> {
            // The lock says that no other command writes there now.
            let mut new = Draft::create(&file, draft, mode)?;
            if geteuid().is_root() {
                // Whom the directory belongs to is to read it: the server, as a rule.
                let owner = self.handle.metadata()?;
                fchown(&*new.file(), Some(owner.uid()), Some(owner.gid()))?;
            }
            new.file().write_all(bytes)?;
            new.replace()
        };
        write().map_err(failed("write", &file))
    }
}

/// Reads the private key of an entry of the list.
///
/// # Errors
/// [`KeysError::KeyFile`] where it is not there, or is another.
pub fn read_key(
    directory: &Path,
    origin: &ZoneName,
    entry: &KeyEntry,
) -> Result<SigningKey, KeysError> {
    let file = key_file(directory, origin, entry);
    pem::read(&file, entry.algorithm, entry.role, entry.tag)
}

/// The file of a private key.
pub fn key_file(directory: &Path, origin: &ZoneName, entry: &KeyEntry) -> PathBuf {
    directory.join(pem::file_name(origin, entry.algorithm, entry.tag))
}

/// The files in the directory that look like private keys of a zone and are in no list, by their names.
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

/// Why there is no list in a directory: no key has been made, or the list was lost.
pub(super) fn without_list(directory: &Path, origin: &ZoneName) -> KeysError {
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

/// What there is to say of private keys that others than their files' owner can read or change, a line a file.
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
            "{}: others than the file's owner can read or change this private key; mode 0600 would prevent it",
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
