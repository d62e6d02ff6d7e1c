//! Decides which connections a listener accepts, and which connections have to leave for others. DNS over TCP and
//! both parts of HTTP use this module; it knows neither protocol.
//!
//! ```text
//!   listener ── accept ── seats: is there a seat? ──┬─ a task that serves the connection
//!                                                   └─ refused: reset
//! ```
//!
//! * `accept` takes connections from the system, and goes on after errors.
//! * `seats` decides which connections stay. Every connection has a `Seat`. The number of all seats is limited, and
//!   the number for one client, which is an IPv4 address or an IPv6 /56.
//! * `descriptors` divides the file descriptors of the process among the parts, so that no part takes those of
//!   another.
//! * `journal` logs that limits are reached, in a bounded number of lines.
//!
//! # Rules
//!
//! A connection is *at rest* while the server waits for its client: the connection is idle, the client has sent a
//! part of a message, or the client does not read. While the server works on a request, the connection is not at
//! rest.
//!
//! * A client with all its seats taken opens a connection: of its connections, the one at rest longest leaves.
//! * All seats are taken: of all connections, the one at rest longest leaves.
//! * No connection is at rest, or too many are being closed already: the new connection is reset.
//! * The system has no descriptor: of all connections, the one at rest longest leaves, and the server accepts none
//!   for a while.
//!
//! A new connection is at rest from its beginning, so the time that it has for its first request is the time in
//! which all seats change hands. A slow client does not keep its seat.

mod accept;
mod descriptors;
mod journal;
mod seats;

pub(crate) use self::accept::{Listening, accept_all, reset, set_user_timeout};
pub use self::descriptors::{Share, divide};
pub use self::seats::SeatLimits;
pub(crate) use self::seats::{Order, Reason, Refusal, Rest, Seat, Seats};
