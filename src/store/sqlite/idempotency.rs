//! Idempotency keys in the file; see [`crate::store::idempotency`].
//!
//! The writer alone reads and changes them, so a claim is one job of it. Keys that have ended are removed in small steps
//! between its batches.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::row::integer;
use crate::base::clock::UnixTime;
use crate::store::StoreError;
use crate::store::idempotency::{Claim, Claimed, KEPT_FOR, KeyId, LEASE, day, room_for};

/// How many keys one step of the pruning removes. An outcome may have 256 KiB, whose pages SQLite visits one by one.
const PRUNE_ROWS: i64 = 50;

const GET: &str =
    "SELECT fingerprint, lease_until, outcome FROM idempotency WHERE id = ?1 AND ends_at > ?2";
const MAKE: &str = "INSERT INTO idempotency (id, fingerprint, holder, lease_until, ends_at) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT (id) DO UPDATE SET fingerprint = ?2, holder = ?3, lease_until = ?4, ends_at = ?5, outcome = NULL";
const TAKE_OVER: &str =
    "UPDATE idempotency SET holder = ?2, lease_until = ?3 WHERE id = ?1 AND outcome IS NULL";
const EXTEND: &str =
    "UPDATE idempotency SET lease_until = ?3 WHERE id = ?1 AND holder = ?2 AND outcome IS NULL";
const KEEP: &str = "UPDATE idempotency SET outcome = ?3, ends_at = ?4 WHERE id = ?1 AND holder = ?2 AND outcome IS NULL";
/// Changes nothing if the sum would become too high.
const COUNT: &str = "INSERT INTO idempotency_count (caller, day, claimed) VALUES (?1, ?2, ?3) \
    ON CONFLICT (caller, day) DO UPDATE SET claimed = claimed + ?3 WHERE claimed <= ?4";
/// The server that had the leases before this start is gone: a file has one server at a time.
const END_LEASES: &str =
    "UPDATE idempotency SET lease_until = 0 WHERE outcome IS NULL AND lease_until > 0";
const FIRST_END: &str = "SELECT ends_at FROM idempotency ORDER BY ends_at LIMIT 1";
const PRUNE: &str = "DELETE FROM idempotency WHERE id IN \
    (SELECT id FROM idempotency WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)";
const PRUNE_COUNTS: &str = "DELETE FROM idempotency_count WHERE day < ?1";

/// All statements of this module; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[
    GET,
    MAKE,
    TAKE_OVER,
    EXTEND,
    KEEP,
    COUNT,
    END_LEASES,
    FIRST_END,
    PRUNE,
    PRUNE_COUNTS,
];

/// See [`crate::store::Store::claim_key`].
pub(super) fn claim(
    conn: &Connection,
    claim: &Claim,
    now: UnixTime,
) -> Result<Claimed, StoreError> {
    let Claim { id, holder, .. } = claim;
    let (seconds, lease) = (integer(now.0)?, integer(now.after(LEASE).0)?);
    let holder = holder.cast_signed();
    let found = conn
        .prepare_cached(GET)?
        .query_row((id.0, seconds), |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, i64>(1)?,
                row.get(2)?,
            ))
        })
        .optional()?;
    match found {
        Some((fingerprint, ..)) if fingerprint != claim.fingerprint => Ok(Claimed::OtherPayload),
        Some((_, _, Some(outcome))) => Ok(Claimed::Done(outcome)),
        Some((_, until, None)) if until > seconds => Ok(Claimed::InWork),
        Some(_) => {
            conn.prepare_cached(TAKE_OVER)?
                .execute((id.0, holder, lease))?;
            Ok(Claimed::Yours)
        }
        None => {
            if !count(conn, claim, now)? {
                return Ok(Claimed::TooMany);
            }
            let end = integer(now.after(KEPT_FOR).0)?;
            conn.prepare_cached(MAKE)?
                .execute((id.0, claim.fingerprint, holder, lease, end))?;
            Ok(Claimed::Yours)
        }
    }
}

