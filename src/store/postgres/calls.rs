//! The calls of the store: each takes a permit of its lane, a connection of the pool, and as many tries as it needs within its
//! time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::audit::Log;
use super::config::PostgresConfig;
use super::connect::{Connection, Connector, Run};
use super::create::{self, Wanted};
use super::failure::{Fault, pause};
use super::identity::History;
use super::news::{Held, News};
use super::pool::{Lane, Pool};
use super::replica::Replica;
use super::{closed, sweep, takeover};
use crate::base::client_files::ClientFileError;
use crate::base::clock::Clock;
use crate::link::{Link, LinkName};
use crate::store::identity::number;
use crate::store::{Adopted, Created, StoreError};

/// How long a read may take: less than the 1.5 s of a query.
const READ_TIME: Duration = Duration::from_millis(1_350);
/// How long a write or a page may take: less than the 10 s of an administrator's call.
const WRITE_TIME: Duration = Duration::from_millis(8_500);
/// How many statements take links over at the same time.
const ADOPTING: usize = 2;
/// How often a call is sent that certainly did nothing.
const MAX_TRIES: usize = 8;
/// How long a read of the feed or an announcement may take: the follower waits 2 s.
const FEED_TIME: Duration = Duration::from_millis(1_900);
/// How many of them may be under way.
const FEED_CONNECTIONS: u32 = 2;
/// How often the history is read again: an operator may put a backup back while connections stay open.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often old rows are swept, by one of the servers.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What the calls of a store share.
pub(super) struct Inner {
    /// The database without the password, for messages.
    pub(super) place: String,
    pub(super) place_number: u64,
    pub(super) pool: Arc<Pool>,
    pub(super) reads: Lane,
    pub(super) writes: Lane,
    pub(super) pages: Lane,
    /// For the feed and the announcements of servers. Their connections are besides those of the pool's size.
    pub(super) feeds: Lane,
    /// A replica near this server.
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) news: Arc<News>,
    pub(super) held: Held,
    pub(super) log: Log,
    /// After which time PostgreSQL itself ends a statement.
    pub(super) statement_timeout: Duration,
    /// Whether the database was reached, and has the tables.
    pub(super) state: watch::Sender<State>,
    pub(super) closed: CancellationToken,
    /// The calls under way.
    pub(super) calls: TaskTracker,
}

/// The lanes of reads.
pub(super) struct Lanes<'a> {
    pub(super) reads: &'a Lane,
    pub(super) pages: &'a Lane,
    pub(super) feeds: &'a Lane,
}

/// A call of one of the servers.
pub(super) struct Attempt<'a> {
    pub(super) pool: &'a Arc<Pool>,
    /// The server, for messages.
    pub(super) place: &'a str,
    pub(super) lane: &'a Lane,
    pub(super) until: Instant,
    /// The only run of a replica that may answer; none for the server that takes changes.
    pub(super) run: Option<Run>,
}

/// Whether the store is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The database can be used.
    Open,
    /// The database could not be used yet, for this reason.
    Away(String),
}

impl Inner {
    pub(super) fn new(
        config: &PostgresConfig,
        connector: Connector,
        state: watch::Sender<State>,
    ) -> Result<Self, ClientFileError> {
        let place = connector.place();
        // A quarter of the connections for writes, and one for pages; the rest is for queries.
        let of = |share: u32| usize::try_from(share).unwrap_or(1).max(1);
        let (writes, pages) = (config.pool / 4, config.pool / 4);
        let reads = config.pool.saturating_sub(writes + pages);
        let lane = |share, limit| Lane {
            permits: Semaphore::new(of(share)),
            limit,
        };
        let [reads, pages] =
            [(reads, READ_TIME), (pages, WRITE_TIME)].map(|(n, time)| lane(n, time));
        let feeds = lane(FEED_CONNECTIONS, FEED_TIME);
        let replica = config.replica.as_ref().map(|replica| {
            let lanes = [&reads, &pages, &feeds];
            Ok(Arc::new(Replica::new(config, replica, lanes)?))
        });
        Ok(Self {
            place_number: number(&["postgresql", &place]),
            place,
            pool: Arc::new(Pool::new(connector, config.pool + FEED_CONNECTIONS)),
            reads,
            writes: lane(writes, WRITE_TIME),
            pages,
            feeds,
            replica: replica.transpose()?,
            news: Arc::default(),
            held: Held::default(),
            log: Log {
                retention: config.audit,
            },
            statement_timeout: config.statement_timeout,
            state,
            closed: CancellationToken::new(),
            calls: TaskTracker::new(),
        })
    }

