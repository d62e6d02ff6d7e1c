//! Opening: settings the AWS way, and a table that is what it should be.
//!
//! A role needs `dynamodb:DescribeTable`, `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem` and
//! `Scan` on the table; with `create_table` also `CreateTable`, `DescribeTimeToLive` and
//! `UpdateTimeToLive`. `DescribeTimeToLive` is good to have in any case: without it nobody hears
//! that the table's TTL is off, and expired links and tombstones stay for ever.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::credentials::Steady;
use super::item::{EXPIRES_AT, KEY};
use super::{
    DynamoConfig, DynamoStore, Lane, MAX_ATTEMPTS, MAX_BACKOFF, MAX_READS, MAX_WRITES,
    READ_ATTEMPT_TIME, READ_BACKOFF, READ_TIME, SECOND_REQUEST_TIME, Table, WRITE_ATTEMPT_TIME,
    WRITE_BACKOFF, WRITE_TIME, failure,
};

/// The region for an endpoint of its own where none is set: emulators take any.
const EMULATOR_REGION: &str = "us-east-1";
/// How long a table that is being created may take. It takes some ten seconds.
const TABLE_PATIENCE: Duration = Duration::from_secs(60);
/// How often to look in the meantime.
const TABLE_POLL: Duration = Duration::from_millis(500);

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DynamoOpenError {
    /// No region anywhere.
    #[error(
        "no region for the DynamoDB table {0:?}: set region in [store] or on the command line, \
         AWS_REGION, or a profile's"
    )]
    NoRegion(String),
    /// There is no such table.
    #[error("{table} does not exist; create it, or set create_table = true in [store]")]
    Missing {
        /// The table and where it was looked for.
        table: String,
    },
    /// There is no such table, and it was only to be read.
    #[error("{table} does not exist")]
    NoTable {
        /// The table and where it was looked for.
        table: String,
    },
    /// The table is made for something else.
    #[error("{table} has the key {found}; links need the partition key miniUrl (S) and no other")]
    KeySchema {
        /// The table and where it is.
        table: String,
        /// Its key.
        found: String,
    },
    /// The table is there, but not to be used.
    #[error("{table} is not ready: its status is {status}")]
    NotReady {
        /// The table and where it is.
        table: String,
        /// Its status.
        status: String,
    },
    /// DynamoDB could not be asked, or refused.
    #[error("cannot {what} {table}: {reason}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// The table and where it should be.
        table: String,
        /// Why not.
        reason: String,
    },
}

impl DynamoStore {
    /// Opens the store with the region and the credentials that the AWS tools would use too.
    /// Takes as long as the table's creation, if that is asked for; otherwise some seconds at most.
    ///
    /// # Errors
    /// [`DynamoOpenError`] says in one line what is wrong with the table or the way there.
    pub async fn open(config: &DynamoConfig) -> Result<Self, DynamoOpenError> {
        Self::open_with(config, Self::settings()).await
    }

    /// The settings of [`DynamoStore::open`], for a caller that wants to set something differently,
    /// such as the source of the credentials.
    pub fn settings() -> ConfigLoader {
        let tls = Provider::Rustls(CryptoMode::Ring);
        // Pinned: a later version may change retries and time-outs under us.
        aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(HttpClientBuilder::new().tls_provider(tls).build_https())
    }

    /// Opens the store with these settings; those that `config` has win.
    ///
    /// # Errors
    /// As [`DynamoStore::open`].
    pub async fn open_with(
        config: &DynamoConfig,
        settings: ConfigLoader,
    ) -> Result<Self, DynamoOpenError> {
        let sdk = load(config, settings).await?;
        let table = table(config, &sdk);
        let lane = |permits, time, attempt_time, backoff| Lane {
            client: client(&sdk, time, attempt_time, backoff),
            permits: Semaphore::new(permits),
            limit: time + SECOND_REQUEST_TIME,
        };
        let store = Self {
            table,
            reads: lane(MAX_READS, READ_TIME, READ_ATTEMPT_TIME, READ_BACKOFF),
            writes: lane(MAX_WRITES, WRITE_TIME, WRITE_ATTEMPT_TIME, WRITE_BACKOFF),
            closed: AtomicBool::new(false),
            calls: TaskTracker::new(),
        };
        let admin = Admin {
            client: &store.writes.client,
            table: &store.table,
        };
        Box::pin(admin.prepare(config.create_table)).await?;
        Ok(store)
    }
}

