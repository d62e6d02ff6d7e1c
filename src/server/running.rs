//! A running server: where it serves, what runs in the background, and how it stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Tokens;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{Metrics, ZoneLabel};
use crate::certificates::acme::Acme;
use crate::certificates::{Handshakes, HostCertificates, Overview, TicketKeeper, Tls};
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::QueryLogKeeper;
use crate::http::Https;
use crate::link::Origin;
use crate::links::{Host, Links, WarmStatus};
use crate::routing::{Drains, Routing};
use crate::server::acme::Engine;
use crate::server::blocking::blocking;
use crate::server::key_turns::turn_keys;
use crate::server::notices::log_certificate;
use crate::server::system::manager::ServiceManager;
use crate::server::watchdog;
use crate::statistics::{Countries, Statistics};
use crate::store::Store;
use crate::zone::{ZoneSet, Zones};

/// How often the times at which tokens were used are stored.
const TOKEN_USES_EVERY: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops nothing; call [`Running::shutdown`].
pub struct Running {
    pub(super) dns: Vec<SocketAddr>,
    pub(super) dns_tls: Vec<SocketAddr>,
    pub(super) admin: Vec<SocketAddr>,
    pub(super) redirect: Vec<SocketAddr>,
    pub(super) https: Vec<SocketAddr>,
    /// The host under which HTTPS serves the web page.
    pub(super) page_host: Option<Box<str>>,
    pub(super) zones: Arc<ZoneSet>,
    pub(super) clock: Clock,
    pub(super) cookie_secrets: Option<PathBuf>,
    /// The certificate of DNS over TLS.
    pub(super) dns_certificate: Option<Arc<Tls>>,
    /// The certificate of HTTPS, if it is from files.
    pub(super) https_certificate: Option<Arc<Tls>>,
    /// What gets the certificates of HTTPS, if they are not from files.
    pub(super) acme: Option<Engine>,
    /// The certificates of HTTPS from either source.
    pub(super) certificates: Overview,
    pub(super) handler: Handler,
    pub(super) store: Arc<dyn Store>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) links: Arc<Links>,
    pub(super) query_log: Option<QueryLogKeeper>,
    /// What counts look-ups and clicks.
    pub(super) statistics: Statistics,
    /// The countries of clients, if they are counted.
    pub(super) countries: Option<Arc<Countries>>,
    /// The pools of names, if there are any.
    pub(super) routing: Option<Arc<Routing>>,
    /// Which of them are drained, if there are any.
    pub(super) drains: Option<Arc<Drains>>,
    pub(super) metrics: Arc<Metrics>,
    /// While this is set, `/readyz` says that the server is not ready.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// The tasks that do not serve requests. They end after those that do, which may still leave them work.
    pub(super) background: TaskTracker,
    pub(super) background_shutdown: CancellationToken,
    pub(super) failures: mpsc::Receiver<String>,
}

impl Running {
    /// The addresses of DNS over UDP and TCP.
    pub fn dns(&self) -> &[SocketAddr] {
        &self.dns
    }

    /// The addresses of DNS over TLS.
    pub fn dns_tls(&self) -> &[SocketAddr] {
        &self.dns_tls
    }

