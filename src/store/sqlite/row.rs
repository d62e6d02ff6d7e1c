//! Rows of the table `link`, and the links in them.
//!
//! The same types check rows as check what users send. A row that another program wrote, or that a disk damaged,
//! becomes a [`BadRow`] and never a link.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};

use crate::base::clock::UnixTime;
use crate::link::{
    About, Code, Link, LinkName, Note, Origin, Tags, TargetUrl, Title, Ttl, Version, Withheld,
};
use crate::store::StoreError;

/// A `SELECT` of whole links, for [`decode`].
macro_rules! select_links {
    ($($rest:literal),+) => {
        concat!(
            "SELECT origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, \
             withheld FROM link ",
            $($rest),+
        )
    };
}
pub(super) use select_links;

/// The place of the column `withheld` among those of [`select_links`].
pub(super) const WITHHELD: usize = 11;

/// Writes a link over any row of its name.
///
/// Not `INSERT OR REPLACE`: that removes the former row without its triggers, and the indexes would keep it.
pub(super) const PUT: &str = "INSERT INTO link \
    (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld, id) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, (SELECT coalesce(max(id), 0) + 1 FROM link)) \
    ON CONFLICT (origin, code) DO UPDATE SET url = ?3, created_at = ?4, created_by = ?5, expires_at = ?6, \
    ttl = ?7, version = ?8, title = ?9, tags = ?10, note = ?11, withheld = ?12";

/// A row that is not a valid link.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// The row's key, for messages.
    pub(super) key: String,
    /// The row's key, if it is valid.
    pub(super) name: Option<LinkName>,
    /// What is wrong with the row.
    pub(super) reason: String,
}

impl From<BadRow> for StoreError {
    fn from(bad: BadRow) -> Self {
        Self::Corrupt {
            name: bad.key,
            reason: bad.reason,
        }
    }
}

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
    ))?;
    Ok(())
}

/// A number as SQLite stores it: 63 bits. A time exceeds that only if the clock is wrong by hundreds of thousands
/// of years; then nothing is written.
pub(super) fn integer(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Unavailable(format!("{number} is too large for it")))
}

fn name(row: &Row<'_>) -> Result<LinkName, String> {
    let origin: String = column(row, 0)?;
    let code: String = column(row, 1)?;
    let parsed_origin = Origin::parse(&origin).map_err(|e| e.to_string())?;
    let parsed_code = Code::parse(&code).map_err(|e| e.to_string())?;
    // Parsing folds the case. A key in upper case would never be found.
    if parsed_origin.as_str() != origin || parsed_code.as_str() != code {
        return Err("the key is not in lower case".into());
    }
    Ok(LinkName::new(&parsed_code, &parsed_origin))
}

fn values(row: &Row<'_>, name: &LinkName) -> Result<Link, String> {
    let url: String = column(row, 2)?;
    let created_by: String = column(row, 4)?;
    let ttl = optional_number(row, 6)?
        .map(|secs| Ttl::from_secs(secs).ok_or_else(|| format!("the TTL {secs} is too long")));
    Ok(Link {
        name: name.clone(),
        target: TargetUrl::parse_stored(&url).map_err(|e| format!("{url:?}: {e}"))?,
        created_at: UnixTime(number(row, 3)?),
        created_by: created_by.into(),
        expires_at: optional_number(row, 5)?.map(UnixTime),
        ttl: ttl.transpose()?,
        about: about(row),
        withheld: withheld(row)?,
        version: Version(number(row, 7)?),
    })
}

/// The texts about a link. They decide no answer, so a text that another program has written wrongly counts as none,
/// and the link works all the same.
fn about(row: &Row<'_>) -> About {
    let text = |index| {
        let value = row.get_ref(index).ok();
        value.and_then(|value| value.as_str_or_null().ok().flatten())
    };
    let title = text(8).and_then(|text| Title::parse(text).ok());
    let tags = text(9).and_then(read_tags).unwrap_or_default();
    let note = text(10).and_then(|text| Note::parse(text).ok());
    About::new(title, tags, note)
}

/// Tags as a JSON array, which SQLite's own functions can read; none if there are none.
fn tags_text(tags: &Tags) -> Option<String> {
    // An array of strings always serialises.
    let text = || serde_json::to_string(&tags.iter().collect::<Vec<_>>()).unwrap_or_default();
    (!tags.is_empty()).then(text)
}

/// Why a link is withheld, as JSON.
fn withheld_text(withheld: Option<&Withheld>) -> Option<String> {
    // Strings always serialise. Otherwise the text would be no JSON, and nobody would get the destination.
    withheld.map(|withheld| serde_json::to_string(withheld).unwrap_or_default())
}

/// Decides an answer, so it must be valid: if it were ignored, everybody would get the destination.
fn withheld(row: &Row<'_>) -> Result<Option<Box<Withheld>>, String> {
    let text: Option<String> = column(row, WITHHELD)?;
    let withheld = text.map(|text| serde_json::from_str(&text));
    withheld
        .transpose()
        .map_err(|error| format!("withheld: {error}"))
}

fn read_tags(text: &str) -> Option<Tags> {
    let tags: Vec<String> = serde_json::from_str(text).ok()?;
    Tags::parse(tags.iter().map(String::as_str)).ok()
}

fn column<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, String> {
    row.get(index).map_err(|e| e.to_string())
}

fn number(row: &Row<'_>, index: usize) -> Result<u64, String> {
    optional_number(row, index)?.ok_or_else(|| format!("column {index} is NULL"))
}

fn optional_number(row: &Row<'_>, index: usize) -> Result<Option<u64>, String> {
    column::<Option<i64>>(row, index)?
        .map(|n| u64::try_from(n).map_err(|_| format!("column {index} is negative: {n}")))
        .transpose()
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
            "'s.x', 'a', 'http://y/', 1, 'me', NULL, NULL, 7, NULL, NULL, NULL, NULL",
            Ok(7),
        );
        check(
            "'s.x', 'a', 'http://y/', 1, '', 2, 604800, 8, 't', '[\"a\"]', 'n', '{\"kind\":\"abuse\",\"reason\":\"x\"}'",
            Ok(8),
        );
        let bad = |values, key, named, reason| check(values, Err((key, named, reason)));
        bad(
            "'s.x', 'a', 'ftp://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "ftp",
        );
        bad(
            "'s.x', 'a', 'http://y/', -1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "-1",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 604801, 4, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "604801",
        );
        // Not as if it were not withheld.
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, ''",
            "a.s.x",
            true,
            "withheld",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 2, 3, NULL, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "NULL",
        );
        bad(
            "'s.x', 'a', 'http://y/', 1, '', 'z', 3, 4, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "Text",
        );
        bad(
            "'s.x', 'a', cast(x'ff' as text), 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "a.s.x",
            true,
            "utf-8",
        );
        bad(
            "'s.x', 'A', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "A.s.x",
            false,
            "lower case",
        );
        bad(
            "'s.x', 'a_b', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "a_b.s.x",
            false,
            "'_'",
        );
        bad(
            "'s.x.', 'a', 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "a.s.x.",
            false,
            "lower case",
        );
        bad(
            "'', cast(x'ff' as text), 'http://y/', 1, '', 2, 3, 4, NULL, NULL, NULL, NULL",
            "\u{fffd}.",
            false,
            "utf-8",
        );
    }
}
