//! Reading by name, and pages in the order of names.
//!
//! A segment of a scan is a [range of codes](crate::store::segments).

use std::cmp::Ordering;
use std::collections::HashMap;

use super::connect::Connection;
use super::failure::Fault;
use super::row::{decode, link_columns};
use crate::base::text::one_line;
use crate::link::{Link, LinkName, Origin};
use crate::store::columns::BadRow;
use crate::store::segments::{BOTTOM, TOP, bounds};
use crate::store::{Examined, NamePlace, NameSink, Page, Segment, StoreError};

const GET: &str = concat!(
    "SELECT ",
    link_columns!(),
    " FROM link l WHERE l.origin = $1 AND l.code = $2"
);
const GET_MANY: &str = concat!(
    "SELECT ",
    link_columns!(),
    " FROM unnest($1::text[], $2::text[]) AS n (origin, code) \
     JOIN link l ON l.origin = n.origin AND l.code = n.code"
);
/// The rows of one zone, above one code and up to another one (inclusive).
const WALK: &str = concat!(
    "SELECT ",
    link_columns!(),
    " FROM link l WHERE l.origin = $1 AND l.code > $2 AND l.code <= $3 ORDER BY l.code LIMIT $4"
);
const NEXT_ORIGIN: &str = "SELECT origin FROM link WHERE origin > $1 ORDER BY origin LIMIT 1";
const NAMES: &str = "SELECT origin, code FROM link WHERE (origin, code) > ($1, $2) \
    ORDER BY origin, code LIMIT $3";
const PING: &str = "SELECT version_floor FROM store";
/// PostgreSQL's own estimate, or the number of rows if they are few.
const ESTIMATE: &str = "SELECT CASE WHEN reltuples > 100000 THEN reltuples::bigint \
    ELSE (SELECT count(*) FROM link) END FROM pg_class WHERE oid = 'tinyns.link'::regclass";

/// See [`crate::store::Store::get`].
pub(super) async fn get(connection: &Connection, name: &LinkName) -> Result<Option<Link>, Fault> {
    let statement = connection.prepare(GET).await?;
    let row = connection
        .client
        .query_opt(&statement, &[&name.origin(), &name.code()])
        .await?;
    Ok(row.as_ref().map(decode).transpose()?)
}

/// See [`crate::store::Store::get_many`].
pub(super) async fn get_many(
    connection: &Connection,
    names: &[LinkName],
) -> Result<Vec<Result<Option<Link>, StoreError>>, Fault> {
    let origins: Vec<&str> = names.iter().map(LinkName::origin).collect();
    let codes: Vec<&str> = names.iter().map(LinkName::code).collect();
    let statement = connection.prepare(GET_MANY).await?;
    let rows = connection
        .client
        .query(&statement, &[&origins, &codes])
        .await?;
    let mut found: HashMap<LinkName, Result<Link, StoreError>> = HashMap::with_capacity(rows.len());
    for row in &rows {
        match decode(row) {
            Ok(link) => drop(found.insert(link.name.clone(), Ok(link))),
            Err(BadRow { name: None, .. }) => {}
            Err(bad) => {
                if let Some(name) = bad.name.clone() {
                    found.insert(name, Err(bad.into()));
                }
            }
        }
    }
    let result = |name: &LinkName| found.get(name).cloned().transpose();
    Ok(names.iter().map(result).collect())
}

/// See [`crate::store::Store::ping`].
pub(super) async fn ping(connection: &Connection) -> Result<(), Fault> {
    let statement = connection.prepare(PING).await?;
    connection.client.query_one(&statement, &[]).await?;
    Ok(())
}

