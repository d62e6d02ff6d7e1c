//! Watching over what is written: that it goes into the right file, and that it can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::condition::{Condition, Fault, WriteHealth};
use super::guard::Guard;
use super::other_writers::Lookout;
use super::{change, schema, session};

/// How often a write is tried while writes fail, so that they are taken again without a caller.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Sees to it that what is written is written to the right file, and that it can be.
pub(super) struct Warden {
    pub(super) lookout: Lookout,
    /// None for a database in memory.
    pub(super) guard: Option<Guard>,
    pub(super) condition: Arc<Condition>,
    pub(super) health: WriteHealth,
    pub(super) next_probe: Instant,
    /// The session of the last commit, and whether it is in the file: at the start the disk may be full.
    pub(super) session: i64,
    pub(super) has_written: bool,
}

impl Warden {
    pub(super) fn new(
        lookout: Lookout,
        guard: Option<Guard>,
        condition: Arc<Condition>,
        (session, has_written): (i64, bool),
    ) -> Self {
        Self {
            lookout,
            guard,
            condition,
            health: WriteHealth::default(),
            next_probe: Instant::now(),
            session,
            has_written,
        }
    }

    /// How long until there is something to see to.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        let look = self.lookout.due_in(now);
        match self.health.is_failing() {
            true => look.min(self.next_probe.saturating_duration_since(now)),
            false => look,
        }
    }

    /// Looks at the file, outside of a transaction. What was acknowledged is saved in the file that it
    /// belongs to, wherever that is now: its log may have been left behind, beside another one.
    pub(super) fn look_at_file(&mut self, conn: &Connection) -> Option<Fault> {
        let guard = self.guard.as_mut()?;
        let fault = guard.look();
        if self.condition.set_fault(fault) && fault.is_some_and(|fault| fault != Fault::Overwritten)
        {
            if let Err(error) = schema::checkpoint(conn) {
                tracing::warn!(%error, "the log of the link store was not moved into its file");
            }
            guard.leave();
        }
        fault
    }

    /// Looks whether others have written; false if they have brought back what was before.
    pub(super) fn look_for_others(&mut self, conn: &Connection) -> bool {
        let Some(guard) = self.guard.as_mut().filter(|_| self.lookout.look(conn)) else {
            return true;
        };
        match session::current(conn) {
            // Of a server that could write nothing so far, none is in the file.
            Ok(found) if found == Some(self.session) || !self.has_written => true,
            Ok(_) => {
                guard.note_restored();
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the session cannot be read");
                true
            }
        }
    }

    /// What is done every second.
    pub(super) fn look_around(&mut self, conn: &Connection) {
        match self.look_at_file(conn) {
            Some(fault) if fault.spoils_reads() => self.lookout.pause(),
            _ => drop(self.look_for_others(conn)),
        }
        // What has just been seen counts at once.
        self.look_at_file(conn);
    }

    /// Tries to write, if it is time to.
    pub(super) fn probe(&mut self, conn: &mut Connection) {
        if !self.health.is_failing() || Instant::now() < self.next_probe {
            return;
        }
        if self.look_at_file(conn).is_none() {
            match change::probe(conn) {
                Ok(()) => self.health.worked(&self.condition),
                Err(error) => self.health.failed(&self.condition, 0, &error.to_string()),
            }
        }
        self.next_probe = Instant::now() + PROBE_EVERY;
    }

    /// So many writes failed for this reason.
    pub(super) fn failed(&mut self, writes: usize, reason: &str) {
        self.health.failed(&self.condition, writes, reason);
        self.next_probe = Instant::now() + PROBE_EVERY;
    }
}
