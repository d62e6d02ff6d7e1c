//! What leaves the tables with time, in small steps: one server at a time takes them.
//!
//! * links that ended more than a week ago; each leaves a tombstone,
//! * tombstones that are older than a week; the version floor rises above them,
//! * the entries of the change feed, when they are old or many,
//! * idempotency keys that have ended,
//! * the entries of the audit log that are too old or too many.

use super::audit::Log;
use super::connect::Connection;
use super::failure::Fault;
use crate::base::clock::UnixTime;
use crate::store::audit::Retention;
use crate::store::columns::integer;
use crate::store::idempotency::day;

/// How long a link is kept after its end, in seconds: seven days. During that time the redirect host can reply
/// "gone" instead of "not found", and a clock that is fast deletes nothing.
const EXPIRED_RETENTION: u64 = 7 * 24 * 60 * 60;
/// How many rows of a table one step removes.
const ROWS: i64 = 1_000;
/// How many steps follow each other at once.
const STEPS: usize = 100;

/// The number of the advisory lock of the server that sweeps.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(7309464, 2)";
const LINKS: &str = "DELETE FROM link WHERE (origin, code) IN \
    (SELECT origin, code FROM link WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
    AND expires_at <= $1";
const TOMBSTONES: &str = "WITH gone AS (DELETE FROM tombstone WHERE (origin, code) IN \
      (SELECT origin, code FROM tombstone WHERE deleted_at < now() - interval '7 days' \
       ORDER BY deleted_at LIMIT $1 FOR UPDATE SKIP LOCKED) \
      AND deleted_at < now() - interval '7 days' RETURNING version), \
    raised AS (UPDATE store SET version_floor = greatest(version_floor, (SELECT max(version) FROM gone)) \
      WHERE EXISTS (SELECT FROM gone)) \
    SELECT count(*) FROM gone";
/// The transactions whose entries go: those of the oldest entries that are older than an hour, or beyond the last million.
/// None that may still write is among them.
const CHANGES: &str = "WITH old AS (SELECT seq, txid FROM change WHERE seq <= greatest( \
        (SELECT max(seq) - 1000000 FROM change), \
        (SELECT max(seq) FROM (SELECT seq, at FROM change ORDER BY seq LIMIT $1) AS first \
         WHERE at < now() - interval '1 hour')) ORDER BY seq LIMIT $1), \
    bound AS (SELECT least(max(txid) + 1, txid_snapshot_xmin(txid_current_snapshot())) AS txid FROM old \
      HAVING count(*) > 0), \
    forgotten AS (UPDATE store SET forgotten = greatest(store.forgotten, bound.txid) FROM bound), \
    gone AS (DELETE FROM change USING old, bound WHERE change.seq = old.seq AND change.txid < bound.txid \
      RETURNING change.seq) \
    SELECT count(*) FROM gone";
const KEYS: &str = "DELETE FROM idempotency_key WHERE id IN \
    (SELECT id FROM idempotency_key WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2)";
const COUNTS: &str = "DELETE FROM idempotency_count WHERE day < $1";
const OLD_ENTRIES: &str = "DELETE FROM audit WHERE id IN \
    (SELECT id FROM audit WHERE at < $1 ORDER BY at, id LIMIT $2)";
/// Entries are numbered without many gaps, so the numbers tell about how many there are.
const SURPLUS_ENTRIES: &str = "DELETE FROM audit WHERE id IN (SELECT id FROM audit \
    WHERE id <= (SELECT max(id) FROM audit) - $1 ORDER BY id LIMIT $2)";

/// Takes all steps that are due, or a bounded number of them.
pub(super) async fn sweep(connection: &Connection, log: Log, now: UnixTime) -> Result<(), Fault> {
    for _ in 0..STEPS {
        connection.client.batch_execute("BEGIN").await?;
        let step = step(connection, log, now).await;
        match step {
            Ok(rows) => {
                connection.client.batch_execute("COMMIT").await?;
                if rows < ROWS.unsigned_abs() {
                    return Ok(());
                }
            }
            Err(fault) => {
                connection.client.batch_execute("ROLLBACK").await?;
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// One step of each kind; the most rows that one of them has removed.
async fn step(connection: &Connection, log: Log, now: UnixTime) -> Result<u64, Fault> {
    let client = &connection.client;
    let lock = connection.prepare(LOCK).await?;
    if !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let mut most = 0;
    if let Some(before) = now.0.checked_sub(EXPIRED_RETENTION) {
        let links = connection.prepare(LINKS).await?;
        most = client.execute(&links, &[&integer(before)?, &ROWS]).await?;
    }
    for sql in [TOMBSTONES, CHANGES] {
        let statement = connection.prepare(sql).await?;
        let rows: i64 = client.query_one(&statement, &[&ROWS]).await?.try_get(0)?;
        most = most.max(rows.unsigned_abs());
    }
    let keys = connection.prepare(KEYS).await?;
    most = most.max(client.execute(&keys, &[&integer(now.0)?, &ROWS]).await?);
    let counts = connection.prepare(COUNTS).await?;
    client.execute(&counts, &[&integer(day(now))?]).await?;
    let Retention { keep, max_entries } = log.retention.unwrap_or_default();
    let before = integer(now.0.saturating_sub(keep).saturating_mul(1_000))?;
    let old = connection.prepare(OLD_ENTRIES).await?;
    most = most.max(client.execute(&old, &[&before, &ROWS]).await?);
    let surplus = connection.prepare(SURPLUS_ENTRIES).await?;
    let room = integer(max_entries)?;
    most = most.max(client.execute(&surplus, &[&room, &ROWS]).await?);
    Ok(most)
}
