//! The configuration: a TOML file, read once and turned once into a [`Config`] that holds nothing
//! bad.
//!
//! serde fills plain structs that mirror the file and refuse keys they do not know; [`Config::parse`]
//! then checks every value and builds the real thing. The raw structs keep the place of each value
//! (`toml::Spanned`), so that an error about a meaning is as exact as one about syntax: every
//! [`ConfigError`] is one line, `<file>:<line>: <key>: <what>`. Letting serde build the valid types
//! at once would be shorter, but its messages speak of Rust types ("expected u16"), and it places
//! an error about a whole table at the first table of that name.
//!
//! What the file does not say has the default of [`Config::default`]. Relative paths are relative to
//! the working directory of the process, not to the file.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::http::{Scheme, ShortUrls};
use crate::link::{Code, Origin, OriginError, Ttl};
use crate::links::MemoryLimits;
use crate::store::DynamoConfig;
use crate::zone::{Layout, ZoneConfig};

/// The largest configuration file, in bytes: room for some two thousand zones.
const MAX_FILE_LEN: u64 = 256 * 1024;
/// The most addresses that one part listens on.
const MAX_LISTEN: usize = 64;
/// The longest name in text form without the last dot (RFC 1035 §2.3.4).
const MAX_NAME_LEN: usize = 253;
/// The longest code and the dot behind it.
const CODE_ROOM: usize = 64;

