//! The names of zones.

use std::fmt;
use std::sync::Arc;

use super::shown::write_label;
use super::text::{self, NameProblem};
use super::wire;

/// The name of a zone, in lower case. It may be any domain name: the root, `0/25.2.0.192.in-addr.arpa` (RFC 2317
/// §4), or a name with bytes that need escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZoneName {
    wire: Arc<[u8]>,
    text: Arc<str>,
}

/// Why a text is not the name of a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a domain name: {why}")]
pub struct ZoneNameError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: NameProblem,
}

impl ZoneName {
    /// Reads an absolute name in the form of RFC 1035 §5.1. The final dot may be missing, except for the root, `.`.
    ///
    /// # Errors
    /// [`ZoneNameError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, ZoneNameError> {
        let mut wire = text::parse_absolute(text).map_err(|why| ZoneNameError {
            text: text.into(),
            why,
        })?;
        // Lengths are below the letters of ASCII.
        wire.make_ascii_lowercase();
        let mut shown = String::with_capacity(wire.len());
        for label in wire::labels(&wire) {
            if !shown.is_empty() {
                shown.push('.');
            }
            // Writing to a String cannot fail.
            let _ = write_label(label, &mut shown);
        }
        if shown.is_empty() {
            shown.push('.');
        }
        Ok(Self {
            wire: wire.into(),
            text: shown.into(),
        })
    }

    /// The name as text, without the final dot; the root is `.`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name as text, with the final dot.
    pub fn absolute(&self) -> String {
        match self.is_root() {
            true => ".".into(),
            false => format!("{self}."),
        }
    }

    /// The name in wire form and lower case.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Its labels, the leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        wire::labels(&self.wire)
    }

    /// The name with the final dot, as a part of a file name: all bytes except letters, digits, `-` and `_` become
    /// `%XX`, as in BIND's names of key files.
    pub fn file_part(&self) -> String {
        if self.is_root() {
            return ".".into();
        }
        let mut part = String::with_capacity(self.text.len() + 1);
        for label in self.labels() {
            for &byte in label {
                match byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                    true => part.push(char::from(byte)),
                    false => part.push_str(&format!("%{byte:02X}")),
                }
            }
            part.push('.');
        }
        part
    }

    fn is_root(&self) -> bool {
        self.wire.len() == 1
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, wire: &[u8], shown: &str, part: &str) {
        let name = ZoneName::parse(text).unwrap();
        assert_eq!(name.wire(), wire, "{text}");
        assert_eq!(name.as_str(), shown, "{text}");
        assert_eq!(name.file_part(), part, "{text}");
        assert_eq!(ZoneName::parse(&name.absolute()).as_ref(), Ok(&name));
    }

    #[test]
    fn names_of_zones() {
        check(
            "S.Example.",
            b"\x01s\x07example\0",
            "s.example",
            "s.example.",
        );
        check("_tcp", b"\x04_tcp\0", "_tcp", "_tcp.");
        check(".", b"\0", ".", ".");
        // RFC 2317 §4
        check(
            "0/25.2.0.192.in-addr.arpa.",
            b"\x040/25\x012\x010\x03192\x07in-addr\x04arpa\0",
            "0/25.2.0.192.in-addr.arpa",
            "0%2F25.2.0.192.in-addr.arpa.",
        );
        check("*.a", b"\x01*\x01a\0", "*.a", "%2A.a.");
        check(r"a\.B.c", b"\x03a.b\x01c\0", r"a\.b.c", "a%2Eb.c.");
        check(r"\195\065", b"\x02\xC3a\0", r"\195a", "%C3a.");
    }

    #[test]
    fn invalid_names() {
        let why = |text: &str| ZoneName::parse(text).unwrap_err().why;
        assert_eq!(why(""), NameProblem::Empty);
        assert_eq!(why("a..b"), NameProblem::EmptyLabel);
        assert_eq!(why(".a"), NameProblem::EmptyLabel);
        assert_eq!(why("a b"), NameProblem::BadCharacter(' '));
        assert_eq!(why("é"), NameProblem::BadCharacter('é'));
        assert_eq!(why("a\n"), NameProblem::BadCharacter('\n'));
        assert_eq!(why(r"a\25"), NameProblem::BadEscape);
        assert_eq!(why(&"a".repeat(64)), NameProblem::LongLabel);
        assert_eq!(why(&"a.".repeat(128)), NameProblem::LongName);
    }

    proptest! {
        #[test]
        fn text_is_read_as_it_is_shown(text in r"[!-~]{1,40}") {
            if let Ok(name) = ZoneName::parse(&text) {
                prop_assert_eq!(&ZoneName::parse(name.as_str()).unwrap(), &name);
                prop_assert_eq!(&ZoneName::parse(&name.absolute()).unwrap(), &name);
            }
        }

        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = ZoneName::parse(&text);
        }
    }
}
