//! Wiring: from a configuration to a server at work, and back down again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{AdminToken, TokenError, TokenTextError};
use crate::base::admission::{SeatLimits, Share, divide};
use crate::base::clock::{Clock, UnixTime};
use crate::base::environment;
use crate::base::metrics::{HttpPart, Metrics, Outcome, Reload};
use crate::base::name::ZoneName;
use crate::config::{Config, StoreConfig, TlsConfig};
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::{QueryLog, QueryLogConfig, QueryLogError, QueryLogKeeper};
use crate::dns::transport::server::{DnsServer, Listener};
use crate::dns::transport::tcp::{TcpLimits, TlsSockets};
use crate::dns::transport::tls::{Tls, TlsError};
use crate::dns::{CookieSecrets, SecretsError};
use crate::dnssec::Signing;
use crate::dnssec::key::SigningKey;
use crate::dnssec::keys::KeysError;
use crate::http::{Front, ServeLimits, admin_router, redirect_router, serve};
use crate::links::redis::RedisOpenError;
use crate::links::{LinkLimits, Links, WarmStatus};
use crate::server::sockets::{Sockets, StreamListener};
use crate::server::system::manager::ServiceManager;
use crate::server::watchdog;
use crate::store::{DynamoOpenError, DynamoStore, OpenError, SqliteStore, Store};
use crate::zone::{Diagnostic, LoadError, Signings, ZoneConfig, ZoneSet, Zones};

/// The environment variable that holds the admin token; it comes before the token file. Empty is
/// the same as unset.
pub const TOKEN_VARIABLE: &str = "TINYNS_ADMIN_TOKEN";

/// How often it is looked whether other keys are to sign.
const KEY_TICK: Duration = Duration::from_secs(1);
/// How many descriptors are kept for all but connections of clients: files, UDP sockets, the store, Redis.
const OTHER_DESCRIPTORS: u64 = 256;

