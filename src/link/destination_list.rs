//! Destinations as text: as people type them, and as tables have them in one field.
//!
//! ```text
//!   https://one.example/ 10 3 https://two.example/ 10 1 https://later.example/ 20
//! ```
//!
//! Blanks and line ends separate the parts, none of which has any. After a URL come its priority and its weight, or the priority
//! alone, or neither. On the command line commas separate them: `https://one.example/,10,3`.
//!
//! The URLs are not checked here: the API does that.

use super::{Rank, RankedUrl};

/// Why a text is no list of destinations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationListError {
    /// The text begins with a number.
    #[error(
        "the number {0} follows no URL; write a URL, its priority and its weight, such as https://example.net/ 10 1"
    )]
    NoUrl(String),
    /// A number beyond 16 bits.
    #[error("the number {0} is above 65535, which priorities and weights are not")]
    Large(String),
    /// More than two numbers follow a URL.
    #[error("the number {0} is one too many; a URL has a priority and a weight")]
    Many(String),
}

/// Reads a list, which may be empty.
///
/// # Errors
/// [`DestinationListError`] says which rule the text breaks.
pub fn read_list(text: &str) -> Result<Vec<RankedUrl>, DestinationListError> {
    let mut list: Vec<RankedUrl> = Vec::new();
    let mut numbers = 0;
    for word in text.split_whitespace() {
        if !is_number(word) {
            list.push(RankedUrl::usual(word));
            numbers = 0;
            continue;
        }
        let last = list.last_mut();
        let last = last.ok_or_else(|| DestinationListError::NoUrl(word.into()))?;
        let number = number(word)?;
        match numbers {
            0 => last.priority = number,
            1 => last.weight = number,
            _ => return Err(DestinationListError::Many(word.into())),
        }
        numbers += 1;
    }
    Ok(list)
}

/// A list as [`read_list`] reads it, with one separator between the destinations.
pub fn list_text(list: &[RankedUrl], separator: &str) -> String {
    let one = |one: &RankedUrl| format!("{} {} {}", one.url, one.priority, one.weight);
    list.iter().map(one).collect::<Vec<_>>().join(separator)
}

impl RankedUrl {
    /// A URL with the usual rank.
    fn usual(url: &str) -> Self {
        let Rank { priority, weight } = Rank::default();
        Self {
            url: url.into(),
            priority,
            weight,
        }
    }

    /// Reads the value of an option: `URL`, `URL,PRIORITY` or `URL,PRIORITY,WEIGHT`. A number after the last comma is no part
    /// of the URL; a URL that ends in a comma and a number needs both numbers behind it.
    ///
    /// # Errors
    /// A number is above 65535.
    pub fn parse_option(text: &str) -> Result<Self, DestinationListError> {
        let last = |text: &str| -> Option<(String, String)> {
            let (rest, last) = text.rsplit_once(',')?;
            is_number(last).then(|| (rest.to_owned(), last.to_owned()))
        };
        let Some((rest, second)) = last(text) else {
            return Ok(Self::usual(text));
        };
        let usual = Self::usual(&rest);
        match last(&rest) {
            Some((url, first)) => Ok(Self {
                url: url.into(),
                priority: number(&first)?,
                weight: number(&second)?,
            }),
            None => Ok(Self {
                priority: number(&second)?,
                ..usual
            }),
        }
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(word: &str) -> Result<u16, DestinationListError> {
    word.parse()
        .map_err(|_| DestinationListError::Large(word.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[RankedUrl]) -> String {
        list_text(list, "; ")
    }

    #[test]
    fn lists_are_read_as_they_are_written() {
        let check = |text: &str, expected: &str| {
            let list = read_list(text).unwrap();
            assert_eq!(shown(&list), expected, "{text:?}");
            assert_eq!(read_list(&list_text(&list, "\n")), Ok(list));
        };
        check("", "");
        check(" \r\n", "");
        check("https://a/", "https://a/ 10 1");
        check(
            "https://a/ 5\r\nhttps://b/ 0 65535",
            "https://a/ 5 1; https://b/ 0 65535",
        );
        check("a 1 2 b c 3", "a 1 2; b 10 1; c 3 1");
    }

    #[test]
    fn lists_that_are_refused_say_why() {
        let check = |text: &str, expected: &str| {
            let error = read_list(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check("7 https://a/", "7 follows no URL");
        check("https://a/ 65536", "65536 is above");
        check("https://a/ 1 2 3", "3 is one too many");
    }

    #[test]
    fn options_have_commas() {
        let check = |text: &str, expected: &str| {
            let read = RankedUrl::parse_option(text).unwrap();
            assert_eq!(shown(&[read]), expected, "{text:?}");
        };
        check("https://a/", "https://a/ 10 1");
        check("https://a/x,y", "https://a/x,y 10 1");
        check("https://a/,20", "https://a/ 20 1");
        check("https://a/,20,0", "https://a/ 20 0");
        check("https://a/x,7,20,0", "https://a/x,7 20 0");
        assert!(RankedUrl::parse_option("https://a/,65536").is_err());
    }
}
