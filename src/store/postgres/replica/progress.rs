//! How far a replica is: the moment, by this server's own clock, up to which it shows everything.
//!
//! A *sample* is a position in the log of the server that takes changes, and a moment before it was read: all that was
//! committed before that moment is before that position. Once a replica has replayed the position of a sample, it shows
//! everything that was committed before the sample's moment. So no two clocks are compared, and an idle database does not
//! look like one that lags.
//!
//! Positions are those of the log on the disk (`pg_current_wal_flush_lsn`), which is all that a replica gets. A commit that did
//! not wait for the disk (`synchronous_commit = off` in another program) counts from the time when it is there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::connect::Run;

/// How many samples are kept that the replica has not reached. When there are more, every second one is left out, and later
/// ones are further apart: then the moment that is known is a little earlier.
const MAX_SAMPLES: usize = 256;

/// A position in the log, and a moment whose commits are all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: Instant,
    position: u64,
}

/// See the [module](self). All positions are of one history.
#[derive(Debug, Default)]
pub(super) struct Progress {
    run: Option<Run>,
    /// How far that run has replayed the log.
    replayed: u64,
    as_of: Option<Instant>,
    /// The samples that it has not reached, the oldest first.
    ahead: VecDeque<Sample>,
    /// How far these are apart at least, but for the last one.
    apart: Duration,
    /// How far any run has replayed the log.
    furthest: u64,
}

impl Progress {
    /// Notes a sample: `at` is before the position was read.
    pub(super) fn sample(&mut self, at: Instant, position: u64) {
        let sample = Sample { at, position };
        let before = self.ahead.iter().nth_back(1).map(|sample| sample.at);
        let is_close =
            before.is_some_and(|before| at.saturating_duration_since(before) < self.apart);
        match self.ahead.back_mut() {
            // The log does not go back within a history.
            Some(last) if position < last.position => return,
            Some(last) if last.position == position || is_close => *last = sample,
            Some(_) | None => self.ahead.push_back(sample),
        }
        if self.ahead.len() > MAX_SAMPLES {
            self.thin_out();
        }
        self.reach();
    }

    /// Leaves every second sample out, but neither the first nor the last one.
    fn thin_out(&mut self) {
        let (mut number, last) = (0, self.ahead.len());
        self.ahead.retain(|_| {
            number += 1;
            number % 2 == 1 || number == last
        });
        if let (Some(first), Some(last)) = (self.ahead.front(), self.ahead.back()) {
            let span = last.at.saturating_duration_since(first.at);
            self.apart = 2 * span / u32::try_from(MAX_SAMPLES).unwrap_or(u32::MAX);
        }
    }

    /// Notes how far a run has replayed the log.
    pub(super) fn observe(&mut self, run: Run, replayed: u64) {
        if self.run != Some(run) || replayed < self.replayed {
            self.as_of = None;
        }
        self.run = Some(run);
        self.replayed = replayed;
        self.furthest = self.furthest.max(replayed);
        self.reach();
    }

    fn reach(&mut self) {
        if self.run.is_none() {
            return;
        }
        while let Some(first) = self.ahead.front()
            && first.position <= self.replayed
        {
            self.as_of = self.as_of.max(Some(first.at));
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() {
            self.apart = Duration::ZERO;
        }
    }

    /// Another history has begun: no position of the former one says anything about it.
    pub(super) fn reset(&mut self) {
        let run = self.run;
        *self = Self {
            run,
            ..Self::default()
        };
    }

    /// The run that was last observed.
    pub(super) fn run(&self) -> Option<Run> {
        self.run
    }

    /// Everything that was committed before this moment is shown by the run; none while no moment is known.
    pub(super) fn as_of(&self) -> Option<Instant> {
        self.as_of
    }

    /// Whether no run was known to be further than this one.
    pub(super) fn is_furthest(&self) -> bool {
        self.run.is_some() && self.replayed >= self.furthest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Run = Run(1);
    const TWO: Run = Run(2);

    #[test]
    fn a_replica_shows_what_was_before_the_last_sample_that_it_has_reached() {
        let mut progress = Progress::default();
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        progress.sample(at(10), 100);
        assert_eq!(progress.as_of(), None, "no run was observed");
        progress.observe(ONE, 99);
        assert_eq!(progress.as_of(), None);
        progress.observe(ONE, 100);
        assert_eq!(progress.as_of(), Some(at(10)));
        progress.sample(at(20), 200);
        progress.sample(at(30), 300);
        progress.observe(ONE, 250);
        assert_eq!(progress.as_of(), Some(at(20)));
        // It was there already: the moment is known at once.
        progress.observe(ONE, 300);
        progress.sample(at(40), 300);
        assert_eq!(progress.as_of(), Some(at(40)));
        // An idle database: the same position again, which is not reached.
        progress.sample(at(50), 301);
        progress.sample(at(60), 301);
        assert_eq!(progress.ahead.len(), 1);
        progress.observe(ONE, 301);
        assert_eq!(progress.as_of(), Some(at(60)));
        // A sample from before the log was changed by an operator does no harm.
        progress.sample(at(70), 400);
        progress.sample(at(80), 390);
        progress.observe(ONE, 390);
        assert_eq!(progress.as_of(), Some(at(60)));
    }

    #[test]
    fn another_run_is_measured_anew() {
        let mut progress = Progress::default();
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        progress.sample(at(10), 100);
        progress.observe(ONE, 100);
        assert!(progress.is_furthest());
        // From an older backup.
        progress.observe(TWO, 50);
        assert_eq!((progress.as_of(), progress.is_furthest()), (None, false));
        progress.sample(at(20), 120);
        progress.observe(TWO, 119);
        assert_eq!((progress.as_of(), progress.is_furthest()), (None, true));
        progress.observe(TWO, 120);
        assert_eq!(progress.as_of(), Some(at(20)));
        // A run that goes back is not the same run.
        progress.observe(TWO, 110);
        assert_eq!((progress.as_of(), progress.is_furthest()), (None, false));
        progress.reset();
        assert_eq!((progress.as_of(), progress.run()), (None, Some(TWO)));
    }

    #[test]
    fn samples_are_bounded_and_the_last_one_is_never_lost() {
        let mut progress = Progress::default();
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        progress.observe(ONE, 0);
        for number in 1..=10_000 {
            progress.sample(at(number), number);
            assert!(progress.ahead.len() <= MAX_SAMPLES);
        }
        let position = |number| {
            progress.observe(ONE, number);
            progress.as_of().map(|as_of| as_of.duration_since(began))
        };
        let found: Vec<_> = [5_000, 10_000].map(position).into();
        assert!(found[0] <= Some(Duration::from_millis(5_000)));
        assert!(found[0] >= Some(Duration::from_millis(4_800)), "{found:?}");
        assert_eq!(found[1], Some(Duration::from_millis(10_000)));
    }
}
