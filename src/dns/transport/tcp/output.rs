//! Replies on their way to a client that may read slowly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// The bytes that the client has not taken yet. Nearly always empty, without memory.
#[derive(Default)]
pub(super) struct Output {
    unsent: Vec<u8>,
    /// How many of them are written.
    begin: usize,
    /// Whether the stream may buffer written bytes, as TLS does.
    unflushed: bool,
    /// How many bytes were written, in all.
    written: u64,
    mark: Option<Mark>,
}

/// The deadline by which all bytes that waited at one time have to be written. Progress alone is not enough: a
/// client could keep the connection for ever by reading a byte now and then.
struct Mark {
    written: u64,
    since: Instant,
}

impl Output {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.unsent.len() - self.begin
    }

    /// Whether the stream has all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.len() == 0 && !self.unflushed
    }

    /// Whether anything has ever been written.
    pub(super) fn has_begun(&self) -> bool {
        self.written > 0
    }

    /// Since when the oldest of it waits, if any does.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        Some(self.mark.as_ref()?.since)
    }

    /// The buffer for replies that are to be written later.
    pub(super) fn later(&mut self) -> &mut Vec<u8> {
        self.unsent.drain(..self.begin);
        self.begin = 0;
        &mut self.unsent
    }

    /// Writes the waiting bytes, and then these replies, as far as the stream takes them, and keeps the remainder.
    /// All that is ready is written together (RFC 7766 §8). Returns whether anything was written.
    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
        replies: &[u8],
        now: Instant,
    ) -> io::Result<bool> {
        if replies.is_empty() && self.is_sent() {
            return Ok(false);
        }
        let before = self.written;
        if self.len() > 0 {
            self.later().extend_from_slice(replies);
            self.begin += self.write_some(cx, stream, None)?;
        } else {
            let written = self.write_some(cx, stream, Some(replies))?;
            self.unsent = replies[written..].to_vec();
            self.begin = 0;
        }
        if self.len() == 0 {
            // An idle connection keeps no memory for its next replies.
            self.unsent = Vec::new();
            self.begin = 0;
            self.flush(cx, stream)?;
        }
        self.mark_progress(now);
        Ok(self.written > before)
    }

    /// Writes these bytes, or else the waiting bytes. Returns how many the stream has taken.
    fn write_some(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
        fresh: Option<&[u8]>,
    ) -> io::Result<usize> {
        let bytes = fresh.unwrap_or(&self.unsent[self.begin..]);
        let mut written = 0;
        while written < bytes.len() {
            match Pin::new(&mut *stream).poll_write(cx, &bytes[written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(length)) => written += length,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.unflushed |= written > 0;
        self.written += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }

    fn mark_progress(&mut self, now: Instant) {
        // Bytes that the stream still buffers have not reached the client.
        let reached = |mark: &Mark| self.written >= mark.written && self.len() > 0;
        if self.is_sent() {
            self.mark = None;
        } else if self.mark.as_ref().is_none_or(reached) {
            let waits = u64::try_from(self.len()).unwrap_or(0);
            self.mark = Some(Mark {
                written: self.written + waits,
                since: now,
            });
        }
    }
}
