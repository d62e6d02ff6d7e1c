//! Pools that operators have taken out of service.
//!
//! They are in a document of the store, with the change an entry of the audit log. So they outlive a restart, and all servers
//! that share the store have the same, with each kind of store and also without Redis. Each server reads the document every
//! two seconds. A file beside the configuration was turned down: it would have to be written on each server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{MAX_POOLS, Pool, Routing};
use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::store::audit::{Action, Actor, Event, Facts, Object};
use crate::store::{DocumentPut, Store, StoreError};

/// The key of the document.
const DOCUMENT: &str = "routing:drained";
/// How often the document is read.
const EVERY: Duration = Duration::from_secs(2);
/// How long a start waits for it.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// How often a change is tried while other servers change the document.
const ATTEMPTS: usize = 8;

/// Who has drained a pool, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The name of the token.
    pub by: Box<str>,
    /// In RFC 3339 form.
    pub at: Box<str>,
}

/// The document: drained pools by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Drained {
    pools: BTreeMap<Box<str>, Drain>,
}

/// Why a pool is not drained or restored.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// This server has no pool of this name.
    #[error("there is no pool {0:?}")]
    NoSuchPool(String),
    /// The store does not keep it, or does not say whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The pools that operators have taken out of service, as the store has them.
#[derive(Debug)]
pub struct Drains {
    routing: Arc<Routing>,
    store: Arc<dyn Store>,
    clock: Clock,
    known: Mutex<(Option<u64>, Drained)>,
}

impl Drains {
    /// The drained pools of this routing, in this store.
    pub fn new(routing: Arc<Routing>, store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            routing,
            store,
            clock,
            known: Mutex::default(),
        }
    }

    /// The pools.
    pub fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    /// Who has drained a pool; none if it is in service.
    pub fn drain_of(&self, pool: &str) -> Option<Drain> {
        let known = lock(&self.known);
        known.1.pools.get(pool).cloned()
    }

    /// Reads the document before the server starts, so that the first answer has no drained pool. The wait is bounded.
    pub async fn begin(&self) {
        let problem = match timeout(START_PATIENCE, self.read()).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer in time".into(),
        };
        tracing::warn!("cannot read which pools are drained, so none is for now: {problem}");
    }

    /// Follows the document for as long as the server runs.
    pub async fn run(self: Arc<Self>) {
        let mut is_failing = false;
        loop {
            sleep(EVERY).await;
            let error = self.read().await.err();
            match &error {
                Some(error) if !is_failing => {
                    tracing::warn!(%error, "cannot read which pools are drained; going on with those that are known");
                }
                None if is_failing => tracing::info!("reading again which pools are drained"),
                Some(_) | None => {}
            }
            is_failing = error.is_some();
        }
    }

    /// Takes a pool out of service, or into it. When this returns, this server serves accordingly; others follow within two
    /// seconds. Nothing happens if the pool is in that state.
    ///
    /// # Errors
    /// [`DrainError`]; after one of the store that is not certain, the change may have been made.
    pub async fn set(&self, pool: &str, is_drained: bool, by: &Actor) -> Result<(), DrainError> {
        let mut pools = self.routing.config().pools.iter();
        if !pools.any(|known| &*known.name == pool) {
            return Err(DrainError::NoSuchPool(pool.into()));
        }
        for _ in 0..ATTEMPTS {
            let (revision, mut drained) = self.read().await?;
            let before = drained.pools.get(pool).cloned();
            if before.is_some() == is_drained {
                return Ok(());
            }
            let at = self.clock.millis();
            let drain = Drain {
                by: (*by.name).into(),
                at: at.rfc3339().into(),
            };
            match is_drained {
                true => drained.pools.insert(pool.into(), drain.clone()),
                false => drained.pools.remove(pool),
            };
            self.forget_others(&mut drained);
            let event = Event {
                at,
                actor: by.clone(),
                action: match is_drained {
                    true => Action::PoolDrained,
                    false => Action::PoolRestored,
                },
                object: Object::Pool(pool.into()),
                before: before.as_ref().map(Facts::of),
                after: is_drained.then(|| Facts::of(&drain)),
            };
            let content = serde_json::to_vec(&drained);
            let content = content.map_err(|error| StoreError::Refused(error.to_string()))?;
            let put = self
                .store
                .put_document_noting(DOCUMENT, revision, content, Some(event));
            if let DocumentPut::Written(revision) = put.await? {
                self.keep(Some(revision), drained);
                return Ok(());
            }
        }
        let reason = "other servers keep changing which pools are drained; try again";
        Err(StoreError::Refused(reason.into()).into())
    }

    /// Pools that this server does not have may be those of another one, but they must not fill the document.
    fn forget_others(&self, drained: &mut Drained) {
        if drained.pools.len() > MAX_POOLS {
            let has = |name: &str| {
                let mut pools = self.routing.config().pools.iter();
                pools.any(|pool: &Pool| &*pool.name == name)
            };
            drained.pools.retain(|name, _| has(name));
        }
    }

    async fn read(&self) -> Result<(Option<u64>, Drained), StoreError> {
        let (revision, drained) = match self.store.document(DOCUMENT).await? {
            None => (None, Drained::default()),
            Some(document) => {
                let drained = serde_json::from_slice(&document.content);
                let drained = drained.map_err(|error| StoreError::Corrupt {
                    name: DOCUMENT.into(),
                    reason: error.to_string(),
                })?;
                (Some(document.revision), drained)
            }
        };
        self.keep(revision, drained.clone());
        Ok((revision, drained))
    }

    /// Has queries see it, unless something later is known.
    fn keep(&self, revision: Option<u64>, drained: Drained) {
        let mut known = lock(&self.known);
        if known.0 <= revision {
            let is_drained = |name: &str| drained.pools.contains_key(name);
            self.routing.set_drained(is_drained, self.clock.now());
            *known = (revision, drained);
        }
    }
}