/// See [`crate::store::Store::estimate`].
pub(super) async fn estimate(connection: &Connection) -> Result<u64, Fault> {
    let statement = connection.prepare(ESTIMATE).await?;
    let row = connection.client.query_one(&statement, &[]).await?;
    let number: i64 = row.try_get(0)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// See [`crate::store::Store::list`].
pub(super) async fn list(
    connection: &Connection,
    origin: &Origin,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Page, Fault> {
    let above = match after.map(|name| (name.origin().cmp(origin.as_str()), name.code())) {
        // A cursor in another zone lies before or after all of this one.
        None | Some((Ordering::Less, _)) => BOTTOM,
        Some((Ordering::Equal, code)) => code,
        Some((Ordering::Greater, _)) => TOP,
    };
    let mut walk = Walk::new(limit);
    let more = walk.take(connection, origin.as_str(), above, TOP).await?;
    Ok(walk.page(more))
}

/// See [`crate::store::Store::scan`].
pub(super) async fn scan(
    connection: &Connection,
    segment: Segment,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Page, Fault> {
    let mut walk = Walk::new(limit);
    let more = walk.segment(connection, segment, after).await?;
    Ok(walk.page(more))
}

/// See [`crate::store::Store::examine`].
pub(super) async fn examine(
    connection: &Connection,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Examined, Fault> {
    let mut walk = Walk::new(limit);
    walk.faults = Some(Vec::new());
    let whole = Segment { index: 0, total: 1 };
    let more = walk.segment(connection, whole, after).await?;
    let faults = walk.faults.take().unwrap_or_default();
    let Page { links, next } = walk.page(more);
    Ok(Examined {
        links,
        faults,
        next,
    })
}

/// See [`crate::store::Store::names`].
pub(super) async fn names(
    connection: &Connection,
    after: Option<&NamePlace>,
    limit: usize,
    sink: &NameSink,
) -> Result<Option<NamePlace>, Fault> {
    let (origin, code) = after.map_or((BOTTOM, BOTTOM), |place| (&*place.origin, &*place.code));
    let statement = connection.prepare(NAMES).await?;
    let rows = connection
        .client
        .query(&statement, &[&origin, &code, &as_limit(limit)])
        .await?;
    let mut last = None;
    for row in &rows {
        let (origin, code): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        sink(code, origin);
        last = Some((origin, code));
    }
    let is_full = rows.len() == limit;
    Ok(last.filter(|_| is_full).map(|(origin, code)| NamePlace {
        origin: origin.into(),
        code: code.into(),
    }))
}

/// A number of rows as SQL takes it.
pub(super) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A page that is being collected.
struct Walk {
    links: Vec<Link>,
    /// The last name that was read, of a link or of a bad row.
    last: Option<LinkName>,
    /// How many more rows the page may take.
    room: usize,
    /// What is wrong with rows that are no links, if the caller wants to know. Otherwise the log says it.
    faults: Option<Vec<String>>,
}

impl Walk {
    fn new(limit: usize) -> Self {
        Self {
            links: Vec::new(),
            last: None,
            room: limit,
            faults: None,
        }
    }

    /// Takes the rows of a segment. True if more of them follow.
    async fn segment(
        &mut self,
        connection: &Connection,
        segment: Segment,
        after: Option<&LinkName>,
    ) -> Result<bool, Fault> {
        let Some((bottom, top)) = bounds(segment) else {
            return Ok(false);
        };
        let mut more = false;
        let mut origin = after.map_or(BOTTOM, LinkName::origin).to_owned();
        if let Some(name) = after {
            let above = name.code().max(&bottom);
            more = self.take(connection, &origin, above, &top).await?;
        }
        while !more {
            let statement = connection.prepare(NEXT_ORIGIN).await?;
            let next = connection.client.query_opt(&statement, &[&origin]).await?;
            let Some(next) = next else { break };
            origin = next.try_get(0)?;
            more = self.take(connection, &origin, &bottom, &top).await?;
        }
        Ok(more)
    }

    /// Takes the rows of one zone, above one code and up to another. True if more of them follow.
    ///
    /// A bad row counts against the limit as well, so that the work for a page is bounded. A row with a bad key makes no
    /// cursor; the table's constraints keep such rows out.
    async fn take(
        &mut self,
        connection: &Connection,
        origin: &str,
        above: &str,
        to: &str,
    ) -> Result<bool, Fault> {
        let statement = connection.prepare(WALK).await?;
        // One more than there is room for: it says whether more follow.
        let limit = as_limit(self.room.saturating_add(1));
        let rows = connection
            .client
            .query(&statement, &[&origin, &above, &to, &limit])
            .await?;
        for row in &rows {
            if self.room == 0 {
                return Ok(true);
            }
            self.room -= 1;
            match decode(row) {
                Ok(link) => {
                    self.last = Some(link.name.clone());
                    self.links.push(link);
                }
                Err(BadRow { key, name, reason }) => {
                    match &mut self.faults {
                        Some(faults) => faults.push(one_line(&format!("{key}: {reason}"))),
                        None => {
                            tracing::warn!(name = ?key, %reason, "a stored item is not a valid link");
                        }
                    }
                    self.last = name.or(self.last.take());
                }
            }
        }
        Ok(false)
    }

    fn page(self, more: bool) -> Page {
        Page {
            links: self.links,
            next: self.last.filter(|_| more),
        }
    }
}
