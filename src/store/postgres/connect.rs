//! Connecting: to the first server that takes changes, or to a replica.
//!
//! The servers of a URL are tried at intervals, the last good one first, and the first one that accepts the connection
//! wins. So a server that hangs delays a connection by [`HEAD_START`] only. A server that is a replica counts as one that
//! cannot be reached: after a fail-over, the replica that was promoted is found without any other source of knowledge.
//!
//! Each new connection reports which history of which store it leads to (`identity`). One to a replica also reports which
//! *run* of the replica that is: positions of different runs do not compare, because a replica may have been made anew from
//! an older backup.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::ClientConfig;

use super::config::PostgresConfig;
use super::failure::{Fault, may_pass, text};
use super::identity::History;
use super::news::News;
use super::url::{HostPlace, PostgresHost, PostgresUrl, TlsMode};
use crate::base::client_files::{ClientFileError, ClientFiles, ClientSecrets};
use crate::base::client_tls::tls_config;

/// The environment variable of the password. It takes precedence over the password file. An empty one counts as
/// unset.
pub const PASSWORD_VARIABLE: &str = "TINYNS_POSTGRESQL_PASSWORD";

/// The name of the servers in messages.
const SERVICE: &str = "PostgreSQL";
/// How long a server is tried alone before the next one is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);
/// After how long without data the system probes a connection, how often, and how many probes may be lost: a dead
/// connection ends after 20 seconds, also one that only listens.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long the server's system may leave data unacknowledged before the connection ends: a little more than a call of
/// an administrator waits.
const UNACKNOWLEDGED: Duration = Duration::from_secs(12);
/// How long PostgreSQL keeps a transaction whose client says nothing. No transaction of tinyns waits for anything but
/// the network.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);
/// The oldest version of PostgreSQL.
const OLDEST: u32 = 120_000;

/// How long PostgreSQL uses its plan of a statement. For an empty table all indexes cost the same, so the plan may use one
/// that fits badly; the table may have a hundred thousand links soon, and PostgreSQL keeps the plan until it has gathered
/// statistics, a minute later by default.
const PLAN_AGE: Duration = Duration::from_secs(2);

/// Settings of each session, besides the time-outs. All statements are meant to use indexes; without statistics, as on a
/// table that has just been filled, the planner might prefer to read the whole table, and would repeat that plan. A
/// commit has to be on disk before it is acknowledged, whatever the default of the database is.
const SESSION: &str = "SET search_path = tinyns, pg_temp; SET enable_seqscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET jit = off; SET tinyns.notifies = on; SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// And for a replica, which must not be changed if it was promoted.
const READ_ONLY: &str = "; SET default_transaction_read_only = on";

const ABOUT: &str = "SELECT current_setting('server_version_num'), current_setting('transaction_read_only'), \
    pg_encoding_to_char(encoding), to_regclass('tinyns.store'), \
    floor(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint \
    FROM pg_database WHERE datname = current_database()";

/// What a connector leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The server that takes changes.
    Writer,
    /// A replica, which takes none.
    Replica,
}

/// A run of a replica: when its first process started, in microseconds since 1970, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(pub(super) i64);

/// Makes connections as configured.
pub(super) struct Connector {
    role: Role,
    url: PostgresUrl,
    config: PostgresConfig,
    files: ArcSwap<Files>,
    /// The server that accepted the last connection.
    preferred: AtomicUsize,
}

/// What the files hold, and the settings of TLS that were made of it.
struct Files {
    secrets: ClientSecrets,
    tls: ClientConfig,
}

/// A connection, which does one call at a time.
pub(super) struct Connection {
    pub(super) client: Client,
    /// What it leads to. None if the database has no tables of tinyns yet, and for a replica.
    pub(super) history: Option<History>,
    /// The run of the replica that it leads to.
    pub(super) run: Run,
    pub(super) made: Instant,
    /// By their text; each with the time at which it was prepared.
    statements: Mutex<HashMap<&'static str, (Statement, Instant)>>,
    task: JoinHandle<()>,
}

/// Why no server accepted a connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct ConnectError {
    /// The reason of each server, in one line.
    pub(super) text: String,
    /// Whether it may pass without any action of an operator.
    pub(super) may_pass: bool,
}

impl ConnectError {
    fn lasting(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            may_pass: false,
        }
    }

    fn passing(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            may_pass: true,
        }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        Self {
            text: text(error),
            may_pass: may_pass(error),
        }
    }
}

