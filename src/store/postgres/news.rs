//! What connections and readers of the feed tell others.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::migrations::SERVERS;
use crate::store::{Effect, Trouble};

/// What wakes those who wait for changes.
#[derive(Debug, Default)]
pub(super) struct News {
    /// A change of a link.
    pub(super) changes: Notify,
    /// An announcement of a server.
    pub(super) servers: Notify,
    /// Changes by this server, of which the others have not been notified yet.
    pub(super) own: Notify,
}

impl News {
    /// Passes a notification on.
    pub(super) fn note(&self, channel: &str) {
        match channel {
            SERVERS => self.servers.notify_one(),
            _ => self.changes.notify_one(),
        }
    }

    /// Wakes all: something may have been missed.
    pub(super) fn note_all(&self) {
        self.changes.notify_one();
        self.servers.notify_one();
    }
}

/// Whether a transaction that stays open holds the feed back.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicBool);

impl Held {
    /// Notes whether one does.
    pub(super) fn set(&self, is_held: bool) {
        self.0.store(is_held, Ordering::Relaxed);
    }

    /// What an operator should know.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let reason = "a transaction in PostgreSQL has been open for long and holds the feed of changes back: look for it in \
                      pg_stat_activity";
        let is_held = self.0.load(Ordering::Relaxed);
        is_held.then(|| Trouble::new(Effect::Degraded, reason))
    }
}
