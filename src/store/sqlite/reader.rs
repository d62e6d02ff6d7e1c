//! Reading: the reader threads and what they do.
//!
//! All readers take calls from one queue, so a long page occupies only one of them.
//!
//! A segment of a scan is a [range of codes](crate::store::segments).

use std::cmp::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension};

use super::call::Job;
use super::row::{self, decode, select_links};
use crate::base::text::one_line;
use crate::link::{Link, LinkName, Origin};
use crate::store::segments::{BOTTOM, TOP, bounds};
use crate::store::{Examined, NamePlace, Page, Segment, StoreError};

const GET: &str = select_links!("WHERE origin = ?1 AND code = ?2");
/// The rows of one zone, above one code and up to another one (inclusive).
const WALK: &str = select_links!("WHERE origin = ?1 AND code > ?2 AND code <= ?3 ORDER BY code");
const NEXT_ORIGIN: &str = "SELECT origin FROM link WHERE origin > ?1 ORDER BY origin LIMIT 1";
/// The order of the primary key, so SQLite need not sort.
const NAMES: &str =
    "SELECT origin, code FROM link WHERE (origin, code) > (?1, ?2) ORDER BY origin, code";
const PING: &str = "SELECT value FROM meta LIMIT 1";
const COUNT: &str = "SELECT count(*) FROM link";

/// All statements of the readers; `schema` checks them against the tables.
pub(super) const STATEMENTS: &[&str] = &[GET, WALK, NEXT_ORIGIN, NAMES, PING, COUNT];

/// The work of a reader thread: it serves calls until the queue is closed and empty.
pub(super) fn run(conn: &Connection, queue: &Mutex<Receiver<Box<dyn Job>>>) {
    loop {
        // One reader waits at the queue, the others wait for the lock.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        if job.is_awaited() {
            job.run(conn);
            job.answer(None);
        }
    }
}

/// The link of that name, which may have ended.
pub(super) fn get(conn: &Connection, name: &LinkName) -> Result<Option<Link>, StoreError> {
    let mut statement = conn.prepare_cached(GET)?;
    let mut rows = statement.query((name.origin(), name.code()))?;
    match rows.next()? {
        Some(row) => Ok(Some(decode(row)?)),
        None => Ok(None),
    }
}

/// Whether the file can be read.
pub(super) fn ping(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached(PING)?.query_row([], |_| Ok(()))?;
    Ok(())
}

/// How many links there are, including those that have ended.
pub(super) fn count(conn: &Connection) -> Result<u64, StoreError> {
    Ok(conn
        .prepare_cached(COUNT)?
        .query_row([], |row| row.get::<_, i64>(0))?
        .unsigned_abs())
}

