//! Names in wire form and lower case: the keys by which zones are searched.
//!
//! A name in wire form ends with each of its ancestors. So a walk through a zone from the apex downwards takes
//! slices of one array on the stack, and allocates nothing. A search by hickory's `LowerName` would build a new name
//! for every label.

use hickory_proto::rr::Name;

use super::{MAX_LABEL_LEN, MAX_NAME_LEN};

/// The most labels that fit in [`MAX_NAME_LEN`], each with its length byte, before the root.
const MAX_LABELS: usize = 127;
/// [`MAX_NAME_LEN`], rounded up to whole words of eight bytes.
const PADDED_LEN: usize = 256;

/// A name in lower-case wire form, with the offset of each label.
pub(crate) struct WireName {
    /// The name, followed by zeros, so that it can be read by words.
    bytes: [u8; PADDED_LEN],
    len: usize,
    starts: [u8; MAX_LABELS],
    labels: usize,
}

impl WireName {
    /// Joins labels, the leftmost first; none if they do not make a valid name.
    pub(crate) fn from_labels<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Option<Self> {
        let mut name = Self {
            bytes: [0; PADDED_LEN],
            len: 0,
            starts: [0; MAX_LABELS],
            labels: 0,
        };
        for label in labels {
            let end = name.len + 1 + label.len();
            // One byte is reserved for the root.
            if label.is_empty() || label.len() > MAX_LABEL_LEN || end + 1 > MAX_NAME_LEN {
                return None;
            }
            name.starts[name.labels] = name.len as u8;
            name.labels += 1;
            name.bytes[name.len] = label.len() as u8;
            let place = &mut name.bytes[name.len + 1..end];
            place.copy_from_slice(label);
            place.make_ascii_lowercase();
            name.len = end;
        }
        name.len += 1;
        Some(name)
    }

    /// Reads the name at the beginning of `wire`; none if it is cut off, too long, or contains anything but plain
    /// labels, such as a pointer (RFC 1035 §4.1.4).
    pub(crate) fn read(wire: &[u8]) -> Option<Self> {
        let mut name = Self {
            bytes: [0; PADDED_LEN],
            len: 0,
            starts: [0; MAX_LABELS],
            labels: 0,
        };
        let mut at = 0;
        loop {
            let label_len = usize::from(*wire.get(at)?);
            if label_len == 0 {
                break;
            }
            // One byte is reserved for the root.
            if label_len > MAX_LABEL_LEN || at + label_len + 2 > MAX_NAME_LEN {
                return None;
            }
            name.starts[name.labels] = at as u8;
            name.labels += 1;
            at += 1 + label_len;
        }
        name.len = at + 1;
        name.bytes[..name.len].copy_from_slice(wire.get(..name.len)?);
        // Lengths are below the letters of ASCII.
        name.bytes[..name.len].make_ascii_lowercase();
        Some(name)
    }

    /// The number of labels, without the root.
    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    /// The last `labels` labels and the root; the whole name if it has no more labels.
    pub(crate) fn suffix(&self, labels: usize) -> &[u8] {
        let skipped = self.labels.saturating_sub(labels);
        let start = match labels {
            0 => self.len - 1,
            _ => usize::from(self.starts[skipped]),
        };
        &self.bytes[start..self.len]
    }

    /// The leftmost label of [`Self::suffix`]; empty for the root.
    pub(crate) fn label(&self, labels: usize) -> &[u8] {
        first_label(self.suffix(labels))
    }

    /// The labels, the leftmost first, without the root.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        labels(self.as_bytes())
    }

    /// The whole name.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The name in hickory's form.
    pub(crate) fn to_name(&self) -> Option<Name> {
        let mut name = Name::from_labels(self.iter()).ok()?;
        name.set_fqdn(true);
        Some(name)
    }

    /// The whole name, followed by zeros up to a multiple of eight bytes.
    pub(crate) fn padded(&self) -> &[u8] {
        &self.bytes[..self.len.next_multiple_of(8)]
    }

    /// A name of the same length that ends with the same `labels` labels. Its other labels consist of `fill` alone,
    /// so it is the same for all names with this length and these labels.
    pub(crate) fn stand_in(&self, labels: usize, fill: u8) -> Self {
        let mut name = Self {
            bytes: [0; PADDED_LEN],
            len: self.len,
            starts: [0; MAX_LABELS],
            labels: 0,
        };
        let kept = self.suffix(labels);
        let end = self.len - kept.len();
        let mut at = 0;
        while at < end {
            let left = end - at;
            // Every label takes at least two bytes, also the last one.
            let len = match left.min(MAX_LABEL_LEN + 1) {
                len if left - len == 1 => len - 1,
                len => len,
            };
            name.bytes[at] = len as u8 - 1;
            name.bytes[at + 1..at + len].fill(fill);
            name.starts[name.labels] = at as u8;
            name.labels += 1;
            at += len;
        }
        name.bytes[end..self.len].copy_from_slice(kept);
        for label in first_label_starts(kept) {
            name.starts[name.labels] = (end + label) as u8;
            name.labels += 1;
        }
        name
    }
}

/// The offsets of the labels of a name in wire form, without the root.
fn first_label_starts(key: &[u8]) -> impl Iterator<Item = usize> {
    ancestors(key)
        .filter(|ancestor| ancestor[0] != 0)
        .map(|ancestor| key.len() - ancestor.len())
}

