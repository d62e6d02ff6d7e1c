//! The accounts of the limiter, in a table whose size never changes.
//!
//! ```text
//!   set: eight accounts on one line of the processor's cache
//!   account: | tag 23 bits | told 1 | slips 4 | paid up at 36 bits, in microseconds |
//! ```
//!
//! An account is a token bucket in the form of one time: when it will have been *paid up* if nothing more
//! is charged to it (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371). What it
//! owes is the time from now until then, and each reply adds its price, the second divided by the rate. So
//! there is nothing to refill, and an account that owes nothing is the same as none at all: its word is
//! free for another.
//!
//! All of it is one word, changed by compare-and-exchange, so that no charge undoes another or counts twice.
//! Three things are not exact. Two threads that open an account for the same key at the same moment may open
//! two, of which the first is then used; the threads' clocks differ by the age of their batches; and a charge
//! that loses to others 64 times in a row is as good as paid, without a trace. The first can give away one
//! burst, the second some milliseconds' worth, and the last a reply now and then.
//!
//! Which set a key belongs to and which tag it has is told by a hash under a secret key, so nobody can
//! choose keys that meet in one set. Another key's account is taken for one's own only where set and tag are
//! the same: in a full table for one key in a million.
//!
//! A key that finds its set full takes the word of the account that owes least, and its debt with it, as
//! counters are taken over in the algorithm Space-Saving (Metwally, Agrawal, El Abbadi, 2005). So nobody is
//! ever paid more than a burst and the rate, also not by having others push its account out; and a flood from
//! random addresses, of which each owes for one reply, pushes out accounts of its own kind, never one that
//! owes much. What is taken over is next to nothing while there is room, for the debts of a set all shrink at
//! the same time: a set pays off eight rates. Only when about as many replies a second are charged as there
//! are accounts times the rate do those pay who owe nothing. With the defaults, 524,288 accounts and 50 a
//! second, that would be 26 million a second.
//!
//! Turned down: a count-min sketch, which has no tags and makes the innocent pay for those whose counters
//! they share; and a map behind locks, which a flood makes grow, or makes evict in the order of its
//! choosing.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

/// How many accounts a set has: those of one cache line.
const WAYS: usize = 8;
/// What a set takes, in bytes.
pub(super) const SET_BYTES: usize = WAYS * 8;

const TIME_BITS: u32 = 36;
const SLIP_BITS: u32 = 4;
const TOLD_SHIFT: u32 = TIME_BITS + SLIP_BITS;
const TAG_SHIFT: u32 = TOLD_SHIFT + 1;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// The largest `slip` that there is room to count to.
pub(super) const MAX_SLIP: u32 = (1 << SLIP_BITS) - 1;

/// By how much a thread's clock may be behind another's, in microseconds: it looks at it once for a batch.
/// What lies further ahead than that and a burst is no time that any thread has written; the clock of 36
/// bits has gone around, which takes 19 hours. [`Table::sweep`] leaves nothing that old.
const SKEW: u64 = 60 * 1_000_000;
/// How often a charge is tried while other threads change the same account.
const MAX_TRIES: u32 = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Set]>,
    /// What accounts may owe, in microseconds; some microseconds more or less are due to rounding.
    burst: u64,
    evictions: Counter,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// On what terms replies of a kind are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// What one of them costs, in microseconds.
    pub(super) price: u64,
    /// How much an account may owe, in microseconds: whole prices, and one at least.
    pub(super) most: u64,
    /// Of the charges that are refused the first slips, and then every one in so many; none if this is 0.
    pub(super) slip: u32,
}

/// What came of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// It was paid.
    Paid,
    /// The account owes too much already, and was charged nothing.
    Refused {
        /// Whether this is the first time since it was paid up.
        first: bool,
        /// Whether it is its turn to slip.
        slips: bool,
    },
}

/// The word of an account; zero where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account(u64);

impl Account {
    fn new(tag: u64, is_told: bool, slips: u32, paid_up: u64) -> Self {
        let told = u64::from(is_told) << TOLD_SHIFT;
        let slips = u64::from(slips & MAX_SLIP) << TIME_BITS;
        Self(tag << TAG_SHIFT | told | slips | paid_up & TIME)
    }

    fn is_of(self, tag: u64) -> bool {
        (self.0 >> TAG_SHIFT == tag) & (self.0 != 0)
    }

    fn is_told(self) -> bool {
        self.0 >> TOLD_SHIFT & 1 == 1
    }

    /// How many charges were refused since the last that slipped.
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
    /// As many sets as there is room for in so many bytes, and one at least. Accounts may owe about
    /// `burst` microseconds. Those that are pushed out while they owe something are counted.
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
            let (is_told, slips) = match is_own && debt > 0 {
                true => (account.is_told(), account.slips()),
                // As good as new.
                false => (false, 0),
            };
            let (new, charged) = if debt + terms.price <= terms.most {
                let paid_up = now + debt + terms.price;
                let new = Account::new(tag, is_told, slips, paid_up);
                (new, Charged::Paid)
            } else {
                let new = Account::new(tag, true, next(slips, terms.slip), now + debt);
                let slips = slips == 0 && terms.slip > 0;
                let first = !is_told;
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
        // Nobody is refused for what others do.
        Charged::Paid
    }

    /// Has the processor fetch what a charge to the account of this hash will need. Returns something that is
    /// made of what was loaded, and means nothing.
    pub(super) fn fetch(&self, hash: u64) -> u64 {
        load(&self.set(hash)[0]).0
    }

    /// What the account of the key with this hash owes, in microseconds.
    pub(super) fn debt(&self, hash: u64, now: u64) -> u64 {
        let accounts = self.set(hash).each_ref().map(load);
        let own = accounts.into_iter().find(|one| one.is_of(tag_of(hash)));
        own.map_or(0, |account| account.debt(now, self.burst))
    }

    /// Looks through one of `parts` parts of the table and frees what is paid up; returns how many accounts
    /// are left in it. All parts have to be looked through within some hours.
    pub(super) fn sweep(&self, part: usize, parts: usize, now: u64) -> usize {
        let size = self.sets.len().div_ceil(parts.max(1));
        let sets = self.sets.iter().skip(part * size).take(size);
        let words = sets.flat_map(|set| &set.0);
        words.filter(|word| self.is_owing(word, now)).count()
    }

    /// Whether an account owes something; it is freed if it does not.
    fn is_owing(&self, word: &AtomicU64, now: u64) -> bool {
        let (account, order) = (load(word), Ordering::Relaxed);
        if account.0 == 0 || account.debt(now, self.burst) > 0 {
            return account.0 != 0;
        }
        // Where another thread has just used it, it is left alone.
        word.compare_exchange(account.0, 0, order, order).is_err()
    }

    /// The account of the key with this hash, or else the one that gives way to it. Without branches for the
    /// single words, which the processor could not foresee.
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
        // By the lower half, since tags are of the upper one (Lemire, 2019).
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

/// The count of refusals after this one.
fn next(slips: u32, slip: u32) -> u32 {
    if slips + 1 < slip { slips + 1 } else { 0 }
}

#[cfg(test)]
mod tests;
