//! Opening the store of a configuration.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::super::output::say;
use crate::base::clock::{Clock, UnixTime};
use crate::config::{Config, StoreConfig};
use crate::store::audit::Retention;
use crate::store::{
    DynamoConfig, DynamoStore, Facts, OpenError, PostgresStore, SqliteStore, Store, StoreUpdate,
};

/// What a command does with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It reads.
    Read,
    /// It changes a store that exists.
    Change,
    /// It fills a store, which is made if it does not exist.
    Fill,
}

/// An open store.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) facts: Facts,
    /// Whether a server may be changing it.
    pub(super) in_use: InUse,
}

/// Whether a server has a store open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InUse {
    Yes,
    No,
    /// Servers share the store without a trace.
    Unknown,
}

/// Opens the store of a configuration.
///
/// # Errors
/// The store cannot be used; the message says what to do if a server has it open.
pub(super) async fn open(config: &Config, purpose: Purpose) -> anyhow::Result<Opened> {
    let (store, in_use): (Arc<dyn Store>, _) = match &config.store {
        StoreConfig::Sqlite { path } => {
            let (path, retention) = (path.clone(), config.audit);
            let opening = move || open_file(&path, retention, purpose);
            let opened = tokio::task::spawn_blocking(opening).await;
            let store = opened.context("the thread that opens the store has panicked")??;
            let in_use = match store.is_in_use() {
                true => InUse::Yes,
                false => InUse::No,
            };
            (Arc::new(store), in_use)
        }
        StoreConfig::DynamoDb(table) => {
            let create_table = table.create_table && purpose == Purpose::Fill;
            let table = DynamoConfig {
                create_table,
                ..table.clone()
            };
            let store = Box::pin(DynamoStore::open_now(&table)).await?;
            (store, InUse::Unknown)
        }
        StoreConfig::Postgres(database) => {
            let clock = Clock::manual(UnixTime(0));
            let store = Box::pin(PostgresStore::open_now(database, clock)).await?;
            (store, InUse::Unknown)
        }
    };
    let facts = store.facts().await?;
    Ok(Opened {
        store,
        facts,
        in_use,
    })
}

/// Opens a file. Its links that have ended and its old entries stay as they are, because time stands still for it.
fn open_file(
    path: &Path,
    retention: Option<Retention>,
    purpose: Purpose,
) -> anyhow::Result<SqliteStore> {
    let on_update = |update: StoreUpdate| {
        let links = update.links;
        say(&format!(
            "updating the link store, {links} links; the command begins after that"
        ));
    };
    let opened = match purpose {
        Purpose::Read => SqliteStore::open_to_read(path),
        Purpose::Change if !path.exists() => bail!("{}: no such file", path.display()),
        Purpose::Change | Purpose::Fill => {
            let clock = Clock::manual(UnixTime(0));
            SqliteStore::open_with(path, clock, retention, &on_update)
        }
    };
    match opened {
        Err(error @ OpenError::Locked { .. }) => bail!(
            "{error}; stop the server that has it open, and start the server again afterwards"
        ),
        opened => Ok(opened?),
    }
}
