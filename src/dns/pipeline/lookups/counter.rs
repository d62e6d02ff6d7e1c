//! The counter of one thread: a table, and its exchange for an empty one.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::table::{Counted, Table};
use super::{Asked, Order, kind_of};
use crate::statistics::Statistics;

/// The slots of a table. With more of them a table would displace other data from the processor's cache. With its names a
/// table takes some 350 KiB at most.
const SLOTS: usize = 8_192;
/// How many tables a counter has: the one in use, and those that the collector may have at the same time.
pub(super) const TABLES: usize = 4;
/// How long counts stay in a table.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct LookupCounter {
    table: Box<Table>,
    /// How many tables there are, with those that the collector has.
    tables: usize,
    /// Where the collector returns them.
    home: SyncSender<Box<Table>>,
    returned: Receiver<Box<Table>>,
    orders: SyncSender<Order>,
    statistics: Statistics,
    /// When the table was last exchanged.
    since: Instant,
}

impl LookupCounter {
    pub(super) fn new(orders: SyncSender<Order>, statistics: Statistics) -> Self {
        let (home, returned) = sync_channel(TABLES);
        // Made now, so that the thread allocates nothing later unless the collector is slow.
        let _ = home.try_send(Box::new(Table::new(SLOTS)));
        Self {
            table: Box::new(Table::new(SLOTS)),
            tables: 2,
            home,
            returned,
            orders,
            statistics,
            since: Instant::now(),
        }
    }

    /// Counts a look-up.
    #[inline]
    pub(crate) fn count(&mut self, asked: Asked<'_>) {
        let Asked {
            hash,
            name,
            qtype,
            place,
        } = asked;
        let counted = || Counted {
            kind: kind_of(qtype),
            place,
            name,
        };
        if !self.table.add(hash, 1, counted) {
            self.make_room();
            if !self.table.add(hash, 1, counted) {
                self.statistics.add_dropped(1);
            }
        }
    }

    /// Hands the counts over if they are old enough.
    pub(crate) fn pass(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= HANDED_OVER {
            self.since = now;
            self.hand_over();
        }
    }

    /// Hands the counts over, if there are any. Without an empty table, they stay where they are.
    pub(crate) fn hand_over(&mut self) {
        if self.table.is_empty() {
            return;
        }
        if let Some(empty) = self.empty_table() {
            let full = std::mem::replace(&mut self.table, empty);
            if !self.send(full) {
                self.tables -= 1;
            }
        }
    }

    /// Makes the table empty.
    #[cold]
    fn make_room(&mut self) {
        self.hand_over();
        if !self.table.is_empty() {
            self.statistics.add_dropped(self.table.sum());
            self.table.clear();
        }
    }

    fn empty_table(&mut self) -> Option<Box<Table>> {
        if let Ok(table) = self.returned.try_recv() {
            return Some(table);
        }
        (self.tables < TABLES).then(|| {
            self.tables += 1;
            Box::new(Table::new(SLOTS))
        })
    }

    /// Sends a table to the collector. Returns whether the queue had room; if not, the counts are dropped.
    fn send(&self, table: Box<Table>) -> bool {
        let order = Order::Take(table, self.home.clone());
        match self.orders.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => {
                if let Order::Take(table, _) = order {
                    self.statistics.add_dropped(table.sum());
                }
                false
            }
        }
    }
}

/// No count is lost when a thread ends.
impl Drop for LookupCounter {
    fn drop(&mut self) {
        if !self.table.is_empty() {
            let last = std::mem::replace(&mut self.table, Box::new(Table::new(1)));
            self.send(last);
        }
    }
}

impl fmt::Debug for LookupCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupCounter")
            .field("entries", &self.table.len())
            .finish_non_exhaustive()
    }
}
