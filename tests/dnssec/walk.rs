//! NSEC records reveal no code: neither to ldns-walk, which follows them from name to name, nor to a more patient walker.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nix::unistd::geteuid;

use super::controls::knot;
use super::judges::bounded;
use super::relay::{Change, Relay};
use super::wire::{DO, Nsec, ask_for, nsecs, order, wire};
use super::{CODE, NSEC, SECRETS, Signed, TXT, WAYS};
use crate::differential::message::text_of;
use crate::harness::own_host;

/// The most steps of a walk.
const MAX_STEPS: usize = 300;

/// The names that NSEC records contain, beginning at this name.
fn names_behind(server: SocketAddr, start: &[u8], qtype: u16) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut here = start.to_vec();
    for _ in 0..MAX_STEPS {
        let reply = ask_for(server, &here, qtype, DO);
        let section = match reply.answer.is_empty() {
            true => &reply.authority,
            false => &reply.answer,
        };
        let before = |nsec: &Nsec| order(&nsec.owner) <= order(&here);
        let found = nsecs(section).into_iter().filter(before);
        let nearest = found.max_by_key(|nsec| order(&nsec.owner));
        here = match nearest {
            Some(nsec) if names.insert(text_of(&nsec.next)) => nsec.next,
            Some(_) => break,
            // A zone cut: continue with the name after it.
            None => {
                let (length, rest) = here.split_first().unwrap();
                let (label, rest) = rest.split_at(usize::from(*length));
                [&[length + 1], label, &[0], rest].concat()
            }
        };
    }
    names
}

/// The starts of walks: before all codes, and immediately before each code.
fn starts() -> Vec<Vec<u8>> {
    let before = |code: &&str| {
        let (rest, last) = code.split_at(code.len() - 1);
        let last = char::from(last.as_bytes()[0] - 1);
        wire(&format!("{rest}{last}zz.s.example.com."))
    };
    let apex = wire("s.example.com.");
    [vec![apex], SECRETS.iter().map(before).collect()].concat()
}

/// Whether a name begins with a code.
fn tells(name: &str) -> bool {
    let label = name.split('.').next().unwrap();
    SECRETS.contains(&label) || label == CODE
}

/// The walk works: it finds the names of a zone with ordinary NSEC records.
#[test]
fn an_nsec_chain_of_knot_dns_can_be_walked() {
    let (knot, _) = knot(false);
    let names = names_behind(knot.address(), &wire("s.example.com."), NSEC);
    assert!(names.contains("a.b.deep.s.example.com."), "{names:?}");
    assert!(names.contains("www.s.example.com."), "{names:?}");
}

#[test]
fn a_zone_with_links_cannot_be_walked() {
    for way in [WAYS[0], WAYS[2]] {
        let signed = Signed::start(way);
        for start in starts() {
            for qtype in [NSEC, TXT] {
                let names = names_behind(signed.server.dns, &start, qtype);
                assert!(!names.is_empty() || qtype == TXT, "{}", text_of(&start));
                let revealing: Vec<_> = names.iter().filter(|name| tells(name)).collect();
                assert!(revealing.is_empty(), "{revealing:?}");
            }
        }
    }
}

/// The output of ldns-walk about a server, which must be at port 53.
fn ldns_walk(server: SocketAddr, start: Option<&str>) -> String {
    let address = own_host();
    let _relay = Relay::between((address, 53).into(), server, Change::None);
    let at = format!("@{address}");
    let start = start.map_or(vec![], |start| vec!["-s", start]);
    let output = bounded("ldns-walk", &[&start[..], &[&at, "s.example.com"]].concat());
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn ldns_walk_finds_no_code() {
    if !geteuid().is_root() {
        return println!("skipped: only root may listen on port 53");
    }
    let (knot, _) = knot(false);
    let text = ldns_walk(knot.address(), None);
    assert!(text.contains("a.b.deep.s.example.com. TXT"), "{text}");
    for way in [WAYS[0], WAYS[2]] {
        let signed = Signed::start(way);
        let before = SECRETS.map(|code| format!("{}.s.example.com", &code[..code.len() - 1]));
        for start in [None]
            .into_iter()
            .chain(before.iter().map(|s| Some(&s[..])))
        {
            let text = ldns_walk(signed.server.dns, start);
            assert!(text.contains("s.example.com."), "{start:?}: {text}");
            let revealing = text.split_whitespace().filter(|word| tells(word));
            assert_eq!(revealing.count(), 0, "{start:?}: {text}");
        }
    }
}
