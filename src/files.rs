//! Files that an operator has written, and names in the configuration.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;

/// Reads a regular file; of one that is longer than `most` bytes, one byte more than those, by which that can
/// be told. Waits for nothing but the disk: opening a pipe would wait for its writer, and with it all that
/// comes behind.
///
/// # Errors
/// What the system says, or that it is no regular file.
pub(crate) fn read_regular(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let open = options.read(true).custom_flags(O_NONBLOCK).open(file)?;
    if !open.metadata()?.is_file() {
        let error = "this is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let mut bytes = Vec::new();
    open.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, b"12345").unwrap();
        assert_eq!(read_regular(&file, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&file, 3).unwrap(), b"1234");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for other in [&pipe, directory.path(), Path::new("/dev/zero")] {
            let error = read_regular(other, 5).unwrap_err().to_string();
            assert_eq!(error, "this is not a regular file", "{other:?}");
        }
    }
}
