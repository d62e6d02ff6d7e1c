//! The collector: adds up the tables of all threads, and gives the sums to the statistics under the names of the links.
//!
//! The statistics have a lock for each name and the names as text, so each call takes as long as several hot answers. The
//! collector calls them once for each name and round: after a second if there are few names, otherwise after five seconds
//! or when its table is full. So counting also costs little where many names are asked for, each of them rarely.

use std::ops::BitXor;
use std::str;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::table::{Counted, Table};
use super::{Inner, Order, QUEUE};
use crate::base::name::wire::{labels, parent};
use crate::link::{Code, LinkName, Origin};
use crate::statistics::Statistics;
use crate::zone::LinkPlace;

/// The slots of the collector's table at the beginning.
const SLOTS: usize = 1 << 12;
/// The most slots that it grows to: 196,608 names in 12.3 MiB at most.
const MOST_SLOTS: usize = 1 << 18;
/// For so many entries at a time the memory is loaded side by side.
const GROUP: usize = 16;
/// How often it takes the counts of the shared counters.
const ROUND: Duration = Duration::from_secs(1);
/// Sums of so many names are given on in each round.
const FEW: usize = 4_096;
/// Sums of more names are given on after so long.
const MANY_AFTER: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct Collector {
    /// For the shared counters.
    inner: Weak<Inner>,
    orders: Receiver<Order>,
    statistics: Statistics,
    sums: Table,
    /// When the sums were last given on.
    told: Instant,
    names: Names,
}

impl Collector {
    pub(super) fn new(inner: Weak<Inner>, orders: Receiver<Order>, statistics: Statistics) -> Self {
        Self {
            inner,
            orders,
            statistics,
            sums: Table::new(SLOTS),
            told: Instant::now(),
            names: Names::default(),
        }
    }

    /// Adds up until no thread counts any more.
    pub(super) fn run(mut self) {
        let mut next = Instant::now() + ROUND;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            match self.orders.recv_timeout(left) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next {
                next = Instant::now() + ROUND;
                self.take_shared();
                if self.sums.len() <= FEW || self.told.elapsed() >= MANY_AFTER {
                    self.tell();
                }
            }
        }
        self.tell();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Take(table, home) => self.take(table, &home),
            Order::Flush(done) => {
                self.take_shared();
                self.tell();
                let _ = done.send(());
            }
        }
    }

    /// Takes what the shared counters have. Their tables are the last in the queue, so it takes the queue as far as that.
    fn take_shared(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.hand_over();
        }
        let mut done = Vec::new();
        for _ in 0..QUEUE {
            match self.orders.try_recv() {
                Ok(Order::Take(table, home)) => self.take(table, &home),
                Ok(Order::Flush(one)) => done.push(one),
                Err(_) => break,
            }
        }
        if !done.is_empty() {
            self.tell();
            for one in done {
                let _ = one.send(());
            }
        }
    }

    fn take(&mut self, mut table: Box<Table>, home: &SyncSender<Box<Table>>) {
        let mut entries = table.entries();
        loop {
            let group: [_; GROUP] = std::array::from_fn(|_| entries.next());
            let hashes = group.iter().flatten().map(|(hash, ..)| *hash);
            let loaded = hashes.map(|hash| self.sums.fetch(hash));
            std::hint::black_box(loaded.fold(0, BitXor::bitxor));
            for (hash, count, counted) in group.iter().flatten() {
                while !self.sums.add(*hash, *count, || *counted) {
                    self.make_room();
                }
            }
            if group.last().is_none_or(Option::is_none) {
                break;
            }
        }
        drop(entries);
        table.clear();
        // The thread may have ended.
        let _ = home.try_send(table);
    }

    /// Makes room for another name: by a larger table, as far as there is one.
    fn make_room(&mut self) {
        if self.sums.slots() >= MOST_SLOTS {
            return self.tell();
        }
        let mut larger = Table::new(2 * self.sums.slots());
        for (hash, count, counted) in self.sums.entries() {
            larger.add(hash, count, || counted);
        }
        self.sums = larger;
    }

    /// Gives the sums to the statistics.
    fn tell(&mut self) {
        let Self {
            statistics,
            sums,
            names,
            ..
        } = self;
        let mut unnamed = 0;
        statistics.add_lookups(sums.entries().filter_map(|(_, count, counted)| {
            let name = names.of_link(&counted);
            if name.is_none() {
                unnamed += u64::from(count);
            }
            Some((name?, counted.kind, count))
        }));
        if unnamed > 0 {
            statistics.add_dropped(unnamed);
        }
        sums.clear();
        self.told = Instant::now();
    }
}

/// Makes names of links. It remembers the last origin, since few servers have many.
#[derive(Default)]
struct Names {
    origin: Option<(Box<[u8]>, Origin)>,
}

impl Names {
    /// The name of the link; none if there is none, which does not happen.
    fn of_link(&mut self, counted: &Counted<'_>) -> Option<LinkName> {
        let code = str::from_utf8(labels(counted.name).next()?).ok()?;
        let code = Code::parse(code).ok()?;
        let mut origin = parent(counted.name)?;
        if counted.place == LinkPlace::Target {
            origin = parent(origin)?;
        }
        match &self.origin {
            Some((wire, known)) if **wire == *origin => Some(LinkName::new(&code, known)),
            _ => {
                let read = read_origin(origin)?;
                let name = LinkName::new(&code, &read);
                self.origin = Some((origin.into(), read));
                Some(name)
            }
        }
    }
}

/// An origin in wire form as text.
fn read_origin(wire: &[u8]) -> Option<Origin> {
    let labels = labels(wire).map(str::from_utf8);
    let labels: Vec<_> = labels.collect::<Result<_, _>>().ok()?;
    Origin::parse(&labels.join(".")).ok()
}
