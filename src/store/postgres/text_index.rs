//! The text index, and how the servers keep it up to date.
//!
//! The table `link_text` has the [parts] of each link's code, URLs and title, and an index of them. One server
//! at a time brings the links into it, a piece at a time, some time after they were changed: a registration with its parts
//! would take twice as long. A search looks at the links that have changed since as well, so what it finds never depends on
//! how far the index is.
//!
//! The index follows the table `change`, into which triggers write all changes, also those by other programs and by servers
//! of earlier versions. The row of `text_index` says how far it has come: all transactions below that number had ended, and
//! all that they have changed was read after that. If changes have left the table `change` before they were read, or if the
//! database was put back from a dump, so that the numbers of transactions are those of another one, the index is made
//! anew by a walk over all links. Until the walk is over, searches do without the index.
//!
//! A transaction that has written holds the readers of the change feed up until it ends. So pieces are small, and all reads
//! come before the first write.
//!
//! Not chosen: the extension `pg_trgm`. Not every database has it, it folds the case by the collation of the database, and
//! its index is a part of each registration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::connect::Connection;
use super::failure::Fault;
use super::read::as_limit;
use super::{Inner, indexes, parts};
use crate::base::clock::UnixTime;
use crate::link::TargetUrl;
use crate::store::columns::read_destinations;

/// How many links a piece has: some 20 milliseconds of PostgreSQL's time.
const PIECE: usize = 250;
/// After how many pieces the new entries of the index are sorted.
const SORT_AFTER: u32 = 10;
/// How often a server looks for changes.
const LOOK: Duration = Duration::from_secs(2);
/// The shortest pause between two pieces. It is at least as long as a piece takes.
const BETWEEN: Duration = Duration::from_millis(10);
/// How often a server looks for missing indexes.
const LOOK_FOR_INDEXES: Duration = Duration::from_secs(60);

/// Tables of a search: `known` says whether the index and the changes `pending` know all links of the zone together.
macro_rules! pending {
    () => {
        concat!(
            "pending AS MATERIALIZED (SELECT d.origin, d.code FROM text_index i JOIN change d ON d.txid >= i.txid \
               WHERE d.txid > i.txid OR d.seq > i.seq LIMIT 10001), \
             known AS (SELECT i.origin IS NULL AND i.txid >= s.forgotten AND i.cluster = ",
            $crate::store::postgres::text_index::cluster!(),
            " AND (SELECT count(*) FROM pending) <= 10000 AS is_known FROM text_index i CROSS JOIN store s)"
        )
    };
}
pub(super) use pending;

/// The cluster of databases and the table `link` in it; `s` is the table `store`. Its place has the timeline in between, which
/// changes when a replica is promoted; the numbers of transactions stay then.
macro_rules! cluster {
    () => {
        "split_part(s.place, '/', 1) || '/' || split_part(s.place, '/', 3)"
    };
}
pub(super) use cluster;

/// Only one server indexes at a time. The lock is the transaction's.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(7309464, 3)";
const STATE: &str = concat!(
    "SELECT i.txid, i.seq, i.origin, i.code, i.txid >= s.forgotten AND i.cluster = ",
    cluster!(),
    ", txid_snapshot_xmin(txid_current_snapshot()), txid_snapshot_xmin(txid_current_snapshot()) >= s.forgotten \
     FROM text_index i CROSS JOIN store s"
);
const BEGIN_ANEW: &str = concat!(
    "UPDATE text_index SET cluster = ",
    cluster!(),
    ", txid = $1, seq = 0, origin = '', code = '' FROM store s"
);
/// The changes of transactions that have ended, from the place ($1, $2) on.
const CHANGES: &str = "SELECT c.txid, c.seq, c.origin, c.code FROM change c \
    WHERE c.txid >= $1 AND (c.txid > $1 OR c.seq > $2) AND c.txid < $3 ORDER BY c.txid, c.seq LIMIT $4";
const LINKS: &str = "SELECT l.origin, l.code, l.url, l.title, l.destinations, l.created_at FROM unnest($1::text[], $2::text[]) AS n (origin, code) \
    JOIN link l ON l.origin = n.origin AND l.code = n.code";
const WALK: &str = "SELECT l.origin, l.code, l.url, l.title, l.destinations, l.created_at FROM link l WHERE (l.origin, l.code) > ($1, $2) \
    ORDER BY l.origin, l.code LIMIT $3";
