//! BIND's compiler of zones, whose raw format has the data of records as they are on the wire.

use std::process::{Command, Stdio};

use super::servers::Zone;

/// The bytes before the first record: format, version, times, flags, serial.
const HEADER_LEN: usize = 24;

/// The type and data of every record of a zone but those of its apex, in the order of their owners.
pub fn compile(zone: &Zone<'_>) -> Vec<(u16, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (text, raw) = (dir.path().join("text"), dir.path().join("raw"));
    std::fs::write(&text, &zone.1).unwrap();
    let output = Command::new("named-compilezone")
        .args(["-q", "-i", "none", "-k", "ignore", "-F", "raw", "-o"])
        .arg(&raw)
        .arg(zone.0)
        .arg(&text)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| {
            panic!("named-compilezone: {e}; tests/run.sh installs what tests need")
        });
    assert!(output.status.success(), "{output:?}");
    let raw = std::fs::read(&raw).unwrap();
    let mut rest = &raw[HEADER_LEN..];
    let mut all = Vec::new();
    let labels = zone.0.split('.').count();
    while !rest.is_empty() {
        let (set, after) = rest.split_at(number(rest, 0, 4));
        rest = after;
        // Length, class, type, covered type, TTL, count; then the owner, and each record's data.
        let rtype = u16::try_from(number(set, 6, 2)).unwrap();
        let count = number(set, 14, 4);
        let owner_len = number(set, 18, 2);
        let owner = set[20..20 + owner_len].to_vec();
        let mut at = 20 + owner_len;
        for _ in 0..count {
            let len = number(set, at, 2);
            all.push((owner.clone(), rtype, set[at + 2..at + 2 + len].to_vec()));
            at += 2 + len;
        }
    }
    all.retain(|(owner, ..)| labels_of(owner) > labels);
    all.sort();
    all.into_iter()
        .map(|(_, rtype, data)| (rtype, data))
        .collect()
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    let bytes = &bytes[at..at + len];
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn labels_of(mut name: &[u8]) -> usize {
    let mut labels = 0;
    while name[0] != 0 {
        name = &name[1 + usize::from(name[0])..];
        labels += 1;
    }
    labels
}
