//! Logs when the limiting of a network begins and ends.
//!
//! A flood from forged addresses limits many networks at once. So the number of lines per second about beginnings is
//! bounded, and so is the number of networks that are remembered for a line about the end; the log has the number of
//! the others. No worker waits for the journal: at worst a line is missing.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use super::Prefix;
use crate::base::metrics::LimitKind;
use crate::base::name::wire::WireName;

/// How many limited networks are remembered, to log the end.
const MAX_LIMITED: usize = 256;
/// The most lines between two ticks.
const MAX_LINES: u32 = 10;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Journal {
    is_dry_run: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limited: Vec<Limited>,
    lines: u32,
    /// How many beginnings were not logged.
    unlogged: u64,
}

/// A network that is limited.
#[derive(Debug)]
struct Limited {
    account: u64,
    network: Prefix,
    kind: LimitKind,
    since: Instant,
}

impl Journal {
    pub(super) fn new(is_dry_run: bool) -> Self {
        Self {
            is_dry_run,
            state: Mutex::new(State {
                limited: Vec::with_capacity(MAX_LIMITED),
                lines: MAX_LINES,
                unlogged: 0,
            }),
        }
    }

    /// Logs that the limiting of a network begins, with a reply to a query for this name, unless the account is
    /// remembered already.
    pub(super) fn start(
        &self,
        account: u64,
        network: Prefix,
        kind: LimitKind,
        name: Option<&WireName>,
        now: Instant,
    ) {
        let Some(mut state) = self.try_state() else {
            return;
        };
        if state.limited.iter().any(|one| one.account == account) {
            return;
        }
        if state.lines == 0 || state.limited.len() == MAX_LIMITED {
            state.unlogged += 1;
            return;
        }
        state.lines -= 1;
        state.limited.push(Limited {
            account,
            network,
            kind,
            since: now,
        });
        drop(state);
        let name = name
            .and_then(WireName::to_name)
            .map(tracing::field::display);
        let dry_run = self.is_dry_run;
        tracing::info!(%network, ?kind, name, dry_run, "replies are limited");
    }

    /// Logs the ends, by checking whether each remembered account still owes something.
    pub(super) fn tick(&self, now: Instant, owes: impl Fn(u64) -> bool) {
        let mut over = Vec::new();
        let unlogged = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = state.limited.extract_if(.., |one| !owes(one.account));
            over.extend(gone);
            // Each end is logged, since each of these networks had a line about the beginning.
            state.lines = MAX_LINES;
            std::mem::take(&mut state.unlogged)
        };
        for Limited {
            network,
            kind,
            since,
            ..
        } in over
        {
            let seconds = now.saturating_duration_since(since).as_secs();
            tracing::info!(%network, ?kind, seconds, "replies are no longer limited");
        }
        if unlogged > 0 {
            tracing::info!(
                accounts = unlogged,
                "replies are limited for more networks or names"
            );
        }
    }

    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u64) -> Prefix {
        let number = number as u32;
        Prefix::of(std::net::Ipv4Addr::from(number << 8).into(), 24, 56)
    }

    fn limited(journal: &Journal) -> Vec<u64> {
        let state = journal.state.lock().unwrap();
        state.limited.iter().map(|one| one.account).collect()
    }

    /// Begins to limit the accounts with these numbers.
    fn start(journal: &Journal, accounts: std::ops::Range<u64>) {
        for account in accounts {
            let network = network(account);
            journal.start(account, network, LimitKind::Answer, None, Instant::now());
        }
    }

    #[test]
    fn an_account_is_remembered_until_it_is_paid_up() {
        let journal = Journal::new(false);
        start(&journal, 1..4);
        // The same account again, before its end.
        start(&journal, 1..4);
        assert_eq!(limited(&journal), [1, 2, 3]);
        journal.tick(Instant::now(), |account| account != 2);
        assert_eq!(limited(&journal), [1, 3]);
        start(&journal, 2..3);
        assert_eq!(limited(&journal), [1, 3, 2]);
        journal.tick(Instant::now(), |_| false);
        assert!(limited(&journal).is_empty());
    }

    #[test]
    fn lines_and_memory_have_a_bound() {
        let journal = Journal::new(false);
        let unlogged = || journal.state.lock().unwrap().unlogged;
        start(&journal, 0..1_000);
        assert_eq!(limited(&journal).len(), MAX_LINES as usize);
        assert_eq!(unlogged(), 1_000 - u64::from(MAX_LINES));
        for _ in 0..100 {
            journal.tick(Instant::now(), |_| true);
            assert_eq!(unlogged(), 0);
            start(&journal, 0..1_000);
        }
        assert_eq!(limited(&journal).len(), MAX_LIMITED);
        assert!(journal.state.lock().unwrap().limited.capacity() <= MAX_LIMITED);
    }

    #[test]
    fn a_worker_never_waits_for_the_journal() {
        let journal = Journal::new(false);
        let held = journal.state.lock().unwrap();
        start(&journal, 0..3);
        drop(held);
        assert!(limited(&journal).is_empty());
    }
}
