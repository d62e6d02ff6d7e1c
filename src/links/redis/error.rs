//! Errors: why Redis cannot even be tried, and what the error of a call means.

use std::path::PathBuf;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    /// A file of the configuration cannot be read.
    #[error("cannot read {what} {}", file.display())]
    File {
        /// Which one.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The password is not text.
    #[error("the Redis password in {0} is not one line of UTF-8 text")]
    Password(String),
    /// There is no certificate in a file that is there for one.
    #[error("{}: there is no certificate in it (BEGIN CERTIFICATE); name a file that has one", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate or key is of no use.
    #[error("{}: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The client refuses the settings.
    #[error("the Redis settings cannot be used: {0}")]
    Settings(String),
}

/// Whether Redis refuses a call because its user may not make it.
pub(super) fn is_refused(error: &RedisError) -> bool {
    // Inside a script the code is that of the script's failure.
    error.code() == Some("NOPERM") || {
        let detail = error.detail().unwrap_or_default();
        detail.contains("NOPERM") || detail.contains("ACL failure")
    }
}

/// Whether this shows that Redis, or this connection to it, does not work just now. What else a server
/// refuses, such as a value of the wrong type or a write when it is full, concerns one call.
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

/// Whether the server refuses all writes, deletions as well, although it answers: it is not the master,
/// has too few replicas, or cannot save. What it holds gets old then, and nobody can drop it. (One that
/// is full lets things be dropped.)
pub(super) fn refuses_writes(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || matches!(error.code(), Some("MISCONF" | "NOREPLICAS"))
}

/// The error of a server that is a member of a cluster, and was not taken for one.
pub(super) fn is_a_member() -> RedisError {
    (ErrorKind::Server(ServerErrorKind::Moved), MEMBER).into()
}

const MEMBER: &str =
    "it is a member of a Redis Cluster: set mode = \"cluster\" in [redis] of the configuration";

/// What an error means, without what comes from outside.
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

/// Whether the user or the password is refused. Where no server of a cluster can be connected to, the client puts
/// what it met into the text of another error.
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

/// The error of a call that took too long.
pub(super) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// An error in one line: some of it comes from outside.
pub(super) fn text(error: &RedisError) -> String {
    crate::base::text::one_line(&error.to_string())
}
