//! Prefixes of addresses: of clients, and of exempt clients.
//!
//! All are prefixes of IPv6 addresses. An IPv4 address is treated as its IPv4-mapped IPv6 address (RFC 4291
//! §2.5.5.2), which is also what a socket of both families reports. So a client is the same in both forms.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The bits before the IPv4 address in an IPv4-mapped IPv6 address.
const MAPPED_LEN: u8 = 96;

/// A prefix of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    bits: u128,
    /// The length of the prefix, in bits.
    len: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not an address, or no valid length behind it.
    #[error("not a prefix, such as \"192.0.2.0/24\" or \"2001:db8::/32\"")]
    Form,
    /// Bits are set behind the prefix.
    #[error("the address has bits beyond the length of the prefix")]
    HostBits,
}

impl Prefix {
    /// The prefix of an address: its first `v4` or `v6` bits.
    pub fn of(ip: IpAddr, v4: u8, v6: u8) -> Self {
        let (bits, is_v4) = mapped(ip);
        let len = if is_v4 { MAPPED_LEN + v4.min(32) } else { v6 };
        Self {
            bits: bits & mask(len),
            len,
        }
    }

    /// The bits of the prefix, followed by zeros: the first of its addresses.
    pub(crate) fn bits(&self) -> u128 {
        self.bits
    }

    /// The last of its addresses.
    pub(crate) fn last(&self) -> u128 {
        self.bits | !mask(self.len)
    }

    /// Its length in bits, of an IPv6 address.
    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    /// The first and the last of its addresses, if all of them are IPv4 addresses.
    pub(crate) fn ipv4(&self) -> Option<(u32, u32)> {
        let first = Ipv6Addr::from_bits(self.bits).to_ipv4_mapped()?;
        let behind = self.len.checked_sub(MAPPED_LEN)?;
        let last = first.to_bits() | u32::MAX.checked_shr(behind.into()).unwrap_or(0);
        Some((first.to_bits(), last))
    }

    /// This prefix and all shorter ones of its family that contain it, the longest first.
    pub(crate) fn and_shorter(self) -> impl Iterator<Item = Self> {
        let shortest = if self.ipv4().is_some() { MAPPED_LEN } else { 0 };
        (shortest..=self.len).rev().map(move |len| Self {
            bits: self.bits & mask(len),
            len,
        })
    }

    /// Whether an address of its own family has this prefix: `::/0` has no IPv4 address.
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        let (bits, is_v4) = mapped(ip);
        is_v4 == self.ipv4().is_some() && bits & mask(self.len) == self.bits
    }
}

/// An address without a length is a prefix of that one address.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| PrefixError::Form)?;
        let (bits, _) = mapped(ip);
        let (before, most) = match ip {
            IpAddr::V4(_) => (MAPPED_LEN, 32),
            IpAddr::V6(_) => (0, 128),
        };
        let len = match len {
            None => most,
            // `parse` would take a sign, too.
            Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => {
                len.parse().map_err(|_| PrefixError::Form)?
            }
            Some(_) => return Err(PrefixError::Form),
        };
        if len > most {
            return Err(PrefixError::Form);
        }
        let len = before + len;
        match bits & !mask(len) {
            0 => Ok(Self { bits, len }),
            _ => Err(PrefixError::HostBits),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from_bits(self.bits);
        match (ip.to_ipv4_mapped(), self.len.checked_sub(MAPPED_LEN)) {
            (Some(ip), Some(len)) => write!(f, "{ip}/{len}"),
            _ => write!(f, "{ip}/{}", self.len),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of addresses, as sorted ranges that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses(Box<[(u128, u128)]>);

impl Addresses {
    /// All addresses with one of these prefixes.
    pub(crate) fn of(prefixes: &[Prefix]) -> Self {
        let mut prefixes = prefixes.to_vec();
        prefixes.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            match ranges.last_mut() {
                Some((_, last)) if prefix.bits <= *last => *last = (*last).max(prefix.last()),
                _ => ranges.push((prefix.bits, prefix.last())),
            }
        }
        Self(ranges.into())
    }

    /// Whether the set has this address.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let (bits, _) = mapped(ip);
        let behind = self.0.partition_point(|(first, _)| *first <= bits);
        let range = behind.checked_sub(1).and_then(|place| self.0.get(place));
        range.is_some_and(|(_, last)| bits <= *last)
    }
}

