//! The log as a file. At any time the file is one stream that readers can read: START, whole frames, and STOP when
//! it is complete.
//!
//! An existing file is continued, since readers do not understand two streams in one file: its STOP is cut off, and
//! so is the part of a frame that a kill or a crash may have left. Readers do not need a STOP. Other servers begin a
//! new file at each start, which discards the log just when it is needed.
//!
//! At its maximum length the file is renamed to `<file>.1`, which replaces an earlier one, and a new file begins. So
//! the log takes no more than these two files, and they hold the latest queries.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frames::{Control, MAX_DATA, NUMBER};
use crate::base::files::{Need, check_access, check_new, is_irregular, open_regular};

/// The mode of the file: only its owner and group may read it, because it has clients' addresses.
const MODE: u32 = 0o640;

/// A log file with its path.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    /// Its maximum length, in bytes.
    max_len: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Opened, and found to be a log; not yet continued.
    Found(File),
    Open {
        file: File,
        /// The end of its last whole frame.
        len: u64,
    },
}

impl FileSink {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// The error of the system; or the path is no log, or another process writes to it.
    pub(super) fn new(path: PathBuf, max_len: u64) -> io::Result<Self> {
        let state = State::Found(find(&path)?);
        Ok(Self {
            path,
            max_len,
            state,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is open and still has its name. Then it need not be opened again, which would read all of
    /// it.
    pub(super) fn is_in_place(&self) -> bool {
        let State::Open { file, .. } = &self.state else {
            return false;
        };
        let place = |metadata: io::Result<fs::Metadata>| {
            let metadata = metadata.ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let open = place(file.metadata());
        open.is_some() && open == place(fs::metadata(&self.path))
    }

    /// Prepares the file for frames, if need be.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let file = match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => find(&self.path)?,
            State::Found(file) => file,
            open @ State::Open { .. } => {
                self.state = open;
                return Ok(());
            }
        };
        let len = resume(&file, &self.path)?;
        self.state = State::Open { file, len };
        Ok(())
    }

    /// Writes all of these frames or none. Returns their length.
    pub(super) fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let stop_len = Control::Stop.frame().len();
        let more = (frames.len() + stop_len) as u64;
        if let State::Open { len, .. } = &self.state
            && len + more > self.max_len
        {
            self.rotate()?;
        }
        let State::Open { file, len } = &mut self.state else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match file.write_all(frames) {
            Ok(()) => {
                *len += frames.len() as u64;
                Ok(frames.len())
            }
            Err(error) => {
                // If even this fails, the file is closed, and repaired when it is opened again.
                if file.set_len(*len).is_err() {
                    self.state = State::Closed;
                }
                Err(error)
            }
        }
    }

    /// Ends the stream and closes the file.
    pub(super) fn close(&mut self) {
        if let State::Open { file, len } = &mut self.state
            && file.write_all(&Control::Stop.frame()).is_err()
        {
            // The disk is full. Readers do not need STOP, but a part of it would confuse them.
            let _ = file.set_len(*len);
        }
        self.state = State::Closed;
    }

    /// Renames the full file, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = aside(&self.path);
        match fs::rename(&self.path, &aside) {
            Ok(()) => {}
            // Another process has renamed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!(
                    "cannot rename the full file to {}: {error}",
                    aside.display()
                );
                return Err(io::Error::new(error.kind(), text));
            }
        }
        // STOP goes to the open file, whatever its name is now.
        self.close();
        self.open()
    }
}

/// The path of the last full file.
fn aside(path: &Path) -> PathBuf {
    let mut aside = OsString::from(path);
    aside.push(".1");
    aside.into()
}

/// Opens or creates a file, and locks it for this process. A file that is no log stays as it is.
fn find(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path);
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(no_file()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    // Some network file systems have no locks; the log works without one.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let error = "another process writes to it";
        return Err(io::Error::new(io::ErrorKind::WouldBlock, error));
    }
    check_head(&file)?;
    Ok(file)
}

