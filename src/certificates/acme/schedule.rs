//! When to order: renewal, and the delays after failures. Pure functions of times, so that all servers of a fleet
//! come to the same result.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind};
use crate::base::clock::UnixTime;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The first delay after a failure that costs the directory nothing.
const SHORT_DELAY: u64 = 30;
/// The longest delay after such failures.
const LONGEST_SHORT_DELAY: u64 = HOUR;
/// The first delay after a failure that counts against the limits of directories, such as five failed validations an
/// hour.
const LONG_DELAY: u64 = 15 * MINUTE;
/// The longest delay after such failures.
const LONGEST_LONG_DELAY: u64 = 12 * HOUR;
/// The delay after a rate limit without a `Retry-After`.
const RATE_LIMIT_DELAY: u64 = HOUR;
/// The longest delay that a directory can ask for: its limits are per week at most.
const LONGEST_RETRY_AFTER: u64 = 7 * DAY;
/// The earliest renewal after a success. A directory whose certificates are due at once would otherwise be asked for one
/// after the other.
const SHORTEST_SUCCESSION: u64 = 12 * HOUR;

/// The default time between two looks at the renewal information of a certificate, and the bounds of what a directory
/// may ask for (RFC 9773 §4.3.2).
const DEFAULT_INFO_DELAY: u64 = 6 * HOUR;
const SHORTEST_INFO_DELAY: u64 = HOUR;
const LONGEST_INFO_DELAY: u64 = DAY;

/// The renewal window that a directory suggests (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    /// Seconds since the epoch.
    pub(super) start: u64,
    /// Seconds since the epoch.
    pub(super) end: u64,
}

/// When to renew a certificate that is valid from `from` to `end`; `seed` tells certificates apart.
///
/// RFC 9773 §4.2: a random time in the suggested window. Without one: at two thirds of the lifetime and a jitter of up
/// to a thirtieth, so that the zones of a fleet that began together do not stay together.
pub(super) fn renewal(
    (from, end): (UnixTime, UnixTime),
    window: Option<Window>,
    seed: &impl Hash,
) -> UnixTime {
    match window {
        Some(window) => {
            let length = window.end.saturating_sub(window.start);
            UnixTime(window.start).after(part_of(length, seed))
        }
        None => {
            let lifetime = from.until(end);
            from.after(lifetime / 3 * 2 + part_of(lifetime / 30, seed))
        }
    }
}

/// The earliest time for an order after a success at `success` with a certificate that ends at `end`.
pub(super) fn after_success(success: UnixTime, end: UnixTime) -> UnixTime {
    success.after(SHORTEST_SUCCESSION.min(success.until(end) / 3))
}

/// How many seconds to wait after the `count`th failure in succession.
pub(super) fn delay(failure: &Failure, count: u32, seed: &impl Hash) -> u64 {
    let (first, longest) = match failure.kind {
        FailureKind::Directory | FailureKind::Store | FailureKind::SelfCheck => {
            (SHORT_DELAY, LONGEST_SHORT_DELAY)
        }
        FailureKind::RateLimit => (RATE_LIMIT_DELAY, LONGEST_LONG_DELAY),
        FailureKind::Account
        | FailureKind::Challenge
        | FailureKind::Finalize
        | FailureKind::Certificate => (LONG_DELAY, LONGEST_LONG_DELAY),
    };
    let doublings = count.saturating_sub(1).min(16);
    let delay = (first << doublings).min(longest);
    let delay = delay + part_of(delay / 5, &(seed, count));
    // RFC 8555 §6.6.
    delay.max(failure.retry_after.unwrap_or(0).min(LONGEST_RETRY_AFTER))
}

/// How many seconds to wait before the next look at the renewal information.
pub(super) fn info_delay(retry_after: Option<u64>) -> u64 {
    retry_after
        .unwrap_or(DEFAULT_INFO_DELAY)
        .clamp(SHORTEST_INFO_DELAY, LONGEST_INFO_DELAY)
}

/// A number below `whole` (0 if that is 0) that depends on the seed alone.
fn part_of(whole: u64, seed: &impl Hash) -> u64 {
    let hash = FixedState::with_seed(0).hash_one(seed);
    hash.checked_rem(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_at_two_thirds_of_the_lifetime() {
        let (from, end) = (UnixTime(1_000_000), UnixTime(1_000_000 + 90 * DAY));
        let times: Vec<_> = (0..100)
            .map(|seed| renewal((from, end), None, &seed).0)
            .collect();
        let least = from.0 + 60 * DAY;
        assert!(times.iter().all(|at| (least..least + 3 * DAY).contains(at)));
        let spread = times.iter().max().unwrap() - times.iter().min().unwrap();
        assert!(spread > 2 * DAY, "{spread}");
        // Every server comes to the same time.
        assert_eq!(renewal((from, end), None, &7).0, times[7]);
        // A lifetime of nothing is no division by zero.
        assert_eq!(renewal((from, from), None, &7), from);
    }

    #[test]
    fn rfc9773_4_2_a_random_time_in_the_window() {
        let validity = (UnixTime(0), UnixTime(90 * DAY));
        let window = Window {
            start: 5 * DAY,
            end: 7 * DAY,
        };
        let times: Vec<_> = (0..100)
            .map(|seed| renewal(validity, Some(window), &seed).0)
            .collect();
        assert!(times.iter().all(|at| (5 * DAY..7 * DAY).contains(at)));
        assert!(times.iter().any(|at| *at > 6 * DAY + DAY / 2));
        assert!(times.iter().any(|at| *at < 5 * DAY + DAY / 2));
        let reversed = Window { start: 9, end: 3 };
        assert_eq!(renewal(validity, Some(reversed), &1), UnixTime(9));
    }

    #[test]
    fn delays_grow_and_respect_the_directory() {
        let after = |kind, count, retry_after| {
            let failure = Failure {
                retry_after,
                ..Failure::new(kind, "")
            };
            delay(&failure, count, &"s.example.com")
        };
        let roughly = |delay: u64, expected: u64| {
            assert!((expected..=expected * 6 / 5).contains(&delay), "{delay}");
        };
        for (count, expected) in [(1, 30), (2, 60), (3, 120), (8, HOUR), (u32::MAX, HOUR)] {
            roughly(after(FailureKind::Directory, count, None), expected);
        }
        roughly(after(FailureKind::Challenge, 1, None), 15 * MINUTE);
        roughly(after(FailureKind::Challenge, 100, None), 12 * HOUR);
        roughly(after(FailureKind::RateLimit, 1, None), HOUR);
        assert_eq!(after(FailureKind::RateLimit, 1, Some(2 * DAY)), 2 * DAY);
        roughly(after(FailureKind::RateLimit, 1, Some(5)), HOUR);
        let bounded = after(FailureKind::Directory, 1, Some(u64::MAX));
        assert_eq!(bounded, LONGEST_RETRY_AFTER);
        assert_eq!(info_delay(None), DEFAULT_INFO_DELAY);
        assert_eq!(info_delay(Some(0)), SHORTEST_INFO_DELAY);
        assert_eq!(info_delay(Some(u64::MAX)), LONGEST_INFO_DELAY);
    }

    #[test]
    fn successes_have_a_distance() {
        let success = UnixTime(1_000_000);
        let long = success.after(90 * DAY);
        assert_eq!(after_success(success, long), success.after(12 * HOUR));
        let short = success.after(6 * HOUR);
        assert_eq!(after_success(success, short), success.after(2 * HOUR));
    }
}
