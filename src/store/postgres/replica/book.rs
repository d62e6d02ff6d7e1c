//! Where a read goes: to the replica or to the server that takes changes, the *writer*. All of it is decided here, without
//! I/O.

use std::time::{Duration, Instant};

use super::super::connect::Run;
use super::awaited::Awaited;
use super::progress::Progress;
use crate::link::LinkName;

/// What a read asks for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Need<'a> {
    /// The state of a name.
    Name(&'a LinkName),
    /// The states of names none of which is awaited.
    Names,
    /// A list for people.
    List,
    /// Names or links of the whole store, with all that was noted before.
    All,
    /// What was committed before this moment.
    Since(Instant),
    /// Entries of the feed. These come from where links are read.
    Feed,
}

/// Where a read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Route {
    /// To the writer alone.
    Writer,
    /// To the writer; if that cannot be reached, to this run of the replica.
    WriterFirst(Seen),
    /// To this run of the replica; if that fails, to the writer.
    ReplicaFirst(Seen),
}

/// A run of the replica, and up to when it shows everything, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(in super::super) run: Run,
    pub(in super::super) as_of: Option<Instant>,
}

/// Why the replica is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// It was not reached yet.
    Starting,
    /// It cannot be reached, for this reason.
    Unreachable(String),
    /// It takes changes.
    NoReplica,
    /// It has another history than the database.
    OtherHistory,
    /// It has not replayed the tables of this version yet.
    OldTables,
    /// A later version of tinyns has made its tables.
    NewTables,
}

/// What is known of the replica and of the writer.
#[derive(Debug)]
pub(super) struct Book {
    /// How much the replica may lag while the writer can be reached.
    bound: Duration,
    /// The history of the writer, once a position of it was read.
    history: Option<u64>,
    progress: Progress,
    awaited: Awaited,
    /// None while the replica can be used.
    unused: Option<Unused>,
    writer_is_away: bool,
    /// Whether links may have been read that are older than what was known before.
    owes_gap: bool,
}

impl Book {
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            bound,
            history: None,
            progress: Progress::default(),
            awaited: Awaited::default(),
            unused: Some(Unused::Starting),
            writer_is_away: false,
            owes_gap: false,
        }
    }

    /// Where a read goes.
    pub(super) fn route(&mut self, need: Need<'_>, now: Instant) -> Route {
        let (None, Some(run)) = (&self.unused, self.progress.run()) else {
            return Route::Writer;
        };
        let as_of = self.progress.as_of();
        let lacks = match need {
            Need::Name(name) => self.awaited.holds(name, as_of),
            Need::All => self.awaited.is_pending(as_of),
            Need::Since(moment) => as_of.is_none_or(|as_of| as_of <= moment),
            Need::Names | Need::List | Need::Feed => false,
        };
        if lacks {
            return Route::Writer;
        }
        let is_recent =
            as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) <= self.bound);
        let missed = self.awaited.has_missed(as_of);
        let is_listed = matches!(need, Need::List) && self.awaited.is_pending(as_of);
        let seen = Seen { run, as_of };
        if is_recent && !missed && !is_listed {
            return Route::ReplicaFirst(seen);
        }
        // A run that is not measured must not be further back than one that was used before.
        if as_of.is_none() && !(self.writer_is_away && self.progress.is_furthest()) {
            return Route::Writer;
        }
        if !self.writer_is_away {
            return Route::WriterFirst(seen);
        }
        self.owes_gap |= as_of.is_none() || missed;
        Route::ReplicaFirst(seen)
    }

    /// Notes that a read that should have gone to the writer went to the replica.
    pub(super) fn note_fallback(&mut self) {
        self.owes_gap |= self.awaited.has_missed(self.progress.as_of());
    }

    /// Whether a reader of the feed has to begin anew: links may have been read that are older than what it has read, and the
    /// replica shows all of that now. True once for each time.
    pub(super) fn takes_gap(&mut self) -> bool {
        let as_of = self.progress.as_of();
        let is_due = self.owes_gap && as_of.is_some() && !self.awaited.has_missed(as_of);
        self.owes_gap &= !is_due;
        is_due
    }

    /// Whether this name is awaited: it must be read from the writer.
    pub(super) fn awaits(&self, name: &LinkName) -> bool {
        self.awaited.holds(name, self.progress.as_of())
    }

    /// Notes a change of a name that was committed before `at`.
    pub(super) fn note(&mut self, name: &LinkName, at: Instant) {
        self.awaited.note(name, at, self.progress.as_of());
    }

    /// Notes that changes may have been missed that were committed before `at`.
    pub(super) fn note_missed(&mut self, at: Instant) {
        self.awaited.note_missed(at);
    }

    /// Notes a position of the writer's log, and its history; see [`Progress`].
    pub(super) fn sample(&mut self, at: Instant, history: u64, position: u64) {
        self.writer_is_away = false;
        if self.history != Some(history) {
            self.history = Some(history);
            self.progress.reset();
        }
        self.progress.sample(at, position);
        self.awaited.settle(self.progress.as_of());
    }

    /// Notes that the writer cannot be reached.
    pub(super) fn lose_writer(&mut self) {
        self.writer_is_away = true;
    }

    /// Notes which history a replica has, which run it is, and how far; or why it is not used. Returns whether that is another
    /// run than before.
    pub(super) fn observe(&mut self, found: Result<(u64, Run, u64), Unused>) -> bool {
        match found {
            // Positions of different histories do not compare.
            Ok((history, ..)) if self.history.is_some_and(|held| held != history) => {
                self.unused = Some(Unused::OtherHistory);
                false
            }
            Ok((_, run, replayed)) => {
                let is_other = self.progress.run() != Some(run);
                self.progress.observe(run, replayed);
                self.awaited.settle(self.progress.as_of());
                self.unused = None;
                is_other
            }
            Err(why) => {
                self.unused = Some(why);
                false
            }
        }
    }

    /// Whether a moment is waited for that the replica does not show yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.unused.is_none() && self.awaited.is_pending(self.progress.as_of())
    }

    /// Up to when the replica shows everything, if that is known and it can be used.
    pub(super) fn as_of(&self) -> Option<Instant> {
        self.progress.as_of().filter(|_| self.unused.is_none())
    }

    /// How far the replica lags behind; none if that is not known, or the replica cannot be used.
    pub(super) fn lag(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.as_of()?))
    }

    pub(super) fn unused(&self) -> Option<&Unused> {
        self.unused.as_ref()
    }

    pub(super) fn writer_is_away(&self) -> bool {
        self.writer_is_away
    }

    pub(super) fn bound(&self) -> Duration {
        self.bound
    }

    /// How many names are awaited.
    pub(super) fn names(&self) -> usize {
        self.awaited.len()
    }
}

#[cfg(test)]
mod tests;
