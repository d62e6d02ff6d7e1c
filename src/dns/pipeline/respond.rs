//! From a query to its reply, however the query was read.
//!
//! ```text
//!   zone ── name of a link? ── known to be absent: stand-in ──┐
//!    └─ answer ── sign ── encode ── keep it hot ──────────────┴─ complete ── out
//! ```
//!
//! [`decide`](crate::dns::answer::decide) alone decides what the reply says. This module finds the zone and the link
//! that the decision needs, has the answer signed and encoded, and knows which answers can be used again. [`by_client`] does
//! that for answers that depend on the client.
//! [`Reading`] is the only difference between the fast path and the general path: an odd query neither uses nor
//! fills the hot answers.
//!
//! The UDP workers do not sign. They hand a query that needs a signature to the signing thread, which begins again
//! from the packet. Only the denials of a signed zone are put together here, since each made-up name needs a proof
//! of its own.

pub(crate) mod by_client;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use hickory_proto::op::{Query as EncodedQuestion, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::handler::Shared;
use super::hot::{Form, HotKey, Now};
use super::made_up::{NameKind, is_own, link_at};
use super::pending::{Answerable, Found, Pending, Signatures, Unanswered, Wanted};
use super::reuse::{Reuse, static_lease};
use super::sign_answer::{Signer, Unsigned};
use super::via::Via;
use crate::base::clock::UnixTime;
use crate::dns::answer::decide::answer;
use crate::dns::answer::outcome::{Answer, Step};
use crate::dns::answer::question::{Known, Question, Signed};
use crate::dns::limits::rate_limit::{Purpose, Scope};
use crate::dns::wire::query::Query;
use crate::dns::wire::reply::{Encoded, Frame, Head, ReplyBuffer, Sent};
use crate::dnssec::Signing;
use crate::dnssec::keys::ZoneKeys;
use crate::link::{Code, LinkName};
use crate::links::{Lease, Resolution, Resolved, Stamp};
use crate::store::StoreError;
use crate::zone::{Zone, Zones};

/// The buffers for one reply.
pub(crate) struct Scratch<'a> {
    /// The reply.
    pub(crate) reply: &'a mut ReplyBuffer,
    /// The encoded answer.
    pub(crate) encoding: &'a mut Vec<u8>,
}

/// The zone of a query, with its keys if it is signed.
struct ServedZone<'z> {
    zone: &'z Zone,
    keys: Option<Guard<Arc<ZoneKeys>>>,
}

impl<'z> ServedZone<'z> {
    fn of(zone: &'z Zone) -> Self {
        let keys = zone.signing().map(Signing::keys);
        Self { zone, keys }
    }
}

/// How a query was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// By [`Query::read`]: it is an ordinary query, and its answer may be kept.
    Ordinary,
    /// By hickory's decoder. Its reply neither uses nor fills the hot answers, its name counts as made up for the
    /// limit on signatures, and all odd queries of a client share one rate limit.
    Odd,
}

/// A query, and all that its reply needs.
pub(crate) struct Response<'a, 'p> {
    shared: &'a Shared,
    query: &'a Query<'p>,
    reading: Reading,
    /// Which form of the answer the client wants.
    form: Form,
    /// The client's address, and the transport.
    from: (IpAddr, Via),
    now: &'a Now,
    scratch: Scratch<'a>,
    /// The frame of the reply, without an extended error.
    frame: Frame<'a>,
    /// From before the zones were read: a reload moves the stamp on after it has replaced them.
    stamp: Stamp,
    /// Whether the query type is [strange](Zone::is_strange) to the zone.
    is_strange: bool,
}

impl Scratch<'_> {
    /// The same buffers, borrowed again.
    pub(crate) fn lend(&mut self) -> Scratch<'_> {
        Scratch {
            reply: self.reply,
            encoding: self.encoding,
        }
    }
}

impl<'a, 'p> Response<'a, 'p> {
    /// The response to a query of this client, from the current zones and links.
    pub(crate) fn new(
        shared: &'a Shared,
        (query, reading): (&'a Query<'p>, Reading),
        from: (IpAddr, Via),
        now: &'a Now,
        scratch: Scratch<'a>,
    ) -> Self {
        let (client, via) = from;
        Self {
            shared,
            query,
            reading,
            form: shared.form_of(query.echo.edns),
            from,
            now,
            frame: shared.frame(&query.echo, via, client, now.unix),
            scratch,
            stamp: shared.links.common_stamp(),
            is_strange: false,
        }
    }

