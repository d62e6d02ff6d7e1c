//! Who may come in, and who has to leave for it.
//!
//! Every connection has a [`Seat`]; there are so many for all, and so many for one client, which is an IPv4
//! address or an IPv6 network. A seat knows since when its connection is *at rest*: since when none of its
//! queries is in work, so that it is the client that is waited for. At rest is also who sends a message
//! byte by byte or does not read its replies: to be slow must not be a way to keep a seat.
//!
//! The times at rest change with every message, and are looked at only when the seats are taken. So a
//! connection writes its own into an atomic number, and the queues by which the longest is found note what
//! they have seen last. A time only grows: if the earliest noted is still true, it is the earliest of all;
//! if not, it is noted anew and the next one tried.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::TcpLimits;
use crate::dns::rate_limit::Prefix;
use crate::metrics::{Metrics, TcpClose, TcpCloseReason};

/// The part of an IPv6 address that counts as one client, in bits: what a provider gives to a home
/// (RIPE-690 §4.2). By /64 one home would be 256 clients.
const V6_CLIENT_BITS: u8 = 56;
const V4_CLIENT_BITS: u8 = 32;
/// How many connections may be on their way out, beyond those that have a seat.
pub(super) const MAX_LEAVING: usize = 64;
/// What part of the seats may be taken before the idle time shrinks.
const CALM: (usize, usize) = (3, 4);
/// What the idle time shrinks to at the least. RFC 7766 §6.2.3 allows zero for a server under heavy load;
/// but the longest at rest makes room anyway.
const LEAST_IDLE: Duration = Duration::from_secs(1);
/// The time at rest of a connection that is not.
const BUSY: u64 = u64::MAX;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To go on.
    None,
    /// To leave, because another one needs its seat: to answer what is in work, and close.
    Leave(TcpCloseReason),
    /// To take no more queries, because the server stops: to answer what is in work, and close.
    Stop,
    /// To close at once.
    Cut,
}

/// All seats. Clones share them.
#[derive(Clone)]
pub(super) struct Seats(Arc<Shared>);

struct Shared {
    limits: TcpLimits,
    metrics: Arc<Metrics>,
    /// From when times at rest are counted.
    began: Instant,
    /// How many seats are taken; the table knows it as well, behind its lock.
    taken: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    all: Queue,
    clients: HashMap<Prefix, Queue>,
    /// Those that have been told to leave or to close, and have not done so yet.
    leaving: HashMap<u64, Arc<Place>>,
    /// Whether nobody is let in any more.
    is_closed: bool,
}

/// What a connection and the table share.
struct Place {
    /// Since when it is at rest, in milliseconds from `began`; or [`BUSY`].
    rest: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// A connection's right to be there, which ends when it is dropped.
pub(super) struct Seat {
    seats: Seats,
    id: u64,
    place: Arc<Place>,
}

impl Seats {
    pub(super) fn new(limits: TcpLimits, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            limits,
            metrics,
            began: Instant::now(),
            taken: AtomicUsize::new(0),
            table: Mutex::default(),
        }))
    }

    pub(super) fn limits(&self) -> &TcpLimits {
        &self.0.limits
    }

    /// A seat for a connection of this client; if need be, somebody else's is taken away.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Seat, TcpCloseReason> {
        let client = Prefix::of(client, V4_CLIENT_BITS, V6_CLIENT_BITS);
        let now = self.millis();
        let mut table = self.table();
        if table.is_closed {
            return Err(TcpCloseReason::Stop);
        }
        table.make_room(client, now, &self.0.limits)?;
        let place = Arc::new(Place {
            rest: AtomicU64::new(now),
            order: AtomicU8::new(Order::None.into()),
            waker: AtomicWaker::new(),
        });
        let id = table.seat(client, now, &place);
        self.count(&table);
        self.0.metrics.dns_tcp_accepted.inc();
        Ok(Seat {
            seats: self.clone(),
            id,
            place,
        })
    }

    /// Has the connection leave that is at rest longest, if any is: its descriptor is needed.
    pub(super) fn free_descriptor(&self) {
        let now = self.millis();
        let mut table = self.table();
        if let Some(one) = table.all.longest(now) {
            table.tell_to_leave(one, TcpCloseReason::Descriptors);
            self.count(&table);
        }
    }

    /// Lets nobody in any more, and tells all connections what to do.
    pub(super) fn close(&self, order: Order) {
        let mut table = self.table();
        table.is_closed = true;
        let seated = table.all.places();
        for place in seated.chain(table.leaving.values()) {
            place.tell(order);
        }
    }

    /// For how long a connection may be idle that is at rest from now on: the less, the fewer seats are
    /// left.
    pub(super) fn granted_idle(&self) -> Duration {
        let limits = &self.0.limits;
        let all = limits.connections();
        let calm = all * CALM.0 / CALM.1;
        let left = all.saturating_sub(self.0.taken.load(Ordering::Relaxed));
        let span = all - calm;
        if left >= span {
            return limits.idle;
        }
        let share = left as f64 / span as f64;
        limits.idle.mul_f64(share).max(LEAST_IDLE.min(limits.idle))
    }

    /// Counts the end of a connection.
    pub(super) fn count_close(&self, reason: TcpCloseReason) {
        let closed = &self.0.metrics.dns_tcp_closed;
        closed.get_or_create(&TcpClose { reason }).inc();
    }

    fn millis(&self) -> u64 {
        self.millis_at(Instant::now())
    }

    fn millis_at(&self, time: Instant) -> u64 {
        let passed = time.saturating_duration_since(self.0.began).as_millis();
        u64::try_from(passed).unwrap_or(BUSY - 1)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, table: &Table) {
        self.0.taken.store(table.all.len(), Ordering::Relaxed);
        let open = table.all.len() + table.leaving.len();
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.0.metrics.dns_tcp_connections.set(open);
    }
}

