//! What becomes of one packet.
//!
//! ```text
//!   read ─┬─ ordinary query ── fast path ─────┬─ reply, in the buffers
//!         ├─ any other query ─ general path ──┼─ waits for a link, then takes the same path again
//!         │                                   ├─ has to be signed elsewhere
//!         └─ no query ────────────────────────┴─ dropped
//! ```
//!
//! This module knows no socket. The workers of `udp` take packets in groups, and wait for many links at once; the
//! connections of `tcp` take message by message, and so do benches, fuzzers and tests, by
//! [`Handler::reply_to`]. The decisions, the bytes and the counters are the same for all.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::fast::Prepared;
use super::handler::Handler;
use super::hot::Now;
use super::pending::{Answerable, Pending, Signatures, Unanswered};
use super::respond::Scratch;
use super::tally::Tally;
use super::via::{MAX_TCP_PAYLOAD, Via};
use crate::base::metrics::{DnsDrop, DropReason, LimitAction, LimitKind};
use crate::dns::answer::outcome::Answer;
use crate::dns::limits::rate_limit::{Addressee, Scope};
use crate::dns::wire::message::{Message, Refusal};
use crate::dns::wire::query::HEADER_LEN;
use crate::dns::wire::reply::{Frame, Head, ReplyBuffer, Sent};

/// What an answer is encoded in at first, in bytes: more than most of them need.
pub(crate) const ENCODING: usize = 1_024;

/// A packet that has come, and was looked at.
pub struct Packet<'p> {
    bytes: &'p [u8],
    peer: SocketAddr,
    via: Via,
    /// What it asks, if it is an ordinary query.
    query: Option<Prepared<'p>>,
}

/// What becomes of a packet.
pub(crate) enum Fate {
    /// A reply, in its buffer.
    Replied,
    /// A reply that has to wait for a link.
    Waits(Waiting),
    /// A reply that has to be signed, elsewhere.
    Signs {
        /// Whether others go first; see [`Pending::Signature`].
        is_made_up: bool,
    },
    /// None.
    Dropped,
}

/// A query that waits for a link.
pub struct Waiting {
    /// When it was read.
    began: Instant,
    packet: Box<[u8]>,
    peer: SocketAddr,
    via: Via,
    unanswered: Box<Unanswered>,
}

/// A query whose link was waited for. It holds no buffer: there may be many of them.
pub(crate) struct Resolved {
    /// When it was read.
    began: Instant,
    packet: Box<[u8]>,
    peer: SocketAddr,
    via: Via,
    answerable: Answerable,
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
            reply: ReplyBuffer::new(MAX_TCP_PAYLOAD.into()),
            encoding: Vec::with_capacity(ENCODING),
            tally: Tally::default(),
        }
    }
}

