//! The names of the figures and their help texts. `docs/operation.md` has a table of them.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Metrics;

impl Metrics {
    /// Registers all figures but those of the process. The registry puts `tinyns_` before each name, and
    /// `_total` behind those of counters.
    pub(super) fn register(&self, registry: &mut Registry) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which program this is", version);
        registry.register_collector(Box::new(self.dns_response_times.clone()));
        self.register_dns(registry);
        self.register_dns_connections(registry);
        self.register_links(registry);
        self.register_memory(registry);
        self.register_redis(registry);
        self.register_servers(registry);
        self.register_statistics(registry);
        self.register_http(registry);
        self.register_operation(registry);
    }

    /// Replies by DNS.
    fn register_dns(&self, registry: &mut Registry) {
        registry.register(
            "dns_responses",
            "Replies sent, by transport and rcode",
            self.dns_responses.clone(),
        );
        registry.register(
            "dns_dropped",
            "Queries that got no reply, by reason",
            self.dns_dropped.clone(),
        );
        registry.register(
            "dns_truncated",
            "Replies that were cut short with TC",
            self.dns_truncated.clone(),
        );
        registry.register(
            "dns_hot_answers",
            "Replies that were made from a hot answer",
            self.dns_hot_answers.clone(),
        );
        registry.register(
            "dns_hot_bytes",
            "Memory that hot answers take, in bytes",
            self.dns_hot_bytes.clone(),
        );
        registry.register(
            "dns_routed_responses",
            "Replies with addresses that depend on the client, by the pool that they are from; without a name those of the \
             zone file",
            self.routed_responses.clone(),
        );
        self.register_pools(registry);
        registry.register(
            "rate_limited",
            "UDP replies above the rate limit, by kind and by what was done instead",
            self.rate_limited.clone(),
        );
        registry.register(
            "rate_limit_accounts",
            "Accounts of the rate limit that owe something, as of the last quarter of a minute",
            self.rate_limit_accounts.clone(),
        );
        registry.register(
            "rate_limit_evictions",
            "Accounts of the rate limit that owed something and were pushed out by others",
            self.rate_limit_evictions.clone(),
        );
        registry.register(
            "dnssec_signatures",
            "Signatures made",
            self.dnssec_signatures.clone(),
        );
        registry.register(
            "dnssec_signatures_refused",
            "Signatures refused because their number is limited",
            self.dnssec_signatures_refused.clone(),
        );
    }

    /// Pools and their health checks.
    fn register_pools(&self, registry: &mut Registry) {
        registry.register(
            "pool_up",
            "Whether clients get a pool: 1, or 0 if all its addresses are down or an operator has drained it",
            self.pool_up.clone(),
        );
        registry.register(
            "pool_drained",
            "Whether an operator has drained a pool: 1 or 0",
            self.pool_drained.clone(),
        );
        registry.register(
            "pool_address_up",
            "Whether an address of a pool is up: 1 or 0",
            self.pool_address_up.clone(),
        );
        registry.register(
            "pool_changes",
            "Changes of the states of pools, by pool",
            self.pool_changes.clone(),
        );
        registry.register(
            "pool_checks",
            "Health checks of the addresses of pools, by result",
            self.pool_checks.clone(),
        );
        registry.register(
            "pool_check_seconds",
            "How long health checks took, in seconds",
            self.pool_check_seconds.0.clone(),
        );
    }

    /// DNS over TCP and TLS.
    fn register_dns_connections(&self, registry: &mut Registry) {
        registry.register(
            "dns_tcp_accepted",
            "TCP connections accepted",
            self.dns_tcp_accepted.clone(),
        );
        registry.register(
            "dns_tcp_connections",
            "TCP connections open now",
            self.dns_tcp_connections.clone(),
        );
        registry.register(
            "dns_tcp_closed",
            "TCP connections that ended or were refused, by reason",
            self.dns_tcp_closed.clone(),
        );
        registry.register(
            "dns_tcp_accept_errors",
            "Failed attempts to accept a TCP connection, for want of descriptors or memory",
            self.dns_tcp_accept_errors.clone(),
        );
        registry.register(
            "dns_tls_handshakes",
            "TLS handshakes, by how they ended",
            self.dns_tls_handshakes.clone(),
        );
        registry.register(
            "https_handshakes",
            "TLS handshakes of HTTPS, by how they ended",
            self.https_handshakes.clone(),
        );
        self.register_certificates(registry);
    }

    /// Certificates by ACME.
    fn register_certificates(&self, registry: &mut Registry) {
        registry.register(
            "acme_orders",
            "Orders of certificates that ended, by result",
            self.acme_orders.clone(),
        );
        registry.register(
            "acme_failures",
            "Attempts to get a certificate that failed, by kind",
            self.acme_failures.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate of a zone ends, in seconds since 1970",
            self.certificate_ends.clone(),
        );
    }

    /// Links, and the store.
    fn register_links(&self, registry: &mut Registry) {
        registry.register(
            "serves",
            "1 while queries are answered as they should be",
            self.serves.clone(),
        );
        registry.register(
            "takes_changes",
            "1 while changes of links are taken",
            self.takes_changes.clone(),
        );
        registry.register(
            "link_failures",
            "Queries that got SERVFAIL because no tier could tell whether there is a link",
            self.link_failures.clone(),
        );
        registry.register(
            "link_lookups",
            "Look-ups of links, by tier and result",
            self.link_lookups.clone(),
        );
        registry.register(
            "link_lookup_seconds",
            "How long look-ups behind the memory took, by tier",
            self.link_lookup_seconds.0.clone(),
        );
        registry.register(
            "store_reads_refused",
            "Look-ups of the store that the budget refused",
            self.store_reads_refused.clone(),
        );
        registry.register(
            "store_errors",
            "Calls of the link store that failed, by cause",
            self.store_errors.clone(),
        );
        registry.register(
            "changes_unsettled",
            "Changes of which the server does not know yet whether the store has made them",
            self.changes_unsettled.clone(),
        );
    }

    /// The links in memory, and the existence filter.
    fn register_memory(&self, registry: &mut Registry) {
        registry.register(
            "memory_entries",
            "Links and absent names in memory",
            self.memory_entries.clone(),
        );
        registry.register(
            "memory_bytes",
            "Weight of links and absent names in memory, in bytes",
            self.memory_bytes.clone(),
        );
        registry.register(
            "filter_links",
            "Links in the existence filter",
            self.filter_links.clone(),
        );
        registry.register(
            "filter_bytes",
            "Memory of existence filters, also of one that is being built, in bytes",
            self.filter_bytes.clone(),
        );
        registry.register(
            "filter_complete",
            "1 while the existence filter is complete and denies",
            self.filter_complete.clone(),
        );
        registry.register(
            "filter_builds",
            "How often an existence filter was built",
            self.filter_builds.clone(),
        );
        registry.register(
            "filter_slow_creations",
            "Creations that waited until existence filters of other servers no longer counted",
            self.filter_slow_creations.clone(),
        );
    }

    /// Redis, and the changes of other servers.
    fn register_redis(&self, registry: &mut Registry) {
        registry.register(
            "redis_calls",
            "Calls of Redis, by call and outcome",
            self.redis_calls.clone(),
        );
        registry.register(
            "redis_breakers_open",
            "Parts of Redis that are down: of 16 in a cluster, otherwise of 1",
            self.redis_breakers_open.clone(),
        );
        registry.register(
            "redis_repairs_pending",
            "Changes that Redis has not received yet",
            self.redis_repairs_pending.clone(),
        );
        registry.register(
            "redis_round_trip_seconds",
            "Shortest time of a reply by Redis, measured when the connection was made",
            self.redis_round_trip.clone(),
        );
        registry.register(
            "changes_seen",
            "Changes of links that the stream brought, this server's own among them",
            self.changes_seen.clone(),
        );
        registry.register(
            "changes_gaps",
            "How often changes may have been missed, so that all links were looked up again",
            self.changes_gaps.clone(),
        );
        registry.register(
            "changes_lag_seconds",
            "Age of the last change when the stream brought it",
            self.changes_lag.clone(),
        );
        registry.register(
            "changes_following",
            "1 while the server receives all changes by other servers",
            self.changes_following.clone(),
        );
        registry.register(
            "feed_entries",
            "Changes of links that the store's feed brought",
            self.feed_entries.clone(),
        );
        registry.register(
            "feed_gaps",
            "How often changes may be missing in the store's feed, so that all links were looked up again",
            self.feed_gaps.clone(),
        );
        registry.register(
            "feed_lag_seconds",
            "Time since the begin of the last read of the store's feed that reached its end",
            self.feed_lag.clone(),
        );
        registry.register(
            "feed_following",
            "1 while the server reads the store's feed to its end at least once a second",
            self.feed_following.clone(),
        );
        registry.register(
            "store_reads",
            "Reads of links that the store has answered, by the server that has answered; only with a replica",
            self.store_reads.clone(),
        );
        registry.register(
            "replica_used",
            "1 while the replica of the store can be used",
            self.replica_used.clone(),
        );
        registry.register(
            "replica_lag_seconds",
            "Everything that was committed longer ago than this is shown by the replica; +Inf if that is not known",
            self.replica_lag.clone(),
        );
        registry.register(
            "replica_awaited_names",
            "Names that are read from the server that takes changes, because the replica may lack a change",
            self.replica_awaited.clone(),
        );
        registry.register(
            "warm_load_links",
            "Links that the warm load has read",
            self.warm_load_links.clone(),
        );
        registry.register(
            "warm_load_running",
            "1 while this server is loading links into Redis",
            self.warm_load_running.clone(),
        );
    }

    /// The admin API and the redirect host.
    fn register_http(&self, registry: &mut Registry) {
        registry.register(
            "http_accepted",
            "HTTP connections accepted, by part",
            self.http_accepted.clone(),
        );
        registry.register(
            "http_connections",
            "HTTP connections open now, by part",
            self.http_connections.clone(),
        );
        registry.register(
            "http_closed",
            "HTTP connections that ended or were refused, by part and reason",
            self.http_closed.clone(),
        );
        registry.register(
            "http_accept_errors",
            "Failed attempts to accept an HTTP connection, for want of descriptors or memory, by part",
            self.http_accept_errors.clone(),
        );
        registry.register(
            "admin_requests",
            "Requests to the admin API, by status",
            self.admin_requests.clone(),
        );
        registry.register(
            "admin_auth_failures",
            "Calls of the admin API that were refused for their token, by reason",
            self.auth_failures.clone(),
        );
        registry.register(
            "admin_idempotency_keys",
            "Requests with idempotency keys, by what became of them",
            self.key_uses.clone(),
        );
        registry.register(
            "redirect_requests",
            "Requests to the redirect host, by status",
            self.redirect_requests.clone(),
        );
    }

    /// The servers that share the store.
    fn register_statistics(&self, registry: &mut Registry) {
        registry.register(
            "statistics_lookups",
            "Look-ups of links that were counted, by kind",
            self.statistics_lookups.clone(),
        );
        registry.register(
            "statistics_clicks",
            "Requests for links by HTTP that were counted, by class",
            self.statistics_clicks.clone(),
        );
        registry.register(
            "statistics_flushed",
            "Look-ups and clicks that were brought to the store",
            self.statistics_flushed.clone(),
        );
        registry.register(
            "statistics_dropped",
            "Look-ups and clicks that were dropped uncounted by the store",
            self.statistics_dropped.clone(),
        );
        registry.register(
            "statistics_failures",
            "Failed calls of the store to bring counts",
            self.statistics_failures.clone(),
        );
        registry.register(
            "statistics_buffered",
            "Links whose counts wait in memory, once for each hour",
            self.statistics_buffered.clone(),
        );
        registry.register(
            "statistics_gathered",
            "Sums that wait in Redis for the server that writes them to DynamoDB",
            self.statistics_gathered.clone(),
        );
        registry.register(
            "statistics_lag_seconds",
            "For how long a count may have waited in memory or in Redis",
            self.statistics_lag.clone(),
        );
    }

    fn register_servers(&self, registry: &mut Registry) {
        registry.register(
            "servers_live",
            "Live servers that share the store, by region, with this one",
            self.servers_live.clone(),
        );
        registry.register(
            "server_lag_seconds",
            "How long ago this server applied the first change that another has not announced as applied, by region and \
             name of the other; at most 100 servers",
            self.server_lag.clone(),
        );
        registry.register(
            "servers_known",
            "1 while the announcements of the other servers can be read",
            self.servers_known.clone(),
        );
    }

    /// Reloads and the query log.
    fn register_operation(&self, registry: &mut Registry) {
        registry.register(
            "zone_reloads",
            "Reloads of the zone files, by outcome",
            self.zone_reloads.clone(),
        );
        registry.register(
            "dnssec_reloads",
            "Reloads of the keys of signed zones, by outcome",
            self.dnssec_reloads.clone(),
        );
        registry.register(
            "dns_tls_reloads",
            "Reloads of the certificate of DNS over TLS, by outcome",
            self.dns_tls_reloads.clone(),
        );
        registry.register(
            "https_reloads",
            "Reloads of the certificate of HTTPS, by outcome",
            self.https_reloads.clone(),
        );
        registry.register(
            "country_reloads",
            "Reloads of the database of countries, by outcome",
            self.country_reloads.clone(),
        );
        registry.register(
            "place_reloads",
            "Reloads of the database of places, by outcome",
            self.place_reloads.clone(),
        );
        registry.register(
            "place_database_built_timestamp_seconds",
            "When the maker of the database of places in use made it; 0 without a database",
            self.place_database_built.clone(),
        );
        registry.register(
            "place_database_networks",
            "How many networks the database of places in use has",
            self.place_database_networks.clone(),
        );
        registry.register(
            "query_log_queries",
            "Queries in the query log",
            self.query_log_queries.clone(),
        );
        registry.register(
            "query_log_bytes",
            "Bytes written to the query log",
            self.query_log_bytes.clone(),
        );
        registry.register(
            "query_log_dropped",
            "Queries that were picked for the query log and are not in it, by reason",
            self.query_log_dropped.clone(),
        );
        registry.register(
            "query_log_up",
            "1 while the query log is on and can be written",
            self.query_log_up.clone(),
        );
    }
}