/// The first label of a name in wire form; empty for the root.
pub(crate) fn first_label(key: &[u8]) -> &[u8] {
    &key[1..1 + usize::from(key[0])]
}

/// A name in wire form without its first label; none for the root.
pub(crate) fn parent(key: &[u8]) -> Option<&[u8]> {
    match key[0] {
        0 => None,
        len => Some(&key[1 + usize::from(len)..]),
    }
}

/// The labels of a name in wire form, without the root.
pub(crate) fn labels(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(key), |key| parent(key))
        .map(first_label)
        .filter(|label| !label.is_empty())
}

/// The name, its parent and so on down to the root.
pub(crate) fn ancestors(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(key), |key| parent(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(labels: &[&str]) -> Option<WireName> {
        WireName::from_labels(labels.iter().map(|l| l.as_bytes()))
    }

    #[test]
    fn suffixes_are_ancestors() {
        let name = name(&["WWW", "s", "Example"]).unwrap();
        assert_eq!(name.labels(), 3);
        assert_eq!(name.as_bytes(), b"\x03www\x01s\x07example\0");
        assert_eq!(name.suffix(3), name.as_bytes());
        assert_eq!(name.suffix(2), b"\x01s\x07example\0");
        assert_eq!(name.suffix(0), b"\0");
        assert_eq!(name.label(2), b"s");
        assert_eq!(name.label(0), b"");
        assert_eq!(ancestors(name.as_bytes()).count(), 4);
        assert_eq!(
            labels(name.as_bytes()).collect::<Vec<_>>(),
            [&b"www"[..], b"s", b"example"]
        );
    }

    #[test]
    fn the_root_is_a_name() {
        let root = name(&[]).unwrap();
        assert_eq!((root.labels(), root.as_bytes()), (0, &b"\0"[..]));
        assert_eq!(root.suffix(0), b"\0");
    }

    #[test]
    fn names_are_read_from_messages() {
        let read = |wire: &[u8]| WireName::read(wire).map(|name| name.as_bytes().to_vec());
        assert_eq!(
            read(b"\x03WwW\x01s\0\0\x10").as_deref(),
            Some(&b"\x03www\x01s\0"[..])
        );
        assert_eq!(read(b"\0rest").as_deref(), Some(&b"\0"[..]));
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\x03ab"), None, "cut off in a label");
        assert_eq!(read(b"\x03abc"), None, "cut off before the root");
        assert_eq!(read(b"\x03abc\xc0\x0c"), None, "a pointer");
        assert_eq!(
            read(b"\x40abc\0"),
            None,
            "a label of a kind that is not in use"
        );
        let longest = [&[1, b'a'][..]; 127].concat();
        assert!(read(&[&longest[..], b"\0"].concat()).is_some());
        assert!(read(&[b"\x01b", &longest[..], b"\0"].concat()).is_none());
        let mut long = [&[63; 64][..]; 3].concat();
        long.extend([62; 63]);
        assert!(read(&[&long[..], b"\0"].concat()).is_none(), "256 bytes");
    }

    #[test]
    fn reading_and_joining_agree() {
        let joined = name(&["WWW", "s", "Example"]).unwrap();
        let read = WireName::read(b"\x03WWW\x01s\x07Example\0").unwrap();
        assert_eq!(read.as_bytes(), joined.as_bytes());
        for labels in 0..=3 {
            assert_eq!(read.suffix(labels), joined.suffix(labels));
        }
        assert_eq!(read.padded(), b"\x03www\x01s\x07example\0\0");
    }

    #[test]
    fn a_stand_in_has_labels_of_one_byte() {
        let plain = name(&["www", "s", "example"]).unwrap();
        assert_eq!(
            plain.stand_in(1, 7).as_bytes(),
            b"\x05\x07\x07\x07\x07\x07\x07example\0"
        );
        assert_eq!(plain.stand_in(3, 7).as_bytes(), plain.as_bytes());
        let other = name(&["a", "b", "c", "example"]).unwrap();
        assert_eq!(
            other.stand_in(1, 7).as_bytes(),
            plain.stand_in(1, 7).as_bytes()
        );
        // There is one for every length, and it is a valid name.
        for len in 2..=245 {
            let mut wire = Vec::new();
            while wire.len() + 3 < len {
                wire.extend(b"\x01a");
            }
            wire.push((len - wire.len() - 1) as u8);
            wire.resize(len, b'x');
            wire.extend(b"\x07example\0");
            let stand_in = WireName::read(&wire).unwrap().stand_in(1, 0);
            let read = WireName::read(stand_in.as_bytes()).unwrap();
            assert_eq!(read.as_bytes().len(), wire.len());
            assert_eq!(read.labels(), stand_in.labels());
            assert_eq!(stand_in.suffix(1), b"\x07example\0");
            assert_eq!(stand_in.suffix(2), read.suffix(2));
        }
    }

    #[test]
    fn bounds_of_rfc_1035() {
        assert!(name(&[&"a".repeat(63)]).is_some());
        assert!(name(&[&"a".repeat(64)]).is_none());
        assert!(name(&["a", "", "b"]).is_none());
        assert_eq!(name(&["a"; 127]).unwrap().as_bytes().len(), 255);
        assert!(name(&["a"; 128]).is_none());
    }
}
