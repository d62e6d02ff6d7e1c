//! `[store]`: where links are kept. Each store has keys of its own, and refuses those of another.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::ConfigProblem;
use super::section::{Section, is_word};
use crate::store::{DynamoConfig, PostgresConfig, PostgresUrl, ReplicaConfig};

pub(super) const SQLITE: &str = "sqlite";
pub(super) const DYNAMODB: &str = "dynamodb";
pub(super) const POSTGRESQL: &str = "postgresql";

const URL: &str = "url";
const REPLICA_URL: &str = "replica_url";
const REPLICA_LAG: &str = "replica_lag";
const CA_FILE: &str = "ca_file";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";

const DEFAULT_PATH: &str = "data/links.sqlite";
/// The table of the article that describes such links.
const DEFAULT_TABLE: &str = "tinyUrl";
/// A new table with on-demand billing takes 12,000 reads of a link a second: a flood of random names
/// leaves room for other servers and programs.
const DEFAULT_READS_PER_SECOND: u32 = 1_000;
/// More than a table gives, but a typing mistake hardly stays below it.
const MAX_READS_PER_SECOND: u32 = 1_000_000;

/// Half of the connections are for queries. PostgreSQL allows 100 by default, so that several servers fit.
const DEFAULT_POOL: u32 = 12;
/// One for each kind of call.
const MIN_POOL: u32 = 4;
/// More connections than cores make a database slower, and few databases have as many cores.
const MAX_POOL: u32 = 400;
/// In seconds. A statement usually takes a millisecond; an administrator's call waits 10 seconds.
const DEFAULT_STATEMENT_TIMEOUT: u32 = 5;
const MAX_STATEMENT_TIMEOUT: u32 = 60;
/// In seconds. A replica on another continent usually lags by less than one.
const DEFAULT_REPLICA_LAG: u32 = 5;
/// An hour: an operator who wants more than that wants no bound, and should see in the configuration what it means.
const MAX_REPLICA_LAG: u32 = 3_600;

/// Where the links are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// The embedded store.
    Sqlite {
        /// Its file.
        path: PathBuf,
    },
    /// A DynamoDB table.
    DynamoDb(DynamoConfig),
    /// A PostgreSQL database.
    Postgres(Box<PostgresConfig>),
}

/// The store, and how many look-ups a second for queries may go to it; none for no limit.
pub(super) fn store(section: &Section<'_>) -> (StoreConfig, Option<NonZeroU32>) {
    let kinds = [SQLITE, DYNAMODB, POSTGRESQL].map(|kind| (kind, kind));
    let kind = section.choice("kind", &kinds);
    // If the kind is unknown, it is unknown which keys belong to another store.
    let only_of = |belongs| {
        let other = kind.filter(|kind| *kind != belongs);
        section.refusing(other.map(|kind| ConfigProblem::OtherStore { belongs, kind }))
    };
    let path = only_of(SQLITE).file("path", DEFAULT_PATH);
    let table = dynamodb(&only_of(DYNAMODB));
    let database = postgresql(&only_of(POSTGRESQL), kind == Some(POSTGRESQL));
    // For stores of a fleet.
    let own = kind.filter(|kind| *kind == SQLITE);
    let belongs = DYNAMODB;
    let refusal = own.map(|kind| ConfigProblem::OtherStore { belongs, kind });
    let reads_per_second = reads_per_second(&section.refusing(refusal));
    let need = |feature: bool, kind| {
        if !feature {
            section.note("kind", ConfigProblem::NotBuilt(kind));
        }
    };
    match kind {
        Some(DYNAMODB) => {
            need(section.features().dynamodb, DYNAMODB);
            (StoreConfig::DynamoDb(table), reads_per_second)
        }
        Some(POSTGRESQL) => {
            need(section.features().postgresql, POSTGRESQL);
            match database {
                Some(database) => (StoreConfig::Postgres(Box::new(database)), reads_per_second),
                // Something was noted.
                None => (StoreConfig::Sqlite { path }, None),
            }
        }
        _ => (StoreConfig::Sqlite { path }, None),
    }
}

