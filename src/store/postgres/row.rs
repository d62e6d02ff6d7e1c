//! Rows of the table `link`, and the links in them.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::link::Link;
use crate::store::columns::{self, BadRow, Columns};

/// The columns of a link for [`decode`]; `l` is the table.
macro_rules! link_columns {
    () => {
        "l.origin, l.code, l.url, l.created_at, l.created_by, l.expires_at, l.ttl, l.version, l.title, l.tags::text, \
         l.note, l.withheld, l.destinations"
    };
}
pub(super) use link_columns;

/// The link in the columns of [`link_columns`] from `at` on.
pub(super) fn decode_at(row: &Row, at: usize) -> Result<Link, BadRow> {
    let key = || {
        let text = |index| column::<&str>(row, at + index).unwrap_or_default();
        format!("{}.{}", text(1), text(0))
    };
    let bad = |name, reason| BadRow {
        key: key(),
        name,
        reason,
    };
    let text = |index| column::<&str>(row, at + index);
    let name = text(0)
        .and_then(|origin| Ok((origin, text(1)?)))
        .and_then(|(origin, code)| columns::name(origin, code))
        .map_err(|reason| bad(None, reason))?;
    let columns = || {
        Ok(Columns {
            url: text(2)?,
            created_at: column(row, at + 3)?,
            created_by: text(4)?,
            expires_at: column(row, at + 5)?,
            ttl: column::<Option<i32>>(row, at + 6)?.map(i64::from),
            version: column(row, at + 7)?,
            withheld: column(row, at + 11)?,
            destinations: column(row, at + 12)?,
        })
    };
    let optional = |index| column::<Option<&str>>(row, at + index).ok().flatten();
    let about = columns::about(optional(8), optional(9), optional(10));
    let link = columns().and_then(|columns| columns.link(name.clone(), about));
    link.map_err(|reason| bad(Some(name), reason))
}

/// The link in a row of [`link_columns`].
pub(super) fn decode(row: &Row) -> Result<Link, BadRow> {
    decode_at(row, 0)
}

fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, String> {
    row.try_get(index).map_err(|e| e.to_string())
}
