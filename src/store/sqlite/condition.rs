//! The faults of the file and the state of writes, for callers, `/readyz` and the log. The writer records them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::{Effect, StoreError, Trouble};

/// How often the log says that writes still fail.
const REPORT: Duration = Duration::from_secs(60);

/// What is wrong with the file: it is no longer the open one, or no longer holds what this server has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no file at the path.
    Missing,
    /// Another file is there.
    Replaced,
    /// It is the same file, but another program has written into it without SQLite.
    Overwritten,
    /// It is the same file, but another program has replaced its content by SQLite. File and log are in order.
    Restored,
    /// The log or its index was deleted or replaced.
    LogLost,
    /// The system refuses access to the path.
    Unseen,
}

impl Fault {
    /// What is wrong and what to do, without the file's name.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing => {
                "the link store's file was deleted or renamed; put it back (after a restart without it \
                 the store is empty)"
            }
            Self::Replaced => {
                "another file is in the place of the link store's; restart tinyns to serve that file, or \
                 put the former one back"
            }
            Self::Overwritten | Self::Restored => {
                "another program has replaced the content of the link store's file; restart tinyns to \
                 serve what it holds now"
            }
            Self::LogLost => {
                "the link store's log (the file with -wal or -shm at its end) was deleted or replaced; \
                 restart tinyns by SIGTERM, which saves all links in the store's file"
            }
            Self::Unseen => {
                "the link store's file cannot be checked; give the server's user access to its directory"
            }
        }
    }

    /// The effect on the server. If the file is gone from its path, the next start will not find it; if only the
    /// log is affected, a restart repairs it.
    fn effect(self) -> Effect {
        match self {
            Self::Missing | Self::Replaced | Self::Overwritten | Self::Restored => {
                Effect::NotServing
            }
            Self::LogLost | Self::Unseen => Effect::NoChanges,
        }
    }

    /// Whether reads of the open file may return links that are outdated.
    pub(super) fn spoils_reads(self) -> bool {
        match self {
            Self::Replaced | Self::Overwritten | Self::Restored => true,
            Self::Missing | Self::LogLost | Self::Unseen => false,
        }
    }
}

/// See the [module](self). The writer sets it, all others read it.
#[derive(Debug)]
pub(super) struct Condition {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// Why writes fail.
    writes: Option<String>,
}

impl Condition {
    /// The condition of a sound file.
    pub(super) fn new(path: PathBuf) -> Self {
        let state = Mutex::default();
        Self { path, state }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// Why writes fail; none if they do not.
    #[cfg(test)]
    fn writes(&self) -> Option<String> {
        self.state().writes
    }

    /// An error if the fault of the file forbids reads.
    pub(super) fn check_reads(&self) -> Result<(), StoreError> {
        match self.fault() {
            Some(fault) if fault.spoils_reads() => Err(self.refusal(fault)),
            _ => Ok(()),
        }
    }

    /// The error of a call that was refused because of a fault.
    pub(super) fn refusal(&self, fault: Fault) -> StoreError {
        StoreError::Refused(self.text(fault))
    }

    /// The error of a write that was made, but perhaps into the wrong file.
    pub(super) fn doubt(&self, fault: Fault) -> StoreError {
        StoreError::Unavailable(self.text(fault))
    }

    /// What is wrong, for `/readyz`.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let State { fault, writes } = self.state();
        let fault = fault.map(|fault| Trouble::new(fault.effect(), fault.reason()));
        let writes = writes.map(|reason| Trouble::new(Effect::NoChanges, reason));
        fault.into_iter().chain(writes).collect()
    }

    fn text(&self, fault: Fault) -> String {
        format!("{}: {}", self.path.display(), fault.reason())
    }

    /// Records the fault, or that there is none. True if that is new; it is then logged.
    pub(super) fn set_fault(&self, fault: Option<Fault>) -> bool {
        let before = std::mem::replace(&mut self.lock().fault, fault);
        if before == fault {
            return false;
        }
        let file = self.path.display();
        match fault {
            Some(fault) => tracing::error!(%file, "{}", fault.reason()),
            None => tracing::info!(%file, "the link store's file is in its place again"),
        }
        true
    }

