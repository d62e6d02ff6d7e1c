//! Files that an operator has written, and files that are replaced: how they are opened, and how far they are read.
//!
//! Whatever comes by a name of the configuration or the command line is opened here. Only regular files are: to
//! open a pipe would wait for its other end, and a device has no end. That is looked up on the open file, since
//! what is behind a name may change. How much is read has a bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Opens a regular file for reading. Waits for nothing but the disk.
///
/// # Errors
/// What the system says, or that it is no regular file.
pub(crate) fn open_regular(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let open = options.read(true).custom_flags(O_NONBLOCK).open(file)?;
    if !open.metadata()?.is_file() {
        let error = "this is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    Ok(open)
}

/// Whether something could not be opened since it is a directory, a pipe or a device.
pub(crate) fn is_irregular(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() == io::ErrorKind::InvalidInput
}

/// Reads a regular file; of one that is longer than `most` bytes, one byte more than those, by which that can
/// be told.
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

/// What somebody needs to do with a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Write to a file.
    Write,
    /// Make and remove files in a directory.
    Entries,
}

/// Whether this process may do something with what is there, by its effective user.
///
/// # Errors
/// What the system says.
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
        // The system cannot say for a user other than the one who started the process.
        Err(Errno::NOSYS) => Ok(()),
        said => Ok(said?),
    }
}

/// Whether a file that is not there could be made, with its directories if `with_directories`. Gives the first
/// directory that is not there.
///
/// # Errors
/// What the system says of the first thing in the way, with its name.
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

/// Whether others than its owner may read a file; false where that cannot be seen.
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

/// A new file beside the one whose place it is to take: nobody ever sees a part of it, and after a crash there is
/// the whole of the old file or the whole of the new one. Dropped without having taken its place, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Makes a file by the name `draft`, with this mode, for the place `path`, which is in the same directory.
    /// A draft that is there was left by a process that has ended: only one may write to a place.
    ///
    /// # Errors
    /// What the system says.
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

    /// What is to be written to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The place that it is for.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file in the place of the one there, if there is one. When this returns, that is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        // So that the name, too, is on the disk.
        sync_directory(&self.path)
    }

    /// Puts the file in its place, unless there is one; false where there is. When this returns, that is on
    /// the disk.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn keep_if_new(self) -> io::Result<bool> {
        self.file.sync_all()?;
        // Fails where the name is taken, as a rename does not.
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
        // Where it has taken its place it is no longer there.
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
        // What a process has left that was killed.
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
