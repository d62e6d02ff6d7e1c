//! Calls of Redis: each within its time, none while Redis is known to be down.
//!
//! ```text
//!   call ── breaker closed? ── connection? ── within `timeout` ── judged ── breaker
//!                                                                   │
//!   supervisor: every second, or at once when a breaker opens ──────┘
//!     connects anew, tries, closes what works again
//! ```
//!
//! Whether Redis works is judged by the calls themselves, and by the supervisor's once a second, so
//! that a node without traffic notices as well.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, CLUSTER_RANGES, range, slot};
use super::config::{RedisConfig, RedisMode};
use super::connection::{
    Connection, Connector, RedisOpenError, get_many, is_outage, refuses_writes, run_many, text,
    timed_out,
};
use super::scripts::Run;
use crate::clock::Clock;
use crate::metrics::{Metrics, RedisOutcome};

/// How often the supervisor tries while all is well.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long it waits before the first try to reach Redis again; the wait doubles with each failure.
const MIN_RETRY: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(1);
/// The life of what it writes to try.
const PROBE_LIFE: Duration = Duration::from_secs(10);
/// How long a part of a cluster may be down before the connection is made anew from the seeds: by
/// itself it may know only nodes that are gone.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(3);

/// A call was not done, or nobody knows whether it was. It says nothing of any link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links) enum Failure {
    /// It was not tried: Redis is down, or too much waits for it.
    Skipped,
    /// It has failed or took too long.
    Failed,
}

/// See the [module](self).
pub(super) struct Client {
    connector: Connector,
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    /// One, or one for each range of a cluster.
    breakers: Vec<Breaker>,
    /// A key in each range, for the supervisor to try.
    probes: Vec<String>,
    /// Whether all of Redis takes writes: one that is full and may not evict does not.
    writable: AtomicBool,
    /// Wakes the supervisor.
    trouble: Notify,
    /// When the server was started, in seconds since the epoch; 0 where that is not known.
    born: AtomicU64,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connector", &self.connector)
            .field("breakers", &self.breakers)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        config: &RedisConfig,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RedisOpenError> {
        let ranges = match config.mode {
            RedisMode::Cluster => CLUSTER_RANGES,
            RedisMode::Node | RedisMode::Sentinel { .. } => 1,
        };
        Ok(Self {
            connector: Connector::new(config)?,
            timeout: config.timeout,
            connection: ArcSwapOption::empty(),
            breakers: (0..ranges).map(|_| Breaker::default()).collect(),
            probes: probes(&config.prefix, ranges),
            writable: AtomicBool::new(true),
            trouble: Notify::new(),
            born: AtomicU64::new(0),
            clock,
            metrics,
        })
    }

    /// A connection of its own, for calls that wait: each may take `patience`.
    pub(super) async fn connect_apart(&self, patience: Duration) -> RedisResult<Connection> {
        self.connector.connect(patience).await
    }

    /// When the server was started, in seconds since the epoch, or 0. What was put before comes from a
    /// file, and may be older than what the server had been told.
    pub(super) fn born(&self) -> u64 {
        self.born.load(Ordering::Acquire)
    }

    /// Whether a call about this key would be tried.
    pub(super) fn allows(&self, key: &str) -> bool {
        self.breaker(key).is_closed() && self.connection.load().is_some()
    }

    /// Whether Redis takes writes, as it was found a moment ago: without them nobody tells of changes.
    pub(super) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    /// How many parts of Redis are down, of how many.
    pub(super) fn down(&self) -> (usize, usize) {
        let all = self.breakers.len();
        if self.connection.load().is_none() {
            return (all, all);
        }
        let open = self.breakers.iter().filter(|b| !b.is_closed()).count();
        (open, all)
    }

    /// Runs a command about one key.
    pub(super) async fn command<T: FromRedisValue>(
        &self,
        call: &'static str,
        key: &str,
        command: &Cmd,
    ) -> Result<T, Failure> {
        let Some(mut connection) = self.connection_for(key) else {
            return self.skipped(call, 1);
        };
        let result = self.in_time(connection.command(command)).await;
        self.judge(call, self.range(key), result)
    }

    /// What is held under these keys, in their order.
    pub(super) async fn get_many(&self, keys: &[&str]) -> Vec<Result<Option<Vec<u8>>, Failure>> {
        let call = "get";
        match self.connection.load_full().as_deref().cloned() {
            Some(Connection::Node(mut node)) if self.breakers[0].is_closed() => {
                let result = self.in_time(get_many(&mut node, keys)).await;
                match self.judge(call, 0, result) {
                    Ok(values) if values.len() == keys.len() => {
                        values.into_iter().map(Ok).collect()
                    }
                    Ok(_) | Err(_) => vec![Err(Failure::Failed); keys.len()],
                }
            }
            Some(Connection::Cluster(_)) => join_all(keys.iter().map(|key| self.get(key))).await,
            Some(Connection::Node(_)) | None => {
                vec![self.skipped(call, keys.len()); keys.len()]
            }
        }
    }

