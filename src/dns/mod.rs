//! The DNS side: sockets, requests and replies.
//!
//! ```text
//!  UDP ─┬─ packet ─┬─ ordinary: hot answer? ── yes ───────────────────────────┬─ rate limit ── out
//!  TCP ─┤          │             └─ no ─┐                                     │   (UDP only)
//!  TLS ─┘          └─ odd: refusal? ────┼─ yes ───────────────────────────────┤
//!                             └─ no ────┴─ respond ── zone, Links, answer ────┘
//!                                                     sign, encode, keep hot
//! ```
//!
//! * `udp` receives and sends many packets with one system call; [`tcp`] has the connections, and [`tls`] the
//!   certificate for those that are encrypted. [`packet`] decides what becomes of one message.
//! * Two readers take a message apart. `ordinary` is the fast path, for nearly every packet: `query` reads the query,
//!   and `hot` has kept its answer. `odd` is the general path: `message` takes the message apart and refuses what is
//!   malformed or not offered, and hickory's decoder reads the rest.
//! * `respond` is what both paths share: it finds the zone and the link, and has the answer signed, encoded and kept.
//!   `reply` puts the bytes of a reply together, and `handler` holds what all queries share.
//! * [`answer`] decides; it is a pure function, and the only place that does. `signatures` signs answers of signed
//!   zones, and keeps signatures.
//! * [`edns`] reads the OPT record and knows the sizes; `cookie` makes DNS cookies; [`rate_limit`] bounds the replies
//!   that a network gets.
//! * [`query_log`] writes queries and replies for other programs.
//! * [`server`] owns the sockets. [`Pulse`] tells whether the workers make progress.

pub mod answer;
mod certificate;
mod chaos;
mod cookie;
pub mod edns;
pub mod handler;
mod hot;
mod message;
mod odd;
mod ordinary;
pub mod packet;
mod pulse;
mod query;
pub mod query_log;
pub mod rate_limit;
mod records;
mod reply;
mod respond;
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
