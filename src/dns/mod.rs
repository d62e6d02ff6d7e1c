//! The DNS side: sockets, requests and replies.
//!
//! ```text
//!  UDP ─┬─ packet ─┬─ ordinary ─── hot answer? ─── it is ────────────────────┬─ complete ── rate limit ── out
//!  TCP ─┤          │                 └─ answer ─── Links, zone file ─── keep ┤               (UDP alone)
//!  TLS ─┘          └─ odd ─┬─ message: needs no look-up ─────────────────────┤
//!                          └─ Handler ─── answer ─── fit ─── encode ─────────┘
//!                                           └─ Links, zone file
//! ```
//!
//! * `udp` receives and sends many packets a call; [`tcp`] has the connections, and [`tls`] the certificate for
//!   those that are encrypted. [`packet`] decides what becomes of one message.
//! * `ordinary` takes the ordinary query to its reply, which nearly every packet is; `query` reads it,
//!   `hot` keeps what was answered, `reply` puts the bytes together.
//! * `message` takes apart what is not ordinary, and knows what is told of it at once: that it is malformed, or
//!   that nobody does such things here. What is left is odd queries, which [`handler`] takes to their replies
//!   by hickory's decoder and encoder.
//! * [`answer`] decides; it is a pure function, and the only place that does. `signatures` signs what it says, in
//!   zones that are signed, and keeps what it can.
//! * [`edns`] reads the OPT record and knows the sizes; `cookie` makes DNS cookies; [`rate_limit`] bounds what
//!   a network gets.
//! * [`query_log`] tells other programs what was asked and replied, if it is wanted.
//! * [`server`] owns the sockets. [`Pulse`] tells whether the workers still come round.

pub mod answer;
mod chaos;
mod cookie;
pub mod edns;
pub mod handler;
mod hot;
mod message;
mod ordinary;
pub mod packet;
mod pulse;
mod query;
pub mod query_log;
pub mod rate_limit;
mod records;
mod reply;
pub mod server;
mod settings;
mod signatures;
mod tally;
pub mod tcp;
pub mod tls;
mod udp;

pub use chaos::{Identity, MAX_TEXT as MAX_IDENTITY_TEXT};
pub use cookie::secrets::{CookieSecrets, SecretsError, SecretsProblem};
pub use pulse::Pulse;
pub use settings::Settings;
