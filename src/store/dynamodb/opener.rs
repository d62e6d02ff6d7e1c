//! Opening a table that may be away: the server starts without it.
//!
//! A server must not fail to start because DynamoDB cannot be reached, the table is missing, or there are no credentials
//! yet: it has static names to answer, and the links in Redis. So the start waits for the table for [`PATIENCE`] at most,
//! and a task goes on trying. Only a fault that a change of the configuration has to repair ends the start, such as a table
//! with another key, if it shows within that time.
//!
//! The table of the audit log may be away alone. Links are then read, and changes are refused, because each has an entry. If the
//! table of statistics is away alone, counts wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_sdk_dynamodb::Client;
use tokio::sync::{oneshot, watch};

use super::kind::TableKind;
use super::open::Admin;
use super::state::{State, opened};
use super::{DynamoConfig, DynamoOpenError, DynamoStore, Table, audit, identity, scan};
use crate::store::Store;

/// How long the start waits for the table.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two attempts to open it.
const RETRY: Duration = Duration::from_secs(2);

impl DynamoStore {
    /// Opens the store with the region and the credentials that the AWS tools would use. Waits for the creation of
    /// the table if that is configured; otherwise takes some seconds at most.
    ///
    /// # Errors
    /// [`DynamoOpenError`] says in one line why the table cannot be used or reached.
    pub async fn open(config: &DynamoConfig) -> Result<Self, DynamoOpenError> {
        Self::open_with(config, Self::settings()).await
    }

    /// Opens the store with these settings; those in `config` take precedence.
    ///
    /// # Errors
    /// As [`DynamoStore::open`].
    pub async fn open_with(
        config: &DynamoConfig,
        settings: ConfigLoader,
    ) -> Result<Self, DynamoOpenError> {
        let store = Self::unopened(config, settings).await?;
        Box::pin(Opener::of(&store, config.create_table).open()).await?;
        Ok(store)
    }

    /// The same as [`DynamoStore::open`], as any store.
    ///
    /// # Errors
    /// As [`DynamoStore::open`].
    pub async fn open_now(config: &DynamoConfig) -> Result<Arc<dyn Store>, DynamoOpenError> {
        Ok(Arc::new(Box::pin(Self::open(config)).await?))
    }

    /// Opens the store as [`DynamoStore::open`] does, but waits for the table for some seconds only. If it cannot be used
    /// by then, returns a store that opens itself later; until then its calls fail. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`DynamoStore::open`], if the configuration has to change.
    pub async fn open_or_wait(config: &DynamoConfig) -> Result<Arc<dyn Store>, DynamoOpenError> {
        let store = Self::unopened(config, Self::settings()).await?;
        let opener = Opener::of(&store, config.create_table);
        let (table, closed) = (store.table.clone(), store.closed.clone());
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move { closed.run_until_cancelled(opener.insist(tell)).await });
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) if error.may_pass() => {
                tracing::error!("{error}; the server starts without the table, and tries again")
            }
            Ok(Ok(Err(error))) => {
                store.closed.cancel();
                return Err(error);
            }
            Ok(Err(_)) | Err(_) => tracing::error!(
                "{table} could not be opened within {} s; the server starts without the table, answers from \
                 Redis, and goes on trying",
                PATIENCE.as_secs()
            ),
        }
        store.look_for_bare_codes();
        Ok(Arc::new(store))
    }

    /// Checks, in a task of its own, whether the first items of the table have bare codes as keys, as other
    /// programs write them: no look-up finds these.
    fn look_for_bare_codes(&self) {
        let (client, table) = (self.writes.client.clone(), self.table.clone());
        let (state, found): (_, Arc<AtomicBool>) = (self.state.clone(), self.bare_codes.clone());
        let closed = self.closed.clone();
        let looking = async move {
            opened(&state).await;
            match scan::bare_codes(&client, &table).await {
                Ok(Some(codes)) => {
                    tracing::warn!("{}", codes.explanation(&table));
                    found.store(codes.no_names, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot check the keys of the table"),
            }
        };
        tokio::spawn(async move { closed.run_until_cancelled(looking).await });
    }
}

/// Opens the tables of a store.
pub(super) struct Opener {
    client: Client,
    table: Table,
    log: Option<audit::Log>,
    /// The table of statistics.
    statistics: Option<Table>,
    create: bool,
    known: Arc<identity::Known>,
    state: Arc<watch::Sender<State>>,
}

impl Opener {
    pub(super) fn of(store: &DynamoStore, create: bool) -> Self {
        Self {
            client: store.writes.client.clone(),
            table: store.table.clone(),
            log: store.log.clone(),
            statistics: store.statistics.as_ref().map(|it| it.table().clone()),
            create,
            known: store.known.clone(),
            state: store.state.clone(),
        }
    }

    /// Makes sure that the tables exist and can be used, and reads the identity of the table of links.
    pub(super) async fn open(&self) -> Result<(), DynamoOpenError> {
        let outcome = self.prepare().await;
        let state = match &outcome {
            // Without their table, statistics wait; everything else works.
            Ok(()) | Err((TableKind::Statistics, _)) => State::Open,
            Err((TableKind::Audit, error)) => State::NoLog(error.to_string()),
            Err((TableKind::Links, error)) => State::Away(error.to_string()),
        };
        // Links that can be read are read on, also if the next look at their table fails.
        let was_away = self.state.borrow().forbids_calls().is_some();
        let is_away = state.forbids_calls().is_some();
        if was_away || !is_away {
            self.state.send_replace(state);
        }
        if was_away
            && !is_away
            && let Err(error) = Box::pin(self.known.ask(&self.client, &self.table)).await
        {
            // It is asked again later.
            tracing::warn!(%error, "cannot read the identity of the table; retrying");
        }
        outcome.map_err(|(_, error)| error)
    }

    async fn prepare(&self) -> Result<(), (TableKind, DynamoOpenError)> {
        let log = self.log.as_ref().map(|log| (TableKind::Audit, &log.table));
        let sums = self.statistics.as_ref();
        let sums = sums.map(|table| (TableKind::Statistics, table));
        let links = [(TableKind::Links, &self.table)].into_iter();
        for (kind, table) in links.chain(log).chain(sums) {
            let client = &self.client;
            let prepared = Box::pin(Admin { client, table }.prepare(kind, self.create)).await;
            prepared.map_err(|error| (kind, error))?;
        }
        Ok(())
    }

    /// Tries to open the tables until it succeeds, and reports the outcome of the first attempt. Logs each later failure
    /// that is another one than before. It also tries again after failures that need an operator, who may replace the
    /// table.
    async fn insist(self, first: oneshot::Sender<Result<(), DynamoOpenError>>) {
        let outcome = self.open().await;
        let mut logged = outcome.as_ref().err().map(ToString::to_string);
        // The start has gone on without the outcome if it took too long.
        match first.send(outcome) {
            Ok(()) => {}
            Err(Ok(())) => tracing::info!("{} can be used now", self.table),
            Err(Err(error)) => tracing::error!("{error}"),
        }
        while let Some(last) = &logged {
            tokio::time::sleep(RETRY).await;
            let failure = self.open().await.err().map(|error| error.to_string());
            match &failure {
                Some(text) if text != last => tracing::error!("{text}"),
                Some(_) => {}
                None => tracing::info!("{} can be used now", self.table),
            }
            logged = failure;
        }
    }
}