impl Connection {
    /// The statement of a text, which is prepared for each connection and each [`PLAN_AGE`].
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, Fault> {
        let known = {
            let statements = self.statements.lock();
            let statements = statements.unwrap_or_else(PoisonError::into_inner);
            statements.get(sql).cloned()
        };
        if let Some((statement, prepared)) = known
            && prepared.elapsed() < PLAN_AGE
        {
            return Ok(statement);
        }
        let prepared = Instant::now();
        let statement = self.client.prepare(sql).await?;
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql, (statement.clone(), prepared));
        Ok(statement)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connector {
    /// Reads the files that the configuration names. Does not connect yet.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, ClientFileError> {
        Self::to(Role::Writer, &config.url, config)
    }

    /// The same for the replica that the configuration names.
    pub(super) fn to_replica(
        url: &PostgresUrl,
        config: &PostgresConfig,
    ) -> Result<Self, ClientFileError> {
        Self::to(Role::Replica, url, config)
    }

    fn to(role: Role, url: &PostgresUrl, config: &PostgresConfig) -> Result<Self, ClientFileError> {
        Ok(Self {
            role,
            url: url.clone(),
            config: config.clone(),
            files: ArcSwap::from_pointee(Files::read(config, url)?),
            preferred: AtomicUsize::new(0),
        })
    }

    /// Reads the files again for later connections. Whether they have changed.
    pub(super) fn reload(&self) -> Result<bool, ClientFileError> {
        let read = Files::read(&self.config, &self.url)?;
        if read.secrets == self.files.load().secrets {
            return Ok(false);
        }
        self.files.store(Arc::new(read));
        Ok(true)
    }

    /// The database without the password, for messages.
    pub(super) fn place(&self) -> String {
        self.url.to_string()
    }

    /// Connects. `news` gets the notifications that PostgreSQL sends.
    pub(super) async fn connect(
        &self,
        news: Option<&Arc<News>>,
    ) -> Result<Connection, ConnectError> {
        let hosts = &self.url.hosts;
        let first = self.preferred.load(Ordering::Relaxed) % hosts.len().max(1);
        let mut waiting = (0..hosts.len()).map(|i| (first + i) % hosts.len());
        let mut trying = FuturesUnordered::new();
        let mut errors: Vec<ConnectError> = Vec::new();
        loop {
            match waiting.next() {
                Some(i) => trying.push(async move { (i, self.connect_to(&hosts[i], news).await) }),
                None if trying.is_empty() => return Err(joined(errors)),
                None => {}
            }
            let more = waiting.len() > 0;
            let next = tokio::time::timeout(HEAD_START, trying.next());
            let outcome = match more {
                // An elapsed head start: the next server is tried beside this one.
                true => next.await.unwrap_or(None),
                false => trying.next().await,
            };
            match outcome {
                Some((i, Ok(connection))) => {
                    self.preferred.store(i, Ordering::Relaxed);
                    return Ok(connection);
                }
                Some((i, Err(error))) => errors.push(ConnectError {
                    text: format!("{}: {}", hosts[i], error.text),
                    may_pass: error.may_pass,
                }),
                None => {}
            }
        }
    }

    async fn connect_to(
        &self,
        host: &PostgresHost,
        news: Option<&Arc<News>>,
    ) -> Result<Connection, ConnectError> {
        let limit = self.url.connect_timeout;
        let connecting = async {
            let mut connection = self.open(host, news).await?;
            (connection.history, connection.run) = self.begin(&connection.client).await?;
            Ok(connection)
        };
        tokio::time::timeout(limit, Box::pin(connecting))
            .await
            .unwrap_or_else(|_| {
                let secs = limit.as_secs();
                let text = format!("it did not accept the connection within {secs} seconds");
                Err(ConnectError::passing(text))
            })
    }

