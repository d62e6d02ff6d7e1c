//! The monitor: reads the positions of the writer's log and of the replica, all the time.
//!
//! Each of the two has a connection of its own, and neither waits for the other: the writer may be far away.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::connect::{Connection, Run};
use super::super::failure::{Fault, text};
use super::super::identity::history_number;
use super::super::migrations::MIGRATIONS;
use super::super::pool::{Borrowed, Pool};
use super::{Replica, Unused};

/// The pause between two reads of a position.
const PAUSE: Duration = Duration::from_millis(100);
/// The same while a change is awaited.
const SHORT_PAUSE: Duration = Duration::from_millis(20);
/// How long the writer may take to answer. One that takes longer counts as away.
const WRITER_TIME: Duration = Duration::from_secs(1);
/// How long the replica may take. It is near.
const REPLICA_TIME: Duration = Duration::from_millis(500);
/// The pause after a failure.
const RETRY: Duration = Duration::from_millis(250);

const SAMPLE: &str = "SELECT id::text, epoch::text, history::text, (pg_current_wal_flush_lsn() - '0/0')::bigint \
    FROM tinyns.store";
const OBSERVE: &str = "SELECT id::text, epoch::text, history::text, (pg_last_wal_replay_lsn() - '0/0')::bigint, \
    schema_version, pg_is_in_recovery() FROM tinyns.store";

impl Replica {
    /// Watches the replica and the writer for ever. The caller ends it.
    pub(in super::super) async fn watch(&self, writer: &Arc<Pool>) -> Infallible {
        tokio::select! {
            never = self.watch_writer(writer) => never,
            never = self.watch_replica(writer) => never,
        }
    }

    async fn watch_writer(&self, writer: &Arc<Pool>) -> Infallible {
        let mut held: Option<(u64, Borrowed)> = None;
        loop {
            let at = Instant::now();
            match timeout(WRITER_TIME, sample(writer, &mut held)).await {
                Ok(Ok((history, position))) => {
                    writer.note_history(history);
                    self.book().sample(at, history, position);
                    self.publish();
                    self.pause().await;
                }
                Ok(Err(_)) | Err(_) => {
                    // Also if the connection only takes too long.
                    held = None;
                    self.lose_writer();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn watch_replica(&self, writer: &Arc<Pool>) -> Infallible {
        let mut held: Option<(u64, Borrowed)> = None;
        let mut logged = Some(Unused::Starting);
        loop {
            let found = match timeout(REPLICA_TIME, observe(&self.pool, &mut held)).await {
                Ok(found) => found.and_then(|found| found.judge(writer)),
                Err(_) => Err(Unused::Unreachable("it does not answer in time".into())),
            };
            let failed = found.is_err();
            if failed {
                held = None;
            }
            self.tell(found.as_ref().err(), &mut logged);
            if self.book().observe(found) {
                // Connections to the former run are of no use.
                self.pool.renew();
                held = None;
            }
            self.publish();
            match failed {
                true => tokio::time::sleep(RETRY).await,
                false => self.pause().await,
            }
        }
    }

    /// Passes on what is known now.
    fn publish(&self) {
        let book = self.book();
        let (as_of, used) = (book.as_of(), book.unused().is_none());
        drop(book);
        self.as_of.send_replace(as_of);
        self.used
            .send_if_modified(|held| std::mem::replace(held, used) != used);
    }

    /// Logs whether the replica is used, when that changes.
    fn tell(&self, unused: Option<&Unused>, logged: &mut Option<Unused>) {
        if unused == logged.as_ref() {
            return;
        }
        let place = &self.place;
        match unused {
            None => tracing::info!(
                replica = place,
                "links are read from the PostgreSQL replica"
            ),
            Some(Unused::Unreachable(reason)) => {
                tracing::warn!(
                    replica = place,
                    reason,
                    "the PostgreSQL replica cannot be reached"
                );
            }
            Some(why) => tracing::warn!(replica = place, "{}", why.brief()),
        }
        *logged = unused.cloned();
    }

    /// Waits until the next read is due.
    async fn pause(&self) {
        tokio::time::sleep(SHORT_PAUSE).await;
        // Before the check, so that what is noted after it ends the pause.
        let urgent = self.urgent.notified();
        let is_awaited = self.waiting.load(Ordering::Acquire) > 0
            || self.book().is_awaited()
            || self.is_pursuing();
        if !is_awaited {
            let _ = timeout(PAUSE - SHORT_PAUSE, urgent).await;
        }
    }
}

/// A connection of the pool, which is held as long as others of its generation are used.
async fn hold(
    pool: &Arc<Pool>,
    held: &mut Option<(u64, Borrowed)>,
) -> Result<Arc<Connection>, Unused> {
    let generation = pool.generation();
    if let Some((of, borrowed)) = held
        && *of == generation
    {
        return Ok(Arc::clone(borrowed));
    }
    let taken = pool.take().await;
    let taken = taken.map_err(|error| Unused::Unreachable(error.to_string()))?;
    let connection = Arc::clone(&taken);
    *held = Some((generation, taken));
    Ok(connection)
}

/// The history of the writer, and its position.
async fn sample(
    pool: &Arc<Pool>,
    held: &mut Option<(u64, Borrowed)>,
) -> Result<(u64, u64), Unused> {
    let connection = hold(pool, held).await?;
    let read = async {
        let statement = connection.prepare(SAMPLE).await?;
        let row = connection.client.query_one(&statement, &[]).await?;
        let history = history_number(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let position: i64 = row.try_get(3)?;
        Ok((history, position.unsigned_abs()))
    };
    read.await.map_err(unreachable)
}

/// What a replica has answered.
struct Observed {
    run: Run,
    history: u64,
    replayed: Option<i64>,
    schema: i32,
    is_replica: bool,
}

async fn observe(pool: &Arc<Pool>, held: &mut Option<(u64, Borrowed)>) -> Result<Observed, Unused> {
    let connection = hold(pool, held).await?;
    let read = async {
        let statement = connection.prepare(OBSERVE).await?;
        let row = connection.client.query_one(&statement, &[]).await?;
        Ok(Observed {
            run: connection.run,
            history: history_number(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?),
            replayed: row.try_get(3)?,
            schema: row.try_get(4)?,
            is_replica: row.try_get(5)?,
        })
    };
    read.await
        .map_err(|fault: Fault| match fault.is_missing_table() {
            true => Unused::OldTables,
            false => unreachable(fault),
        })
}

impl Observed {
    /// Whether the replica can be used: which history it has, which run it is, and how far.
    fn judge(self, writer: &Pool) -> Result<(u64, Run, u64), Unused> {
        let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        if !self.is_replica {
            return Err(Unused::NoReplica);
        }
        if self.schema < known {
            return Err(Unused::OldTables);
        }
        // While the writer has not been reached since the start, the history of the replica is that of the store.
        if writer.history().is_none() && self.schema > known {
            return Err(Unused::NewTables);
        }
        if !writer.is_history(self.history) {
            return Err(Unused::OtherHistory);
        }
        match self.replayed {
            Some(replayed) => Ok((self.history, self.run, replayed.unsigned_abs())),
            None => Err(Unused::NoReplica),
        }
    }
}

fn unreachable(fault: Fault) -> Unused {
    let reason = match &fault {
        Fault::Sql(error) => text(error),
        Fault::Store(error) => error.to_string(),
        Fault::Contended => "contended".into(),
    };
    Unused::Unreachable(reason)
}
