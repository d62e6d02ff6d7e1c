//! Wiring: from a configuration to a running server.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{AdminToken, Gate, TokenError, TokenTextError, Tokens};
use crate::base::clock::{Clock, UnixTime};
use crate::base::environment;
use crate::base::metrics::{HttpPart, Metrics};
use crate::certificates::acme::AcmeSettings;
use crate::certificates::{
    CertificateError, CertificateFiles, Challenges, Handshakes, Overview, Service, Source, Tls,
};
use crate::config::{
    Config, HttpsCertificates, HttpsConfig, PageConfig, RedirectConfig, ServerConfig, StoreConfig,
};
use crate::dns::pipeline::handler::Handler;
use crate::dns::query_log::{QueryLog, QueryLogConfig, QueryLogError, QueryLogKeeper};
use crate::dns::transport::server::Listener;
use crate::dns::transport::tcp::TlsSockets;
use crate::dns::{CookieSecrets, SecretsError};
use crate::dnssec::Signing;
use crate::dnssec::keys::KeysError;
use crate::http::{
    AdminSite, ApiRules, BesidePage, Front, Overviews, Page, PageHosts, PageSettings, RedirectHost,
    Site, admin_api,
};
use crate::links::Namespace as _;
use crate::links::redis::RedisOpenError;
use crate::links::{LinkLimits, Links, ServerName};
use crate::routing::{Drains, Routing};
use crate::server::acme::{Engine, EngineError, Parts};
use crate::server::blocking::blocking;
use crate::server::https_records::set_https_records;
use crate::server::notices::{log_key_files, log_keys, log_warnings};
use crate::server::page::{PageHostError, check_host};
use crate::server::routing::{self, PoolsError};
use crate::server::running::Running;
use crate::server::sockets::Sockets;
use crate::server::statistics::{Counting, CountingError};
use crate::server::system::manager::ServiceManager;
use crate::server::tasks::{ConnectionLimits, Tasks};
use crate::statistics::{Clicks, Statistics};
use crate::store::audit::Retention;
use crate::store::servers::Label;
use crate::store::{
    DynamoOpenError, DynamoStore, Effect, OpenError, PostgresOpenError, PostgresStore, SqliteStore,
    Store, StoreUpdate, Trouble,
};
use crate::zone::{LoadError, Signings, ZoneConfig, ZoneSet};

/// The environment variable that holds the admin token. It takes precedence over the token file. Empty is the same as
/// unset.
pub const TOKEN_VARIABLE: &str = "TINYNS_ADMIN_TOKEN";

