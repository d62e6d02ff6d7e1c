//! Statistics; see [`crate::store::statistics`].
//!
//! Whatever adds or removes sums takes one advisory lock, so that the servers do so one after the other: all batches add to the
//! rows of the zones in any case, and each takes some milliseconds every few seconds. A batch also locks the rows of all-time
//! sums, or those of the links that have none, so that no link is deleted between the look at it and the commit of its sums.
//! [`crate::store::sums`] says what a row is.
//!
//! No index has a column that a batch changes, and the pages of the table have some room. So PostgreSQL writes the new state of a
//! row beside the former one, and does not touch the indexes (a "heap-only tuple").
//!
//! Triggers remove the sums of a link with the link, whoever deletes it.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::MAX_PAGE;
use super::calls::Inner;
use super::connect::Connection;
use super::failure::Fault;
use super::read::as_limit;
use super::reads::Kind;
use super::replica::Need;
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};
use crate::store::columns::integer;
use crate::store::statistics::{
    Added, Batch, Keeping, MAX_SUMS, Range, Ranked, Ranking, StatisticsStore, Sum, Totals, Unit,
    Usage, UsagePage, UsagePlace,
};
use crate::store::sums::{
    Key, Record, additions, check_adopted, check_ranked, damaged, highest, hour_column_up, names,
    others_after, time_of, unit_column, usage,
};
use crate::store::upkeep::{Spot, Upkeep};
use crate::store::{Adopted, StoreError, columns};

const LOCK: &str = "SELECT pg_advisory_xact_lock(7309464, 3)";
const KEEP: &str = "UPDATE store SET statistics_of_deleted = $1 WHERE statistics_of_deleted <> $1";
const NUMBER: &str = "INSERT INTO statistics_batch AS b (server, number, at) VALUES ($1, $2, $3) \
    ON CONFLICT (server) DO UPDATE SET number = excluded.number, at = excluded.at WHERE b.number < excluded.number";
const ZONES: &str = "SELECT origin, id FROM statistics_zone WHERE origin = ANY($1::text[])";
const MAKE_ZONES: &str = "INSERT INTO statistics_zone (origin) SELECT unnest($1::text[]) \
    ON CONFLICT (origin) DO NOTHING";
const ZONES_FROM: &str =
    "SELECT origin, id FROM statistics_zone WHERE origin >= $1 ORDER BY origin";
/// Links that exist. The lock waits for changes of them that are under way.
const LIVE: &str = "SELECT l.origin, l.code FROM unnest($1::text[], $2::text[]) AS n (origin, code) \
    JOIN link l ON l.origin = n.origin AND l.code = n.code ORDER BY l.origin, l.code FOR SHARE OF l";
/// Links that exist and have no sums yet. A deletion locks links before it locks sums, so this comes before [`COUNTED`]: in another
/// order the two could wait for each other.
const UNCOUNTED: &str = "SELECT l.origin, l.code FROM unnest($1::text[], $2::text[]) AS n (origin, code) \
    JOIN link l ON l.origin = n.origin AND l.code = n.code \
    WHERE (SELECT s.code FROM statistics s WHERE s.code = n.code AND s.unit = 3 AND s.start = 0 \
    AND s.zone = (SELECT id FROM statistics_zone z WHERE z.origin = n.origin)) IS NULL \
    ORDER BY l.origin, l.code FOR SHARE OF l";
/// Links that have sums: they exist, or their sums are kept. The lock is the one that the batch needs in any case, and the
/// triggers that remove sums wait for it. It also keeps PostgreSQL from planning a walk over all sums while the table is new.
const COUNTED: &str = "SELECT n.origin, n.code FROM unnest($1::text[], $2::text[]) AS n (origin, code) \
    CROSS JOIN LATERAL (SELECT FROM statistics s WHERE s.code = n.code AND s.unit = 3 AND s.start = 0 \
    AND s.zone = (SELECT id FROM statistics_zone z WHERE z.origin = n.origin) FOR NO KEY UPDATE OF s) AS counted";
