//! The state that all queries share: zones, links, hot answers, settings and limits.
//!
//! Transports hold a [`Handler`]; [`super::packet`] has its entry points, and `respond` makes the replies. tinyns
//! does not use hickory's `Catalog` with a `ZoneHandler`, because it turns a failing backend into NODATA, ignores
//! the query's class, and obeys any UDP size that the client names.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::hot::{Form, HotAnswers, HotKey, Now, Validity};
use super::lookups::Lookups;
use super::pending::{Answerable, Found, Unanswered, Wanted};
use super::settings::Settings;
use super::signing_state::SigningState;
use super::via::{MAX_TCP_PAYLOAD, Via};
use crate::base::clock::UnixTime;
use crate::base::metrics::Metrics;
use crate::certificates::Challenges;
use crate::dns::answer::outcome::ExtendedError;
use crate::dns::answer::question::Known;
use crate::dns::limits::cookie::Cookies;
use crate::dns::limits::cookie::secrets::CookieSecrets;
use crate::dns::limits::rate_limit::{RateLimiter, Sweep};
use crate::dns::query_log::QueryLog;
use crate::dns::watchdog::Pulse;
use crate::dns::wire::edns::{ClientSubnet, QueryEdns, udp_limit};
use crate::dns::wire::message::{Message, Refusal};
use crate::dns::wire::query::Echo;
use crate::dns::wire::reply::{Encoded, Frame, Options, Signpost};
use crate::link::Origin;
use crate::links::Links;
use crate::routing::{Effects, ListId, Routing};
use crate::statistics::Statistics;
use crate::store::StoreError;
use crate::zone::ZoneSet;

/// How many queries may wait for their links at once. Further queries wait if they came by TCP; by UDP they are
/// dropped, and resolvers ask again. A waiting query holds some 10 KiB.
const MAX_IN_FLIGHT: u32 = 16_384;

/// How often the rate limit clears old accounts and logs.
const RATE_LIMIT_TICK: Duration = Duration::from_secs(1);

/// Answers queries from the zones and their links. It has the query log, and counts look-ups of links if statistics are on.
#[derive(Clone, Debug)]
pub struct Handler(pub(crate) Arc<Shared>, QueryLog, Option<Lookups>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) zones: Arc<ZoneSet>,
    pub(crate) links: Arc<Links>,
    pub(crate) hot: HotAnswers,
    /// The reader of challenges, once it is known.
    challenges: OnceLock<Arc<Challenges>>,
    /// The pools of names, if there are any.
    routing: OnceLock<Arc<Routing>>,
    settings: Settings,
    cookies: Cookies,
    limiter: Option<RateLimiter>,
    pub(crate) signatures: SigningState,
    /// Whether any zone is signed.
    pub(crate) has_signed: bool,
    pub(crate) metrics: Arc<Metrics>,
    in_flight: Arc<Semaphore>,
    pulse: Pulse,
}

/// Whether a client wants signatures and proofs (RFC 3225 §3).
fn wants_dnssec(edns: Option<QueryEdns<'_>>) -> bool {
    edns.is_some_and(|edns| edns.dnssec_ok)
}

