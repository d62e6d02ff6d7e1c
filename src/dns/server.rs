//! The sockets of the DNS side.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::handler::Handler;
use super::tcp::{TcpLimits, TcpListeners};
use super::udp::UdpWorkers;

/// The queue of connections not yet accepted.
const TCP_BACKLOG: i32 = 1_024;
/// How often both protocols are tried on a port that the system chooses.
const PORT_ATTEMPTS: u32 = 16;
/// How long requests in work may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How many UDP sockets one address has at the most, each with a thread.
const MAX_UDP_SOCKETS: usize = 16;

/// The UDP sockets and the TCP socket of one address.
#[derive(Debug)]
pub struct Listener {
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds both protocols to one address and port. Port 0 lets the system choose one that is free
    /// for both.
    ///
    /// # Errors
    /// What the system says, with the protocol in front.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PORT_ATTEMPTS {
            match Self::bind_once(address) {
                Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    last = error;
                }
                done => return done,
            }
        }
        Err(last)
    }

    fn bind_once(address: SocketAddr) -> io::Result<Self> {
        let named = |protocol: &'static str| {
            move |error: io::Error| io::Error::new(error.kind(), format!("{protocol}: {error}"))
        };
        // TCP first: its port is ours alone, which those of UDP, being several, cannot be.
        let tcp = socket(address, Type::STREAM, Protocol::TCP)
            .and_then(|socket| {
                // A restart must not wait for connections of the last run to fade.
                socket.set_reuse_address(true)?;
                socket.bind(&address.into())?;
                socket.listen(TCP_BACKLOG)?;
                Ok(TcpListener::from(socket))
            })
            .map_err(named("TCP"))?;
        let local = tcp.local_addr()?;
        let bind_udp = |_| {
            let socket = socket(local, Type::DGRAM, Protocol::UDP)?;
            #[cfg(unix)]
            socket.set_reuse_port(true)?;
            socket.bind(&local.into())?;
            Ok(UdpSocket::from(socket))
        };
        let sockets = thread::available_parallelism().map_or(1, |n| n.get().min(MAX_UDP_SOCKETS));
        let udp: io::Result<Vec<_>> = (0..sockets).map(bind_udp).collect();
        let udp = udp.map_err(named("UDP"))?;
        Ok(Self { udp, tcp, local })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` can then be bound side by side, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The DNS side at work.
pub struct DnsServer {
    tcp: TcpListeners,
    udp: UdpWorkers,
    handler: Handler,
}

impl DnsServer {
    /// Serves on these sockets.
    ///
    /// # Errors
    /// Where the runtime cannot take a socket.
    pub fn start(
        listeners: Vec<Listener>,
        handler: Handler,
        limits: TcpLimits,
    ) -> io::Result<Self> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for listener in listeners {
            udp.extend(listener.udp);
            tcp.push(listener.tcp);
        }
        let tcp = TcpListeners::start(tcp, &handler, limits)?;
        let udp = UdpWorkers::start(udp, &handler)?;
        Ok(Self { tcp, udp, handler })
    }

    /// Waits until a socket fails for good; a server in order never returns.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            failure = self.tcp.failed() => failure,
            failure = self.udp.failed() => failure,
        }
    }

    /// Answers what is in work, takes nothing new, and closes the sockets.
    pub async fn shutdown(self) {
        let Self { tcp, udp, handler } = self;
        let rest = async {
            udp.stop().await;
            handler.drain(DRAIN).await
        };
        let (all_read, all_answered) = tokio::join!(tcp.stop(DRAIN), rest);
        if !all_answered {
            tracing::warn!("some queries were still unanswered after {DRAIN:?}");
        }
        if !all_read {
            tracing::warn!("some TCP clients had not read their replies after {DRAIN:?}");
        }
    }
}
