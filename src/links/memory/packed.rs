//! A link in one piece of memory.
//!
//! ```text
//!   version 8 | created_at 8 | URL's length 2 | name's length 1 | flags 1 |
//!   name | expires_at 8, if any | ttl 4, if any | why it is withheld, if it is | URL | created_by
//! ```
//!
//! Numbers are little-endian. A [`Link`] consists of four allocations, three of them for its texts, and the
//! allocator rounds each of them up: an ordinary link takes 270 bytes in that form and 128 in this one. Memory
//! holds many links and rarely returns one, because most queries are answered from encoded answers. So it makes a
//! `Link` only on request.

use std::sync::Arc;

use crate::base::clock::UnixTime;
use crate::link::{
    About, Destination, Grounds, Link, LinkName, Reason, TargetUrl, Ttl, Version, Withheld,
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
/// The kinds of links that are withheld.
const ABUSE: u8 = 0;
const LEGAL: u8 = 1;
/// Legal, with an authority.
const LEGAL_OF: u8 = 2;

const _: () = assert!(TargetUrl::MAX_LEN <= u16::MAX as usize);
// A character has 4 bytes at most.
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
        let flags = expires_at.map_or(0, |_| EXPIRES)
            | ttl.map_or(0, |_| HAS_TTL)
            | withheld.as_ref().map_or(0, |_| WITHHELD);
        // Neither length is truncated: a name has at most 253 bytes, and the bound of the URL is checked above.
        let (url_len, name_len) = (url.len() as u16, name.len() as u8);
        let parts: [&[u8]; 9] = [
            &link.version.0.to_le_bytes(),
            &link.created_at.0.to_le_bytes(),
            &url_len.to_le_bytes(),
            &[name_len, flags],
            name.as_bytes(),
            expires_at.as_ref().map_or(&[], |end| end),
            ttl.as_ref().map_or(&[], |ttl| ttl),
            withheld.as_deref().unwrap_or_default(),
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

    /// Where the link leads; none if nobody may know, because the link is withheld, or if the URL is not UTF-8.
    pub(super) fn destination(&self) -> Option<Destination<'_>> {
        let mut rest = &self.0[NAME_LEN - 2..];
        let url_len = usize::from(u16::from_le_bytes(take(&mut rest)));
        let [name_len, flags] = take(&mut rest);
        if flags & WITHHELD != 0 {
            return None;
        }
        let mut rest = rest.get(usize::from(name_len)..)?;
        let expires_at = (flags & EXPIRES != 0).then(|| u64::from_le_bytes(take(&mut rest)));
        let ttl = (flags & HAS_TTL != 0).then(|| u32::from_le_bytes(take(&mut rest)));
        Some(Destination {
            url: std::str::from_utf8(rest.get(..url_len)?).ok()?,
            expires_at: expires_at.map(UnixTime),
            ttl: ttl.and_then(|seconds| Ttl::from_secs(seconds.into())),
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
            version,
        })
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
        ) {
            let withheld = withheld.map(|(kind, reason, has_authority)| {
                let has_authority = has_authority && kind == "legal";
                let authority = has_authority.then_some("https://court.example/12");
                Box::new(Withheld::parse(&kind, &reason, authority).unwrap())
            });
            let link = Link {
                name: LinkName::parse(&format!("{code}.s.example.com")).unwrap(),
                target: TargetUrl::parse(&format!("https://example.net/{path}")).unwrap(),
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
            let destination = link.withheld.is_none().then(|| link.destination());
            prop_assert_eq!(packed.destination(), destination);
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
            withheld: None,
            version: Version(1_700_000_000_000_000),
        };
        let text = link.name.as_str().len() + link.target.as_str().len() + link.created_by.len();
        assert_eq!(PackedLink::of(&link).len(), FIXED + text);
    }
}
