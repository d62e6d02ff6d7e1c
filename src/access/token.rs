//! The root token: its sources, and its comparison with the token of a request.
//!
//! The comparison takes the same time for every text, and reveals nothing about the token's length: both texts
//! are copied into buffers of the greatest length that a token may have; then all bytes and the lengths are
//! compared. A comparison of digests would be as good, but it needs a sound hash function, which is one more
//! dependency.
//!
//! The token file appears complete or not at all: it is written under another name and then hard-linked to its
//! own name. A link fails if the name exists, as `O_EXCL` does, but a second process that starts at the same
//! time finds the whole token and never an empty file.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::http::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::base::files::{Draft, directory, open_regular};

/// The shortest token accepted, in characters.
const MIN_LEN: usize = 16;
/// The longest token accepted, in characters.
const MAX_LEN: usize = 512;
/// The entropy of a new token, in bytes; the file has twice as many hex digits.
const MADE_BYTES: usize = 32;
/// The most bytes that are read of a token file: the longest token, its line end and some blanks.
const MAX_FILE_BYTES: u64 = 1_024;

/// The secret that authorises requests to the admin API.
#[derive(Clone)]
pub struct AdminToken(Box<Padded>);

/// A text of at most [`MAX_LEN`] bytes, padded with zero bytes.
#[derive(Clone)]
struct Padded {
    bytes: [u8; MAX_LEN],
    len: u64,
}

/// Why a text is not a token. The messages do not show the text: it may be a secret with a typo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenTextError {
    /// Nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// Bytes that are not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Too easily guessed.
    #[error("it has {0} characters; a token has at least {MIN_LEN}")]
    TooShort(usize),
    /// Longer than the buffers of the comparison.
    #[error("it has {0} characters; a token has at most {MAX_LEN}")]
    TooLong(usize),
    /// A blank, a control character or a character that is not ASCII.
    #[error("it has a character that is not visible ASCII (at byte {0})")]
    BadCharacter(usize),
}

/// Why a file gave no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or created.
    #[error("cannot {action} the token file {}: {source}", .path.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file's first line is not a token.
    #[error("the first line of the token file {} is not a token: {source}", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenTextError,
    },
    /// The system gives no random bytes.
    #[error("cannot create a token: {0}")]
    Random(getrandom::Error),
}

impl AdminToken {
    /// The token in a text, without the blanks around it.
    ///
    /// # Errors
    /// [`TokenTextError`] says which rule the text breaks.
    pub fn from_text(text: &str) -> Result<Self, TokenTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenTextError::Empty);
        }
        if let Some(at) = text.bytes().position(|b| !b.is_ascii_graphic()) {
            return Err(TokenTextError::BadCharacter(at));
        }
        if text.len() < MIN_LEN {
            return Err(TokenTextError::TooShort(text.len()));
        }
        if text.len() > MAX_LEN {
            return Err(TokenTextError::TooLong(text.len()));
        }
        Ok(Self(Padded::new(text.as_bytes()).into()))
    }

    /// The token in the first line of a file. If the file does not exist, creates it with a new token and mode
    /// 0600. Also returns whether the file is new.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with the file.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), TokenError> {
        match fs::metadata(path) {
            Ok(_) => Ok((Self::load(path)?, false)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let created = create(path)?;
                // The token in the file counts, even if another process has created the file.
                Ok((Self::load(path)?, created))
            }
            Err(source) => Err(failed("read", path)(source)),
        }
    }

    /// The token in the first line of a file.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let file = open_regular(path).map_err(failed("read", path))?;
        let metadata = file.metadata().map_err(failed("read", path))?;
        if metadata.permissions().mode() & 0o044 != 0 {
            tracing::warn!(
                path = %path.display(),
                "users other than its owner can read the token file; set its mode to 0600"
            );
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(failed("read", path))?;
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().next().unwrap_or_default();
        Self::from_text(first).map_err(|source| TokenError::Text {
            path: path.into(),
            source,
        })
    }

    /// Whether this is the token. The time does not depend on how much of it is right.
    pub fn matches(&self, presented: &[u8]) -> bool {
        let presented = Padded::new(presented);
        let same = self.0.bytes[..].ct_eq(&presented.bytes[..]);
        (same & self.0.len.ct_eq(&presented.len)).into()
    }

    /// The token with padding, for a digest.
    pub(super) fn padded(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(redacted)")
    }
}

impl Padded {
    /// Bytes beyond the buffer are dropped; the length counts them.
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; MAX_LEN];
        let kept = text.len().min(MAX_LEN);
        bytes[..kept].copy_from_slice(&text[..kept]);
        Self {
            bytes,
            len: text.len() as u64,
        }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> TokenError + 'a {
    move |source| TokenError::Io {
        action,
        path: path.into(),
        source,
    }
}

