//! The supervisor: connects to Redis, looks whether it works, and takes it up again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::RedisResult;
use tokio_util::sync::CancellationToken;

use super::super::connection::{Age, Connection};
use super::super::error::{brief, is_full, is_outage, text};
use super::super::mark::Mark;
use super::super::rights;
use super::{
    AGELESS, CLUSTER_PATIENCE, Client, Far, MAX_RETRY, MIN_RETRY, PATIENCE, PROBE_INTERVAL,
    PROBE_LIFE, ROUND_TRIPS, lock,
};

impl Client {
    /// Connects, tries, and connects again, until it is told to stop. `recovered` is called when
    /// something works again, just before it is used.
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

    /// Makes a new connection, in the place of the one that there is.
    async fn connect(&self) -> RedisResult<()> {
        let mut connection = self.connector.connect(PATIENCE).await?;
        // First: where the server is so far away that the rest fails, the log says that it is.
        self.note_round_trip(connection.round_trip().await?);
        connection.must_be_alone().await?;
        connection.load_scripts().await?;
        self.check_rights(&mut connection).await?;
        // Before it is used: what it holds is judged by that.
        self.learn(&mut connection).await?;
        self.connection.store(Some(Arc::new(connection)));
        Ok(())
    }

    /// Learns what counts of what a server holds.
    async fn learn(&self, connection: &mut Connection) -> RedisResult<()> {
        let age = connection.age().await?;
        let now = self.clock.now();
        let born = match age {
            Age::Seconds(uptime) => Some(now.0.saturating_sub(uptime)),
            Age::Any => Some(0),
            Age::Unknown => None,
        };
        self.born.store(born.unwrap_or(0), Ordering::Release);
        if self.ageless.swap(born.is_none(), Ordering::AcqRel) != born.is_none() {
            match born {
                None => tracing::warn!("{AGELESS}"),
                Some(_) => tracing::info!("Redis tells its age again; links are read from it"),
            }
        }
        // A note that one shard of a cluster has kept says nothing of what the others have lost.
        let notes_count = born.filter(|_| age != Age::Any);
        let settling = self
            .belonging
            .settle(connection, notes_count, self.keep, now);
        settling.await
    }

    /// Learns it again where that is due: the store has become known, or the server may tell its age now.
    async fn learn_more(&self) {
        let is_due = self.belonging.is_unsettled() || self.is_ageless();
        if let Some(mut connection) = self.connection.load_full().as_deref().cloned()
            && is_due
            && let Err(error) = self.learn(&mut connection).await
        {
            tracing::debug!(error = text(&error), "Redis does not tell what it holds");
        }
    }

    /// Takes in how far away the server is, and tells if that has changed what a call may take.
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
        if std::mem::replace(&mut *lock(&self.told_far), far) == far {
            return;
        }
        if far == Far::Beyond {
            tracing::warn!(
                "Redis answers in {took} ms, which is too slow for timeout_ms = {set}: use one that is nearer, \
                 or set timeout_ms = {} in [redis]",
                (now * ROUND_TRIPS).min(PATIENCE).as_millis()
            );
        } else if far == Far::Adapted {
            tracing::warn!(
                "Redis answers in {took} ms: a call may take {may_take} ms instead of timeout_ms = {set}; use \
                 one that is nearer, or set timeout_ms = {may_take} in [redis]"
            );
        }
    }

    /// Looks which rights are missing, and tells if that has changed.
    async fn check_rights(&self, connection: &mut Connection) -> RedisResult<()> {
        self.refused.store(false, Ordering::Relaxed);
        let is_sentinel = self.connector.is_sentinel();
        let found = rights::missing(connection, &self.prefix, is_sentinel).await?;
        let mut missing = lock(&self.missing);
        if *missing == found {
            return Ok(());
        }
        match found.is_empty() {
            true => tracing::info!("Redis grants its user all that is needed again"),
            false => tracing::warn!(
                missing = rights::in_words(&found),
                "Redis refuses what tinyns needs (NOPERM): grant its user these rights with ACL SETUSER; \
                 meanwhile links come from the store where Redis is refused"
            ),
        }
        *missing = found;
        Ok(())
    }

    /// Looks again where a right was missing, or a call was refused.
    async fn check_rights_again(&self) {
        let is_asked = self.refused.load(Ordering::Relaxed) || !lock(&self.missing).is_empty();
        let connection = self.connection.load_full();
        if let Some(connection) = connection.filter(|_| is_asked) {
            let mut connection = Connection::clone(&connection);
            if let Err(error) = self.check_rights(&mut connection).await {
                tracing::debug!(error = text(&error), "the rights cannot be looked at");
            }
        }
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
            // This one may be stuck, or lead to a server that will not do any more.
            self.connection.store(None);
        }
        if all_well && self.full.swap(full, Ordering::AcqRel) != full {
            match full {
                false => tracing::info!("Redis has room again"),
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
            let mark = self.belonging.mark().unwrap_or(Mark::NONE);
            let key = &self.probes[range];
            let found = connection.probe(key, mark, PROBE_LIFE).await?;
            if range == 0 {
                self.belonging.note_probe(found.as_deref(), mark);
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
            // It answers, if only to say that it will not.
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

/// What the supervisor has found of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Works,
    /// It answers, but takes nothing that needs room.
    Full,
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
    fn cannot_connect(&mut self, error: &redis::RedisError) {
        if !self.told {
            self.told = true;
            tracing::warn!(
                error = text(error),
                "cannot connect to Redis: {}; trying on",
                brief(error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
