//! Opening: the first connection, and the tables.
//!
//! The user needs the right to create the schema `tinyns` in the database, or has to own a schema of that name. Several
//! servers that start at the same time bring the tables up to date one after the other, under an advisory lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connect::{ConnectError, Connection, Connector};
use super::failure::text;
use super::migrations::MIGRATIONS;
use super::{Inner, PostgresConfig, PostgresStore, State};
use crate::base::client_files::ClientFileError;
use crate::base::clock::Clock;
use crate::store::Store;

/// The pause between two attempts to open a database.
const OPEN_RETRY: Duration = Duration::from_secs(2);
/// How long bringing the tables up to date may take, including the wait for another server that does it. An index on ten
/// million links takes half a minute.
const MIGRATION_TIME: Duration = Duration::from_secs(600);

const LOCK: &str =
    "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(7309464, 1)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7309464, 1)";
const HAS_SCHEMA: &str = "SELECT to_regnamespace('tinyns') IS NOT NULL";
const HAS_STORE: &str = "SELECT to_regclass('tinyns.store') IS NOT NULL";
const VERSION: &str = "SELECT schema_version FROM tinyns.store";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// A file of the configuration cannot be used.
    #[error(transparent)]
    Files(#[from] ClientFileError),
    /// No server accepts a connection.
    #[error("cannot connect to {place}: {reason}")]
    Connect {
        /// The database.
        place: String,
        /// The reason of each server.
        reason: String,
        /// Whether the same may succeed later without any action.
        may_pass: bool,
    },
    /// The tables cannot be made or brought up to date.
    #[error("cannot make the tables in {place}: {reason}")]
    Tables {
        /// The database.
        place: String,
        /// Why not.
        reason: String,
        /// Whether the same may succeed later without any action.
        may_pass: bool,
    },
    /// A later version of tinyns has made the tables.
    #[error(
        "the tables in {place} have the version {found}, and this program knows versions up to {known}: install a later \
         version of tinyns"
    )]
    Newer {
        /// The database.
        place: String,
        /// The version of the tables.
        found: i32,
        /// The version of this program.
        known: i32,
    },
}

impl PostgresOpenError {
    /// Whether the same may succeed later without any action.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect { may_pass, .. } | Self::Tables { may_pass, .. } => *may_pass,
            Self::Files(_) | Self::Newer { .. } => false,
        }
    }
}

impl PostgresStore {
    /// Opens the store, and makes its tables if they are missing. Takes some seconds at most, unless the tables have to be
    /// brought up to date. Must be called within a runtime. `clock` is used only for the sweep of links that have ended and
    /// of old entries of the audit log.
    ///
    /// # Errors
    /// [`PostgresOpenError`] says in one line why the database cannot be used or reached.
    pub async fn open(config: &PostgresConfig, clock: Clock) -> Result<Self, PostgresOpenError> {
        let store = Self::unopened(config)?;
        Box::pin(prepare(&store.inner)).await?;
        store.inner.state.send_replace(State::Open);
        store.start(clock);
        Ok(store)
    }

    /// The same as [`PostgresStore::open`], as any store.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_now(
        config: &PostgresConfig,
        clock: Clock,
    ) -> Result<Arc<dyn Store>, PostgresOpenError> {
        Ok(Arc::new(Box::pin(Self::open(config, clock)).await?))
    }

    /// Opens the store as [`PostgresStore::open`] does. If no server can be reached, returns a store that opens itself
    /// later; until then its calls fail, but for those that a replica can answer.
    ///
    /// # Errors
    /// As [`PostgresStore::open`], if the failure will not pass by itself, such as a wrong password.
    pub async fn open_or_wait(
        config: &PostgresConfig,
        clock: Clock,
    ) -> Result<Arc<dyn Store>, PostgresOpenError> {
        let store = Self::unopened(config)?;
        match Box::pin(prepare(&store.inner)).await {
            Ok(()) => {
                store.inner.state.send_replace(State::Open);
            }
            Err(error) if error.may_pass() => {
                let instead = match &store.inner.replica {
                    Some(replica) => {
                        replica.lose_writer();
                        "reads links from the replica if that can be reached"
                    }
                    None => "answers from Redis if there is one",
                };
                tracing::error!(
                    "{error}; the server starts without the database, {instead}, and tries again"
                );
                let away = State::Away(error.to_string());
                store.inner.state.send_replace(away);
                store.open_later(error.to_string());
            }
            Err(error) => return Err(error),
        }
        store.start(clock);
        Ok(Arc::new(store))
    }

    fn unopened(config: &PostgresConfig) -> Result<Self, PostgresOpenError> {
        let connector = Connector::new(config)?;
        let state = watch::channel(State::Away("it is being opened".into())).0;
        Ok(Self::of(Inner::new(config, connector, state)?))
    }

    /// Tries to open the database until it succeeds or the store is closed. Logs a failure when it is another one than
    /// before. It also retries after failures that need an operator, who may correct them at the server.
    fn open_later(&self, logged: String) {
        let inner = self.inner.clone();
        let closed = inner.closed.clone();
        let opening = async move {
            let mut logged = logged;
            loop {
                tokio::time::sleep(OPEN_RETRY).await;
                match Box::pin(prepare(&inner)).await {
                    Ok(()) => {
                        tracing::info!("{} can be used now", inner.place);
                        inner.state.send_replace(State::Open);
                        return;
                    }
                    Err(error) => {
                        let text = error.to_string();
                        if text != logged {
                            tracing::error!("{text}");
                        }
                        inner.state.send_replace(State::Away(text.clone()));
                        logged = text;
                    }
                }
            }
        };
        tokio::spawn(async move { closed.run_until_cancelled(opening).await });
    }
}

