//! From an ordinary query to its reply: the short way, which nearly every packet takes.
//!
//! ```text
//!   query ── hot answer? ──────────────────────────────────────────────────┐
//!              └─ zone ── name of a link? ── known to be absent: stand-in ──┤
//!                             └─ answer ── encode ── keep it hot ───────────┴─ complete ── out
//! ```
//!
//! What the reply says is decided by [`answer`] alone; here is decided which of its answers can be used
//! again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Query as EncodedQuestion, ResponseCode};
use hickory_proto::rr::Name;

use super::answer::{Answer, Known, Question, Step, answer};
use super::handler::{Handler, Shared, Unanswered};
use super::hot::{HotAnswers, HotKey, Now, Validity};
use super::packet::Via;
use super::query::{Query, to_name};
use super::reply::{Encoded, Frame, ReplyBuffer, Sent, head};
use crate::clock::UnixTime;
use crate::link::{Code, LinkName, Origin};
use crate::links::{Lease, Resolution, Resolved, Stamp};
use crate::zone::{WireName, Zone, Zones};

/// How long an answer that depends on no link is kept, before it is made again for no other reason.
const STATIC_LEASE: Duration = Duration::from_secs(3_600);

/// Where an answer is encoded, and its reply put together.
pub(super) struct Scratch<'a> {
    /// The reply.
    pub(super) reply: &'a mut ReplyBuffer,
    /// A buffer that is used again and again.
    pub(super) encoding: &'a mut Vec<u8>,
}

/// An ordinary query, and the hash by which its answer is looked for.
pub(super) struct Prepared<'p> {
    pub(super) query: Query<'p>,
    hash: u64,
    /// What the rate limit will charge, if there is one for this client and the reply is an answer.
    pub(super) accounts: Option<[u64; 2]>,
}

/// What a query has waited for.
pub(super) struct Answerable {
    pub(super) zones: Arc<Zones>,
    stamp: Stamp,
    pub(super) resolved: Resolved,
}

/// A query, and what is needed for its reply.
struct Work<'a, 'p> {
    shared: &'a Shared,
    query: &'a Query<'p>,
    now: &'a Now,
    scratch: Scratch<'a>,
    /// Of a reply that tells no extended error.
    frame: Frame<'a>,
    /// Of the time before the zones were looked at: a reload moves it on when they have been replaced.
    stamp: Stamp,
}

impl Scratch<'_> {
    /// The same, to be lent.
    pub(super) fn lend(&mut self) -> Scratch<'_> {
        Scratch {
            reply: self.reply,
            encoding: self.encoding,
        }
    }
}

impl Handler {
    /// Reads a packet of this client; none if it is no ordinary query.
    pub(super) fn prepare<'p>(
        &self,
        packet: &'p [u8],
        (client, via): (IpAddr, Via),
    ) -> Option<Prepared<'p>> {
        let query = Query::read(packet)?;
        let hash = self.0.hot.key(&query.name, query.qtype).hash();
        let limiter = self.0.limiter_for(via);
        let accounts = limiter.and_then(|limiter| limiter.accounts_of_answers(client, &query.name));
        Some(Prepared {
            query,
            hash,
            accounts,
        })
    }

    /// Makes the replies to these queries quicker, which are to come next.
    pub(super) fn fetch<'a>(&self, prepared: impl Iterator<Item = &'a Prepared<'a>> + Clone) {
        self.0
            .hot
            .fetch(prepared.clone().map(|prepared| prepared.hash));
        if let Some(limiter) = self.0.limiter_for(Via::Udp) {
            limiter.fetch(prepared.filter_map(|prepared| prepared.accounts).flatten());
        }
    }

    /// Makes the reply to an ordinary query, or finds that it has to wait for a link.
    pub(super) fn reply_now(
        &self,
        prepared: &Prepared<'_>,
        (client, via): (IpAddr, Via),
        now: &Now,
        scratch: Scratch<'_>,
    ) -> Result<Sent, Box<Unanswered>> {
        let Prepared { query, hash, .. } = prepared;
        let mut work = Work {
            shared: &self.0,
            query,
            now,
            frame: self.0.frame(&query.echo, via, client, now.unix),
            scratch,
            stamp: self.0.links.common_stamp(),
        };
        let key = HotAnswers::key_with_hash(&query.name, query.qtype, *hash);
        match work.hot_reply(&key) {
            Some(sent) => Ok(sent),
            None => work.anew(),
        }
    }

    /// Waits for the link.
    pub(super) async fn resolve(&self, unanswered: Box<Unanswered>) -> Answerable {
        Answerable {
            zones: unanswered.zones,
            stamp: unanswered.stamp,
            resolved: self.0.links.resolve_later(unanswered.link).await,
        }
    }

    /// Makes the reply to an ordinary query whose link had to be waited for; none if the packet is no
    /// such query.
    pub(super) fn reply_with(
        &self,
        query: &Query<'_>,
        (client, via): (IpAddr, Via),
        answerable: Answerable,
        scratch: Scratch<'_>,
    ) -> Option<Sent> {
        let zones = answerable.zones;
        let zone = zones.find_for(&query.name, query.record_type())?;
        let now = self.time();
        let mut work = Work {
            shared: &self.0,
            query,
            now: &now,
            frame: self.0.frame(&query.echo, via, client, now.unix),
            scratch,
            stamp: answerable.stamp,
        };
        Some(work.with_link(zone, answerable.resolved))
    }
}

