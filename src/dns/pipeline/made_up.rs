//! Made-up names: names that exist, or are denied, only because a client asked for them.
//!
//! Clients can ask for any number of them, below a wildcard, a DNAME, a zone cut or a link, or where there is nothing.
//! So answers about made-up names are not kept, and their signatures come last.

use crate::base::name::wire::WireName;
use crate::link::Origin;
use crate::links::Links;
use crate::zone::{Lookup, Zone};

/// What a zone knows of a name before the look-up of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A name of the zone file, of a link that may exist, or of challenges. Their number is bounded.
    Own,
    /// Below a zone cut. The reply has the records of the cut, whose signatures are kept.
    BelowCut,
    /// Made up.
    MadeUp,
}

impl NameKind {
    /// The kind of a name that falls into this zone.
    pub(super) fn of(name: &WireName, zone: &Zone, links: &Links) -> Self {
        let of_link = |code: &str, origin: &Origin| match links
            .may_exist_uncounted(code.as_bytes(), origin)
        {
            true => Self::Own,
            false => Self::MadeUp,
        };
        if let Some((code, origin)) = link_at(zone, name) {
            return of_link(code, origin);
        }
        match (zone.search(name), zone.link_origin()) {
            (Lookup::Exact(_) | Lookup::Challenge | Lookup::Delegation { at_cut: true, .. }, _) => {
                Self::Own
            }
            (Lookup::Delegation { .. }, _) => Self::BelowCut,
            (Lookup::Link { code, .. }, Some(origin)) => of_link(code.as_str(), origin),
            _ => Self::MadeUp,
        }
    }
}

/// The code and the origin of the link on which alone the existence of a name depends.
pub(super) fn link_at<'n>(zone: &'n Zone, name: &'n WireName) -> Option<(&'n str, &'n Origin)> {
    Some((zone.link_at(name)?, zone.link_origin()?))
}

/// Whether a name exists: in the zone file, or as the name of a link that exists. All other names count as made up.
/// `is_live` says whether the link that was looked up for the name exists.
pub(super) fn is_own(zone: &Zone, name: &WireName, is_live: bool) -> bool {
    let is_of_link = || {
        // An alias may lead further, but the link that was looked up is the first on the way.
        zone.link_at(name).is_some() || matches!(zone.search(name), Lookup::Link { .. })
    };
    zone.has_name(name) || is_live && is_of_link()
}
