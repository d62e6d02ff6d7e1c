//! Lists of links: a walk along an index in the order of the list, with a bound on the work for each page.
//!
//! Each row is compared with the filters by [`Query::matches`], as with every store, so all filters mean the same
//! everywhere. A page looks at [`MAX_ROWS`] rows at most and takes a bounded time. Then it ends early, and its cursor is the
//! last place that it has looked at.
//!
//! Not chosen: filters in SQL. PostgreSQL folds the case of texts by the collation of the database, so that a search would
//! find other links than with other stores, and an index of trigrams needs an extension.

use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Connection;
use super::failure::Fault;
use super::read::as_limit;
use super::row::{decode, link_columns};
use crate::base::clock::UnixTime;
use crate::link::LinkName;
use crate::store::columns::BadRow;
use crate::store::segments::TOP;
use crate::store::{Found, Order, Place, Query};

/// How many rows are read at once: the first time about as many as the page needs if there is no filter.
const CHUNK: usize = 1_000;
/// How many rows a page looks at.
const MAX_ROWS: usize = 20_000;
/// After which time a page ends. Each page looks at one chunk at least, so that it gets further.
const PAGE_TIME: Duration = Duration::from_millis(100);

/// A walk from a place ($2, $3) on, whose columns are those of the order.
macro_rules! walk {
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT ",
            link_columns!(),
            " FROM link l WHERE l.origin = $1 AND ",
            $where,
            " ORDER BY ",
            $order,
            " LIMIT $4"
        )
    };
}
const BY_CODE: &str = walk!("l.code > $3 AND $2::bigint IS NOT NULL", "l.code");
const OLDEST: &str = walk!("(l.created_at, l.code) > ($2, $3)", "l.created_at, l.code");
const NEWEST: &str = walk!(
    "(l.created_at, l.code) < ($2, $3)",
    "l.created_at DESC, l.code DESC"
);

/// See [`crate::store::Store::find`].
pub(super) async fn find(
    connection: &Connection,
    query: &Query,
    after: Option<&Place>,
    limit: usize,
) -> Result<Found, Fault> {
    let sql = match query.order {
        Order::Code => BY_CODE,
        Order::Newest => NEWEST,
        Order::Oldest => OLDEST,
    };
    let statement = connection.prepare(sql).await?;
    let deadline = Instant::now() + PAGE_TIME;
    let (mut at, mut code) = start(query.order, after);
    let mut found = Found {
        links: Vec::new(),
        next: None,
    };
    let mut room = MAX_ROWS;
    // One more than the page: it says whether more follow.
    let mut chunk = limit.saturating_add(1).min(CHUNK);
    loop {
        let origin = query.origin.as_str();
        let rows = as_limit(chunk);
        let parameters: [&(dyn ToSql + Sync); 4] = [&origin, &at, &code, &rows];
        let rows = connection.client.query(&statement, &parameters).await?;
        for row in &rows {
            if found.links.len() == limit {
                return Ok(found);
            }
            look_at(row, query, &mut found);
        }
        room = room.saturating_sub(rows.len());
        let Some(last) = found.next.as_ref().filter(|_| rows.len() == chunk) else {
            found.next = None;
            return Ok(found);
        };
        if room == 0 || Instant::now() > deadline {
            return Ok(found);
        }
        at = i64::try_from(last.created_at.0).unwrap_or(i64::MAX);
        code = last.name.code().to_owned();
        chunk = CHUNK;
    }
}

/// The place from which a walk begins: no code is empty, and none is above the last character.
fn start(order: Order, after: Option<&Place>) -> (i64, String) {
    match (after, order) {
        (Some(place), _) => {
            let at = i64::try_from(place.created_at.0).unwrap_or(i64::MAX);
            (at, place.name.code().to_owned())
        }
        (None, Order::Code | Order::Oldest) => (i64::MIN, String::new()),
        (None, Order::Newest) => (i64::MAX, TOP.to_owned()),
    }
}

/// Takes the link of a row if the query asks for it, and moves the cursor behind it. A row without a valid name makes no
/// cursor; the table's constraints keep such rows out.
fn look_at(row: &Row, query: &Query, found: &mut Found) {
    let created_at = row.try_get::<_, i64>(3).ok();
    let created_at = UnixTime(
        created_at
            .and_then(|at| u64::try_from(at).ok())
            .unwrap_or(0),
    );
    let place = |name: LinkName| Place { created_at, name };
    match decode(row) {
        Ok(link) => {
            found.next = Some(place(link.name.clone()));
            if query.matches(&link) {
                found.links.push(link);
            }
        }
        Err(BadRow { key, name, reason }) => {
            tracing::warn!(name = ?key, %reason, "a stored item is not a valid link");
            found.next = name.map(place).or(found.next.take());
        }
    }
}
