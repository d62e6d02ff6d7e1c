//! The same questions to tinyns, to Knot DNS and to NSD, with the same zones.
//!
//! A difference is an error of one of them, or something that the RFCs leave open. `rules.rs` lists the latter with
//! the reasons; any other difference fails the test. The wire form of records is also compared with BIND's zone
//! compiler.

use std::collections::BTreeMap;

use crate::harness::{Server, Setup};

mod bind;
pub mod message;
mod queries;
mod rules;
pub mod servers;
mod shapes;

use message::{Reply, name};
use queries::{Query, Random, Way, owners, queries};
use rules::Rules;
use servers::{Client, Other, Zone, absolute, unread_lines};

/// Where the order of the queries begins; `DIFFERENTIAL_SEED` chooses another.
const SEED: u64 = 1;
/// How many queries there are at least: fewer would mean that the zones were not read.
const MIN_QUERIES: usize = 10_000;
/// How many of the kinds of data Knot and NSD read as they are written, at least.
const MIN_READ: usize = 50;

/// The records that every zone has.
const HEAD: &str = "$TTL 300\n@ SOA ns.example.net. host.example.net. 1 3600 600 604800 60\n\
                    @ NS ns.example.net.\n";
const TYPES: &str = include_str!("types.zone");
const TYPES_ORIGIN: &str = "types.test";

fn zones() -> Vec<Zone<'static>> {
    let files = [
        ("wildcards.test", include_str!("wildcards.zone")),
        ("delegations.test", include_str!("delegations.zone")),
        ("aliases.test", include_str!("aliases.zone")),
        ("apex.test", include_str!("apex.zone")),
        ("parent.test", include_str!("parent.zone")),
        ("child.parent.test", include_str!("child.zone")),
        ("text.test", include_str!("text.zone")),
    ];
    let files = files
        .into_iter()
        .map(|(origin, text)| (origin, text.to_owned()));
    files.chain([("sizes.test", sizes())]).collect()
}

/// RRsets around the sizes that matter: 512 and 1,232 bytes, and what a message can carry.
fn sizes() -> String {
    let mut text = HEAD.to_owned();
    for count in (1..100).step_by(7) {
        for n in 0..count {
            text += &format!("a{count} A 192.0.2.{n}\n");
        }
    }
    for len in (300..1_300).step_by(100) {
        let strings = vec!["x".repeat(49); len / 50].join(" ");
        text += &format!("t{len} TXT {strings}\n");
    }
    for n in 0..240 {
        text += &format!("huge TXT {n}{}\n", "y".repeat(240));
    }
    for n in 0..40 {
        text += &format!("mx MX {n} host{n}\nhost{n} A 192.0.2.{n}\n");
    }
    text
}

