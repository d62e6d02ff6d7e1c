//! Opening: settings from the usual AWS sources, and the check of the table.
//!
//! A role needs `dynamodb:DescribeTable`, `Query`, `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem` and `BatchWriteItem` on the
//! table of statistics, and `Query` on its indexes.
//! It needs `dynamodb:DescribeStream`, `GetShardIterator` and `GetRecords` on the stream of the table, if it has one.
//! It needs `dynamodb:DescribeTable`, `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem` and `Scan` on the
//! table; with `create_table` also `CreateTable`, `DescribeTimeToLive` and `UpdateTimeToLive`.
//! `DescribeTimeToLive` is useful in any case: without it tinyns cannot warn that the table's TTL is off, and
//! links that have ended and tombstones stay for ever.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    BillingMode, ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credentials::Steady;
use super::feed::Streams;
use super::filters::Filters;
use super::identity::Known;
use super::item::EXPIRES_AT;
use super::kind::{TableKey, TableKind, attribute_type};
use super::state::State;
use super::statistics::Statistics;
use super::{
    DynamoConfig, DynamoStore, Lane, MAX_ATTEMPTS, MAX_BACKOFF, MAX_READS, MAX_WRITES,
    READ_ATTEMPT_TIME, READ_BACKOFF, READ_TIME, SECOND_REQUEST_TIME, Table, WRITE_ATTEMPT_TIME,
    WRITE_BACKOFF, WRITE_TIME, WRITE_WAIT, audit, failure,
};

/// The region for a configured endpoint if none is set; emulators accept any.
const EMULATOR_REGION: &str = "us-east-1";
/// How long the creation of a table may take. It usually takes some ten seconds.
const TABLE_PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks at a table that is being created.
const TABLE_POLL: Duration = Duration::from_millis(500);

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DynamoOpenError {
    /// No region is known.
    #[error(
        "no region for the DynamoDB table {0:?}: set region in [store] or on the command line, \
         AWS_REGION, or a profile's"
    )]
    NoRegion(String),
    /// There is no such table.
    #[error("{table} does not exist; create it, or set create_table = true in [store]")]
    Missing {
        /// The table and its place.
        table: String,
    },
    /// There is no such table, and it was only to be read.
    #[error("{table} does not exist")]
    NoTable {
        /// The table and its place.
        table: String,
    },
    /// The table has another key than links need.
    #[error(
        "{table} has the key {found}; links need the partition key miniUrl (S) and no other. To take the links \
         of such a table over, name another table in [store], and run `tinyns import dynamodb --table {name}`"
    )]
    KeySchema {
        /// The table and its place.
        table: String,
        /// Its name.
        name: String,
        /// Its key.
        found: String,
    },
    /// The table exists but cannot be used.
    #[error("{table} is not ready: its status is {status}")]
    NotReady {
        /// The table and its place.
        table: String,
        /// Its status.
        status: String,
    },
    /// DynamoDB could not be asked, or refused.
    #[error("cannot {what} {table}: {reason}")]
    Failed {
        /// The call that failed.
        what: &'static str,
        /// The table and its place.
        table: String,
        /// Why not.
        reason: String,
        /// Whether the same call may succeed later, without a change of the configuration.
        may_pass: bool,
    },
}

impl DynamoOpenError {
    /// Whether the same may succeed later: DynamoDB comes back, or an operator makes the table or grants a right. Otherwise
    /// the configuration names a table that is not for links.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Failed { may_pass, .. } => *may_pass,
            Self::NotReady { .. } | Self::Missing { .. } => true,
            Self::NoRegion(_) | Self::NoTable { .. } | Self::KeySchema { .. } => false,
        }
    }
}

impl DynamoStore {
    /// The settings of [`DynamoStore::open`], for a caller that wants to change some of them, such as the source
    /// of the credentials.
    pub fn settings() -> ConfigLoader {
        let tls = Provider::Rustls(CryptoMode::Ring);
        // Pinned: a later version of the behaviour may change retries and time-outs.
        aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(HttpClientBuilder::new().tls_provider(tls).build_https())
    }

