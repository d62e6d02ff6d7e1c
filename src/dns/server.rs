//! The sockets of the DNS side, on hickory's `Server`.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hickory_server::Server;
use socket2::{Domain, Protocol, Socket, Type};

use super::handler::Handler;

/// How long a TCP connection may be idle (RFC 7766 §6.2.3 asks for a few seconds).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// How many replies may wait for a slow TCP client.
const TCP_REPLIES: usize = 64;
/// The queue of connections not yet accepted.
const TCP_BACKLOG: i32 = 1_024;
/// How often both protocols are tried on a port that the system chooses.
const PORT_ATTEMPTS: u32 = 16;
/// How long requests in work may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last replies have to pass from hickory's queue to the socket.
const FLUSH: Duration = Duration::from_millis(50);

/// The UDP and the TCP socket of one address.
#[derive(Debug)]
pub struct Listener {
    udp: UdpSocket,
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
        let udp = socket(address, Type::DGRAM, Protocol::UDP)
            .and_then(|socket| {
                socket.bind(&address.into())?;
                Ok(UdpSocket::from(socket))
            })
            .map_err(named("UDP"))?;
        let local = udp.local_addr()?;
        let tcp = socket(local, Type::STREAM, Protocol::TCP)
            .and_then(|socket| {
                // A restart must not wait for connections of the last run to fade.
                socket.set_reuse_address(true)?;
                socket.bind(&local.into())?;
                socket.listen(TCP_BACKLOG)?;
                Ok(TcpListener::from(socket))
            })
            .map_err(named("TCP"))?;
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
    server: Server<Handler>,
    handler: Handler,
}

impl DnsServer {
    /// Serves on these sockets.
    ///
    /// # Errors
    /// Where the runtime cannot take a socket.
    pub fn start(listeners: Vec<Listener>, handler: Handler) -> io::Result<Self> {
        let mut server = Server::new(handler.clone());
        for listener in listeners {
            server.register_socket(tokio::net::UdpSocket::from_std(listener.udp)?);
            let tcp = tokio::net::TcpListener::from_std(listener.tcp)?;
            server.register_listener(tcp, TCP_IDLE, TCP_REPLIES);
        }
        Ok(Self { server, handler })
    }

    /// Waits until a socket fails for good; a server in order never returns.
    pub async fn failed(&mut self) -> String {
        match self.server.block_until_done().await {
            Ok(()) => "all DNS listeners have ended".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Answers what is in work, takes nothing new, and closes the sockets.
    pub async fn shutdown(mut self) {
        if !self.handler.drain(DRAIN).await {
            tracing::warn!("some queries were still unanswered after {DRAIN:?}");
        }
        tokio::time::sleep(FLUSH).await;
        if let Err(error) = self.server.shutdown_gracefully().await {
            tracing::warn!(%error, "DNS listeners did not end cleanly");
        }
    }
}
