//! The counter of one thread: a table, and its exchange for an empty one.
//!
//! The table is small at first, so that it displaces little from the processor's cache. When it is full before its time, the
//! next one is twice as large. Otherwise, where many names are asked for, the collector would get a name again and again
//! with a count of one.

use std::fmt;
use std::ops::BitXor;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::table::{Counted, Room, Table};
use super::{Asked, Order, kind_of};
use crate::statistics::Statistics;

/// The fewest and the most slots of a table. With its names a table takes at most 392 KiB, or 12.3 MiB.
const SLOTS: usize = 1 << 13;
const MOST_SLOTS: usize = 1 << 18;
/// Tables with more slots than the fewest have so many in all counters together: 49 MiB.
pub(super) const ROOM: usize = 1 << 20;
/// How many tables a counter has: the one in use, and those that the collector may have at the same time.
pub(super) const TABLES: usize = 4;
/// How long counts stay in a table.
const KEPT: Duration = Duration::from_secs(1);
/// The same if there are more than so many names.
const MANY: usize = 1 << 12;
const MANY_KEPT: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(crate) struct LookupCounter {
    table: Box<Table>,
    /// The slots of the next table.
    slots: usize,
    /// For large tables.
    room: Arc<Room>,
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
    pub(super) fn new(orders: SyncSender<Order>, statistics: Statistics, room: Arc<Room>) -> Self {
        let (home, returned) = sync_channel(TABLES);
        // Made now, so that the thread allocates nothing later, unless many names are asked for or the collector is slow.
        let _ = home.try_send(Box::new(Table::new(SLOTS)));
        Self {
            table: Box::new(Table::new(SLOTS)),
            slots: SLOTS,
            room,
            tables: 2,
            home,
            returned,
            orders,
            statistics,
            since: Instant::now(),
        }
    }

    /// Brings the memory that is needed to count these hashes into the processor's cache.
    #[inline]
    pub(crate) fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        let loaded = hashes.map(|hash| self.table.fetch(hash));
        std::hint::black_box(loaded.fold(0, BitXor::bitxor));
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
        let age = now.saturating_duration_since(self.since);
        if age < KEPT || (age < MANY_KEPT && self.table.len() > MANY) {
            return;
        }
        self.since = now;
        if self.slots > SLOTS && self.table.len() < self.slots / 8 {
            self.slots /= 2;
        }
        self.hand_over();
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
        if self.slots < MOST_SLOTS && self.room.has(2 * self.slots) {
            self.slots *= 2;
        }
        self.hand_over();
        if !self.table.is_empty() {
            self.statistics.add_dropped(self.table.sum());
            self.table.clear();
        }
    }

    fn empty_table(&mut self) -> Option<Box<Table>> {
        while let Ok(table) = self.returned.try_recv() {
            if table.slots() == self.slots {
                return Some(table);
            }
            self.tables -= 1;
        }
        if self.tables >= TABLES {
            return None;
        }
        self.tables += 1;
        if self.slots > SLOTS
            && let Some(table) = Table::within(&self.room, self.slots)
        {
            return Some(Box::new(table));
        }
        self.slots = SLOTS;
        Some(Box::new(Table::new(SLOTS)))
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
