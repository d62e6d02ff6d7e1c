//! Which connections a listener takes, and which of them have to leave for others. DNS over TCP and both parts
//! of HTTP use it; it knows neither protocol.
//!
//! ```text
//!   listener ── accept ── seats: is there a seat? ──┬─ a task that serves the connection
//!                                                   └─ refused: reset
//! ```
//!
//! * `accept` takes connections from the system, and survives what that may bring.
//! * `seats` decides which connections stay. Every connection has a `Seat`; there are so many in all, and so
//!   many for one client: an IPv4 address or an IPv6 /56.
//! * `descriptors` divides the descriptors of the process among the parts, so that none takes those of another.
//! * `journal` logs when limits are reached, in a bounded number of lines.
//!
//! # Rules
//!
//! A connection is *at rest* while the server waits for its client: the connection is idle, its client is in the
//! midst of a message, or does not read. While the server works on a request, it is not at rest.
//!
//! * Where a client has all the connections that it may have, the one of them leaves that is at rest longest.
//! * Where all seats are taken, the one of all leaves that is at rest longest.
//! * Where none is at rest, or too many are on their way out already, the new one is reset.
//! * Where a descriptor is short, the one of all leaves that is at rest longest, and none is accepted for a while.
//!
//! A new connection is at rest from its beginning, so it has as long to send its first request as it takes for
//! all seats to change hands. To be slow is no way to keep a seat.

mod accept;
mod descriptors;
mod journal;
mod seats;

pub(crate) use self::accept::{Listening, accept_all, reset, set_user_timeout};
pub use self::descriptors::{Share, divide};
pub use self::seats::SeatLimits;
pub(crate) use self::seats::{Order, Reason, Refusal, Rest, Seat, Seats};
