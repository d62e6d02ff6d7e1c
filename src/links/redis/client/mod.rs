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

mod supervisor;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::sync::Notify;

use super::belonging::Belonging;
use super::breaker::{Breaker, CLUSTER_RANGES, range, slot};
use super::config::{RedisConfig, RedisMode};
use super::connection::{Connection, Connector, get_many, run_many};
use super::error::{
    RedisOpenError, brief, is_full, is_outage, is_refused, refuses_writes, text, timed_out,
};
use super::mark::Era;
use super::rights::Missing;
use super::scripts::Run;
use crate::base::clock::Clock;
use crate::base::metrics::{Metrics, RedisOutcome};

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
/// How long a call may take on any connection, whatever the time-out is: what it takes to find out how far
/// away a server is.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many round trips a call may take where the time-out that was set has no room for two.
const ROUND_TRIPS: u32 = 3;
/// The longest time-out that is made of that: a query that has waited for it in vain still has the time to
/// ask the store.
const MAX_ADAPTED: Duration = Duration::from_millis(500);

/// What is wrong where the age of Redis is not known, and what to do.
pub(super) const AGELESS: &str = "Redis refuses INFO, so that nobody knows how old what it holds may be: no \
    link is read from it; give its user the right +info";

/// A call was not done, or nobody knows whether it was. It says nothing of any link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links) enum Failure {
    /// It was not tried: Redis is down, or too much waits for it.
    Skipped,
    /// It has failed or took too long.
    Failed,
    /// The server is full and may not evict: it refuses what takes room, and nothing else.
    Full,
}

/// See the [module](self).
pub(super) struct Client {
    connector: Connector,
    /// What was set as the time-out of a call.
    timeout: Duration,
    /// How far away the server is, as it was found when the connection was made; nanoseconds.
    round_trip: AtomicU64,
    prefix: Box<str>,
    /// The rights that the user of Redis lacks, as they were found last.
    missing: Mutex<Missing>,
    /// Whether a call was refused since then.
    refused: AtomicBool,
    /// What was told last of how far away the server is.
    told_far: Mutex<Far>,
    /// Why there is no connection, where there is none.
    why_down: Mutex<Option<&'static str>>,
    connection: ArcSwapOption<Connection>,
    /// One, or one for each range of a cluster.
    breakers: Vec<Breaker>,
    /// A key in each range, for the supervisor to try.
    probes: Vec<String>,
    /// Whether a part of Redis is full and may not evict, as it was found a moment ago.
    full: AtomicBool,
    /// Wakes the supervisor.
    trouble: Notify,
    /// Tells that connections are to be made anew.
    renewed: Notify,
    /// When the server was started, in seconds since the epoch; 0 where that is not known.
    born: AtomicU64,
    /// Whether the server does not tell that.
    ageless: AtomicBool,
    belonging: Belonging,
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
        belonging: Belonging,
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
            refused: AtomicBool::new(false),
            told_far: Mutex::default(),
            why_down: Mutex::default(),
            connection: ArcSwapOption::empty(),
            breakers: (0..ranges).map(|_| Breaker::default()).collect(),
            probes: probes(&config.prefix, ranges),
            full: AtomicBool::new(false),
            trouble: Notify::new(),
            renewed: Notify::new(),
            born: AtomicU64::new(0),
            ageless: AtomicBool::new(false),
            belonging,
            keep: config.keep,
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

    /// Of whom what is held is.
    pub(super) fn belonging(&self) -> &Belonging {
        &self.belonging
    }

    /// What counts of what is held; none as long as it is not known which store this is.
    pub(super) fn era(&self) -> Option<Era> {
        let mark = self.belonging.mark()?;
        let born = self.born();
        Some(Era { born, mark })
    }

    /// The same for those who read: none as well where it is not known how old that may be.
    pub(super) fn believed(&self) -> Option<Era> {
        self.era().filter(|_| !self.is_ageless())
    }

    /// Whether there is a server that does not tell how long it has been running.
    pub(super) fn is_ageless(&self) -> bool {
        self.ageless.load(Ordering::Acquire)
    }

    /// Whether a call about this key would be tried.
    pub(super) fn allows(&self, key: &str) -> bool {
        self.breaker(key).is_closed() && self.connection.load().is_some()
    }

    /// Whether a part of Redis is full and may not evict, as it was found a moment ago.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// The rights that the user of Redis lacks, as they were found last.
    pub(super) fn missing_rights(&self) -> Missing {
        lock(&self.missing).clone()
    }

    /// Why there is no connection, where there is none.
    pub(super) fn why_down(&self) -> Option<&'static str> {
        let why = *lock(&self.why_down);
        why.filter(|_| self.connection.load().is_none())
    }

    /// How far away the server is: how long a reply takes at least.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Ordering::Relaxed))
    }

    /// Whether it is so far away that calls cannot but run out of time.
    pub(super) fn is_too_far(&self) -> bool {
        *lock(&self.told_far) == Far::Beyond
    }

    /// How long a call may take: as it was set, or so long that a reply can come at all.
    fn time_out(&self) -> Duration {
        adapted(self.timeout, self.round_trip())
    }

    /// Reads the files of the configuration again; if they have changed, connections are made anew.
    /// Whether they have.
    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        let is_new = self.connector.reload()?;
        if is_new {
            self.renewed.notify_waiters();
            self.connection.store(None);
            self.trouble.notify_one();
        }
        Ok(is_new)
    }

    /// Waits until connections are to be made anew.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
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
        let Some(era) = self.era() else {
            return vec![self.skipped(call, runs.len()); runs.len()];
        };
        match self.connection.load_full().as_deref().cloned() {
            Some(Connection::Node(mut node)) if self.breakers[0].is_closed() => {
                match self.in_time(run_many(&mut node, runs, era)).await {
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
        let (Some(mut connection), Some(era)) = (self.connection_for(run.key()), self.era()) else {
            return self.skipped(call, 1);
        };
        let result = self.in_time(connection.run(run, era)).await;
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
        *lock(&self.why_down) = Some(brief(error));
        tracing::warn!(
            error = text(error),
            "Redis does not work: {}; links come from memory and the store",
            brief(error)
        );
        if self.breakers.len() == 1 {
            // The next one is made anew: this one may be stuck, or lead to a server that is no
            // longer the master.
            self.connection.store(None);
        }
        self.trouble.notify_one();
    }
}

/// How long a call may take where so much was set, and the server is so far away.
fn adapted(set: Duration, round_trip: Duration) -> Duration {
    match round_trip * 2 <= set {
        true => set,
        false => (round_trip * ROUND_TRIPS).min(MAX_ADAPTED).max(set),
    }
}

/// Nothing under these locks panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far away a server is, measured by the time-out that was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Far {
    #[default]
    No,
    /// Calls may take longer than was set.
    Adapted,
    /// They run out of time all the same.
    Beyond,
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
    fn the_time_out_has_room_for_a_reply() {
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
