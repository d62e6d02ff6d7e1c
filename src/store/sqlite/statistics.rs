//! Statistics in the file; see [`crate::store::statistics`].
//!
//! A batch is one job of the writer, like each change of a link: its numbers and its sums are written together with the other
//! jobs of the transaction. It has a savepoint of its own, so that a batch that fails halfway adds nothing while the other jobs
//! go on. [`crate::store::sums`] says what a row is. The table `statistics` has no rowids, so that the rows of a link lie beside
//! each other, and a zone has a number, which takes one byte where its name would take twenty, in each row and each index.
//!
//! Triggers remove the sums of a link with the link, whoever deletes it.

mod upkeep;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::MAX_PAGE;
use super::queue::Calls;
use super::row::integer;
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};
use crate::store::statistics::{
    Added, Batch, Keeping, MAX_SUMS, Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit,
    Usage, UsagePage, UsagePlace,
};
use crate::store::sums::{
    Key, Record, additions, check_adopted, check_ranked, damaged, highest, hour_column_up, names,
    others_after, time_of, unit_column, usage,
};
use crate::store::upkeep::Upkeep;
use crate::store::{Adopted, StoreError, columns};

const KEEP: &str = "INSERT INTO meta (key, value) VALUES ('statistics_of_deleted', ?1) \
    ON CONFLICT (key) DO UPDATE SET value = ?1 WHERE value <> ?1";
const KEPT: &str = "SELECT value > 0 FROM meta WHERE key = 'statistics_of_deleted'";
const NUMBER: &str = "SELECT number FROM statistics_batch WHERE server = ?1";
const PUT_NUMBER: &str = "INSERT INTO statistics_batch (server, number, at) VALUES (?1, ?2, ?3) \
    ON CONFLICT (server) DO UPDATE SET number = ?2, at = ?3";
const ZONE: &str = "SELECT id FROM statistics_zone WHERE origin = ?1";
const MAKE_ZONE: &str = "INSERT INTO statistics_zone (origin) VALUES (?1)";
const ZONES: &str = "SELECT id, origin FROM statistics_zone WHERE origin >= ?1 ORDER BY origin";
const LINK: &str = "SELECT 1 FROM link WHERE origin = ?1 AND code = ?2";
const ROW: &str = "SELECT lookups, clicks, others FROM statistics \
    WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start = ?4";
/// Without `others`, those of the row stay.
const ADD: &str = "INSERT INTO statistics (zone, code, unit, start, lookups, clicks, others) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (zone, code, unit, start) DO UPDATE SET \
    lookups = lookups + ?5, clicks = clicks + ?6, others = coalesce(?7, others)";
const PUT: &str = "INSERT INTO statistics (zone, code, unit, start, lookups, clicks, others, lookups_ranked, clicks_ranked) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?5, ?6) ON CONFLICT (zone, code, unit, start) DO UPDATE SET \
    lookups = ?5, clicks = ?6, others = ?7, lookups_ranked = ?5, clicks_ranked = ?6";
const RANGE: &str = "SELECT start, lookups, clicks, others FROM statistics \
    WHERE zone = ?1 AND code = ?2 AND unit = ?3 AND start >= ?4 AND start < ?5 ORDER BY start";
const PAGE: &str = "SELECT code, unit, start, lookups, clicks, others FROM statistics \
    WHERE zone = ?1 AND (code, unit, start) > (?2, ?3, ?4) ORDER BY code, unit, start";

/// The links of a zone (?1) in one unit of time (?2, ?3) in the order of a column, each as its code and that column. The
/// conditions of the index are among those of the statement, so that SQLite uses it.
macro_rules! ranked {
    ($column:literal, $place:literal) => {
        concat!(
            "SELECT code, ",
            $column,
            " FROM statistics WHERE zone = ?1 AND unit = ?2 AND start = ?3 AND unit > 0 AND code <> '' AND ",
            $column,
            " > 0 AND ",
            $column,
            $place,
            " ORDER BY ",
            $column,
            " DESC, code LIMIT ?6"
        )
    };
}

/// First those that have as many as a link (?4, ?5), and then those that have fewer.
const BY_LOOKUPS: [&str; 2] = [
    ranked!("lookups_ranked", " = ?4 AND code > ?5"),
    ranked!("lookups_ranked", " < ?4 AND code > ?5"),
];
const BY_CLICKS: [&str; 2] = [
    ranked!("clicks_ranked", " = ?4 AND code > ?5"),
    ranked!("clicks_ranked", " < ?4 AND code > ?5"),
];