/// A page of one zone, by code.
pub(super) fn list(
    conn: &Connection,
    origin: &Origin,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Page, StoreError> {
    let above = match after.map(|name| (name.origin().cmp(origin.as_str()), name.code())) {
        // A cursor in another zone lies before or after all of this one.
        None | Some((Ordering::Less, _)) => BOTTOM,
        Some((Ordering::Equal, code)) => code,
        Some((Ordering::Greater, _)) => TOP,
    };
    let mut walk = Walk::new(limit);
    let more = walk.take(conn, origin.as_str(), above, TOP)?;
    Ok(walk.page(more))
}

/// A page of one segment, by zone and code.
pub(super) fn scan(
    conn: &Connection,
    segment: Segment,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut walk = Walk::new(limit);
    let more = walk.segment(conn, segment, after)?;
    Ok(walk.page(more))
}

/// See [`crate::store::Store::examine`].
pub(super) fn examine(
    conn: &Connection,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Examined, StoreError> {
    let mut walk = Walk::new(limit);
    walk.faults = Some(Vec::new());
    let whole = Segment { index: 0, total: 1 };
    let more = walk.segment(conn, whole, after)?;
    let faults = walk.faults.take().unwrap_or_default();
    let Page { links, next } = walk.page(more);
    Ok(Examined {
        links,
        faults,
        next,
    })
}

/// See [`crate::store::Store::names`].
///
/// A row whose key is not text does not count against the limit, because its key could not serve as a cursor. The
/// table's constraints keep such keys out, and no name equals one.
pub(super) fn names(
    conn: &Connection,
    after: Option<&NamePlace>,
    limit: usize,
    sink: &dyn Fn(&str, &str),
) -> Result<Option<NamePlace>, StoreError> {
    let above = after.map_or((BOTTOM, BOTTOM), |place| (&*place.origin, &*place.code));
    let mut statement = conn.prepare_cached(NAMES)?;
    let mut rows = statement.query(above)?;
    let mut room = limit;
    while let Some(row) = rows.next()? {
        let (origin, code) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str());
        let (Ok(origin), Ok(code)) = (origin, code) else {
            continue;
        };
        sink(code, origin);
        room -= 1;
        if room == 0 {
            return Ok(Some(NamePlace {
                origin: origin.into(),
                code: code.into(),
            }));
        }
    }
    Ok(None)
}

/// A page that is being collected.
struct Walk {
    links: Vec<Link>,
    /// The last name that was read, of a link or of a bad row.
    last: Option<LinkName>,
    /// How many more rows the page may take.
    room: usize,
    /// What is wrong with bad rows; none if the log tells it.
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

    /// Takes the rows of a segment, by zone and code. True if the page has no room for all of them.
    fn segment(
        &mut self,
        conn: &Connection,
        segment: Segment,
        after: Option<&LinkName>,
    ) -> Result<bool, StoreError> {
        let Some((bottom, top)) = bounds(segment) else {
            return Ok(false);
        };
        let mut more = false;
        let mut origin = after.map_or(BOTTOM, LinkName::origin).to_owned();
        if let Some(name) = after {
            more = self.take(conn, &origin, name.code().max(&bottom), &top)?;
        }
        while !more {
            let next = conn
                .prepare_cached(NEXT_ORIGIN)?
                .query_row([&origin], |row| row.get(0))
                .optional()?;
            let Some(next) = next else { break };
            origin = next;
            more = self.take(conn, &origin, &bottom, &top)?;
        }
        Ok(more)
    }

    /// Takes the rows of one zone, above one code and up to another. True if the page has no room for all of them.
    ///
    /// A bad row counts against the limit as well, so that the work for a page is bounded. A row with a bad key
    /// does not, because its key could not serve as a cursor; the table's constraints keep such rows out.
    fn take(
        &mut self,
        conn: &Connection,
        origin: &str,
        above: &str,
        to: &str,
    ) -> Result<bool, StoreError> {
        let mut statement = conn.prepare_cached(WALK)?;
        let mut rows = statement.query((origin, above, to))?;
        while let Some(row) = rows.next()? {
            if self.room == 0 {
                return Ok(true);
            }
            match decode(row) {
                Ok(link) => {
                    self.room -= 1;
                    self.last = Some(link.name.clone());
                    self.links.push(link);
                }
                Err(row::BadRow { key, name, reason }) => {
                    match &mut self.faults {
                        Some(faults) => {
                            faults.push(format!("{}: {}", one_line(&key), one_line(&reason)))
                        }
                        None => {
                            tracing::warn!(name = ?key, %reason, "a stored item is not a valid link");
                        }
                    }
                    if name.is_some() {
                        self.room -= 1;
                        self.last = name;
                    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{migrations, schema};

    #[test]
    fn a_page_of_names_is_a_range_of_the_primary_key() {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn, migrations::MIGRATIONS, &|_| {}).unwrap();
        let plan: Vec<String> = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {NAMES}"))
            .unwrap()
            .query_map(("", ""), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            plan,
            ["SEARCH link USING PRIMARY KEY ((origin,code)>(?,?))"]
        );
    }
}
