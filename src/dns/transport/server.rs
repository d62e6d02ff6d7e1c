//! The sockets of the DNS side.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::timeout;

use super::tcp::{TcpLimits, TcpListeners, TlsSockets};
use super::udp::{UdpWorkers, tell_local};
use crate::dns::pipeline::handler::Handler;

/// The queue of connections not yet accepted.
const TCP_BACKLOG: i32 = 1_024;
/// How often to try a port that the system chooses, until both protocols are free on it.
const PORT_ATTEMPTS: u32 = 16;
/// How long queries that wait may take after the server begins to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last replies by UDP may take to their sockets after that.
const FLUSH: Duration = Duration::from_secs(1);

/// The most UDP sockets of one address, each with a thread.
pub const MAX_UDP_SOCKETS: usize = 16;

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
    /// The error of the system, with the protocol in front.
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
        // TCP first: it takes the port for this process alone, which UDP sockets with SO_REUSEPORT cannot.
        let tcp = bind_tcp(address).map_err(named("TCP"))?;
        let local = tcp.local_addr()?;
        let bind_udp = |_| {
            let socket = socket(local, Type::DGRAM, Protocol::UDP)?;
            #[cfg(unix)]
            socket.set_reuse_port(true)?;
            let udp = UdpSocket::from(socket);
            if local.ip().is_unspecified() {
                // Before the first packet can come: the system does not report the destination of packets that came
                // earlier. If this fails, the worker warns.
                let _ = tell_local(&udp);
            }
            SockRef::from(&udp).bind(&local.into())?;
            Ok(udp)
        };
        let udp: io::Result<Vec<_>> = (0..udp_workers()).map(bind_udp).collect();
        Self::new(udp.map_err(named("UDP"))?, tcp)
    }

    /// Sockets that are bound already, all to the address of the TCP listener, which is non-blocking. If there are
    /// fewer UDP sockets than workers, some workers share a socket.
    ///
    /// # Errors
    /// The error of the system.
    pub fn new(mut udp: Vec<UdpSocket>, tcp: TcpListener) -> io::Result<Self> {
        let local = tcp.local_addr()?;
        for socket in &udp {
            pass_fragments_by(socket, local)?;
        }
        let lacking = udp_workers().saturating_sub(udp.len());
        let shared = udp.iter().cycle().take(lacking).map(UdpSocket::try_clone);
        let shared: Vec<_> = shared.collect::<io::Result<_>>()?;
        udp.extend(shared);
        Ok(Self { udp, tcp, local })
    }

    /// The number of its file descriptors.
    pub fn descriptors(&self) -> usize {
        self.udp.len() + 1
    }

    /// The address to which it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// How many UDP workers an address has.
fn udp_workers() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(MAX_UDP_SOCKETS))
}

/// Makes a socket ignore ICMP messages that announce a small path MTU. With a forged one, an attacker could have
/// replies sent in fragments and replace the second fragment (RFC 9715 §3.1 and appendix B). By default replies are
/// small enough for every path.
#[cfg(target_os = "linux")]
fn pass_fragments_by(socket: &UdpSocket, local: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    match local {
        SocketAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::OMIT)?,
        SocketAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::OMIT)?,
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn pass_fragments_by(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// A non-blocking TCP listener.
///
/// # Errors
/// The error of the system.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait until connections of the last run are out of TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // So `[::]` and `0.0.0.0` can be bound side by side, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The running DNS server.
pub struct DnsServer {
    tcp: TcpListeners,
    udp: UdpWorkers,
    handler: Handler,
}

impl DnsServer {
    /// Serves on these sockets.
    ///
    /// # Errors
    /// The runtime cannot take a socket.
    pub fn start(
        listeners: Vec<Listener>,
        tls: Option<TlsSockets>,
        handler: Handler,
        limits: TcpLimits,
    ) -> io::Result<Self> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for listener in listeners {
            udp.extend(listener.udp);
            tcp.push(listener.tcp);
        }
        let tcp = TcpListeners::start(tcp, tls, &handler, limits)?;
        let udp = UdpWorkers::start(udp, &handler)?;
        Ok(Self { tcp, udp, handler })
    }

    /// Waits until a socket fails for good, which normally never happens.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            failure = self.tcp.failed() => failure,
            failure = self.udp.failed() => failure,
        }
    }

    /// Takes no new queries, answers those that wait, and closes the sockets.
    pub async fn shutdown(self) {
        let Self { tcp, udp, handler } = self;
        let handler_of_lookups = handler.clone();
        let rest = async {
            let senders = udp.stop().await;
            let all_answered = handler.drain(DRAIN).await;
            // The replies to queries that waited are made by now, but may not be sent yet.
            let _ = timeout(FLUSH, join_all(senders)).await;
            all_answered
        };
        let (all_read, all_answered) = tokio::join!(tcp.stop(DRAIN), rest);
        handler_of_lookups.flush_lookups().await;
        if !all_answered {
            tracing::warn!("some queries were still unanswered after {DRAIN:?}");
        }
        if !all_read {
            tracing::warn!("some TCP clients had not read their replies after {DRAIN:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn rfc9715_3_1_icmp_cannot_make_the_server_fragment_replies() {
        use rustix::net::sockopt::{
            Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover,
        };
        let v4 = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let v6 = Listener::bind("[::1]:0".parse().unwrap()).unwrap();
        for (v4, v6) in v4.udp.iter().zip(&v6.udp) {
            assert_eq!(ip_mtu_discover(v4).unwrap(), Ipv4PathMtuDiscovery::OMIT);
            assert_eq!(ipv6_mtu_discover(v6).unwrap(), Ipv6PathMtuDiscovery::OMIT);
        }
        assert_eq!(v4.udp.len(), udp_workers());
    }

    #[test]
    fn workers_share_sockets_where_there_are_too_few() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(local).unwrap();
        let listener = Listener::new(vec![udp], tcp).unwrap();
        assert_eq!(listener.udp.len(), udp_workers());
        assert!(
            listener
                .udp
                .iter()
                .all(|udp| udp.local_addr().unwrap() == local)
        );
        assert_eq!(listener.local_addr(), local);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sockets_of_all_addresses_tell_from_the_first_packet_on_which_was_asked() {
        let is_reported = |address: &str| {
            let listener = Listener::bind(address.parse().unwrap()).unwrap();
            assert!(!listener.udp.is_empty());
            listener.udp.iter().all(|socket| match listener.local {
                SocketAddr::V4(_) => getsockopt(socket, Ipv4PacketInfo).unwrap(),
                SocketAddr::V6(_) => getsockopt(socket, Ipv6RecvPacketInfo).unwrap(),
            })
        };
        assert!(is_reported("0.0.0.0:0"));
        assert!(is_reported("[::]:0"));
        assert!(!is_reported("127.0.0.1:0"), "bound to one address");
    }
}
