//! The lookout notices that another program has written to the file.
//!
//! `PRAGMA data_version` returns a number that changes when a connection finds that *another* connection has
//! changed the file. The writer's connection makes all commits and checkpoints of this server, and the readers
//! write nothing. So on the writer's connection the number changes only if another program has committed, or has
//! truncated the log, which counts as a commit. A commit between two looks is not missed even if one of our own
//! follows it: a transaction begins by reading the state of the log, which changes the number.
//!
//! The look must use the writer's own connection: on any other one, our own commits would change the number as
//! well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::store::watch::{LOOK_EVERY, Watch};

const DATA_VERSION: &str = "PRAGMA data_version";

/// Looks for writes of other programs, on the writer's connection.
pub(crate) struct Lookout {
    watch: Arc<Watch>,
    /// The number at the last look.
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

    /// The time until the next look.
    pub(crate) fn due_in(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Whether other programs have written since the last look. May be called inside or outside of a transaction.
    /// If the look fails, it is not recorded, and the last one expires.
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
                tracing::warn!(%error, "cannot check whether other programs write to the link store");
                false
            }
        }
    }

    /// Postpones the next look: while the file is not the right one, it would say nothing.
    pub(crate) fn pause(&mut self) {
        self.next = Instant::now() + LOOK_EVERY;
    }
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(DATA_VERSION)?
        .query_row([], |row| row.get(0))
}
