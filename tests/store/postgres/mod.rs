//! The PostgreSQL store: its contract, the feed, lists of many links, and failures.

mod failures;
mod feed;
mod find;
mod replica;
mod statistics;
mod versions;

use std::time::Duration;

use tinyns::base::clock::Clock;
use tinyns::store::{PostgresConfig, PostgresStore};

use super::*;
use crate::postgres::{self, Postgres};

#[async_trait]
impl Backend for Postgres {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(
            postgres::open(&postgres::config(&self.url()))
                .await
                .unwrap(),
        )
    }
}

store_battery!(Postgres::start());
audit_battery!(Postgres::start());
statistics_battery!(Postgres::start());
