//! What callers ask of links, what becomes of it, and why it is refused.

use crate::base::clock::UnixTime;
use crate::link::{Code, Link, LinkName, Origin, TargetUrl, Ttl};
use crate::store::StoreError;

/// How many codes are tried for one URL. At 10^12 links one code in three is taken, and 16
/// collisions in a row still have a chance of 10^-8.
pub(super) const MAX_FOLDS: u32 = 16;

/// A request for a new link.
#[derive(Clone, Debug)]
pub struct CreateLink {
    /// The zone it is to be in.
    pub origin: Origin,
    /// Where it is to lead.
    pub target: TargetUrl,
    /// The caller's own code; without one it is folded from the URL.
    pub code: Option<Code>,
    /// When it is to end.
    pub expires_at: Option<UnixTime>,
    /// The TTL of its records.
    pub ttl: Option<Ttl>,
    /// Who asks.
    pub created_by: Box<str>,
}

/// What became of a request for a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The link was made.
    New(Link),
    /// A link with this target (and, where one was asked for, this code) was there already. It is
    /// as it was: its expiry and TTL are those of its own creation.
    Same(Link),
}

/// Why a link was not made or not changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Another URL has this code.
    #[error("the code {:?} is taken by another URL", .0.code())]
    Taken(LinkName),
    /// A static name of the zone has this code.
    #[error("the code {:?} is a name of the zone {} itself", .0.code(), .0.origin())]
    Reserved(LinkName),
    /// The destination lies in a zone served here: it would lead in circles.
    #[error("the URL points to {0:?}, which is in a zone served here")]
    OwnZone(String),
    /// The link would be expired from the start.
    #[error("expires_at is not in the future")]
    AlreadyExpired,
    /// `expires_at` is beyond the year 9999.
    #[error("expires_at is beyond the year 9999")]
    ExpiresTooLate,
    /// All folds of this URL are taken by other URLs.
    #[error("all {MAX_FOLDS} codes tried for this URL are taken by other URLs; choose a code")]
    NoFreeCode,
    /// There is no live link of this name.
    #[error("there is no link {:?}", .0.as_str())]
    NotFound(LinkName),
    /// The link has another version than the caller expected.
    #[error("the link {:?} has version {}, not the expected one", .0.name.as_str(), .0.version)]
    VersionConflict(Box<Link>),
    /// The store failed; nothing can be said about the link.
    #[error(transparent)]
    Store(#[from] StoreError),
}
