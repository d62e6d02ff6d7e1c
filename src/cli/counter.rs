//! The progress line of commands that send one request after the other.

use std::io::{self, IsTerminal, Stderr};
use std::time::{Duration, Instant};

use crate::base::progress::{Extent, Meter, Progress};

/// How long a command is silent. Most commands have ended by then.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// Counts what a command has done, and shows the number on standard error once the command takes longer than
/// [`SILENCE`]. If standard output is a terminal, the results that appear there are progress enough.
pub(super) struct Counter {
    meter: Option<Meter<Stderr>>,
    begin: Instant,
    done: u64,
}

impl Counter {
    pub(super) fn new(label: &'static str, extent: Extent) -> Self {
        let begin = Instant::now();
        let progress = Progress::new(extent, 0, 0, begin);
        let shows = !io::stdout().is_terminal();
        Self {
            meter: shows.then(|| Meter::on_stderr(label, progress, begin)),
            begin,
            done: 0,
        }
    }

    /// Counts some more.
    pub(super) fn add(&mut self, more: u64) {
        self.done += more;
        let Some(meter) = &mut self.meter else {
            return;
        };
        let now = Instant::now();
        meter.update(self.done, 0, now);
        if now.duration_since(self.begin) >= SILENCE {
            meter.tick(now);
        }
    }

    /// How many there were so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Removes the line, so that something else can be written there.
    pub(super) fn clear(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.clear();
        }
    }
}