    /// The reply to a query whose link has been looked up; none if the zones have no place for its name any more.
    pub(crate) fn after(mut self, answerable: Answerable) -> Option<Sent> {
        let Answerable {
            zones,
            stamp,
            found,
        } = answerable;
        let zone = zones.find_for(&self.query.name, self.query.record_type())?;
        self.stamp = stamp;
        self.is_strange = zone.is_strange(self.query.qtype);
        let place = ServedZone::of(zone);
        let sent = match found {
            Found::Link(resolved) => self.with_link(&place, resolved),
            Found::Challenges(values) => self.with_challenges(&place, values),
        };
        Some(self.classed(sent))
    }

    /// The reply, or what it waits for.
    pub(crate) fn now(mut self, signatures: Signatures) -> Result<Sent, Pending> {
        let sent = self.anew(signatures)?;
        Ok(self.classed(sent))
    }

    /// Sets the rate limit's class. The rate limit does not look at the name of an odd query, so all odd queries of
    /// a client count together.
    fn classed(&self, sent: Sent) -> Sent {
        match self.reading {
            Reading::Ordinary => sent,
            Reading::Odd => Sent {
                class: sent.class.with(Scope::Kind),
                ..sent
            },
        }
    }

    /// A reply for which there was no hot answer.
    fn anew(&mut self, signatures: Signatures) -> Result<Sent, Pending> {
        let links = &self.shared.links;
        let zones = self.shared.zones.current();
        let qtype = self.query.record_type();
        let Some(zone) = zones.find_for(&self.query.name, qtype) else {
            return Ok(self.send_and_keep(&Answer::not_ours(), None));
        };
        if zone.is_strange(self.query.qtype) {
            self.is_strange = true;
            let key = self.shared.hot.strange_key(&self.query.name, self.form);
            if let Some(sent) = self.hot_reply(&key) {
                return Ok(sent);
            }
        }
        let place = ServedZone::of(zone);
        if self.signs(&place) && signatures == Signatures::Later {
            if self.reading == Reading::Odd {
                // Resolvers do not send such queries, so others go first.
                return Err(Pending::Signature { is_made_up: true });
            }
            let kind = NameKind::of(&self.query.name, zone, links);
            // A query whose signature will be refused is not to fill the queue.
            let is_proved = kind == NameKind::MadeUp && self.proves(&place);
            return match is_proved && !self.has_room_for_made_up() {
                true => {
                    self.shared.metrics.dnssec_signatures_refused.inc();
                    Ok(self.unsigned(zone, Unsigned::TooMany, true))
                }
                false => Err(Pending::Signature {
                    is_made_up: kind != NameKind::Own,
                }),
            };
        }
        let resolved = match link_at(zone, &self.query.name) {
            Some((code, origin)) if !links.may_exist(code.as_bytes(), origin) => {
                return Ok(self.no_name(&place, None));
            }
            Some((code, origin)) => match Code::parse(code) {
                Ok(code) => links.resolve_possible(&LinkName::new(&code, origin)),
                Err(_) => return Ok(self.fail()),
            },
            None => match self.answer(&place, None) {
                Step::NeedsLink(name) => links.resolve_now(&name),
                Step::NeedsChallenges(origin) => {
                    return Err(self.waits(&zones, Wanted::Challenges(origin, self.from.1)));
                }
                Step::Ready(answer) if is_name_error(&answer) => {
                    return Ok(self.no_name(&place, Some(answer)));
                }
                Step::Ready(answer) => {
                    let is_own = is_own(zone, &self.query.name, false);
                    let lease = is_own.then(|| self.static_lease());
                    return Ok(self.send(&place, answer, lease, None, !is_own));
                }
            },
        };
        match resolved {
            Ok(resolved) => Ok(self.with_link(&place, resolved)),
            Err(link) => Err(self.waits(&zones, Wanted::Link(link))),
        }
    }

    /// The query waits for a look-up. It holds the zones to the end: a reload in between does not change what the
    /// query sees.
    fn waits(&self, zones: &Arc<Zones>, wanted: Wanted) -> Pending {
        Pending::LookUp(Box::new(Unanswered {
            zones: Arc::clone(zones),
            stamp: self.stamp,
            wanted,
        }))
    }

    /// Whether the limit allows another signature for a made-up name.
    fn has_room_for_made_up(&self) -> bool {
        let purpose = Purpose {
            is_made_up: true,
            client: self.from.0,
            is_known: self.is_known(),
        };
        let limiter = self.shared.signatures.limiter();
        limiter.has_room(purpose, self.now.instant)
    }

