//! Which pools and which of their addresses are up, as queries see it.
//!
//! The states of all pools are one value that is replaced as a whole, so a query sees those of one moment.

use super::pool::{MAX_ADDRESSES, Pool};

/// How many editions of its addresses a pool has at a time.
pub(crate) const EDITIONS: u8 = 8;

/// Which addresses of a pool are in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// A bit for each address in the order of [`Pool::addresses`].
    addresses: u32,
    edition: u8,
}

const _: () = assert!(MAX_ADDRESSES <= u32::BITS as usize);

impl Served {
    /// All addresses.
    pub(crate) const ALL: Self = Self {
        addresses: u32::MAX,
        edition: 0,
    };

    /// Whether the address at this place in [`Pool::addresses`] is in answers.
    pub fn has(self, place: usize) -> bool {
        let bit = u32::try_from(place)
            .ok()
            .and_then(|place| 1_u32.checked_shl(place));
        bit.is_some_and(|bit| self.addresses & bit != 0)
    }

    /// A number below [`EDITIONS`]. Answers with the same edition of a pool have the same addresses, unless all hot answers
    /// have been dropped in between.
    pub(crate) fn edition(self) -> u8 {
        self.edition
    }
}

/// The records that a client asks for. A pool is up for them if it has an address of the family that is up; for a family of
/// which it has no address at all, if any other is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
    /// Records that have addresses of both families, or anything else.
    Any,
}

/// The state of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolState {
    /// The addresses that are up.
    pub(super) served: Served,
    /// Whether it is up for IPv4, IPv6, and any family.
    up: [bool; 3],
    /// Whether an operator has taken it out of service.
    pub(super) is_drained: bool,
}

impl PoolState {
    /// The state while all is well.
    pub(super) const UP: Self = Self {
        served: Served::ALL,
        up: [true; 3],
        is_drained: false,
    };

    /// Whether clients that ask for this family may get it.
    pub(super) fn is_up(&self, family: Family) -> bool {
        self.up[family as usize]
    }
}

/// The sets of addresses that a pool has had, by edition. The first one is all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Editions(Vec<u32>);

impl Editions {
    /// The state of a pool of which `up` says which addresses are up, and whether all hot answers have to be dropped, because
    /// an edition stands for other addresses than before.
    pub(super) fn state_of(
        &mut self,
        pool: &Pool,
        up: impl Fn(usize) -> bool,
        is_drained: bool,
    ) -> (PoolState, bool) {
        let count = pool.addresses().count();
        let addresses = (0..count).filter(|place| up(*place));
        let addresses = addresses.fold(0_u32, |all, place| all | 1 << place);
        let ipv4 = mask(0, pool.ipv4.len());
        let ipv6 = mask(pool.ipv4.len(), count);
        let (is_any, mut drops) = (addresses != 0 && !is_drained, false);
        let is_up = |family: u32| is_any && (family == 0 || addresses & family != 0);
        let served = match addresses == ipv4 | ipv6 {
            true => Served::ALL,
            false => {
                let edition;
                (edition, drops) = self.edition_of(addresses);
                Served { addresses, edition }
            }
        };
        let state = PoolState {
            served,
            up: [is_up(ipv4), is_up(ipv6), is_any],
            is_drained,
        };
        (state, drops)
    }

    fn edition_of(&mut self, addresses: u32) -> (u8, bool) {
        if let Some(place) = self.0.iter().position(|known| *known == addresses) {
            return (place as u8 + 1, false);
        }
        let drops = self.0.len() + 1 == usize::from(EDITIONS);
        if drops {
            self.0.clear();
        }
        self.0.push(addresses);
        (self.0.len() as u8, drops)
    }
}

/// The bits from one place to before another.
fn mask(from: usize, to: usize) -> u32 {
    let below = |place: usize| match place {
        0..32 => (1_u32 << place) - 1,
        _ => u32::MAX,
    };
    below(to) & !below(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::tests::pool;

    fn of(ipv4: u8, ipv6: u16) -> Pool {
        Pool {
            ipv4: (0..ipv4).map(|last| [192, 0, 2, last].into()).collect(),
            ipv6: (0..ipv6)
                .map(|last| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())
                .collect(),
            ..pool("a")
        }
    }

    #[test]
    fn a_pool_is_up_for_the_families_that_have_an_address_left() {
        let check = |pool: &Pool, down: &[usize], expected: [bool; 3]| {
            let mut editions = Editions::default();
            let (state, drops) = editions.state_of(pool, |place| !down.contains(&place), false);
            let is_up = [Family::Ipv4, Family::Ipv6, Family::Any].map(|family| state.is_up(family));
            assert_eq!((is_up, drops), (expected, false), "{down:?}");
            for place in 0..pool.addresses().count() {
                assert_eq!(state.served.has(place), !down.contains(&place), "{place}");
            }
        };
        let both = of(2, 1);
        check(&both, &[], [true; 3]);
        check(&both, &[0], [true; 3]);
        check(&both, &[0, 1], [false, true, true]);
        check(&both, &[2], [true, false, true]);
        check(&both, &[0, 1, 2], [false; 3]);
        // The zone file has the addresses of the other family.
        check(&of(1, 0), &[], [true; 3]);
        check(&of(1, 0), &[0], [false; 3]);
        check(&of(20, 12), &[31], [true; 3]);
        check(&of(32, 0), &(0..32).collect::<Vec<_>>(), [false; 3]);
    }

    #[test]
    fn an_edition_stands_for_the_same_addresses_until_all_are_used() {
        let pool = of(4, 0);
        let mut editions = Editions::default();
        let mut with = |addresses: u32| {
            let (state, drops) =
                editions.state_of(&pool, |place| addresses >> place & 1 == 1, false);
            (state.served.edition(), drops)
        };
        assert_eq!(with(15), (0, false));
        for edition in 1..EDITIONS {
            assert_eq!(with(edition.into()), (edition, false));
        }
        assert_eq!(with(3), (3, false));
        assert_eq!(with(8), (1, true));
        assert_eq!(with(15), (0, false));
        assert_eq!(with(1), (2, false));
    }
}
