//! Lists of links: by index, with a bound on the work for each page.
//!
//! ```text
//!   filters ── few links by one index? ── yes: places of these links, sorted ────┐
//!                     no                                                        │
//!                     ├── two indexes: what both have, in the order of time ─────┼─> rows ── all filters ── page
//!                     └── walk along an index that has the order of the list ────┘
//! ```
//!
//! A *place* is where a link is in the order of the list: the time of its creation and its code. Each index of a filter
//! contains the places of its links ([`migrations`](super::migrations)). If one of the filters leaves at most
//! [`Bounds::candidates`], their places are sorted, and the page is taken from there. Otherwise links that fit are not rare,
//! and the page is a walk along the index of a filter, or of the whole zone, in the order of the list, or along the
//! [indexes of several filters](meet). All ways lead to the same pages, so the next page may come another way.
//!
//! Each row of a page is compared with all filters by [`Query::matches`], so the indexes decide only how long the search
//! takes. A page looks at [`Bounds::rows`] rows at most, and takes a bounded [time](Bounds::page_time). Then it ends early,
//! and its cursor is the last place that it has looked at.

mod candidates;
mod meet;
mod text;
mod trigrams;

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use self::candidates::candidates;
use self::meet::{Direction, Meeting, Met};
use super::row::{BadRow, DESTINATIONS, WITHHELD, decode, select_links};
use crate::base::clock::UnixTime;
use crate::link::{Code, LinkName};
use crate::store::{Found, Order, Place, Query, StoreError};

/// How much work one page may make.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The most places that are sorted.
    candidates: usize,
    /// The most rows that are looked at.
    rows: usize,
    /// The most entries of indexes that are compared with each other.
    entries: usize,
    /// How long the search for [candidates](candidates()) takes at most.
    search_time: Duration,
    /// How long the whole page takes at most. What is under way then is finished.
    page_time: Duration,
}

/// Each of them some twenty milliseconds at most. Of a million links, one in a hundred fits a filter that leaves more than
/// the candidates, so a walk through the rows finds fifty.
const BOUNDS: Bounds = Bounds {
    candidates: 10_000,
    rows: 5_000,
    entries: 60_000,
    search_time: Duration::from_millis(25),
    page_time: Duration::from_millis(40),
};
/// How many rows a page looks at however late it is, so that each page gets further.
const MIN_ROWS: usize = 100;

const GET: &str = select_links!("WHERE origin = ?1 AND code = ?2");

/// All statements of the searches.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let walks = [Way::Zone, Way::Tag, Way::Host, Way::Creator]
        .into_iter()
        .flat_map(|way| [Order::Code, Order::Newest, Order::Oldest].map(|order| way.sql(order)));
    walks
        .flatten()
        .chain(candidates::STATEMENTS.iter().copied())
        .chain(text::STATEMENTS.iter().copied())
        .chain(meet::STATEMENTS.into_iter().flatten())
        .chain([GET])
}

/// See [`crate::store::Store::find`].
pub(super) fn find(
    conn: &Connection,
    query: &Query,
    after: Option<&Place>,
    limit: usize,
) -> Result<Found, StoreError> {
    find_within(conn, query, after, (limit, BOUNDS))
}

fn find_within(
    conn: &Connection,
    query: &Query,
    after: Option<&Place>,
    (limit, bounds): (usize, Bounds),
) -> Result<Found, StoreError> {
    // One state of the file for all statements.
    let conn = conn.unchecked_transaction()?;
    let began = Instant::now();
    let mut page = Collected::new(query, after, limit, (bounds, began + bounds.page_time));
    if let Some(mut spots) = candidates(&conn, query, (bounds, began + bounds.search_time))? {
        spots.retain(|spot| page.is_ahead(spot));
        spots.sort_unstable_by(|a, b| a.compare(b, query.order));
        page.take_each(&conn, spots)?;
    } else if let Some(meeting) = page.meeting(&conn) {
        page.take_met(&conn, meeting)?;
    } else {
        page.walk(&conn)?;
    }
    Ok(page.found)
}

/// The place of a link of the query's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    created_at: i64,
    code: Box<str>,
}

impl Spot {
    /// The place in the columns `created_at` and `code`.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let code = row.get_ref(1)?.as_str().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
        });
        Ok(Self {
            created_at: row.get(0)?,
            code: code?.into(),
        })
    }

    /// Before all links in an order: no code is empty, and none is above the last character.
    fn start(order: Order) -> Self {
        match order {
            Order::Code | Order::Oldest => Self {
                created_at: i64::MIN,
                code: "".into(),
            },
            Order::Newest => Self {
                created_at: i64::MAX,
                code: "\u{10ffff}".into(),
            },
        }
    }

    fn compare(&self, other: &Self, order: Order) -> Ordering {
        let by_time = || (self.created_at, &self.code).cmp(&(other.created_at, &other.code));
        match order {
            Order::Code => self.code.cmp(&other.code),
            Order::Oldest => by_time(),
            Order::Newest => by_time().reverse(),
        }
    }
}

