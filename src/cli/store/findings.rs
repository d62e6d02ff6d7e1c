//! What a comparison of two stores has found.

use super::super::output::print;

/// How many differences are shown.
const MAX_SHOWN: u64 = 20;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) same: u64,
    pub(super) differ: u64,
    pub(super) only_first: u64,
    pub(super) only_second: u64,
    /// Links that have ended and are in one store only.
    pub(super) ended: u64,
    /// Items that are no valid links, documents, entries.
    pub(super) others: u64,
    shown: u64,
}

impl Findings {
    pub(super) fn show(&mut self, text: &str) -> anyhow::Result<()> {
        self.shown += 1;
        match self.shown {
            ..=MAX_SHOWN => print(&format!("{text}\n")),
            _ => Ok(()),
        }
    }

    pub(super) fn add_other(&mut self, text: &str) -> anyhow::Result<()> {
        self.others += 1;
        self.show(text)
    }

    pub(super) fn total(&self) -> u64 {
        self.differ + self.only_first + self.only_second + self.others
    }
}
