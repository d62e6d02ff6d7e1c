//! Calls of Redis. Each one has a time-out, and none is sent while Redis is known to be down.
//!
//! ```text
//!   call ── breaker closed? ── connection? ── within `timeout` ── judged ── breaker
//!                                                                   │
//!   supervisor: every second, or at once when a breaker opens ──────┘
//!     connects, probes, closes the breakers of parts that work again
//! ```
//!
//! The results of the calls themselves show whether Redis works. The supervisor probes once a second, so that a
//! node without traffic notices as well.

mod supervisor;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::sync::Notify;

use super::breaker::{Breaker, CLUSTER_RANGES, range, slot};
use super::config::{RedisConfig, RedisMode};
use super::connection::{Connection, Connector, get_many, run_many};
use super::error::{
    RedisOpenError, brief, is_full, is_outage, is_refused, refuses_writes, text, timed_out,
};
use super::mark::Validity;
use super::rights::Missing;
use super::scripts::Run;
use super::store_mark::StoreMark;
use super::terms::Failure;
use crate::base::clock::{Clock, UnixTime};
use crate::base::lock::lock;
use crate::base::metrics::{Metrics, RedisOutcome};

/// The pause between probes while all is well.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before the first attempt to reconnect; it doubles with each failure.
const MIN_RETRY: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const MAX_RETRY: Duration = Duration::from_secs(1);
/// How long the key lives that a probe writes.
const PROBE_LIFE: Duration = Duration::from_secs(10);
/// How long a part of a cluster may be down before the node connects again from the seeds: the old connection may
/// know only servers that are gone.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(3);
/// The response time-out of the connection itself, whatever the configured time-out: long enough to measure the
/// round trip to a distant server.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many round trips a call may take if the configured time-out is shorter than two.
const ROUND_TRIPS: u32 = 3;
/// The longest time-out that results from that: a query whose call times out still has time to ask the store.
const MAX_ADAPTED: Duration = Duration::from_millis(500);

/// The warning while it is not known when the Redis server started.
pub(super) const AGE_UNKNOWN: &str = "Redis refuses INFO, so it is not known how old its links are: none is read \
    from it; grant its user the right +info";