const PUT: &str = "INSERT INTO link_text AS t (origin, code, parts) \
    SELECT n.origin, n.code, n.parts::int[] FROM unnest($1::text[], $2::text[], $3::text[]) AS n (origin, code, parts) \
    ON CONFLICT (origin, code) DO UPDATE SET parts = excluded.parts WHERE t.parts <> excluded.parts";
const REMOVE: &str = "DELETE FROM link_text t USING unnest($1::text[], $2::text[]) AS n (origin, code) \
    WHERE t.origin = n.origin AND t.code = n.code";
const MOVE: &str = "UPDATE text_index SET txid = $1, seq = $2, origin = $3, code = $4";
const SORT: &str = "SELECT gin_clean_pending_list('tinyns.link_text_parts')";

/// What has become of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// There was nothing to do, or another server does it.
    Idle,
    /// Links went into the index, and there may be more.
    More,
}

/// A name, as its zone and its code.
type Key = (String, String);

/// Keeps the indexes of lists up to date until the store is closed.
pub(super) async fn keep(inner: &Inner) {
    let mut pieces = 0;
    let mut pause = BETWEEN;
    let mut next_look = Instant::now();
    let mut problem = None;
    loop {
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        if began >= next_look {
            next_look = began + LOOK_FOR_INDEXES;
            note(
                &mut problem,
                Box::pin(indexes::make_missing(inner)).await.err(),
            );
        }
        let piece = inner.call(&inner.pages, |connection| async move {
            in_transaction(&connection).await
        });
        let piece = Box::pin(piece).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot bring links into the text index");
            Piece::Idle
        });
        pieces += u32::from(piece == Piece::More);
        if pieces >= SORT_AFTER || pieces > 0 && piece == Piece::Idle {
            pieces = 0;
            let sort = inner.call(&inner.pages, |connection| async move {
                let statement = connection.prepare(SORT).await?;
                Ok(connection.client.execute(&statement, &[]).await?)
            });
            if let Err(error) = Box::pin(sort).await {
                tracing::debug!(%error, "cannot sort new entries of the text index");
            }
        }
        pause = match piece {
            Piece::Idle => LOOK,
            Piece::More => began.elapsed().max(BETWEEN),
        };
    }
}

/// Logs a problem with the indexes when it is another one than before. Lists are slow, and all else works.
fn note(before: &mut Option<String>, problem: Option<String>) {
    if let Some(text) = problem.as_ref().filter(|_| *before != problem) {
        tracing::warn!("cannot make the indexes of lists, which are slow without them: {text}");
    }
    *before = problem;
}

async fn in_transaction(connection: &Connection) -> Result<Piece, Fault> {
    let client = &connection.client;
    client.batch_execute("BEGIN").await?;
    let piece = piece(connection).await;
    let end = match &piece {
        Ok(_) => "COMMIT",
        Err(_) => "ROLLBACK",
    };
    client.batch_execute(end).await?;
    piece
}