/// Makes sure that the database can be reached, and that it has the tables of this version.
async fn prepare(inner: &Inner) -> Result<(), PostgresOpenError> {
    let place = || inner.place.clone();
    let refused = |error: ConnectError| PostgresOpenError::Connect {
        place: place(),
        reason: error.text,
        may_pass: error.may_pass,
    };
    let connector = &inner.pool.connector;
    let connection = connector.connect(None).await.map_err(refused)?;
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let found = connection
        .history
        .as_ref()
        .map_or(0, |history| history.schema);
    let found = match found < known {
        true => tokio::time::timeout(MIGRATION_TIME, migrate(&connection, known))
            .await
            .map_err(|_| PostgresOpenError::Tables {
                place: place(),
                reason: format!("it took longer than {} seconds", MIGRATION_TIME.as_secs()),
                may_pass: true,
            })?
            .map_err(|error| PostgresOpenError::Tables {
                place: place(),
                reason: hint(&error),
                may_pass: super::failure::may_pass(&error),
            })?,
        false => found,
    };
    if found > known {
        let place = place();
        return Err(PostgresOpenError::Newer {
            place,
            found,
            known,
        });
    }
    drop(connection);
    // A connection to the tables as they are now, which also reads the identity.
    let connection = inner.pool.take().await.map_err(refused)?;
    connection.give_back(&inner.pool);
    Ok(())
}

/// Brings the tables up to date, unless another server has done that. Returns their version.
async fn migrate(connection: &Connection, known: i32) -> Result<i32, tokio_postgres::Error> {
    let client = &connection.client;
    client.batch_execute(LOCK).await?;
    let is_there = async |sql: &str| {
        let row = client.query_one(sql, &[]).await?;
        row.try_get::<_, bool>(0)
    };
    let mut version = 0;
    if is_there(HAS_STORE).await? {
        version = client.query_one(VERSION, &[]).await?.try_get(0)?;
    }
    while version < known {
        let step = usize::try_from(version).unwrap_or(0);
        let sql = MIGRATIONS.get(step).copied().unwrap_or_default();
        version += 1;
        let schema = match version > 1 || is_there(HAS_SCHEMA).await? {
            true => "",
            false => "CREATE SCHEMA tinyns;",
        };
        let note = match version {
            1 => format!(
                "INSERT INTO tinyns.store (schema_version, id) VALUES (1, {})",
                fastrand::i64(..)
            ),
            _ => format!("UPDATE tinyns.store SET schema_version = {version}"),
        };
        let transaction = format!("BEGIN; {schema} {sql}; {note}; COMMIT");
        client.batch_execute(&transaction).await?;
        tracing::info!(version, "tables of PostgreSQL made or brought up to date");
    }
    client.batch_execute(UNLOCK).await?;
    Ok(version)
}

/// An error with what to do about it, where that is known.
fn hint(error: &tokio_postgres::Error) -> String {
    let text = text(error);
    match error.code() {
        Some(state) if *state == tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE => {
            format!(
                "{text}; let the user own the database, or create the schema tinyns for the user"
            )
        }
        _ => text,
    }
}