/// Gathers region, credentials and endpoint.
pub(super) async fn load(
    config: &DynamoConfig,
    settings: ConfigLoader,
) -> Result<SdkConfig, DynamoOpenError> {
    let mut settings = settings;
    if let Some(region) = &config.region {
        settings = settings.region(Region::new(region.clone()));
    }
    if let Some(url) = &config.endpoint_url {
        settings = settings.endpoint_url(url);
    }
    let mut sdk = Box::pin(settings.load()).await;
    if let Some(source) = sdk.credentials_provider() {
        let steady = SharedCredentialsProvider::new(Steady::new(source));
        sdk = sdk.into_builder().credentials_provider(steady).build();
    }
    match (sdk.region(), &config.endpoint_url) {
        (Some(_), _) => Ok(sdk),
        (None, Some(_)) => {
            let region = Region::from_static(EMULATOR_REGION);
            Ok(sdk.into_builder().region(region).build())
        }
        (None, None) => Err(DynamoOpenError::NoRegion(config.table.clone())),
    }
}

/// The table that a configuration means, as it is called in messages.
pub(super) fn table(config: &DynamoConfig, sdk: &SdkConfig) -> Table {
    let region = sdk.region().map(ToString::to_string).unwrap_or_default();
    Table {
        name: config.table.clone(),
        place: sdk.endpoint_url().map_or(region, Into::into),
    }
}

/// A client whose calls end in time.
pub(super) fn client(
    sdk: &SdkConfig,
    time: Duration,
    attempt_time: Duration,
    backoff: Duration,
) -> Client {
    // The bound of an attempt is not the SDK's own for attempts: that one would also cut off a
    // refresh of the credentials, which may take longer, and would have to start anew each time.
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(time)
        .connect_timeout(attempt_time)
        .read_timeout(attempt_time)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(backoff)
        .with_max_backoff(MAX_BACKOFF);
    let config = aws_sdk_dynamodb::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .retry_config(retries)
        .build();
    Client::from_conf(config)
}

/// What is done to the table as a whole.
pub(super) struct Admin<'a> {
    pub(super) client: &'a Client,
    pub(super) table: &'a Table,
}

