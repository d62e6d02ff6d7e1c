//! Lists of links: by index, with a bound on the work for each page.
//!
//! ```text
//!   one chunk of the walk ── links that fit are frequent, or no filter ──> walk on ──────────┐
//!          │ they are rare                                                                  ├─> all filters ── page
//!          ├── few links by tag, host, creator or state: these, in the order of the list ───┤
//!          ├── few links by the text index: these ──────────────────────────────────────────┤
//!          └── neither: walk on ────────────────────────────────────────────────────────────┘
//! ```
//!
//! A page begins as a walk along an index that has the order of the list, so a frequent filter needs nothing else. If a
//! chunk has few links that fit, PostgreSQL looks for all *candidates* by the [indexes](super::indexes) of the
//! filters, and sorts them if they are at most 10,000. All ways lead to the same pages, so the next page may come another way.
//!
//! Each row is compared with the filters by [`Query::matches`], as with every store, so all filters mean the same
//! everywhere, and the indexes decide only how long a page takes. A walk looks at [`MAX_ROWS`] rows at most and takes a
//! bounded time. PostgreSQL ends a search for candidates after 50 ms ([`SEARCH`]), whatever its planner has chosen. Then the
//! page ends early, and its cursor is the last place that it has looked at.
//!
//! Not chosen: all filters in SQL. PostgreSQL folds the case of texts by the collation of the database, so that a search
//! would find other links than with other stores.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::connect::Connection;
use super::failure::Fault;
use super::indexes::link_host;
use super::parts;
use super::read::as_limit;
use super::row::{decode_at, link_columns};
use super::text_index;
use crate::base::clock::UnixTime;
use crate::link::LinkName;
use crate::store::columns::BadRow;
use crate::store::segments::TOP;
use crate::store::{Found, Order, Place, Query, State};

/// How many rows are read at once: the first time about as many as the page needs if there is no filter.
const CHUNK: usize = 1_000;
/// How many rows a page looks at.
const MAX_ROWS: usize = 20_000;
/// After which time a page ends. Each page looks at one chunk at least, so that it gets further.
const PAGE_TIME: Duration = Duration::from_millis(100);
/// Links that fit are frequent if at least one of so many rows has one: then a walk fills most pages.
const FREQUENT: usize = 20;
/// Sets how long PostgreSQL may look for candidates. The plan has to suit the values: a tag may be rare or frequent.
const SEARCH: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = 50; SET LOCAL plan_cache_mode = force_custom_plan";

/// A walk from a place ($2, $3) on, whose columns are those of the order.
macro_rules! walk {
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT true, ",
            link_columns!(),
            " FROM link l WHERE l.origin = $1 AND ",
            $where,
            " ORDER BY ",
            $order,
            " LIMIT $4"
        )
    };
}
const WALKS: Orders = Orders {
    code: walk!("l.code > $3 AND $2::bigint IS NOT NULL", "l.code"),
    oldest: walk!("(l.created_at, l.code) > ($2, $3)", "l.created_at, l.code"),
    newest: walk!(
        "(l.created_at, l.code) < ($2, $3)",
        "l.created_at DESC, l.code DESC"
    ),
};

/// The filters: $5 is a JSON array with a tag, $6 a host, $7 a creator, $8 the time until which links have ended, $9 the one
/// at which they have not, and $10 says whether they are withheld. A filter that is NULL leaves the plan.
macro_rules! filters {
    () => {
        concat!(
            "l.origin = $1 AND ($5::text IS NULL OR l.tags @> $5::text::jsonb) \
             AND ($6::text IS NULL OR ",
            link_host!("l.url"),
            " = $6) AND ($7::text IS NULL OR l.created_by COLLATE \"C\" = $7) \
             AND ($8::bigint IS NULL OR l.expires_at <= $8) \
             AND ($9::bigint IS NULL OR l.expires_at IS NULL OR l.expires_at > $9) \
             AND ($10::boolean IS NOT TRUE OR l.withheld IS NOT NULL)"
        )
    };
}

