//! The identity of the store: which database, and which history of it.
//!
//! A history ends when changes are undone, or may have been: a backup was put back, or a replica was promoted that may
//! lack the last changes. Caches and positions of one history are never used with another one. The row of `store` has the
//! number of the history:
//!
//! * `id`, which the first server has put there,
//! * `epoch`, which an operator moves on after restoring a backup (`tinyns store restored`),
//! * `history`, a random number that a server replaces when it finds that the *place* is not the one beside that number.
//!
//! The place is PostgreSQL's identifier of the whole cluster of databases, if the user may read it; its *timeline*, because a
//! promoted replica and a recovery to a point in time begin a new one; and the number of the table `link` in the system
//! catalogue, because a dump that is put back with `pg_restore --clean` makes a new table. All of this is in a table and not
//! computed by each server, so that a replica shows the history that it replicates.
//!
//! Each new connection reads the row, and the store reads it again every few seconds.

use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::failure::Fault;
use crate::store::identity::number;

const FACTS: &str = "SELECT id, epoch, history, place, schema_version, pg_is_in_recovery(), \
    'tinyns.link'::regclass::oid, \
    CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END FROM tinyns.store";
/// Some providers of databases do not allow this one.
const SYSTEM: &str = "SELECT system_identifier FROM pg_control_system()";
const BEGIN_EPOCH: &str = "UPDATE store SET epoch = epoch + 1";

/// A history of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// The number of the store.
    pub(super) id: i64,
    /// The epoch.
    pub(super) epoch: u64,
    /// The number of the history, which no other one has; never 0.
    pub(super) number: u64,
    /// The version of the tables.
    pub(super) schema: i32,
}

impl History {
    /// The history that a connection leads to. Begins a new one if the place is another one than before.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        loop {
            let facts = client.simple_query(FACTS).await?;
            let fact = |index| text(&facts, index);
            let (id, epoch, history, before) = (fact(0), fact(1), fact(2), fact(3));
            if fact(5) == "f" {
                let system = client.simple_query(SYSTEM).await.unwrap_or_default();
                let place = format!("{}/{}/{}", text(&system, 0), fact(7), fact(6));
                if place != before {
                    begin(client, &before, &place).await?;
                    continue;
                }
            }
            return Ok(Self {
                id: id.parse().unwrap_or(0),
                epoch: epoch.parse().unwrap_or(0),
                number: history_number(&id, &epoch, &history),
                schema: fact(4).parse().unwrap_or(0),
            });
        }
    }
}

/// Begins a new history, unless another server has done so. If the database has come from another cluster of databases, as
/// a dump, the entries of the feed have numbers of transactions that mean nothing here.
async fn begin(client: &Client, before: &str, place: &str) -> Result<(), Error> {
    let random = fastrand::i64(..);
    let update = "UPDATE tinyns.store SET place = $1, history = $2 WHERE place = $3";
    if cluster(before) == cluster(place) {
        client.execute(update, &[&place, &random, &before]).await?;
        return Ok(());
    }
    client.batch_execute("BEGIN").await?;
    let begun = client.execute(update, &[&place, &random, &before]).await?;
    let end = match begun {
        0 => "ROLLBACK",
        _ => "UPDATE tinyns.store SET forgotten = 0; TRUNCATE tinyns.change; COMMIT",
    };
    client.batch_execute(end).await
}

/// A place without the timeline: the numbers of transactions go on when a replica is promoted.
fn cluster(place: &str) -> (Option<&str>, Option<&str>) {
    (place.split('/').next(), place.split('/').nth(2))
}

/// The number of the history with these values in the row of `store`.
pub(super) fn history_number(id: &str, epoch: &str, history: &str) -> u64 {
    number(&[id, epoch, history])
}

/// See [`crate::store::Store::begin_epoch`].
pub(super) async fn begin_epoch(client: &Client) -> Result<History, Fault> {
    client.execute(BEGIN_EPOCH, &[]).await?;
    Ok(History::read(client).await?)
}

/// A value of the first row.
fn text(messages: &[SimpleQueryMessage], index: usize) -> String {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(index),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}
