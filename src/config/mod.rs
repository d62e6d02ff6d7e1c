//! The configuration: a TOML file, read once and turned once into a [`Config`] that holds nothing
//! bad.
//!
//! serde fills plain structs that mirror the file and refuse keys they do not know (`raw`);
//! [`Config::parse`] then checks every value and builds the real thing (`reader`, and a module for
//! each part with rules of its own). The raw structs keep the place of each value (`toml::Spanned`),
//! so that an error about a meaning is as exact as one about syntax: every [`Fault`] is one
//! line, `<file>:<line>:<column>: <key>: <what>` (`problem`). All of them are reported at once: a key that serde
//! cannot take is struck out and the rest is read again (`toml_text`), and a bad value is noted while
//! reading goes on with the default. Letting serde build the valid types at once
//! would be shorter, but its messages speak of Rust types ("expected u16"), and it places an error
//! about a whole table at the first table of that name.
//!
//! What the file does not say has the default of [`Config::default`]. Relative paths are relative to
//! the working directory of the process, not to the file.

mod connections;
mod cookies;
mod dns;
mod dnssec;
mod listen;
mod problem;
mod process;
mod query_log;
mod rate_limit;
mod raw;
mod reader;
mod redis;
mod signatures;
mod store;
mod tcp;
mod tls;
mod zone;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use self::connections::RawConnections;
use self::listen::Seen;
pub use self::problem::{ConfigError, Fault, Faults, Problem};
pub use self::process::ProcessConfig;
use self::raw::{RawAdmin, RawCache, RawConfig, RawNumber, RawRedirect};
use self::reader::ConfigReader;
pub use self::store::StoreConfig;
use crate::base::admission::SeatLimits;
use crate::base::files::read_regular;
use crate::base::toml_text::column_of;
use crate::base::toml_text::line_of;
use crate::dns::Settings;
use crate::dns::query_log::QueryLogConfig;
use crate::dns::transport::tcp::TcpLimits;
use crate::dns::transport::tls::TlsFiles;
use crate::http::{Scheme, ShortUrls};
use crate::links::MemoryLimits;
use crate::links::redis::RedisConfig;
use crate::store::watch::VALID_FOR;
use crate::zone::ZoneConfig;

/// The largest configuration file, in bytes: room for some two thousand zones.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// One TiB: more than there is, but a number that a typing mistake does not exceed by accident.
const MAX_MEMORY_MIB: u32 = 1 << 20;
/// Room for some 400,000 ordinary links. It is taken as it is used.
const DEFAULT_ANSWERS_MIB: u32 = 64;
/// In seconds.
const HOUR: u32 = 60 * 60;
const DAY: u32 = 24 * HOUR;
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8053";
const DEFAULT_TOKEN_FILE: &str = "data/admin.token";
const DEFAULT_REDIRECT_LISTEN: &str = "127.0.0.1:8080";

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dns]`
    pub dns: DnsConfig,
    /// `[[zone]]`: at least one, no origin twice, and at least one of them holds links.
    pub zones: Vec<ZoneConfig>,
    /// `[store]`
    pub store: StoreConfig,
    /// How many look-ups for queries may go to the store each second; none for no bound.
    pub store_reads_per_second: Option<NonZeroU32>,
    /// `[redis]`, if it is there.
    pub redis: Option<RedisConfig>,
    /// `[cache]`
    pub cache: MemoryLimits,
    /// How much encoded answers may take, in bytes; zero for next to none.
    pub hot_answer_bytes: usize,
    /// Whether there is an existence filter; see [`Links`](crate::links::Links::with_filter).
    pub filter: bool,
    /// The file with the secrets of DNS cookies; none if a secret is to be drawn at the start, or there are
    /// no cookies.
    pub cookie_secrets: Option<PathBuf>,
    /// `[query_log]`, if it is there.
    pub query_log: Option<QueryLogConfig>,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[redirect]`
    pub redirect: RedirectConfig,
    /// `[process]`
    pub process: ProcessConfig,
}

