//! Decides which connections stay, and which have to leave for others.
//!
//! Every connection has a [`Seat`]. A seat knows since when its connection is *at rest*, that is, since when the
//! server waits for its client. A connection is also at rest while the client sends a message byte by byte or does
//! not read its replies: otherwise a slow client could keep its seat.
//!
//! The times at rest change with every message, but are needed only when all seats are taken. So each connection
//! stores its own time in an atomic number, and the queues that find the connection at rest longest remember the
//! times that they saw last. A time only grows. So if the earliest remembered time is still correct, it is the
//! earliest of all; if not, the queue updates it and tries the next.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::descriptors::leaving;
use super::journal::{Journal, Notice};
use crate::base::prefix::{Addresses, Prefix};

/// The prefix of an IPv6 address that counts as one client, in bits: providers give a /56 to a home (RIPE-690 §4.2).
/// With a /64 one home would count as 256 clients.
const V6_CLIENT_BITS: u8 = 56;
const V4_CLIENT_BITS: u8 = 32;
/// The share of the seats that may be taken before the idle time shrinks.
const CALM: (usize, usize) = (3, 4);
/// The least idle time. RFC 7766 §6.2.3 allows zero for a server under heavy load, but the connection at rest longest
/// makes room anyway.
const LEAST_IDLE: Duration = Duration::from_secs(1);
/// The time at rest of a connection that is not at rest.
const BUSY: u64 = u64::MAX;

/// The limits on connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatLimits {
    /// How many connections there may be; at least one.
    pub connections: u32,
    /// How many of them one client (an IPv4 address or an IPv6 /56) may have; at least one.
    pub connections_per_client: u32,
    /// Clients without a limit of their own, such as a proxy for all clients.
    pub exempt: Vec<Prefix>,
}

/// Why a connection has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// All seats are taken, and it has been at rest longest.
    Limit,
    /// The seats of its client are taken, and of these it has been at rest longest.
    ClientLimit,
    /// A descriptor is needed, and it has been at rest longest.
    Descriptors,
}

/// Why a connection gets no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All seats are taken and no connection is at rest, or too many are being closed.
    Full,
    /// Its client has all the seats that it may have, and none of these connections is at rest.
    Client,
    /// The server stops.
    Stopping,
}

/// An order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    None,
    /// Leave, because another connection needs the seat: answer the requests in work, and close.
    Leave(Reason),
    /// Take no more requests, because the server stops: answer the requests in work, and close.
    Stop,
    /// Close at once.
    Cut,
}

/// All seats. Clones share them.
#[derive(Clone)]
pub(crate) struct Seats(Arc<Shared>);

struct Shared {
    /// The service that the connections are for, for the log.
    service: &'static str,
    connections: u32,
    connections_per_client: u32,
    exempt: Addresses,
    /// The number of open connections.
    open: Gauge,
    /// The time from which times at rest are counted.
    began: Instant,
    /// How many seats are taken, and how many connections are leaving. The table has the same numbers, behind its
    /// lock.
    taken: AtomicUsize,
    leaving: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    all: Queue,
    clients: HashMap<Prefix, Queue>,
    /// The connections that were ordered to leave or to close and have not done so yet.
    leaving: HashMap<u64, Arc<Place>>,
    /// Whether no more connections are admitted.
    is_closed: bool,
    journal: Journal,
}

/// The state that a connection and the table share.
struct Place {
    /// Since when the connection is at rest, in milliseconds from `began`; or [`BUSY`].
    rest: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// The right of a connection to exist. It ends when this is dropped.
pub(crate) struct Seat {
    seats: Seats,
    id: u64,
    place: Arc<Place>,
}

/// Notes since when a connection is at rest. It may outlive the seat.
#[derive(Clone)]
pub(crate) struct Rest {
    place: Arc<Place>,
    began: Instant,
}

impl Seats {
    /// Seats for connections to this service. `open` shows how many are open.
    pub(crate) fn new(service: &'static str, limits: &SeatLimits, open: Gauge) -> Self {
        Self(Arc::new(Shared {
            service,
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            exempt: Addresses::of(&limits.exempt),
            open,
            began: Instant::now(),
            taken: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            table: Mutex::default(),
        }))
    }

