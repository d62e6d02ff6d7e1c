//! The announcements of servers; see [`crate::store::servers`].
//!
//! The announcements survive a crash of PostgreSQL: the filter of another server may deny names for a second after it, and a
//! server that makes a link has to know of that filter. So each announcement, one a second for each server, is synced to disk.

use std::time::Duration;

use super::connect::Connection;
use super::failure::Fault;
use crate::base::clock::UnixTime;
use crate::store::StoreError;
use crate::store::columns::integer;
use crate::store::feed::Position;
use crate::store::servers::{Announcement, LEASE, Label, LiveServer, MAX_SERVERS};

/// `$9` is the lease in seconds, and `$10` the most servers. No row is returned if there are too many.
const ANNOUNCE: &str = "WITH over AS (DELETE FROM server WHERE until < now() AND id <> $1), \
    put AS (INSERT INTO server (id, name, region, software, started, applied, filter_denies, denied, until) \
      SELECT $1, $2, $3, $4, $5::bigint, $6, $7::boolean, $8, now() + make_interval(secs => $9::float8) \
      WHERE (SELECT count(*) FROM server WHERE until >= now() AND id <> $1) < $10::bigint \
      ON CONFLICT (id) DO UPDATE SET name = excluded.name, region = excluded.region, software = excluded.software, \
        started = excluded.started, applied = excluded.applied, filter_denies = excluded.filter_denies, \
        denied = excluded.denied, until = excluded.until RETURNING 1) \
    SELECT pg_notify('tinyns_server', '')::text FROM put";
const WITHDRAW: &str = "WITH gone AS (DELETE FROM server WHERE id = $1 RETURNING 1) \
    SELECT pg_notify('tinyns_server', '')::text FROM gone";
const LIVE: &str = "SELECT id, name, region, software, started, applied, filter_denies, denied, \
    extract(epoch FROM until - now())::float8 FROM server WHERE until > now() ORDER BY id LIMIT $1";

pub(super) async fn announce(connection: &Connection, server: &Announcement) -> Result<(), Fault> {
    let (lease, most) = (LEASE.as_secs_f64(), most());
    let statement = connection.prepare(ANNOUNCE).await?;
    let put = connection
        .client
        .query_opt(
            &statement,
            &[
                &server.id.as_str(),
                &server.name.as_str(),
                &server.region.as_str(),
                &server.version.as_str(),
                &integer(server.started.0)?,
                &server.applied.as_ref().map(Position::as_str),
                &server.filter_denies,
                &&*server.denied,
                &lease,
                &most,
            ],
        )
        .await?;
    match put {
        Some(_) => Ok(()),
        None => {
            let text =
                format!("{MAX_SERVERS} servers are announced already, and there can be no more");
            Err(StoreError::Refused(text).into())
        }
    }
}

pub(super) async fn withdraw(connection: &Connection, id: &Label) -> Result<(), Fault> {
    let statement = connection.prepare(WITHDRAW).await?;
    connection
        .client
        .query_opt(&statement, &[&id.as_str()])
        .await?;
    Ok(())
}

/// All servers whose announcements count. A row that no tinyns can have written is left out.
pub(super) async fn live(connection: &Connection) -> Result<Vec<LiveServer>, Fault> {
    let statement = connection.prepare(LIVE).await?;
    let rows = connection.client.query(&statement, &[&most()]).await?;
    let mut servers = Vec::with_capacity(rows.len());
    for row in &rows {
        let label = |index| Ok::<_, Fault>(Label::new(row.try_get::<_, &str>(index)?));
        let (Some(id), Some(name), Some(region), Some(version)) =
            (label(0)?, label(1)?, label(2)?, label(3)?)
        else {
            continue;
        };
        let started: i64 = row.try_get(4)?;
        let applied: Option<&str> = row.try_get(5)?;
        let left: f64 = row.try_get(8)?;
        servers.push(LiveServer {
            announcement: Announcement {
                id,
                name,
                region,
                version,
                started: UnixTime(u64::try_from(started).unwrap_or(0)),
                applied: applied.and_then(Position::new),
                filter_denies: row.try_get(6)?,
                denied: row.try_get::<_, &str>(7)?.into(),
            },
            left: Duration::try_from_secs_f64(left)
                .unwrap_or_default()
                .min(LEASE),
        });
    }
    Ok(servers)
}

/// The most servers, as SQL takes it.
fn most() -> i64 {
    i64::try_from(MAX_SERVERS).unwrap_or(i64::MAX)
}
