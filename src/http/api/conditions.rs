//! `If-Match` and `If-None-Match` (RFC 9110 §13.1): a link's version as its entity tag.

use axum::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::http::problem::{Kind, Problem};
use crate::link::{Link, Version};

/// The entity tags in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: any version.
    Any,
    /// One of these.
    List(Vec<Tag>),
}

/// An entity tag that could be that of a version. Others match nothing and are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    version: Version,
    weak: bool,
}

/// Why a header is no list of entity tags. The texts are parts of the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TagError {
    #[error("it has characters other than visible ASCII")]
    NotAscii,
    #[error(
        "it is empty; send * or an entity tag such as \"1700000000000000\", or leave the header out"
    )]
    Empty,
    #[error("* stands alone, for any version; it cannot be one of a list")]
    AnyInList,
    #[error("the weak tag {0} begins with a small w; it is written W/\"…\"")]
    SmallW(String),
    #[error(
        "{0} is not in double quotes; send the ETag as it came, such as \"1700000000000000\", quotes included"
    )]
    NoQuotes(String),
    #[error("{0} has no closing double quote")]
    NoEnd(String),
    #[error("the entity tag {0} has a blank within its quotes")]
    Blank(String),
    #[error("there is no comma before {0}; entity tags in a list are separated by commas")]
    NoComma(String),
}

/// How much of a header a message shows, in characters.
const MAX_SHOWN: usize = 40;

impl Tags {
    /// The tags of `If-Match`, if there is one.
    pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, IF_MATCH).map_err(|error| malformed("If-Match", &error))
    }

    /// The tags of `If-None-Match`, if there is one.
    pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, IF_NONE_MATCH).map_err(|error| malformed("If-None-Match", &error))
    }

    fn read(headers: &HeaderMap, name: HeaderName) -> Result<Option<Self>, TagError> {
        // RFC 9110 §5.3: several field lines form one list.
        let mut lines = Vec::new();
        for value in headers.get_all(name) {
            lines.push(value.to_str().map_err(|_| TagError::NotAscii)?);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let text = lines.join(",");
        if text.trim() == "*" {
            return Ok(Some(Self::Any));
        }
        parse_list(&text).map(|tags| Some(Self::List(tags)))
    }

    /// RFC 9110 §13.1.2: the weak comparison, where `W/` makes no difference.
    pub(super) fn matches_weakly(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.version == version),
        }
    }

    /// RFC 9110 §13.1.1: the versions that the strong comparison can match; none for `*`.
    pub(super) fn strong(&self) -> Option<Vec<Version>> {
        match self {
            Self::Any => None,
            Self::List(tags) => {
                let strong = tags.iter().filter(|tag| !tag.weak);
                Some(strong.map(|tag| tag.version).collect())
            }
        }
    }

    /// Why `If-Match` does not match this version of a link, and what to do.
    pub(super) fn why_not(&self, link: &Link) -> String {
        let (name, version) = (link.name.as_str(), link.version);
        let is_weak = match self {
            Self::Any => false,
            Self::List(tags) => tags.iter().any(|tag| tag.weak && tag.version == version),
        };
        match is_weak {
            true => format!(
                "If-Match has W/\"{version}\", a weak entity tag, which never matches there (RFC 9110 §13.1.1). \
                 The link {name} has that version: send \"{version}\", without W/"
            ),
            false => format!(
                "the link {name} has another version than If-Match names: its ETag is \"{version}\" now, and it is \
                 unchanged. Read the link again, and send that ETag if the change still makes sense"
            ),
        }
    }
}

fn malformed(header: &'static str, error: &TagError) -> Problem {
    let detail = format!("{header} is neither * nor a list of entity tags: {error}");
    Problem::new(Kind::InvalidCondition, detail).of(header)
}

/// The first element of a list, for a message.
fn shown(rest: &str) -> String {
    let element = rest.split(',').next().unwrap_or_default().trim();
    match element.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &element[..end]),
        None => element.to_owned(),
    }
}