/// The name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where it listens, on UDP and on TCP; at least one address.
    pub listen: Vec<SocketAddr>,
    /// What replies are like.
    pub settings: Settings,
    /// `[dns.tcp]`
    pub tcp: TcpLimits,
    /// `[dns.tls]`, if it is there.
    pub tls: Option<TlsConfig>,
}

/// DNS over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Its certificate.
    pub files: TlsFiles,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// The file that holds its token.
    pub token_file: PathBuf,
    /// How many connections there may be.
    pub connections: SeatLimits,
}

/// The redirect host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// How the short URLs that are shown to people are written: `https` where a proxy in front of
    /// the redirect host ends TLS, and a port where it is not the scheme's own.
    pub short_urls: ShortUrls,
    /// How many connections there may be.
    pub connections: SeatLimits,
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
            return Err(ConfigError::TooLarge(path.into()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let fault = Fault {
                file: path.into(),
                line: line_of(&bytes, e.valid_up_to()),
                column: column_of(&bytes, e.valid_up_to()),
                key: String::new(),
                problem: Problem::NotUtf8,
            };
            ConfigError::Invalid(Faults::one(fault))
        })?;
        Self::parse(text, path)
    }

    /// Reads the text of a file; `path` is only for the messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] says of all faults where and what they are.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let (reader, raw) = ConfigReader::new(text, path);
        let config = raw.and_then(|raw| reader.config(raw));
        match (reader.faults(), config) {
            (Some(faults), _) => Err(ConfigError::Invalid(faults)),
            (None, Some(config)) => Ok(config),
            // There is no configuration without a reason; if there were, this is better than a panic.
            (None, None) => Err(ConfigError::Unreadable(path.into())),
        }
    }
}

