//! From a request to a reply, by way of hickory: the adapter between its messages and [`answer`].
//!
//! hickory decodes the request and encodes the reply; what lies between is ours. `Catalog` with a
//! `ZoneHandler` is not used, because it turns a failing backend into NODATA, ignores the query's
//! class, and obeys any UDP size that the client names.
//!
//! A reply that needs no waiting is made in one go (`Handler::begin`); one that waits for a link is
//! ended later (`Handler::end`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{LowerQuery, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::server::Request;
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, ExtendedError, Known, Question, Signed, Step, answer};
use super::cookie::Cookies;
use super::cookie::secrets::CookieSecrets;
use super::edns::{QueryEdns, udp_limit};
use super::hot::{HotAnswers, Now};
use super::message::{Message, Refusal};
use super::ordinary::Answerable;
use super::packet::{MAX_TCP_PAYLOAD, Via};
use super::pulse::Pulse;
use super::query::Echo;
use super::query_log::QueryLog;
use super::rate_limit::{Class, RateLimiter, Scope, Sweep};
use super::reply::{Frame, Options, rcode_with};
use super::settings::Settings;
use super::signatures::{Signer, SigningState, Unsigned};
use crate::clock::UnixTime;
use crate::dnssec::Signing;
use crate::dnssec::denial::TYPE_RRSIG;
use crate::dnssec::keys::ZoneKeys;
use crate::links::{Links, Resolution, Resolved, Stamp, Unresolved};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::zone::{MAX_NAME_LEN, Zone, ZoneSet, Zones};

/// How many requests may be in work at once. What comes beyond waits if it came by TCP; else it is dropped,
/// and resolvers ask again. A request in work holds some 10 KiB.
const MAX_IN_FLIGHT: u32 = 16_384;

/// How often the rate limit is looked after.
const RATE_LIMIT_TICK: Duration = Duration::from_secs(1);

/// Answers requests from the zones and their links; and where they are logged, if they are.
#[derive(Clone, Debug)]
pub struct Handler(pub(super) Arc<Shared>, QueryLog);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) zones: Arc<ZoneSet>,
    pub(super) links: Arc<Links>,
    pub(super) hot: HotAnswers,
    settings: Settings,
    cookies: Cookies,
    limiter: Option<RateLimiter>,
    pub(super) signatures: SigningState,
    /// Whether any zone is signed.
    pub(super) has_signed: bool,
    pub(super) metrics: Arc<Metrics>,
    in_flight: Arc<Semaphore>,
    pulse: Pulse,
}

/// A request that waits for a link.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) zones: Arc<Zones>,
    /// Of the time before these zones were looked at.
    pub(super) stamp: Stamp,
    pub(super) link: Unresolved,
}

/// What is to be known of an odd query beside its question.
pub(super) struct Asked<'a> {
    /// What its OPT record says.
    pub(super) edns: Option<QueryEdns<'a>>,
    /// Who asks, and how.
    pub(super) from: (IpAddr, Via),
    /// Whether the client has shown that it is there, by TCP or by a cookie.
    pub(super) is_known: bool,
}

impl Asked<'_> {
    /// The question of a query, in a zone that is signed with these keys if it is.
    fn question<'q>(&self, query: &'q LowerQuery, keys: Option<&'q Arc<ZoneKeys>>) -> Question<'q> {
        let qtype = query.query_type();
        Question {
            name: query.original().name(),
            key: query.name(),
            qtype,
            signed: keys.map(|keys| Signed {
                keys,
                wanted: wants_dnssec(self.edns),
            }),
        }
    }
}

/// Whether a client wants signatures and proofs with whatever it is told (RFC 3225 §3).
pub(super) fn wants_dnssec(edns: Option<QueryEdns<'_>>) -> bool {
    edns.is_some_and(|edns| edns.dnssec_ok)
}

/// Where an odd query is answered from.
struct Place<'a> {
    zone: &'a Zone,
    /// Of the time before the zones were looked at.
    stamp: Stamp,
    asked: &'a Asked<'a>,
}

/// A reply before it is encoded.
pub(super) struct Reply {
    metadata: Metadata,
    answer: Answer,
}

