//! The statistics of a store: a copy, a comparison and a check.
//!
//! All stores list their sums in the same order, so a comparison walks over both at the same time, in the memory of two pages.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use super::super::counter::Counter;
use super::super::output::{print, say};
use super::findings::Findings;
use super::reads::insist;
use crate::base::clock::{Clock, UnixTime};
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::store::statistics::{
    Keeping, MAX_ROWS, StatisticsStore, Subject, Unit, Usage, UsagePlace,
};
use crate::store::{Adopted, Store, StoreError};

/// How many faults are shown.
const MAX_SHOWN: u64 = 20;

/// A walk over all sums of a store.
struct Walk {
    store: Arc<dyn StatisticsStore>,
    page: VecDeque<Usage>,
    after: Option<UsagePlace>,
    is_over: bool,
}

impl Walk {
    fn new(store: Arc<dyn StatisticsStore>) -> Self {
        Self {
            store,
            page: VecDeque::new(),
            after: None,
            is_over: false,
        }
    }

    /// Reads the next page if the last one is used up. Returns what is wrong with its items.
    async fn fill(&mut self) -> Result<Vec<String>, StoreError> {
        let mut faults = Vec::new();
        while self.page.is_empty() && !self.is_over {
            let page = insist(|| self.store.usages(self.after.as_ref(), MAX_ROWS)).await?;
            faults.extend(page.faults);
            self.page = page.usages.into();
            self.is_over = page.next.is_none();
            self.after = page.next;
        }
        Ok(faults)
    }
}

/// Why nothing can be copied or compared.
const NO_STATISTICS: &str = "DynamoDB keeps no statistics without a table for them: set table in [statistics] of its configuration, \
    or leave --with-statistics out";

/// Copies all sums, and returns how many items cannot be read. `keeping` is what the other store is to keep.
///
/// # Errors
/// A store fails for good, or keeps no statistics.
pub(super) async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    keeping: Keeping,
) -> anyhow::Result<u64> {
    let (Some(from), Some(to)) = (from.statistics(), to.statistics()) else {
        anyhow::bail!(NO_STATISTICS);
    };
    insist(|| to.keep(keeping)).await?;
    let mut counter = Counter::new("sums copied", Extent::Unknown);
    let mut walk = Walk::new(from);
    let (mut written, mut same, mut deleted, mut faults) = (0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        for fault in walk.fill().await? {
            faults += 1;
            if faults <= MAX_SHOWN {
                counter.clear();
                say(&format!("not copied: {}", one_line(&fault)));
            }
        }
        let page: Vec<Usage> = walk.page.drain(..).collect();
        if page.is_empty() {
            break;
        }
        for adopted in insist(|| to.adopt(&page)).await? {
            match adopted {
                Adopted::Written => written += 1,
                Adopted::Same => same += 1,
                Adopted::Newer => deleted += 1,
            }
        }
        counter.add(page.len() as u64);
    }
    counter.clear();
    print(&format!(
        "statistics: {written} sums copied, {same} were there already, {deleted} are of links that TO does not have, \
         {faults} not copied\n"
    ))?;
    Ok(faults)
}

/// Compares all sums.
///
/// # Errors
/// A store fails for good, or keeps no statistics.
pub(super) async fn compare(
    first: &dyn Store,
    second: &dyn Store,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let (Some(ours), Some(theirs)) = (first.statistics(), second.statistics()) else {
        anyhow::bail!(NO_STATISTICS);
    };
    let now = Clock::default().now();
    let mut counter = Counter::new("sums compared", Extent::Unknown);
    let (mut ours, mut theirs) = (Walk::new(ours), Walk::new(theirs));
    let (mut same, mut differ) = (0_u64, 0_u64);
    loop {
        for (walk, store) in [(&mut ours, "A"), (&mut theirs, "B")] {
            for fault in walk.fill().await? {
                found.add_other(&format!("fault in {store}: {}", one_line(&fault)))?;
            }
        }
        let order = match (ours.page.front(), theirs.page.front()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(our), Some(their)) => our.place().cmp(&their.place()),
        };
        counter.add(1);
        let (our, their) = match order {
            Ordering::Less => (ours.page.pop_front(), None),
            Ordering::Equal => (ours.page.pop_front(), theirs.page.pop_front()),
            Ordering::Greater => (None, theirs.page.pop_front()),
        };
        let text = match (our, their) {
            (Some(our), Some(their)) if our == their => {
                same += 1;
                continue;
            }
            (Some(our), Some(_)) => format!("differ: {}", shown(&our)),
            (Some(our), None) if may_be_missing(second, &our, now).await? => continue,
            (None, Some(their)) if may_be_missing(first, &their, now).await? => continue,
            (Some(our), None) => format!("only in A: {}", shown(&our)),
            (None, Some(their)) => format!("only in B: {}", shown(&their)),
            (None, None) => continue,
        };
        differ += 1;
        counter.clear();
        found.add_other(&format!("statistics {text}"))?;
    }
    counter.clear();
    print(&format!(
        "statistics: {same} sums are the same, {differ} differ or are in one only\n"
    ))
}

/// Whether a store may lack these sums: they are no longer kept, or it does not have the link.
async fn may_be_missing(
    store: &dyn Store,
    usage: &Usage,
    now: UnixTime,
) -> Result<bool, StoreError> {
    if usage
        .unit
        .kept_from(now)
        .is_some_and(|from| usage.start < from)
    {
        return Ok(true);
    }
    match usage.name() {
        Some(name) => Ok(insist(|| store.get(name)).await?.is_none()),
        None => Ok(false),
    }
}

/// What sums are about, in one line.
fn shown(usage: &Usage) -> String {
    let subject = match &usage.subject {
        Subject::Link(name) => name.as_str(),
        Subject::Zone(origin) => origin.as_str(),
    };
    let start = usage.start.rfc3339();
    match usage.unit {
        Unit::Hour => format!("{subject}, the hour from {start}"),
        Unit::Day => format!("{subject}, the day from {start}"),
        Unit::Month => format!("{subject}, the month from {start}"),
        Unit::Total => format!("{subject}, all time"),
    }
}

/// Reads all sums. Returns their number, and what is wrong with those that cannot be read; none if the store keeps no
/// statistics.
///
/// # Errors
/// The store fails for good.
pub(super) async fn check(store: &dyn Store) -> Result<Option<(u64, Vec<String>)>, StoreError> {
    let Some(store) = store.statistics() else {
        return Ok(None);
    };
    let mut counter = Counter::new("sums read", Extent::Unknown);
    let mut walk = Walk::new(store);
    let mut faults = Vec::new();
    loop {
        faults.extend(walk.fill().await?.iter().map(|fault| one_line(fault)));
        if walk.page.is_empty() {
            break;
        }
        counter.add(walk.page.len() as u64);
        walk.page.clear();
    }
    counter.clear();
    Ok(Some((counter.done(), faults)))
}
