//! tinyns: an authoritative DNS name server for short links. The short URL *is* a DNS name.
//!
//! # The parts
//!
//! Each part is a folder. The list says which other parts it uses; besides these, every part may use `base`. Arrows
//! point down, so no two parts use each other. `tests/architecture.rs` compares the list with the code.
//!
//! ```text
//! cli          -> server config access certificates dnssec links link store
//! server       -> config access certificates dns dnssec http link links routing statistics store zone
//! config       -> access certificates dns dnssec http link links routing store zone
//! http         -> access certificates link links routing statistics store
//! access       -> link store
//! dns          -> certificates dnssec link links routing statistics store zone
//! zone         -> dnssec link links
//! links        -> link store
//! routing      -> store
//! statistics   -> link store
//! certificates -> link store
//! dnssec       ->
//! store        -> link
//! link         ->
//! ```
//!
//! * [`cli`]: one file for each command. `serve` is the process around the server; `add`, `list`, `import` and others are
//!   clients of the admin API.
//! * [`server`]: binds the sockets, starts the parts, reads them again on SIGHUP, and stops them. [`server::system`]
//!   gives up privileges and talks to the service manager.
//! * [`config`]: TOML to the ready settings of each part, once. Only `cli` and `server` use it.
//! * [`http`]: the admin API, the page for people, and the redirect host. [`access`]: tokens, their roles, and sessions.
//! * [`dns`]: packets to replies. [`dns::answer`] alone decides what a reply says, and is a pure function.
//! * [`certificates`]: certificates and TLS, for DNS and HTTP.
//! * [`dnssec`]: the keys of signed zones, when each of them signs, and its signatures.
//! * [`zone`]: the names of the zone files, and where links fit between them. It implements
//!   [`links::Namespace`], so that `links` need not know zones.
//! * [`links`]: the rules for links, the links in memory and in Redis, and the only way to the store.
//! * [`routing`]: which addresses a client gets, by the place of the client.
//! * [`statistics`]: how often links were looked up and clicked.
//! * [`store`]: the contract of the place that keeps links, and its backends: SQLite, embedded, DynamoDB and
//!   PostgreSQL.
//! * [`link`]: the values that make a link. They cannot hold anything invalid, and do no I/O.
//! * [`base`]: clock, metrics, log, names, text, files, QR codes, and which connections stay. It uses no other part.
//!
//! A query goes `dns::transport` → `dns::pipeline` → `links` → `store` and back; a change goes `http::api` →
//! `links` → `store`, and then to Redis and to the other servers. `docs/architecture.md` follows one of each through the files.
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

pub mod access;
pub mod base;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod dns;
pub mod dnssec;
pub mod http;
pub mod link;
pub mod links;
pub mod routing;
pub mod server;
pub mod statistics;
pub mod store;
pub mod zone;