impl Packet<'_> {
    /// What it asks, if it is an ordinary query.
    pub(crate) fn query(&self) -> Option<&Prepared<'_>> {
        self.query.as_ref()
    }

    /// Who gets its reply.
    fn addressee(&self) -> Addressee<'_> {
        let query = self.query.as_ref();
        Addressee {
            client: self.peer.ip(),
            name: query.map(|prepared| &prepared.query.name),
            accounts: query.and_then(|prepared| prepared.accounts),
        }
    }

    /// The packet itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl Handler {
    /// Reads a packet: the first half of [`Handler::reply_to`], which needs neither links nor zones.
    pub fn read<'p>(&self, bytes: &'p [u8], peer: SocketAddr, via: Via) -> Packet<'p> {
        Packet {
            bytes,
            peer,
            via,
            query: self.prepare(bytes, (peer.ip(), via)),
        }
    }

    /// The reply to one packet that has come from this client; none if it is to be dropped.
    ///
    /// # Errors
    /// What there is to wait for, by [`Handler::reply_after`], if it cannot be said at once.
    pub fn reply_to<'b>(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        via: Via,
        buffers: &'b mut Buffers,
    ) -> Result<Option<&'b [u8]>, Waiting> {
        self.reply_to_read(&self.read(packet, peer, via), buffers)
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
        let fate = self.take(packet, &self.time(), scratch, tally, Signatures::Now);
        tally.tell(self.metrics());
        match fate {
            Fate::Replied => Ok(Some(buffers.reply.as_bytes())),
            Fate::Waits(waiting) => Err(waiting),
            Fate::Signs { .. } | Fate::Dropped => Ok(None),
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
        is_made.then(|| buffers.reply.as_bytes())
    }

    /// Decides about one packet, and counts what is sent in the tally.
    pub(crate) fn take(
        &self,
        packet: &Packet<'_>,
        now: &Now,
        mut scratch: Scratch<'_>,
        tally: &mut Tally,
        signatures: Signatures,
    ) -> Fate {
        let &Packet {
            bytes, peer, via, ..
        } = packet;
        // RFC 1035 §4.1.1: what has QR set is a reply. Answering it could make two servers talk to
        // each other for ever. Port 0 cannot be replied to.
        let is_query = bytes.len() >= HEADER_LEN && bytes[2] & 0x80 == 0;
        if !is_query || peer.port() == 0 {
            self.count_drops(DropReason::NotAQuery, 1);
            return Fate::Dropped;
        }
        let taken = match &packet.query {
            Some(query) => self.reply_now(query, (peer.ip(), via), now, scratch.lend(), signatures),
            None => match self.reply_odd((bytes, peer, via), now, scratch.lend(), signatures) {
                Some(taken) => taken,
                None => {
                    self.count_drops(DropReason::Unsendable, 1);
                    return Fate::Dropped;
                }
            },
        };
        match taken {
            Ok(sent) => match self.limit(packet, sent, now, scratch.reply, tally) {
                Some(sent) => {
                    tally.count(via, sent);
                    Fate::Replied
                }
                None => Fate::Dropped,
            },
            Err(Pending::Signature { is_made_up }) => Fate::Signs { is_made_up },
            Err(Pending::Link(unanswered)) => Fate::Waits(Waiting {
                began: now.instant,
                packet: bytes.into(),
                peer,
                via,
                unanswered,
            }),
        }
    }

    /// Makes the reply to a packet that would have to be signed, where that cannot be done: too many wait for
    /// it. Returns whether there is one.
    pub(crate) fn take_unsigned(
        &self,
        packet: &Packet<'_>,
        now: &Now,
        reply: &mut ReplyBuffer,
        tally: &mut Tally,
    ) -> bool {
        let sent = self.reply_unsigned(packet, now, reply);
        let sent = sent.and_then(|sent| self.limit(packet, sent, now, reply, tally));
        if let Some(sent) = sent {
            tally.count(packet.via, sent);
        }
        sent.is_some()
    }

    /// A truncated reply, in place of one whose signature cannot be made now: the client asks again by TCP.
    fn reply_unsigned(
        &self,
        packet: &Packet<'_>,
        now: &Now,
        reply: &mut ReplyBuffer,
    ) -> Option<Sent> {
        self.0.metrics.dnssec_signatures_refused.inc();
        let message;
        let echo = match &packet.query {
            Some(prepared) => &prepared.query.echo,
            None => {
                message = Message::read(packet.bytes)?;
                &message.echo
            }
        };
        let frame = self.0.frame(echo, packet.via, packet.peer.ip(), now.unix);
        let sent = reply.truncate(&frame, Head::of(&Answer::cut()));
        // Whether the name exists is not known here.
        Some(Sent {
            class: sent.class.with(Scope::Kind),
            ..sent
        })
    }

    /// Sees to it that no network gets too many replies by UDP. Returns what is sent in the end, which is
    /// then in the buffer; none if nothing is.
    fn limit(
        &self,
        packet: &Packet<'_>,
        sent: Sent,
        now: &Now,
        reply: &mut ReplyBuffer,
        tally: &mut Tally,
    ) -> Option<Sent> {
        let limiter = self.0.limiter_for(packet.via);
        // Who has a cookie of ours is where it says it is (RFC 7873 §1).
        let Some(limiter) = limiter.filter(|_| !sent.has_valid_cookie) else {
            return Some(sent);
        };
        let to = packet.addressee();
        let Some(refusal) = limiter.charge(sent.class, &to, now.instant) else {
            return Some(sent);
        };
        if !refusal.slips {
            let is_dropped = !limiter.is_dry_run();
            tally.count_limited(refusal.kind, LimitAction::Dropped, is_dropped);
            return (!is_dropped).then_some(sent);
        }
        let message;
        let echo = match &packet.query {
            Some(prepared) => &prepared.query.echo,
            None => {
                message = Message::read(packet.bytes)?;
                &message.echo
            }
        };
        let frame = self.0.frame(echo, packet.via, to.client, now.unix).short();
        let slip = Slip::of(&sent, &frame);
        tally.count_limited(refusal.kind, slip.action(), false);
        match limiter.is_dry_run() {
            true => Some(sent),
            false => Some(slip.make(&frame, reply)),
        }
    }

    /// Counts packets that get no reply.
    pub(crate) fn count_drops(&self, reason: DropReason, packets: usize) {
        let dropped = DnsDrop { reason };
        let packets = u64::try_from(packets).unwrap_or(u64::MAX);
        let family = &self.metrics().dns_dropped;
        family.get_or_create(&dropped).inc_by(packets);
    }
}