/// The page from a place on of the candidates `c`, if these are all: the search for them ends with one that is too many.
macro_rules! page {
    ($candidates:expr, $known:literal, $after:literal, $order:literal) => {
        concat!(
            "WITH ",
            $candidates,
            " SELECT k.known, p.* FROM (SELECT count(*) <= 10000 AND ",
            $known,
            " AS known FROM c) AS k LEFT JOIN LATERAL (SELECT ",
            link_columns!(),
            " FROM (SELECT created_at, code FROM c WHERE ",
            $after,
            " ORDER BY ",
            $order,
            " LIMIT $4) AS f JOIN link l ON l.origin = $1 AND l.code = f.code) AS p ON k.known ORDER BY ",
            $order
        )
    };
}
macro_rules! pages {
    ($candidates:expr, $known:literal) => {
        Orders {
            code: page!(
                $candidates,
                $known,
                "code > $3 AND $2::bigint IS NOT NULL",
                "code"
            ),
            oldest: page!(
                $candidates,
                $known,
                "(created_at, code) > ($2, $3)",
                "created_at, code"
            ),
            newest: page!(
                $candidates,
                $known,
                "(created_at, code) < ($2, $3)",
                "created_at DESC, code DESC"
            ),
        }
    };
}
const BY_FILTER: Orders = pages!(
    concat!(
        "c AS MATERIALIZED (SELECT l.created_at, l.code FROM link l WHERE ",
        filters!(),
        " LIMIT 10001)"
    ),
    "true"
);
/// $11 are the parts of the text. Links that changed since they went into the text index are candidates as well.
const BY_TEXT: Orders = pages!(
    concat!(
        text_index::pending!(),
        ", named AS (SELECT t.code FROM link_text t WHERE t.origin = $1 AND t.parts @> $11::int[] \
           UNION SELECT d.code FROM pending d WHERE d.origin = $1), \
         c AS MATERIALIZED (SELECT l.created_at, l.code FROM named n JOIN link l ON l.origin = $1 AND l.code = n.code WHERE ",
        filters!(),
        " LIMIT 10001)"
    ),
    "(SELECT is_known FROM known)"
);

/// A statement for each order.
struct Orders {
    code: &'static str,
    newest: &'static str,
    oldest: &'static str,
}

impl Orders {
    fn of(&self, order: Order) -> &'static str {
        match order {
            Order::Code => self.code,
            Order::Newest => self.newest,
            Order::Oldest => self.oldest,
        }
    }
}

/// See [`crate::store::Store::find`].
pub(super) async fn find(
    connection: &Connection,
    query: &Query,
    after: Option<&Place>,
    limit: usize,
) -> Result<Found, Fault> {
    let mut page = Collected::new(query, after, limit);
    let filters = Filters::of(query);
    // One more than the page: it says whether more follow.
    let first = match filters.is_some() {
        true => CHUNK,
        false => limit.saturating_add(1).min(CHUNK),
    };
    let walk = connection.prepare(WALKS.of(query.order)).await?;
    let deadline = Instant::now() + PAGE_TIME;
    let mut is_done = page.walk(connection, &walk, first).await?;
    if let Some(filters) = filters
        && !is_done
        && page.fits_are_rare()
        && page.take_candidates(connection, &filters).await?
    {
        return Ok(page.found);
    }
    while !is_done && page.room > 0 && Instant::now() < deadline {
        is_done = page.walk(connection, &walk, CHUNK).await?;
    }
    Ok(page.found)
}

/// The filters of a query, as the statements take them.
struct Filters<'a> {
    tag: Option<String>,
    host: Option<&'a str>,
    creator: Option<&'a str>,
    ended_by: Option<i64>,
    current_at: Option<i64>,
    is_withheld: bool,
    /// What the text index may know of the text.
    parts: Option<Vec<i32>>,
}

impl<'a> Filters<'a> {
    /// None if the query has no filter that an index knows.
    fn of(query: &'a Query) -> Option<Self> {
        let now = i64::try_from(query.now.0).unwrap_or(i64::MAX);
        let has_ended = query.state == Some(State::Ended);
        let filters = Self {
            tag: query
                .tag
                .as_ref()
                .map(|tag| serde_json::json!([tag.as_str()]).to_string()),
            host: query.host.as_deref(),
            creator: query.created_by.as_deref(),
            ended_by: has_ended.then_some(now),
            current_at: (query.state.is_some() && !has_ended).then_some(now),
            is_withheld: query.state == Some(State::Withheld),
            parts: query.text.as_ref().and_then(parts::wanted),
        };
        (filters.has_others() || filters.parts.is_some()).then_some(filters)
    }

    /// Whether there are filters besides the text for which there is an index.
    fn has_others(&self) -> bool {
        self.tag.is_some()
            || self.host.is_some()
            || self.creator.is_some()
            || self.ended_by.is_some()
            || self.is_withheld
    }
}

/// A page that is being collected.
struct Collected<'a> {
    query: &'a Query,
    limit: usize,
    found: Found,
    /// The place up to which the page has looked.
    at: i64,
    code: String,
    /// How many more rows it may look at.
    room: usize,
}

impl<'a> Collected<'a> {
    fn new(query: &'a Query, after: Option<&Place>, limit: usize) -> Self {
        let (at, code) = start(query.order, after);
        Self {
            query,
            limit,
            found: Found {
                links: Vec::new(),
                next: None,
            },
            at,
            code,
            room: MAX_ROWS,
        }
    }

    /// Whether few of the rows that the page has looked at have links that fit.
    fn fits_are_rare(&self) -> bool {
        self.found.links.len() * FREQUENT < MAX_ROWS - self.room
    }

