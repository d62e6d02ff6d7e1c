//! A link in one piece of memory.
//!
//! ```text
//!   version 8 | created_at 8 | URL's length 2 | name's length 1 | flags 1 |
//!   name | expires_at 8, if any | ttl 4, if any | why it is withheld, if it is |
//!   what it has besides the URL, if it has several destinations | URL | created_by
//! ```
//!
//! Numbers are little-endian. A [`Link`] consists of four allocations, three of them for its texts, and the
//! allocator rounds each of them up: an ordinary link takes 270 bytes in that form and 128 in this one. Memory
//! holds many links and rarely returns one, because most queries are answered from encoded answers. So it makes a
//! `Link` only on request.

use std::sync::Arc;

use crate::base::clock::UnixTime;
use crate::link::{
    About, Destination, Destinations, Grounds, Link, LinkName, Other, Rank, Reason, TargetUrl, Ttl,
    Version, Withheld, draw,
};

/// The length of the fields before the name, in bytes.
const FIXED: usize = 20;
/// The place of the length of the name.
const NAME_LEN: usize = 18;
/// The flag of a link that has an end.
const EXPIRES: u8 = 1;
/// The flag of a link that has a TTL of its own.
const HAS_TTL: u8 = 2;
/// The flag of a link that is withheld. What follows is in [`pack_withheld`].
const WITHHELD: u8 = 4;
/// The flag of a link with several destinations. What follows is in [`pack_destinations`].
const DESTINATIONS: u8 = 8;
/// The kinds of links that are withheld.
const ABUSE: u8 = 0;
const LEGAL: u8 = 1;
/// Legal, with an authority.
const LEGAL_OF: u8 = 2;

const _: () = assert!(TargetUrl::MAX_LEN <= u16::MAX as usize);
// A character has 4 bytes at most.
/// The length of a rank and of the length of a URL, in bytes.
const OTHER: usize = 6;
const _: () = assert!(Destinations::MAX * (OTHER + TargetUrl::MAX_LEN) <= u16::MAX as usize);
const _: () = assert!(4 * Reason::MAX <= u16::MAX as usize);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct PackedLink(Box<[u8]>);

impl PackedLink {
    /// Packs a link.
    pub(super) fn of(link: &Link) -> Self {
        let (name, url) = (link.name.as_str(), link.target.as_str());
        let expires_at = link.expires_at.map(|end| end.0.to_le_bytes());
        let ttl = link.ttl.map(|ttl| ttl.as_secs().to_le_bytes());
        let withheld = link.withheld.as_deref().map(pack_withheld);
        let destinations = link.destinations.as_deref().map(pack_destinations);
        let flags = expires_at.map_or(0, |_| EXPIRES)
            | ttl.map_or(0, |_| HAS_TTL)
            | withheld.as_ref().map_or(0, |_| WITHHELD)
            | destinations.as_ref().map_or(0, |_| DESTINATIONS);
        // Neither length is truncated: a name has at most 253 bytes, and the bound of the URL is checked above.
        let (url_len, name_len) = (url.len() as u16, name.len() as u8);
        let parts: [&[u8]; 10] = [
            &link.version.0.to_le_bytes(),
            &link.created_at.0.to_le_bytes(),
            &url_len.to_le_bytes(),
            &[name_len, flags],
            name.as_bytes(),
            expires_at.as_ref().map_or(&[], |end| end),
            ttl.as_ref().map_or(&[], |ttl| ttl),
            withheld.as_deref().unwrap_or_default(),
            destinations.as_deref().unwrap_or_default(),
            url.as_bytes(),
        ];
        let len = parts.iter().map(|part| part.len()).sum::<usize>() + link.created_by.len();
        let mut bytes = Vec::with_capacity(len);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(link.created_by.as_bytes());
        Self(bytes.into())
    }

    /// The link's name, as text.
    pub(super) fn name(&self) -> &[u8] {
        let len = usize::from(self.0[NAME_LEN]);
        &self.0[FIXED..FIXED + len]
    }

