//! The links that two or three filters leave, each of which leaves many.
//!
//! Each filter has an index whose entries are in the order of time. The streams of these entries are compared, and what
//! all of them have is what the filters leave. So a page reads only rows that fit, while a walk along one of the indexes
//! would read the rows of all links that fit one filter.

use std::cmp::Ordering;
use std::time::Instant;

use rusqlite::{Connection, ToSql};

use super::Spot;
use crate::store::{Order, Query, StoreError};

/// How many entries of an index are read at once. When another stream is further, the next ones are read from there.
const BLOCK: i64 = 64;
/// How many entries a page reads however late it is: some blocks of each index.
const MIN_ENTRIES: usize = 1_000;

/// The entries of an index at and behind a place, in the order of time.
macro_rules! entries {
    ($table:literal, $filter:literal, $compare:literal, $direction:literal) => {
        concat!(
            "SELECT created_at, code FROM ",
            $table,
            " WHERE origin = ?1 AND ",
            $filter,
            " = ?2 AND (created_at, code) ",
            $compare,
            " (?3, ?4) ORDER BY created_at ",
            $direction,
            ", code ",
            $direction,
            " LIMIT ?5"
        )
    };
}

/// The statements of a filter, for [`Order::Oldest`] and [`Order::Newest`].
type Both = [&'static str; 2];

const TAG: Both = [
    entries!("link_tag", "tag", ">=", "ASC"),
    entries!("link_tag", "tag", "<=", "DESC"),
];
const HOST: Both = [
    entries!("link_host", "host", ">=", "ASC"),
    entries!("link_host", "host", "<=", "DESC"),
];
const CREATOR: Both = [
    entries!("link INDEXED BY link_creator", "created_by", ">=", "ASC"),
    entries!("link INDEXED BY link_creator", "created_by", "<=", "DESC"),
];

pub(super) const STATEMENTS: [Both; 3] = [TAG, HOST, CREATOR];

/// The order of the streams: that of the list, or one of time if the list has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Oldest,
    Newest,
}

impl Direction {
    fn order(self) -> Order {
        match self {
            Self::Oldest => Order::Oldest,
            Self::Newest => Order::Newest,
        }
    }

    fn sql(self, both: Both) -> &'static str {
        let [oldest, newest] = both;
        match self {
            Self::Oldest => oldest,
            Self::Newest => newest,
        }
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// A link that the filters leave.
    Link(Spot),
    /// The filters leave nothing up to this place, and the work of this page is done.
    Pause(Spot),
    /// No more links.
    End,
}

/// The streams of a query; see the [module](self).
pub(super) struct Meeting<'a> {
    conn: &'a Connection,
    origin: &'a str,
    streams: Vec<Stream<'a>>,
    direction: Direction,
    /// Everything before this place has been looked at.
    at: Spot,
    /// Whether the place itself has been looked at, too.
    is_past: bool,
    /// The place before, up to which everything has been looked at.
    before: Spot,
    /// How many entries the page may read, and how many more.
    entries: usize,
    room: usize,
    deadline: Instant,
}

/// The entries of one index.
struct Stream<'a> {
    sql: &'static str,
    value: &'a str,
    /// The entries that were read last, in reverse: the next one is at the end.
    block: Vec<Spot>,
}

impl<'a> Meeting<'a> {
    /// The streams of a query's filters, behind a place; none if fewer than two filters have a stream.
    pub(super) fn of(
        conn: &'a Connection,
        query: &'a Query,
        (direction, after): (Direction, Spot),
        (entries, deadline): (usize, Instant),
    ) -> Option<Self> {
        let filters = [
            (TAG, query.tag.as_ref().map(|tag| tag.as_str())),
            (HOST, query.host.as_deref()),
            (CREATOR, query.created_by.as_deref()),
        ];
        let streams = filters.into_iter().filter_map(|(both, value)| {
            value.map(|value| Stream {
                sql: direction.sql(both),
                value,
                block: Vec::new(),
            })
        });
        let streams: Vec<_> = streams.collect();
        (streams.len() > 1).then(|| Self {
            conn,
            origin: query.origin.as_str(),
            streams,
            direction,
            before: after.clone(),
            at: after,
            is_past: true,
            entries,
            room: entries,
            deadline,
        })
    }

    /// The next link that all streams have.
    pub(super) fn next(&mut self) -> Result<Met, StoreError> {
        let order = self.direction.order();
        let mut agreeing = 0;
        for stream in (0..self.streams.len()).cycle() {
            if self.is_over() {
                break;
            }
            let stream = &mut self.streams[stream];
            let target = (&self.at, self.is_past);
            let read = stream.seek(self.conn, self.origin, order, target)?;
            self.room = self.room.saturating_sub(read);
            let Some(head) = stream.block.last() else {
                return Ok(Met::End);
            };
            if self.is_past || *head != self.at {
                self.before = std::mem::replace(&mut self.at, head.clone());
                self.is_past = false;
                agreeing = 0;
            }
            agreeing += 1;
            if agreeing == self.streams.len() {
                self.is_past = true;
                return Ok(Met::Link(self.at.clone()));
            }
        }
        let done = if self.is_past { &self.at } else { &self.before };
        Ok(Met::Pause(done.clone()))
    }

    /// Whether the work of the page is done. Not before each stream has moved, so that the next page begins further on.
    fn is_over(&self) -> bool {
        let has_moved = self.room < self.entries.saturating_sub(MIN_ENTRIES);
        self.room == 0 || has_moved && Instant::now() > self.deadline
    }
}

impl Stream<'_> {
    /// Moves to the first entry at or behind a place, or only behind it, and returns how many entries were read for that.
    fn seek(
        &mut self,
        conn: &Connection,
        origin: &str,
        order: Order,
        (place, is_past): (&Spot, bool),
    ) -> Result<usize, StoreError> {
        let is_ahead = |spot: &Spot| match spot.compare(place, order) {
            Ordering::Less => false,
            Ordering::Equal => !is_past,
            Ordering::Greater => true,
        };
        let skip = |block: &mut Vec<Spot>| {
            while block.last().is_some_and(|spot| !is_ahead(spot)) {
                block.pop();
            }
        };
        skip(&mut self.block);
        if !self.block.is_empty() {
            return Ok(0);
        }
        let mut statement = conn.prepare_cached(self.sql)?;
        let parameters: [&dyn ToSql; 5] = [
            &origin,
            &self.value,
            &place.created_at,
            &&*place.code,
            &BLOCK,
        ];
        let spots = statement.query_map(parameters, Spot::read)?;
        self.block = spots.collect::<Result<_, _>>()?;
        self.block.reverse();
        // An empty block costs a look into the index as well.
        let read = self.block.len().max(1);
        skip(&mut self.block);
        Ok(read)
    }
}
