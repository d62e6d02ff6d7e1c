//! Reads of links and of the feed: from where they go, and on to the other server if that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::{Attempt, Inner, Lanes};
use super::connect::Connection;
use super::failure::Fault;
use super::read;
use super::replica::{Need, Replica, Route, Seen};
use crate::link::{Link, LinkName};
use crate::store::StoreError;

/// How long a read that must not lag waits for the replica, before it goes to the writer.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// Which lane a read takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// For a query, or a change.
    Links,
    /// A page of links or names.
    Pages,
    /// Of the feed.
    Feed,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From the server that takes changes.
    Writer,
    /// From the replica, which showed everything up to this moment when the read began; none if that was not known.
    Replica(Option<Instant>),
}

impl Inner {
    /// Reads links: from the replica if there is one and it shows every change that the read needs, and else from the server
    /// that takes changes.
    pub(super) async fn read<T, W, F>(
        &self,
        kind: Kind,
        need: Need<'_>,
        work: W,
    ) -> Result<T, StoreError>
    where
        W: Fn(Arc<Connection>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let read = Box::pin(self.read_at(kind, need, work)).await;
        read.map(|(found, _)| found)
    }

    /// The same, with the server that has answered.
    pub(super) async fn read_at<T, W, F>(
        &self,
        kind: Kind,
        need: Need<'_>,
        work: W,
    ) -> Result<(T, Source), StoreError>
    where
        W: Fn(Arc<Connection>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let lane = self.lanes().of(kind);
        let Some(replica) = &self.replica else {
            let found = self.call(lane, work).await?;
            return Ok((found, Source::Writer));
        };
        let _running = self.begin_call()?;
        let until = Instant::now() + lane.limit;
        let writer = |until| Attempt {
            pool: &self.pool,
            place: &self.place,
            lane,
            until,
            run: None,
        };
        let near = |seen: Seen, until| Attempt {
            pool: &replica.pool,
            place: &replica.place,
            lane: replica.lanes().of(kind),
            until,
            run: Some(seen.run),
        };
        let found = match replica.route(need) {
            Route::Writer => {
                let found = self.run(&writer(until), &work).await?;
                (found, Source::Writer)
            }
            Route::ReplicaFirst(seen) => {
                let found = self.run(&near(seen, half(until)), &work).await;
                match found {
                    Ok(found) => (found, Source::Replica(seen.as_of)),
                    Err(error @ StoreError::Corrupt { .. }) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%error, "a read of the replica failed");
                        let found = self.run(&writer(until), &work).await?;
                        (found, Source::Writer)
                    }
                }
            }
            Route::WriterFirst(seen) => match self.run(&writer(half(until)), &work).await {
                Ok(found) => (found, Source::Writer),
                Err(error) if is_away(&error) => {
                    replica.note_fallback();
                    let found = self.run(&near(seen, until), &work).await;
                    (found.map_err(|_| error)?, Source::Replica(seen.as_of))
                }
                Err(error) => return Err(error),
            },
        };
        replica.count(matches!(found.1, Source::Replica(_)));
        Ok(found)
    }
}

impl Inner {
    /// See [`crate::store::Store::get_many`].
    pub(super) async fn get_many(
        &self,
        names: &[LinkName],
    ) -> Vec<Result<Option<Link>, StoreError>> {
        let awaited = match &self.replica {
            Some(replica) => replica.awaited(names),
            None => Vec::new(),
        };
        if !awaited.contains(&true) {
            return self.get_from(names, Need::Names).await;
        }
        let part = |wanted: bool| {
            let part = names.iter().zip(&awaited);
            let part = part.filter(|(_, awaited)| **awaited == wanted);
            part.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        // Names of which the replica may lack a change come from the writer.
        let (far, near) = (part(true), part(false));
        let need = Need::Since(Instant::now());
        let far = Box::pin(self.get_from(&far, need));
        let near = Box::pin(self.get_from(&near, Need::Names));
        let (far, near) = tokio::join!(far, near);
        let (mut far, mut near) = (far.into_iter(), near.into_iter());
        let missing = || Err(StoreError::Unavailable("a name has no result".into()));
        let results = awaited.iter().map(|is_far| match is_far {
            true => far.next().unwrap_or_else(missing),
            false => near.next().unwrap_or_else(missing),
        });
        results.collect()
    }

    /// See [`crate::store::Store::get_many_current`].
    pub(super) async fn get_many_current(
        &self,
        names: &[LinkName],
    ) -> Vec<Result<Option<Link>, StoreError>> {
        let now = self.now_or_later().await;
        self.get_from(names, Need::Since(now)).await
    }

    /// The states of names, which are not awaited unless `need` says so.
    async fn get_from(
        &self,
        names: &[LinkName],
        need: Need<'_>,
    ) -> Vec<Result<Option<Link>, StoreError>> {
        if names.is_empty() {
            return Vec::new();
        }
        let work =
            |connection: Arc<Connection>| async move { read::get_many(&connection, names).await };
        match Box::pin(self.read(Kind::Links, need, work)).await {
            Ok(results) => results,
            Err(error) => names.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The time of the call, which the replica shows when this returns, if it catches up soon.
    pub(super) async fn now_or_later(&self) -> Instant {
        let now = Instant::now();
        if let Some(replica) = &self.replica {
            replica.caught_up(now, CATCHING_UP).await;
        }
        now
    }

    /// Begins a change of a name.
    pub(super) fn change_of<'a>(&'a self, name: &LinkName) -> Noted<'a> {
        Noted {
            replica: self
                .replica
                .as_deref()
                .map(|replica| (replica, name.clone())),
            late: self.statement_timeout,
        }
    }
}

/// A change of a name, which the replica may lack when it has ended.
pub(super) struct Noted<'a> {
    replica: Option<(&'a Replica, LinkName)>,
    /// How long after a failure the change may still be made.
    late: Duration,
}

impl Noted<'_> {
    /// Ends the change, before its caller hears of the result.
    pub(super) fn end<T>(mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let Some((replica, name)) = self.replica.take() else {
            return result;
        };
        match &result {
            // Also if nothing was changed: the result shows a state.
            Ok(_) => replica.note([&name], Instant::now()),
            Err(error) if error.is_certain() => {}
            Err(_) => replica.note([&name], Instant::now() + self.late),
        }
        result
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some((replica, name)) = self.replica.take() {
            replica.note([&name], Instant::now() + self.late);
        }
    }
}

impl Replica {
    fn lanes(&self) -> Lanes<'_> {
        Lanes {
            reads: &self.reads,
            pages: &self.pages,
            feeds: &self.feeds,
        }
    }
}

impl<'a> Lanes<'a> {
    fn of(&self, kind: Kind) -> &'a super::pool::Lane {
        match kind {
            Kind::Links => self.reads,
            Kind::Pages => self.pages,
            Kind::Feed => self.feeds,
        }
    }
}

/// The time of the first of two servers.
fn half(until: Instant) -> Instant {
    let left: Duration = until.saturating_duration_since(Instant::now());
    Instant::now() + left / 2
}

/// Whether another server may answer.
fn is_away(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable(_) | StoreError::Unavailable(_) | StoreError::DeadlineExceeded => {
            true
        }
        StoreError::Refused(_)
        | StoreError::Throttled(_)
        | StoreError::Overloaded
        | StoreError::Corrupt { .. } => false,
    }
}