    /// The link's version.
    pub(super) fn version(&self) -> Version {
        Version(u64::from_le_bytes(take(&mut &self.0[..])))
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the link leads one client; none if the link is withheld, or if the URL is not UTF-8.
    /// `random` makes the number for a draw among several destinations.
    pub(super) fn destination(&self, random: impl FnOnce() -> u64) -> Option<Destination<'_>> {
        let mut rest = &self.0[NAME_LEN - 2..];
        let url_len = usize::from(u16::from_le_bytes(take(&mut rest)));
        let [name_len, flags] = take(&mut rest);
        if flags & WITHHELD != 0 {
            return None;
        }
        let mut rest = rest.get(usize::from(name_len)..)?;
        let expires_at = (flags & EXPIRES != 0).then(|| u64::from_le_bytes(take(&mut rest)));
        let ttl = (flags & HAS_TTL != 0).then(|| u32::from_le_bytes(take(&mut rest)));
        let others = (flags & DESTINATIONS != 0).then(|| Others::take(&mut rest));
        let mut url = rest.get(..url_len)?;
        let mut is_drawn = false;
        if let Some((rank, others)) = others {
            let ranks = others.clone().map(|(rank, _)| rank);
            let drawn = draw(std::iter::once(rank).chain(ranks), random());
            let other = drawn
                .at
                .checked_sub(1)
                .and_then(|at| others.clone().nth(at));
            url = other.map_or(url, |(_, url)| url);
            is_drawn = drawn.may_differ;
        }
        Some(Destination {
            url: std::str::from_utf8(url).ok()?,
            expires_at: expires_at.map(UnixTime),
            ttl: ttl.and_then(|seconds| Ttl::from_secs(seconds.into())),
            is_drawn,
        })
    }

    /// The link. The caller has its name already.
    pub(super) fn unpack(&self, name: &LinkName) -> Arc<Link> {
        let mut rest = &self.0[..];
        let version = Version(u64::from_le_bytes(take(&mut rest)));
        let created_at = UnixTime(u64::from_le_bytes(take(&mut rest)));
        let url_len = usize::from(u16::from_le_bytes(take(&mut rest)));
        let [name_len, flags] = take(&mut rest);
        let mut rest = &rest[usize::from(name_len)..];
        let expires_at = (flags & EXPIRES != 0).then(|| u64::from_le_bytes(take(&mut rest)));
        let ttl = (flags & HAS_TTL != 0).then(|| u32::from_le_bytes(take(&mut rest)));
        let withheld = (flags & WITHHELD != 0).then(|| unpack_withheld(&mut rest));
        let destinations = (flags & DESTINATIONS != 0).then(|| unpack_destinations(&mut rest));
        let (url, creator) = rest.split_at(url_len);
        Arc::new(Link {
            name: name.clone(),
            target: TargetUrl::of_valid(&String::from_utf8_lossy(url)),
            created_at,
            created_by: String::from_utf8_lossy(creator).into(),
            expires_at: expires_at.map(UnixTime),
            ttl: ttl.and_then(|seconds| Ttl::from_secs(seconds.into())),
            about: About::default(),
            withheld: withheld.map(Box::new),
            destinations: destinations.map(Box::new),
            version,
        })
    }
}

/// What a link with several destinations has besides: `length of the rest 2 | rank of the URL 4 | other*`, and for each other
/// destination `rank 4 | URL's length 2 | URL`. A rank is a priority and a weight.
fn pack_destinations(destinations: &Destinations) -> Vec<u8> {
    let mut packed = vec![0; 2];
    let push_rank = |packed: &mut Vec<u8>, rank: Rank| {
        packed.extend(rank.priority.to_le_bytes());
        packed.extend(rank.weight.to_le_bytes());
    };
    push_rank(&mut packed, destinations.rank());
    for other in destinations.others() {
        push_rank(&mut packed, other.rank);
        let url = other.url.as_str();
        // The bounds of both lengths are checked above.
        packed.extend((url.len() as u16).to_le_bytes());
        packed.extend(url.as_bytes());
    }
    let len = (packed.len() - 2) as u16;
    packed[..2].copy_from_slice(&len.to_le_bytes());
    packed
}

/// The inverse of [`pack_destinations`].
fn unpack_destinations(packed: &mut &[u8]) -> Destinations {
    let (rank, others) = Others::take(packed);
    let other = |(rank, url): (Rank, &[u8])| Other {
        url: TargetUrl::of_valid(&String::from_utf8_lossy(url)),
        rank,
    };
    Destinations::of_valid(rank, others.map(other).collect())
}

/// The destinations besides the URL of a packed link, without a copy.
#[derive(Clone)]
struct Others<'a>(&'a [u8]);

impl<'a> Others<'a> {
    /// Takes the rank of the URL and the other destinations from the beginning of the bytes.
    fn take(packed: &mut &'a [u8]) -> (Rank, Self) {
        let len = usize::from(u16::from_le_bytes(take(packed)));
        let (mut others, rest) = packed.split_at(len);
        *packed = rest;
        (take_rank(&mut others), Self(others))
    }
}

