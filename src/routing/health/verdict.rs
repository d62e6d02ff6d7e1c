//! From the outcomes of checks to whether an address is up.
//!
//! A change needs several outcomes in a row, but for the first one: before it nothing is known. An address that has gone down
//! several times needs more passes each time (*damping*): twice as many each time, up to a bound. So one that comes and
//! goes stays out, and its state rarely changes. What it did is forgotten step by step while it stays up.

use super::check::Check;

/// How often the passes that are needed are doubled at most.
const MAX_DOUBLINGS: u32 = 5;
/// After so many passes in a row one of the times is forgotten that the address went down.
const STEADY: u32 = 60;

/// What the checks of a target have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// None before the first outcome.
    pub(super) up: Option<bool>,
    /// Outcomes in a row that contradict this.
    against: u32,
    /// How often it went down, as far as that is not forgotten.
    strikes: u32,
    /// Passes in a row while it is up.
    steady: u32,
}

impl Verdict {
    /// Takes in an outcome. Whether that changes the verdict.
    pub(super) fn note(&mut self, passed: bool, check: &Check) -> bool {
        match self.up {
            None => {
                self.up = Some(passed);
                true
            }
            Some(up) if up == passed => {
                self.against = 0;
                if up {
                    self.note_steady();
                }
                false
            }
            Some(up) => {
                self.against += 1;
                self.steady = 0;
                let is_enough = self.against >= self.needed(up, check);
                if is_enough {
                    self.turn(passed);
                }
                is_enough
            }
        }
    }

    /// How many outcomes in a row change the verdict.
    fn needed(&self, up: bool, check: &Check) -> u32 {
        match up {
            true => check.failures.into(),
            false => u32::from(check.passes) << self.strikes.saturating_sub(1),
        }
    }

    /// How many more passes an address needs that is down.
    pub(super) fn passes_left(&self, check: &Check) -> Option<u32> {
        let is_down = self.up == Some(false);
        is_down.then(|| self.needed(false, check).saturating_sub(self.against))
    }

    fn turn(&mut self, up: bool) {
        (self.up, self.against) = (Some(up), 0);
        if !up {
            self.strikes = (self.strikes + 1).min(MAX_DOUBLINGS + 1);
        }
    }

    fn note_steady(&mut self) {
        self.steady += 1;
        if self.steady == STEADY {
            self.steady = 0;
            self.strikes = self.strikes.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::health::testing::tcp;

    /// The places after which the verdict has changed.
    fn changes(verdict: &mut Verdict, outcomes: &str) -> Vec<usize> {
        let check = Check {
            failures: 3,
            passes: 2,
            ..tcp(1)
        };
        let outcomes = outcomes.chars().enumerate();
        let changed = outcomes.filter(|(_, outcome)| verdict.note(*outcome == '+', &check));
        changed.map(|(place, _)| place + 1).collect()
    }

    #[test]
    fn the_first_outcome_counts_at_once() {
        let mut verdict = Verdict::default();
        assert_eq!(changes(&mut verdict, "-"), [1]);
        assert_eq!(verdict.up, Some(false));
        // A start is no strike: two passes are enough.
        assert_eq!(changes(&mut verdict, "++"), [2]);
        assert_eq!(changes(&mut Verdict::default(), "+--+--+"), [1]);
    }

    #[test]
    fn several_in_a_row_change_it() {
        let mut verdict = Verdict::default();
        assert_eq!(changes(&mut verdict, "+--+---"), [1, 7]);
        assert!(changes(&mut verdict, "-+-+-").is_empty());
        assert_eq!(changes(&mut verdict, "++"), [2]);
    }

    #[test]
    fn an_address_that_flaps_needs_more_passes_each_time() {
        let mut verdict = Verdict::default();
        changes(&mut verdict, "+");
        let mut needed = Vec::new();
        for _ in 0..8 {
            assert_eq!(changes(&mut verdict, "---"), [3]);
            let passes = (1..).find(|_| !changes(&mut verdict, "+").is_empty());
            needed.push(passes.unwrap());
        }
        assert_eq!(needed, [2, 4, 8, 16, 32, 64, 64, 64]);
        // Forgotten step by step.
        let steady = "+".repeat(STEADY as usize * 3);
        assert!(changes(&mut verdict, &steady).is_empty());
        changes(&mut verdict, "---");
        assert_eq!(verdict.passes_left(&tcp(1)), Some(8));
        changes(&mut verdict, &"+".repeat(16 + STEADY as usize * 6));
        changes(&mut verdict, "---");
        assert_eq!(changes(&mut verdict, "++"), [2]);
    }
}
