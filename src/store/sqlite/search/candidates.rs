//! The places of all links that one of the filters leaves, if they are few.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ToSql};

use super::trigrams::fts_query;
use super::{MAX_CANDIDATES, Spot};
use crate::store::{Query, SearchText, State, StoreError};

/// Candidates by an index that is as good as it gets: with so few, other filters are not tried.
const FEW: usize = 200;
/// The most candidates by [`ENDED`], which reads rows.
const MAX_ENDED: usize = 4_000;
/// How many links a search of the text index covers at once. The index looks at the rarest parts of a text first, so this
/// takes well under a millisecond for most texts, and some milliseconds for those whose parts are everywhere.
const STRETCH: i64 = 1 << 16;
/// How long the text index is searched for one page.
const TEXT_TIME: Duration = Duration::from_millis(15);

const TAG: &str = "SELECT created_at, code FROM link_tag WHERE origin = ?1 AND tag = ?2 LIMIT ?3";
const HOST: &str = "SELECT created_at, code FROM link INDEXED BY link_host \
    WHERE origin = ?1 AND host = ?2 LIMIT ?3";
const CREATOR: &str = "SELECT created_at, code FROM link INDEXED BY link_creator \
    WHERE origin = ?1 AND created_by = ?2 LIMIT ?3";
const ENDED: &str = "SELECT created_at, code FROM link INDEXED BY link_expiry \
    WHERE origin = ?1 AND expires_at <= ?2 LIMIT ?3";
/// `?2` has no meaning. The index has few entries, since few links are withheld.
const WITHHELD: &str = "SELECT created_at, code FROM link INDEXED BY link_withheld \
    WHERE origin = ?1 AND withheld IS NOT NULL AND ?2 IS NULL LIMIT ?3";
/// `?2` is the query, `?3` and `?4` are the bounds of the stretch, inclusive.
const TEXT: &str = "SELECT link.created_at, link.code FROM link_text CROSS JOIN link INDEXED BY link_id \
    ON link.id = link_text.rowid AND link.origin = ?1 \
    WHERE link_text MATCH ?2 AND link_text.rowid BETWEEN ?3 AND ?4 LIMIT ?5";
const LAST_ID: &str = "SELECT coalesce(max(id), 0) FROM link";
/// The links that are noted for the index.
const NOTED: &str = "SELECT link.created_at, link.code FROM link_todo CROSS JOIN link INDEXED BY link_id \
    ON link.id = link_todo.id AND link.origin = ?1 LIMIT ?2";
const IS_NOTED_OFTEN: &str = "SELECT count(*) > ?1 FROM (SELECT 1 FROM link_todo LIMIT ?1 + 1)";

pub(super) const STATEMENTS: &[&str] = &[
    TAG,
    HOST,
    CREATOR,
    ENDED,
    WITHHELD,
    TEXT,
    LAST_ID,
    NOTED,
    IS_NOTED_OFTEN,
];

/// The places of the links that the filter leaves that leaves the fewest, in any order; none if all leave more than
/// [`MAX_CANDIDATES`].
pub(super) fn candidates(
    conn: &Connection,
    query: &Query,
) -> Result<Option<Vec<Spot>>, StoreError> {
    let mut best: Option<Vec<Spot>> = None;
    let equal: [(&str, Option<&str>); 3] = [
        (TAG, query.tag.as_ref().map(|tag| tag.as_str())),
        (HOST, query.host.as_deref()),
        (CREATOR, query.created_by.as_deref()),
    ];
    for (sql, value) in equal {
        if let Some(value) = value {
            let limit = best.as_ref().map_or(MAX_CANDIDATES, Vec::len);
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
            let limit = best.as_ref().map_or(MAX_CANDIDATES, Vec::len);
            best = spots(conn, WITHHELD, &origin, &None::<i64>, limit)?.or(best);
        }
        Some(State::Current | State::Live) | None => {}
    }
    if let Some(text) = &query.text {
        let limit = best.as_ref().map_or(MAX_CANDIDATES, Vec::len);
        best = with_text(conn, query, text, limit)?.or(best);
    }
    Ok(best)
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

/// One more than `limit`, which shows that there are more.
fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}

/// The places of the links that may contain a text: those that the index has found, and those that are not in it yet.
/// None if they are more than `limit`, if the text is too short, or if the search takes too long.
fn with_text(
    conn: &Connection,
    query: &Query,
    text: &SearchText,
    limit: usize,
) -> Result<Option<Vec<Spot>>, StoreError> {
    let Some(wanted) = fts_query(text.as_str()) else {
        return Ok(None);
    };
    let began = Instant::now();
    let origin = query.origin.as_str();
    let often: bool = conn
        .prepare_cached(IS_NOTED_OFTEN)?
        .query_row([row_limit(limit)], |row| row.get(0))?;
    if often {
        return Ok(None);
    }
    let mut noted = conn.prepare_cached(NOTED)?;
    let noted = noted.query_map((origin, row_limit(limit)), Spot::read)?;
    let mut found: Vec<Spot> = noted.collect::<Result<_, _>>()?;
    let last: i64 = conn
        .prepare_cached(LAST_ID)?
        .query_row([], |row| row.get(0))?;
    let mut statement = conn.prepare_cached(TEXT)?;
    let mut from = 0;
    while from <= last {
        if found.len() > limit || began.elapsed() > TEXT_TIME {
            return Ok(None);
        }
        let to = from.saturating_add(STRETCH - 1);
        let left = row_limit(limit - found.len());
        let spots = statement.query_map((origin, &wanted, from, to, left), Spot::read)?;
        for spot in spots {
            found.push(spot?);
        }
        from = to.saturating_add(1);
    }
    // A link that is noted may be in the index as well.
    found.sort_unstable_by(|a, b| (&a.code, a.created_at).cmp(&(&b.code, b.created_at)));
    found.dedup();
    Ok((found.len() <= limit).then_some(found))
}