impl Handler {
    /// A handler for these zones and links. Answers that are kept take at most `hot_bytes` bytes.
    pub fn new(
        zones: Arc<ZoneSet>,
        links: Arc<Links>,
        hot_bytes: usize,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hot = HotAnswers::new(hot_bytes);
        let limiter = settings.rate_limit.as_ref();
        let limiter = limiter.map(|config| RateLimiter::new(config, &metrics));
        let has_signed = !zones.signings().is_empty();
        let signatures = SigningState::new(&settings.signatures, has_signed);
        let shared = Shared {
            has_signed,
            signatures,
            zones,
            links,
            hot,
            cookies: drawn_cookies(settings.cookies),
            limiter,
            settings,
            metrics,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize)),
            pulse: Pulse::default(),
        };
        Self(Arc::new(shared), QueryLog::off())
    }

    /// Has queries logged there.
    #[must_use]
    pub fn with_query_log(self, log: QueryLog) -> Self {
        Self(self.0, log)
    }

    /// Whether any zone is signed.
    pub(super) fn has_signed(&self) -> bool {
        self.0.has_signed
    }

    /// Where queries are logged.
    pub(super) fn query_log(&self) -> &QueryLog {
        &self.1
    }

    /// The largest UDP reply, in bytes.
    pub(super) fn udp_payload(&self) -> usize {
        self.0.settings.udp_payload.into()
    }

    /// The time now.
    pub(super) fn time(&self) -> Now {
        self.0.time()
    }

    /// Decides the reply to a request, or finds that it has to wait for a link.
    pub(super) fn begin(
        &self,
        request: &Request,
        asked: &Asked<'_>,
    ) -> Result<Reply, Box<Unanswered>> {
        self.0.begin(request, asked)
    }

    /// Has the links looked up that these requests wait for. To be called within a runtime.
    pub(super) fn look_up<'a>(&self, unanswered: impl IntoIterator<Item = &'a mut Unanswered>) {
        let links = unanswered.into_iter().map(|one| &mut one.link);
        self.0.links.look_up(links);
    }

    /// Decides the reply to a request that had to wait.
    pub(super) fn end(
        &self,
        request: &Request,
        asked: &Asked<'_>,
        answerable: Answerable,
    ) -> Reply {
        self.0.end(request, asked, answerable)
    }

    /// Room for one more request in work; none if there are too many, or the server stops.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.in_flight).try_acquire_owned().ok()
    }

    /// Has answers made anew, since the zones have been replaced.
    pub fn zones_replaced(&self) {
        self.0.links.renew_all();
    }

    /// Room for one more request in work, when there is some; none if the server stops.
    pub(super) async fn permit_later(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.in_flight).acquire_owned().await.ok()
    }

    /// Whether the workers still come round.
    pub fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Makes DNS cookies under these secrets from now on.
    pub fn set_cookie_secrets(&self, secrets: CookieSecrets) {
        self.0.cookies.set(secrets);
    }

    /// Looks after the limits of replies and signatures, until it is told to stop.
    pub async fn watch_rate_limit(self, shutdown: CancellationToken) {
        let mut sweep = Sweep::default();
        let mut part = 0_usize;
        let mut ticks = tokio::time::interval(RATE_LIMIT_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = Instant::now();
            if let Some(limiter) = &self.0.limiter {
                limiter.tick(&mut sweep, now);
            }
            self.0.signatures.limiter().sweep(part, now);
            part = part.wrapping_add(1);
        }
    }

    /// Where to count.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Takes no more requests, and waits until those in work are answered, but no longer than
    /// `patience`. Returns whether all were.
    pub async fn drain(&self, patience: Duration) -> bool {
        // The semaphore is fair: once all permits are asked for, no request gets one any more.
        let all = self.0.in_flight.acquire_many(MAX_IN_FLIGHT);
        match tokio::time::timeout(patience, all).await {
            Ok(Ok(permits)) => {
                permits.forget();
                true
            }
            Ok(Err(_)) | Err(_) => {
                self.0.in_flight.close();
                false
            }
        }
    }
}

