//! Where a connection begins: it has a seat, or is refused.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Seat, Seats};
use super::connection;
use super::handshake::Handshakes;
use crate::base::admission::{Listening, accept_all, reset, set_user_timeout};
use crate::base::metrics::Transport;
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::Ends;

/// What the accept loops of all listeners share, but for the last.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) seats: Seats,
    pub(super) handler: Handler,
    /// The connections.
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Where connections are by TLS.
    pub(super) handshakes: Option<Arc<Handshakes>>,
}

impl Reception {
    /// Takes connections until it is told to stop.
    ///
    /// # Errors
    /// That the socket is no listener.
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

    /// Has a connection served, or closes it if there is no room.
    fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        match self.seats.admit(peer.ip()) {
            Ok(seat) => {
                let (handler, handshakes) = (self.handler.clone(), self.handshakes.clone());
                let served = serve(stream, peer, seat, handler, handshakes);
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
    handshakes: Option<Arc<Handshakes>>,
) {
    prepare(&stream);
    let ends = Ends {
        client: peer,
        // Nobody but the log needs it.
        server: match handler.query_log().is_on() {
            true => stream.local_addr().ok(),
            false => None,
        },
        transport: match handshakes {
            None => Transport::Tcp,
            Some(_) => Transport::Tls,
        },
    };
    let end = match handshakes {
        None => connection::serve(&mut stream, ends, &seat, handler).await,
        // On the heap, so that it takes no memory where there is none.
        Some(tls) => Box::pin(tls.serve(&mut stream, ends, &seat, handler)).await,
    };
    if end.abrupt {
        reset(&stream);
    }
    // Before the seat, which is for a descriptor.
    drop(stream);
    seat.seats().count_close(end.reason);
}

/// Sets what a connection needs. Where the system refuses, it works all the same, only worse.
fn prepare(stream: &TcpStream) {
    // Replies are written together where they are ready together: waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    set_user_timeout(stream, connection::WRITE_TIME);
}