    /// What a cluster holds under one key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let value: redis::Value = self.command("get", key, redis::cmd("GET").arg(key)).await?;
        match value {
            redis::Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Runs scripts, each for itself; gives their results in order.
    pub(super) async fn run_many(
        &self,
        call: &'static str,
        runs: &[&Run],
    ) -> Vec<Result<i64, Failure>> {
        match self.connection.load_full().as_deref().cloned() {
            Some(Connection::Node(mut node)) if self.breakers[0].is_closed() => {
                match self.in_time(run_many(&mut node, runs, self.born())).await {
                    Ok(results) if results.len() == runs.len() => results
                        .into_iter()
                        .map(|result| self.judge(call, 0, result))
                        .collect(),
                    // Replies that do not fit the calls: the connection is out of step.
                    Ok(_) => vec![self.judge(call, 0, Err(timed_out())); runs.len()],
                    Err(error) => vec![self.judge(call, 0, Err(error)); runs.len()],
                }
            }
            Some(Connection::Cluster(_)) => {
                join_all(runs.iter().map(|run| self.run(call, run))).await
            }
            Some(Connection::Node(_)) | None => {
                vec![self.skipped(call, runs.len()); runs.len()]
            }
        }
    }

    /// Runs one script.
    pub(super) async fn run(&self, call: &'static str, run: &Run) -> Result<i64, Failure> {
        let Some(mut connection) = self.connection_for(run.key()) else {
            return self.skipped(call, 1);
        };
        let result = self.in_time(connection.run(run, self.born())).await;
        self.judge(call, self.range(run.key()), result)
    }

    fn range(&self, key: &str) -> usize {
        match self.breakers.len() {
            1 => 0,
            _ => range(slot(key)),
        }
    }

    fn breaker(&self, key: &str) -> &Breaker {
        &self.breakers[self.range(key)]
    }

    fn connection_for(&self, key: &str) -> Option<Connection> {
        if !self.breaker(key).is_closed() {
            return None;
        }
        self.connection.load_full().as_deref().cloned()
    }

    async fn in_time<T>(&self, call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    fn skipped<T>(&self, call: &'static str, calls: usize) -> Result<T, Failure> {
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        self.metrics.count_redis(call, RedisOutcome::Skipped, calls);
        Err(Failure::Skipped)
    }

    /// Draws the conclusions from how a call ended.
    fn judge<T>(
        &self,
        call: &'static str,
        range: usize,
        result: RedisResult<T>,
    ) -> Result<T, Failure> {
        let breaker = &self.breakers[range];
        match result {
            Ok(value) => {
                breaker.worked();
                self.metrics.count_redis(call, RedisOutcome::Ok, 1);
                Ok(value)
            }
            Err(error) => {
                let outcome = match error.is_timeout() {
                    true => RedisOutcome::Timeout,
                    false => RedisOutcome::Error,
                };
                self.metrics.count_redis(call, outcome, 1);
                if is_outage(&error) {
                    self.note_failure(range, &error);
                } else {
                    breaker.worked();
                    tracing::debug!(call, error = text(&error), "Redis refuses a call");
                }
                Err(Failure::Failed)
            }
        }
    }

    /// Counts a failure. A server that refuses writes goes on to answer reads, which would make up for
    /// every refusal; so one is enough.
    fn note_failure(&self, range: usize, error: &redis::RedisError) {
        let breaker = &self.breakers[range];
        let opened = match refuses_writes(error) {
            true => breaker.open(),
            false => breaker.failed(),
        };
        if opened {
            self.lost(error);
        }
    }

    /// A breaker has opened.
    fn lost(&self, error: &redis::RedisError) {
        tracing::warn!(
            error = text(error),
            "Redis does not work; links come from memory and the store"
        );
        if self.breakers.len() == 1 {
            // The next one is made anew: this one may be stuck, or lead to a server that is no
            // longer the master.
            self.connection.store(None);
        }
        self.trouble.notify_one();
    }

    /// Connects, tries, and connects again, until it is told to stop. `recovered` is called when
    /// something works again, just before it is used.
    pub(super) async fn supervise(&self, shutdown: CancellationToken, recovered: impl Fn()) {
        let mut state = Supervision::new();
        let work = async {
            loop {
                let all_well = self.probe(&mut state, &recovered).await;
                let pause = state.pause(all_well);
                // While it is down, further trouble is no news.
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.trouble.notified(), if all_well => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Makes a new connection, in the place of the one that there is.
    async fn connect(&self) -> RedisResult<()> {
        let mut connection = self.connector.connect(self.timeout).await?;
        let uptime = self.in_time(connection.uptime()).await?;
        let born = uptime.map_or(0, |uptime| self.clock.now().0.saturating_sub(uptime));
        // Before it is used: what it holds is judged by that.
        self.born.store(born, Ordering::Release);
        self.connection.store(Some(Arc::new(connection)));
        Ok(())
    }

    /// One round of the supervisor; whether all works.
    async fn probe(&self, state: &mut Supervision, recovered: &impl Fn()) -> bool {
        let stuck = state
            .down_since
            .is_some_and(|since| since.elapsed() > CLUSTER_PATIENCE);
        if self.connection.load().is_none() || stuck {
            match self.connect().await {
                Ok(()) => state.down_since = None,
                Err(error) => {
                    state.cannot_connect(&text(&error));
                    if self.connection.load().is_none() {
                        return false;
                    }
                }
            }
        }
        let probing = (0..self.breakers.len()).map(|range| self.probe_range(range));
        let (mut all_well, mut writable) = (true, true);
        for (range, found) in join_all(probing).await.into_iter().enumerate() {
            if found != Found::Down {
                self.recover(state, range, recovered);
            }
            all_well &= self.breakers[range].is_closed();
            writable &= found != Found::ReadOnly;
        }
        if !all_well && self.breakers.len() == 1 {
            // This one may be stuck, or lead to a server that will not do any more.
            self.connection.store(None);
        }
        if self.writable.swap(writable, Ordering::AcqRel) != writable {
            match writable {
                true => tracing::info!("Redis takes writes again"),
                false => tracing::warn!("Redis takes no writes; changes show after a second"),
            }
        }
        match all_well {
            true => state.down_since = None,
            false => drop(state.down_since.get_or_insert_with(Instant::now)),
        }
        all_well
    }

    /// Tries one part, whatever its breaker says.
    async fn probe_range(&self, range: usize) -> Found {
        let Some(mut connection) = self.connection.load_full().as_deref().cloned() else {
            return Found::Down;
        };
        let probe = async {
            // A server that was the master may still answer, with what was true then.
            if self.connector.is_sentinel() {
                connection.must_be_master().await?;
            }
            let mut set = redis::cmd("SET");
            set.arg(&self.probes[range]).arg(1);
            set.arg("PX").arg(PROBE_LIFE.as_millis() as u64);
            connection.command::<()>(&set).await
        };
        match self.in_time(probe).await {
            Ok(()) => {
                self.breakers[range].worked();
                Found::Works
            }
            Err(error) if is_outage(&error) => {
                self.note_failure(range, &error);
                Found::Down
            }
            // It answers, if only to say that it will not.
            Err(error) => {
                tracing::debug!(error = text(&error), "Redis refuses the probe");
                Found::ReadOnly
            }
        }
    }

    fn recover(&self, state: &mut Supervision, range: usize, recovered: &impl Fn()) {
        if !self.breakers[range].is_closed() || !state.connected {
            recovered();
            self.breakers[range].close();
            if state.connected {
                tracing::info!("Redis works again");
            } else {
                tracing::info!("connected to Redis");
            }
        }
        state.connected = true;
    }
}

/// What the supervisor has found of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Works,
    /// It answers, but takes no writes.
    ReadOnly,
    Down,
}

/// What the supervisor remembers from round to round.
struct Supervision {
    /// Whether Redis was ever reached.
    connected: bool,
    /// Whether it was told that Redis cannot be reached, since it last was.
    told: bool,
    /// Since when a part is down although there is a connection.
    down_since: Option<Instant>,
    retry: Duration,
}

impl Supervision {
    fn new() -> Self {
        Self {
            connected: false,
            told: false,
            down_since: None,
            retry: MIN_RETRY,
        }
    }

    /// How long to wait for the next round.
    fn pause(&mut self, all_well: bool) -> Duration {
        if all_well {
            self.told = false;
            self.retry = MIN_RETRY;
            return PROBE_INTERVAL;
        }
        let pause = self.retry;
        self.retry = (self.retry * 2).min(MAX_RETRY);
        pause
    }

    /// One line for each outage, not for each try.
    fn cannot_connect(&mut self, error: &str) {
        if !self.told {
            self.told = true;
            tracing::warn!(error, "cannot connect to Redis; trying on");
        }
    }
}

/// A key in each range: the first of a series that is in it.
fn probes(prefix: &str, ranges: usize) -> Vec<String> {
    let mut probes = vec![String::new(); ranges];
    let mut lacking = ranges;
    for n in 0_u32.. {
        if lacking == 0 {
            break;
        }
        let key = format!("{prefix}:probe:{n}");
        let place = match ranges {
            1 => 0,
            _ => range(slot(&key)),
        };
        if probes[place].is_empty() {
            probes[place] = key;
            lacking -= 1;
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_a_probe() {
        assert_eq!(probes("p", 1), ["p:probe:0"]);
        for (place, key) in probes("p", CLUSTER_RANGES).iter().enumerate() {
            assert_eq!(range(slot(key)), place, "{key}");
        }
    }

    #[test]
    fn tries_come_less_often_while_redis_is_down() {
        let mut state = Supervision::new();
        let mut pauses: Vec<Duration> = (0..8).map(|_| state.pause(false)).collect();
        pauses.dedup();
        assert_eq!(pauses.first(), Some(&MIN_RETRY));
        assert_eq!(pauses.last(), Some(&MAX_RETRY));
        assert!(pauses.is_sorted());
        assert_eq!(state.pause(true), PROBE_INTERVAL);
        assert_eq!(state.pause(false), MIN_RETRY);
    }
}