impl Shared {
    fn begin(&self, request: &Request, asked: &Asked<'_>) -> Result<Reply, Box<Unanswered>> {
        let answer = match question(request) {
            Some(query) => self.answer(query, asked)?,
            None => Answer::empty(ResponseCode::FormErr, None),
        };
        Ok(Reply::new(request, answer, asked))
    }

    /// Answers a query of class IN.
    fn answer(&self, query: &LowerQuery, asked: &Asked<'_>) -> Result<Answer, Box<Unanswered>> {
        let stamp = self.links.common_stamp();
        let zones = self.zones.current();
        let Some(zone) = zones.find(query.name(), query.query_type()) else {
            return Ok(Answer::not_ours());
        };
        let place = Place { zone, stamp, asked };
        let keys = zone.signing().map(Signing::keys);
        let question = asked.question(query, keys.as_deref());
        let name = match answer(zone, question, None, self.links.now()) {
            Step::Ready(answer) => return Ok(self.signed(&place, question, answer)),
            Step::NeedsLink(name) => name,
        };
        match self.links.resolve_now(&name) {
            Ok(found) => Ok(self.answer_with(&place, question, found)),
            // Held to the end: a reload in between does not change what this query sees.
            Err(link) => Err(Box::new(Unanswered {
                zones: Arc::clone(&zones),
                stamp,
                link,
            })),
        }
    }

    fn end(&self, request: &Request, asked: &Asked<'_>, answerable: Answerable) -> Reply {
        let Answerable {
            zones,
            stamp,
            resolved,
        } = answerable;
        let query = question(request);
        let zone = query.and_then(|query| zones.find(query.name(), query.query_type()));
        // Both were there before.
        let answer = match (query, zone) {
            (Some(query), Some(zone)) => {
                let keys = zone.signing().map(Signing::keys);
                let question = asked.question(query, keys.as_deref());
                self.answer_with(&Place { zone, stamp, asked }, question, resolved)
            }
            _ => Answer::empty(ResponseCode::ServFail, None),
        };
        Reply::new(request, answer, asked)
    }

    /// Answers a question about a link that was looked up.
    fn answer_with(&self, place: &Place<'_>, question: Question<'_>, found: Resolved) -> Answer {
        let known = match found.outcome {
            Ok(Resolution::Live(link)) => Known::Live(link),
            Ok(Resolution::Expired(_) | Resolution::Absent) => Known::Absent,
            Err(error) => self.unknown(&error),
        };
        match answer(place.zone, question, Some(&known), self.links.now()) {
            Step::Ready(mut answer) => {
                if found.stale && matches!(known, Known::Live(_)) {
                    answer.mark_stale();
                }
                self.signed(place, question, answer)
            }
            // A chain of aliases ends before a second link.
            Step::NeedsLink(_) => Answer::empty(ResponseCode::ServFail, None),
        }
    }

    /// An answer to an odd query with signatures, if it is to have some; all names of those are taken as made
    /// up, which they may well be.
    fn signed(&self, place: &Place<'_>, question: Question<'_>, mut answer: Answer) -> Answer {
        let &Place { zone, stamp, asked } = place;
        let (Some(signing), Some(signed)) = (zone.signing(), question.signed) else {
            return answer;
        };
        if !signed.wanted && u16::from(question.qtype) != TYPE_RRSIG {
            return answer;
        }
        let signer = Signer {
            shared: self,
            zone,
            signing,
            keys: signed.keys,
            now: &self.time(),
            stamp,
            client: asked.from.0,
            is_known: asked.is_known,
            is_made_up: true,
            wants_dnssec: signed.wanted,
        };
        match signer.sign(&mut answer, question.qtype) {
            Ok(_) => answer,
            Err(Unsigned::TooMany) if asked.from.1 == Via::Udp => Answer::cut(),
            Err(error) => Answer::empty(ResponseCode::ServFail, Some(error.explained())),
        }
    }

