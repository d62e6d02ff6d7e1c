//! Sealed content: private keys in the store, encrypted with a key file that all servers of the store share.
//!
//! Backups of the store, and everybody who may read a DynamoDB table, would otherwise have the private keys of all
//! zones. The key file holds 256 bits as 64 hexadecimal digits. Content is sealed by AES-256-GCM with a random nonce
//! (RFC 5116 §5.2); the document's name is authenticated with it, so that no document passes for another one. A key
//! seals a few documents a day, and random nonces are safe for 2^32 of them (NIST SP 800-38D §8.3).
//!
//! ```text
//! version (1 byte, 1) | key identifier (8) | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! The identifier is the beginning of the key's SHA-256 hash under a label of its own. It reveals nothing about the
//! key, and a server that was given another key file can say so.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};

use crate::base::files::{Draft, directory, is_open_to_others, read_whole};

/// The length of the key, in bytes.
const KEY_LEN: usize = 32;
/// The largest key file, in bytes: the digits, and room for line ends and blanks.
const MAX_FILE_LEN: u64 = 256;
const VERSION: u8 = 1;
const ID_LEN: usize = 8;
const ID_LABEL: &[u8] = b"tinyns sealing key identifier";
const HEADER_LEN: usize = 1 + ID_LEN;

/// The key that seals documents.
pub(super) struct SealingKey {
    key: LessSafeKey,
    id: [u8; ID_LEN],
    file: PathBuf,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is missing, and this server may not make one.
    #[error(
        "the key file {} does not exist; copy it from another server of this store, or, on the first one, make it \
         with: (umask 077; openssl rand -hex 32 > {})", .0.display(), .0.display()
    )]
    Missing(PathBuf),
    /// The file cannot be read or made.
    #[error("cannot {action} the key file {}: {source}", file.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the key file {} does not hold a key of 64 hexadecimal digits; copy it again from another server of this \
         store", .0.display()
    )]
    NotAKey(PathBuf),
    /// The system gives no random bytes.
    #[error("cannot make a key: {0}")]
    Random(getrandom::Error),
}

/// Why sealed content cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// Another key has sealed it.
    #[error(
        "the key file {} is not the one that sealed the document {document:?} in the store; copy the key file of the \
         other servers of this store, or restore the former one", file.display()
    )]
    OtherKey {
        /// The key file of this server.
        file: PathBuf,
        /// The document.
        document: String,
    },
    /// It was changed, or belongs to another document.
    #[error("the document {0:?} in the store is damaged: its seal does not fit")]
    Damaged(String),
    /// A newer version of this program has sealed it.
    #[error(
        "the document {0:?} in the store is sealed in a form that this version of tinyns does not know"
    )]
    Unknown(String),
}

impl SealingKey {
    /// Reads the key file. If it does not exist, makes it with a new key and mode 0600 if `create` allows that. Also
    /// returns whether the file is new.
    ///
    /// # Errors
    /// [`KeyFileError`] says what to do about the file.
    pub(super) fn load(file: &Path, create: bool) -> Result<(Self, bool), KeyFileError> {
        match fs::metadata(file) {
            Ok(_) => Ok((Self::read(file)?, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                let is_new = make(file)?;
                // The key in the file counts, even if another process has made the file.
                Ok((Self::read(file)?, is_new))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(KeyFileError::Missing(file.into()))
            }
            Err(source) => Err(failed("read", file)(source)),
        }
    }

    fn read(file: &Path) -> Result<Self, KeyFileError> {
        let bytes = read_whole(file, MAX_FILE_LEN).map_err(failed("read", file))?;
        if is_open_to_others(file) {
            tracing::warn!(
                file = %file.display(),
                "users other than its owner can read the key file; set its mode to 0600"
            );
        }
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        let key = text.and_then(from_hex);
        let unbound = key.and_then(|key| Some((key, UnboundKey::new(&AES_256_GCM, &key).ok()?)));
        let (key, unbound) = unbound.ok_or_else(|| KeyFileError::NotAKey(file.into()))?;
        let mut hash = Context::new(&SHA256);
        hash.update(ID_LABEL);
        hash.update(&key);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&hash.finish().as_ref()[..ID_LEN]);
        Ok(Self {
            key: LessSafeKey::new(unbound),
            id,
            file: file.into(),
        })
    }