/// See the [module](self).
pub(super) struct Client {
    connector: Connector,
    /// The configured time-out of a call.
    timeout: Duration,
    /// The round trip in nanoseconds, measured when the connection was made.
    round_trip: AtomicU64,
    prefix: Box<str>,
    /// The rights that the Redis user lacks, as of the last check.
    missing: Mutex<Missing>,
    /// Whether statistics are gathered in Redis.
    gathers: AtomicBool,
    /// Whether a call was refused since then.
    refused: AtomicBool,
    /// What the log last said about the round trip.
    logged_distance: Mutex<Far>,
    /// Why there is no connection.
    why_down: Mutex<Option<&'static str>>,
    connection: ArcSwapOption<Connection>,
    /// One, or one for each range of slots of a cluster.
    breakers: Vec<Breaker>,
    /// A key in each range, for the probes.
    probes: Vec<String>,
    /// Whether a part of Redis was full at the last probe and may not evict.
    full: AtomicBool,
    /// Wakes the supervisor.
    trouble: Notify,
    /// Notified when all connections have to be made anew.
    renewed: Notify,
    /// When the Redis server started, in seconds since the epoch; 0 if unknown.
    started: AtomicU64,
    /// Values from before this time, in seconds since the epoch, are ignored: they may lack changes of the store.
    floor: AtomicU64,
    /// Whether the Redis server refuses to tell when it started.
    age_hidden: AtomicBool,
    store_mark: StoreMark,
    keep: Duration,
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
        store_mark: StoreMark,
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
            round_trip: AtomicU64::new(0),
            prefix: config.prefix.clone(),
            missing: Mutex::default(),
            gathers: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            logged_distance: Mutex::default(),
            why_down: Mutex::default(),
            connection: ArcSwapOption::empty(),
            breakers: (0..ranges).map(|_| Breaker::default()).collect(),
            probes: probes(&config.prefix, ranges),
            full: AtomicBool::new(false),
            trouble: Notify::new(),
            renewed: Notify::new(),
            started: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            age_hidden: AtomicBool::new(false),
            store_mark,
            keep: config.keep,
            clock,
            metrics,
        })
    }

    /// Statistics are gathered in Redis, which needs further rights. Must be called before the first connection.
    pub(super) fn will_gather(&self) {
        self.gathers.store(true, Ordering::Relaxed);
    }

    /// A separate connection for blocking calls, each of which may take `patience`.
    pub(super) async fn connect_apart(&self, patience: Duration) -> RedisResult<Connection> {
        self.connector.connect(patience).await
    }

    /// When the Redis server started, in seconds since the epoch; 0 if unknown. Older values come from a file and
    /// may be outdated.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// The mark of the store, and how it is determined.
    pub(super) fn store_mark(&self) -> &StoreMark {
        &self.store_mark
    }

    /// Which values are valid; none while the store is not known.
    pub(super) fn validity(&self) -> Option<Validity> {
        let mark = self.store_mark.mark()?;
        let started = self.started().max(self.floor());
        Some(Validity { started, mark })
    }

    /// The time before which values are ignored, in seconds since the epoch; 0 if there is none.
    pub(super) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Ignores the values that were put before `floor`.
    pub(super) fn raise_floor(&self, floor: UnixTime) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
    }

    /// Ignores the values that were put up to and including `now`, by the second.
    pub(super) fn ignore_until(&self, now: UnixTime) {
        self.raise_floor(UnixTime(now.0.saturating_add(1)));
    }

    /// The same for reading links: none while it is not known how old the values may be, either.
    pub(super) fn trusted(&self) -> Option<Validity> {
        self.validity().filter(|_| !self.hides_its_age())
    }

    /// Whether the Redis server refuses to tell when it started.
    pub(super) fn hides_its_age(&self) -> bool {
        self.age_hidden.load(Ordering::Acquire)
    }

    /// Whether a call about this key would be sent.
    pub(super) fn allows(&self, key: &str) -> bool {
        self.breaker(key).is_closed() && self.connection.load().is_some()
    }

    /// Whether a part of Redis was full at the last probe and may not evict.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// The rights that the Redis user lacks, as of the last check.
    pub(super) fn missing_rights(&self) -> Missing {
        lock(&self.missing).clone()
    }

    /// Why there is no connection; none if there is one.
    pub(super) fn why_down(&self) -> Option<&'static str> {
        let why = *lock(&self.why_down);
        why.filter(|_| self.connection.load().is_none())
    }

    /// The shortest time of a reply, measured when the connection was made.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Ordering::Relaxed))
    }

    /// Whether the round trip is longer than any time-out allows.
    pub(super) fn is_too_far(&self) -> bool {
        *lock(&self.logged_distance) == Far::Beyond
    }

    /// The time-out of a call: the configured one, or a longer one that leaves time for a reply.
    fn time_out(&self) -> Duration {
        adapted(self.timeout, self.round_trip())
    }

    /// Reads the files of the configuration again. If they have changed, returns true and reconnects.
    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        let is_new = self.connector.reload()?;
        if is_new {
            self.renewed.notify_waiters();
            self.connection.store(None);
            self.trouble.notify_one();
        }
        Ok(is_new)
    }

    /// Waits until all connections have to be made anew.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// How many parts of Redis are down, and how many parts there are.
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

    /// The values under these keys, in their order.
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

    /// The value under one key of a cluster.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let value: redis::Value = self.command("get", key, redis::cmd("GET").arg(key)).await?;
        match value {
            redis::Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Runs scripts independently of each other; returns their results in order.
    pub(super) async fn run_many(
        &self,
        call: &'static str,
        runs: &[&Run],
    ) -> Vec<Result<i64, Failure>> {
        let Some(validity) = self.validity() else {
            return vec![self.skipped(call, runs.len()); runs.len()];
        };
        match self.connection.load_full().as_deref().cloned() {
            Some(Connection::Node(mut node)) if self.breakers[0].is_closed() => {
                match self.in_time(run_many(&mut node, runs, validity)).await {
                    Ok(results) if results.len() == runs.len() => results
                        .into_iter()
                        .map(|result| self.judge(call, 0, result))
                        .collect(),
                    // The number of replies does not match: the connection is out of step.
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
        self.run_as(call, run).await
    }

    /// Runs one script whose result is not a number.
    pub(super) async fn run_as<T: FromRedisValue>(
        &self,
        call: &'static str,
        run: &Run,
    ) -> Result<T, Failure> {
        let (Some(mut connection), Some(validity)) =
            (self.connection_for(run.key()), self.validity())
        else {
            return self.skipped(call, 1);
        };
        let result = self.in_time(connection.run(run, validity)).await;
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
        tokio::time::timeout(self.time_out(), call)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    fn skipped<T>(&self, call: &'static str, calls: usize) -> Result<T, Failure> {
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        self.metrics.count_redis(call, RedisOutcome::Skipped, calls);
        Err(Failure::Skipped)
    }

    /// Updates the breaker and the metrics by the result of a call.
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
                    if is_refused(&error) {
                        self.refused.store(true, Ordering::Relaxed);
                    }
                    tracing::debug!(call, error = text(&error), "Redis refuses a call");
                }
                Err(match is_full(&error) {
                    true => Failure::Full,
                    false => Failure::Failed,
                })
            }
        }
    }

    /// Counts a failure. If the server refuses writes, one failure opens the breaker: the server still answers
    /// reads, whose successes would reset the count.
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

    /// Called when a breaker opens.
    fn lost(&self, error: &redis::RedisError) {
        *lock(&self.why_down) = Some(brief(error));
        tracing::warn!(
            error = text(error),
            "Redis does not work: {}; links come from memory and the store",
            brief(error)
        );
        if self.breakers.len() == 1 {
            // The connection is dropped: it may be stuck, or lead to a server that is no longer the master.
            self.connection.store(None);
        }
        self.trouble.notify_one();
    }
}

/// The time-out of a call for a configured time-out and a round trip.
fn adapted(set: Duration, round_trip: Duration) -> Duration {
    match round_trip * 2 <= set {
        true => set,
        false => (round_trip * ROUND_TRIPS).min(MAX_ADAPTED).max(set),
    }
}

/// How the round trip compares with the configured time-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Far {
    #[default]
    No,
    /// Calls may take longer than configured.
    Adapted,
    /// Calls time out even so.
    Beyond,
}

/// A key in each range: the first one of a series that falls into the range.
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
    fn the_time_out_leaves_time_for_a_reply() {
        let millis = Duration::from_millis;
        let check = |set, round_trip, expected| {
            let got = adapted(millis(set), millis(round_trip));
            assert_eq!(got, millis(expected), "{set} {round_trip}");
        };
        check(100, 0, 100);
        check(100, 50, 100);
        check(100, 51, 153);
        check(100, 150, 450);
        check(100, 200, 500);
        check(100, 900, 500);
        check(1_000, 900, 1_000);
    }
}
