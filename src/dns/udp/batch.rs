//! Many packets by one system call where the system has one for it, and one by one elsewhere. The
//! buffers are made once.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::dns::reply::ReplyBuffer;

/// The largest query that is taken whole, in bytes; what is longer is cut, and then no message.
/// Queries have some fifty bytes, and we tell clients a limit of 1,232 (RFC 6891 §6.2.3).
const PACKET: usize = 4_096;

/// Packets that have come.
pub(super) struct Inbox {
    buffers: Vec<Box<[u8; PACKET]>>,
    /// Length and sender of each packet of the last call.
    received: Vec<(usize, SocketAddr)>,
    #[cfg(target_os = "linux")]
    headers: linux::Headers,
}

/// Replies that are to be sent.
pub(super) struct Outbox {
    buffers: Vec<ReplyBuffer>,
    /// Where each of the replies goes that are ready.
    peers: Vec<SocketAddr>,
    #[cfg(target_os = "linux")]
    headers: linux::Headers,
}

impl Inbox {
    pub(super) fn new(packets: usize) -> Self {
        Self {
            buffers: (0..packets).map(|_| Box::new([0; PACKET])).collect(),
            received: Vec::with_capacity(packets),
            #[cfg(target_os = "linux")]
            headers: linux::headers(packets),
        }
    }

    /// Waits for packets, and takes as many as there are and fit.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        #[cfg(target_os = "linux")]
        return linux::receive(
            socket,
            &mut self.headers,
            &mut self.buffers,
            &mut self.received,
        );
        #[cfg(not(target_os = "linux"))]
        {
            let Some(buffer) = self.buffers.first_mut() else {
                return Ok(());
            };
            self.received.push(socket.recv_from(&mut buffer[..])?);
            Ok(())
        }
    }

    /// The packets of the last call, and who has sent them.
    pub(super) fn packets(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let received = self.buffers.iter().zip(&self.received);
        received.map(|(buffer, &(length, peer))| (&buffer[..length.min(PACKET)], peer))
    }
}

impl Outbox {
    pub(super) fn new(packets: usize) -> Self {
        Self {
            buffers: (0..packets).map(|_| ReplyBuffer::new()).collect(),
            peers: Vec::with_capacity(packets),
            #[cfg(target_os = "linux")]
            headers: linux::headers(packets),
        }
    }

    /// The buffer for the next reply, if there is one left: there are as many as packets are taken at
    /// once.
    pub(super) fn next(&mut self) -> Option<&mut ReplyBuffer> {
        self.buffers.get_mut(self.peers.len())
    }

    /// For as many replies as these, which have buffers of their own.
    pub(super) fn of(replies: impl ExactSizeIterator<Item = (ReplyBuffer, SocketAddr)>) -> Self {
        #[cfg(target_os = "linux")]
        let headers = linux::headers(replies.len());
        let (buffers, peers) = replies.unzip();
        Self {
            #[cfg(target_os = "linux")]
            headers,
            buffers,
            peers,
        }
    }

    /// What was written to that buffer is a reply to this client.
    pub(super) fn commit(&mut self, peer: SocketAddr) {
        self.peers.push(peer);
    }

    /// Sends all replies; gives how many could not be sent.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> usize {
        let mut done = 0;
        let mut unsent = 0;
        while done < self.peers.len() {
            match self.send_from(socket, done) {
                Ok(sent) if sent > 0 => done += sent,
                // It concerns the first of them: its address cannot be reached, say.
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
            .send_to(self.buffers[from].as_bytes(), self.peers[from])
            .map(|_| 1)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
    };

    use super::{PACKET, ReplyBuffer};

    pub(super) type Headers = MultiHeaders<SockaddrStorage>;

    pub(super) fn headers(packets: usize) -> Headers {
        MultiHeaders::preallocate(packets, None)
    }

    pub(super) fn receive(
        socket: &UdpSocket,
        headers: &mut Headers,
        buffers: &mut [Box<[u8; PACKET]>],
        received: &mut Vec<(usize, SocketAddr)>,
    ) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(&mut buffer[..])])
            .collect();
        // Waits for the first packet alone.
        let flags = MsgFlags::MSG_WAITFORONE;
        let results = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
        for message in results {
            let peer = message.address.as_ref().and_then(address);
            // One that cannot be replied to keeps its place, for the buffers are in order.
            let peer = peer.unwrap_or(SocketAddr::V4(SocketAddrV4::new([0; 4].into(), 0)));
            received.push((message.bytes, peer));
        }
        Ok(())
    }

    pub(super) fn send(
        socket: &UdpSocket,
        headers: &mut Headers,
        buffers: &[ReplyBuffer],
        peers: &[SocketAddr],
    ) -> io::Result<usize> {
        let slices: Vec<[IoSlice<'_>; 1]> = buffers
            .iter()
            .take(peers.len())
            .map(|reply| [IoSlice::new(reply.as_bytes())])
            .collect();
        let addresses: Vec<Option<SockaddrStorage>> =
            peers.iter().map(|peer| Some((*peer).into())).collect();
        let none: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = sendmmsg(
            socket.as_raw_fd(),
            headers,
            slices.iter(),
            &addresses,
            none,
            flags,
        )?;
        Ok(sent.count())
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
        let (mut inbox, mut outbox) = (Inbox::new(4), Outbox::new(4));
        let mut seen = 0;
        while seen < 10 {
            inbox.receive(&server).unwrap();
            for (packet, peer) in inbox.packets() {
                assert_eq!(packet, vec![seen; usize::from(seen)]);
                let from = if seen % 2 == 0 { &one } else { &two };
                assert_eq!(peer, from.local_addr().unwrap());
                assert!(outbox.next().unwrap().set(&[seen]));
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
        let mut outbox = Outbox::new(4);
        let nowhere = "[2001:db8::1]:53".parse().unwrap();
        for peer in [nowhere, client.local_addr().unwrap(), nowhere] {
            assert!(outbox.next().unwrap().set(&[7]));
            outbox.commit(peer);
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
        let mut inbox = Inbox::new(4);
        let mut lengths = Vec::new();
        while lengths.len() < 2 {
            inbox.receive(&server).unwrap();
            lengths.extend(inbox.packets().map(|(packet, _)| packet.len()));
        }
        assert_eq!(lengths, [PACKET, 0]);
    }
}
