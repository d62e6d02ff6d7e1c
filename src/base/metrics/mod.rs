//! Every figure that the server counts, declared in this one place.

mod latency;
mod process;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::latency::{LocalTimes, ResponseTimes, Times};
use self::process::Process;

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    /// Those whose names are the same for all programs.
    common: Registry,
    /// Replies sent, by transport and rcode.
    pub dns_responses: Family<DnsResponse, Counter>,
    /// Queries that got no reply, by reason.
    pub dns_dropped: Family<DnsDrop, Counter>,
    /// How long replies took, by transport.
    pub dns_response_times: Arc<ResponseTimes>,
    /// Replies cut short with TC.
    pub dns_truncated: Counter,
    /// Replies made of an answer that was kept.
    pub dns_hot_answers: Counter,
    /// What kept answers take, in bytes.
    pub dns_hot_bytes: Gauge,
    /// Signatures that were made.
    pub dnssec_signatures: Counter,
    /// Signatures that would have been too many.
    pub dnssec_signatures_refused: Counter,
    /// TCP connections that were accepted and had a seat.
    pub dns_tcp_accepted: Counter,
    /// TCP connections that are open.
    pub dns_tcp_connections: Gauge,
    /// TCP connections that have ended or were refused, by reason.
    pub dns_tcp_closed: Family<TcpClose, Counter>,
    /// How often no TCP connection could be accepted, because something was short.
    pub dns_tcp_accept_errors: Counter,
    /// Replies that were too many for a network, by kind and what was done.
    pub rate_limited: Family<RateLimited, Counter>,
    /// Accounts of networks that owe something.
    pub rate_limit_accounts: Gauge,
    /// Accounts that were pushed out while they owed something.
    pub rate_limit_evictions: Counter,
    /// TLS handshakes, by how they ended.
    pub dns_tls_handshakes: Family<TlsHandshake, Counter>,
    /// Reloads of the certificate, by outcome.
    pub dns_tls_reloads: Family<Reload, Counter>,
    /// Queries whose link could not be known.
    pub link_failures: Counter,
    /// Look-ups of links, by tier and result.
    pub link_lookups: Family<LinkLookup, Counter>,
    /// How long look-ups behind the memory took, in seconds, by tier.
    pub link_lookup_seconds: Family<TierLabel, Histogram, fn() -> Histogram>,
    /// Look-ups that the budget kept from the store.
    pub store_reads_refused: Counter,
    /// Calls of the store that failed, by cause.
    pub store_errors: Family<StoreFailure, Counter>,
    /// Whether queries are answered as they should be.
    pub serves: Gauge,
    /// Whether changes of links are taken.
    pub takes_changes: Gauge,
    /// Calls of Redis, by call and outcome.
    pub redis_calls: Family<RedisCall, Counter>,
    /// How many parts of Redis are down.
    pub redis_breakers_open: Gauge,
    /// Changes that Redis has not been told of.
    pub redis_repairs_pending: Gauge,
    /// Changes of which it is not known whether they were made.
    pub changes_unsettled: Gauge,
    /// How long a reply of Redis takes at least, in seconds.
    pub redis_round_trip: Gauge<f64, AtomicU64>,
    /// Changes of names heard of by the stream.
    pub changes_seen: Counter,
    /// How often changes may have been missed.
    pub changes_gaps: Counter,
    /// How old the last change was when it was heard of, in seconds.
    pub changes_lag: Gauge<f64, AtomicU64>,
    /// Whether the stream of changes is followed.
    pub changes_following: Gauge,
    /// Links that the warm load has read, since the start.
    pub warm_load_links: Counter,
    /// Whether this node is loading links into Redis.
    pub warm_load_running: Gauge,
    /// What memory holds, in entries.
    pub memory_entries: Family<MemorySet, Gauge>,
    /// What memory holds, in bytes as they are weighed.
    pub memory_bytes: Family<MemorySet, Gauge>,
    /// Links in the existence filter.
    pub filter_links: Gauge,
    /// How much memory existence filters take, also one that is being built, in bytes.
    pub filter_bytes: Gauge,
    /// Whether the existence filter is complete and denies.
    pub filter_complete: Gauge,
    /// How often an existence filter was built.
    pub filter_builds: Counter,
    /// Queries in the query log.
    pub query_log_queries: Counter,
    /// What was written to the query log, in bytes.
    pub query_log_bytes: Counter,
    /// Queries that were picked for the query log and are not in it, by reason.
    pub query_log_dropped: Family<QueryLogDrop, Counter>,
    /// Whether the query log is on, and its file or collector takes what is written.
    pub query_log_up: Gauge,
    /// Requests to the admin API, by status.
    pub admin_requests: Family<HttpStatus, Counter>,
    /// Requests to the redirect host, by status.
    pub redirect_requests: Family<HttpStatus, Counter>,
    /// HTTP connections that were accepted and had a seat, by part.
    pub http_accepted: Family<HttpPartLabel, Counter>,
    /// HTTP connections that are open, by part.
    pub http_connections: Family<HttpPartLabel, Gauge>,
    /// HTTP connections that have ended or were refused, by part and reason.
    pub http_closed: Family<HttpClose, Counter>,
    /// How often no HTTP connection could be accepted, because something was short, by part.
    pub http_accept_errors: Family<HttpPartLabel, Counter>,
    /// Reloads of the keys of signed zones, by outcome.
    pub dnssec_reloads: Family<Reload, Counter>,
    /// Reloads of the zone files, by outcome.
    pub zone_reloads: Family<Reload, Counter>,
}

