//! TLS handshakes (RFC 7858 §3.2).
//!
//! A connection without a handshake has a seat and is at rest, so it loses its seat when others need one. A
//! handshake takes as much processor time as hundreds of queries. So at most half of the threads compute handshakes
//! at a time, and other handshakes wait for their turn. A handshake that waits for its client does not hold a turn.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::PollSemaphore;

use super::admission::{Order, Seat};
use super::connection::{self, End, MAX_UNSENT};
use crate::base::metrics::{HandshakeResult, TcpCloseReason, TlsHandshake};
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::Ends;
use crate::dns::transport::tls::Tls;

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// The handshakes of all connections.
pub(super) struct Handshakes {
    tls: Arc<Tls>,
    turns: Arc<Semaphore>,
}

impl Handshakes {
    pub(super) fn new(tls: Arc<Tls>) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let turns = Arc::new(Semaphore::new((threads / 2).max(1)));
        Self { tls, turns }
    }

    /// Serves a connection by TLS until it is over.
    pub(super) async fn serve<S>(
        &self,
        stream: &mut S,
        ends: Ends,
        seat: &Seat,
        handler: Handler,
    ) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = timeout(HANDSHAKE_TIME, self.shake(stream, seat)).await;
        let (result, outcome) = match shaken {
            Ok(Ok(Ok(stream))) => (result_of(&stream), Ok(stream)),
            // TLS has sent the client an alert.
            Ok(Ok(Err(error))) => {
                tracing::debug!(%error, "TLS handshake");
                let end = End::of(TcpCloseReason::Handshake, false);
                (HandshakeResult::Failed, Err(end))
            }
            Ok(Err(reason)) => (HandshakeResult::Dropped, Err(End::of(reason, true))),
            Err(_) => {
                let end = End::of(TcpCloseReason::Handshake, true);
                (HandshakeResult::TimedOut, Err(end))
            }
        };
        let counted = &handler.metrics().dns_tls_handshakes;
        counted.get_or_create(&TlsHandshake { result }).inc();
        match outcome {
            Ok(mut stream) => connection::serve(&mut stream, ends, seat, handler).await,
            Err(end) => end,
        }
    }

    /// Performs the handshake with a client.
    ///
    /// # Errors
    /// Why the connection ends before that.
    async fn shake<S>(
        &self,
        stream: S,
        seat: &Seat,
    ) -> Result<io::Result<TlsStream<S>>, TcpCloseReason>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.tls.config());
        let mut accepting = pin!(acceptor.accept_with(stream, |session| {
            // Limits what TLS buffers, so that unread replies wait in the connection's own output.
            session.set_buffer_limit(Some(MAX_UNSENT));
        }));
        let mut turns = PollSemaphore::new(Arc::clone(&self.turns));
        let mut step = |cx: &mut Context<'_>| {
            // The semaphore is never closed; if it were, handshakes would go on without it.
            let _turn = ready!(turns.poll_acquire(cx));
            accepting.as_mut().poll(cx)
        };
        poll_fn(|cx| match seat.order(cx.waker()) {
            Order::None => step(cx).map(Ok),
            Order::Leave(reason) => Poll::Ready(Err(reason.into())),
            Order::Stop | Order::Cut => Poll::Ready(Err(TcpCloseReason::Stop)),
        })
        .await
    }
}

fn result_of<S>(stream: &TlsStream<S>) -> HandshakeResult {
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => HandshakeResult::Resumed,
        _ => HandshakeResult::Full,
    }
}