    /// A store whose table has not been checked yet.
    pub(super) async fn unopened(
        config: &DynamoConfig,
        settings: ConfigLoader,
    ) -> Result<Self, DynamoOpenError> {
        let sdk = load(config, settings).await?;
        let table = table(config, &sdk);
        let lane = |permits, wait, time, attempt_time, backoff| Lane {
            client: client(&sdk, time, attempt_time, backoff),
            permits: Semaphore::new(permits),
            wait,
            limit: time + SECOND_REQUEST_TIME,
        };
        let tables = client(&sdk, WRITE_TIME, WRITE_ATTEMPT_TIME, WRITE_BACKOFF);
        let streams = Streams::new(streams_client(&sdk), tables, table.clone());
        let read_wait = READ_TIME + SECOND_REQUEST_TIME;
        let log = config.audit.as_ref().map(|audit| audit::Log {
            table: Table {
                name: audit.name.clone(),
                place: table.place.clone(),
            },
            keep: audit.keep,
        });
        let reads = lane(
            MAX_READS,
            read_wait,
            READ_TIME,
            READ_ATTEMPT_TIME,
            READ_BACKOFF,
        );
        let writes = lane(
            MAX_WRITES,
            WRITE_WAIT,
            WRITE_TIME,
            WRITE_ATTEMPT_TIME,
            WRITE_BACKOFF,
        );
        let closed = CancellationToken::new();
        let known: Arc<Known> = Arc::default();
        let statistics = config.statistics.as_ref().map(|statistics| {
            let clients = (reads.client.clone(), writes.client.clone());
            let links = (table.clone(), known.clone());
            Statistics::new(statistics, clients, links, closed.clone())
        });
        let filters = Filters {
            reads: reads.client.clone(),
            writes: writes.client.clone(),
            table: table.clone(),
            region: sdk.region().map(ToString::to_string).unwrap_or_default(),
        };
        Ok(Self {
            table,
            log,
            statistics: statistics.map(Arc::new),
            reads,
            writes,
            filters: Arc::new(filters),
            streams: config.feed.then(|| Arc::new(streams)),
            known,
            state: Arc::new(watch::channel(State::Away("it is being opened".into())).0),
            bare_codes: Arc::default(),
            closed,
            calls: TaskTracker::new(),
        })
    }
}

/// Collects region, credentials and endpoint.
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

/// The table of a configuration, for requests and messages.
pub(super) fn table(config: &DynamoConfig, sdk: &SdkConfig) -> Table {
    let region = sdk.region().map(ToString::to_string).unwrap_or_default();
    Table {
        name: config.table.clone(),
        place: sdk.endpoint_url().map_or(region, Into::into),
    }
}

/// A client whose calls are bounded in time.
pub(super) fn client(
    sdk: &SdkConfig,
    time: Duration,
    attempt_time: Duration,
    backoff: Duration,
) -> Client {
    let (timeouts, retries) = bounds(time, attempt_time, backoff);
    let config = aws_sdk_dynamodb::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .retry_config(retries)
        .build();
    Client::from_conf(config)
}

/// The same for the stream of a table, with the times of reads.
fn streams_client(sdk: &SdkConfig) -> aws_sdk_dynamodbstreams::Client {
    let (timeouts, retries) = bounds(READ_TIME, READ_ATTEMPT_TIME, WRITE_BACKOFF);
    let config = aws_sdk_dynamodbstreams::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .retry_config(retries)
        .build();
    aws_sdk_dynamodbstreams::Client::from_conf(config)
}

fn bounds(
    time: Duration,
    attempt_time: Duration,
    backoff: Duration,
) -> (TimeoutConfig, RetryConfig) {
    // The bound of an attempt is not the SDK's own for attempts: that one would also cut off a refresh of the
    // credentials, which may take longer and would start anew each time.
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(time)
        .connect_timeout(attempt_time)
        .read_timeout(attempt_time)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(backoff)
        .with_max_backoff(MAX_BACKOFF);
    (timeouts, retries)
}

/// Calls about the table as a whole.
pub(super) struct Admin<'a> {
    pub(super) client: &'a Client,
    pub(super) table: &'a Table,
}

