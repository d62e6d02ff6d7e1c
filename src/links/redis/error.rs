//! Errors: why Redis cannot be used at all, and what the error of a call means.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::base::client_files::ClientFileError;

/// Why the Redis settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    /// A file of the configuration cannot be used.
    #[error(transparent)]
    Files(#[from] ClientFileError),
    /// The client library refuses the settings.
    #[error("the Redis settings cannot be used: {0}")]
    Settings(String),
}

/// Whether the server refused a call because the user lacks a right.
pub(super) fn is_refused(error: &RedisError) -> bool {
    // In a script the error code is that of the script, not NOPERM.
    error.code() == Some("NOPERM") || {
        let detail = error.detail().unwrap_or_default();
        detail.contains("NOPERM") || detail.contains("ACL failure")
    }
}

/// Whether the error shows that Redis, or this connection to it, does not work just now. Other refusals concern
/// one call only, such as a value of the wrong type, or a write to a server that is full.
pub(super) fn is_outage(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
        ),
        ErrorKind::UnexpectedReturnType => false,
        ErrorKind::Extension => refuses_writes(error),
        _ => true,
    }
}

/// Whether the server answers but refuses all writes, including deletions: it is not the master, has too few
/// replicas, or cannot save. Its values become outdated and cannot be dropped. (A server that is full accepts
/// deletions.)
pub(super) fn refuses_writes(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || matches!(error.code(), Some("MISCONF" | "NOREPLICAS"))
}

/// The error if the server is a member of a cluster but the configuration says that it is not.
pub(super) fn is_a_member() -> RedisError {
    (ErrorKind::Server(ServerErrorKind::Moved), MEMBER).into()
}

const MEMBER: &str =
    "it is a member of a Redis Cluster: set mode = \"cluster\" in [redis] of the configuration";

/// What an error means, in fixed words: nothing in them comes from the server.
pub(super) fn brief(error: &RedisError) -> &'static str {
    match error.kind() {
        _ if is_unauthenticated(error) => "it refuses the user or the password",
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
        ) => MEMBER,
        ErrorKind::Server(ServerErrorKind::ClusterDown) => "the cluster is down",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "it is still loading its data",
        _ if is_refused(error) => "it refuses commands that are needed to connect",
        _ if refuses_writes(error) => "it refuses writes",
        _ if error.is_timeout() => "it does not answer in time",
        _ => "it cannot be reached",
    }
}

/// Whether the server refuses the user or the password. If the cluster client can connect to no server, it puts
/// the reason into the text of another error.
fn is_unauthenticated(error: &RedisError) -> bool {
    const NAME: &str = "AuthenticationFailed";
    error.kind() == ErrorKind::AuthenticationFailed
        || error.detail().is_some_and(|detail| detail.contains(NAME))
}

/// Whether the server is full and may not evict.
pub(super) fn is_full(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// The error of a call that timed out.
pub(super) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// An error as one line, safe to log: parts of it come from the server.
pub(super) fn text(error: &RedisError) -> String {
    crate::base::text::one_line(&error.to_string())
}
