//! Every figure that the server counts.
//!
//! [`Metrics`] has the figures, `labels` the types of their labels, `register` their names and help texts. Parts of
//! the server hold the same `Arc<Metrics>` and count in it; `GET /metrics` renders it.

mod labels;
mod latency;
mod process;
mod register;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use self::labels::{
    AcmeFailure, AcmeOrder, AuthFailure, AuthFailureLabel, CheckLabel, ClickLabel, DnsDrop,
    DnsResponse, DropReason, HandshakeResult, HttpClose, HttpCloseReason, HttpPart, HttpPartLabel,
    HttpStatus, KeyUse, KeyUseLabel, LimitAction, LimitKind, LinkLookup, LinkSet, LookupLabel,
    LookupResult, MemorySet, Outcome, PoolAddressLabel, PoolLabel, QueryLogDrop,
    QueryLogDropReason, RateLimited, RedisCall, RedisOutcome, RegionLabel, Reload, ServerLabel,
    StoreFailure, StorePlace, StoreRead, TcpClose, TcpCloseReason, Tier, TierLabel, TlsHandshake,
    Transport, ZoneLabel,
};
pub use self::latency::{LocalTimes, ResponseTimes, Times};
use self::process::Process;

/// The figures of one server. All begin at zero.
#[derive(Default)]
pub struct Metrics {
    /// Replies sent, by transport and rcode.
    pub dns_responses: Family<DnsResponse, Counter>,
    /// Queries that got no reply, by reason.
    pub dns_dropped: Family<DnsDrop, Counter>,
    /// How long replies took, by transport.
    pub dns_response_times: Arc<ResponseTimes>,
    /// Replies that were cut short with TC.
    pub dns_truncated: Counter,
    /// Replies that were made from a hot answer.
    pub dns_hot_answers: Counter,
    /// The memory that hot answers take, in bytes.
    pub dns_hot_bytes: Gauge,
    /// Signatures made.
    pub dnssec_signatures: Counter,
    /// Signatures refused because their number is limited.
    pub dnssec_signatures_refused: Counter,
    /// TCP connections that were accepted and got a seat.
    pub dns_tcp_accepted: Counter,
    /// TCP connections that are open now.
    pub dns_tcp_connections: Gauge,
    /// TCP connections that ended or were refused, by reason.
    pub dns_tcp_closed: Family<TcpClose, Counter>,
    /// How often no TCP connection could be accepted, for want of descriptors or memory.
    pub dns_tcp_accept_errors: Counter,
    /// UDP replies above the rate limit, by kind and by what was done instead.
    pub rate_limited: Family<RateLimited, Counter>,
    /// Accounts of the rate limit that owe something.
    pub rate_limit_accounts: Gauge,
    /// Accounts of the rate limit that owed something and were pushed out by others.
    pub rate_limit_evictions: Counter,
    /// TLS handshakes, by how they ended.
    pub dns_tls_handshakes: Family<TlsHandshake, Counter>,
    /// Reloads of the certificate, by outcome.
    pub dns_tls_reloads: Family<Reload, Counter>,
    /// TLS handshakes of HTTPS, by result.
    pub https_handshakes: Family<TlsHandshake, Counter>,
    /// Reloads of the certificate of HTTPS, by outcome.
    pub https_reloads: Family<Reload, Counter>,
    /// Reloads of the database of countries, by outcome.
    pub country_reloads: Family<Reload, Counter>,
    /// Reloads of the database of places, by outcome.
    pub place_reloads: Family<Reload, Counter>,
    /// When the maker of the database of places in use made it, in seconds since 1970.
    pub place_database_built: Gauge,
    /// How many networks that database has.
    pub place_database_networks: Gauge,
    /// Replies with addresses that depend on the client, by the pool that they are from.
    pub routed_responses: Family<PoolLabel, Counter>,
    /// The same counters in the order of [`Metrics::set_pools`].
    pool_counters: OnceLock<Box<[Counter]>>,
    /// Whether a pool is up and not drained: 1 or 0.
    pub pool_up: Family<PoolLabel, Gauge>,
    /// Whether an operator has drained a pool: 1 or 0.
    pub pool_drained: Family<PoolLabel, Gauge>,
    /// Whether an address of a pool is up: 1 or 0.
    pub pool_address_up: Family<PoolAddressLabel, Gauge>,
    /// Changes of the states of pools.
    pub pool_changes: Family<PoolLabel, Counter>,
    /// Health checks of addresses of pools, by result.
    pub pool_checks: Family<CheckLabel, Counter>,
    /// How long health checks took, in seconds.
    pub pool_check_seconds: CheckTimes,
    /// Orders of certificates that ended, by whether a certificate came of them.
    pub acme_orders: Family<AcmeOrder, Counter>,
    /// Failures of attempts to get a certificate, by kind.
    pub acme_failures: Family<AcmeFailure, Counter>,
    /// The ends of the certificates that the server got by itself, in seconds since the epoch, by zone.
    pub certificate_ends: Family<ZoneLabel, Gauge>,
    /// Queries that got SERVFAIL because no tier could tell whether there is a link.
    pub link_failures: Counter,
    /// Look-ups of links, by tier and result.
    pub link_lookups: Family<LinkLookup, Counter>,
    /// How long look-ups behind the memory took, in seconds, by tier.
    pub link_lookup_seconds: LookupTimes,
    /// Look-ups of the store that the budget refused.
    pub store_reads_refused: Counter,
    /// Calls of the store that failed, by cause.
    pub store_errors: Family<StoreFailure, Counter>,
    /// Reads of links that the store has answered, by the server that has answered; only with a replica.
    pub store_reads: Family<StoreRead, Counter>,
    /// 1 while the replica of the store can be used.
    pub replica_used: Gauge,
    /// Everything that was committed longer ago than this, in seconds, is shown by the replica.
    pub replica_lag: Gauge<f64, AtomicU64>,
    /// Names of which the replica may lack a change that was acknowledged.
    pub replica_awaited: Gauge,
    /// 1 while queries are answered as they should be.
    pub serves: Gauge,
    /// 1 while changes of links are taken.
    pub takes_changes: Gauge,
    /// Calls of Redis, by call and outcome.
    pub redis_calls: Family<RedisCall, Counter>,
    /// How many parts of Redis are down.
    pub redis_breakers_open: Gauge,
    /// Changes that Redis has not received yet.
    pub redis_repairs_pending: Gauge,
    /// Changes of which the server does not know yet whether the store has made them.
    pub changes_unsettled: Gauge,
    /// The shortest time of a reply by Redis, in seconds.
    pub redis_round_trip: Gauge<f64, AtomicU64>,
    /// Changes of links that the stream brought.
    pub changes_seen: Counter,
    /// How often changes may have been missed.
    pub changes_gaps: Counter,
    /// The age of the last change when the stream brought it, in seconds.
    pub changes_lag: Gauge<f64, AtomicU64>,
    /// 1 while the server receives all changes by other servers.
    pub changes_following: Gauge,
    /// Changes of links that the store's feed brought.
    pub feed_entries: Counter,
    /// How often the feed did not reach back to where this server had read.
    pub feed_gaps: Counter,
    /// For how long the server has not known that it has read the feed to its end, in seconds.
    pub feed_lag: Gauge<f64, AtomicU64>,
    /// 1 while the server follows the feed.
    pub feed_following: Gauge,
    /// Live servers that share the store, by region, with this one.
    pub servers_live: Family<RegionLabel, Gauge>,
    /// How far the other servers are behind this one, in seconds, by region and name.
    pub server_lag: Family<ServerLabel, Gauge<f64, AtomicU64>>,
    /// 1 while the announcements of the other servers can be read.
    pub servers_known: Gauge,
    /// Look-ups of links that were counted, by kind.
    pub statistics_lookups: Family<LookupLabel, Counter>,
    /// Requests for links by HTTP that were counted, by class.
    pub statistics_clicks: Family<ClickLabel, Counter>,
    /// Look-ups and clicks that were brought to the store.
    pub statistics_flushed: Counter,
    /// Look-ups and clicks that were dropped because the buffer was full, or the store away when the server stopped.
    pub statistics_dropped: Counter,
    /// Calls of the store to bring counts that failed.
    pub statistics_failures: Counter,
    /// Links whose counts wait in memory, once for each hour.
    pub statistics_buffered: Gauge,
    /// Sums that wait in Redis for the server that writes them to DynamoDB.
    pub statistics_gathered: Gauge,
    /// For how long a count may have waited in memory or in Redis, in seconds.
    pub statistics_lag: Gauge<f64, AtomicU64>,
    /// Links that the warm load has read, since the start.
    pub warm_load_links: Counter,
    /// 1 while this server is loading links into Redis.
    pub warm_load_running: Gauge,
    /// Links and absent names in memory.
    pub memory_entries: Family<MemorySet, Gauge>,
    /// The weight of links and absent names in memory, in bytes.
    pub memory_bytes: Family<MemorySet, Gauge>,
    /// Links in the existence filter.
    pub filter_links: Gauge,
    /// The memory of existence filters, also of one that is being built, in bytes.
    pub filter_bytes: Gauge,
    /// 1 while the existence filter is complete and denies.
    pub filter_complete: Gauge,
    /// How often an existence filter was built.
    pub filter_builds: Counter,
    /// How many creations waited until the filters of other servers no longer counted.
    pub filter_slow_creations: Counter,
    /// Queries in the query log.
    pub query_log_queries: Counter,
    /// Bytes written to the query log.
    pub query_log_bytes: Counter,
    /// Queries that were picked for the query log and are not in it, by reason.
    pub query_log_dropped: Family<QueryLogDrop, Counter>,
    /// 1 while the query log is on and can be written.
    pub query_log_up: Gauge,
    /// Requests to the admin API, by status.
    pub admin_requests: Family<HttpStatus, Counter>,
    /// Calls of the admin API that were refused for their token, by reason.
    pub auth_failures: Family<AuthFailureLabel, Counter>,
    /// Requests with idempotency keys, by what became of them.
    pub key_uses: Family<KeyUseLabel, Counter>,
    /// Requests to the redirect host, by status.
    pub redirect_requests: Family<HttpStatus, Counter>,
    /// HTTP connections that were accepted and got a seat, by part.
    pub http_accepted: Family<HttpPartLabel, Counter>,
    /// HTTP connections that are open now, by part.
    pub http_connections: Family<HttpPartLabel, Gauge>,
    /// HTTP connections that ended or were refused, by part and reason.
    pub http_closed: Family<HttpClose, Counter>,
    /// How often no HTTP connection could be accepted, for want of descriptors or memory, by part.
    pub http_accept_errors: Family<HttpPartLabel, Counter>,
    /// Reloads of the keys of signed zones, by outcome.
    pub dnssec_reloads: Family<Reload, Counter>,
    /// Reloads of the zone files, by outcome.
    pub zone_reloads: Family<Reload, Counter>,
    process: Process,
}

