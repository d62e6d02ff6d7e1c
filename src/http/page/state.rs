//! What the handlers of the page share.

use std::sync::Arc;

use super::hosts::PageHosts;
use crate::access::Gate;
use crate::base::metrics::Metrics;
use crate::http::api::InsideApi;

/// What the handlers need.
pub(super) struct State {
    #[allow(dead_code, reason = "the forms of the page follow")]
    pub(super) api: InsideApi,
    pub(super) gate: Arc<Gate>,
    pub(super) hosts: PageHosts,
    pub(super) metrics: Arc<Metrics>,
    /// Whether browsers reach the page by TLS of this server.
    pub(super) is_tls: bool,
}

/// What handlers get of the router.
pub(super) type Shared = Arc<State>;
