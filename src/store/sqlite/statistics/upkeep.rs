//! The writes and reads of [`crate::store::upkeep`].

use rusqlite::Connection;

use super::Zones;
use crate::base::clock::UnixTime;
use crate::store::StoreError;
use crate::store::columns::integer;
use crate::store::statistics::NUMBERS_KEPT;
use crate::store::sums::Key;
use crate::store::upkeep::{SEEN_AT_ONCE, Spot, Step};

/// Whether a row is of a link that does not exist, while the sums of such links are not kept.
macro_rules! is_gone {
    () => {
        "(code <> '' AND NOT EXISTS (SELECT 1 FROM meta WHERE key = 'statistics_of_deleted' AND value > 0) \
         AND NOT EXISTS (SELECT 1 FROM statistics_zone z JOIN link l ON l.origin = z.origin AND l.code = statistics.code \
         WHERE z.id = statistics.zone))"
    };
}

/// Two statements, because SQLite moves the entry of each index of which one sets a column.
pub(super) const RANK_LOOKUPS: &str = "UPDATE statistics SET lookups_ranked = lookups \
    WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start = ?4 AND lookups_ranked <> lookups";
pub(super) const RANK_CLICKS: &str = "UPDATE statistics SET clicks_ranked = clicks \
    WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start = ?4 AND clicks_ranked <> clicks";
pub(super) const SEE: &str = concat!(
    "SELECT zone, code, unit, start, lookups_ranked <> lookups OR clicks_ranked <> clicks, ",
    is_gone!(),
    " FROM statistics WHERE (zone, code, unit, start) > (?1, ?2, ?3, ?4) ORDER BY zone, code, unit, start LIMIT ?5"
);
pub(super) const REMOVE: &str =
    "DELETE FROM statistics WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start = ?4";
/// The link may have been made again since the walk has seen the row.
pub(super) const REMOVE_GONE: &str = concat!(
    "DELETE FROM statistics WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start = ?4 AND ",
    is_gone!()
);
pub(super) const OLD_NUMBERS: &str = "DELETE FROM statistics_batch WHERE at < ?1";

/// Brings rows into the rankings.
pub(super) fn rank(conn: &Connection, keys: &[Key]) -> Result<(), StoreError> {
    let mut zones = Zones::default();
    for sql in [RANK_LOOKUPS, RANK_CLICKS] {
        let mut rank = conn.prepare_cached(sql)?;
        for key in keys {
            if let Some(zone) = zones.find(conn, &key.origin)? {
                rank.execute((zone, &*key.code, key.unit, key.start))?;
            }
        }
    }
    Ok(())
}

/// Looks at the next rows of the walk.
pub(super) fn look(conn: &Connection, after: &Spot, now: UnixTime) -> Result<Step, StoreError> {
    let mut step = Step::new(now);
    let mut see = conn.prepare_cached(SEE)?;
    let Spot {
        zone,
        code,
        unit,
        start,
    } = after;
    let mut rows = see.query((zone, code, unit, start, SEEN_AT_ONCE))?;
    while let Some(row) = rows.next()? {
        let spot = Spot {
            zone: row.get(0)?,
            code: row.get(1)?,
            unit: row.get(2)?,
            start: row.get(3)?,
        };
        if !step.see(spot, row.get(4)?, row.get(5)?) {
            break;
        }
    }
    Ok(step)
}

/// Does what a step of the walk has found.
pub(super) fn sweep(conn: &Connection, step: &Step, now: UnixTime) -> Result<(), StoreError> {
    let work = [
        (REMOVE, &step.old),
        (REMOVE_GONE, &step.gone),
        (RANK_LOOKUPS, &step.behind),
        (RANK_CLICKS, &step.behind),
    ];
    for (sql, spots) in work {
        let mut statement = conn.prepare_cached(sql)?;
        for spot in spots {
            statement.execute((spot.zone, &spot.code, spot.unit, spot.start))?;
        }
    }
    let before = integer(now.0.saturating_sub(NUMBERS_KEPT))?;
    conn.prepare_cached(OLD_NUMBERS)?.execute([before])?;
    Ok(())
}
