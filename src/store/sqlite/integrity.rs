//! A check of the whole file; see [`crate::store::Store::check_integrity`].

use rusqlite::Connection;

use super::audit;
use crate::base::text::one_line;
use crate::store::StoreError;

/// How many faults SQLite reports before it gives up.
const MAX_FAULTS: usize = 100;

/// The tags of a link as rows, as the triggers of the table read them.
macro_rules! tags_of {
    ($tags:literal) => {
        concat!(
            "json_each(CASE WHEN json_valid(",
            $tags,
            ") THEN ",
            $tags,
            " ELSE '[]' END)"
        )
    };
}

/// What is wrong if a count is not 0. The tables behind `link_tag` and `link_host` are kept by triggers. The text index
/// lacks only links that are noted in `link_todo`.
const COUNTS: &[(&str, &str)] = &[
    (
        "tags of links are missing in the index of tags",
        concat!(
            "SELECT count(*) FROM link, ",
            tags_of!("link.tags"),
            " AS tag WHERE tag.type = 'text' AND NOT EXISTS (SELECT 1 FROM link_tag WHERE origin = link.origin \
             AND tag = tag.value AND created_at = link.created_at AND code = link.code)"
        ),
    ),
    (
        "entries of the index of tags belong to no link",
        concat!(
            "SELECT count(*) FROM link_tag WHERE NOT EXISTS (SELECT 1 FROM link, ",
            tags_of!("link.tags"),
            " AS tag WHERE link.origin = link_tag.origin AND link.code = link_tag.code \
             AND link.created_at = link_tag.created_at AND tag.value = link_tag.tag)"
        ),
    ),
    (
        "links are missing in the index of hosts",
        "SELECT count(*) FROM link WHERE NOT EXISTS (SELECT 1 FROM link_host WHERE origin = link.origin \
         AND host = link.host AND created_at = link.created_at AND code = link.code)",
    ),
    (
        "entries of the index of hosts belong to no link",
        "SELECT count(*) FROM link_host WHERE NOT EXISTS (SELECT 1 FROM link WHERE origin = link_host.origin \
         AND code = link_host.code AND created_at = link_host.created_at AND host = link_host.host)",
    ),
    (
        "links have no number",
        "SELECT count(*) FROM link WHERE id IS NULL",
    ),
    (
        "links are missing in the index of texts",
        "SELECT count(*) FROM link WHERE id NOT IN (SELECT id FROM link_text_docsize) \
         AND id NOT IN (SELECT id FROM link_todo)",
    ),
    (
        "entries of the index of texts belong to no link",
        "SELECT count(*) FROM link_text_docsize WHERE id NOT IN (SELECT id FROM link WHERE id IS NOT NULL) \
         AND id NOT IN (SELECT id FROM link_todo)",
    ),
];

/// What is wrong with the file, in one line each.
pub(super) fn faults(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut faults = Vec::new();
    let mut check = conn.prepare(&format!("PRAGMA integrity_check({MAX_FAULTS})"))?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        if text != "ok" {
            faults.push(one_line(&text));
        }
    }
    for (what, count) in COUNTS {
        let count: i64 = conn.query_row(count, [], |row| row.get(0))?;
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    }
    if let Some((number, first)) = audit::damaged(conn)? {
        let first = one_line(&first);
        faults.push(format!(
            "{number} entries of the audit log cannot be read; {first}"
        ));
    }
    Ok(faults)
}
