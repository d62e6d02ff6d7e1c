//! Receives new connections: each gets a seat and a task, or is refused.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Seat, Seats};
use super::connection;
use super::handshake::TlsConnections;
use crate::base::admission::{Listening, accept_all, reset, set_user_timeout};
use crate::base::metrics::Transport;
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::Ends;

/// The state that the accept loops of all listeners share.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) seats: Seats,
    pub(super) handler: Handler,
    /// The connections.
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
    /// For listeners of TLS.
    pub(super) tls: Option<Arc<TlsConnections>>,
}

impl Reception {
    /// Takes connections until the server stops.
    ///
    /// # Errors
    /// The socket is no listener.
    pub(super) async fn accept_all(self, listener: TcpListener) -> io::Result<()> {
        let listening = Listening {
            seats: self.seats.shared(),
            errors: &self.handler.metrics().dns_tcp_accept_errors,
            stop: &self.stop,
        };
        accept_all(listener, listening, |stream, peer| {
            self.receive(stream, peer);
        })
        .await
    }

    /// Starts the task of a connection, or closes the connection if it gets no seat.
    fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        match self.seats.admit(peer.ip()) {
            Ok(seat) => {
                let (handler, tls) = (self.handler.clone(), self.tls.clone());
                let served = serve(stream, peer, seat, handler, tls);
                self.connections.spawn(served);
            }
            Err(reason) => {
                self.seats.count_close(reason);
                reset(&stream);
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    handler: Handler,
    tls: Option<Arc<TlsConnections>>,
) {
    prepare(&stream);
    let ends = Ends {
        client: peer,
        // Only the query log needs the address.
        server: match handler.query_log().is_on() {
            true => stream.local_addr().ok(),
            false => None,
        },
        transport: match tls {
            None => Transport::Tcp,
            Some(_) => Transport::Tls,
        },
    };
    let end = match tls {
        None => connection::serve(&mut stream, ends, &seat, handler).await,
        // On the heap, so that it takes no memory where there is none.
        Some(tls) => Box::pin(tls.serve(&mut stream, ends, &seat, handler)).await,
    };
    if end.abrupt {
        reset(&stream);
    }
    // The socket closes before the seat is freed, since the seat stands for its descriptor.
    drop(stream);
    seat.seats().count_close(end.reason);
}

/// Sets the options of a socket. Without them the connection works too, only less well.
fn prepare(stream: &TcpStream) {
    // The server writes replies together by itself, so Nagle's algorithm would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    set_user_timeout(stream, connection::WRITE_TIME);
}