const KEEPS_DELETED: &str = "SELECT statistics_of_deleted FROM store";
/// Rows by their keys, each with the place of its key in the arrays, from 1 on.
const ROWS: &str = "SELECT n.number, s.lookups, s.clicks, s.others \
    FROM unnest($1::int[], $2::text[], $3::smallint[], $4::int[]) WITH ORDINALITY AS n (zone, code, unit, start, number) \
    JOIN statistics s ON s.zone = n.zone AND s.code = n.code AND s.unit = n.unit AND s.start = n.start";
/// Without `others`, those of the row stay.
const ADD: &str = "INSERT INTO statistics AS s (zone, code, unit, start, lookups, clicks, others) \
    SELECT * FROM unnest($1::int[], $2::text[], $3::smallint[], $4::int[], $5::bigint[], $6::bigint[], $7::text[]) \
    ON CONFLICT (zone, code, unit, start) DO UPDATE SET lookups = s.lookups + excluded.lookups, \
    clicks = s.clicks + excluded.clicks, others = coalesce(excluded.others, s.others)";
const PUT: &str = "INSERT INTO statistics AS s (zone, code, unit, start, lookups, clicks, others, lookups_ranked, clicks_ranked) \
    SELECT *, lookups, clicks FROM unnest($1::int[], $2::text[], $3::smallint[], $4::int[], $5::bigint[], $6::bigint[], $7::text[]) \
    AS n (zone, code, unit, start, lookups, clicks, others) \
    ON CONFLICT (zone, code, unit, start) DO UPDATE SET lookups = excluded.lookups, clicks = excluded.clicks, \
    others = excluded.others, lookups_ranked = excluded.lookups, clicks_ranked = excluded.clicks";
const RANGE: &str = "SELECT lookups, clicks, others, start FROM statistics \
    WHERE zone = (SELECT id FROM statistics_zone WHERE origin = $1) AND code = $2 AND unit = $3 \
    AND start >= $4 AND start < $5 ORDER BY start";
const TOTALS: &str = "SELECT z.origin, s.code, s.lookups, s.clicks \
    FROM unnest($1::text[], $2::text[]) AS n (origin, code) JOIN statistics_zone z ON z.origin = n.origin \
    JOIN statistics s ON s.zone = z.id AND s.code = n.code AND s.unit = 3 AND s.start = 0";
const PAGE: &str = "SELECT lookups, clicks, others, code, unit, start FROM statistics \
    WHERE zone = $1 AND (code, unit, start) > ($2, $3, $4) ORDER BY code, unit, start LIMIT $5";

/// The links of a zone ($1) in one unit of time ($2, $3) in the order of a column, each as its code and that column. The
/// conditions of the index are among those of the statement, so that PostgreSQL uses it.
macro_rules! ranked {
    ($column:literal, $place:literal) => {
        concat!(
            "SELECT code, ",
            $column,
            " FROM statistics WHERE zone = (SELECT id FROM statistics_zone WHERE origin = $1) \
             AND unit = $2 AND start = $3 AND unit > 0 AND code <> '' AND ",
            $column,
            " > 0 AND ",
            $column,
            $place,
            " ORDER BY ",
            $column,
            " DESC, code LIMIT $6"
        )
    };
}

/// First those that have as many as a link ($4, $5), and then those that have fewer.
const BY_LOOKUPS: [&str; 2] = [
    ranked!("lookups_ranked", " = $4 AND code > $5"),
    ranked!("lookups_ranked", " < $4 AND code > $5"),
];
const BY_CLICKS: [&str; 2] = [
    ranked!("clicks_ranked", " = $4 AND code > $5"),
    ranked!("clicks_ranked", " < $4 AND code > $5"),
];