    /// Whether the client has proved its address, by TCP or by a cookie.
    fn is_known(&self) -> bool {
        self.from.1 != Via::Udp || self.frame.has_valid_cookie
    }

    /// Whether the answer has to be signed, and a denial proved.
    fn proves(&self, place: &ServedZone<'_>) -> bool {
        place.keys.is_some() && self.form == Form::Signed
    }

    /// Whether the answer may need signatures, if only because the client asks for RRSIG records.
    fn signs(&self, place: &ServedZone<'_>) -> bool {
        let is_asked = || self.query.record_type() == RecordType::RRSIG;
        self.proves(place) || place.keys.is_some() && is_asked()
    }

    /// The reply that there is no such name. Unsigned, it is the same for all names of the same length. `answer` is
    /// the answer, if it has been made already.
    fn no_name(&mut self, place: &ServedZone<'_>, answer: Option<Answer>) -> Sent {
        let sent = match self.proves(place) {
            true => self.denied(place),
            false => self.no_name_as_stand_in(place, answer),
        };
        sent.in_zone(place.zone)
    }

    fn no_name_as_stand_in(&mut self, place: &ServedZone<'_>, answer: Option<Answer>) -> Sent {
        let stand_in = place.zone.stand_in(&self.query.name);
        let key = self
            .shared
            .hot
            .stand_in_key(&stand_in, place.zone, self.form);
        if let Some(sent) = self.hot_reply(&key) {
            return sent;
        }
        let answer = match answer {
            Some(answer) => Step::Ready(answer),
            None => self.answer(place, Some(&Known::Absent)),
        };
        let (Step::Ready(answer), Some(name)) = (answer, stand_in.to_name()) else {
            return self.fail();
        };
        let lease = is_name_error(&answer).then(|| self.static_lease());
        self.send_as(&answer, name, &key, lease.map(Reuse::new))
    }

    /// The signed reply that there is no such name. The SOA record and its signature are the same for all names of
    /// the same length; the NSEC record is at the name itself (RFC 9824 §3.1).
    fn denied(&mut self, place: &ServedZone<'_>) -> Sent {
        match self.try_denied(place) {
            Ok(sent) => sent,
            Err(error) => self.unsigned(place.zone, error, true),
        }
    }

    fn try_denied(&mut self, place: &ServedZone<'_>) -> Result<Sent, Unsigned> {
        if let RecordType::NSEC | RecordType::RRSIG = self.query.record_type() {
            let signer = self.signer(place, true).ok_or(Unsigned::Failed)?;
            // The client asks for the proof itself.
            let Step::Ready(mut answer) = self.answer(place, Some(&Known::Absent)) else {
                return Err(Unsigned::Failed);
            };
            signer.sign(&mut answer, self.query.record_type())?;
            return Ok(self.send_and_keep(&answer, None));
        }
        // The SOA record is kept for all names; the proof for this name follows it.
        let (mut head, len) = self.signed_soa(place)?;
        let signer = self.signer(place, true).ok_or(Unsigned::Failed)?;
        let proof = signer.proof_of_absence(&self.query.name)?;
        if len + proof.bytes.len() > self.frame.room() {
            return Ok(self.scratch.reply.truncate(&self.frame, head));
        }
        let records = self.scratch.reply.records_mut(&self.query.echo);
        records[len..len + proof.bytes.len()].copy_from_slice(&proof.bytes);
        head.authorities += proof.records;
        let len = len + proof.bytes.len();
        Ok(self.scratch.reply.complete(&self.frame, head, len))
    }

