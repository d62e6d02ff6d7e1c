//! The values of a link. They cannot hold anything invalid, and do no I/O.
//!
//! A [`Link`] joins a [`LinkName`] to a [`TargetUrl`]. Each type checks its precondition once, when a value is
//! created. So no other part has to check again that a code is a legal DNS label, or that a destination is a
//! URL that a browser may follow.

mod about;
mod code;
mod destination_list;
mod destinations;
mod name;
mod reserved;
mod target;
mod withheld;

pub use about::{About, AboutChange, AboutError, Note, Tag, Tags, Title};
pub use code::{Code, CodeError};
pub use destination_list::{DestinationListError, list_text, read_list};
pub use destinations::{Destinations, DestinationsError, Drawn, Other, Rank, RankedUrl, draw};
pub use name::{LinkName, LinkNameError, Origin, OriginError};
pub use reserved::{ReservedCodeError, ReservedCodes};
pub(crate) use target::lacks_scheme;
pub use target::{TargetUrl, TargetUrlError};
pub use withheld::{Grounds, Reason, Withheld, WithheldError};

use std::fmt;
use std::sync::Arc;

use crate::base::clock::UnixTime;

/// A short link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name of the link; also its key in every store.
    pub name: LinkName,
    /// The destination; of several the preferred one.
    pub target: TargetUrl,
    /// What a link with several destinations has besides. Few links have this, and for the others it is one word.
    pub destinations: Option<Box<Destinations>>,
    /// When the link was created.
    pub created_at: UnixTime,
    /// The creator, by the name that the admin API uses. Shared between the links in memory, since there are few
    /// creators.
    pub created_by: Arc<str>,
    /// From this second on the link counts as absent, even if a store has not removed it yet.
    pub expires_at: Option<UnixTime>,
    /// The TTL of its records; without one the zone's `link_ttl` holds.
    pub ttl: Option<Ttl>,
    /// What people say about it. Only the store keeps this: a link from memory or from Redis has nothing here.
    pub about: About,
    /// Why nobody gets its destination, if that is so. Few links have this, and for the others it is one word.
    pub withheld: Option<Box<Withheld>>,
    /// The version of this state of the link.
    pub version: Version,
}

impl Link {
    /// Whether the link has expired: true from the second of `expires_at` on.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.destination().is_expired(now)
    }

    /// Where it leads if all clients get the same, and for how long.
    pub fn destination(&self) -> Destination<'_> {
        Destination {
            url: self.target.as_str(),
            expires_at: self.expires_at,
            ttl: self.ttl,
            is_drawn: false,
        }
    }

    /// Where it leads for one client, drawn from a random number, and for how long.
    pub fn drawn_destination(&self, random: u64) -> Destination<'_> {
        let Some(destinations) = self.destinations.as_deref() else {
            return self.destination();
        };
        let others = destinations.others();
        let ranks = others.iter().map(|other| other.rank);
        let drawn = draw([destinations.rank()].into_iter().chain(ranks), random);
        let other = drawn.at.checked_sub(1).and_then(|at| others.get(at));
        Destination {
            url: other.map_or(&self.target, |other| &other.url).as_str(),
            is_drawn: drawn.may_differ,
            ..self.destination()
        }
    }

    /// All destinations with their ranks, in the order of preference.
    pub fn ranked(&self) -> impl Iterator<Item = (&TargetUrl, Rank)> {
        let rank = self.destinations.as_deref().map(Destinations::rank);
        let others = self.destinations.as_deref().map(Destinations::others);
        let others = others.unwrap_or_default().iter();
        std::iter::once((&self.target, rank.unwrap_or_default()))
            .chain(others.map(|other| (&other.url, other.rank)))
    }

    /// The same as texts, for a link that has more than its target.
    pub fn ranked_urls(&self) -> Option<Vec<RankedUrl>> {
        let shown = |(url, rank)| RankedUrl::new(url, rank);
        self.destinations
            .is_some()
            .then(|| self.ranked().map(shown).collect())
    }

    /// Whether it leads to exactly these destinations.
    pub fn leads_to(&self, target: &TargetUrl, destinations: Option<&Destinations>) -> bool {
        self.target == *target && self.destinations.as_deref() == destinations
    }

    /// The TTL of its records, in seconds: its own or `zone_ttl`.
    pub fn full_ttl(&self, zone_ttl: u32) -> u32 {
        self.destination().full_ttl(zone_ttl)
    }

    /// `ttl`, limited to the remaining lifetime of the link at `now`, so that no cache holds an expired link.
    /// The current second may be nearly over, so it does not count: in its last second a link must not be
    /// cached at all.
    pub fn cap_ttl(&self, ttl: u32, now: UnixTime) -> u32 {
        self.destination().cap_ttl(ttl, now)
    }
}

