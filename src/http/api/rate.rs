//! The rate of each token's calls: its own, or the one that the configuration gives to all tokens.
//!
//! A token has two accounts. One is for its requests; a request beyond the rate is refused with 429. The other one is for
//! the lines of its batches; a line beyond the rate waits, so a batch becomes slower and does not fail. A batch is also one
//! request. The accounts are apart, because a batch that runs would otherwise keep all other calls of its token out.
//!
//! An account is the time at which it will be empty (the generic cell rate algorithm): each call moves that time by an
//! interval, and it may be ahead of now by a burst.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::access::{Caller, Rate};

/// How many accounts are kept. There are at most 500 tokens at a time; accounts of others are empty before long.
const MAX_ACCOUNTS: usize = 2_048;

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Requests,
    Lines,
}

/// The account of a token.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// A token that is made again under its old name may have another rate. Its account begins anew.
    rate: Rate,
    empty_at: Instant,
}

/// The accounts of all tokens.
#[derive(Debug)]
pub(super) struct Rates {
    /// The rate of tokens that have none of their own; none for no limit.
    default: Option<Rate>,
    accounts: Mutex<HashMap<(Use, Box<str>), Account>>,
}

/// The time between two calls of a rate.
fn interval(rate: Rate) -> Duration {
    Duration::from_secs(1) / rate.per_second.max(1)
}

/// How far ahead of now an account may be.
fn ahead(rate: Rate) -> Duration {
    interval(rate) * rate.burst.max(1).saturating_sub(1)
}

impl Rates {
    pub(super) fn new(default: Option<Rate>) -> Self {
        Self {
            default,
            accounts: Mutex::default(),
        }
    }

    /// Takes a request of this caller, or says when it may come again.
    pub(super) fn take(&self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        let Some(rate) = caller.rate().or(self.default) else {
            return Ok(());
        };
        self.account(
            Use::Requests,
            caller.name(),
            rate,
            now,
            |empty_at, wait| match wait.is_zero() {
                true => (empty_at + interval(rate), Ok(())),
                false => (empty_at, Err(wait)),
            },
        )
    }

    /// Takes a line of a batch of this caller, which has to wait for so long.
    pub(super) fn reserve(&self, caller: &Caller, now: Instant) -> Duration {
        let Some(rate) = caller.rate().or(self.default) else {
            return Duration::ZERO;
        };
        self.account(Use::Lines, caller.name(), rate, now, |empty_at, wait| {
            (empty_at + interval(rate), wait)
        })
    }

    /// `work` gets the time at which the account will be empty and how long a call has to wait. It returns the new time.
    fn account<T>(
        &self,
        of: Use,
        token: &str,
        rate: Rate,
        now: Instant,
        work: impl FnOnce(Instant, Duration) -> (Instant, T),
    ) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, account| account.empty_at > now);
        }
        let key = (of, Box::from(token));
        let known = accounts.get(&key).filter(|account| account.rate == rate);
        let empty_at = known.map_or(now, |account| account.empty_at.max(now));
        let wait = empty_at.duration_since(now).saturating_sub(ahead(rate));
        let (empty_at, result) = work(empty_at, wait);
        if accounts.len() < MAX_ACCOUNTS || accounts.contains_key(&key) {
            accounts.insert(key, Account { rate, empty_at });
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    const MS: Duration = Duration::from_millis(1);

    fn rates() -> Rates {
        Rates::new(Some(Rate {
            per_second: 10,
            burst: 3,
        }))
    }

    fn caller(name: &str) -> Caller {
        Caller::new(name, Role::Reader, None)
    }

    #[test]
    fn a_token_may_burst_and_then_has_its_rate() {
        let (rates, a, now) = (rates(), caller("a"), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.take(&a, now), Ok(()));
        }
        assert_eq!(rates.take(&a, now), Err(100 * MS));
        // A refused request costs nothing.
        assert_eq!(rates.take(&a, now + 50 * MS), Err(50 * MS));
        assert_eq!(rates.take(&caller("b"), now), Ok(()), "another token");
        assert_eq!(rates.take(&a, now + 100 * MS), Ok(()));
        assert_eq!(rates.take(&a, now + 100 * MS), Err(100 * MS));
        for _ in 0..3 {
            assert_eq!(rates.take(&a, now + 1_000 * MS), Ok(()));
        }
    }

    #[test]
    fn lines_wait_in_order_and_leave_requests_alone() {
        let (rates, a, now) = (rates(), caller("a"), Instant::now());
        let waits: Vec<_> = (0..6).map(|_| rates.reserve(&a, now)).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300].map(|ms| ms * MS));
        assert_eq!(rates.take(&a, now), Ok(()));
    }

    #[test]
    fn the_rate_of_a_token_replaces_that_of_all() {
        let own = |per_second, burst| caller("a").with_rate(Some(Rate { per_second, burst }));
        let now = Instant::now();
        for rates in [rates(), Rates::new(None)] {
            let slow = own(1, 1);
            assert_eq!(rates.take(&slow, now), Ok(()));
            assert_eq!(rates.take(&slow, now), Err(1_000 * MS));
            assert_eq!(rates.reserve(&slow, now), Duration::ZERO);
            assert_eq!(rates.reserve(&slow, now), 1_000 * MS);
            // The same name with another rate is a token that was made anew.
            let fast = own(1_000, 20);
            for _ in 0..20 {
                assert_eq!(rates.take(&fast, now), Ok(()));
            }
            assert_eq!(rates.take(&fast, now), Err(MS));
        }
    }

    #[test]
    fn without_any_rate_there_is_no_limit() {
        let (rates, a, now) = (Rates::new(None), caller("a"), Instant::now());
        for _ in 0..10_000 {
            assert_eq!(rates.take(&a, now), Ok(()));
            assert_eq!(rates.reserve(&a, now), Duration::ZERO);
        }
        assert!(rates.accounts.lock().unwrap().is_empty());
    }

    #[test]
    fn the_number_of_accounts_is_bounded() {
        let (rates, now) = (rates(), Instant::now());
        for number in 0..2 * MAX_ACCOUNTS {
            assert_eq!(rates.take(&caller(&number.to_string()), now), Ok(()));
        }
        assert_eq!(rates.accounts.lock().unwrap().len(), MAX_ACCOUNTS);
        let later = now + Duration::from_secs(1);
        assert_eq!(rates.take(&caller("late"), later), Ok(()));
        assert_eq!(rates.accounts.lock().unwrap().len(), 1);
    }
}
