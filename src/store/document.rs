//! Documents: state that the servers of a store share and that is no link, such as a certificate.
//!
//! A document is a sequence of bytes under a key. Its *revision* increases with each put, and a put names the revision
//! that it replaces. So of several servers that change a document at once, one succeeds, and the others get what it
//! put. Documents are never deleted: a revision that came back would let an old put succeed. No list, export or scan
//! of links shows a document.

/// The longest content of a document, in bytes. DynamoDB keeps 400 KB in an item.
pub const MAX_CONTENT_LEN: usize = 256 << 10;
/// The longest key, in bytes: room for a zone's name after a prefix.
pub const MAX_KEY_LEN: usize = 320;

/// A document as it is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// 1 for the first content; each put adds 1.
    pub revision: u64,
    /// At most [`MAX_CONTENT_LEN`] bytes.
    pub content: Vec<u8>,
}

/// The result of [`Store::put_document`](super::Store::put_document).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentPut {
    /// The content was put, and has this revision.
    Written(u64),
    /// The document has another revision than expected. It is unchanged. None if there is no such document.
    Conflict(Option<Document>),
}

/// Why a document of this key and content cannot be put; none if it can.
pub(super) fn refusal(key: &str, content: &[u8]) -> Option<String> {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic());
    match (key.len(), content.len()) {
        (1..=MAX_KEY_LEN, ..=MAX_CONTENT_LEN) if is_plain => None,
        (1..=MAX_KEY_LEN, len) if is_plain => Some(format!(
            "the document {key} has {len} bytes; at most {MAX_CONTENT_LEN} can be kept"
        )),
        (len, _) => Some(format!(
            "the key of a document is 1 to {MAX_KEY_LEN} visible ASCII characters; it has {len} bytes"
        )),
    }
}
