//! What can be wrong with a directory of keys.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::list::{LIST_FILE, MAX_KEYS, MAX_LIST_LEN};
use super::pem::MAX_PEM_LEN;
use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::dnssec::key::{Algorithm, Duty, KeyError, Role};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system does not let us.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No key has been made yet.
    #[error(
        "{}: there are no keys yet ({LIST_FILE} is missing); `tinyns keys generate` makes one",
        .0.display()
    )]
    NoKeys(PathBuf),
    /// There are keys, but nothing tells what they do.
    #[error(
        "{}: {LIST_FILE} is missing, but there is {}; bring it back, for without it nobody knows which key signs \
         the zone; if none of the keys is in use, remove them",
        .directory.display(),
        .key.display()
    )]
    NoList {
        /// The directory.
        directory: PathBuf,
        /// One of the keys.
        key: PathBuf,
    },
    /// A key that signs is to be there no longer.
    #[error(
        "{}: the key {tag} signs the zone, and is in the list no longer; if that is meant, start the server anew",
        .file.display()
    )]
    Lost {
        /// The list.
        file: PathBuf,
        /// Its tag.
        tag: u16,
    },
    /// What is in `keys.toml` is wrong.
    #[error("{}:{line}: {problem}", .file.display())]
    List {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: ListProblem,
    },
    /// A private key cannot be used.
    #[error("{}: {problem}", .file.display())]
    KeyFile {
        /// Its file.
        file: PathBuf,
        /// Why not.
        problem: KeyFileProblem,
    },
    /// A new key cannot be made.
    #[error("cannot make a key: {0}")]
    Make(KeyError),
    /// Every key that was made had the tag of another.
    #[error("{}: cannot make a key with a tag of its own", .0.display())]
    NoTag(PathBuf),
    /// Another command changes the directory, and does not end.
    #[error("{}: another `tinyns keys` is at work there", .0.display())]
    Busy(PathBuf),
}

/// What is wrong with `keys.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListProblem {
    /// It may be another file.
    #[error("larger than {MAX_LIST_LEN} bytes")]
    TooLarge,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// TOML does not allow it, the key is unknown, or the value is of another type.
    #[error("{}{message}", Prefix(.key))]
    Toml {
        /// The key with the names of its tables; empty where there is none.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The keys are those of another zone.
    #[error("origin: these are the keys of {found}, and the zone is {wanted}")]
    OtherOrigin {
        /// What the file says.
        found: String,
        /// What the configuration says.
        wanted: ZoneName,
    },
    /// A number that is too small or too large.
    #[error("{key}: {value} is not within {min} to {max}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: i64,
        /// The lowest allowed.
        min: u32,
        /// The highest allowed.
        max: u32,
    },
    /// A time without a date or without an offset, or one before 1970.
    #[error("{key}: {found} is not a time such as 2030-01-31T12:00:00Z")]
    Time {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
    },
    /// A word that is none of those allowed.
    #[error("{key}: unknown value {found:?}, expected {known}")]
    Choice {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The allowed ones, as a phrase.
        known: &'static str,
    },
    /// More than anybody needs.
    #[error("key: {0} keys; at most {MAX_KEYS} are allowed")]
    TooMany(usize),
    /// Two keys that validators could not tell from each other.
    #[error("tag: {tag} is already in line {line}")]
    DuplicateTag {
        /// The tag.
        tag: u16,
        /// Where it stands first.
        line: usize,
    },
    /// Keys of two algorithms (RFC 4035 §2.2).
    #[error(
        "algorithm: {found}, and the keys before have {first}; all keys of a zone have one algorithm, and \
         replacing it by another is not offered"
    )]
    OtherAlgorithm {
        /// That of this key.
        found: Algorithm,
        /// That of the first key.
        first: Algorithm,
    },
    /// Times that contradict each other.
    #[error("{later}: earlier than {earlier}")]
    Order {
        /// What comes first.
        earlier: &'static str,
        /// What comes behind, and should not.
        later: &'static str,
    },
    /// A time that says nothing without another.
    #[error("{key}: without {needs:?}")]
    Without {
        /// The key that is there.
        key: &'static str,
        /// The key that is missing.
        needs: &'static str,
    },
    /// A zone signing key has no DS record.
    #[error("{0}: a key with the role \"zsk\" has no DS record")]
    NoDs(&'static str),
    /// There would be no signatures.
    #[error("from {} on no key signs {duty}", .from.rfc3339())]
    Unsigned {
        /// Since when.
        from: UnixTime,
        /// What is not signed.
        duty: Duty,
    },
    /// There are no signatures, ever.
    #[error("no key signs {duty}; `tinyns keys generate --role {}` makes one", .duty.role().name())]
    NeverSigned {
        /// What is not signed.
        duty: Duty,
    },
}

/// What is wrong with the file of a private key. The key itself is shown nowhere.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileProblem {
    /// It cannot be read.
    #[error("cannot read this private key, which {LIST_FILE} has: {0}")]
    Io(io::Error),
    /// It may be another file.
    #[error("larger than {MAX_PEM_LEN} bytes")]
    TooLarge,
    /// It is not PEM.
    #[error("not PEM")]
    Pem,
    /// There is no key in it, or an encrypted one, or one in another form.
    #[error("there is no private key in PKCS#8 in it that is not encrypted (BEGIN PRIVATE KEY)")]
    NoKey,
    /// It is not a key of the algorithm that the list says.
    #[error("{0}")]
    Key(KeyError),
    /// It is another key.
    #[error("the tag of this key is {found} as {}, and {LIST_FILE} has {listed}", .role.name())]
    OtherTag {
        /// That of the key.
        found: u16,
        /// That of the list.
        listed: u16,
        /// The role, which counts for the tag.
        role: Role,
    },
}

/// The key in front of a message, if there is one.
struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "{key}: "),
        }
    }
}
