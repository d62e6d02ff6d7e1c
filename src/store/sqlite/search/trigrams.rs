//! From a text to what the text index is asked for.

/// The length of the parts that the index knows, in characters.
const LEN: usize = 3;
/// How many parts of a text are considered at most.
const MAX_PARTS: usize = 16;

/// What links that contain a text have in the index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of these parts, each a query that means nothing else in the language of FTS5.
    Parts(Vec<String>),
    /// One of the parts from the first to the second one, inclusive.
    Beginning(String, String),
    /// The index does not tell.
    Unknown,
}

impl Wanted {
    /// What links have that contain a text in lower case.
    pub(super) fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        if chars.len() < LEN {
            return match !chars.is_empty() && chars.iter().all(|c| is_plain(*c)) {
                true => Self::Beginning(text.into(), format!("{text}\u{10ffff}")),
                false => Self::Unknown,
            };
        }
        let parts: Vec<&[char]> = chars
            .windows(LEN)
            .filter(|part| part.iter().all(|c| is_plain(*c)))
            .collect();
        let step = parts.len().div_ceil(MAX_PARTS).max(1);
        // The last part as well: with a larger step it may be the only one that reaches the end.
        let chosen = parts.iter().step_by(step).chain(parts.last());
        let mut quoted: Vec<String> = chosen.map(|part| quoted(part)).collect();
        quoted.sort_unstable();
        quoted.dedup();
        match quoted.is_empty() {
            true => Self::Unknown,
            false => Self::Parts(quoted),
        }
    }
}

fn quoted(part: &[char]) -> String {
    let part: String = part.iter().collect();
    format!("\"{}\"", part.replace('"', "\"\""))
}

/// Whether Rust and FTS5 agree about the lower case of a character. Of the others, one letter is several in one of them, or
/// FTS5 does not know the letter.
fn is_plain(c: char) -> bool {
    let has_one_case = || c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
    let is_lower = || c.to_lowercase().eq([c]) && c.to_uppercase().count() == 1;
    c.is_ascii() || has_one_case() || is_lower() && is_in_old_script(c)
}

/// Whether FTS5 knows the letters of this script: those of European languages, and of Vietnamese.
fn is_in_old_script(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{17f}'
            | '\u{1a0}'..='\u{1b0}'
            | '\u{200}'..='\u{21f}'
            | '\u{3ac}'..='\u{3ce}'
            | '\u{430}'..='\u{4ff}'
            | '\u{561}'..='\u{586}'
            | '\u{1e00}'..='\u{1eff}'
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn texts_become_literal_parts() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<String> = expected.iter().copied().map(Into::into).collect();
            assert_eq!(Wanted::of(text), Wanted::Parts(expected), "{text:?}");
        };
        check("abc", &["\"abc\""]);
        check("abcd", &["\"abc\"", "\"bcd\""]);
        check("a\"*b", &["\"\"\"*b\"", "\"a\"\"*\""]);
        check("東京都", &["\"東京都\""]);
        let Wanted::Parts(parts) = Wanted::of(&"abcdefghijklmnopqrstuvwxyz".repeat(3)) else {
            panic!("no parts");
        };
        assert!(parts.len() <= MAX_PARTS + 1, "{parts:?}");
    }

    #[test]
    fn short_texts_begin_parts() {
        let check = |text: &str, last: &str| {
            let expected = Wanted::Beginning(text.into(), last.into());
            assert_eq!(Wanted::of(text), expected, "{text:?}");
        };
        check("ab", "ab\u{10ffff}");
        check("\"", "\"\u{10ffff}");
        check("京", "京\u{10ffff}");
        for text in ["", "ß", "aßb"] {
            // The capital of ß has two characters.
            assert_eq!(Wanted::of(text), Wanted::Unknown, "{text:?}");
        }
    }

    /// What Rust finds without regard to case, the index has to find as well.
    #[test]
    fn the_index_agrees_about_the_case_of_plain_characters() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE VIRTUAL TABLE t USING fts5 (text, tokenize = 'trigram')")
            .unwrap();
        let mut put = conn.prepare("INSERT INTO t VALUES (?1)").unwrap();
        let mut looked_at = 0;
        let lower_of = |c: char| {
            c.to_lowercase()
                .next()
                .filter(|_| c.to_lowercase().count() == 1)
        };
        for c in (' '..=char::MAX).filter(|c| !c.is_control()) {
            let Some(lower) = lower_of(c).filter(|lower| *lower != c && is_plain(*lower)) else {
                continue;
            };
            put.execute([c.to_string().repeat(3)]).unwrap();
            let query = format!("\"{}\"", lower.to_string().repeat(3));
            let found = conn.query_row(
                "SELECT count(*) FROM t WHERE t MATCH ?1 AND rowid = last_insert_rowid()",
                [query],
                |row| row.get::<_, i64>(0),
            );
            assert_eq!(found.unwrap(), 1, "{c:?}");
            looked_at += 1;
        }
        assert!(looked_at > 300, "{looked_at}");
    }
}
