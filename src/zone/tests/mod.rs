//! Tests of zones. This file has the checks, and the modules have the cases: `lookup` the search for names, `text`
//! reading and the places of errors, `types` the data of each type, `whole` records that contradict each other,
//! `files` includes, `many` several zones and reload, `generate` `$GENERATE`, `origins` zones with unusual names,
//! `anything` random input, `additions` what zones answer beyond their files.

mod additions;
mod anything;
mod files;
mod generate;
mod lookup;
mod many;
mod origins;
mod text;
mod types;
mod whole;

use std::fs;
use std::path::Path;

use hickory_proto::rr::RecordType;
use proptest::prelude::*;

use super::*;
use crate::link::LinkName;
use crate::links::{Host, Namespace};

fn config(origin: &str, redirect_host: Option<&str>) -> ZoneConfig {
    ZoneConfig {
        origin: ZoneName::parse(origin).unwrap(),
        file: "t.zone".into(),
        redirect_host: redirect_host.map(Into::into),
        layout: Layout::Cname,
        link_ttl: 300,
        dnssec: None,
    }
}

/// A zone `example` without links; the text follows an SOA (line 1) and an NS record (line 2).
fn plain_text(text: &str) -> String {
    format!("@ 3600 IN SOA ns.test. host.test. 1 2 3 4 60\n@ 3600 IN NS ns.test.\n{text}")
}

fn lower(name: &str) -> LowerName {
    let labels = name.split('.').filter(|label| !label.is_empty());
    LowerName::from(Name::from_labels(labels.map(str::as_bytes)).unwrap())
}

/// The node of a search result, if it has one.
fn node<'z>(found: &Lookup<'z>) -> &'z Node {
    match found {
        Lookup::Exact(node) | Lookup::Delegation { node, .. } => node,
        other => panic!("{}", show(other)),
    }
}

fn types(node: &Node) -> String {
    let types: Vec<_> = node.rrsets().map(|set| set.rtype.to_string()).collect();
    match types.is_empty() {
        true => "nothing".into(),
        false => types.join(" "),
    }
}

fn show(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Delegation { cut, node, at_cut } => {
            let place = if *at_cut { "at" } else { "below" };
            format!("{place} cut {cut} {}", types(node))
        }
        Lookup::Dname { owner, node } => format!("below dname {owner} {}", types(node)),
        Lookup::Exact(node) => format!("exact {}", types(node)),
        Lookup::Link {
            code,
            place,
            wildcard,
        } => match wildcard {
            Some(node) => format!("link {code} {place:?} or {}", types(node)),
            None => format!("link {code} {place:?}"),
        },
        Lookup::BelowLink { code, wildcard } => {
            format!("below link {code} or {}", types(wildcard))
        }
        Lookup::Wildcard(node) => format!("wildcard {}", types(node)),
        Lookup::Challenge => "challenge".into(),
        Lookup::NoName => "no name".into(),
    }
}

#[track_caller]
fn load(config: &ZoneConfig, text: &str) -> (Zone, Vec<String>) {
    match Zone::parse(config, text) {
        Ok((zone, warnings)) => (zone, warnings.iter().map(ToString::to_string).collect()),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn check_lookup(zone: &Zone, name: &str, expected: &str) {
    assert_eq!(show(&zone.lookup(&lower(name))), expected, "{name}");
    check_link_at(zone, &lower(name));
}

/// `Zone::link_at` agrees with the search.
#[track_caller]
fn check_link_at(zone: &Zone, name: &LowerName) {
    let wire = WireName::from_labels(name.iter()).unwrap();
    let expected = match zone.lookup(name) {
        Lookup::Link {
            code,
            wildcard: None,
            ..
        } => Some(code),
        _ => None,
    };
    let found = zone.link_at(&wire);
    assert_eq!(found, expected.as_ref().map(Code::as_str), "{name}");
}

/// All errors of a zone `example` with this text after the two first lines.
#[track_caller]
fn check_errors(text: &str, expected: &[&str]) {
    check_errors_of(&config("example", None), &plain_text(text), expected);
}

#[track_caller]
fn check_errors_of(config: &ZoneConfig, text: &str, expected: &[&str]) {
    let error = Zone::parse(config, text).map(|_| ()).unwrap_err();
    let lines: Vec<_> = error.to_string().lines().map(String::from).collect();
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

#[track_caller]
fn check_warnings_of(config: &ZoneConfig, text: &str, expected: &[&str]) {
    let (_, lines) = load(config, text);
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

#[track_caller]
fn check_warnings(text: &str, expected: &[&str]) {
    check_warnings_of(&config("example", None), &plain_text(text), expected);
}

/// The bytes of the only record of a type at `x.example`, given as `x TYPE data`.
#[track_caller]
fn check_rdata(record: &str, code: u16, expected: &[u8]) {
    let (zone, _) = load(
        &config("example", None),
        &plain_text(&format!("x 60 IN {record}\n")),
    );
    let node = node(&zone.lookup(&lower("x.example.")));
    let set = node.rrset(RecordType::from(code)).unwrap();
    assert_eq!(set.rdata[0].record_type(), set.rtype, "{record}");
    let record = Record::from_rdata(Name::root(), 0, set.rdata[0].clone());
    let mut wire = Vec::new();
    let mut encoder = hickory_proto::serialize::binary::BinEncoder::new(&mut wire);
    hickory_proto::serialize::binary::BinEncodable::emit(&record, &mut encoder).unwrap();
    // Root, type, class, TTL, length.
    assert_eq!(&wire[11..], expected, "{record}");
    assert_eq!(
        usize::from(wire[9]) << 8 | usize::from(wire[10]),
        expected.len()
    );
}

/// The records that every zone needs.
const HEAD: &str = "@ 1 IN SOA ns.test. h.test. 1 2 3 4 5\n@ 1 IN NS ns.test.\n";

/// Writes files into a directory of their own.
fn files(all: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in all {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn file_config(directory: &Path, origin: &str, file: &str, links: bool) -> ZoneConfig {
    ZoneConfig {
        file: directory.join(file),
        ..config(origin, links.then_some("r"))
    }
}

/// A zone with links; the text follows SOA, NS and the addresses of `*.r`.
fn link_zone(text: &str) -> Zone {
    let text = plain_text(&format!(
        "*.r 300 A 192.0.2.10\n*.r 300 AAAA 2001:db8::10\n{text}"
    ));
    load(&config("example", Some("r")), &text).0
}