    /// What a reply is besides the answer.
    pub(super) fn frame<'a>(
        &'a self,
        echo: &'a Echo<'a>,
        via: Via,
        client: IpAddr,
        now: UnixTime,
    ) -> Frame<'a> {
        let udp_payload = self.settings.udp_payload;
        let (limit, keepalive) = match via {
            Via::Udp => {
                let size = echo.edns.map(|edns| edns.udp_payload);
                (udp_limit(size, udp_payload), None)
            }
            Via::Tcp { keepalive } | Via::Tls { keepalive } => (MAX_TCP_PAYLOAD, Some(keepalive)),
        };
        let cookie = echo.edns.and_then(|edns| edns.cookie);
        let cookie = cookie.and_then(|cookie| self.cookies.check(&cookie, client, now));
        let options = echo.edns.map_or_else(Options::default, |edns| Options {
            cookie: cookie.map(|checked| checked.cookie),
            nsid: self.settings.nsid.as_deref().filter(|_| edns.nsid),
            // RFC 7828 §3.2.1: by UDP it means nothing.
            keepalive: keepalive.filter(|_| edns.keepalive),
            error: None,
            // RFC 7830 §6: where everybody can read it, it hides nothing and costs something.
            padding: edns.padding && via.is_encrypted(),
        });
        Frame {
            echo,
            udp_payload,
            options,
            limit: limit.into(),
            has_valid_cookie: cookie.is_some_and(|checked| checked.is_valid),
        }
    }

    /// What limits replies that go this way: by TCP, a client has shown that it is where it says it is.
    pub(super) fn limiter_for(&self, via: Via) -> Option<&RateLimiter> {
        self.limiter.as_ref().filter(|_| via == Via::Udp)
    }

    /// What a message is told that needs no look-up.
    pub(super) fn refusal(&self, message: &Message<'_>, frame: &Frame<'_>) -> Option<Refusal> {
        message.refusal(&self.settings.identity, frame.cookie_check(), |name| {
            self.zones.current().has_apex(name)
        })
    }

    /// What an answer is to know of a link that could not be looked up.
    pub(super) fn unknown(&self, error: &StoreError) -> Known {
        self.metrics.link_failures.inc();
        Known::Unknown(explain(error))
    }

    /// Counts bytes that kept answers take in addition.
    pub(super) fn count_hot_bytes(&self, more: usize) {
        if more > 0 {
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            self.metrics.dns_hot_bytes.inc_by(more);
        }
    }

    /// Whether there may be signatures for this query.
    pub(super) fn may_sign(&self, edns: Option<QueryEdns<'_>>, qtype: u16) -> bool {
        self.has_signed && (wants_dnssec(edns) || qtype == TYPE_RRSIG)
    }

    pub(super) fn time(&self) -> Now {
        Now {
            instant: Instant::now(),
            unix: self.links.now(),
        }
    }
}

/// Cookies under a secret that is drawn now, if there are to be any. Where the system has no random bytes
/// for it, we are a server without.
fn drawn_cookies(enabled: bool) -> Cookies {
    let cookies = Cookies::default();
    if enabled {
        match CookieSecrets::random() {
            Ok(secrets) => cookies.set(secrets),
            Err(error) => tracing::warn!(%error, "there are no DNS cookies"),
        }
    }
    cookies
}

/// Whether a reply went out whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Whole,
    Truncated,
}

impl Reply {
    fn new(request: &Request, answer: Answer, asked: &Asked<'_>) -> Self {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.message_type = MessageType::Response;
        let rcode = rcode_with(answer.signed, answer.rcode.low(), asked.edns);
        metadata.response_code = match answer.rcode.low() == rcode {
            true => answer.rcode,
            false => ResponseCode::from_low(rcode),
        };
        metadata.authoritative = answer.authoritative;
        // RFC 4035 §3.1.6: an authoritative server clears CD.
        metadata.checking_disabled = false;
        Self { metadata, answer }
    }

    /// The rcode that the reply has in its header and OPT record.
    pub(super) fn rcode(&self) -> u16 {
        self.metadata.response_code.into()
    }

    /// What it is like. Which names there are, is not known here; so all odd queries count together.
    pub(super) fn class(&self) -> Class {
        let answer = &self.answer;
        let has_answers = !answer.answers.is_empty();
        Class::of(answer.rcode.into(), has_answers, answer.authoritative).with(Scope::Kind)
    }

