//! What the server says of itself in class CH, by the names that BIND introduced (RFC 4892 §2).
//!
//! It says nothing by default: a version number helps attackers more than anybody else.

use crate::base::name::wire::WireName;

const TYPE_TXT: u16 = 16;
const TYPE_ANY: u16 = 255;
/// The class CH (RFC 1035 §3.2.4).
pub(crate) const CLASS_CHAOS: u16 = 3;
/// The longest text, in bytes: that of a character-string (RFC 1035 §3.3).
pub const MAX_TEXT: usize = 255;

/// The texts that the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The answer for `version.bind` and `version.server`; at most [`MAX_TEXT`] bytes.
    pub version: Option<String>,
    /// The answer for `id.server` and `hostname.bind` (RFC 4892 §2); at most [`MAX_TEXT`] bytes.
    pub id: Option<String>,
}

/// The record that answers a question of class CH, with a pointer to the question as its owner; none if the server
/// does not answer it.
pub(crate) fn answer(name: &WireName, qtype: u16, identity: &Identity) -> Option<Vec<u8>> {
    if !matches!(qtype, TYPE_TXT | TYPE_ANY) {
        return None;
    }
    let text = match name.as_bytes() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => identity.version.as_deref()?,
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => identity.id.as_deref()?,
        _ => return None,
    };
    let len = u8::try_from(text.len()).ok()?;
    let mut record = vec![0xC0, 12];
    record.extend(TYPE_TXT.to_be_bytes());
    record.extend(CLASS_CHAOS.to_be_bytes());
    // A TTL of zero: caches must not keep it.
    record.extend([0; 4]);
    record.extend((u16::from(len) + 1).to_be_bytes());
    record.push(len);
    record.extend(text.as_bytes());
    Some(record)
}
