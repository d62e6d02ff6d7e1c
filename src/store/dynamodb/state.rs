//! Whether the tables of a store are open.

use tokio::sync::watch;

/// Whether the store is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The tables can be used.
    Open,
    /// Links can be read. The table of the audit log cannot be used yet, for this reason.
    NoLog(String),
    /// The table of links cannot be used yet, for this reason.
    Away(String),
}

impl State {
    /// Why no call can be made, if that is so.
    pub(super) fn forbids_calls(&self) -> Option<&str> {
        match self {
            Self::Open | Self::NoLog(_) => None,
            Self::Away(reason) => Some(reason),
        }
    }

    /// Why no change can be made although links can be read, if that is so.
    pub(super) fn forbids_changes(&self) -> Option<&str> {
        match self {
            Self::NoLog(reason) => Some(reason),
            Self::Open | Self::Away(_) => None,
        }
    }
}

/// Waits until links can be read.
pub(super) async fn opened(state: &watch::Sender<State>) {
    let mut state = state.subscribe();
    // An error means that the store was dropped.
    let _ = state
        .wait_for(|state| state.forbids_calls().is_none())
        .await;
}
