//! Finding out that another program has written to the file.
//!
//! `PRAGMA data_version` gives a number that moves when a connection finds that *another* connection has
//! changed the file. All our commits are made by the writer's connection, so there the number stands
//! still for them, and for the checkpoints that it makes on the way; the readers write nothing. What does
//! move it is a commit of another program, or that it has cut off the log, which is taken for one. No
//! commit is missed because our own comes between it and the look: a transaction begins by reading the
//! log's state, and moves the number then.
//!
//! It has to be the writer's own connection: on any other, our commits would move the number too, and
//! they could not be told from those of others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::store::watch::{LOOK_EVERY, Watch};

const DATA_VERSION: &str = "PRAGMA data_version";

/// Looks for changes of others, on the writer's connection.
pub(crate) struct Lookout {
    watch: Arc<Watch>,
    /// What the last look has found.
    version: i64,
    next: Instant,
}

impl Lookout {
    /// Looks for the first time.
    pub(crate) fn new(conn: &Connection) -> rusqlite::Result<Self> {
        let began = Instant::now();
        Ok(Self {
            version: data_version(conn)?,
            watch: Arc::new(Watch::new(began)),
            next: began + LOOK_EVERY,
        })
    }

    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// How long until a look is due.
    pub(crate) fn due_in(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Looks; within a transaction or outside; whether others have written. Where that fails nothing is
    /// noted, and what the last look has found grows too old to be relied on.
    pub(crate) fn look(&mut self, conn: &Connection) -> bool {
        let began = Instant::now();
        self.next = began + LOOK_EVERY;
        match data_version(conn) {
            Ok(version) => {
                let have_written = version != self.version;
                self.watch.note_look(began, have_written);
                self.version = version;
                have_written
            }
            Err(error) => {
                tracing::warn!(%error, "cannot see whether others write to the store");
                false
            }
        }
    }

    /// Puts a look off that would tell nothing: the file is not what it was.
    pub(crate) fn pause(&mut self) {
        self.next = Instant::now() + LOOK_EVERY;
    }
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(DATA_VERSION)?
        .query_row([], |row| row.get(0))
}