impl Admin<'_> {
    /// Finds a table to read from. Creates nothing, and accepts every [`TableKey`].
    pub(super) async fn find(&self) -> Result<(TableDescription, TableKey), DynamoOpenError> {
        let Some(found) = self.describe().await? else {
            return Err(DynamoOpenError::NoTable {
                table: self.table.to_string(),
            });
        };
        match TableKey::of(&found) {
            Some(key) => Ok((found, key)),
            None => Err(self.wrong_key(&found)),
        }
    }

    /// Makes sure that the table exists and can be used.
    pub(super) async fn prepare(
        &self,
        kind: TableKind,
        create: bool,
    ) -> Result<(), DynamoOpenError> {
        let found = match self.describe().await? {
            Some(found) => found,
            None if create => {
                self.create(kind).await?;
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
        self.check_key(kind, &found)?;
        self.check_status(found).await?;
        self.time_to_live(create).await
    }

    async fn describe(&self) -> Result<Option<TableDescription>, DynamoOpenError> {
        let sent = self.client.describe_table().table_name(&self.table.name);
        match sent.send().await {
            Ok(output) => Ok(output.table),
            Err(SdkError::ServiceError(e)) if e.err().is_resource_not_found_exception() => Ok(None),
            Err(error) => Err(self.failed("look at", &error)),
        }
    }

    /// Creates the table, or finds that another node is creating it.
    async fn create(&self, kind: TableKind) -> Result<(), DynamoOpenError> {
        let unbuilt =
            |e: aws_sdk_dynamodb::error::BuildError| self.refused("create", e.to_string());
        let mut request = self.client.create_table().table_name(&self.table.name);
        request = kind.describe(request).map_err(unbuilt)?;
        let mut request = request.billing_mode(BillingMode::PayPerRequest);
        if kind == TableKind::Links {
            let stream = StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewAndOldImages);
            request = request.stream_specification(stream.build().map_err(unbuilt)?);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_)) => Ok(()),
                _ => Err(self.failed("create", &error)),
            },
        }
    }

    /// Waits until the table can be used.
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

    /// Waits for a table that is being created; refuses one that is being deleted.
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

    fn check_key(&self, kind: TableKind, found: &TableDescription) -> Result<(), DynamoOpenError> {
        match kind {
            TableKind::Links if TableKey::of(found) == Some(TableKey::Name) => Ok(()),
            TableKind::Links => Err(self.wrong_key(found)),
            TableKind::Audit | TableKind::Statistics => match kind.fault(found) {
                None => Ok(()),
                Some(reason) => Err(self.refused("use", reason)),
            },
        }
    }

    fn wrong_key(&self, found: &TableDescription) -> DynamoOpenError {
        let keys = found.key_schema().iter().map(|key| {
            let name = key.attribute_name();
            let kind = attribute_type(found, name).map_or("?", ScalarAttributeType::as_str);
            format!("{name} ({kind}, {})", key.key_type().as_str())
        });
        DynamoOpenError::KeySchema {
            table: self.table.to_string(),
            name: self.table.name.clone(),
            found: keys.collect::<Vec<_>>().join(" and "),
        }
    }

    /// Checks whether DynamoDB sweeps links that have ended, and enables that if `enable`. The sweep changes no
    /// answer, so only a failure to enable it is an error.
    async fn time_to_live(&self, enable: bool) -> Result<(), DynamoOpenError> {
        let (table, place) = (&self.table.name, &self.table.place);
        let sent = self.client.describe_time_to_live().table_name(table);
        let ttl = match sent.send().await {
            Ok(output) => output.time_to_live_description,
            Err(error) => {
                let error = failure::text(&error);
                tracing::debug!(table, place, error, "cannot read the table's TTL settings");
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
                    "the table's TTL is not on expiresAt: links that have ended and tombstones stay in it for ever"
                );
            }
            _ if enable => self.enable_time_to_live().await?,
            _ => tracing::warn!(
                table,
                place,
                "the table's TTL is off: links that have ended and tombstones stay in it for ever; enable it for \
                 expiresAt"
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
            .map_err(|e| self.refused(what, e.to_string()))?;
        let sent = self
            .client
            .update_time_to_live()
            .table_name(&self.table.name)
            .time_to_live_specification(specification);
        match sent.send().await {
            Ok(_) => Ok(()),
            // Another node was faster.
            Err(error) if failure::text(&error).contains("already enabled") => Ok(()),
            Err(error) => Err(self.failed(what, &error)),
        }
    }

    fn failed<E>(&self, what: &'static str, error: &SdkError<E>) -> DynamoOpenError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        DynamoOpenError::Failed {
            what,
            table: self.table.to_string(),
            reason: failure::text(error),
            may_pass: failure::may_pass_at_start(error),
        }
    }

    fn refused(&self, what: &'static str, reason: String) -> DynamoOpenError {
        DynamoOpenError::Failed {
            what,
            table: self.table.to_string(),
            reason,
            may_pass: false,
        }
    }
}