impl Metrics {
    /// Makes the counters of these pools. Only the first call has an effect.
    pub fn set_pools<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let counter = |pool: &str| {
            let label = PoolLabel {
                pool: pool.to_owned(),
            };
            self.routed_responses.get_or_create_owned(&label)
        };
        let all = std::iter::once("").chain(names).map(counter).collect();
        let _ = self.pool_counters.set(all);
    }

    /// The counters of replies by the pool that their addresses are from: those of the zone file first, then the pools.
    pub fn pool_counters(&self) -> &[Counter] {
        self.pool_counters.get().map_or(&[], |all| all)
    }

    /// All figures at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a look-up.
    pub fn count_lookup(&self, tier: Tier, result: LookupResult) {
        let lookup = LinkLookup { tier, result };
        self.link_lookups.get_or_create(&lookup).inc();
    }

    /// Counts look-ups behind the memory that one call did, all with the same result, and the time that it took.
    pub fn time_lookups(&self, tier: Tier, result: LookupResult, count: u64, took: Duration) {
        let lookup = LinkLookup { tier, result };
        self.link_lookups.get_or_create(&lookup).inc_by(count);
        let times = self
            .link_lookup_seconds
            .0
            .get_or_create(&TierLabel { tier });
        for _ in 0..count {
            times.observe(took.as_secs_f64());
        }
    }

    /// Counts a call of the store that failed; see [`StoreFailure::cause`].
    pub fn count_store_error(&self, cause: &'static str) {
        let failure = StoreFailure { cause };
        self.store_errors.get_or_create(&failure).inc();
    }

    /// Counts a call of the admin API that was refused for its token.
    pub fn count_auth_failure(&self, reason: AuthFailure) {
        let label = AuthFailureLabel { reason };
        self.auth_failures.get_or_create(&label).inc();
    }

    /// Counts a request with an idempotency key.
    pub fn count_key_use(&self, result: KeyUse) {
        self.key_uses.get_or_create(&KeyUseLabel { result }).inc();
    }

    /// Counts calls of Redis with the same outcome.
    pub fn count_redis(&self, call: &'static str, outcome: RedisOutcome, calls: u64) {
        let call = RedisCall { call, outcome };
        self.redis_calls.get_or_create(&call).inc_by(calls);
    }

    /// Sets the size of each part of the memory: entries and bytes.
    pub fn set_memory(&self, sizes: &[(LinkSet, usize, usize)]) {
        let figure = |n| i64::try_from(n).unwrap_or(i64::MAX);
        for &(set, entries, bytes) in sizes {
            let set = MemorySet { set };
            self.memory_entries.get_or_create(&set).set(figure(entries));
            self.memory_bytes.get_or_create(&set).set(figure(bytes));
        }
    }

    /// All figures in the text form of OpenMetrics, which Prometheus reads
    /// (`application/openmetrics-text; version=1.0.0; charset=utf-8`). Those of the process are read now, from files
    /// below `/proc`; one of these has as many entries as there are open files.
    pub fn render(&self) -> String {
        let mut registry = Registry::with_prefix("tinyns");
        self.register(&mut registry);
        // Other programs have figures of the same names, so these get no prefix.
        let mut common = Registry::default();
        common.register_collector(Box::new(self.process));
        let mut text = String::new();
        // Writing to a String does not fail, and no metric here fails to encode itself.
        let written = encode_registry(&mut text, &registry)
            .and_then(|()| encode_registry(&mut text, &common))
            .and_then(|()| encode_eof(&mut text));
        debug_assert!(written.is_ok());
        text
    }
}

/// The histograms of [`Metrics::link_lookup_seconds`].
#[derive(Clone, Debug)]
pub struct LookupTimes(Family<TierLabel, Histogram, fn() -> Histogram>);

impl Default for LookupTimes {
    /// The buckets go from a tenth of a millisecond, which a Redis near by takes, to the time limit of a query.
    fn default() -> Self {
        Self(Family::new_with_constructor(|| {
            Histogram::new([
                0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                0.5, 1.0, 1.5,
            ])
        }))
    }
}

/// The histogram of [`Metrics::pool_check_seconds`].
#[derive(Clone, Debug)]
pub struct CheckTimes(Histogram);

impl Default for CheckTimes {
    /// The buckets go from a millisecond, which a host near by takes, to the longest time limit of a check.
    fn default() -> Self {
        Self(Histogram::new([
            0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        ]))
    }
}

impl CheckTimes {
    /// Counts a check that took so many seconds.
    pub fn observe(&self, seconds: f64) {
        self.0.observe(seconds);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
