//! Reading an audit log from its oldest entry on, in bounded memory. Stores return the newest first.
//!
//! The log is read by windows of time. A window with too many entries is made smaller, and the next one larger if there were
//! few. Only the entries of one millisecond are not divided.

use super::reads::insist;
use crate::base::clock::UnixMillis;
use crate::store::audit::{AuditQuery, Entry};
use crate::store::{Store, StoreError};

/// How many entries of a window are held in memory.
const MAX_HELD: usize = 5_000;
/// A window with fewer entries is followed by a larger one.
const FEW: usize = MAX_HELD / 4;
/// How many entries a page has.
const PAGE: usize = 1_000;
/// A day in milliseconds: the first window, and how far the clock of a server may be ahead.
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// A window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    since: UnixMillis,
    /// None for the last one.
    until: Option<UnixMillis>,
    /// How many entries it may have.
    room: usize,
}

/// The windows of a log, one after the other.
#[derive(Debug)]
pub(super) struct Windows {
    next: u64,
    width: u64,
    end: u64,
    is_over: bool,
}

impl Windows {
    /// From the beginning of time up to now, and whatever comes after that.
    pub(super) fn until(now: UnixMillis) -> Self {
        Self {
            next: 0,
            width: DAY,
            end: now.0.saturating_add(DAY),
            is_over: false,
        }
    }

    /// The window to read now; none at the end.
    pub(super) fn current(&self) -> Option<Window> {
        let until = self.next.saturating_add(self.width).min(self.end);
        let is_last = self.next >= self.end;
        (!self.is_over).then_some(Window {
            since: UnixMillis(self.next),
            until: (!is_last).then_some(UnixMillis(until)),
            room: match is_last || self.width == 1 {
                true => usize::MAX,
                false => MAX_HELD,
            },
        })
    }

    /// The window has too many entries: makes it smaller.
    pub(super) fn divide(&mut self) {
        self.width = (self.width / 2).max(1);
    }

    /// The window was read, and has so many entries.
    pub(super) fn advance(&mut self, entries: usize) {
        self.is_over = self.next >= self.end;
        self.next = self.next.saturating_add(self.width).min(self.end);
        if entries < FEW {
            self.width = self.width.saturating_mul(2);
        }
    }
}

/// The entries of a window, the oldest first; none if there are more than it has room for.
///
/// # Errors
/// The store fails for good, or keeps no log.
pub(super) async fn load(
    store: &dyn Store,
    window: Window,
) -> Result<Option<Vec<Entry>>, StoreError> {
    let mut query = AuditQuery {
        since: Some(window.since),
        until: window.until,
        limit: PAGE,
        ..AuditQuery::default()
    };
    let mut found = Vec::new();
    loop {
        let page = insist(|| store.audit(query.clone())).await?;
        found.extend(page.entries);
        if found.len() > window.room {
            return Ok(None);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    found.reverse();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks over entries at these times, and returns the sizes of the windows that have any.
    fn walk(times: &[u64], now: u64) -> Vec<usize> {
        let mut windows = Windows::until(UnixMillis(now));
        let mut sizes = Vec::new();
        let mut steps = 0;
        while let Some(window) = windows.current() {
            steps += 1;
            assert!(steps < 1_000, "{window:?}");
            let until = window.until.map_or(u64::MAX, |until| until.0);
            let inside = |time: &&u64| (window.since.0..until).contains(time);
            let count = times.iter().filter(inside).count();
            if count > window.room {
                windows.divide();
                continue;
            }
            if count > 0 {
                sizes.push(count);
            }
            windows.advance(count);
        }
        sizes
    }

    #[test]
    fn each_entry_is_in_one_window_and_windows_are_bounded() {
        let now = 1_795_000_000_000;
        let sum = |times: &[u64]| walk(times, now).iter().sum::<usize>();
        assert_eq!(walk(&[], now), Vec::<usize>::new());
        let edges = [0, 1, now - 1, now, now + DAY - 1, now + DAY, u64::MAX - 1];
        assert_eq!(sum(&edges), edges.len());
        let dense: Vec<u64> = (0..30_000).map(|n| now - 40 * DAY + n / 3).collect();
        assert_eq!(sum(&dense), dense.len());
        assert!(walk(&dense, now).iter().all(|size| *size <= MAX_HELD));
        // All in one millisecond.
        let burst = vec![now - DAY; MAX_HELD + 7];
        assert_eq!(walk(&burst, now), [burst.len()]);
    }
}