impl Admin<'_> {
    /// Finds a table that is there to be read, and makes nothing.
    pub(super) async fn find(&self) -> Result<TableDescription, DynamoOpenError> {
        let Some(found) = self.describe().await? else {
            return Err(DynamoOpenError::NoTable {
                table: self.table.to_string(),
            });
        };
        self.check_key(&found)?;
        Ok(found)
    }

    /// Sees to it that the table is there and can be used.
    async fn prepare(&self, create: bool) -> Result<(), DynamoOpenError> {
        let found = match self.describe().await? {
            Some(found) => found,
            None if create => {
                self.create().await?;
                tracing::info!(
                    table = self.table.name,
                    place = self.table.place,
                    "table created"
                );
                self.active().await?
            }
            None => {
                return Err(DynamoOpenError::Missing {
                    table: self.table.to_string(),
                });
            }
        };
        self.check_key(&found)?;
        self.check_status(found).await?;
        self.time_to_live(create).await
    }

    async fn describe(&self) -> Result<Option<TableDescription>, DynamoOpenError> {
        let sent = self.client.describe_table().table_name(&self.table.name);
        match sent.send().await {
            Ok(output) => Ok(output.table),
            Err(SdkError::ServiceError(e)) if e.err().is_resource_not_found_exception() => Ok(None),
            Err(error) => Err(self.failed("look at", failure::text(&error))),
        }
    }

    /// Creates the table, or finds that another node is doing so.
    async fn create(&self) -> Result<(), DynamoOpenError> {
        let definition = AttributeDefinition::builder()
            .attribute_name(KEY)
            .attribute_type(ScalarAttributeType::S)
            .build();
        let key = KeySchemaElement::builder()
            .attribute_name(KEY)
            .key_type(KeyType::Hash)
            .build();
        let unbuilt = |e: aws_sdk_dynamodb::error::BuildError| self.failed("create", e.to_string());
        let sent = self
            .client
            .create_table()
            .table_name(&self.table.name)
            .attribute_definitions(definition.map_err(unbuilt)?)
            .key_schema(key.map_err(unbuilt)?)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await;
        match sent.map_err(|error| (failure::text(&error), error.into_service_error())) {
            Ok(_) | Err((_, CreateTableError::ResourceInUseException(_))) => Ok(()),
            Err((reason, _)) => Err(self.failed("create", reason)),
        }
    }

    /// Waits until the table is there for use.
    async fn active(&self) -> Result<TableDescription, DynamoOpenError> {
        let mut status = "unknown".to_owned();
        let polling = async {
            loop {
                if let Some(found) = self.describe().await? {
                    match found.table_status() {
                        Some(TableStatus::Active | TableStatus::Updating) => return Ok(found),
                        Some(other) => status = other.to_string(),
                        None => {}
                    }
                }
                tokio::time::sleep(TABLE_POLL).await;
            }
        };
        match tokio::time::timeout(TABLE_PATIENCE, polling).await {
            Ok(found) => found,
            Err(_) => Err(DynamoOpenError::NotReady {
                table: self.table.to_string(),
                status,
            }),
        }
    }

    /// Waits for a table that is being created; refuses one that goes.
    async fn check_status(&self, found: TableDescription) -> Result<(), DynamoOpenError> {
        match found.table_status() {
            Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
            Some(TableStatus::Creating) => self.active().await.map(drop),
            other => Err(DynamoOpenError::NotReady {
                table: self.table.to_string(),
                status: other.map_or("unknown".into(), ToString::to_string),
            }),
        }
    }

    fn check_key(&self, found: &TableDescription) -> Result<(), DynamoOpenError> {
        let kind = |name: &str| {
            let own = |a: &&AttributeDefinition| a.attribute_name() == name;
            found
                .attribute_definitions()
                .iter()
                .find(own)
                .map(|a| a.attribute_type().as_str())
                .unwrap_or("?")
        };
        let keys: Vec<String> = found
            .key_schema()
            .iter()
            .map(|key| {
                let name = key.attribute_name();
                format!("{name} ({}, {})", kind(name), key.key_type().as_str())
            })
            .collect();
        if keys == [format!("{KEY} (S, HASH)")] {
            return Ok(());
        }
        Err(DynamoOpenError::KeySchema {
            table: self.table.to_string(),
            found: keys.join(" and "),
        })
    }

    /// Sees whether DynamoDB sweeps what has expired, and with `enable` to it that it does. Whether
    /// it does changes no answer, so that nothing but a failure to enable it is an error.
    async fn time_to_live(&self, enable: bool) -> Result<(), DynamoOpenError> {
        let (table, place) = (&self.table.name, &self.table.place);
        let sent = self.client.describe_time_to_live().table_name(table);
        let ttl = match sent.send().await {
            Ok(output) => output.time_to_live_description,
            Err(error) => {
                let error = failure::text(&error);
                tracing::debug!(table, place, error, "the table's TTL cannot be looked at");
                return Ok(());
            }
        };
        let ttl = ttl.as_ref();
        let attribute = ttl.and_then(|ttl| ttl.attribute_name()).unwrap_or_default();
        match ttl.and_then(|ttl| ttl.time_to_live_status()) {
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
                if attribute == EXPIRES_AT => {}
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) => {
                tracing::warn!(
                    table,
                    place,
                    attribute,
                    "the table's TTL is not on expiresAt"
                );
            }
            _ if enable => self.enable_time_to_live().await?,
            _ => tracing::warn!(
                table,
                place,
                "the table's TTL is off: expired and deleted links stay in it for ever"
            ),
        }
        Ok(())
    }

    async fn enable_time_to_live(&self) -> Result<(), DynamoOpenError> {
        let what = "turn on the TTL of";
        let specification = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(EXPIRES_AT)
            .build()
            .map_err(|e| self.failed(what, e.to_string()))?;
        let sent = self
            .client
            .update_time_to_live()
            .table_name(&self.table.name)
            .time_to_live_specification(specification);
        match sent.send().await {
            Ok(_) => Ok(()),
            // Another node was faster.
            Err(error) if failure::text(&error).contains("already enabled") => Ok(()),
            Err(error) => Err(self.failed(what, failure::text(&error))),
        }
    }

    fn failed(&self, what: &'static str, reason: String) -> DynamoOpenError {
        DynamoOpenError::Failed {
            what,
            table: self.table.to_string(),
            reason,
        }
    }
}
