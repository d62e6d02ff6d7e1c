//! The limit on wrong tokens.
//!
//! A secret of ours cannot be guessed, but an operator may have chosen a weak root token, and a flood of wrong tokens
//! should not go unnoticed. Each network has a budget of wrong tokens. Once that is spent, calls from the network are
//! refused before their token is looked at, until a part of the budget has come back. A program that repeats one wrong
//! token does not guess, and spends the budget only once: so a client with an old token does not lock out the others
//! behind the same proxy.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::prefix::Prefix;

/// How many wrong tokens a network may send at once.
const BUDGET: u32 = 20;
/// How long it takes until one of them has come back.
const RETURN_TIME: Duration = Duration::from_secs(3);
/// How many of the last wrong tokens of a network are recognised.
const REMEMBERED: usize = 4;
/// How many networks are kept: some 400 KiB.
const MAX_NETWORKS: usize = 4_096;
/// The prefixes that count as a network, as for the rate limit of DNS.
const V4_LEN: u8 = 24;
const V6_LEN: u8 = 56;

/// The wrong tokens of all networks.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    hasher: RandomState,
    networks: Mutex<HashMap<Prefix, Network>>,
}

#[derive(Clone, Debug)]
struct Network {
    /// When the whole budget will have come back.
    settled_at: Instant,
    /// Hashes of the last wrong tokens, the latest first.
    last: [u64; REMEMBERED],
    /// Whether the log has a line about the network.
    logged: bool,
}

/// A network has spent its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// When a call may come again.
    pub(super) retry_after: Duration,
}

impl Guesses {
    /// Whether the token of a call from this address may be looked at.
    pub(super) fn check(&self, ip: IpAddr, now: Instant) -> Result<(), Spent> {
        let networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(network) = networks.get(&network(ip)) else {
            return Ok(());
        };
        let free_at = network.settled_at - RETURN_TIME * (BUDGET - 1);
        match free_at.checked_duration_since(now) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(retry_after) => Err(Spent { retry_after }),
        }
    }

    /// Notes a wrong token.
    pub(super) fn note(&self, ip: IpAddr, presented: &[u8], now: Instant) {
        let hash = self.hasher.hash_one(presented);
        let prefix = network(ip);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= MAX_NETWORKS && !networks.contains_key(&prefix) {
            make_room(&mut networks, now);
        }
        let network = networks.entry(prefix).or_insert_with(|| Network {
            settled_at: now,
            last: [0; REMEMBERED],
            logged: false,
        });
        if network.settled_at <= now {
            network.logged = false;
        }
        if let Some(at) = network.last.iter().position(|last| *last == hash) {
            network.last[..=at].rotate_right(1);
            return;
        }
        network.last.rotate_right(1);
        network.last[0] = hash;
        network.settled_at = network.settled_at.max(now) + RETURN_TIME;
        let is_spent = network.settled_at > now + RETURN_TIME * (BUDGET - 1);
        if is_spent && !network.logged {
            network.logged = true;
            tracing::warn!(
                network = %prefix,
                "many different wrong tokens: calls of the admin API from this network are refused for some seconds each time"
            );
        }
    }
}

fn network(ip: IpAddr) -> Prefix {
    Prefix::of(ip, V4_LEN, V6_LEN)
}

/// Removes the networks whose budget has come back, or else the one whose budget comes back first.
fn make_room(networks: &mut HashMap<Prefix, Network>, now: Instant) {
    networks.retain(|_, network| network.settled_at > now);
    if networks.len() >= MAX_NETWORKS {
        let first = networks
            .iter()
            .min_by_key(|(_, network)| network.settled_at);
        if let Some(first) = first.map(|(prefix, _)| *prefix) {
            networks.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn guess(guesses: &Guesses, ip: IpAddr, numbers: std::ops::Range<u32>, now: Instant) {
        for number in numbers {
            guesses.note(ip, format!("guess {number}").as_bytes(), now);
        }
    }

    #[test]
    fn a_network_spends_its_budget_and_gets_it_back_bit_by_bit() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess(&guesses, IP, 0..BUDGET - 1, now);
        assert_eq!(guesses.check(IP, now), Ok(()));
        guess(&guesses, IP, 100..101, now);
        let spent = guesses.check(IP, now).unwrap_err();
        assert_eq!(spent.retry_after, RETURN_TIME);
        let neighbour = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));
        assert!(guesses.check(neighbour, now).is_err());
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 3, 1));
        assert_eq!(guesses.check(other, now), Ok(()));

        let later = now + RETURN_TIME;
        assert_eq!(guesses.check(IP, later), Ok(()));
        guess(&guesses, IP, 200..201, later);
        assert!(guesses.check(IP, later).is_err());
        let much_later = later + RETURN_TIME * BUDGET;
        guess(&guesses, IP, 300..300 + BUDGET - 1, much_later);
        assert_eq!(guesses.check(IP, much_later), Ok(()));
    }

    #[test]
    fn a_wrong_token_that_is_repeated_counts_once() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..1_000 {
            guess(&guesses, IP, 0..REMEMBERED as u32, now);
        }
        assert_eq!(guesses.check(IP, now), Ok(()));
        guess(&guesses, IP, 10..10 + BUDGET - REMEMBERED as u32, now);
        assert!(guesses.check(IP, now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_those_who_guess_most_are_kept() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess(&guesses, IP, 0..BUDGET, now);
        for n in 0..2 * MAX_NETWORKS {
            let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 | (n as u128) << 72);
            guess(&guesses, IpAddr::V6(ip), 0..1, now);
        }
        assert_eq!(guesses.networks.lock().unwrap().len(), MAX_NETWORKS);
        assert!(guesses.check(IP, now).is_err());
    }
}
