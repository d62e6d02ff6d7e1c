//! Three numbers in the file: the store's identity, its epoch, and the session of the last commit.
//!
//! The *identity* is drawn when the file is made, and never changes. The *epoch* is 1 until an operator begins another one. The *session* is drawn when a server opens
//! the file, increases by one with each of its commits, and is drawn again when the server has closed the file in
//! order. So two copies of one store have the same identity. A copy that was made while a server ran, or before
//! its last stop, has another session than the file has now. Caches outside of the file, such as Redis, remember
//! the session with which the server left. If the file has another one at the next start, they belong to another
//! history.
//!
//! While the server runs, the session also proves that the file holds what this server has written; see `guard`.

use rusqlite::{Connection, OptionalExtension};

use super::row::integer;
use crate::store::StoreError;

const GET: &str = "SELECT value FROM meta WHERE key = ?1";
const SET: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// The key of the identity in the table `meta`.
const IDENTITY: &str = "identity";
/// The key of the epoch, which a file in the first epoch need not have.
const EPOCH: &str = "epoch";
/// The key of the session.
const SESSION: &str = "session";

/// All statements of this module; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[GET, SET];

/// The store's identity; 0 if an operator has removed it.
pub(super) fn identity(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(value(conn, IDENTITY)?.unwrap_or(0))
}

/// The store's epoch.
pub(super) fn epoch(conn: &Connection) -> rusqlite::Result<u64> {
    let epoch = value(conn, EPOCH)?.and_then(|epoch| u64::try_from(epoch).ok());
    Ok(epoch.unwrap_or(1).max(1))
}

/// Begins the next epoch, and returns it.
pub(super) fn begin_epoch(conn: &Connection) -> Result<u64, StoreError> {
    let next = epoch(conn)?.saturating_add(1);
    conn.prepare_cached(SET)?.execute((EPOCH, integer(next)?))?;
    Ok(next)
}

/// The session in the file; none if no server has opened the file yet.
pub(super) fn current(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    value(conn, SESSION)
}

/// Puts a session into the file, within a transaction or as one.
pub(super) fn put(conn: &Connection, session: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(SET)?
        .execute((SESSION, session))
        .map(drop)
}

/// A random session, so low that adding the number of all later commits does not overflow.
pub(super) fn draw() -> i64 {
    let random = getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_nanos() as u64)
    });
    (random >> 2).cast_signed()
}

fn value(conn: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(GET)?
        .query_row([key], |row| row.get(0))
        .optional()
}