    /// Writes the SOA record of a denial, with its signatures, to the records of the reply. Returns the head of the
    /// answer, and the length of the records.
    fn signed_soa(&mut self, place: &ServedZone<'_>) -> Result<(Head, usize), Unsigned> {
        let stand_in = place.zone.stand_in(&self.query.name);
        let key = self
            .shared
            .hot
            .stand_in_key(&stand_in, place.zone, Form::Signed);
        if self.reading == Reading::Ordinary
            && let Some(found) = self.find_hot(&key)
        {
            return Ok((Head::from_bytes(found.head), found.len));
        }
        let signer = self.signer(place, false).ok_or(Unsigned::Failed)?;
        let mut answer = Answer::empty(ResponseCode::NXDomain, None);
        answer.authoritative = true;
        answer.authorities.push(place.zone.negative_soa().clone());
        let renewal = signer.sign(&mut answer, RecordType::SOA)?;
        let name = stand_in.to_name().ok_or(Unsigned::Failed)?;
        let question = EncodedQuestion::query(name, self.query.record_type());
        let kept = Reuse {
            lease: self.static_lease(),
            link_end: None,
            renewal,
        };
        let encoded = Encoded::of(&answer, question, self.scratch.encoding);
        let encoded = encoded.ok_or(Unsigned::Failed)?;
        if self.reading == Reading::Ordinary {
            let validity = kept.validity(&answer, self.stamp, self.now);
            self.shared.keep(&key, &encoded, validity);
        }
        let records = self.scratch.reply.records_mut(&self.query.echo);
        if let Some(place) = records.get_mut(..encoded.records.len()) {
            place.copy_from_slice(encoded.records);
        }
        Ok((encoded.head, encoded.records.len()))
    }

