//! Links as a table for a terminal.
//!
//! The table is written page by page, so the first page decides the width of the column of names. A longer name on a
//! later page moves the rest of its row to the right. The URL comes last and gets the rest of the line.

use std::io;

use crate::base::text::one_line;
use crate::cli::api_client::Link;

/// The width of a terminal whose width is unknown, in characters.
const DEFAULT_WIDTH: usize = 80;
/// From this width on, in characters, the table has the column of the day on which a link was made.
const WIDE: usize = 100;
/// The blanks between two columns.
const GAP: &str = "  ";
/// The least width of the column of URLs, in characters.
const MIN_URL: usize = 12;
/// The header of the column of names.
const NAME: &str = "LINK";
/// The width of a day and of a minute, in characters: `2026-12-29` and `2026-12-29 20:25`.
const DAY: usize = 10;
const MINUTE: usize = 16;
/// What stands for an expiry that a link does not have.
const NEVER: &str = "never";
/// What stands for the expiry of a link that is withheld: it leads nowhere until then.
const WITHHELD: &str = "(withheld)";

/// A table that is being written.
pub(super) struct Table {
    /// The width of the terminal.
    width: usize,
    /// The width of the column of names, once that is known.
    names: Option<usize>,
}

impl Table {
    /// A table for the terminal of standard output.
    pub(super) fn on_stdout() -> Self {
        let size = terminal_size::terminal_size_of(io::stdout());
        Self::new(size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0)))
    }

    fn new(width: usize) -> Self {
        Self { width, names: None }
    }

    /// The rows of a page; before the first row, the header.
    pub(super) fn page(&mut self, links: &[Link]) -> String {
        if links.is_empty() {
            return String::new();
        }
        let longest = links.iter().map(|link| link.name.len()).max();
        let names = longest.unwrap_or(0).min(self.width / 2).max(NAME.len());
        let header = match self.names {
            Some(_) => String::new(),
            None => self.row(names, NAME, "MADE", "ENDS (UTC)", "LEADS TO"),
        };
        let names = *self.names.get_or_insert(names);
        let rows = links.iter().map(|link| {
            let made = day(link.created_at.as_deref().unwrap_or_default());
            let ends = match (&link.withheld, &link.expires_at) {
                (Some(_), _) => WITHHELD.into(),
                (None, Some(end)) => minute(end),
                (None, None) => NEVER.into(),
            };
            self.row(names, &link.name, &made, &ends, &one_line(&link.url))
        });
        header + &rows.collect::<String>()
    }

    fn row(&self, names: usize, name: &str, made: &str, ends: &str, url: &str) -> String {
        let mut row = format!("{name:<names$}{GAP}");
        if self.width >= WIDE {
            row += &format!("{made:<DAY$}{GAP}");
        }
        row += &format!("{ends:<MINUTE$}{GAP}");
        let room = self.width.saturating_sub(row.chars().count());
        row + &cut(url, room.max(MIN_URL)) + "\n"
    }
}

/// The day of a time of the API.
fn day(time: &str) -> String {
    one_line(time.get(..DAY).unwrap_or(time))
}

/// A time of the API without its seconds.
fn minute(time: &str) -> String {
    one_line(time.get(..MINUTE).unwrap_or(time)).replace('T', " ")
}

/// The beginning of a text that has more than `room` characters.
fn cut(text: &str, room: usize) -> String {
    match text.char_indices().nth(room) {
        None => text.into(),
        Some(_) => text.chars().take(room - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::testing::LINK;

    fn link(name: &str, url: &str, ends: Option<&str>) -> Link {
        Link {
            name: name.into(),
            url: url.into(),
            expires_at: ends.map(Into::into),
            ..serde_json::from_str(LINK).unwrap()
        }
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let long = format!("https://example.net/{}", "a".repeat(200));
        let ends = Some("2026-12-29T20:25:26Z");
        let links = [
            link("a.s.example.com", "https://example.net/", None),
            link("longer.s.example.com", &long, ends),
        ];
        assert_eq!(
            Table::new(72).page(&links),
            "LINK                  ENDS (UTC)        LEADS TO\n\
             a.s.example.com       never             https://example.net/\n\
             longer.s.example.com  2026-12-29 20:25  https://example.net/aaaaaaaaaaa…\n"
        );
        let wide = Table::new(100).page(&links);
        let rows: Vec<_> = wide.lines().collect();
        assert_eq!(
            rows[..2],
            [
                "LINK                  MADE        ENDS (UTC)        LEADS TO",
                "a.s.example.com       2026-01-01  never             https://example.net/",
            ]
        );
        assert_eq!(rows[2].chars().count(), 100);
    }

    #[test]
    fn later_pages_have_the_columns_of_the_first() {
        let mut table = Table::new(80);
        assert_eq!(table.page(&[]), "");
        assert!(table.page(&[link("a.b.c", "u", None)]).starts_with("LINK "));
        assert_eq!(
            table.page(&[link("ab.b.c", "u", None), link("a.b", "u", None)]),
            "ab.b.c  never             u\na.b    never             u\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let odd = link("a.b.c", "https://\u{1b}[2J/", Some("\u{1b}[2J"));
        let text = Table::new(80).page(&[odd]);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        // A terminal of no width at all.
        let text = Table::new(0).page(&[link("a.b.c", &"x".repeat(20), None)]);
        assert!(text.ends_with("xxxxxxxxxxx…\n"), "{text:?}");
    }
}
