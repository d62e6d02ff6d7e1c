//! The labels of the figures. Their values are interface: alerts and dashboards name them.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

#[cfg(doc)]
use super::Metrics;

/// The labels of [`Metrics::dns_responses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DnsResponse {
    /// The transport of the query.
    pub transport: Transport,
    /// The extended rcode, as a number (RFC 6895 §2.3).
    pub rcode: u16,
}

/// The transport of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// The label of [`Metrics::dns_response_times`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TransportLabel {
    pub(super) transport: Transport,
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
    /// The client closed it, and all its queries were answered.
    Client,
    /// No query arrived for the idle time.
    Idle,
    /// A message took too long to arrive.
    SlowMessage,
    /// The client did not read its replies.
    SlowReader,
    /// The client sent something that is no query.
    NotAQuery,
    /// It reached its longest lifetime.
    Lifetime,
    /// The TLS handshake was missing, failed, or took too long.
    Handshake,
    /// One of its queries was above the limit of queries in work.
    Overload,
    /// The network or the client broke it.
    Error,
    /// The server stops.
    Stop,
    /// All seats were taken, a new client needed one, and this connection had been at rest longest.
    Limit,
    /// The same among the connections of one client.
    ClientLimit,
    /// The same for want of a file descriptor.
    Descriptors,
    /// It was refused: all seats were taken and no connection was at rest, or too many were being closed.
    Refused,
    /// It was refused: its client had all the seats that it may have, and none of them was at rest.
    ClientRefused,
}

/// The labels of [`Metrics::rate_limited`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RateLimited {
    /// What the server did instead of sending the reply.
    pub action: LimitAction,
    /// The kind of the reply.
    pub kind: LimitKind,
}

/// What the server does with a reply above the rate limit of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LimitAction {
    /// Nothing is sent.
    Dropped,
    /// It is sent without records, and with TC unless it is an error.
    Slipped,
    /// BADCOOKIE is sent with a server cookie, with which the client asks again (RFC 7873 §5.2.3).
    BadCookie,
}

/// The kinds of replies that are limited apart.
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

/// Why a query that was picked is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum QueryLogDropReason {
    /// The queue was full: the disk or the collector is slower than the queries arrive.
    TooSlow,
    /// The queue was full while the file or the collector could not be written.
    Unavailable,
}

/// The label of [`Metrics::dns_tls_handshakes`] and [`Metrics::https_handshakes`].
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
    /// With a session that was resumed.
    Resumed,
    /// The client sent no handshake, or none with a common version and cipher, or broke it off.
    Failed,
    /// HTTPS only: the client named no host, or one that is not served or that the certificate is not for.
    UnknownName,
    /// HTTPS only: the zone of the host has no certificate yet.
    NoCertificate,
    /// It took too long.
    TimedOut,
    /// The server broke it off: another client needed the seat, or the server stops.
    Dropped,
}

/// The label of [`Metrics::acme_orders`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AcmeOrder {
    /// Whether a certificate came of it.
    pub result: Outcome,
}

/// The label of [`Metrics::acme_failures`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AcmeFailure {
    /// What failed, in one word.
    pub kind: &'static str,
}

/// The label of [`Metrics::routed_responses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolLabel {
    /// The name of the pool; empty for the addresses of the zone file.
    pub pool: String,
}

/// The labels of [`Metrics::pool_address_up`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolAddressLabel {
    /// The name of the pool.
    pub pool: String,
    /// The address.
    pub address: String,
}

/// The label of [`Metrics::pool_checks`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CheckLabel {
    /// `passed`, or what failed, in one word.
    pub result: &'static str,
}

/// The label of [`Metrics::certificate_ends`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ZoneLabel {
    /// The origin of the zone, without the last dot.
    pub zone: String,
}

/// The server that has answered a read of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum StorePlace {
    /// A replica.
    Replica,
    /// The server that takes changes.
    Writer,
}

/// The label of [`Metrics::store_reads`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreRead {
    /// The server that has answered.
    pub place: StorePlace,
}

/// The label of [`Metrics::servers_live`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RegionLabel {
    /// The region of the servers.
    pub region: String,
}

/// The labels of [`Metrics::server_lag`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ServerLabel {
    /// The region of the server.
    pub region: String,
    /// Its name.
    pub server: String,
}