    pub(super) fn lanes(&self) -> Lanes<'_> {
        Lanes {
            reads: &self.reads,
            pages: &self.pages,
            feeds: &self.feeds,
        }
    }

    /// Counts a call until the result is dropped. Fails if the store is closed.
    pub(super) fn begin_call(&self) -> Result<TaskTrackerToken, StoreError> {
        let running = self.calls.token();
        match self.closed.is_cancelled() {
            true => Err(closed()),
            false => Ok(running),
        }
    }

    /// A call of the server that takes changes.
    fn attempt<'a>(&'a self, lane: &'a Lane) -> Attempt<'a> {
        Attempt {
            pool: &self.pool,
            place: &self.place,
            lane,
            until: Instant::now() + lane.limit,
            run: None,
        }
    }

    /// Runs a call on a connection when it gets a permit; calls wait in order of arrival. A call that certainly did
    /// nothing, because it met another one or a server that takes no changes, is sent again.
    pub(super) async fn call<T, W, F>(&self, lane: &Lane, work: W) -> Result<T, StoreError>
    where
        W: Fn(Arc<Connection>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let _running = self.begin_call()?;
        self.run(&self.attempt(lane), &work).await
    }

    /// The same for a call that had begun before the store was closed.
    pub(super) async fn run<T, W, F>(&self, on: &Attempt<'_>, work: &W) -> Result<T, StoreError>
    where
        W: Fn(Arc<Connection>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let &Attempt {
            pool,
            place,
            lane,
            until,
            run,
        } = on;
        if let (State::Away(reason), None) = (&*self.state.borrow(), run) {
            return Err(StoreError::Unreachable(reason.clone()));
        }
        let deadline = until.into();
        let permit = timeout_at(deadline, lane.permits.acquire()).await;
        let _permit = permit
            .map_err(|_| StoreError::Overloaded)?
            .map_err(|_| closed())?;
        let mut tries = 0;
        loop {
            tries += 1;
            let taken = timeout_at(deadline, pool.take()).await;
            let taken = taken.map_err(|_| {
                let text = format!("{place}: no connection in time");
                StoreError::Unreachable(text)
            })?;
            let unreachable = |error| StoreError::Unreachable(format!("{place}: {error}"));
            let connection = taken.map_err(unreachable)?;
            if run.is_some_and(|run| run != connection.run) {
                // It is dropped: another replica, or the same one after a restart.
                let text = format!("{place}: it was started again");
                return Err(StoreError::Unreachable(text));
            }
            let result = timeout_at(deadline, work(Arc::clone(&connection))).await;
            let fault = match result {
                // The connection is still busy, and is not used again.
                Err(_) => return Err(StoreError::DeadlineExceeded),
                Ok(Ok(value)) => {
                    connection.give_back(pool);
                    return Ok(value);
                }
                Ok(Err(fault)) => fault,
            };
            if !fault.is_broken() {
                connection.give_back(pool);
            }
            let is_moved = fault.is_read_only();
            if is_moved {
                pool.renew();
            }
            if tries == MAX_TRIES || !(is_moved || fault.is_conflict()) {
                return Err(fault.into_store_error(place));
            }
            tokio::time::sleep(pause()).await;
        }
    }

    /// Makes links. A fault that is about one of them does not concern the others.
    pub(super) async fn create(&self, wanted: &[Wanted]) -> Vec<Result<Created, StoreError>> {
        let attempt = self.attempt(&self.writes);
        let work = |connection: Arc<Connection>| async move {
            match create::create(&connection, self.log, wanted).await {
                Err(fault) if fault.is_about_a_row() && wanted.len() > 1 => Ok(None),
                results => results.map(Some),
            }
        };
        match Box::pin(self.run(&attempt, &work)).await {
            Ok(Some(results)) => return results,
            Ok(None) => {}
            Err(error) => return wanted.iter().map(|_| Err(error.clone())).collect(),
        }
        let mut results = Vec::with_capacity(wanted.len());
        for one in wanted {
            let attempt = self.attempt(&self.writes);
            let work = |connection: Arc<Connection>| async move {
                create::create(&connection, self.log, std::slice::from_ref(one)).await
            };
            let made = Box::pin(self.run(&attempt, &work))
                .await
                .map(|mut made| made.pop());
            results.push(match made {
                Ok(Some(result)) => result,
                Ok(None) => Err(StoreError::Unavailable("a creation has no result".into())),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Takes links over, some hundred with each statement, and several statements at once.
    pub(super) async fn adopt(&self, links: &[Link]) -> Vec<Result<Adopted, StoreError>> {
        let mut statements = Vec::new();
        for links in links.chunks(takeover::MAX_BATCH) {
            statements.push(self.adopt_batch(links));
        }
        let statements = stream::iter(statements).buffered(ADOPTING);
        let results = statements.collect::<Vec<_>>().await;
        results.into_iter().flatten().collect()
    }

    /// Takes links over by one statement. A fault that is about one of them does not concern the others.
    async fn adopt_batch(&self, links: &[Link]) -> Vec<Result<Adopted, StoreError>> {
        let names: HashSet<&LinkName> = links.iter().map(|link| &link.name).collect();
        if names.len() == links.len() {
            let call = self.call(&self.writes, |connection| async move {
                match takeover::adopt(&connection, links).await {
                    Err(fault) if fault.is_about_a_row() && links.len() > 1 => Ok(None),
                    results => results.map(Some),
                }
            });
            match Box::pin(call).await {
                Ok(Some(results)) => return results,
                Ok(None) => {}
                Err(error) => return links.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        let mut results = Vec::with_capacity(links.len());
        for link in links.chunks(1) {
            let call = self.call(&self.writes, |connection| async move {
                takeover::adopt(&connection, link).await
            });
            match Box::pin(call).await {
                Ok(adopted) => results.extend(adopted),
                Err(error) => results.push(Err(error)),
            }
        }
        results
    }

    /// Looks after the database until the store is closed.
    pub(super) async fn look_after(&self, clock: Clock) {
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = self.call(&self.reads, |connection| async move {
                Ok(History::read(&connection.client).await?)
            });
            match Box::pin(looked).await {
                Ok(history) => self.pool.note_history(history.number),
                Err(error) => tracing::debug!(%error, "cannot look after PostgreSQL"),
            }
            if Instant::now() < next_sweep {
                continue;
            }
            next_sweep = Instant::now() + SWEEP_EVERY;
            let now = clock.now();
            let swept = self.call(&self.pages, |connection| async move {
                sweep::sweep(&connection, self.log, now).await
            });
            if let Err(error) = Box::pin(swept).await {
                tracing::debug!(%error, "cannot sweep old rows of PostgreSQL");
            }
        }
    }
}
