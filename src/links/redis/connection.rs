//! Connections: one server, a cluster, or a server that sentinels know.
//!
//! A connection is multiplexed: any number of calls share it, each without waiting for the others'
//! replies. None reconnects by itself but that of the cluster, which follows its shards; the supervisor
//! makes a new one where one has failed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, TlsMode,
};

use super::config::{RedisConfig, RedisMode};
use super::scripts::{self, Run};
use crate::environment;
use crate::files::read_whole;

/// The environment variable that holds the password; it comes before the password file. Empty is the
/// same as unset.
pub const PASSWORD_VARIABLE: &str = "TINYNS_REDIS_PASSWORD";

/// How long making a connection may take, with TLS and the way over sentinels.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// The largest file of a password or of certificates that is read, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;
/// How often the cluster's client sends a call again that a node has refused because slots move.
const CLUSTER_RETRIES: u32 = 2;
/// The longest it waits before that, in milliseconds.
const CLUSTER_RETRY_WAIT: u64 = 20;

/// Why Redis cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    /// A file of the configuration cannot be read.
    #[error("cannot read {what} {}", file.display())]
    File {
        /// Which one.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The password is not text.
    #[error("the Redis password in {0} is not one line of UTF-8 text")]
    Password(String),
    /// The client refuses the settings.
    #[error("the Redis settings cannot be used: {0}")]
    Settings(String),
}

/// Makes connections as the configuration says.
#[derive(Debug)]
pub(super) struct Connector {
    mode: RedisMode,
    urls: Vec<url::Url>,
    password: Option<String>,
    certificates: Option<TlsCertificates>,
}

/// A connection to use; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// Reads the files that the configuration names. Connects to nothing yet.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, RedisOpenError> {
        let certificates = match &config.ca_file {
            None => None,
            Some(file) => Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(read("the Redis certificates", file)?),
            }),
        };
        let connector = Self {
            mode: config.mode.clone(),
            urls: config.urls.iter().map(|url| url.expose().clone()).collect(),
            password: password(config)?,
            certificates,
        };
        // What the client will not take is found out now and not in the log of a running server.
        let settings = |error: RedisError| RedisOpenError::Settings(text(&error));
        for url in &connector.urls {
            let info = connector.info(url).map_err(settings)?;
            connector.client(info).map_err(settings)?;
        }
        Ok(connector)
    }

    /// Makes a connection on which a call may take `patience`, and teaches it the scripts.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let connecting = async {
            let mut connection = match &self.mode {
                RedisMode::Node => Connection::Node(self.node(patience).await?),
                RedisMode::Cluster => Connection::Cluster(self.cluster(patience).await?),
                RedisMode::Sentinel { master } => {
                    Connection::Node(self.sentinel(master, patience).await?)
                }
            };
            connection.load_scripts().await?;
            Ok(connection)
        };
        tokio::time::timeout(CONNECT_TIME, connecting)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    async fn node(&self, patience: Duration) -> RedisResult<MultiplexedConnection> {
        let Some(url) = self.urls.first() else {
            return Err((ErrorKind::InvalidClientConfig, "there is no URL").into());
        };
        self.client(self.info(url)?)?
            .get_multiplexed_async_connection_with_config(&settings(patience))
            .await
    }

    async fn cluster(&self, patience: Duration) -> RedisResult<ClusterConnection> {
        let seeds: Vec<ConnectionInfo> = self
            .urls
            .iter()
            .map(|url| self.info(url))
            .collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(seeds)
            .connection_timeout(CONNECT_TIME)
            .response_timeout(patience)
            .retries(CLUSTER_RETRIES)
            .max_retry_wait(CLUSTER_RETRY_WAIT);
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()?.get_async_connection().await
    }

    /// The way over the sentinels. The user and password of the URLs are the sentinels' own; those of
    /// the server come from the environment or the file.
    async fn sentinel(
        &self,
        master: &str,
        patience: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let infos: Vec<ConnectionInfo> = self
            .urls
            .iter()
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
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if self.is_tls() {
            builder = builder
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_sentinel_certificates(certificates.clone())
                .set_client_to_redis_certificates(certificates.clone());
        }
        let mut client = builder.build()?;
        client
            .get_async_connection_with_config(&settings(patience))
            .await
    }

    /// Whether the server is found by way of sentinels.
    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.mode, RedisMode::Sentinel { .. })
    }

    fn is_tls(&self) -> bool {
        self.urls.iter().any(|url| url.scheme() == "rediss")
    }

    fn info(&self, url: &url::Url) -> RedisResult<ConnectionInfo> {
        let info = url.clone().into_connection_info()?;
        Ok(match (&self.password, &self.mode) {
            (Some(password), RedisMode::Node | RedisMode::Cluster) => {
                let redis = info.redis_settings().clone().set_password(password);
                info.set_redis_settings(redis)
            }
            _ => info,
        })
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }
}

