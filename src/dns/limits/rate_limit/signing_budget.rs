//! The limits on signatures. A server that signs as it answers does much work for a small query, so clients must not
//! be able to keep it busy with signatures.
//!
//! The number of existing names is finite: their signatures are kept, as far as hot answers have room. The number of
//! made-up names is not. So each kind has a limit of its own, and a flood of random names takes nothing from links.
//! Each kind also has a limit for each network of clients, so that one network takes nothing from the others. Beyond
//! a limit the reply is truncated, and the client asks again by TCP, which proves its address. Clients with a proved
//! address, by TCP or by a cookie, have the same limits once more for themselves.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;

use super::table::{Charged, Table, Terms};
use super::{MICROS, PARTS, Prefix};

/// The prefix lengths of a network of clients.
const IPV4_BITS: u8 = 24;
const IPV6_BITS: u8 = 56;
/// Enough for half a million networks.
const TABLE_BYTES: usize = 4 << 20;

/// The most signatures a second; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureLimits {
    /// For existing names, of all clients.
    pub per_second: u32,
    /// For existing names, of each network (IPv4 /24 or IPv6 /56).
    pub per_client: u32,
    /// For made-up names, of all clients.
    pub made_up_per_second: u32,
    /// For made-up names, of each network (IPv4 /24 or IPv6 /56).
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

/// The limits on signatures of one kind.
#[derive(Debug)]
struct Bounds {
    all: Option<Terms>,
    client: Option<Terms>,
}

/// The purpose of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// Whether the name is made up.
    pub(crate) is_made_up: bool,
    /// The client.
    pub(crate) client: IpAddr,
    /// Whether the client has proved its address, by TCP or by a cookie.
    pub(crate) is_known: bool,
}

impl SignatureLimiter {
    /// A limiter. If it is not `needed`, because no zone is signed, it takes next to no memory.
    pub(crate) fn new(limits: &SignatureLimits, needed: bool) -> Self {
        let terms = |rate: u32| (rate > 0).then(|| Terms::of(rate.into(), 1, 0));
        let bytes = if needed { TABLE_BYTES } else { 0 };
        Self {
            // Evictions are not counted here.
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

    /// Counts one more signature. Returns whether it may be made.
    pub(crate) fn take(&self, purpose: Purpose, now: Instant) -> bool {
        let now = self.micros(now);
        // The network's account first: a refusal there is not to charge the account of all.
        self.accounts(purpose)
            .into_iter()
            .flatten()
            .all(|(terms, account)| self.table.charge(account, terms, now) == Charged::Paid)
    }

    /// Whether one more signature would be allowed, without counting it.
    pub(crate) fn has_room(&self, purpose: Purpose, now: Instant) -> bool {
        let now = self.micros(now);
        self.accounts(purpose)
            .into_iter()
            .flatten()
            .all(|(terms, account)| self.table.debt(account, now) + terms.price <= terms.most)
    }

    /// The accounts to charge for a signature, with their terms: that of the network, and that of all.
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

    /// Sweeps a part of the table. Call it each second, with one part after the other.
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
        assert_eq!(
            taken(purpose(true, 100, false), now),
            0,
            "the limit of all clients"
        );
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