/// Where a link leads, and for how long: what a redirect depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The text of a [`TargetUrl`].
    pub url: &'a str,
    /// See [`Link::expires_at`].
    pub expires_at: Option<UnixTime>,
    /// See [`Link::ttl`].
    pub ttl: Option<Ttl>,
    /// Whether it was drawn among several, so that the next client may get another one.
    pub is_drawn: bool,
}

impl<'a> Destination<'a> {
    /// See [`Link::is_expired`].
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// See [`TargetUrl::domain`].
    pub fn domain(&self) -> Option<&'a str> {
        TargetUrl::domain_of(self.url)
    }

    /// See [`Link::full_ttl`].
    pub fn full_ttl(&self, zone_ttl: u32) -> u32 {
        self.ttl.map_or(zone_ttl, Ttl::as_secs)
    }

    /// See [`Link::cap_ttl`].
    pub fn cap_ttl(&self, ttl: u32, now: UnixTime) -> u32 {
        match self.expires_at {
            Some(end) => {
                let left = now.until(end).saturating_sub(1);
                ttl.min(u32::try_from(left).unwrap_or(u32::MAX))
            }
            None => ttl,
        }
    }
}

/// The version of a state of a link. A cache replaces its value only by one with a higher version.
///
/// A hybrid logical clock: microseconds since the epoch at the time of the write, or the last version of that
/// name plus one if the clock has not advanced. The versions of a name only grow, also across a deletion and a
/// new creation. They stay below 2^53 until the year 2255, so JSON numbers hold them exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version for a write at `now_micros` (microseconds since the epoch) that follows `last`.
    pub fn next(last: Option<Self>, now_micros: u64) -> Self {
        match last {
            Some(Self(last)) => Self(now_micros.max(last + 1)),
            None => Self(now_micros),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The TTL of a link: 0 to 604,800 seconds.
///
/// The wire format allows 2^31 - 1 (RFC 2181 §8), but resolvers limit TTLs to a week, and a change of the link
/// would show only after a longer time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

impl Ttl {
    /// The longest TTL, in seconds: one week.
    pub const MAX: u32 = 604_800;

    /// A TTL of `seconds`; none if that is more than [`Ttl::MAX`].
    pub fn from_secs(seconds: u64) -> Option<Self> {
        u32::try_from(seconds)
            .ok()
            .filter(|s| *s <= Self::MAX)
            .map(Self)
    }

    /// In seconds.
    pub fn as_secs(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(expires_at: Option<u64>, ttl: Option<u64>) -> Link {
        let origin = Origin::parse("s.example.com").unwrap();
        Link {
            name: LinkName::new(&Code::parse("gh7k2m9x").unwrap(), &origin),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(0),
            created_by: "test".into(),
            expires_at: expires_at.map(UnixTime),
            ttl: ttl.and_then(Ttl::from_secs),
            about: About::default(),
            destinations: None,
            withheld: None,
            version: Version(1),
        }
    }

    #[test]
    fn expiry_is_to_the_second() {
        let link = link(Some(1_000), None);
        assert!(!link.is_expired(UnixTime(999)));
        assert!(link.is_expired(UnixTime(1_000)));
    }

    #[test]
    fn ttl_never_reaches_beyond_expiry() {
        let check = |expires_at, ttl, now, expected| {
            let link = link(expires_at, ttl);
            assert_eq!(link.cap_ttl(link.full_ttl(300), UnixTime(now)), expected);
        };
        check(None, None, 5, 300);
        check(None, Some(20), 5, 20);
        check(Some(1_000), None, 990, 9);
        check(Some(1_000), None, 999, 0);
        check(Some(1_000), Some(20), 100, 20);
        check(Some(1_000), None, 2_000, 0);
    }

    #[test]
    fn versions_grow_even_when_the_clock_does_not() {
        assert_eq!(Version::next(None, 7), Version(7));
        assert_eq!(Version::next(Some(Version(7)), 7), Version(8));
        assert_eq!(Version::next(Some(Version(9)), 3), Version(10));
        assert_eq!(Version::next(Some(Version(9)), 30), Version(30));
    }

    #[test]
    fn ttl_range() {
        assert_eq!(Ttl::from_secs(604_800).map(Ttl::as_secs), Some(604_800));
        assert_eq!(Ttl::from_secs(0).map(Ttl::as_secs), Some(0));
        assert!(Ttl::from_secs(604_801).is_none());
        assert!(Ttl::from_secs(u64::MAX).is_none());
    }
}