/// All statements of this module; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[
    KEEP,
    KEPT,
    NUMBER,
    PUT_NUMBER,
    ZONE,
    MAKE_ZONE,
    ZONES,
    LINK,
    ROW,
    ADD,
    PUT,
    RANGE,
    PAGE,
    upkeep::RANK_LOOKUPS,
    upkeep::RANK_CLICKS,
    upkeep::SEE,
    upkeep::REMOVE,
    upkeep::REMOVE_GONE,
    upkeep::OLD_NUMBERS,
    BY_LOOKUPS[0],
    BY_LOOKUPS[1],
    BY_CLICKS[0],
    BY_CLICKS[1],
];

/// The statistics of an open file.
#[derive(Debug)]
pub(super) struct Statistics {
    pub(super) calls: Arc<Calls>,
    pub(super) upkeep: Arc<Upkeep>,
}

#[async_trait]
impl StatisticsStore for Statistics {
    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError> {
        self.calls.write(move |conn| keep(conn, keeping)).await
    }

    async fn add(&self, batch: &Batch, now: UnixTime) -> Result<Added, StoreError> {
        let (batch, upkeep) = (batch.clone(), self.upkeep.clone());
        self.calls
            .write(move |conn| whole(conn, || add(conn, &batch, now, &upkeep)))
            .await
    }

    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        let name = name.clone();
        self.calls
            .read(move |conn| sums(conn, (name.origin(), name.code()), range))
            .await
    }

    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        let origin = origin.clone();
        self.calls
            .read(move |conn| sums(conn, (origin.as_str(), ""), range))
            .await
    }

    async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        (unit, start): (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError> {
        check_ranked(unit)?;
        let (origin, after) = (origin.clone(), after.cloned());
        let limit = limit.clamp(1, MAX_PAGE);
        self.calls
            .read(move |conn| ranking(conn, &origin, (by, unit, start), after.as_ref(), limit))
            .await
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        let names = names.to_vec();
        self.calls.read(move |conn| totals(conn, &names)).await
    }

    async fn rank(&self) -> Result<bool, StoreError> {
        let taken = self.upkeep.behind.take();
        let keys = taken.keys();
        if !keys.is_empty() {
            self.calls
                .write(move |conn| whole(conn, || upkeep::rank(conn, &keys)))
                .await?;
        }
        Ok(taken.done())
    }

    async fn sweep(&self, now: UnixTime) -> Result<bool, StoreError> {
        let after = self.upkeep.walk.place();
        let mut step = self
            .calls
            .read(move |conn| upkeep::look(conn, &after, now))
            .await?;
        let next = step.next.take();
        if step.has_work() || next.is_none() {
            self.calls
                .write(move |conn| whole(conn, || upkeep::sweep(conn, &step, now)))
                .await?;
        }
        Ok(self.upkeep.walk.goes_on(next))
    }

    async fn usages(
        &self,
        after: Option<&UsagePlace>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        let (after, limit) = (after.cloned(), limit.clamp(1, MAX_PAGE));
        self.calls
            .read(move |conn| usages(conn, after, limit))
            .await
    }

    async fn adopt(&self, usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
        check_adopted(usages)?;
        let usages = usages.to_vec();
        self.calls
            .write(move |conn| whole(conn, || adopt(conn, &usages)))
            .await
    }
}

/// Does all of the work within the transaction of the writer, or nothing of it.
fn whole<T>(
    conn: &Connection,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    conn.execute_batch("SAVEPOINT statistics")?;
    let done = work();
    let end = match &done {
        Ok(_) => "RELEASE statistics",
        Err(_) => "ROLLBACK TO statistics; RELEASE statistics",
    };
    // After some errors SQLite has rolled everything back already. The writer notices this, and has all jobs fail.
    if conn.is_autocommit() {
        return done;
    }
    if let Err(error) = conn.execute_batch(end) {
        if !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK")?;
        }
        return Err(error.into());
    }
    done
}

fn keep(conn: &Connection, keeping: Keeping) -> Result<(), StoreError> {
    conn.prepare_cached(KEEP)?.execute([keeping.deleted])?;
    Ok(())
}

fn keeps_deleted(conn: &Connection) -> Result<bool, StoreError> {
    let kept = conn.prepare_cached(KEPT)?.query_row([], |row| row.get(0));
    Ok(kept.optional()?.unwrap_or(false))
}