/// Brings a piece of the changes into the index, and a piece of the walk if it is under way.
async fn piece(connection: &Connection) -> Result<Piece, Fault> {
    let client = &connection.client;
    let lock = connection.prepare(LOCK).await?;
    if !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Piece::Idle);
    }
    let statement = connection.prepare(STATE).await?;
    let state = client.query_one(&statement, &[]).await?;
    let (mut txid, mut seq): (i64, i64) = (state.try_get(0)?, state.try_get(1)?);
    let (is_sound, xmin): (bool, i64) = (state.try_get(4)?, state.try_get(5)?);
    if !is_sound {
        // After a TRUNCATE of all links, transactions that began before it may not have ended.
        if !state.try_get::<_, bool>(6)? {
            return Ok(Piece::Idle);
        }
        client
            .batch_execute("SET LOCAL lock_timeout = 200; TRUNCATE link_text")
            .await?;
        let statement = connection.prepare(BEGIN_ANEW).await?;
        client.execute(&statement, &[&xmin]).await?;
        return Ok(Piece::More);
    }
    let mut walked = state
        .try_get::<_, Option<String>>(2)?
        .zip(state.try_get::<_, Option<String>>(3)?);
    // All reads.
    let statement = connection.prepare(CHANGES).await?;
    let most = as_limit(PIECE);
    let rows = client
        .query(&statement, &[&txid, &seq, &xmin, &most])
        .await?;
    let mut changed: BTreeSet<Key> = BTreeSet::new();
    for row in &rows {
        (txid, seq) = (row.try_get(0)?, row.try_get(1)?);
        changed.insert((row.try_get(2)?, row.try_get(3)?));
    }
    let has_more = rows.len() == PIECE;
    if !has_more && !rows.is_empty() {
        (txid, seq) = (xmin, 0);
    }
    let mut links = changed_links(connection, &changed).await?;
    if let Some((origin, code)) = &walked {
        let statement = connection.prepare(WALK).await?;
        let rows = client.query(&statement, &[origin, code, &most]).await?;
        walked = match rows.last() {
            Some(last) if rows.len() == PIECE => Some((last.try_get(0)?, last.try_get(1)?)),
            _ => None,
        };
        for row in &rows {
            let (key, parts) = parts_of(row)?;
            links.insert(key, parts);
        }
    } else if rows.is_empty() {
        return Ok(Piece::Idle);
    }
    let gone: Vec<&Key> = changed
        .iter()
        .filter(|key| !links.contains_key(*key))
        .collect();
    write(connection, &links, &gone).await?;
    let (origin, code) = walked.clone().unzip();
    let statement = connection.prepare(MOVE).await?;
    client
        .execute(&statement, &[&txid, &seq, &origin, &code])
        .await?;
    Ok(match has_more || walked.is_some() {
        true => Piece::More,
        false => Piece::Idle,
    })
}

/// The links of these names, with their parts.
async fn changed_links(
    connection: &Connection,
    changed: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, BTreeSet<i32>>, Fault> {
    let mut links = BTreeMap::new();
    if changed.is_empty() {
        return Ok(links);
    }
    let origins: Vec<&str> = changed.iter().map(|key| &*key.0).collect();
    let codes: Vec<&str> = changed.iter().map(|key| &*key.1).collect();
    let statement = connection.prepare(LINKS).await?;
    let rows = connection
        .client
        .query(&statement, &[&origins, &codes])
        .await?;
    for row in &rows {
        let (key, parts) = parts_of(row)?;
        links.insert(key, parts);
    }
    Ok(links)
}

fn parts_of(row: &tokio_postgres::Row) -> Result<(Key, BTreeSet<i32>), Fault> {
    let (origin, code): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    let (url, title): (&str, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
    let mut found = BTreeSet::new();
    parts::add(code, &mut found);
    // Another program may have written the URL in another form than the one that searches compare.
    let target = TargetUrl::parse_stored(url);
    parts::add(target.as_ref().map_or(url, TargetUrl::as_str), &mut found);
    if let Some(title) = title {
        parts::add(title, &mut found);
    }
    let (destinations, created_at): (Option<&str>, i64) = (row.try_get(4)?, row.try_get(5)?);
    let created_at = UnixTime(u64::try_from(created_at).unwrap_or(0));
    if let Ok(target) = &target
        && let Ok(Some(destinations)) = read_destinations(destinations, target, created_at)
    {
        for other in destinations.others() {
            parts::add(other.url.as_str(), &mut found);
        }
    }
    Ok(((origin.to_owned(), code.to_owned()), found))
}

async fn write(
    connection: &Connection,
    links: &BTreeMap<Key, BTreeSet<i32>>,
    gone: &[&Key],
) -> Result<(), Fault> {
    let client = &connection.client;
    if !links.is_empty() {
        let origins: Vec<&str> = links.keys().map(|key| &*key.0).collect();
        let codes: Vec<&str> = links.keys().map(|key| &*key.1).collect();
        let parts: Vec<String> = links.values().map(array).collect();
        let statement = connection.prepare(PUT).await?;
        client
            .execute(&statement, &[&origins, &codes, &parts])
            .await?;
    }
    if !gone.is_empty() {
        let origins: Vec<&str> = gone.iter().map(|key| &*key.0).collect();
        let codes: Vec<&str> = gone.iter().map(|key| &*key.1).collect();
        let statement = connection.prepare(REMOVE).await?;
        client.execute(&statement, &[&origins, &codes]).await?;
    }
    Ok(())
}

/// Numbers as PostgreSQL reads an array. Arrays of arrays would all need the same length.
fn array(parts: &BTreeSet<i32>) -> String {
    let parts: Vec<String> = parts.iter().map(i32::to_string).collect();
    format!("{{{}}}", parts.join(","))
}
