//! The accounts of the limiter, in a table whose size never changes.
//!
//! ```text
//!   set: eight accounts on one line of the processor's cache
//!   account: | tag 23 bits | logged 1 | slips 4 | paid up at 36 bits, in microseconds |
//! ```
//!
//! An account is a token bucket in the form of one time: the time when it will be *paid up* if nothing more is
//! charged to it (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371). It owes the time
//! from now until then, and each reply adds its price, which is a second divided by the rate. So buckets need no
//! refill, and an account that owes nothing is the same as no account: its word is free for another key.
//!
//! An account is one word, changed by compare-and-exchange, so no charge undoes another or counts twice. Three
//! things are not exact. Two threads that open an account for the same key at the same moment may open two, of which
//! only the first is used afterwards; this gives away one burst at most. The threads' clocks differ by the age of
//! their batches; this gives away some milliseconds. And a charge that loses to other threads 64 times in a row
//! counts as paid; this gives away a reply now and then.
//!
//! A hash with a secret key determines the set and the tag of a key, so an attacker cannot choose keys that share a
//! set. Two keys share an account only if both set and tag are equal: in a full table, for one key in a million.
//!
//! A key whose set is full takes over the account that owes least, with its debt, as in the algorithm Space-Saving
//! (Metwally, Agrawal, El Abbadi, 2005). So no key ever gets more than a burst and the rate, even if other keys
//! evict its account; and a flood from random addresses, each of which owes one reply, evicts accounts like its own,
//! never one that owes much. While there is room, the debt taken over is next to nothing, because the debts of a set
//! all shrink at the same time: a set pays off eight rates. Innocent keys pay only when the replies a second
//! approach the number of accounts times the rate. With the defaults, 524,288 accounts and a rate of 50, that is 26
//! million replies a second.
//!
//! Alternatives turned down: a count-min sketch, which has no tags, so that innocent keys pay for others with the
//! same counters; and a map behind locks, which a flood makes grow, or evict entries in an order of its choice.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

/// The accounts of a set, which fill one cache line.
const WAYS: usize = 8;
/// The bytes of a set.
pub(super) const SET_BYTES: usize = WAYS * 8;

const TIME_BITS: u32 = 36;
const SLIP_BITS: u32 = 4;
const LOGGED_SHIFT: u32 = TIME_BITS + SLIP_BITS;
const TAG_SHIFT: u32 = LOGGED_SHIFT + 1;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// The largest `slip` for which an account has bits.
pub(super) const MAX_SLIP: u32 = (1 << SLIP_BITS) - 1;

/// How far a thread's clock may be behind another's, in microseconds: a thread reads its clock once for each batch.
/// No thread writes a time further ahead than this and a burst. Such a time means that the clock of 36 bits has
/// wrapped around, which takes 19 hours; [`Table::sweep`] leaves no account that old.
const SKEW: u64 = 60 * 1_000_000;
/// How often to try a charge while other threads change the same account.
const MAX_TRIES: u32 = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Set]>,
    /// What accounts may owe, in microseconds, give or take rounding.
    burst: u64,
    evictions: Counter,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// The terms on which replies of a kind are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// The price of one reply, in microseconds.
    pub(super) price: u64,
    /// How much an account may owe, in microseconds: a multiple of the price, at least one price.
    pub(super) most: u64,
    /// The first refused charge slips, and then one in so many; none if this is 0.
    pub(super) slip: u32,
}

/// The outcome of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// The charge was accepted.
    Paid,
    /// The account owes too much already, and was not charged.
    Refused {
        /// Whether this is the first refusal since the account was paid up.
        first: bool,
        /// Whether this reply slips.
        slips: bool,
    },
}

/// The word of an account; zero for no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account(u64);

impl Account {
    fn new(tag: u64, is_logged: bool, slips: u32, paid_up: u64) -> Self {
        let logged = u64::from(is_logged) << LOGGED_SHIFT;
        let slips = u64::from(slips & MAX_SLIP) << TIME_BITS;
        Self(tag << TAG_SHIFT | logged | slips | paid_up & TIME)
    }

    fn is_of(self, tag: u64) -> bool {
        (self.0 >> TAG_SHIFT == tag) & (self.0 != 0)
    }

    fn is_logged(self) -> bool {
        self.0 >> LOGGED_SHIFT & 1 == 1
    }

    /// How many charges were refused since the last slip.
    fn slips(self) -> u32 {
        (self.0 >> TIME_BITS) as u32 & MAX_SLIP
    }

    /// What it owes, in microseconds, if accounts may owe `burst`.
    fn debt(self, now: u64, burst: u64) -> u64 {
        let debt = self.0.wrapping_sub(now) & TIME;
        let counts = (self.0 != 0) & (debt <= burst + SKEW);
        u64::from(counts) * debt
    }
}

