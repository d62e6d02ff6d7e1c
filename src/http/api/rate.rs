//! The rate of each token's calls.
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

/// How many accounts are kept. There are at most 500 tokens at a time; accounts of others are empty before long.
const MAX_ACCOUNTS: usize = 2_048;

/// How fast a token may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests, and lines of batches, a second. At least 1.
    pub per_second: u32,
    /// How many may come at once. At least 1.
    pub burst: u32,
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Requests,
    Lines,
}

/// The accounts of all tokens.
#[derive(Debug)]
pub(super) struct Rates {
    interval: Duration,
    /// How far ahead of now an account may be.
    ahead: Duration,
    accounts: Mutex<HashMap<(Use, Box<str>), Instant>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self {
            interval,
            ahead: interval * rate.burst.max(1).saturating_sub(1),
            accounts: Mutex::default(),
        }
    }

    /// Takes a request of this token, or says when it may come again.
    pub(super) fn take(&self, token: &str, now: Instant) -> Result<(), Duration> {
        self.account(Use::Requests, token, now, |empty_at| {
            let wait = empty_at.duration_since(now).saturating_sub(self.ahead);
            match wait.is_zero() {
                true => (empty_at + self.interval, Ok(())),
                false => (empty_at, Err(wait)),
            }
        })
    }

    /// Takes a line of a batch of this token, which has to wait for so long.
    pub(super) fn reserve(&self, token: &str, now: Instant) -> Duration {
        self.account(Use::Lines, token, now, |empty_at| {
            let wait = empty_at.duration_since(now).saturating_sub(self.ahead);
            (empty_at + self.interval, wait)
        })
    }

    fn account<T>(
        &self,
        of: Use,
        token: &str,
        now: Instant,
        work: impl FnOnce(Instant) -> (Instant, T),
    ) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, empty_at| *empty_at > now);
        }
        let key = (of, Box::from(token));
        let empty_at = accounts.get(&key).copied().unwrap_or(now).max(now);
        let (empty_at, result) = work(empty_at);
        if accounts.len() < MAX_ACCOUNTS || accounts.contains_key(&key) {
            accounts.insert(key, empty_at);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rates() -> Rates {
        Rates::new(Rate {
            per_second: 10,
            burst: 3,
        })
    }

    #[test]
    fn a_token_may_burst_and_then_has_its_rate() {
        let (rates, now) = (rates(), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.take("a", now), Ok(()));
        }
        assert_eq!(rates.take("a", now), Err(100 * MS));
        // A refused request costs nothing.
        assert_eq!(rates.take("a", now + 50 * MS), Err(50 * MS));
        assert_eq!(rates.take("b", now), Ok(()), "another token");
        assert_eq!(rates.take("a", now + 100 * MS), Ok(()));
        assert_eq!(rates.take("a", now + 100 * MS), Err(100 * MS));
        for _ in 0..3 {
            assert_eq!(rates.take("a", now + 1_000 * MS), Ok(()));
        }
    }

    #[test]
    fn lines_wait_in_order_and_leave_requests_alone() {
        let (rates, now) = (rates(), Instant::now());
        let waits: Vec<_> = (0..6).map(|_| rates.reserve("a", now)).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300].map(|ms| ms * MS));
        assert_eq!(rates.take("a", now), Ok(()));
    }

    #[test]
    fn the_number_of_accounts_is_bounded() {
        let (rates, now) = (rates(), Instant::now());
        for number in 0..2 * MAX_ACCOUNTS {
            assert_eq!(rates.take(&number.to_string(), now), Ok(()));
        }
        assert_eq!(rates.accounts.lock().unwrap().len(), MAX_ACCOUNTS);
        let later = now + Duration::from_secs(1);
        assert_eq!(rates.take("late", later), Ok(()));
        assert_eq!(rates.accounts.lock().unwrap().len(), 1);
    }
}
