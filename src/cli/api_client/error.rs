//! Why a request failed.

use std::fmt;

use ureq::http::StatusCode;
use url::Url;

use super::messages::ProblemDocument;
use super::url::is_loopback;

/// Why a request to the admin API failed.
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
    /// The server's certificate is bad, or its authority is not trusted.
    #[error("cannot trust the certificate of {server}: {reason}")]
    Untrusted { server: Url, reason: String },
    /// The server speaks HTTP by the other scheme.
    #[error("{server} {}", wrong_scheme(server, other))]
    WrongScheme { server: Url, other: Box<Url> },
    #[error("refused ({}): {reason}", Status(*status))]
    Refused {
        status: StatusCode,
        reason: String,
        problem: Box<ProblemDocument>,
    },
    #[error("{server} answers {}, but is not an admin API of tinyns; check the URL", Status(*status))]
    Foreign { server: Url, status: StatusCode },
    #[error("the request cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("cannot append a path to the URL of the admin API")]
    Url(#[from] url::ParseError),
}

impl ApiError {
    /// The refusal that a problem document describes; none if the document has no reason.
    pub(crate) fn refused(status: StatusCode, problem: ProblemDocument) -> Option<Self> {
        Some(Self::Refused {
            status,
            reason: problem.reason()?,
            problem: problem.into(),
        })
    }

    /// The problem document of a refusal.
    pub(crate) fn problem(&self) -> Option<&ProblemDocument> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether the same request may succeed after a short time.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            // While the server is away, a proxy in front of it answers in a form of its own.
            Self::Refused { status, .. } | Self::Foreign { status, .. } => {
                is_passing(status.as_u16())
            }
            Self::Untrusted { .. } | Self::WrongScheme { .. } | Self::Encode(_) | Self::Url(_) => {
                false
            }
        }
    }

    /// Whether the API said that there is no such link.
    pub(crate) fn is_not_found(&self) -> bool {
        self.is(StatusCode::NOT_FOUND)
    }

    /// Whether the API said that the link has another version.
    pub(crate) fn is_conflict(&self) -> bool {
        self.is(StatusCode::PRECONDITION_FAILED)
    }

    fn is(&self, refusal: StatusCode) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == refusal)
    }
}

/// What is wrong with the scheme, and what to write instead.
fn wrong_scheme(server: &Url, other: &Url) -> String {
    match server.scheme() {
        "https" if is_loopback(server) => format!("does not speak TLS: write {other}"),
        "https" => format!(
            "does not speak TLS: put a proxy with TLS in front of it, or write {other}, which sends the token \
             unencrypted over the network"
        ),
        _ => format!("speaks TLS: write {other}"),
    }
}

/// Whether another try may succeed after this status, of the API or of a proxy in front of it.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

/// A status code with its reason phrase.
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
