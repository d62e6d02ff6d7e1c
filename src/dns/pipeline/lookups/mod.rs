//! How often links are looked up: counts for [`Statistics`].
//!
//! ```text
//!   UDP worker ── counter: a table of its own ──┐  full, after seconds,  ┌───────────┐
//!   signer ────── counter: a table of its own ──┼─ or idle: handed over ─┤ collector ├── Statistics
//!   TCP, tasks ── a counter that is free ───────┘  ◄── empty tables ──── └───────────┘
//! ```
//!
//! Counted are replies with answers about links that exist and are not withheld, by the kind of their query type, at either
//! name of the link; also those without records of that type (NODATA). Not counted are names of the zone file, names that
//! do not exist, failures, and replies that the rate limit drops or replaces. A truncated reply has no records and is not
//! counted: the client asks again by TCP, so a look-up counts once.
//!
//! A worker counts in a [`Table`] that no other thread sees, under the hash by which it has searched the hot answers. The
//! hot answer says whether it is about a link. So counting takes no lock, and no allocation but for a larger table. When the
//! table is nearly full, after some seconds, or when the worker is idle, the worker exchanges it for an empty one. The collector is a thread that adds
//! up the tables of all workers, makes names of links from the names of queries, and gives the sums to [`Statistics`].
//!
//! Nothing is lost in silence: each counter has [`counter::TABLES`] tables. If the collector still has all others when one is
//! full, its counts are dropped and counted as dropped.
//!
//! Turned down: a count in each hot answer, which all cores would write to, and which is lost when the answer is evicted;
//! and one table for all workers, for the same reason.

mod collector;
mod counter;
mod table;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;

use tokio::sync::oneshot;

use self::collector::Collector;
pub(crate) use self::counter::LookupCounter;
use self::table::{Room, Table};
use crate::base::lock::lock;
use crate::statistics::Statistics;
use crate::store::statistics::Lookup;
use crate::zone::LinkPlace;

/// How many full tables may wait for the collector; those of a counter have a bound of their own.
const QUEUE: usize = 256;
/// How many counters the threads of the runtime share. Each thread begins at another one, so with fewer threads none waits.
const SHARED: usize = 16;

/// The look-up of a link.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'q> {
    /// The hash of name, form and type.
    pub(crate) hash: u64,
    /// The query name in lower-case wire form.
    pub(crate) name: &'q [u8],
    /// The query type.
    pub(crate) qtype: u16,
    /// Which of the two names of the link it is.
    pub(crate) place: LinkPlace,
}

/// See the [module](self). Clones share the counts.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    statistics: Statistics,
    orders: SyncSender<Order>,
    room: Arc<Room>,
    /// For the threads of the runtime, which cannot hand over while they are idle: the collector does that.
    shared: [Mutex<Option<LookupCounter>>; SHARED],
}

/// What the collector is asked to do.
enum Order {
    /// Take these counts, and return the table, emptied.
    Take(Box<Table>, SyncSender<Box<Table>>),
    /// Give all counts to the statistics, also those of the shared counters, and say so.
    Flush(oneshot::Sender<()>),
}

impl Lookups {
    /// Counts for these statistics; none if they are off. The thread ends some time after all clones are dropped.
    ///
    /// # Errors
    /// The thread of the collector cannot start.
    pub(crate) fn start(statistics: Statistics) -> io::Result<Option<Self>> {
        if !statistics.is_on() {
            return Ok(None);
        }
        let (orders, received) = sync_channel(QUEUE);
        let inner = Arc::new(Inner {
            statistics: statistics.clone(),
            orders,
            room: Room::new(counter::ROOM),
            shared: [const { Mutex::new(None) }; SHARED],
        });
        let collector = Collector::new(Arc::downgrade(&inner), received, statistics);
        let name = "dns-lookups".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(|| collector.run())?;
        Ok(Some(Self(inner)))
    }

    /// A counter for one thread.
    pub(crate) fn counter(&self) -> LookupCounter {
        self.0.counter()
    }

    /// Counts a look-up, on a thread that has no counter of its own. It waits for no other thread, unless there are more
    /// than [`SHARED`].
    pub(crate) fn count(&self, asked: Asked<'_>) {
        let mut place = self.0.own_place();
        place.get_or_insert_with(|| self.0.counter()).count(asked);
    }

    /// Gives all counts to the statistics that were handed over, and those of the shared counters.
    pub(crate) async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        let orders = self.0.orders.clone();
        // The queue may be full for a moment.
        let ordered = tokio::task::spawn_blocking(move || orders.send(Order::Flush(done)).is_ok());
        if ordered.await.unwrap_or(false) {
            let _ = is_done.await;
        }
    }
}

impl Inner {
    fn counter(&self) -> LookupCounter {
        LookupCounter::new(
            self.orders.clone(),
            self.statistics.clone(),
            self.room.clone(),
        )
    }

    /// The shared counter that this thread began with, or else one that no thread uses now.
    fn own_place(&self) -> MutexGuard<'_, Option<LookupCounter>> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        let first = PLACE.get() % SHARED;
        let (before, from) = self.shared.split_at(first);
        for place in from.iter().chain(before) {
            match place.try_lock() {
                Ok(place) => return place,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.shared[first])
    }

    /// Hands over what the shared counters have.
    fn hand_over(&self) {
        for place in &self.shared {
            if let Some(counter) = lock(place).as_mut() {
                counter.hand_over();
            }
        }
    }
}

/// The kind of a query type.
fn kind_of(qtype: u16) -> Lookup {
    match qtype {
        // A, CNAME, AAAA and HTTPS
        1 | 5 | 28 | 65 => Lookup::Address,
        16 => Lookup::Txt,
        256 => Lookup::Uri,
        _ => Lookup::Other,
    }
}

#[cfg(test)]
pub(super) mod tests;