impl Table {
    /// Has somebody else leave where that is necessary for one more connection of this client.
    fn make_room(
        &mut self,
        client: Prefix,
        now: u64,
        limits: &TcpLimits,
    ) -> Result<(), TcpCloseReason> {
        let own = self.clients.get_mut(&client);
        let (queue, refused, reason) = match own {
            Some(own) if own.len() >= limits.per_client() => (
                own,
                TcpCloseReason::ClientRefused,
                TcpCloseReason::ClientLimit,
            ),
            _ if self.all.len() >= limits.connections() => (
                &mut self.all,
                TcpCloseReason::Refused,
                TcpCloseReason::Limit,
            ),
            _ => return Ok(()),
        };
        if self.leaving.len() >= MAX_LEAVING {
            return Err(TcpCloseReason::Refused);
        }
        let one = queue.longest(now).ok_or(refused)?;
        self.tell_to_leave(one, reason);
        Ok(())
    }

    fn seat(&mut self, client: Prefix, now: u64, place: &Arc<Place>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all.insert(id, now, client, place);
        let own = self.clients.entry(client).or_default();
        own.insert(id, now, client, place);
        id
    }

    fn tell_to_leave(&mut self, id: u64, reason: TcpCloseReason) {
        if let Some(place) = self.stand_up(id) {
            place.tell(Order::Leave(reason));
            self.leaving.insert(id, place);
        }
    }

    /// Takes a connection out of the queues, if it is still there.
    fn stand_up(&mut self, id: u64) -> Option<Arc<Place>> {
        let Noted { client, place, .. } = self.all.remove(id)?;
        if let Some(own) = self.clients.get_mut(&client) {
            own.remove(id);
            if own.len() == 0 {
                self.clients.remove(&client);
            }
        }
        Some(place)
    }
}

/// Connections by the time since which they are at rest, as far as was noted.
#[derive(Default)]
struct Queue {
    order: BTreeSet<(u64, u64)>,
    noted: HashMap<u64, Noted>,
}

struct Noted {
    since: u64,
    client: Prefix,
    place: Arc<Place>,
}

impl Queue {
    fn len(&self) -> usize {
        self.noted.len()
    }

    fn places(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.noted.values().map(|noted| &noted.place)
    }

    fn insert(&mut self, id: u64, since: u64, client: Prefix, place: &Arc<Place>) {
        let place = Arc::clone(place);
        self.order.insert((since, id));
        let noted = Noted {
            since,
            client,
            place,
        };
        self.noted.insert(id, noted);
    }

    fn remove(&mut self, id: u64) -> Option<Noted> {
        let noted = self.noted.remove(&id)?;
        self.order.remove(&(noted.since, id));
        Some(noted)
    }

    /// The one that is at rest longest; none if all are busy. What is noted is never later than the
    /// truth by more than the millisecond in which it was looked at.
    fn longest(&mut self, now: u64) -> Option<u64> {
        // Each is noted anew at most once: what is busy goes behind all that is at rest.
        for _ in 0..=self.noted.len() {
            let &(since, id) = self.order.first()?;
            if since > now {
                return None;
            }
            let noted = self.noted.get_mut(&id)?;
            let rest = noted.place.rest.load(Ordering::Relaxed).min(now + 1);
            if rest == since {
                return Some(id);
            }
            noted.since = rest;
            self.order.remove(&(since, id));
            self.order.insert((rest, id));
        }
        None
    }
}

impl Place {
    fn tell(&self, order: Order) {
        self.order.store(order.into(), Ordering::Release);
        self.waker.wake();
    }
}

impl Seat {
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// What the connection is told to do; later orders wake this one.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.place.waker.register(waker);
        Order::from(self.place.order.load(Ordering::Acquire))
    }

    /// Notes that the connection is at rest since then, or that it is not.
    pub(super) fn note_rest(&self, since: Option<Instant>) {
        let rest = since.map_or(BUSY, |since| self.seats.millis_at(since));
        self.place.rest.store(rest, Ordering::Relaxed);
    }

    /// Makes room for another one; this one is about to leave. Returns whether it may take its time.
    pub(super) fn give_up(&self) -> bool {
        let mut table = self.seats.table();
        if let Some(place) = table.stand_up(self.id) {
            table.leaving.insert(self.id, place);
            self.seats.count(&table);
        }
        table.leaving.len() <= MAX_LEAVING
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        table.stand_up(self.id);
        table.leaving.remove(&self.id);
        self.seats.count(&table);
    }
}

impl From<Order> for u8 {
    fn from(order: Order) -> Self {
        match order {
            Order::None => 0,
            Order::Leave(TcpCloseReason::ClientLimit) => 1,
            Order::Leave(TcpCloseReason::Descriptors) => 2,
            Order::Leave(_) => 3,
            Order::Stop => 4,
            Order::Cut => 5,
        }
    }
}

impl From<u8> for Order {
    fn from(order: u8) -> Self {
        match order {
            0 => Self::None,
            1 => Self::Leave(TcpCloseReason::ClientLimit),
            2 => Self::Leave(TcpCloseReason::Descriptors),
            3 => Self::Leave(TcpCloseReason::Limit),
            4 => Self::Stop,
            _ => Self::Cut,
        }
    }
}
