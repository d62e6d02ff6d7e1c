//! What becomes of one packet that has come by UDP.
//!
//! ```text
//!   read ─┬─ ordinary query ── the short way ──┬─ reply ── in the buffers
//!         ├─ what else asks ── by hickory ─────┼─ waits for a link ── the same, later
//!         └─ no query ─────────────────────────┴─ dropped
//! ```
//!
//! No socket is known here. The workers of `udp` take packets in groups, and wait for many links
//! at once; benches, fuzzers and tests take one packet at a time, by [`Handler::reply_to`]. What is
//! decided, sent and counted is the same for both.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::handler::{Fit, Handler, Unanswered};
use super::hot::Now;
use super::ordinary::{Prepared, Scratch};
use super::query::HEADER_LEN;
use super::reply::ReplyBuffer;
use super::tally::Tally;
use crate::metrics::{DnsDrop, DnsResponse, DropReason, Transport};

/// What an answer is encoded in at first, in bytes: more than most of them need.
pub(super) const ENCODING: usize = 1_024;

/// A packet that has come, and was looked at.
pub struct Packet<'p> {
    bytes: &'p [u8],
    peer: SocketAddr,
    /// What it asks, if it is an ordinary query.
    query: Option<Prepared<'p>>,
}

/// What becomes of a packet.
pub(super) enum Fate {
    /// A reply, in its buffer.
    Replied,
    /// A reply that has to wait.
    Waits(Waiting),
    /// None.
    Dropped,
}

/// A query that waits for a link.
pub struct Waiting {
    query: WaitingQuery,
    unanswered: Box<Unanswered>,
}

/// A query that is kept.
enum WaitingQuery {
    /// An ordinary one, as it came, and who has sent it.
    Ordinary(Box<[u8]>, IpAddr),
    /// Any other.
    Decoded(Box<Request>),
}

/// Where replies are made, one after the other; to be used again, so that nothing is allocated for a
/// reply.
pub struct Buffers {
    reply: ReplyBuffer,
    encoding: Vec<u8>,
    tally: Tally,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            reply: ReplyBuffer::new(),
            encoding: Vec::with_capacity(ENCODING),
            tally: Tally::default(),
        }
    }
}

impl Packet<'_> {
    /// What it asks, if it is an ordinary query.
    pub(super) fn query(&self) -> Option<&Prepared<'_>> {
        self.query.as_ref()
    }
}

