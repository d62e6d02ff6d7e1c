//! How many signatures may be made: by signing as it answers, a server does much work for a small query, and
//! nobody is to have it do nothing else.
//!
//! Of names that exist there is an end: once they are signed, their signatures are kept. Of those that are
//! made up there is none. So each kind has a bound of its own, and a flood of random names takes nothing from
//! the links; and the latter has a second one for each network of clients, so that one of them takes nothing
//! from the others. What is beyond a bound is cut short, and the client comes by TCP, where it has shown that
//! it is where it says it is. There the same bounds hold once more, for those who do.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;

use super::prefix::Prefix;
use super::table::{Charged, Table, Terms};
use super::{MICROS, PARTS};

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
    /// Of names that are made up, for all clients.
    pub made_up_per_second: u32,
    /// Of names that are made up, for each network (/24, or /56 of IPv6).
    pub made_up_per_client: u32,
}

impl Default for SignatureLimits {
    fn default() -> Self {
        Self {
            per_second: 20_000,
            made_up_per_second: 5_000,
            made_up_per_client: 500,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::dns) struct SignatureLimiter {
    table: Table,
    own: Option<Terms>,
    made_up: Option<Terms>,
    client: Option<Terms>,
    hasher: RandomState,
    began: Instant,
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) struct Purpose {
    /// Whether the name is made up.
    pub(in crate::dns) is_made_up: bool,
    /// Who asks.
    pub(in crate::dns) client: IpAddr,
    /// Whether it has shown where it is.
    pub(in crate::dns) is_known: bool,
}

impl SignatureLimiter {
    pub(in crate::dns) fn new(limits: &SignatureLimits, evictions: Counter) -> Self {
        let terms = |rate: u32| (rate > 0).then(|| Terms::of(rate.into(), 1, 0));
        Self {
            table: Table::new(TABLE_BYTES, MICROS, evictions),
            own: terms(limits.per_second),
            made_up: terms(limits.made_up_per_second),
            client: terms(limits.made_up_per_client),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// Whether one more signature may be made, which is then counted.
    pub(in crate::dns) fn take(&self, purpose: Purpose, now: Instant) -> bool {
        let network = Prefix::of(purpose.client, IPV4_BITS, IPV6_BITS);
        let charges = match purpose.is_made_up {
            false => [(&self.own, None), (&None, None)],
            // The network first: what it is refused is not to be taken from the others.
            true => [(&self.client, Some(network)), (&self.made_up, None)],
        };
        charges.into_iter().all(|(terms, network)| {
            let Some(terms) = terms else { return true };
            let account = self.account(purpose, network);
            self.table.charge(account, terms, self.micros(now)) == Charged::Paid
        })
    }

    /// Looks through a part of the table. To be called each second, with one part after the other.
    pub(in crate::dns) fn sweep(&self, part: usize, now: Instant) {
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
            made_up_per_second,
            made_up_per_client,
        };
        SignatureLimiter::new(&limits, Counter::default())
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
    fn zero_is_any_number() {
        let limiter = limiter(0, 0, 0);
        for made_up in [false, true] {
            let one = purpose(made_up, 1, false);
            assert!((0..100_000).all(|_| limiter.take(one, limiter.began)));
        }
    }
}