/// The labels of [`Metrics::dns_responses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DnsResponse {
    /// How the query came.
    pub transport: Transport,
    /// The extended rcode, as a number (RFC 6895 §2.3).
    pub rcode: u16,
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// The label of [`Metrics::dns_response_times`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: Transport,
}

/// The label of [`Metrics::dns_dropped`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DnsDrop {
    /// Why.
    pub reason: DropReason,
}

/// Why a query got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum DropReason {
    NotAQuery,
    Overload,
    RateLimited,
    Unsendable,
}

/// The label of [`Metrics::dns_tcp_closed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TcpClose {
    /// Why.
    pub reason: TcpCloseReason,
}

/// Why a TCP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum TcpCloseReason {
    /// The client has closed it, and was answered.
    Client,
    /// Nothing was asked for a while.
    Idle,
    /// A message took too long to arrive.
    SlowMessage,
    /// The client did not read its replies.
    SlowReader,
    /// What came was no query.
    NotAQuery,
    /// It has lasted for as long as it may.
    Lifetime,
    /// There was no TLS handshake, or it failed, or took too long.
    Handshake,
    /// There was no room for one of its queries among all that are in work.
    Overload,
    /// The network, or the client, has broken it.
    Error,
    /// The server stops.
    Stop,
    /// It was at rest longest, and another one needed its seat.
    Limit,
    /// The same, among those of one client.
    ClientLimit,
    /// The same, where a descriptor was needed.
    Descriptors,
    /// It was refused: all seats were taken, and nobody at rest; or too many were on their way out.
    Refused,
    /// It was refused: its client had all it may have, and none of them at rest.
    ClientRefused,
}

/// The labels of [`Metrics::rate_limited`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RateLimited {
    /// What was done instead of sending the reply.
    pub action: LimitAction,
    /// Of what there were too many.
    pub kind: LimitKind,
}

/// What is done about a reply that is too many for a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LimitAction {
    /// Nothing is sent.
    Dropped,
    /// It is sent without records, and truncated if it is no error.
    Slipped,
    /// A server cookie is sent, to come again with (RFC 7873 §5.2.3).
    BadCookie,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LimitKind {
    /// With records in the answer section.
    Answer,
    /// NOERROR, without records in the answer section.
    NoData,
    /// NXDOMAIN.
    NxDomain,
    /// NOERROR, with the name servers of another zone.
    Referral,
    /// Any other rcode.
    Error,
    /// All replies to a network together.
    All,
}

/// The label of [`Metrics::query_log_dropped`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueryLogDrop {
    /// Why.
    pub reason: QueryLogDropReason,
}