impl Waiting {
    /// What it waits for.
    pub(crate) fn unanswered(&mut self) -> &mut Unanswered {
        &mut self.unanswered
    }

    /// When it was read.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Says that it was read earlier than it was looked at.
    pub(crate) fn set_began(&mut self, began: Instant) {
        self.began = began;
    }

    /// Waits for the link, which is being looked up, and makes the reply. Returns whether there is one to send;
    /// if not, that has been counted.
    pub(crate) async fn end(self, handler: &Handler, scratch: Scratch<'_>) -> bool {
        self.resolve(handler).await.reply(handler, scratch)
    }

    /// Waits for the link, which is being looked up.
    pub(crate) async fn resolve(self, handler: &Handler) -> Resolved {
        Resolved {
            began: self.began,
            packet: self.packet,
            peer: self.peer,
            via: self.via,
            answerable: handler.resolve(self.unanswered).await,
        }
    }
}

impl Resolved {
    /// When it was read.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Makes the reply. Returns whether there is one to send; if not, that has been counted.
    pub(crate) fn reply(self, handler: &Handler, mut scratch: Scratch<'_>) -> bool {
        let Self {
            packet,
            peer,
            via,
            answerable,
            ..
        } = self;
        let read = handler.read(&packet, peer, via);
        let sent = match read.query {
            Some(ref read) => {
                let from = (peer.ip(), via);
                handler.reply_with(&read.query, from, answerable, scratch.lend())
            }
            None => handler.reply_odd_with((&packet, peer, via), answerable, scratch.lend()),
        };
        let Some(sent) = sent else {
            handler.count_drops(DropReason::Unsendable, 1);
            return false;
        };
        let mut tally = Tally::default();
        let sent = handler.limit(&read, sent, &handler.time(), scratch.reply, &mut tally);
        if let Some(sent) = sent {
            tally.count(via, sent);
        }
        tally.tell(handler.metrics());
        sent.is_some()
    }
}

/// What is sent in place of a reply that is too much. It is no longer than its query, but for the cookie of a
/// client that had none.
enum Slip {
    /// To come again with the cookie, by UDP.
    BadCookie,
    /// To come by TCP.
    Truncated,
    /// The same without its explanations: it has no records, and TCP would bring none.
    Error(u16),
}

impl Slip {
    fn of(sent: &Sent, frame: &Frame<'_>) -> Self {
        match (sent.class.kind, frame.options.cookie) {
            (LimitKind::Error, _) => Self::Error(sent.rcode),
            (_, Some(_)) => Self::BadCookie,
            (_, None) => Self::Truncated,
        }
    }

    fn action(&self) -> LimitAction {
        match self {
            Self::BadCookie => LimitAction::BadCookie,
            Self::Truncated | Self::Error(_) => LimitAction::Slipped,
        }
    }

    /// Puts it in place of the reply that is in the buffer.
    fn make(&self, frame: &Frame<'_>, reply: &mut ReplyBuffer) -> Sent {
        match *self {
            Self::BadCookie => reply.refuse(frame, &Refusal::bad_cookie()),
            Self::Truncated => reply.cut(frame),
            Self::Error(rcode) => reply.refuse(frame, &Refusal::new(rcode)),
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
