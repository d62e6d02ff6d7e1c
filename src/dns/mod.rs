//! The DNS side: sockets, requests and replies.
//!
//! ```text
//!  UDP ── our workers ────┐      ┌─ check ─ answer ───────── zone file ─┐
//!                         ├─ Handler      │                            ├─ fit ─ encode ─ out
//!  TCP ── hickory Server ─┘      └───── Links::resolve ─ answer ────────┘
//! ```
//!
//! * `udp` receives and sends many packets a call; [`packet`] decides what becomes of each.
//! * [`handler`] takes a decoded request to its reply; it alone waits for links.
//! * [`answer`] decides; it is a pure function.
//! * [`edns`] makes the OPT record and knows the sizes.
//! * [`server`] owns the sockets.

pub mod answer;
pub mod edns;
pub mod handler;
mod hot;
mod ordinary;
pub mod packet;
mod query;
mod records;
mod reply;
pub mod server;
mod tally;
mod udp;
