//! Rows of the table `link`, and the links in them.
//!
//! A row that another program wrote, or that a disk damaged, becomes a [`BadRow`] and never a link; see
//! [`crate::store::columns`].

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};

use crate::link::{Link, LinkName, Note, Title, Ttl};
use crate::store::StoreError;
use crate::store::columns::{self, Columns, destinations_text, tags_text, withheld_text};
pub(super) use crate::store::columns::{BadRow, integer};

/// A `SELECT` of whole links, for [`decode`].
macro_rules! select_links {
    ($($rest:literal),+) => {
        concat!(
            "SELECT origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, \
             withheld, destinations FROM link ",
            $($rest),+
        )
    };
}
pub(super) use select_links;

/// The place of the column `withheld` among those of [`select_links`].
pub(super) const WITHHELD: usize = 11;
/// The same for `destinations`.
pub(super) const DESTINATIONS: usize = 12;

/// Writes a link over any row of its name.
///
/// Not `INSERT OR REPLACE`: that removes the former row without its triggers, and the indexes would keep it.
pub(super) const PUT: &str = "INSERT INTO link \
    (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld, \
     destinations, id) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, (SELECT coalesce(max(id), 0) + 1 FROM link)) \
    ON CONFLICT (origin, code) DO UPDATE SET url = ?3, created_at = ?4, created_by = ?5, expires_at = ?6, \
    ttl = ?7, version = ?8, title = ?9, tags = ?10, note = ?11, withheld = ?12, destinations = ?13";

/// The link in a row of [`select_links`].
pub(super) fn decode(row: &Row<'_>) -> Result<Link, BadRow> {
    let name = name(row).map_err(|reason| BadRow {
        key: key(row),
        name: None,
        reason,
    })?;
    values(row, &name).map_err(|reason| BadRow {
        key: key(row),
        name: Some(name),
        reason,
    })
}

/// Writes the row of a link.
pub(super) fn put(conn: &Connection, link: &Link) -> Result<(), StoreError> {
    conn.prepare_cached(PUT)?.execute((
        link.name.origin(),
        link.name.code(),
        link.target.as_str(),
        integer(link.created_at.0)?,
        &*link.created_by,
        link.expires_at.map(|end| integer(end.0)).transpose()?,
        link.ttl.map(Ttl::as_secs),
        integer(link.version.0)?,
        link.about.title().map(Title::as_str),
        tags_text(link.about.tags()),
        link.about.note().map(Note::as_str),
        withheld_text(link.withheld.as_deref()),
        destinations_text(link.destinations.as_deref(), Some(link.created_at)),
    ))?;
    Ok(())
}

fn name(row: &Row<'_>) -> Result<LinkName, String> {
    let origin: String = column(row, 0)?;
    let code: String = column(row, 1)?;
    columns::name(&origin, &code)
}

fn values(row: &Row<'_>, name: &LinkName) -> Result<Link, String> {
    let text = |index| {
        let value = row.get_ref(index).ok();
        value.and_then(|value| value.as_str_or_null().ok().flatten())
    };
    let (url, created_by): (String, String) = (column(row, 2)?, column(row, 4)?);
    let withheld: Option<String> = column(row, WITHHELD)?;
    let destinations: Option<String> = column(row, DESTINATIONS)?;
    let columns = Columns {
        url: &url,
        created_at: column(row, 3)?,
        created_by: &created_by,
        expires_at: column(row, 5)?,
        ttl: column(row, 6)?,
        version: column(row, 7)?,
        withheld: withheld.as_deref(),
        destinations: destinations.as_deref(),
    };
    columns.link(name.clone(), columns::about(text(8), text(9), text(10)))
}

fn column<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, String> {
    row.get(index).map_err(|e| e.to_string())
}

/// The key of a row for a message, whatever bytes it has.
fn key(row: &Row<'_>) -> String {
    let text = |index| {
        let value = row.get_ref(index).ok();
        let bytes = value.and_then(|v| v.as_bytes_or_null().ok().flatten());
        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
    };
    format!("{}.{}", text(1), text(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Version;

    /// Decodes one row of SQL expressions.
    fn check(values: &str, expected: Result<u64, (&str, bool, &str)>) {
        let conn = Connection::open_in_memory().unwrap();
        let mut statement = conn.prepare(&format!("SELECT {values}")).unwrap();
        let mut rows = statement.query([]).unwrap();
        let decoded = decode(rows.next().unwrap().unwrap());
        match expected {
            Ok(version) => assert_eq!(decoded.unwrap().version, Version(version), "{values}"),
            Err((key, named, reason)) => {
                let bad = decoded.unwrap_err();
                assert_eq!(bad.key, key, "{values}");
                assert_eq!(bad.name.is_some(), named, "{values}");
                assert!(bad.reason.contains(reason), "{values}: {}", bad.reason);
            }
        }
    }

    #[test]
    fn only_valid_rows_are_links() {
        check(
            "'s.x', 'a', 'http://y/', 1, 'me', NULL, NULL, 7, NULL, NULL, NULL, NULL, NULL",
            Ok(7),
        );
        check(
            "'s.x', 'a', 'http://y/', 1, '', 2, 604800, 8, 't', '[\"a\"]', 'n', '{\"kind\":\"abuse\",\"reason\":\"x\"}', NULL",
            Ok(8),
        );
        let bad = |values, key, named, reason| check(values, Err((key, named, reason)));
        bad(
            "'s.x', 'a', 'ftp://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "ftp",
        );
        bad(
            "'s.x', 'a', 'http://y/', -1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "-1",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 604801, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "604801",
        );
        // Not as if it were not withheld.
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, '', NULL",
            "a.s.x",
            true,
            "withheld",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 3, NULL, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "NULL",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 'z', 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "Text",
        );
        bad(
            "'s.x', 'a', cast(x'ff' as text), 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "utf-8",
        );
        bad(
            "'s.x', 'A', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "A.s.x",
            false,
            "lower case",
        );
        bad(
            "'s.x', 'a_b', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a_b.s.x",
            false,
            "'_'",
        );
        bad(
            "'s.x.', 'a', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "a.s.x.",
            false,
            "lower case",
        );
        bad(
            "'', cast(x'ff' as text), 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL, NULL",
            "\u{fffd}.",
            false,
            "utf-8",
        );
    }
}
