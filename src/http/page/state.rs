//! What the handlers of the page share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderValue;

use super::hosts::PageHosts;
use crate::access::Gate;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::http::api::InsideApi;

/// What the handlers need.
#[derive(Clone)]
pub(super) struct State {
    pub(super) api: InsideApi,
    pub(super) gate: Arc<Gate>,
    pub(super) hosts: PageHosts,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// Where this server answers DNS.
    pub(super) dns: Option<SocketAddr>,
    /// Whether there are pools of addresses.
    pub(super) has_pools: bool,
    /// Whether browsers reach the page by TLS of this server.
    pub(super) is_tls: bool,
    /// `Strict-Transport-Security` of all responses.
    pub(super) hsts: Option<HeaderValue>,
}

/// What handlers get of the router.
pub(super) type Shared = Arc<State>;

impl State {
    /// The command that looks a name up. It names this server where resolvers would not find it.
    pub(super) fn dig(&self, name: &str) -> String {
        /// RFC 1035 §4.2.1.
        const PORT: u16 = 53;
        match self.dns {
            Some(dns) if dns.port() != PORT || dns.ip().is_loopback() => {
                let ip = match dns.ip() {
                    ip if !ip.is_unspecified() => ip,
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                };
                format!("dig @{ip} -p {} TXT {name} +short", dns.port())
            }
            _ => format!("dig TXT {name} +short"),
        }
    }
}
