//! Names in wire form, lower case: the keys by which zones are searched.
//!
//! A name in wire form ends with all of its ancestors, so walking a zone from the apex down takes
//! slices of one array on the stack and allocates nothing. Searching by hickory's `LowerName` would
//! build a new name for every label.

/// The longest name on the wire, in bytes (RFC 1035 §2.3.4).
pub(super) const MAX_NAME_LEN: usize = 255;
/// The longest label, in bytes (RFC 1035 §2.3.4).
pub(super) const MAX_LABEL_LEN: usize = 63;
/// The most labels that fit in [`MAX_NAME_LEN`], each with its length byte, before the root.
const MAX_LABELS: usize = 127;

/// A name in lower-case wire form, with the place of each of its labels.
pub(super) struct WireName {
    bytes: [u8; MAX_NAME_LEN],
    len: usize,
    starts: [u8; MAX_LABELS],
    labels: usize,
}

impl WireName {
    /// Joins labels, the leftmost first; none if they make no legal name.
    pub(super) fn from_labels<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Option<Self> {
        let mut name = Self {
            bytes: [0; MAX_NAME_LEN],
            len: 0,
            starts: [0; MAX_LABELS],
            labels: 0,
        };
        for label in labels {
            let end = name.len + 1 + label.len();
            // One byte is kept for the root.
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

    /// The number of labels, without the root.
    pub(super) fn labels(&self) -> usize {
        self.labels
    }

    /// The last `labels` labels and the root; the whole name if it has no more than that.
    pub(super) fn suffix(&self, labels: usize) -> &[u8] {
        let skipped = self.labels.saturating_sub(labels);
        let start = match labels {
            0 => self.len - 1,
            _ => usize::from(self.starts[skipped]),
        };
        &self.bytes[start..self.len]
    }

    /// The leftmost label of [`Self::suffix`]; empty for the root.
    pub(super) fn label(&self, labels: usize) -> &[u8] {
        first_label(self.suffix(labels))
    }

    /// The whole name.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The first label of a name in wire form; empty for the root.
pub(super) fn first_label(key: &[u8]) -> &[u8] {
    &key[1..1 + usize::from(key[0])]
}

/// A name in wire form without its first label; none for the root.
pub(super) fn parent(key: &[u8]) -> Option<&[u8]> {
    match key[0] {
        0 => None,
        len => Some(&key[1 + usize::from(len)..]),
    }
}

/// The labels of a name in wire form, without the root.
pub(super) fn labels(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(key), |key| parent(key))
        .map(first_label)
        .filter(|label| !label.is_empty())
}

/// The name, its parent and so on down to the root.
pub(super) fn ancestors(key: &[u8]) -> impl Iterator<Item = &[u8]> {
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
    fn bounds_of_rfc_1035() {
        assert!(name(&[&"a".repeat(63)]).is_some());
        assert!(name(&[&"a".repeat(64)]).is_none());
        assert!(name(&["a", "", "b"]).is_none());
        assert_eq!(name(&["a"; 127]).unwrap().as_bytes().len(), 255);
        assert!(name(&["a"; 128]).is_none());
    }
}