impl Work<'_, '_> {
    /// A reply that is a hot answer.
    fn hot_reply(&mut self, key: &HotKey<'_>) -> Option<Sent> {
        let room = self.frame.room();
        let records = self.scratch.reply.records_mut(&self.query.echo);
        let is_current = |stamp| self.shared.links.is_current(stamp);
        let hot = &self.shared.hot;
        let hot = hot.find(key, self.now, is_current, room, records)?;
        self.scratch.reply.complete_hot(&self.frame, &hot)
    }

    /// A reply that no hot answer could be found for.
    fn anew(&mut self) -> Result<Sent, Box<Unanswered>> {
        let links = &self.shared.links;
        let zones = self.shared.zones.current();
        let qtype = self.query.record_type();
        let Some(zone) = zones.find_for(&self.query.name, qtype) else {
            return Ok(self.send_and_keep(&Answer::not_ours(), None, None));
        };
        let resolved = match link_at(zone, &self.query.name) {
            Some((code, origin)) if !links.may_exist(code.as_bytes(), origin) => {
                return Ok(self.no_name(zone, None));
            }
            Some((code, origin)) => match Code::parse(code) {
                Ok(code) => links.resolve_possible(&LinkName::new(&code, origin)),
                Err(_) => return Ok(self.fail()),
            },
            None => match self.answer(zone, None) {
                Step::NeedsLink(name) => links.resolve_now(&name),
                Step::Ready(answer) if is_name_error(&answer) => {
                    return Ok(self.no_name(zone, Some(answer)));
                }
                Step::Ready(answer) => {
                    // Of names below a wildcard, a DNAME or a zone cut there is no end.
                    let is_own = zone.has_name(&self.query.name);
                    let lease = is_own.then(|| self.static_lease());
                    let sent = self.send_and_keep(&answer, lease, None);
                    return Ok(if is_own { sent } else { sent.in_zone(zone) });
                }
            },
        };
        match resolved {
            Ok(resolved) => Ok(self.with_link(zone, resolved)),
            // Held to the end: a reload in between does not change what this query sees.
            Err(link) => Err(Box::new(Unanswered {
                zones: Arc::clone(&zones),
                stamp: self.stamp,
                link,
            })),
        }
    }

    /// The reply that there is no such name, which is the same for all names of the same length.
    /// `answer` is the answer if it has been made already.
    fn no_name(&mut self, zone: &Zone, answer: Option<Answer>) -> Sent {
        self.no_name_as_stand_in(zone, answer).in_zone(zone)
    }

    fn no_name_as_stand_in(&mut self, zone: &Zone, answer: Option<Answer>) -> Sent {
        let stand_in = zone.stand_in(&self.query.name);
        let key = self.shared.hot.stand_in_key(&stand_in);
        if let Some(sent) = self.hot_reply(&key) {
            return sent;
        }
        let answer = match answer {
            Some(answer) => Step::Ready(answer),
            None => self.answer(zone, Some(&Known::Absent)),
        };
        let (Step::Ready(answer), Some(name)) = (answer, to_name(&stand_in)) else {
            return self.fail();
        };
        let lease = is_name_error(&answer).then(|| self.static_lease());
        self.send_as(&answer, name, &key, lease, None)
    }

