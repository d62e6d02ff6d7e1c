//! What counts look-ups and clicks, as it is configured.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::config::StatisticsConfig;
use crate::server::blocking::blocking;
use crate::statistics::agents::{Agents, AgentsError};
use crate::statistics::{Clicks, Countries, CountriesError, Statistics};
use crate::store::Store;
use crate::store::servers::Label;

/// Why nothing can be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountingError {
    /// The database of countries cannot be used.
    #[error(transparent)]
    Countries(#[from] CountriesError),
    /// The list of user agents in the program cannot be used.
    #[error(transparent)]
    Agents(#[from] AgentsError),
}

/// What counts. Everything is off where nothing is counted.
pub(super) struct Counting {
    pub(super) statistics: Statistics,
    pub(super) clicks: Clicks,
    pub(super) countries: Option<Arc<Countries>>,
}

impl Counting {
    /// Reads the database of countries, if one is configured, and compiles the list of user agents. Nothing is counted
    /// without a configuration, or if the store takes none; a bad database of countries is an error in that case too.
    pub(super) async fn open(
        config: Option<&StatisticsConfig>,
        store: &Arc<dyn Store>,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, CountingError> {
        let off = Self {
            statistics: Statistics::off(),
            clicks: Clicks::off(),
            countries: None,
        };
        let Some(config) = config else {
            return Ok(off);
        };
        let file = config.country_database.clone();
        let open = move || -> Result<_, CountingError> {
            let countries = file.as_deref().map(Countries::open).transpose()?;
            Ok((Arc::new(Agents::new()?), countries.map(Arc::new)))
        };
        let (agents, countries) = blocking(open).await?;
        let sums = store.statistics();
        let has_table = sums.is_some();
        let Some(store) = sums.filter(|sums| sums.takes_batches()) else {
            match has_table {
                true => tracing::warn!(
                    "look-ups and clicks are not counted: DynamoDB takes statistics through Redis only; configure [redis], or \
                     leave table in [statistics] out"
                ),
                false => tracing::info!(
                    "look-ups and clicks are not counted: with DynamoDB, that needs table in [statistics], and [redis]; enabled \
                     = false in [statistics] silences this message"
                ),
            }
            return Ok(off);
        };
        let id = Label::closest(&format!("{:032x}", fastrand::u128(..)));
        let (clock, metrics) = (clock.clone(), metrics.clone());
        let statistics = Statistics::new(store, (id, config.keeping), clock, metrics);
        if let Some(countries) = &countries {
            log_countries("read", countries);
        }
        Ok(Self {
            clicks: Clicks::new(statistics.clone(), agents, countries.clone()),
            statistics,
            countries,
        })
    }
}

/// Logs which database of countries is in use.
pub(super) fn log_countries(what: &str, countries: &Countries) {
    let file = countries.file().display();
    tracing::info!(%file, built = countries.built().rfc3339(), "database of countries {what}");
}
