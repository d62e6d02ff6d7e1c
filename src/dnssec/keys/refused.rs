//! Why a command does not change the keys.

use super::list::{ListProblem, MAX_KEYS};
use crate::base::clock::UnixTime;
use crate::dnssec::key::{Algorithm, Duty, Role};

/// Why a step is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such key.
    #[error("there is no key with the tag {0}")]
    NoSuchKey(u16),
    /// The zone has keys of another algorithm.
    #[error(
        "the keys of this zone have the algorithm {0}; all keys of a zone must have the same algorithm \
         (RFC 4035 §2.2), and tinyns cannot replace it by another"
    )]
    OtherAlgorithm(Algorithm),
    /// Too many keys.
    #[error("the zone already has {MAX_KEYS} keys, the most that are allowed")]
    TooMany,
    /// The zone is being unsigned.
    #[error("the zone is being unsigned: `tinyns keys retire --all` took effect at {}", .0.rfc3339())]
    Unsigning(UnixTime),
    /// The key was retired before.
    #[error("{tag} was retired at {}", .since.rfc3339())]
    Retired {
        /// The key.
        tag: u16,
        /// The time of that.
        since: UnixTime,
    },
    /// The key was removed before.
    #[error("{tag} was removed at {}", .since.rfc3339())]
    Removed {
        /// The key.
        tag: u16,
        /// The time of that.
        since: UnixTime,
    },
    /// The key is planned to replace another.
    #[error("{tag} cannot be retired: it takes over from another key at {}", .at.rfc3339())]
    TakesOver {
        /// The key.
        tag: u16,
        /// The time of that.
        at: UnixTime,
    },
    /// No other key would sign.
    #[error(
        "{tag} cannot be retired: no other key could then sign {duty}; \
         `tinyns keys generate --role {}` makes one", .wanted.name()
    )]
    NoSuccessor {
        /// The key.
        tag: u16,
        /// The records that would not be signed.
        duty: Duty,
        /// The role of the missing key.
        wanted: Role,
    },
    /// The DS record of the key that would sign is not confirmed.
    #[error(
        "{tag} cannot be retired: the DS record of its successor {successor} is not confirmed; when all servers of \
         the parent zone publish it, confirm that with `tinyns keys ds --seen {successor}`"
    )]
    DsNotSeen {
        /// The key.
        tag: u16,
        /// The key that would sign.
        successor: u16,
    },
    /// Caches may have records that do not fit.
    #[error(
        "{tag} cannot be retired before {}: until then resolvers may have {what} without its successor \
         {successor} in their caches", .from.rfc3339()
    )]
    TooEarly {
        /// The key.
        tag: u16,
        /// The key that would sign.
        successor: u16,
        /// The first time at which it can be done.
        from: UnixTime,
        /// The records that caches may have.
        what: Cached,
    },
    /// A time in the past for a step of the future.
    #[error("{} is in the past", .0.rfc3339())]
    Past(UnixTime),
    /// A time in the future for an event of the past.
    #[error("{} is in the future", .0.rfc3339())]
    Future(UnixTime),
    /// A time before the key was made.
    #[error("{} is before the key {tag} was made", .time.rfc3339())]
    BeforeKey {
        /// The key.
        tag: u16,
        /// The time.
        time: UnixTime,
    },
    /// A DS record cannot disappear before it appears.
    #[error("the DS record of {tag} appeared later, at {}", .seen.rfc3339())]
    SeenLater {
        /// The key.
        tag: u16,
        /// The time from which the operator has seen it.
        seen: UnixTime,
    },
    /// The key is planned to sign before all caches have its DS record.
    #[error(
        "{tag} takes over at {}, and until {} resolvers may have DS records without it in their caches; \
         first postpone that, with `tinyns keys retire` and a later `--at`",
        .at.rfc3339(), .everywhere.rfc3339()
    )]
    TakesOverBefore {
        /// The key.
        tag: u16,
        /// When it is planned to sign.
        at: UnixTime,
        /// When no cache has DS records without it any more.
        everywhere: UnixTime,
    },
    /// A zone signing key has no DS record.
    #[error("{0} is a ZSK, which has no DS record")]
    NoDs(u16),
    /// Validators need the DS record.
    #[error(
        "{0} signs the DNSKEY records, or is planned to; without its DS record in the parent zone no resolver \
         can validate this zone, so if the record is missing there, publish it again"
    )]
    DsNeeded(u16),
    /// The resulting list would be wrong.
    #[error(transparent)]
    Inconsistent(#[from] ListProblem),
}

/// Records that caches may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// A DNSKEY set.
    Dnskeys,
    /// A DS set.
    Ds,
}

impl std::fmt::Display for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dnskeys => "DNSKEY records",
            Self::Ds => "DS records",
        })
    }
}
