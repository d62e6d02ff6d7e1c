//! Sockets that the service manager has bound and hands over: the protocol of `sd_listen_fds(3)`.
//!
//! The manager binds port 53, so the server does not need the privilege, and queries wait in the sockets while the
//! server restarts.
//!
//! A socket belongs to the part of the server that has its address in `listen`. If the socket has the name of a part
//! (`FileDescriptorName=dns`, for example), the address must be one of that part. A part gets all its sockets from
//! the manager, or none. Otherwise the server would bind an address that is missing in the socket unit by itself,
//! which works only until it loses the privilege. A socket that fits no part fails the start, because clients would
//! wait for answers there.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use socket2::SockRef;

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: usize = 3;
/// The names of the parts. By default systemd names sockets after their unit, which is none of these.
const PART_NAMES: [&str; 5] = ["dns", "dns.tls", "admin", "redirect", "https"];

/// Why the sockets that were handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandedError {
    /// Neither a UDP socket nor a TCP listener.
    #[error("{socket}: neither a UDP socket nor a TCP socket that listens (with Accept=no)")]
    Kind {
        /// The socket.
        socket: String,
    },
    /// The system reports no address or kind of the socket.
    #[error("{socket}: {source}")]
    System {
        /// The socket.
        socket: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A socket for both address families: all its IPv4 clients would look like clients of one IPv6 network.
    #[error("{socket}: it takes IPv4 as well; add BindIPv6Only=ipv6-only to its unit")]
    BothFamilies {
        /// The socket.
        socket: String,
    },
    /// No part of the server listens there.
    #[error("{socket}: {reason}")]
    NoPart {
        /// The socket.
        socket: String,
        /// Which part does not listen there.
        reason: String,
    },
    /// A UDP socket for a part that uses TCP only.
    #[error("{socket}: [{part}] listens on TCP only")]
    NoUdp {
        /// The socket.
        socket: String,
        /// The section.
        part: &'static str,
    },
    /// The part has some of its sockets, but this one is missing.
    #[error(
        "sockets for [{part}] were handed over, but none for {protocol} on {address}, where it is to \
         listen"
    )]
    Missing {
        /// The section.
        part: &'static str,
        /// UDP or TCP.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// More sockets for one address than the server uses.
    #[error("{number} {protocol} sockets for {address} were handed over, which are too many")]
    TooMany {
        /// How many there are.
        number: usize,
        /// UDP or TCP.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

/// A part of the server that listens.
#[derive(Clone, Copy, Debug)]
pub struct Part<'c> {
    /// The name of its sockets, and of its section in the configuration.
    pub name: &'static str,
    /// Its addresses.
    pub listen: &'c [SocketAddr],
    /// How many UDP sockets an address may have; zero if the part uses TCP only.
    pub most_udp: usize,
}

/// All sockets for one address.
#[derive(Debug)]
pub struct Address {
    /// The address.
    pub local: SocketAddr,
    /// The UDP sockets: none if the part uses TCP only, otherwise at least one.
    pub udp: Vec<UdpSocket>,
    /// The TCP listener, which does not block.
    pub tcp: TcpListener,
}

/// The sockets that were handed over and not yet taken.
#[derive(Debug, Default)]
pub struct Handed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    /// The description for messages.
    shown: String,
    name: String,
    local: SocketAddr,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Handed {
    /// The sockets that the environment variables describe, if they are for this process. It removes the variables,
    /// so call it once, and while the process has one thread.
    ///
    /// # Errors
    /// [`HandedError`] names the first socket that no server can use.
    pub fn from_env() -> Result<Self, HandedError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut fds = ListenFd::from_env();
        let sockets = (0..fds.len()).map(|place| {
            let name = names.next().unwrap_or_default();
            Socket::take(&mut fds, place, name)
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Takes the sockets of a part, in the order of its addresses; none if there are none for it.
    ///
    /// # Errors
    /// [`HandedError`] if there are some, but not those that the part needs.
    pub fn take(&mut self, part: Part<'_>) -> Result<Option<Vec<Address>>, HandedError> {
        let is_for = |socket: &mut Socket| socket.is_for(part);
        let mut sockets: Vec<Socket> = self.0.extract_if(.., is_for).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        // Checked before missing sockets: a wrong address is both.
        let is_stray = |socket: &&Socket| !part.listen.contains(&socket.local);
        if let Some(stray) = sockets.iter().find(is_stray) {
            return Err(HandedError::NoPart {
                socket: stray.shown.clone(),
                reason: format!("[{}] does not listen there", part.name),
            });
        }
        let addresses = part.listen.iter().map(|&local| {
            let here = sockets.extract_if(.., |socket| socket.local == local);
            Address::new(part, local, here.collect())
        });
        addresses.collect::<Result<_, _>>().map(Some)
    }

    /// Checks that all sockets were taken.
    ///
    /// # Errors
    /// [`HandedError`] names one that was not.
    pub fn finish(self) -> Result<(), HandedError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some(socket) => Err(HandedError::NoPart {
                socket: socket.shown,
                reason: "no section of the configuration listens there".into(),
            }),
        }
    }
}

impl Socket {
    /// Takes the descriptor at this index after the first one.
    fn take(fds: &mut ListenFd, place: usize, name: &str) -> Result<Self, HandedError> {
        let number = FIRST + place;
        let shown = match name {
            "" => format!("socket {number}"),
            name => format!("socket {number} ({name:?})"),
        };
        let kind = match (fds.take_udp_socket(place), shown.clone()) {
            (Ok(Some(socket)), _) => Kind::Udp(socket),
            (_, socket) => match fds.take_tcp_listener(place) {
                Ok(Some(listener)) => Kind::Tcp(listener),
                _ => return Err(HandedError::Kind { socket }),
            },
        };
        Self::new(kind, shown, name)
    }

    fn new(kind: Kind, shown: String, name: &str) -> Result<Self, HandedError> {
        let failed = |source| HandedError::System {
            socket: shown.clone(),
            source,
        };
        let (protocol, local, reference) = match &kind {
            Kind::Udp(socket) => ("UDP", socket.local_addr(), SockRef::from(socket)),
            Kind::Tcp(listener) => ("TCP", listener.local_addr(), SockRef::from(listener)),
        };
        let local = local.map_err(failed)?;
        let socket = format!("{shown}, {protocol} on {local}");
        if let Kind::Tcp(listener) = &kind {
            if !reference.is_listener().map_err(failed)? {
                return Err(HandedError::Kind { socket });
            }
            listener.set_nonblocking(true).map_err(failed)?;
        }
        let is_for_all = local.is_ipv6() && local.ip().is_unspecified();
        if is_for_all && !reference.only_v6().map_err(failed)? {
            return Err(HandedError::BothFamilies { socket });
        }
        Ok(Self {
            shown: socket,
            name: name.into(),
            local,
            kind,
        })
    }

    /// Whether it belongs to a part: by its name if that is the name of a part, otherwise by its address.
    fn is_for(&self, part: Part<'_>) -> bool {
        match PART_NAMES.contains(&self.name.as_str()) {
            true => self.name == part.name,
            false => part.listen.contains(&self.local),
        }
    }
}

impl Address {
    /// The sockets of a part at one of its addresses.
    fn new(part: Part<'_>, local: SocketAddr, sockets: Vec<Socket>) -> Result<Self, HandedError> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for Socket { shown, kind, .. } in sockets {
            match kind {
                Kind::Udp(_) if part.most_udp == 0 => {
                    return Err(HandedError::NoUdp {
                        socket: shown,
                        part: part.name,
                    });
                }
                Kind::Udp(socket) => udp.push(socket),
                Kind::Tcp(listener) => tcp.push(listener),
            }
        }
        let is_enough = (part.most_udp.min(1)..=part.most_udp).contains(&udp.len());
        if !is_enough {
            return Err(wrong_number(part, local, "UDP", udp.len()));
        }
        let [tcp] = <[TcpListener; 1]>::try_from(tcp)
            .map_err(|tcp| wrong_number(part, local, "TCP", tcp.len()))?;
        Ok(Self { local, udp, tcp })
    }
}

