//! Requests that are answered without hyper.
//!
//! ```text
//!   read ── plain requests that the site knows ── their responses ── write ──┐
//!    ↑ └─ anything else: hyper has the connection from that byte on          │
//!    └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! hyper turns bytes into a request, and a response into bytes. For a redirect that takes longer than everything else
//! that the server does about it. So as long as a client sends only [plain](super::plain) requests that the site answers
//! from memory, they are read and answered here: one read and one write for all requests that have come together, and no
//! memory for a connection that waits. The first request of another kind takes the connection to hyper, for good. hyper
//! starts from the first byte of that request, so it judges every request that is unusual or malformed, alone.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::activity::{Activity, EndsRequest};
use super::plain::Plain;
use super::rewound::Rewound;
use super::site::{Client, Site};

/// How many bytes are read at once. hyper gets requests that do not fit.
pub(super) const READ_BYTES: usize = 8 * 1024;
/// With so many bytes of responses to write, hyper gets the requests that are left.
const WRITE_BYTES: usize = 64 * 1024;

/// A connection whose requests are answered here.
pub(super) struct Direct<'a, S> {
    pub(super) io: S,
    pub(super) site: &'a dyn Site,
    pub(super) client: &'a Client,
    pub(super) activity: &'a Arc<Activity>,
    /// Whether the connection is to end after the requests that have come.
    pub(super) leaving: &'a AtomicBool,
}

/// A connection that hyper serves from now on.
pub(super) struct Left<S> {
    pub(super) io: Rewound<S>,
    /// Whether requests have come by HTTP/1.1, so that no other protocol can begin.
    pub(super) is_http1: bool,
}

/// What one read brought.
struct Turn {
    responses: Vec<u8>,
    /// Whether hyper is to go on, and with which bytes.
    left: Option<Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Direct<'_, S> {
    /// Answers requests until hyper has to go on with the connection, or until it has ended, which gives none.
    pub(super) async fn serve(mut self) -> io::Result<Option<Left<S>>> {
        let mut is_http1 = false;
        loop {
            let Some(turn) = self.turn(is_http1).await? else {
                self.io.shutdown().await?;
                return Ok(None);
            };
            if !turn.responses.is_empty() {
                if !is_http1 {
                    self.activity.note_http1();
                    is_http1 = true;
                }
                let _end = EndsRequest::answered(Arc::clone(self.activity));
                self.io.write_all(&turn.responses).await?;
                self.io.flush().await?;
            }
            if let Some(again) = turn.left {
                return Ok(Some(Left {
                    io: Rewound { again, io: self.io },
                    is_http1,
                }));
            }
        }
    }

    /// Reads and answers once; none if the connection is to end now.
    async fn turn(&mut self, is_used: bool) -> io::Result<Option<Turn>> {
        std::future::poll_fn(|cx| {
            if self.leaving.load(Ordering::Relaxed) {
                // hyper ends a connection on which no request has come.
                let unused = (!is_used).then(|| Turn::left(&[]));
                return Poll::Ready(Ok(unused));
            }
            let mut memory = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut memory);
            if Pin::new(&mut self.io)
                .poll_read(cx, &mut buffer)?
                .is_pending()
            {
                // TLS may have an alert or another message of its own to send.
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                return Poll::Pending;
            }
            Poll::Ready(Ok(Some(self.answer(buffer.filled()))))
        })
        .await
    }

    /// Answers the requests in these bytes. hyper also ends the connection if there are none, because the client has
    /// closed it.
    fn answer(&self, bytes: &[u8]) -> Turn {
        let mut responses = Vec::new();
        let mut rest = bytes;
        while let Some((request, len)) = Plain::parse(rest) {
            if !self
                .site
                .answer_plain(&request, self.client, &mut responses)
            {
                break;
            }
            rest = &rest[len..];
            if rest.is_empty() {
                return Turn {
                    responses,
                    left: None,
                };
            }
            if responses.len() >= WRITE_BYTES {
                break;
            }
        }
        Turn {
            responses,
            ..Turn::left(rest)
        }
    }
}

impl Turn {
    /// Leaves these bytes to hyper.
    fn left(bytes: &[u8]) -> Self {
        Self {
            responses: Vec::new(),
            left: Some(Bytes::copy_from_slice(bytes)),
        }
    }
}
