//! The change feed: the table `change`, into which triggers write every change, whoever makes it.
//!
//! `place` says what a position is, and why. A NOTIFY of the trigger wakes the reader, by a connection that does nothing
//! else (`listen`). It may be lost without harm. A server sends the NOTIFY for its own changes itself, after they are
//! committed.
//!
//! With a replica near the server, entries are read from there whenever links are. Snapshots of a replica have no list of
//! running transactions, but the oldest one is right, and which rows are visible as well; nothing else is used here. A
//! position that was reached at the writer says nothing about what a replica shows that is behind it, so the replica is
//! read only if it shows all that the reader has had.
//!
//! Entries are kept for an hour, and a million of them (`sweep`); the row of `store` says which transactions have been
//! forgotten.

mod listen;
mod place;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::ToSql;

pub(super) use self::listen::{listen, notify};
use self::place::{FeedPlace, Seen};
use super::Inner;
use super::connect::Connection;
use super::failure::Fault;
use super::read::as_limit;
use super::reads::{Kind, Source};
use super::replica::Need;
use crate::link::Version;
use crate::store::feed::{AsOf, Entries, Entry, Feed, FeedPage, Position, Readers};
use crate::store::{StoreError, columns};

/// The most entries of one page.
const MAX_PAGE: usize = 5_000;

/// How the entries that a reader has not had are found: `$1` is `base`, `$2` `upto`, `$3` `seq`, `$4` and `$5` are `done`,
/// and `$6` is the number of entries.
macro_rules! read {
    ($rows:expr) => {
        concat!(
            "SELECT s.forgotten, txid_snapshot_xmin(txid_current_snapshot()), c.seq, c.txid, c.origin, c.code, c.version, \
             (SELECT coalesce(bool_and(EXISTS (SELECT FROM change WHERE change.txid = had.txid)), true) \
              FROM unnest($4::bigint[]) AS had (txid)) \
             FROM store s LEFT JOIN LATERAL (",
            $rows,
            ") AS c ON true ORDER BY c.seq"
        )
    };
}
macro_rules! rows {
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT c.seq, c.txid, c.origin, c.code, c.version FROM change c WHERE ",
            $where,
            " AND NOT EXISTS (SELECT FROM unnest($4::bigint[], $5::bigint[]) AS d (txid, seq) \
             WHERE d.txid = c.txid AND c.seq <= d.seq) ORDER BY ",
            $order,
            " LIMIT $6"
        )
    };
}
/// At the end of the feed there are few transactions above `base`. The sum keeps the planner from walking along all
/// entries.
const READ_TIP: &str = read!(rows!(
    "c.txid >= $1 AND $2::bigint IS NOT NULL AND $3::bigint IS NOT NULL",
    "c.seq + 0"
));
/// Amid many entries: those behind `seq`, and late ones before it.
const READ_ON: &str = read!(concat!(
    "SELECT * FROM ((",
    rows!("c.seq > $3 AND c.txid >= $1", "c.seq"),
    ") UNION ALL (",
    rows!("c.seq <= $3 AND c.txid >= $2", "c.seq + 0"),
    ")) AS found ORDER BY found.seq LIMIT $6"
));
/// The transactions above the oldest running one that have been committed, and up to where there are entries of those before.
/// Later transactions without entries do not count: a replica hears of them late, because they need not reach the disk.
const END: &str = "SELECT least(x.xmin, greatest(s.forgotten, \
      (SELECT c.txid + 1 FROM change c WHERE c.txid < x.xmin ORDER BY c.txid DESC LIMIT 1))), \
    ARRAY(SELECT DISTINCT c.txid FROM change c WHERE c.txid >= x.xmin ORDER BY c.txid LIMIT 1000) \
    FROM store s, txid_snapshot_xmin(txid_current_snapshot()) AS x (xmin)";

/// The feed of a store.
pub(super) struct PostgresFeed {
    pub(super) inner: Arc<Inner>,
}

impl PostgresFeed {
    /// The history of the store; a position of another one is too old.
    fn history(&self) -> Result<u64, StoreError> {
        let unknown = || StoreError::Unavailable("its history is not known yet".into());
        self.inner.pool.history().ok_or_else(unknown)
    }

    /// The position at the end of what a snapshot shows.
    fn position(&self, (base, visible): (i64, Vec<i64>)) -> Result<Position, StoreError> {
        let place = FeedPlace::end(self.history()?, base, visible);
        let too_long = || StoreError::Unavailable("a position is too long".into());
        place.position().ok_or_else(too_long)
    }
}

#[async_trait]
impl Feed for PostgresFeed {
    fn readers(&self) -> Readers {
        Readers::Each
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let work = |connection: Arc<Connection>| async move { end(&connection).await };
        let call = self.inner.call(&self.inner.feeds, work);
        self.position(Box::pin(call).await?)
    }

