//! The secrets of server cookies: random at each start, or read from a file that the servers of a fleet share.
//!
//! Each query of a client may reach another server of a fleet (anycast, or a load balancer), so each server has to
//! accept the cookies of the others (RFC 9018 §5). The file has one secret on each line. The first secret makes
//! cookies; cookies made with any of them are valid. So a secret is replaced in three steps, without a refused
//! cookie in between:
//!
//! ```text
//!   old          old, new          new, old            new
//!         every server      every server      an hour, and every server
//! ```
//!
//! No message shows a secret, not even a message about a wrong file.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher24;

use crate::base::files::open_regular;

/// The length of a secret, in bytes (RFC 9018 §4.4).
const SECRET_LEN: usize = 16;
/// The most secrets: the old one, the new one, and those of an unfinished replacement. A forged cookie costs one
/// hash for each secret.
const MAX_SECRETS: usize = 4;
/// The longest file, in bytes: the secrets, and room for comments.
const MAX_FILE_LEN: u64 = 8 * 1024;

/// The secrets of a server, as hashers.
#[derive(Clone)]
pub struct CookieSecrets {
    /// The secret that makes cookies.
    pub(super) first: SipHasher24,
    /// The secrets whose cookies are also valid.
    pub(super) others: Box<[SipHasher24]>,
}

/// Why there are no cookie secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The system has no random bytes.
    #[error("cannot draw a secret for DNS cookies: {0}")]
    Random(getrandom::Error),
    /// The file could not be read.
    #[error("cannot read the secrets of DNS cookies in {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The contents of the file are wrong.
    #[error("{}:{line}: {problem}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: SecretsProblem,
    },
}

/// What is wrong with a file of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsProblem {
    /// A line that is neither empty nor a comment nor a secret.
    #[error("not a secret for DNS cookies: 32 hexadecimal digits")]
    NotASecret,
    /// More than `MAX_SECRETS`.
    #[error("more than {MAX_SECRETS} secrets for DNS cookies")]
    TooMany,
    /// No secret at all.
    #[error("no secret for DNS cookies in the file")]
    None,
    /// Too large; it may be a wrong file.
    #[error("larger than {MAX_FILE_LEN} bytes")]
    TooLarge,
}

impl CookieSecrets {
    /// One random secret.
    ///
    /// # Errors
    /// [`SecretsError::Random`].
    pub fn random() -> Result<Self, SecretsError> {
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret).map_err(SecretsError::Random)?;
        Ok(Self::of(secret, []))
    }

    /// The secrets in a file, one a line, as 32 hexadecimal digits; a `#` begins a comment.
    ///
    /// # Errors
    /// [`SecretsError`], with the line that is wrong.
    pub fn load(file: &Path) -> Result<Self, SecretsError> {
        let failed = |source| SecretsError::Io {
            file: file.into(),
            source,
        };
        let open = open_regular(file).map_err(failed)?;
        let metadata = open.metadata().map_err(failed)?;
        if metadata.permissions().mode() & 0o044 != 0 {
            tracing::warn!(
                file = %file.display(),
                "the secrets of DNS cookies can be read by others than the file's owner; mode 0600 \
                 would prevent it"
            );
        }
        let mut bytes = Vec::new();
        let mut read = open.take(MAX_FILE_LEN + 1);
        read.read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes).map_err(|(line, problem)| SecretsError::Invalid {
            file: file.into(),
            line,
            problem,
        })
    }

    fn parse(text: &[u8]) -> Result<Self, (usize, SecretsProblem)> {
        if text.len() as u64 > MAX_FILE_LEN {
            return Err((1, SecretsProblem::TooLarge));
        }
        let mut secrets = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let end = line.iter().position(|byte| *byte == b'#');
            let line = line[..end.unwrap_or(line.len())].trim_ascii();
            if line.is_empty() {
                continue;
            }
            if secrets.len() == MAX_SECRETS {
                return Err((number, SecretsProblem::TooMany));
            }
            secrets.push(secret(line).ok_or((number, SecretsProblem::NotASecret))?);
        }
        match secrets.split_first() {
            None => Err((1, SecretsProblem::None)),
            Some((first, others)) => Ok(Self::of(*first, others.iter().copied())),
        }
    }

    /// The number of secrets.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) fn of(
        first: [u8; SECRET_LEN],
        others: impl IntoIterator<Item = [u8; SECRET_LEN]>,
    ) -> Self {
        let hasher = |secret| SipHasher24::new_with_key(&secret);
        Self {
            first: hasher(first),
            others: others.into_iter().map(hasher).collect(),
        }
    }
}

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieSecrets({}, redacted)", self.count())
    }
}

fn secret(digits: &[u8]) -> Option<[u8; SECRET_LEN]> {
    let mut secret = [0; SECRET_LEN];
    if digits.len() != 2 * SECRET_LEN {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const TWO: &str = "445536BCD2513298075A5D379663C962";

    fn check(text: &str, expected: Result<usize, (usize, SecretsProblem)>) {
        let read = CookieSecrets::parse(text.as_bytes());
        assert_eq!(read.map(|secrets| secrets.count()), expected, "{text:?}");
    }

    #[test]
    fn texts() {
        use SecretsProblem::{NotASecret, TooLarge, TooMany};

        check(ONE, Ok(1));
        check(
            &format!("\n# old\n  {ONE}\t# until Friday\r\n\n{TWO}\n#{ONE}"),
            Ok(2),
        );
        check(&format!("{ONE}\n").repeat(4), Ok(4));
        check(&format!("{ONE}\n").repeat(5), Err((5, TooMany)));
        for text in ["", "\n\n", "# nothing\n"] {
            check(text, Err((1, SecretsProblem::None)));
        }
        for line in [
            &ONE[1..],
            &format!("{ONE}0"),
            &format!("0x{ONE}"),
            &format!("{ONE} {TWO}"),
            &format!("+{}", &ONE[1..]),
            &format!("é{}", &ONE[2..]),
            "secret",
        ] {
            check(&format!("{TWO}\n{line}\n"), Err((2, NotASecret)));
        }
        check(&"#\n".repeat(8 * 1024), Err((1, TooLarge)));
    }

    #[test]
    fn digits_are_bytes() {
        assert_eq!(secret(ONE.as_bytes()).unwrap()[..3], [0xE5, 0xE9, 0x73]);
        assert_eq!(secret(TWO.as_bytes()).unwrap()[13..], [0x63, 0xC9, 0x62]);
    }

    #[test]
    fn no_secret_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cookies");
        fs::write(&file, format!("{ONE}\n{TWO}x\n")).unwrap();
        let error = CookieSecrets::load(&file).unwrap_err();
        let expected = format!(
            "{}:2: not a secret for DNS cookies: 32 hexadecimal digits",
            file.display()
        );
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains(&TWO[..8]));
        fs::write(&file, format!("{ONE}\n{TWO}\n")).unwrap();
        let secrets = CookieSecrets::load(&file).unwrap();
        assert_eq!(format!("{secrets:?}"), "CookieSecrets(2, redacted)");
    }

    #[test]
    fn what_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let load = |path: &Path| CookieSecrets::load(path).unwrap_err();
        assert!(
            load(directory.path())
                .to_string()
                .ends_with("this is not a regular file")
        );
        let none = directory.path().join("none");
        assert!(matches!(load(&none), SecretsError::Io { .. }));
    }
}
