//! The integration tests: one binary, one module an area.

// The helpers are not test functions themselves, but in a test a failed expectation is the point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// A handler without sockets, and as many links as one likes; the benches have it, too.
#[path = "../benches/fixture/mod.rs"]
mod fixture;
// A DynamoDB endpoint, and faults of the connection to it.
mod dynamo;
// A tinyns of its own for each test.
mod harness;
mod https;
// TLS sessions of HTTPS: versions, ciphers, tickets of a fleet, hosts that share a connection.
mod https_sessions;
// PostgreSQL servers, and replicas of them.
mod postgres;
// Redis servers, clusters and sentinels, and faults of the connections to them.
mod redis;

// Certificates by ACME, from Pebble: orders, renewal, failures, fleets.
mod acme;
// Where it listens, and which address replies come from.
mod addresses;
// The memory allocations of replies; it counts those of the whole binary.
mod allocations;
// Clicks that real servers count under load, and the database of countries.
mod clicks;
// Announcements of servers in a Redis Cluster, and of servers of other versions.
mod announcements;
// Which parts and files of the code use which.
mod architecture;
// The audit log: kill -9 among changes.
mod audit;
// The pages in a browser: the rules of accessibility, content security policy, both colour schemes.
mod browser;
// The challenges of ACME in DNS, on one server and on a fleet.
mod challenges;
// Redis between memory and the table: its contents, and how changes reach other servers.
mod cache;
// Servers that are cut off from Redis or far away from it: when other servers see their changes.
mod cut_off;
// DNS cookies that the servers of a fleet share.
mod cookies;
// `tinyns check`: errors and warnings.
mod check;
// Writers, readers and outages at the same time: no answer is older than documented.
mod consistency;
// Loads of known size, counted exactly over all transports.
mod loads;
// Statistics as they are read: by the API, on the page and in the terminal.
mod readings;
// Statistics of two servers that share a database, from the uses of links to what the API says of them.
mod counts;
// Statistics that two servers gather in Redis for DynamoDB, and what becomes of them when either fails.
mod gathered;
// The programs that people use: dig, kdig, drill, nslookup, curl.
mod clients;
// The commands about links, completions and man pages: output, messages and exit codes.
mod command_line;
// More connections than a listener may have, by TCP and HTTP.
mod crowds;
// Signed zones, validated by unbound, delv, drill, dnsviz and ldns-walk.
mod dnssec;
// Answers in both layouts, and the rules for headers, EDNS and sizes, by raw packets.
mod dns;
// The same questions to Knot DNS and NSD with the same zones.
mod differential;
// Links with several destinations, in the API, in DNS, for browsers, and on all servers.
mod destinations;
// The death of a Redis master, in a cluster and with sentinels.
mod failover;
// Existence filters of servers that share a store: none denies a link that was acknowledged.
mod denials;
// The feed of changes: what servers hear of changes by other programs.
mod feed;
// The existence filter: what it denies, and what it must never deny.
mod filter;
// The store's file is replaced, deleted or cut off under the server, or its disk is full.
mod file_faults;
// Addresses that depend on the client: EDNS client subnet, pools, and Knot DNS beside it.
mod routing;
// Several servers on one DynamoDB table.
mod fleet;
// Servers that know each other: receipts of changes, waiting, servers that hang or die.
mod servers;
// All query options of dig and kdig.
mod flags;
// A flood of random names.
mod flood;
// The fuzz targets without a fuzzer.
mod fuzz;
// Registrations survive kill -9 and restarts; a stop finishes the requests that have begun.
mod durability;
// Requests with an Idempotency-Key: repeats, two servers at once, servers that die.
mod idempotency;
// Files of other shorteners and of spreadsheets, and lists of URLs.
mod imports;
// `tinyns keys`: the keys of signed zones, from the first to the last.
mod keys;
// The admin API and the redirect host over the wire, and many clients at once.
mod links;
// The OpenAPI document, compared with the server by Schemathesis with a token of each role.
mod openapi;
// Start, reload and stop, and the messages about configurations that are refused.
mod operation;
// Memory of an empty server, and of one with hot links.
mod memory;
// Outages of Redis and of the table.
mod outages;
// Redis with entries of another store, or of an undone state.
mod belonging;
// The web page without JavaScript: its forms, sessions, and what attackers try.
mod page;
// Privileges of the process.
mod process;
// Simultaneous fills and changes, and deaths between the steps of a change.
mod races;
// One packet at a time, without a socket: which get a reply, and which are dropped.
mod packets;
// What the RFCs require of replies to every kind of message.
mod protocol;
// Commands that Redis refuses: a dead shard, no memory, missing rights.
mod refusals;
// Response rate limiting: packet by packet, and in a flood from forged addresses.
mod rate_limit;
// The password and the certificates for Redis: refusals and reloads.
mod redis_files;
// The query log, read by the tools that people use.
mod query_log;
// Two regions: replication, a cut network, the same code made in both.
mod regions;
// Servers that read from a PostgreSQL replica, with Redis and a filter.
mod replica;
// Behind a caching resolver.
mod resolver;
// Every store against the battery of its contract; files in bad states; kill -9.
mod store;
// `tinyns store`: identity, checks, comparisons, copies, and backups that were put back.
mod stores;
// DynamoDB Streams whose shards split and end, and whose calls fail.
mod streams;
// The sockets of a service manager, messages to it, and the unit files.
mod systemd;
// Tables that are wrong or missing.
mod table;
// TCP: pipelining, slow and idle clients, limits, descriptors, stops.
mod tcp;
// DNS over TLS: kdig, openssl, unbound; padding, certificates, stalled handshakes.
mod tls;
// Tokens and their roles.
mod tokens;
// Import and export: the article's table, files, kills and restarts.
mod transfer;
// The warm load of Redis at the start.
mod warm;
// Links that are withheld, in DNS, on the redirect host, on all servers, and in exports.
mod withheld;
// Zonemaster, with which registries check delegations.
mod zonemaster;