impl<'a> Iterator for Others<'a> {
    type Item = (Rank, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.len() < OTHER {
            return None;
        }
        let rank = take_rank(&mut self.0);
        let len = usize::from(u16::from_le_bytes(take(&mut self.0)));
        let (url, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some((rank, url))
    }
}

fn take_rank(packed: &mut &[u8]) -> Rank {
    Rank {
        priority: u16::from_le_bytes(take(packed)),
        weight: u16::from_le_bytes(take(packed)),
    }
}

/// Why a link is withheld: `kind 1 | authority's length 2 | authority | reason's length 2 | reason`.
fn pack_withheld(withheld: &Withheld) -> Vec<u8> {
    let (kind, authority) = match &withheld.grounds {
        Grounds::Abuse => (ABUSE, ""),
        Grounds::Legal(None) => (LEGAL, ""),
        Grounds::Legal(Some(authority)) => (LEGAL_OF, authority.as_str()),
    };
    let mut packed = vec![kind];
    for text in [authority, withheld.reason.as_str()] {
        // The bounds of both are checked above.
        packed.extend((text.len() as u16).to_le_bytes());
        packed.extend(text.as_bytes());
    }
    packed
}

/// The inverse of [`pack_withheld`].
fn unpack_withheld(packed: &mut &[u8]) -> Withheld {
    let [kind] = take(packed);
    let mut text = || {
        let len = usize::from(u16::from_le_bytes(take(packed)));
        let (text, rest) = packed.split_at(len);
        *packed = rest;
        String::from_utf8_lossy(text)
    };
    let (authority, reason) = (text(), text());
    let grounds = match kind {
        LEGAL => Grounds::Legal(None),
        LEGAL_OF => Grounds::Legal(Some(TargetUrl::of_valid(&authority))),
        _ => Grounds::Abuse,
    };
    Withheld {
        grounds,
        reason: Reason::of_valid(&reason),
    }
}

/// Splits the first `N` bytes off, which must be there.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk() {
        Some((first, rest)) => {
            *bytes = rest;
            *first
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_link_is_unpacked_as_it_was(
            code in "[a-z0-9]{1,63}",
            path in "[a-z0-9/]{0,1900}",
            times in any::<[u64; 2]>(),
            expires_at in any::<Option<u64>>(),
            ttl in proptest::option::of(0..=u64::from(Ttl::MAX)),
            creator in ".{0,300}",
            withheld in proptest::option::of(("abuse|legal", "[^\\p{C}\\p{Z}]{1,200}", any::<bool>())),
            others in proptest::collection::vec(("[a-z]{0,1900}", 0..3_u16, any::<u16>()), 0..8),
            random in any::<u64>(),
        ) {
            let target = TargetUrl::parse(&format!("https://example.net/{path}")).unwrap();
            let others = others.into_iter().enumerate().map(|(n, (path, priority, weight))| Other {
                url: TargetUrl::parse(&format!("https://{n}.example/{path}")).unwrap(),
                rank: Rank { priority, weight },
            });
            let destinations = Destinations::of_valid(Rank::default(), others.collect());
            let withheld = withheld.map(|(kind, reason, has_authority)| {
                let has_authority = has_authority && kind == "legal";
                let authority = has_authority.then_some("https://court.example/12");
                Box::new(Withheld::parse(&kind, &reason, authority).unwrap())
            });
            let link = Link {
                name: LinkName::parse(&format!("{code}.s.example.com")).unwrap(),
                destinations: destinations.beside(&target),
                target,
                created_at: UnixTime(times[0]),
                created_by: creator.into(),
                expires_at: expires_at.map(UnixTime),
                ttl: ttl.and_then(Ttl::from_secs),
                about: About::default(),
                withheld,
                version: Version(times[1]),
            };
            let packed = PackedLink::of(&link);
            prop_assert_eq!(packed.name(), link.name.as_str().as_bytes());
            prop_assert_eq!(packed.version(), link.version);
            prop_assert_eq!(&*packed.unpack(&link.name), &link);
            let destination = link.withheld.is_none().then(|| link.drawn_destination(random));
            prop_assert_eq!(packed.destination(|| random), destination);
        }
    }

    /// The figure in docs/benchmarks.md depends on it.
    #[test]
    fn an_ordinary_link_has_20_bytes_beyond_its_texts() {
        let link = Link {
            name: LinkName::parse("gh7k2m9x.s.example.com").unwrap(),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(1_700_000_000),
            created_by: "admin".into(),
            expires_at: None,
            ttl: None,
            about: About::default(),
            destinations: None,
            withheld: None,
            version: Version(1_700_000_000_000_000),
        };
        let text = link.name.as_str().len() + link.target.as_str().len() + link.created_by.len();
        assert_eq!(PackedLink::of(&link).len(), FIXED + text);
    }
}
