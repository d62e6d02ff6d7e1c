//! The configuration: a TOML file, read once into a [`Config`] that holds nothing bad.
//!
//! The `toml` crate parses the text into tables whose keys and values know their places. There is a module for
//! each section of the file; it asks for its keys one by one (`section`) and builds the settings that the part
//! of the program uses. Each [`Fault`] is one line, `<file>:<line>:<column>: <key>: <problem>` (`problem`). All
//! of them are reported at once: the reader notes a bad value (`reader`), and continues with the default.
//!
//! A key that the file does not have takes its default, as in [`Config::default`]. Relative paths are relative
//! to the working directory of the process, not to the file.

mod acme;
mod admin;
mod audit;
mod cache;
mod connections;
mod cookies;
mod dns;
mod dnssec;
mod features;
mod health;
mod https;
mod links;
mod listen;
mod page;
mod prefixes;
mod problem;
mod process;
mod query_log;
mod rate_limit;
mod reader;
mod redirect;
mod redis;
mod routing;
mod section;
mod server;
mod signatures;
mod statistics;
mod store;
mod tcp;
mod tls;
mod zone;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

pub use self::admin::AdminConfig;
pub use self::dns::DnsConfig;
use self::features::Features;
pub use self::https::{HttpsCertificates, HttpsConfig};
use self::listen::Claimed;
pub use self::page::PageConfig;
pub use self::problem::{ConfigError, ConfigProblem, Fault, Faults};
pub use self::process::ProcessConfig;
use self::reader::ConfigReader;
pub use self::redirect::RedirectConfig;
use self::section::Section;
pub use self::server::ServerConfig;
pub use self::statistics::StatisticsConfig;
pub use self::store::StoreConfig;
pub use self::tls::TlsConfig;
use crate::base::files::read_regular;
use crate::base::toml_text::{column_of, line_of};
use crate::dns::query_log::QueryLogConfig;
use crate::link::ReservedCodes;
use crate::links::MemoryLimits;
use crate::links::redis::RedisConfig;
use crate::routing::RoutingConfig;
use crate::store::audit::Retention;
use crate::zone::ZoneConfig;