impl Table {
    /// A table of as many sets as fit so many bytes, at least one. Accounts may owe about `burst` microseconds.
    /// `evicted` counts accounts that are evicted while they owe something.
    pub(super) fn new(bytes: usize, burst: u64, evictions: Counter) -> Self {
        let sets = (bytes / SET_BYTES).max(1);
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            burst,
            evictions,
        }
    }

    /// Charges one reply to the account of the key with this hash. `now` is in microseconds since any
    /// fixed moment.
    pub(super) fn charge(&self, hash: u64, terms: &Terms, now: u64) -> Charged {
        let tag = tag_of(hash);
        for _ in 0..MAX_TRIES {
            let (word, account) = self.place(hash, now);
            let (is_own, debt) = (account.is_of(tag), account.debt(now, self.burst));
            let (is_logged, slips) = match is_own && debt > 0 {
                true => (account.is_logged(), account.slips()),
                // The same as a new account.
                false => (false, 0),
            };
            let (new, charged) = if debt + terms.price <= terms.most {
                let paid_up = now + debt + terms.price;
                let new = Account::new(tag, is_logged, slips, paid_up);
                (new, Charged::Paid)
            } else {
                let new = Account::new(tag, true, next(slips, terms.slip), now + debt);
                let slips = slips == 0 && terms.slip > 0;
                let first = !is_logged;
                (new, Charged::Refused { first, slips })
            };
            let order = Ordering::Relaxed;
            let swapped = word.compare_exchange(account.0, new.0, order, order);
            if swapped.is_ok() {
                if !is_own && debt > 0 {
                    self.evictions.inc();
                }
                return charged;
            }
        }
        // No client is refused because of contention.
        Charged::Paid
    }

    /// Brings the set of this hash into the processor's cache. The returned value depends on what was loaded, so
    /// that the compiler keeps the load, and has no other meaning.
    pub(super) fn fetch(&self, hash: u64) -> u64 {
        load(&self.set(hash)[0]).0
    }

    /// What the account of the key with this hash owes, in microseconds.
    pub(super) fn debt(&self, hash: u64, now: u64) -> u64 {
        let accounts = self.set(hash).each_ref().map(load);
        let own = accounts.into_iter().find(|one| one.is_of(tag_of(hash)));
        own.map_or(0, |account| account.debt(now, self.burst))
    }

    /// Sweeps one of `parts` parts of the table: frees the accounts that are paid up, and returns how many others
    /// there are. All parts have to be swept within some hours.
    pub(super) fn sweep(&self, part: usize, parts: usize, now: u64) -> usize {
        let size = self.sets.len().div_ceil(parts.max(1));
        let sets = self.sets.iter().skip(part * size).take(size);
        let words = sets.flat_map(|set| &set.0);
        words.filter(|word| self.is_owing(word, now)).count()
    }

    /// Whether an account owes something. An account that does not is freed.
    fn is_owing(&self, word: &AtomicU64, now: u64) -> bool {
        let (account, order) = (load(word), Ordering::Relaxed);
        if account.0 == 0 || account.debt(now, self.burst) > 0 {
            return account.0 != 0;
        }
        // If another thread has just changed the account, it stays.
        word.compare_exchange(account.0, 0, order, order).is_err()
    }

    /// The account of the key with this hash, or else the account that it takes over. There are no branches on
    /// single words, since the processor could not predict them.
    fn place(&self, hash: u64, now: u64) -> (&AtomicU64, Account) {
        let set = self.set(hash);
        let accounts = set.each_ref().map(load);
        let tag = tag_of(hash);
        let mut own = 0_u32;
        for (place, account) in accounts.iter().enumerate() {
            own |= u32::from(account.is_of(tag)) << place;
        }
        let place = match own {
            0 => {
                let debts = accounts.map(|account| account.debt(now, self.burst));
                let numbered = (0..).zip(debts).map(|(place, debt)| debt << 3 | place);
                numbered.fold(u64::MAX, u64::min) as usize % WAYS
            }
            _ => own.trailing_zeros() as usize,
        };
        (&set[place], accounts[place])
    }

    fn set(&self, hash: u64) -> &[AtomicU64; WAYS] {
        // By the lower half of the hash, since tags use the upper half (Lemire, 2019).
        let place = ((hash & u64::from(u32::MAX)) * self.sets.len() as u64) >> 32;
        &self.sets[place as usize].0
    }
}

fn tag_of(hash: u64) -> u64 {
    hash >> TAG_SHIFT
}

fn load(word: &AtomicU64) -> Account {
    Account(word.load(Ordering::Relaxed))
}

/// The count of refusals after this refusal.
fn next(slips: u32, slip: u32) -> u32 {
    if slips + 1 < slip { slips + 1 } else { 0 }
}

#[cfg(test)]
mod tests;