impl Connection {
    /// Teaches the server, or all of a cluster's, the scripts.
    async fn load_scripts(&mut self) -> RedisResult<()> {
        for script in scripts::all() {
            match self {
                Self::Node(connection) => script.load_async(connection).await?,
                Self::Cluster(connection) => script.load_async(connection).await?,
            };
        }
        Ok(())
    }

    /// Runs one command.
    pub(super) async fn command<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Node(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Runs one script; a server that has forgotten it is taught again.
    pub(super) async fn run(&mut self, run: &Run, born: u64) -> RedisResult<i64> {
        let command = run.command(born);
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
    /// Fails if the server is not, or no longer, the master.
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
    /// For how long the server has been running, in seconds; none for a cluster, which is many, and
    /// where the server does not tell.
    pub(super) async fn uptime(&mut self) -> RedisResult<Option<u64>> {
        if matches!(self, Self::Cluster(_)) {
            return Ok(None);
        }
        let info = redis::cmd("INFO").arg("server").to_owned();
        match self.command::<String>(&info).await {
            Ok(text) => Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("uptime_in_seconds:"))
                .and_then(|seconds| seconds.trim().parse().ok())),
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                tracing::debug!(
                    error = text(&error),
                    "Redis does not tell when it was started"
                );
                Ok(None)
            }
        }
    }
}

/// What one server holds under these keys, in one call.
pub(super) async fn get_many(
    connection: &mut MultiplexedConnection,
    keys: &[&str],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    redis::cmd("MGET").arg(keys).query_async(connection).await
}

/// Runs scripts on one server, in one go. The outer error is that of the connection.
pub(super) async fn run_many(
    connection: &mut MultiplexedConnection,
    runs: &[&Run],
    born: u64,
) -> RedisResult<Vec<RedisResult<i64>>> {
    let mut results = pipeline(connection, runs, born).await?;
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
        let repeated = pipeline(connection, &again, born).await?;
        for (i, result) in lacking.into_iter().zip(repeated) {
            results[i] = result;
        }
    }
    Ok(results)
}

async fn pipeline(
    connection: &mut impl ConnectionLike,
    runs: &[&Run],
    born: u64,
) -> RedisResult<Vec<RedisResult<i64>>> {
    let mut pipeline = redis::pipe();
    for run in runs {
        pipeline.add_command(run.command(born));
    }
    pipeline.ignore_errors().query_async(connection).await
}

/// Whether this shows that Redis, or this connection to it, does not work just now. What else a server
/// refuses, such as a value of the wrong type or a write when it is full, concerns one call.
pub(super) fn is_outage(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
        ),
        ErrorKind::UnexpectedReturnType => false,
        ErrorKind::Extension => refuses_writes(error),
        _ => true,
    }
}

/// Whether the server refuses all writes, deletions as well, although it answers: it is not the master,
/// has too few replicas, or cannot save. What it holds gets old then, and nobody can drop it. (One that
/// is full lets things be dropped.)
pub(super) fn refuses_writes(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || matches!(error.code(), Some("MISCONF" | "NOREPLICAS"))
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// The error of a call that took too long.
pub(super) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// An error in one line: some of it comes from outside.
pub(super) fn text(error: &RedisError) -> String {
    crate::config::one_line(&error.to_string())
}

fn settings(patience: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIME))
        .set_response_timeout(Some(patience))
}

/// Whether a configuration, with the files that it names, can be used. Nothing is connected to.
///
/// # Errors
/// [`RedisOpenError`], as the start would give it.
pub fn check(config: &RedisConfig) -> Result<(), RedisOpenError> {
    Connector::new(config).map(drop)
}

/// The environment's password, or the first line of the file.
fn password(config: &RedisConfig) -> Result<Option<String>, RedisOpenError> {
    let bad = |_| RedisOpenError::Password(PASSWORD_VARIABLE.into());
    if let Some(password) = environment::text(PASSWORD_VARIABLE).map_err(bad)? {
        return Ok(Some(password));
    }
    let Some(file) = &config.password_file else {
        return Ok(None);
    };
    let bad = || RedisOpenError::Password(file.display().to_string());
    let text = String::from_utf8(read("the Redis password file", file)?).map_err(|_| bad())?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
        _ => Err(bad()),
    }
}

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, RedisOpenError> {
    read_whole(file, MAX_FILE_LEN).map_err(|source| RedisOpenError::File {
        what,
        file: file.into(),
        source,
    })
}
