//! Receives and sends many packets with one system call where the system has such a call, and one by one elsewhere.
//! The buffers are allocated once.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::dns::wire::edns::MAX_UDP_PAYLOAD;
use crate::dns::wire::reply::ReplyBuffer;

/// The largest query that is received whole, in bytes. A longer query is cut, and then malformed. Queries have some
/// fifty bytes, and the server never announces a higher limit (RFC 6891 §6.2.3).
const PACKET: usize = MAX_UDP_PAYLOAD as usize;

/// The source of a packet, to which its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// The address that the client has asked, where the socket is bound to all addresses: the reply has to come from
    /// it (RFC 2181 §4), but the system might choose another.
    pub(crate) local: Option<Local>,
    /// The place of its packet in the batch.
    pub(crate) place: usize,
}

/// An address of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    ip: IpAddr,
    /// The index of the interface, for link-local addresses; otherwise zero, and the system chooses the interface.
    interface: u32,
}

/// Packets that have been received.
pub(crate) struct Inbox {
    buffers: Vec<Box<[u8; PACKET]>>,
    /// Length and source of each packet of the last call.
    received: Vec<(usize, Peer)>,
    /// Whether the socket reports the destination address.
    #[cfg(target_os = "linux")]
    tells_local: bool,
    #[cfg(target_os = "linux")]
    headers: linux::Headers,
}

/// Replies that are to be sent.
pub(crate) struct Outbox {
    buffers: Vec<ReplyBuffer>,
    /// The destination of each reply that is ready.
    peers: Vec<Peer>,
    #[cfg(target_os = "linux")]
    headers: linux::SendHeaders,
}

impl Peer {
    /// A client of a socket that is bound to one address.
    #[cfg_attr(target_os = "linux", cfg(test))]
    fn of(address: SocketAddr) -> Self {
        Self {
            address,
            local: None,
            place: 0,
        }
    }
}

impl Local {
    /// The address.
    pub(crate) fn ip(self) -> IpAddr {
        self.ip
    }
}

/// Makes a socket that is bound to all addresses report the destination address of each packet. Returns whether it
/// does.
///
/// # Errors
/// The error of the system; replies then leave from an address that the system chooses.
pub(crate) fn tell_local(socket: &UdpSocket) -> io::Result<bool> {
    if !socket.local_addr()?.ip().is_unspecified() {
        return Ok(false);
    }
    #[cfg(target_os = "linux")]
    return linux::tell_local(socket);
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

impl Inbox {
    /// Buffers for so many packets.
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    pub(crate) fn new(packets: usize, tells_local: bool) -> Self {
        Self {
            buffers: (0..packets).map(|_| Box::new([0; PACKET])).collect(),
            received: Vec::with_capacity(packets),
            #[cfg(target_os = "linux")]
            tells_local,
            #[cfg(target_os = "linux")]
            headers: linux::headers(packets, tells_local),
        }
    }

    /// Waits for packets, and receives as many as are there, up to the number of buffers.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        #[cfg(target_os = "linux")]
        {
            linux::receive(
                socket,
                &mut self.headers,
                &mut self.buffers,
                &mut self.received,
            )?;
            // The headers would have no room for it any more, where it was missing once.
            if self.tells_local && self.received.iter().any(|(_, peer)| peer.local.is_none()) {
                self.headers = linux::headers(self.buffers.len(), true);
            }
            Ok(())
        }
        #[cfg(not(target_os = "linux"))]
        {
            let Some(buffer) = self.buffers.first_mut() else {
                return Ok(());
            };
            let (length, address) = socket.recv_from(&mut buffer[..])?;
            self.received.push((length, Peer::of(address)));
            Ok(())
        }
    }

    /// How many packets the last call has received.
    pub(crate) fn len(&self) -> usize {
        self.received.len()
    }

    /// The packets of the last call, with their sources.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (&[u8], Peer)> {
        let received = self.buffers.iter().zip(&self.received);
        received.map(|(buffer, &(length, peer))| (&buffer[..length.min(PACKET)], peer))
    }
}

