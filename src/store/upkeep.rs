//! Work on statistics that waits behind the counting, for the stores that speak SQL: rankings, and sums that are too old.
//!
//! A ranking is an index in the order of a sum, so each count of a link moves entries from one page to another: in the rankings
//! of the day, of the month, and of all time, each of which is as long as there are links. The sums of a link, in contrast, lie
//! beside each other. So a batch writes sums alone, and rankings have columns of their own, which follow. Links that were
//! counted [wait in memory](Behind), and are taken in the order of their names: the more of them there are, the more lie on one page.
//!
//! For the same reason no index has sums in the order of their age. A [walk](Walk) over all rows finds those that are too old.
//! It also finds rankings that are behind because a server was killed, or because there was no room in memory, and the sums of
//! deleted links after [`Keeping::deleted`](super::statistics::Keeping::deleted) was switched off.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Mutex;

use super::statistics::{Batch, Unit};
use super::sums::{Key, hour_column, unit_column};
use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::link::LinkName;

/// How many links one step brings into the rankings.
pub(super) const RANKED_AT_ONCE: usize = 100;
/// How many links wait at most, some 10 MB.
const MAX_BEHIND: usize = 100_000;
/// How many rows a step of the walk looks at.
pub(super) const SEEN_AT_ONCE: i64 = 5_000;
/// How many rows a step of the walk removes or brings into the rankings at most: some milliseconds of the writer's time.
const DONE_AT_ONCE: usize = 500;

/// A link, and an hour in which it was counted.
type Counted = (LinkName, UnixTime);

/// What a store remembers of this work.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    pub(super) behind: Behind,
    pub(super) walk: Walk,
}

/// Links whose rankings are behind their sums.
#[derive(Debug, Default)]
pub(super) struct Behind(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// With the start of the day.
    links: BTreeSet<Counted>,
    /// The last one that was taken.
    last: Option<Counted>,
}

impl Behind {
    /// Notes those links of a batch that have sums.
    pub(super) fn note(&self, batch: &Batch, kept: &HashSet<LinkName>) {
        let mut waiting = lock(&self.0);
        for row in batch.rows.iter().filter(|row| kept.contains(&row.name)) {
            if waiting.links.len() >= MAX_BEHIND {
                return;
            }
            let day = Unit::Day.start_of(row.hour);
            waiting.links.insert((row.name.clone(), day));
        }
    }

    /// Takes the next links, up to the end of their order.
    pub(super) fn take(&self) -> Taken<'_> {
        let mut waiting = lock(&self.0);
        let after = match waiting.last.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let next = waiting.links.range((after, Bound::Unbounded));
        let links: Vec<Counted> = next.take(RANKED_AT_ONCE).cloned().collect();
        for link in &links {
            waiting.links.remove(link);
        }
        let is_last = links.len() < RANKED_AT_ONCE;
        waiting.last = links.last().filter(|_| !is_last).cloned();
        Taken {
            behind: self,
            links,
            is_last,
        }
    }
}

/// Links that are about to be brought into the rankings. Those of a step that fails wait again.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    behind: &'a Behind,
    links: Vec<Counted>,
    is_last: bool,
}

impl Taken<'_> {
    /// The rows of the links, in their order.
    pub(super) fn keys(&self) -> Vec<Key> {
        let keys = self.links.iter().flat_map(|(name, day)| {
            let units = [Unit::Day, Unit::Month, Unit::Total];
            units.map(|unit| Key::new(name.origin(), name.code(), unit, *day))
        });
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Ends the step. True if more links follow.
    pub(super) fn done(mut self) -> bool {
        self.links.clear();
        !self.is_last
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.links.is_empty() {
            lock(&self.behind.0).links.extend(self.links.drain(..));
        }
    }
}

/// The key of a row with the number of its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) zone: i32,
    pub(super) code: String,
    pub(super) unit: i16,
    pub(super) start: i32,
}

/// How far the walk over all rows has come.
#[derive(Debug, Default)]
pub(super) struct Walk(Mutex<Option<Spot>>);

impl Walk {
    /// The row after which the next step begins.
    pub(super) fn place(&self) -> Spot {
        let before_all = || Spot {
            zone: i32::MIN,
            code: String::new(),
            unit: 0,
            start: 0,
        };
        lock(&self.0).clone().unwrap_or_else(before_all)
    }

    /// Notes the end of a step. True if more rows follow.
    pub(super) fn goes_on(&self, next: Option<Spot>) -> bool {
        let more = next.is_some();
        *lock(&self.0) = next;
        more
    }
}

/// What a step of the walk has found.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Hours and days that start before this are too old.
    kept: [Option<i32>; 2],
    rows: i64,
    /// Rows that are too old.
    pub(super) old: Vec<Spot>,
    /// Rows of links that were deleted, whose sums are no longer kept.
    pub(super) gone: Vec<Spot>,
    /// Rows whose rankings are behind.
    pub(super) behind: Vec<Spot>,
    /// The last row, if more follow.
    pub(super) next: Option<Spot>,
}