/// The index that a walk goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Zone,
    Tag,
    Host,
    Creator,
}

/// A walk along an index of `link` by time: the rows with `$filter`.
macro_rules! by_time {
    ($index:literal, $filter:literal, $compare:literal, $direction:literal) => {
        select_links!(
            "INDEXED BY ",
            $index,
            " WHERE origin = ?1 AND ",
            $filter,
            " AND (created_at, code) ",
            $compare,
            " (?3, ?4) ORDER BY created_at ",
            $direction,
            ", code ",
            $direction
        )
    };
}

/// The same for tags and hosts, whose index is a table.
macro_rules! by_table {
    ($table:literal, $column:literal, $compare:literal, $direction:literal) => {
        concat!(
            "SELECT link.origin, link.code, link.url, link.created_at, link.created_by, link.expires_at, link.ttl, \
             link.version, link.title, link.tags, link.note, link.withheld, link.destinations FROM ",
            $table,
            " AS found CROSS JOIN link ON link.origin = found.origin AND link.code = found.code \
             AND link.created_at = found.created_at WHERE found.origin = ?1 AND found.",
            $column,
            " = ?2 AND (found.created_at, found.code) ",
            $compare,
            " (?3, ?4) ORDER BY found.created_at ",
            $direction,
            ", found.code ",
            $direction
        )
    };
}

impl Way {
    /// The index for a query: that of a filter, if the list has the order of the index.
    fn of(query: &Query) -> Self {
        match query.order {
            Order::Code => Self::Zone,
            _ if query.tag.is_some() => Self::Tag,
            _ if query.host.is_some() => Self::Host,
            _ if query.created_by.is_some() => Self::Creator,
            _ => Self::Zone,
        }
    }

    /// The statement; none if the index does not have this order. `?1` is the origin, `?2` the value of the filter, `?3`
    /// and `?4` are the place.
    fn sql(self, order: Order) -> Option<&'static str> {
        Some(match (self, order) {
            (Self::Zone, Order::Code) => {
                select_links!(
                    "WHERE origin = ?1 AND code > ?4 AND ?2 IS NULL AND ?3 IS NOT NULL ORDER BY code"
                )
            }
            (Self::Zone, Order::Oldest) => by_time!("link_created", "?2 IS NULL", ">", "ASC"),
            (Self::Zone, Order::Newest) => by_time!("link_created", "?2 IS NULL", "<", "DESC"),
            (Self::Host, Order::Oldest) => by_table!("link_host", "host", ">", "ASC"),
            (Self::Host, Order::Newest) => by_table!("link_host", "host", "<", "DESC"),
            (Self::Creator, Order::Oldest) => {
                by_time!("link_creator", "created_by = ?2", ">", "ASC")
            }
            (Self::Creator, Order::Newest) => {
                by_time!("link_creator", "created_by = ?2", "<", "DESC")
            }
            (Self::Tag, Order::Oldest) => by_table!("link_tag", "tag", ">", "ASC"),
            (Self::Tag, Order::Newest) => by_table!("link_tag", "tag", "<", "DESC"),
            (Self::Tag | Self::Host | Self::Creator, Order::Code) => return None,
        })
    }
}

/// A page that is being collected.
struct Collected<'a> {
    query: &'a Query,
    after: Option<Spot>,
    limit: usize,
    bounds: Bounds,
    /// How many more rows the page may look at.
    room: usize,
    deadline: Instant,
    found: Found,
}

impl<'a> Collected<'a> {
    fn new(
        query: &'a Query,
        after: Option<&Place>,
        limit: usize,
        (bounds, deadline): (Bounds, Instant),
    ) -> Self {
        let after = after.map(|place| Spot {
            created_at: i64::try_from(place.created_at.0).unwrap_or(i64::MAX),
            code: place.name.code().into(),
        });
        Self {
            query,
            after,
            limit,
            bounds,
            room: bounds.rows,
            deadline,
            found: Found {
                links: Vec::new(),
                next: None,
            },
        }
    }

    /// Whether a place comes after the former page.
    fn is_ahead(&self, spot: &Spot) -> bool {
        let order = self.query.order;
        let after = self.after.as_ref();
        after.is_none_or(|after| spot.compare(after, order).is_gt())
    }

    /// Reads the rows at these places.
    fn take_each(&mut self, conn: &Connection, spots: Vec<Spot>) -> Result<(), StoreError> {
        let mut last: Option<Spot> = None;
        for spot in spots {
            if self.is_full() {
                self.found.next = last.and_then(|last| self.place(&last));
                return Ok(());
            }
            self.take(conn, &spot)?;
            last = Some(spot);
        }
        Ok(())
    }

