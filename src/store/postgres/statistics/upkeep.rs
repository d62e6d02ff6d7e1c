//! The writes and reads of [`crate::store::upkeep`].

use tokio_postgres::types::ToSql;

use super::super::connect::Connection;
use super::super::failure::Fault;
use super::{Columns, zones};
use crate::base::clock::UnixTime;
use crate::store::columns::integer;
use crate::store::statistics::NUMBERS_KEPT;
use crate::store::sums::Key;
use crate::store::upkeep::{SEEN_AT_ONCE, Spot, Step};

/// Rows of these keys, in their order.
const RANK: &str = "UPDATE statistics s SET lookups_ranked = s.lookups, clicks_ranked = s.clicks \
    FROM unnest($1::int[], $2::text[], $3::smallint[], $4::int[]) AS n (zone, code, unit, start) \
    WHERE s.zone = n.zone AND s.code = n.code AND s.unit = n.unit AND s.start = n.start \
    AND (s.lookups_ranked <> s.lookups OR s.clicks_ranked <> s.clicks)";
macro_rules! remove {
    () => {
        "DELETE FROM statistics s \
         USING unnest($1::int[], $2::text[], $3::smallint[], $4::int[]) AS n (zone, code, unit, start) \
         WHERE s.zone = n.zone AND s.code = n.code AND s.unit = n.unit AND s.start = n.start"
    };
}
/// Whether a row is of a link that does not exist, while the sums of such links are not kept. PostgreSQL could answer NOT EXISTS
/// by reading all links first.
macro_rules! is_gone {
    () => {
        "(s.code <> '' AND NOT (SELECT statistics_of_deleted FROM store) \
         AND (SELECT true FROM statistics_zone z JOIN link l ON l.origin = z.origin AND l.code = s.code \
         WHERE z.id = s.zone) IS NULL)"
    };
}
const REMOVE: &str = remove!();
/// The link may have been made again since the walk has seen the row.
const REMOVE_GONE: &str = concat!(remove!(), " AND ", is_gone!());
const SEE: &str = concat!(
    "SELECT zone, code, unit, start, lookups_ranked <> lookups OR clicks_ranked <> clicks, ",
    is_gone!(),
    " FROM statistics s WHERE (zone, code, unit, start) > ($1, $2, $3, $4) ORDER BY zone, code, unit, start LIMIT $5"
);
const OLD_NUMBERS: &str = "DELETE FROM statistics_batch WHERE at < $1";

/// Brings rows into the rankings.
pub(super) async fn rank(connection: &Connection, keys: &[Key]) -> Result<(), Fault> {
    let zones = zones(connection, keys.iter()).await?;
    let mut rows = Columns::default();
    for key in keys {
        rows.push_key(&zones, key)?;
    }
    execute(connection, RANK, &rows).await
}

/// Looks at the next rows of the walk.
pub(super) async fn look(
    connection: &Connection,
    after: &Spot,
    now: UnixTime,
) -> Result<Step, Fault> {
    let mut step = Step::new(now);
    let statement = connection.prepare(SEE).await?;
    let terms: [&(dyn ToSql + Sync); 5] = [
        &after.zone,
        &after.code,
        &after.unit,
        &after.start,
        &SEEN_AT_ONCE,
    ];
    for row in connection.client.query(&statement, &terms).await? {
        let spot = Spot {
            zone: row.try_get(0)?,
            code: row.try_get(1)?,
            unit: row.try_get(2)?,
            start: row.try_get(3)?,
        };
        if !step.see(spot, row.try_get(4)?, row.try_get(5)?) {
            break;
        }
    }
    Ok(step)
}

/// Does what a step of the walk has found.
pub(super) async fn sweep(
    connection: &Connection,
    step: &Step,
    now: UnixTime,
) -> Result<(), Fault> {
    for (sql, spots) in [
        (REMOVE, &step.old),
        (REMOVE_GONE, &step.gone),
        (RANK, &step.behind),
    ] {
        let mut rows = Columns::default();
        for spot in spots {
            rows.push_spot(spot);
        }
        if !spots.is_empty() {
            execute(connection, sql, &rows).await?;
        }
    }
    let before = integer(now.0.saturating_sub(NUMBERS_KEPT))?;
    let statement = connection.prepare(OLD_NUMBERS).await?;
    connection.client.execute(&statement, &[&before]).await?;
    Ok(())
}

async fn execute(
    connection: &Connection,
    sql: &'static str,
    rows: &Columns<'_>,
) -> Result<(), Fault> {
    let statement = connection.prepare(sql).await?;
    let parameters = rows.key_parameters();
    connection.client.execute(&statement, &parameters).await?;
    Ok(())
}
