//! A change of a link.

use crate::base::clock::UnixTime;
use crate::link::{AboutChange, Destinations, Link, TargetUrl, Ttl, Withheld};

/// A change of a link; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A new destination. Of several, it takes the place and the rank of the preferred one.
    pub target: Option<TargetUrl>,
    /// What the link has besides its target from now on, or `Some(None)` for nothing. Without it the others stay, except
    /// one that becomes the target.
    pub destinations: Option<Option<Box<Destinations>>>,
    /// A new end, or `Some(None)` for no end.
    pub expires_at: Option<Option<UnixTime>>,
    /// A new TTL, or `Some(None)` for the zone's.
    pub ttl: Option<Option<Ttl>>,
    /// What to change of the texts about it.
    pub about: AboutChange,
    /// Why to withhold it, or `Some(None)` to give it back.
    pub withheld: Option<Option<Box<Withheld>>>,
}

impl Change {
    /// The link after the change. Its version is still the former one.
    pub fn made(self, link: Link) -> Link {
        let target = self.target.unwrap_or(link.target);
        let destinations = self.destinations.unwrap_or(link.destinations);
        Link {
            destinations: destinations.and_then(|destinations| destinations.beside(&target)),
            target,
            expires_at: self.expires_at.unwrap_or(link.expires_at),
            ttl: self.ttl.unwrap_or(link.ttl),
            about: link.about.changed(self.about),
            withheld: self.withheld.unwrap_or(link.withheld),
            ..link
        }
    }
}
