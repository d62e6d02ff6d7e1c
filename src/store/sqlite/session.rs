//! Two numbers in the file: which store it is, and which session of a server was the last to write.
//!
//! *identity* is drawn when the file is made, and stays. *session* is drawn anew when a server opens the
//! file, goes up by one with each of its commits, and is drawn once more when the server has closed the file
//! in order. So two copies of one store have the same identity, and a copy that was made while a server ran,
//! or before its last stop, has another session than the file has now. Caches outside of the file, as Redis
//! is one, remember the session with which the server left: where the file has another one at the next
//! start, they hold another past.
//!
//! While the server runs, the session is also the proof that what the file holds is what this server
//! has written; see `guard`.

use rusqlite::{Connection, OptionalExtension};

const GET: &str = "SELECT value FROM meta WHERE key = ?1";
const SET: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// The key of the identity in the table `meta`.
const IDENTITY: &str = "identity";
/// The key of the session.
const SESSION: &str = "session";

/// Every statement of this module, to see at the start that the tables are what they should be.
pub(super) const STATEMENTS: &[&str] = &[GET, SET];

/// The store's identity; 0 where an operator has removed it.
pub(super) fn identity(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(value(conn, IDENTITY)?.unwrap_or(0))
}

/// The session that stands in the file; none in one that no server has opened yet.
pub(super) fn current(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    value(conn, SESSION)
}

/// Puts a session into the file; within a transaction or as one.
pub(super) fn put(conn: &Connection, session: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(SET)?
        .execute((SESSION, session))
        .map(drop)
}

/// A session that no file has yet, with room above it for more commits than there can be.
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