    /// Seals the content of a document.
    ///
    /// # Errors
    /// The system gives no random bytes, or the content is longer than 64 GiB.
    pub(super) fn seal(&self, document: &str, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let header = self.header();
        let mut sealed = content.to_vec();
        let aad = Aad::from(authenticated(&header, document));
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_used, aad, &mut sealed)
            .map_err(|_| io::Error::other("the content is too long to be sealed"))?;
        Ok([&header[..], &nonce, &sealed].concat())
    }

    /// Opens the sealed content of a document.
    ///
    /// # Errors
    /// [`UnsealError`] if another key has sealed it, or if it is damaged.
    pub(super) fn open(&self, document: &str, sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let damaged = || UnsealError::Damaged(document.into());
        let (header, rest) = sealed.split_at_checked(HEADER_LEN).ok_or_else(damaged)?;
        if header[0] != VERSION {
            return Err(UnsealError::Unknown(document.into()));
        }
        if header[1..] != self.id {
            return Err(UnsealError::OtherKey {
                file: self.file.clone(),
                document: document.into(),
            });
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut content = sealed.to_vec();
        let aad = Aad::from(authenticated(header, document));
        let opened = self.key.open_in_place(nonce, aad, &mut content);
        let len = opened.map_err(|_| damaged())?.len();
        content.truncate(len);
        Ok(content)
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [VERSION; HEADER_LEN];
        header[1..].copy_from_slice(&self.id);
        header
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What is authenticated with the content: the header and the document's name.
fn authenticated(header: &[u8], document: &str) -> Vec<u8> {
    [header, document.as_bytes()].concat()
}

fn from_hex(text: &str) -> Option<[u8; KEY_LEN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = [0; KEY_LEN];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed<'a>(action: &'static str, file: &'a Path) -> impl Fn(io::Error) -> KeyFileError + 'a {
    move |source| KeyFileError::Io {
        action,
        file: file.into(),
        source,
    }
}

/// Makes a key file; false if it exists by now.
fn make(file: &Path) -> Result<bool, KeyFileError> {
    let (mut key, mut salt) = ([0; KEY_LEN], [0; 8]);
    getrandom::fill(&mut key).map_err(KeyFileError::Random)?;
    getrandom::fill(&mut salt).map_err(KeyFileError::Random)?;
    let directory = directory(file);
    fs::create_dir_all(directory).map_err(failed("create the directory of", file))?;
    let draft = directory.join(format!(".tinyns-key-{}", hex(&salt)));
    let write = || -> io::Result<bool> {
        let mut new = Draft::create(file, draft, 0o600)?;
        writeln!(new.file(), "{}", hex(&key))?;
        new.keep_if_new()
    };
    write().map_err(failed("make", file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(directory: &Path, name: &str) -> SealingKey {
        SealingKey::load(&directory.join(name), true).unwrap().0
    }

    #[test]
    fn content_is_opened_by_its_key_under_its_name_only() {
        let directory = tempfile::tempdir().unwrap();
        let one = key(directory.path(), "one");
        let sealed = one.seal("a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(one.open("a", &sealed).unwrap(), b"secret");
        // A new nonce each time.
        assert_ne!(one.seal("a", b"secret").unwrap(), sealed);
        let damaged = |name: &str| UnsealError::Damaged(name.into());
        assert_eq!(one.open("b", &sealed), Err(damaged("b")));
        for at in HEADER_LEN..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(one.open("a", &changed), Err(damaged("a")), "{at}");
        }
        for len in [0, HEADER_LEN - 1, HEADER_LEN, sealed.len() - 1] {
            assert_eq!(one.open("a", &sealed[..len]), Err(damaged("a")), "{len}");
        }
        let newer = [&[2], &sealed[1..]].concat();
        assert_eq!(one.open("a", &newer), Err(UnsealError::Unknown("a".into())));
        let error = key(directory.path(), "two").open("a", &sealed).unwrap_err();
        assert!(
            error.to_string().contains("two is not the one that sealed"),
            "{error}"
        );
        // The file is all that a server needs.
        assert_eq!(
            key(directory.path(), "one").open("a", &sealed).unwrap(),
            b"secret"
        );
    }

    #[test]
    fn a_key_file_is_made_once_and_only_where_that_is_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("below/key");
        let error = SealingKey::load(&file, false).unwrap_err();
        assert!(
            error.to_string().contains("openssl rand -hex 32"),
            "{error}"
        );
        assert!(!file.exists());
        assert!(SealingKey::load(&file, true).unwrap().1);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim().len(), 64);
        assert!(!SealingKey::load(&file, true).unwrap().1);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        for bad in ["", "abc", &text.replace('\n', "0"), &"g".repeat(64)] {
            fs::write(&file, bad).unwrap();
            let error = SealingKey::load(&file, true).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
        fs::write(&file, "0".repeat(1_000)).unwrap();
        let error = SealingKey::load(&file, true).unwrap_err().to_string();
        assert!(error.contains("larger than 256 bytes"), "{error}");
    }
}