/// Creates a token file; false if it exists by now.
fn create(path: &Path) -> Result<bool, TokenError> {
    let mut secret = [0; MADE_BYTES];
    let mut salt = [0; 8];
    getrandom::fill(&mut secret).map_err(TokenError::Random)?;
    getrandom::fill(&mut salt).map_err(TokenError::Random)?;
    let directory = directory(path);
    fs::create_dir_all(directory).map_err(failed("create the directory of", path))?;
    let draft = directory.join(format!(".admin-token-{}", hex(&salt)));
    let create = || -> io::Result<bool> {
        let mut new = Draft::create(path, draft, 0o600)?;
        writeln!(new.file(), "{}", hex(&secret))?;
        new.keep_if_new()
    };
    create().map_err(failed("create", path))
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

/// The token in `Authorization: Bearer …` (RFC 6750 §2.1). None if the request has no such header, or several, none of
/// which may count.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes();
    // RFC 9110 §11.1: the scheme is compared without case; one or more spaces follow it.
    let blank = value.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = value.split_at(blank);
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer");
    is_bearer.then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn texts() {
        let check = |text: &str, expected: Option<TokenTextError>| {
            assert_eq!(AdminToken::from_text(text).err(), expected, "{text:?}");
        };
        check("0123456789abcdef", None);
        check("  0123456789abcdef\r\n", None);
        check(&"x".repeat(512), None);
        check("", Some(TokenTextError::Empty));
        check(" \n", Some(TokenTextError::Empty));
        check("0123456789abcde", Some(TokenTextError::TooShort(15)));
        check(&"x".repeat(513), Some(TokenTextError::TooLong(513)));
        check("01234567 89abcdef", Some(TokenTextError::BadCharacter(8)));
        check("0123456789abcdeé", Some(TokenTextError::BadCharacter(15)));
        check("01234567\089abcdef", Some(TokenTextError::BadCharacter(8)));
    }

    #[test]
    fn only_the_token_matches() {
        let token = AdminToken::from_text(TOKEN).unwrap();
        assert!(token.matches(TOKEN.as_bytes()));
        for wrong in [
            String::new(),
            "0".into(),
            TOKEN[1..].into(),
            TOKEN.to_uppercase(),
            format!("{TOKEN}0"),
            format!("{TOKEN}\0"),
            "x".repeat(512),
            format!("{TOKEN}{}", "x".repeat(600)),
        ] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong:?}");
        }
        let longest = AdminToken::from_text(&"x".repeat(512)).unwrap();
        assert!(longest.matches("x".repeat(512).as_bytes()));
        assert!(!longest.matches("x".repeat(513).as_bytes()));
        assert!(!longest.matches("x".repeat(511).as_bytes()));
    }

    #[test]
    fn debug_hides_the_token() {
        let token = AdminToken::from_text(TOKEN).unwrap();
        assert_eq!(format!("{token:?}"), "AdminToken(redacted)");
    }

    #[test]
    fn rfc_6750_authorization() {
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let found = bearer(&headers);
            assert_eq!(found, expected.map(str::as_bytes), "{values:?}");
        };
        check(&["Bearer a1"], Some("a1"));
        check(&["bEARER   a1 "], Some("a1"));
        check(&["Bearer a b"], Some("a b"));
        check(&["Bearer a,b"], Some("a,b"));
        check(&[], None);
        check(&[""], None);
        check(&["Bearer"], None);
        check(&["Basic a1"], None);
        check(&["a1"], None);
        check(&["Bearer a1", "Bearer a1"], None);
    }

    #[test]
    fn a_token_file_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("admin.token");
        let (made, created) = AdminToken::load_or_create(&path).unwrap();
        assert!(created);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim_end().len(), 2 * MADE_BYTES);
        assert!(made.matches(text.trim_end().as_bytes()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);

        let (again, created) = AdminToken::load_or_create(&path).unwrap();
        assert!(!created);
        assert!(again.matches(text.trim_end().as_bytes()));
        // The draft is gone.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn starters_at_the_same_time_agree() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| AdminToken::load_or_create(&path).unwrap()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(results.iter().filter(|(_, created)| *created).count(), 1);
        assert!(
            results
                .iter()
                .all(|(t, _)| t.matches(text.trim().as_bytes()))
        );
    }

    #[test]
    fn bad_token_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        let check = |content: &str, expected: &str| {
            fs::write(&path, content).unwrap();
            let error = AdminToken::load_or_create(&path).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        };
        check("", "it is empty");
        check("\n0123456789abcdef\n", "it is empty");
        check("short\n", "it has 5 characters; a token has at least 16");
        check(
            &"x".repeat(600),
            "it has 600 characters; a token has at most 512",
        );
        check("tokens with blanks\n", "not visible ASCII (at byte 6)");

        fs::write(&path, format!("  {TOKEN} \r\nsecond line\n")).unwrap();
        let (token, _) = AdminToken::load_or_create(&path).unwrap();
        assert!(token.matches(TOKEN.as_bytes()));

        let error = AdminToken::load_or_create(directory.path()).unwrap_err();
        assert!(
            error.to_string().ends_with("this is not a regular file"),
            "{error}"
        );
        let below_a_file = path.join("x");
        let error = AdminToken::load_or_create(&below_a_file).unwrap_err();
        assert!(matches!(error, TokenError::Io { .. }), "{error}");
    }
}