/// The statistics of an open database.
pub(super) struct Statistics {
    pub(super) inner: Arc<Inner>,
    pub(super) upkeep: Arc<Upkeep>,
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StatisticsStore for Statistics {
    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError> {
        let work = |connection: Arc<Connection>| async move {
            let statement = connection.prepare(KEEP).await?;
            connection
                .client
                .execute(&statement, &[&keeping.deleted])
                .await?;
            Ok(())
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn add(&self, batch: &Batch, now: UnixTime) -> Result<Added, StoreError> {
        let names = &names(batch)?;
        let work = |connection: Arc<Connection>| async move {
            let upkeep = &self.upkeep;
            locked(&connection, add(&connection, batch, names, now, upkeep)).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }

    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            sums(&connection, (name.origin(), name.code()), range).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
    }

    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError> {
        let work = |connection: Arc<Connection>| async move {
            sums(&connection, (origin.as_str(), ""), range).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
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
        let limit = limit.clamp(1, MAX_PAGE);
        let work = |connection: Arc<Connection>| async move {
            ranking(&connection, origin, (by, unit, start), after, limit).await
        };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
    }

    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError> {
        let work = |connection: Arc<Connection>| async move { totals(&connection, names).await };
        Box::pin(self.inner.read(Kind::Pages, Need::List, work)).await
    }

    async fn rank(&self) -> Result<bool, StoreError> {
        let taken = self.upkeep.behind.take();
        let keys = &taken.keys();
        if !keys.is_empty() {
            let work = |connection: Arc<Connection>| async move {
                locked(&connection, upkeep::rank(&connection, keys)).await
            };
            Box::pin(self.inner.call(&self.inner.pages, work)).await?;
        }
        Ok(taken.done())
    }

    async fn sweep(&self, now: UnixTime) -> Result<bool, StoreError> {
        let after = &self.upkeep.walk.place();
        let work = |connection: Arc<Connection>| async move {
            let step = upkeep::look(&connection, after, now).await?;
            if step.has_work() || step.next.is_none() {
                locked(&connection, upkeep::sweep(&connection, &step, now)).await?;
            }
            Ok(step.next)
        };
        let next = Box::pin(self.inner.call(&self.inner.pages, work)).await?;
        Ok(self.upkeep.walk.goes_on(next))
    }

    async fn usages(
        &self,
        after: Option<&UsagePlace>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let work =
            |connection: Arc<Connection>| async move { usages(&connection, after, limit).await };
        Box::pin(self.inner.call(&self.inner.pages, work)).await
    }

    async fn adopt(&self, usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
        check_adopted(usages)?;
        let work = |connection: Arc<Connection>| async move {
            locked(&connection, adopt(&connection, usages)).await
        };
        Box::pin(self.inner.call(&self.inner.writes, work)).await
    }
}

/// Does all of the work in one transaction, when no other server adds or removes sums, or nothing of it.
async fn locked<T>(
    connection: &Connection,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let client = &connection.client;
    client.batch_execute("BEGIN").await?;
    let work = async {
        client.batch_execute(LOCK).await?;
        work.await
    };
    match work.await {
        Ok(done) => {
            client.batch_execute("COMMIT").await?;
            Ok(done)
        }
        Err(fault) => {
            // Without this, the next call on the connection would fail. If it fails, the connection is not used again.
            client.batch_execute("ROLLBACK").await?;
            Err(fault)
        }
    }
}

/// Rows column by column.
#[derive(Default)]
struct Columns<'a> {
    zone: Vec<i32>,
    code: Vec<&'a str>,
    unit: Vec<i16>,
    start: Vec<i32>,
    lookups: Vec<i64>,
    clicks: Vec<i64>,
    others: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push_key(&mut self, zones: &HashMap<String, i32>, key: &'a Key) -> Result<(), StoreError> {
        let missing = || StoreError::Unavailable(format!("{} has no number", key.origin));
        self.zone
            .push(*zones.get(&*key.origin).ok_or_else(missing)?);
        self.code.push(&key.code);
        self.unit.push(key.unit);
        self.start.push(key.start);
        Ok(())
    }

    fn push_spot(&mut self, spot: &'a Spot) {
        self.zone.push(spot.zone);
        self.code.push(&spot.code);
        self.unit.push(spot.unit);
        self.start.push(spot.start);
    }

    fn push(&mut self, (lookups, clicks, others): (i64, i64, Option<String>)) {
        self.lookups.push(lookups);
        self.clicks.push(clicks);
        self.others.push(others);
    }

    fn key_parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.zone, &self.code, &self.unit, &self.start]
    }

    async fn write(&self, connection: &Connection, sql: &'static str) -> Result<(), Fault> {
        let mut parameters = self.key_parameters().to_vec();
        parameters.extend([&self.lookups as &(dyn ToSql + Sync), &self.clicks]);
        parameters.push(&self.others);
        let statement = connection.prepare(sql).await?;
        connection.client.execute(&statement, &parameters).await?;
        Ok(())
    }
}

async fn add(
    connection: &Connection,
    batch: &Batch,
    names: &[LinkName],
    now: UnixTime,
    upkeep: &Upkeep,
) -> Result<Added, Fault> {
    let (number, at) = (integer(batch.number)?, integer(now.0)?);
    let statement = connection.prepare(NUMBER).await?;
    let terms: [&(dyn ToSql + Sync); 3] = [&batch.server.as_str(), &number, &at];
    if connection.client.execute(&statement, &terms).await? == 0 {
        return Ok(Added::Before);
    }
    let mut kept = found(connection, UNCOUNTED, names).await?;
    let others = names.iter().filter(|name| !kept.contains(name));
    let others: Vec<LinkName> = others.cloned().collect();
    if !others.is_empty() {
        kept.extend(found(connection, COUNTED, &others).await?);
    }
    let additions = additions(batch, &kept);
    let zones = zones(connection, additions.keys()).await?;
    let with_others = additions.iter();
    let with_others = with_others.filter(|(_, record)| !record.others.is_empty());
    let with_others: Vec<&Key> = with_others.map(|(key, _)| key).collect();
    let stored = stored(connection, &zones, &with_others).await?;
    let mut rows = Columns::default();
    for (key, record) in &additions {
        rows.push_key(&zones, key)?;
        let (lookups, clicks, mut others) = record.columns()?;
        if !record.others.is_empty() {
            let stored = stored.get(key).and_then(|(_, _, others)| others.as_deref());
            others = others_after(stored, &record.others, key).text();
        }
        rows.push((lookups, clicks, others));
    }
    rows.write(connection, ADD).await?;
    upkeep.behind.note(batch, &kept);
    Ok(Added::Now)
}

/// Those of the names that a statement finds.
async fn found(
    connection: &Connection,
    sql: &'static str,
    names: &[LinkName],
) -> Result<HashSet<LinkName>, Fault> {
    let rows = by_name(connection, sql, names).await?;
    let mut found = HashSet::with_capacity(rows.len());
    for row in &rows {
        found.extend(columns::name(row.try_get(0)?, row.try_get(1)?).ok());
    }
    Ok(found)
}

async fn by_name(
    connection: &Connection,
    sql: &'static str,
    names: &[LinkName],
) -> Result<Vec<Row>, Fault> {
    let origins: Vec<&str> = names.iter().map(LinkName::origin).collect();
    let codes: Vec<&str> = names.iter().map(LinkName::code).collect();
    let statement = connection.prepare(sql).await?;
    let rows = connection
        .client
        .query(&statement, &[&origins, &codes])
        .await?;
    Ok(rows)
}

/// The numbers of the zones of these keys. A zone without one gets one.
async fn zones<'a>(
    connection: &Connection,
    keys: impl Iterator<Item = &'a Key>,
) -> Result<HashMap<String, i32>, Fault> {
    let origins: BTreeSet<&str> = keys.map(|key| &*key.origin).collect();
    let origins: Vec<&str> = origins.into_iter().collect();
    let find = connection.prepare(ZONES).await?;
    let mut rows = connection.client.query(&find, &[&origins]).await?;
    if rows.len() < origins.len() {
        let make = connection.prepare(MAKE_ZONES).await?;
        connection.client.execute(&make, &[&origins]).await?;
        rows = connection.client.query(&find, &[&origins]).await?;
    }
    let mut zones = HashMap::with_capacity(rows.len());
    for row in &rows {
        zones.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(zones)
}

/// The columns of the rows that exist.
async fn stored<'a>(
    connection: &Connection,
    zones: &HashMap<String, i32>,
    keys: &[&'a Key],
) -> Result<HashMap<&'a Key, (i64, i64, Option<String>)>, Fault> {
    let mut stored = HashMap::new();
    if keys.is_empty() {
        return Ok(stored);
    }
    let mut wanted = Columns::default();
    for key in keys {
        wanted.push_key(zones, key)?;
    }
    let statement = connection.prepare(ROWS).await?;
    let parameters = wanted.key_parameters();
    let rows = connection.client.query(&statement, &parameters).await?;
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        let key = usize::try_from(number - 1).ok().and_then(|i| keys.get(i));
        if let Some(key) = key {
            stored.insert(*key, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(stored)
}

/// The record in the first three columns of a row; the inner error says what is wrong with one of them.
fn record(row: &Row) -> Result<Result<Record, String>, Fault> {
    let (lookups, clicks): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Record::parse(lookups, clicks, row.try_get(2)?))
}

async fn sums(
    connection: &Connection,
    (origin, code): (&str, &str),
    range: Range,
) -> Result<Vec<Sum>, Fault> {
    let unit = unit_column(range.unit);
    let (from, to) = (hour_column_up(range.from), hour_column_up(range.to));
    let statement = connection.prepare(RANGE).await?;
    let terms: [&(dyn ToSql + Sync); 5] = [&origin, &code, &unit, &from, &to];
    let rows = connection.client.query(&statement, &terms).await?;
    let mut sums = Vec::new();
    for row in &rows {
        let key = Key {
            origin: origin.into(),
            code: code.into(),
            unit,
            start: row.try_get(3)?,
        };
        let record = record(row)?;
        let start = time_of(key.start).ok_or_else(|| "start is negative".to_owned());
        match start.and_then(|start| Ok((start, record?))) {
            Ok((start, record)) => record.push_to(start, &mut sums),
            Err(reason) => return Err(damaged(&key, reason).into()),
        }
        if sums.len() >= MAX_SUMS {
            break;
        }
    }
    sums.truncate(MAX_SUMS);
    Ok(sums)
}

async fn ranking(
    connection: &Connection,
    origin: &Origin,
    (by, unit, start): (Ranking, Unit, UnixTime),
    after: Option<&Ranked>,
    limit: usize,
) -> Result<Vec<Ranked>, Fault> {
    let [same, fewer] = match by {
        Ranking::Clicks => BY_CLICKS,
        Ranking::Lookups => BY_LOOKUPS,
    };
    let key = Key::new(origin.as_str(), "", unit, start);
    let (count, code) = match after {
        Some(after) => (integer(after.count)?, after.name.code()),
        None => (i64::MAX, ""),
    };
    let mut ranked = Vec::new();
    for (sql, code) in [(same, code), (fewer, "")] {
        let limit = as_limit(limit - ranked.len());
        let statement = connection.prepare(sql).await?;
        let terms: [&(dyn ToSql + Sync); 6] = [
            &origin.as_str(),
            &key.unit,
            &key.start,
            &count,
            &code,
            &limit,
        ];
        for row in connection.client.query(&statement, &terms).await? {
            let (code, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            match columns::name(origin.as_str(), code) {
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

async fn totals(connection: &Connection, names: &[LinkName]) -> Result<Vec<Totals>, Fault> {
    let mut found = HashMap::new();
    for row in by_name(connection, TOTALS, names).await? {
        let name = columns::name(row.try_get(0)?, row.try_get(1)?);
        let (lookups, clicks): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        if let (Ok(name), Ok(record)) = (name, Record::parse(lookups, clicks, None)) {
            found.insert(name, record.totals());
        }
    }
    let totals = names.iter().map(|name| found.get(name).copied());
    Ok(totals.map(Option::unwrap_or_default).collect())
}

async fn usages(
    connection: &Connection,
    after: Option<&Key>,
    limit: usize,
) -> Result<UsagePage, Fault> {
    let mut page = UsagePage::default();
    let mut last = after.cloned().unwrap_or_else(|| Key::before_all(""));
    let zones = connection.prepare(ZONES_FROM).await?;
    let zones = connection.client.query(&zones, &[&&*last.origin]).await?;
    let statement = connection.prepare(PAGE).await?;
    let mut room = limit;
    for zone in &zones {
        let (origin, zone): (&str, i32) = (zone.try_get(0)?, zone.try_get(1)?);
        if *last.origin != *origin {
            last = Key::before_all(origin);
        }
        // One more, which tells whether the page is the last one.
        let rows = as_limit(room + 1);
        let terms: [&(dyn ToSql + Sync); 5] = [&zone, &&*last.code, &last.unit, &last.start, &rows];
        for row in connection.client.query(&statement, &terms).await? {
            if room == 0 {
                page.next = Some(last);
                return Ok(page);
            }
            room -= 1;
            last = Key {
                origin: last.origin.clone(),
                code: row.try_get::<_, &str>(3)?.into(),
                unit: row.try_get(4)?,
                start: row.try_get(5)?,
            };
            match usage(&last, record(&row)?) {
                Ok(usage) => page.usages.push(usage),
                Err(fault) => page.faults.push(fault),
            }
        }
    }
    Ok(page)
}

async fn adopt(connection: &Connection, usages: &[Usage]) -> Result<Vec<Adopted>, Fault> {
    let statement = connection.prepare(KEEPS_DELETED).await?;
    let row = connection.client.query_one(&statement, &[]).await?;
    let keeps_deleted: bool = row.try_get(0)?;
    let names = usages.iter().filter_map(Usage::name).cloned();
    let names: Vec<LinkName> = names.collect::<BTreeSet<_>>().into_iter().collect();
    let live = found(connection, LIVE, &names).await?;
    let keys: Vec<Key> = usages.iter().map(Key::of).collect();
    let zones = zones(connection, keys.iter()).await?;
    let stored = stored(connection, &zones, &keys.iter().collect::<Vec<_>>()).await?;
    let mut adopted = Vec::with_capacity(usages.len());
    let mut written: BTreeMap<&Key, Record> = BTreeMap::new();
    for (usage, key) in usages.iter().zip(&keys) {
        let is_kept = |name| keeps_deleted || live.contains(name);
        if !usage.name().is_none_or(is_kept) {
            adopted.push(Adopted::Newer);
            continue;
        }
        let stored = stored.get(key).and_then(|(lookups, clicks, others)| {
            Record::parse(*lookups, *clicks, others.as_deref()).ok()
        });
        let stored = written.get(key).cloned().or(stored);
        let highest = highest(stored.as_ref(), &usage.sums);
        if stored.as_ref() == Some(&highest) {
            adopted.push(Adopted::Same);
            continue;
        }
        written.insert(key, highest);
        adopted.push(Adopted::Written);
    }
    let mut rows = Columns::default();
    for (key, record) in written {
        rows.push_key(&zones, key)?;
        rows.push(record.columns()?);
    }
    rows.write(connection, PUT).await?;
    Ok(adopted)
}
