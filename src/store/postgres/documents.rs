//! The documents; see [`crate::store::document`].

use tokio_postgres::types::ToSql;

use super::audit::{EventColumns, Log};
use super::connect::Connection;
use super::failure::Fault;
use crate::store::audit::Event;
use crate::store::columns::integer;
use crate::store::{Document, DocumentPut, StoreError};

const GET: &str = "SELECT revision, content FROM document WHERE key = $1";
const MAKE: &str = "WITH put AS (INSERT INTO document (key, revision, content) VALUES ($1, $2::bigint + 1, $3) \
      ON CONFLICT (key) DO NOTHING RETURNING revision), \
    entered AS (INSERT INTO audit (at, actor, address, request_id, action, zone, code, token, before, after) \
      SELECT $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM put WHERE $4) \
    SELECT revision FROM put";
const REPLACE: &str = "WITH put AS (UPDATE document SET revision = revision + 1, content = $3 \
      WHERE key = $1 AND revision = $2 RETURNING revision), \
    entered AS (INSERT INTO audit (at, actor, address, request_id, action, zone, code, token, before, after) \
      SELECT $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM put WHERE $4) \
    SELECT revision FROM put";
const MAKE_QUIETLY: &str = "INSERT INTO document (key, revision, content) VALUES ($1, $2::bigint + 1, $3) \
    ON CONFLICT (key) DO NOTHING RETURNING revision";
const REPLACE_QUIETLY: &str = "UPDATE document SET revision = revision + 1, content = $3 \
    WHERE key = $1 AND revision = $2 RETURNING revision";

/// See [`crate::store::Store::document`].
pub(super) async fn get(connection: &Connection, key: &str) -> Result<Option<Document>, Fault> {
    let statement = connection.prepare(GET).await?;
    let row = connection.client.query_opt(&statement, &[&key]).await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Document {
        revision: revision(key, row.try_get(0)?)?,
        content: row.try_get(1)?,
    }))
}

/// See [`crate::store::Store::put_document`]; with the entry of the audit log, if there is an event.
pub(super) async fn put(
    connection: &Connection,
    (log, event): (Log, Option<&Event>),
    key: &str,
    expected: Option<u64>,
    content: &[u8],
) -> Result<DocumentPut, Fault> {
    let sql = match (event, expected) {
        (Some(_), None) => MAKE,
        (Some(_), Some(_)) => REPLACE,
        (None, None) => MAKE_QUIETLY,
        (None, Some(_)) => REPLACE_QUIETLY,
    };
    let before = integer(expected.unwrap_or(0))?;
    let is_kept = log.is_kept();
    let entry = event.map(EventColumns::of).transpose()?;
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&key, &before, &content];
    if let Some(entry) = &entry {
        parameters.push(&is_kept);
        parameters.extend(entry.parameters());
    }
    let statement = connection.prepare(sql).await?;
    let row = connection.client.query_opt(&statement, &parameters).await?;
    match row {
        Some(row) => Ok(DocumentPut::Written(revision(key, row.try_get(0)?)?)),
        None => Ok(DocumentPut::Conflict(get(connection, key).await?)),
    }
}

fn revision(key: &str, revision: i64) -> Result<u64, StoreError> {
    u64::try_from(revision).map_err(|_| StoreError::Corrupt {
        name: key.into(),
        reason: format!("the document's revision is {revision}"),
    })
}