fn wrong_number(
    part: Part<'_>,
    address: SocketAddr,
    protocol: &'static str,
    number: usize,
) -> HandedError {
    match number {
        0 => HandedError::Missing {
            part: part.name,
            protocol,
            address,
        },
        number => HandedError::TooMany {
            number,
            protocol,
            address,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn udp(name: &str) -> Socket {
        let kind = Kind::Udp(UdpSocket::bind(ANY).unwrap());
        Socket::new(kind, "socket 3".into(), name).unwrap()
    }

    fn tcp(name: &str, address: SocketAddr) -> Socket {
        let kind = Kind::Tcp(TcpListener::bind(address).unwrap());
        Socket::new(kind, "socket 4".into(), name).unwrap()
    }

    fn part<'c>(name: &'static str, listen: &'c [SocketAddr], most_udp: usize) -> Part<'c> {
        Part {
            name,
            listen,
            most_udp,
        }
    }

    /// A UDP socket, and a TCP socket of the same address: of a port that is free for both.
    fn pair(name: &str) -> [Socket; 2] {
        for _ in 0..64 {
            let udp = udp(name);
            if let Ok(listener) = TcpListener::bind(udp.local) {
                let tcp = Socket::new(Kind::Tcp(listener), "socket 4".into(), "dns").unwrap();
                return [udp, tcp];
            }
        }
        panic!("no port is free for both");
    }

    /// The sockets of two addresses, and those addresses.
    fn two() -> (Handed, [SocketAddr; 2]) {
        let ([one, first], [two, second]) = (pair("dns"), pair(""));
        let listen = [one.local, two.local];
        (Handed(vec![second, two, first, one]), listen)
    }

    #[test]
    fn addresses_come_in_the_order_of_the_configuration() {
        let (mut handed, listen) = two();
        let taken = handed.take(part("dns", &listen, 1)).unwrap().unwrap();
        for (taken, address) in taken.iter().zip(listen) {
            assert_eq!(taken.local, address);
            assert_eq!(taken.udp.len(), 1);
            assert_eq!(taken.udp[0].local_addr().unwrap(), address);
            assert_eq!(taken.tcp.local_addr().unwrap(), address);
        }
        assert_eq!(taken.len(), 2);
        handed.finish().unwrap();
    }

    #[test]
    fn a_socket_without_a_name_goes_to_the_part_with_its_address() {
        let admin = tcp("x", ANY.parse().unwrap());
        let redirect = tcp("", ANY.parse().unwrap());
        let listen = [[admin.local], [redirect.local]];
        let mut handed = Handed(vec![redirect, admin]);
        assert!(handed.take(part("dns", &[], 1)).unwrap().is_none());
        for (name, listen) in ["admin", "redirect"].into_iter().zip(&listen) {
            let taken = handed.take(part(name, listen, 0)).unwrap().unwrap();
            assert_eq!((taken.len(), taken[0].local), (1, listen[0]));
        }
        handed.finish().unwrap();
    }

    /// The error for sockets that a part cannot take.
    fn refused(sockets: Vec<Socket>, part: Part<'_>) -> String {
        Handed(sockets).take(part).unwrap_err().to_string()
    }

    #[test]
    fn the_name_of_a_part_takes_precedence_over_the_address() {
        let socket = tcp("redirect", ANY.parse().unwrap());
        let (local, listen) = (socket.local, [socket.local]);
        let mut handed = Handed(vec![socket]);
        assert!(handed.take(part("admin", &listen, 0)).unwrap().is_none());
        let said = handed
            .take(part("redirect", &[], 0))
            .unwrap_err()
            .to_string();
        let expected = format!("socket 4, TCP on {local}: [redirect] does not listen there");
        assert_eq!(said, expected);
    }

    #[test]
    fn each_address_needs_the_right_number_of_sockets() {
        let (handed, listen) = two();
        let said = refused(handed.0, part("dns", &listen, 0));
        assert!(said.ends_with(": [dns] listens on TCP only"), "{said}");

        let (mut handed, listen) = two();
        handed.0.remove(0);
        let said = refused(handed.0, part("dns", &listen, 1));
        let expected = format!("but none for TCP on {}, where it is to listen", listen[1]);
        assert!(said.ends_with(&expected), "{said}");

        let (mut handed, listen) = two();
        let Kind::Udp(socket) = &handed.0[3].kind else {
            panic!("not the UDP socket");
        };
        let twin = Kind::Udp(socket.try_clone().unwrap());
        handed
            .0
            .push(Socket::new(twin, "socket 7".into(), "").unwrap());
        assert_eq!(
            refused(handed.0, part("dns", &listen, 1)),
            format!(
                "2 UDP sockets for {} were handed over, which are too many",
                listen[0]
            )
        );
    }

    #[test]
    fn a_socket_that_no_part_takes_is_named() {
        let socket = udp("other");
        let local = socket.local;
        let said = Handed(vec![socket]).finish().unwrap_err().to_string();
        assert_eq!(
            said,
            format!("socket 3, UDP on {local}: no section of the configuration listens there")
        );
    }
}
