//! The log of changes, with a bound on its lines: an outage of the network changes all addresses at once.

use std::time::{Duration, Instant};

use super::board::{Board, Change, Condition};
use crate::routing::pool::Pool;

/// At most so many lines in so much time.
const MAX_LINES: u32 = 50;
const PERIOD: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::routing) struct Journal {
    period: Option<Instant>,
    lines: u32,
    /// Changes without a line since the last one.
    unlogged: u64,
}

impl Journal {
    /// Logs a change, if there is room for a line.
    pub(super) fn log(&mut self, change: &Change, board: &Board, pools: &[Pool]) {
        let Some(before) = self.room(Instant::now()) else {
            return;
        };
        if before > 0 {
            tracing::warn!(
                changes = before,
                "more pools and addresses changed than are logged"
            );
        }
        match change {
            Change::Target {
                target,
                is_up,
                failure,
            } => {
                let of = board.pools_of(target).filter_map(|place| pools.get(place));
                let names: Vec<_> = of.map(|pool| &*pool.name).collect();
                let (pools, check) = (names.join(","), target.check.kind.name());
                let (address, port) = (target.address, target.check.port);
                match failure {
                    _ if *is_up => tracing::info!(%address, port, check, pools, "address up"),
                    Some(reason) => {
                        tracing::warn!(%address, port, check, pools, %reason, "address down");
                    }
                    None => tracing::warn!(%address, port, check, pools, "address down"),
                }
            }
            Change::Pool { place, state } => {
                let pool = pools.get(*place).map_or("", |pool| &pool.name);
                match state {
                    Condition::Up => tracing::info!(pool, "pool up"),
                    Condition::Down => {
                        tracing::error!(pool, "pool down: all its addresses are down");
                    }
                    Condition::Drained => tracing::warn!(pool, "pool drained by an operator"),
                }
            }
        }
    }

    /// How many changes had no line since the last one, if there is room for another line.
    fn room(&mut self, now: Instant) -> Option<u64> {
        let is_over = |began| now.saturating_duration_since(began) >= PERIOD;
        if self.period.is_none_or(is_over) {
            (self.period, self.lines) = (Some(now), 0);
        }
        if self.lines == MAX_LINES {
            self.unlogged = self.unlogged.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_bound() {
        let mut journal = Journal::default();
        let now = Instant::now();
        let lines = (0..1_000).filter(|_| journal.room(now).is_some());
        assert_eq!(lines.count(), MAX_LINES as usize);
        assert_eq!(journal.room(now + PERIOD / 2), None);
        assert_eq!(journal.room(now + PERIOD), Some(951));
        assert_eq!(journal.room(now + PERIOD), Some(0));
    }
}