impl Outbox {
    /// Buffers for so many replies of at most `limit` bytes each.
    pub(crate) fn new(packets: usize, limit: usize) -> Self {
        Self {
            buffers: (0..packets).map(|_| ReplyBuffer::new(limit)).collect(),
            peers: Vec::with_capacity(packets),
            #[cfg(target_os = "linux")]
            headers: linux::SendHeaders::new(packets),
        }
    }

    /// The buffer for the next reply, if there is one left: there are as many as packets in a batch.
    pub(crate) fn next(&mut self) -> Option<&mut ReplyBuffer> {
        self.buffers.get_mut(self.peers.len())
    }

    /// Takes the contents of that buffer as a reply to this client.
    pub(crate) fn commit(&mut self, peer: Peer) {
        self.peers.push(peer);
    }

    /// The replies that are ready, with their destinations.
    pub(crate) fn replies(&self) -> impl Iterator<Item = (&[u8], &Peer)> {
        let buffers = self.buffers.iter().map(ReplyBuffer::as_bytes);
        buffers.zip(&self.peers)
    }

    /// How many replies are to be sent.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Sends all replies. Returns how many could not be sent.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> usize {
        let mut done = 0;
        let mut unsent = 0;
        while done < self.peers.len() {
            match self.send_from(socket, done) {
                Ok(sent) if sent > 0 => done += sent,
                // The error concerns the first of them, for example an unreachable address.
                Ok(_) | Err(_) => {
                    unsent += 1;
                    done += 1;
                }
            }
        }
        self.peers.clear();
        unsent
    }

    #[cfg(target_os = "linux")]
    fn send_from(&mut self, socket: &UdpSocket, from: usize) -> io::Result<usize> {
        let (buffers, peers) = (&self.buffers[from..], &self.peers[from..]);
        linux::send(socket, &mut self.headers, buffers, peers)
    }

    #[cfg(not(target_os = "linux"))]
    fn send_from(&mut self, socket: &UdpSocket, from: usize) -> io::Result<usize> {
        socket
            .send_to(self.buffers[from].as_bytes(), self.peers[from].address)
            .map(|_| 1)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::cmsg_space;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
        recvmmsg, sendmmsg, setsockopt,
    };

    use super::{Local, PACKET, Peer, ReplyBuffer};

    pub(crate) type Headers = MultiHeaders<SockaddrStorage>;

    /// The headers of replies, made when they are first needed. Only headers of replies that need a source address
    /// have room for it, since the system reads whatever is in that room.
    pub(crate) struct SendHeaders {
        packets: usize,
        plain: Option<Headers>,
        from_v4: Option<Headers>,
        from_v6: Option<Headers>,
    }

    impl SendHeaders {
        pub(crate) fn new(packets: usize) -> Self {
            Self {
                packets,
                plain: None,
                from_v4: None,
                from_v6: None,
            }
        }
    }

    pub(crate) fn tell_local(socket: &UdpSocket) -> io::Result<bool> {
        match socket.local_addr()? {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(true)
    }

    pub(crate) fn headers(packets: usize, tells_local: bool) -> Headers {
        let room = tells_local.then(|| cmsg_space!(in6_pktinfo));
        MultiHeaders::preallocate(packets, room)
    }

    pub(crate) fn receive(
        socket: &UdpSocket,
        headers: &mut Headers,
        buffers: &mut [Box<[u8; PACKET]>],
        received: &mut Vec<(usize, Peer)>,
    ) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(&mut buffer[..])])
            .collect();
        // The call waits only for the first packet.
        let flags = MsgFlags::MSG_WAITFORONE;
        let results = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
        for message in results {
            let client = message.address.as_ref().and_then(address);
            // A packet without a usable source keeps its place, so that the buffers stay in order.
            let unknown = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
            let peer = Peer {
                address: client.unwrap_or(unknown),
                local: local(&message),
                place: received.len(),
            };
            received.push((message.bytes, peer));
        }
        Ok(())
    }

    /// Sends the first of these replies, together with those after it that have the same source address. Returns how
    /// many were sent.
    pub(crate) fn send(
        socket: &UdpSocket,
        headers: &mut SendHeaders,
        buffers: &[ReplyBuffer],
        peers: &[Peer],
    ) -> io::Result<usize> {
        let Some(from) = peers.first().map(|peer| peer.local) else {
            return Ok(0);
        };
        let together = peers.iter().take_while(|peer| peer.local == from);
        let addresses: Vec<Option<SockaddrStorage>> =
            together.map(|peer| Some(peer.address.into())).collect();
        let slices: Vec<[IoSlice<'_>; 1]> = buffers
            .iter()
            .take(addresses.len())
            .map(|reply| [IoSlice::new(reply.as_bytes())])
            .collect();
        let packets = headers.packets;
        let call = |headers: &mut Option<Headers>, room, control: &[ControlMessage<'_>]| {
            let headers = headers.get_or_insert_with(|| MultiHeaders::preallocate(packets, room));
            let flags = MsgFlags::MSG_DONTWAIT;
            let socket = socket.as_raw_fd();
            let sent = sendmmsg(socket, headers, slices.iter(), &addresses, control, flags)?;
            Ok(sent.count())
        };
        match from {
            None => call(&mut headers.plain, None, &[]),
            Some(Local {
                ip: IpAddr::V4(ip),
                interface,
            }) => {
                let control = in_pktinfo {
                    ipi_ifindex: interface as i32,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from_ne_bytes(ip.octets()),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                let control = [ControlMessage::Ipv4PacketInfo(&control)];
                call(
                    &mut headers.from_v4,
                    Some(cmsg_space!(in_pktinfo)),
                    &control,
                )
            }
            Some(Local {
                ip: IpAddr::V6(ip),
                interface,
            }) => {
                let control = in6_pktinfo {
                    ipi6_ifindex: interface,
                    ipi6_addr: in6_addr {
                        s6_addr: ip.octets(),
                    },
                };
                let control = [ControlMessage::Ipv6PacketInfo(&control)];
                call(
                    &mut headers.from_v6,
                    Some(cmsg_space!(in6_pktinfo)),
                    &control,
                )
            }
        }
    }

    /// The destination address of a packet, if the socket reports it.
    fn local(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Local> {
        message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local {
                ip: asked(info).into(),
                interface: 0,
            }),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if ip.is_unicast_link_local() {
                    info.ipi6_ifindex
                } else {
                    0
                };
                Some(Local {
                    ip: ip.into(),
                    interface,
                })
            }
            _ => None,
        })
    }

    /// The local address for the reply. For a multicast or broadcast packet it differs from the address in the
    /// packet's header. A packet that came before the socket was set to report addresses (a service manager may have
    /// bound it earlier) has only the address of the header.
    fn asked(info: in_pktinfo) -> Ipv4Addr {
        let address = |raw: in_addr| Ipv4Addr::from(raw.s_addr.to_ne_bytes());
        let (ours, in_header) = (address(info.ipi_spec_dst), address(info.ipi_addr));
        let is_for_many = in_header.is_multicast() || in_header.is_broadcast();
        match ours.is_unspecified() && !is_for_many {
            true => in_header,
            false => ours,
        }
    }

    fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
        if let Some(v4) = storage.as_sockaddr_in() {
            return Some(SocketAddrV4::from(*v4).into());
        }
        let v6 = storage.as_sockaddr_in6()?;
        Some(SocketAddrV6::from(*v6).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn packets_come_in_order_with_their_senders_and_replies_find_them() {
        let (server, one, two) = (socket(), socket(), socket());
        let to = server.local_addr().unwrap();
        for n in 0..10_u8 {
            let from = if n % 2 == 0 { &one } else { &two };
            from.send_to(&vec![n; usize::from(n)], to).unwrap();
        }
        let (mut inbox, mut outbox) = (Inbox::new(4, false), Outbox::new(4, 512));
        let mut seen = 0;
        while seen < 10 {
            inbox.receive(&server).unwrap();
            for (packet, peer) in inbox.packets() {
                assert_eq!(packet, vec![seen; usize::from(seen)]);
                let from = if seen % 2 == 0 { &one } else { &two };
                assert_eq!(peer.address, from.local_addr().unwrap());
                assert_eq!(peer.local, None);
                outbox.next().unwrap().set(&[seen]);
                outbox.commit(peer);
                seen += 1;
            }
            assert_eq!(outbox.send(&server), 0);
        }
        let mut buffer = [0; 16];
        for (client, first) in [(&one, 0), (&two, 1)] {
            for n in (first..10).step_by(2) {
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], [n]);
            }
        }
    }

    #[test]
    fn a_reply_that_cannot_be_sent_does_not_keep_the_others() {
        let (server, client) = (socket(), socket());
        let mut outbox = Outbox::new(4, 512);
        let nowhere = "[2001:db8::1]:53".parse().unwrap();
        for peer in [nowhere, client.local_addr().unwrap(), nowhere] {
            outbox.next().unwrap().set(&[7]);
            outbox.commit(Peer::of(peer));
        }
        assert_eq!(outbox.send(&server), 2);
        let mut buffer = [0; 16];
        assert_eq!(client.recv(&mut buffer).unwrap(), 1);
        assert_eq!(outbox.send(&server), 0, "nothing is sent twice");
    }

    #[test]
    fn the_longest_packets_are_cut_and_empty_ones_are_taken() {
        let (server, client) = (socket(), socket());
        let to = server.local_addr().unwrap();
        client.send_to(&vec![1; PACKET + 1], to).unwrap();
        client.send_to(&[], to).unwrap();
        let mut inbox = Inbox::new(4, false);
        let mut lengths = Vec::new();
        while lengths.len() < 2 {
            inbox.receive(&server).unwrap();
            lengths.extend(inbox.packets().map(|(packet, _)| packet.len()));
        }
        assert_eq!(lengths, [PACKET, 0]);
    }

    /// The address from which a client that asks this address gets its reply.
    #[cfg(target_os = "linux")]
    fn check_local(bind: &str, asked: &[&str]) {
        let server = UdpSocket::bind(bind).unwrap();
        assert!(tell_local(&server).unwrap());
        let port = server.local_addr().unwrap().port();
        let clients: Vec<_> = asked
            .iter()
            .map(|ip| {
                let to = SocketAddr::new(ip.parse().unwrap(), port);
                let client = UdpSocket::bind((to.ip(), 0)).unwrap();
                client.send_to(&[1], to).unwrap();
                (client, to)
            })
            .collect();
        let (mut inbox, mut outbox) = (Inbox::new(8, true), Outbox::new(8, 512));
        let mut taken = 0;
        while taken < asked.len() {
            inbox.receive(&server).unwrap();
            for (_, peer) in inbox.packets() {
                outbox.next().unwrap().set(&[2]);
                outbox.commit(peer);
                taken += 1;
            }
            assert_eq!(outbox.send(&server), 0);
        }
        for (client, to) in clients {
            let mut buffer = [0; 8];
            assert_eq!(client.recv_from(&mut buffer).unwrap(), (1, to));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn rfc2181_4_replies_come_from_the_address_that_was_asked() {
        check_local(
            "0.0.0.0:0",
            &[
                "127.0.0.1",
                "127.0.0.2",
                "127.0.0.2",
                "127.9.9.9",
                "127.0.0.1",
            ],
        );
        check_local("[::]:0", &["::1", "::1"]);
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!tell_local(&one).unwrap(), "it has one address");
    }
}