impl Handler {
    /// Reads a packet: the first half of [`Handler::reply_to`], which needs neither links nor zones.
    pub fn read<'p>(&self, bytes: &'p [u8], peer: SocketAddr) -> Packet<'p> {
        Packet {
            bytes,
            peer,
            query: self.prepare(bytes, peer.ip()),
        }
    }

    /// The reply to one packet that has come by UDP from this client; none if it is to be dropped.
    ///
    /// # Errors
    /// What there is to wait for, by [`Handler::reply_after`], if it cannot be said at once.
    pub fn reply_to<'b>(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        buffers: &'b mut Buffers,
    ) -> Result<Option<&'b [u8]>, Waiting> {
        self.reply_to_read(&self.read(packet, peer), buffers)
    }

    /// What [`Handler::reply_to`] gives, for a packet that was read.
    ///
    /// # Errors
    /// As [`Handler::reply_to`].
    pub fn reply_to_read<'b>(
        &self,
        packet: &Packet<'_>,
        buffers: &'b mut Buffers,
    ) -> Result<Option<&'b [u8]>, Waiting> {
        let Buffers {
            reply,
            encoding,
            tally,
        } = buffers;
        let scratch = Scratch { reply, encoding };
        let fate = self.take(packet, &self.time(), scratch, tally);
        tally.tell(self.metrics());
        match fate {
            Fate::Replied => Ok(Some(buffers.reply.as_bytes())),
            Fate::Waits(waiting) => Err(waiting),
            Fate::Dropped => Ok(None),
        }
    }

    /// The reply to a query that has to wait for its link, which is looked up; none if it is to be
    /// dropped. To be called within a runtime.
    pub async fn reply_after<'b>(
        &self,
        mut waiting: Waiting,
        buffers: &'b mut Buffers,
    ) -> Option<&'b [u8]> {
        self.look_up([waiting.unanswered()]);
        let Some(_permit) = self.permit() else {
            self.count_drops(DropReason::Overload, 1);
            return None;
        };
        let Buffers {
            reply, encoding, ..
        } = buffers;
        let is_made = waiting.end(self, Scratch { reply, encoding }).await;
        if !is_made {
            self.count_drops(DropReason::Unsendable, 1);
        }
        is_made.then(|| buffers.reply.as_bytes())
    }

    /// Decides about one packet. Ordinary replies are counted in the tally, all others at once.
    pub(super) fn take(
        &self,
        packet: &Packet<'_>,
        now: &Now,
        scratch: Scratch<'_>,
        tally: &mut Tally,
    ) -> Fate {
        let Packet { bytes, peer, query } = packet;
        // RFC 1035 §4.1.1: what has QR set is a reply. Answering it could make two servers talk to
        // each other for ever. Port 0 cannot be replied to.
        let is_query = bytes.len() >= HEADER_LEN && bytes[2] & 0x80 == 0;
        if !is_query || peer.port() == 0 {
            self.count_drops(DropReason::NotAQuery, 1);
            return Fate::Dropped;
        }
        let Some(query) = query else {
            return self.take_odd(bytes, *peer, scratch);
        };
        match self.reply_now(query, now, scratch) {
            Ok(sent) => {
                tally.count(sent);
                Fate::Replied
            }
            Err(unanswered) => Fate::Waits(Waiting {
                query: WaitingQuery::Ordinary((*bytes).into(), peer.ip()),
                unanswered,
            }),
        }
    }

    /// Decides about a packet that is no ordinary query.
    fn take_odd(&self, packet: &[u8], peer: SocketAddr, scratch: Scratch<'_>) -> Fate {
        let wire = scratch.encoding;
        let (rcode, fit) = match Request::from_bytes(packet.to_vec(), peer, Protocol::Udp) {
            Err(_) => {
                form_err(packet, wire);
                (ResponseCode::FormErr.into(), Fit::Whole)
            }
            Ok(request) => match self.begin(&request) {
                Ok(mut made) => {
                    let fit = made.encode(&request, Transport::Udp, wire);
                    (made.rcode(), fit)
                }
                Err(unanswered) => {
                    let query = WaitingQuery::Decoded(Box::new(request));
                    return Fate::Waits(Waiting { query, unanswered });
                }
            },
        };
        if !scratch.reply.set(wire) {
            self.count_drops(DropReason::Unsendable, 1);
            return Fate::Dropped;
        }
        count_reply(self, rcode, &fit);
        Fate::Replied
    }

    /// Counts packets that get no reply.
    pub(super) fn count_drops(&self, reason: DropReason, packets: usize) {
        let dropped = DnsDrop { reason };
        let packets = u64::try_from(packets).unwrap_or(u64::MAX);
        let family = &self.metrics().dns_dropped;
        family.get_or_create(&dropped).inc_by(packets);
    }
}

impl Waiting {
    /// What it waits for.
    pub(super) fn unanswered(&mut self) -> &mut Unanswered {
        &mut self.unanswered
    }

    /// Waits for the link, which is being looked up, and makes the reply; returns whether there is one.
    pub(super) async fn end(self, handler: &Handler, scratch: Scratch<'_>) -> bool {
        let Self { query, unanswered } = self;
        match query {
            WaitingQuery::Ordinary(packet, client) => {
                let link = handler.resolve(unanswered).await;
                let Some(sent) = handler.reply_with(&packet, client, link, scratch) else {
                    return false;
                };
                let mut tally = Tally::default();
                tally.count(sent);
                tally.tell(handler.metrics());
                true
            }
            WaitingQuery::Decoded(request) => {
                let mut made = handler.end(&request, unanswered).await;
                let fit = made.encode(&request, Transport::Udp, scratch.encoding);
                let is_made = scratch.reply.set(scratch.encoding);
                if is_made {
                    count_reply(handler, made.rcode(), &fit);
                }
                is_made
            }
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the zones.
        f.debug_struct("Waiting")
            .field("link", &self.unanswered.link)
            .finish_non_exhaustive()
    }
}

/// A message that cannot be read earns FORMERR with a header alone: its id, opcode and RD, and nothing
/// else of what cannot be trusted (RFC 1035 §4.1.1).
fn form_err(packet: &[u8], wire: &mut Vec<u8>) {
    let rcode = ResponseCode::FormErr.low();
    wire.clear();
    wire.extend([packet[0], packet[1], 0x80 | packet[2] & 0x79, rcode]);
    wire.resize(HEADER_LEN, 0);
}

fn count_reply(handler: &Handler, rcode: u16, fit: &Fit) {
    let metrics = handler.metrics();
    if *fit == Fit::Truncated {
        metrics.dns_truncated.inc();
    }
    let transport = Transport::Udp;
    let sent = DnsResponse { transport, rcode };
    metrics.dns_responses.get_or_create(&sent).inc();
}