    fn set_writes(&self, reason: Option<String>) {
        self.lock().writes = reason;
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether writes work. The log gets a line when they begin to fail, one each minute while they do, and one when
/// they work again, however many writes are refused.
#[derive(Debug, Default)]
pub(super) struct WriteHealth {
    failing: Option<Failing>,
    /// When the log last said that writes fail.
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    refused: u64,
    /// Whether the log has said so since they began to fail.
    logged: bool,
}

impl WriteHealth {
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// So many writes have failed for this reason.
    pub(super) fn failed(&mut self, condition: &Condition, writes: usize, reason: &str) {
        let now = Instant::now();
        let failing = self.failing.get_or_insert(Failing {
            since: now,
            refused: 0,
            logged: false,
        });
        failing.refused += writes as u64;
        condition.set_writes(Some(refusal(reason)));
        if self.logged.is_some_and(|logged| now - logged < REPORT) {
            return;
        }
        self.logged = Some(now);
        let (refused, seconds) = (failing.refused, failing.since.elapsed().as_secs());
        match failing.logged {
            false => tracing::error!(refused, "{}", refusal(reason)),
            true => tracing::error!(refused, seconds, "still, {}", refusal(reason)),
        }
        failing.logged = true;
    }

    /// A write has been committed.
    pub(super) fn worked(&mut self, condition: &Condition) {
        let Some(failing) = self.failing.take() else {
            return;
        };
        condition.set_writes(None);
        if failing.logged {
            let (refused, seconds) = (failing.refused, failing.since.elapsed().as_secs());
            tracing::info!(refused, seconds, "the link store takes changes again");
        }
    }
}

/// The message: what is wrong and what to do.
fn refusal(reason: &str) -> String {
    let advice = if reason.contains("full") {
        "make room on its file system"
    } else if reason.contains("locked") {
        "end the long transaction of the other program"
    } else if reason.contains("readonly") {
        "make the file and its file system writable"
    } else {
        "check its disk"
    };
    format!(
        "the link store cannot be written ({reason}); {advice}: changes are taken again once a write \
         works, which is tried every few seconds"
    )
}

/// In this module, every failure of SQLite itself means this to a caller.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_writes_show_until_one_works() {
        let condition = Condition::new("links.sqlite".into());
        let mut health = WriteHealth::default();
        for _ in 0..3 {
            health.failed(&condition, 256, "database or disk is full");
        }
        assert!(health.is_failing());
        let reason = condition.writes().unwrap();
        assert!(reason.contains("disk is full") && reason.contains("make room"));
        assert_eq!(health.failing.as_ref().unwrap().refused, 3 * 256);
        health.worked(&condition);
        assert_eq!(condition.writes(), None);
        // Within the minute, writes fail again: `/readyz` shows it, the log does not.
        let logged = health.logged;
        health.failed(&condition, 1, "disk I/O error");
        assert!(condition.writes().unwrap().contains("disk I/O error"));
        assert_eq!(health.logged, logged);
    }

    #[test]
    fn reads_continue_while_the_open_file_holds_what_was_acknowledged() {
        let condition = Condition::new("data/links.sqlite".into());
        let check = |fault: Option<Fault>, reads: bool| {
            condition.set_fault(fault);
            assert_eq!(condition.check_reads().is_ok(), reads, "{fault:?}");
        };
        check(Some(Fault::Missing), true);
        check(Some(Fault::LogLost), true);
        check(Some(Fault::Unseen), true);
        check(Some(Fault::Replaced), false);
        let error = condition.check_reads().unwrap_err().to_string();
        assert!(error.contains("data/links.sqlite: another file"), "{error}");
        check(Some(Fault::Overwritten), false);
        check(None, true);
    }
}