    /// Reads the next rows of a walk. True if the page is complete.
    async fn walk(
        &mut self,
        connection: &Connection,
        walk: &Statement,
        rows: usize,
    ) -> Result<bool, Fault> {
        let origin = self.query.origin.as_str();
        let limit = as_limit(rows);
        let parameters: [&(dyn ToSql + Sync); 4] = [&origin, &self.at, &self.code, &limit];
        let found = connection.client.query(walk, &parameters).await?;
        self.room = self.room.saturating_sub(found.len());
        Ok(self.take(&found, rows))
    }

    /// Reads the rest of the page by the indexes of the filters. False if they leave too many links, if the search takes too
    /// long, or if the text index does not know all links; then the page may have got further all the same.
    async fn take_candidates(
        &mut self,
        connection: &Connection,
        filters: &Filters<'_>,
    ) -> Result<bool, Fault> {
        if filters.has_others()
            && let Some(is_done) = self.take_all(connection, filters, &[], &BY_FILTER).await?
        {
            return Ok(is_done);
        }
        let Some(wanted) = &filters.parts else {
            return Ok(false);
        };
        let text: [&(dyn ToSql + Sync); 1] = [wanted];
        let taken = self.take_all(connection, filters, &text, &BY_TEXT).await?;
        Ok(taken == Some(true))
    }

    /// Reads candidates until the page is complete. None if there are too many candidates.
    async fn take_all(
        &mut self,
        connection: &Connection,
        filters: &Filters<'_>,
        text: &[&(dyn ToSql + Sync)],
        orders: &Orders,
    ) -> Result<Option<bool>, Fault> {
        let statement = connection.prepare(orders.of(self.query.order)).await?;
        let deadline = Instant::now() + PAGE_TIME;
        let mut is_first = true;
        // Candidates by a text may be others, and those by another filter may not have the text.
        while is_first || self.room > 0 && Instant::now() < deadline {
            is_first = false;
            let origin = self.query.origin.as_str();
            let limit = as_limit(CHUNK);
            let at = self.at;
            let code = self.code.clone();
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![
                &origin,
                &at,
                &code,
                &limit,
                &filters.tag,
                &filters.host,
                &filters.creator,
                &filters.ended_by,
                &filters.current_at,
                &filters.is_withheld,
            ];
            parameters.extend(text);
            let Some(rows) = search(connection, &statement, &parameters).await? else {
                return Ok(None);
            };
            let is_known = match rows.first() {
                Some(row) => row.try_get::<_, Option<bool>>(0)?,
                None => None,
            };
            if is_known != Some(true) {
                return Ok(None);
            }
            // Without a candidate there is one row, which has no link.
            let is_empty = rows.iter().all(is_without_link);
            let rows = if is_empty { &[][..] } else { &rows[..] };
            self.room = self.room.saturating_sub(rows.len());
            if self.take(rows, CHUNK) {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Takes the links of rows that the query asks for. True if the page is complete: it is full, or fewer rows than
    /// `wanted` were there.
    fn take(&mut self, rows: &[Row], wanted: usize) -> bool {
        for row in rows {
            if self.found.links.len() == self.limit {
                return true;
            }
            self.look_at(row);
        }
        if rows.len() < wanted {
            self.found.next = None;
            return true;
        }
        false
    }

    /// Takes the link of a row if the query asks for it, and moves the cursor behind it. A row without a valid name makes
    /// no cursor; the table's constraints keep such rows out.
    fn look_at(&mut self, row: &Row) {
        let created_at = row.try_get::<_, i64>(4).unwrap_or(0);
        let name = match decode_at(row, 1) {
            Ok(link) => {
                let name = link.name.clone();
                if self.query.matches(&link) {
                    self.found.links.push(link);
                }
                name
            }
            Err(BadRow { key, name, reason }) => {
                tracing::warn!(name = ?key, %reason, "a stored item is not a valid link");
                let Some(name) = name else { return };
                name
            }
        };
        self.move_to(created_at, name);
    }

    fn move_to(&mut self, created_at: i64, name: LinkName) {
        self.at = created_at;
        name.code().clone_into(&mut self.code);
        let created_at = UnixTime(u64::try_from(created_at).unwrap_or(0));
        self.found.next = Some(Place { created_at, name });
    }
}

fn is_without_link(row: &Row) -> bool {
    matches!(row.try_get::<_, Option<&str>>(2), Ok(None))
}

/// Looks for candidates in a transaction of its own. None if that takes too long.
async fn search(
    connection: &Connection,
    statement: &Statement,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Vec<Row>>, Fault> {
    let client = &connection.client;
    client.batch_execute(SEARCH).await?;
    match client.query(statement, parameters).await {
        Ok(rows) => {
            client.batch_execute("COMMIT").await?;
            Ok(Some(rows))
        }
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
            client.batch_execute("ROLLBACK").await?;
            Ok(None)
        }
        Err(error) => {
            // The error says what is wrong, also if this fails.
            let _ = client.batch_execute("ROLLBACK").await;
            Err(error.into())
        }
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
