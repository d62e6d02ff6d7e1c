//! The listening socket: takes connections, and survives what that may bring.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Seat, Seats};
use super::connection;
use super::handshake::Handshakes;
use crate::dns::handler::Handler;
use crate::dns::query_log::Ends;
use crate::metrics::{Metrics, Transport};

/// How long to wait before accepting again when something is short; twice as long each time in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the log may speak of it.
const LOG_TIME: Duration = Duration::from_secs(60);

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

/// What an error of `accept` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Of the one connection that was to be accepted, which is gone.
    Gone,
    /// Something that is needed for a connection is short: descriptors or memory. The connection is
    /// still in the system's queue, so that without a pause the loop would spin.
    Short,
    /// The socket is no listener: it will not get better.
    Fatal,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        let Some(code) = error.raw_os_error() else {
            return Self::Short;
        };
        match Errno::from_raw(code) {
            // Linux hands errors of the network over that wait for the new socket; accept(2) has them
            // treated as if nothing had come. EPERM: a firewall has forbidden it.
            Errno::ECONNABORTED
            | Errno::ECONNRESET
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ETIMEDOUT => Self::Gone,
            Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT => Self::Fatal,
            _ => Self::Short,
        }
    }
}

impl Reception {
    /// Takes connections until it is told to stop.
    ///
    /// # Errors
    /// That the socket is no listener.
    pub(super) async fn accept_all(self, listener: TcpListener) -> io::Result<()> {
        let mut pause = FIRST_PAUSE;
        let mut log = Complaints::about(listener.local_addr()?);
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let error = match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.receive(stream, peer);
                    continue;
                }
                Err(error) => error,
            };
            match Trouble::of(&error) {
                Trouble::Gone => continue,
                Trouble::Fatal => return Err(error),
                Trouble::Short => {
                    self.metrics().dns_tcp_accept_errors.inc();
                    log.note(&error);
                    self.seats.free_descriptor();
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(()),
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
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

    fn metrics(&self) -> &Metrics {
        self.handler.metrics()
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
    // What the system has taken over for a client that is gone is given up after the same time as what
    // it has not taken: its memory, too, is to have a bound.
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
        let millis = u32::try_from(connection::WRITE_TIME.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = setsockopt(stream, TcpUserTimeout, &millis) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT");
        }
    }
}

/// Has a connection reset when it is closed. Nothing of it stays: no data that nobody takes, and no state
/// in TIME_WAIT (RFC 9210 §4.3), which a flood of connections would fill the system's tables with.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "SO_LINGER");
    }
}

/// Errors for the log, which is told of the first and then of one a minute.
struct Complaints {
    /// The listener.
    local: SocketAddr,
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn about(local: SocketAddr) -> Self {
        Self {
            local,
            last: None,
            unsaid: 0,
        }
    }

    fn note(&mut self, error: &io::Error) {
        if self.last.is_some_and(|last| last.elapsed() < LOG_TIME) {
            self.unsaid += 1;
            return;
        }
        let before = std::mem::take(&mut self.unsaid);
        self.last = Some(Instant::now());
        tracing::error!(%error, address = %self.local, before, "cannot accept TCP connections; trying again shortly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        let of = |code: Errno| Trouble::of(&io::Error::from_raw_os_error(code as i32));
        for code in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert_eq!(of(code), Trouble::Short, "{code}");
        }
        for code in [Errno::ECONNABORTED, Errno::EPROTO, Errno::ENETDOWN] {
            assert_eq!(of(code), Trouble::Gone, "{code}");
        }
        assert_eq!(of(Errno::EBADF), Trouble::Fatal);
        // What we do not know is waited for: a loop that spins is worse than one that is slow.
        assert_eq!(of(Errno::EXDEV), Trouble::Short);
    }
}