/// Why a server did not start. All sockets and files that were opened are closed again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A zone file has an error.
    #[error(transparent)]
    Zones(#[from] LoadError),
    /// The keys of a zone cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The host of the web page cannot be used.
    #[error(transparent)]
    Page(#[from] PageHostError),
    /// The certificate of a service cannot be used.
    #[error("{0}: {1}")]
    Certificate(Service, CertificateError),
    /// The engine that gets certificates cannot start.
    #[error(transparent)]
    Acme(#[from] EngineError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The DynamoDB table cannot be used.
    #[error(transparent)]
    DynamoDb(#[from] DynamoOpenError),
    /// The PostgreSQL database cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
    /// The settings for Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisOpenError),
    /// The secrets of DNS cookies cannot be read.
    #[error(transparent)]
    CookieSecrets(#[from] SecretsError),
    /// Look-ups of links cannot be counted.
    #[error("the system cannot start the thread that counts look-ups of links: {0}")]
    Lookups(io::Error),
    /// The query log cannot be written.
    #[error(transparent)]
    QueryLog(#[from] QueryLogError),
    /// What is needed for the statistics cannot be used.
    #[error(transparent)]
    Statistics(#[from] CountingError),
    /// The pools of names cannot be used.
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// The file of the admin token cannot be read or created.
    #[error(transparent)]
    TokenFile(#[from] TokenError),
    /// The environment variable has no valid admin token.
    #[error("the environment variable {TOKEN_VARIABLE} is not a token: {0}")]
    Token(#[from] TokenTextError),
}

/// Starts a server on these sockets: loads the zones, opens the store, and only then serves. It opens every file as
/// the user that the process already runs as, so a reload can read what the start could read. Large files take
/// seconds; a caller that gives up may drop the future.
///
/// # Errors
/// [`StartError`] names the file at fault.
pub async fn start(
    mut config: Config,
    sockets: Sockets,
    clock: Clock,
) -> Result<Running, StartError> {
    let now = clock.now();
    let connections = ConnectionLimits::of(&config, &sockets);
    let zones = open_zones(std::mem::take(&mut config.zones), now).await?;
    check_host(config.page.host.as_deref(), &zones)?;
    let dns_tls = config.dns.tls.take().map(|tls| tls.files);
    let dns_certificate = load_certificate(dns_tls, Service::Dns).await?;
    let https = config.https.take();
    let hsts = https.as_ref().and_then(|https| https.hsts);
    let (https_certificate, acme) = open_https(https, &zones).await?;
    // The store before the token: it creates a directory that only its owner can read.
    let store = open_store(&config.store, config.audit, &clock).await?;
    let token = admin_token(&config.admin.token_file)?;
    let metrics = Arc::new(Metrics::new());
    let routing = routing::open(&mut config, &zones.snapshot(), &metrics).await?;
    let tokens = Arc::new(Tokens::new(store.clone(), clock.clone()));
    let challenges = Arc::new(Challenges::new(store.clone(), clock.clone()));
    let acme = match acme {
        Some(settings) => {
            let parts = Parts {
                store: store.clone(),
                challenges: challenges.clone(),
                zones: zones.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
            };
            Some(Engine::open(settings, parts).await?)
        }
        None => None,
    };
    let certificates = overview(https_certificate.as_ref(), acme.as_ref(), &clock);
    let (ticket_clock, page_clock) = (clock.clone(), clock.clone());
    let links = open_links(&config, store.clone(), zones.clone(), clock, &metrics)?;
    let counting = config.statistics.as_ref();
    let counting = Counting::open(counting, &store, &page_clock, &metrics).await?;
    let statistics = counting.statistics;
    show_troubles(
        &links,
        zones.clone(),
        certificates.clone(),
        statistics.clone(),
        routing.clone(),
    );
    let (query_log, query_log_keeper) = start_query_log(config.query_log.take(), &metrics).await?;
    let drains = routing.as_ref().map(|routing| {
        let (routing, store) = (routing.clone(), store.clone());
        Arc::new(Drains::new(routing, store, page_clock.clone()))
    });
    let handler = Handler::new(
        zones.clone(),
        links.clone(),
        config.hot_answer_bytes,
        config.dns.settings,
        metrics.clone(),
    )
    .with_query_log(query_log)
    .with_statistics(statistics.clone())
    .map_err(StartError::Lookups)?;
    handler.set_challenges(challenges);
    if let Some(routing) = &routing {
        handler.set_routing(routing.clone());
    }
    if let Some(file) = config.cookie_secrets.clone() {
        handler.set_cookie_secrets(blocking(move || CookieSecrets::load(&file)).await?);
    }
    if let Some(acme) = &acme {
        acme.attach(handler.clone());
    }
    let http = HttpConfigs {
        rules: ApiRules {
            statistics_off: config.statistics.is_none(),
            ..config.admin.rules
        },
        redirect: config.redirect,
        page: config.page,
        clicks: counting.clicks,
    };
    let (failed, failures) = mpsc::channel(1);
    let running = Running {
        dns: sockets.dns.iter().map(Listener::local_addr).collect(),
        dns_tls: sockets.dns_tls.iter().map(|tls| tls.local).collect(),
        admin: sockets.admin.iter().map(|http| http.local).collect(),
        redirect: sockets.redirect.iter().map(|http| http.local).collect(),
        https: sockets.https.iter().map(|https| https.local).collect(),
        page_host: http.page.host.clone(),
        zones,
        clock: page_clock,
        cookie_secrets: config.cookie_secrets,
        dns_certificate,
        https_certificate,
        acme,
        certificates,
        handler,
        store,
        tokens: tokens.clone(),
        links,
        query_log: query_log_keeper,
        statistics,
        countries: counting.countries,
        routing,
        drains,
        metrics,
        stopping: Arc::default(),
        shutdown: CancellationToken::new(),
        tasks: TaskTracker::new(),
        background: TaskTracker::new(),
        background_shutdown: CancellationToken::new(),
        failures,
    };
    let gate = Arc::new(Gate::new(token, tokens));
    let sites = Sites::of(&running, gate, http, hsts);
    running.warn_of_certificates(now);
    running.measure_own_certificate();
    let tickets = running.ticket_keeper(ticket_clock);
    if let Some(tickets) = &tickets {
        tickets.begin().await;
    }
    running.start_background(tickets);
    running.check_pools().await;
    serve(&running, failed, sockets, &connections, &sites);
    Ok(running)
}

/// The configuration of what the HTTP listeners answer.
struct HttpConfigs {
    rules: ApiRules,
    redirect: RedirectConfig,
    page: PageConfig,
    clicks: Clicks,
}

/// What the HTTP listeners answer.
struct Sites {
    admin: Arc<dyn Site>,
    redirect: Arc<dyn Site>,
    https: Arc<dyn Site>,
}

impl Sites {
    fn of(running: &Running, gate: Arc<Gate>, http: HttpConfigs, hsts: Option<u32>) -> Self {
        let HttpConfigs {
            rules,
            redirect,
            page,
            clicks,
        } = http;
        let urls = redirect.short_urls;
        let (links, counts, stopping) = (&running.links, &running.metrics, &running.stopping);
        let overviews = Overviews {
            certificates: running.certificates.clone(),
            pools: running.drains.clone(),
        };
        let (api, inside) = admin_api(
            links.clone(),
            gate.clone(),
            overviews,
            urls,
            counts.clone(),
            stopping.clone(),
            rules,
        );
        let redirect_host = |hsts| -> Arc<dyn Site> {
            let contact = redirect.abuse_contact.clone();
            Arc::new(RedirectHost::new(
                links.clone(),
                urls,
                contact,
                hsts,
                clicks.clone(),
                counts,
            ))
        };
        let settings = PageSettings {
            hosts: PageHosts::new(page.hosts.iter().chain(&page.host)),
            dns: running.dns.first().copied(),
            clock: running.clock.clone(),
            has_pools: running.routing.is_some(),
        };
        let people = Page::new(inside, gate, settings, counts.clone());
        let (mut http, mut by_https) = (redirect_host(None), redirect_host(hsts));
        if let Some(host) = &page.host {
            http = Arc::new(BesidePage::redirecting(host, urls.port, http));
            let page = people.by_tls(hsts).router();
            by_https = Arc::new(BesidePage::serving(host, page, by_https));
        }
        Self {
            admin: Arc::new(AdminSite::new(api, &people)),
            redirect: http,
            https: by_https,
        }
    }
}

/// Serves all sockets.
fn serve(
    running: &Running,
    failed: mpsc::Sender<String>,
    sockets: Sockets,
    connections: &ConnectionLimits,
    sites: &Sites,
) {
    let tasks = Tasks {
        tracker: running.tasks.clone(),
        shutdown: running.shutdown.clone(),
        failed,
    };
    let Sockets {
        dns,
        dns_tls,
        admin,
        redirect,
        https,
    } = sockets;
    let handshakes = Handshakes::default();
    let tls = running.dns_certificate.clone().map(|tls| TlsSockets {
        listeners: dns_tls.into_iter().map(|tls| tls.listener).collect(),
        tls,
        handshakes: handshakes.clone(),
    });
    tasks.serve_dns((dns, tls), running.handler.clone(), connections.tcp);
    let front = |part, limits| Front::new(part, limits, running.metrics.clone());
    let admin_front = front(HttpPart::Admin, &connections.admin);
    let redirect_front = front(HttpPart::Redirect, &connections.redirect);
    tasks.serve_http(&admin_front, None, admin, &sites.admin);
    tasks.serve_http(&redirect_front, None, redirect, &sites.redirect);
    let tls = running.https_connections(handshakes);
    // The same seats as without TLS.
    tasks.serve_http(&redirect_front, tls, https, &sites.https);
    tasks.tracker.close();
}

/// Loads the zones with the keys of the signed ones, and logs what is notable about them.
async fn open_zones(configs: Vec<ZoneConfig>, now: UnixTime) -> Result<Arc<ZoneSet>, StartError> {
    let load = move || {
        let mut signings = Signings::new();
        for config in &configs {
            if let Some(dnssec) = config.dnssec.clone() {
                let signing = Signing::load(dnssec, config.origin.clone(), now)?;
                signings.insert(config.origin.clone(), Arc::new(signing));
            }
        }
        Ok::<_, StartError>(ZoneSet::load_signed(configs, signings)?)
    };
    let (zones, warnings) = blocking(load).await?;
    log_warnings(&warnings);
    for warning in zones.ttls_beyond() {
        tracing::warn!("{warning}");
    }
    for (origin, signing) in zones.signings() {
        log_keys(origin, signing);
        log_key_files(signing);
    }
    Ok(Arc::new(zones))
}

/// The certificate of HTTPS from files, or the settings for getting certificates, if one of them is configured.
async fn open_https(
    config: Option<HttpsConfig>,
    zones: &ZoneSet,
) -> Result<(Option<Arc<Tls>>, Option<AcmeSettings>), StartError> {
    match config.map(|https| https.certificates) {
        Some(HttpsCertificates::Files(files)) => {
            let certificate = load_certificate(Some(files), Service::Https).await?;
            if let Some(tls) = &certificate {
                set_https_records(zones, tls);
            }
            Ok((certificate, None))
        }
        Some(HttpsCertificates::Acme(settings)) => Ok((None, Some(*settings))),
        None => Ok((None, None)),
    }
}

/// The certificates of HTTPS as operators see them.
fn overview(files: Option<&Arc<Tls>>, acme: Option<&Engine>, clock: &Clock) -> Overview {
    let source = match (files, acme) {
        (Some(tls), _) => Source::Files(tls.clone()),
        (None, Some(engine)) => Source::Acme(engine.acme.clone()),
        (None, None) => Source::None,
    };
    Overview::new(source, clock.clone())
}

/// Has `/readyz` and the log show what is wrong with certificates and statistics. Queries are answered all the same.
fn show_troubles(
    links: &Links,
    zones: Arc<ZoneSet>,
    certificates: Overview,
    statistics: Statistics,
    routing: Option<Arc<Routing>>,
) {
    links.show_troubles(move || {
        let troubles = certificates.troubles(&zones.origins()).into_iter();
        let degraded = troubles.map(|trouble| Trouble::new(Effect::Degraded, trouble.reason()));
        let pools = routing.iter().flat_map(|routing| routing.troubles());
        let pools = pools.map(|trouble| Trouble::new(Effect::Degraded, trouble));
        degraded.chain(statistics.troubles()).chain(pools).collect()
    });
}

/// Reads the certificate of a service that is configured.
async fn load_certificate(
    files: Option<CertificateFiles>,
    service: Service,
) -> Result<Option<Arc<Tls>>, StartError> {
    let Some(files) = files else {
        return Ok(None);
    };
    let loaded = blocking(move || Tls::load(files, service)).await;
    let tls = loaded.map_err(|error| StartError::Certificate(service, error))?;
    Ok(Some(Arc::new(tls)))
}

async fn open_store(
    config: &StoreConfig,
    audit: Option<Retention>,
    clock: &Clock,
) -> Result<Arc<dyn Store>, StartError> {
    Ok(match config {
        StoreConfig::Sqlite { path } => {
            let (path, clock) = (path.clone(), clock.clone());
            let (manager, runtime) = (ServiceManager::from_env(), Handle::current());
            // The manager would take a long start for a hung one, and end it each time.
            let on_update = move |update: StoreUpdate| {
                let status = format!(
                    "updating the link store, {} links; serving begins after that",
                    update.links
                );
                runtime.block_on(manager.starting(update.within, &status));
            };
            let open = move || SqliteStore::open_with(&path, clock, audit, &on_update);
            Arc::new(blocking(open).await?)
        }
        StoreConfig::DynamoDb(table) => DynamoStore::open_or_wait(table).await?,
        StoreConfig::Postgres(database) => {
            Box::pin(PostgresStore::open_or_wait(database, clock.clone())).await?
        }
    })
}

/// The links behind their tiers: the memory, the filter and Redis, as far as they are configured.
fn open_links(
    config: &Config,
    store: Arc<dyn Store>,
    zones: Arc<ZoneSet>,
    clock: Clock,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Links>, StartError> {
    let limits = LinkLimits {
        memory: config.cache,
        store_reads_per_second: config.store_reads_per_second,
    };
    let mut links = Links::new(store, zones, limits, clock, metrics.clone());
    links = links.with_name(server_name(&config.server));
    links = links.with_reserved(config.reserved_codes.clone());
    if let Some(redis) = &config.redis {
        links = links.with_redis(redis, limits)?;
    }
    if config.filter {
        links = links.with_filter();
    }
    Ok(Arc::new(links))
}

/// What other servers call this one.
fn server_name(config: &ServerConfig) -> ServerName {
    let host = || {
        let name = nix::unistd::gethostname().unwrap_or_default();
        Label::closest(&name.to_string_lossy())
    };
    ServerName {
        name: config.name.clone().unwrap_or_else(host),
        region: config.region.clone(),
    }
}

/// Opens the query log, if one is configured.
async fn start_query_log(
    config: Option<QueryLogConfig>,
    metrics: &Arc<Metrics>,
) -> Result<(QueryLog, Option<QueryLogKeeper>), StartError> {
    let Some(config) = config else {
        return Ok((QueryLog::off(), None));
    };
    let metrics = metrics.clone();
    let (log, keeper) = blocking(move || QueryLog::start(&config, metrics)).await?;
    Ok((log, Some(keeper)))
}

/// The admin token: of the environment, or of the file, which is created if it does not exist.
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
