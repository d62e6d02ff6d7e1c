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
//!   `hot`; `general` has hickory's decoder read the rest. `respond` is what both share: it finds the zone and the link,
//!   and has the answer signed (`sign_answer`), encoded and kept.
//! * [`answer`]: the decision, which is a pure function, and the only place that decides.
//! * [`wire`]: bytes to values and back. `message` takes apart what is no ordinary query, and refuses what is malformed or not
//!   offered; `reply` puts replies together.
//! * [`limits`]: what a network gets at most, and cookies, by which clients show that their address is theirs.
//! * [`query_log`]: writes queries and replies for other programs.

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