    /// The signer of this zone, if it is signed.
    fn signer<'s>(&'s self, place: &'s ServedZone<'_>, is_made_up: bool) -> Option<Signer<'s>> {
        Some(Signer {
            shared: self.shared,
            zone: place.zone,
            signing: place.zone.signing()?,
            keys: place.keys.as_ref()?,
            now: self.now,
            stamp: self.stamp,
            client: self.from.0,
            is_known: self.is_known(),
            is_made_up: is_made_up || self.reading == Reading::Odd,
            wants_dnssec: self.form == Form::Signed,
        })
    }

    /// The reply in place of one that cannot be signed: truncated, so that the client asks by TCP, or SERVFAIL.
    fn unsigned(&mut self, zone: &Zone, error: Unsigned, is_made_up: bool) -> Sent {
        let via_udp = self.from.1 == Via::Udp;
        let sent = if via_udp && error == Unsigned::TooMany {
            self.truncated()
        } else {
            let answer = Answer::empty(ResponseCode::ServFail, Some(error.explained()));
            self.send_and_keep(&answer, None)
        };
        match is_made_up {
            true => sent.in_zone(zone),
            false => sent,
        }
    }

    /// A reply without records, so that the client asks by TCP.
    fn truncated(&mut self) -> Sent {
        let head = Head::of(&Answer::cut());
        self.scratch.reply.truncate(&self.frame, head)
    }

    /// The reply, with the link that was looked up.
    fn with_link(&mut self, place: &ServedZone<'_>, resolved: Resolved) -> Sent {
        let is_absent = matches!(
            resolved.outcome,
            Ok(Resolution::Absent | Resolution::Expired(_))
        );
        if is_absent && link_at(place.zone, &self.query.name).is_some() {
            return self.no_name(place, None);
        }
        let mut end = None;
        let known = match resolved.outcome {
            // The answer itself keeps the destination back.
            Ok(Resolution::Live(link) | Resolution::Withheld(link)) => {
                end = link.expires_at;
                Known::Live(link)
            }
            Ok(Resolution::Expired(_) | Resolution::Absent) => Known::Absent,
            Err(error) => self.shared.unknown(&error),
        };
        match self.answer(place, Some(&known)) {
            Step::Ready(answer) if is_name_error(&answer) => self.no_name(place, Some(answer)),
            Step::Ready(mut answer) => {
                if resolved.stale && matches!(known, Known::Live(_)) {
                    answer.mark_stale();
                }
                let is_live = matches!(known, Known::Live(_));
                let is_own = is_own(place.zone, &self.query.name, is_live);
                let lease = resolved.lease.filter(|_| is_own && !is_absent);
                self.send(place, answer, lease, end, !is_own)
            }
            // A chain of aliases ends before a second look-up.
            Step::NeedsLink(_) | Step::NeedsChallenges(_) => self.fail(),
        }
    }

    /// The reply, with the challenges that were read. It is never kept: the next query may see others.
    fn with_challenges(
        &mut self,
        place: &ServedZone<'_>,
        values: Result<Vec<Box<str>>, StoreError>,
    ) -> Sent {
        let known = match values {
            Ok(values) => Known::Challenges(values),
            // By TCP, a resolver is not refused because of a flood by UDP.
            Err(StoreError::Overloaded) if self.from.1 == Via::Udp => {
                self.shared.metrics.link_failures.inc();
                return self.truncated();
            }
            Err(error) => self.shared.unknown(&error),
        };
        match self.answer(place, Some(&known)) {
            Step::Ready(answer) => {
                let is_own = is_own(place.zone, &self.query.name, false);
                self.send(place, answer, None, None, !is_own)
            }
            Step::NeedsLink(_) | Step::NeedsChallenges(_) => self.fail(),
        }
    }

    fn static_lease(&self) -> Lease {
        static_lease(self.stamp, self.now)
    }

    fn answer(&self, place: &ServedZone<'_>, known: Option<&Known>) -> Step {
        let Some((name, key)) = self.query.names() else {
            return Step::Ready(Answer::empty(ResponseCode::ServFail, None));
        };
        let question = Question {
            name: &name,
            key: &key,
            qtype: self.query.record_type(),
            signed: place.keys.as_ref().map(|keys| Signed {
                keys,
                wanted: self.form == Form::Signed,
            }),
            client: self.client(),
        };
        answer(place.zone, question, known, self.now.unix)
    }

    fn fail(&mut self) -> Sent {
        self.send_and_keep(&Answer::empty(ResponseCode::ServFail, None), None)
    }

    /// Makes the reply from an answer of this zone, signed if need be; see [`Response::send_and_keep`]. `end` is
    /// when the answer's link expires.
    fn send(
        &mut self,
        place: &ServedZone<'_>,
        mut answer: Answer,
        lease: Option<Lease>,
        end: Option<UnixTime>,
        is_made_up: bool,
    ) -> Sent {
        let mut renewal = UnixTime(u64::MAX);
        if self.signs(place)
            && let Some(signer) = self.signer(place, is_made_up)
        {
            match signer.sign(&mut answer, self.query.record_type()) {
                Ok(first) => renewal = first,
                Err(error) => return self.unsigned(place.zone, error, is_made_up),
            }
        }
        let kept = lease.map(|lease| Reuse {
            lease,
            link_end: end,
            renewal,
        });
        let sent = self.send_and_keep(&answer, kept);
        match is_made_up {
            true => sent.in_zone(place.zone),
            false => sent,
        }
    }

    /// Makes the reply from an answer, and keeps the answer for that long.
    fn send_and_keep(&mut self, answer: &Answer, kept: Option<Reuse>) -> Sent {
        let query = self.query;
        let (key, kept) = self.place_of(query, answer, kept);
        match self.query.name.to_name() {
            Some(name) => self.send_as(answer, name, &key, kept),
            None => self.scratch.reply.truncate(&self.frame, Head::of(answer)),
        }
    }

    /// [`Response::send_and_keep`] with the answer encoded behind a question about `name`, which is as long as the
    /// query's name, and kept under this key.
    fn send_as(
        &mut self,
        answer: &Answer,
        name: Name,
        key: &HotKey<'_>,
        kept: Option<Reuse>,
    ) -> Sent {
        let Scratch { reply, encoding } = &mut self.scratch;
        let question = EncodedQuestion::query(name, self.query.record_type());
        // None if no message can hold the answer.
        if let Some(encoded) = Encoded::of(answer, question.clone(), encoding) {
            let is_kept =
                self.reading == Reading::Ordinary && answer.rcode != ResponseCode::ServFail;
            if let Some(kept) = kept.filter(|_| is_kept) {
                let validity = kept.validity(answer, self.stamp, self.now);
                self.shared.keep(key, &encoded, validity);
            }
            let frame = self.frame.with_error(answer.error, encoded.records.len());
            if let Some(sent) = reply.write(&frame, &encoded) {
                return sent;
            }
        }
        self.send_less(answer, question)
    }

    /// The reply from an answer that is too long as a whole.
    fn send_less(&mut self, answer: &Answer, question: EncodedQuestion) -> Sent {
        let Scratch { reply, encoding } = &mut self.scratch;
        // RFC 2181 §9: TC is not for additional records that are merely useful.
        if !answer.glue_required && !answer.additionals.is_empty() {
            let mut less = answer.clone();
            less.additionals.clear();
            if let Some(encoded) = Encoded::of(&less, question, encoding) {
                let frame = self.frame.with_error(answer.error, encoded.records.len());
                if let Some(sent) = reply.write(&frame, &encoded) {
                    return sent;
                }
            }
        }
        let frame = self.frame.with_error(answer.error, 0);
        reply.truncate(&frame, Head::of(answer))
    }
}

/// Whether an answer is NXDOMAIN without aliases.
fn is_name_error(answer: &Answer) -> bool {
    answer.rcode == ResponseCode::NXDomain && answer.answers.is_empty()
}
