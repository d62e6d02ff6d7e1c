//! From texts to the parts that the text index knows.
//!
//! The parts of a text are all that three characters in a row of its lower case can be, each as a number. Of three ASCII
//! characters the number is exact; of others it is a hash, so a link may be found that does not have the part. Of two
//! characters that are not both ASCII there is a part as well: in many scripts, two characters are a word.
//!
//! The lower case is that of Rust, as in [`SearchText::is_in`](crate::store::SearchText::is_in), so the index agrees with
//! it about all characters.

use std::collections::BTreeSet;

use crate::store::SearchText;

/// How many parts of a text are looked for at most.
const MAX_WANTED: usize = 16;
/// From here on a number is a hash. Numbers of ASCII characters have 21 bits.
const HASHED: u32 = 1 << 30;

/// Adds the parts of a text of a link.
pub(super) fn add(text: &str, parts: &mut BTreeSet<i32>) {
    let chars: Vec<char> = text.to_lowercase().chars().collect();
    parts.extend(chars.windows(3).map(number));
    let pairs = chars.windows(2).filter(|pair| !is_ascii(pair));
    parts.extend(pairs.map(number));
}

/// The parts that each link has that contains a text; none if the index does not know any of them.
pub(super) fn wanted(text: &SearchText) -> Option<Vec<i32>> {
    let chars: Vec<char> = text.as_str().chars().collect();
    let all: Vec<i32> = match chars.len() {
        0..=1 => return None,
        2 if is_ascii(&chars) => return None,
        2 => vec![number(&chars)],
        _ => chars.windows(3).map(number).collect(),
    };
    let step = all.len().div_ceil(MAX_WANTED).max(1);
    // The last part as well: with a larger step it may be the only one that reaches the end.
    let chosen = all.iter().step_by(step).chain(all.last());
    let chosen: BTreeSet<i32> = chosen.copied().collect();
    Some(chosen.into_iter().collect())
}

fn is_ascii(chars: &[char]) -> bool {
    chars.iter().all(char::is_ascii)
}

fn number(chars: &[char]) -> i32 {
    let number = match is_ascii(chars) {
        true => chars.iter().fold(0, |sum, c| sum << 7 | u32::from(*c)),
        // FNV-1a: it stays the same in all versions.
        false => {
            let hash = chars.iter().fold(0x811c_9dc5, |hash, c| {
                (hash ^ u32::from(*c)).wrapping_mul(0x0100_0193)
            });
            HASHED | hash & (HASHED - 1)
        }
    };
    // At most 31 bits.
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_all_parts_of_each_text_that_it_contains() {
        let text = "Größe 東京都 ΟΔΟΣ İx https://Example.net/A?b=1&c=%25";
        let mut parts = BTreeSet::new();
        add(text, &mut parts);
        let lower: Vec<char> = text.to_lowercase().chars().collect();
        let mut looked_at = 0;
        for from in 0..lower.len() {
            for to in from + 1..=lower.len() {
                let part: String = lower[from..to].iter().collect();
                let text = SearchText::parse(&part).unwrap();
                // Text whose lower case is another one, such as a Σ at an end, is not in the link.
                if !text.is_in(&lower.iter().collect::<String>()) {
                    continue;
                }
                if let Some(wanted) = wanted(&text) {
                    assert!(wanted.len() <= MAX_WANTED + 1);
                    assert!(wanted.iter().all(|w| parts.contains(w)), "{part:?}");
                    looked_at += 1;
                }
            }
        }
        assert!(looked_at > 500, "{looked_at}");
    }

    #[test]
    fn short_texts_are_known_if_they_are_not_ascii() {
        let check = |text: &str, parts: Option<usize>| {
            let text = SearchText::parse(text).unwrap();
            assert_eq!(wanted(&text).map(|wanted| wanted.len()), parts, "{text:?}");
        };
        check("a", None);
        check("京", None);
        check("ab", None);
        check("東京", Some(1));
        check("aé", Some(1));
        check("abc", Some(1));
        check("abcd", Some(2));
    }

    /// They are in databases, and other versions compute them as well.
    #[test]
    fn the_numbers_stay_the_same() {
        let check = |text: &str, expected: &[i32]| {
            let mut parts = BTreeSet::new();
            add(text, &mut parts);
            assert_eq!(parts.into_iter().collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("ABC", &[1_601_891]);
        check("ab", &[]);
    }
}