/// The largest configuration file, in bytes: room for some two thousand zones.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[dns]`
    pub dns: DnsConfig,
    /// `[[zone]]`: at least one, no origin twice, and at least one of them holds links.
    pub zones: Vec<ZoneConfig>,
    /// `[store]`
    pub store: StoreConfig,
    /// `[links]`: the codes that callers cannot take.
    pub reserved_codes: ReservedCodes,
    /// `[audit]`; none if no audit log is kept.
    pub audit: Option<Retention>,
    /// How many look-ups for queries may go to the store each second; none for no limit.
    pub store_reads_per_second: Option<NonZeroU32>,
    /// `[redis]`, if it is there.
    pub redis: Option<RedisConfig>,
    /// `[cache]`
    pub cache: MemoryLimits,
    /// How much memory encoded answers may take, in bytes; zero for next to none.
    pub hot_answer_bytes: usize,
    /// Whether there is an existence filter; see [`Links`](crate::links::Links::with_filter).
    pub filter: bool,
    /// The file with the secrets of DNS cookies; none if the server makes a secret at its start, or there are no
    /// cookies.
    pub cookie_secrets: Option<PathBuf>,
    /// `[query_log]`, if it is there.
    pub query_log: Option<QueryLogConfig>,
    /// `[statistics]`; none if nothing is counted.
    pub statistics: Option<StatisticsConfig>,
    /// `[routing]`, `[[pool]]` and the pools of zones; none if no address depends on the client.
    pub routing: Option<RoutingConfig>,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[redirect]`
    pub redirect: RedirectConfig,
    /// `[https]`, if it is there.
    pub https: Option<HttpsConfig>,
    /// `[page]`
    pub page: PageConfig,
    /// `[process]`
    pub process: ProcessConfig,
    /// `[server]`
    pub server: ServerConfig,
}

impl Default for Config {
    #[expect(
        clippy::expect_used,
        reason = "the empty file is a constant, and a test reads it"
    )]
    fn default() -> Self {
        Self::parse("", Path::new("")).expect("the defaults are valid")
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and all its faults, each with line, column and key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_regular(path, MAX_FILE_LEN).map_err(|source| ConfigError::Read {
            file: path.into(),
            source,
        })?;
        if bytes.len() as u64 > MAX_FILE_LEN {
            let (file, max) = (path.into(), MAX_FILE_LEN);
            return Err(ConfigError::TooLarge { file, max });
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let fault = Fault {
                file: path.into(),
                line: line_of(&bytes, e.valid_up_to()),
                column: column_of(&bytes, e.valid_up_to()),
                key: String::new(),
                problem: ConfigProblem::NotUtf8,
            };
            ConfigError::Invalid(Faults::one(fault))
        })?;
        Self::parse(text, path)
    }

    /// Reads the text of a file; `path` is only for the messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] has all faults and their places.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_for(Features::BUILT, text, path)
    }

    fn parse_for(features: Features, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let reader = ConfigReader::new(features, text, path);
        let config = reader
            .table()
            .and_then(|table| Section::whole(&reader, &table, config));
        match (reader.faults(), config) {
            (Some(faults), _) => Err(ConfigError::Invalid(faults)),
            (None, Some(config)) => Ok(config),
            // Whatever prevents a configuration notes a fault; an error is still better than a panic.
            (None, None) => Err(ConfigError::Unreadable(path.into())),
        }
    }
}

/// Reads all sections, in the order in which messages list them. Bad values are noted, so the result counts
/// only if nothing was noted.
fn config(file: &Section<'_>) -> Option<Config> {
    let mut claimed = Claimed::new();
    let mut dns = file.section("dns", |section| dns::dns(section, &mut claimed));
    let pools = routing::pools(file);
    let mut routes = routing::Routes::new(&pools);
    let zones = zone::zones(file, &mut routes);
    let routes = routes.into_all();
    let routing = file.section("routing", |section| {
        routing::routing(section, &pools, &routes)
    });
    let (mut store, store_reads_per_second) = file.section("store", store::store);
    let reserved_codes = file.section("links", links::links);
    let audit = file.section("audit", |section| audit::audit(section, &mut store));
    let redis = file.optional("redis", redis::redis);
    let cache = file.section("cache", |section| {
        cache::cache(section, &store, redis.is_some())
    });
    dns.settings.rate_limit = file.optional("rate_limit", rate_limit::rate_limit);
    dns.settings.signatures = file.section("signatures", signatures::signatures);
    let (cookies, cookie_secrets) = file.section("cookies", cookies::cookies);
    dns.settings.cookies = cookies;
    let query_log = file.optional("query_log", |section| query_log::query_log(section, &dns));
    let statistics = file.section("statistics", |section| {
        statistics::statistics(section, &mut store)
    });
    let admin = file.section("admin", |section| admin::admin(section, &mut claimed));
    let https = file.optional("https", |section| {
        https::https(section, &store, &mut claimed)
    });
    let redirect = file.section("redirect", |section| {
        redirect::redirect(section, https.is_some(), &mut claimed)
    });
    let page = file.section("page", |section| {
        let https = https.as_ref().and_then(Option::as_ref);
        page::page(section, https, &zones)
    });
    let process = file.section("process", process::process);
    let server = file.section("server", server::server);
    Some(Config {
        dns,
        zones,
        store,
        reserved_codes,
        audit,
        store_reads_per_second,
        redis: redis.flatten(),
        cache: cache.memory,
        hot_answer_bytes: cache.hot_answer_bytes,
        filter: cache.filter,
        cookie_secrets,
        query_log: query_log.flatten(),
        statistics,
        routing,
        admin,
        redirect: redirect?,
        https: https.flatten(),
        page,
        process,
        server,
    })
}

#[cfg(test)]
mod tests;