/// Why a query that was picked is not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum QueryLogDropReason {
    /// The queue was full: the disk or the collector is slower than queries come.
    TooSlow,
    /// The queue was full, while nothing could be written.
    Unavailable,
}

/// The label of [`Metrics::dns_tls_handshakes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TlsHandshake {
    /// How it ended.
    pub result: HandshakeResult,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HandshakeResult {
    /// With a new session.
    Full,
    /// With a session that there had been before.
    Resumed,
    /// What came was none, or not one that we can agree to, or the client has broken it off.
    Failed,
    /// It took too long.
    TimedOut,
    /// We have broken it off: its seat was needed, or the server stops.
    Dropped,
}

/// The labels of [`Metrics::link_lookups`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLookup {
    /// Who was asked.
    pub tier: Tier,
    /// What came of it.
    pub result: LookupResult,
}

/// The label of [`Metrics::link_lookup_seconds`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TierLabel {
    /// Who was asked.
    pub tier: Tier,
}

/// Where links are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Tier {
    Filter,
    Memory,
    Redis,
    Store,
}

/// The label of [`Metrics::store_errors`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreFailure {
    /// Why the call failed: `unreachable`, `refused`, `throttled`, `unavailable`, `overloaded`, `timeout` or
    /// `corrupt`.
    pub cause: &'static str,
}

/// The labels of [`Metrics::redis_calls`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RedisCall {
    /// What for.
    pub call: &'static str,
    /// How it ended.
    pub outcome: RedisOutcome,
}

/// How a call of Redis ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum RedisOutcome {
    /// With an answer.
    Ok,
    /// With an error.
    Error,
    /// It took too long.
    Timeout,
    /// It was not made: Redis is down.
    Skipped,
}

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LookupResult {
    /// The tier knew; of memory also that there is no such link, of the filter that alone.
    Hit,
    /// The tier did not know, whatever those behind it then did; of the store that there is no
    /// such link.
    Miss,
    /// The tiers behind failed, and what was held before was used. Of Redis: what it held was older
    /// than what is known, and not used.
    Stale,
    /// Too much was under way.
    Refused,
    /// The tier failed.
    Error,
}

/// The label of the figures of the memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MemorySet {
    /// Which part of it.
    pub set: LinkSet,
}

/// The parts of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum LinkSet {
    Links,
    Absent,
}

/// The label of the HTTP counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpStatus {
    /// The status code.
    pub status: u16,
}

/// The label of the figures of HTTP connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpPartLabel {
    /// Which part.
    pub part: HttpPart,
}

/// The parts of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum HttpPart {
    Admin,
    Redirect,
}

/// The labels of [`Metrics::http_closed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpClose {
    /// Which part.
    pub part: HttpPart,
    /// Why.
    pub reason: HttpCloseReason,
}

/// Why an HTTP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HttpCloseReason {
    /// By the client, or as the client or the response said that it would.
    Client,
    /// There was no request for a while.
    Idle,
    /// The head of a request took too long to arrive.
    SlowHead,
    /// A request was in flight, and no byte moved for too long.
    Stalled,
    /// The network or the client has broken it, or what came was not HTTP.
    Error,
    /// The server stops.
    Stop,
    /// It had waited longest for its client, and another one needed its seat.
    Limit,
    /// The same, among those of one client.
    ClientLimit,
    /// The same, where a descriptor was needed.
    Descriptors,
    /// It was refused: all seats were taken, and the server was at work for each; or too many were on their
    /// way out.
    Refused,
    /// It was refused: its client had all it may have, and the server was at work for each.
    ClientRefused,
}

/// The label of [`Metrics::zone_reloads`], [`Metrics::dns_tls_reloads`] and [`Metrics::dnssec_reloads`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// Whether what is new was taken.
    pub outcome: Outcome,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Outcome {
    Success,
    Failure,
}

impl HttpPart {
    /// What it is called in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "the admin API",
            Self::Redirect => "the redirect host",
        }
    }
}

impl LimitAction {
    /// All of them, each at its own number.
    pub const ALL: [Self; 3] = [Self::Dropped, Self::Slipped, Self::BadCookie];
}

