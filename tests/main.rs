//! The integration tests: one binary, one module an area.

// The helpers are not test functions themselves, but in a test a failed expectation is the point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// A DynamoDB endpoint, and what can go wrong on the way to it.
mod dynamo;
// A tinyns of its own for each test.
mod harness;

// The programs that people use: dig, kdig, drill, nslookup, curl.
mod clients;
// The table of answers, header, EDNS and size rules, by raw packets.
mod dns;
// Several servers on one DynamoDB table.
mod fleet;
// Registrations survive kill -9 and restarts; a stop finishes what was begun.
mod durability;
// The admin API and the redirect host over the wire, and many clients at once.
mod links;
// Start and reload: what is refused, and how it is said.
mod operation;
// Behind a caching resolver.
mod resolver;
// Every store against the battery of its contract; files in bad states; kill -9.
mod store;
// Import and export: the article's table, files, kills and restarts in the middle.
mod transfer;
