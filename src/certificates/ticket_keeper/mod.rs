//! Keeps the ticket keys of a server those of its store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::hosts::HostCertificates;
use super::tickets::{Entries, NoRandom};
use crate::base::clock::Clock;
use crate::store::{DocumentPut, Store, StoreError};

/// The key of the document.
const DOCUMENT: &str = "tls:tickets";
/// How often the document is read. A key is in the document for hours before it is used.
const EVERY: Duration = Duration::from_secs(60);
/// How long a start waits for the document.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// How often a put is tried again at once after other servers have changed the document.
const ATTEMPTS: usize = 4;

/// Reads the ticket keys of certificates, and rotates them.
pub struct TicketKeeper {
    store: Arc<dyn Store>,
    clock: Clock,
    certificates: Vec<HostCertificates>,
}

/// Why the keys stay as they are.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    #[error("the document {DOCUMENT} was written by another version of this program")]
    OtherVersion,
    #[error("other servers keep changing the document {DOCUMENT}")]
    Conflicts,
}

impl TicketKeeper {
    /// A keeper for the tickets of these certificates.
    pub fn new(store: Arc<dyn Store>, clock: Clock, certificates: Vec<HostCertificates>) -> Self {
        Self {
            store,
            clock,
            certificates,
        }
    }

    /// Reads the keys before the server starts, so that it accepts the tickets that it has issued before. Waits a second
    /// at most.
    pub async fn begin(&self) {
        match timeout(START_PATIENCE, self.turn()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "ticket keys"),
            Err(_) => {
                tracing::debug!("the store does not answer in time; ticket keys are read later")
            }
        }
    }

    /// Does this for as long as the server runs.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            sleep(EVERY).await;
            match self.turn().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("TLS session tickets are shared with the other servers again");
                }
                Ok(()) => {}
                Err(error) if failing => tracing::debug!(%error, "ticket keys"),
                Err(error) => {
                    failing = true;
                    tracing::warn!(
                        %error,
                        "cannot read the keys of TLS session tickets; going on with those that are known"
                    );
                }
            }
        }
    }

    /// Reads the document, and puts new keys into it if it is time for them. Keys that are not in the store are not
    /// used.
    async fn turn(&self) -> Result<(), KeepError> {
        for _ in 0..ATTEMPTS {
            let found = self.store.document(DOCUMENT).await?;
            let mut entries = match &found {
                Some(found) => Entries::decoded(&found.content).ok_or(KeepError::OtherVersion)?,
                None => Entries::default(),
            };
            let now = self.clock.now();
            let mut changed = false;
            let mut all = Vec::new();
            for tickets in self.certificates.iter().flat_map(HostCertificates::tickets) {
                if let Some((keys, is_new)) = entries.keys(tickets.seal(), now)? {
                    changed |= is_new;
                    all.push((tickets, keys));
                }
            }
            if changed {
                let revision = found.map(|found| found.revision);
                let put = self
                    .store
                    .put_document(DOCUMENT, revision, entries.encoded());
                match put.await? {
                    DocumentPut::Written(_) => {}
                    DocumentPut::Conflict(_) => continue,
                }
            }
            for (tickets, keys) in all {
                tickets.adopt(keys, self.clock.clone());
            }
            return Ok(());
        }
        Err(KeepError::Conflicts)
    }
}

#[cfg(test)]
mod tests;