impl ConfigReader<'_> {
    /// What is wrong is noted; the configuration is good only if nothing was.
    fn config(&self, raw: RawConfig) -> Option<Config> {
        let mut seen = Seen::default();
        let mut dns = self.dns(raw.dns, &mut seen);
        let zones = self.zones(raw.zone);
        let (store, store_reads_per_second) = self.store(raw.store);
        let has_redis = raw.redis.is_some();
        let redis = raw.redis.and_then(|raw| self.redis(raw));
        let hot_answer_bytes = self.hot_answers(raw.cache.answers_mib.clone());
        let filter = raw.cache.filter.clone();
        let cache = self.cache(&raw.cache, &store, has_redis);
        let filter = self.filter(filter, &store, &cache);
        dns.settings.rate_limit = raw.rate_limit.map(|raw| self.rate_limit(raw));
        dns.settings.signatures = self.signatures(raw.signatures);
        let (cookies, cookie_secrets) = self.cookies(raw.cookies);
        dns.settings.cookies = cookies;
        let query_log = raw.query_log.and_then(|raw| self.query_log(raw, &dns));
        let admin = self.admin(raw.admin, &mut seen);
        let redirect = self.redirect(raw.redirect, &mut seen);
        let process = self.process(raw.process);
        Some(Config {
            dns,
            zones,
            store,
            store_reads_per_second,
            redis,
            cache,
            hot_answer_bytes,
            filter,
            cookie_secrets,
            query_log,
            admin,
            redirect: redirect?,
            process,
        })
    }

    fn admin(&self, raw: RawAdmin, seen: &mut Seen) -> AdminConfig {
        let connections = RawConnections {
            connections: raw.connections,
            connections_per_client: raw.connections_per_client,
            exempt: raw.exempt,
        };
        let default = connections::admin_default();
        AdminConfig {
            listen: self.listen(raw.listen, "admin.listen", DEFAULT_ADMIN_LISTEN, seen),
            token_file: self.file(raw.token_file, "admin.token_file", DEFAULT_TOKEN_FILE),
            connections: self.connections(connections, &connections::ADMIN, &default),
        }
    }

    fn hot_answers(&self, raw: Option<Spanned<RawNumber>>) -> usize {
        let (key, range) = ("cache.answers_mib", (0, MAX_MEMORY_MIB));
        let mib = self.number(raw, key, range, " MiB", DEFAULT_ANSWERS_MIB);
        usize::try_from(u64::from(mib) << 20).unwrap_or(usize::MAX)
    }

    fn cache(&self, raw: &RawCache, store: &StoreConfig, has_redis: bool) -> MemoryLimits {
        let mut limits = match (store, has_redis) {
            (StoreConfig::Sqlite { .. }, _) => MemoryLimits::default(),
            (StoreConfig::DynamoDb(_), false) => MemoryLimits::for_shared_store(),
            (StoreConfig::DynamoDb(_), true) => MemoryLimits::for_shared_store_with_changes(),
        };
        let (key, range) = ("cache.memory_mib", (1, MAX_MEMORY_MIB));
        if let Some(mib) = self.optional_number(raw.memory_mib.clone(), key, range, " MiB") {
            limits = limits.with_memory(u64::from(mib) << 20);
        }
        for (raw, key, range, time) in [
            (
                &raw.refresh,
                "cache.refresh",
                (1, DAY),
                &mut limits.fresh_for,
            ),
            (
                &raw.absent,
                "cache.absent",
                (0, HOUR),
                &mut limits.absent_for,
            ),
            (
                &raw.serve_stale,
                "cache.serve_stale",
                (0, 7 * DAY),
                &mut limits.stale_for,
            ),
        ] {
            if let Some(seconds) = self.optional_number(raw.clone(), key, range, " seconds") {
                *time = Duration::from_secs(seconds.into());
            }
        }
        // Where there is nobody to tell of changes, none is missed: what the operator says of the
        // times is all that counts.
        let told = has_redis && matches!(store, StoreConfig::DynamoDb(_));
        if !told {
            limits.unnotified = limits.fresh_for.max(limits.absent_for);
        }
        limits
    }

    /// By default there is a filter where the time in which it may miss what other programs write is
    /// within that for which a name may count as absent.
    fn filter(
        &self,
        raw: Option<Spanned<bool>>,
        store: &StoreConfig,
        cache: &MemoryLimits,
    ) -> bool {
        match (store, raw) {
            (StoreConfig::Sqlite { .. }, Some(raw)) => raw.into_inner(),
            (StoreConfig::Sqlite { .. }, None) => cache.absent_for >= VALID_FOR,
            (StoreConfig::DynamoDb(_), Some(raw)) if *raw.get_ref() => {
                self.note(raw.span(), "cache.filter", Problem::NoFilter);
                false
            }
            (StoreConfig::DynamoDb(_), _) => false,
        }
    }

    fn redirect(&self, raw: RawRedirect, seen: &mut Seen) -> Option<RedirectConfig> {
        let key = "redirect.listen";
        let listen = self.listen(raw.listen, key, DEFAULT_REDIRECT_LISTEN, seen);
        let (key, range) = ("redirect.short_url_port", (1, u16::MAX));
        let port = self.optional_number(raw.short_url_port, key, range, "");
        let key = "redirect.short_url_scheme";
        let known = "\"http\" or \"https\"";
        let scheme = self.choice(raw.short_url_scheme, key, known, |word| match word {
            None | Some("http") => Some(Scheme::Http),
            Some("https") => Some(Scheme::Https),
            Some(_) => None,
        });
        let connections = RawConnections {
            connections: raw.connections,
            connections_per_client: raw.connections_per_client,
            exempt: raw.exempt,
        };
        let default = connections::redirect_default();
        let connections = self.connections(connections, &connections::REDIRECT, &default);
        let scheme = scheme?;
        Some(RedirectConfig {
            connections,
            listen,
            short_urls: ShortUrls { scheme, port },
        })
    }
}

#[cfg(test)]
mod tests;