    /// Whether the answer is signed.
    pub(super) fn is_signed(&self) -> bool {
        self.answer.signed
    }

    /// Why the answer is as it is.
    pub(super) fn error(&self) -> Option<ExtendedError> {
        self.answer.error
    }

    /// Encodes a reply into a buffer, without an OPT record, and cut to so many bytes. The buffer is
    /// empty afterwards where it cannot be encoded.
    pub(super) fn encode(&mut self, request: &Request, limit: usize, wire: &mut Vec<u8>) -> Fit {
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        self.fit_into(request, limit, wire)
    }

    /// hickory's own truncation would lose the OPT record and leave stray bytes, so it must never come
    /// to that. What fits is in `wire` in the end.
    fn fit_into(&mut self, request: &Request, limit: u16, wire: &mut Vec<u8>) -> Fit {
        if self.answer.cut {
            return self.cut(request, limit, wire);
        }
        // hickory truncates earlier than the length alone tells: a name needs room for all its labels
        // before it is compressed.
        let room = limit.saturating_add(MAX_NAME_LEN as u16);
        if self.write(request, room, wire) <= limit.into() {
            return Fit::Whole;
        }
        // RFC 2181 §9: TC is not for additional records that are merely useful.
        if !self.answer.glue_required && !self.answer.additionals.is_empty() {
            self.answer.additionals.clear();
            if self.write(request, room, wire) <= limit.into() {
                return Fit::Whole;
            }
        }
        self.cut(request, limit, wire)
    }

    /// Encodes a reply that tells the client to come by TCP.
    fn cut(&mut self, request: &Request, limit: u16, wire: &mut Vec<u8>) -> Fit {
        self.answer.answers.clear();
        self.answer.authorities.clear();
        self.answer.additionals.clear();
        self.metadata.truncation = true;
        let room = limit.saturating_add(MAX_NAME_LEN as u16);
        if self.write(request, room, wire) > limit.into() {
            wire.clear();
        }
        Fit::Truncated
    }

    /// Encodes the reply; gives its length in bytes, which is more than any limit if hickory, with
    /// `room` for it, would truncate it.
    fn write(&self, request: &Request, room: u16, wire: &mut Vec<u8>) -> usize {
        wire.clear();
        let mut encoder = BinEncoder::new(wire);
        encoder.set_max_size(room);
        match self.message(request).destructive_emit(&mut encoder) {
            Ok(info) if info.truncation == self.metadata.truncation => wire.len(),
            Ok(_) | Err(_) => usize::MAX,
        }
    }

    fn message<'a>(
        &'a self,
        request: &'a Request,
    ) -> MessageResponse<
        'a,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    > {
        MessageResponseBuilder::new(&request.queries, None).build(
            self.metadata,
            &self.answer.answers,
            &self.answer.authorities,
            &[],
            &self.answer.additionals,
        )
    }
}

/// The question of a request, of which there is one: see [`Message::refusal`].
fn question(request: &Request) -> Option<&LowerQuery> {
    match request.queries.queries() {
        [query] => Some(query),
        _ => None,
    }
}

/// Tells the operator of a resolver why there is no answer (RFC 8914).
fn explain(error: &StoreError) -> ExtendedError {
    let (code, text) = match error {
        StoreError::Unreachable(_) | StoreError::Unavailable(_) => {
            (ExtendedError::NETWORK_ERROR, "link store unavailable")
        }
        StoreError::Refused(_) => (ExtendedError::NOT_READY, "link store refuses calls"),
        StoreError::Throttled(_) => (ExtendedError::NOT_READY, "link store throttles"),
        StoreError::DeadlineExceeded => (ExtendedError::NETWORK_ERROR, "link store too slow"),
        StoreError::Overloaded => (
            ExtendedError::NOT_READY,
            "too many queries wait for the link store",
        ),
        StoreError::Corrupt { .. } => (ExtendedError::NOT_READY, "stored link is damaged"),
    };
    ExtendedError { code, text }
}
