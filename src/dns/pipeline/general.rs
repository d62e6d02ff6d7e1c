//! The general path: from a query that is out of the ordinary, by way of hickory's decoder, to its reply.
//!
//! [`Message`] has taken the message apart already and knows what needs no look-up: that it is malformed, or
//! that this server does not do such things. What is left is a query of class IN with something odd about it.
//! hickory decodes it, and [`super::respond`] makes the reply.

use std::net::SocketAddr;

use hickory_proto::op::LowerQuery;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::handler::Handler;
use super::hot::Now;
use super::pending::{Answerable, Pending, Signatures};
use super::respond::{Reading, Response, Scratch};
use super::via::Via;
use crate::base::name::wire::WireName;
use crate::dns::wire::message::{Message, Refusal};
use crate::dns::wire::query::Query;
use crate::dns::wire::reply::Sent;

impl Handler {
    /// Makes the reply to a packet that is no ordinary query, or finds that it has to wait; none if the packet
    /// gets no reply.
    pub(crate) fn reply_odd(
        &self,
        (packet, peer, via): (&[u8], SocketAddr, Via),
        now: &Now,
        scratch: Scratch<'_>,
        signatures: Signatures,
    ) -> Option<Result<Sent, Pending>> {
        let message = Message::read(packet)?;
        let frame = self.0.frame(&message.echo, via, peer.ip(), now.unix);
        if let Some(refusal) = self.0.refusal(&message, &frame) {
            return Some(Ok(scratch.reply.refuse(&frame, &refusal)));
        }
        let Some(query) = decode(&message, packet, peer, via) else {
            return Some(Ok(scratch.reply.refuse(&frame, &Refusal::unreadable())));
        };
        let read = (&query, Reading::Odd);
        let response = Response::new(&self.0, read, (peer.ip(), via), now, scratch);
        Some(response.now(signatures))
    }

    /// Makes the reply to an odd query whose link has been looked up; none if the packet gets no reply.
    pub(crate) fn reply_odd_with(
        &self,
        (packet, peer, via): (&[u8], SocketAddr, Via),
        answerable: Answerable,
        scratch: Scratch<'_>,
    ) -> Option<Sent> {
        let message = Message::read(packet)?;
        let query = decode(&message, packet, peer, via)?;
        let now = self.time();
        let read = (&query, Reading::Odd);
        Response::new(&self.0, read, (peer.ip(), via), &now, scratch).after(answerable)
    }
}

/// The query as hickory decodes it, whose parts `message` has; none if hickory cannot decode it.
fn decode<'p>(
    message: &Message<'p>,
    packet: &[u8],
    peer: SocketAddr,
    via: Via,
) -> Option<Query<'p>> {
    let protocol = match via {
        Via::Udp => Protocol::Udp,
        // hickory makes no difference between them.
        Via::Tcp { .. } | Via::Tls { .. } => Protocol::Tcp,
    };
    let read = |bytes| Request::from_bytes(bytes, peer, protocol).ok();
    // A name may lead into the options, and then needs them.
    let request = read(message.without_options(packet)).or_else(|| read(packet.to_vec()))?;
    let question: &LowerQuery = match request.queries.queries() {
        [question] => question,
        _ => return None,
    };
    Some(Query {
        name: WireName::from_labels(question.name().iter())?,
        qtype: question.query_type().into(),
        echo: message.echo,
    })
}