/// The labels of [`Metrics::link_lookups`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLookup {
    /// The tier that was asked.
    pub tier: Tier,
    /// The result.
    pub result: LookupResult,
}

/// The label of [`Metrics::link_lookup_seconds`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TierLabel {
    /// The tier that was asked.
    pub tier: Tier,
}

/// The tiers where links are looked up.
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
    /// The purpose of the call.
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
    /// It was not made because Redis is down.
    Skipped,
}

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LookupResult {
    /// The tier knew the answer: the link, or (memory and filter) that there is none.
    Hit,
    /// The tier did not know, and the next one was asked. In the store: there is no such link.
    Miss,
    /// Memory: the tiers behind failed, and an old link was used. Redis: it held something older than is
    /// known, which was not used.
    Stale,
    /// Too many look-ups were under way.
    Refused,
    /// The tier failed.
    Error,
}

/// The label of [`Metrics::memory_entries`] and [`Metrics::memory_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MemorySet {
    /// The part of the memory.
    pub set: LinkSet,
}

/// The parts of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum LinkSet {
    Links,
    Absent,
}

/// The label of [`Metrics::admin_requests`] and [`Metrics::redirect_requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpStatus {
    /// The status code.
    pub status: u16,
}

/// The label of [`Metrics::auth_failures`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AuthFailureLabel {
    /// Why the call was refused.
    pub reason: AuthFailure,
}

/// Why a call of the admin API was refused that had a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum AuthFailure {
    /// The token is wrong, was revoked, or has ended.
    WrongToken,
    /// The client's network had sent too many wrong tokens.
    TooManyGuesses,
}

/// The label of [`Metrics::key_uses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyUseLabel {
    /// What became of the request.
    pub result: KeyUse,
}

/// What became of a request with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum KeyUse {
    /// It was carried out.
    First,
    /// It got the response of an earlier one.
    Replayed,
    /// It was refused because the key was used for another payload.
    OtherPayload,
    /// It was refused because an earlier one was in work.
    InWork,
    /// It was refused because its token had used up what it may on one day.
    TooMany,
    /// It was carried out, and its outcome could not be kept.
    NotKept,
}

/// The label of [`Metrics::http_accepted`], [`Metrics::http_connections`] and [`Metrics::http_accept_errors`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpPartLabel {
    /// The part.
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
    /// The part.
    pub part: HttpPart,
    /// Why.
    pub reason: HttpCloseReason,
}

/// Why an HTTP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HttpCloseReason {
    /// The client closed it, or the client or the response had announced the end.
    Client,
    /// No request arrived for the idle time.
    Idle,
    /// The head of a request took too long to arrive.
    SlowHead,
    /// A request was in flight, and no byte moved for too long.
    Stalled,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// The network or the client broke it, or the client sent something that is not HTTP.
    Error,
    /// The server stops.
    Stop,
    /// All seats were taken, a new client needed one, and this connection had waited for its client longest.
    Limit,
    /// The same among the connections of one client.
    ClientLimit,
    /// The same for want of a file descriptor.
    Descriptors,
    /// It was refused: all seats were taken and the server was at work for each, or too many were being closed.
    Refused,
    /// It was refused: its client had all the seats that it may have, and the server was at work for each.
    ClientRefused,
}

/// The label of [`Metrics::zone_reloads`], [`Metrics::dns_tls_reloads`], [`Metrics::https_reloads`] and
/// [`Metrics::dnssec_reloads`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// Whether the new state is in use.
    pub outcome: Outcome,
}

/// The outcome of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Outcome {
    Success,
    Failure,
}

impl HttpPart {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "the admin API",
            Self::Redirect => "the redirect host",
        }
    }
}

impl LimitAction {
    /// All of them, each at the index of its discriminant.
    pub const ALL: [Self; 3] = [Self::Dropped, Self::Slipped, Self::BadCookie];
}

impl LimitKind {
    /// All of them, each at the index of its discriminant.
    pub const ALL: [Self; 6] = [
        Self::Answer,
        Self::NoData,
        Self::NxDomain,
        Self::Referral,
        Self::Error,
        Self::All,
    ];
}

/// The label of [`Metrics::statistics_lookups`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookupLabel {
    /// How the link was looked up.
    pub kind: &'static str,
}

/// The label of [`Metrics::statistics_clicks`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClickLabel {
    /// Who has sent the request.
    pub class: &'static str,
}
