//! The identity of the store: which database, and which history of it.
//!
//! A history ends when changes are undone, or may have been: a backup was put back, or a replica was promoted that may
//! lack the last changes. Caches and positions of one history are never used with another one. A history is known by:
//!
//! * the random number that the first server has put into the table `store`,
//! * the *epoch* beside it, which an operator moves on after restoring a backup,
//! * the number of the table `link` in the system catalogue: a dump that is put back with `pg_restore --clean` makes a new
//!   table,
//! * PostgreSQL's identifier of the whole cluster of databases, if the user may read it, and its *timeline*: a promoted
//!   replica and a recovery to a point in time begin a new one.
//!
//! Each new connection reads these, and the store reads them again every few seconds.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::store::identity::number;

const FACTS: &str = "SELECT id, epoch, 'tinyns.link'::regclass::oid, schema_version, \
    CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END FROM tinyns.store";
/// Some providers of databases do not allow this one.
const SYSTEM: &str = "SELECT system_identifier FROM pg_control_system()";

/// A history of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// Its number, which no other history has; never 0.
    pub(super) id: u64,
    /// The version of the tables.
    pub(super) schema: i32,
}

impl History {
    /// The history that a connection leads to.
    pub(super) async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let facts = client.simple_query(FACTS).await?;
        let system = client.simple_query(SYSTEM).await.unwrap_or_default();
        let text = |messages: &[SimpleQueryMessage], index| {
            let row = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(index),
                _ => None,
            });
            row.unwrap_or_default().to_owned()
        };
        let [id, epoch, table, schema, timeline] = [0, 1, 2, 3, 4].map(|i| text(&facts, i));
        let system = text(&system, 0);
        Ok(Self {
            id: number(&[&id, &epoch, &table, &timeline, &system]),
            schema: schema.parse().unwrap_or(0),
        })
    }
}