const DEFAULT_DNS_LISTEN: &str = "127.0.0.1:5300";
const DEFAULT_ORIGIN: &str = "s.example.com";
const DEFAULT_ZONE_FILE: &str = "zones/s.example.com.zone";
const DEFAULT_REDIRECT_HOST: &str = "r";
/// In seconds.
const DEFAULT_LINK_TTL: u32 = 300;
const DEFAULT_STORE_PATH: &str = "data/links.sqlite";
/// One TiB: more than there is, but a number that a typing mistake does not exceed by accident.
const MAX_MEMORY_MIB: u32 = 1 << 20;
/// In seconds.
const HOUR: u32 = 60 * 60;
const DAY: u32 = 24 * HOUR;
/// The article's table.
const DEFAULT_TABLE: &str = "tinyUrl";
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
    /// `[cache]`
    pub cache: MemoryLimits,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[redirect]`
    pub redirect: RedirectConfig,
}

/// The name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where it listens, on UDP and on TCP; at least one address.
    pub listen: Vec<SocketAddr>,
}

/// Where the links are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// The embedded store.
    Sqlite {
        /// Its file.
        path: PathBuf,
    },
    /// A DynamoDB table.
    DynamoDb(DynamoConfig),
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// The file that holds its token.
    pub token_file: PathBuf,
}

/// The redirect host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// How the short URLs that are shown to people are written: `https` where a proxy in front of
    /// the redirect host ends TLS, and a port where it is not the scheme's own.
    pub short_urls: ShortUrls,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a configuration file.
    #[error("{}: larger than {MAX_FILE_LEN} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Something in the file is wrong.
    #[error("{}:{line}: {}{problem}", file.display(), Prefix(key))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key with the names of its tables, as `zone.origin`; empty where there is none.
        key: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A byte sequence that is not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// TOML does not allow it, the key is unknown, or the value is of another type.
    #[error("{0}")]
    Toml(String),
    /// A key that has no default is not there.
    #[error("missing; a [[zone]] needs {0:?}")]
    Missing(&'static str),
    /// An empty path.
    #[error("a path must not be empty")]
    EmptyPath,
    /// Not an address and port.
    #[error("{0:?} is not an IP address with a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\"")]
    Address(String),
    /// The name server has to listen somewhere.
    #[error("at least one address is needed")]
    NoAddress,
    /// Too many addresses for one part.
    #[error("{0} addresses; at most {MAX_LISTEN} are allowed")]
    TooManyAddresses(usize),
    /// The address is listened on already.
    #[error("{address} is already in line {line}")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// Where it stands first.
        line: usize,
    },
    /// The address is one that another part listens on by default.
    #[error("{address} is already the default of {key}; give that another one")]
    DefaultAddress {
        /// The address.
        address: SocketAddr,
        /// The key that is not in the file.
        key: &'static str,
    },
    /// There is no zone.
    #[error("at least one zone is needed; leave the key out for the default zone")]
    NoZone,
    /// No zone holds links.
    #[error("no zone has a redirect_host, so there is none to hold links")]
    NoLinkZone,
    /// Not an origin.
    #[error(transparent)]
    Origin(OriginError),
    /// The origin has a zone already.
    #[error("{origin} is already in line {line}")]
    DuplicateOrigin {
        /// The origin.
        origin: Origin,
        /// Where it stands first.
        line: usize,
    },
    /// Not a host label.
    #[error("{0:?} is not one label of 1 to 63 letters, digits and inner hyphens")]
    RedirectHost(String),
    /// No room for a code in front of the redirect host.
    #[error("{0:?} and the origin leave no room for a code of 63 characters")]
    RedirectHostTooLong(String),
    /// Out of range.
    #[error("{value} is not within {min} to {max}{unit}")]
    Range {
        /// The value.
        value: i64,
        /// The lowest allowed.
        min: u32,
        /// The highest allowed.
        max: u32,
        /// Empty, or a blank and the unit.
        unit: &'static str,
    },
    /// Not one of the words allowed here.
    #[error("unknown value {found:?}, expected {known}")]
    Choice {
        /// The word.
        found: String,
        /// The allowed ones, as a phrase.
        known: &'static str,
    },
    /// A key of another store than the one that is chosen.
    #[error("belongs to the {belongs:?} store, and kind is {kind:?}")]
    OtherStore {
        /// The store that has this key.
        belongs: &'static str,
        /// The store of this configuration.
        kind: &'static str,
    },
    /// Not a name that DynamoDB allows.
    #[error("{0:?} is not a table's name: 3 to 255 letters, digits, and any of \"_-.\"")]
    Table(String),
    /// Not the name of a region.
    #[error("{0:?} is not the name of a region, such as \"eu-central-1\"")]
    Region(String),
    /// Not a place to send requests to.
    #[error("{0:?} is not an http or https URL, such as \"http://127.0.0.1:8000\"")]
    Endpoint(String),
    /// A cache that this version does not have.
    #[error("this version has no Redis; leave the section out")]
    Redis,
}

/// The key in front of a message, if there is one.
struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "{key}: "),
        }
    }
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
    /// [`ConfigError`] names the file and, where there is one, the line and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |bytes: &mut Vec<u8>| {
            // One byte more than allowed tells a file that is too long from one that just fits.
            File::open(path)?.take(MAX_FILE_LEN + 1).read_to_end(bytes)
        };
        let mut bytes = Vec::new();
        read(&mut bytes).map_err(|source| ConfigError::Read {
            file: path.into(),
            source,
        })?;
        if bytes.len() as u64 > MAX_FILE_LEN {
            return Err(ConfigError::TooLarge(path.into()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| ConfigError::Invalid {
            file: path.into(),
            line: line_of(&bytes, e.valid_up_to()),
            key: String::new(),
            problem: Problem::NotUtf8,
        })?;
        Self::parse(text, path)
    }

    /// Reads the text of a file; `path` is only for the messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] says where and what.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let reader = Reader { text, path };
        let raw = reader.raw()?;
        if let Some(redis) = raw.redis {
            return Err(reader.error(redis.span(), "redis", Problem::Redis));
        }
        let mut seen = Seen::default();
        let dns = reader.dns(raw.dns, &mut seen)?;
        let zones = reader.zones(raw.zone)?;
        let store = reader.store(raw.store)?;
        let cache = reader.cache(raw.cache, &store)?;
        let admin = reader.admin(raw.admin, &mut seen)?;
        let redirect = reader.redirect(raw.redirect, &mut seen)?;
        Ok(Self {
            dns,
            zones,
            store,
            cache,
            admin,
            redirect,
        })
    }
}

// The file as it is written. Numbers are as wide as TOML's and words are strings, so that a value
// out of range gets our message and not one about a Rust type.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    dns: RawDns,
    zone: Option<Spanned<RawZones>>,
    #[serde(default)]
    store: RawStore,
    redis: Option<Spanned<toml::Value>>,
    #[serde(default)]
    cache: RawCache,
    #[serde(default)]
    admin: RawAdmin,
    #[serde(default)]
    redirect: RawRedirect,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [dns]")]
struct RawDns {
    listen: Option<Spanned<RawListen>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [[zone]]")]
struct RawZone {
    origin: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    redirect_host: Option<Spanned<String>>,
    layout: Option<Spanned<String>>,
    link_ttl: Option<Spanned<RawNumber>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [store]")]
struct RawStore {
    kind: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
    table: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    endpoint_url: Option<Spanned<String>>,
    create_table: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [admin]")]
struct RawAdmin {
    listen: Option<Spanned<RawListen>>,
    token_file: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [cache]")]
struct RawCache {
    memory_mib: Option<Spanned<RawNumber>>,
    refresh: Option<Spanned<RawNumber>>,
    absent: Option<Spanned<RawNumber>>,
    serve_stale: Option<Spanned<RawNumber>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [redirect]")]
struct RawRedirect {
    listen: Option<Spanned<RawListen>>,
    short_url_scheme: Option<Spanned<String>>,
    short_url_port: Option<Spanned<RawNumber>>,
}

/// One address, or a list.
enum RawListen {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for RawListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = RawListen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses, as strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawListen, E> {
                Ok(RawListen::One(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawListen, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(RawListen::Many)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// A whole number; a type of its own so that messages do not call it by the name of a Rust type.
#[derive(Clone, Copy)]
struct RawNumber(i64);

impl<'de> Deserialize<'de> for RawNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = RawNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<RawNumber, E> {
                Ok(RawNumber(number))
            }
        }

        deserializer.deserialize_i64(Number)
    }
}

/// The zones; a type of its own for the message that `[zone]` earns.
struct RawZones(Vec<Spanned<RawZone>>);

impl<'de> Deserialize<'de> for RawZones {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = RawZones;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tables: write [[zone]]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawZones, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(RawZones)
            }
        }

        deserializer.deserialize_any(Tables)
    }
}

/// The addresses met so far.
type Seen = HashMap<SocketAddr, Place>;

/// Where an address stands.
#[derive(Clone)]
struct Place {
    key: &'static str,
    /// None for a default, which stands nowhere in the file.
    span: Option<Range<usize>>,
}

/// Turns raw values into valid ones, and knows where they stand.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Reader<'_> {
    fn raw(&self) -> Result<RawConfig, ConfigError> {
        let toml_error = |e: &toml::de::Error, table: Option<&DeTable<'_>>| {
            let span = e.span().unwrap_or(0..0);
            let key = table.and_then(|t| key_at(t, span.start));
            let problem = Problem::Toml(one_line(e.message()));
            self.error(span, &one_line(&key.unwrap_or_default()), problem)
        };
        let table = DeTable::parse(self.text).map_err(|e| toml_error(&e, None))?;
        RawConfig::deserialize(toml::Deserializer::from(table.clone()))
            .map_err(|e| toml_error(&e, Some(table.get_ref())))
    }

    fn dns(&self, raw: RawDns, seen: &mut Seen) -> Result<DnsConfig, ConfigError> {
        let span = raw.listen.as_ref().map_or(0..0, Spanned::span);
        let listen = self.listen(raw.listen, "dns.listen", DEFAULT_DNS_LISTEN, seen)?;
        if listen.is_empty() {
            return Err(self.error(span, "dns.listen", Problem::NoAddress));
        }
        Ok(DnsConfig { listen })
    }

    fn zones(&self, raw: Option<Spanned<RawZones>>) -> Result<Vec<ZoneConfig>, ConfigError> {
        let Some(raw) = raw else {
            return Ok(vec![self.default_zone()?]);
        };
        let span = raw.span();
        let mut lines = HashMap::new();
        let mut zones = Vec::new();
        for raw in raw.into_inner().0 {
            let origin_span = raw.get_ref().origin.as_ref().map_or(0..0, Spanned::span);
            let zone = self.zone(raw)?;
            let line = self.line(origin_span.start);
            if let Some(line) = lines.insert(zone.origin.clone(), line) {
                let origin = zone.origin;
                let problem = Problem::DuplicateOrigin { origin, line };
                return Err(self.error(origin_span, "zone.origin", problem));
            }
            zones.push(zone);
        }
        if zones.is_empty() {
            return Err(self.error(span, "zone", Problem::NoZone));
        }
        if zones.iter().all(|zone| zone.redirect_host.is_none()) {
            return Err(self.error(span, "zone", Problem::NoLinkZone));
        }
        Ok(zones)
    }

    fn default_zone(&self) -> Result<ZoneConfig, ConfigError> {
        Ok(ZoneConfig {
            origin: self.origin(Spanned::new(0..0, DEFAULT_ORIGIN.into()))?,
            file: DEFAULT_ZONE_FILE.into(),
            redirect_host: Some(DEFAULT_REDIRECT_HOST.into()),
            layout: Layout::Cname,
            link_ttl: DEFAULT_LINK_TTL,
        })
    }

    /// A zone that is written out. Its origin, file and redirect host have no defaults: those of
    /// the example zone would be wrong for every other.
    fn zone(&self, raw: Spanned<RawZone>) -> Result<ZoneConfig, ConfigError> {
        let span = raw.span();
        let raw = raw.into_inner();
        let missing = |key| self.error(span.clone(), "zone", Problem::Missing(key));
        let origin = self.origin(raw.origin.ok_or_else(|| missing("origin"))?)?;
        let file = raw.file.ok_or_else(|| missing("file"))?;
        let redirect_host = match raw.redirect_host {
            Some(host) => Some(self.redirect_host(host, &origin)?),
            None => None,
        };
        Ok(ZoneConfig {
            origin,
            file: self.file(Some(file), "zone.file", "")?,
            redirect_host,
            layout: self.layout(raw.layout)?,
            link_ttl: match raw.link_ttl {
                Some(ttl) => self.number(ttl, "zone.link_ttl", 0, Ttl::MAX, " seconds")?,
                None => DEFAULT_LINK_TTL,
            },
        })
    }

    fn origin(&self, text: Spanned<String>) -> Result<Origin, ConfigError> {
        Origin::parse(text.get_ref())
            .map_err(|e| self.error(text.span(), "zone.origin", Problem::Origin(e)))
    }

    /// The label of the redirect host. Browsers put it into URLs, so it follows the rule of codes.
    fn redirect_host(
        &self,
        raw: Spanned<String>,
        origin: &Origin,
    ) -> Result<Box<str>, ConfigError> {
        let span = raw.span();
        let text = raw.into_inner();
        let fail = |problem| self.error(span, "zone.redirect_host", problem);
        let Ok(label) = Code::parse(&text) else {
            return Err(fail(Problem::RedirectHost(text)));
        };
        if CODE_ROOM + text.len() + 1 + origin.as_str().len() > MAX_NAME_LEN {
            return Err(fail(Problem::RedirectHostTooLong(text)));
        }
        Ok(label.as_str().into())
    }

    fn layout(&self, raw: Option<Spanned<String>>) -> Result<Layout, ConfigError> {
        let known = "\"cname\" or \"direct\"";
        self.choice(raw, "zone.layout", known, |word| match word {
            None | Some("cname") => Some(Layout::Cname),
            Some("direct") => Some(Layout::Direct),
            Some(_) => None,
        })
    }

    fn store(&self, raw: RawStore) -> Result<StoreConfig, ConfigError> {
        let (sqlite, dynamodb) = ("sqlite", "dynamodb");
        let known = "\"sqlite\" or \"dynamodb\"";
        let kind = self.choice(raw.kind.clone(), "store.kind", known, |word| match word {
            None | Some("sqlite") => Some(sqlite),
            Some("dynamodb") => Some(dynamodb),
            Some(_) => None,
        })?;
        let span = |raw: &Option<Spanned<String>>| raw.as_ref().map(Spanned::span);
        for (key, belongs, place) in [
            ("store.path", sqlite, span(&raw.path)),
            ("store.table", dynamodb, span(&raw.table)),
            ("store.region", dynamodb, span(&raw.region)),
            ("store.endpoint_url", dynamodb, span(&raw.endpoint_url)),
            (
                "store.create_table",
                dynamodb,
                raw.create_table.as_ref().map(Spanned::span),
            ),
        ] {
            if let Some(place) = place.filter(|_| belongs != kind) {
                return Err(self.error(place, key, Problem::OtherStore { belongs, kind }));
            }
        }
        if kind == dynamodb {
            return Ok(StoreConfig::DynamoDb(self.dynamodb(raw)?));
        }
        Ok(StoreConfig::Sqlite {
            path: self.file(raw.path, "store.path", DEFAULT_STORE_PATH)?,
        })
    }

    fn dynamodb(&self, raw: RawStore) -> Result<DynamoConfig, ConfigError> {
        let word = |text: &str, marks: &[char]| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || marks.contains(&c))
        };
        let table = |text: &str| (3..=255).contains(&text.len()) && word(text, &['_', '-', '.']);
        let region = |text: &str| (1..=63).contains(&text.len()) && word(text, &['-']);
        let endpoint = |text: &str| {
            url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        Ok(DynamoConfig {
            table: self
                .text(raw.table, "store.table", table, Problem::Table)?
                .unwrap_or_else(|| DEFAULT_TABLE.into()),
            region: self.text(raw.region, "store.region", region, Problem::Region)?,
            endpoint_url: self.text(
                raw.endpoint_url,
                "store.endpoint_url",
                endpoint,
                Problem::Endpoint,
            )?,
            create_table: raw.create_table.is_some_and(Spanned::into_inner),
        })
    }

    /// A text that has to pass a check.
    fn text(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        is_good: impl Fn(&str) -> bool,
        problem: fn(String) -> Problem,
    ) -> Result<Option<String>, ConfigError> {
        match raw.map(|raw| (raw.span(), raw.into_inner())) {
            None => Ok(None),
            Some((_, text)) if is_good(&text) => Ok(Some(text)),
            Some((span, text)) => Err(self.error(span, key, problem(text))),
        }
    }

    fn admin(&self, raw: RawAdmin, seen: &mut Seen) -> Result<AdminConfig, ConfigError> {
        Ok(AdminConfig {
            listen: self.listen(raw.listen, "admin.listen", DEFAULT_ADMIN_LISTEN, seen)?,
            token_file: self.file(raw.token_file, "admin.token_file", DEFAULT_TOKEN_FILE)?,
        })
    }

    fn cache(&self, raw: RawCache, store: &StoreConfig) -> Result<MemoryLimits, ConfigError> {
        let mut limits = match store {
            StoreConfig::Sqlite { .. } => MemoryLimits::default(),
            StoreConfig::DynamoDb(_) => MemoryLimits::for_shared_store(),
        };
        if let Some(raw) = raw.memory_mib {
            let mib = self.number(raw, "cache.memory_mib", 1, MAX_MEMORY_MIB, " MiB")?;
            limits = limits.with_memory(u64::from(mib) << 20);
        }
        let times = [
            (raw.refresh, "cache.refresh", 1, DAY, &mut limits.fresh_for),
            (raw.absent, "cache.absent", 0, HOUR, &mut limits.absent_for),
            (
                raw.serve_stale,
                "cache.serve_stale",
                0,
                7 * DAY,
                &mut limits.stale_for,
            ),
        ];
        for (raw, key, min, max, time) in times {
            if let Some(raw) = raw {
                let seconds: u32 = self.number(raw, key, min, max, " seconds")?;
                *time = Duration::from_secs(seconds.into());
            }
        }
        Ok(limits)
    }

    fn redirect(&self, raw: RawRedirect, seen: &mut Seen) -> Result<RedirectConfig, ConfigError> {
        let key = "redirect.listen";
        let listen = self.listen(raw.listen, key, DEFAULT_REDIRECT_LISTEN, seen)?;
        let key = "redirect.short_url_scheme";
        let known = "\"http\" or \"https\"";
        let short_url_scheme =
            self.choice(raw.short_url_scheme, key, known, |word| match word {
                None | Some("http") => Some(Scheme::Http),
                Some("https") => Some(Scheme::Https),
                Some(_) => None,
            })?;
        let short_url_port = match raw.short_url_port {
            Some(port) => Some(self.number(port, "redirect.short_url_port", 1, u16::MAX, "")?),
            None => None,
        };
        Ok(RedirectConfig {
            listen,
            short_urls: ShortUrls {
                scheme: short_url_scheme,
                port: short_url_port,
            },
        })
    }

    /// The addresses of one part.
    fn listen(
        &self,
        raw: Option<Spanned<RawListen>>,
        key: &'static str,
        default: &str,
        seen: &mut Seen,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        let (span, texts) = match raw.map(|raw| (raw.span(), raw.into_inner())) {
            None => (0..0, vec![(None, default.to_owned())]),
            Some((span, RawListen::One(text))) => (span.clone(), vec![(Some(span), text)]),
            Some((span, RawListen::Many(texts))) => {
                let located = |text: Spanned<String>| (Some(text.span()), text.into_inner());
                (span, texts.into_iter().map(located).collect())
            }
        };
        if texts.len() > MAX_LISTEN {
            return Err(self.error(span, key, Problem::TooManyAddresses(texts.len())));
        }
        let mut addresses = Vec::with_capacity(texts.len());
        for (span, text) in texts {
            let Ok(address) = text.parse::<SocketAddr>() else {
                let span = span.unwrap_or(0..0);
                return Err(self.error(span, key, Problem::Address(text)));
            };
            self.claim(address, Place { key, span }, seen)?;
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Sees to it that an address is listened on once. Port 0 (the system chooses) may come again,
    /// since every use of it gets a port of its own.
    fn claim(&self, address: SocketAddr, new: Place, seen: &mut Seen) -> Result<(), ConfigError> {
        if address.port() == 0 {
            return Ok(());
        }
        let Some(old) = seen.insert(address, new.clone()) else {
            return Ok(());
        };
        // The complaint goes to an address that the file has, since only that can be changed.
        let (place, problem) = match (old.span, new.span) {
            (Some(old), Some(new_span)) => {
                let line = self.line(old.start);
                let problem = Problem::DuplicateAddress { address, line };
                ((new_span, new.key), problem)
            }
            (Some(span), None) => {
                let problem = Problem::DefaultAddress {
                    address,
                    key: new.key,
                };
                ((span, old.key), problem)
            }
            (None, span) => {
                let problem = Problem::DefaultAddress {
                    address,
                    key: old.key,
                };
                ((span.unwrap_or(0..0), new.key), problem)
            }
        };
        Err(self.error(place.0, place.1, problem))
    }

    fn file(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        match raw {
            Some(path) if path.get_ref().is_empty() => {
                Err(self.error(path.span(), key, Problem::EmptyPath))
            }
            Some(path) => Ok(path.into_inner().into()),
            None => Ok(default.into()),
        }
    }

    /// A whole number from `min` to `max`.
    fn number<T>(
        &self,
        raw: Spanned<RawNumber>,
        key: &str,
        min: T,
        max: T,
        unit: &'static str,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        let RawNumber(value) = *raw.get_ref();
        match T::try_from(value) {
            Ok(number) if min <= number && number <= max => Ok(number),
            _ => {
                let (min, max) = (min.into(), max.into());
                let problem = Problem::Range {
                    value,
                    min,
                    max,
                    unit,
                };
                Err(self.error(raw.span(), key, problem))
            }
        }
    }

    /// One of a few words; `pick` gets none where there is none in the file.
    fn choice<T>(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        known: &'static str,
        pick: impl Fn(Option<&str>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let word = raw.as_ref().map(|word| word.get_ref().as_str());
        pick(word).ok_or_else(|| {
            let found = word.unwrap_or_default().to_owned();
            let span = raw.as_ref().map_or(0..0, Spanned::span);
            self.error(span, key, Problem::Choice { found, known })
        })
    }

    fn error(&self, span: Range<usize>, key: &str, problem: Problem) -> ConfigError {
        ConfigError::Invalid {
            file: self.path.into(),
            line: self.line(span.start),
            key: key.into(),
            problem,
        }
    }

    fn line(&self, offset: usize) -> usize {
        line_of(self.text.as_bytes(), offset)
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The dotted name of the key, or of the key whose value, is at this byte. A table's own place is
/// only its header, so the search goes into every table.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().to_string();
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset),
            DeValue::Array(array) => array
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|table| key_at(table, offset)),
            _ => None,
        };
        match inner {
            Some(inner) => Some(format!("{name}.{inner}")),
            None => {
                (key.span().contains(&offset) || value.span().contains(&offset)).then_some(name)
            }
        }
    })
}

/// The text with its control characters escaped, for one line of a terminal or a log: a quoted key
/// may hold a line break, and what a server sends may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

#[cfg(test)]
mod tests;