/// tinyns with these zones, and one that has links, without which it does not start.
fn tinyns(zones: &[Zone<'_>]) -> Server {
    let links = format!("{HEAD}*.r A 192.0.2.10\n");
    let setup = Setup::empty().zone("links.test", "redirect_host = \"r\"\n", &links);
    let all = zones.iter();
    all.fold(setup, |setup, (origin, text)| setup.zone(origin, "", text))
        .start()
}

fn origin_of(zone: &Zone<'_>) -> Vec<u8> {
    name(&absolute(zone.0), b"")
}

/// Asks one server; it must send a reply to this query.
fn ask(client: &Client, query: &Query) -> Result<Reply, String> {
    let bytes = query.bytes();
    let reply = match query.way {
        Way::Udp(_) => client.udp(&bytes),
        Way::Tcp => client.tcp(&bytes),
    };
    let reply = Reply::read(reply.map_err(|error| error.to_string())?)?;
    if reply.bytes[..2] != bytes[..2] {
        return Err("it has another id".into());
    }
    if reply.question != bytes[12..12 + query.name.len() + 4] {
        return Err("it has another question, or another letter case".into());
    }
    if reply.bytes.len() > query.limit() {
        return Err(format!("it has {} bytes", reply.bytes.len()));
    }
    Ok(reply)
}

fn must_ask(who: &str, client: &Client, query: &Query) -> Reply {
    ask(client, query).unwrap_or_else(|e| panic!("{who}: {}: {e}", query.show()))
}

#[test]
fn replies_are_those_of_knot_and_nsd() {
    compare(&zones(), MIN_QUERIES);
}

/// RFC 2317 §4, RFC 2181 §11: a zone may have any name.
#[test]
fn replies_from_zones_of_odd_names_are_those_of_knot_and_nsd() {
    let text = |records: &str| format!("{HEAD}{records}");
    let range = "1 PTR a.example.net.\n2 CNAME 1\n*.w PTR b.example.net.\nx/y NS ns.example.net.\n\
                 a\\.b PTR c.example.net.\n";
    let zones = [
        ("0/25.2.0.192.in-addr.arpa", text(range)),
        (
            "*.wild.test",
            text("x A 192.0.2.1\n* TXT \"a\"\nd DNAME example.net.\n"),
        ),
        (
            r"a\.b\195.test",
            text("x A 192.0.2.1\nsub NS ns.sub\nns.sub A 192.0.2.2\n"),
        ),
    ];
    compare(&zones, 1_000);
    // By itself, because its parent has no delegation.
    let root = "test NS ns.test\nns.test A 192.0.2.1\nx A 192.0.2.2\n*.w TXT \"a\"\n";
    compare(&[(".", text(root))], 300);
}

#[test]
fn replies_from_zones_of_many_shapes_are_those_of_knot_and_nsd() {
    compare(&shapes::zones(&mut random()), MIN_QUERIES);
}

fn random() -> Random {
    let seed = std::env::var("DIFFERENTIAL_SEED");
    Random::new(seed.map_or(SEED, |seed| seed.parse().unwrap()))
}

/// Puts all queries to all servers.
fn compare(zones: &[Zone<'_>], at_least: usize) {
    let server = tinyns(zones);
    let ours = Client::new(server.dns);
    let others = [Other::knot(zones), Other::nsd(zones)];
    let random = &mut random();
    let mut all = Vec::new();
    for zone in zones {
        let origin = origin_of(zone);
        all.extend(queries(&owners(&zone.1, &origin), &origin, random));
    }
    assert!(all.len() >= at_least, "only {} queries", all.len());
    let origins: Vec<_> = zones.iter().map(origin_of).collect();
    let mut report = Report::default();
    for query in &all {
        let reply = must_ask("tinyns", &ours, query);
        // The same again: this time it may be an answer that was kept.
        let again = must_ask("tinyns", &ours, query);
        assert_eq!(again.bytes, reply.bytes, "{}", query.show());
        for other in &others {
            let rules = Rules {
                origins: &origins,
                us: &ours,
                them: other,
            };
            let theirs = must_ask(other.name, &other.client, query);
            if let Some(what) = rules.difference(query, &reply, &theirs) {
                report.add(query, other.name, &what, &reply, &theirs);
            }
        }
    }
    report.end(all.len());
}

/// The differences, the first of each kind in full.
#[derive(Default)]
struct Report {
    kinds: BTreeMap<String, (usize, String)>,
}

impl Report {
    fn add(&mut self, query: &Query, who: &str, what: &str, ours: &Reply, theirs: &Reply) {
        let first = || format!("{}\n{who}: {theirs}tinyns: {ours}", query.show());
        let kind = self.kinds.entry(format!("{who}: {what}"));
        kind.or_insert_with(|| (0, first())).0 += 1;
    }

    fn end(&self, queries: usize) {
        let shown = self.kinds.iter().map(|(kind, (count, first))| {
            format!("--- {kind}: {count} times in {queries} queries; first {first}")
        });
        let shown: Vec<_> = shown.collect();
        assert!(shown.is_empty(), "\n{}", shown.join("\n"));
    }
}

/// Each line of `types.zone`: its owner, and the record.
fn lines_of_types() -> Vec<(&'static str, &'static str)> {
    let lines = TYPES.lines().filter(|line| !line.starts_with(';'));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

/// The data of every type, as BIND makes it of the text, and as Knot and NSD do where they read it.
#[test]
fn rfc_3597_data_of_all_types_is_the_same_everywhere() {
    let lines = lines_of_types();
    let text = lines
        .iter()
        .map(|(owner, line)| format!("{owner} {line}\n"));
    let zone = (TYPES_ORIGIN, HEAD.to_owned() + &text.collect::<String>());
    let origin = origin_of(&zone);
    let server = tinyns(std::slice::from_ref(&zone));
    let ours = Client::new(server.dns);
    let compiled = bind::compile(&zone);
    assert_eq!(compiled.len(), lines.len());
    // A query for each record, which BIND's data are in the reply to.
    let mut asked = Vec::new();
    for ((owner, line), (code, data)) in lines.iter().zip(&compiled) {
        let owner = name(owner, &origin);
        let query = Query::by_tcp(owner, *code);
        let reply = must_ask("tinyns", &ours, &query);
        let records: Vec<_> = reply.answer.iter().chain(&reply.authority).collect();
        let [record] = records[..] else {
            panic!("{line}: {reply}");
        };
        assert_eq!(record.rdata, message::folded(*code, data), "BIND: {line}");
        asked.push((query, reply));
    }
    for (program, start) in [
        ("nsd", Other::nsd as fn(&[Zone<'_>]) -> Other),
        ("knot", Other::knot),
    ] {
        let zone = readable(program, &lines, &compiled);
        let other = start(std::slice::from_ref(&zone));
        for ((query, reply), (_, line)) in asked.iter().zip(&lines) {
            let theirs = must_ask(program, &other.client, query);
            let same = theirs.answer == reply.answer && theirs.authority == reply.authority;
            assert!(same, "{line}\n{program}: {theirs}tinyns: {reply}");
        }
    }
}

/// The zone of all types for another server. Types that it cannot read, or reads wrongly, are in the form of RFC
/// 3597.
fn readable(program: &str, lines: &[(&str, &str)], compiled: &[(u16, Vec<u8>)]) -> Zone<'static> {
    let head = HEAD.lines().count();
    let mut generic: Vec<usize> = Vec::new();
    for (place, (_, line)) in lines.iter().enumerate() {
        if rules::misread(program, line) {
            generic.push(place);
        }
    }
    // A checker may stop at the first line that it does not read.
    loop {
        let records = lines.iter().zip(compiled).enumerate();
        let text = records.map(|(place, ((owner, line), (code, data)))| {
            if !generic.contains(&place) {
                return format!("{owner} {line}\n");
            }
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{owner} TYPE{code} \\# {} {hex}\n", data.len())
        });
        let zone = (TYPES_ORIGIN, HEAD.to_owned() + &text.collect::<String>());
        let unread = unread_lines(program, &zone);
        if unread.is_empty() {
            let read = lines.len() - generic.len();
            assert!(read >= MIN_READ, "{program} reads only {read} records");
            return zone;
        }
        let before = generic.len();
        // NSD reports a missing field of a line in the next line.
        let is_new = |place: &usize| !generic.contains(place);
        let blamed = |line: &usize| (0..line - head).rev().find(is_new);
        let blamed: Vec<_> = unread.iter().filter_map(blamed).collect();
        generic.extend(blamed);
        generic.sort_unstable();
        generic.dedup();
        assert!(
            generic.len() > before,
            "{program} does not read its own lines {unread:?}"
        );
    }
}