fn add(
    conn: &Connection,
    batch: &Batch,
    now: UnixTime,
    upkeep: &Upkeep,
) -> Result<Added, StoreError> {
    let (server, number) = (batch.server.as_str(), integer(batch.number)?);
    let last: Option<i64> = conn
        .prepare_cached(NUMBER)?
        .query_row([server], |row| row.get(0))
        .optional()?;
    if last.is_some_and(|last| last >= number) {
        return Ok(Added::Before);
    }
    conn.prepare_cached(PUT_NUMBER)?
        .execute((server, number, integer(now.0)?))?;
    let kept = kept(conn, names(batch)?)?;
    let mut zones = Zones::default();
    let (mut find, mut put) = (conn.prepare_cached(ROW)?, conn.prepare_cached(ADD)?);
    for (key, record) in &additions(batch, &kept) {
        let zone = zones.number(conn, &key.origin)?;
        let (lookups, clicks, mut others) = record.columns()?;
        if !record.others.is_empty() {
            let stored = stored(&mut find, zone, key)?;
            let stored = stored.and_then(|(_, _, others)| others);
            others = others_after(stored.as_deref(), &record.others, key).text();
        }
        let columns = (
            zone, &*key.code, key.unit, key.start, lookups, clicks, others,
        );
        put.execute(columns)?;
    }
    upkeep.behind.note(batch, &kept);
    Ok(Added::Now)
}

/// Those of the links that have rows of their own. A link that has sums exists, or its sums are kept; the row of its sums is
/// written in any case, unlike that of the link.
fn kept(conn: &Connection, names: Vec<LinkName>) -> Result<HashSet<LinkName>, StoreError> {
    let (mut live, mut find) = (conn.prepare_cached(LINK)?, conn.prepare_cached(ROW)?);
    let mut zones = Zones::default();
    let mut kept = HashSet::with_capacity(names.len());
    for name in names {
        let key = Key::new(name.origin(), name.code(), Unit::Total, UnixTime(0));
        let has_sums = match zones.find(conn, name.origin())? {
            Some(zone) => stored(&mut find, zone, &key)?.is_some(),
            None => false,
        };
        if has_sums || live.exists((name.origin(), name.code()))? {
            kept.insert(name);
        }
    }
    Ok(kept)
}

/// The numbers of zones, each of which is read once.
#[derive(Default)]
struct Zones(BTreeMap<Box<str>, i64>);

impl Zones {
    fn find(&mut self, conn: &Connection, origin: &str) -> Result<Option<i64>, StoreError> {
        if let Some(zone) = self.0.get(origin) {
            return Ok(Some(*zone));
        }
        let zone = zone(conn, origin)?;
        if let Some(zone) = zone {
            self.0.insert(origin.into(), zone);
        }
        Ok(zone)
    }

    /// The number of a zone, which gets one if it has none.
    fn number(&mut self, conn: &Connection, origin: &str) -> Result<i64, StoreError> {
        if let Some(zone) = self.find(conn, origin)? {
            return Ok(zone);
        }
        conn.prepare_cached(MAKE_ZONE)?.execute([origin])?;
        let zone = conn.last_insert_rowid();
        self.0.insert(origin.into(), zone);
        Ok(zone)
    }
}

fn zone(conn: &Connection, origin: &str) -> Result<Option<i64>, StoreError> {
    let mut statement = conn.prepare_cached(ZONE)?;
    let zone = statement.query_row([origin], |row| row.get(0)).optional()?;
    Ok(zone)
}

type Columns = (i64, i64, Option<String>);

