//! Taking links and entries over from another store; see [`crate::store::transfer`].

use std::collections::HashSet;

use super::audit::EventColumns;
use super::connect::Connection;
use super::failure::Fault;
use super::link_columns::{LinkColumns, Written};
use super::read::get_many;
use crate::link::{Link, LinkName};
use crate::store::audit::Event;
use crate::store::columns;
use crate::store::{Adopted, StoreError};

/// How many links go into one statement.
pub(super) const MAX_BATCH: usize = 500;

/// Puts links over older states of their names. A name without a row has no tombstone that is as new, and its version is
/// above the floor, which says nothing about which names were deleted. Returns the names of the links that were written.
const ADOPT: &str = "INSERT INTO link AS l \
    (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld, \
     destinations) \
    SELECT n.origin, n.code, n.url, n.created_at, n.created_by, n.expires_at, n.ttl, n.version, n.title, n.tags::jsonb, \
      n.note, n.withheld, n.destinations \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::int[], $8::bigint[], \
      $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) AS n \
      (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld, destinations) \
    CROSS JOIN store s \
    WHERE NOT EXISTS (SELECT FROM tombstone t WHERE t.origin = n.origin AND t.code = n.code AND t.version >= n.version) \
      AND (s.version_floor = 0 OR n.version > s.version_floor \
        OR EXISTS (SELECT FROM link o WHERE o.origin = n.origin AND o.code = n.code)) \
    ORDER BY n.origin, n.code \
    ON CONFLICT (origin, code) DO UPDATE SET url = excluded.url, created_at = excluded.created_at, \
      created_by = excluded.created_by, expires_at = excluded.expires_at, ttl = excluded.ttl, \
      version = excluded.version, title = excluded.title, tags = excluded.tags, note = excluded.note, \
      withheld = excluded.withheld, destinations = excluded.destinations WHERE l.version < excluded.version \
    RETURNING l.origin, l.code";

const ADOPT_ENTRY: &str = "INSERT INTO audit \
    (at, actor, address, request_id, action, zone, code, token, before, after) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE NOT EXISTS (SELECT FROM audit WHERE at = $1 \
      AND (actor, action) = ($2, $5) \
      AND (address, request_id, zone, code) IS NOT DISTINCT FROM ($3, $4, $6, $7) \
      AND (token, before, after) IS NOT DISTINCT FROM ($8, $9, $10))";

/// See [`crate::store::Store::adopt_many`]. The links have different names, and are at most [`MAX_BATCH`].
pub(super) async fn adopt(
    connection: &Connection,
    links: &[Link],
) -> Result<Vec<Result<Adopted, StoreError>>, Fault> {
    let written = put(connection, links).await?;
    let others: Vec<LinkName> = links
        .iter()
        .map(|link| &link.name)
        .filter(|name| !written.contains(*name))
        .cloned()
        .collect();
    let mut found = match others.is_empty() {
        true => Vec::new(),
        false => get_many(connection, &others).await?,
    }
    .into_iter();
    let outcome = |link: &Link| {
        if written.contains(&link.name) {
            return Ok(Adopted::Written);
        }
        match found.next().transpose()?.flatten() {
            Some(found) if found == *link => Ok(Adopted::Same),
            _ => Ok(Adopted::Newer),
        }
    };
    Ok(links.iter().map(outcome).collect())
}

/// Writes the links that are to be written, and returns their names.
async fn put(connection: &Connection, links: &[Link]) -> Result<HashSet<LinkName>, Fault> {
    let mut columns = LinkColumns::default();
    for link in links {
        columns.push(Written::link(link))?;
    }
    let statement = connection.prepare(ADOPT).await?;
    let parameters = columns.parameters();
    let rows = connection.client.query(&statement, &parameters).await?;
    let mut written = HashSet::with_capacity(rows.len());
    for row in &rows {
        written.extend(columns::name(row.try_get(0)?, row.try_get(1)?).ok());
    }
    Ok(written)
}

/// See [`crate::store::Store::adopt_entry`].
pub(super) async fn adopt_entry(connection: &Connection, event: &Event) -> Result<Adopted, Fault> {
    let entry = EventColumns::of(event)?;
    let statement = connection.prepare(ADOPT_ENTRY).await?;
    let written = connection
        .client
        .execute(&statement, &entry.parameters())
        .await?;
    Ok(match written {
        0 => Adopted::Same,
        _ => Adopted::Written,
    })
}
