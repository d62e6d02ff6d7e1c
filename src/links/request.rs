//! Requests for changes of links, their outcomes, and why they are refused.

use crate::base::clock::UnixTime;
use crate::link::{About, Code, Destinations, Link, LinkName, Origin, TargetUrl, Ttl, Withheld};
use crate::store::StoreError;
use crate::store::audit::Actor;

/// How many folds of one URL are tried as codes. With 10^12 links, one code in three is taken; 16 collisions in a
/// row then have a chance of 10^-8.
pub(super) const MAX_FOLDS: u32 = 16;

/// A request for a new link.
#[derive(Clone, Debug)]
pub struct CreateLink {
    /// The zone of the link.
    pub origin: Origin,
    /// The destination; of several the preferred one.
    pub target: TargetUrl,
    /// What the link has besides, if it has several destinations.
    pub destinations: Option<Box<Destinations>>,
    /// The code that the caller chose; none to fold one from the URL of the target.
    pub code: Option<Code>,
    /// Whether the code may be a reserved one.
    pub use_reserved: bool,
    /// When the link ends.
    pub expires_at: Option<UnixTime>,
    /// The TTL of the link's records.
    pub ttl: Option<Ttl>,
    /// What people say about the link.
    pub about: About,
    /// Why the link is withheld from the start, if it is.
    pub withheld: Option<Box<Withheld>>,
    /// Who makes the request.
    pub created_by: Actor,
}

/// The outcome of a request for a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The link was made.
    New(Link),
    /// There was already a link with these destinations, and with this code if the request names one. It was not
    /// changed: its end, its TTL and the texts about it are still its own.
    Same(Link),
}

/// Why a link was not made or not changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A link to another URL has this code.
    #[error("the code {:?} is taken by another URL", .0.code())]
    Taken(LinkName),
    /// A static name of the zone has this code.
    #[error("the code {:?} is a name of the zone {} itself", .0.code(), .0.origin())]
    Reserved(LinkName),
    /// The configuration reserves this code.
    #[error(
        "the code {:?} is reserved by the configuration; choose another code, or ask an admin to create the link with \
         \"use_reserved\": true (tinyns add --use-reserved)",
        .0.code()
    )]
    ReservedWord(LinkName),
    /// The destination is in a zone served here: browsers would go in circles.
    #[error("the URL points to {0:?}, which is in a zone served here")]
    OwnZone(String),
    /// The link would have ended already.
    #[error("expires_at is not in the future")]
    AlreadyExpired,
    /// `expires_at` is beyond the year 9999.
    #[error("expires_at is beyond the year 9999")]
    ExpiresTooLate,
    /// Other URLs have all folds of this URL.
    #[error("all {MAX_FOLDS} codes tried for this URL are taken by other URLs; choose a code")]
    NoFreeCode,
    /// There is no live link of this name.
    #[error("there is no link {:?}", .0.as_str())]
    NotFound(LinkName),
    /// The link has another version than the caller expected.
    #[error("the link {:?} has version {}, not the expected one", .0.name.as_str(), .0.version)]
    VersionConflict(Box<Link>),
    /// The link is withheld, and the caller may not change that.
    #[error(
        "the link {:?} is withheld; only admins may change or delete it, or give it back",
        .0.name.as_str()
    )]
    Withheld(Box<Link>),
    /// The store failed; the state of the link is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}
