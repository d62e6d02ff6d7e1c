//! Digests, whose type determines their length: RFC 4034 (DS, CDS, DLV, TA), RFC 4255 (SSHFP). A digest that was
//! cut short in copying would match no key, and no other check would report it.

use super::RdataError;
use super::fields::{Field, Fields, Own, Wire, Words};

/// RFC 4034 §5.1.3 and §5.1.4: the type of the digest, and the digest.
pub(super) const OF_KEY: Own = Own {
    read: |fields| {
        read(
            fields,
            ["digest type", "digest"],
            OF_KEY_NAMES,
            &OF_KEY_LENS,
        )
    },
    take: |wire| take(wire, &OF_KEY_LENS),
};
/// RFC 4255 §3.1.2 and §3.1.3: the type of the fingerprint, and the fingerprint.
pub(super) const FINGERPRINT: Own = Own {
    read: |fields| {
        let names = ["fingerprint type", "fingerprint"];
        read(fields, names, &[], &FINGERPRINT_LENS)
    },
    take: |wire| take(wire, &FINGERPRINT_LENS),
};

/// RFC 8624 §3.3, in the spelling of the registry and without its hyphens.
const OF_KEY_NAMES: Words = &[
    ("SHA-1", 1),
    ("SHA1", 1),
    ("SHA-256", 2),
    ("SHA256", 2),
    ("GOST", 3),
    ("SHA-384", 4),
    ("SHA384", 4),
];
/// Digest types with the lengths of their digests, in bytes.
type Lens = [(u8, usize)];
/// SHA-1, SHA-256, GOST R 34.11-94, SHA-384.
const OF_KEY_LENS: [(u8, usize); 4] = [(1, 20), (2, 32), (3, 32), (4, 48)];
/// SHA-1, and SHA-256 (RFC 6594 §4.1).
const FINGERPRINT_LENS: [(u8, usize); 2] = [(1, 20), (2, 32)];

fn read(
    fields: &mut Fields<'_, '_>,
    [kind, digest]: [&'static str; 2],
    words: Words,
    lens: &Lens,
) -> Result<(), RdataError> {
    fields.field(&Field::Coded(kind, 1, words))?;
    let number = fields.wire.last().copied().unwrap_or_default();
    let first = fields.peek();
    let start = fields.wire.len();
    fields.field(&Field::Hex(digest))?;
    let len = fields.wire.len() - start;
    match (first, len_of(number, lens)) {
        (Some(first), Some(expected)) if len != expected => {
            let why =
                format!("the {digest} has {len} bytes; with type {number} it must have {expected}");
            Err(fields.bad(first, &why))
        }
        _ => Ok(()),
    }
}

fn take(wire: &mut Wire<'_>, lens: &Lens) -> Option<()> {
    let number = wire.byte()?;
    let digest = wire.take(wire.0.len())?;
    let expected = len_of(number, lens).unwrap_or(digest.len());
    (!digest.is_empty() && digest.len() == expected).then_some(())
}

fn len_of(number: u8, lens: &Lens) -> Option<usize> {
    let len = lens.iter().find(|(other, _)| *other == number);
    len.map(|(_, len)| *len)
}
