//! The places of all links that one of the filters leaves, if they are few.

use std::time::Instant;

use rusqlite::{Connection, ToSql};

use super::meet::{Direction, Meeting, Met};
use super::text::{row_limit, with_text};
use super::{Bounds, Spot};
use crate::store::{Order, Query, State, StoreError};

/// Candidates by an index that is as good as it gets: with so few, other filters are not tried.
const FEW: usize = 200;
/// The most candidates by [`ENDED`]. More than by other filters: ended links are kept for some days, so in a store with
/// many links few of them have ended, and a walk would find few.
const MAX_ENDED: usize = 20_000;

const TAG: &str = "SELECT created_at, code FROM link_tag WHERE origin = ?1 AND tag = ?2 LIMIT ?3";
const HOST: &str =
    "SELECT created_at, code FROM link_host WHERE origin = ?1 AND host = ?2 LIMIT ?3";
const CREATOR: &str = "SELECT created_at, code FROM link INDEXED BY link_creator \
    WHERE origin = ?1 AND created_by = ?2 LIMIT ?3";
const ENDED: &str = "SELECT created_at, code FROM link INDEXED BY link_expiry \
    WHERE origin = ?1 AND expires_at <= ?2 LIMIT ?3";
/// `?2` has no meaning. The index has few entries, since few links are withheld.
const WITHHELD: &str = "SELECT created_at, code FROM link INDEXED BY link_withheld \
    WHERE origin = ?1 AND withheld IS NOT NULL AND ?2 IS NULL LIMIT ?3";

pub(super) const STATEMENTS: &[&str] = &[TAG, HOST, CREATOR, ENDED, WITHHELD];

/// The places of the links that the filter leaves that leaves the fewest, in any order; none if all leave more than
/// [`Bounds::candidates`], or if the search takes longer than until `deadline`.
pub(super) fn candidates(
    conn: &Connection,
    query: &Query,
    (bounds, deadline): (Bounds, Instant),
) -> Result<Option<Vec<Spot>>, StoreError> {
    let mut best: Option<Vec<Spot>> = None;
    let equal: [(&str, Option<&str>); 3] = [
        (TAG, query.tag.as_ref().map(|tag| tag.as_str())),
        (HOST, query.host.as_deref()),
        (CREATOR, query.created_by.as_deref()),
    ];
    for (sql, value) in equal {
        if let Some(value) = value {
            let limit = best.as_ref().map_or(bounds.candidates, Vec::len);
            best = spots(conn, sql, &query.origin.as_str(), &value, limit)?.or(best);
        }
        if best.as_ref().is_some_and(|best| best.len() <= FEW) {
            return Ok(best);
        }
    }
    let origin = query.origin.as_str();
    match query.state {
        Some(State::Ended) => {
            let limit = best.as_ref().map_or(MAX_ENDED, Vec::len).min(MAX_ENDED);
            let now = i64::try_from(query.now.0).unwrap_or(i64::MAX);
            best = spots(conn, ENDED, &origin, &now, limit)?.or(best);
        }
        Some(State::Withheld) => {
            let limit = best.as_ref().map_or(bounds.candidates, Vec::len);
            best = spots(conn, WITHHELD, &origin, &None::<i64>, limit)?.or(best);
        }
        Some(State::Current | State::Live) | None => {}
    }
    if let Some(text) = &query.text {
        let limit = best.as_ref().map_or(bounds.candidates, Vec::len);
        best = with_text(conn, origin, text, (limit, deadline))?.or(best);
    }
    // In an order of time the page reads the indexes of several filters itself.
    if best.is_none() && query.order == Order::Code {
        best = met_by_all(conn, query, (bounds, deadline))?;
    }
    Ok(best)
}

/// The places of the links that several filters leave together; none if they are many, or are not found soon enough.
fn met_by_all(
    conn: &Connection,
    query: &Query,
    (bounds, deadline): (Bounds, Instant),
) -> Result<Option<Vec<Spot>>, StoreError> {
    let from = (Direction::Oldest, Spot::start(Order::Oldest));
    let Some(mut meeting) = Meeting::of(conn, query, from, (bounds.entries, deadline)) else {
        return Ok(None);
    };
    let mut met = Vec::new();
    while met.len() <= bounds.candidates {
        match meeting.next()? {
            Met::Link(spot) => met.push(spot),
            Met::Pause(_) => return Ok(None),
            Met::End => return Ok(Some(met)),
        }
    }
    Ok(None)
}

/// The places that a statement returns; none if they are more than `limit`.
fn spots(
    conn: &Connection,
    sql: &str,
    origin: &dyn ToSql,
    value: &dyn ToSql,
    limit: usize,
) -> Result<Option<Vec<Spot>>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let parameters: [&dyn ToSql; 3] = [origin, value, &row_limit(limit)];
    let spots = statement.query_map(parameters, Spot::read)?;
    let spots: Vec<Spot> = spots.collect::<Result<_, _>>()?;
    Ok((spots.len() <= limit).then_some(spots))
}
