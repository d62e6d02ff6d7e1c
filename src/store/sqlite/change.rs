//! Changes of the tables: making, changing and deleting a link, and the sweep of links that have ended.

use rusqlite::{Connection, TransactionBehavior};

use super::audit::Log;
use super::reader;
use super::row::{PUT, integer, put};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Version};
use crate::store::audit::{Actor, Event};
use crate::store::{
    Adopted, Change, Changed, Created, Deleted, NewLink, StoreError, is_guarded, seconds,
};

/// How long a link is kept after its end, in seconds: seven days. During that time the redirect host can reply
/// "gone" instead of "not found", and a clock that is fast deletes nothing.
const EXPIRED_RETENTION: u64 = 7 * 24 * 60 * 60;
/// How many links one sweep removes: about the work of one batch of writes. That is 720,000 a day.
const SWEEP_ROWS: i64 = 500;

const DELETE: &str = "DELETE FROM link WHERE origin = ?1 AND code = ?2";
const FLOOR: &str = "SELECT value FROM meta WHERE key = 'version_floor'";
const RAISE_FLOOR: &str = "UPDATE meta SET value = ?1 WHERE key = 'version_floor' AND value < ?1";
/// The order of the index, so SQLite need not sort.
const SWEEP: &str = "DELETE FROM link WHERE (origin, code) IN \
    (SELECT origin, code FROM link WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
    RETURNING version";

/// All statements of the writer; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[PUT, DELETE, FLOOR, RAISE_FLOOR, SWEEP, PROBE];

/// A write without effect on links.
const PROBE: &str = "INSERT INTO meta (key, value) VALUES ('probe', 1) \
    ON CONFLICT (key) DO UPDATE SET value = (value + 1) % 1000000000";

/// Tries whether writes work.
pub(super) fn probe(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.prepare_cached(PROBE)?.execute([])?;
    tx.commit()
}

/// See [`crate::store::Store::create`].
pub(super) fn create(
    conn: &Connection,
    log: Log,
    new: NewLink,
    now: u64,
) -> Result<Created, StoreError> {
    let last = match reader::get(conn, &new.name)? {
        Some(link) if link.is_expired(seconds(now)) => link.version,
        Some(link) if link.leads_to(&new.target, new.destinations.as_deref()) => {
            return Ok(Created::Same(link));
        }
        Some(link) => return Ok(Created::Taken(link)),
        None => floor(conn)?,
    };
    let link = Link {
        name: new.name,
        target: new.target,
        destinations: new.destinations,
        created_at: seconds(now),
        created_by: new.created_by.name.clone(),
        expires_at: new.expires_at,
        ttl: new.ttl,
        about: new.about,
        withheld: new.withheld,
        version: Version::next(Some(last), now),
    };
    put(conn, &link)?;
    log.note(conn, || {
        Event::of_link(&link.name, None, Some(&link), &new.created_by, now)
    })?;
    Ok(Created::New(link))
}

/// See [`crate::store::Store::change`].
pub(super) fn change(
    conn: &Connection,
    log: Log,
    name: &LinkName,
    (expected, change): (Option<Version>, Change),
    (by, now): (&Actor, u64),
) -> Result<Changed, StoreError> {
    let Some(before) = live(conn, name, now)? else {
        return Ok(Changed::Absent);
    };
    if expected.is_some_and(|version| version != before.version) {
        return Ok(Changed::Conflict(before));
    }
    if is_guarded(&before, by) {
        return Ok(Changed::Withheld(before));
    }
    let mut link = change.made(before.clone());
    link.version = Version::next(Some(link.version), now);
    put(conn, &link)?;
    log.note(conn, || {
        Event::of_link(name, Some(&before), Some(&link), by, now)
    })?;
    Ok(Changed::Changed(link))
}

/// See [`crate::store::Store::delete`].
pub(super) fn delete(
    conn: &Connection,
    log: Log,
    name: &LinkName,
    expected: Option<Version>,
    (by, now): (&Actor, u64),
) -> Result<Deleted, StoreError> {
    let Some(link) = live(conn, name, now)? else {
        return Ok(Deleted::Absent);
    };
    if expected.is_some_and(|version| version != link.version) {
        return Ok(Deleted::Conflict(link));
    }
    if is_guarded(&link, by) {
        return Ok(Deleted::Withheld(link));
    }
    let gone = Version::next(Some(link.version), now);
    // The floor first: if the second statement fails, a floor that is too high does no harm.
    raise_floor(conn, integer(gone.0)?)?;
    conn.prepare_cached(DELETE)?
        .execute((name.origin(), name.code()))?;
    log.note(conn, || Event::of_link(name, Some(&link), None, by, now))?;
    Ok(Deleted::Deleted(gone))
}