/// Why a server did not start. Nothing is left behind: what was bound or opened is closed again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A zone file is wrong.
    #[error(transparent)]
    Zones(#[from] LoadError),
    /// The keys of a zone cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The certificate for DNS over TLS cannot be used.
    #[error("DNS over TLS: {0}")]
    Tls(#[from] TlsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The DynamoDB table cannot be used.
    #[error(transparent)]
    DynamoDb(#[from] DynamoOpenError),
    /// Redis cannot even be tried.
    #[error(transparent)]
    Redis(#[from] RedisOpenError),
    /// The secrets of DNS cookies cannot be read.
    #[error(transparent)]
    CookieSecrets(#[from] SecretsError),
    /// The query log cannot be written.
    #[error(transparent)]
    QueryLog(#[from] QueryLogError),
    /// The admin token's file cannot be read or made.
    #[error(transparent)]
    TokenFile(#[from] TokenError),
    /// The environment's admin token is none.
    #[error("the environment variable {TOKEN_VARIABLE} is not a token: {0}")]
    Token(#[from] TokenTextError),
}

/// A server at work. Dropping it stops nothing; call [`Running::shutdown`].
pub struct Running {
    dns: Vec<SocketAddr>,
    dns_tls: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
    redirect: Vec<SocketAddr>,
    zones: Arc<ZoneSet>,
    cookie_secrets: Option<PathBuf>,
    tls: Option<Arc<Tls>>,
    handler: Handler,
    store: Arc<dyn Store>,
    links: Arc<Links>,
    query_log: Option<QueryLogKeeper>,
    metrics: Arc<Metrics>,
    /// Makes `/readyz` say no.
    stopping: Arc<AtomicBool>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    /// What runs beside the requests, and ends after them: they may leave it something to do.
    background: TaskTracker,
    background_shutdown: CancellationToken,
    failures: mpsc::Receiver<String>,
}

/// Starts a server on these sockets: loads the zones, opens the store, and only then serves. Every file
/// is opened as the user that the process has by now, so that what is read at the start can be read at
/// a reload. Large files take seconds; a caller that has lost patience may drop the future.
///
/// # Errors
/// [`StartError`], with the file to blame.
pub async fn start(config: Config, sockets: Sockets, clock: Clock) -> Result<Running, StartError> {
    let now = clock.now();
    let connections = connection_limits(&config, &sockets);
    let (zones, warnings) = aside(move || load_zones(config.zones, now)).await?;
    log_warnings(&warnings);
    for warning in zones.ttls_beyond() {
        tracing::warn!("{warning}");
    }
    for (origin, signing) in zones.signings() {
        log_keys(origin, signing);
        log_key_files(signing);
    }
    let zones = Arc::new(zones);
    let tls = load_tls(config.dns.tls).await?;
    if let Some(tls) = &tls {
        log_certificate(tls, now);
    }
    // The store before the token: it makes a directory that only its owner can read.
    let store = open_store(config.store, &clock).await?;
    let token = admin_token(&config.admin.token_file)?;
    let secrets = match config.cookie_secrets.clone() {
        Some(file) => Some(aside(move || CookieSecrets::load(&file)).await?),
        None => None,
    };

    let metrics = Arc::new(Metrics::new());
    let limits = LinkLimits {
        memory: config.cache,
        store_reads_per_second: config.store_reads_per_second,
    };
    let (names, counts) = (zones.clone(), metrics.clone());
    let mut links = Links::new(store.clone(), names, limits, clock, counts);
    if config.filter {
        links = links.with_filter();
    }
    if let Some(redis) = &config.redis {
        links = links.with_redis(redis, limits)?;
    }
    let links = Arc::new(links);
    let (query_log, query_log_keeper) = start_query_log(config.query_log, &metrics).await?;
    let handler = Handler::new(
        zones.clone(),
        links.clone(),
        config.hot_answer_bytes,
        config.dns.settings,
        metrics.clone(),
    )
    .with_query_log(query_log);
    if let Some(secrets) = secrets {
        handler.set_cookie_secrets(secrets);
    }
    let shutdown = CancellationToken::new();
    let (failed, failures) = mpsc::channel(1);
    let tasks = Tasks {
        tracker: TaskTracker::new(),
        shutdown: shutdown.clone(),
        failed,
    };
    let Sockets {
        dns,
        dns_tls,
        admin,
        redirect,
    } = sockets;
    let running = Running {
        dns: dns.iter().map(Listener::local_addr).collect(),
        dns_tls: dns_tls.iter().map(|tls| tls.local).collect(),
        admin: admin.iter().map(|http| http.local).collect(),
        redirect: redirect.iter().map(|http| http.local).collect(),
        zones,
        cookie_secrets: config.cookie_secrets,
        tls: tls.clone(),
        handler: handler.clone(),
        store,
        links: links.clone(),
        query_log: query_log_keeper,
        metrics: metrics.clone(),
        stopping: Arc::default(),
        shutdown,
        tasks: tasks.tracker.clone(),
        background: TaskTracker::new(),
        background_shutdown: CancellationToken::new(),
        failures,
    };
    let urls = config.redirect.short_urls;
    let stopping = running.stopping.clone();
    let admin_routes = admin_router(links.clone(), token, urls, metrics.clone(), stopping);
    let redirect_routes = redirect_router(links.clone(), urls, metrics);
    links.start(&running.background, &running.background_shutdown);
    running.warn_of_hidden_links(None);
    let watch = handler.clone();
    let watch = watch.watch_rate_limit(running.background_shutdown.clone());
    running.background.spawn(watch);
    let stop = running.background_shutdown.clone();
    running
        .background
        .spawn(links.clone().watch_readiness(stop));
    if !running.zones.signings().is_empty() {
        let (zones, handler) = (running.zones.clone(), handler.clone());
        let turns = turn_keys(zones, handler, links.clone());
        let stop = running.background_shutdown.clone();
        let turns = async move { stop.run_until_cancelled(turns).await };
        running.background.spawn(turns);
    }
    running.background.close();
    let tls = tls.map(|tls| TlsSockets {
        listeners: dns_tls.into_iter().map(|tls| tls.listener).collect(),
        tls,
    });
    tasks.serve_dns((dns, tls), handler, connections.tcp);
    let front = |part, limits| Front::new(part, limits, running.metrics.clone());
    let admin_front = front(HttpPart::Admin, &connections.admin);
    let redirect_front = front(HttpPart::Redirect, &connections.redirect);
    tasks.serve_http(&admin_front, admin, &admin_routes);
    tasks.serve_http(&redirect_front, redirect, &redirect_routes);
    tasks.tracker.close();
    Ok(running)
}

impl Running {
    /// Where DNS is served, by UDP and TCP.
    pub fn dns(&self) -> &[SocketAddr] {
        &self.dns
    }

    /// Where DNS is served by TLS.
    pub fn dns_tls(&self) -> &[SocketAddr] {
        &self.dns_tls
    }

    /// Where the admin API is.
    pub fn admin(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// Where the redirect host is.
    pub fn redirect(&self) -> &[SocketAddr] {
        &self.redirect
    }

    /// Sends watchdog pings to the service manager for as long as the threads that answer queries are alive.
    pub fn watchdog(&self, manager: ServiceManager) -> impl Future<Output = ()> + use<> {
        watchdog::ping(manager, self.handler.pulse().clone())
    }

    /// How far the load of all links into Redis is, where there is one.
    pub fn warm_load(&self) -> Option<WarmStatus> {
        Some(self.links.redis_status()?.warm_load)
    }

    /// Reads all zone files again, and takes the new zones if every one of them is good; else the
    /// old ones serve on. The same, apart from that, for the secrets of DNS cookies and for the certificate. Logs
    /// what came of it. Returns whether all that was read was taken. The query log is opened again, for its
    /// file may have been renamed.
    pub async fn reload(&self) -> bool {
        if let Some(query_log) = &self.query_log {
            query_log.reopen();
        }
        // The keys first: zones are taken over by what is forgotten of the old ones, and keys as well.
        let keys_taken = self.reload_keys().await;
        let zones_taken = self.reload_zones().await;
        let secrets_taken = match self.cookie_secrets.clone() {
            Some(file) => self.reload_cookie_secrets(file).await,
            None => true,
        };
        let certificate_taken = match &self.tls {
            Some(tls) => self.reload_certificate(tls).await,
            None => true,
        };
        let redis_taken = self.reload_redis().await;
        keys_taken && zones_taken && secrets_taken && certificate_taken && redis_taken
    }

    /// Reads the password and the certificates for Redis again, if there are any.
    async fn reload_redis(&self) -> bool {
        let links = self.links.clone();
        match aside(move || links.reload_redis()).await {
            Ok(true) => {
                tracing::info!(
                    "password or certificates of Redis reloaded: connecting with the new ones"
                );
                true
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!(
                    "password and certificates of Redis not reloaded; the old ones stay"
                );
                false
            }
        }
    }

    /// Reads the keys of all zones that are signed, each by itself.
    async fn reload_keys(&self) -> bool {
        let mut taken = true;
        for (origin, signing) in self.zones.signings() {
            let (signing, now) = (Arc::clone(signing), self.links.now());
            match aside(move || signing.reload(now)).await {
                Ok(()) => {
                    let signing = &self.zones.signings()[origin];
                    log_keys(origin, signing);
                    log_key_files(signing);
                }
                Err(error) => {
                    for line in error.to_string().lines() {
                        tracing::error!("{line}");
                    }
                    tracing::error!(zone = %origin, "keys not reloaded; the old ones sign on");
                    taken = false;
                }
            }
        }
        self.handler.zones_replaced();
        if !self.zones.signings().is_empty() {
            let outcome = match taken {
                true => Outcome::Success,
                false => Outcome::Failure,
            };
            let reload = Reload { outcome };
            self.metrics.dnssec_reloads.get_or_create(&reload).inc();
        }
        taken
    }

    async fn reload_cookie_secrets(&self, file: PathBuf) -> bool {
        let secrets = aside(move || CookieSecrets::load(&file)).await;
        match secrets {
            Ok(secrets) => {
                tracing::info!(secrets = secrets.count(), "secrets of DNS cookies reloaded");
                self.handler.set_cookie_secrets(secrets);
                true
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("secrets of DNS cookies not reloaded; the old ones stay");
                false
            }
        }
    }

    async fn reload_certificate(&self, tls: &Arc<Tls>) -> bool {
        let (current, tls) = (Arc::clone(tls), Arc::clone(tls));
        let outcome = match aside(move || tls.reload()).await {
            Ok(is_new) => {
                let what = if is_new { "new" } else { "unchanged" };
                tracing::info!("certificate reloaded: {what}");
                log_certificate(&current, self.links.now());
                Outcome::Success
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("certificate not reloaded; the old one serves on");
                Outcome::Failure
            }
        };
        let taken = outcome == Outcome::Success;
        let reload = Reload { outcome };
        self.metrics.dns_tls_reloads.get_or_create(&reload).inc();
        taken
    }

    async fn reload_zones(&self) -> bool {
        let zones = self.zones.clone();
        let before = zones.snapshot();
        let outcome = match tokio::task::spawn_blocking(move || zones.reload()).await {
            Ok(Ok(warnings)) => {
                self.handler.zones_replaced();
                log_warnings(&warnings);
                tracing::info!("zone files reloaded");
                self.warn_of_hidden_links(Some(before));
                Outcome::Success
            }
            Ok(Err(error)) => {
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("zone files not reloaded; the old zones serve on");
                Outcome::Failure
            }
            Err(error) => {
                tracing::error!(%error, "zone files not reloaded; the old zones serve on");
                Outcome::Failure
            }
        };
        let taken = outcome == Outcome::Success;
        let reload = Reload { outcome };
        self.metrics.zone_reloads.get_or_create(&reload).inc();
        taken
    }

    /// Warns of links whose names the zone files have taken, and had not taken before; not at once, for it asks the
    /// store.
    fn warn_of_hidden_links(&self, before: Option<Arc<Zones>>) {
        let (zones, links) = (self.zones.snapshot(), self.links.clone());
        let stop = self.background_shutdown.clone();
        self.background.spawn(async move {
            let taken = aside(move || zones.taken_names(before.as_deref())).await;
            let warn = links.warn_of_hidden(taken);
            stop.run_until_cancelled(warn).await
        });
    }

    /// Waits until a listener fails for good, and says which; a server in order never returns.
    pub async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Stops: nothing new is taken, what was begun is finished within a bound, the store is closed.
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

/// Loads the zones, with the keys of those that are signed.
fn load_zones(
    configs: Vec<ZoneConfig>,
    now: UnixTime,
) -> Result<(ZoneSet, Vec<Diagnostic>), StartError> {
    let mut signings = Signings::new();
    for config in &configs {
        if let Some(dnssec) = config.dnssec.clone() {
            let signing = Signing::load(dnssec, config.origin.clone(), now)?;
            signings.insert(config.origin.clone(), Arc::new(signing));
        }
    }
    Ok(ZoneSet::load_signed(configs, signings)?)
}

/// Tells which keys sign, and when that changes.
fn log_keys(origin: &ZoneName, signing: &Signing) {
    let keys = signing.keys();
    let tags = |keys: &[Arc<SigningKey>]| keys.iter().map(|key| key.tag()).collect::<Vec<_>>();
    let until = keys
        .until
        .map_or("further notice".into(), UnixTime::rfc3339);
    tracing::info!(
        zone = %origin,
        sign_keys = ?tags(&keys.key_signers),
        sign_zone = ?tags(&keys.zone_signers),
        published = keys.dnskeys.len(),
        until,
        "the zone is signed"
    );
}

fn log_key_files(signing: &Signing) {
    for warning in signing.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Has the keys of signed zones take turns when their time comes, for ever.
async fn turn_keys(zones: Arc<ZoneSet>, handler: Handler, links: Arc<Links>) {
    let mut ticks = tokio::time::interval(KEY_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = links.now();
    let mut was_set_back = false;
    loop {
        ticks.tick().await;
        let now = links.now();
        // What was signed by a clock that was ahead may not be valid yet. Once more at the next tick, for what was
        // in the making when the clock was set back.
        let is_set_back = now < last;
        let mut has_turned = is_set_back || was_set_back;
        (was_set_back, last) = (is_set_back, now);
        for (origin, signing) in zones.signings() {
            if signing.turn(now) {
                log_keys(origin, signing);
                has_turned = true;
            }
        }
        if has_turned {
            handler.zones_replaced();
        }
    }
}

/// The server's tasks and how they end.
struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: mpsc::Sender<String>,
}

impl Tasks {
    fn serve_dns(
        &self,
        (listeners, tls): (Vec<Listener>, Option<TlsSockets>),
        handler: Handler,
        limits: TcpLimits,
    ) {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let mut server = match DnsServer::start(listeners, tls, handler, limits) {
                Ok(server) => server,
                Err(error) => return report(&failed, format!("DNS: {error}")),
            };
            tokio::select! {
                failure = server.failed() => {
                    report(&failed, format!("DNS: {failure}"));
                    // The other sockets serve on until all is stopped, in order.
                    shutdown.cancelled().await;
                }
                () = shutdown.cancelled() => {}
            }
            server.shutdown().await;
        });
    }

    fn serve_http(&self, front: &Front, listeners: Vec<StreamListener>, routes: &Router) {
        for StreamListener { listener, local } in listeners {
            let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
            let (routes, front) = (routes.clone(), front.clone());
            self.tracker.spawn(async move {
                let (limits, service) = (ServeLimits::default(), front.name());
                let served = match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, routes, front, limits, shutdown).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    report(&failed, format!("{service} on {local}: {error}"));
                }
            });
        }
    }
}

/// How many connections each part may have.
struct ConnectionLimits {
    tcp: TcpLimits,
    admin: SeatLimits,
    redirect: SeatLimits,
}

/// What is configured, as far as the limit on open files goes. A part without a listener needs none.
fn connection_limits(config: &Config, sockets: &Sockets) -> ConnectionLimits {
    let dns = sockets.dns.iter().map(Listener::descriptors).sum::<usize>();
    let listening = dns + sockets.dns_tls.len() + sockets.admin.len() + sockets.redirect.len();
    let others = u64::try_from(listening).unwrap_or(u64::MAX);
    let others = others.saturating_add(OTHER_DESCRIPTORS);
    let mut limits = ConnectionLimits {
        tcp: config.dns.tcp,
        admin: config.admin.connections.clone(),
        redirect: config.redirect.connections.clone(),
    };
    let share = |part: HttpPart, connections| Share {
        service: part.name(),
        connections,
    };
    let mut wanted = vec![limits.tcp.share()];
    let mut places = vec![&mut limits.tcp.connections];
    for (part, listeners, seats) in [
        (HttpPart::Admin, &sockets.admin, &mut limits.admin),
        (HttpPart::Redirect, &sockets.redirect, &mut limits.redirect),
    ] {
        if !listeners.is_empty() {
            wanted.push(share(part, seats.connections));
            places.push(&mut seats.connections);
        }
    }
    for (place, given) in places.into_iter().zip(divide(&wanted, others)) {
        *place = given;
    }
    limits
}

/// Does on a thread of its own what reads files, so that signals are heard meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // It was cancelled, which only the end of the runtime does; and with that ends this.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn open_store(config: StoreConfig, clock: &Clock) -> Result<Arc<dyn Store>, StartError> {
    Ok(match config {
        StoreConfig::Sqlite { path } => {
            let clock = clock.clone();
            Arc::new(aside(move || SqliteStore::open(&path, clock)).await?)
        }
        StoreConfig::DynamoDb(table) => DynamoStore::open_or_wait(&table).await?,
    })
}

/// The log of queries, if there is to be one.
async fn start_query_log(
    config: Option<QueryLogConfig>,
    metrics: &Arc<Metrics>,
) -> Result<(QueryLog, Option<QueryLogKeeper>), StartError> {
    let Some(config) = config else {
        return Ok((QueryLog::off(), None));
    };
    let metrics = metrics.clone();
    let (log, keeper) = aside(move || QueryLog::start(&config, metrics)).await?;
    Ok((log, Some(keeper)))
}

/// The environment's token, or that of the file, which is made where there is none.
fn admin_token(file: &Path) -> Result<AdminToken, StartError> {
    let text = environment::text(TOKEN_VARIABLE).map_err(|_| TokenTextError::NotText)?;
    match text {
        Some(text) => Ok(AdminToken::from_text(&text)?),
        None => {
            let (token, created) = AdminToken::load_or_create(file)?;
            if created {
                tracing::info!(file = %file.display(), "admin token made");
            }
            Ok(token)
        }
    }
}

/// Tells of a failure; the first one is enough to stop the server.
fn report(failed: &mpsc::Sender<String>, failure: String) {
    if let Err(error) = failed.try_send(failure) {
        tracing::debug!(%error, "another failure was reported first");
    }
}

fn log_warnings(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Tells where the certificate's time is over, or soon will be.
fn log_certificate(tls: &Tls, now: UnixTime) {
    for warning in tls.warnings(now) {
        tracing::warn!("{warning}");
    }
}

/// Reads the certificate, if there is to be DNS over TLS.
async fn load_tls(config: Option<TlsConfig>) -> Result<Option<Arc<Tls>>, StartError> {
    let Some(TlsConfig { files, .. }) = config else {
        return Ok(None);
    };
    Ok(Some(Arc::new(aside(move || Tls::load(files)).await?)))
}
