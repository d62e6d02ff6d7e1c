//! What can be wrong with a configuration: one line for each fault, which begins with its place.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::name::{ZoneName, ZoneNameError};
use crate::base::prefix::PrefixError;
use crate::link::{OriginError, ReservedCodeError};
use crate::links::redis::RedisUrlError;
use crate::store::PostgresUrlError;

/// The most faults that are reported at once.
const MAX_FAULTS: usize = 50;

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
    #[error("{}: larger than {max} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most bytes.
        max: u64,
    },
    /// The file holds no configuration, for a reason that is not known.
    #[error("{}: not a configuration file", .0.display())]
    Unreadable(PathBuf),
    /// Something in the file is wrong.
    #[error(transparent)]
    Invalid(Faults),
}

/// All that is wrong with a configuration, with a line for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// In the order of the file: at least one, at most 50.
    pub shown: Vec<Fault>,
    /// How many more were found; there may be others.
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
    pub problem: ConfigProblem,
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
pub enum ConfigProblem {
    /// The file is not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// The text is not TOML, a key is unknown, or a value is of another type.
    #[error("{0}")]
    Toml(String),
    /// A key without a default is missing.
    #[error("missing; {part} needs {key:?}")]
    Missing {
        /// What needs the key.
        part: String,
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
    /// A list that is too long.
    #[error("{found} {items}; at most {max} are allowed")]
    TooMany {
        /// How many items it has.
        found: usize,
        /// What they are, in the plural.
        items: &'static str,
        /// How many it may have.
        max: usize,
    },
    /// Another section or line has the address.
    #[error("{address} is already used in line {line}")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// The line where it is first.
        line: usize,
    },
    /// Another section listens on the address by default.
    #[error("{address} is the default of {key}; set that key to another address")]
    DefaultAddress {
        /// The address.
        address: SocketAddr,
        /// The key of that section, which is not in the file.
        key: String,
    },
    /// Not an even number of hexadecimal digits.
    #[error("{0:?} is not an even number of hexadecimal digits after 0x")]
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
    #[error("no zone has a redirect_host, so no zone can hold links; set it in one of them")]
    NoLinkZone,
    /// Not the name of a zone.
    #[error(transparent)]
    Origin(ZoneNameError),
    /// Not the origin of a zone that holds links.
    #[error(
        "{0}; redirect_host puts the origin into URLs, where only letters, digits, hyphens and underscores are \
         allowed; without redirect_host any name is allowed"
    )]
    LinkOrigin(OriginError),
    /// Another zone has the origin.
    #[error("{origin} is already the origin of the zone in line {line}")]
    DuplicateOrigin {
        /// The origin.
        origin: ZoneName,
        /// The line where it is first.
        line: usize,
    },
    /// Not a host label.
    #[error("{0:?} is not one label of 1 to 63 letters, digits and inner hyphens")]
    RedirectHost(String),
    /// No room for a code in front of the redirect host.
    #[error("{0:?} and the origin leave no room for a code of 63 characters")]
    RedirectHostTooLong(String),
    /// Out of range.
    #[error("{value} is not within {min} to {max}{}{unit}", Blank(unit))]
    Range {
        /// The value.
        value: i64,
        /// The lowest allowed.
        min: u32,
        /// The highest allowed.
        max: u32,
        /// The unit; empty for a number without one.
        unit: &'static str,
    },
    /// Not one of the words allowed here.
    #[error("unknown value {found:?}, expected {known}")]
    Choice {
        /// The word.
        found: String,
        /// The allowed words, as a phrase.
        known: String,
    },
    /// A key of another store than the chosen one.
    #[error("belongs to the {belongs:?} store, and kind is {kind:?}")]
    OtherStore {
        /// The store that has this key.
        belongs: &'static str,
        /// The store of this configuration.
        kind: &'static str,
    },
    /// The configuration needs a feature that the program was built without.
    #[error("built without {0}: build with --features {0}")]
    NotBuilt(&'static str),
    /// An existence filter with a DynamoDB table, without what brings the changes of others.
    #[error("with kind = \"dynamodb\" it needs {0}: servers have to hear of each other's links")]
    FilterNeeds(&'static str),
    /// Not a prefix of addresses.
    #[error("{0:?}: {1}")]
    Prefix(String, PrefixError),
    /// Not a code that can be reserved.
    #[error(transparent)]
    ReservedCode(ReservedCodeError),
    /// Not a name that DynamoDB allows.
    #[error("{0:?} is not the name of a table: 3 to 255 letters, digits, and any of \"_-.\"")]
    Table(String),
    /// Not the name of a region.
    #[error("{0:?} is not the name of a region, such as \"eu-central-1\"")]
    Region(String),
    /// Not the URL of a service.
    #[error("{0:?} is not an http or https URL, such as \"http://127.0.0.1:8000\"")]
    Endpoint(String),
    /// Not an origin as browsers write it.
    #[error(
        "{0:?} is not an origin: a scheme, a host in lower case, and a port unless it is the default, such as \
        \"https://page.example\", without a path"
    )]
    CorsOrigin(String),
    /// Too many origins.
    #[error("there are {count} origins; at most {max} are possible")]
    TooManyOrigins {
        /// How many there are.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// A key of another mode than the chosen one.
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
    /// The list of Redis servers is empty.
    #[error("at least one URL is needed")]
    NoUrl,
    /// Several URLs for one server.
    #[error("{0} URLs; the mode \"node\" takes one")]
    NotOneUrl(usize),
    /// Two URLs lead to one server.
    #[error("the server {0} is listed twice")]
    DuplicateServer(String),
    /// Some URLs are for TLS and some are not.
    #[error("redis:// and rediss:// cannot be mixed; use one of them in all URLs")]
    MixedSchemes,
    /// The URLs differ in the database or the user.
    #[error("user, password and database have to be the same in all URLs")]
    OtherAccount,
    /// A database other than 0.
    #[error("a cluster has only database 0; leave the number out of the URL")]
    ClusterDatabase,
    /// Not the URL of a PostgreSQL database. The text is not shown: it may have a password in it.
    #[error(transparent)]
    PostgresUrl(PostgresUrlError),
    /// CA certificates, but no server's certificate is checked.
    #[error(
        "certificates are not checked with sslmode=disable or prefer, and prefer is the default for servers on this \
         machine; use sslmode=verify-full in the URL, or remove this key"
    )]
    NoVerification,
    /// A client certificate, but no TLS.
    #[error("only for TLS; remove sslmode=disable from the URL, or this key")]
    TlsDisabled,
    /// Certificates, but no TLS.
    #[error("only for TLS; use rediss:// URLs, or remove this key")]
    NoTls,
    /// Not a user or group.
    #[error(
        "{text:?} is not the name or number of a user or group: 1 to {max} bytes without blanks and \
         colons"
    )]
    Account {
        /// The text.
        text: String,
        /// The most bytes.
        max: usize,
    },
    /// Not a name of a server or a region.
    #[error("a name has 1 to {max} bytes and no control characters")]
    Label {
        /// The most bytes.
        max: usize,
    },
    /// Not a name that can be a part of keys, or that sentinels allow. The text is not shown.
    #[error("not 1 to {max} letters, digits, and any of \"_-.\"")]
    RedisWord {
        /// The most characters.
        max: usize,
    },
    /// The query log has no destination.
    #[error("missing; [query_log] needs \"file\" or \"socket\"")]
    NoDestination,
    /// The query log has two destinations.
    #[error(
        "the log goes to a file or to a socket, and line {0} names a file; remove one of the two"
    )]
    TwoDestinations(usize),
    /// A limit for a file, and no file.
    #[error("belongs to \"file\", and the log goes to a socket")]
    NoLogFile,
    /// Longer than the path of a socket can be.
    #[error("{len} bytes; the path of a socket has at most {max}")]
    SocketPath {
        /// Its length in bytes.
        len: usize,
        /// The most bytes.
        max: usize,
    },
    /// HTTPS without a certificate.
    #[error("missing; [https] needs \"certificate\" and \"key\", or a section [https.acme]")]
    NoCertificate,
    /// HTTPS with two sources of certificates.
    #[error(
        "the certificate is the operator's or the server's own, and line {0} has [https.acme]; remove one of the two"
    )]
    TwoCertificates(usize),
    /// Not the URL of an ACME directory.
    #[error(
        "{0:?} is not an https:// URL of an ACME directory, such as \
         \"https://acme-v02.api.letsencrypt.org/directory\""
    )]
    Directory(String),
    /// No consent to the terms of service.
    #[error("has to be true; read the terms of service of the directory first, and then set it")]
    Terms,
    /// Not a contact.
    #[error("{0:?} is not an e-mail address, such as \"admin@example.com\", or another URL")]
    Contact(String),
    /// Not a contact for reports of abuse.
    #[error("{0:?} is neither an e-mail address nor a URL that begins with https:// or http://")]
    AbuseContact(String),
    /// Not a host name.
    #[error("{0:?} is not a host name such as links.example.com")]
    PageHost(String),
    /// A page by HTTPS, and no HTTPS.
    #[error(
        "there is no [https] section to serve the page under this host; add one, or name the host of a proxy in front of \
        [admin] in \"hosts\""
    )]
    PageWithoutHttps,
    /// No certificate of ACME is for the host.
    #[error(
        "[https.acme] gets certificates for zones with links and the names one label below, and {0} is none of these; \
        choose such a name, or use the keys certificate and key of [https]"
    )]
    PageCertificate(String),
    /// Not a name of a profile.
    #[error("{0:?} is not the name of a profile: letters, digits, and any of \"_-.\"")]
    Profile(String),
    /// Not an identifier of an external account.
    #[error("not 1 to {max} bytes")]
    KeyId {
        /// The most bytes.
        max: usize,
    },
    /// A number with decimals that is out of range.
    #[error("not within -{most} to {most} degrees")]
    Decimal {
        /// The highest allowed, and without its sign the lowest.
        most: u32,
    },
    /// Not a time with decimals within its bounds.
    #[error("not a number of seconds from 0.1 to {most}")]
    Period {
        /// The highest allowed.
        most: u32,
    },
    /// A key of another kind of check.
    #[error("only for kind = {0}")]
    OnlyForHttp(&'static str),
    /// Authorities, although no certificate is checked.
    #[error("with verify = false any certificate passes; remove one of the two keys")]
    NotVerified,
    /// Not the path of a request.
    #[error("{0:?} is not a path of at most 1024 visible ASCII characters, such as \"/healthz\"")]
    CheckPath(String),
    /// Not a host name.
    #[error("{0:?} is not a host name without a port, such as \"www.example.com\"")]
    CheckHost(String),
    /// Not the name of a pool.
    #[error("{0:?} is not 1 to 63 letters, digits, hyphens and underscores")]
    PoolName(String),
    /// Another pool has the name.
    #[error("{name:?} is already the name of the pool in line {line}")]
    DuplicatePool {
        /// The name.
        name: String,
        /// The line where it is first.
        line: usize,
    },
    /// A name that no pool has.
    #[error("no [[pool]] has the name {name:?}; {known}")]
    UnknownPool {
        /// The name.
        name: String,
        /// Which names there are, as a phrase.
        known: String,
    },
    /// A list of pools without pools.
    #[error(
        "at least one pool is needed; remove the key if the addresses of the zone file are for all clients"
    )]
    NoPool,
    /// A pool that is in a list twice.
    #[error("{0:?} is in the list twice")]
    PoolTwice(String),
    /// Not an address.
    #[error("{0:?} is not an IP address, such as \"192.0.2.1\" or \"2001:db8::1\"")]
    PoolAddress(String),
    /// An address that no client can connect to.
    #[error("{0} is no address of a host")]
    NoHost(std::net::IpAddr),
    /// Not a country.
    #[error("{0:?} is not the code of a country (ISO 3166-1), such as \"DE\" or \"GB\"")]
    Country(String),
    /// Not a continent.
    #[error("{0:?} is not a continent: \"AF\", \"AN\", \"AS\", \"EU\", \"NA\", \"OC\" or \"SA\"")]
    Continent(String),
    /// Places, and no database of places.
    #[error(
        "needs a database of places; set \"database\" in [routing], or use \"networks\" instead"
    )]
    NeedsDatabase,
    /// A pool that is for no client.
    #[error(
        "no client would get this pool; set \"countries\", \"continents\", \"networks\", or \"latitude\" and \
         \"longitude\", or remove default = false"
    )]
    NeverChosen,
    /// Not a name of a zone file.
    #[error(
        "{0:?} is not a name of the zone file, such as \"www\", or \"@\" for the origin; wildcards cannot have pools"
    )]
    RouteName(String),
    /// Another route is for the name.
    #[error("{name} already has pools in line {line}")]
    DuplicateRoute {
        /// The name.
        name: ZoneName,
        /// The line where it is first.
        line: usize,
    },
    /// Not a name of a server.
    #[error("{text:?} is not 1 to {max} bytes without control characters")]
    Identity {
        /// The text.
        text: String,
        /// The most bytes.
        max: usize,
    },
}

impl ConfigProblem {
    /// The problem of a list with more items than `max`; `items` is what they are, in the plural.
    pub(super) fn too_many(found: usize, items: &'static str, max: usize) -> Self {
        Self::TooMany { found, items, max }
    }
}

/// A blank before a unit, if there is a unit.
struct Blank<'a>(&'a str);

impl fmt::Display for Blank<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { " " })
    }
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
