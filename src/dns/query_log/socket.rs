//! The log as a stream to a collector, over a Unix socket.
//!
//! ```text
//!   we         READY            START  data …  STOP
//!   collector          ACCEPT                        FINISH
//! ```
//!
//! The writer waits for a slow collector in short steps, so that it can obey orders in between. The queue stays
//! bounded meanwhile, as without a collector.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::frames::{Control, expect_control};

/// How long a collector may take to accept a connection, and for each control frame.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a write waits for room.
const WRITE_STEP: Duration = Duration::from_millis(100);

/// A collector with its path.
#[derive(Debug)]
pub(super) struct SocketSink {
    path: PathBuf,
    stream: Option<UnixStream>,
}

impl SocketSink {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stream: None }
    }

    /// The path of the collector's socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Connects, if there is no connection.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::unix(&self.path)?, PATIENCE)?;
        let mut stream = UnixStream::from(OwnedFd::from(socket));
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&Control::Ready.frame())?;
        expect_control(&mut stream, Control::Accept)?;
        stream.write_all(&Control::Start.frame())?;
        stream.set_write_timeout(Some(WRITE_STEP))?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Writes some of these bytes. Returns how many, which may be zero if the collector is slow. An error closes the
    /// connection.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if is_slow(&error) => Ok(0),
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    /// Ends the stream, if it `is_whole`, and closes the connection. Waits within a bound for the collector's
    /// FINISH.
    pub(super) fn close(&mut self, is_whole: bool) {
        let Some(mut stream) = self.stream.take().filter(|_| is_whole) else {
            return;
        };
        let ended = stream
            .write_all(&Control::Stop.frame())
            .and_then(|()| expect_control(&mut stream, Control::Finish));
        if let Err(error) = ended {
            tracing::debug!(%error, "query log: the collector did not confirm the end of the stream");
        }
    }
}

/// Whether the write timed out.
fn is_slow(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
