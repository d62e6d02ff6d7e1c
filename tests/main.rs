//! The integration tests: one binary, one module an area.

// The helpers are not test functions themselves, but in a test a failed expectation is the point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// A handler without sockets, and as many links as one likes; the benches have it, too.
#[path = "../benches/fixture/mod.rs"]
mod fixture;
// A DynamoDB endpoint, and what can go wrong on the way to it.
mod dynamo;
// A tinyns of its own for each test.
mod harness;
// Redis servers, clusters and sentinels, and what can go wrong on the way to them.
mod redis;

// Where it listens, and which address replies come from.
mod addresses;
// What a reply allocates; it counts the allocations of the whole binary.
mod allocations;
// Which part of the code uses which, as the map in `lib.rs` says.
mod architecture;
// Redis between memory and the table: what it holds, and how changes reach other servers.
mod cache;
// Servers that are cut off from Redis or far away from it: when the others see what they change.
mod cut_off;
// DNS cookies that the servers of a fleet share.
mod cookies;
// `tinyns check`: what it refuses and what it warns of.
mod check;
// Writers, readers and bad days at the same time: no answer is older than documented.
mod consistency;
// The programs that people use: dig, kdig, drill, nslookup, curl.
mod clients;
// The commands that make and show links: what they print and say, and their exit codes.
mod command_line;
// More connections than a listener may have, by TCP and HTTP.
mod crowds;
// Signed zones, judged by unbound, delv, drill, dnsviz and ldns-walk.
mod dnssec;
// The table of answers, header, EDNS and size rules, by raw packets.
mod dns;
// The same questions to Knot DNS and NSD with the same zones.
mod differential;
// The death of a Redis master, in a cluster and before sentinels.
mod failover;
// The existence filter: what it tells, and what it must never tell.
mod filter;
// The store's file is replaced, deleted or cut off under the server, or its disk is full.
mod file_faults;
// Several servers on one DynamoDB table.
mod fleet;
// Everything that dig and kdig can put into a query.
mod flags;
// More random names than anybody could look up.
mod flood;
// What the fuzz targets check, without a fuzzer.
mod fuzz;
// Registrations survive kill -9 and restarts; a stop finishes what was begun.
mod durability;
// Files of other shorteners and of spreadsheets, and lists of URLs.
mod imports;
// Keys of signed zones, from the first to the last.
mod keys;
// The admin API and the redirect host over the wire, and many clients at once.
mod links;
// Start and reload: what is refused, and how it is said.
mod operation;
// The bad days of Redis and of the table.
mod outages;
// Whether what Redis holds is of this very store, and of its present.
mod belonging;
// Privileges, and what else the process has of the system.
mod process;
// Fills and changes at the same time, and deaths between the steps of a change.
mod races;
// One packet at a time, without a socket: what is replied to, and what is dropped.
mod packets;
// What the RFCs want of replies to every kind of message.
mod protocol;
// What Redis refuses: a dead shard, no room, missing rights.
mod refusals;
// Response rate limiting: packet by packet, and in a flood from forged addresses.
mod rate_limit;
// The password and the certificates for Redis: what is refused, and what is read again.
mod redis_files;
// The query log, read by the tools that are there for it.
mod query_log;
// Behind a caching resolver.
mod resolver;
// Every store against the battery of its contract; files in bad states; kill -9.
mod store;
// Sockets of a service manager, what it is told, and the unit files for it.
mod systemd;
// Tables that are not as they should be, or not there yet.
mod table;
// TCP: pipelining, slow and idle clients, limits, descriptors, stops.
mod tcp;
// DNS over TLS: kdig, openssl, unbound; padding, certificates, stalled handshakes.
mod tls;
// Import and export: the article's table, files, kills and restarts in the middle.
mod transfer;
// The warm load of Redis at the start.
mod warm;
// What registries judge delegations by.
mod zonemaster;
