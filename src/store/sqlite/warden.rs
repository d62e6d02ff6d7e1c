//! The warden makes sure that writes go to the right file, and knows whether they work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::condition::{Condition, Fault, WriteHealth};
use super::guard::Guard;
use super::other_writers::Lookout;
use super::{change, schema, session};

/// How often a write is tried while writes fail, so that changes are taken again without waiting for one.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(super) struct Warden {
    pub(super) lookout: Lookout,
    /// None for a database in memory.
    pub(super) guard: Option<Guard>,
    pub(super) condition: Arc<Condition>,
    pub(super) health: WriteHealth,
    pub(super) next_probe: Instant,
    /// The session of the last commit, and whether it is in the file. It is not if the disk was full at the start.
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

    /// The time until the next regular check or probe.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        let look = self.lookout.due_in(now);
        match self.health.is_failing() {
            true => look.min(self.next_probe.saturating_duration_since(now)),
            false => look,
        }
    }

    /// Checks the file; must be called outside of a transaction. If the file has been moved, saves everything that
    /// was acknowledged in it, wherever it is now: its log may have stayed behind, beside another file.
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

    /// Looks for writes of other programs. False if they have replaced the content by an earlier one.
    pub(super) fn look_for_others(&mut self, conn: &Connection) -> bool {
        let Some(guard) = self.guard.as_mut().filter(|_| self.lookout.look(conn)) else {
            return true;
        };
        match session::current(conn) {
            // If this server could not write yet, its session is not in the file.
            Ok(found) if found == Some(self.session) || !self.has_written => true,
            Ok(_) => {
                guard.note_restored();
                false
            }
            Err(error) => {
                tracing::debug!(%error, "cannot read the session");
                true
            }
        }
    }

    /// The checks of every second.
    pub(super) fn look_around(&mut self, conn: &Connection) {
        match self.look_at_file(conn) {
            Some(fault) if fault.spoils_reads() => self.lookout.pause(),
            _ => drop(self.look_for_others(conn)),
        }
        // A replaced content counts at once.
        self.look_at_file(conn);
    }

    /// Tries a write while writes fail, if it is time.
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
