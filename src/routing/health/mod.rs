//! Health: which addresses are up.
//!
//! ```text
//!   run ── probe ── outcome ── verdict ──┐
//!   an operator drains or restores ──────┴── board ── states of pools ── queries
//!                                               └── a line of the log, metrics
//! ```
//!
//! Each address that a pool with a check has is a *target*. A target is checked once in each interval, however many pools
//! have it. [`verdict`] says after how many outcomes an address goes down or comes back. [`board`] makes the states
//! of all pools of it, which replace those that queries see.

mod board;
mod check;
mod journal;
mod probe;
mod run;
mod verdict;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use tokio_rustls::rustls::ClientConfig;

pub(super) use self::board::Board;
use self::board::Outcome;
pub use self::board::{AddressStatus, Condition, LastCheck, PoolStatus};
pub use self::check::{
    Check, CheckKind, DEFAULT_FAILURES, DEFAULT_INTERVAL, DEFAULT_PASSES, DEFAULT_TIMEOUT, Failure,
    MAX_TARGETS, Request,
};
pub(super) use self::journal::Journal;
use super::error::Reason;
use super::pool::Pool;
use super::{Routing, RoutingError};
use crate::base::client_files::{ClientFileError, ClientFiles, ClientSecrets};
use crate::base::client_tls::tls_config;
use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::base::metrics::Metrics;

/// What else changes with the states of pools.
pub struct Effects {
    /// The figures that show them.
    pub metrics: Arc<Metrics>,
    /// Drops all hot answers.
    pub drop_answers: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").finish_non_exhaustive()
    }
}

/// The settings of TLS for the checks by HTTPS: by whether the certificate counts, and by the file of authorities.
pub(super) type Tls = HashMap<(bool, Option<PathBuf>), Arc<ClientConfig>>;

/// Makes the settings of TLS for the checks of these pools.
///
/// # Errors
/// A file of authorities cannot be used.
pub(super) fn tls_of(pools: &[Pool]) -> Result<Tls, RoutingError> {
    let mut all = HashMap::new();
    for check in pools.iter().filter_map(|pool| pool.check.as_ref()) {
        let Some(key) = tls_key(&check.kind) else {
            continue;
        };
        if let Entry::Vacant(vacant) = all.entry(key) {
            let (verify, ca_file) = vacant.key();
            let config = client_config(*verify, ca_file.as_deref());
            let config = config.map_err(|error| RoutingError::new(None, Reason::Check(error)))?;
            vacant.insert(config.into());
        }
    }
    Ok(all)
}

fn tls_key(kind: &CheckKind) -> Option<(bool, Option<PathBuf>)> {
    match kind {
        CheckKind::Tcp | CheckKind::Http(_) => None,
        CheckKind::Https {
            verify, ca_file, ..
        } => Some((*verify, ca_file.clone())),
    }
}

fn client_config(verify: bool, ca_file: Option<&Path>) -> Result<ClientConfig, ClientFileError> {
    const SERVICE: &str = "health checks";
    let files = ClientFiles {
        service: SERVICE,
        password_variable: "",
        password: None,
        authorities: ca_file,
        certificate: None,
    };
    let secrets = ClientSecrets {
        password: None,
        authorities: ca_file.map(|file| files.authorities(file)).transpose()?,
        certificate: None,
    };
    tls_config(&secrets, verify).map_err(|reason| ClientFileError::Tls {
        service: SERVICE,
        reason,
    })
}

impl Routing {
    /// Shows the states of pools in these figures from now on, and has hot answers dropped. Only the first call has an effect.
    pub(crate) fn attach(&self, effects: Effects) {
        let _ = self.effects.set(effects);
        self.measure();
    }

    /// The states of all pools, in the order of [`RoutingConfig::pools`](super::RoutingConfig::pools).
    pub fn statuses(&self) -> Vec<PoolStatus> {
        self.board().statuses(&self.config.pools)
    }

    /// Takes the pools out of service for whose names `is_drained` is true, and all others into it.
    pub fn set_drained(&self, is_drained: impl Fn(&str) -> bool, now: UnixTime) {
        let mut board = self.board();
        let outcome = board.set_drained(is_drained, &self.config.pools, now);
        self.apply(&mut board, &outcome);
    }

    /// What is wrong with pools, with a line for each kind.
    pub fn troubles(&self) -> Vec<String> {
        let statuses = self.statuses();
        let named = |wanted: Condition| {
            let all = self.config.pools.iter().zip(&statuses);
            let found = all.filter(|(_, status)| status.state == wanted);
            let names: Vec<_> = found.map(|(pool, _)| &*pool.name).collect();
            shortened(&names)
        };
        let texts = [
            (Condition::Down, "all addresses are down of the pools"),
            (Condition::Drained, "these pools are drained:"),
        ];
        let lines = texts
            .into_iter()
            .filter_map(|(state, text)| Some((text, named(state)?)));
        lines
            .map(|(text, names)| format!("{text} {names}"))
            .collect()
    }

    pub(super) fn note(&self, place: usize, result: Result<(), Failure>, now: UnixTime) {
        let mut board = self.board();
        let outcome = board.note(place, result, &self.config.pools, now);
        self.apply(&mut board, &outcome);
    }

    /// Has queries see the states of the board, and the log and the figures the changes. The board is locked meanwhile, so that
    /// the last states win.
    fn apply(&self, board: &mut Board, outcome: &Outcome) {
        let effects = self.effects.get();
        if outcome.is_new {
            self.set_states(board.states());
        }
        if let Some(effects) = effects.filter(|_| outcome.drops) {
            (effects.drop_answers)();
        }
        if outcome.changes.is_empty() {
            return;
        }
        let pools = &self.config.pools;
        let mut journal = lock(&self.journal);
        for change in &outcome.changes {
            journal.log(change, board, pools);
            if let (board::Change::Pool { place, .. }, Some(effects)) = (change, effects) {
                let changes = &effects.metrics.pool_changes;
                changes.get_or_create_owned(&self.label(*place)).inc();
            }
        }
        drop(journal);
        if let Some(effects) = effects {
            self.show(&board.statuses(pools), &effects.metrics);
        }
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

/// Some names, and how many more there are; none without names.
fn shortened(names: &[&str]) -> Option<String> {
    const SHOWN: usize = 5;
    match names.len() {
        0 => None,
        1..=SHOWN => Some(names.join(", ")),
        many => Some(format!(
            "{} and {} more",
            names[..SHOWN].join(", "),
            many - SHOWN
        )),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod testing {
    use std::time::Duration;

    use super::*;

    impl Routing {
        /// Notes checks of an address, as many as it takes for its state to change.
        pub(crate) fn mark(&self, address: &str, is_up: bool) {
            let address: std::net::IpAddr = address.parse().unwrap();
            let mut targets = self
                .board()
                .targets()
                .cloned()
                .collect::<Vec<_>>()
                .into_iter();
            let place = targets
                .position(|target| target.address == address)
                .unwrap();
            for _ in 0..64 {
                let result = is_up.then_some(()).ok_or(Failure::Timeout);
                self.note(place, result, UnixTime(1_800_000_000));
            }
        }
    }

    /// A check by TCP.
    pub(crate) fn tcp(port: u16) -> Check {
        Check {
            kind: CheckKind::Tcp,
            port,
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(500),
            failures: 1,
            passes: 1,
        }
    }

    /// A check by HTTP.
    pub(in crate::routing) fn http(path: &str, host: Option<&str>) -> Check {
        Check {
            kind: CheckKind::Http(Request {
                path: path.into(),
                host: host.map(Into::into),
                status: None,
            }),
            ..tcp(80)
        }
    }
}
