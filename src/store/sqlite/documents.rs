//! The documents; see [`crate::store::document`].

use rusqlite::{Connection, OptionalExtension};

use super::audit::Log;
use super::row::integer;
use crate::store::audit::Event;
use crate::store::{Document, DocumentPut, StoreError};

const GET: &str = "SELECT revision, content FROM document WHERE key = ?1";
const MAKE: &str = "INSERT INTO document (key, revision, content) VALUES (?1, 1, ?2) \
    ON CONFLICT (key) DO NOTHING";
const REPLACE: &str =
    "UPDATE document SET revision = ?2 + 1, content = ?3 WHERE key = ?1 AND revision = ?2";

/// All statements of this module; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[GET, MAKE, REPLACE];

/// See [`crate::store::Store::document`].
pub(super) fn get(conn: &Connection, key: &str) -> Result<Option<Document>, StoreError> {
    let mut statement = conn.prepare_cached(GET)?;
    let row = statement.query_row([key], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    let Some((revision, content)) = row.optional()? else {
        return Ok(None);
    };
    let revision = u64::try_from(revision).map_err(|_| StoreError::Corrupt {
        name: key.into(),
        reason: format!("the document's revision is {revision}"),
    })?;
    Ok(Some(Document { revision, content }))
}

/// See [`crate::store::Store::put_document`]; with the entry of the audit log, if there is an event.
pub(super) fn put(
    conn: &Connection,
    (log, event): (Log, Option<Event>),
    key: &str,
    expected: Option<u64>,
    content: &[u8],
) -> Result<DocumentPut, StoreError> {
    let rows = match expected {
        None => conn.prepare_cached(MAKE)?.execute((key, content))?,
        Some(revision) => {
            let revision = integer(revision)?;
            conn.prepare_cached(REPLACE)?
                .execute((key, revision, content))?
        }
    };
    match rows {
        0 => Ok(DocumentPut::Conflict(get(conn, key)?)),
        _ => {
            if let Some(event) = event {
                log.note(conn, || event)?;
            }
            Ok(DocumentPut::Written(expected.unwrap_or(0) + 1))
        }
    }
}
