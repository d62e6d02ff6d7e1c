//! The fate of one packet: a reply, a wait, or nothing.
//!
//! ```text
//!   read ─┬─ ordinary query ── fast path ─────┬─ reply, in the buffers
//!         ├─ any other query ─ general path ──┼─ waits for a link, then takes the same path again
//!         │                                   ├─ has to be signed elsewhere
//!         └─ no query ────────────────────────┴─ dropped
//! ```
//!
//! This module knows no socket. The UDP workers take packets in groups, and wait for many links at once. TCP
//! connections take one message at a time, and so do benchmarks, fuzz targets and tests, with [`Handler::reply_to`].
//! The decisions, the bytes and the counters are the same for all.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::fast::Prepared;
use super::handler::Handler;
use super::hot::Now;
use super::lookups::Asked;
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

/// The initial size of the buffer for an encoded answer, in bytes: more than most answers need.
pub(crate) const ENCODING: usize = 1_024;

/// A packet that has been read.
pub struct Packet<'p> {
    bytes: &'p [u8],
    peer: SocketAddr,
    via: Via,
    /// Its query, if it is an ordinary query.
    query: Option<Prepared<'p>>,
}

/// The fate of a packet.
pub(crate) enum Fate {
    /// Its reply is in the buffer.
    Replied,
    /// Its reply waits for a link.
    Waits(Waiting),
    /// Its reply needs a signature from another thread.
    Signs {
        /// Whether other queries go first; see [`Pending::Signature`].
        is_made_up: bool,
    },
    /// It gets no reply.
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

/// A query whose link has been looked up. It holds no buffer, since there may be many of them.
pub(crate) struct Resolved {
    /// When it was read.
    began: Instant,
    packet: Box<[u8]>,
    peer: SocketAddr,
    via: Via,
    answerable: Answerable,
}

/// The buffers in which replies are made, one after the other. They are used again, so no reply needs an allocation.
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
    /// Its query, if it is an ordinary query.
    pub(crate) fn query(&self) -> Option<&Prepared<'_>> {
        self.query.as_ref()
    }

    /// What the rate limit knows of the reply's addressee.
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

    /// The reply to one packet from this client; none if the packet is dropped.
    ///
    /// # Errors
    /// The waiting query, for [`Handler::reply_after`], if the reply needs a look-up.
    pub fn reply_to<'b>(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        via: Via,
        buffers: &'b mut Buffers,
    ) -> Result<Option<&'b [u8]>, Waiting> {
        self.reply_to_read(&self.read(packet, peer, via), buffers)
    }

    /// [`Handler::reply_to`] for a packet that has been read.
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
        let now = self.time();
        tally.count_lookups_by_itself(self.lookups());
        let fate = self.take(packet, &now, scratch, tally, Signatures::Now);
        tally.pass(now.instant);
        tally.tell(self.metrics());
        match fate {
            Fate::Replied => Ok(Some(buffers.reply.as_bytes())),
            Fate::Waits(waiting) => Err(waiting),
            Fate::Signs { .. } | Fate::Dropped => Ok(None),
        }
    }

    /// Looks up the link of a waiting query, and makes the reply; none if the query is dropped. Call it within a
    /// runtime.
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

    /// Decides about one packet, and counts its reply in the tally.
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
        // RFC 1035 §4.1.1: a message with QR set is a reply. If servers answered replies, two of them could send
        // messages to each other for ever. No reply can reach port 0.
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
                    self.count_lookup(packet, sent, tally);
                    Fate::Replied
                }
                None => Fate::Dropped,
            },
            Err(Pending::Signature { is_made_up }) => Fate::Signs { is_made_up },
            Err(Pending::LookUp(unanswered)) => Fate::Waits(Waiting {
                began: now.instant,
                packet: bytes.into(),
                peer,
                via,
                unanswered,
            }),
        }
    }

    /// Makes a truncated reply to a packet whose reply needs a signature, where the queue of the signing thread is
    /// full. Returns whether there is a reply to send.
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

    /// Applies the rate limit to a reply in the buffer. Returns the reply that is sent, perhaps a shorter one that
    /// has replaced it in the buffer; none if it is dropped.
    fn limit(
        &self,
        packet: &Packet<'_>,
        sent: Sent,
        now: &Now,
        reply: &mut ReplyBuffer,
        tally: &mut Tally,
    ) -> Option<Sent> {
        let limiter = self.0.limiter_for(packet.via);
        // A client with a valid cookie has proved its address (RFC 7873 §1).
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

    /// Counts the look-up if the reply that is sent is about a link; see [`super::lookups`].
    #[inline]
    fn count_lookup(&self, packet: &Packet<'_>, sent: Sent, tally: &mut Tally) {
        let (Some(place), Some(lookups)) = (sent.link, self.lookups()) else {
            return;
        };
        if let Some(prepared) = &packet.query {
            let asked = Asked {
                hash: prepared.hash,
                name: prepared.query.name.as_bytes(),
                qtype: prepared.query.qtype,
                place,
            };
            return tally.count_lookup(asked, lookups);
        }
        // Few queries are odd, so those about links are decoded a second time.
        if let Some((query, hash)) = self.odd_query(packet.bytes, packet.peer, packet.via) {
            let asked = Asked {
                hash,
                name: query.name.as_bytes(),
                qtype: query.qtype,
                place,
            };
            tally.count_lookup(asked, lookups);
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
    /// The link that it waits for.
    pub(crate) fn unanswered(&mut self) -> &mut Unanswered {
        &mut self.unanswered
    }

    /// When it was read.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Sets the time at which it was read, if that was earlier.
    pub(crate) fn set_began(&mut self, began: Instant) {
        self.began = began;
    }

    /// Waits for the link, whose look-up has begun, and makes the reply. Returns whether there is a reply to send;
    /// if not, the drop has been counted.
    pub(crate) async fn end(self, handler: &Handler, scratch: Scratch<'_>) -> bool {
        self.resolve(handler).await.reply(handler, scratch)
    }

    /// Waits for the link, whose look-up has begun.
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

    /// Makes the reply. Returns whether there is a reply to send; if not, the drop has been counted.
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
            handler.count_lookup(&read, sent, &mut tally);
        }
        tally.tell(handler.metrics());
        sent.is_some()
    }
}

/// The short reply in place of one that the rate limit refuses. It is no longer than its query, except for a new
/// cookie.
enum Slip {
    /// BADCOOKIE: the client asks again by UDP, with the cookie.
    BadCookie,
    /// TC: the client asks again by TCP.
    Truncated,
    /// The same error without its explanation. It has no records, and would have none by TCP.
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

    /// Replaces the reply in the buffer.
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
        // The zones are left out.
        f.debug_struct("Waiting")
            .field("wanted", &self.unanswered.wanted)
            .finish_non_exhaustive()
    }
}
