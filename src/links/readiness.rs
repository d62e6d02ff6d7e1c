//! Readiness: whether the server answers queries and takes changes, and what an operator should know. This one
//! place collects it from the store, from Redis, and from the outcome of the last change.
//!
//! Answering queries and taking changes are two questions. If an orchestrator restarted servers because their
//! table throttles, it would throw away the memory that still answers, on all servers of a fleet at once.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::deadline::{RESOLVE_DEADLINE, within};
use super::{Links, RedisStatus};
use crate::store::{Effect, StoreError, Trouble};

/// How often the metrics and the log are updated.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long after the start the log is written for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// The state of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether queries are answered.
    pub serves: bool,
    /// Whether changes of links are taken. Never without `serves`.
    pub takes_changes: bool,
    /// What an operator should know, in one line each. Contains no names of links, addresses or files.
    pub reasons: Vec<Cow<'static, str>>,
    /// More details, for the log.
    details: Vec<String>,
}

impl Readiness {
    fn good() -> Self {
        Self {
            serves: true,
            takes_changes: true,
            reasons: Vec::new(),
            details: Vec::new(),
        }
    }

    /// `ready`, `degraded` or `not ready`.
    pub fn status(&self) -> &'static str {
        match (self.serves, self.reasons.is_empty()) {
            (false, _) => "not ready",
            (true, false) => "degraded",
            (true, true) => "ready",
        }
    }

    fn add(&mut self, Trouble { effect, reason }: Trouble) {
        match effect {
            Effect::Degraded => {}
            Effect::NoChanges => self.takes_changes = false,
            Effect::NotServing => (self.serves, self.takes_changes) = (false, false),
        }
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Adds the failure of a call of the store.
    fn add_failure(&mut self, effect: Effect, error: &StoreError) {
        self.add(Trouble::new(effect, error.brief()));
        self.details.push(error.to_string());
    }

    /// Everything in one line, for the log.
    fn in_full(&self) -> String {
        let details = self.details.iter().map(String::as_str);
        let reasons = self.reasons.iter().map(AsRef::as_ref);
        details.chain(reasons).collect::<Vec<_>>().join("; ")
    }
}

/// The troubles of parts of the server that do not concern links.
#[derive(Default)]
pub(super) struct OtherTroubles(OnceLock<Box<dyn Fn() -> Vec<Trouble> + Send + Sync>>);

impl fmt::Debug for OtherTroubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtherTroubles")
    }
}

/// What a [`Readiness`] is derived from.
struct Findings {
    stopping: bool,
    /// The result of a read of the store just now.
    store: Result<(), StoreError>,
    /// Why the last change failed; none if it did not.
    write: Option<StoreError>,
    troubles: Vec<Trouble>,
    redis: Option<RedisStatus>,
}

/// Derives the readiness.
fn judge(found: Findings) -> Readiness {
    let mut readiness = Readiness::good();
    if found.stopping {
        readiness.add(Trouble::new(Effect::NotServing, "shutting down"));
    }
    let redis_works = found.redis.is_some_and(|redis| redis.down < redis.parts);
    if let Err(error) = &found.store {
        let effect = match error {
            // The store answers, though not every call.
            StoreError::Throttled(_) | StoreError::Overloaded => Effect::NoChanges,
            _ if redis_works => Effect::NoChanges,
            _ => Effect::NotServing,
        };
        readiness.add_failure(effect, error);
    }
    if let Some(error) = &found.write {
        readiness.add_failure(Effect::NoChanges, error);
    }
    for trouble in found.troubles {
        readiness.add(trouble);
    }
    match found.redis {
        None => {}
        Some(redis) if redis.down == 0 => {}
        Some(_) if redis_works => {
            let reason = "Redis is partly down: links of that part come from the store";
            readiness.add(Trouble::new(Effect::Degraded, reason));
        }
        Some(_) => {
            let reason = "Redis is down: links come from the store";
            readiness.add(Trouble::new(Effect::Degraded, reason));
        }
    }
    readiness
}

impl Links {
    /// The readiness now. `stopping`: the server is shutting down. Asks the store, for at most 1.5 s.
    pub async fn readiness(&self, stopping: bool) -> Readiness {
        let store = within(RESOLVE_DEADLINE, self.store.ping()).await;
        let store = self.counted(store);
        let readiness = judge(Findings {
            stopping,
            store,
            write: self.write_health.failure(Instant::now()),
            troubles: self.troubles(),
            redis: self.redis_status(),
        });
        self.metrics.serves.set(readiness.serves.into());
        let takes_changes = readiness.takes_changes.into();
        self.metrics.takes_changes.set(takes_changes);
        readiness
    }

