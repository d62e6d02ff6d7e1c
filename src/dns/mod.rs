//! The DNS side: packets to replies.
//!
//! ```text
//!  UDP ─┬─ packet ─┬─ fast: hot answer? ──── yes ────────────────────────────┬─ rate limit ── out
//!  TCP ─┤          │             └─ no ─┐                                    │   (UDP only)
//!  TLS ─┘          └─ general: refusal? ┼─ yes ──────────────────────────────┤
//!                             └─ no ────┴─ respond ── zone, Links, answer ───┘
//!                                                     sign, encode, keep hot
//! ```
//!
//! * [`transport`]: the sockets. `udp` receives and sends many packets with one system call; `tcp` has the
//!   connections, and `tls` those that are encrypted.
//! * [`pipeline`]: from one packet to its reply. `fast` reads nearly every query itself and finds its answer in
//!   `hot`; `general` has hickory's decoder read all other queries. Both use `respond`, which finds the zone and the
//!   link, and has the answer signed (`sign_answer`), encoded and kept. `lookups` counts look-ups of links for the
//!   statistics.
//! * [`answer`]: the decision. It is a pure function, and the only place that decides what a reply says.
//! * [`wire`]: bytes to values and back. `message` takes messages apart that are no ordinary queries, and refuses
//!   malformed messages and services that are not offered; `reply` puts replies together.
//! * [`limits`]: the rate limits of each network, and cookies, by which clients prove their address.
//! * [`query_log`]: writes queries and replies for other programs.
//! * [`watchdog`]: whether the UDP workers make progress.

pub mod answer;
pub mod limits;
pub mod pipeline;
pub mod query_log;
pub mod transport;
pub mod watchdog;
pub mod wire;

pub use answer::chaos::{Identity, MAX_TEXT as MAX_IDENTITY_TEXT};
pub use limits::cookie::secrets::{CookieSecrets, SecretsError, SecretsProblem};
pub use pipeline::settings::Settings;
pub use watchdog::Pulse;