    /// The addresses of the admin API.
    pub fn admin(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// The addresses of the redirect host.
    pub fn redirect(&self) -> &[SocketAddr] {
        &self.redirect
    }

    /// The addresses of HTTPS.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Sends watchdog pings to the service manager for as long as the threads that answer queries are alive.
    pub fn watchdog(&self, manager: ServiceManager) -> impl Future<Output = ()> + use<> {
        watchdog::ping(manager, self.handler.pulse().clone())
    }

    /// The state of the warm load, which loads all links into Redis; none without Redis.
    pub fn warm_load(&self) -> Option<WarmStatus> {
        Some(self.links.redis_status()?.warm_load)
    }

    /// Starts the tasks that do not serve requests.
    pub(super) fn start_background(&self, tickets: Option<TicketKeeper>) {
        let stop = || self.background_shutdown.clone();
        self.links
            .start(&self.background, &self.background_shutdown);
        self.warn_of_hidden_links(None);
        let watch = self.handler.clone().watch_rate_limit(stop());
        self.background.spawn(watch);
        let watch = self.links.clone().watch_readiness(stop());
        self.background.spawn(watch);
        self.background.spawn(self.statistics.clone().run(stop()));
        let keep = keep_token_uses(self.tokens.clone(), stop());
        self.background.spawn(keep);
        if !self.zones.signings().is_empty() {
            let (zones, handler) = (self.zones.clone(), self.handler.clone());
            let turns = turn_keys(zones, handler, self.links.clone());
            let stop = stop();
            let turns = async move { stop.run_until_cancelled(turns).await };
            self.background.spawn(turns);
        }
        if let Some(acme) = self.acme.clone() {
            self.background.spawn(acme.run(stop()));
        }
        if let Some(tickets) = tickets {
            let stop = stop();
            let keeping = async move { stop.run_until_cancelled(tickets.run()).await };
            self.background.spawn(keeping);
        }
        self.background.close();
    }

    /// Starts the health checks of pools, and waits until each address has been checked once and it is known which pools are
    /// drained, so that the first answer is right. The wait is bounded.
    pub(super) async fn check_pools(&self) {
        let Some(drains) = &self.drains else {
            return;
        };
        let routing = drains.routing();
        routing.start_checks(&self.clock, &self.background, &self.background_shutdown);
        tokio::join!(routing.first_checks(), drains.begin());
        let (drains, stop) = (drains.clone(), self.background_shutdown.clone());
        self.background
            .spawn(async move { stop.run_until_cancelled(drains.run()).await });
    }

    /// What gets the certificates of HTTPS, if they are not from files.
    pub fn acme(&self) -> Option<&Arc<Acme>> {
        self.acme.as_ref().map(|engine| &engine.acme)
    }

    /// What keeps the keys of session tickets, if there is any certificate.
    pub(super) fn ticket_keeper(&self, clock: Clock) -> Option<TicketKeeper> {
        let dns = self.dns_certificate.clone().map(HostCertificates::Own);
        let all: Vec<_> = dns.into_iter().chain(self.https_certificates()).collect();
        (!all.is_empty()).then(|| TicketKeeper::new(self.store.clone(), clock, all))
    }

    /// The certificates of HTTPS, if there are any.
    fn https_certificates(&self) -> Option<HostCertificates> {
        match (&self.https_certificate, &self.acme) {
            (Some(tls), _) => Some(HostCertificates::Own(tls.clone())),
            (None, Some(acme)) => Some(HostCertificates::Issued(acme.acme.issued())),
            (None, None) => None,
        }
    }

    /// The connections of HTTPS, if they have certificates.
    pub(super) fn https_connections(&self, handshakes: Handshakes) -> Option<Https> {
        let certificates = self.https_certificates()?;
        let (links, page) = (self.links.clone(), self.page_host.clone());
        Some(Https {
            certificates,
            handshakes,
            is_served: Arc::new(move |host| {
                page.as_ref()
                    .is_some_and(|page| page.eq_ignore_ascii_case(host))
                    || links.namespace().classify_host(host) != Host::Foreign
            }),
            results: self.metrics.https_handshakes.clone(),
        })
    }

    /// Sets the figures for the ends of the operator's own certificate. The engine sets those of its certificates.
    pub(super) fn measure_own_certificate(&self) {
        if self.https_certificate.is_none() {
            return;
        }
        for status in self.certificates.list(&self.links.namespace().origins()) {
            let label = ZoneLabel {
                zone: status.origin.to_string(),
            };
            let ends = &self.metrics.certificate_ends;
            match status.certificate {
                Some(facts) => {
                    let end = i64::try_from(facts.not_after.0).unwrap_or(i64::MAX);
                    ends.get_or_create(&label).set(end);
                }
                None => drop(ends.remove(&label)),
            }
        }
    }

    /// Warns of certificates that clients refuse, or soon will.
    pub(super) fn warn_of_certificates(&self, now: UnixTime) {
        if let Some(tls) = &self.dns_certificate {
            log_certificate(tls, std::iter::empty(), now);
        }
        if let Some(tls) = &self.https_certificate {
            let zones = self.links.namespace().origins();
            log_certificate(tls, zones.iter().map(Origin::as_str), now);
        }
    }

    /// Warns of links that the zone files hide, unless `before` hid them already. A task does it, because it asks the
    /// store.
    pub(super) fn warn_of_hidden_links(&self, before: Option<Arc<Zones>>) {
        let (zones, links) = (self.zones.snapshot(), self.links.clone());
        let stop = self.background_shutdown.clone();
        self.background.spawn(async move {
            let taken = blocking(move || zones.taken_names(before.as_deref())).await;
            let warn = links.warn_of_hidden(taken);
            stop.run_until_cancelled(warn).await
        });
    }

    /// Waits until a listener fails for good, and returns the reason. It waits for ever while all listeners work.
    pub async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Stops: accepts nothing new, finishes the requests that have begun (within a bound), and closes the store.
    pub async fn shutdown(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.shutdown.cancel();
        self.tasks.wait().await;
        self.links.finish_writes().await;
        self.background_shutdown.cancel();
        self.background.wait().await;
        if let Some(seal) = self.store.close().await {
            self.links.hand_over(&seal).await;
        }
        if let Some(query_log) = self.query_log {
            query_log.end().await;
        }
    }
}

/// Stores when tokens were last used: every minute, and when the server stops.
async fn keep_token_uses(tokens: Arc<Tokens>, stop: CancellationToken) {
    loop {
        let pause = stop.run_until_cancelled(tokio::time::sleep(TOKEN_USES_EVERY));
        let is_over = pause.await.is_none();
        tokens.keep_uses().await;
        if is_over {
            return;
        }
    }
}
