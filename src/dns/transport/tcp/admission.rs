//! The seats of connections by TCP and TLS, with what belongs to DNS alone: its limits, and its counters. See
//! [`crate::base::admission`] for who stays and who leaves.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::TcpLimits;
pub(super) use crate::base::admission::Order;
use crate::base::admission::{self, Reason, Refusal, SeatLimits};
use crate::base::metrics::{Metrics, TcpClose, TcpCloseReason};

/// What connections are for, in the log.
pub(super) const SERVICE: &str = "DNS over TCP";

/// All seats. Clones share them.
#[derive(Clone)]
pub(super) struct Seats {
    seats: admission::Seats,
    limits: TcpLimits,
    metrics: Arc<Metrics>,
}

/// A connection's right to be there, which ends when it is dropped.
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

    /// Those that other protocols have as well.
    pub(super) fn shared(&self) -> &admission::Seats {
        &self.seats
    }

    pub(super) fn limits(&self) -> &TcpLimits {
        &self.limits
    }

    /// A seat for a connection of this client; if need be, another connection's is taken away.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Seat, TcpCloseReason> {
        let seat = self.seats.admit(client)?;
        self.metrics.dns_tcp_accepted.inc();
        Ok(Seat {
            seat,
            seats: self.clone(),
        })
    }

    /// Lets none in any more, and tells all connections what to do.
    pub(super) fn close(&self, order: Order) {
        self.seats.close(order);
    }

    /// For how long a connection may be idle that is at rest from now on: the less, the fewer seats are
    /// left.
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

    /// What the connection is told to do; later orders wake this one.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.seat.order(waker)
    }

    /// Notes that the connection is at rest since then, or that it is not.
    pub(super) fn note_rest(&self, since: Option<Instant>) {
        self.seat.note_rest(since);
    }

    /// Makes room for another one; this one is about to leave. Returns whether it may take its time.
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
