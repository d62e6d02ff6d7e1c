//! `If-Match` and `If-None-Match` (RFC 9110 §13.1): a link's version as its entity tag.

use axum::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::http::problem::{Kind, Problem};
use crate::link::Version;

/// What a header's list of entity tags asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    List(Vec<Tag>),
}

/// One entity tag that could be a version's; others match nothing and are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    version: Version,
    weak: bool,
}

impl Tags {
    /// The tags of `If-Match`, if there is one.
    pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, IF_MATCH).map_err(|()| malformed("If-Match"))
    }

    /// The tags of `If-None-Match`, if there is one.
    pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, IF_NONE_MATCH).map_err(|()| malformed("If-None-Match"))
    }

    fn read(headers: &HeaderMap, name: HeaderName) -> Result<Option<Self>, ()> {
        // RFC 9110 §5.3: several lines of a list are one list.
        let mut lines = Vec::new();
        for value in headers.get_all(name) {
            lines.push(value.to_str().map_err(|_| ())?);
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

    /// RFC 9110 §13.1.1: the versions that the strong comparison can match; none for "any".
    pub(super) fn strong(&self) -> Option<Vec<Version>> {
        match self {
            Self::Any => None,
            Self::List(tags) => {
                let strong = tags.iter().filter(|tag| !tag.weak);
                Some(strong.map(|tag| tag.version).collect())
            }
        }
    }
}

fn malformed(header: &'static str) -> Problem {
    let detail = "the header is neither * nor a list of entity tags such as \"1700000000000000\"";
    Problem::new(Kind::InvalidCondition, detail).of(header)
}

/// `1#entity-tag`; empty elements are allowed (RFC 9110 §5.6.1.2), but not only they.
fn parse_list(text: &str) -> Result<Vec<Tag>, ()> {
    let mut tags = Vec::new();
    let mut any = false;
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        any = true;
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        // An opaque tag may have commas in it, but no quotes and no blanks (RFC 9110 §8.8.3).
        let (opaque, behind) = quoted
            .strip_prefix('"')
            .and_then(|t| t.split_once('"'))
            .ok_or(())?;
        if opaque.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(());
        }
        if let Some(version) = version_of(opaque) {
            tags.push(Tag { version, weak });
        }
        let behind = behind.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(',') {
            return Err(());
        }
        rest = behind.trim_start_matches([' ', '\t', ',']);
    }
    if any { Ok(tags) } else { Err(()) }
}

/// The version whose tag this is: entity tags are compared by character, so `007` is not `7`.
fn version_of(opaque: &str) -> Option<Version> {
    let version = opaque.parse().map(Version).ok()?;
    (version.to_string() == opaque).then_some(version)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Tags>, ()> {
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
    fn malformed_lists() {
        for lines in [
            &["7"][..],
            &[""],
            &[","],
            &["\"7"],
            &["7\""],
            &["\"7\" \"8\""],
            &["\"7\"8"],
            &["w/\"7\""],
            &["W/7"],
            &["*, \"7\""],
            &["*", "*"],
            &["\"a b\""],
        ] {
            assert_eq!(read(lines), Err(()), "{lines:?}");
        }
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
