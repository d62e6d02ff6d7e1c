//! The TLS handshake of a connection (RFC 7858 §3.2); what follows is a connection like any other.
//!
//! A connection without a handshake has a seat and is at rest, so it loses its seat when others need one.
//! [`crate::certificates::Handshakes`] bounds the processor time of handshakes.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::server::TlsStream;

use super::admission::{Order, Seat};
use super::connection::{self, End, MAX_UNSENT};
use crate::base::metrics::{HandshakeResult, TcpCloseReason, TlsHandshake};
use crate::certificates::{HANDSHAKE_TIME, Handshakes, Tls};
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::Ends;

/// The TLS of all connections.
pub(super) struct TlsConnections {
    pub(super) tls: Arc<Tls>,
    pub(super) handshakes: Handshakes,
}

impl TlsConnections {
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
        let accepting = acceptor.accept_with(stream, |session| {
            // Limits what TLS buffers, so that unread replies wait in the connection's own output.
            session.set_buffer_limit(Some(MAX_UNSENT));
        });
        let mut shaking = pin!(self.handshakes.run(accepting));
        poll_fn(|cx| match seat.order(cx.waker()) {
            Order::None => shaking.as_mut().poll(cx).map(Ok),
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