/// Checks that a file can be opened or created, and leaves it as it is.
///
/// # Errors
/// As [`FileSink::new`]; but another process may write to the file, since that is usually the server.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let file = match open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check_new(path, false).map(drop);
        }
        Err(error) if is_irregular(&error) => return Err(no_file()),
        opened => opened?,
    };
    check_access(path, Need::Write)?;
    check_head(&file)
}

fn no_file() -> io::Error {
    let error = "the path exists and is no regular file";
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Checks that a file is a log or empty.
fn check_head(file: &File) -> io::Result<()> {
    let start = Control::Start.frame();
    let mut head = Vec::new();
    file.take(start.len() as u64).read_to_end(&mut head)?;
    if !start.starts_with(&head) {
        let error = "the file exists and is no query log; choose another path";
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(())
}

/// Cuts a file after its last whole frame; writes START if there is none. Returns the new length.
fn resume(mut file: &File, path: &Path) -> io::Result<u64> {
    let found = file.metadata()?.len();
    let whole = whole_len(file, found)?;
    let start = Control::Start.frame();
    if whole == 0 {
        file.set_len(0)?;
        if let Err(error) = file.write_all(&start) {
            file.set_len(0)?;
            return Err(error);
        }
        return Ok(start.len() as u64);
    }
    let cut = found - whole;
    if cut > 0 {
        file.set_len(whole)?;
    }
    if cut > 0 && cut != Control::Stop.frame().len() as u64 {
        tracing::info!(file = %path.display(), bytes = cut, "query log: cut off an incomplete frame at the end of the file");
    }
    Ok(whole)
}

/// The end of the last whole frame of a file of this length; zero if even START is incomplete.
fn whole_len(mut file: &File, len: u64) -> io::Result<u64> {
    let mut whole = Control::Start.frame().len() as u64;
    if len < whole {
        return Ok(0);
    }
    file.seek(io::SeekFrom::Start(whole))?;
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut number = [0; NUMBER];
    while !reader.fill_buf()?.is_empty() {
        if let Err(error) = reader.read_exact(&mut number) {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => break,
                _ => return Err(error),
            }
        }
        let length = u32::from_be_bytes(number);
        let next = whole + (NUMBER as u64) + u64::from(length);
        // STOP begins with a length of zero, and so may the zeros that a crash of the machine leaves.
        if length == 0 || length as usize > MAX_DATA || next > len {
            break;
        }
        reader.seek_relative(length.into())?;
        whole = next;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::query_log::frames::{begin_data, end_data};

    const MAX_LEN: u64 = 1 << 20;

    fn frame(data: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        let at = begin_data(&mut frames);
        frames.extend(data);
        end_data(&mut frames, at);
        frames
    }

    /// A stream of these data, without STOP.
    fn begun(data: &[&[u8]]) -> Vec<u8> {
        let frames: Vec<_> = data.iter().map(|data| frame(data)).collect();
        [Control::Start.frame(), frames.concat()].concat()
    }

    fn ended(data: &[&[u8]]) -> Vec<u8> {
        [begun(data), Control::Stop.frame()].concat()
    }

    struct LogDirectory {
        _dir: tempfile::TempDir,
        path: PathBuf,
    }

    impl LogDirectory {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("q.dnstap");
            Self { _dir: dir, path }
        }

        fn open(&self, max_len: u64) -> FileSink {
            let mut sink = FileSink::new(self.path.clone(), max_len).unwrap();
            sink.open().unwrap();
            sink
        }

        fn read(&self) -> Vec<u8> {
            fs::read(&self.path).unwrap()
        }
    }

    #[test]
    fn a_file_is_a_stream_at_any_time() {
        let place = LogDirectory::new();
        let mut sink = place.open(MAX_LEN);
        assert_eq!(place.read(), begun(&[]));
        assert_eq!(sink.write(&frame(b"one")).unwrap(), 7);
        assert_eq!(place.read(), begun(&[b"one"]));
        sink.open().unwrap();
        sink.close();
        assert_eq!(place.read(), ended(&[b"one"]));
        sink.close();
        assert_eq!(place.read(), ended(&[b"one"]), "closed once");
    }

    #[test]
    fn whatever_a_file_ends_with_it_is_gone_on_with() {
        let place = LogDirectory::new();
        let whole = begun(&[b"one", b"two"]);
        let mut ends: Vec<Vec<u8>> = vec![
            Vec::new(),
            Control::Stop.frame(),
            vec![0; 5_000],
            b"\xFF\xFF\xFF\xFF and more".to_vec(),
            b"\0\x20\0\0".to_vec(),
        ];
        let next = frame(b"cut somewhere");
        ends.extend((1..next.len()).map(|len| next[..len].to_vec()));
        for end in ends {
            fs::write(&place.path, [&whole[..], &end].concat()).unwrap();
            let mut sink = place.open(MAX_LEN);
            assert_eq!(place.read(), whole, "{end:?}");
            sink.write(&frame(b"three")).unwrap();
            sink.close();
            assert_eq!(place.read(), ended(&[b"one", b"two", b"three"]), "{end:?}");
        }
    }

    #[test]
    fn a_start_that_was_cut_is_written_again() {
        let place = LogDirectory::new();
        let start = Control::Start.frame();
        for len in 0..start.len() {
            fs::write(&place.path, &start[..len]).unwrap();
            place.open(MAX_LEN);
            assert_eq!(place.read(), start, "{len}");
        }
    }

    #[test]
    fn what_is_no_log_is_left_as_it_is() {
        let place = LogDirectory::new();
        let mut other = Control::Start.frame();
        other.extend(frame(b"one"));
        let last = Control::Start.frame().len() - 1;
        other[last] ^= 1;
        for content in [&b"SQLite format 3\0"[..], b"\0\0\0\0\0\0\0\x21", &other] {
            fs::write(&place.path, content).unwrap();
            let error = FileSink::new(place.path.clone(), MAX_LEN).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the file exists and is no query log; choose another path"
            );
            assert_eq!(place.read(), content);
        }
        let error = FileSink::new("/dev/null".into(), MAX_LEN).unwrap_err();
        assert_eq!(error.to_string(), "the path exists and is no regular file");
        FileSink::new(std::env::temp_dir(), MAX_LEN).unwrap_err();
    }

    #[test]
    fn a_file_has_one_writer() {
        let place = LogDirectory::new();
        let mut sink = place.open(MAX_LEN);
        let error = FileSink::new(place.path.clone(), MAX_LEN).unwrap_err();
        assert_eq!(error.to_string(), "another process writes to it");
        sink.close();
        place.open(MAX_LEN);
    }

    #[test]
    fn at_its_bound_it_is_put_aside() {
        let place = LogDirectory::new();
        let full = ended(&[b"one", b"two"]);
        let mut sink = place.open(full.len() as u64);
        let aside = aside(&place.path);
        for data in [b"one", b"two"] {
            sink.write(&frame(data)).unwrap();
        }
        assert!(!aside.exists());
        sink.write(&frame(b"three")).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), full);
        assert_eq!(place.read(), begun(&[b"three"]));
        sink.write(&frame(b"four")).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), ended(&[b"three"]));
        // A lower bound than the file has already.
        sink.close();
        let mut sink = place.open(60);
        sink.write(&frame(b"five")).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), ended(&[b"four"]));
        assert_eq!(place.read(), begun(&[b"five"]));
        // What is renamed or gone is let go.
        fs::remove_file(&place.path).unwrap();
        sink.write(&frame(b"six")).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), ended(&[b"four"]));
        assert_eq!(place.read(), begun(&[b"six"]));
    }

    #[test]
    fn a_full_disk_leaves_no_piece_of_a_frame() {
        // Writes to it fail as on a full disk, and it can be opened like a file.
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let place = LogDirectory::new();
        let mut sink = FileSink {
            path: place.path.join("not below a file"),
            max_len: MAX_LEN,
            state: State::Open { file: full, len: 0 },
        };
        let error = sink.write(&frame(b"one")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        // It cannot be cut, so it is closed.
        assert!(matches!(sink.state, State::Closed));
        fs::write(&place.path, []).unwrap();
        assert!(sink.open().is_err());
    }
}