    /// Reads the row at a place.
    fn take(&mut self, conn: &Connection, spot: &Spot) -> Result<(), StoreError> {
        let mut get = conn.prepare_cached(GET)?;
        let mut rows = get.query((self.query.origin.as_str(), &*spot.code))?;
        match rows.next()? {
            // Another program may have replaced the link, and left the entry of the former one.
            Some(row) if row.get(3).is_ok_and(|at: i64| at == spot.created_at) => self.look_at(row),
            _ => Ok(()),
        }
    }

    /// The indexes of several filters, if the list has their order.
    fn meeting<'b>(&self, conn: &'b Connection) -> Option<Meeting<'b>>
    where
        'a: 'b,
    {
        let direction = match self.query.order {
            Order::Code => return None,
            Order::Oldest => Direction::Oldest,
            Order::Newest => Direction::Newest,
        };
        let after = self.after.clone();
        let after = after.unwrap_or_else(|| Spot::start(self.query.order));
        let bounds = (self.bounds.entries, self.deadline);
        Meeting::of(conn, self.query, (direction, after), bounds)
    }

    /// Reads the rows of the links that several filters leave.
    fn take_met(&mut self, conn: &Connection, mut meeting: Meeting<'_>) -> Result<(), StoreError> {
        let mut last: Option<Spot> = None;
        loop {
            let met = meeting.next()?;
            let full = self.is_full().then(|| last.take()).flatten();
            match (met, full) {
                (Met::End, _) => return Ok(()),
                (Met::Link(_), Some(place)) | (Met::Pause(place), _) => {
                    self.found.next = self.place(&place);
                    return Ok(());
                }
                (Met::Link(spot), None) => {
                    self.take(conn, &spot)?;
                    last = Some(spot);
                }
            }
        }
    }

    /// Walks along an index.
    fn walk(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let query = self.query;
        let way = Way::of(query);
        let Some(sql) = way.sql(query.order) else {
            return Ok(());
        };
        let value: Option<&str> = match way {
            Way::Zone => None,
            Way::Tag => query.tag.as_ref().map(|tag| tag.as_str()),
            Way::Host => query.host.as_deref(),
            Way::Creator => query.created_by.as_deref(),
        };
        let start = self.after.clone();
        let start = start.unwrap_or_else(|| Spot::start(query.order));
        let parameters: [&dyn ToSql; 4] = [
            &query.origin.as_str(),
            &value,
            &start.created_at,
            &&*start.code,
        ];
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if self.is_full() {
                self.found.next = last;
                return Ok(());
            }
            self.look_at(row)?;
            let code = row.get_ref(1)?.as_str().unwrap_or_default();
            let spot = Spot {
                created_at: row.get(3).unwrap_or_default(),
                code: code.into(),
            };
            // A key that is no name makes no cursor; the table's constraints keep such keys out.
            last = self.place(&spot).or(last);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let has_moved = self.room <= self.bounds.rows.saturating_sub(MIN_ROWS);
        let is_late = || has_moved && Instant::now() > self.deadline;
        self.found.links.len() == self.limit || self.room == 0 || is_late()
    }

    /// Takes the link of a row if the query asks for it.
    fn look_at(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        self.room -= 1;
        if !self.may_match(row) {
            return Ok(());
        }
        match decode(row) {
            Ok(link) if self.query.matches(&link) => self.found.links.push(link),
            Ok(_) => {}
            Err(BadRow { key, reason, .. }) => {
                tracing::warn!(name = ?key, %reason, "a stored item is not a valid link");
            }
        }
        Ok(())
    }

    /// Whether a row may be what the query asks for, without the cost of a whole link. False only if
    /// [`Query::matches`] would be false.
    fn may_match(&self, row: &Row<'_>) -> bool {
        let text = |index| {
            row.get_ref(index)
                .ok()
                .and_then(|value| value.as_str().ok())
        };
        let ends: Option<Option<i64>> = row.get(5).ok();
        let is_withheld = row
            .get_ref(WITHHELD)
            .is_ok_and(|value| value != ValueRef::Null);
        let state = ends.is_none_or(|ends| {
            let ends = ends.map(|end| UnixTime(u64::try_from(end).unwrap_or(0)));
            self.query.has_state(ends, is_withheld)
        });
        let creator = self.query.created_by.as_deref();
        let creator = creator.is_none_or(|name| text(4).is_none_or(|found| found == name));
        let wanted = self.query.text.as_ref();
        state
            && creator
            && wanted.is_none_or(|wanted| {
                // Other URLs are in JSON, whose escapes a search does not know.
                text(DESTINATIONS).is_some()
                    || [1, 2, 8]
                        .into_iter()
                        .filter_map(text)
                        .any(|text| wanted.is_in(text))
            })
    }

    fn place(&self, spot: &Spot) -> Option<Place> {
        let code = Code::parse(&spot.code).ok()?;
        Some(Place {
            created_at: UnixTime(u64::try_from(spot.created_at).unwrap_or(0)),
            name: LinkName::new(&code, &self.query.origin),
        })
    }
}

#[cfg(test)]
mod tests;
