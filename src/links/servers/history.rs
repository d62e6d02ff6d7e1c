//! When this server applied what, to know how far others are behind it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::store::feed::Position;

/// How far apart the positions are that are kept.
const STEP: Duration = Duration::from_millis(250);
/// How many of them are kept: more than a minute. A server that is further behind seems to be as far behind as the oldest.
const MAX_STEPS: usize = 256;

/// Positions of this server, each with the time at which it was there.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Instant, Position)>);

impl History {
    /// Notes where this server is.
    pub(super) fn note(&mut self, now: Instant, position: &Position) {
        let is_new = self.0.back().is_none_or(|(at, last)| {
            last != position && now.saturating_duration_since(*at) >= STEP
        });
        if is_new {
            self.0.push_back((now, position.clone()));
            if self.0.len() > MAX_STEPS {
                self.0.pop_front();
            }
        }
    }

    /// How long ago this server first was where another is not yet; zero if there is no such position. `has` says whether
    /// the other one was there.
    pub(super) fn lag(&self, now: Instant, has: impl Fn(&Position) -> bool) -> Duration {
        let lacking = self.0.iter().find(|(_, position)| !has(position));
        lacking.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_from_the_first_position_that_is_lacking() {
        let position = |n: usize| Position::new(n.to_string()).unwrap();
        let began = Instant::now();
        let at = |n: usize| began + Duration::from_secs(n as u64);
        let mut history = History::default();
        for n in 1..=1_000 {
            history.note(at(n), &position(n));
        }
        assert_eq!(history.0.len(), MAX_STEPS);
        let lag = |of: usize| {
            history.lag(at(1_001), |position| {
                position.as_str().parse::<usize>().unwrap() <= of
            })
        };
        assert_eq!(lag(1_000), Duration::ZERO);
        assert_eq!(lag(998), Duration::from_secs(2));
        assert_eq!(lag(0), Duration::from_secs(256));
        // Positions that follow each other closely are one step.
        let mut quick = History::default();
        quick.note(at(0), &position(1));
        quick.note(at(0) + STEP / 2, &position(2));
        assert_eq!(quick.0.len(), 1);
    }
}