    /// The service that the connections are for.
    pub(crate) fn service(&self) -> &'static str {
        self.0.service
    }

    /// Gives a seat to a connection of this client. If necessary, another connection is ordered to leave.
    ///
    /// # Errors
    /// The reason why there is no seat.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<Seat, Refusal> {
        let network = Prefix::of(client, V4_CLIENT_BITS, V6_CLIENT_BITS);
        let is_exempt = self.0.exempt.contains(client);
        let now = self.millis();
        let mut table = self.table();
        if table.is_closed {
            return Err(Refusal::Stopping);
        }
        let (room, notice) = table.make_room(network, is_exempt, now, &self.0);
        let seat = room.map(|()| {
            let place = Arc::new(Place {
                rest: AtomicU64::new(now),
                order: AtomicU8::new(Order::None.into()),
                waker: AtomicWaker::new(),
            });
            let id = table.seat(network, now, &place);
            self.count(&table);
            Seat {
                seats: self.clone(),
                id,
                place,
            }
        });
        drop(table);
        if let Some(notice) = notice {
            notice.log(self.0.service);
        }
        seat
    }

    /// Whether any connection is leaving.
    pub(crate) fn is_any_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed) > 0
    }

    /// Tells the connection at rest longest, if there is any, to leave, because a descriptor is needed.
    pub(crate) fn free_descriptor(&self) {
        let now = self.millis();
        let mut table = self.table();
        if let Some(one) = table.all.longest(now) {
            table.tell_to_leave(one, Reason::Descriptors);
            self.count(&table);
        }
    }

    /// Admits no more connections, and gives an order to all.
    pub(crate) fn close(&self, order: Order) {
        let mut table = self.table();
        table.is_closed = true;
        let seated = table.all.places();
        for place in seated.chain(table.leaving.values()) {
            place.tell(order);
        }
    }

    /// How long a connection may be idle from now on. This is `idle` while many seats are free, and less the fewer
    /// seats are free.
    pub(crate) fn granted(&self, idle: Duration) -> Duration {
        let all = usize::try_from(self.0.connections).unwrap_or(usize::MAX);
        let calm = all / CALM.1 * CALM.0 + all % CALM.1 * CALM.0 / CALM.1;
        let left = all.saturating_sub(self.0.taken.load(Ordering::Relaxed));
        let span = all - calm;
        if left >= span {
            return idle;
        }
        let share = left as f64 / span as f64;
        idle.mul_f64(share).max(LEAST_IDLE.min(idle))
    }

    fn millis(&self) -> u64 {
        millis_between(self.0.began, Instant::now())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, table: &Table) {
        self.0.taken.store(table.all.len(), Ordering::Relaxed);
        self.0.leaving.store(table.leaving.len(), Ordering::Relaxed);
        let open = table.all.len() + table.leaving.len();
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.0.open.set(open);
    }
}

impl Table {
    /// Tells another connection to leave if that is necessary for one more connection of this client. Also returns
    /// what to log about it.
    fn make_room(
        &mut self,
        client: Prefix,
        is_exempt: bool,
        now: u64,
        shared: &Shared,
    ) -> (Result<(), Refusal>, Option<Notice>) {
        let own = self.clients.get(&client).map_or(0, Queue::len);
        let is_at_limit = |number: usize, limit: u32| {
            u32::try_from(number).map_or(true, |number| number >= limit)
        };
        if !is_exempt && is_at_limit(own, shared.connections_per_client) {
            let limit = shared.connections_per_client;
            let notice = self.journal.client_limit(client, limit, Instant::now());
            let longest = self.clients.get_mut(&client);
            let longest = longest.and_then(|own| own.longest(now));
            let room = longest.ok_or(Refusal::Client);
            return (self.replace(room, Reason::ClientLimit, shared), notice);
        }
        if is_at_limit(self.all.len(), shared.connections) {
            let most = || {
                let sizes = self.clients.iter().map(|(one, own)| (*one, own.len()));
                sizes.max_by_key(|(_, number)| *number)
            };
            let notice = self.journal.limit(most, shared.connections, Instant::now());
            let room = self.all.longest(now).ok_or(Refusal::Full);
            return (self.replace(room, Reason::Limit, shared), notice);
        }
        (Ok(()), None)
    }

