//! tinyns: an authoritative DNS name server for short links. The short URL *is* a DNS name.
//!
//! # The parts
//!
//! ```text
//!   main -> cli ─┬─ start ─┬─ dns  ──┬─ links ── store ── link
//!                │         └─ http ──┘    │
//!                │                        └─ Namespace (implemented by zone)
//!                ├─ add, get, import, export (HTTP clients of the admin API), check
//!                └─ keys ── dnssec::keys
//! ```
//!
//! * [`link`]: what a link is. Values that cannot hold anything bad; no I/O.
//! * [`store`]: the contract of the place where links are kept: SQLite, embedded, or DynamoDB.
//! * [`links`]: the rules, the links in memory and in Redis, and the only way to the store.
//! * [`zone`]: the zone file's own names, and where links fit between them.
//! * [`dns`]: requests to replies. [`dns::answer`] alone decides, and is a pure function.
//! * [`dnssec`]: the keys of signed zones, when each of them signs, and its signatures.
//! * [`http`]: the admin API and the redirect host.
//! * [`admission`]: which connections by TCP stay, and which leave for others. DNS and HTTP use it.
//! * [`config`]: TOML to values that are ready for use, once.
//! * [`Sockets`] are bound first, then [`start`] wires all these and gives a [`Running`] server.
//!   [`cli`]: what may be typed, and the process around the server. [`system`]: privileges, and what
//!   the service manager hands over and is told.
//! * [`name`]: domain names in text, on the wire and in messages; no part of it knows a zone.
//! * [`metrics`]: every counter, declared in one place. [`clock`]: the one source of time.
//!   [`logging`]: events to standard error, without waiting for it. [`progress`]: how far long work
//!   has come. [`prefix`]: networks of clients.
//!
//! Arrows point down. `links` and `store` know neither DNS nor HTTP; `dns`, `http` and `cli` do not
//! know each other.
//!
//! # Invariants
//!
//! * Every answer is legal for every resolver: a name with a CNAME has nothing else, so a link is
//!   two names (RFC 1034 §3.6.2). See [`dns::answer`].
//! * What cannot be known is SERVFAIL, never NXDOMAIN or NODATA: those would be cached.
//! * What is denied without a look has no link: the filter of [`links`] knows all names, or denies none.
//! * What was acknowledged is on disk. Versions of a name only grow. See [`store`].
//! * Nothing old comes back: what a slow look-up brings is kept nowhere once the name has changed. See
//!   [`links::redis`].
//! * No TTL reaches beyond a link's expiry, and an expired link is absent to the second.
//! * Static names of the zone file always win over codes, and no code that collides is registered.
//! * Every queue, wait and size has a bound.
//!
//! # Deliberately absent
//!
//! Recursion, zone transfer and dynamic update: this server answers for its own names only.

pub mod admission;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod dnssec;
mod environment;
mod files;
pub mod http;
pub mod link;
pub mod links;
pub mod logging;
pub mod metrics;
pub mod name;
pub mod prefix;
pub mod progress;
mod server;
mod sockets;
pub mod store;
pub mod system;
pub mod zone;

pub use server::{Running, StartError, TOKEN_VARIABLE, start};
pub use sockets::{SocketError, Sockets};
