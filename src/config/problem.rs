//! What can be wrong with a configuration, and how it is told: one line, with the place in front.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::MAX_FILE_LEN;
use super::listen::MAX_LISTEN;
use super::process::MAX_ACCOUNT_LEN;
use super::query_log::{MAX_IDENTITY_LEN, MAX_SOCKET_LEN};
use super::rate_limit::MAX_EXEMPT;
use super::redis::{MAX_URLS, MAX_WORD_LEN};
use crate::base::name::{ZoneName, ZoneNameError};
use crate::base::toml_text::MAX_FAULTS;
use crate::dns::limits::rate_limit::PrefixError;
use crate::link::OriginError;
use crate::links::redis::RedisUrlError;

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
    /// The file cannot be read, and nobody knows why.
    #[error("{}: not a configuration file", .0.display())]
    Unreadable(PathBuf),
    /// Something in the file is wrong.
    #[error(transparent)]
    Invalid(Faults),
}

/// All that is wrong with a configuration, a line a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// In the order of the file: at least one, and at most `MAX_FAULTS`.
    pub shown: Vec<Fault>,
    /// How many more were met; there may be others yet.
    pub more: usize,
}

/// Something wrong at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {}{problem}", file.display(), Prefix(key))]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters and counted from 1.
    pub column: usize,
    /// The key with the names of its tables, as `zone.origin`; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

impl Faults {
    pub(super) fn one(fault: Fault) -> Self {
        Self {
            shown: vec![fault],
            more: 0,
        }
    }

    /// Puts faults in the order of the file. None where there is no fault.
    pub(super) fn new(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        let shown = faults;
        (!shown.is_empty()).then_some(Self { shown, more })
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.shown.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand at least {more} more"),
        }
    }
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
    #[error("missing; {part} needs {key:?}")]
    Missing {
        /// What needs the key.
        part: &'static str,
        /// The key.
        key: &'static str,
    },
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
    /// Not an even number of hexadecimal digits.
    #[error("{0:?} is not bytes in hexadecimal behind 0x")]
    Hex(String),
    /// A text that is empty or too long.
    #[error("not 1 to {max} bytes long")]
    Length {
        /// The most bytes.
        max: usize,
    },
    /// There is no zone.
    #[error("at least one zone is needed; leave the key out for the default zone")]
    NoZone,
    /// No zone holds links.
    #[error("no zone has a redirect_host, so there is none to hold links")]
    NoLinkZone,
    /// Not the name of a zone.
    #[error(transparent)]
    Origin(ZoneNameError),
    /// Not the origin of a zone that holds links.
    #[error(
        "{0}; with redirect_host the names of the zone stand in URLs, so its origin has letters, digits, hyphens and underscores only; without it any name will do"
    )]
    LinkOrigin(OriginError),
    /// The origin has a zone already.
    #[error("{origin} is already in line {line}")]
    DuplicateOrigin {
        /// The origin.
        origin: ZoneName,
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
    /// An existence filter for a store of which not all changes are seen.
    #[error("only with kind = \"sqlite\"")]
    NoFilter,
    /// Not a prefix of addresses.
    #[error("{0:?}: {1}")]
    Prefix(String, PrefixError),
    /// Too many prefixes.
    #[error("{0} prefixes; at most {MAX_EXEMPT} are allowed")]
    TooManyPrefixes(usize),
    /// Not a name that DynamoDB allows.
    #[error("{0:?} is not a table's name: 3 to 255 letters, digits, and any of \"_-.\"")]
    Table(String),
    /// Not the name of a region.
    #[error("{0:?} is not the name of a region, such as \"eu-central-1\"")]
    Region(String),
    /// Not a place to send requests to.
    #[error("{0:?} is not an http or https URL, such as \"http://127.0.0.1:8000\"")]
    Endpoint(String),
    /// A key of another mode than the one that is chosen.
    #[error("belongs to the mode {belongs:?}, and mode is {mode:?}")]
    OtherMode {
        /// The mode that has this key.
        belongs: &'static str,
        /// The mode of this configuration.
        mode: &'static str,
    },
    /// Not the URL of a Redis server. The text is not shown: it may have a password in it.
    #[error(transparent)]
    RedisUrl(RedisUrlError),
    /// Redis has to be somewhere.
    #[error("at least one URL is needed")]
    NoUrl,
    /// Too many URLs.
    #[error("{0} URLs; at most {MAX_URLS} are allowed")]
    TooManyUrls(usize),
    /// One server has one URL.
    #[error("{0} URLs; the mode \"node\" takes one")]
    NotOneUrl(usize),
    /// The server has a URL already.
    #[error("the server {0} is there twice")]
    DuplicateServer(String),
    /// Some URLs are for TLS and some are not.
    #[error("redis:// and rediss:// do not go together")]
    MixedSchemes,
    /// The URLs lead to one thing, but not to the same part of it, or not as the same user.
    #[error("user, password and database have to be the same in all URLs")]
    OtherAccount,
    /// A database other than 0.
    #[error("a cluster has no database but 0; leave it out of the URL")]
    ClusterDatabase,
    /// Certificates, but no TLS.
    #[error("belongs to rediss:// URLs, and these are redis://")]
    NoTls,
    /// Not a user or group.
    #[error(
        "{0:?} is not the name or number of a user or group: 1 to {MAX_ACCOUNT_LEN} bytes without \
         blanks and colons"
    )]
    Account(String),
    /// Not a name that can be a part of keys, or that sentinels allow.
    #[error("not 1 to {MAX_WORD_LEN} letters, digits, and any of \"_-.\"")]
    RedisWord,
    /// The query log has to go somewhere.
    #[error("missing; [query_log] needs \"file\" or \"socket\"")]
    NoDestination,
    /// The query log goes to one place.
    #[error("the log goes to a file or to a socket, and there is a file in line {0}")]
    TwoDestinations(usize),
    /// A bound for a file where there is none.
    #[error("belongs to \"file\", and the log goes to a socket")]
    NoLogFile,
    /// Longer than the path of a socket can be.
    #[error("{0} bytes; the path of a socket has at most {MAX_SOCKET_LEN}")]
    SocketPath(usize),
    /// Not a name of a server.
    #[error("{0:?} is not 1 to {MAX_IDENTITY_LEN} bytes without control characters")]
    Identity(String),
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
