//! The supervisor: connects to Redis, probes it, and reconnects after an outage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::RedisResult;
use tokio_util::sync::CancellationToken;

use super::super::connection::{Age, Connection};
use super::super::error::{brief, is_full, is_outage, text};
use super::super::mark::Mark;
use super::super::rights::{self, Uses};
use super::{
    AGE_UNKNOWN, CLUSTER_PATIENCE, Client, Far, MAX_RETRY, MIN_RETRY, PATIENCE, PROBE_INTERVAL,
    PROBE_LIFE, ROUND_TRIPS,
};
use crate::base::lock::lock;

impl Client {
    /// Connects, probes and reconnects until `shutdown`. Calls `recovered` when a part works again, just before it
    /// is used.
    pub(in crate::links::redis) async fn supervise(
        &self,
        shutdown: CancellationToken,
        recovered: impl Fn(),
    ) {
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

    /// Replaces the connection by a new one.
    async fn connect(&self) -> RedisResult<()> {
        let mut connection = self.connector.connect(PATIENCE).await?;
        // First: if the server is so far away that the other steps time out, the log says why.
        self.note_round_trip(connection.round_trip().await?);
        connection.must_be_alone().await?;
        connection.load_scripts().await?;
        self.check_rights(&mut connection).await?;
        // Before the connection is used: it decides which values are valid.
        self.learn(&mut connection).await?;
        self.connection.store(Some(Arc::new(connection)));
        Ok(())
    }

    /// Learns which values of the Redis server are valid.
    async fn learn(&self, connection: &mut Connection) -> RedisResult<()> {
        let age = connection.age().await?;
        let now = self.clock.now();
        let started = match age {
            Age::Seconds(uptime) => Some(now.0.saturating_sub(uptime)),
            Age::Any => Some(0),
            Age::Unknown => None,
        };
        self.started.store(started.unwrap_or(0), Ordering::Release);
        if self.age_hidden.swap(started.is_none(), Ordering::AcqRel) != started.is_none() {
            match started {
                None => tracing::warn!("{AGE_UNKNOWN}"),
                Some(_) => {
                    tracing::info!("Redis tells again when it started; links are read from it")
                }
            }
        }
        // A note on one shard of a cluster does not show that the other shards have lost nothing.
        let notes_count = started.filter(|_| age != Age::Any);
        let settling = self
            .store_mark
            .determine(connection, notes_count, self.keep, now);
        settling.await
    }

    /// Learns it again if the store was not known, or the server did not tell its age.
    async fn learn_more(&self) {
        let is_due = self.store_mark.must_determine() || self.hides_its_age();
        if let Some(mut connection) = self.connection.load_full().as_deref().cloned()
            && is_due
            && let Err(error) = self.learn(&mut connection).await
        {
            tracing::debug!(
                error = text(&error),
                "cannot learn which values of Redis are valid"
            );
        }
    }

    /// Records the round trip, and logs if it changes what a call may take.
    fn note_round_trip(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.round_trip.store(nanos, Ordering::Relaxed);
        self.metrics.redis_round_trip.set(now.as_secs_f64());
        let (time_out, set) = (self.time_out(), self.timeout.as_millis());
        let (took, may_take) = (now.as_millis(), time_out.as_millis());
        let far = match (now * 2 <= self.timeout, now * 2 <= time_out) {
            (true, _) => Far::No,
            (false, true) => Far::Adapted,
            (false, false) => Far::Beyond,
        };
        if std::mem::replace(&mut *lock(&self.logged_distance), far) == far {
            return;
        }
        if far == Far::Beyond {
            tracing::warn!(
                "Redis answers in {took} ms, which is too slow for timeout_ms = {set}: use a nearer Redis server, \
                 or set timeout_ms = {} in [redis]",
                (now * ROUND_TRIPS).min(PATIENCE).as_millis()
            );
        } else if far == Far::Adapted {
            tracing::warn!(
                "Redis answers in {took} ms: a call may take {may_take} ms instead of timeout_ms = {set}; use \
                 a nearer Redis server, or set timeout_ms = {may_take} in [redis]"
            );
        }
    }

    fn uses(&self) -> Uses {
        Uses {
            sentinels: self.connector.is_sentinel(),
            gathering: self.gathers.load(Ordering::Relaxed),
        }
    }

    /// Checks which rights are missing, and logs if that has changed.
    async fn check_rights(&self, connection: &mut Connection) -> RedisResult<()> {
        self.refused.store(false, Ordering::Relaxed);
        let found = rights::missing(connection, &self.prefix, self.uses()).await?;
        let mut missing = lock(&self.missing);
        if *missing == found {
            return Ok(());
        }
        match found.is_empty() {
            true => tracing::info!("Redis grants its user all rights that tinyns needs again"),
            false => tracing::warn!(
                missing = rights::in_words(&found),
                "Redis refuses what tinyns needs (NOPERM): grant its user these rights with ACL SETUSER; \
                 meanwhile links come from the store, and counts wait in memory, where Redis is refused"
            ),
        }
        *missing = found;
        Ok(())
    }

    /// Checks again if a right was missing or a call was refused.
    async fn check_rights_again(&self) {
        let is_asked = self.refused.load(Ordering::Relaxed) || !lock(&self.missing).is_empty();
        let connection = self.connection.load_full();
        if let Some(connection) = connection.filter(|_| is_asked) {
            let mut connection = Connection::clone(&connection);
            if let Err(error) = self.check_rights(&mut connection).await {
                tracing::debug!(
                    error = text(&error),
                    "cannot check the rights of the Redis user"
                );
            }
        }
    }

    /// One round of the supervisor. Whether all parts work.
    async fn probe(&self, state: &mut Supervision, recovered: &impl Fn()) -> bool {
        let stuck = state
            .down_since
            .is_some_and(|since| since.elapsed() > CLUSTER_PATIENCE);
        if self.connection.load().is_none() || stuck {
            match self.connect().await {
                Ok(()) => state.down_since = None,
                Err(error) => {
                    *lock(&self.why_down) = Some(brief(&error));
                    state.cannot_connect(&error);
                    if self.connection.load().is_none() {
                        return false;
                    }
                }
            }
        }
        self.learn_more().await;
        let probing = (0..self.breakers.len()).map(|range| self.probe_range(range));
        let (mut all_well, mut full) = (true, false);
        for (range, found) in join_all(probing).await.into_iter().enumerate() {
            if found != Found::Down {
                self.recover(state, range, recovered);
            }
            all_well &= self.breakers[range].is_closed();
            full |= found == Found::Full;
        }
        if !all_well && self.breakers.len() == 1 {
            // The connection may be stuck, or lead to a server that is no longer the master.
            self.connection.store(None);
        }
        if all_well && self.full.swap(full, Ordering::AcqRel) != full {
            match full {
                false => tracing::info!("Redis has free memory again"),
                true => tracing::warn!(
                    "Redis is full and may not evict: links that change are dropped there and come from \
                     the store; raise maxmemory, or set maxmemory-policy to allkeys-lru"
                ),
            }
        }
        self.check_rights_again().await;
        match all_well {
            true => state.down_since = None,
            false => drop(state.down_since.get_or_insert_with(Instant::now)),
        }
        all_well
    }

    /// Probes one part, whatever the state of its breaker.
    async fn probe_range(&self, range: usize) -> Found {
        let Some(mut connection) = self.connection.load_full().as_deref().cloned() else {
            return Found::Down;
        };
        let probe = async {
            // A former master may still answer, with outdated values.
            if self.connector.is_sentinel() {
                connection.must_be_master().await?;
            }
            let mark = self.store_mark.mark().unwrap_or(Mark::NONE);
            let key = &self.probes[range];
            let found = connection.probe(key, mark, PROBE_LIFE).await?;
            if range == 0 {
                self.store_mark.note_probe(found.as_deref(), mark);
            }
            Ok(())
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
            Err(error) if is_full(&error) => Found::Full,
            // A refusal is an answer.
            Err(error) => {
                tracing::debug!(error = text(&error), "Redis refuses the probe");
                Found::Works
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

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Works,
    /// It answers, but refuses everything that needs memory.
    Full,
    Down,
}

/// The state that the supervisor keeps from round to round.
struct Supervision {
    /// Whether Redis was ever reached.
    connected: bool,
    /// Whether the log has said that Redis cannot be reached, during this outage.
    logged: bool,
    /// Since when a part has been down although there is a connection.
    down_since: Option<Instant>,
    retry: Duration,
}

impl Supervision {
    fn new() -> Self {
        Self {
            connected: false,
            logged: false,
            down_since: None,
            retry: MIN_RETRY,
        }
    }

    /// The pause before the next round.
    fn pause(&mut self, all_well: bool) -> Duration {
        if all_well {
            self.logged = false;
            self.retry = MIN_RETRY;
            return PROBE_INTERVAL;
        }
        let pause = self.retry;
        self.retry = (self.retry * 2).min(MAX_RETRY);
        pause
    }

    /// Logs one line for each outage, not for each attempt.
    fn cannot_connect(&mut self, error: &redis::RedisError) {
        if !self.logged {
            self.logged = true;
            tracing::warn!(
                error = text(error),
                "cannot connect to Redis: {}; retrying",
                brief(error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_while_redis_is_down() {
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
