//! A connection whose writes are gathered until all that has been read is answered.
//!
//! The HTTP/2 library writes after each response, although the requests of many streams usually arrive together. Each
//! write is a TLS record and a system call, which take longer than the response. So while [`Gathering`] is on, the
//! connection takes no bytes, as if the system's buffer were full, and the library keeps the frames in its own buffer. When
//! the library has nothing left to read, gathering goes off, and the library is polled again and writes all frames at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the [module](self).
pub(super) struct Gathered<S> {
    pub(super) io: S,
    pub(super) gathering: Gathering,
}

/// Whether writes are gathered. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Gathering(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_on: AtomicBool,
    /// Whether there is something to write since it is on.
    has_some: AtomicBool,
}

impl Gathering {
    /// Polls a connection that writes to [`Gathered`]: first gathers, then writes.
    pub(super) fn poll<T>(&self, mut connection: impl FnMut() -> Poll<T>) -> Poll<T> {
        self.0.is_on.store(true, Ordering::Relaxed);
        let polled = connection();
        self.0.is_on.store(false, Ordering::Relaxed);
        // Without this second time, nothing would wake the connection when it can write.
        if self.0.has_some.swap(false, Ordering::Relaxed) && polled.is_pending() {
            return connection();
        }
        polled
    }

    fn gathers(&self) -> bool {
        let is_on = self.0.is_on.load(Ordering::Relaxed);
        if is_on {
            self.0.has_some.store(true, Ordering::Relaxed);
        }
        is_on
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathering.gathers() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathering.gathers() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
