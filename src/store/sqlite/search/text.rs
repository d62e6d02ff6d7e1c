//! The places of the links that may contain a text, by the text index.
//!
//! The index knows the parts of three characters of each link. A longer text is looked up by its rarest parts: a part
//! that most links have leaves hardly fewer of them, and costs a walk through all of them. How rare a part is, the index
//! does not tell, so a [sample](SAMPLES) is counted. A shorter text is the beginning of parts that the index has in the
//! order of their characters; each text ends with two characters more, so that also its last characters begin a part.

use std::time::Instant;

use rusqlite::Connection;

use super::Spot;
use super::trigrams::Wanted;
use crate::store::{SearchText, StoreError};

/// How many links a search of the text index covers at once, between two looks at the clock.
const STRETCH: i64 = 1 << 16;
/// How many links a sample covers, and how many samples there are.
const SAMPLE: i64 = 2_048;
const SAMPLES: i64 = 2;
/// How many of the parts of a text are looked up at most, and how many times as frequent as the rarest one they may be. More
/// of them hardly leave fewer links, and each costs time.
const MAX_PARTS: usize = 5;
const MAX_RATIO: i64 = 30;

/// `?2` is the query, `?3` and `?4` are the bounds of the stretch, inclusive.
const TEXT: &str = "SELECT link.created_at, link.code FROM link_text CROSS JOIN link INDEXED BY link_id \
    ON link.id = link_text.rowid AND link.origin = ?1 \
    WHERE link_text MATCH ?2 AND link_text.rowid BETWEEN ?3 AND ?4 LIMIT ?5";
const SAMPLED: &str =
    "SELECT count(*) FROM link_text WHERE link_text MATCH ?1 AND rowid BETWEEN ?2 AND ?3";
/// The links with parts from `?1` to `?2`. A link is there once for each of them.
const BEGINNINGS: &str = "SELECT doc FROM link_part WHERE term >= ?1 AND term <= ?2 LIMIT ?3";
const NUMBERED: &str =
    "SELECT created_at, code FROM link INDEXED BY link_id WHERE id = ?1 AND origin = ?2";
const LAST_ID: &str = "SELECT coalesce(max(id), 0) FROM link";
/// The links that are noted for the index.
const NOTED: &str = "SELECT link.created_at, link.code FROM link_todo CROSS JOIN link INDEXED BY link_id \
    ON link.id = link_todo.id AND link.origin = ?1 LIMIT ?2";
const IS_NOTED_OFTEN: &str = "SELECT count(*) > ?1 FROM (SELECT 1 FROM link_todo LIMIT ?1 + 1)";

pub(super) const STATEMENTS: &[&str] = &[
    TEXT,
    SAMPLED,
    BEGINNINGS,
    NUMBERED,
    LAST_ID,
    NOTED,
    IS_NOTED_OFTEN,
];

/// A search of the text index.
struct Search<'a> {
    conn: &'a Connection,
    origin: &'a str,
    /// How many places it may find.
    limit: usize,
    deadline: Instant,
    found: Vec<Spot>,
}

/// The places of the links that may contain a text: those that the index has found, and those that are not in it yet.
/// None if they are more than `limit`, if the index does not know the text, or if the search takes too long.
pub(super) fn with_text(
    conn: &Connection,
    origin: &str,
    text: &SearchText,
    (limit, deadline): (usize, Instant),
) -> Result<Option<Vec<Spot>>, StoreError> {
    let wanted = Wanted::of(text.as_str());
    let mut search = Search {
        conn,
        origin,
        limit,
        deadline,
        found: Vec::new(),
    };
    let is_done = !matches!(wanted, Wanted::Unknown)
        && search.add_noted()?
        && match wanted {
            Wanted::Parts(parts) => search.add_parts(parts)?,
            Wanted::Beginning(first, last) => search.add_beginnings(&first, &last)?,
            Wanted::Unknown => false,
        };
    let mut found = search.found;
    // A link that is noted may be in the index as well, and one may have several parts.
    found.sort_unstable_by(|a, b| (&a.code, a.created_at).cmp(&(&b.code, b.created_at)));
    found.dedup();
    Ok((is_done && found.len() <= limit).then_some(found))
}

impl Search<'_> {
    /// Adds the links that are noted for the index. False if they are too many.
    fn add_noted(&mut self) -> Result<bool, StoreError> {
        let most = row_limit(self.limit);
        let often: bool = self
            .conn
            .prepare_cached(IS_NOTED_OFTEN)?
            .query_row([most], |row| row.get(0))?;
        if often {
            return Ok(false);
        }
        let mut noted = self.conn.prepare_cached(NOTED)?;
        for spot in noted.query_map((self.origin, most), Spot::read)? {
            self.found.push(spot?);
        }
        Ok(true)
    }

    /// Adds the links that have all of these parts. False if they are too many, or if it takes too long.
    fn add_parts(&mut self, parts: Vec<String>) -> Result<bool, StoreError> {
        let last: i64 = self
            .conn
            .prepare_cached(LAST_ID)?
            .query_row([], |row| row.get(0))?;
        let wanted = self.rarest(parts, last)?.join(" AND ");
        let mut statement = self.conn.prepare_cached(TEXT)?;
        let mut from = 0;
        while from <= last {
            if self.is_over() {
                return Ok(false);
            }
            let to = from.saturating_add(STRETCH - 1);
            let left = row_limit(self.limit - self.found.len());
            for spot in statement.query_map((self.origin, &wanted, from, to, left), Spot::read)? {
                self.found.push(spot?);
            }
            from = to.saturating_add(1);
        }
        Ok(true)
    }

    /// The parts that the fewest links have, as far as a sample tells.
    fn rarest(&self, parts: Vec<String>, last: i64) -> Result<Vec<String>, StoreError> {
        let mut sampled = self.conn.prepare_cached(SAMPLED)?;
        let mut counted = Vec::with_capacity(parts.len());
        for part in parts {
            let mut count: i64 = 0;
            for sample in 0..SAMPLES {
                // Evenly spread, and not at the beginning, where the oldest links are.
                let from = last / (SAMPLES + 1) * (sample + 1);
                let to = from.saturating_add(SAMPLE - 1);
                count += sampled.query_row((&part, from, to), |row| row.get::<_, i64>(0))?;
            }
            counted.push((count, part));
        }
        counted.sort_unstable();
        let most = counted
            .first()
            .map_or(0, |(count, _)| (count + 1) * MAX_RATIO);
        let rarest = counted.into_iter().take_while(|(count, _)| *count <= most);
        Ok(rarest.take(MAX_PARTS).map(|(_, part)| part).collect())
    }

    /// Adds the links with parts from `first` to `last`. False if they are too many, or if it takes too long.
    fn add_beginnings(&mut self, first: &str, last: &str) -> Result<bool, StoreError> {
        let mut statement = self.conn.prepare_cached(BEGINNINGS)?;
        let numbers = statement.query_map((first, last, row_limit(self.limit)), |row| row.get(0));
        let mut numbers = numbers?.collect::<Result<Vec<i64>, _>>()?;
        if numbers.len() > self.limit {
            return Ok(false);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut statement = self.conn.prepare_cached(NUMBERED)?;
        for number in numbers {
            if self.is_over() {
                return Ok(false);
            }
            for spot in statement.query_map((number, self.origin), Spot::read)? {
                self.found.push(spot?);
            }
        }
        Ok(true)
    }

    fn is_over(&self) -> bool {
        self.found.len() > self.limit || Instant::now() > self.deadline
    }
}

/// One more than `limit`, which shows that there are more.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}
