//! Failures: what an error of PostgreSQL means to a caller of the store.
//!
//! A statement that ends with an ERROR has changed nothing: each of our calls is one statement, or one transaction whose
//! last statement is the COMMIT, and an error rolls all of it back. If the connection breaks, or the server ends the
//! session (FATAL), nobody can tell whether a COMMIT was carried out before.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::base::text::{one_line, with_causes};
use crate::store::StoreError;
use crate::store::columns::BadRow;

/// The longest text of a failure in characters. It contains text from outside and goes into a log line.
const MAX_TEXT: usize = 800;

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// PostgreSQL or the connection to it failed.
    Sql(tokio_postgres::Error),
    /// Another transaction has changed the same rows, again and again. Nothing was changed.
    Contended,
    /// Something else.
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BadRow> for Fault {
    fn from(bad: BadRow) -> Self {
        Self::Store(bad.into())
    }
}

impl Fault {
    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Sql(error) => error.code(),
            Self::Contended | Self::Store(_) => None,
        }
    }

    /// Whether the same statement may succeed at once, and certainly did nothing this time.
    pub(super) fn is_conflict(&self) -> bool {
        self.is_error()
            && self.state().is_some_and(|state| {
                *state == SqlState::T_R_SERIALIZATION_FAILURE
                    || *state == SqlState::T_R_DEADLOCK_DETECTED
            })
    }

    /// Whether the server takes no changes: it is a replica now.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_error() && self.state() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Whether a value or a constraint of one row is the reason.
    pub(super) fn is_about_a_row(&self) -> bool {
        let state = self.state().map(SqlState::code);
        self.is_error()
            && state.is_some_and(|state| state.starts_with("22") || state.starts_with("23"))
    }

    /// Whether the database does not have a table.
    pub(super) fn is_missing_table(&self) -> bool {
        self.is_error() && self.state() == Some(&SqlState::UNDEFINED_TABLE)
    }

    /// Whether the connection cannot be used any more.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Sql(error) => !error.as_db_error().is_some_and(is_error),
            Self::Contended | Self::Store(_) => false,
        }
    }

    /// Whether PostgreSQL refused the statement, so that it certainly changed nothing.
    fn is_error(&self) -> bool {
        match self {
            Self::Sql(error) => error.as_db_error().is_some_and(is_error),
            Self::Contended | Self::Store(_) => false,
        }
    }

    /// The error for callers. `place` is the database.
    pub(super) fn into_store_error(self, place: &str) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Contended => {
                let text = format!("{place}: other programs change the same link all the time");
                return StoreError::Throttled(text);
            }
            Self::Sql(error) => error,
        };
        let text = format!("{place}: {}", text(&error));
        match error.as_db_error() {
            Some(db) if is_error(db) => refused(db, text),
            Some(_) | None => StoreError::Unavailable(text),
        }
    }
}

fn refused(error: &DbError, text: String) -> StoreError {
    let state = error.code();
    if *state == SqlState::QUERY_CANCELED {
        return StoreError::Throttled(format!(
            "{text}; a statement took longer than statement_timeout in [store], or an operator ended it"
        ));
    }
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        return StoreError::Throttled(format!(
            "{text}; another transaction holds the link: look for long transactions in pg_stat_activity"
        ));
    }
    if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return StoreError::Unreachable(format!("{text}; this server is a replica now"));
    }
    match is_conflict_state(state) {
        true => StoreError::Throttled(text),
        false => StoreError::Refused(text),
    }
}

fn is_conflict_state(state: &SqlState) -> bool {
    *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED
}

/// Whether the server has only refused a statement, and the session goes on.
fn is_error(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => severity == Severity::Error,
        None => error.severity() == "ERROR",
    }
}

/// An error in one line: PostgreSQL's message and code, or the chain of causes.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    let text = match error.as_db_error() {
        Some(error) => {
            let detail = error.detail().map(|detail| format!(" ({detail})"));
            let (message, code) = (error.message(), error.code().code());
            format!("{message}{} [{code}]", detail.unwrap_or_default())
        }
        None => with_causes(error),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(MAX_TEXT).collect();
    one_line(&short)
}

/// Whether a connection that was refused with this error may succeed later without any action of an operator.
pub(super) fn may_pass(error: &tokio_postgres::Error) -> bool {
    let Some(error) = error.as_db_error() else {
        // TLS and the configuration do not mend themselves; sockets do.
        return with_io(error);
    };
    let state = error.code();
    let class = state.code().get(..2).unwrap_or_default();
    // 53: no resources, such as connections; 57: it starts or stops; 08: the connection failed.
    matches!(class, "53" | "57" | "08") || *state == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether a socket failed, and not a certificate.
fn with_io(error: &tokio_postgres::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io
                .get_ref()
                .is_none_or(|inner| !inner.is::<tokio_rustls::rustls::Error>());
        }
        next = cause.source();
    }
    error.is_closed()
}

/// The pause before a statement that met another one is sent again; a random part of it.
pub(super) fn pause() -> Duration {
    Duration::from_micros(fastrand::u64(200..3_000))
}
