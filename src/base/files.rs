//! Opening, reading and replacing files.
//!
//! This module opens all files that are named in the configuration or on the command line. It accepts only regular
//! files: opening a pipe waits for its other end, and a device may have no end. The check is done on the open file,
//! because the file behind a name may change. The number of bytes read has a bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Opens a regular file for reading. It waits only for the disk.
///
/// # Errors
/// The error of the system, or that it is not a regular file.
pub(crate) fn open_regular(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let open = options.read(true).custom_flags(O_NONBLOCK).open(file)?;
    if !open.metadata()?.is_file() {
        let error = "this is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    Ok(open)
}

/// Whether [`open_regular`] failed because of a directory, a pipe or a device.
pub(crate) fn is_irregular(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() == io::ErrorKind::InvalidInput
}

/// Reads a regular file, or the first `most` + 1 bytes of a longer one, so that the caller can see that it is longer.
///
/// # Errors
/// As [`open_regular`].
pub(crate) fn read_regular(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(file)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open_regular`], or that it is larger.
pub(crate) fn read_whole(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let bytes = read_regular(file, most)?;
    match bytes.len() as u64 > most {
        false => Ok(bytes),
        true => {
            let error = format!("this is larger than {most} bytes");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, error))
        }
    }
}

/// What the process needs to do with a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Write to a file.
    Write,
    /// Make and remove files in a directory.
    Entries,
}

/// Whether the effective user of this process may do this with a file or directory.
///
/// # Errors
/// The error of the system.
pub(crate) fn check_access(path: &Path, need: Need) -> io::Result<()> {
    let access = match need {
        Need::Write => Access::WRITE_OK,
        Need::Entries => {
            if !fs::metadata(path)?.is_dir() {
                return Err(Errno::NOTDIR.into());
            }
            Access::WRITE_OK | Access::EXEC_OK
        }
    };
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        // The system cannot check this for an effective user other than the real one.
        Err(Errno::NOSYS) => Ok(()),
        said => Ok(said?),
    }
}

/// Checks whether a new file could be created, with its directories if `with_directories`. Returns the topmost
/// directory that is missing.
///
/// # Errors
/// The error of the system for the first obstacle, with its name.
pub(crate) fn check_new(path: &Path, with_directories: bool) -> io::Result<Option<PathBuf>> {
    let mut missing = None;
    let mut above = directory(path);
    loop {
        let checked = check_access(above, Need::Entries);
        match checked {
            Ok(()) => return Ok(missing),
            Err(error) if error.kind() == io::ErrorKind::NotFound && with_directories => {
                missing = Some(above.to_path_buf());
                above = directory(above);
            }
            Err(error) => {
                let text = format!("{}: {error}", above.display());
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
}

/// Whether users other than the owner may read a file; false if that cannot be found out.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o044 != 0)
}

/// The directory that a file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A new file that will replace another one. No reader ever sees a part of it, and after a crash there is either the
/// whole old file or the whole new one. If it is dropped before it has replaced the other file, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Creates the file `draft` with this mode. It will replace `path`, which must be in the same directory. If
    /// there is a draft already, a process that has ended left it, because only one process may write to a path.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn create(path: &Path, draft: PathBuf, mode: u32) -> io::Result<Self> {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode);
        Ok(Self {
            file: file.open(&draft)?,
            draft,
            path: path.into(),
        })
    }

    /// The file to write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The path that it will replace.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the old file, if there is one. When this returns, the new file is on disk under its name.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        // This writes the name to the disk, too.
        sync_directory(&self.path)
    }

    /// Gives the file its name, unless there is a file with that name; then it returns false. When this returns, the
    /// new file is on disk under its name.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn keep_if_new(self) -> io::Result<bool> {
        self.file.sync_all()?;
        // Unlike a rename, this fails if the name is taken.
        match fs::hard_link(&self.draft, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error),
        }
        fs::remove_file(&self.draft)?;
        sync_directory(&self.path)?;
        Ok(true)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `replace` or `keep_if_new` the draft no longer exists.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Writes a file anew, by way of a draft.
///
/// # Errors
/// What the system says; then what was there is still there.
pub(crate) fn replace(path: &Path, draft: PathBuf, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut new = Draft::create(path, draft, mode)?;
    new.file().write_all(bytes)?;
    new.replace()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"12345").unwrap();
        assert_eq!(read_regular(&file, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&file, 3).unwrap(), b"1234");
        assert_eq!(read_whole(&file, 5).unwrap(), b"12345");
        let error = read_whole(&file, 4).unwrap_err().to_string();
        assert_eq!(error, "this is larger than 4 bytes");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for other in [&pipe, directory.path(), Path::new("/dev/zero")] {
            let error = read_regular(other, 5).unwrap_err().to_string();
            assert_eq!(error, "this is not a regular file", "{other:?}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let draft = directory.path().join("draft");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        // The remains of a process that was killed.
        fs::write(&draft, b"half").unwrap();
        replace(&path, draft.clone(), 0o600, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let mut unfinished = Draft::create(&path, draft.clone(), 0o600).unwrap();
        unfinished.file().write_all(b"tw").unwrap();
        drop(unfinished);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"one".to_vec(), 1));
        let mut late = Draft::create(&path, draft.clone(), 0o600).unwrap();
        late.file().write_all(b"two").unwrap();
        assert!(!late.keep_if_new().unwrap());
        assert_eq!((fs::read(&path).unwrap(), names()), (b"one".to_vec(), 1));
        fs::remove_file(&path).unwrap();
        let mut first = Draft::create(&path, draft, 0o600).unwrap();
        first.file().write_all(b"two").unwrap();
        assert!(first.keep_if_new().unwrap());
        assert_eq!((fs::read(&path).unwrap(), names()), (b"two".to_vec(), 1));
    }
}