    async fn begin(&self) -> Result<Position, StoreError> {
        let work = |connection: Arc<Connection>| async move { end(&connection).await };
        let call = self.inner.read_at(Kind::Feed, Need::Feed, work);
        let (end, source) = Box::pin(call).await?;
        if let (Some(replica), Source::Writer) = (&self.inner.replica, source) {
            // Entries before the position are not read, and the replica may lack their changes.
            replica.note_missed();
        }
        self.position(end)
    }

    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let Some(place) = FeedPlace::read(after) else {
            return Ok(FeedPage::TooOld);
        };
        let replica = self.inner.replica.as_ref();
        if replica.is_some_and(|replica| replica.takes_gap()) {
            return Ok(FeedPage::TooOld);
        }
        let place = &place;
        let work =
            |connection: Arc<Connection>| async move { read(&connection, place, limit).await };
        let call = self.inner.read_at(Kind::Feed, Need::Feed, work);
        let (mut found, mut source) = Box::pin(call).await?;
        if let (Some(replica), Source::Replica(_)) = (replica, source)
            && !found.shows(place)
        {
            // What links are read from the replica may be older than what the feed has brought.
            replica.note_missed();
            found = Box::pin(self.inner.call(&self.inner.feeds, work)).await?;
            source = Source::Writer;
        }
        // After the call, which may have found another history.
        if place.history != self.history()? || place.base < found.forgotten {
            return Ok(FeedPage::TooOld);
        }
        let Some((entries, page_place, at_end)) = found.page(place, limit) else {
            return Ok(FeedPage::TooOld);
        };
        let is_held = entries.is_empty() && !at_end;
        self.inner.held.set(is_held);
        let as_of = match (replica, source) {
            (Some(replica), Source::Writer) => {
                if !entries.is_empty() {
                    // The replica may lack these changes, and the entries do not come again.
                    replica.note_missed();
                }
                AsOf::Read
            }
            (None, Source::Writer) => AsOf::Read,
            (_, Source::Replica(None)) => AsOf::Unknown,
            (replica, Source::Replica(Some(moment))) => {
                if let Some(replica) = replica.filter(|_| at_end) {
                    replica.end_pursuit(moment);
                }
                AsOf::Moment(moment)
            }
        };
        Ok(match page_place.position() {
            Some(position) => FeedPage::Entries(Entries {
                entries,
                position,
                at_end,
                as_of,
            }),
            None => FeedPage::TooOld,
        })
    }

    async fn news(&self) {
        let notified = self.inner.news.changes.notified();
        match &self.inner.replica {
            // It comes from the server that takes changes, and the replica may not have them yet.
            Some(replica) => replica.pursue(notified).await,
            None => notified.await,
        }
    }

    fn covers(&self, position: &Position, other: &Position) -> bool {
        let places = FeedPlace::read(position).zip(FeedPlace::read(other));
        places.is_some_and(|(place, other)| place.covers(&other))
    }
}

impl fmt::Debug for PostgresFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresFeed")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}

async fn end(connection: &Connection) -> Result<(i64, Vec<i64>), Fault> {
    let statement = connection.prepare(END).await?;
    let row = connection.client.query_one(&statement, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// What a read has found: one entry more than was asked for, if there are more.
struct Found {
    forgotten: i64,
    xmin: i64,
    /// Whether all transactions are visible of which the reader has had entries.
    has_done: bool,
    seen: Vec<Seen>,
    /// None for a name that is no name of a link.
    entries: Vec<Option<Entry>>,
}

async fn read(connection: &Connection, place: &FeedPlace, limit: usize) -> Result<Found, Fault> {
    let sql = match place.is_amid() {
        true => READ_ON,
        false => READ_TIP,
    };
    let txids: Vec<i64> = place.done.keys().copied().collect();
    let bounds = place.done.values();
    let bounds: Vec<i64> = bounds.map(|bound| bound.unwrap_or(i64::MAX)).collect();
    let limit = as_limit(limit.saturating_add(1));
    let statement = connection.prepare(sql).await?;
    let parameters: [&(dyn ToSql + Sync); 6] = [
        &place.base,
        &place.upto,
        &place.seq,
        &txids,
        &bounds,
        &limit,
    ];
    let rows = connection.client.query(&statement, &parameters).await?;
    let mut found = Found {
        forgotten: i64::MAX,
        xmin: 0,
        has_done: false,
        seen: Vec::with_capacity(rows.len()),
        entries: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        found.forgotten = row.try_get(0)?;
        found.xmin = row.try_get(1)?;
        found.has_done = row.try_get(7)?;
        let Some(seq) = row.try_get(2)? else { continue };
        let txid = row.try_get(3)?;
        found.seen.push(Seen { seq, txid });
        let name = columns::name(row.try_get(4)?, row.try_get(5)?).ok();
        let version: Option<i64> = row.try_get(6)?;
        let version = version.and_then(|version| u64::try_from(version).ok());
        found.entries.push(name.map(|name| Entry {
            name,
            version: version.map(Version),
        }));
    }
    Ok(found)
}

impl Found {
    /// Whether all is visible that a reader at this place has had. Without that, its place says nothing about a replica.
    fn shows(&self, place: &FeedPlace) -> bool {
        place.upto <= self.xmin && self.has_done
    }

    /// The entries, the place behind them, and whether they are all that is visible. There may be fewer entries than were
    /// found if a position has no room for them. None if a place cannot be written as a position at all.
    fn page(self, place: &FeedPlace, limit: usize) -> Option<(Vec<Entry>, FeedPlace, bool)> {
        let Self {
            xmin,
            seen,
            mut entries,
            ..
        } = self;
        if seen.len() <= limit {
            let after = place.after_all(xmin, &seen);
            if after.has_room() {
                return Some((entries.into_iter().flatten().collect(), after, true));
            }
        }
        let mut taken = seen.len().min(limit);
        let after = loop {
            let after = place.after_some(xmin, seen.get(..taken)?);
            if taken == 0 || after.has_room() {
                break after;
            }
            taken /= 2;
        };
        entries.truncate(taken);
        Some((entries.into_iter().flatten().collect(), after, false))
    }
}