fn dynamodb(section: &Section<'_>) -> DynamoConfig {
    DynamoConfig {
        table: section
            .parsed("table", table)
            .unwrap_or_else(|| DEFAULT_TABLE.into()),
        region: section.parsed("region", region),
        endpoint_url: section.parsed("endpoint_url", endpoint),
        create_table: section.flag("create_table", false),
        feed: section.flag("feed", true),
        audit: None,
        statistics: None,
    }
}

fn reads_per_second(section: &Section<'_>) -> Option<NonZeroU32> {
    let reads_per_second = section.number(
        "reads_per_second",
        0..=MAX_READS_PER_SECOND,
        "look-ups a second",
        DEFAULT_READS_PER_SECOND,
    );
    NonZeroU32::new(reads_per_second)
}

/// None without a good URL.
fn postgresql(section: &Section<'_>, is_chosen: bool) -> Option<PostgresConfig> {
    let url = section.parsed(URL, |text| {
        PostgresUrl::parse(text).map_err(ConfigProblem::PostgresUrl)
    });
    if is_chosen {
        section.note_missing(URL);
    }
    let replica = replica(section);
    let password_file = section.optional_file("password_file");
    // Files for TLS are of no use without it, and nor are CA certificates if none is checked.
    let either = |holds: fn(&PostgresUrl) -> bool| {
        let replica = replica.as_ref().map(|replica| &replica.url);
        url.as_ref().is_none_or(holds) || replica.is_some_and(holds)
    };
    let may_use_tls = either(PostgresUrl::may_use_tls);
    let checks = either(PostgresUrl::checks_certificates);
    let refusal =
        |is_used: bool, problem: ConfigProblem| (!is_used && is_chosen).then_some(problem);
    let ca_file = match refusal(checks, ConfigProblem::NoVerification) {
        Some(problem) => section.refusing(Some(problem)).optional_file(CA_FILE),
        None => section.optional_file(CA_FILE),
    };
    let (certificate, key) = match refusal(may_use_tls, ConfigProblem::TlsDisabled) {
        Some(problem) => {
            let tls = section.refusing(Some(problem));
            (tls.optional_file(CERTIFICATE), tls.optional_file(KEY))
        }
        None => (
            section.optional_file(CERTIFICATE),
            section.optional_file(KEY),
        ),
    };
    if is_chosen && may_use_tls {
        section.note_half_a_pair("[store]", CERTIFICATE, KEY);
    }
    let pool = section.number("pool", MIN_POOL..=MAX_POOL, "connections", DEFAULT_POOL);
    let timeout = section.seconds("statement_timeout", 1..=MAX_STATEMENT_TIMEOUT);
    Some(PostgresConfig {
        url: url?,
        password_file,
        ca_file,
        certificate,
        key,
        pool,
        statement_timeout: timeout.unwrap_or(Duration::from_secs(DEFAULT_STATEMENT_TIMEOUT.into())),
        audit: None,
        replica,
    })
}

/// None without a good URL.
fn replica(section: &Section<'_>) -> Option<ReplicaConfig> {
    let url = section.parsed(REPLICA_URL, |text| {
        PostgresUrl::parse_replica(text).map_err(ConfigProblem::PostgresUrl)
    });
    let lag = section.seconds(REPLICA_LAG, 1..=MAX_REPLICA_LAG);
    if lag.is_some() && !section.mentions(REPLICA_URL) {
        let (part, key) = (format!("{REPLICA_LAG:?}"), REPLICA_URL);
        section.note(REPLICA_LAG, ConfigProblem::Missing { part, key });
    }
    Some(ReplicaConfig {
        url: url?,
        lag: lag.unwrap_or(Duration::from_secs(DEFAULT_REPLICA_LAG.into())),
    })
}

/// The name of a table.
pub(super) fn table(text: &str) -> Result<String, ConfigProblem> {
    let is_good = (3..=255).contains(&text.len()) && is_word(text, "_-.");
    is_good
        .then(|| text.into())
        .ok_or_else(|| ConfigProblem::Table(text.into()))
}

fn region(text: &str) -> Result<String, ConfigProblem> {
    let is_good = (1..=63).contains(&text.len()) && is_word(text, "-");
    is_good
        .then(|| text.into())
        .ok_or_else(|| ConfigProblem::Region(text.into()))
}

fn endpoint(text: &str) -> Result<String, ConfigProblem> {
    let url = url::Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .map(|_| text.into())
        .ok_or_else(|| ConfigProblem::Endpoint(text.into()))
}
