//! The text index, and how the writer keeps it up to date.
//!
//! The index `link_text` holds the trigrams of each link's code, URLs and title under the link's `id`. It has no copy of
//! the texts (`content = ''`) and no places of the trigrams in them (`detail = 'none'`), so it takes some hundred bytes
//! for a link, and finds *candidates*: a search reads the links and looks at the texts itself.
//!
//! Triggers note the `id` of each link that is made, changed or deleted in `link_todo`. The writer brings those links into
//! the index when it is idle, a piece at a time, in transactions of its own. So a registration pays for one small row
//! and not for its trigrams, and many links cost less together than one by one. Until then a search reads the noted links
//! without the index (`search`); what it finds never depends on how far the index is. A file of an earlier version starts
//! with all links noted, so the server need not wait for the index.
//!
//! Not chosen: a trigger that writes into the index. FTS5 writes its memory to the file at each savepoint, which SQLite
//! sets for each statement with triggers; so a batch of 256 registrations would make 256 pieces of index, which FTS5 then
//! merges.

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

/// How many links go into the index in one transaction: some ten milliseconds of the writer's time.
const PIECE: i64 = 500;

/// How long the writer is idle before it indexes a piece. A piece takes as long as some batches of registrations, and
/// clients that wait for their replies leave short pauses between them, so those must not count.
const IDLE: Duration = Duration::from_millis(100);
/// The pause between two pieces while the writer stays idle.
const BETWEEN: Duration = Duration::from_millis(5);
/// How long the index may fall behind while the writer is never idle; then it indexes a piece all the same.
const OVERDUE: Duration = Duration::from_secs(5);
/// The pause after a piece that could not be written, such as for a full disk.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often the writer looks for links that another program has changed.
const LOOK: Duration = Duration::from_secs(5);

/// When the writer indexes its next piece.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Whether links are noted, as far as the writer knows.
    is_behind: bool,
    /// When it indexed its last piece.
    last: Instant,
    /// When links were noted last.
    written: Instant,
    /// Not before this time.
    not_before: Instant,
}

impl Schedule {
    /// The schedule at the start, when links may be noted.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_behind: true,
            last: now,
            written: now,
            not_before: now,
        }
    }

    /// How long the writer may wait for a write before it indexes a piece.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let idle = (self.written + IDLE).saturating_duration_since(now);
        let pause = match self.is_behind {
            true => idle.max(BETWEEN),
            false => (self.last + LOOK).saturating_duration_since(now),
        };
        pause.max(self.not_before.saturating_duration_since(now))
    }

    /// Whether it is time for a piece when the writer is idle.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_idle = self.is_behind && now >= self.written + IDLE;
        now >= self.not_before && (is_idle || self.is_overdue(now) || now >= self.last + LOOK)
    }

    /// Whether it is time for a piece although the writer is not idle.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.is_behind && now >= self.last + OVERDUE
    }

    /// Links may have been noted.
    pub(super) fn note_writes(&mut self, now: Instant) {
        self.is_behind = true;
        self.written = now;
    }

    /// A piece is in the index, and more may be missing.
    pub(super) fn indexed(&mut self, now: Instant, more: bool) {
        self.is_behind = more;
        self.last = now;
    }

    /// A piece could not be written.
    pub(super) fn failed(&mut self, now: Instant) {
        self.last = now;
        self.not_before = now + AFTER_FAILURE;
    }
}

/// The texts of a link in one, so that each link has one row. No trigram across a line feed is searched for. With two line
/// feeds at the end, each character begins a trigram, so that a search for one or two characters finds all of them.
const ADD: &str = "INSERT INTO link_text (rowid, text) \
    SELECT id, code || char(10) || url || char(10) || coalesce((SELECT group_concat(value ->> 'url', char(10)) || char(10) \
        FROM json_each(CASE WHEN json_valid(destinations) THEN destinations END, '$.others') WHERE type = 'object'), '') \
        || coalesce(title || char(10), '') || char(10) FROM link \
    WHERE id IN (SELECT id FROM link_todo ORDER BY id LIMIT ?1)";
const REMOVE: &str =
    "DELETE FROM link_text WHERE rowid IN (SELECT id FROM link_todo ORDER BY id LIMIT ?1)";
const DONE: &str =
    "DELETE FROM link_todo WHERE id IN (SELECT id FROM link_todo ORDER BY id LIMIT ?1)";

pub(super) const STATEMENTS: &[&str] = &[ADD, REMOVE, DONE];

/// Brings some of the noted links into the index. True if others may be left.
pub(super) fn index_piece(conn: &mut Connection) -> rusqlite::Result<bool> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.prepare_cached(REMOVE)?.execute([PIECE])?;
    tx.prepare_cached(ADD)?.execute([PIECE])?;
    let done = tx.prepare_cached(DONE)?.execute([PIECE])?;
    match done {
        // Nothing was changed, and nothing needs a sync.
        0 => tx.rollback()?,
        _ => tx.commit()?,
    }
    Ok(i64::try_from(done).unwrap_or(i64::MAX) >= PIECE)
}
