//! Names of links: a code below the origin of a zone.
//!
//! Names are text and not in wire format: stores and HTTP use the text, and only the DNS side turns it into
//! labels.

use std::fmt;
use std::sync::Arc;

use super::{Code, CodeError};

/// The longest name in text form without the last dot (RFC 1035 §2.3.4: 255 bytes on the wire).
const MAX_NAME_LEN: usize = 253;
/// The longest code and the dot after it.
const CODE_ROOM: usize = 64;

/// The origin of a zone: lower case, without the last dot, at least one label, and short enough that any code
/// fits before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

/// Why a text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The root, or nothing.
    #[error("an origin needs at least one label")]
    Empty,
    /// Two dots in a row, or one at the start.
    #[error("the origin {0:?} has an empty label")]
    EmptyLabel(String),
    /// A label of more than 63 bytes (RFC 1035 §2.3.4).
    #[error("the label {0:?} of the origin is longer than 63 characters")]
    LongLabel(String),
    /// A character that is neither letter, digit, hyphen nor underscore.
    #[error("the origin {0:?} has the character {1:?}")]
    BadCharacter(String, char),
    /// No room for a code of 63 characters before it.
    #[error("the origin {0:?} is longer than {max} characters", max = MAX_NAME_LEN - CODE_ROOM)]
    TooLong(String),
}

impl Origin {
    /// Reads an origin. Drops one trailing dot, and folds letters to lower case.
    ///
    /// # Errors
    /// [`OriginError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(OriginError::Empty);
        }
        for label in name.split('.') {
            if label.is_empty() {
                return Err(OriginError::EmptyLabel(text.into()));
            }
            let bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            if let Some(c) = label.chars().find(bad) {
                return Err(OriginError::BadCharacter(text.into(), c));
            }
            if label.len() > 63 {
                return Err(OriginError::LongLabel(label.into()));
            }
        }
        if name.len() > MAX_NAME_LEN - CODE_ROOM {
            return Err(OriginError::TooLong(text.into()));
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The origin as text, in lower case, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The full name of a link, `<code>.<origin>`, in lower case and without the last dot: the key of the link in
/// every store (`miniUrl` in DynamoDB).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(Box<str>);

/// Why a text is not the name of a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkNameError {
    /// It has no dot.
    #[error("{0:?} is not a code below an origin")]
    NoOrigin(String),
    /// The first label is not a code.
    #[error("{0:?}: {1}")]
    Code(String, CodeError),
    /// The rest is not an origin.
    #[error("{0:?}: {1}")]
    Origin(String, OriginError),
}

impl LinkName {
    /// The name of the link with this code in the zone of this origin.
    pub fn new(code: &Code, origin: &Origin) -> Self {
        let (code, origin) = (code.as_str(), origin.as_str());
        let mut name = String::with_capacity(code.len() + 1 + origin.len());
        name.push_str(code);
        name.push('.');
        name.push_str(origin);
        Self(name.into())
    }

    /// Reads a name from a store.
    ///
    /// # Errors
    /// [`LinkNameError`] if the text is not a code, a dot and an origin.
    pub fn parse(text: &str) -> Result<Self, LinkNameError> {
        let (code, origin) = text
            .split_once('.')
            .ok_or_else(|| LinkNameError::NoOrigin(text.into()))?;
        let code = Code::parse(code).map_err(|e| LinkNameError::Code(text.into(), e))?;
        let origin = Origin::parse(origin).map_err(|e| LinkNameError::Origin(text.into(), e))?;
        Ok(Self::new(&code, &origin))
    }

    /// The name as text, in lower case, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code: the first label.
    pub fn code(&self) -> &str {
        self.split().0
    }

    /// The origin of the zone: everything after the first label.
    pub fn origin(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        // Both constructors put a dot after the code, and a code has none.
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn origins() {
        let ok = |text: &str| Origin::parse(text).unwrap().to_string();
        assert_eq!(ok("s.example.com"), "s.example.com");
        assert_eq!(ok("S.Example.COM."), "s.example.com");
        assert_eq!(ok("link"), "link");

        let err = |text: &str| Origin::parse(text).unwrap_err();
        assert_eq!(err(""), OriginError::Empty);
        assert_eq!(err("."), OriginError::Empty);
        assert_eq!(err("a..b"), OriginError::EmptyLabel("a..b".into()));
        assert_eq!(err(".a"), OriginError::EmptyLabel(".a".into()));
        assert_eq!(err("a b"), OriginError::BadCharacter("a b".into(), ' '));
        assert_eq!(err(&"a".repeat(64)), OriginError::LongLabel("a".repeat(64)));
        let long = ["abcdefgh"; 22].join(".");
        assert_eq!(err(&long), OriginError::TooLong(long.clone()));
    }

    #[test]
    fn names_split_into_code_and_origin() {
        let name = LinkName::parse("GH7K2M9X.s.example.com.").unwrap();
        assert_eq!(name.as_str(), "gh7k2m9x.s.example.com");
        assert_eq!(name.code(), "gh7k2m9x");
        assert_eq!(name.origin(), "s.example.com");
        assert!(LinkName::parse("gh7k2m9x").is_err());
        assert!(LinkName::parse("gh_7.s.example.com").is_err());
        assert!(LinkName::parse("gh7k2m9x.").is_err());
    }

    proptest! {
        #[test]
        fn every_name_fits_the_wire(
            code in "[a-z0-9]{1,63}",
            origin in "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,7}",
        ) {
            let origin = Origin::parse(&origin).unwrap();
            let name = LinkName::new(&Code::parse(&code).unwrap(), &origin);
            prop_assert!(name.as_str().len() <= MAX_NAME_LEN);
            prop_assert_eq!(LinkName::parse(name.as_str()).unwrap(), name);
        }

        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = LinkName::parse(&text);
        }
    }
}