/// An address as an IPv6 address, and whether it is an IPv4 address.
fn mapped(ip: IpAddr) -> (u128, bool) {
    let ip = match ip {
        IpAddr::V4(ip) => return (ip.to_ipv6_mapped().to_bits(), true),
        IpAddr::V6(ip) => ip,
    };
    (ip.to_bits(), ip.to_ipv4_mapped().is_some())
}

/// The first `len` bits.
fn mask(len: u8) -> u128 {
    let behind = 128_u32.saturating_sub(len.into());
    u128::MAX.checked_shl(behind).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn texts() {
        let check = |text: &str, expected: Result<&str, PrefixError>| {
            let read = text.parse::<Prefix>().map(|prefix| prefix.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        };
        check("192.0.2.0/24", Ok("192.0.2.0/24"));
        check("192.0.2.7", Ok("192.0.2.7/32"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("2001:db8::/32", Ok("2001:db8::/32"));
        check("::1", Ok("::1/128"));
        check("::/0", Ok("::/0"));
        check("::ffff:192.0.2.0/120", Ok("192.0.2.0/24"));
        for text in [
            "",
            "/24",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "192.0.2/24",
            "::/129",
            "::/256",
            "::1%eth0",
            "localhost",
            "192.0.2.0/255.255.255.0",
        ] {
            check(text, Err(PrefixError::Form));
        }
        check("192.0.2.1/24", Err(PrefixError::HostBits));
        check("2001:db8::1/64", Err(PrefixError::HostBits));
    }

    #[test]
    fn rfc4291_2_5_5_2_a_mapped_address_is_that_of_ipv4() {
        let of = |ip: &str| Prefix::of(ip.parse().unwrap(), 24, 56);
        assert_eq!(of("::ffff:192.0.2.77"), of("192.0.2.1"));
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.0/24");
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:0:12::1"), of("2001:db8:0:34:5::"));
        assert_eq!(of("2001:db8:0:12::1").to_string(), "2001:db8::/56");
        assert_ne!(of("2001:db8:0:100::"), of("2001:db8::"));
        // This is the IPv4-compatible form, which is deprecated.
        assert_eq!(of("::192.0.2.1").to_string(), "::/56");
        let exempt = Addresses::of(&[prefix("192.0.2.0/24")]);
        assert!(exempt.contains("::ffff:192.0.2.200".parse().unwrap()));
    }

    #[test]
    fn families_are_apart() {
        let has = |text: &str, ip: &str| prefix(text).has(ip.parse().unwrap());
        assert!(has("192.0.2.0/24", "192.0.2.255") && has("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(!has("192.0.2.0/24", "192.0.3.0") && !has("::/0", "192.0.2.1"));
        assert!(has("::/0", "2001:db8::1") && has("0.0.0.0/0", "255.255.255.255"));
        assert_eq!(
            prefix("192.0.2.0/24").ipv4(),
            Some((0xC000_0200, 0xC000_02FF))
        );
        assert_eq!(prefix("0.0.0.0/0").ipv4(), Some((0, u32::MAX)));
        assert_eq!(prefix("192.0.2.1").ipv4(), Some((0xC000_0201, 0xC000_0201)));
        assert_eq!(prefix("::/0").ipv4(), None);
    }

    fn prefixes() -> impl Strategy<Value = Prefix> {
        // Few bits differ, so that some prefixes contain others.
        (any::<u128>(), 0_u8..=128, any::<bool>()).prop_map(|(bits, len, is_v4)| {
            let bits = bits & 0x8000_0001_u128 << 96 | bits & 3;
            match is_v4 {
                true => Prefix::of(
                    Ipv6Addr::from_bits(0xFFFF_u128 << 32 | bits & 3).into(),
                    len.min(32),
                    0,
                ),
                false => Prefix::of(Ipv6Addr::from_bits(bits).into(), 0, len),
            }
        })
    }

    proptest! {
        #[test]
        fn a_set_has_the_addresses_of_its_prefixes(
            all in proptest::collection::vec(prefixes(), 0..8),
            ip in prefixes(),
        ) {
            let set = Addresses::of(&all);
            for bits in [ip.bits, ip.last(), ip.bits.wrapping_sub(1), ip.last().wrapping_add(1)] {
                let within = all.iter().any(|one| bits & mask(one.len) == one.bits);
                prop_assert_eq!(set.contains(Ipv6Addr::from_bits(bits).into()), within);
            }
        }
    }
}
