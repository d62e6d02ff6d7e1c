//! Every figure that the server counts, declared in this one place.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    /// Replies sent, by transport and rcode.
    pub dns_responses: Family<DnsResponse, Counter>,
    /// Queries that got no reply, by reason.
    pub dns_dropped: Family<DnsDrop, Counter>,
    /// UDP replies cut short with TC.
    pub dns_truncated: Counter,
    /// Queries whose link could not be known.
    pub link_failures: Counter,
    /// Look-ups of links, by tier and result.
    pub link_lookups: Family<LinkLookup, Counter>,
    /// What memory holds, in entries.
    pub memory_entries: Family<MemorySet, Gauge>,
    /// What memory holds, in bytes as they are weighed.
    pub memory_bytes: Family<MemorySet, Gauge>,
    /// Requests to the admin API, by status.
    pub admin_requests: Family<HttpStatus, Counter>,
    /// Requests to the redirect host, by status.
    pub redirect_requests: Family<HttpStatus, Counter>,
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
    Overload,
    Unsendable,
}

/// The labels of [`Metrics::link_lookups`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLookup {
    /// Who was asked.
    pub tier: Tier,
    /// What came of it.
    pub result: LookupResult,
}

/// Where links are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Tier {
    Memory,
    Store,
}

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LookupResult {
    /// The tier knew; of memory also that there is no such link.
    Hit,
    /// The tier did not know, whatever those behind it then did; of the store that there is no
    /// such link.
    Miss,
    /// The tiers behind failed, and what was held before was used.
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

/// The label of [`Metrics::zone_reloads`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// Whether the new zones were taken.
    pub outcome: Outcome,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Outcome {
    Success,
    Failure,
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tinyns"),
            dns_responses: Family::default(),
            dns_dropped: Family::default(),
            dns_truncated: Counter::default(),
            link_failures: Counter::default(),
            link_lookups: Family::default(),
            memory_entries: Family::default(),
            memory_bytes: Family::default(),
            admin_requests: Family::default(),
            redirect_requests: Family::default(),
            zone_reloads: Family::default(),
        };
        let registry = &mut metrics.registry;
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
            "UDP replies cut short with TC",
            metrics.dns_truncated.clone(),
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

    /// Sets what memory holds: which part, how many entries, how many bytes.
    pub fn set_memory(&self, sizes: &[(LinkSet, usize, usize)]) {
        let figure = |n| i64::try_from(n).unwrap_or(i64::MAX);
        for &(set, entries, bytes) in sizes {
            let set = MemorySet { set };
            self.memory_entries.get_or_create(&set).set(figure(entries));
            self.memory_bytes.get_or_create(&set).set(figure(bytes));
        }
    }

    /// The exposition in OpenMetrics text form, which Prometheus reads
    /// (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail, and no metric here fails to encode itself.
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok());
        text
    }
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