/// `1#entity-tag`: empty elements are allowed (RFC 9110 §5.6.1.2), but one element must not be empty.
fn parse_list(text: &str) -> Result<Vec<Tag>, TagError> {
    let mut tags = Vec::new();
    let mut any = false;
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        any = true;
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let Some(quoted) = quoted.strip_prefix('"') else {
            return Err(match rest {
                _ if rest.starts_with('*') => TagError::AnyInList,
                _ if rest.starts_with("w/\"") => TagError::SmallW(shown(rest)),
                _ => TagError::NoQuotes(shown(rest)),
            });
        };
        // An opaque tag may have commas in it, but no quotes and no blanks (RFC 9110 §8.8.3).
        let Some((opaque, behind)) = quoted.split_once('"') else {
            return Err(TagError::NoEnd(shown(rest)));
        };
        if opaque.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(TagError::Blank(shown(rest)));
        }
        if let Some(version) = version_of(opaque) {
            tags.push(Tag { version, weak });
        }
        let behind = behind.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(',') {
            return Err(TagError::NoComma(shown(behind)));
        }
        rest = behind.trim_start_matches([' ', '\t', ',']);
    }
    if any { Ok(tags) } else { Err(TagError::Empty) }
}

/// The version with this tag. Entity tags are compared by character, so `007` is not `7`.
fn version_of(opaque: &str) -> Option<Version> {
    let version = opaque.parse().map(Version).ok()?;
    (version.to_string() == opaque).then_some(version)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Tags>, TagError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        Tags::read(&headers, IF_MATCH)
    }

    #[test]
    fn rfc_9110_8_8_3_entity_tags() {
        let check = |lines: &[&str], expected: &[(u64, bool)]| {
            let tags = expected.iter().map(|&(version, weak)| Tag {
                version: Version(version),
                weak,
            });
            let expected = Ok(Some(Tags::List(tags.collect())));
            assert_eq!(read(lines), expected, "{lines:?}");
        };
        check(&["\"7\""], &[(7, false)]);
        check(&["W/\"7\""], &[(7, true)]);
        check(&[" \"7\" , W/\"8\",\"x,y\""], &[(7, false), (8, true)]);
        check(&["\"7\"", "\"8\""], &[(7, false), (8, false)]);
        check(&[", \"7\",,"], &[(7, false)]);
        check(&["\"007\", \"+7\", \"\", \"99999999999999999999\""], &[]);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(Tags::Any)));
        assert_eq!(read(&[" * "]), Ok(Some(Tags::Any)));
    }

    #[test]
    fn malformed_lists_and_why() {
        let check = |lines: &[&str], expected: &str| {
            let error = read(lines).unwrap_err().to_string();
            assert!(error.contains(expected), "{lines:?}: {error}");
        };
        check(&["7"], "7 is not in double quotes");
        check(&["W/7"], "W/7 is not in double quotes");
        check(&["7\""], "7\" is not in double quotes");
        check(&[&"7".repeat(100)], "7777… is not in double quotes");
        check(&[""], "it is empty");
        check(&[","], "it is empty");
        check(&["\"7"], "\"7 has no closing double quote");
        check(&["\"7\" \"8\""], "no comma before \"8\"");
        check(&["\"7\"8"], "no comma before 8");
        check(&["w/\"7\""], "w/\"7\" begins with a small w");
        check(&["*, \"7\""], "* stands alone");
        check(&["\"7\", *"], "* stands alone");
        check(&["*", "*"], "* stands alone");
        check(&["\"a b\""], "\"a b\" has a blank");
    }

    #[test]
    fn rfc_9110_13_1_comparisons() {
        let tags = read(&["\"7\", W/\"8\""]).unwrap().unwrap();
        assert_eq!(tags.strong(), Some(vec![Version(7)]));
        assert!(tags.matches_weakly(Version(7)));
        assert!(tags.matches_weakly(Version(8)));
        assert!(!tags.matches_weakly(Version(9)));
        assert_eq!(Tags::Any.strong(), None);
        assert!(Tags::Any.matches_weakly(Version(9)));
    }
}
