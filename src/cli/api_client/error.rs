//! Why a request failed.

use std::fmt;

use ureq::http::StatusCode;
use url::Url;

use super::url::is_loopback;

/// Why a request to the admin API did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("cannot reach the admin API at {server}: is `tinyns serve` running?")]
    NotRunning { server: Url },
    #[error("cannot reach the admin API at {server}")]
    Unreachable {
        server: Url,
        source: Box<ureq::Error>,
    },
    #[error("the admin API at {server} did not answer in time")]
    TimedOut { server: Url },
    /// There is a server, and it speaks HTTP by the other scheme.
    #[error("{server} {}", wrong_scheme(server, other))]
    WrongScheme { server: Url, other: Box<Url> },
    #[error("refused ({}): {reason}", Status(*status))]
    Refused { status: StatusCode, reason: String },
    #[error("{server} answers {}, but not as an admin API of tinyns does", Status(*status))]
    Foreign { server: Url, status: StatusCode },
    #[error("the request cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("the URL of the admin API cannot be made longer")]
    Url(#[from] url::ParseError),
}

impl ApiError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            // A proxy in front of a server that is away answers in its own words.
            Self::Refused { status, .. } | Self::Foreign { status, .. } => {
                is_passing(status.as_u16())
            }
            Self::WrongScheme { .. } | Self::Encode(_) | Self::Url(_) => false,
        }
    }

    /// Whether the API said that there is no such link.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// What is wrong with a scheme, and what to write.
fn wrong_scheme(server: &Url, other: &Url) -> String {
    match server.scheme() {
        "https" if is_loopback(server) => format!("does not speak TLS there: write {other}"),
        "https" => format!(
            "does not speak TLS there: put a proxy with TLS in front of it, or write {other}, by which the token \
             crosses the network in the clear"
        ),
        _ => format!("speaks TLS there: write {other}"),
    }
}

/// Whether a status says that another try may succeed: of the API, or of a proxy before it.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

/// A status with the phrase that belongs to it.
struct Status(StatusCode);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_u16())?;
        match self.0.canonical_reason() {
            Some(phrase) => write!(f, " {phrase}"),
            None => Ok(()),
        }
    }
}
