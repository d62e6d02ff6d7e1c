//! How many signatures may be made: by signing as it answers, a server does much work for a small query, and
//! nobody is to have it do nothing else.
//!
//! Of names that exist there is an end: once they are signed, their signatures are kept, as far as there is room
//! for hot answers. Of those that are made up there is none. So each kind has a bound of its own, and a flood of
//! random names takes nothing from the links; and each has a second one for every network of clients, so that
//! one of them takes nothing from the others. What is beyond a bound is cut short, and the client comes by TCP,
//! where it has shown that it is where it says it is. There the same bounds hold once more, for those who do, and
//! for those who do by a cookie.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;

use super::table::{Charged, Table, Terms};
use super::{MICROS, PARTS, Prefix};

/// How many bits of an address make a network of clients.
const IPV4_BITS: u8 = 24;
const IPV6_BITS: u8 = 56;
/// For half a million networks.
const TABLE_BYTES: usize = 4 << 20;

/// How many signatures may be made a second; 0 for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureLimits {
    /// Of names that exist, for all clients.
    pub per_second: u32,
    /// Of names that exist, for each network (/24, or /56 of IPv6).
    pub per_client: u32,
    /// Of names that are made up, for all clients.
    pub made_up_per_second: u32,
    /// Of names that are made up, for each network (/24, or /56 of IPv6).
    pub made_up_per_client: u32,
}

impl Default for SignatureLimits {
    fn default() -> Self {
        Self {
            per_second: 20_000,
            per_client: 2_000,
            made_up_per_second: 5_000,
            made_up_per_client: 500,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct SignatureLimiter {
    table: Table,
    own: Bounds,
    made_up: Bounds,
    hasher: RandomState,
    began: Instant,
}

/// The bounds on signatures of one kind.
#[derive(Debug)]
struct Bounds {
    all: Option<Terms>,
    client: Option<Terms>,
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// Whether the name is made up.
    pub(crate) is_made_up: bool,
    /// Who asks.
    pub(crate) client: IpAddr,
    /// Whether it has shown where it is, by TCP or by a cookie.
    pub(crate) is_known: bool,
}

impl SignatureLimiter {
    /// A limiter; one that is not `needed`, for no zone is signed, takes next to no memory.
    pub(crate) fn new(limits: &SignatureLimits, needed: bool) -> Self {
        let terms = |rate: u32| (rate > 0).then(|| Terms::of(rate.into(), 1, 0));
        let bytes = if needed { TABLE_BYTES } else { 0 };
        Self {
            // Who is pushed out is nobody's concern.
            table: Table::new(bytes, MICROS, Counter::default()),
            own: Bounds {
                all: terms(limits.per_second),
                client: terms(limits.per_client),
            },
            made_up: Bounds {
                all: terms(limits.made_up_per_second),
                client: terms(limits.made_up_per_client),
            },
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// Whether one more signature may be made, which is then counted.
    pub(crate) fn take(&self, purpose: Purpose, now: Instant) -> bool {
        let now = self.micros(now);
        // The network first: what it is refused is not to be taken from the others.
        self.accounts(purpose)
            .into_iter()
            .flatten()
            .all(|(terms, account)| self.table.charge(account, terms, now) == Charged::Paid)
    }

    /// Whether there is room for one more, as far as can be seen without counting it.
    pub(crate) fn has_room(&self, purpose: Purpose, now: Instant) -> bool {
        let now = self.micros(now);
        self.accounts(purpose)
            .into_iter()
            .flatten()
            .all(|(terms, account)| self.table.debt(account, now) + terms.price <= terms.most)
    }

    /// What is charged for a signature, and on what terms: the accounts of the network and of all.
    fn accounts(&self, purpose: Purpose) -> [Option<(&Terms, u64)>; 2] {
        let bounds = match purpose.is_made_up {
            true => &self.made_up,
            false => &self.own,
        };
        let network = Prefix::of(purpose.client, IPV4_BITS, IPV6_BITS);
        let of_client = bounds.client.as_ref();
        let of_client = of_client.map(|terms| (terms, self.account(purpose, Some(network))));
        let of_all = bounds.all.as_ref();
        [
            of_client,
            of_all.map(|terms| (terms, self.account(purpose, None))),
        ]
    }

    /// Looks through a part of the table. To be called each second, with one part after the other.
    pub(crate) fn sweep(&self, part: usize, now: Instant) {
        self.table.sweep(part % PARTS, PARTS, self.micros(now));
    }

    fn account(&self, purpose: Purpose, network: Option<Prefix>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let scope = [
            purpose.is_made_up.into(),
            purpose.is_known.into(),
            network.is_some().into(),
        ];
        hasher.write(&scope);
        hasher.write_u128(network.map_or(0, |network| network.bits()));
        hasher.finish()
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limiter(
        per_second: u32,
        made_up_per_second: u32,
        made_up_per_client: u32,
    ) -> SignatureLimiter {
        let limits = SignatureLimits {
            per_second,
            per_client: 0,
            made_up_per_second,
            made_up_per_client,
        };
        SignatureLimiter::new(&limits, true)
    }

    fn purpose(is_made_up: bool, last: u8, is_known: bool) -> Purpose {
        Purpose {
            is_made_up,
            client: [192, 0, last, 1].into(),
            is_known,
        }
    }

    #[test]
    fn a_flood_of_made_up_names_takes_nothing_from_the_others() {
        let limiter = limiter(10, 20, 5);
        let now = limiter.began;
        let taken = |purpose: Purpose, now| (0..100).filter(|_| limiter.take(purpose, now)).count();
        assert_eq!(taken(purpose(true, 1, false), now), 5, "its own bound");
        assert_eq!(taken(purpose(true, 2, false), now), 5, "another network");
        for network in 3..100 {
            taken(purpose(true, network, false), now);
        }
        assert_eq!(taken(purpose(true, 100, false), now), 0, "that of all");
        assert_eq!(taken(purpose(false, 1, false), now), 10, "names that exist");
        assert_eq!(taken(purpose(true, 1, true), now), 5, "by TCP");
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(purpose(true, 1, false), later), 5, "a second later");
    }

    #[test]
    fn what_a_network_is_refused_is_not_taken_from_the_others() {
        let limiter = limiter(0, 10, 2);
        let now = limiter.began;
        for _ in 0..100 {
            limiter.take(purpose(true, 1, false), now);
        }
        let others: usize = (2..10)
            .map(|net| {
                let one = purpose(true, net, false);
                (0..2).filter(|_| limiter.take(one, now)).count()
            })
            .sum();
        assert_eq!(others, 8);
    }

    #[test]
    fn a_network_cannot_have_all_names_that_exist_signed_anew() {
        let limits = SignatureLimits {
            per_second: 10,
            per_client: 3,
            made_up_per_second: 0,
            made_up_per_client: 0,
        };
        let limiter = SignatureLimiter::new(&limits, true);
        let now = limiter.began;
        let taken = |network| {
            let one = purpose(false, network, false);
            let taken = (0..100).filter(|_| limiter.take(one, now)).count();
            assert!(!limiter.has_room(one, now));
            taken
        };
        assert_eq!([1, 2, 3, 4, 5].map(taken), [3, 3, 3, 1, 0]);
        let later = now + Duration::from_secs(1);
        assert!(limiter.has_room(purpose(false, 5, false), later));
    }

    #[test]
    fn zero_is_any_number() {
        let limiter = limiter(0, 0, 0);
        for made_up in [false, true] {
            let one = purpose(made_up, 1, false);
            assert!((0..100_000).all(|_| limiter.take(one, limiter.began)));
        }
    }
}
