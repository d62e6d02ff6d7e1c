//! Tables beside a search through all networks.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const REST: u16 = 0;

/// The first and last addresses of a prefix of IPv4.
fn range(bits: u32, len: u8) -> (u32, u32) {
    let behind = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    (bits & !behind, bits | behind)
}

fn table(networks: &[(u32, u32, u16)], explicit: &[(u32, u32, u16)]) -> Table<u32> {
    let mut builder = Builder::new(REST, explicit);
    for &(first, last, value) in networks {
        builder.push(first, last, value, REST);
    }
    builder.finish(REST)
}

#[test]
fn an_empty_table_has_one_answer_for_all() {
    let table = table(&[], &[]);
    for address in [0, 1, u32::MAX / 2, u32::MAX] {
        let found = table.find(address);
        assert_eq!((found.value, found.len), (REST, 0));
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn prefixes_are_as_short_as_the_neighbours_allow() {
    let (ten, last_ten) = range(0x0A00_0000, 8);
    let (inner, last_inner) = range(0x0A01_0200, 24);
    let table = table(&[(ten, last_ten, 1)], &[(inner, last_inner, 2)]);
    let check = |address: u32, value: u16, len: u8| {
        assert_eq!(table.find(address), Found { value, len }, "{address:08x}");
    };
    check(0x0A01_02FF, 2, 24);
    // 10.1.3.0/24 is beside it, 10.128.0.0/9 far away.
    check(0x0A01_0300, 1, 24);
    check(0x0AFF_FFFF, 1, 9);
    check(0x0B00_0000, 0, 8);
    check(0x8000_0000, 0, 1);
}

#[test]
fn the_whole_space_and_its_ends() {
    let table = table(&[], &[(0, u32::MAX, 3), (u32::MAX, u32::MAX, 4)]);
    assert_eq!(table.find(u32::MAX), Found { value: 4, len: 32 });
    assert_eq!(table.find(u32::MAX - 1), Found { value: 3, len: 32 });
    assert_eq!(table.find(0), Found { value: 3, len: 1 });
}

/// Checks that a search by the index of some addresses finds what a search through all of them finds.
fn check_index<A: Address>(mut starts: Vec<A>, wanted: &[A]) {
    starts.push(A::FIRST);
    starts.sort_unstable();
    starts.dedup();
    let ranges: Vec<_> = starts
        .iter()
        .map(|start| Range {
            start: *start,
            value: 0,
        })
        .collect();
    let index = Index::of(&ranges);
    for address in starts.iter().chain(wanted) {
        let (from, to) = index.narrow(*address, starts.len());
        let behind = from + starts[from..to].partition_point(|start| start <= address);
        let expected = starts.partition_point(|start| start <= address);
        assert_eq!(behind, expected, "{address:?}");
        assert!(to - from <= FEW, "{from} to {to}");
    }
}

/// Addresses that are close together after some common bits, and others that are anywhere.
fn uneven(common: u32) -> impl Strategy<Value = Vec<u128>> {
    let near = (any::<u16>(), any::<u128>())
        .prop_map(move |(near, far)| far >> common ^ u128::from(near) << 80);
    proptest::collection::vec(prop_oneof![3 => near, 1 => any::<u128>()], 0..2_000)
}

proptest! {
    #[test]
    fn an_index_leads_to_the_right_ranges(all in uneven(20), others in uneven(64)) {
        let short = |addresses: &[u128]| -> Vec<u32> {
            addresses.iter().map(|address| (address >> 96) as u32).collect()
        };
        check_index(short(&all), &short(&others));
        check_index(all.clone(), &others);
        check_index(others, &all);
    }
}

/// IPv4 addresses of which few bits differ, so that networks meet.
fn address() -> impl Strategy<Value = u32> {
    any::<u32>().prop_map(|bits| bits & 0xE003_0307)
}

fn prefix() -> impl Strategy<Value = (u32, u8)> {
    (address(), prop_oneof![0_u8..=8, 14_u8..=18, 22_u8..=32])
}

/// Sorted networks without overlaps, as a database has them.
fn database() -> impl Strategy<Value = Vec<(u32, u32, u16)>> {
    proptest::collection::vec((prefix(), 0_u16..4), 0..12).prop_map(|all| {
        let mut kept: Vec<(u32, u32, u16)> = Vec::new();
        for ((bits, len), value) in all {
            let (first, last) = range(bits, len);
            if kept.iter().all(|(a, b, _)| last < *a || first > *b) {
                kept.push((first, last, value));
            }
        }
        kept.sort_unstable();
        kept
    })
}

/// Explicit networks, each once.
fn explicit() -> impl Strategy<Value = Vec<(u32, u32, u16)>> {
    proptest::collection::hash_map(prefix(), 4_u16..7, 0..6).prop_map(|all: HashMap<_, _>| {
        let mut ranges = HashMap::new();
        for ((bits, len), value) in all {
            let (first, last) = range(bits, len);
            ranges.insert((first, last), value);
        }
        let mut all: Vec<_> = ranges.into_iter().map(|((a, b), v)| (a, b, v)).collect();
        all.sort_unstable();
        all
    })
}

/// The value of an address by a search through all networks.
fn by_search(address: u32, networks: &[(u32, u32, u16)], explicit: &[(u32, u32, u16)]) -> u16 {
    let has = |(first, last, _): &&(u32, u32, u16)| *first <= address && address <= *last;
    let smallest = explicit
        .iter()
        .filter(has)
        .min_by_key(|(first, last, _)| last - first);
    let found = smallest.or_else(|| networks.iter().find(has));
    found.map_or(REST, |(_, _, value)| *value)
}

proptest! {
    /// RFC 7871 §7.2.1: prefixes never overlap, have one answer each, and are as short as possible.
    #[test]
    fn rfc7871_7_2_1_scopes_do_not_overlap_and_are_minimal(
        networks in database(),
        explicit in explicit(),
        asked in proptest::collection::vec(address(), 16),
    ) {
        let table = table(&networks, &explicit);
        let value = |address: u32| by_search(address, &networks, &explicit);
        // The addresses at which values may change.
        let mut edges: Vec<u32> = vec![0, u32::MAX];
        for (first, last, _) in networks.iter().chain(&explicit) {
            edges.extend([*first, first.wrapping_sub(1), *last, last.wrapping_add(1)]);
        }
        let is_uniform = |(first, last): (u32, u32)| {
            let inside = edges.iter().filter(|edge| first <= **edge && **edge <= last);
            inside.chain([&first, &last]).all(|edge| value(*edge) == value(first))
        };
        for &address in asked.iter().chain(&edges) {
            let found = table.find(address);
            prop_assert_eq!(found.value, value(address), "{:08x}", address);
            let (first, last) = range(address, found.len);
            prop_assert!(is_uniform((first, last)), "{:08x}/{} has one answer", address, found.len);
            if found.len > 0 {
                prop_assert!(!is_uniform(range(address, found.len - 1)), "a shorter prefix would do");
            }
            // All edges within the prefix have the same prefix.
            for other in edges.iter().filter(|edge| first <= **edge && **edge <= last) {
                prop_assert_eq!(table.find(*other).len, found.len);
            }
        }
    }
}