/// The columns of a row.
fn stored(
    find: &mut CachedStatement<'_>,
    zone: i64,
    key: &Key,
) -> Result<Option<Columns>, StoreError> {
    let found = find.query_row((zone, &*key.code, key.unit, key.start), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    Ok(found.optional()?)
}

/// The record in three columns of a row; the error says what is wrong with one of them.
fn record(row: &Row<'_>, at: usize) -> Result<Record, String> {
    let column = |error: rusqlite::Error| error.to_string();
    let others = row.get_ref(at + 2).map_err(column)?;
    let others = others.as_str_or_null().map_err(|e| e.to_string())?;
    Record::parse(
        row.get(at).map_err(column)?,
        row.get(at + 1).map_err(column)?,
        others,
    )
}

fn sums(
    conn: &Connection,
    (origin, code): (&str, &str),
    range: Range,
) -> Result<Vec<Sum>, StoreError> {
    let mut sums = Vec::new();
    let Some(zone) = zone(conn, origin)? else {
        return Ok(sums);
    };
    let unit = unit_column(range.unit);
    let (from, to) = (hour_column_up(range.from), hour_column_up(range.to));
    let mut statement = conn.prepare_cached(RANGE)?;
    let mut rows = statement.query((zone, code, unit, from, to))?;
    while let Some(row) = rows.next()?
        && sums.len() < MAX_SUMS
    {
        let key = Key {
            origin: origin.into(),
            code: code.into(),
            unit,
            start: row.get(0)?,
        };
        let start = time_of(key.start).ok_or_else(|| "start is negative".to_owned());
        match start.and_then(|start| Ok((start, record(row, 1)?))) {
            Ok((start, record)) => record.push_to(start, &mut sums),
            Err(reason) => return Err(damaged(&key, reason)),
        }
    }
    sums.truncate(MAX_SUMS);
    Ok(sums)
}

fn ranking(
    conn: &Connection,
    origin: &Origin,
    (by, unit, start): (Ranking, Unit, UnixTime),
    after: Option<&Ranked>,
    limit: usize,
) -> Result<Vec<Ranked>, StoreError> {
    let mut ranked = Vec::new();
    let Some(zone) = zone(conn, origin.as_str())? else {
        return Ok(ranked);
    };
    let [same, fewer] = match by {
        Ranking::Clicks => BY_CLICKS,
        Ranking::Lookups => BY_LOOKUPS,
    };
    let key = Key::new(origin.as_str(), "", unit, start);
    let (count, code) = match after {
        Some(after) => (integer(after.count)?, after.name.code()),
        None => (i64::MAX, ""),
    };
    for (sql, code) in [(same, code), (fewer, "")] {
        let limit = integer((limit - ranked.len()) as u64)?;
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query((zone, key.unit, key.start, count, code, limit))?;
        while let Some(row) = rows.next()? {
            let (code, count): (String, i64) = (row.get(0)?, row.get(1)?);
            match columns::name(origin.as_str(), &code) {
                Ok(name) => ranked.push(Ranked {
                    name,
                    count: count.unsigned_abs(),
                }),
                Err(reason) => {
                    tracing::warn!(code, %reason, "statistics of a link with a bad name");
                }
            }
        }
    }
    Ok(ranked)
}

fn totals(conn: &Connection, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
    let mut zones = Zones::default();
    let mut find = conn.prepare_cached(ROW)?;
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let key = Key::new(name.origin(), name.code(), Unit::Total, UnixTime(0));
        let found = match zones.find(conn, name.origin())? {
            Some(zone) => stored(&mut find, zone, &key)?,
            None => None,
        };
        let (lookups, clicks, _) = found.unwrap_or_default();
        let record = Record::parse(lookups, clicks, None);
        all.push(record.map_err(|reason| damaged(&key, reason))?.totals());
    }
    Ok(all)
}

fn usages(conn: &Connection, after: Option<Key>, limit: usize) -> Result<UsagePage, StoreError> {
    let mut page = UsagePage::default();
    let mut last = after.unwrap_or_else(|| Key::before_all(""));
    let mut room = limit;
    let (mut zones, mut statement) = (conn.prepare_cached(ZONES)?, conn.prepare_cached(PAGE)?);
    let mut zones = zones.query([&*last.origin])?;
    while let Some(zone) = zones.next()? {
        let (zone, origin): (i64, String) = (zone.get(0)?, zone.get(1)?);
        if *last.origin != *origin {
            last = Key::before_all(&origin);
        }
        let mut rows = statement.query((zone, &*last.code, last.unit, last.start))?;
        while let Some(row) = rows.next()? {
            if room == 0 {
                page.next = Some(last);
                return Ok(page);
            }
            room -= 1;
            last = Key {
                origin: last.origin,
                code: row.get::<_, String>(0)?.into(),
                unit: row.get(1)?,
                start: row.get(2)?,
            };
            match usage(&last, record(row, 3)) {
                Ok(usage) => page.usages.push(usage),
                Err(fault) => page.faults.push(fault),
            }
        }
    }
    Ok(page)
}

fn adopt(conn: &Connection, usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
    let keeps_deleted = keeps_deleted(conn)?;
    let mut zones = Zones::default();
    let (mut live, mut find) = (conn.prepare_cached(LINK)?, conn.prepare_cached(ROW)?);
    let mut put = conn.prepare_cached(PUT)?;
    let mut adopted = Vec::with_capacity(usages.len());
    for usage in usages {
        let key = Key::of(usage);
        let is_of_zone = key.code.is_empty();
        if !is_of_zone && !keeps_deleted && !live.exists((&*key.origin, &*key.code))? {
            adopted.push(Adopted::Newer);
            continue;
        }
        let zone = zones.number(conn, &key.origin)?;
        let stored = stored(&mut find, zone, &key)?;
        let stored = stored.and_then(|(lookups, clicks, others)| {
            Record::parse(lookups, clicks, others.as_deref()).ok()
        });
        let highest = highest(stored.as_ref(), &usage.sums);
        if stored.as_ref() == Some(&highest) {
            adopted.push(Adopted::Same);
            continue;
        }
        let (lookups, clicks, others) = highest.columns()?;
        put.execute((
            zone, &*key.code, key.unit, key.start, lookups, clicks, others,
        ))?;
        adopted.push(Adopted::Written);
    }
    Ok(adopted)
}
