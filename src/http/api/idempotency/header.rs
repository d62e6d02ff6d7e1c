//! The header `Idempotency-Key`.
//!
//! The draft (draft-ietf-httpapi-idempotency-key-header §2.1) makes it a string of RFC 8941 §3.3.3, in double quotes. Many
//! clients send keys without quotes, as other APIs want them; a key without quotes is the same key.

use axum::http::header::{HeaderMap, HeaderName};

use crate::http::problem::{Kind, Problem};

/// The name of the header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The name of the header in messages.
pub(super) const NAME: &str = "Idempotency-Key";
/// The longest key, in bytes.
const MAX_LEN: usize = 255;

/// A key: 1 to [`MAX_LEN`] printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http::api) struct Key(String);

/// Why a header has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum KeyError {
    #[error("it is there {0} times; send it once")]
    Several(usize),
    #[error("it has characters other than printable ASCII")]
    NotAscii,
    #[error("it is empty")]
    Empty,
    #[error("it has {0} characters; at most {MAX_LEN} are allowed")]
    TooLong(usize),
    #[error("its closing double quote is missing")]
    NoEnd,
    #[error("a backslash in quotes stands before a double quote or another backslash only")]
    Escape,
    #[error("there is something after the closing double quote")]
    Behind,
    #[error("a key with {0:?} in it has to be in double quotes")]
    NeedsQuotes(char),
}

impl Key {
    /// The key of a request, if it has one.
    pub(in crate::http::api) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        if !headers.contains_key(IDEMPOTENCY_KEY) {
            return Ok(None);
        }
        Self::read(headers).map(Some).map_err(|error| {
            let detail = format!(
                "{NAME} is not a string of 1 to {MAX_LEN} printable ASCII characters, such as \
                 \"8e03978e-40d5-43dd-bc93-6894a57f9324\": {error}"
            );
            Problem::new(Kind::InvalidIdempotencyKey, detail).of(NAME)
        })
    }

    fn read(headers: &HeaderMap) -> Result<Self, KeyError> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let value = values.next().ok_or(KeyError::Empty)?;
        match values.count() {
            0 => {}
            more => return Err(KeyError::Several(more + 1)),
        }
        let text = value.to_str().map_err(|_| KeyError::NotAscii)?;
        let text = text.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => bare(text)?,
        };
        match key.len() {
            0 => Err(KeyError::Empty),
            1..=MAX_LEN => Ok(Self(key)),
            len => Err(KeyError::TooLong(len)),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// RFC 8941 §4.2.5, after the first double quote.
fn unquoted(quoted: &str) -> Result<String, KeyError> {
    let mut key = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next().ok_or(KeyError::NoEnd)? {
            '"' if rest.as_str().is_empty() => return Ok(key),
            '"' => return Err(KeyError::Behind),
            '\\' => match rest.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(KeyError::Escape),
            },
            c @ ' '..='~' => key.push(c),
            _ => return Err(KeyError::NotAscii),
        }
    }
}

/// A key without quotes. Characters that structure a header (RFC 8941 §3) are not taken for a part of it.
fn bare(text: &str) -> Result<String, KeyError> {
    let structural = |c: &char| matches!(c, ' ' | '\t' | '"' | '\\' | ',' | ';');
    match text.chars().find(structural) {
        Some(c) => Err(KeyError::NeedsQuotes(c)),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line).unwrap());
        }
        let key = Key::of(&headers).map_err(|problem| {
            assert!(problem.is(Kind::InvalidIdempotencyKey));
            assert_eq!(problem.field(), Some("Idempotency-Key"));
            problem.detail().to_owned()
        });
        key.map(|key| key.map(|key| key.0))
    }

    #[test]
    fn rfc8941_3_3_3_strings_and_bare_keys() {
        let check = |line: &str, expected: &str| {
            assert_eq!(
                read(&[line.as_bytes()]),
                Ok(Some(expected.into())),
                "{line}"
            );
        };
        check("\"8e03978e\"", "8e03978e");
        check("8e03978e", "8e03978e");
        check(" \"a\" ", "a");
        check("\"a b,;c\"", "a b,;c");
        check("\"a\\\"b\\\\\"", "a\"b\\");
        check("\" \"", " ");
        check("a+/=:*~", "a+/=:*~");
        let longest = "x".repeat(255);
        check(&longest, &longest);
        check(&format!("\"{}\"", "\\\\".repeat(255)), &"\\".repeat(255));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn malformed_keys_and_why() {
        let check = |lines: &[&[u8]], expected: &str| {
            let detail = read(lines).unwrap_err();
            assert!(detail.contains(expected), "{detail}");
        };
        check(&[b"a", b"a"], "2 times");
        check(&[b""], "empty");
        check(&[b"\"\""], "empty");
        check(&[b"\"a"], "closing");
        check(&[b"\"a\\"], "backslash");
        check(&[b"\"a\\n\""], "backslash");
        check(&[b"\"a\";b=1"], "after the closing");
        check(&[b"\"a\", \"b\""], "after the closing");
        check(&[b"a, b"], "','");
        check(&[b"a b"], "' '");
        check(&[b"a\"b"], "'\"'");
        check(&["\u{e9}".as_bytes()], "other than printable");
        check(&["x".repeat(256).as_bytes()], "256 characters");
        check(&[format!("\"{}\"", "x".repeat(256)).as_bytes()], "256");
    }
}