impl LimitKind {
    /// All of them, each at its own number.
    pub const ALL: [Self; 6] = [
        Self::Answer,
        Self::NoData,
        Self::NxDomain,
        Self::Referral,
        Self::Error,
        Self::All,
    ];
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tinyns"),
            common: Registry::default(),
            dns_responses: Family::default(),
            dns_dropped: Family::default(),
            dns_response_times: Arc::default(),
            dns_truncated: Counter::default(),
            dns_hot_answers: Counter::default(),
            dnssec_signatures: Counter::default(),
            dnssec_signatures_refused: Counter::default(),
            dns_hot_bytes: Gauge::default(),
            dns_tcp_accepted: Counter::default(),
            dns_tcp_connections: Gauge::default(),
            dns_tcp_closed: Family::default(),
            dns_tcp_accept_errors: Counter::default(),
            rate_limited: Family::default(),
            rate_limit_accounts: Gauge::default(),
            rate_limit_evictions: Counter::default(),
            dns_tls_handshakes: Family::default(),
            dns_tls_reloads: Family::default(),
            link_failures: Counter::default(),
            link_lookups: Family::default(),
            link_lookup_seconds: Family::new_with_constructor(latencies),
            store_reads_refused: Counter::default(),
            store_errors: Family::default(),
            serves: Gauge::default(),
            takes_changes: Gauge::default(),
            redis_calls: Family::default(),
            redis_breakers_open: Gauge::default(),
            redis_repairs_pending: Gauge::default(),
            changes_unsettled: Gauge::default(),
            redis_round_trip: Gauge::default(),
            changes_seen: Counter::default(),
            changes_gaps: Counter::default(),
            changes_lag: Gauge::default(),
            changes_following: Gauge::default(),
            warm_load_links: Counter::default(),
            warm_load_running: Gauge::default(),
            memory_entries: Family::default(),
            memory_bytes: Family::default(),
            filter_links: Gauge::default(),
            filter_bytes: Gauge::default(),
            filter_complete: Gauge::default(),
            filter_builds: Counter::default(),
            query_log_queries: Counter::default(),
            query_log_bytes: Counter::default(),
            query_log_dropped: Family::default(),
            query_log_up: Gauge::default(),
            admin_requests: Family::default(),
            redirect_requests: Family::default(),
            http_accepted: Family::default(),
            http_connections: Family::default(),
            http_closed: Family::default(),
            http_accept_errors: Family::default(),
            dnssec_reloads: Family::default(),
            zone_reloads: Family::default(),
        };
        metrics.common.register_collector(Box::new(Process::new()));
        let registry = &mut metrics.registry;
        registry.register_collector(Box::new(metrics.dns_response_times.clone()));
        registry.register(
            "build",
            "Which program this is",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "dns_responses",
            "Replies sent, by transport and rcode",
            metrics.dns_responses.clone(),
        );
        registry.register(
            "dns_dropped",
            "Queries that got no reply, by reason",
            metrics.dns_dropped.clone(),
        );
        registry.register(
            "dns_truncated",
            "Replies cut short with TC",
            metrics.dns_truncated.clone(),
        );
        registry.register(
            "dns_hot_answers",
            "Replies made of an answer that was kept",
            metrics.dns_hot_answers.clone(),
        );
        registry.register(
            "dnssec_signatures",
            "Signatures that were made",
            metrics.dnssec_signatures.clone(),
        );
        registry.register(
            "dnssec_signatures_refused",
            "Signatures that would have been too many",
            metrics.dnssec_signatures_refused.clone(),
        );
        registry.register(
            "dnssec_reloads",
            "Reloads of the keys of signed zones, by outcome",
            metrics.dnssec_reloads.clone(),
        );
        registry.register(
            "dns_hot_bytes",
            "What kept answers take, in bytes",
            metrics.dns_hot_bytes.clone(),
        );
        registry.register(
            "dns_tcp_accepted",
            "TCP connections that were accepted",
            metrics.dns_tcp_accepted.clone(),
        );
        registry.register(
            "dns_tcp_connections",
            "TCP connections that are open",
            metrics.dns_tcp_connections.clone(),
        );
        registry.register(
            "dns_tcp_closed",
            "TCP connections that have ended or were refused, by reason",
            metrics.dns_tcp_closed.clone(),
        );
        registry.register(
            "dns_tcp_accept_errors",
            "How often no TCP connection could be accepted, for want of descriptors or memory",
            metrics.dns_tcp_accept_errors.clone(),
        );
        registry.register(
            "rate_limited",
            "UDP replies that were too many for a network, by kind and what was done instead",
            metrics.rate_limited.clone(),
        );
        registry.register(
            "rate_limit_accounts",
            "Accounts of the rate limit that owe something, as of the last quarter of a minute",
            metrics.rate_limit_accounts.clone(),
        );
        registry.register(
            "rate_limit_evictions",
            "Accounts of the rate limit that owed something and were pushed out by others",
            metrics.rate_limit_evictions.clone(),
        );
        registry.register(
            "dns_tls_handshakes",
            "TLS handshakes, by how they ended",
            metrics.dns_tls_handshakes.clone(),
        );
        registry.register(
            "dns_tls_reloads",
            "Reloads of the certificate, by outcome",
            metrics.dns_tls_reloads.clone(),
        );
        registry.register(
            "link_failures",
            "Queries whose link could not be known",
            metrics.link_failures.clone(),
        );
        registry.register(
            "link_lookups",
            "Look-ups of links, by tier and result",
            metrics.link_lookups.clone(),
        );
        registry.register(
            "link_lookup_seconds",
            "How long look-ups behind the memory took, by tier",
            metrics.link_lookup_seconds.clone(),
        );
        registry.register(
            "store_reads_refused",
            "Look-ups that the budget kept from the store",
            metrics.store_reads_refused.clone(),
        );
        registry.register(
            "store_errors",
            "Calls of the link store that failed, by cause",
            metrics.store_errors.clone(),
        );
        registry.register(
            "serves",
            "Whether queries are answered as they should be",
            metrics.serves.clone(),
        );
        registry.register(
            "takes_changes",
            "Whether changes of links are taken",
            metrics.takes_changes.clone(),
        );
        registry.register(
            "redis_calls",
            "Calls of Redis, by call and outcome",
            metrics.redis_calls.clone(),
        );
        registry.register(
            "redis_breakers_open",
            "Parts of Redis that are down: of 16 in a cluster, else of 1",
            metrics.redis_breakers_open.clone(),
        );
        registry.register(
            "redis_repairs_pending",
            "Changes that Redis has not been told of",
            metrics.redis_repairs_pending.clone(),
        );
        registry.register(
            "redis_round_trip_seconds",
            "How long a reply of Redis takes at least, measured when the connection was made",
            metrics.redis_round_trip.clone(),
        );
        registry.register(
            "changes_seen",
            "Changes of links heard of by the stream, this server's own among them",
            metrics.changes_seen.clone(),
        );
        registry.register(
            "changes_gaps",
            "How often changes may have been missed, and all links were looked up again",
            metrics.changes_gaps.clone(),
        );
        registry.register(
            "changes_unsettled",
            "Changes of which it is not known yet whether the store has made them",
            metrics.changes_unsettled.clone(),
        );
        registry.register(
            "changes_lag_seconds",
            "How old the last change was when it was heard of",
            metrics.changes_lag.clone(),
        );
        registry.register(
            "changes_following",
            "Whether all changes by other servers are heard of",
            metrics.changes_following.clone(),
        );
        registry.register(
            "warm_load_links",
            "Links that the warm load has read",
            metrics.warm_load_links.clone(),
        );
        registry.register(
            "warm_load_running",
            "Whether this server is loading links into Redis",
            metrics.warm_load_running.clone(),
        );
        registry.register(
            "memory_entries",
            "Links and absent names in memory",
            metrics.memory_entries.clone(),
        );
        registry.register(
            "memory_bytes",
            "What links and absent names in memory weigh, in bytes",
            metrics.memory_bytes.clone(),
        );
        registry.register(
            "filter_links",
            "Links in the existence filter",
            metrics.filter_links.clone(),
        );
        registry.register(
            "filter_bytes",
            "How much memory existence filters take, in bytes",
            metrics.filter_bytes.clone(),
        );
        registry.register(
            "filter_complete",
            "Whether the existence filter is complete and denies",
            metrics.filter_complete.clone(),
        );
        registry.register(
            "filter_builds",
            "How often an existence filter was built",
            metrics.filter_builds.clone(),
        );
        registry.register(
            "query_log_queries",
            "Queries in the query log",
            metrics.query_log_queries.clone(),
        );
        registry.register(
            "query_log_bytes",
            "What was written to the query log, in bytes",
            metrics.query_log_bytes.clone(),
        );
        registry.register(
            "query_log_dropped",
            "Queries picked for the query log that are not in it, by reason",
            metrics.query_log_dropped.clone(),
        );
        registry.register(
            "query_log_up",
            "Whether the query log is on and can be written",
            metrics.query_log_up.clone(),
        );
        registry.register(
            "admin_requests",
            "Requests to the admin API, by status",
            metrics.admin_requests.clone(),
        );
        registry.register(
            "redirect_requests",
            "Requests to the redirect host, by status",
            metrics.redirect_requests.clone(),
        );
        registry.register(
            "http_accepted",
            "HTTP connections that were accepted, by part",
            metrics.http_accepted.clone(),
        );
        registry.register(
            "http_connections",
            "HTTP connections that are open, by part",
            metrics.http_connections.clone(),
        );
        registry.register(
            "http_closed",
            "HTTP connections that have ended or were refused, by part and reason",
            metrics.http_closed.clone(),
        );
        registry.register(
            "http_accept_errors",
            "How often no HTTP connection could be accepted, for want of descriptors or memory, by part",
            metrics.http_accept_errors.clone(),
        );
        registry.register(
            "zone_reloads",
            "Reloads of the zone files, by outcome",
            metrics.zone_reloads.clone(),
        );
        metrics
    }

    /// Counts a look-up.
    pub fn count_lookup(&self, tier: Tier, result: LookupResult) {
        let lookup = LinkLookup { tier, result };
        self.link_lookups.get_or_create(&lookup).inc();
    }

    /// Counts look-ups behind the memory that ended alike in one call, and how long it took.
    pub fn time_lookups(&self, tier: Tier, result: LookupResult, count: u64, took: Duration) {
        let lookup = LinkLookup { tier, result };
        self.link_lookups.get_or_create(&lookup).inc_by(count);
        let times = self.link_lookup_seconds.get_or_create(&TierLabel { tier });
        for _ in 0..count {
            times.observe(took.as_secs_f64());
        }
    }

    /// Counts a call of the store that failed; see [`StoreFailure::cause`].
    pub fn count_store_error(&self, cause: &'static str) {
        let failure = StoreFailure { cause };
        self.store_errors.get_or_create(&failure).inc();
    }

    /// Counts calls of Redis that ended alike.
    pub fn count_redis(&self, call: &'static str, outcome: RedisOutcome, calls: u64) {
        let call = RedisCall { call, outcome };
        self.redis_calls.get_or_create(&call).inc_by(calls);
    }

    /// Sets what memory holds: which part, how many entries, how many bytes.
    pub fn set_memory(&self, sizes: &[(LinkSet, usize, usize)]) {
        let figure = |n| i64::try_from(n).unwrap_or(i64::MAX);
        for &(set, entries, bytes) in sizes {
            let set = MemorySet { set };
            self.memory_entries.get_or_create(&set).set(figure(entries));
            self.memory_bytes.get_or_create(&set).set(figure(bytes));
        }
    }

    /// All figures, those of the process as they are now. It reads files below `/proc`, of which one may have as many
    /// entries as there are open files.
    /// The exposition in OpenMetrics text form, which Prometheus reads
    /// (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail, and no metric here fails to encode itself.
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.common))
            .and_then(|()| encode_eof(&mut text));
        debug_assert!(written.is_ok());
        text
    }
}

/// From a tenth of a millisecond, which is a look at a Redis near by, to the time that a query has.
fn latencies() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
        1.5,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
