//! Connections: to one Redis server, to a cluster, or to a server that sentinels name.
//!
//! A connection is multiplexed: any number of calls share it, and none waits for the replies of the others. Only
//! the cluster client reconnects by itself, because it follows the shards. The supervisor replaces a connection
//! that has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsMode,
};

use super::config::{RedisConfig, RedisMode, RedisUrl};
use super::credentials::{self, certificates};
use super::error::{
    RedisOpenError, is_a_member, is_no_script, is_outage, is_refused, text, timed_out,
};
use super::mark::{Mark, Validity};
use super::scripts::{self, Run};
use crate::base::client_files::ClientSecrets;

/// How long connecting may take, including TLS and sentinels: six round trips of half a second.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How many round trips are measured; the shortest one counts.
const MEASURED: usize = 3;
/// How often the cluster client sends a call again that a server refused because slots are moving.
const CLUSTER_RETRIES: u32 = 2;
/// The longest pause before that, in milliseconds.
const CLUSTER_RETRY_WAIT: u64 = 20;

/// Makes connections as configured.
#[derive(Debug)]
pub(super) struct Connector {
    config: RedisConfig,
    credentials: ArcSwap<ClientSecrets>,
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// Reads the files that the configuration names. Does not connect yet.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, RedisOpenError> {
        let connector = Self {
            config: config.clone(),
            credentials: ArcSwap::from_pointee(credentials::read(config)?),
        };
        connector.check_settings()?;
        Ok(connector)
    }

    /// Finds settings that the client refuses before the first connection.
    fn check_settings(&self) -> Result<(), RedisOpenError> {
        let settings = |error: RedisError| RedisOpenError::Settings(text(&error));
        for url in self.urls() {
            let info = self.info(url).map_err(settings)?;
            self.client(info).map_err(settings)?;
        }
        Ok(())
    }

    /// Reads the files again for later connections. Whether they have changed.
    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        let read = credentials::read(&self.config)?;
        if read == **self.credentials.load() {
            return Ok(false);
        }
        let before = self.credentials.swap(Arc::new(read));
        match self.check_settings() {
            Ok(()) => Ok(true),
            Err(error) => {
                self.credentials.store(before);
                Err(error)
            }
        }
    }

    fn urls(&self) -> impl Iterator<Item = &url::Url> {
        self.config.urls.iter().map(RedisUrl::expose)
    }

    /// Connects; each call on the connection may take `patience`.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let connecting = async {
            Ok(match &self.config.mode {
                RedisMode::Node => Connection::Node(self.node(patience).await?),
                RedisMode::Cluster => Connection::Cluster(self.cluster(patience).await?),
                RedisMode::Sentinel { master } => {
                    Connection::Node(self.sentinel(master, patience).await?)
                }
            })
        };
        tokio::time::timeout(CONNECT_TIME, connecting)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    async fn node(&self, patience: Duration) -> RedisResult<MultiplexedConnection> {
        let Some(url) = self.urls().next() else {
            return Err((ErrorKind::InvalidClientConfig, "there is no URL").into());
        };
        self.client(self.info(url)?)?
            .get_multiplexed_async_connection_with_config(&settings(patience))
            .await
    }

    async fn cluster(&self, patience: Duration) -> RedisResult<ClusterConnection> {
        let seeds: Vec<ConnectionInfo> = self
            .urls()
            .map(|url| self.info(url))
            .collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(seeds)
            .connection_timeout(CONNECT_TIME)
            .response_timeout(patience)
            .retries(CLUSTER_RETRIES)
            .max_retry_wait(CLUSTER_RETRY_WAIT);
        if let Some(certificates) = certificates(&self.credentials.load()) {
            builder = builder.certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }

    /// Finds the server by sentinels. The user and password in the URLs are for the sentinels; the password of the
    /// server comes from the environment or the file.
    async fn sentinel(
        &self,
        master: &str,
        patience: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let infos: Vec<ConnectionInfo> = self
            .urls()
            .map(|url| url.clone().into_connection_info())
            .collect::<RedisResult<_>>()?;
        let addresses = infos.iter().map(|info| info.addr().clone());
        let mut builder =
            SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
        if let Some(first) = infos.first() {
            let sentinel = first.redis_settings();
            builder = builder.set_client_to_redis_db(sentinel.db());
            if let Some(user) = sentinel.username() {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = sentinel.password() {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        let credentials = self.credentials.load_full();
        if let Some(password) = &credentials.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if self.is_tls() {
            builder = builder
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates(&credentials) {
            builder = builder
                .set_client_to_sentinel_certificates(certificates.clone())
                .set_client_to_redis_certificates(certificates);
        }
        let mut client = builder.build()?;
        client
            .get_async_connection_with_config(&settings(patience))
            .await
    }

    /// Whether sentinels name the server.
    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.config.mode, RedisMode::Sentinel { .. })
    }

    fn is_tls(&self) -> bool {
        self.urls().any(|url| url.scheme() == "rediss")
    }

    fn info(&self, url: &url::Url) -> RedisResult<ConnectionInfo> {
        let info = url.clone().into_connection_info()?;
        let credentials = self.credentials.load();
        Ok(match (&credentials.password, &self.config.mode) {
            (Some(password), RedisMode::Node | RedisMode::Cluster) => {
                let redis = info.redis_settings().clone().set_password(password);
                info.set_redis_settings(redis)
            }
            _ => info,
        })
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match certificates(&self.credentials.load()) {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }
}

impl Connection {
    /// Loads the scripts into the server, or all servers of a cluster. A missing right is reported by the check of
    /// rights.
    pub(super) async fn load_scripts(&mut self) -> RedisResult<()> {
        // All at once: the server may be far away.
        let loading = scripts::all().map(|script| {
            let connection = self.clone();
            async move {
                match connection {
                    Self::Node(mut connection) => script.load_async(&mut connection).await,
                    Self::Cluster(mut connection) => script.load_async(&mut connection).await,
                }
            }
        });
        let results = join_all(loading).await;
        match results.into_iter().find_map(Result::err) {
            Some(error) if !is_refused(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The shortest time of a reply.
    pub(super) async fn round_trip(&mut self) -> RedisResult<Duration> {
        let mut shortest = Duration::MAX;
        for _ in 0..MEASURED {
            let began = Instant::now();
            match self.command::<redis::Value>(&redis::cmd("PING")).await {
                Err(error) if is_outage(&error) => return Err(error),
                _ => shortest = shortest.min(began.elapsed()),
            }
        }
        Ok(shortest)
    }

    /// Fails if the server is a member of a cluster but the configuration says that it is not.
    pub(super) async fn must_be_alone(&mut self) -> RedisResult<()> {
        if matches!(self, Self::Cluster(_)) {
            return Ok(());
        }
        let info = redis::cmd("INFO").arg("cluster").to_owned();
        match self.command::<String>(&info).await {
            Ok(text) if text.contains("cluster_enabled:1") => Err(is_a_member()),
            // INFO may be refused; then the refusals of other calls show what the server is.
            _ => Ok(()),
        }
    }

    /// Runs one command.
    pub(super) async fn command<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Node(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Runs one script; loads it again if the server has lost it.
    pub(super) async fn run<T: FromRedisValue>(
        &mut self,
        run: &Run,
        validity: Validity,
    ) -> RedisResult<T> {
        let command = run.command(validity);
        match self.command(&command).await {
            Err(error) if is_no_script(&error) => {
                match self {
                    Self::Node(connection) => run.script().load_async(connection).await?,
                    Self::Cluster(connection) => run.script().load_async(connection).await?,
                };
                self.command(&command).await
            }
            other => other,
        }
    }
}

impl Connection {
    /// Fails if the server is not the master, or not any more.
    pub(super) async fn must_be_master(&mut self) -> RedisResult<()> {
        let role: Vec<redis::Value> = self.command(&redis::cmd("ROLE")).await?;
        match role.first() {
            Some(redis::Value::BulkString(role)) if role == b"master" => Ok(()),
            _ => Err((
                ErrorKind::Server(ServerErrorKind::ReadOnly),
                "the server is not the master",
            )
                .into()),
        }
    }
}

impl Connection {
    /// For how long the server has been running.
    pub(super) async fn age(&mut self) -> RedisResult<Age> {
        if matches!(self, Self::Cluster(_)) {
            return Ok(Age::Any);
        }
        let info = redis::cmd("INFO").arg("server").to_owned();
        match self.command::<String>(&info).await {
            Ok(text) => Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("uptime_in_seconds:"))
                .and_then(|seconds| seconds.trim().parse().ok())
                .map_or(Age::Unknown, Age::Seconds)),
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                let error = text(&error);
                tracing::debug!(error, "Redis does not tell when it started");
                Ok(Age::Unknown)
            }
        }
    }

    /// Writes the mark under a key for `life` and returns the text that was there. Shows whether Redis works, and
    /// whether another store uses it.
    pub(super) async fn probe(
        &mut self,
        key: &str,
        mark: Mark,
        life: Duration,
    ) -> RedisResult<Option<Vec<u8>>> {
        let mut both = redis::pipe();
        both.cmd("GET").arg(key);
        both.cmd("SET").arg(key).arg(mark.to_string());
        both.arg("PX").arg(life.as_millis() as u64);
        both.ignore_errors();
        let results: Vec<RedisResult<redis::Value>> = match self {
            Self::Node(connection) => both.query_async(connection).await?,
            Self::Cluster(connection) => both.query_async(connection).await?,
        };
        let mut results = results.into_iter();
        let (found, written) = (results.next(), results.next());
        written.unwrap_or_else(|| Err(timed_out()))?;
        match found {
            Some(Err(error)) if is_outage(&error) => Err(error),
            Some(Ok(redis::Value::BulkString(text))) => Ok(Some(text)),
            _ => Ok(None),
        }
    }
}

/// For how long a server has been running: older values come from a file and may be outdated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// In seconds.
    Seconds(u64),
    /// The server does not tell, so none of its values can be trusted.
    Unknown,
    /// A cluster has many servers; see [`super`].
    Any,
}

/// The values of one server under these keys, in one call.
pub(super) async fn get_many(
    connection: &mut MultiplexedConnection,
    keys: &[&str],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    redis::cmd("MGET").arg(keys).query_async(connection).await
}

/// Runs scripts on one server, in one pipeline. The outer error is that of the connection.
pub(super) async fn run_many(
    connection: &mut MultiplexedConnection,
    runs: &[&Run],
    validity: Validity,
) -> RedisResult<Vec<RedisResult<i64>>> {
    let mut results = pipeline(connection, runs, validity).await?;
    if results
        .iter()
        .any(|result| matches!(result, Err(error) if is_no_script(error)))
    {
        for script in scripts::all() {
            script.load_async(connection).await?;
        }
        let lacking: Vec<usize> = (0..results.len())
            .filter(|&i| matches!(&results[i], Err(error) if is_no_script(error)))
            .collect();
        let again: Vec<&Run> = lacking.iter().map(|&i| runs[i]).collect();
        let repeated = pipeline(connection, &again, validity).await?;
        for (i, result) in lacking.into_iter().zip(repeated) {
            results[i] = result;
        }
    }
    Ok(results)
}

async fn pipeline(
    connection: &mut impl ConnectionLike,
    runs: &[&Run],
    validity: Validity,
) -> RedisResult<Vec<RedisResult<i64>>> {
    let mut pipeline = redis::pipe();
    for run in runs {
        pipeline.add_command(run.command(validity));
    }
    pipeline.ignore_errors().query_async(connection).await
}

fn settings(patience: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIME))
        .set_response_timeout(Some(patience))
}

/// Checks that a configuration, with the files that it names, can be used. Does not connect.
///
/// # Errors
/// [`RedisOpenError`], as at the start.
pub fn check(config: &RedisConfig) -> Result<(), RedisOpenError> {
    Connector::new(config).map(drop)
}
