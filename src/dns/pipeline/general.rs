//! The general path: from a query that is not [ordinary](crate::dns::wire::query), through hickory's decoder, to its
//! reply.
//!
//! [`Message`] takes the message apart and refuses it if it is malformed or asks for a service that is not offered.
//! All other messages are queries of class IN with something odd about them. hickory decodes them, and
//! [`super::respond`] makes the replies.

use std::net::SocketAddr;

use hickory_proto::op::LowerQuery;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::handler::Handler;
use super::hot::{Form, Now};
use super::pending::{Answerable, Pending, Signatures};
use super::respond::{Reading, Response, Scratch};
use super::via::Via;
use crate::base::name::wire::WireName;
use crate::dns::wire::message::{Message, Refusal};
use crate::dns::wire::query::Query;
use crate::dns::wire::reply::Sent;

impl Handler {
    /// Makes the reply to a packet that is no ordinary query, or returns what the reply waits for; none if the
    /// packet gets no reply.
    pub(crate) fn reply_odd(
        &self,
        (packet, peer, via): (&[u8], SocketAddr, Via),
        now: &Now,
        scratch: Scratch<'_>,
        signatures: Signatures,
    ) -> Option<Result<Sent, Pending>> {
        let mut message = Message::read(packet)?;
        if self.0.takes_subnets() {
            message.check_client_subnet();
        }
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

    /// An odd query, and the hash of its key as of an ordinary query; none if it cannot be decoded.
    pub(crate) fn odd_query<'p>(
        &self,
        packet: &'p [u8],
        peer: SocketAddr,
        via: Via,
    ) -> Option<(Query<'p>, u64)> {
        let query = decode(&Message::read(packet)?, packet, peer, via)?;
        let key = self.0.hot.key(&query.name, Form::Plain, query.qtype);
        let hash = key.hash();
        Some((query, hash))
    }
}

/// Decodes the query with hickory; none if hickory cannot decode it.
fn decode<'p>(
    message: &Message<'p>,
    packet: &[u8],
    peer: SocketAddr,
    via: Via,
) -> Option<Query<'p>> {
    let protocol = match via {
        Via::Udp => Protocol::Udp,
        // hickory treats both alike.
        Via::Tcp { .. } | Via::Tls { .. } => Protocol::Tcp,
    };
    let read = |bytes| Request::from_bytes(bytes, peer, protocol).ok();
    // A compressed name may point into the options; then hickory needs them.
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
