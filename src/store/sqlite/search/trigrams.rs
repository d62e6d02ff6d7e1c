//! From a text to a query of the text index.

/// The length of the parts that the index knows, in characters.
const LEN: usize = 3;
/// How many parts of a text are looked up at most. More of them hardly leave fewer links, and each costs time.
const MAX_PARTS: usize = 12;

/// The query for links that contain all parts of a text in lower case, none of which means anything in the language of
/// FTS5. None if the text is too short for the index.
pub(super) fn fts_query(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let parts: Vec<&[char]> = chars
        .windows(LEN)
        .filter(|part| part.iter().all(|c| is_plain(*c)))
        .collect();
    let step = parts.len().div_ceil(MAX_PARTS).max(1);
    // The last part as well: with a larger step it may be the only one that reaches the end.
    let chosen = parts.iter().step_by(step).chain(parts.last());
    let quoted = chosen.map(|part| {
        let part: String = part.iter().collect();
        format!("\"{}\"", part.replace('"', "\"\""))
    });
    let mut quoted: Vec<String> = quoted.collect();
    quoted.dedup();
    (!quoted.is_empty()).then(|| quoted.join(" AND "))
}

/// Whether Rust and FTS5 agree about the lower case of a character. Of the others, one letter is several in one of them.
fn is_plain(c: char) -> bool {
    c.is_ascii() || (c.to_lowercase().eq([c]) && c.to_uppercase().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_literal_parts() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(fts_query(text).as_deref(), expected, "{text:?}");
        };
        check("", None);
        check("ab", None);
        check("abc", Some("\"abc\""));
        check("abcd", Some("\"abc\" AND \"bcd\""));
        check("a\"*b", Some("\"a\"\"*\" AND \"\"\"*b\""));
        check("東京都", Some("\"東京都\""));
        // Its capital has two characters.
        check("aßb", None);
        let long = fts_query(&"abcdefghijklmnopqrstuvwxyz".repeat(3)).unwrap();
        assert!(long.matches(" AND ").count() <= MAX_PARTS, "{long}");
    }
}
