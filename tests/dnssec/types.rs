//! Records of all types are secure. A signature covers rdata in the canonical form, which depends on the type if rdata
//! contains names (RFC 4034 §6.2).

use super::controls::dissent;
use super::judges::{Program, Question};
use super::wire::{DO, ask};
use super::{DNSKEY, NSEC, Plan, RRSIG, Signed, WAYS, zone};
use crate::differential::message::{ANY, NS};

/// A record of each type, below one name.
const TYPES: &str = include_str!("../differential/types.zone");
/// The least number of these records.
const MIN_TYPES: usize = 100;

/// The zone with all types. Names in rdata have letters of both cases (RFC 4034 §6.2).
fn text() -> String {
    let lines = TYPES.lines().filter(|line| !line.starts_with(';'));
    let mixed = lines.map(|line| match line.strip_suffix(" a") {
        Some(start) => format!("{start} Mixed.CASE\n"),
        None => format!("{line}\n"),
    });
    // The owners are numbers, and the names would be codes of links.
    let types: String = mixed.map(|line| format!("type-{line}")).collect();
    zone() + &types
}

#[test]
fn rfc4034_6_2_records_of_all_types_are_secure() {
    let plan = Plan {
        zone: text(),
        ..Plan::new(WAYS[0])
    };
    let signed = Signed::with(&plan);
    let server = signed.server.dns;
    let owners = text();
    let owners = owners.lines().filter(|line| line.starts_with("type-"));
    let owners = owners.map(|line| line.split(' ').next().unwrap());
    let mut questions: Vec<(String, String)> = Vec::new();
    for owner in owners {
        let name = format!("{owner}.s.example.com");
        let reply = ask(server, &format!("{name}."), ANY, DO);
        let types = reply.answer.iter().map(|record| record.rtype);
        let mut types = types.filter(|rtype| ![RRSIG, NSEC].contains(rtype));
        // Records at a zone cut are not signed, and a DNSKEY record below an apex is no key (RFC 4035 §2.1).
        let is_fit = |rtype: &u16| ![NS, DNSKEY].contains(rtype);
        if let Some(rtype) = types.next().filter(is_fit) {
            questions.push((name, format!("TYPE{rtype}")));
        }
    }
    assert!(questions.len() > MIN_TYPES, "{questions:?}");
    let questions: Vec<Question<'_>> = questions.iter().map(|(n, t)| (&n[..], &t[..])).collect();
    let dissent = dissent(server, &signed.anchor, &questions, &[Program::Delv]);
    assert!(dissent.is_empty(), "{}", dissent.join("\n"));
}
