//! The packets of a batch that are logged.
//!
//! They are picked before the batch is read, and found again by their places after the replies are made. So the path
//! from a packet to its reply does not know the log, and a batch without picked packets costs nothing more.

use std::net::SocketAddr;

use super::batch::{Inbox, Outbox, Peer};
use crate::base::metrics::Transport;
use crate::dns::query_log::{Ends, QueryLog, Sampled};

/// Packets that are logged, in the order of their places.
pub(super) struct Samples(Vec<(usize, Option<Sampled>)>);

impl Samples {
    /// Picks from the packets of a socket with this address; none if no packet is picked.
    pub(super) fn of(log: &QueryLog, inbox: &Inbox, socket: SocketAddr) -> Option<Self> {
        if !log.is_on() {
            return None;
        }
        let picked = inbox.packets().filter_map(|(packet, peer)| {
            let asked = peer.local.map_or(socket.ip(), |local| local.ip());
            let ends = Ends {
                client: peer.address,
                server: Some(SocketAddr::new(asked, socket.port())),
                transport: Transport::Udp,
            };
            let sampled = log.sample(packet, ends)?;
            Some((peer.place, Some(sampled)))
        });
        let picked: Vec<_> = picked.collect();
        (!picked.is_empty()).then_some(Self(picked))
    }

    /// The packet of this peer, if it is logged.
    pub(super) fn take(&mut self, peer: &Peer) -> Option<Sampled> {
        let found = self
            .0
            .binary_search_by_key(&peer.place, |(place, _)| *place);
        self.0.get_mut(found.ok()?)?.1.take()
    }

    /// Logs those that were replied to at once, and those that were dropped.
    pub(super) fn end(mut self, outbox: &Outbox) {
        for (reply, peer) in outbox.replies() {
            if let Some(sampled) = self.take(peer) {
                sampled.replied(reply);
            }
        }
    }
}
