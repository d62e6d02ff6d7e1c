//! Pools: addresses that clients are sent to, and for which clients each pool is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::health::Check;
use crate::base::prefix::Prefix;

/// The most pools of a server.
pub const MAX_POOLS: usize = 1_000;
/// The most addresses of a pool: as many AAAA records fit a reply of 1,232 bytes beside a long name.
pub const MAX_ADDRESSES: usize = 32;
/// The highest weight.
pub const MAX_WEIGHT: u16 = 1_000;

/// A pool as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// 1 to 63 letters, digits, hyphens and underscores; no two pools have the same.
    pub name: Box<str>,
    /// At most [`MAX_ADDRESSES`] with those of IPv6, and at least one; in the order of the configuration.
    pub ipv4: Vec<Ipv4Addr>,
    /// See `ipv4`.
    pub ipv6: Vec<Ipv6Addr>,
    /// The countries whose clients it is for.
    pub countries: Vec<Letters>,
    /// The continents whose clients it is for.
    pub continents: Vec<Letters>,
    /// The networks whose clients it is for.
    pub networks: Vec<Prefix>,
    /// Where it is, if it is for the clients that are nearer to it than to other pools.
    pub location: Option<Location>,
    /// Its share among pools that are for the same clients; 0 if it is used only where all of them have 0.
    pub weight: u16,
    /// Whether it is for clients that no other pool of a list is for.
    pub default: bool,
    /// How its addresses are checked; none if they are always up.
    pub check: Option<Box<Check>>,
}

impl Pool {
    /// Its addresses, those of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.iter().copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }
}

/// The code of a country (ISO 3166-1 alpha-2) or continent: two letters in upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letters(pub(super) [u8; 2]);

impl Letters {
    /// The continents as MaxMind's databases have them.
    pub const CONTINENTS: [Self; 7] = [
        Self(*b"AF"),
        Self(*b"AN"),
        Self(*b"AS"),
        Self(*b"EU"),
        Self(*b"NA"),
        Self(*b"OC"),
        Self(*b"SA"),
    ];

    /// Reads two letters in upper or lower case; none if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        crate::base::mmdb::two_letters(text).map(Self)
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place on the earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// In degrees, -90 to 90; north is positive.
    pub latitude: f64,
    /// In degrees, -180 to 180; east is positive.
    pub longitude: f64,
}

impl Location {
    /// The direction from the centre of the earth, of length 1.
    pub(super) fn direction(self) -> [f64; 3] {
        let (latitude, longitude) = (self.latitude.to_radians(), self.longitude.to_radians());
        let flat = latitude.cos();
        [
            flat * longitude.cos(),
            flat * longitude.sin(),
            latitude.sin(),
        ]
    }

    /// How near another place in this direction is by the great circle, from -1 for the opposite point to 1 for the same point.
    /// It is the cosine of the angle between the two, so that comparing distances needs no inverse.
    pub(super) fn nearness(self, other: [f64; 3]) -> f64 {
        let own = self.direction();
        own.iter().zip(other).map(|(a, b)| a * b).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_two_letters() {
        assert_eq!(Letters::parse("de").unwrap().to_string(), "DE");
        for text in ["", "D", "DEU", "D1", "Ä"] {
            assert_eq!(Letters::parse(text), None, "{text}");
        }
    }

    #[test]
    fn great_circles() {
        let place = |latitude, longitude| Location {
            latitude,
            longitude,
        };
        let (frankfurt, newark) = (place(50.1, 8.7), place(40.7, -74.2));
        let lisbon = place(38.7, -9.1);
        assert!(lisbon.nearness(frankfurt.direction()) > lisbon.nearness(newark.direction()));
        // Across the date line, Fiji is near Samoa. On a flat map it is at the other end.
        let (fiji, samoa, lima) = (
            place(-18.1, 178.4),
            place(-13.8, -171.8),
            place(-12.0, -77.0),
        );
        assert!(samoa.nearness(fiji.direction()) > samoa.nearness(lima.direction()));
        let (pole, beside) = (place(90.0, 0.0), place(90.0, 120.0));
        assert!((pole.nearness(beside.direction()) - 1.0).abs() < 1e-12);
    }
}
