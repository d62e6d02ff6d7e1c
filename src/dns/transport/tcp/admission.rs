//! The seats of TCP and TLS connections, with the limits and counters of DNS. [`crate::base::admission`] decides
//! which connections stay.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::TcpLimits;
pub(super) use crate::base::admission::Order;
use crate::base::admission::{self, Reason, Refusal, SeatLimits};
use crate::base::metrics::{Metrics, TcpClose, TcpCloseReason};

/// The service of the connections, in the log.
pub(super) const SERVICE: &str = "DNS over TCP";

/// All seats. Clones share them.
#[derive(Clone)]
pub(super) struct Seats {
    seats: admission::Seats,
    limits: TcpLimits,
    metrics: Arc<Metrics>,
}

/// The seat of one connection. Dropping it frees the seat.
pub(super) struct Seat {
    seat: admission::Seat,
    seats: Seats,
}

impl Seats {
    pub(super) fn new(limits: TcpLimits, metrics: Arc<Metrics>) -> Self {
        let seat_limits = SeatLimits {
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            exempt: Vec::new(),
        };
        let open = metrics.dns_tcp_connections.clone();
        Self {
            seats: admission::Seats::new(SERVICE, &seat_limits, open),
            limits,
            metrics,
        }
    }

    /// The counters that other protocols have as well.
    pub(super) fn shared(&self) -> &admission::Seats {
        &self.seats
    }

    pub(super) fn limits(&self) -> &TcpLimits {
        &self.limits
    }

    /// A seat for a connection of this client; if need be, another connection loses its seat.
    ///
    /// # Errors
    /// Why there is no seat.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Seat, TcpCloseReason> {
        let seat = self.seats.admit(client)?;
        self.metrics.dns_tcp_accepted.inc();
        Ok(Seat {
            seat,
            seats: self.clone(),
        })
    }

    /// Admits no more connections, and gives all of them this order.
    pub(super) fn close(&self, order: Order) {
        self.seats.close(order);
    }

    /// How long a connection that is at rest from now on may stay idle: less while few seats are left.
    pub(super) fn granted_idle(&self) -> Duration {
        self.seats.granted(self.limits.idle)
    }

    /// Counts the end of a connection.
    pub(super) fn count_close(&self, reason: TcpCloseReason) {
        let closed = &self.metrics.dns_tcp_closed;
        closed.get_or_create(&TcpClose { reason }).inc();
    }
}

impl Seat {
    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// The connection's order; a new order wakes its task.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.seat.order(waker)
    }

    /// Notes since when the connection is at rest, or that it is not.
    pub(super) fn note_rest(&self, since: Option<Instant>) {
        self.seat.note_rest(since);
    }

    /// Frees the seat early, because the connection is about to end. Returns whether the end may take its time.
    pub(super) fn give_up(&self) -> bool {
        self.seat.give_up()
    }
}

impl From<Reason> for TcpCloseReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Limit => Self::Limit,
            Reason::ClientLimit => Self::ClientLimit,
            Reason::Descriptors => Self::Descriptors,
        }
    }
}

impl From<Refusal> for TcpCloseReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Refused,
            Refusal::Client => Self::ClientRefused,
            Refusal::Stopping => Self::Stop,
        }
    }
}