    /// Tells this connection to leave, unless too many are leaving already.
    fn replace(
        &mut self,
        one: Result<u64, Refusal>,
        reason: Reason,
        shared: &Shared,
    ) -> Result<(), Refusal> {
        let most = usize::try_from(leaving(shared.connections)).unwrap_or(usize::MAX);
        if self.leaving.len() >= most {
            return Err(Refusal::Full);
        }
        self.tell_to_leave(one?, reason);
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

    fn tell_to_leave(&mut self, id: u64, reason: Reason) {
        if let Some(place) = self.stand_up(id) {
            place.tell(Order::Leave(reason));
            self.leaving.insert(id, place);
        }
    }

    /// Removes a connection from the queues, if it is still there.
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

/// Connections by the time since which they are at rest, as it was last seen.
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

    /// The connection at rest longest; none if all are busy. A remembered time is at most one millisecond later than
    /// the true one.
    fn longest(&mut self, now: u64) -> Option<u64> {
        // Each is updated at most once: busy connections move behind those at rest.
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
    fn note_rest(&self, since: Option<Instant>, began: Instant) {
        let rest = since.map_or(BUSY, |since| millis_between(began, since));
        self.rest.store(rest, Ordering::Relaxed);
    }

    fn tell(&self, order: Order) {
        self.order.store(order.into(), Ordering::Release);
        self.waker.wake();
    }
}

impl Seat {
    /// The order for the connection. A later order wakes this waker.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        self.place.waker.register(waker);
        Order::from(self.place.order.load(Ordering::Acquire))
    }

    /// Notes since when the connection is at rest, or that it is not.
    pub(crate) fn note_rest(&self, since: Option<Instant>) {
        self.place.note_rest(since, self.seats.0.began);
    }

    /// A handle that notes the times at rest, for code that does not have the seat.
    pub(crate) fn rest(&self) -> Rest {
        Rest {
            place: Arc::clone(&self.place),
            began: self.seats.0.began,
        }
    }

    /// Waits for an order.
    pub(crate) async fn ordered(&self) -> Order {
        poll_fn(|cx| match self.order(cx.waker()) {
            Order::None => Poll::Pending,
            order => Poll::Ready(order),
        })
        .await
    }

    /// Makes room for another connection, because this one is about to leave. Returns whether it may take its time:
    /// connections that do may occupy only half of the places for leaving connections.
    pub(crate) fn give_up(&self) -> bool {
        let mut table = self.seats.table();
        if let Some(place) = table.stand_up(self.id) {
            table.leaving.insert(self.id, place);
            self.seats.count(&table);
        }
        let most = leaving(self.seats.0.connections).div_ceil(2);
        u32::try_from(table.leaving.len()).is_ok_and(|number| number <= most)
    }
}

impl Rest {
    /// Notes since when the connection is at rest, or that it is not.
    pub(crate) fn note(&self, since: Option<Instant>) {
        self.place.note_rest(since, self.began);
    }
}

/// The milliseconds from `began` to `time`; always less than [`BUSY`].
fn millis_between(began: Instant, time: Instant) -> u64 {
    let passed = time.saturating_duration_since(began).as_millis();
    u64::try_from(passed).unwrap_or(BUSY - 1).min(BUSY - 1)
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
            Order::Leave(Reason::ClientLimit) => 1,
            Order::Leave(Reason::Descriptors) => 2,
            Order::Leave(Reason::Limit) => 3,
            Order::Stop => 4,
            Order::Cut => 5,
        }
    }
}

impl From<u8> for Order {
    fn from(order: u8) -> Self {
        match order {
            0 => Self::None,
            1 => Self::Leave(Reason::ClientLimit),
            2 => Self::Leave(Reason::Descriptors),
            3 => Self::Leave(Reason::Limit),
            4 => Self::Stop,
            _ => Self::Cut,
        }
    }
}
