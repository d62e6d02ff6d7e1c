//! Compact denial of existence (RFC 9824). One NSEC record at the name of the query says which types the name has,
//! or that the name does not exist.
//!
//! The record names no other name, so the zone cannot be walked. NSEC3 would only hide names behind hashes, which
//! can be computed for guessed names. A denial takes one signature; the three NSEC3 records of RFC 7129 §5.5 would
//! take three, and make replies longer (RFC 9824 §4).

use crate::base::name::{MAX_LABEL_LEN, MAX_NAME_LEN};

/// NSEC (RFC 4034 §4).
pub const TYPE_NSEC: u16 = 47;
/// RRSIG (RFC 4034 §3).
pub const TYPE_RRSIG: u16 = 46;
/// The mark of a name that does not exist (RFC 9824 §2).
pub const TYPE_NXNAME: u16 = 128;

/// How the next name behind another is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// The next name in canonical order, which is below the name (RFC 9824 §3.1).
    Below,
    /// The next name that is not below the name: names below a zone cut belong to another zone (RFC 9824 §3.4).
    Beside,
}

/// The data of an NSEC record (RFC 4034 §4.1) for a name in the zone with this apex. The name has these types
/// beside NSEC and RRSIG. Names are in wire form and lower case.
pub fn nsec(owner: &[u8], apex: &[u8], successor: Successor, types: &[u16]) -> Vec<u8> {
    let mut data = next_name(owner, apex, successor);
    push_bitmap(&mut data, types);
    data
}

/// The name behind another in a zone, in wire form and lower case.
fn next_name(owner: &[u8], apex: &[u8], successor: Successor) -> Vec<u8> {
    let has_room = |bytes: usize| owner.len() + bytes <= MAX_NAME_LEN;
    if successor == Successor::Below && has_room(2) {
        return [&[1, 0], owner].concat();
    }
    let (label, rest) = split(owner);
    if label.len() < MAX_LABEL_LEN && has_room(1) {
        return name_of(&[label, &[0]].concat(), rest);
    }
    incremented(label, rest, apex)
}

/// The next name where no byte can be added (RFC 4471 §3.1.2): the last byte of the label is incremented. A byte
/// of 0xFF is removed instead, and so is a label without bytes.
fn incremented(label: &[u8], rest: &[u8], apex: &[u8]) -> Vec<u8> {
    match label.split_last() {
        Some((0xFF, shorter)) => incremented(shorter, rest, apex),
        Some((&byte, shorter)) => {
            let next = match byte + 1 {
                // RFC 4034 §6.1: upper case sorts as lower case.
                b'A'..=b'Z' => b'Z' + 1,
                next => next,
            };
            name_of(&[shorter, &[next]].concat(), rest)
        }
        None if rest.len() > apex.len() => {
            let (label, rest) = split(rest);
            incremented(label, rest, apex)
        }
        // RFC 4034 §4.1.1: the apex follows the last name of the zone.
        None => apex.to_vec(),
    }
}

/// The first label of a name, and what follows it.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let (&len, rest) = name.split_first().unwrap_or((&0, &[]));
    rest.split_at_checked(len.into()).unwrap_or((rest, &[]))
}

fn name_of(label: &[u8], rest: &[u8]) -> Vec<u8> {
    // A label has 63 bytes at most.
    [&[label.len() as u8], label, rest].concat()
}

/// Adds the type bit maps (RFC 4034 §4.1.2).
fn push_bitmap(data: &mut Vec<u8>, types: &[u16]) {
    let mut types = [&[TYPE_RRSIG, TYPE_NSEC], types].concat();
    types.sort_unstable();
    for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0; 32];
        for rtype in window {
            let low = usize::from(rtype & 0xFF);
            bits[low / 8] |= 0x80 >> (low % 8);
        }
        let len = bits
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let high = window.first().map_or(0, |rtype| rtype >> 8);
        data.extend([high as u8, len as u8]);
        data.extend(&bits[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APEX: &[u8] = b"\x07example\0";

    #[test]
    fn rfc9824_3_1_a_name_that_does_not_exist() {
        let data = nsec(
            b"\x01a\x07example\0",
            APEX,
            Successor::Below,
            &[TYPE_NXNAME],
        );
        let bitmap = [0, 17, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(data, [b"\x01\0\x01a\x07example\0", &bitmap[..]].concat());
    }

    #[test]
    fn rfc9824_3_4_a_zone_cut() {
        let data = nsec(b"\x03sub\x07example\0", APEX, Successor::Beside, &[2]);
        let bitmap = [0, 6, 0x20, 0, 0, 0, 0, 3];
        assert_eq!(data, [b"\x04sub\0\x07example\0", &bitmap[..]].concat());
    }

    /// The example of RFC 4034 §4.3, without its order of types.
    #[test]
    fn rfc4034_4_3_windows() {
        let mut data = Vec::new();
        push_bitmap(&mut data, &[1_234, 15, 1]);
        let mut expected = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(data, expected);
    }

    /// The canonical order of RFC 4034 §6.1: from the last label on.
    fn key(name: &[u8]) -> Vec<Vec<u8>> {
        let mut labels = Vec::new();
        let mut rest = name;
        while rest.len() > 1 {
            let (label, behind) = split(rest);
            labels.push(label.to_ascii_lowercase());
            rest = behind;
        }
        labels.reverse();
        labels
    }

    #[test]
    fn rfc4034_6_1_the_next_name_is_legal_and_sorts_behind() {
        let label = |byte: u8, len: usize| [&[len as u8][..], &vec![byte; len]].concat();
        for byte in [0, 1, b'@', b'a', b'z', 0xFE, 0xFF] {
            for tail in [49, 50, 51, 52] {
                for first in [1, 2, 62, 63] {
                    let long = || label(byte, 63);
                    let rest = [long(), long(), label(byte, tail), APEX.to_vec()].concat();
                    let name = [label(byte, first), rest].concat();
                    if name.len() > MAX_NAME_LEN {
                        continue;
                    }
                    for successor in [Successor::Below, Successor::Beside] {
                        let next = next_name(&name, APEX, successor);
                        assert!(next.len() <= MAX_NAME_LEN, "{name:?}");
                        assert!(next[0] <= 63 && next.ends_with(APEX), "{next:?}");
                        let is_below = next.ends_with(&name);
                        assert!(!is_below || successor == Successor::Below);
                        if next == APEX {
                            assert_eq!((byte, first), (0xFF, 63));
                        } else {
                            assert!(key(&next) > key(&name), "{name:?}: {next:?}");
                        }
                    }
                }
            }
        }
    }
}