    /// A reply for which a link was looked up.
    fn with_link(&mut self, zone: &Zone, resolved: Resolved) -> Sent {
        let is_absent = matches!(
            resolved.outcome,
            Ok(Resolution::Absent | Resolution::Expired(_))
        );
        if is_absent && link_at(zone, &self.query.name).is_some() {
            return self.no_name(zone, None);
        }
        let mut end = None;
        let known = match resolved.outcome {
            Ok(Resolution::Live(link)) => {
                end = link.expires_at;
                Known::Live(link)
            }
            Ok(Resolution::Expired(_) | Resolution::Absent) => Known::Absent,
            Err(error) => self.shared.unknown(&error),
        };
        match self.answer(zone, Some(&known)) {
            Step::Ready(answer) if is_name_error(&answer) => self.no_name(zone, Some(answer)),
            Step::Ready(mut answer) => {
                if resolved.stale && matches!(known, Known::Live(_)) {
                    answer.mark_stale();
                }
                // Without a link it is the answer of a wildcard, which any name may have.
                let lease = resolved.lease.filter(|_| !is_absent);
                let sent = self.send_and_keep(&answer, lease, end);
                if is_absent { sent.in_zone(zone) } else { sent }
            }
            // A chain of aliases ends before a second link.
            Step::NeedsLink(_) => self.fail(),
        }
    }

    /// For what depends on no link.
    fn static_lease(&self) -> Lease {
        Lease {
            until: self.now.instant + STATIC_LEASE,
            stamp: self.stamp,
        }
    }

    fn answer(&self, zone: &Zone, known: Option<&Known>) -> Step {
        let Some((name, key)) = self.query.names() else {
            return Step::Ready(Answer::empty(ResponseCode::ServFail, None));
        };
        let question = Question {
            name: &name,
            key: &key,
            qtype: self.query.record_type(),
        };
        answer(zone, question, known, self.now.unix)
    }

    fn fail(&mut self) -> Sent {
        self.send_and_keep(&Answer::empty(ResponseCode::ServFail, None), None, None)
    }

    /// Makes the reply of an answer, and keeps the answer under this lease. `end` is when the link
    /// ends that it is about.
    fn send_and_keep(
        &mut self,
        answer: &Answer,
        lease: Option<Lease>,
        end: Option<UnixTime>,
    ) -> Sent {
        let hot = &self.shared.hot;
        let key = hot.key(&self.query.name, self.query.qtype);
        match to_name(&self.query.name) {
            Some(name) => self.send_as(answer, name, &key, lease, end),
            None => self.scratch.reply.truncate(&self.frame, head(answer)),
        }
    }

    /// [`Work::send_and_keep`], encoded as if the question were about `name`, which is as long as the
    /// query's, and kept under this key.
    fn send_as(
        &mut self,
        answer: &Answer,
        name: Name,
        key: &HotKey<'_>,
        lease: Option<Lease>,
        end: Option<UnixTime>,
    ) -> Sent {
        let Scratch { reply, encoding } = &mut self.scratch;
        let question = EncodedQuestion::query(name, self.query.record_type());
        // None if no message can hold it.
        if let Some(encoded) = Encoded::of(answer, question.clone(), encoding) {
            if let Some(lease) = lease.filter(|_| answer.rcode != ResponseCode::ServFail) {
                let validity = Validity {
                    lease: Lease {
                        stamp: lease.stamp.with_earlier(self.stamp),
                        ..lease
                    },
                    steady_until: steady_until(answer, end, self.now.unix),
                };
                let more = self.shared.hot.keep(key, &encoded, validity);
                self.shared.count_hot_bytes(more);
            }
            let frame = self.frame.with_error(answer.error, encoded.records.len());
            if let Some(sent) = reply.write(&frame, &encoded) {
                return sent;
            }
        }
        self.send_less(answer, question)
    }

    /// The reply of an answer that is too long as a whole.
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
        reply.truncate(&frame, head(answer))
    }
}

/// The code and the origin of the link that alone decides about a name: without it, there is no such
/// name.
fn link_at<'n>(zone: &'n Zone, name: &'n WireName) -> Option<(&'n str, &'n Origin)> {
    Some((zone.link_at(name)?, zone.link_origin()?))
}

/// Whether an answer says that a name does not exist, and nothing else.
fn is_name_error(answer: &Answer) -> bool {
    answer.rcode == ResponseCode::NXDomain && answer.answers.is_empty()
}

/// The last second in which the TTLs of an answer given at `now` are right, if a link ends at `end`: they
/// are never to reach beyond it (see [`crate::link::Link::cap_ttl`]).
fn steady_until(answer: &Answer, end: Option<UnixTime>, now: UnixTime) -> UnixTime {
    let Some(end) = end else {
        return UnixTime(u64::MAX);
    };
    let ttls = answer.answers.iter().map(|record| record.ttl);
    let longest = u64::from(ttls.max().unwrap_or(0));
    UnixTime(end.0.saturating_sub(longest + 1).max(now.0))
}

#[cfg(test)]
mod tests;
