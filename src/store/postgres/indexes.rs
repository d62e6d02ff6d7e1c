//! The indexes of the table `link` that lists need.
//!
//! A server makes them when it runs, and not when it brings the tables up to date: PostgreSQL can build an index while
//! others change the table (`CONCURRENTLY`), but not within a transaction, and it first waits for all transactions that are
//! older. Lists work without the indexes as well, only more slowly, and servers of an earlier version do not need them.

use std::time::Duration;

use super::Inner;
use super::connect::Connection;
use super::failure::{Fault, text};

/// How long the building of an index may take. Then it begins anew.
const BUILD_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// The host of a URL, as [`TargetUrl::host`](crate::link::TargetUrl::host) returns it.
macro_rules! link_host {
    ($url:literal) => {
        concat!(
            "(rtrim(lower(substring(",
            $url,
            " from '^[a-z]+://(\\[[^]]*\\]|[^/?#:]*)') COLLATE \"C\"), '.'))"
        )
    };
}
pub(super) use link_host;

/// The name of each index, and what follows it in the statement that makes it.
const INDEXES: [(&str, &str); 4] = [
    (
        "link_creator",
        "ON tinyns.link (origin, created_by COLLATE \"C\", created_at, code)",
    ),
    (
        "link_host",
        concat!(
            "ON tinyns.link (origin, ",
            link_host!("url"),
            ", created_at, code)"
        ),
    ),
    (
        "link_tags",
        "ON tinyns.link USING gin (tags jsonb_path_ops) WHERE tags IS NOT NULL",
    ),
    (
        "link_withheld",
        "ON tinyns.link (origin, created_at, code) WHERE withheld IS NOT NULL",
    ),
];

/// Whether an index can be used. An index whose building was interrupted is there, and cannot.
const IS_VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1::text)";
/// One server builds indexes at a time. The lock is the session's.
const LOCK: &str = "SELECT pg_try_advisory_lock(7309464, 4)";

/// Makes the indexes that are missing. True if all are there.
pub(super) async fn make_missing(inner: &Inner) -> Result<bool, String> {
    let are_there = inner.call(&inner.pages, |connection| async move {
        for (name, _) in INDEXES {
            if is_valid(&connection, name).await? != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    });
    if Box::pin(are_there)
        .await
        .map_err(|error| error.to_string())?
    {
        return Ok(true);
    }
    // A connection of its own, because it may take long. Without a bound on locks: it waits for older transactions.
    let connection = inner.pool.connector.connect(None).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let building = tokio::time::timeout(BUILD_TIME, Box::pin(build(&connection)));
    match building.await {
        Ok(Ok(is_done)) => Ok(is_done),
        Ok(Err(fault)) => Err(fault.into_store_error(&inner.place).to_string()),
        Err(_) => Err(format!(
            "an index was not ready after {} seconds",
            BUILD_TIME.as_secs()
        )),
    }
}

/// False if another server is building indexes.
async fn build(connection: &Connection) -> Result<bool, Fault> {
    let client = &connection.client;
    let limit = BUILD_TIME.as_millis();
    let settings = format!("SET lock_timeout = 0; SET statement_timeout = {limit}");
    client.batch_execute(&settings).await?;
    if !client.query_one(LOCK, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    for (name, definition) in INDEXES {
        match is_valid(connection, name).await? {
            Some(true) => continue,
            Some(false) => {
                let drop = format!("DROP INDEX CONCURRENTLY tinyns.{name}");
                client.batch_execute(&drop).await?;
            }
            None => {}
        }
        let make = format!("CREATE INDEX CONCURRENTLY {name} {definition}");
        match client.batch_execute(&make).await {
            Ok(()) => tracing::debug!(name, "index made"),
            Err(error) => {
                tracing::debug!(name, error = text(&error), "cannot make an index");
                return Err(error.into());
            }
        }
    }
    Ok(true)
}

/// Whether an index can be used; none if there is no such index.
async fn is_valid(connection: &Connection, name: &str) -> Result<Option<bool>, Fault> {
    let statement = connection.prepare(IS_VALID).await?;
    let name = format!("tinyns.{name}");
    let row = connection.client.query_opt(&statement, &[&name]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
