//! Idempotency keys; see [`crate::store::idempotency`].
//!
//! A claim reads the key, and then writes it on the condition that the key is as it was. A new key and its count against
//! the limit of the day are written in one transaction, which is rolled back unless both are possible.

use tokio_postgres::types::ToSql;

use super::connect::Connection;
use super::failure::Fault;
use crate::base::clock::UnixTime;
use crate::store::columns::integer;
use crate::store::idempotency::{Claim, Claimed, KEPT_FOR, KeyId, LEASE, day, room_for};

/// How often a claim is tried that others overtake.
const MAX_TRIES: usize = 20;

const GET: &str =
    "SELECT fingerprint, lease_until, outcome FROM idempotency_key WHERE id = $1 AND ends_at > $2";
/// Changes nothing if the sum would become too high.
const COUNT: &str = "INSERT INTO idempotency_count AS c (caller, day, claimed) VALUES ($1, $2, $3) \
    ON CONFLICT (caller, day) DO UPDATE SET claimed = c.claimed + $3 WHERE c.claimed <= $4";
const MAKE: &str = "INSERT INTO idempotency_key AS k (id, fingerprint, holder, lease_until, ends_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET fingerprint = $2, holder = $3, lease_until = $4, \
    ends_at = $5, outcome = NULL WHERE k.ends_at <= $6";
const TAKE_OVER: &str = "UPDATE idempotency_key SET holder = $2, lease_until = $3 \
    WHERE id = $1 AND outcome IS NULL AND lease_until = $4";
const EXTEND: &str = "UPDATE idempotency_key SET lease_until = $3 \
    WHERE id = $1 AND holder = $2 AND outcome IS NULL";
const KEEP: &str = "UPDATE idempotency_key SET outcome = $3, ends_at = $4 \
    WHERE id = $1 AND holder = $2 AND outcome IS NULL";

/// See [`crate::store::Store::claim_key`].
pub(super) async fn claim(
    connection: &Connection,
    claim: &Claim,
    now: UnixTime,
) -> Result<Claimed, Fault> {
    let id = claim.id.0.as_slice();
    let holder = claim.holder.cast_signed();
    let (seconds, lease) = (integer(now.0)?, integer(now.after(LEASE).0)?);
    for _ in 0..MAX_TRIES {
        let statement = connection.prepare(GET).await?;
        let row = connection
            .client
            .query_opt(&statement, &[&id, &seconds])
            .await?;
        let Some(row) = row else {
            match make(connection, claim, now).await? {
                Some(claimed) => return Ok(claimed),
                None => continue,
            }
        };
        if row.try_get::<_, &[u8]>(0)? != claim.fingerprint {
            return Ok(Claimed::OtherPayload);
        }
        if let Some(outcome) = row.try_get(2)? {
            return Ok(Claimed::Done(outcome));
        }
        let until: i64 = row.try_get(1)?;
        if until > seconds {
            return Ok(Claimed::InWork);
        }
        let statement = connection.prepare(TAKE_OVER).await?;
        let taken = connection
            .client
            .execute(&statement, &[&id, &holder, &lease, &until])
            .await?;
        if taken > 0 {
            return Ok(Claimed::Yours);
        }
    }
    Err(Fault::Contended)
}

/// Makes a key that is free. None if another request was faster.
async fn make(
    connection: &Connection,
    claim: &Claim,
    now: UnixTime,
) -> Result<Option<Claimed>, Fault> {
    let Some(room) = room_for(claim.weight) else {
        return Ok(Some(Claimed::TooMany));
    };
    // Neither exceeds the limit of a day.
    let as_column = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let (weight, room) = (as_column(claim.weight.max(1)), as_column(room));
    let (seconds, lease) = (integer(now.0)?, integer(now.after(LEASE).0)?);
    let (day, end) = (integer(day(now))?, integer(now.after(KEPT_FOR).0)?);
    let (id, fingerprint) = (claim.id.0.as_slice(), claim.fingerprint.as_slice());
    let (caller, holder) = (claim.caller.as_slice(), claim.holder.cast_signed());
    let (count, make) = (
        connection.prepare(COUNT).await?,
        connection.prepare(MAKE).await?,
    );
    let client = &connection.client;
    client.batch_execute("BEGIN").await?;
    let work = async {
        let counted = client
            .execute(&count, &[&caller, &day, &weight, &room])
            .await?;
        if counted == 0 {
            return Ok::<_, tokio_postgres::Error>(Some(Claimed::TooMany));
        }
        let terms: [&(dyn ToSql + Sync); 6] = [&id, &fingerprint, &holder, &lease, &end, &seconds];
        let made = client.execute(&make, &terms).await?;
        Ok((made > 0).then_some(Claimed::Yours))
    };
    let outcome = work.await;
    match outcome {
        Ok(Some(Claimed::Yours)) => {
            client.batch_execute("COMMIT").await?;
            Ok(Some(Claimed::Yours))
        }
        Ok(other) => {
            client.batch_execute("ROLLBACK").await?;
            Ok(other)
        }
        Err(error) => {
            // Without this, the next call on the connection would fail. If it fails, the connection is not used again.
            client.batch_execute("ROLLBACK").await?;
            Err(error.into())
        }
    }
}

/// See [`crate::store::Store::extend_key`].
pub(super) async fn extend(
    connection: &Connection,
    id: KeyId,
    holder: u64,
    until: UnixTime,
) -> Result<bool, Fault> {
    let (id, until) = (id.0.as_slice(), integer(until.0)?);
    let statement = connection.prepare(EXTEND).await?;
    let rows = connection
        .client
        .execute(&statement, &[&id, &holder.cast_signed(), &until])
        .await?;
    Ok(rows > 0)
}

/// See [`crate::store::Store::keep_outcome`].
pub(super) async fn keep(
    connection: &Connection,
    (id, holder): (KeyId, u64),
    outcome: &[u8],
    now: UnixTime,
) -> Result<bool, Fault> {
    let (id, end) = (id.0.as_slice(), integer(now.after(KEPT_FOR).0)?);
    let statement = connection.prepare(KEEP).await?;
    let rows = connection
        .client
        .execute(&statement, &[&id, &holder.cast_signed(), &outcome, &end])
        .await?;
    Ok(rows > 0)
}