impl Step {
    pub(super) fn new(now: UnixTime) -> Self {
        let kept = |unit: Unit| unit.kept_from(now).map(hour_column);
        Self {
            kept: [Unit::Hour, Unit::Day].map(kept),
            ..Self::default()
        }
    }

    /// Takes the next row; `is_behind` says whether a ranking of the row differs from its sum, and `is_gone` whether it is of a
    /// link that does not exist, while the sums of such links are not kept. False if the step is full.
    pub(super) fn see(&mut self, row: Spot, is_behind: bool, is_gone: bool) -> bool {
        let unit = usize::try_from(row.unit).ok();
        let kept = unit.and_then(|unit| self.kept.get(unit).copied()).flatten();
        if kept.is_some_and(|kept| row.start < kept) {
            self.old.push(row.clone());
        } else if is_gone {
            self.gone.push(row.clone());
        } else if is_behind && row.unit > unit_column(Unit::Hour) && !row.code.is_empty() {
            self.behind.push(row.clone());
        }
        self.rows += 1;
        let is_full = self.old.len() + self.gone.len() + self.behind.len() >= DONE_AT_ONCE;
        let has_more = is_full || self.rows >= SEEN_AT_ONCE;
        self.next = has_more.then_some(row);
        !has_more
    }

    /// Whether the step has rows to write.
    pub(super) fn has_work(&self) -> bool {
        !self.old.is_empty() || !self.gone.is_empty() || !self.behind.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::servers::Label;
    use crate::store::statistics::{Counter, Row};

    const HOUR: u64 = 3_600;

    fn name(number: usize) -> LinkName {
        LinkName::parse(&format!("c{number:06}.s.example.com")).unwrap()
    }

    fn note(behind: &Behind, numbers: impl Iterator<Item = usize>, hour: u64) {
        let row = |number| Row {
            name: name(number),
            hour: UnixTime(hour),
            counter: Counter::parse("lookup:txt").unwrap(),
            count: 1,
        };
        let batch = Batch {
            server: Label::new("s").unwrap(),
            number: 1,
            rows: numbers.map(row).collect(),
        };
        let kept = batch.rows.iter().map(|row| row.name.clone()).collect();
        behind.note(&batch, &kept);
    }

    fn taken(taken: &Taken<'_>) -> Vec<LinkName> {
        taken.links.iter().map(|(name, _)| name.clone()).collect()
    }

    fn names(numbers: impl IntoIterator<Item = usize>) -> Vec<LinkName> {
        numbers.into_iter().map(name).collect()
    }

    #[test]
    fn links_are_taken_in_their_order_and_wait_again_after_a_failure() {
        let behind = Behind::default();
        note(&behind, (100..350).rev(), 0);
        let first = behind.take();
        assert_eq!(taken(&first), names(100..200));
        assert!(first.done());
        let failed = behind.take();
        assert_eq!(taken(&failed), names(200..300));
        drop(failed);
        // What comes now in front of the place waits for the next round.
        note(&behind, 0..5, 0);
        let last = behind.take();
        assert_eq!(taken(&last), names(300..350));
        assert!(!last.done());
        let again = behind.take();
        assert_eq!(taken(&again), names((0..5).chain(200..295)));
        assert!(again.done());
        assert!(!behind.take().done());
        assert!(taken(&behind.take()).is_empty());
    }

    #[test]
    fn a_link_has_a_row_of_each_day_and_one_of_the_month() {
        let behind = Behind::default();
        for hour in [0, 1, 23, 24] {
            note(&behind, 7..8, hour * HOUR);
        }
        let units: Vec<_> = behind
            .take()
            .keys()
            .iter()
            .map(|k| (k.unit, k.start))
            .collect();
        assert_eq!(units, [(1, 0), (1, 24), (2, 0), (3, 0)]);
    }

    #[test]
    fn no_more_links_wait_than_there_is_room() {
        let behind = Behind::default();
        note(&behind, 0..MAX_BEHIND + 10, 0);
        assert_eq!(lock(&behind.0).links.len(), MAX_BEHIND);
    }

    #[test]
    fn a_step_is_full_when_it_has_enough_to_do() {
        let row = |unit, start| Spot {
            zone: 1,
            code: "a".into(),
            unit,
            start,
        };
        let now = UnixTime(100 * 24 * HOUR);
        let mut step = Step::new(now);
        assert!(step.see(row(0, 93 * 24), true, false));
        assert!(step.see(row(1, 10 * 24), false, false));
        assert!(step.see(row(2, 0), true, false));
        assert!(step.next.is_none());
        assert_eq!((step.old.len(), step.behind.len()), (0, 1));
        let mut rows = 1;
        while step.see(row(0, 93 * 24 - 1), true, false) {
            rows += 1;
        }
        assert_eq!((step.old.len(), rows), (DONE_AT_ONCE - 1, DONE_AT_ONCE - 1));
        assert_eq!(step.next, Some(row(0, 93 * 24 - 1)));
        let mut step = Step::new(now);
        let rows = (1..)
            .take_while(|_| step.see(row(3, 0), false, false))
            .count();
        assert_eq!(rows as i64, SEEN_AT_ONCE - 1);
        assert!(!step.has_work());
    }
}