    /// Counts the failure of a call of the store.
    pub(super) fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.metrics.count_store_error(error.cause());
        }
        result
    }

    /// Has readiness show troubles of other parts of the server as well. Only the first call has an effect.
    pub fn show_troubles(&self, others: impl Fn() -> Vec<Trouble> + Send + Sync + 'static) {
        let _only_once = self.other_troubles.0.set(Box::new(others));
    }

    /// The troubles that the store, its feed, Redis, the settler and other parts of the server know of.
    fn troubles(&self) -> Vec<Trouble> {
        let redis = self.redis.iter().flat_map(|redis| redis.cache.troubles());
        let redis = redis.map(|reason| Trouble::new(Effect::Degraded, reason));
        let mut troubles = self.store.troubles();
        let applied = self.applied.as_ref();
        troubles.extend(applied.and_then(|applied| applied.trouble(Instant::now())));
        troubles.extend(self.settler.trouble());
        troubles.extend(redis);
        troubles.extend(
            self.other_troubles
                .0
                .get()
                .into_iter()
                .flat_map(|others| others()),
        );
        troubles
    }

    /// Updates the metrics and logs changes of the readiness, until `shutdown`.
    pub async fn watch_readiness(self: Arc<Self>, shutdown: CancellationToken) {
        let first = tokio::time::Instant::now() + FIRST_LOOK;
        let mut ticks = tokio::time::interval_at(first, WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Readiness::good();
        let watching = async {
            // Not logged: Redis is still being connected to.
            self.readiness(false).await;
            loop {
                ticks.tick().await;
                let now = self.readiness(false).await;
                log_turn(&last, &now);
                last = now;
            }
        };
        shutdown.run_until_cancelled(watching).await;
    }
}

/// Logs what has changed.
fn log_turn(last: &Readiness, now: &Readiness) {
    let reason = now.in_full();
    match (last.serves, now.serves) {
        (true, false) => tracing::error!(reason, "not ready: links cannot be looked up"),
        (false, true) => tracing::info!("ready again: links can be looked up"),
        _ => {}
    }
    match (last.takes_changes, now.takes_changes) {
        (true, false) => tracing::warn!(reason, "changes of links are refused"),
        (false, true) => tracing::info!("changes of links are taken again"),
        _ => {}
    }
    let new = |reason: &&Cow<'static, str>| !last.reasons.contains(*reason);
    if now.takes_changes && now.reasons.iter().any(|reason| new(&reason)) {
        tracing::warn!(reason, "degraded");
    }
    if !last.reasons.is_empty() && now.reasons.is_empty() {
        tracing::info!("all is well again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::{WarmPhase, WarmStatus};

    fn redis(down: usize) -> Option<RedisStatus> {
        let warm_load = WarmStatus {
            state: WarmPhase::Done,
            links: 0,
            of: None,
            per_second: None,
        };
        Some(RedisStatus {
            down,
            parts: 2,
            warm_load,
        })
    }

    fn well() -> Findings {
        Findings {
            stopping: false,
            store: Ok(()),
            write: None,
            troubles: Vec::new(),
            redis: None,
        }
    }

    #[track_caller]
    fn check(found: Findings, status: &str, takes_changes: bool, reasons: usize) {
        let readiness = judge(found);
        assert_eq!(readiness.status(), status, "{readiness:?}");
        assert_eq!(readiness.takes_changes, takes_changes, "{readiness:?}");
        assert_eq!(readiness.reasons.len(), reasons, "{readiness:?}");
        assert!(readiness.serves || !readiness.takes_changes);
    }

    #[test]
    fn a_server_that_answers_is_ready_whether_or_not_it_takes_changes() {
        check(well(), "ready", true, 0);
        let stopping = Findings {
            stopping: true,
            ..well()
        };
        check(stopping, "not ready", false, 1);
        let away = || Err(StoreError::Unreachable("away".into()));
        let with = |store, redis| Findings {
            store,
            redis,
            ..well()
        };
        check(with(Ok(()), redis(0)), "ready", true, 0);
        check(with(Ok(()), redis(1)), "degraded", true, 1);
        check(with(Ok(()), redis(2)), "degraded", true, 1);
        check(with(away(), None), "not ready", false, 1);
        check(with(away(), redis(0)), "degraded", false, 1);
        check(with(away(), redis(1)), "degraded", false, 2);
        check(with(away(), redis(2)), "not ready", false, 2);
        let throttled = || Err(StoreError::Throttled("capacity".into()));
        check(with(throttled(), None), "degraded", false, 1);
    }

    #[test]
    fn each_trouble_has_its_effect_and_is_listed_once() {
        let with = |effects: &[Effect]| Findings {
            troubles: effects.iter().map(|e| Trouble::new(*e, "x")).collect(),
            redis: redis(0),
            ..well()
        };
        check(with(&[Effect::Degraded; 2]), "degraded", true, 1);
        check(with(&[Effect::NoChanges]), "degraded", false, 1);
        check(with(&[Effect::NotServing]), "not ready", false, 1);
    }

    #[test]
    fn a_server_whose_last_change_failed_takes_no_changes() {
        let write = Some(StoreError::DeadlineExceeded);
        check(Findings { write, ..well() }, "degraded", false, 1);
    }
}
