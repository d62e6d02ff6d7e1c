//! How fast a warm load goes, and what it checks on the way.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::link::{Link, LinkName};

/// After how many links a part checks whether earlier ones are still in Redis, and how many it checks.
const CHECK_EVERY: usize = 10_000;
const CHECKED: usize = 16;

/// Some of the links that a part has put, to check later whether they are still in Redis.
#[derive(Default)]
pub(super) struct Sample {
    names: Vec<LinkName>,
    /// Links so far, and how many there were at the last check.
    seen: usize,
    checked: usize,
}

impl Sample {
    /// Takes one link without an end from each of the first pages: a Redis server that evicts by use evicts the
    /// oldest ones first.
    pub(super) fn add(&mut self, links: &[Link]) {
        self.seen += links.len();
        let mut lasting = links.iter().filter(|link| link.expires_at.is_none());
        if self.names.len() < CHECKED
            && let Some(link) = lasting.next()
        {
            self.names.push(link.name.clone());
        }
    }

    /// The names to check, if a check is due.
    pub(super) fn due(&mut self) -> Option<Vec<LinkName>> {
        if self.seen - self.checked < CHECK_EVERY || self.names.is_empty() {
            return None;
        }
        self.checked = self.seen;
        Some(self.names.clone())
    }
}

/// Limits several tasks together to a number of links per second.
pub(super) struct Pace {
    /// 0 for no bound.
    per_second: u32,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            next: Mutex::new(now),
        }
    }

    /// How long to wait after loading so many links.
    pub(super) fn spend(&self, links: usize, now: Instant) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(links as f64 / f64::from(self.per_second));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(now) + cost;
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tasks_share_one_pace() {
        let now = Instant::now();
        let pace = Pace::new(1_000, now);
        let at = |ms| now + Duration::from_millis(ms);
        let waits = |links, ms| pace.spend(links, at(ms)).as_millis();
        assert_eq!(waits(100, 0), 100);
        assert_eq!(waits(100, 0), 200);
        assert_eq!(waits(100, 150), 150);
        // A slow task gets no credit for it.
        assert_eq!(waits(100, 5_000), 100);
        assert_eq!(Pace::new(0, now).spend(1_000_000, now), Duration::ZERO);
    }
}
