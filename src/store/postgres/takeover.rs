//! Taking links and entries over from another store; see [`crate::store::transfer`].

use tokio_postgres::types::ToSql;

use super::audit::EventColumns;
use super::connect::Connection;
use super::create::ttl_column;
use super::failure::Fault;
use super::read::get;
use crate::link::{Link, Note, Title};
use crate::store::Adopted;
use crate::store::audit::Event;
use crate::store::columns::{integer, tags_text, withheld_text};

/// Puts a link over an older state of its name. A name without a row has no tombstone that is as new, and its version is
/// above the floor, which says nothing about which names were deleted.
const ADOPT: &str = "INSERT INTO link AS l \
    (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8::bigint, $9, $10::text::jsonb, $11, $12 FROM store s \
    WHERE NOT EXISTS (SELECT FROM tombstone t WHERE t.origin = $1 AND t.code = $2 AND t.version >= $8) \
      AND (s.version_floor = 0 OR $8 > s.version_floor \
        OR EXISTS (SELECT FROM link o WHERE o.origin = $1 AND o.code = $2)) \
    ON CONFLICT (origin, code) DO UPDATE SET url = excluded.url, created_at = excluded.created_at, \
      created_by = excluded.created_by, expires_at = excluded.expires_at, ttl = excluded.ttl, \
      version = excluded.version, title = excluded.title, tags = excluded.tags, note = excluded.note, \
      withheld = excluded.withheld WHERE l.version < excluded.version";

const ADOPT_ENTRY: &str = "INSERT INTO audit \
    (at, actor, address, request_id, action, zone, code, token, before, after) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE NOT EXISTS (SELECT FROM audit WHERE at = $1 \
      AND (actor, action) = ($2, $5) \
      AND (address, request_id, zone, code) IS NOT DISTINCT FROM ($3, $4, $6, $7) \
      AND (token, before, after) IS NOT DISTINCT FROM ($8, $9, $10))";

/// See [`crate::store::Store::adopt`].
pub(super) async fn adopt(connection: &Connection, link: &Link) -> Result<Adopted, Fault> {
    let (origin, code, url) = (link.name.origin(), link.name.code(), link.target.as_str());
    let created_at = integer(link.created_at.0)?;
    let expires_at = link.expires_at.map(|end| integer(end.0)).transpose()?;
    let (created_by, ttl) = (&*link.created_by, link.ttl.map(ttl_column));
    let version = integer(link.version.0)?;
    let (title, note) = (
        link.about.title().map(Title::as_str),
        link.about.note().map(Note::as_str),
    );
    let tags = tags_text(link.about.tags());
    let withheld = withheld_text(link.withheld.as_deref());
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &origin,
        &code,
        &url,
        &created_at,
        &created_by,
        &expires_at,
        &ttl,
        &version,
        &title,
        &tags,
        &note,
        &withheld,
    ];
    let statement = connection.prepare(ADOPT).await?;
    if connection.client.execute(&statement, &parameters).await? > 0 {
        return Ok(Adopted::Written);
    }
    match get(connection, &link.name).await? {
        Some(found) if found == *link => Ok(Adopted::Same),
        _ => Ok(Adopted::Newer),
    }
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