    async fn open(
        &self,
        host: &PostgresHost,
        news: Option<&Arc<News>>,
    ) -> Result<Connection, ConnectError> {
        let files = self.files.load_full();
        let config = self.settings(host, &files.secrets);
        let connected = config
            .connect(MakeRustlsConnect::new(files.tls.clone()))
            .await;
        let (client, mut connection) = connected.map_err(|error| ConnectError::of(&error))?;
        let news = news.cloned();
        let task = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(note)) => {
                        if let Some(news) = &news {
                            news.note(note.channel());
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(error = text(&error), "connection to PostgreSQL lost");
                        break;
                    }
                }
            }
            // Notifications may be lost from now on.
            if let Some(news) = &news {
                news.note_all();
            }
        });
        Ok(Connection {
            client,
            history: None,
            run: Run(0),
            made: Instant::now(),
            statements: Mutex::default(),
            task,
        })
    }

    fn settings(&self, host: &PostgresHost, secrets: &ClientSecrets) -> Config {
        let url = &self.url;
        let mut config = Config::new();
        let mut tls = match url.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Verify => SslMode::Require,
        };
        match &host.place {
            HostPlace::Tcp(name) => {
                config.host(name);
            }
            HostPlace::Unix(directory) => {
                // There is no TLS over sockets of this machine.
                tls = SslMode::Disable;
                config.host_path(directory);
            }
        }
        config
            .port(host.port)
            .user(url.user())
            .dbname(url.database())
            .application_name(url.application.as_deref().unwrap_or("tinyns"))
            .ssl_mode(tls)
            .connect_timeout(url.connect_timeout)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        if let Some(password) = secrets.password.as_ref().or(url.password.as_ref()) {
            config.password(password);
        }
        config
    }

    /// Prepares a session, and checks what it leads to. No history if the database has no tables of tinyns yet.
    async fn begin(&self, client: &Client) -> Result<(Option<History>, Run), ConnectError> {
        let failed = |error: tokio_postgres::Error| ConnectError::of(&error);
        let statement = self.config.statement_timeout.as_millis();
        let idle = IDLE_IN_TRANSACTION.as_millis();
        let session = format!(
            "SET statement_timeout = {statement}; SET lock_timeout = {statement}; \
             SET idle_in_transaction_session_timeout = {idle}; {SESSION}{}",
            match self.role {
                Role::Writer => "",
                Role::Replica => READ_ONLY,
            }
        );
        client.batch_execute(&session).await.map_err(failed)?;
        let messages = client.simple_query(ABOUT).await.map_err(failed)?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
        let version: u32 = text(0).parse().unwrap_or(0);
        if version < OLDEST {
            return Err(ConnectError::lasting(format!(
                "it is PostgreSQL {}; tinyns needs version {} or later",
                version / 10_000,
                OLDEST / 10_000
            )));
        }
        if self.role == Role::Writer && text(1) == "on" {
            return Err(ConnectError::passing(
                "it takes no changes: it is a replica, or default_transaction_read_only is on",
            ));
        }
        if text(2) != "UTF8" {
            return Err(ConnectError::lasting(format!(
                "the database has the encoding {}; create it with ENCODING 'UTF8' TEMPLATE template0",
                text(2)
            )));
        }
        let run = Run(text(4).parse().unwrap_or(0));
        let history = match (text(3), self.role) {
            // Who reads the history of a server that takes changes may begin a new one.
            ("", _) | (_, Role::Replica) => None,
            (_, Role::Writer) => Some(History::read(client).await.map_err(failed)?),
        };
        Ok((history, run))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The errors of all servers. If one of them may accept a connection later, all are worth another try.
fn joined(errors: Vec<ConnectError>) -> ConnectError {
    let may_pass = errors.iter().any(|error| error.may_pass);
    let texts: Vec<String> = errors.into_iter().map(|error| error.text).collect();
    ConnectError {
        text: texts.join("; "),
        may_pass,
    }
}

impl Files {
    /// Reads all files that the configuration names, for connections to `url`.
    fn read(config: &PostgresConfig, url: &PostgresUrl) -> Result<Self, ClientFileError> {
        let files = ClientFiles {
            service: SERVICE,
            password_variable: PASSWORD_VARIABLE,
            password: config.password_file.as_deref(),
            authorities: config.ca_file.as_deref(),
            certificate: config.certificate.as_deref().zip(config.key.as_deref()),
        };
        let secrets = files.read()?;
        let tls = tls_config(&secrets, url.checks_certificates());
        let tls = tls.map_err(|reason| ClientFileError::Tls {
            service: SERVICE,
            reason,
        })?;
        Ok(Self { secrets, tls })
    }
}

/// Checks the files that a configuration names.
///
/// # Errors
/// [`ClientFileError`] names the file at fault.
pub fn check_files(config: &PostgresConfig) -> Result<(), ClientFileError> {
    config
        .urls()
        .try_for_each(|url| Files::read(config, url).map(drop))
}
