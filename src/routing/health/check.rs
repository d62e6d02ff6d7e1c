//! What is checked of an address, and how the outcome of a check reads.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::text::one_line;

/// The most different targets of all checks.
pub const MAX_TARGETS: usize = 4_096;
/// The defaults of a [`Check`].
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// See [`DEFAULT_INTERVAL`].
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// See [`DEFAULT_INTERVAL`].
pub const DEFAULT_FAILURES: u16 = 3;
/// See [`DEFAULT_INTERVAL`].
pub const DEFAULT_PASSES: u16 = 2;

/// How the addresses of a pool are checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What has to work.
    pub kind: CheckKind,
    /// The port of all addresses.
    pub port: u16,
    /// How often an address is checked, within a tenth.
    pub interval: Duration,
    /// How long a check may take, from the connection to the response.
    pub timeout: Duration,
    /// After so many failures in a row an address is down; at least 1.
    pub failures: u16,
    /// After so many passes in a row an address is up again, or more if it was down several times; at least 1.
    pub passes: u16,
}

/// What has to work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// The address accepts a TCP connection.
    Tcp,
    /// It responds to a request by HTTP.
    Http(Request),
    /// It responds to a request by HTTPS.
    Https {
        /// The request.
        request: Request,
        /// Whether its certificate has to be valid for the host.
        verify: bool,
        /// The file with the certificates of the authorities that count; none for those that the system trusts.
        ca_file: Option<PathBuf>,
    },
}

/// A GET request, and the response that passes. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The path with its query. It begins with a slash and has visible ASCII characters only.
    pub path: Box<str>,
    /// The host name of the header `Host` and of the certificate; none for the address.
    pub host: Option<Box<str>>,
    /// The status that passes; none for all from 200 to 299.
    pub status: Option<u16>,
}

impl CheckKind {
    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
            Self::Https { .. } => "https",
        }
    }
}

/// An address with its check. Each is checked once, however many pools have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::routing) struct Target {
    pub(in crate::routing) address: IpAddr,
    pub(in crate::routing) check: Check,
}

impl Target {
    pub(super) fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.check.port)
    }
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took longer than allowed.
    Timeout,
    /// There is no connection.
    Connect(String),
    /// There is no TLS connection, or the certificate is refused.
    Tls(String),
    /// The response has another status.
    Status(u16),
    /// The response is not HTTP, or ends too early.
    Response(String),
}

impl Failure {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Status(_) => "status",
            Self::Response(_) => "response",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no response in time"),
            Self::Connect(why) => write!(f, "no connection: {}", one_line(why)),
            Self::Tls(why) => write!(f, "TLS: {}", one_line(why)),
            Self::Status(status) => write!(f, "the response has the status {status}"),
            Self::Response(why) => write!(f, "no HTTP response: {}", one_line(why)),
        }
    }
}