/// Counts a claim. False if the caller has claimed as much as it may.
fn count(conn: &Connection, claim: &Claim, now: UnixTime) -> Result<bool, StoreError> {
    let Some(room) = room_for(claim.weight) else {
        return Ok(false);
    };
    let day = integer(day(now))?;
    let counted =
        conn.prepare_cached(COUNT)?
            .execute((claim.caller, day, claim.weight.max(1), room))?;
    Ok(counted > 0)
}

/// See [`crate::store::Store::extend_key`].
pub(super) fn extend(
    conn: &Connection,
    id: KeyId,
    holder: u64,
    until: UnixTime,
) -> Result<bool, StoreError> {
    let terms = (id.0, holder.cast_signed(), integer(until.0)?);
    Ok(conn.prepare_cached(EXTEND)?.execute(terms)? > 0)
}

/// See [`crate::store::Store::keep_outcome`].
pub(super) fn keep(
    conn: &Connection,
    id: KeyId,
    holder: u64,
    outcome: &[u8],
    now: UnixTime,
) -> Result<bool, StoreError> {
    let end = integer(now.after(KEPT_FOR).0)?;
    let terms = (id.0, holder.cast_signed(), outcome, end);
    Ok(conn.prepare_cached(KEEP)?.execute(terms)? > 0)
}

/// Ends the leases of the server that had the file before, so that repeats of its requests need not wait for that.
pub(super) fn end_leases(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(END_LEASES, []).map(drop)
}

/// Removes some of the keys that have ended. True if more may follow.
pub(super) fn prune(conn: &mut Connection, now: UnixTime) -> Result<bool, StoreError> {
    let seconds = integer(now.0)?;
    let first: Option<i64> = conn
        .prepare_cached(FIRST_END)?
        .query_row([], |row| row.get(0))
        .optional()?;
    if first.is_none_or(|first| first > seconds) {
        return Ok(false);
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let removed = tx.prepare_cached(PRUNE)?.execute((seconds, PRUNE_ROWS))?;
    tx.prepare_cached(PRUNE_COUNTS)?
        .execute([integer(day(now))?])?;
    tx.commit()?;
    Ok(i64::try_from(removed).is_ok_and(|removed| removed >= PRUNE_ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::testing::conn;

    fn claimed(conn: &Connection, number: u64, now: u64) {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let new = Claim {
            id: KeyId(id),
            caller: [1; 32],
            fingerprint: [2; 32],
            holder: number,
            weight: 1,
        };
        assert_eq!(claim(conn, &new, UnixTime(now)).unwrap(), Claimed::Yours);
    }

    fn rows(conn: &Connection, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        conn.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn keys_that_have_ended_are_removed_in_steps() {
        let mut conn = conn();
        let many = PRUNE_ROWS.unsigned_abs() + 7;
        for number in 0..many {
            claimed(&conn, number, 0);
        }
        claimed(&conn, many, 1);
        let mut check = |now: u64, more: bool, left: i64| {
            assert_eq!(prune(&mut conn, UnixTime(now)).unwrap(), more, "at {now}");
            assert_eq!(rows(&conn, "idempotency"), left, "at {now}");
        };
        check(KEPT_FOR - 1, false, PRUNE_ROWS + 8);
        check(KEPT_FOR, true, 8);
        check(KEPT_FOR, false, 1);
        check(KEPT_FOR + 1, false, 0);
        assert_eq!(rows(&conn, "idempotency_count"), 0);
    }

    #[test]
    fn all_statements_use_an_index() {
        let conn = conn();
        let check = |sql: &str, index: &str| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let mut statement = conn.prepare(&sql).unwrap();
            let count = statement.parameter_count();
            let values = rusqlite::params_from_iter(vec![0; count]);
            let plan = statement.query_map(values, |row| row.get::<_, String>(3));
            let plan: Vec<_> = plan.unwrap().map(Result::unwrap).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        };
        check(GET, "(id=?)");
        check(KEEP, "(id=?)");
        check(FIRST_END, "idempotency_end");
        check(PRUNE, "idempotency_end (ends_at<?)");
        check(END_LEASES, "idempotency_lease (lease_until>?)");
    }

    #[test]
    fn a_start_ends_the_leases_of_the_server_before() {
        let conn = conn();
        claimed(&conn, 1, 0);
        end_leases(&conn).unwrap();
        claimed(&conn, 1, 0);
    }
}