impl Handler {
    /// A handler for these zones and links. Hot answers take at most `hot_bytes` bytes.
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
            challenges: OnceLock::new(),
            routing: OnceLock::new(),
            cookies: drawn_cookies(settings.cookies),
            limiter,
            settings,
            metrics,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize)),
            pulse: Pulse::default(),
        };
        Self(Arc::new(shared), QueryLog::off(), None)
    }

    /// The same handler with this query log.
    #[must_use]
    pub fn with_query_log(self, log: QueryLog) -> Self {
        Self(self.0, log, self.2)
    }

    /// The same handler, which counts look-ups of links for these statistics.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn with_statistics(self, statistics: Statistics) -> io::Result<Self> {
        let lookups = Lookups::start(statistics)?;
        Ok(Self(self.0, self.1, lookups))
    }

    /// Counts look-ups of links; none if statistics are off.
    pub(crate) fn lookups(&self) -> Option<&Lookups> {
        self.2.as_ref()
    }

    /// Gives the look-ups that were counted to the statistics, also those that tasks have counted. Workers give theirs when
    /// they end.
    pub async fn flush_lookups(&self) {
        if let Some(lookups) = &self.2 {
            lookups.flush().await;
        }
    }

    /// Whether any zone is signed.
    pub(crate) fn has_signed(&self) -> bool {
        self.0.has_signed
    }

    /// The query log.
    pub(crate) fn query_log(&self) -> &QueryLog {
        &self.1
    }

    /// The largest UDP reply, in bytes.
    pub(crate) fn udp_payload(&self) -> usize {
        self.0.settings.udp_payload.into()
    }

    /// The time now.
    pub(crate) fn time(&self) -> Now {
        self.0.time()
    }

    /// Waits for the look-up of a query. That of a link has begun.
    pub(crate) async fn resolve(&self, unanswered: Box<Unanswered>) -> Answerable {
        let Unanswered {
            zones,
            stamp,
            wanted,
        } = *unanswered;
        let found = match wanted {
            Wanted::Link(link) => Found::Link(self.0.links.resolve_later(link).await),
            Wanted::Challenges(origin, via) => {
                Found::Challenges(self.0.challenges(&origin, via).await)
            }
        };
        Answerable {
            zones,
            stamp,
            found,
        }
    }

    /// Begins the look-ups of the links that these queries wait for. Call it within a runtime.
    pub(crate) fn look_up<'a>(&self, unanswered: impl IntoIterator<Item = &'a mut Unanswered>) {
        let links = unanswered
            .into_iter()
            .filter_map(|one| match &mut one.wanted {
                Wanted::Link(link) => Some(link),
                Wanted::Challenges(..) => None,
            });
        self.0.links.look_up(links);
    }

    /// A permit for one more waiting query; none if there are too many, or the server stops.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.in_flight).try_acquire_owned().ok()
    }

    /// Makes all hot answers invalid, after the zones have been replaced.
    pub fn zones_replaced(&self) {
        self.0.links.renew_all();
    }

    /// Waits for a permit for one more waiting query; none if the server stops.
    pub(crate) async fn permit_later(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.in_flight).acquire_owned().await.ok()
    }

    /// The marks of the UDP workers.
    pub fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Answers queries for challenges from this reader. Only the first call has an effect.
    pub fn set_challenges(&self, challenges: Arc<Challenges>) {
        let _ = self.0.challenges.set(challenges);
    }

    /// Has the addresses of names depend on the client. Only the first call has an effect.
    pub fn set_routing(&self, routing: Arc<Routing>) {
        let names = routing.config().pools.iter().map(|pool| &*pool.name);
        self.0.metrics.set_pools(names);
        let links = self.0.links.clone();
        routing.attach(Effects {
            metrics: self.0.metrics.clone(),
            drop_answers: Box::new(move || links.renew_all()),
        });
        let _ = self.0.routing.set(routing);
        // What was kept before is for all clients.
        self.zones_replaced();
    }

    /// Makes DNS cookies with these secrets from now on.
    pub fn set_cookie_secrets(&self, secrets: CookieSecrets) {
        self.0.cookies.set(secrets);
    }

    /// Clears old accounts of the limits on replies and signatures, until `shutdown`.
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

    /// The metrics.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Lets no more queries wait, and waits for those that do, but no longer than `patience`. Returns whether all
    /// have ended.
    pub async fn drain(&self, patience: Duration) -> bool {
        // The semaphore is fair: once all permits are requested, no query gets one any more.
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
    /// The frame of a reply: all of it but the answer.
    pub(crate) fn frame<'a>(
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
            // RFC 7828 §3.2.1: servers ignore the option in queries by UDP.
            keepalive: keepalive.filter(|_| edns.keepalive),
            // RFC 7871 §7.2.1: in the reply if it is in the query, with scope 0 unless the answer depends on it.
            subnet: self.subnet_of(Some(edns)).map(|subnet| (subnet, 0)),
            error: None,
            // RFC 7830 §6: without encryption, padding hides nothing and costs bandwidth.
            padding: edns.padding && via.is_encrypted(),
        });
        Frame {
            echo,
            udp_payload,
            options,
            limit: limit.into(),
            has_valid_cookie: cookie.is_some_and(|checked| checked.is_valid),
            routed: None,
        }
    }

    /// The pools of names, if there are any.
    pub(crate) fn routing(&self) -> Option<&Routing> {
        self.routing.get().map(|routing| &**routing)
    }

    /// Whether the server locates clients by the subnets that resolvers send.
    pub(crate) fn takes_subnets(&self) -> bool {
        self.routing()
            .is_some_and(|routing| routing.config().client_subnet)
    }

    /// The client subnet of a query, if it is used.
    pub(crate) fn subnet_of<'q>(&self, edns: Option<QueryEdns<'q>>) -> Option<ClientSubnet<'q>> {
        let subnet = edns.and_then(|edns| edns.subnet)?;
        self.takes_subnets()
            .then(|| ClientSubnet::read(subnet))
            .flatten()
    }

    /// Whether a query has a client subnet that is used, and that is malformed.
    pub(crate) fn has_bad_subnet(&self, edns: Option<QueryEdns<'_>>) -> bool {
        let subnet = edns.and_then(|edns| edns.subnet);
        subnet.is_some_and(|data| self.takes_subnets() && ClientSubnet::read(data).is_none())
    }

    /// The limiter of replies by this transport. By TCP there is none: the handshake has proved the client's
    /// address.
    pub(crate) fn limiter_for(&self, via: Via) -> Option<&RateLimiter> {
        self.limiter.as_ref().filter(|_| via == Via::Udp)
    }

    /// The refusal of a message that needs no look-up.
    pub(crate) fn refusal(&self, message: &Message<'_>, frame: &Frame<'_>) -> Option<Refusal> {
        message.refusal(&self.settings.identity, frame.cookie_check(), |name| {
            self.zones.current().has_apex(name)
        })
    }

    /// The challenges of the zone of these links, for a reply by this transport.
    async fn challenges(&self, origin: &Origin, via: Via) -> Result<Vec<Box<str>>, StoreError> {
        let Some(challenges) = self.challenges.get() else {
            return Err(StoreError::Unavailable("nothing reads challenges".into()));
        };
        match via {
            Via::Udp => challenges.values_if_room(origin).await,
            Via::Tcp { .. } | Via::Tls { .. } => challenges.values(origin).await,
        }
    }

    /// Counts a failed look-up, and gives the decision its reason.
    pub(crate) fn unknown(&self, error: &StoreError) -> Known {
        self.metrics.link_failures.inc();
        Known::Unknown(explain(error))
    }

    /// The form of the answer that a client wants.
    pub(crate) fn form_of(&self, edns: Option<QueryEdns<'_>>) -> Form {
        match self.has_signed && wants_dnssec(edns) {
            true => Form::Signed,
            false => Form::Plain,
        }
    }

    /// Keeps a signpost in place of an answer that depends on the client.
    pub(crate) fn keep_signpost(&self, key: &HotKey<'_>, list: ListId, validity: Validity) {
        let more = self.hot.keep(key, Signpost(list).to_bytes(), &[], validity);
        self.count_hot_bytes(more);
    }

    /// Keeps an answer hot, if the cache takes it.
    pub(crate) fn keep(&self, key: &HotKey<'_>, encoded: &Encoded<'_>, validity: Validity) {
        let head = encoded.head.to_bytes();
        let more = self.hot.keep(key, head, encoded.records, validity);
        self.count_hot_bytes(more);
    }

    /// Adds to the bytes that hot answers take.
    pub(crate) fn count_hot_bytes(&self, more: usize) {
        if more > 0 {
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            self.metrics.dns_hot_bytes.inc_by(more);
        }
    }

    pub(crate) fn time(&self) -> Now {
        Now {
            instant: Instant::now(),
            unix: self.links.now(),
        }
    }
}

/// Cookies with a new random secret, if cookies are enabled. Without random bytes from the system there are no
/// cookies.
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

/// Why there is no answer, for the operator of the resolver (RFC 8914).
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