/// See [`crate::store::Store::adopt`].
pub(super) fn adopt(conn: &Connection, link: &Link) -> Result<Adopted, StoreError> {
    match reader::get(conn, &link.name)? {
        Some(found) if found == *link => return Ok(Adopted::Same),
        Some(found) if found.version >= link.version => return Ok(Adopted::Newer),
        Some(_) => {}
        // The floor does not say which names were deleted, so it may have been this one.
        None => {
            let floor = floor(conn)?;
            if floor > Version(0) && link.version <= floor {
                return Ok(Adopted::Newer);
            }
        }
    }
    put(conn, link)?;
    Ok(Adopted::Written)
}

/// Removes some of the links that ended more than [`EXPIRED_RETENTION`] ago; returns their number.
pub(super) fn sweep(conn: &mut Connection, now: UnixTime) -> Result<usize, StoreError> {
    let Some(before) = now.0.checked_sub(EXPIRED_RETENTION) else {
        return Ok(0);
    };
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let versions: Vec<i64> = tx
        .prepare_cached(SWEEP)?
        .query_map((integer(before)?, SWEEP_ROWS), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if let Some(highest) = versions.iter().max() {
        raise_floor(&tx, *highest)?;
    }
    tx.commit()?;
    Ok(versions.len())
}

/// The link of that name, unless it has ended.
fn live(conn: &Connection, name: &LinkName, now: u64) -> Result<Option<Link>, StoreError> {
    let found = reader::get(conn, name)?;
    Ok(found.filter(|link| !link.is_expired(seconds(now))))
}

/// The version floor: a name without a row gets a version above it.
fn floor(conn: &Connection) -> Result<Version, StoreError> {
    let value: i64 = conn
        .prepare_cached(FLOOR)?
        .query_row([], |row| row.get(0))?;
    Ok(Version(u64::try_from(value).unwrap_or(0)))
}

fn raise_floor(conn: &Connection, version: i64) -> Result<(), StoreError> {
    conn.prepare_cached(RAISE_FLOOR)?.execute([version])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::testing::{LOG, conn, made, name, new};

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_sweep_removes_only_links_that_ended_long_ago_and_keeps_their_versions() {
        let mut conn = conn();
        let end = 1_000;
        let old = made(create(&conn, LOG, new("old", "", Some(end)), 2_000 * SECOND).unwrap());
        create(&conn, LOG, new("late", "", Some(end + 1)), 0).unwrap();
        create(&conn, LOG, new("ever", "", None), 0).unwrap();

        let check = |conn: &mut Connection, now: u64, swept: usize| {
            assert_eq!(sweep(conn, UnixTime(now)).unwrap(), swept, "at {now}");
        };
        check(&mut conn, end, 0);
        check(&mut conn, end + EXPIRED_RETENTION - 1, 0);
        check(&mut conn, end + EXPIRED_RETENTION, 1);
        check(&mut conn, end + EXPIRED_RETENTION, 0);
        assert_eq!(reader::get(&conn, &name("old")).unwrap(), None);
        assert!(reader::get(&conn, &name("late")).unwrap().is_some());
        check(&mut conn, UnixTime::MAX.0, 1);
        assert!(reader::get(&conn, &name("ever")).unwrap().is_some());

        let again = made(create(&conn, LOG, new("old", "", None), 0).unwrap());
        assert!(again.version > old.version);
    }

    #[test]
    fn one_sweep_is_bounded() {
        let mut conn = conn();
        for i in 0..SWEEP_ROWS + 7 {
            create(&conn, LOG, new(&format!("c{i}"), "", Some(1)), 0).unwrap();
        }
        let swept = [(); 3].map(|()| sweep(&mut conn, UnixTime::MAX).unwrap());
        assert_eq!(swept, [SWEEP_ROWS as usize, 7, 0]);
    }

    #[test]
    fn sweeping_uses_the_index() {
        let conn = conn();
        let plan: Vec<String> = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {SWEEP}"))
            .unwrap()
            .query_map((0, 1), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("INDEX link_expiry (expires_at<?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        assert!(!plan.contains("SCAN link"), "{plan}");
    }
}
